//! One service on its way to the candidate, or back: the part of the machine that follows one deployment.

use std::time::Duration;

use spectra_types::{DeploymentId, PinnedImage};

use super::command::{Command, Event};
use crate::model::{DeploymentState, FailureReason, Measurement, Observation, Phase, Snapshot, Verdict};
use crate::ports::{DeployOrder, Effect};
use crate::spec::{HealthPolicy, Place};

/// Consecutive reads that must agree before the platform's word on what runs is taken.
const AGREEING_READS: u32 = 2;
/// Calls that may fail in a row before the rollout is refused.
const CALL_ATTEMPTS: u32 = 5;

/// What comes next for one service.
#[derive(Debug)]
pub(super) enum Next {
    /// This is to be done.
    Do(Command),
    /// This runs, and nothing is on its way.
    Looked(Box<Observation>),
    /// The candidate serves and is healthy.
    Up,
    /// It will not.
    Failed(FailureReason),
    /// The snapshot serves again.
    Back(Option<DeploymentId>),
    /// It will not.
    BackFailed(FailureReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// What runs is looked at, and what others have on its way is waited for.
    Looking,
    /// The call that starts the deployment was made.
    Starting,
    /// The platform brings it up.
    Deploying,
    /// It is up by its status; digest and replicas are looked at.
    Verifying,
    /// Probed until healthy.
    Probing,
    /// Watched.
    Up,
    /// The snapshot is being brought back.
    Back,
}

/// One service.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub(super) place: Place,
    pub(super) candidate: PinnedImage,
    pub(super) health: Option<HealthPolicy>,
    pub(super) poll: Duration,
    pub(super) progress_deadline: Duration,
    /// How long others are waited for.
    pub(super) patience: Duration,
    pub(super) stage: Stage,
    pub(super) begun: Duration,
    pub(super) progressed: Duration,
    pub(super) last_read: Duration,
    pub(super) last_probe: Option<Duration>,
    /// The platform said that it is up; what really runs is looked at next.
    pub(super) observe_next: bool,
    /// When it was last seen as it should be.
    pub(super) confirmed: Option<Duration>,
    pub(super) status: String,
    /// Every status that it was seen at: to come back to one is no progress.
    pub(super) statuses: Vec<String>,
    pub(super) deployment: Option<DeploymentId>,
    pub(super) restorer: Option<DeploymentId>,
    pub(super) snapshot: Snapshot,
    pub(super) agreeing: u32,
    pub(super) healthy: u32,
    /// The most healthy probes in a row: only more of them are progress.
    pub(super) most_healthy: u32,
    pub(super) unhealthy: u32,
    pub(super) failed_calls: u32,
    /// The call on the way back that failed last, unless one was answered since.
    pub(super) last_failed_call: Option<(String, Effect)>,
    /// Since when not every replica was seen running.
    pub(super) missing_since: Option<Duration>,
    /// The probes so far: healthy ones, and all.
    pub(super) counted: (u64, u64),
    pub(super) abort_timeout: Duration,
    /// Whether what runs is looked at before anything is brought back.
    pub(super) cautious: bool,
    /// The command that runs before the candidate takes over, and before what is brought back does.
    pub(super) pre_deploy: (Option<String>, Option<String>),
}

/// What all services of a rollout have in common.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) candidate: PinnedImage,
    pub(super) health: Option<HealthPolicy>,
    pub(super) poll: Duration,
    pub(super) progress_deadline: Duration,
    pub(super) timeout: Duration,
    pub(super) abort_timeout: Duration,
}

impl Release {
    pub(super) fn new(place: Place, terms: &Terms) -> Self {
        Self {
            place,
            candidate: terms.candidate.clone(),
            health: terms.health.clone(),
            poll: terms.poll,
            progress_deadline: terms.progress_deadline,
            patience: terms.progress_deadline.min(terms.timeout),
            stage: Stage::Looking,
            begun: Duration::ZERO,
            progressed: Duration::ZERO,
            last_read: Duration::ZERO,
            last_probe: None,
            observe_next: false,
            confirmed: None,
            status: String::new(),
            statuses: Vec::new(),
            deployment: None,
            restorer: None,
            snapshot: Snapshot::default(),
            agreeing: 0,
            healthy: 0,
            most_healthy: 0,
            unhealthy: 0,
            failed_calls: 0,
            last_failed_call: None,
            missing_since: None,
            counted: (0, 0),
            abort_timeout: terms.abort_timeout,
            cautious: false,
            pre_deploy: (None, None),
        }
    }

