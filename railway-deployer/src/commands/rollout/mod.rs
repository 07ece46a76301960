//! `rollout`: brings images out, and acts on what the journal says of that.

mod abort;
mod approve;
mod credentials;
mod crew;
mod flags;
mod history;
mod live;
mod logs;
mod outcome;
mod page;
mod place;
mod platform;
mod postmortem;
mod promote;
mod report;
mod rollback;
mod signals;
mod spec;
mod start;
mod status;
mod stopping;
mod unlock;
mod watch;
mod watched;

use clap::Subcommand;
use spectra_journal::{Journal, Location};
use spectra_types::ExitCode;

use crate::{failure::Failure, printer::Printer};

/// Commands of `rollout`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring an image out, and the environment back if that fails
    Start(start::Arguments),
    /// Show who acts on a service and how its last rollout stands
    Status(status::Arguments),
    /// Follow a rollout until it ends
    Watch(watch::Arguments),
    /// End the open rollout of a service and bring back what ran before
    Abort(abort::Arguments),
    /// Let the open rollout of a service end the wait that it is in
    Promote(promote::Arguments),
    /// Bring the version before back, as a rollout of its own
    Rollback(rollback::Arguments),
    /// Sign that an image may be rolled out by a plan, or that it may not
    Approve(approve::Arguments),
    /// Free the lease of a service, or say that a failed rollback was looked at
    Unlock(unlock::Arguments),
    /// Write down how a rollout went, as Markdown and JSON
    Postmortem(postmortem::Arguments),
    /// Write one HTML page about a rollout, with plots of what was measured
    Report(report::Arguments),
    /// List the rollouts of a service, newest first
    History(history::Arguments),
}

impl Command {
    /// Whether the command ends in its own way when the process is asked to: what it began is brought back first.
    pub(crate) const fn handles_signals(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Abort(_) | Self::Rollback(_))
    }
}

pub(crate) async fn run(command: Command, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Start(arguments) => start::run(arguments, journal, printer).await,
        Command::Status(arguments) => status::run(arguments, journal, printer).await,
        Command::Abort(arguments) => abort::run(arguments, journal, printer).await,
        Command::Promote(arguments) => promote::run(arguments, journal, printer).await,
        Command::Rollback(arguments) => Box::pin(rollback::run(arguments, journal, printer)).await,
        Command::Approve(arguments) => approve::run(arguments, journal, printer).await,
        Command::Postmortem(arguments) => postmortem::run(arguments, journal, printer).await,
        Command::Report(arguments) => report::run(arguments, journal, printer).await,
        Command::Watch(arguments) => watch::run(arguments, journal, printer).await,
        Command::Unlock(arguments) => unlock::run(arguments, journal, printer).await,
        Command::History(arguments) => history::run(arguments, journal, printer).await,
    }
}

/// The journal, which is made if there is none.
pub(crate) async fn open(url: &str) -> Result<Journal, Failure> {
    Ok(Journal::open(&Location::parse(url)?).await?)
}

/// The journal, for commands that only read.
pub(crate) async fn open_existing(url: &str) -> Result<Journal, Failure> {
    Ok(Journal::open_existing(&Location::parse(url)?).await?)
}
