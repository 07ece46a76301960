//! Reads along with a rollout that another process runs.

use std::time::Duration;

use spectra_journal::{Journal, Query, Record};
use spectra_rollout::{Entry, Outcome};

use crate::error::Error;
use crate::standing::parse_one;

/// How often the journal is asked for what is new.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// So many records are read at a time.
const PAGE: u64 = 1000;

/// What is written of one rollout, in order.
#[derive(Clone, Debug)]
pub struct Following<'a> {
    journal: &'a Journal,
    rollout: String,
    after: u64,
}

impl<'a> Following<'a> {
    /// Begins behind this record; 0 is the beginning.
    #[must_use]
    pub const fn after(journal: &'a Journal, rollout: String, seq: u64) -> Self {
        Self { journal, rollout, after: seq }
    }

    /// What was written since the last call, with the entry where it is one; empty when there is nothing new.
    pub async fn read(&mut self) -> Result<Vec<(Record, Option<Entry>)>, Error> {
        let query = Query {
            rollout: Some(self.rollout.clone()),
            after_seq: Some(self.after),
            limit: Some(PAGE),
            ..Query::default()
        };
        let mut found = Vec::new();
        for record in self.journal.records(&query).await? {
            self.after = record.seq;
            let entry = parse_one(&self.rollout, &record)?;
            found.push((record, entry));
        }
        Ok(found)
    }

    /// Waits for a moment, after which there may be something new.
    pub async fn pause(&self) {
        tokio::time::sleep(ASK_AGAIN).await;
    }

    /// The outcome, if it was written since the last call.
    pub(crate) async fn outcome(&mut self) -> Result<Option<Outcome>, Error> {
        Ok(self.read().await?.into_iter().find_map(|(_, entry)| match entry {
            Some(Entry::Finished { outcome }) => Some(outcome),
            _ => None,
        }))
    }
}
