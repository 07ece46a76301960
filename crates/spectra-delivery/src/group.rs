//! Rollouts that go back together.

use std::sync::Arc;

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
    /// were completed; each is a report, also where an error ends it early. One that had been brought out by an earlier run has stood its test, and stays.
    pub(crate) async fn take_back_with(
        &self,
        failed: &str,
        request: &RolloutRequest,
        reports: &mut Vec<Report>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let Some(group) = &request.group else { return Ok(()) };
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
            let reason = FailureReason::Group { rollout: failed.to_owned() };
            let report = self.take_back_under(rollout, &other, ledger, reason, &leases, cancel).await;
            leases.release().await;
            reports.extend(report?);
            // What that one depends on goes with it.
            Box::pin(self.take_back_with(rollout, &other, reports, cancel)).await?;
        }
        Ok(())
    }

    async fn take_back_under(
        &self,
        rollout: &str,
        request: &RolloutRequest,
        ledger: Ledger,
        reason: FailureReason,
        leases: &Leases,
        cancel: &CancellationToken,
    ) -> Result<Option<Report>, Error> {
        let Some(lease) = leases.of(&request.place.subject()) else { return Ok(None) };
        let probes = Probes::lenient(self.client, request);
        let guard = LeaseGuard::of([leases]);
        let (diary, entries) =
            JournalDiary::new(self.journal, Arc::clone(&guard), lease, rollout, self.listener).await?;
        // The login of the one that failed is for its own services. The platform has the one that these came with.
        let rig = self.rig(probes, rollout, request, guard, None);
        let going_back = Box::pin(take_back(rollout, ledger, reason, rig.ports(&diary), cancel));
        Ok(self.with_logs(rollout, entries, going_back).await)
    }
}
