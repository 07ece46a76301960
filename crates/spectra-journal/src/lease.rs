//! Leases: one holder a subject, for a limited time, under a number that only rises.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    error::Error,
    holder::Holder,
    journal::Journal,
    operation::{Answer, Operation, Write},
    record::{Draft, Record},
};

/// The kinds of the records that leases leave.
pub mod kinds {
    /// Somebody took a free subject.
    pub const ACQUIRED: &str = "lease.acquired";
    /// The holder gave it back.
    pub const RELEASED: &str = "lease.released";
    /// Somebody took it away from its holder, with a reason.
    pub const STOLEN: &str = "lease.stolen";
    /// The time was over, or the holder's process gone, and somebody else took it.
    pub const TAKEN_OVER: &str = "lease.taken_over";
    /// Somebody freed it without taking it, with a reason.
    pub const UNLOCKED: &str = "lease.unlocked";
}

/// A lease that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What it is the lease of.
    pub subject: String,
    /// Who has it.
    pub holder: Holder,
    /// Its fencing number.
    pub fence: u64,
    /// Since when.
    pub since: Timestamp,
    /// Until when, unless it is renewed.
    pub expires_at: Timestamp,
    /// Whether that time was over, by the journal's clock, when this was read: anybody may take it over.
    pub expired: bool,
}

/// What came of asking for a lease.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Acquisition {
    /// It is ours.
    Acquired(Lease),
    /// Somebody else has it.
    Held(Held),
}

/// Why a heartbeat ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum LeaseEnd {
    /// The holder released the lease.
    Released,
    /// Nobody has the lease any more: every clone was dropped. It was not released, and runs out.
    Dropped,
    /// Somebody else took it, or freed it.
    Lost {
        /// Who has it now, if anybody does.
        by: Option<Box<Held>>,
    },
    /// It could not be renewed in time. It may still be ours, and is not surely so.
    Expired {
        /// Why the last renewal failed; `None` if it was not answered.
        source: Option<Box<Error>>,
    },
}

impl fmt::Display for LeaseEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Released => f.write_str("it was released"),
            Self::Dropped => f.write_str("nobody uses it any more"),
            Self::Lost { by: Some(held) } => write!(f, "{} took it", held.holder),
            Self::Lost { by: None } => f.write_str("somebody freed it"),
            Self::Expired { source: Some(error) } => write!(f, "it could not be renewed in time: {error}"),
            Self::Expired { source: None } => f.write_str("it was not renewed in time"),
        }
    }
}

/// The right to act on a subject, for as long as it is renewed and nobody takes it away. Clones are the same
/// lease. Dropping it releases nothing: it runs out, or the next acquirer sees that this process is gone.
#[derive(Clone)]
pub struct Lease(Arc<Shared>);

struct Shared {
    journal: Journal,
    subject: String,
    fence: u64,
    ttl: Duration,
    /// Elapsed time just before the last successful renewal was sent.
    renewed: Mutex<Duration>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone)]
enum State {
    /// As far as this process was told.
    Held,
    Released,
    Lost(Option<Box<Held>>),
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} of `{}`)", self.0.fence, self.0.subject)
    }
}

impl Lease {
    pub(crate) fn new(journal: Journal, subject: String, fence: u64, ttl: Duration, sent: Duration) -> Self {
        Self(Arc::new(Shared {
            journal,
            subject,
            fence,
            ttl,
            renewed: Mutex::new(sent),
            state: watch::Sender::new(State::Held),
        }))
    }

