//! Carries the machine's commands out.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use spectra_types::{PinnedImage, error_chain};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::entry::Entry;
use crate::ledger::Ledger;
use crate::machine::{Command, Event, Machine, Turn};
use crate::model::{Failure, FailureReason, Measurement, Outcome, Report};
use crate::ports::{
    Diary, DiaryError, Gates, MetricSource, News, Notifier, Probe, RunContext, RunError, Runner, Target,
    TargetError, Wish,
};
use crate::spec::RolloutRequest;

/// How often others' wishes are looked for while something is waited for.
const LISTEN: Duration = Duration::from_secs(2);
/// How long notifications are waited for at the end.
const TELL: Duration = Duration::from_secs(30);

/// Everything that a rollout acts through.
#[derive(Clone, Copy)]
pub struct Ports<'a> {
    /// The platform.
    pub target: &'a dyn Target,
    /// Looks from outside.
    pub probe: &'a dyn Probe,
    /// Metrics.
    pub metrics: &'a dyn MetricSource,
    /// Programs.
    pub runner: &'a dyn Runner,
    /// Freeze windows and approvals.
    pub gates: &'a dyn Gates,
    /// People.
    pub notifier: &'a dyn Notifier,
    /// The record.
    pub diary: &'a dyn Diary,
    /// Time.
    pub clock: &'a dyn Clock,
}

/// Carries `request` out and returns what really holds afterwards.
///
/// When `cancel` trips, waits end at once, calls that may change something are awaited to their end, and the machine
/// unwinds inside [`RolloutRequest::abort_timeout`]. Dropping the future in the middle leaves an open rollout in the
/// diary, which [`recover`] takes up; cancelling is kinder.
pub async fn run(id: &str, request: RolloutRequest, ports: Ports<'_>, cancel: &CancellationToken) -> Report {
    let machine = Machine::new(id, request.clone(), ports.target.poll_interval());
    Journey::new(id, request, machine, ports).travel(cancel).await
}

/// Takes up what another process began and did not end: brings the environment back to what it was before. `None` when the
/// ledger holds no open rollout.
pub async fn recover(
    id: &str,
    ledger: Ledger,
    ports: Ports<'_>,
    cancel: &CancellationToken,
) -> Option<Report> {
    if ledger.outcome().is_some() {
        return None;
    }
    let request = ledger.request()?.clone();
    let machine = Machine::recover(id, request.clone(), ports.target.poll_interval(), ledger);
    Some(Journey::new(id, request, machine, ports).travel(cancel).await)
}

/// Takes a completed rollout back, because one that depends on it failed. `None` when the ledger holds no rollout that was
/// completed.
pub async fn take_back(
    id: &str,
    ledger: Ledger,
    reason: FailureReason,
    ports: Ports<'_>,
    cancel: &CancellationToken,
) -> Option<Report> {
    if !matches!(ledger.outcome(), Some(Outcome::Complete { .. })) {
        return None;
    }
    let request = ledger.request()?.clone();
    let poll = ports.target.poll_interval();
    let machine = Machine::take_back(id, request.clone(), poll, ledger, reason);
    Some(Journey::new(id, request, machine, ports).travel(cancel).await)
}

struct Journey<'a> {
    id: &'a str,
    request: RolloutRequest,
    machine: Machine,
    ports: Ports<'a>,
    start: Duration,
    measurements: Vec<Measurement>,
    timeline: Vec<(Duration, String)>,
    leftovers: Vec<String>,
    /// What could not be written down yet. Nothing is begun before it is: a record with gaps cannot be recovered from.
    owed: VecDeque<Entry>,
    telling: FuturesUnordered<BoxFuture<'a, Option<Entry>>>,
    /// The user's stop was passed on to the machine.
    told: bool,
    asked_for_approval: bool,
}

impl<'a> Journey<'a> {
    fn new(id: &'a str, request: RolloutRequest, machine: Machine, ports: Ports<'a>) -> Self {
        Self {
            id,
            request,
            machine,
            ports,
            start: ports.clock.now(),
            measurements: Vec::new(),
            timeline: Vec::new(),
            leftovers: Vec::new(),
            owed: VecDeque::new(),
            telling: FuturesUnordered::new(),
            told: false,
            asked_for_approval: false,
        }
    }

