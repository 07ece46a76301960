//! One file a command.

pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod image;
pub(crate) mod report;
pub(crate) mod rollout;
pub(crate) mod sandbox;
pub(crate) mod secrets;

use spectra_types::ExitCode;

use crate::{
    cli::{Cli, Command},
    failure::Failure,
    printer::Printer,
};

/// Runs the command that was asked for.
pub(crate) async fn run(cli: Cli, printer: &Printer) -> Result<ExitCode, Failure> {
    match cli.command {
        Command::Image(command) => image::run(command, *printer).await,
        Command::Rollout(command) => rollout::run(command, &cli.global.journal, *printer).await,
        Command::Audit(command) => audit::run(command, &cli.global.journal, *printer).await,
        Command::Sandbox(command) => sandbox::run(command, *printer).await,
        Command::Secrets(command) => secrets::run(command, *printer).await,
        Command::Doctor(arguments) => doctor::run(&arguments, *printer).await,
        Command::Completions(arguments) => completions::run(&arguments),
    }
}
