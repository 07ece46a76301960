//! Waits: pauses, analyses, bakes. What is up is watched in all of them, and what is measured is judged in all of them.

use std::time::Duration;

use super::command::{Command, Event};
use super::release::{Due, Next};
use super::{At, CALL_ATTEMPTS, Machine};
use crate::entry::Entry;
use crate::judge::{Judge, Standing};
use crate::model::{FailureReason, Phase};
use crate::ports::{Approval, Sample, Sampled, Scope};
use crate::spec::{Metric, MetricKind, OnInconclusive, Place};

/// A metric that is measured again and again.
#[derive(Clone, Debug)]
pub(super) struct Judging {
    judge: Judge,
    /// When it is measured next; `None` until it has begun.
    due: Option<Duration>,
    /// The probes of a service that were counted already.
    counted: Option<(Place, (u64, u64))>,
}

impl Judging {
    pub(super) fn all(metrics: &[Metric]) -> Vec<Self> {
        metrics.iter().map(|metric| Self::new(metric.clone())).collect()
    }

    const fn new(metric: Metric) -> Self {
        Self { judge: Judge::new(metric), due: None, counted: None }
    }

    /// Judges it from now on without stable; says so if that is a change.
    pub(super) fn stand_alone(&mut self) -> Option<String> {
        let metric = self.judge.metric();
        metric.compare.as_ref()?;
        let message = format!("nothing ran before, so metric `{}` is compared with nothing", metric.name);
        *self = Self::new(Metric { compare: None, ..metric.clone() });
        Some(message)
    }

    /// The healthy probes and all of them since the last call for this place.
    fn fresh(&mut self, place: &Place, now: (u64, u64)) -> (u64, u64) {
        let before = match self.counted.replace((place.clone(), now)) {
            Some((at, before)) if at == *place => before,
            _ => (0, 0),
        };
        (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1))
    }

    /// Begins on its first call. The first window has to fill before there is something to see in it.
    fn due(&mut self, now: Duration) -> Duration {
        let metric = self.judge.metric();
        *self.due.get_or_insert(now + metric.initial_delay + metric.interval)
    }
}

/// What is waited for.
#[derive(Clone, Debug)]
enum Until {
    /// Until then, and until the metrics of this wait are through.
    Time(Duration),
    /// For an approval, at most until then. With a failure, it is what the approval would overrule.
    Approval { deadline: Duration, due: Duration, instead_of: Option<FailureReason> },
}

/// Who answers for measurements that decided nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Undecided {
    /// The rollout's own rule.
    Rule,
    /// A person who was asked, or who asked to go on.
    Person,
}

/// A wait.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    step: Option<usize>,
    phase: Phase,
    until: Until,
    judges: Vec<Judging>,
    asked: Asked,
    failed_calls: u32,
    /// What is up was told to be looked at once more.
    hurried: bool,
    /// The last turn was a look at a service.
    looked: bool,
    undecided: Undecided,
    /// What comes after it.
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The step after its own.
    NextStep,
    /// The next service of the wave.
    NextService,
    /// What comes after the bake.
    Baked,
    /// The end.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Release(usize),
    Own(usize),
    Background(usize),
    Approval,
}

impl Wait {
    fn new(step: Option<usize>, phase: Phase, until: Duration, metrics: &[Metric], then: Then) -> Self {
        Self {
            step,
            phase,
            until: Until::Time(until),
            judges: Judging::all(metrics),
            asked: Asked::Nothing,
            failed_calls: 0,
            hurried: false,
            looked: false,
            undecided: Undecided::Rule,
            then,
        }
    }

    pub(super) fn pause(step: Option<usize>, now: Duration, duration: Duration) -> Self {
        Self::new(step, Phase::Pausing, now + duration, &[], Then::NextStep)
    }

    pub(super) fn analysis(step: usize, now: Duration, duration: Duration, metrics: &[Metric]) -> Self {
        Self::new(Some(step), Phase::Analysing, now + duration, metrics, Then::NextStep)
    }

