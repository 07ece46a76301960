//! `audit verify`.

use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spectra_journal::{Error, Extent, Hash, verify_lines};
use spectra_types::ExitCode;

use crate::commands::rollout::open_existing;
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `audit verify`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Hash of a record that was noted elsewhere: shows also that the journal was not written anew as a whole
    #[arg(long, value_name = "HASH", env = "SPECTRA_ANCHOR")]
    anchor: Option<Hash>,
    /// Check an export instead of the journal
    #[arg(long, value_name = "FILE", env = "SPECTRA_EXPORT")]
    export: Option<PathBuf>,
    /// The export is a selection: records may be missing
    #[arg(long, requires = "export")]
    excerpt: bool,
}

/// Exits 1 if anything is wrong.
pub(super) async fn run(arguments: &Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let anchor = arguments.anchor.as_ref();
    let checked = match &arguments.export {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(Failure::file("read", path))?;
            let extent = if arguments.excerpt { Extent::Excerpt } else { Extent::Whole };
            verify_lines(BufReader::new(file), extent, anchor)
        }
        None => open_existing(journal).await?.verify(anchor).await,
    };
    match checked {
        Ok(found) => {
            let value = json!({ "ok": true, "records": found.records, "head": found.head, "violations": [] });
            let text = format!("{} records hold together; the last one is {}", found.records, found.head);
            printer.data("audit.verify", &value, &text)?;
            Ok(ExitCode::Done)
        }
        Err(Error::Violated { location, violations }) => {
            let list: Vec<_> = violations
                .list()
                .iter()
                .map(|violation| json!({ "seq": violation.seq, "message": violation.to_string() }))
                .collect();
            let lines: Lines = violations.list().iter().map(ToString::to_string).collect();
            let value = json!({ "ok": false, "violations": list });
            printer.data("audit.verify", &value, lines)?;
            Err(Error::Violated { location, violations }.into())
        }
        Err(error) => Err(error.into()),
    }
}
