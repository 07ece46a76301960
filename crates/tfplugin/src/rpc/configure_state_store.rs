//! `ConfigureStateStore`: makes the store that every later call over the same connection works with, and agrees on the size of
//! chunks.

use std::sync::Arc;

use super::defaults::apply_defaults;
use super::messages::{decode, diagnostics};
use super::stores::ConfiguredStore;
use super::{About, Call, Service};
use crate::proto::tfplugin6::configure_state_store::{Request, Response};
use crate::proto::tfplugin6::{StateStoreClientCapabilities, StateStoreServerCapabilities};
use crate::{Diagnostics, Provider};

/// What is agreed on with a client that proposes nothing of use.
const CHUNK: i64 = 8 << 20;
/// The largest chunk that core accepts. Also half of the longest message.
const LARGEST_CHUNK: i64 = 128 << 20;

/// What the client proposes, as far as core itself allows it.
fn chunk_size(client: Option<&StateStoreClientCapabilities>) -> i64 {
    match client.map_or(0, |client| client.chunk_size) {
        proposed if proposed < 1 => CHUNK,
        proposed => proposed.min(LARGEST_CHUNK),
    }
}

impl Response {
    /// An answer without capabilities crashes core, also one with errors.
    pub(super) fn with(chunk_size: i64) -> Self {
        Self { capabilities: Some(StateStoreServerCapabilities { chunk_size }), ..Self::default() }
    }

    pub(super) fn refused(failed: Diagnostics) -> Self {
        Self { diagnostics: diagnostics(failed), ..Self::with(CHUNK) }
    }
}

impl<P: Provider> Service<P> {
    pub(crate) async fn configure_state_store(&self, call: Call, request: Request) -> Response {
        let chunk_size = chunk_size(request.capabilities.as_ref());
        match self.try_configure_store(&call, request, chunk_size).await {
            Ok(()) => Response::with(chunk_size),
            Err(failed) => Response { diagnostics: diagnostics(failed), ..Response::with(chunk_size) },
        }
    }

    async fn try_configure_store(
        &self,
        call: &Call,
        request: Request,
        chunk_size: i64,
    ) -> Result<(), Diagnostics> {
        let keeping = Arc::clone(self.state_store(&request.type_name)?);
        let info = keeping.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let cx = self.context(call, About::default())?;
        let store = keeping.configure(cx, filled).await?;
        // At most 128 MiB.
        let chunk_size = usize::try_from(chunk_size).unwrap_or(usize::MAX);
        let key = (call.connection, request.type_name);
        // Who was told that this has failed must not find a store afterwards.
        if call.claim.hold() {
            self.stores().insert(key, ConfiguredStore { store, chunk_size });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_always_one_that_core_accepts() {
        let agreed = |proposed| chunk_size(Some(&StateStoreClientCapabilities { chunk_size: proposed }));
        assert_eq!(chunk_size(None), CHUNK);
        for (proposed, expected) in [
            (i64::MIN, CHUNK),
            (-1, CHUNK),
            (0, CHUNK),
            (1, 1),
            (8 << 20, 8 << 20),
            (134_217_728, 134_217_728),
            (134_217_729, 134_217_728),
            (i64::MAX, 134_217_728),
        ] {
            assert_eq!(agreed(proposed), expected, "{proposed}");
        }
    }
}
