//! `GetStates`: the ids of all states of a store.

use super::messages::diagnostics;
use super::{Call, Service};
use crate::proto::tfplugin6::get_states::{Request, Response};
use crate::{Diagnostics, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn get_states(&self, call: Call, request: Request) -> Response {
        match self.try_get_states(&call, &request).await {
            Ok(state_ids) => Response { state_ids, ..Response::default() },
            Err(failed) => Response { diagnostics: diagnostics(failed), ..Response::default() },
        }
    }

    /// Sorted, each once.
    async fn try_get_states(&self, call: &Call, request: &Request) -> Result<Vec<String>, Diagnostics> {
        let open = self.open_store(call, &request.type_name)?;
        let mut ids = open.store.list(call).await?;
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}
