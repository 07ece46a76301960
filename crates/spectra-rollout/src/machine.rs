//! The machine: state × event → state, command.

use std::time::Duration;

use spectra_types::{DeploymentId, PinnedImage};

use crate::model::{
    Adopt, DeploymentState, Failure, FailureReason, HealthPolicy, Measurement, Observation, Outcome, Phase,
    RolloutRequest, Snapshot, Verdict,
};
use crate::target::Effect;

/// Consecutive reads that must agree before the platform's word on what runs is taken.
const AGREEING_READS: u32 = 2;
/// Calls that may fail in a row before the rollout is refused.
const CALL_ATTEMPTS: u32 = 5;

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The rollout begins.
    Begin,
    /// Answer to [`Command::Observe`].
    Observed(Observation),
    /// Answer to [`Command::Deploy`].
    Started(DeploymentId),
    /// Answer to [`Command::ReadDeployment`].
    Deployment(DeploymentState),
    /// Answer to [`Command::Measure`].
    Measured(Measurement),
    /// Answer to [`Command::Restore`].
    Restored(Option<DeploymentId>),
    /// A command failed.
    CallFailed {
        /// What was attempted and why it failed.
        message: String,
        /// What it may have left behind.
        effect: Effect,
    },
    /// The end of a [`Command::Wait`].
    Woken,
    /// The user stops the rollout.
    Cancelled,
}

/// What to do next. There is always exactly one thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Read what runs.
    Observe,
    /// Deploy the candidate on top of this baseline.
    Deploy(Observation),
    /// Read one deployment.
    ReadDeployment(DeploymentId),
    /// Probe once.
    Measure,
    /// Bring the snapshot back.
    Restore {
        /// What to bring back.
        snapshot: Snapshot,
        /// The deployment that failed.
        failed: Option<DeploymentId>,
    },
    /// Do nothing for a while.
    Wait(Duration),
    /// It is over.
    Finish(Box<Outcome>),
}

/// A rollout in progress.
#[derive(Clone, Debug)]
pub struct Machine {
    request: RolloutRequest,
    poll: Duration,
    phase: Phase,
    begun: Duration,
    progressed: Duration,
    last_read: Duration,
    baked_from: Duration,
    status: String,
    baseline: Option<Observation>,
    /// Set as soon as anything may have been changed.
    changed: bool,
    candidate: Option<DeploymentId>,
    /// The deployment that brings the snapshot back.
    restorer: Option<DeploymentId>,
    failure: Option<Failure>,
    agreeing: u32,
    healthy: u32,
    unhealthy: u32,
    failed_calls: u32,
    /// The call on the way back that failed last, unless one was answered since.
    last_failed_call: Option<(String, Effect)>,
    last_measurement: Option<Measurement>,
    /// Since when not every replica was seen running.
    missing_since: Option<Duration>,
    /// The platform was asked last and gave no verdict: the probe is asked next.
    probe_next: bool,
}

