//! `secrets scan`.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use serde_json::json;
use spectra_scan::{
    Finding,
    sarif::{Suppressed, Writer},
    secrets::{self, IGNORE_FILE, Ignores, Options, Outcome, Searcher, Trust},
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
    /// Do not trust what is searched: neither comments in it nor its list of fingerprints let anything stay, its `.gitignore` holds
    /// in a repository alone, files that are no text are searched, and a file that cannot be searched refuses too
    #[arg(long, env = "SPECTRA_SECRETS_STRICT", value_parser = BoolishValueParser::new())]
    strict: bool,
    /// Rules and allowlists for gitleaks; its own default ones without it, whatever lies in the directory
    #[arg(long, env = "SPECTRA_GITLEAKS_CONFIG", value_name = "FILE")]
    gitleaks_config: Option<PathBuf>,
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

/// Who searches, and what may stay. Everything that can be wrong with the arguments is found here.
fn prepare(arguments: &Arguments) -> Result<(Searcher, Ignores), Failure> {
    let searcher = match arguments.scanner {
        Who::Auto => Searcher::find(),
        Who::Gitleaks => Searcher::gitleaks()?,
        Who::Builtin => Searcher::Builtin,
    };
    if let Some(path) = &arguments.gitleaks_config {
        std::fs::metadata(path).map_err(Failure::file("read", path))?;
        if matches!(searcher, Searcher::Builtin) {
            let reason =
                "`--gitleaks-config` is for gitleaks, and the rules that come with Spectra would search";
            return Err(Failure::usage(reason));
        }
    }
    let ignores = match &arguments.ignore_file {
        // One that was asked for has to be there.
        Some(path) => {
            std::fs::metadata(path).map_err(Failure::file("read", path))?;
            Ignores::read(path)?
        }
        None if arguments.strict || arguments.path.is_file() => Ignores::default(),
        None => Ignores::read(&arguments.path.join(IGNORE_FILE))?,
    };
    Ok((searcher, ignores))
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let (searcher, ignores) = prepare(&arguments)?;
    let work = Scratch::new("spectra-")?;
    let options = Options {
        work: Some(work.path().to_owned()),
        root: arguments.path.clone(),
        history: arguments.history,
        trust: if arguments.strict { Trust::Withheld } else { Trust::Given },
        gitleaks_config: arguments.gitleaks_config.clone(),
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
    if let Some(path) = &arguments.gitleaks_config {
        printer.note(&format!("gitleaks finds what `{}` lets it find", path.display()));
    }
    let unread_passes = !arguments.strict || outcome.unread.is_empty();
    let passes = outcome.findings.is_empty() && unread_passes;
    let value = json!({
        "path": arguments.path,
        "scanner": searcher.name(),
        "history": arguments.history,
        "strict": arguments.strict,
        "gitleaks_config": arguments.gitleaks_config,
        "passed": passes,
        "findings": outcome.findings,
        "allowed": outcome.by_comment(),
        "ignored": outcome.by_list(),
        "suppressed": outcome.allowed,
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
        Format::Sarif => Document::Json(sarif(&arguments.category, &searcher, &outcome)),
    };
    report::deliver(printer, "secrets.scan", arguments.output.as_deref(), &document, &value, summary)?;
    if outcome.files > 0 || outcome.binary > 0 {
        let size = if outcome.bytes > 0 { format!(", {}", bytes(outcome.bytes)) } else { String::new() };
        let binary = match outcome.binary {
            0 => String::new(),
            count if !arguments.strict && matches!(searcher, Searcher::Builtin) => {
                format!("; {count} more are no text and were left out")
            }
            count => format!("; {count} of them are no text"),
        };
        printer.note(&format!("searched {} files{size}{binary}", outcome.files));
    }
    if passes {
        return Ok(ExitCode::Done);
    }
    if outcome.findings.is_empty() {
        printer.note("refused: with `--strict`, what was not searched does not pass");
        return Ok(ExitCode::GateRefused);
    }
    let how = if arguments.strict {
        "its fingerprint goes into the file of `--ignore-file`"
    } else {
        "put `spectra:allow-secret` into its line, or its fingerprint into `.spectra-secrets-ignore`"
    };
    printer.note(&format!(
        "a secret that was committed is known to whoever has the repository: revoke it. One that may stay: {how}"
    ));
    Ok(ExitCode::GateRefused)
}

fn sarif(category: &str, searcher: &Searcher, outcome: &Outcome) -> String {
    let writer = Writer {
        category,
        program: Searcher::Builtin.name(),
        version: env!("CARGO_PKG_VERSION"),
        fallback: ".",
        base: outcome.base.as_deref(),
        tools: &[searcher.name().to_owned()],
    };
    let suppressed: Vec<Suppressed<'_>> = outcome.allowed.iter().map(secrets::Allowed::suppressed).collect();
    writer.write(&outcome.findings, &suppressed)
}

/// The file, its line, and the commit if it is of the history.
fn place(finding: &Finding) -> String {
    let place = finding.location.clone().unwrap_or_default();
    let line = finding.line.map(|line| format!("{place}:{line}")).unwrap_or(place);
    finding
        .commit
        .as_ref()
        .map_or(line.clone(), |commit| format!("{line} in {}", commit.get(..12).unwrap_or(commit)))
}

fn table(outcome: &Outcome) -> Lines {
    let columns: [Column; 5] = [
        ("SEVERITY", |finding| finding.severity.to_string()),
        ("RULE", |finding| finding.id.clone()),
        ("PLACE", place),
        ("WHAT", |finding| finding.title.clone()),
        ("FINGERPRINT", |finding| finding.fingerprint.clone()),
    ];
    let mut text = Lines::default();
    if !outcome.findings.is_empty() {
        text.append(&report::table(&outcome.findings, &columns));
        text.push("");
    }
    let mut line = report::counts(&outcome.findings);
    if !outcome.allowed.is_empty() {
        let counts = (outcome.by_comment(), outcome.by_list());
        let _ = write!(line, "; {} allowed in their lines, {} in a list", counts.0, counts.1);
    }
    text.push(&line);
    // What passes because somebody says so is seen by whoever looks at the gate.
    for entry in &outcome.allowed {
        let (id, place) = (&entry.finding.id, place(&entry.finding));
        text.push(&format!("allowed: {id} in {place}, by {}", entry.justification()));
    }
    text
}
