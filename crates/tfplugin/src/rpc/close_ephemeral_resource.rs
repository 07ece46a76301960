//! `CloseEphemeralResource`: the end of a value.

use super::messages::{diagnostics, failure};
use super::{About, Call, Service};
use crate::proto::tfplugin6::close_ephemeral_resource::{Request, Response};
use crate::{Diagnostics, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn close_ephemeral_resource(&self, call: Call, request: Request) -> Response {
        let name = request.type_name.clone();
        let messages = match self.try_close(&call, request).await {
            Ok(messages) => diagnostics(messages),
            Err(failed) => failure(&name, failed),
        };
        Response { diagnostics: messages }
    }

    async fn try_close(&self, call: &Call, request: Request) -> Result<Diagnostics, Diagnostics> {
        let ephemeral = self.ephemeral(&request.type_name)?;
        let cx = self.context(call, About::default())?;
        ephemeral.close(&cx, &request.private.unwrap_or_default()).await
    }
}
