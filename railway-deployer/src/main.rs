//! `railway-deployer`: the command line of Spectra. Scripts and CI jobs call it; data goes to standard output, everything else to
//! standard error, and the exit code says what happened (`spectra_types::ExitCode`).

mod cli;
mod commands;
mod failure;
mod lines;
mod printer;
mod progress;
mod scratch;

use std::ffi::OsString;

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use spectra_types::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use crate::{cli::Cli, failure::Failure, printer::Printer};

fn main() -> std::process::ExitCode {
    run(std::env::args_os().collect()).into()
}

fn run(arguments: Vec<OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let printer = Printer::new(&cli.global);
    printer.install_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return printer.fail(&Failure::io("start the runtime", source)),
    };
    let result = runtime.block_on(async {
        // What changes a service, and the foreground sandbox, end in their own, orderly way; every other command is dropped
        // where it stands.
        if cli.command.handles_signals() {
            commands::run(cli, &printer).await
        } else {
            tokio::select! {
                // First, so that the handlers are in place before the command does anything.
                biased;
                () = interrupted() => Err(Failure::Interrupted),
                result = commands::run(cli, &printer) => result,
            }
        }
    });
    // A blocking task, such as a compression, must not keep an interrupted process alive.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(failure) => printer.fail(&failure),
    }
}

/// Waits for Ctrl-C or a request to end.
async fn interrupted() {
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            // Without a handler the signal's own effect remains, which is to end the process.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
    }
}

/// Prints help, the version, or what is wrong with the command line.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => printer::help(&text),
        _ => printer::usage(&text),
    }
}

/// The command tree, for completions.
fn command() -> clap::Command {
    Cli::command()
}
