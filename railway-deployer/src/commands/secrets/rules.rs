//! `secrets rules`: what the built-in search knows.

use serde_json::json;
use spectra_scan::secrets::RULES;
use spectra_types::ExitCode;

use crate::{failure::Failure, lines::Lines, printer::Printer};

pub(super) fn run(printer: Printer) -> Result<ExitCode, Failure> {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| json!({ "id": rule.id, "title": rule.title, "severity": rule.severity, "keywords": rule.keywords }))
        .collect();
    let lines: Lines =
        RULES.iter().map(|rule| format!("{:<9} {:<26} {}", rule.severity, rule.id, rule.title)).collect();
    printer.data("secrets.rules", &json!({ "rules": rules }), lines)?;
    Ok(ExitCode::Done)
}