    /// With commands that run before the candidate takes over, and before what is brought back does.
    pub(super) fn with_pre_deploy(mut self, up: Option<String>, down: Option<String>) -> Self {
        self.pre_deploy = (up, down);
        self
    }

    pub(super) const fn deployment(&self) -> Option<&DeploymentId> {
        self.deployment.as_ref()
    }

    /// Whether a deployment ran the commands that take migrations back.
    pub(super) const fn ran_down(&self) -> bool {
        self.pre_deploy.1.is_some() && self.restorer.is_some()
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up)
    }

    pub(super) const fn phase(&self) -> Phase {
        match self.stage {
            Stage::Looking => Phase::Preflight,
            Stage::Starting => Phase::Starting,
            Stage::Deploying => Phase::Deploying,
            Stage::Verifying => Phase::Verifying,
            Stage::Probing | Stage::Up => Phase::Probing,
            Stage::Back => Phase::RollingBack,
        }
    }

    /// Takes note of the deployment's id, also when time is up: it is what gets rolled back.
    pub(super) fn note(&mut self, event: &Event) {
        if let Event::Started(id) = event
            && self.stage == Stage::Starting
        {
            self.deployment = Some(id.clone());
        }
    }

    /// Begins to look.
    pub(super) fn look(&mut self, now: Duration) -> Command {
        self.stage = Stage::Looking;
        self.begun = now;
        self.progressed = now;
        self.failed_calls = 0;
        Command::Observe(self.place.clone())
    }

    /// Takes the running deployment for the candidate's.
    pub(super) fn adopt(&mut self, now: Duration, running: DeploymentId, snapshot: Snapshot) -> Command {
        self.deployment = Some(running);
        self.snapshot = snapshot;
        self.stage = Stage::Verifying;
        self.progressed = now;
        Command::Observe(self.place.clone())
    }

    /// The candidate's deployment, which came up before this process began.
    pub(super) fn risen(place: Place, terms: &Terms, now: Duration, deployment: DeploymentId) -> Self {
        Self {
            deployment: Some(deployment),
            stage: Stage::Up,
            begun: now,
            progressed: now,
            ..Self::new(place, terms)
        }
    }

    /// Deploys the candidate on top of what was seen.
    pub(super) fn deploy(&mut self, now: Duration, baseline: Observation) -> Command {
        self.stage = Stage::Starting;
        self.begun = now;
        self.progressed = now;
        self.snapshot = baseline.snapshot();
        let order =
            DeployOrder { image: self.candidate.clone(), baseline, pre_deploy: self.pre_deploy.0.clone() };
        Command::Deploy { place: self.place.clone(), order: Box::new(order) }
    }

    /// Takes an event that answers its own command.
    pub(super) fn on(&mut self, now: Duration, event: Event) -> Next {
        if !matches!(event, Event::CallFailed { .. } | Event::Woken) {
            self.failed_calls = 0;
            self.last_failed_call = None;
        }
        match self.stage {
            Stage::Looking => self.looking(now, event),
            Stage::Starting => self.starting(now, event),
            Stage::Deploying | Stage::Verifying => self.rising(now, event),
            Stage::Probing | Stage::Up => self.watched(now, event),
            Stage::Back => self.backwards(now, event),
        }
    }

    fn looking(&mut self, now: Duration, event: Event) -> Next {
        match event {
            Event::Observed(observation) => {
                let Some(id) = &observation.in_flight else { return Next::Looked(Box::new(observation)) };
                if now.saturating_sub(self.begun) < self.patience {
                    return Next::Do(self.wait(self.poll));
                }
                let message = format!(
                    "deployment `{id}`, started by somebody else, was still on its way after {:?}; wait for it or \
                     cancel it, then try again",
                    self.patience
                );
                Next::Failed(FailureReason::Target { message, effect: Effect::None })
            }
            Event::CallFailed { message, .. } => {
                self.failed_calls += 1;
                if self.failed_calls >= CALL_ATTEMPTS {
                    return Next::Failed(FailureReason::Target { message, effect: Effect::None });
                }
                Next::Do(self.wait(self.poll))
            }
            _ => Next::Do(Command::Observe(self.place.clone())),
        }
    }

    fn starting(&mut self, now: Duration, event: Event) -> Next {
        match event {
            Event::CallFailed { message, effect } => Next::Failed(FailureReason::Target { message, effect }),
            Event::Started(id) => {
                self.stage = Stage::Deploying;
                self.progressed = now;
                self.deployment = Some(id);
                Next::Do(self.read(now))
            }
            // Nothing else answers a deploy call.
            _ => Next::Do(self.read(now)),
        }
    }

    fn rising(&mut self, now: Duration, event: Event) -> Next {
        match event {
            // Reads that fail are no verdict; the clocks go on.
            Event::CallFailed { .. } => self.wait_or_give_up(now),
            Event::Deployment(DeploymentState::Pending(status)) => {
                if !self.statuses.contains(&status) {
                    self.statuses.push(status.clone());
                    self.progressed = now;
                }
                self.status = status;
                self.wait_or_give_up(now)
            }
            Event::Deployment(DeploymentState::Sleeping) if self.health.is_none() => {
                // Nothing of a sleeping deployment can be observed; probes wake it.
                Next::Failed(FailureReason::Sleeping)
            }
            Event::Deployment(DeploymentState::Active | DeploymentState::Sleeping) => {
                if self.stage == Stage::Deploying {
                    self.stage = Stage::Verifying;
                    self.progressed = now;
                }
                Next::Do(Command::Observe(self.place.clone()))
            }
            Event::Deployment(state) => Next::Failed(ended(state)),
            Event::Observed(observation) => match self.as_it_should_be(now, &observation) {
                Err(reason) => Next::Failed(reason),
                Ok(false) => self.wait_or_give_up(now),
                Ok(true) if self.agreeing < AGREEING_READS => Next::Do(self.wait(self.poll)),
                Ok(true) => {
                    self.progressed = now;
                    self.confirmed = Some(now);
                    if self.health.is_none() {
                        self.stage = Stage::Up;
                        return Next::Up;
                    }
                    self.stage = Stage::Probing;
                    Next::Do(self.probe(now))
                }
            },
            _ => Next::Do(self.read(now)),
        }
    }

    /// Whether an observation shows the candidate on every replica; `Err` when it shows what cannot be waited for.
    fn as_it_should_be(&mut self, now: Duration, observation: &Observation) -> Result<bool, FailureReason> {
        let Some(running) = observation
            .running
            .as_ref()
            .filter(|running| Some(&running.deployment) == self.deployment.as_ref())
        else {
            // The list of what serves may lag behind the deployment's own status.
            self.agreeing = 0;
            return Ok(false);
        };
        if running.digest.as_ref() != Some(self.candidate.digest()) {
            return Err(FailureReason::WrongDigest { running: running.digest.clone() });
        }
        if !running.all_replicas_running {
            self.agreeing = 0;
            let since = *self.missing_since.get_or_insert(now);
            return if now.saturating_sub(since) >= self.progress_deadline {
                Err(FailureReason::ReplicasNotRunning)
            } else {
                Ok(false)
            };
        }
        self.missing_since = None;
        self.agreeing += 1;
        Ok(true)
    }

    /// An event while the candidate is probed until healthy, or watched.
    fn watched(&mut self, now: Duration, event: Event) -> Next {
        let settled = self.is_up();
        match event {
            Event::Measured(measurement) => {
                if let Some(reason) = self.judge(&measurement) {
                    return Next::Failed(reason);
                }
                if self.healthy > self.most_healthy {
                    self.most_healthy = self.healthy;
                    self.progressed = now;
                }
                if !settled
                    && self.health.as_ref().is_none_or(|health| self.healthy >= health.success_threshold)
                {
                    self.stage = Stage::Up;
                    return Next::Up;
                }
            }
            Event::Deployment(DeploymentState::Sleeping) if self.health.is_none() => {
                return Next::Failed(FailureReason::Sleeping);
            }
            Event::Deployment(DeploymentState::Active | DeploymentState::Sleeping) => {
                self.observe_next = true;
            }
            Event::Deployment(DeploymentState::Pending(_)) | Event::CallFailed { .. } | Event::Woken => {}
            Event::Deployment(state) => return Next::Failed(ended(state)),
            Event::Observed(observation) => {
                self.observe_next = false;
                match self.as_it_should_be(now, &observation) {
                    Err(reason) => return Next::Failed(reason),
                    Ok(true) => self.confirmed = Some(now),
                    Ok(false) => {}
                }
            }
            _ => {}
        }
        if !settled && now.saturating_sub(self.progressed) >= self.progress_deadline {
            return Next::Failed(self.no_progress());
        }
        // What is up is looked at in turn with what else its wait has to do.
        if settled && !self.observe_next {
            return Next::Do(self.wait(Duration::ZERO));
        }
        Next::Do(match self.due(now) {
            Due::Now(command) => command,
            Due::In(pause) => self.wait(pause),
        })
    }

    /// What is to be looked at next, and when.
    pub(super) fn due(&mut self, now: Duration) -> Due {
        if self.observe_next {
            self.observe_next = false;
            return Due::Now(Command::Observe(self.place.clone()));
        }
        let next_read = self.last_read + self.poll;
        let next_probe =
            self.health.as_ref().map(|health| self.last_probe.map_or(now, |last| last + health.interval));
        // Whatever has been due for longer, so that neither keeps the other from its turn.
        let probe_first = next_probe.is_some_and(|at| at <= next_read);
        if probe_first && next_probe.is_some_and(|at| at <= now) {
            return Due::Now(self.probe(now));
        }
        if next_read <= now {
            return Due::Now(self.read(now));
        }
        if next_probe.is_some_and(|at| at <= now) {
            return Due::Now(self.probe(now));
        }
        let next = next_probe.map_or(next_read, |at| at.min(next_read));
        Due::In(next.saturating_sub(now))
    }

    /// Whether it was seen as it should be at `at` or later, and no probe failed since.
    pub(super) fn is_confirmed(&self, at: Duration) -> bool {
        self.unhealthy == 0 && self.confirmed.is_some_and(|confirmed| confirmed >= at)
    }

    /// Looks at once: something is about to be decided.
    pub(super) const fn hurry(&mut self) {
        self.last_read = Duration::ZERO;
    }

    /// The healthy probes and all of them so far.
    pub(super) const fn count(&self) -> (u64, u64) {
        self.counted
    }

    pub(super) fn probe(&mut self, now: Duration) -> Command {
        self.last_probe = Some(now);
        Command::Probe(self.place.clone())
    }

    /// Counts a measurement; `Some` when the failures in a row have reached the threshold.
    pub(super) fn judge(&mut self, measurement: &Measurement) -> Option<FailureReason> {
        self.counted.1 += 1;
        match measurement.verdict {
            Verdict::Healthy => {
                self.counted.0 += 1;
                self.healthy += 1;
                self.unhealthy = 0;
            }
            Verdict::Unhealthy => {
                self.unhealthy += 1;
                self.healthy = 0;
            }
        }
        let threshold = self.health.as_ref()?.failure_threshold;
        (self.unhealthy >= threshold).then_some(FailureReason::Unhealthy { failures: self.unhealthy })
    }

    fn read(&mut self, now: Duration) -> Command {
        self.last_read = now;
        match self.deployment.clone() {
            Some(id) => Command::ReadDeployment { place: self.place.clone(), id },
            None => Command::Observe(self.place.clone()),
        }
    }

    pub(super) fn wait(&self, pause: Duration) -> Command {
        let following = match self.stage {
            Stage::Deploying => self.deployment.clone(),
            Stage::Back => self.restorer.clone(),
            _ => None,
        };
        Command::Wait { at_most: pause, following: following.map(|id| (self.place.clone(), id)) }
    }

    fn wait_or_give_up(&mut self, now: Duration) -> Next {
        if now.saturating_sub(self.progressed) >= self.progress_deadline {
            return Next::Failed(self.no_progress());
        }
        Next::Do(self.wait(self.poll))
    }

    fn no_progress(&self) -> FailureReason {
        let status = if self.status.is_empty() { self.phase().to_string() } else { self.status.clone() };
        FailureReason::ProgressDeadline { deadline: self.progress_deadline, status }
    }
}

/// When something is to be looked at.
pub(super) enum Due {
    Now(Command),
    In(Duration),
}

pub(super) fn ended(state: DeploymentState) -> FailureReason {
    match state {
        DeploymentState::Failed { status, reason } => FailureReason::Deployment { status, reason },
        DeploymentState::NeedsApproval => FailureReason::NeedsApproval,
        DeploymentState::Skipped => FailureReason::Skipped,
        DeploymentState::Superseded { by } => FailureReason::Superseded { by },
        _ => FailureReason::Removed,
    }
}