    async fn travel(mut self, cancel: &CancellationToken) -> Report {
        let mut event = Event::Begin;
        let outcome = loop {
            let turn = self.machine.step(self.ports.clock.now(), event);
            if let Command::Finish(outcome) = turn.command {
                let mut entries = turn.entries;
                if matches!(*outcome, Outcome::Superseded { .. }) {
                    let end = entries.len().saturating_sub(1);
                    entries.splice(end..end, still_set(&self.request, self.ports.target).await);
                }
                break self.finish(entries, *outcome).await;
            }
            event = self.turn(turn, cancel).await;
        };
        // The last look is for the truth of the report; an unreadable platform leaves it open rather than guessed.
        let observed = self.ports.target.observe(&self.request.place).await.ok();
        self.news(event_of(&outcome), outcome.to_string());
        self.hear_out().await;
        Report {
            rollout: self.id.to_owned(),
            candidate: self.request.candidate,
            phase: outcome.phase(),
            outcome,
            snapshot: self.machine.snapshot(),
            observed,
            deployment: self.machine.deployment().cloned(),
            place: self.request.place,
            measurements: self.measurements,
            leftovers: self.leftovers,
            timeline: self.timeline,
        }
    }

    /// Waits for what became of the news, for a while: people who cannot be told are no reason not to end.
    async fn hear_out(&mut self) {
        let mut over = self.ports.clock.sleep(TELL);
        while !self.telling.is_empty() {
            let told = tokio::select! {
                biased;
                told = self.telling.next() => told.flatten(),
                () = &mut over => {
                    self.note(format!("{} notifications had no end after {TELL:?}", self.telling.len()));
                    return;
                }
            };
            self.write_all(told.into_iter().collect()).await;
        }
    }

    /// Writes the end down. An end that is not written is none: whoever finds the record takes it up again.
    async fn finish(&mut self, entries: Vec<Entry>, outcome: Outcome) -> Outcome {
        let failure = outcome.failure().cloned();
        if let Some(message) = self.write_all(entries).await {
            let reason = FailureReason::LeaseLost { message };
            let failure = failure.map_or_else(
                || Failure {
                    phase: outcome.phase(),
                    step: None,
                    reason: reason.clone(),
                    last_measurement: self.measurements.last().cloned(),
                },
                |failure| Failure { reason: reason.clone(), ..failure },
            );
            return Outcome::Fenced { failure };
        }
        if !self.owed.is_empty() {
            self.leftovers.push(
                "the end could not be written to the journal; whoever has the lease after this process takes the rollout for \
                 interrupted and goes back to what ran before"
                    .to_owned(),
            );
        }
        outcome
    }

    /// Writes down, acts, and says what came of it.
    async fn turn(&mut self, turn: Turn, cancel: &CancellationToken) -> Event {
        let Turn { entries, intent, command } = turn;
        if let Some(fenced) = self.write_all(entries).await {
            return Event::Fenced(fenced);
        }
        if cancel.is_cancelled() && !self.told {
            self.told = true;
            self.note("stop requested".to_owned());
            return Event::Cancelled;
        }
        if let Some(action) = intent {
            match self.write(Entry::Intent { action }).await {
                Ok(()) => {}
                Err(DiaryError::Fenced(by)) => return Event::Fenced(by),
                // The way back is taken all the same: an environment that is whole matters more than the record of it.
                Err(DiaryError::Unavailable(why)) if self.going_back() => {
                    self.note(format!("the journal could not be written: {why}"));
                }
                Err(DiaryError::Unavailable(why)) => {
                    // It is not carried out, so it is not owed.
                    self.owed.pop_back();
                    return Event::Unwritten(why);
                }
            }
            if !self.ports.diary.may_act() {
                return Event::Fenced("it ran out before it could be renewed".to_owned());
            }
        }
        self.carry_out(command, cancel).await
    }

    const fn going_back(&self) -> bool {
        self.machine.is_going_back()
    }