    pub(super) fn canary(step: usize, now: Duration, duration: Duration, metrics: &[Metric]) -> Self {
        Self::new(Some(step), Phase::Analysing, now + duration, metrics, Then::NextStep)
    }

    pub(super) fn wave(step: usize, now: Duration, pause: Duration) -> Self {
        Self::new(Some(step), Phase::Pausing, now + pause, &[], Then::NextService)
    }

    pub(super) fn bake(now: Duration, bake: Duration) -> Self {
        Self::new(None, Phase::Baking, now + bake, &[], Then::Baked)
    }

    /// The last look at what is up, when more was done since the bake.
    pub(super) fn last_look(now: Duration) -> Self {
        Self::new(None, Phase::Baking, now, &[], Then::End)
    }

    /// A wait for a person. `instead_of` is a failure that the person may overrule.
    pub(super) fn approval(
        step: Option<usize>,
        now: Duration,
        within: Duration,
        instead_of: Option<FailureReason>,
    ) -> Self {
        let until = Until::Approval { deadline: now + within, due: now, instead_of };
        Self { until, ..Self::new(step, Phase::Pausing, now, &[], Then::NextStep) }
    }

    pub(super) const fn step(&self) -> Option<usize> {
        self.step
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) const fn asked_release(&self) -> Option<usize> {
        match self.asked {
            Asked::Release(release) => Some(release),
            _ => None,
        }
    }
}

impl Machine {
    pub(super) fn begin_wait(&mut self, now: Duration, wait: Wait) -> Command {
        self.at = At::Waiting;
        // What came up a moment ago was looked at then; a wait of no time needs no second look. Only what is reported at the
        // end has to be seen then: steps may have taken their time since.
        let seen = !matches!(wait.then, Then::Baked | Then::End) || self.is_confirmed(now);
        let nothing = matches!(wait.until, Until::Time(until) if until <= now) && wait.judges.is_empty();
        let nothing_measured = wait.then != Then::Baked || self.background.is_empty();
        self.wait = Some(wait);
        if nothing && nothing_measured && seen {
            return self.wait_is_over(now);
        }
        self.pump(now)
    }

    pub(super) fn waiting(&mut self, now: Duration, event: Event) -> Command {
        let Some(wait) = &mut self.wait else { return self.pump(now) };
        let asked = std::mem::replace(&mut wait.asked, Asked::Nothing);
        match (asked, event) {
            (Asked::Release(release), event) => {
                match self.releases[release].on(now, event) {
                    Next::Failed(reason) => {
                        let _ = self.ask(asked, Command::AskFreeze);
                        return self.fail(now, reason);
                    }
                    // It asks for one thing after the other; the rest of the wait has its turn in between.
                    Next::Do(command) if !matches!(command, Command::Wait { .. }) => {
                        return self.ask(Asked::Release(release), command);
                    }
                    _ => {}
                }
            }
            (Asked::Own(_) | Asked::Background(_), Event::Sampled(sampled)) => {
                if let Some(reason) = self.sampled(asked, &sampled) {
                    return self.fail(now, reason);
                }
            }
            (Asked::Own(_) | Asked::Background(_), Event::CallFailed { message, .. }) => {
                let sampled = Sampled { query: "the source".to_owned(), answer: Err(message) };
                if let Some(reason) = self.sampled(asked, &sampled) {
                    return self.fail(now, reason);
                }
            }
            (Asked::Approval, event) => {
                if let Some(command) = self.approval_answered(now, event) {
                    return command;
                }
            }
            _ => {}
        }
        self.pump(now)
    }

    fn ask(&mut self, asked: Asked, command: Command) -> Command {
        if let Some(wait) = &mut self.wait {
            wait.asked = asked;
        }
        command
    }

