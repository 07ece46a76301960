//! The journal, as its users see it.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::{Clock, SystemClock},
    error::Error,
    holder::Holder,
    lease::{Acquisition, Held, Lease},
    location::{Location, Place},
    operation::{Answer, Operation, Write},
    postgres,
    record::{Draft, Hash, Query, Record, Row},
    sqlite,
    store::{QUEUE, Request},
    verify::{Extent, Summary, Verification, Verifier},
};

/// So many records are read at a time when all are looked at.
const PAGE: u64 = 1000;

/// What to do when there is no journal yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfMissing {
    Create,
    Fail,
}

/// An open journal. Clones share one connection, which is closed when the last clone is dropped.
///
/// Every method may be called from many tasks at once; writes that wait at the same time share a transaction.
/// A call whose future is dropped before the write was begun does nothing; later, the write still happens.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

struct Inner {
    location: String,
    clock: Arc<dyn Clock>,
    requests: mpsc::Sender<Request>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Journal({})", self.0.location)
    }
}

impl Journal {
    /// Opens the journal, and creates it (folders, file, tables) if there is none.
    pub async fn open(location: &Location) -> Result<Self, Error> {
        Self::open_with(location, Arc::new(SystemClock), IfMissing::Create).await
    }

    /// Opens the journal; fails with [`Error::Missing`] if there is none, and creates nothing.
    pub async fn open_existing(location: &Location) -> Result<Self, Error> {
        Self::open_with(location, Arc::new(SystemClock), IfMissing::Fail).await
    }

    /// As [`Journal::open`], with clocks of one's own. A PostgreSQL journal still takes the time of its
    /// records and leases from the server.
    pub async fn open_with_clock(location: &Location, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::open_with(location, clock, IfMissing::Create).await
    }

    async fn open_with(
        location: &Location,
        clock: Arc<dyn Clock>,
        if_missing: IfMissing,
    ) -> Result<Self, Error> {
        let (requests, inbox) = mpsc::channel(QUEUE);
        match &location.0 {
            Place::File(path) => sqlite::start(path, if_missing, Arc::clone(&clock), inbox).await?,
            Place::Postgres(server) => postgres::start(server, if_missing, inbox).await?,
        }
        Ok(Self(Arc::new(Inner { location: location.to_string(), clock, requests })))
    }

    /// Where it is; shows no password.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.0.location
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Appends a record without a lease: requests, approvals, settings. When it returns, the record is on the
    /// disk.
    pub async fn append(&self, draft: Draft) -> Result<Record, Error> {
        match self.write(Write::new(Operation::Append { draft, fence: None })).await? {
            Answer::Appended(record) => Ok(*record),
            _ => Err(self.closed()),
        }
    }

    /// The records that the query selects. Without a limit all of them are read into memory.
    pub async fn records(&self, query: &Query) -> Result<Vec<Record>, Error> {
        let rows = self.rows(query.clone()).await?;
        rows.into_iter().map(|row| self.record(row)).collect()
    }

    fn record(&self, row: Row) -> Result<Record, Error> {
        let seq = row.seq;
        row.into_record().map_err(|reason| Error::Damaged { location: self.0.location.clone(), seq, reason })
    }

    /// The number and the hash of the last record; 0 and [`Hash::ZERO`] of an empty journal.
    pub async fn head(&self) -> Result<(u64, Hash), Error> {
        let corrupt =
            |reason: &str| Error::Corrupt { location: self.0.location.clone(), reason: reason.to_owned() };
        let (seq, hash) = self
            .summary()
            .await?
            .head
            .ok_or_else(|| corrupt("the row that names the last record is missing"))?;
        Ok((seq, hash.parse().map_err(|_| corrupt("the hash of the last record is none"))?))
    }

