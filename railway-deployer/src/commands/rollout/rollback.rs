//! `rollout rollback`.

use clap::Args;
use spectra_delivery::{Delivery, RolledBackTo};
use spectra_railway::{Client, ClientConfig};
use spectra_types::{ExitCode, PinnedImage};

use super::credentials::Credentials;
use super::crew::{Crew, Patience};
use super::flags::{SignatureFlags, pinned};
use super::logs::Logs;
use super::place::PlaceFlags;
use super::postmortem::Folder;
use super::signals::Handover;
use super::{open, outcome};
use crate::{failure::Failure, printer::Printer};

/// Arguments of `rollout rollback`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: PlaceFlags,
    /// The image to go back to, pinned; without it, the one that was stable before the one that runs
    #[arg(long, value_name = "PINNED", env = "SPECTRA_TO", value_parser = pinned)]
    to: Option<PinnedImage>,
    /// Why; recorded
    #[arg(long, env = "SPECTRA_REASON", default_value = "")]
    reason: String,
    #[command(flatten)]
    signatures: SignatureFlags,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    handover: Handover,
}

/// It is a rollout of its own: 0 when the version before serves, observed healthy.
pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let place = arguments.place.place()?;
    let registry = arguments.credentials.login(&arguments.to)?;
    let signatures = arguments.signatures.policies()?;
    let certificates = arguments.signatures.certificates(&signatures)?;
    let client = Client::new(ClientConfig::from_env()?)?;
    let journal = open(journal).await?;
    let crew = Crew {
        client: &client,
        journal: &journal,
        printer,
        patience: &arguments.patience,
        folder: &arguments.folder,
        registry,
        logs: arguments.logs,
        signatures: &signatures,
        certificates: &certificates,
    };
    let RolledBackTo { image, delivered } = crew
        .act(&place, &arguments.handover, async |delivery: &Delivery<'_>, cancel| {
            Box::pin(delivery.rollback(&place, arguments.to.clone(), &arguments.reason, cancel)).await
        })
        .await?;
    let text = outcome::delivered_text(&image, &delivered, &arguments.folder);
    let value = outcome::delivered_value(&image, &delivered, &arguments.folder);
    printer.outcome("rollout.result", &value, text, delivered.report.outcome.exit_code())
}
