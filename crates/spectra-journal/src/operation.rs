//! What is done to a journal inside one transaction; the same for every store.

use std::{future::Future, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    error::Error,
    holder::Holder,
    lease::{Held, kinds},
    record::{Draft, Hash, RECORD_VERSION, Record, Row, stored_body},
};

/// A write. `key` is unique for each; it is stored with the record that the write appends.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) key: String,
    pub(crate) operation: Operation,
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Append { draft: Draft, fence: Option<u64> },
    Acquire { subject: String, holder: Box<Holder>, ttl: Duration },
    Steal { subject: String, holder: Box<Holder>, ttl: Duration, reason: String },
    Renew { subject: String, fence: u64, ttl: Duration },
    Release { subject: String, fence: u64 },
    Unlock { subject: String, by: Box<Holder>, reason: String },
}

impl Write {
    pub(crate) fn new(operation: Operation) -> Self {
        Self { key: uuid::Uuid::new_v4().to_string(), operation }
    }

    /// For error messages.
    pub(crate) const fn attempt(&self) -> &'static str {
        match self.operation {
            Operation::Append { .. } => "append a record",
            Operation::Acquire { .. } => "acquire a lease",
            Operation::Steal { .. } => "steal a lease",
            Operation::Renew { .. } => "renew a lease",
            Operation::Release { .. } => "release a lease",
            Operation::Unlock { .. } => "unlock a subject",
        }
    }
}

/// What a write came to.
#[derive(Debug)]
pub(crate) enum Answer {
    Appended(Box<Record>),
    Leased {
        fence: u64,
    },
    Held(Box<Held>),
    /// The lease that the write was made under is not the current one.
    Fenced(Option<Box<Held>>),
    Renewed,
    Released,
    /// Who had it.
    Unlocked(Option<Box<Held>>),
}

/// The row of a subject that was ever leased. It stays when the lease ends, with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) subject: String,
    pub(crate) fence: u64,
    /// JSON; `None` if nobody holds it.
    pub(crate) holder: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) expires_at: Option<String>,
}

impl LeaseRow {
    /// The lease at `now`, if somebody has it.
    pub(crate) fn held(&self, now: Timestamp, location: &str) -> Result<Option<Held>, Error> {
        let (Some(holder), Some(since), Some(expires_at)) = (&self.holder, &self.since, &self.expires_at)
        else {
            return Ok(None);
        };
        let corrupt = |what: &str, error: &dyn std::fmt::Display| Error::Corrupt {
            location: location.to_owned(),
            reason: format!("the {what} of the lease of `{}` cannot be read: {error}", self.subject),
        };
        let time = |text: &str| text.parse::<Timestamp>().map_err(|error| corrupt("time", &error));
        let expires_at = time(expires_at)?;
        Ok(Some(Held {
            subject: self.subject.clone(),
            holder: serde_json::from_str(holder).map_err(|error| corrupt("holder", &error))?,
            fence: self.fence,
            since: time(since)?,
            expires_at,
            expired: expires_at <= now,
        }))
    }

    fn free(self) -> Self {
        Self { holder: None, since: None, expires_at: None, ..self }
    }
}

/// A transaction that nobody else writes beside: it holds the journal's head.
pub(crate) trait Transaction: Send {
    /// How the store's statements fail.
    type Failure: From<Error> + Send;

    fn location(&self) -> &str;
    /// The journal's clock, read after the head was taken.
    fn now(&self) -> Timestamp;
    /// The last record's number and hash, of this transaction's own records too.
    fn head(&self) -> (u64, &str);
    fn insert(&mut self, row: Row) -> impl Future<Output = Result<(), Self::Failure>> + Send;
    fn find(&mut self, key: &str) -> impl Future<Output = Result<Option<Row>, Self::Failure>> + Send;
    fn lease(
        &mut self,
        subject: &str,
    ) -> impl Future<Output = Result<Option<LeaseRow>, Self::Failure>> + Send;
    /// The highest fencing number in the subject's records.
    fn highest_fence(&mut self, subject: &str) -> impl Future<Output = Result<u64, Self::Failure>> + Send;
    fn put_lease(&mut self, row: &LeaseRow) -> impl Future<Output = Result<(), Self::Failure>> + Send;
}

