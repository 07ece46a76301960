//! `secrets`: credentials in source code.

mod rules;
mod scan;

use clap::Subcommand;
use spectra_types::ExitCode;

use crate::{failure::Failure, printer::Printer};

/// Commands of `secrets`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look for credentials in a directory and, if asked, in its history
    Scan(scan::Arguments),
    /// List the rules that come with Spectra
    Rules,
}

pub(crate) async fn run(command: Command, printer: Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Scan(arguments) => scan::run(arguments, printer).await,
        Command::Rules => rules::run(printer),
    }
}
