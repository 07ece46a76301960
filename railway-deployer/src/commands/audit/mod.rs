//! `audit`: the journal as evidence.

mod export;
mod head;
mod log;
mod verify;

use clap::{Args, Subcommand};
use spectra_journal::Query;
use spectra_types::ExitCode;

use crate::{failure::Failure, printer::Printer};

/// Commands of `audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show records of the journal
    Log(log::Arguments),
    /// Check that nothing was edited, removed, reordered or cut off
    Verify(verify::Arguments),
    /// Write records as JSON Lines, to keep elsewhere
    Export(export::Arguments),
    /// Show the number and the hash of the last record, to note elsewhere
    Head,
}

/// Which records are meant.
#[derive(Debug, Args)]
struct Filter {
    /// Only records about this subject, such as `railway/ENVIRONMENT/SERVICE`
    #[arg(long, env = "SPECTRA_SUBJECT")]
    subject: Option<String>,
    /// Only records of this rollout
    #[arg(long, value_name = "ROLLOUT", env = "SPECTRA_ROLLOUT")]
    rollout: Option<String>,
    /// Only records of these kinds, such as `rollout.finished`
    #[arg(long, value_name = "KIND", env = "SPECTRA_KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only records behind this number
    #[arg(long, value_name = "NUMBER", env = "SPECTRA_AFTER")]
    after: Option<u64>,
}

impl Filter {
    fn query(&self) -> Query {
        Query {
            subject: self.subject.clone(),
            rollout: self.rollout.clone(),
            kinds: self.kind.clone(),
            after_seq: self.after,
            ..Query::default()
        }
    }
}

pub(crate) async fn run(command: Command, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Log(arguments) => log::run(&arguments, journal, printer).await,
        Command::Verify(arguments) => verify::run(&arguments, journal, printer).await,
        Command::Export(arguments) => export::run(&arguments, journal, printer).await,
        Command::Head => head::run(journal, printer).await,
    }
}