    /// Asks what is due, ends the wait when it is over, or waits for what is due next.
    fn pump(&mut self, now: Duration) -> Command {
        let mut next = self.left(now);
        // Where a look takes longer than the pause between two, one is always due: it must keep neither the measurements nor
        // the end of the wait from having their turn.
        let had_turn = self.wait.as_mut().is_some_and(|wait| std::mem::take(&mut wait.looked));
        if !had_turn && let Some(command) = self.due_look(now, &mut next) {
            return command;
        }
        loop {
            match self.due_metric(now) {
                Some(Due::In(pause)) => {
                    next = next.min(pause);
                    break;
                }
                Some(Due::Now(command)) => match command {
                    // Probes were counted already; nobody has to be asked.
                    Command::Finish(_) => return command,
                    Command::AskFreeze => {}
                    command => return command,
                },
                None => break,
            }
            if let Some(reason) = self.failed_metric() {
                return self.fail(now, reason);
            }
        }
        let Some(wait) = &mut self.wait else { return Command::AskFreeze };
        match &mut wait.until {
            Until::Approval { deadline, due, instead_of } => {
                if *deadline <= now {
                    let reason = instead_of.clone().unwrap_or(FailureReason::Approval {
                        message: "the approval did not come in time".to_owned(),
                    });
                    return self.fail(now, reason);
                }
                if *due <= now {
                    *due = now + self.poll;
                    wait.asked = Asked::Approval;
                    return Command::AskApproval;
                }
                next = next.min(due.saturating_sub(now)).min(deadline.saturating_sub(now));
            }
            Until::Time(until) => {
                let until = *until;
                if until > now {
                    next = next.min(until.saturating_sub(now));
                } else if !self.measuring() {
                    if self.is_confirmed(until) {
                        return self.wait_is_over(now);
                    }
                    if self.hurry() {
                        return self.pump(now);
                    }
                    let deadline = self.request.progress_deadline;
                    // No other clock may be running by then.
                    if self.wait.as_ref().is_some_and(|wait| wait.then == Then::End)
                        && now.saturating_sub(until) >= deadline
                    {
                        let status = "the last look".to_owned();
                        return self.fail(now, FailureReason::ProgressDeadline { deadline, status });
                    }
                }
            }
        }
        if had_turn && let Some(command) = self.due_look(now, &mut next) {
            return command;
        }
        Command::Wait { at_most: next, following: None }
    }

    /// The look at a service that is due; else `next` says when the first one is.
    fn due_look(&mut self, now: Duration, next: &mut Duration) -> Option<Command> {
        for release in 0..self.releases.len() {
            if !self.releases[release].is_up() {
                continue;
            }
            match self.releases[release].due(now) {
                Due::Now(command) => {
                    if let Some(wait) = &mut self.wait {
                        wait.looked = true;
                    }
                    return Some(self.ask(Asked::Release(release), command));
                }
                Due::In(pause) => *next = (*next).min(pause),
            }
        }
        None
    }

    /// Whether metrics of this wait have more to say.
    fn measuring(&self) -> bool {
        let Some(wait) = self.wait.as_ref().filter(|wait| wait.undecided == Undecided::Rule) else {
            return false;
        };
        let counted =
            |judging: &Judging| judging.judge.metric().count.is_some() && judging.judge.wants_more();
        wait.judges.iter().any(counted) || (wait.then == Then::Baked && self.background.iter().any(counted))
    }

    fn is_confirmed(&self, at: Duration) -> bool {
        self.releases.iter().filter(|release| release.is_up()).all(|release| release.is_confirmed(at))
    }

    /// Has everything looked at once more, the first time it is called in a wait.
    fn hurry(&mut self) -> bool {
        let Some(wait) = &mut self.wait else { return false };
        if std::mem::replace(&mut wait.hurried, true) {
            return false;
        }
        for release in &mut self.releases {
            release.hurry();
        }
        true
    }

