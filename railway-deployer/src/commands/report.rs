//! Reports of scanners: to a file or to standard output.

use std::path::Path;

use clap::ValueEnum;
use serde_json::Value;
use spectra_scan::{Finding, Severity};

use crate::{
    failure::Failure,
    lines::{Lines, plain},
    printer::Printer,
};

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Table,
    /// SARIF 2.1.0, for code hosts.
    Sarif,
    /// The document of `--json`.
    Json,
}

/// Reads JSON that this process has made or checked.
pub(crate) fn parsed(text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::io("read a document", error.into()))
}

/// The JSON document of a command, as `--json` prints it.
pub(crate) fn json(kind: &str, value: &Value) -> Result<String, Failure> {
    Printer::document(kind, value)
}

/// A report as it was asked for.
pub(crate) enum Document {
    /// For people.
    Table(Lines),
    /// JSON of some kind.
    Json(String),
}

/// Writes `document` to the file if one is named, and prints `summary` or the JSON document; without a file, prints `document` itself,
/// or the JSON document.
pub(crate) fn deliver(
    printer: Printer,
    kind: &str,
    output: Option<&Path>,
    document: &Document,
    value: &Value,
    summary: Lines,
) -> Result<(), Failure> {
    if let Some(path) = output {
        let text = match document {
            Document::Table(table) => table.as_str(),
            Document::Json(text) => text,
        };
        std::fs::write(path, text).map_err(Failure::file("write", path))?;
        printer.note(&format!("wrote `{}`", path.display()));
    }
    match output {
        Some(_) if !printer.is_json() && summary.is_empty() => Ok(()),
        Some(_) => printer.data(kind, value, summary),
        None if printer.is_json() => printer.data(kind, value, ""),
        None => match document {
            Document::Table(table) => printer.text(table),
            Document::Json(text) => printer.json(text),
        },
    }
}

/// The title of a column, and what stands in it.
pub(crate) type Column = (&'static str, fn(&Finding) -> String);

/// One line a finding, in columns as wide as their content.
pub(crate) fn table(findings: &[Finding], columns: &[Column]) -> Lines {
    let rows: Vec<Vec<String>> =
        std::iter::once(columns.iter().map(|(title, _)| (*title).to_owned()).collect())
            .chain(
                findings
                    .iter()
                    .map(|finding| columns.iter().map(|(_, value)| plain(&value(finding))).collect()),
            )
            .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
        .collect();
    rows.iter()
        .map(|row| {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            line.join("  ")
        })
        .collect()
}

/// `2 critical, 1 low`.
pub(crate) fn counts(findings: &[Finding]) -> String {
    let parts: Vec<String> = Severity::ALL
        .into_iter()
        .map(|severity| (severity, findings.iter().filter(|finding| finding.severity == severity).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(severity, count)| format!("{count} {severity}"))
        .collect();
    if parts.is_empty() { "no findings".to_owned() } else { parts.join(", ") }
}