    async fn carry_out(&mut self, command: Command, cancel: &CancellationToken) -> Event {
        let Ports { target, probe, metrics, runner, gates, .. } = self.ports;
        let told = self.told;
        match command {
            // Reads change nothing, and a platform that is slow to answer must not hold up a stop.
            Command::Observe(place) => {
                let read = async { answer(target.observe(&place).await.map(Event::Observed)) };
                unless_stopped(read, cancel, told).await
            }
            Command::ReadDeployment { place, id } => {
                let read = async { answer(target.deployment(&place, &id).await.map(Event::Deployment)) };
                unless_stopped(read, cancel, told).await
            }
            Command::Deploy { place, order } => {
                answer(target.deploy(&place, &order).await.map(Event::Started))
            }
            Command::Restore { place, order } => {
                answer(target.restore(&place, &order).await.map(Event::Restored))
            }
            Command::CreateSibling { place, order } => {
                answer(target.create_sibling(&place, &order).await.map(Event::Sibling))
            }
            Command::RemoveSibling { place, order } => {
                answer(target.remove_sibling(&place, &order).await.map(|()| Event::SiblingRemoved))
            }
            Command::Probe(place) => {
                let read = async { Event::Measured(probe.measure(&place).await) };
                let event = unless_stopped(read, cancel, told).await;
                if let Event::Measured(measurement) = &event {
                    self.measurements.push(measurement.clone());
                }
                event
            }
            Command::Sample { metric, scope } => {
                let read = async { Event::Sampled(metrics.sample(&metric, &scope).await) };
                unless_stopped(read, cancel, told).await
            }
            Command::Run { place, command, purpose } => {
                let context = RunContext {
                    rollout: self.id.to_owned(),
                    candidate: self.request.candidate.clone(),
                    purpose,
                };
                // What undoes something is not stopped: nobody would undo it then.
                let never = CancellationToken::new();
                let stop = if told || self.machine.is_going_back() { &never } else { cancel };
                match runner.run(&place, &command, &context, stop).await {
                    Ok(tail) => Event::Ran(tail),
                    Err(RunError { message, effect }) if stop.is_cancelled() => {
                        self.told = true;
                        self.note("stop requested".to_owned());
                        Event::Stopped { message, effect }
                    }
                    Err(error) => Event::CallFailed { message: error.message, effect: error.effect },
                }
            }
            Command::AskFreeze => {
                let read = async {
                    match gates.frozen(&self.request).await {
                        Ok(window) => Event::Freeze(window),
                        Err(message) => unchanged(message),
                    }
                };
                unless_stopped(read, cancel, told).await
            }
            Command::AskApproval => {
                if !std::mem::replace(&mut self.asked_for_approval, true) {
                    self.news("rollout.approval_needed", "it waits for an approval".to_owned());
                }
                let read = async {
                    match gates.approval(&self.request).await {
                        Ok(approval) => Event::Approval(approval),
                        Err(message) => unchanged(message),
                    }
                };
                unless_stopped(read, cancel, told).await
            }
            Command::Wait { at_most, following } => self.wait(at_most, following, cancel).await,
            // Taken care of by the caller.
            Command::Finish(_) => Event::Woken,
        }
    }

    /// Waits in pieces, so that others' wishes are heard in time.
    async fn wait(
        &mut self,
        at_most: Duration,
        following: Option<(crate::spec::Place, spectra_types::DeploymentId)>,
        cancel: &CancellationToken,
    ) -> Event {
        let end = self.ports.clock.now() + at_most;
        loop {
            if !self.going_back()
                && let Some(event) = self.wish().await
            {
                return event;
            }
            let left = end.saturating_sub(self.ports.clock.now());
            if left.is_zero() {
                return Event::Woken;
            }
            let piece = left.min(LISTEN);
            let pause = async {
                let before = self.ports.clock.now();
                let over = self.ports.clock.sleep(piece);
                if let Some((place, id)) = &following {
                    // News that never come must not hold up the clocks.
                    tokio::select! {
                        biased;
                        () = over => {}
                        () = self.ports.target.changed(place, id, piece) => {}
                    }
                } else {
                    over.await;
                }
                self.ports.clock.now().saturating_sub(before) < piece
            };
            let told = tokio::select! {
                biased;
                () = cancel.cancelled(), if !self.told => return Event::Woken,
                early = pause => {
                    if early {
                        return Event::Woken;
                    }
                    None
                }
                Some(told) = self.telling.next(), if !self.telling.is_empty() => Some(told),
            };
            if let Some(told) = told.flatten()
                && let Some(by) = self.write_all(vec![told]).await
            {
                return Event::Fenced(by);
            }
        }
    }

    async fn wish(&mut self) -> Option<Event> {
        let wishes = self.ports.diary.requests().await;
        // Going back outranks going on.
        let abort = wishes.iter().find(|wish| matches!(wish, Wish::Abort { .. }));
        match abort.or(wishes.first()).cloned()? {
            Wish::Abort { by, reason } => Some(Event::Aborted { by, reason }),
            Wish::Promote { by } => Some(Event::Promoted { by }),
        }
    }

