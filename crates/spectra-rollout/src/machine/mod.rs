//! The machine: state × event → state, turn.
//!
//! It is a saga: a list of steps, each with an undo. What was done stands in the [`Ledger`], which a later process can
//! rebuild from the journal; the way back is the ledger read from its end.

mod back;
mod command;
mod forward;
mod release;
mod returning;
mod waiting;

use std::time::Duration;

use spectra_types::DeploymentId;

pub use self::command::{Command, Event, Turn};
use self::release::{Release, Terms};
use self::waiting::{Judging, Wait};
use crate::entry::{Action, Entry, Made};
use crate::ledger::Ledger;
use crate::model::{Failure, FailureReason, Measurement, Observation, Outcome, Phase, Snapshot};
use crate::ports::Wish;
use crate::spec::{Place, RolloutRequest, Step};

/// Calls that may fail in a row before something else is decided.
const CALL_ATTEMPTS: u32 = 5;

/// A rollout in progress.
#[derive(Debug)]
pub struct Machine {
    id: String,
    request: RolloutRequest,
    steps: Vec<Step>,
    poll: Duration,
    terms: Terms,
    at: At,
    phase: Phase,
    begun: Duration,
    going_back_since: Duration,
    ledger: Ledger,
    /// What ran when the rollout began.
    first_look: Option<Observation>,
    /// When that was.
    looked_at: Duration,
    /// The candidate was watched for the bake time.
    baked: bool,
    /// How many services of the wave that goes on are done.
    waved: usize,
    /// The services that were deployed to, in order.
    releases: Vec<Release>,
    /// What is measured until the end of the bake.
    background: Vec<Judging>,
    wait: Option<Wait>,
    failure: Option<Failure>,
    /// What went wrong on the way back, first things first, and what it kept from being undone.
    back_failures: Vec<(Option<Action>, FailureReason)>,
    /// What could not be undone.
    given_up: Vec<Action>,
    /// The sibling could not be removed on the way forward.
    sibling_stays: bool,
    /// What serves the rollout's own service after the way back.
    back_deployment: Option<DeploymentId>,
    last_measurement: Option<Measurement>,
    failed_calls: u32,
    /// What is going to be written before the command of this turn is carried out.
    intent: Option<Action>,
    /// What the command of the last turn changes: the next event says what became of it.
    acting: Option<Action>,
    entries: Vec<Entry>,
    written_stage: Option<(Phase, Option<usize>)>,
    /// A process before this one began it: what runs is looked at before anything is brought back.
    recovering: bool,
}

/// Where it is; names the one who hears the next answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    /// The service is looked at, before anything is done.
    Preflight,
    /// What runs already is judged.
    Adopted,
    /// Freeze windows are asked for, before this step.
    Freeze(usize),
    /// The approval is asked for, before the first step.
    Approval,
    /// A program runs.
    Running(usize),
    /// The sibling is made.
    Sibling(usize),
    /// A release goes on: its number among the releases.
    Releasing { step: usize, release: usize },
    /// Something is waited for.
    Waiting,
    /// The sibling is removed, its work done; then this step is next.
    Cleaning(usize),
    /// On the way back.
    Back(BackAt),
    /// Over.
    Over,
}

/// What is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
enum BackAt {
    Release(usize),
    Sibling,
    Running(Action),
}

impl Machine {
    /// A rollout that has not begun. `poll` is the time between two reads of the platform.
    #[must_use]
    pub fn new(id: impl Into<String>, request: RolloutRequest, poll: Duration) -> Self {
        let terms = Terms {
            candidate: request.candidate.clone(),
            health: request.health.clone(),
            poll,
            progress_deadline: request.progress_deadline,
            timeout: request.timeout,
            abort_timeout: request.abort_timeout,
        };
        Self {
            id: id.into(),
            steps: request.all_steps(),
            background: Judging::all(&request.metrics),
            request,
            poll,
            terms,
            at: At::Preflight,
            phase: Phase::Preflight,
            begun: Duration::ZERO,
            going_back_since: Duration::ZERO,
            ledger: Ledger::default(),
            first_look: None,
            looked_at: Duration::ZERO,
            baked: false,
            waved: 0,
            releases: Vec::new(),
            wait: None,
            failure: None,
            back_failures: Vec::new(),
            given_up: Vec::new(),
            sibling_stays: false,
            back_deployment: None,
            last_measurement: None,
            failed_calls: 0,
            intent: None,
            acting: None,
            entries: Vec::new(),
            written_stage: None,
            recovering: false,
        }
    }

    /// A rollout that another process began and did not end. It goes back: what the other one saw is not known here, only
    /// what it did.
    #[must_use]
    pub fn recover(id: impl Into<String>, request: RolloutRequest, poll: Duration, ledger: Ledger) -> Self {
        Self { ledger, recovering: true, ..Self::new(id, request, poll) }
    }

