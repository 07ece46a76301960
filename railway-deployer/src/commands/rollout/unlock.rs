//! `rollout unlock`.

use clap::Args;
use serde_json::json;
use spectra_journal::Holder;
use spectra_types::ExitCode;

use super::open_existing;
use super::place::Which;
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `rollout unlock`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Why that is right; recorded
    #[arg(long, env = "SPECTRA_REASON", value_parser = reason)]
    reason: String,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("others will want to know why".to_owned()),
        text => Ok(text.to_owned()),
    }
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let place = arguments.which.place(&journal).await?;
    let holder = Holder::of_this_process(env!("CARGO_PKG_NAME"));
    let done = spectra_delivery::unlock(&journal, &place, &holder, &arguments.reason).await?;
    let mut text = Lines::default();
    if let Some(held) = &done.lease {
        text.push(&format!(
            "freed the lease {} of `{}`, which {} had",
            held.fence, held.subject, held.holder
        ));
        if !held.expired && !held.holder.is_gone() {
            text.push("that process may still run: it notices before its next step, and acts no more");
        }
    }
    if let Some((rollout, outcome)) = &done.cleared {
        text.push(&format!("cleared rollout {rollout}, which had ended with: {outcome}"));
    }
    if let Some(rollout) = &done.open {
        text.push(&format!(
            "rollout {rollout} is still open: the next one brings back what ran before it first"
        ));
    }
    if text.is_empty() {
        text.push("nobody has the lease and nothing waits to be looked at; nothing was done");
    }
    let value = json!({
        "project_id": place.project,
        "environment_id": place.environment,
        "service_id": place.service,
        "lease": done.lease,
        "cleared": done.cleared.as_ref().map(|(rollout, _)| rollout),
        "open": done.open,
    });
    printer.data("rollout.unlock", &value, text)?;
    Ok(ExitCode::Done)
}
