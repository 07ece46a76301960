//! What the journal says of the rollouts of a service.

use spectra_journal::{Journal, Query, Record};
use spectra_rollout::{Entry, Ledger, Outcome, RolloutRequest};

use crate::error::Error;
use crate::kinds;

/// How the last rollout of a service stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// There is none.
    None,
    /// It has ended, and another one may begin.
    Ended {
        /// The rollout.
        rollout: String,
        /// How.
        outcome: Box<Outcome>,
    },
    /// It was begun and has not ended: it runs, or its process is gone.
    Open {
        /// The rollout.
        rollout: String,
        /// What was asked for.
        request: Box<RolloutRequest>,
        /// What it did so far.
        ledger: Box<Ledger>,
    },
    /// Its way back failed, and nobody has said since that things are in order.
    Unresolved {
        /// The rollout.
        rollout: String,
        /// How it ended.
        outcome: Box<Outcome>,
    },
}

/// How the last rollout of a subject stands.
pub async fn standing(journal: &Journal, subject: &str) -> Result<Standing, Error> {
    let query = Query {
        subject: Some(subject.to_owned()),
        kinds: vec![Entry::BEGUN.to_owned(), kinds::JOINED.to_owned()],
        limit: Some(1),
        newest_first: true,
        ..Query::default()
    };
    let Some(last) = journal.records(&query).await?.pop() else { return Ok(Standing::None) };
    match last.rollout {
        Some(rollout) => standing_of(journal, &rollout).await,
        None => Ok(Standing::None),
    }
}

/// How one rollout stands; [`Standing::None`] when the journal knows none of that id.
pub async fn standing_of(journal: &Journal, rollout: &str) -> Result<Standing, Error> {
    let rollout = rollout.to_owned();
    let records = records_of(journal, &rollout).await?;
    let ledger = Ledger::of(&parse(&rollout, &records)?);
    let Some(request) = ledger.request().cloned() else { return Ok(Standing::None) };
    let cleared = records.iter().any(|record| record.kind == kinds::CLEARED);
    Ok(match ledger.outcome() {
        None if cleared => Standing::None,
        None => Standing::Open { rollout, request: Box::new(request), ledger: Box::new(ledger) },
        Some(outcome @ Outcome::RollbackFailed { .. }) if !cleared => {
            Standing::Unresolved { rollout, outcome: Box::new(outcome.clone()) }
        }
        Some(outcome) => Standing::Ended { outcome: Box::new(outcome.clone()), rollout },
    })
}

/// What a rollout was asked for.
pub async fn request_of(journal: &Journal, rollout: &str) -> Result<RolloutRequest, Error> {
    let query = Query {
        rollout: Some(rollout.to_owned()),
        kinds: vec![Entry::BEGUN.to_owned()],
        limit: Some(1),
        ..Query::default()
    };
    let records = journal.records(&query).await?;
    match parse(rollout, &records)?.pop() {
        Some(Entry::Begun { request }) => Ok(*request),
        _ => Err(Error::NoSuchRollout(rollout.to_owned())),
    }
}

/// The records of a rollout, oldest first.
async fn records_of(journal: &Journal, rollout: &str) -> Result<Vec<Record>, Error> {
    let query = Query { rollout: Some(rollout.to_owned()), ..Query::default() };
    Ok(journal.records(&query).await?)
}

/// The entries of a rollout with their records, oldest first.
pub async fn entries(journal: &Journal, rollout: &str) -> Result<Vec<(Record, Entry)>, Error> {
    let records = records_of(journal, rollout).await?;
    if records.is_empty() {
        return Err(Error::NoSuchRollout(rollout.to_owned()));
    }
    let mut found = Vec::with_capacity(records.len());
    for record in records {
        if let Some(entry) = parse_one(rollout, &record)? {
            found.push((record, entry));
        }
    }
    Ok(found)
}

/// The ids of the last rollouts of a subject, newest first; of all subjects when there is none.
pub async fn history(journal: &Journal, subject: Option<&str>, limit: u64) -> Result<Vec<Record>, Error> {
    let query = Query {
        subject: subject.map(str::to_owned),
        kinds: vec![Entry::BEGUN.to_owned()],
        limit: Some(limit),
        newest_first: true,
        ..Query::default()
    };
    Ok(journal.records(&query).await?)
}

/// What a record says, in one line for people.
#[must_use]
pub fn line_of(record: &Record) -> String {
    match parse_one(record.rollout.as_deref().unwrap_or_default(), record) {
        Ok(Some(entry)) => entry.line(),
        // Of another kind, or written by a later version.
        Ok(None) | Err(_) => record.body.to_string(),
    }
}

fn parse(rollout: &str, records: &[Record]) -> Result<Vec<Entry>, Error> {
    let entries = records.iter().map(|record| parse_one(rollout, record));
    entries.filter_map(Result::transpose).collect()
}

/// `None` for records of other kinds.
pub(crate) fn parse_one(rollout: &str, record: &Record) -> Result<Option<Entry>, Error> {
    if !record.kind.starts_with("rollout.") || [kinds::JOINED, kinds::CLEARED].contains(&record.kind.as_str())
    {
        return Ok(None);
    }
    serde_json::from_value(record.body.clone()).map(Some).map_err(|source| Error::Record {
        rollout: rollout.to_owned(),
        seq: record.seq,
        source,
    })
}