/// Does one write. With `unsure`, an earlier attempt may have been committed, and is looked for first.
///
/// Nothing is changed when the answer is `Held` or `Fenced`, so other writes may share the transaction.
pub(crate) async fn perform<T: Transaction>(
    transaction: &mut T,
    write: &Write,
    unsure: bool,
) -> Result<Answer, T::Failure> {
    if unsure
        && let Some(row) = transaction.find(&write.key).await?
        && let Some(answer) = answer_of(transaction, write, row).await?
    {
        return Ok(answer);
    }
    match &write.operation {
        Operation::Append { draft, fence } => {
            if let Some(fence) = fence {
                let lease = transaction.lease(&draft.subject).await?;
                if let Some(fenced) = refuse(transaction, lease.as_ref(), *fence)? {
                    return Ok(fenced);
                }
            }
            let body = stored_body(&draft.body);
            let row = chain(transaction, &write.key, draft, *fence, body).await?;
            Ok(Answer::Appended(Box::new(readable(transaction, row)?)))
        }
        Operation::Acquire { subject, holder, ttl } => {
            let lease = transaction.lease(subject).await?;
            let held = current(transaction, lease.as_ref())?;
            let (kind, body) = match &held {
                Some(held) if !held.expired && !held.holder.is_gone() => {
                    return Ok(Answer::Held(Box::new(held.clone())));
                }
                Some(held) => {
                    let because = if held.expired { "expired" } else { "the process is gone" };
                    (kinds::TAKEN_OVER, json!({ "from": held, "because": because }))
                }
                None => (kinds::ACQUIRED, json!({})),
            };
            take(transaction, write, lease, subject, holder, *ttl, kind, body).await
        }
        Operation::Steal { subject, holder, ttl, reason } => {
            let lease = transaction.lease(subject).await?;
            let from = current(transaction, lease.as_ref())?;
            let body = json!({ "from": from, "reason": reason });
            take(transaction, write, lease, subject, holder, *ttl, kinds::STOLEN, body).await
        }
        Operation::Renew { subject, fence, ttl } => {
            let lease = transaction.lease(subject).await?;
            if let Some(fenced) = refuse(transaction, lease.as_ref(), *fence)? {
                return Ok(fenced);
            }
            if let Some(mut lease) = lease {
                lease.expires_at = Some(later(transaction.now(), *ttl).to_string());
                transaction.put_lease(&lease).await?;
            }
            Ok(Answer::Renewed)
        }
        Operation::Release { subject, fence } => {
            let lease = transaction.lease(subject).await?;
            if let Some(fenced) = refuse(transaction, lease.as_ref(), *fence)? {
                return Ok(fenced);
            }
            let held = current(transaction, lease.as_ref())?;
            let body = json!({ "holder": held.map(|held| held.holder) });
            event(transaction, &write.key, subject, kinds::RELEASED, *fence, &body).await?;
            if let Some(lease) = lease {
                transaction.put_lease(&lease.free()).await?;
            }
            Ok(Answer::Released)
        }
        Operation::Unlock { subject, by, reason } => {
            let lease = transaction.lease(subject).await?;
            let Some(held) = current(transaction, lease.as_ref())? else {
                return Ok(Answer::Unlocked(None));
            };
            let body = json!({ "from": held, "by": by, "reason": reason });
            event(transaction, &write.key, subject, kinds::UNLOCKED, held.fence, &body).await?;
            if let Some(lease) = lease {
                transaction.put_lease(&lease.free()).await?;
            }
            Ok(Answer::Unlocked(Some(Box::new(held))))
        }
    }
}

/// What a write came to whose commit nobody confirmed, from the record that it left. `None` if it came to a
/// lease that somebody took away since: then it is tried again and hears who.
async fn answer_of<T: Transaction>(
    transaction: &mut T,
    write: &Write,
    row: Row,
) -> Result<Option<Answer>, T::Failure> {
    let seq = row.seq;
    let record = readable(transaction, row)?;
    match &write.operation {
        Operation::Append { .. } => Ok(Some(Answer::Appended(Box::new(record)))),
        Operation::Acquire { subject, .. } | Operation::Steal { subject, .. } => {
            let lease = transaction.lease(subject).await?;
            Ok(current(transaction, lease.as_ref())?
                .filter(|held| Some(held.fence) == record.fence)
                .map(|held| Answer::Leased { fence: held.fence }))
        }
        // Leaves no record; not reached.
        Operation::Renew { .. } => Ok(None),
        Operation::Release { .. } => Ok(Some(Answer::Released)),
        Operation::Unlock { .. } => {
            let from = record.body.get("from").cloned().unwrap_or_default();
            let held = serde_json::from_value(from).map_err(|error| Error::Damaged {
                location: transaction.location().to_owned(),
                seq,
                reason: error.to_string(),
            })?;
            Ok(Some(Answer::Unlocked(Some(Box::new(held)))))
        }
    }
}

