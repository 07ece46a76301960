//! `LockState`: takes the lock of a state, or says who has it.

use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::messages::diagnostics;
use super::stores::state_id;
use super::{Call, Service};
use crate::proto::tfplugin6::lock_state::{Request, Response};
use crate::{Diagnostic, Diagnostics, Locking, Provider, StateLock, logging};

impl<P: Provider> Service<P> {
    pub(crate) async fn lock_state(&self, call: Call, request: Request) -> Response {
        match self.try_lock(&call, &request).await {
            Ok(lock_id) => Response { lock_id, ..Response::default() },
            Err(failed) => Response { diagnostics: diagnostics(failed), ..Response::default() },
        }
    }

    async fn try_lock(&self, call: &Call, request: &Request) -> Result<String, Diagnostics> {
        let open = self.open_store(call, &request.type_name)?;
        let id = state_id(&request.state_id)?;
        let lock = StateLock::new(request.operation.as_str(), holder(), SystemTime::now());
        match open.store.lock(call, id, &lock).await? {
            Locking::Taken if call.claim.hold() => Ok(lock.id),
            Locking::Taken => {
                // Nobody learns the id any more, and the state would stay locked.
                let undo = Call { cancel: CancellationToken::new(), ..call.clone() };
                open.store.unlock(&undo, id, &lock.id).await?;
                Err(Diagnostic::error(format!("State `{id}` is not locked"), "The lock was given back.").into())
            }
            Locking::Held(by) => Err(Diagnostic::error(
                format!("State `{id}` is locked"),
                format!(
                    "{}\n\nNothing was changed. Wait until it is free; if its holder is certainly gone, `terraform force-unlock \
                     {}` frees it.",
                    describe(&by),
                    by.id
                ),
            )
            .into()),
        }
    }
}

/// Who holds a lock, since when and what for.
pub(super) fn describe(lock: &StateLock) -> String {
    let StateLock { id, operation, holder, since, .. } = lock;
    let operation = if operation.is_empty() { "an unnamed operation" } else { operation };
    format!("{holder} holds it for {operation} since {} (lock {id}).", logging::timestamp(*since))
}

/// User and machine, as far as they are known.
fn holder() -> String {
    let variable = |names: &[&str]| {
        let mut values = names.iter().filter_map(|name| std::env::var(name).ok());
        values.find(|value| !value.is_empty())
    };
    let user = variable(&["USER", "LOGNAME", "USERNAME"]).unwrap_or_else(|| "somebody".to_owned());
    let machine = machine().or_else(|| variable(&["COMPUTERNAME"]));
    machine.map_or_else(|| user.clone(), |machine| format!("{user}@{machine}"))
}

#[cfg(unix)]
fn machine() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(not(unix))]
fn machine() -> Option<String> {
    None
}