    /// A rollout that was completed and goes back all the same, for this reason.
    #[must_use]
    pub fn take_back(
        id: impl Into<String>,
        request: RolloutRequest,
        poll: Duration,
        ledger: Ledger,
        reason: FailureReason,
    ) -> Self {
        let failure = Failure { phase: Phase::Complete, step: None, reason, last_measurement: None };
        let mut machine = Self::recover(id, request, poll, ledger);
        machine.failure = Some(failure);
        machine
    }

    /// Where it stands.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is on its way back.
    #[must_use]
    pub const fn is_going_back(&self) -> bool {
        matches!(self.at, At::Back(_))
    }

    /// What was done.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The candidate's deployment of the rollout's own service, once there is one.
    #[must_use]
    pub fn deployment(&self) -> Option<&DeploymentId> {
        let release = self.release_of(&self.request.place).and_then(Release::deployment);
        release.or_else(|| self.ledger.deployment(&self.request.place))
    }

    /// What was there before; empty until it has been looked at.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.ledger
            .snapshot(&self.request.place)
            .cloned()
            .or_else(|| self.first_look.as_ref().map(Observation::snapshot))
            .unwrap_or_default()
    }

    /// Takes one event at time `now` and says what to do next.
    pub fn step(&mut self, now: Duration, event: Event) -> Turn {
        self.intent = None;
        let command = match self.decide(now, event) {
            Command::Wait { at_most, following } => {
                Command::Wait { at_most: at_most.min(self.left(now)), following }
            }
            command => command,
        };
        self.write_stage();
        if let Command::Finish(outcome) = &command {
            self.phase = outcome.phase();
            self.at = At::Over;
            // Who lost the lease ends itself, not the rollout: that is left to the one who holds it now.
            if !matches!(**outcome, Outcome::Fenced { .. }) {
                self.record(Entry::Finished { outcome: (**outcome).clone() });
            }
        }
        if let Some(action) = self.intent.clone() {
            self.ledger.apply(&Entry::Intent { action });
        }
        self.acting.clone_from(&self.intent);
        Turn { entries: std::mem::take(&mut self.entries), intent: self.intent.take(), command }
    }

    /// The time until the clock that is running is over, and a moment: no wait outlasts it.
    fn left(&self, now: Duration) -> Duration {
        let end = match self.at {
            At::Back(_) => self.going_back_since + self.request.abort_timeout,
            // Beyond the point of no return no clock runs; the next look is bounded all the same.
            _ if self.ledger.no_return().is_some() => return self.request.timeout,
            _ => self.begun + self.request.timeout,
        };
        end.saturating_sub(now) + Duration::from_millis(1)
    }

    fn decide(&mut self, now: Duration, event: Event) -> Command {
        match event {
            Event::Begin => return self.begin(now),
            Event::Cancelled => return self.interrupted(now, FailureReason::Cancelled),
            Event::Aborted { by, reason } => {
                self.record(Entry::Heard { wish: Wish::Abort { by: by.clone(), reason: reason.clone() } });
                return self.interrupted(now, FailureReason::Aborted { by, reason });
            }
            Event::Unwritten(message) => return self.interrupted(now, FailureReason::Journal { message }),
            Event::Fenced(message) => {
                self.retract();
                return self.fenced(message);
            }
            Event::Promoted { by } => {
                self.record(Entry::Heard { wish: Wish::Promote { by } });
                self.retract();
                if self.at == At::Waiting {
                    return self.promoted(now);
                }
                return self.route(now, Event::Woken);
            }
            _ => {}
        }
        self.answered(&event);
        self.route(now, event)
    }

    fn route(&mut self, now: Duration, event: Event) -> Command {
        if let At::Back(at) = self.at.clone() {
            return self.step_back(now, &at, event);
        }
        if let At::Releasing { release, .. } = self.at {
            self.releases[release].note(&event);
        }
        // Beyond the point of no return there is nothing that a clock could order.
        if now.saturating_sub(self.begun) > self.request.timeout && self.ledger.no_return().is_none() {
            return self.fail(now, FailureReason::Timeout { timeout: self.request.timeout });
        }
        self.forward(now, event)
    }

    fn begin(&mut self, now: Duration) -> Command {
        self.begun = now;
        if self.recovering {
            return self.take_up_again(now);
        }
        self.record(Entry::Begun { request: Box::new(self.request.clone()) });
        let mut release = Release::new(self.request.place.clone(), &self.terms);
        let command = release.look(now);
        self.releases.push(release);
        command
    }

    /// Writes down what an event says.
    fn answered(&mut self, event: &Event) {
        match event {
            Event::Measured(measurement) => {
                self.last_measurement = Some(measurement.clone());
                let place = self.asked_place();
                self.record(Entry::Measured { place, measurement: measurement.clone() });
            }
            Event::CallFailed { message, .. } if self.acting.is_none() => {
                self.record(Entry::Trouble { message: message.clone() });
            }
            _ => {}
        }
        let Some(action) = self.acting.take() else { return };
        let made = match event {
            Event::Started(id) | Event::Restored(Some(id)) => Made::Deployment { id: id.clone() },
            Event::Restored(None) | Event::SiblingRemoved => Made::Nothing,
            Event::Sibling(place) => Made::Sibling { place: place.clone() },
            Event::Ran(tail) => Made::Output { tail: tail.clone() },
            Event::CallFailed { message, effect } | Event::Stopped { message, effect } => {
                let (message, effect) = (message.clone(), *effect);
                self.record(Entry::Failed { action, message, effect });
                return;
            }
            // Not an answer to it; the outcome stays open.
            _ => return,
        };
        self.record(Entry::Done { action, made });
    }

    /// The rollout is to go back, and the command of the last turn was not carried out.
    fn interrupted(&mut self, now: Duration, reason: FailureReason) -> Command {
        self.retract();
        // Going back already is what a stop asks for; what was dropped is done again.
        if matches!(self.at, At::Back(_)) { self.route(now, Event::Woken) } else { self.fail(now, reason) }
    }

    /// Somebody else acts on the service now. Whatever this process did next could undo theirs.
    fn fenced(&mut self, message: String) -> Command {
        let failure = self.failed_by(FailureReason::LeaseLost { message });
        Command::Finish(Box::new(Outcome::Fenced { failure }))
    }

    fn retract(&mut self) {
        if let Some(action) = self.acting.take() {
            self.ledger.retract(&action);
        }
    }

    fn record(&mut self, entry: Entry) {
        self.ledger.apply(&entry);
        self.entries.push(entry);
    }

    /// A command that changes something, with its intent.
    fn act(&mut self, command: Command) -> Command {
        self.intent = match &command {
            Command::Deploy { place, .. } => Some(Action::Deploy { place: place.clone() }),
            Command::Restore { place, .. } => Some(Action::Restore { place: place.clone() }),
            Command::CreateSibling { order, .. } => Some(Action::CreateSibling { order: order.clone() }),
            Command::RemoveSibling { order, .. } => Some(Action::RemoveSibling { order: order.clone() }),
            _ => None,
        };
        command
    }

    fn failed_by(&self, reason: FailureReason) -> Failure {
        Failure {
            phase: self.phase,
            step: self.step_at().and_then(|step| self.steps.get(step)).map(Step::title),
            reason,
            last_measurement: self.last_measurement.clone(),
        }
    }

    /// The step that it is at.
    fn step_at(&self) -> Option<usize> {
        match &self.at {
            At::Freeze(step) | At::Running(step) | At::Sibling(step) | At::Releasing { step, .. } => {
                Some(*step)
            }
            At::Waiting => self.wait.as_ref().and_then(Wait::step),
            _ => None,
        }
    }

    fn write_stage(&mut self) {
        self.phase = match &self.at {
            At::Preflight => Phase::Preflight,
            At::Freeze(_) | At::Approval => Phase::Gate,
            At::Running(step) => match &self.steps[*step] {
                Step::Hook(_) => Phase::Hook,
                _ => Phase::Migrating,
            },
            At::Sibling(_) => Phase::Canary,
            At::Adopted => self.releases[0].phase(),
            At::Releasing { release, .. } => self.releases[*release].phase(),
            At::Waiting => self.wait.as_ref().map_or(self.phase, Wait::phase),
            At::Cleaning(_) => Phase::Cleaning,
            At::Back(_) => Phase::RollingBack,
            At::Over => self.phase,
        };
        let stage = (self.phase, self.step_at());
        if self.at == At::Over || self.written_stage == Some(stage) {
            return;
        }
        self.written_stage = Some(stage);
        let step = stage.1.and_then(|step| self.steps.get(step)).map(Step::title);
        self.record(Entry::Stage { phase: stage.0, step });
    }

    fn release_of(&self, place: &Place) -> Option<&Release> {
        self.releases.iter().find(|release| release.place == *place)
    }

    /// The number of the release of a place, made anew if there is none.
    fn release_at(&mut self, place: &Place) -> usize {
        if let Some(position) = self.releases.iter().position(|release| release.place == *place) {
            return position;
        }
        self.releases.push(Release::new(place.clone(), &self.terms));
        self.releases.len() - 1
    }

    /// The service that was asked last.
    fn asked_place(&self) -> Place {
        let release = match &self.at {
            At::Releasing { release, .. } | At::Back(BackAt::Release(release)) => Some(*release),
            At::Waiting => self.wait.as_ref().and_then(Wait::asked_release),
            _ => None,
        };
        release.map_or_else(|| self.request.place.clone(), |release| self.releases[release].place.clone())
    }
}
