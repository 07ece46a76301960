//! `rollout`: what ran, and what runs.

mod history;

use clap::Subcommand;
use spectra_types::ExitCode;

use crate::{failure::Failure, printer::Printer};

/// Commands of `rollout`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the deployments of a service in an environment, newest first
    History(history::Arguments),
}

pub(crate) async fn run(command: Command, printer: Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::History(arguments) => history::run(arguments, printer).await,
    }
}