impl Machine {
    /// A rollout that has not begun. `poll` is the time between two reads of the platform.
    #[must_use]
    pub fn new(request: RolloutRequest, poll: Duration) -> Self {
        Self {
            request,
            poll,
            phase: Phase::Preflight,
            begun: Duration::ZERO,
            progressed: Duration::ZERO,
            last_read: Duration::ZERO,
            baked_from: Duration::ZERO,
            status: String::new(),
            baseline: None,
            changed: false,
            candidate: None,
            restorer: None,
            failure: None,
            agreeing: 0,
            healthy: 0,
            unhealthy: 0,
            failed_calls: 0,
            last_failed_call: None,
            last_measurement: None,
            missing_since: None,
            probe_next: false,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// The candidate's deployment, once there is one.
    #[must_use]
    pub const fn candidate(&self) -> Option<&DeploymentId> {
        self.candidate.as_ref()
    }

    /// What was there before; empty until it has been looked at.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.baseline.as_ref().map(Observation::snapshot).unwrap_or_default()
    }

    /// Takes one event at time `now` and says what to do next.
    pub fn step(&mut self, now: Duration, event: Event) -> Command {
        match self.decide(now, event) {
            Command::Wait(pause) => Command::Wait(pause.min(self.left(now))),
            command => command,
        }
    }

    /// The time until the clock that is running is over, and a moment: no wait outlasts it.
    fn left(&self, now: Duration) -> Duration {
        let limit = match self.phase {
            Phase::RollingBack => self.request.abort_timeout,
            _ => self.request.timeout,
        };
        (self.begun + limit).saturating_sub(now) + Duration::from_millis(1)
    }

    fn decide(&mut self, now: Duration, event: Event) -> Command {
        if !matches!(event, Event::CallFailed { .. } | Event::Woken | Event::Cancelled) {
            self.failed_calls = 0;
            self.last_failed_call = None;
        }
        if let Event::Measured(measurement) = &event {
            self.last_measurement = Some(measurement.clone());
        }
        match (self.phase, event) {
            (Phase::RollingBack, event) => self.step_back(now, event),
            (phase, Event::Cancelled) => {
                // The answer to a deploy call leads out of this phase, so here the call was never made.
                if phase == Phase::Starting {
                    self.changed = false;
                }
                self.fail(now, FailureReason::Cancelled)
            }
            (Phase::Preflight, event) => self.preflight(now, event),
            (phase, event) => {
                let elapsed = now.saturating_sub(self.begun);
                // The deployment's id must be taken note of even when time is up: it is what gets rolled back.
                if let Event::Started(id) = &event {
                    self.candidate = Some(id.clone());
                }
                if elapsed > self.request.timeout {
                    return self.fail(now, FailureReason::Timeout { timeout: self.request.timeout });
                }
                self.forward(now, phase, event)
            }
        }
    }

    fn preflight(&mut self, now: Duration, event: Event) -> Command {
        match event {
            Event::Begin => {
                self.begun = now;
                self.progressed = now;
                Command::Observe
            }
            Event::Observed(observation) => {
                if let Some(id) = &observation.in_flight {
                    let limit = self.request.progress_deadline.min(self.request.timeout);
                    if now.saturating_sub(self.begun) >= limit {
                        let message = format!(
                            "deployment `{id}`, started by somebody else, was still on its way after {limit:?}; \
                             wait for it or cancel it, then apply again",
                        );
                        return self.fail(now, FailureReason::Target { message, effect: Effect::None });
                    }
                    return Command::Wait(self.poll);
                }
                self.begin_forward(now, observation)
            }
            Event::CallFailed { message, .. } => {
                self.failed_calls += 1;
                if self.failed_calls >= CALL_ATTEMPTS {
                    return self.fail(now, FailureReason::Target { message, effect: Effect::None });
                }
                Command::Wait(self.poll)
            }
            _ => Command::Observe,
        }
    }

    /// Adopts what runs if it is the candidate already; deploys otherwise.
    fn begin_forward(&mut self, now: Duration, observation: Observation) -> Command {
        let runs = observation.running_digest() == Some(self.request.candidate.digest());
        // The same image may be written in other words: with a tag beside the digest, or without the registry.
        let set: Option<PinnedImage> = observation.setting.as_deref().and_then(|text| text.parse().ok());
        let is_set = set.as_ref() == Some(&self.request.candidate);
        self.progressed = now;
        self.baseline = Some(observation.clone());
        if runs && is_set && self.request.adopt == Adopt::IfRunning {
            self.candidate = observation.running.map(|running| running.deployment);
            self.phase = Phase::Verifying;
            return Command::Observe;
        }
        self.phase = Phase::Starting;
        self.changed = true;
        Command::Deploy(observation)
    }

    fn forward(&mut self, now: Duration, phase: Phase, event: Event) -> Command {
        match (phase, event) {
            (Phase::Starting, Event::CallFailed { message, effect }) => {
                self.changed = effect == Effect::Possible;
                self.fail(now, FailureReason::Target { message, effect })
            }
            (Phase::Starting, Event::Started(id)) => {
                self.phase = Phase::Deploying;
                self.progressed = now;
                Command::ReadDeployment(id)
            }
            // Reads that fail are no verdict; the clocks go on.
            (_, Event::CallFailed { .. }) => self.wait_or_give_up(now),
            (_, Event::Deployment(state)) => self.deployment(now, phase, state),
            (_, Event::Observed(observation)) => self.observed(now, phase, &observation),
            (Phase::Probing, Event::Measured(measurement)) => self.probed(now, &measurement),
            (Phase::Baking, Event::Measured(measurement)) => self.baked(now, &measurement),
            (_, Event::Woken) => self.woken(now, phase),
            // Nothing else is asked for in these phases.
            (_, _) => self.read_candidate(now),
        }
    }

    fn woken(&mut self, now: Duration, phase: Phase) -> Command {
        let due = now.saturating_sub(self.last_read) >= self.poll;
        match phase {
            Phase::Probing | Phase::Baking
                if self.request.health.is_some() && (std::mem::take(&mut self.probe_next) || !due) =>
            {
                Command::Measure
            }
            _ => self.read_candidate(now),
        }
    }

    fn read_candidate(&mut self, now: Duration) -> Command {
        self.last_read = now;
        self.candidate.clone().map_or(Command::Observe, Command::ReadDeployment)
    }

    fn deployment(&mut self, now: Duration, phase: Phase, state: DeploymentState) -> Command {
        match (state, phase) {
            // Nothing of a sleeping deployment can be observed; probes wake it.
            (DeploymentState::Sleeping, _) if self.request.health.is_none() => {
                self.fail(now, FailureReason::Sleeping)
            }
            (DeploymentState::Pending(status), _) => {
                if status != self.status {
                    self.status = status;
                    self.progressed = now;
                }
                self.wait_or_give_up(now)
            }
            (DeploymentState::Active | DeploymentState::Sleeping, Phase::Probing) => Command::Measure,
            (DeploymentState::Active | DeploymentState::Sleeping, Phase::Baking) => {
                // Without probes, replicas that go down are all there is to see.
                if self.bake_left(now).is_zero() || self.request.health.is_none() {
                    Command::Observe
                } else {
                    Command::Measure
                }
            }
            (DeploymentState::Active | DeploymentState::Sleeping, _) => {
                if self.phase == Phase::Deploying {
                    self.phase = Phase::Verifying;
                    self.progressed = now;
                }
                Command::Observe
            }
            (DeploymentState::NeedsApproval, _) => self.fail(now, FailureReason::NeedsApproval),
            (DeploymentState::Failed { status, reason }, _) => {
                self.fail(now, FailureReason::Deployment { status, reason })
            }
            (DeploymentState::Skipped, _) => self.fail(now, FailureReason::Skipped),
            (DeploymentState::Removed, _) => self.fail(now, FailureReason::Removed),
            (DeploymentState::Superseded { by }, _) => self.fail(now, FailureReason::Superseded { by }),
        }
    }

    fn observed(&mut self, now: Duration, phase: Phase, observation: &Observation) -> Command {
        let Some(running) = observation
            .running
            .as_ref()
            .filter(|running| Some(&running.deployment) == self.candidate.as_ref())
        else {
            // The list of what serves may lag behind the deployment's own status.
            self.agreeing = 0;
            return self.wait_or_give_up(now);
        };
        if running.digest.as_ref() != Some(self.request.candidate.digest()) {
            return self.fail(now, FailureReason::WrongDigest { running: running.digest.clone() });
        }
        if !running.all_replicas_running {
            self.agreeing = 0;
            let since = *self.missing_since.get_or_insert(now);
            if now.saturating_sub(since) >= self.request.progress_deadline {
                return self.fail(now, FailureReason::ReplicasNotRunning);
            }
            return Command::Wait(self.poll);
        }
        self.missing_since = None;
        self.agreeing += 1;
        if phase == Phase::Baking {
            let left = self.bake_left(now);
            return if left.is_zero() { self.complete() } else { Command::Wait(self.poll.min(left)) };
        }
        if self.agreeing < AGREEING_READS {
            return Command::Wait(self.poll);
        }
        self.progressed = now;
        if self.request.health.is_some() {
            self.phase = Phase::Probing;
            return Command::Measure;
        }
        self.bake(now)
    }

    fn probed(&mut self, now: Duration, measurement: &Measurement) -> Command {
        let Some(health) = self.request.health.clone() else { return self.bake(now) };
        if let Some(failures) = self.judge(&health, measurement) {
            return self.fail(now, FailureReason::Unhealthy { failures });
        }
        if self.healthy >= health.success_threshold {
            return self.bake(now);
        }
        Command::Wait(health.interval)
    }

    fn baked(&mut self, now: Duration, measurement: &Measurement) -> Command {
        let Some(health) = self.request.health.clone() else { return Command::Wait(self.poll) };
        if let Some(failures) = self.judge(&health, measurement) {
            return self.fail(now, FailureReason::Unhealthy { failures });
        }
        let left = self.bake_left(now);
        // A bake that ends on an unhealthy answer is not over: the streak has to be decided first.
        if left.is_zero() && self.unhealthy == 0 {
            return self.read_candidate(now);
        }
        Command::Wait(if left.is_zero() { health.interval } else { health.interval.min(left) })
    }

    /// Counts a measurement; `Some` when the failures in a row have reached the threshold.
    fn judge(&mut self, health: &HealthPolicy, measurement: &Measurement) -> Option<u32> {
        match measurement.verdict {
            Verdict::Healthy => {
                self.healthy += 1;
                self.unhealthy = 0;
            }
            Verdict::Unhealthy => {
                self.unhealthy += 1;
                self.healthy = 0;
            }
        }
        (self.unhealthy >= health.failure_threshold).then_some(self.unhealthy)
    }

    fn bake(&mut self, now: Duration) -> Command {
        if self.request.bake.is_zero() {
            return self.complete();
        }
        self.phase = Phase::Baking;
        self.baked_from = now;
        let step = self.request.health.as_ref().map_or(self.poll, |health| health.interval);
        Command::Wait(step.min(self.request.bake))
    }

    fn bake_left(&self, now: Duration) -> Duration {
        (self.baked_from + self.request.bake).saturating_sub(now)
    }

    fn complete(&mut self) -> Command {
        match self.candidate.clone() {
            Some(deployment) => {
                self.phase = Phase::Complete;
                Command::Finish(Box::new(Outcome::Complete { deployment }))
            }
            // Only an observed candidate gets here; look again rather than claim.
            None => Command::Observe,
        }
    }

    fn wait_or_give_up(&mut self, now: Duration) -> Command {
        let still = now.saturating_sub(self.progressed);
        // A platform that says nothing is no reason to stop looking at the service itself.
        self.probe_next = matches!(self.phase, Phase::Probing | Phase::Baking);
        // In the bake nothing is expected to move; the timeout bounds it.
        if self.phase != Phase::Baking && still >= self.request.progress_deadline {
            let reason = FailureReason::ProgressDeadline {
                deadline: self.request.progress_deadline,
                status: if self.status.is_empty() { self.phase.to_string() } else { self.status.clone() },
            };
            return self.fail(now, reason);
        }
        Command::Wait(self.poll)
    }

    fn fail(&mut self, now: Duration, reason: FailureReason) -> Command {
        let foreign = matches!(reason, FailureReason::Superseded { .. });
        let failure = Failure { phase: self.phase, reason, last_measurement: self.last_measurement.clone() };
        if foreign {
            self.phase = Phase::Superseded;
            return Command::Finish(Box::new(Outcome::Superseded(failure)));
        }
        if !self.changed {
            self.phase = Phase::Refused;
            return Command::Finish(Box::new(Outcome::Refused(failure)));
        }
        self.failure = Some(failure);
        self.phase = Phase::RollingBack;
        self.begun = now;
        self.agreeing = 0;
        self.healthy = 0;
        self.unhealthy = 0;
        self.restore()
    }

    fn restore(&self) -> Command {
        Command::Restore { snapshot: self.snapshot(), failed: self.candidate.clone() }
    }

    fn step_back(&mut self, now: Duration, event: Event) -> Command {
        // A look that shows the snapshot serving ends it well, however late.
        let looking = matches!(
            event,
            Event::Observed(_)
                | Event::Restored(None)
                | Event::Deployment(DeploymentState::Active | DeploymentState::Sleeping)
        );
        if now.saturating_sub(self.begun) > self.request.abort_timeout && !looking {
            let reason = match (event, self.last_failed_call.take()) {
                (Event::CallFailed { message, effect }, _) | (_, Some((message, effect))) => {
                    FailureReason::Target { message, effect }
                }
                _ => FailureReason::Timeout { timeout: self.request.abort_timeout },
            };
            return self.rollback_failed(reason);
        }
        match event {
            Event::Restored(None)
            | Event::Deployment(DeploymentState::Active | DeploymentState::Sleeping) => Command::Observe,
            Event::Restored(Some(id)) => {
                self.restorer = Some(id.clone());
                Command::ReadDeployment(id)
            }
            Event::Deployment(DeploymentState::Pending(_)) => Command::Wait(self.poll),
            Event::Deployment(state) => {
                let reason = match state {
                    DeploymentState::Failed { status, reason } => {
                        FailureReason::Deployment { status, reason }
                    }
                    DeploymentState::NeedsApproval => FailureReason::NeedsApproval,
                    DeploymentState::Skipped => FailureReason::Skipped,
                    DeploymentState::Superseded { by } => FailureReason::Superseded { by },
                    _ => FailureReason::Removed,
                };
                self.rollback_failed(reason)
            }
            Event::Observed(observation) => self.observed_back(now, &observation),
            Event::Measured(measurement) => self.probed_back(&measurement),
            // An unreachable platform is no verdict on the way back either: it has all of its time.
            Event::CallFailed { message, effect } => {
                self.last_failed_call = Some((message, effect));
                Command::Wait(self.poll)
            }
            // Bringing the snapshot back is repeatable; already unwinding is what a stop asks for.
            _ => self.restorer.clone().map_or_else(|| self.restore(), Command::ReadDeployment),
        }
    }

    fn observed_back(&mut self, now: Duration, observation: &Observation) -> Command {
        let snapshot = self.snapshot();
        let serves = match &snapshot.running {
            None => observation.running.as_ref().is_none_or(|running| match &self.candidate {
                Some(candidate) => running.deployment != *candidate,
                // Its start was never answered; its image tells.
                None => running.digest.as_ref() != Some(self.request.candidate.digest()),
            }),
            Some(before) => observation.running.as_ref().is_some_and(|running| {
                let same = before.digest.is_some()
                    && running.digest == before.digest
                    && Some(&running.deployment) != self.candidate.as_ref();
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
            return if self.restorer.is_some() && self.request.health.is_some() {
                Command::Measure
            } else {
                self.rolled_back(observation.running.as_ref().map(|running| running.deployment.clone()))
            };
        }
        if now.saturating_sub(self.begun) > self.request.abort_timeout {
            let running = observation.running_digest().cloned();
            return self.rollback_failed(FailureReason::WrongDigest { running });
        }
        Command::Wait(self.poll)
    }

    fn probed_back(&mut self, measurement: &Measurement) -> Command {
        let Some(health) = self.request.health.clone() else {
            return self.rolled_back(self.restorer.clone());
        };
        if let Some(failures) = self.judge(&health, measurement) {
            return self.rollback_failed(FailureReason::Unhealthy { failures });
        }
        if self.healthy >= health.success_threshold {
            return self.rolled_back(self.restorer.clone());
        }
        Command::Wait(health.interval)
    }

    fn rolled_back(&mut self, deployment: Option<DeploymentId>) -> Command {
        self.phase = Phase::RolledBack;
        Command::Finish(Box::new(Outcome::RolledBack { failure: self.take_failure(), deployment }))
    }

    fn rollback_failed(&mut self, rollback: FailureReason) -> Command {
        self.phase = Phase::RollbackFailed;
        Command::Finish(Box::new(Outcome::RollbackFailed { failure: self.take_failure(), rollback }))
    }

    fn take_failure(&mut self) -> Failure {
        self.failure.take().unwrap_or(Failure {
            phase: Phase::RollingBack,
            reason: FailureReason::Cancelled,
            last_measurement: None,
        })
    }
}
