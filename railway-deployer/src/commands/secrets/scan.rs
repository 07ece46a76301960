//! `secrets scan`.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use serde_json::json;
use spectra_scan::{
    sarif::Writer,
    secrets::{self, IGNORE_FILE, Ignores, Options, Outcome, Searcher},
};
use spectra_types::{ExitCode, HumanDuration};

use crate::{
    commands::report::{self, Column, Document, Format},
    failure::Failure,
    lines::Lines,
    printer::{Printer, bytes},
    scratch::Scratch,
};

/// Arguments of `secrets scan`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A directory or a file
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Who searches: gitleaks if it is on PATH, or the rules that come with Spectra
    #[arg(long, env = "SPECTRA_SECRETS_SCANNER", value_enum, default_value_t = Who::Auto)]
    scanner: Who,
    /// Also search everything that was ever committed, on all branches
    #[arg(long, env = "SPECTRA_HISTORY", value_parser = BoolishValueParser::new())]
    history: bool,
    /// Fingerprints of findings that may stay; `.spectra-secrets-ignore` in the directory without it
    #[arg(long, env = "SPECTRA_SECRETS_IGNORE", value_name = "FILE")]
    ignore_file: Option<PathBuf>,
    /// Larger files are not read, in bytes
    #[arg(long, env = "SPECTRA_SECRETS_MAX_SIZE", default_value_t = 10 * 1024 * 1024, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(1..=1024 * 1024 * 1024))]
    max_size: u64,
    /// How to write the report
    #[arg(long, env = "SPECTRA_SCAN_FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write the report to; standard output without it
    #[arg(long, short, env = "SPECTRA_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the report is about: uploads of one category replace each other
    #[arg(long, env = "SPECTRA_SARIF_CATEGORY", default_value = "spectra/secrets", value_name = "NAME")]
    category: String,
    /// How long gitleaks may take
    #[arg(long, env = "SPECTRA_SCAN_TIMEOUT", default_value = "15m", value_name = "DURATION")]
    timeout: HumanDuration,
}

/// Who searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// gitleaks if it is on PATH, else the rules.
    Auto,
    /// gitleaks.
    Gitleaks,
    /// The rules that come with Spectra.
    Builtin,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let searcher = match arguments.scanner {
        Who::Auto => Searcher::find(),
        Who::Gitleaks => Searcher::gitleaks()?,
        Who::Builtin => Searcher::Builtin,
    };
    let ignores = match &arguments.ignore_file {
        // One that was asked for has to be there.
        Some(path) => {
            std::fs::metadata(path).map_err(Failure::file("read", path))?;
            Ignores::read(path)?
        }
        None => Ignores::read(&arguments.path.join(IGNORE_FILE))
            .or_else(|error| if arguments.path.is_file() { Ok(Ignores::default()) } else { Err(error) })?,
    };
    let work = Scratch::new("spectra-")?;
    let options = Options {
        work: Some(work.path().to_owned()),
        root: arguments.path.clone(),
        history: arguments.history,
        max_size: arguments.max_size,
        timeout: arguments.timeout.get(),
    };
    let outcome = secrets::scan(&searcher, &options, ignores).await?;
    for warning in &outcome.warnings {
        printer.warn(warning);
    }
    for unread in &outcome.unread {
        printer.warn(&format!("not searched: {unread}"));
    }
    let value = json!({
        "path": arguments.path,
        "scanner": searcher.name(),
        "history": arguments.history,
        "passed": outcome.findings.is_empty(),
        "findings": outcome.findings,
        "allowed": outcome.allowed,
        "ignored": outcome.ignored,
        "files": outcome.files,
        "bytes": outcome.bytes,
        "binary": outcome.binary,
        "unread": outcome.unread,
        "warnings": outcome.warnings,
        "output": arguments.output,
    });
    let summary = table(&outcome);
    let document = match arguments.format {
        Format::Table => Document::Table(summary.clone()),
        Format::Json => Document::Json(report::json("secrets.scan", &value)?),
        Format::Sarif => {
            let tools = [searcher.name().to_owned()];
            let writer = Writer {
                category: &arguments.category,
                program: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                fallback: ".",
                tools: &tools,
            };
            Document::Json(writer.write(&outcome.findings, &[]))
        }
    };
    report::deliver(printer, "secrets.scan", arguments.output.as_deref(), &document, &value, summary)?;
    if outcome.files > 0 {
        let size = if outcome.bytes > 0 { format!(", {}", bytes(outcome.bytes)) } else { String::new() };
        printer.note(&format!("searched {} files{size}", outcome.files));
    }
    if outcome.findings.is_empty() {
        return Ok(ExitCode::Done);
    }
    printer.note(
        "a secret that was committed is known to whoever has the repository: revoke it. One that may stay: put `spectra:allow-secret` \
         into its line, or its fingerprint into `.spectra-secrets-ignore`",
    );
    Ok(ExitCode::GateRefused)
}

fn table(outcome: &Outcome) -> Lines {
    let columns: [Column; 5] = [
        ("SEVERITY", |finding| finding.severity.to_string()),
        ("RULE", |finding| finding.id.clone()),
        ("PLACE", |finding| {
            let place = finding.location.clone().unwrap_or_default();
            let line = finding.line.map(|line| format!("{place}:{line}")).unwrap_or(place);
            finding
                .commit
                .as_ref()
                .map_or(line.clone(), |commit| format!("{line} in {}", commit.get(..12).unwrap_or(commit)))
        }),
        ("WHAT", |finding| finding.title.clone()),
        ("FINGERPRINT", |finding| finding.fingerprint.clone()),
    ];
    let mut text = Lines::default();
    if !outcome.findings.is_empty() {
        text.append(&report::table(&outcome.findings, &columns));
        text.push("");
    }
    let mut line = report::counts(&outcome.findings);
    if outcome.allowed + outcome.ignored > 0 {
        let _ = write!(line, "; {} allowed in their lines, {} in a list", outcome.allowed, outcome.ignored);
    }
    text.push(&line);
    text
}
