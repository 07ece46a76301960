//! `UnlockState`: gives the lock of a state back.

use super::lock_state::describe;
use super::messages::diagnostics;
use super::stores::state_id;
use super::{Call, Service};
use crate::proto::tfplugin6::unlock_state::{Request, Response};
use crate::{Diagnostic, Diagnostics, Provider, Unlocking};

impl<P: Provider> Service<P> {
    pub(crate) async fn unlock_state(&self, call: Call, request: Request) -> Response {
        let messages = self.try_unlock(&call, &request).await.err().unwrap_or_default();
        Response { diagnostics: diagnostics(messages) }
    }

    async fn try_unlock(&self, call: &Call, request: &Request) -> Result<(), Diagnostics> {
        let open = self.open_store(call, &request.type_name)?;
        let (id, lock_id) = (state_id(&request.state_id)?, &request.lock_id);
        let reason = match open.store.unlock(call, id, lock_id).await? {
            Unlocking::Done => return Ok(()),
            Unlocking::NotLocked => format!("Lock `{lock_id}` is not held: the state is not locked."),
            Unlocking::Held(by) => {
                format!("Lock `{lock_id}` is not held: another one is, and still is. {}", describe(&by))
            }
        };
        Err(Diagnostic::error(format!("Cannot unlock state `{id}`"), reason).into())
    }
}