    /// What it is the lease of.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Its number: higher than that of every earlier lease of the subject.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.0.fence
    }

    /// How long it holds without a renewal.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.0.ttl
    }

    /// Appends a record, if this is still the current lease of the subject: both in one transaction.
    ///
    /// The record's subject is the lease's, whatever the draft says. A lease whose time is over and which
    /// nobody took still appends. Fails with [`Error::Fenced`] otherwise, and then nothing was recorded.
    pub async fn append(&self, draft: Draft) -> Result<Record, Error> {
        let draft = Draft { subject: self.0.subject.clone(), ..draft };
        let write = Write::new(Operation::Append { draft, fence: Some(self.0.fence) });
        match self.0.journal.write(write).await? {
            Answer::Appended(record) => Ok(*record),
            other => Err(self.0.refused(other)),
        }
    }

    /// Starts the time to live anew. Fails with [`Error::Fenced`] when the lease was lost.
    pub async fn renew(&self) -> Result<(), Error> {
        self.0.renew().await
    }

    /// Gives the subject back. Does nothing when that was done before; fails with [`Error::Fenced`] when the
    /// lease was lost.
    pub async fn release(&self) -> Result<(), Error> {
        if matches!(*self.0.state.borrow(), State::Released) {
            return Ok(());
        }
        let write = Write::new(Operation::Release { subject: self.0.subject.clone(), fence: self.0.fence });
        match self.0.journal.write(write).await? {
            Answer::Released => {
                self.0.state.send_replace(State::Released);
                Ok(())
            }
            other => Err(self.0.refused(other)),
        }
    }

    /// Whether nobody else can have the lease by its time, as far as this process can tell without asking:
    /// less than nine tenths of the time to live went by since before the last renewal was sent.
    ///
    /// The time is that of [`Clock::elapsed`](crate::Clock::elapsed), which on Linux also goes on while the
    /// process is stopped (SIGSTOP) or the machine suspended. A lease that somebody stole is found out by the
    /// next append or renewal, not here.
    #[must_use]
    pub fn surely_held(&self) -> bool {
        self.0.remaining() > Duration::ZERO
    }

    /// Renews the lease at every third of its time to live, until it is released or lost; tells why it ended.
    ///
    /// A renewal that fails, because the journal cannot be reached, is tried again until the lease is not
    /// [surely held](Lease::surely_held). The future holds no clone of the lease: it ends when all are dropped.
    pub fn heartbeat(&self) -> impl Future<Output = LeaseEnd> + Send + 'static {
        let clock = Arc::clone(self.0.journal.clock());
        heartbeat(Arc::downgrade(&self.0), self.0.state.subscribe(), clock)
    }
}

impl Shared {
    /// How long it is surely ours from now on.
    fn remaining(&self) -> Duration {
        if !matches!(*self.state.borrow(), State::Held) {
            return Duration::ZERO;
        }
        let since = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
        // Clocks do not go at quite the same speed, and what follows the question takes time too.
        let sure = self.ttl.saturating_sub(self.ttl / 10);
        (since + sure).saturating_sub(self.journal.clock().elapsed())
    }

    async fn renew(&self) -> Result<(), Error> {
        let sent = self.journal.clock().elapsed();
        let write =
            Write::new(Operation::Renew { subject: self.subject.clone(), fence: self.fence, ttl: self.ttl });
        match self.journal.write(write).await? {
            Answer::Renewed => {
                let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
                *renewed = sent.max(*renewed);
                Ok(())
            }
            other => Err(self.refused(other)),
        }
    }

    fn refused(&self, answer: Answer) -> Error {
        let by = match answer {
            Answer::Fenced(by) => by,
            // Each write is answered in its own kind or with `Fenced`.
            _ => None,
        };
        // Who released it is told so by later calls, and did not lose it.
        self.state.send_if_modified(|state| {
            let held = matches!(state, State::Held);
            if held {
                *state = State::Lost(by.clone());
            }
            held
        });
        Error::Fenced { subject: self.subject.clone(), fence: self.fence, by }
    }
}

async fn heartbeat(
    lease: Weak<Shared>,
    mut state: watch::Receiver<State>,
    clock: Arc<dyn Clock>,
) -> LeaseEnd {
    let mut failed: Option<Box<Error>> = None;
    loop {
        let pause = {
            let Some(lease) = lease.upgrade() else { return LeaseEnd::Dropped };
            let part = if failed.is_some() { 30 } else { 3 };
            (lease.ttl / part).max(Duration::from_millis(10))
        };
        // Every way in which a lease ends changes the state or drops its sender.
        tokio::select! {
            biased;
            ended = state.wait_for(|state| !matches!(state, State::Held)) => {
                return match ended.as_deref() {
                    Ok(State::Released) => LeaseEnd::Released,
                    Ok(State::Lost(by)) => LeaseEnd::Lost { by: by.clone() },
                    Ok(State::Held) | Err(_) => LeaseEnd::Dropped,
                };
            }
            () = clock.sleep(pause) => {}
        }
        let Some(lease) = lease.upgrade() else { return LeaseEnd::Dropped };
        // After a stop of the process nothing remains, and the lease may still be there: it is asked for.
        let patience = lease.remaining().max(lease.ttl / 10);
        let renewed = tokio::select! {
            biased;
            renewed = lease.renew() => Some(renewed),
            () = clock.sleep(patience) => None,
        };
        match renewed {
            Some(Ok(())) => failed = None,
            // The state says who has it now, or that it was released.
            Some(Err(Error::Fenced { .. })) => {}
            Some(Err(error)) if lease.remaining() > Duration::ZERO => {
                tracing::warn!(subject = lease.subject, %error, "a lease could not be renewed yet");
                failed = Some(Box::new(error));
            }
            Some(Err(error)) => return LeaseEnd::Expired { source: Some(Box::new(error)) },
            None => return LeaseEnd::Expired { source: failed },
        }
    }
}
