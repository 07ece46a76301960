//! What a rollout came to, in words, as JSON and as an exit code.

use serde_json::{Value, json};
use spectra_delivery::Delivered;
use spectra_rollout::{Outcome, Report};
use spectra_types::{ExitCode, PinnedImage, error_chain};

use super::place::flags;
use super::postmortem::Folder;
use crate::{failure::Failure, lines::Lines};

/// What came of a request as a document; its kind is `rollout.result`. Where an earlier rollout could not be brought to an
/// end, the document is about that one, and `begun` is false.
pub(super) fn delivered_value(asked: &PinnedImage, delivered: &Delivered, folder: &Folder) -> Value {
    let mut value = value(&delivered.report, &delivered.recovered, folder);
    value["asked_image"] = json!(asked);
    value["begun"] = json!(delivered.begun);
    value["warnings"] = delivered.warnings.iter().map(ToString::to_string).collect();
    value
}

/// One rollout as a document.
pub(super) fn value(report: &Report, recovered: &[Report], folder: &Folder) -> Value {
    let failure = report.outcome.failure();
    let timeline: Vec<_> = report
        .timeline
        .iter()
        .map(|(at, line)| json!({ "after_ms": u64::try_from(at.as_millis()).unwrap_or(u64::MAX), "line": line }))
        .collect();
    json!({
        "rollout": report.rollout,
        "outcome": report.phase,
        "exit_code": report.outcome.exit_code().code(),
        "code": failure.map(|failure| failure.reason.code().as_str()),
        "message": report.outcome.to_string(),
        "failed_phase": failure.map(|failure| failure.phase),
        "failed_step": failure.and_then(|failure| failure.step.clone()),
        "project_id": report.place.project,
        "environment_id": report.place.environment,
        "service_id": report.place.service,
        "image": report.candidate,
        "digest": report.candidate.digest(),
        "previous_digest": report.snapshot.digest(),
        "running_digest": report.observed.as_ref().and_then(|observed| observed.running_digest()),
        "deployment_id": report.deployment,
        "serving_deployment_id": serving(&report.outcome),
        "timeline": timeline,
        "measurements": report.measurements,
        "leftovers": report.leftovers,
        "postmortem": folder.of(&report.rollout),
        "recovered": recovered
            .iter()
            .map(|report| json!({ "rollout": report.rollout, "outcome": report.phase, "message": report.outcome.to_string() }))
            .collect::<Vec<_>>(),
    })
}

/// A rollout that was not begun.
pub(super) fn not_begun(image: &PinnedImage, place: &spectra_rollout::Place, failure: &Failure) -> Value {
    let before = match failure {
        Failure::Delivery(spectra_delivery::Error::AfterRecovery { recovered, .. }) => recovered.as_slice(),
        _ => &[],
    };
    let recovered: Vec<_> = before
        .iter()
        .map(|(rollout, outcome)| {
            json!({ "rollout": rollout, "outcome": outcome.phase(), "message": outcome.to_string() })
        })
        .collect();
    json!({
        "rollout": null,
        "outcome": "not_begun",
        "exit_code": failure.exit_code().code(),
        "code": failure.code(),
        "message": error_chain(failure),
        "hint": failure.hint(),
        "project_id": place.project,
        "environment_id": place.environment,
        "service_id": place.service,
        "image": image,
        "digest": image.digest(),
        "recovered": recovered,
    })
}

/// What is printed for people of what came of a request.
pub(super) fn delivered_text(asked: &PinnedImage, delivered: &Delivered, folder: &Folder) -> Lines {
    let mut text = Lines::default();
    let Delivered { report, recovered, begun, warnings, .. } = delivered;
    if !begun {
        text.push(&format!("not begun: {asked}, since rollout {} of {}, which another process had left open, could not be brought to an \
             end; what follows is about that one",
            report.rollout, report.candidate));
    }
    for warning in warnings {
        text.push(&format!("warning: passed over on the way back: {warning}"));
    }
    text.append(&self::text(report, recovered, folder));
    text
}

/// What is printed for people of one rollout.
pub(super) fn text(report: &Report, recovered: &[Report], folder: &Folder) -> Lines {
    let mut text = Lines::default();
    for before in recovered {
        text.push(&format!("first, rollout {} was brought to an end: {}", before.rollout, before.outcome));
    }
    text.push(&report.outcome.to_string());
    text.push(&format!("rollout     {}", report.rollout));
    text.push(&format!("service     {}", report.place.service));
    text.push(&format!("environment {}", report.place.environment));
    text.push(&format!("image       {}", report.candidate));
    if let Some(digest) = report.snapshot.digest() {
        text.push(&format!("before      {digest}"));
    }
    let running = match &report.observed {
        None => "could not be read".to_owned(),
        Some(observed) => observed.running_digest().map_or_else(|| "nothing".to_owned(), ToString::to_string),
    };
    text.push(&format!("running     {running}"));
    if let Some(failure) = report.outcome.failure() {
        text.push(&format!("failed in   {} [{}]", failure.phase, failure.reason.code()));
        if let Some(measurement) = &failure.last_measurement {
            text.push(&format!("last probe  {} answered {}", measurement.subject, measurement.answer));
        }
    }
    for leftover in &report.leftovers {
        text.push(&format!("left over   {leftover}"));
    }
    if let Some(path) = folder.of(&report.rollout) {
        text.push(&format!("post-mortem {}", path.display()));
    }
    if let Some(advice) = advice(report) {
        text.push(&advice);
    }
    text
}

fn advice(report: &Report) -> Option<String> {
    match &report.outcome {
        Outcome::RollbackFailed { .. } => Some(format!(
            "look at the service on Railway; when it is in order, run `railway-deployer rollout unlock {} --reason …`: \
             until then, no other rollout of it begins",
            flags(&report.place)
        )),
        Outcome::Superseded { .. } => Some(format!(
            "nothing was brought back, since that would undo the other deployment: see `railway-deployer rollout history \
             --platform {}`; to bring the image out over it, run the same command again",
            flags(&report.place)
        )),
        Outcome::Fenced { .. } => Some(format!(
            "this process lost the lease and acts no more; whoever has the lease brings the environment in order, and \
             `railway-deployer rollout abort {0}` does if nobody has: see `railway-deployer rollout status {0}`",
            flags(&report.place)
        )),
        _ => None,
    }
}

fn serving(outcome: &Outcome) -> Option<&spectra_types::DeploymentId> {
    match outcome {
        Outcome::Complete { deployment } => Some(deployment),
        Outcome::RolledBack { deployment, .. } => deployment.as_ref(),
        _ => None,
    }
}

/// The exit code of one.
pub(super) fn exit_code(result: &Result<Delivered, Failure>) -> ExitCode {
    match result {
        Ok(delivered) => delivered.report.outcome.exit_code(),
        Err(failure) => failure.exit_code(),
    }
}

/// How bad a code is, where several rollouts share one.
pub(super) const fn badness(code: ExitCode) -> u8 {
    match code {
        ExitCode::Done => 0,
        ExitCode::Usage => 1,
        ExitCode::GateRefused => 2,
        ExitCode::LeaseHeld => 3,
        ExitCode::NotAuthorised => 4,
        ExitCode::Failed => 5,
        ExitCode::Interrupted => 6,
        ExitCode::RolledBack => 7,
        ExitCode::RollbackFailed => 8,
    }
}
