//! One service on its way back.

use std::time::Duration;

use spectra_types::{DeploymentId, PinnedImage};

use super::command::{Command, Event};
use super::release::{Next, Release, Stage, ended};
use crate::model::{DeploymentState, FailureReason, Measurement, Observation, Snapshot};
use crate::ports::RestoreOrder;

impl Release {
    /// Begins the way back. `deployment` is the candidate's, where it is known.
    pub(super) fn back(
        &mut self,
        now: Duration,
        snapshot: Snapshot,
        deployment: Option<DeploymentId>,
        cautious: bool,
    ) -> Command {
        self.stage = Stage::Back;
        self.begun = now;
        self.snapshot = snapshot;
        self.deployment = deployment;
        self.restorer = None;
        self.agreeing = 0;
        self.healthy = 0;
        self.unhealthy = 0;
        self.last_failed_call = None;
        self.cautious = cautious;
        if cautious { Command::Observe(self.place.clone()) } else { self.restore() }
    }

    fn restore(&self) -> Command {
        let order = RestoreOrder {
            snapshot: self.snapshot.clone(),
            failed: self.deployment.clone(),
            candidate: self.candidate.clone(),
            pre_deploy: self.pre_deploy.1.clone(),
        };
        Command::Restore { place: self.place.clone(), order: Box::new(order) }
    }

    pub(super) fn backwards(&mut self, now: Duration, event: Event) -> Next {
        // A look that shows the snapshot serving ends it well, however late.
        let looking = matches!(
            event,
            Event::Observed(_)
                | Event::Restored(None)
                | Event::Deployment(DeploymentState::Active | DeploymentState::Sleeping)
        );
        if now.saturating_sub(self.begun) > self.abort_timeout && !looking {
            let reason = match (event, self.last_failed_call.take()) {
                (Event::CallFailed { message, effect }, _) | (_, Some((message, effect))) => {
                    FailureReason::Target { message, effect }
                }
                _ => FailureReason::Timeout { timeout: self.abort_timeout },
            };
            return Next::BackFailed(reason);
        }
        match event {
            Event::Restored(None)
            | Event::Deployment(DeploymentState::Active | DeploymentState::Sleeping) => {
                Next::Do(Command::Observe(self.place.clone()))
            }
            Event::Restored(Some(id)) => {
                self.restorer = Some(id.clone());
                Next::Do(Command::ReadDeployment { place: self.place.clone(), id })
            }
            Event::Deployment(DeploymentState::Pending(_)) => Next::Do(self.wait(self.poll)),
            Event::Deployment(state) => Next::BackFailed(ended(state)),
            Event::Observed(observation) => self.observed_back(now, &observation),
            Event::Measured(measurement) => self.probed_back(&measurement),
            // An unreachable platform is no verdict on the way back either: it has all of its time.
            Event::CallFailed { message, effect } => {
                self.last_failed_call = Some((message, effect));
                Next::Do(self.wait(self.poll))
            }
            // Nothing is brought back over what was not looked at.
            _ if self.cautious => Next::Do(Command::Observe(self.place.clone())),
            // Bringing the snapshot back is repeatable; already unwinding is what a stop asks for.
            _ => Next::Do(match self.restorer.clone() {
                Some(id) => Command::ReadDeployment { place: self.place.clone(), id },
                None => self.restore(),
            }),
        }
    }

    fn observed_back(&mut self, now: Duration, observation: &Observation) -> Next {
        if std::mem::take(&mut self.cautious) {
            if let Some(by) = self.somebody_elses(observation) {
                return Next::BackFailed(FailureReason::Superseded { by });
            }
            return Next::Do(self.restore());
        }
        let serves = match &self.snapshot.running {
            None => observation.running.as_ref().is_none_or(|running| match &self.deployment {
                Some(candidate) => running.deployment != *candidate,
                // Its start was never answered; its image tells.
                None => running.digest.as_ref() != Some(self.candidate.digest()),
            }),
            Some(before) => observation.running.as_ref().is_some_and(|running| {
                let same = before.digest.is_some()
                    && running.digest == before.digest
                    && Some(&running.deployment) != self.deployment.as_ref();
                // What was lame before comes back lame: it must not look like a rollback that failed.
                let untouched = running.deployment == before.deployment && !before.all_replicas_running;
                (same
                    || Some(&running.deployment) == self.restorer.as_ref()
                    || running.deployment == before.deployment)
                    && (running.all_replicas_running || untouched)
            }),
        };
        if serves {
            // A snapshot that never stopped serving was judged by its users already.
            return if self.restorer.is_some() && self.health.is_some() {
                Next::Do(self.probe(now))
            } else {
                Next::Back(observation.running.as_ref().map(|running| running.deployment.clone()))
            };
        }
        if now.saturating_sub(self.begun) > self.abort_timeout {
            let running = observation.running_digest().cloned();
            return Next::BackFailed(FailureReason::WrongDigest { running });
        }
        Next::Do(self.wait(self.poll))
    }

    /// After an interruption anything may have happened: a third version that serves now is somebody's decision.
    fn somebody_elses(&self, observation: &Observation) -> Option<DeploymentId> {
        let running = observation.running.as_ref()?;
        let digest = running.digest.as_ref()?;
        // A deployment whose start was never answered cannot be told by its id; as long as the setting is the candidate,
        // what runs came of it, whatever it is.
        let set = || observation.setting.as_deref().and_then(|text| text.parse::<PinnedImage>().ok());
        let ours = digest == self.candidate.digest()
            || (self.deployment.is_none() && set().as_ref() == Some(&self.candidate))
            || Some(digest) == self.snapshot.digest()
            || Some(&running.deployment) == self.deployment.as_ref()
            || self.snapshot.running.as_ref().is_some_and(|before| before.deployment == running.deployment);
        (!ours).then(|| running.deployment.clone())
    }

    fn probed_back(&mut self, measurement: &Measurement) -> Next {
        let Some(health) = self.health.clone() else { return Next::Back(self.restorer.clone()) };
        if let Some(reason) = self.judge(measurement) {
            return Next::BackFailed(reason);
        }
        if self.healthy >= health.success_threshold {
            return Next::Back(self.restorer.clone());
        }
        // The next one after a pause; an answer to a wait here is no reason to read again.
        Next::Do(Command::Wait { at_most: health.interval, following: None })
    }
}
