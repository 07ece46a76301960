//! Rollouts that go back together.

use spectra_rollout::{FailureReason, Ledger, Outcome, Report, RolloutRequest, take_back};
use tokio_util::sync::CancellationToken;

use crate::deliver::Delivery;
use crate::diary::JournalDiary;
use crate::error::Error;
use crate::leases::{LeaseGuard, Leases};
use crate::probes::Probes;
use crate::standing::entries;

impl Delivery<'_> {
    /// Takes back what a failed rollout depends on, the last first: those of its rollouts that were part of the same run and
    /// were completed. One that had been brought out by an earlier run has stood its test, and stays.
    pub(crate) async fn take_back_with(
        &self,
        failed: &str,
        request: &RolloutRequest,
        cancel: &CancellationToken,
    ) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::new();
        let Some(group) = &request.group else { return Ok(reports) };
        for rollout in request.depends_on.iter().rev() {
            let found = match entries(self.journal, rollout).await {
                Ok(found) => found,
                // Its journal was another one, so it was another run.
                Err(Error::NoSuchRollout(_)) => continue,
                Err(error) => return Err(error),
            };
            let ledger = Ledger::of(found.iter().map(|(_, entry)| entry));
            let Some(other) = ledger.request().cloned() else { continue };
            let completed = matches!(ledger.outcome(), Some(Outcome::Complete { .. }));
            if other.group.as_ref() != Some(group) || !completed {
                continue;
            }
            let places = other.places();
            let leases = Leases::acquire(self.journal, &places, &self.holder, &self.waiting, cancel).await?;
            let Some(lease) = leases.of(&other.place.subject()) else { continue };
            let probes = Probes::lenient(self.client, &other);
            let diary = JournalDiary::new(self.journal, &leases, lease, rollout, self.listener).await?;
            let rig = self.rig(probes, rollout, &other, LeaseGuard::of([&leases]));
            let reason = FailureReason::Group { rollout: failed.to_owned() };
            reports.extend(take_back(rollout, ledger, reason, rig.ports(&diary), cancel).await);
            leases.release().await;
            // What that one depends on goes with it.
            reports.extend(Box::pin(self.take_back_with(rollout, &other, cancel)).await?);
        }
        Ok(reports)
    }
}
