//! `rollout promote`.

use clap::Args;
use serde_json::json;
use spectra_delivery::Promoted;
use spectra_journal::Holder;
use spectra_types::ExitCode;

use super::open_existing;
use super::place::Which;
use crate::{failure::Failure, printer::Printer};

/// Arguments of `rollout promote`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
}

/// Waits until the rollout has heard, not until it ends.
pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let place = arguments.which.place(&journal).await?;
    let by = Holder::of_this_process(env!("CARGO_PKG_NAME")).to_string();
    match spectra_delivery::promote(&journal, &place, arguments.which.id(), &by).await? {
        Promoted::Heard { rollout } => {
            let text = format!(
                "the wish is written down for rollout {rollout}; a pause or an analysis ends by it, a wait for an approval or a \
                 freeze does not"
            );
            printer.data("rollout.promote", &json!({ "rollout": rollout, "heard": true }), &text)?;
            Ok(ExitCode::Done)
        }
        Promoted::Ended { rollout, outcome } => {
            let value = json!({
                "rollout": rollout,
                "heard": false,
                "outcome": outcome.phase(),
                "message": outcome.to_string(),
                "exit_code": outcome.exit_code().code(),
            });
            printer.outcome(
                "rollout.promote",
                &value,
                format!("rollout {rollout} ended before it heard: {outcome}"),
                outcome.exit_code(),
            )
        }
        Promoted::NothingRuns => Err(Failure::State {
            message: format!("no process runs a rollout of {place}"),
            hint: "see `railway-deployer rollout status`",
        }),
    }
}