    /// Checks every record, the chain, its end, and whether the `anchor` (a hash of a record that was noted
    /// elsewhere) is part of it. Fails with [`Error::Violated`], which lists what is wrong.
    ///
    /// Who can write to the database can write a whole new chain: only an anchor shows that.
    pub async fn verify(&self, anchor: Option<&Hash>) -> Result<Verification, Error> {
        let summary = self.summary().await?;
        let mut verifier = Verifier::new(Extent::Whole, anchor.copied());
        // Records that others append meanwhile are not looked at.
        let last = summary.head.as_ref().map_or(summary.last_seq, |(seq, _)| *seq);
        let mut after = 0;
        'pages: loop {
            let rows = self.page(&Query::default(), after, PAGE).await?;
            let Some(end) = rows.last().map(|row| row.seq) else { break };
            for row in rows {
                if row.seq > last {
                    break 'pages;
                }
                verifier.push(row);
            }
            after = end;
        }
        verifier
            .finish(Some(&summary))
            .map_err(|violations| Error::Violated { location: self.0.location.clone(), violations })
    }

    /// One page of the query's records, oldest first, after the given number.
    pub(crate) async fn page(&self, query: &Query, after: u64, limit: u64) -> Result<Vec<Row>, Error> {
        let query = Query {
            after_seq: Some(after.max(query.after_seq.unwrap_or(0))),
            limit: Some(limit.min(PAGE)),
            newest_first: false,
            ..query.clone()
        };
        self.rows(query).await
    }

    /// Asks for the lease of a subject. A lease whose time is over, or whose holder's process on this machine
    /// is gone, is taken over. Whoever has it otherwise is answered, at once: waiting is the caller's.
    pub async fn acquire(&self, subject: &str, holder: Holder, ttl: Duration) -> Result<Acquisition, Error> {
        let (subject, holder) = (subject.to_owned(), Box::new(holder));
        self.lease(Operation::Acquire { subject, holder, ttl }).await
    }

    /// Takes the lease of a subject away from whoever has it. Recorded, with who it was and the reason.
    pub async fn steal(
        &self,
        subject: &str,
        holder: Holder,
        ttl: Duration,
        reason: &str,
    ) -> Result<Lease, Error> {
        let (subject, holder, reason) = (subject.to_owned(), Box::new(holder), reason.to_owned());
        match self.lease(Operation::Steal { subject, holder, ttl, reason }).await? {
            Acquisition::Acquired(lease) => Ok(lease),
            // A theft is never refused, except when its answer was lost and somebody else stole it since.
            Acquisition::Held(by) => {
                Err(Error::Fenced { subject: by.subject.clone(), fence: by.fence, by: Some(Box::new(by)) })
            }
        }
    }

    async fn lease(&self, operation: Operation) -> Result<Acquisition, Error> {
        let (Operation::Acquire { subject, ttl, .. } | Operation::Steal { subject, ttl, .. }) = &operation
        else {
            return Err(self.closed());
        };
        let (subject, ttl) = (subject.clone(), *ttl);
        let sent = self.0.clock.elapsed();
        match self.write(Write::new(operation)).await? {
            Answer::Leased { fence } => {
                Ok(Acquisition::Acquired(Lease::new(self.clone(), subject, fence, ttl, sent)))
            }
            Answer::Held(held) => Ok(Acquisition::Held(*held)),
            _ => Err(self.closed()),
        }
    }

    /// Frees a subject without taking it, and tells who had it. Recorded, with who did it and the reason.
    pub async fn unlock(&self, subject: &str, by: Holder, reason: &str) -> Result<Option<Held>, Error> {
        let (subject, by, reason) = (subject.to_owned(), Box::new(by), reason.to_owned());
        match self.write(Write::new(Operation::Unlock { subject, by, reason })).await? {
            Answer::Unlocked(held) => Ok(held.map(|held| *held)),
            _ => Err(self.closed()),
        }
    }

    /// Who has the lease of a subject, also if its time is over.
    pub async fn lease_of(&self, subject: &str) -> Result<Option<Held>, Error> {
        Ok(self.held(Some(subject.to_owned())).await?.pop())
    }

    /// Every lease that somebody has, also if its time is over, by subject.
    pub async fn leases(&self) -> Result<Vec<Held>, Error> {
        self.held(None).await
    }

    async fn held(&self, subject: Option<String>) -> Result<Vec<Held>, Error> {
        let (rows, now) = self.ask(|reply| Request::Leases(subject, reply)).await?;
        let held = rows.iter().map(|row| row.held(now, &self.0.location));
        held.filter_map(Result::transpose).collect()
    }

    pub(crate) async fn rows(&self, query: Query) -> Result<Vec<Row>, Error> {
        self.ask(|reply| Request::Records(query, reply)).await
    }

    async fn summary(&self) -> Result<Summary, Error> {
        self.ask(Request::Summary).await
    }

    pub(crate) async fn write(&self, write: Write) -> Result<Answer, Error> {
        self.ask(|reply| Request::Write(write, Some(reply))).await
    }

    async fn ask<R>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<R, Error>>) -> Request,
    ) -> Result<R, Error> {
        let (reply, answer) = oneshot::channel();
        self.0.requests.send(request(reply)).await.map_err(|_| self.closed())?;
        answer.await.map_err(|_| self.closed())?
    }

    fn closed(&self) -> Error {
        Error::Closed { location: self.0.location.clone() }
    }
}
