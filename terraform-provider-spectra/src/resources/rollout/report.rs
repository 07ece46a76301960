//! A rollout that did not end with its candidate, in words.

use std::fmt::Write as _;

use spectra_delivery::Delivered;
use spectra_rollout::{Failure, FailureReason, Outcome, Report};
use spectra_types::{PinnedImage, Redactor};
use tfplugin::{Diagnostic, Diagnostics};

use crate::errors::sentence;

/// How many lines of the timeline are shown.
const TIMELINE: usize = 12;

/// What came of asking for `image`: of its rollout, or of the earlier one that it was not begun for.
pub(crate) fn diagnostic(image: &PinnedImage, delivered: &Delivered, again: &str) -> Diagnostic {
    let report = &delivered.report;
    let diagnostic = of_rollout(report, again);
    if delivered.begun {
        return diagnostic;
    }
    let Diagnostic { summary, detail, .. } = &diagnostic;
    Diagnostic {
        summary: "The rollout was not begun: an earlier one could not be brought to an end".to_owned(),
        detail: format!(
            "The rollout of {image} was not begun. Rollout `{}` of {}, which another process had left open, comes first, and it \
             could not be brought to an end.\n\nOf rollout `{}`: {summary}.\n{detail}",
            report.rollout, report.candidate, report.rollout
        ),
        ..diagnostic
    }
}

/// What was attempted, where and why it failed, what serves now, and what to do; `again` says how it is tried again.
pub(crate) fn of_rollout(report: &Report, again: &str) -> Diagnostic {
    let (summary, failure, end) = match &report.outcome {
        Outcome::Complete { .. } => {
            return Diagnostic::warning("The rollout is complete", report.candidate.to_string());
        }
        Outcome::Refused { failure } => (
            "The rollout was refused",
            failure,
            "Nothing was changed: the environment is as it was.".to_owned(),
        ),
        Outcome::RolledBack { failure, deployment } => (
            "The rollout failed and was rolled back",
            failure,
            restored(report, deployment.as_ref().map(ToString::to_string)),
        ),
        Outcome::RollbackFailed { failure, rollback } => (
            "The rollout failed, and so did the rollback",
            failure,
            format!(
                "Bringing the previous digest back failed: {rollback} [SPX-420]. Nothing more is tried, and no other rollout \
                 of the service begins: look at it on Railway now, then run `railway-deployer rollout unlock`."
            ),
        ),
        Outcome::Superseded { failure } => (
            "The rollout was superseded",
            failure,
            "Nothing was brought back, since that would undo the other deployment.".to_owned(),
        ),
        Outcome::Fenced { failure } => (
            "The rollout was stopped, because its lease was lost",
            failure,
            format!(
                "This process acts no more. Whoever has the lease now finds rollout `{}` in the journal and brings the \
                 environment in order; if nobody has, `railway-deployer rollout abort` does, and the next apply.",
                report.rollout
            ),
        ),
    };
    let mut detail = format!(
        "{} [{}].\n\nphase:           {}\nfailed digest:   {}\n",
        sentence(&failure.reason.to_string()),
        failure.reason.code(),
        failure.phase,
        report.candidate.digest(),
    );
    lines(&mut detail, report, failure);
    let _ = write!(detail, "\n{end}\n\n{}", advice(failure, again));
    // The platform's reasons quote the service's own log, and a probe's answer its body.
    Diagnostic::error(summary, Redactor::global().redact(&detail).into_owned()).at("image")
}

/// What happened to other rollouts on the way: those that a dead process had left open, those that went back with this one,
/// and what stays that should not.
pub(crate) fn others(delivered: &Delivered) -> Diagnostics {
    let mut diagnostics = Diagnostics::new();
    let mut add = |bad: bool, summary: &str, detail: String| {
        let detail = Redactor::global().redact(&detail).into_owned();
        diagnostics.push(if bad {
            Diagnostic::error(summary, detail)
        } else {
            Diagnostic::warning(summary, detail)
        });
    };
    for report in &delivered.recovered {
        add(
            false,
            "An interrupted rollout was brought to an end first",
            format!(
                "Rollout `{}` of {} had been left open by a process that is gone. It is {} now.",
                report.rollout, report.place, report.outcome
            ),
        );
    }
    for report in &delivered.taken_back {
        let running = report.observed.as_ref().and_then(|observed| observed.running_digest());
        add(
            !matches!(report.outcome, Outcome::RolledBack { .. }),
            "A rollout that this one depends on went back with it",
            format!(
                "Rollout `{}` of {} is {} now, and runs {}. Its resource still says what it had brought out; the next plan reads \
                 what runs, and shows the change again.",
                report.rollout,
                report.place,
                report.outcome,
                running.map_or_else(|| "nothing that is known".to_owned(), ToString::to_string),
            ),
        );
    }
    for warning in &delivered.warnings {
        add(
            false,
            "A policy was passed over on the way back",
            format!("{}.", sentence(&warning.to_string())),
        );
    }
    for leftover in &delivered.report.leftovers {
        add(false, "Something is left over", format!("{}.", sentence(leftover)));
    }
    diagnostics
}

