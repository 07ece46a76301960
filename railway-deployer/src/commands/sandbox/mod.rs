//! `sandbox`: the loopback platform as a process that is started, asked and stopped.

mod admin;
mod faults;
mod process;
pub(crate) mod start;
mod status;
mod stop;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use spectra_types::ExitCode;

use crate::{failure::Failure, printer::Printer};

pub(crate) use admin::{Found, SandboxInfo, find};

/// Commands of `sandbox`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a sandbox and wait until it answers
    Start(start::Arguments),
    /// Stop the sandbox of a state directory
    Stop(stop::Arguments),
    /// Show whether a sandbox runs, and where
    Status(StateDir),
    /// Make the sandbox's answers go wrong on purpose
    #[command(subcommand)]
    Faults(faults::Command),
}

/// Where a sandbox keeps its state.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateDir {
    /// Where the sandbox keeps its state
    #[arg(long, env = "SPECTRA_STATE_DIR", default_value = ".spectra/sandbox")]
    pub(crate) state_dir: PathBuf,
}

pub(crate) async fn run(command: Command, printer: Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Start(arguments) => start::run(arguments, printer).await,
        Command::Stop(arguments) => stop::run(&arguments, printer).await,
        Command::Status(state) => status::run(&state, printer).await,
        Command::Faults(command) => faults::run(command, printer).await,
    }
}