    /// Writes what nothing has to wait for: what cannot be written now is written with what comes next. `Some` when somebody
    /// else holds the lease.
    async fn write_all(&mut self, entries: Vec<Entry>) -> Option<String> {
        for entry in entries {
            let kind = entry.kind();
            match self.write(entry).await {
                Ok(()) => {}
                Err(DiaryError::Fenced(by)) => return Some(by),
                Err(DiaryError::Unavailable(why)) => {
                    tracing::warn!(error = %why, entry = kind, "the journal could not be written");
                    self.note(format!("not written down: {why}"));
                }
            }
        }
        None
    }

    /// Writes an entry after all that is owed. If that fails, it is owed too.
    async fn write(&mut self, entry: Entry) -> Result<(), DiaryError> {
        let line = entry.line();
        tracing::info!(rollout = %self.id, kind = entry.kind(), "{line}");
        self.note(line);
        match &entry {
            Entry::Begun { .. } => {
                self.news("rollout.started", format!("{} is rolled out", self.request.candidate));
            }
            Entry::Resumed { .. } => {
                self.news("rollout.recovering", "an interrupted rollout is brought to an end".to_owned());
            }
            Entry::GoingBack { failure } => self.news("rollout.going_back", failure.reason.to_string()),
            Entry::Leftover { message } => self.leftovers.push(message.clone()),
            _ => {}
        }
        self.owed.push_back(entry);
        while let Some(next) = self.owed.front() {
            self.ports.diary.write(next).await?;
            self.owed.pop_front();
        }
        Ok(())
    }

    fn note(&mut self, line: String) {
        self.timeline.push((self.ports.clock.now().saturating_sub(self.start), line));
    }

    /// Tells people, beside everything else.
    fn news(&mut self, event: &'static str, summary: String) {
        let news = News {
            event,
            rollout: self.id.to_owned(),
            place: self.request.place.clone(),
            candidate: self.request.candidate.clone(),
            summary,
        };
        let notifier = self.ports.notifier;
        self.telling.push(Box::pin(async move {
            let results = notifier.tell(&news).await;
            (!results.is_empty()).then(|| Entry::Told { event: event.to_owned(), results })
        }));
    }
}

fn event_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Complete { .. } => "rollout.completed",
        Outcome::Refused { .. } => "rollout.refused",
        Outcome::RolledBack { .. } => "rollout.rolled_back",
        Outcome::RollbackFailed { .. } => "rollout.rollback_failed",
        Outcome::Superseded { .. } => "rollout.superseded",
        Outcome::Fenced { .. } => "rollout.fenced",
    }
}

fn answer(result: Result<Event, TargetError>) -> Event {
    result.unwrap_or_else(|error| Event::CallFailed { message: error_chain(&error), effect: error.effect })
}

fn unchanged(message: String) -> Event {
    Event::CallFailed { message, effect: crate::ports::Effect::None }
}

/// A call that changes nothing is left where it is when the user stops the rollout for the first time.
async fn unless_stopped(call: impl Future<Output = Event>, cancel: &CancellationToken, told: bool) -> Event {
    if told {
        return call.await;
    }
    tokio::select! {
        biased;
        event = call => event,
        () = cancel.cancelled() => Event::Woken,
    }
}

/// Who takes a service over may leave it set to the candidate: to bring an older deployment back on the platform does. It
/// is not for this rollout to change what somebody else has in hand, but whatever deploys the service next brings the
/// candidate out.
async fn still_set(request: &RolloutRequest, target: &dyn Target) -> Vec<Entry> {
    let mut found = Vec::new();
    for place in request.places() {
        let Ok(seen) = target.observe(&place).await else { continue };
        let set = seen.setting.as_deref().and_then(|text| text.parse::<PinnedImage>().ok());
        if set.as_ref() == Some(&request.candidate)
            && seen.running_digest() != Some(request.candidate.digest())
        {
            let message = format!(
                "service `{}` is still set to `{}`, which does not run there: whatever deploys it next brings that out; \
                 set the image that is to run, or roll one out",
                place.service, request.candidate
            );
            found.push(Entry::Leftover { message });
        }
    }
    found
}