fn restored(report: &Report, deployment: Option<String>) -> String {
    match (report.snapshot.digest(), deployment) {
        (Some(digest), Some(deployment)) => {
            format!(
                "The environment serves the digest from before again: {digest} (deployment `{deployment}`)."
            )
        }
        (_, Some(deployment)) => {
            format!("The environment serves what it served before: deployment `{deployment}`.")
        }
        (_, None) => "Nothing ran before, and nothing runs now.".to_owned(),
    }
}

fn lines(detail: &mut String, report: &Report, failure: &Failure) {
    if let Some(digest) = report.snapshot.digest()
        && matches!(report.outcome, Outcome::RolledBack { .. })
    {
        let _ = writeln!(detail, "restored digest: {digest}");
    }
    let running = match &report.observed {
        None => "could not be read".to_owned(),
        Some(observed) => observed.running_digest().map_or_else(|| "nothing".to_owned(), ToString::to_string),
    };
    let _ = writeln!(detail, "running digest:  {running}");
    if let Some(measurement) = &failure.last_measurement {
        let _ = writeln!(detail, "last probe:      {} answered {}", measurement.subject, measurement.answer);
    }
    if let Some(deployment) = &report.deployment {
        let _ = writeln!(detail, "deployment:      {deployment}");
    }
    detail.push_str("timeline:\n");
    let skipped = report.timeline.len().saturating_sub(TIMELINE);
    if skipped > 0 {
        let _ = writeln!(detail, "  … {skipped} earlier lines");
    }
    for (at, line) in &report.timeline[skipped..] {
        let _ = writeln!(detail, "  +{:.1}s {line}", at.as_secs_f64());
    }
}

fn advice(failure: &Failure, again: &str) -> String {
    let cause = match &failure.reason {
        FailureReason::NeedsApproval => "Approve the deployment on Railway, then apply again. ",
        FailureReason::Sleeping => "Add `health`, or turn sleeping off for the service. ",
        FailureReason::WrongDigest { .. } => "Look for automatic updates of the image on Railway. ",
        _ => "",
    };
    format!("{cause}{again}")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use spectra_rollout::{Phase, Place, Snapshot};

    use super::*;

    fn image(letter: &str) -> PinnedImage {
        format!("ghcr.io/team/web@sha256:{}", letter.repeat(64)).parse().unwrap()
    }

    /// Of an earlier rollout whose way back failed.
    pub(crate) fn failed(candidate: PinnedImage) -> Report {
        let failure = Failure {
            phase: Phase::Baking,
            step: None,
            reason: FailureReason::Interrupted,
            last_measurement: None,
        };
        let rollback = FailureReason::Timeout { timeout: Duration::from_mins(5) };
        Report {
            rollout: "ro-earlier".to_owned(),
            candidate,
            outcome: Outcome::RollbackFailed { failure, rollback },
            phase: Phase::RollbackFailed,
            snapshot: Snapshot { running: None, setting: None, pre_deploy: None },
            observed: None,
            deployment: None,
            place: Place {
                project: "p-1".parse().unwrap(),
                environment: "e-1".parse().unwrap(),
                service: "s-1".parse().unwrap(),
            },
            measurements: Vec::new(),
            leftovers: Vec::new(),
            timeline: Vec::new(),
        }
    }

    pub(crate) fn delivered(report: Report, begun: bool) -> Delivered {
        Delivered { recovered: Vec::new(), report, begun, warnings: Vec::new(), taken_back: Vec::new() }
    }

    #[test]
    fn an_earlier_rollouts_failure_names_that_rollout_and_its_image() {
        let (asked, earlier) = (image("a"), image("b"));
        let told = diagnostic(&asked, &delivered(failed(earlier.clone()), false), "Apply again.");
        assert!(told.summary.starts_with("The rollout was not begun"), "{}", told.summary);
        let detail = &told.detail;
        assert!(detail.starts_with(&format!("The rollout of {asked} was not begun.")), "{detail}");
        assert!(detail.contains(&format!("Rollout `ro-earlier` of {earlier}")), "{detail}");
        assert!(detail.contains(&format!("failed digest:   {}", earlier.digest())), "{detail}");
        assert_eq!(detail.matches(&asked.digest().to_string()).count(), 1, "{detail}");
    }

    #[test]
    fn the_own_rollouts_failure_names_its_image() {
        let told = diagnostic(&image("a"), &delivered(failed(image("a")), true), "Apply again.");
        assert_eq!(told.summary, "The rollout failed, and so did the rollback");
        assert!(
            told.detail.contains(&format!("failed digest:   {}", image("a").digest())),
            "{}",
            told.detail
        );
    }
}
