//! The record of a rollout, in the journal.

use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use spectra_journal::{Draft, Error, Journal, Lease, Query};
use spectra_rollout::{Diary, DiaryError, Entry, Wish};
use spectra_types::{Redactor, error_chain};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::deliver::{Heard, Listener};
use crate::kinds;
use crate::leases::LeaseGuard;
use crate::logs;

/// Writes under the lease of the rollout's own service.
pub(crate) struct JournalDiary<'a> {
    pub(crate) journal: &'a Journal,
    /// The leases of everything that the rollout acts on.
    pub(crate) guard: Arc<LeaseGuard>,
    pub(crate) lease: &'a Lease,
    pub(crate) rollout: &'a str,
    pub(crate) listener: Listener<'a>,
    /// Hears of deployments.
    logs: UnboundedSender<Entry>,
    /// Wishes up to here were heard.
    heard: Mutex<u64>,
}

impl<'a> JournalDiary<'a> {
    /// Hears the wishes that are written from now on. What it writes of deployments comes out of the second half too.
    pub(crate) async fn new(
        journal: &'a Journal,
        guard: Arc<LeaseGuard>,
        lease: &'a Lease,
        rollout: &'a str,
        listener: Listener<'a>,
    ) -> Result<(Self, UnboundedReceiver<Entry>), Error> {
        let (head, _) = journal.head().await?;
        let (logs, entries) = unbounded_channel();
        let diary = Self { journal, guard, lease, rollout, listener, logs, heard: Mutex::new(head) };
        Ok((diary, entries))
    }
}

impl Diary for JournalDiary<'_> {
    fn write<'a>(&'a self, entry: &'a Entry) -> BoxFuture<'a, Result<(), DiaryError>> {
        Box::pin(async move {
            let line = entry.line();
            let line = Redactor::global().redact(&line);
            (self.listener)(&Heard { rollout: self.rollout, entry, line: &line });
            if logs::concerns(entry) {
                // Nobody listens where logs are not wanted.
                let _ = self.logs.send(entry.clone());
            }
            let body = serde_json::to_value(entry).map_err(|error| {
                DiaryError::Unavailable(format!("an entry cannot be written as JSON: {error}"))
            })?;
            let draft = Draft {
                subject: self.lease.subject().to_owned(),
                rollout: Some(self.rollout.to_owned()),
                kind: entry.kind().to_owned(),
                body,
            };
            match self.lease.append(draft).await {
                Ok(_) => Ok(()),
                Err(Error::Fenced { by, .. }) => Err(DiaryError::Fenced(match by {
                    Some(held) => format!("{} has it now", held.holder),
                    None => "somebody freed it".to_owned(),
                })),
                Err(error) => Err(DiaryError::Unavailable(error_chain(&error))),
            }
        })
    }

    fn may_act(&self) -> bool {
        self.guard.surely_held()
    }

    fn requests(&self) -> BoxFuture<'_, Vec<Wish>> {
        Box::pin(async move {
            let after = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            let query = Query {
                rollout: Some(self.rollout.to_owned()),
                kinds: vec![kinds::ABORT.to_owned(), kinds::PROMOTE.to_owned()],
                after_seq: Some(after),
                ..Query::default()
            };
            // A wish that cannot be read now is read the next time.
            let Ok(records) = self.journal.records(&query).await else { return Vec::new() };
            if let Some(last) = records.last() {
                *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = last.seq;
            }
            records.into_iter().filter_map(|record| serde_json::from_value(record.body).ok()).collect()
        })
    }
}
