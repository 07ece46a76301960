//! Carries the machine's commands out.

use std::time::Duration;

use spectra_types::error_chain;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::machine::{Command, Event, Machine};
use crate::model::{Measurement, Outcome, Phase, Report, RolloutRequest, Verdict};
use crate::target::{Probe, Target, TargetError};

/// Rolls `request` out on `target` and returns what really holds afterwards.
///
/// When `cancel` trips, waits end at once, calls that may change something are awaited to their end, and the machine
/// unwinds inside [`RolloutRequest::abort_timeout`]. Dropping the future in the middle is not safe; cancel instead.
pub async fn run<T: Target, P: Probe, C: Clock>(
    request: RolloutRequest,
    target: &T,
    probe: &P,
    clock: &C,
    cancel: &CancellationToken,
) -> Report {
    let start = clock.now();
    let candidate = request.candidate.clone();
    let mut machine = Machine::new(request, target.poll_interval());
    let mut journey = Journey { measurements: Vec::new(), timeline: Vec::new(), phase: None };
    let mut told = false;
    let mut event = Event::Begin;
    let outcome = loop {
        let mut command = machine.step(clock.now(), event);
        if cancel.is_cancelled() && !told && !matches!(command, Command::Finish(_)) {
            told = true;
            journey.note(clock.now().saturating_sub(start), "stop requested".to_owned());
            command = machine.step(clock.now(), Event::Cancelled);
        }
        journey.phase(clock.now().saturating_sub(start), machine.phase());
        event = match command {
            Command::Finish(outcome) => break *outcome,
            // Reads change nothing, and a platform that is slow to answer must not hold up a stop.
            Command::Observe => {
                let read = async { answer(target.observe().await.map(Event::Observed)) };
                unless_stopped(read, cancel, told).await
            }
            Command::Deploy(baseline) => {
                answer(target.deploy(&candidate, &baseline).await.map(Event::Started))
            }
            Command::ReadDeployment(id) => {
                let read = async { answer(target.deployment(&id).await.map(Event::Deployment)) };
                unless_stopped(read, cancel, told).await
            }
            Command::Restore { snapshot, failed } => {
                answer(target.restore(&snapshot, failed.as_ref()).await.map(Event::Restored))
            }
            Command::Measure => {
                let event =
                    unless_stopped(async { Event::Measured(probe.measure().await) }, cancel, told).await;
                if let Event::Measured(measurement) = &event {
                    journey.measured(clock.now().saturating_sub(start), measurement);
                }
                event
            }
            Command::Wait(duration) => {
                wait(clock, duration, cancel, told).await;
                Event::Woken
            }
        };
        if let Event::CallFailed { message, .. } = &event {
            tracing::warn!(phase = %machine.phase(), error = %message, "rollout call failed");
            journey.note(clock.now().saturating_sub(start), format!("failed: {message}"));
        }
    };
    // The last look is for the truth of the report; an unreadable platform leaves it open rather than guessed.
    let observed = target.observe().await.ok();
    journey.note(clock.now().saturating_sub(start), end_of(&outcome));
    Report {
        outcome,
        phase: machine.phase(),
        snapshot: machine.snapshot(),
        observed,
        deployment: machine.candidate().cloned(),
        measurements: journey.measurements,
        timeline: journey.timeline,
    }
}

fn answer(result: Result<Event, TargetError>) -> Event {
    result.unwrap_or_else(|error| Event::CallFailed { message: error_chain(&error), effect: error.effect })
}

async fn wait<C: Clock>(clock: &C, duration: Duration, cancel: &CancellationToken, told: bool) {
    if told {
        clock.sleep(duration).await;
    } else {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = clock.sleep(duration) => {}
        }
    }
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

fn end_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Complete { deployment } => {
            format!("complete: deployment `{deployment}` serves the candidate")
        }
        Outcome::Refused(failure) => format!("refused, nothing changed: {}", failure.reason),
        Outcome::RolledBack { failure, .. } => format!("rolled back: {}", failure.reason),
        Outcome::RollbackFailed { rollback, .. } => format!("rollback failed: {rollback}"),
        Outcome::Superseded(failure) => format!("superseded: {}", failure.reason),
    }
}

struct Journey {
    measurements: Vec<Measurement>,
    timeline: Vec<(Duration, String)>,
    phase: Option<Phase>,
}

impl Journey {
    fn note(&mut self, at: Duration, text: String) {
        self.timeline.push((at, text));
    }

    fn phase(&mut self, at: Duration, phase: Phase) {
        if self.phase != Some(phase) {
            self.phase = Some(phase);
            tracing::info!(%phase, "rollout phase");
            self.note(at, format!("phase {phase}"));
        }
    }

    fn measured(&mut self, at: Duration, measurement: &Measurement) {
        let verdict = if measurement.verdict == Verdict::Healthy { "healthy" } else { "unhealthy" };
        tracing::info!(subject = %measurement.subject, answer = %measurement.answer, verdict, "probe");
        self.note(at, format!("{verdict}: {} → {}", measurement.subject, measurement.answer));
        self.measurements.push(measurement.clone());
    }
}
