//! `RenewEphemeralResource`: keeps a value alive for longer.

use super::ephemerals::timestamp;
use super::messages::failure;
use super::{About, Call, Service};
use crate::proto::tfplugin6::renew_ephemeral_resource::{Request, Response};
use crate::{Diagnostics, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn renew_ephemeral_resource(&self, call: Call, request: Request) -> Response {
        let private = request.private.clone();
        let name = request.type_name.clone();
        self.try_renew(&call, request).await.unwrap_or_else(|failed| {
            for diagnostic in failed.iter() {
                // Terraform up to 1.16 shows none of it.
                tracing::error!(summary = %diagnostic.summary, detail = %diagnostic.detail, "a renewal has failed");
            }
            Response { diagnostics: failure(&name, failed), private, ..Response::default() }
        })
    }

    async fn try_renew(&self, call: &Call, request: Request) -> Result<Response, Diagnostics> {
        let ephemeral = self.ephemeral(&request.type_name)?;
        let cx = self.context(call, About::default())?;
        let before = request.private.unwrap_or_default();
        let renewed = ephemeral.renew(&cx, &before).await?;
        Ok(Response {
            diagnostics: Vec::new(),
            renew_at: renewed.renew_at.and_then(timestamp),
            private: Some(renewed.private.unwrap_or(before)),
        })
    }
}
