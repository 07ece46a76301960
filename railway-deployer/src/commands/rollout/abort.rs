//! `rollout abort`.

use clap::Args;
use serde_json::json;
use spectra_delivery::{Aborted, Delivery};
use spectra_railway::{Client, ClientConfig};
use spectra_types::ExitCode;

use super::credentials::Credentials;
use super::crew::{Crew, Patience};
use super::logs::Logs;
use super::place::Which;
use super::postmortem::Folder;
use super::signals::Handover;
use super::{open_existing, outcome};
use crate::{commands::image::Certificates, failure::Failure, printer::Printer};

/// Arguments of `rollout abort`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// Why; recorded
    #[arg(long, env = "SPECTRA_REASON", default_value = "")]
    reason: String,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    handover: Handover,
}

/// Ends with the exit code of the rollout; 0 if none was open, 1 if another one than the named one is.
pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let place = arguments.which.place(&journal).await?;
    let registry = arguments.credentials.login([])?;
    let client = Client::new(ClientConfig::from_env()?)?;
    let crew = Crew {
        client: &client,
        journal: &journal,
        printer,
        patience: &Patience::default(),
        folder: &arguments.folder,
        registry,
        logs: arguments.logs,
        signatures: &[],
        certificates: &Certificates::default(),
    };
    let aborted = crew
        .act(&place, &arguments.handover, async |delivery: &Delivery<'_>, cancel| {
            let by = delivery.holder.to_string();
            delivery.abort(&place, arguments.which.id(), &by, &arguments.reason, cancel).await
        })
        .await?;
    match aborted {
        Aborted::NothingOpen => {
            let value =
                json!({ "rollout": null, "outcome": null, "exit_code": 0, "message": "no rollout is open" });
            printer.data("rollout.result", &value, "no rollout is open; nothing was done")?;
            Ok(ExitCode::Done)
        }
        Aborted::Another { open } => Err(Failure::State {
            message: format!(
                "rollout {} is not open; {open} is, and it was asked nothing",
                arguments.which.id().unwrap_or_default()
            ),
            hint: "see `railway-deployer rollout status`",
        }),
        Aborted::Ended { rollout, outcome } => {
            let value = json!({
                "rollout": rollout,
                "outcome": outcome.phase(),
                "exit_code": outcome.exit_code().code(),
                "code": outcome.failure().map(|failure| failure.reason.code()),
                "message": outcome.to_string(),
                "project_id": place.project,
                "environment_id": place.environment,
                "service_id": place.service,
            });
            let text = format!("rollout {rollout} ended: {outcome}");
            printer.outcome("rollout.result", &value, text, outcome.exit_code())
        }
        Aborted::Recovered(report) => {
            let text = outcome::text(&report, &[], &arguments.folder);
            let value = outcome::value(&report, &[], &arguments.folder);
            printer.outcome("rollout.result", &value, text, report.outcome.exit_code())
        }
        Aborted::Asked { rollout } => {
            printer.note(&format!("rollout {rollout} was asked to go back, and is not waited for"));
            Err(Failure::Interrupted)
        }
    }
}
