//! `rollout status`: reads the journal. All that it changes is that leases which a dead process left are free again.

use clap::Args;
use serde_json::{Value, json};
use spectra_delivery::{Standing, entries, standing, standing_of, tidy_leases};
use spectra_journal::{Held, Holder};
use spectra_rollout::{Entry, Place};
use spectra_types::ExitCode;

use super::open_existing;
use super::place::{Which, flags};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `rollout status`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let place = arguments.which.place(&journal).await?;
    tidy_leases(&journal, &Holder::of_this_process(env!("CARGO_PKG_NAME"))).await;
    let lease = journal.lease_of(&place.subject()).await?;
    let found = match arguments.which.id() {
        Some(rollout) => standing_of(&journal, rollout).await?,
        None => standing(&journal, &place.subject()).await?,
    };
    let rollout = match &found {
        Standing::None => None,
        Standing::Ended { rollout, .. }
        | Standing::Open { rollout, .. }
        | Standing::Unresolved { rollout, .. } => Some(rollout.as_str()),
    };
    let mut last = Last::default();
    if let Some(rollout) = rollout {
        for (record, entry) in entries(&journal, rollout).await? {
            last.take(record.at, entry);
        }
    }
    let value = value(&place, lease.as_ref(), &found, &last);
    let text = text(&place, lease.as_ref(), &found, &last);
    printer.data("rollout.status", &value, text)?;
    Ok(ExitCode::Done)
}

/// What a rollout said last.
#[derive(Default)]
struct Last {
    image: Option<String>,
    begun: Option<jiff::Timestamp>,
    phase: Option<String>,
    step: Option<String>,
    line: Option<(jiff::Timestamp, String)>,
}

impl Last {
    fn take(&mut self, at: jiff::Timestamp, entry: Entry) {
        self.line = Some((at, entry.line()));
        match entry {
            Entry::Begun { request } => {
                self.image = Some(request.candidate.to_string());
                self.begun = Some(at);
            }
            Entry::Stage { phase, step } => {
                self.phase = Some(phase.to_string());
                self.step = step;
            }
            Entry::Finished { outcome } => {
                self.phase = Some(outcome.phase().to_string());
                self.step = None;
            }
            _ => {}
        }
    }
}

/// How a rollout stands, in one word: that of the JSON document.
const fn word(standing: &Standing, lease: Option<&Held>) -> &'static str {
    match standing {
        Standing::None => "none",
        Standing::Ended { .. } => "ended",
        Standing::Unresolved { .. } => "unresolved",
        Standing::Open { .. } if lease.is_some() => "running",
        Standing::Open { .. } => "abandoned",
    }
}

/// The lease, while its holder may live.
fn living(lease: Option<&Held>) -> Option<&Held> {
    lease.filter(|held| !held.expired && !held.holder.is_gone())
}

fn open_actions(standing: &Standing) -> Vec<String> {
    match standing {
        Standing::Open { ledger, .. } => ledger
            .open()
            .map(|taken| {
                let words = taken.action.words();
                if taken.answered { words } else { format!("{words} (begun, its end is not known)") }
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn value(place: &Place, lease: Option<&Held>, standing: &Standing, last: &Last) -> Value {
    let (rollout, outcome) = match standing {
        Standing::None => (None, None),
        Standing::Open { rollout, .. } => (Some(rollout), None),
        Standing::Ended { rollout, outcome } | Standing::Unresolved { rollout, outcome } => {
            (Some(rollout), Some(outcome))
        }
    };
    json!({
        "project_id": place.project,
        "environment_id": place.environment,
        "service_id": place.service,
        "lease": lease.map(|held| json!({
            "holder": held.holder,
            "fence": held.fence,
            "since": held.since.to_string(),
            "expires_at": held.expires_at.to_string(),
            "expired": held.expired,
            "holder_gone": held.holder.is_gone(),
        })),
        "state": word(standing, living(lease)),
        "rollout": rollout,
        "image": last.image,
        "begun_at": last.begun.map(|at| at.to_string()),
        "phase": last.phase,
        "step": last.step,
        "last": last.line.as_ref().map(|(at, line)| json!({ "at": at.to_string(), "line": line })),
        "open": open_actions(standing),
        "outcome": outcome.map(|outcome| json!({
            "phase": outcome.phase(),
            "message": outcome.to_string(),
            "exit_code": outcome.exit_code().code(),
            "code": outcome.failure().map(|failure| failure.reason.code()),
        })),
    })
}

fn text(place: &Place, lease: Option<&Held>, standing: &Standing, last: &Last) -> Lines {
    let mut text = Lines::default();
    match lease {
        None => text.push("lease    free"),
        Some(held) => {
            let note = if held.holder.is_gone() {
                ", but its process is gone"
            } else if held.expired {
                ", but its time is over"
            } else {
                ""
            };
            text.push(&format!(
                "lease    {} by {} since {}, until {} unless renewed{note}",
                held.fence,
                held.holder,
                second(held.since),
                second(held.expires_at)
            ));
        }
    }
    let state = word(standing, living(lease));
    match standing {
        Standing::None => text.push("rollout  none"),
        Standing::Open { rollout, .. }
        | Standing::Ended { rollout, .. }
        | Standing::Unresolved { rollout, .. } => {
            text.push(&format!("rollout  {rollout}, {state}"));
        }
    }
    if let Some(image) = &last.image {
        text.push(&format!("image    {image}"));
    }
    match (&last.phase, &last.step) {
        (Some(phase), Some(step)) => text.push(&format!("phase    {phase} ({step})")),
        (Some(phase), None) => text.push(&format!("phase    {phase}")),
        _ => {}
    }
    if let Some((at, line)) = &last.line {
        text.push(&format!("last     {} {line}", second(*at)));
    }
    for action in open_actions(standing) {
        text.push(&format!("open     {action}"));
    }
    match (standing, state) {
        (_, "abandoned") => {
            text.push(&format!("nobody goes on with it: `railway-deployer rollout abort {}` brings back what ran before, and so does the next \
                 rollout",
                flags(place)));
        }
        (Standing::Unresolved { .. }, _) => {
            text.push(&format!("look at the service on Railway; when it is in order, run `railway-deployer rollout unlock {} --reason …`",
                flags(place)));
        }
        _ => {}
    }
    text
}

/// A time to the second.
fn second(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
