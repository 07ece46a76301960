//! `audit head`.

use serde_json::json;
use spectra_types::ExitCode;

use crate::commands::rollout::open_existing;
use crate::{failure::Failure, printer::Printer};

pub(super) async fn run(journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let journal = open_existing(journal).await?;
    let (seq, hash) = journal.head().await?;
    let value = json!({ "seq": seq, "hash": hash, "journal": journal.location() });
    printer.data("audit.head", &value, format!("{seq} {hash}"))?;
    Ok(ExitCode::Done)
}