    fn approval_answered(&mut self, now: Duration, event: Event) -> Option<Command> {
        let wait = self.wait.as_mut()?;
        match event {
            Event::Approval(Approval::Given { by }) => {
                self.record(Entry::Approved { by });
                Some(self.wait_is_over(now))
            }
            Event::Approval(Approval::Denied { by }) => {
                let message = format!("{by} denied it");
                Some(self.fail(now, FailureReason::Approval { message }))
            }
            Event::CallFailed { message, .. } => {
                wait.failed_calls += 1;
                (wait.failed_calls >= CALL_ATTEMPTS).then(|| {
                    let message = format!("approvals could not be read: {message}");
                    self.fail(now, FailureReason::Approval { message })
                })
            }
            _ => {
                wait.failed_calls = 0;
                None
            }
        }
    }

    /// The metric that is due now, or how long it is until one is; `AskFreeze` stands for a metric that was measured without
    /// asking anybody.
    fn due_metric(&mut self, now: Duration) -> Option<Due> {
        let place = self.measured_place()?;
        let mut soonest: Option<(Duration, Asked)> = None;
        let own = self.wait.iter_mut().flat_map(|wait| wait.judges.iter_mut());
        let own = own.enumerate().map(|(index, judging)| (Asked::Own(index), judging));
        let background = self.background.iter_mut().enumerate();
        let background = background.map(|(index, judging)| (Asked::Background(index), judging));
        for (asked, judging) in own.chain(background).filter(|(_, judging)| judging.judge.wants_more()) {
            let due = judging.due(now);
            if soonest.is_none_or(|(at, _)| due < at) {
                soonest = Some((due, asked));
            }
        }
        let (due, asked) = soonest?;
        if due > now {
            return Some(Due::In(due.saturating_sub(now)));
        }
        let judging = self.judging(asked)?;
        judging.due = Some(now + judging.judge.metric().interval);
        let metric = judging.judge.metric().clone();
        if metric.source == MetricKind::Probe {
            let count = self.release_of(&place)?.count();
            let (healthy, all) = self.judging(asked)?.fresh(&place, count);
            let value = (all > 0).then(|| ratio(healthy, all));
            let answer = Ok(Sample { value, samples: Some(all), stable: None });
            let sampled = Sampled { query: "share of healthy probes".to_owned(), answer };
            let _ = self.sampled(asked, &sampled);
            return Some(Due::Now(Command::AskFreeze));
        }
        let scope = self.scope(place, metric.interval);
        let command = Command::Sample { metric: Box::new(metric), scope: Box::new(scope) };
        Some(Due::Now(self.ask(asked, command)))
    }

    fn judging(&mut self, asked: Asked) -> Option<&mut Judging> {
        match asked {
            Asked::Own(index) => self.wait.as_mut()?.judges.get_mut(index),
            Asked::Background(index) => self.background.get_mut(index),
            _ => None,
        }
    }

    /// The service that shows the candidate: the rollout's own once it is up, else the canary.
    fn measured_place(&self) -> Option<Place> {
        let up = |place: &Place| self.release_of(place).is_some_and(super::Release::is_up);
        if up(&self.request.place) {
            return Some(self.request.place.clone());
        }
        let canary = self.ledger.sibling().and_then(|order| order.place.clone());
        canary.filter(up).or_else(|| {
            self.releases.iter().find(|release| release.is_up()).map(|release| release.place.clone())
        })
    }

    fn scope(&self, place: Place, window: Duration) -> Scope {
        let stable = self.first_look.as_ref().and_then(|look| look.running.as_ref());
        Scope {
            candidate: self.release_of(&place).and_then(super::Release::deployment).cloned(),
            stable_place: self.request.place.clone(),
            stable: stable.map(|running| running.deployment.clone()),
            place,
            window,
        }
    }

    /// Counts what was measured; `Some` when that was one bad measurement too many.
    fn sampled(&mut self, asked: Asked, sampled: &Sampled) -> Option<FailureReason> {
        let place = self.measured_place().unwrap_or_else(|| self.request.place.clone());
        let judging = self.judging(asked)?;
        let mark = judging.judge.take(sampled);
        let metric = judging.judge.metric().name.clone();
        let reason = failed(&judging.judge);
        let verdict = mark.as_str().to_owned();
        self.record(Entry::Sampled { metric, place, sampled: sampled.clone(), verdict });
        reason
    }

