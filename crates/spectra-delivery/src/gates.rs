//! What may hold a rollout up.

use futures::future::BoxFuture;
use spectra_journal::Journal;
use spectra_rollout::{Approval, Gates, RolloutRequest};

/// Freeze windows and approvals, as the journal has them.
pub(crate) struct JournalGates<'a> {
    pub(crate) journal: &'a Journal,
}

impl Gates for JournalGates<'_> {
    fn frozen<'a>(&'a self, _: &'a RolloutRequest) -> BoxFuture<'a, Result<Option<String>, String>> {
        let _ = self.journal;
        Box::pin(async { Ok(None) })
    }

    fn approval<'a>(&'a self, _: &'a RolloutRequest) -> BoxFuture<'a, Result<Approval, String>> {
        Box::pin(async { Err("approvals are not read yet".to_owned()) })
    }
}