fn readable<T: Transaction>(transaction: &T, row: Row) -> Result<Record, Error> {
    let seq = row.seq;
    row.into_record().map_err(|reason| Error::Damaged {
        location: transaction.location().to_owned(),
        seq,
        reason,
    })
}

fn current<T: Transaction>(transaction: &T, lease: Option<&LeaseRow>) -> Result<Option<Held>, Error> {
    lease.map_or(Ok(None), |lease| lease.held(transaction.now(), transaction.location()))
}

/// The answer to a holder whose number is not the current one.
fn refuse<T: Transaction>(
    transaction: &T,
    lease: Option<&LeaseRow>,
    fence: u64,
) -> Result<Option<Answer>, Error> {
    let held = current(transaction, lease)?;
    Ok(match held {
        Some(held) if held.fence == fence => None,
        other => Some(Answer::Fenced(other.map(Box::new))),
    })
}

fn later(now: Timestamp, ttl: Duration) -> Timestamp {
    SignedDuration::try_from(ttl)
        .ok()
        .and_then(|ttl| now.checked_add(ttl).ok())
        // For ever, as far as this calendar goes.
        .unwrap_or(Timestamp::MAX)
}

#[allow(clippy::too_many_arguments, reason = "the parts of one row and one record")]
async fn take<T: Transaction>(
    transaction: &mut T,
    write: &Write,
    lease: Option<LeaseRow>,
    subject: &str,
    holder: &Holder,
    ttl: Duration,
    kind: &str,
    mut body: serde_json::Value,
) -> Result<Answer, T::Failure> {
    // Without a row the subject is new, or the row was removed; its records still know the number.
    let highest = match &lease {
        Some(lease) => lease.fence,
        None => transaction.highest_fence(subject).await?,
    };
    let fence = highest + 1;
    let now = transaction.now();
    let expires_at = later(now, ttl);
    body["holder"] = json!(holder);
    body["expires_at"] = json!(expires_at);
    event(transaction, &write.key, subject, kind, fence, &body).await?;
    let row = LeaseRow {
        subject: subject.to_owned(),
        fence,
        holder: Some(stored_body(&json!(holder))),
        since: Some(now.to_string()),
        expires_at: Some(expires_at.to_string()),
    };
    transaction.put_lease(&row).await?;
    Ok(Answer::Leased { fence })
}

async fn event<T: Transaction>(
    transaction: &mut T,
    key: &str,
    subject: &str,
    kind: &str,
    fence: u64,
    body: &serde_json::Value,
) -> Result<(), T::Failure> {
    let draft = Draft {
        subject: subject.to_owned(),
        rollout: None,
        kind: kind.to_owned(),
        body: serde_json::Value::Null,
    };
    chain(transaction, key, &draft, Some(fence), stored_body(body)).await.map(drop)
}

/// Appends: the next number, the time, the link, the hash.
async fn chain<T: Transaction>(
    transaction: &mut T,
    key: &str,
    draft: &Draft,
    fence: Option<u64>,
    body: String,
) -> Result<Row, T::Failure> {
    let (seq, previous) = transaction.head();
    let mut row = Row {
        version: u64::from(RECORD_VERSION),
        seq: seq + 1,
        at: transaction.now().to_string(),
        key: key.to_owned(),
        subject: draft.subject.clone(),
        rollout: draft.rollout.clone(),
        kind: draft.kind.clone(),
        fence,
        body,
        previous: previous.to_owned(),
        hash: String::new(),
    };
    let hash: Hash = row.content_hash();
    row.hash = hash.to_string();
    transaction.insert(row.clone()).await?;
    Ok(row)
}
