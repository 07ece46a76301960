//! `DeleteState`: the end of a state.

use super::messages::diagnostics;
use super::stores::state_id;
use super::{Call, Service};
use crate::proto::tfplugin6::delete_state::{Request, Response};
use crate::{Diagnostic, Diagnostics, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn delete_state(&self, call: Call, request: Request) -> Response {
        let messages = self.try_delete_state(&call, &request).await.err().unwrap_or_default();
        Response { diagnostics: diagnostics(messages) }
    }

    async fn try_delete_state(&self, call: &Call, request: &Request) -> Result<(), Diagnostics> {
        let open = self.open_store(call, &request.type_name)?;
        let id = state_id(&request.state_id)?;
        if open.store.delete(call, id).await? {
            return Ok(());
        }
        Err(Diagnostic::error(
            format!("No state `{id}`"),
            "The store holds no state of that name, so there is nothing to delete. Nothing was changed.",
        )
        .into())
    }
}