    fn failed_metric(&self) -> Option<FailureReason> {
        let own = self.wait.iter().flat_map(|wait| wait.judges.iter());
        own.chain(&self.background).find_map(|judging| failed(&judging.judge))
    }

    /// Somebody asks to end the wait. It ends as at its time, with what is up looked at once more; that little was measured is
    /// theirs to judge. The approvals of a step are signed and counted, so one person's word does not stand for them.
    pub(super) fn promoted(&mut self, now: Duration) -> Command {
        let Some(wait) = &mut self.wait else { return self.pump(now) };
        match &wait.until {
            Until::Approval { instead_of: None, .. } => {
                let message = "the step waits for an approval, and a wish to go on is none".to_owned();
                self.record(Entry::Trouble { message });
            }
            Until::Time(_) | Until::Approval { .. } => {
                wait.until = Until::Time(now);
                wait.undecided = Undecided::Person;
            }
        }
        self.pump(now)
    }

    /// The wait has lasted long enough: what was measured in it decides.
    pub(super) fn wait_is_over(&mut self, now: Duration) -> Command {
        if let Some(reason) = self.failed_metric() {
            return self.fail(now, reason);
        }
        let Some(wait) = self.wait.take() else { return self.pump(now) };
        let mut open = None;
        let background = if wait.then == Then::Baked { self.background.as_slice() } else { &[] };
        for judging in wait.judges.iter().chain(background) {
            if let Err(message) = judging.judge.conclude() {
                let metric = judging.judge.metric().name.clone();
                open.get_or_insert(FailureReason::Inconclusive { metric, message });
            }
        }
        let Some(reason) = open.filter(|_| wait.undecided == Undecided::Rule) else {
            return self.after_wait(now, wait.step, wait.then);
        };
        match self.request.on_inconclusive {
            OnInconclusive::Proceed => {
                self.record(Entry::Trouble { message: format!("{reason}; going on as asked") });
                self.after_wait(now, wait.step, wait.then)
            }
            OnInconclusive::Abort => {
                self.wait = Some(wait);
                self.fail(now, reason)
            }
            OnInconclusive::Hold(within) => {
                self.record(Entry::Trouble { message: format!("{reason}; waiting for an approval") });
                let hold = Wait::approval(wait.step, now, within, Some(reason));
                // What is measured goes on being judged: a bad measurement needs nobody's opinion.
                self.begin_wait(
                    now,
                    Wait { judges: wait.judges, undecided: Undecided::Person, then: wait.then, ..hold },
                )
            }
        }
    }

    fn after_wait(&mut self, now: Duration, step: Option<usize>, then: Then) -> Command {
        match (then, step) {
            (Then::NextStep, Some(step)) => self.next_step(now, step + 1),
            (Then::NextService, Some(step)) => {
                let crate::spec::Step::Wave(wave) = &self.steps[step] else {
                    return self.next_step(now, step + 1);
                };
                let place = self.request.place.sibling(wave.services[self.waved].clone());
                self.release(now, step, &place)
            }
            (Then::End, _) => self.completed(),
            _ => {
                self.baked = true;
                // What ran already was judged, and that was all.
                if !self.ledger.changed() {
                    return self.completed();
                }
                let contract =
                    self.steps.iter().position(super::forward::is_contract).unwrap_or(self.steps.len());
                self.next_step(now, contract)
            }
        }
    }
}

fn failed(judge: &Judge) -> Option<FailureReason> {
    match judge.standing() {
        Standing::Failed(message) => {
            Some(FailureReason::Analysis { metric: judge.metric().name.clone(), message: message.clone() })
        }
        Standing::Open | Standing::Passed => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of probes")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
