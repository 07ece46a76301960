//! The leases of every service that a rollout acts on.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use spectra_journal::{Acquisition, Held, Holder, Journal, Lease};
use spectra_railway::Guard;
use spectra_rollout::Place;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::deliver::Waiting;
use crate::error::Error;

/// How long a lease holds without a heartbeat.
pub const DEFAULT_TTL: Duration = Duration::from_mins(1);
/// How often a lease that somebody else has is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How long the journal is waited for before a change. The time that a lease has left is looked at as well.
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Leases that are kept alive until they are released or dropped.
pub(crate) struct Leases {
    all: Vec<Lease>,
    /// Ends the heartbeats with the leases.
    _beats: JoinSet<()>,
}

impl Leases {
    /// Takes the leases of all places, in one order for everybody, so that two rollouts do not wait for each other.
    pub(crate) async fn acquire(
        journal: &Journal,
        places: &[Place],
        holder: &Holder,
        waiting: &Waiting<'_>,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let mut subjects: Vec<String> = places.iter().map(Place::subject).collect();
        subjects.sort();
        subjects.dedup();
        let mut all = Vec::with_capacity(subjects.len());
        let until = tokio::time::Instant::now() + waiting.at_most;
        for subject in subjects {
            match acquire(journal, &subject, holder, waiting, until, cancel).await {
                Ok(lease) => all.push(lease),
                Err(error) => {
                    give_back(&all).await;
                    return Err(error);
                }
            }
        }
        let mut beats = JoinSet::new();
        for lease in &all {
            let (beat, subject) = (lease.heartbeat(), lease.subject().to_owned());
            beats.spawn(async move {
                let end = beat.await;
                tracing::debug!(subject, %end, "the heartbeat of a lease ended");
            });
        }
        Ok(Self { all, _beats: beats })
    }

    /// The lease of one place.
    pub(crate) fn of(&self, subject: &str) -> Option<&Lease> {
        self.all.iter().find(|lease| lease.subject() == subject)
    }

    /// Every lease.
    pub(crate) fn all(&self) -> &[Lease] {
        &self.all
    }

    /// Gives all of them back. One that was lost meanwhile is somebody else's to give back.
    pub(crate) async fn release(self) {
        give_back(&self.all).await;
    }
}

/// Whether a process that may live has the lease of a service.
pub async fn is_acted_on(journal: &Journal, place: &Place) -> Result<bool, Error> {
    let held = journal.lease_of(&place.subject()).await?;
    Ok(held.is_some_and(|held| !held.expired && !held.holder.is_gone()))
}

/// Allows changes while every lease is held, by the journal's word where it gives it in time.
pub(crate) struct LeaseGuard(Vec<Lease>);

impl LeaseGuard {
    pub(crate) fn of<'a>(leases: impl IntoIterator<Item = &'a Leases>) -> Arc<Self> {
        Arc::new(Self(leases.into_iter().flat_map(Leases::all).cloned().collect()))
    }
}

impl LeaseGuard {
    /// Whether all of them are surely held, without asking anybody.
    pub(crate) fn surely_held(&self) -> bool {
        self.0.iter().all(Lease::surely_held)
    }
}

impl Guard for LeaseGuard {
    fn may_change(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            for lease in &self.0 {
                // A lease that was taken away while this process slept still looks held from here, so it is asked for. A
                // journal that cannot be asked does not stop the way back: then the time alone decides.
                if let Ok(Err(error @ spectra_journal::Error::Fenced { .. })) =
                    tokio::time::timeout(ASK_WITHIN, lease.renew()).await
                {
                    return Err(error.to_string());
                }
                if !lease.surely_held() {
                    return Err(format!(
                        "the lease of `{}` ran out before it could be renewed",
                        lease.subject()
                    ));
                }
            }
            Ok(())
        })
    }
}

async fn give_back(leases: &[Lease]) {
    for lease in leases {
        if let Err(error) = lease.release().await {
            tracing::warn!(subject = lease.subject(), %error, "a lease could not be given back; it runs out by itself");
        }
    }
}

async fn acquire(
    journal: &Journal,
    subject: &str,
    holder: &Holder,
    waiting: &Waiting<'_>,
    until: tokio::time::Instant,
    cancel: &CancellationToken,
) -> Result<Lease, Error> {
    let mut told: Option<Held> = None;
    loop {
        let held = match journal.acquire(subject, holder.clone(), waiting.ttl).await? {
            Acquisition::Acquired(lease) => return Ok(lease),
            Acquisition::Held(held) => held,
        };
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        if left.is_zero() || cancel.is_cancelled() {
            return Err(Error::LeaseHeld { held: Box::new(held) });
        }
        if told.as_ref().is_none_or(|told| told.fence != held.fence) {
            (waiting.told)(&held);
            told = Some(held);
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = tokio::time::sleep(left.min(ASK_AGAIN)) => {}
        }
    }
}
