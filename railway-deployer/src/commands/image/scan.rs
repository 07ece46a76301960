//! `image scan`: known vulnerabilities, and the gate.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Args, ValueEnum, builder::BoolishValueParser};
use serde_json::{Value, json};
use spectra_scan::{
    Severity,
    image::{self, Gate, Judged, Scan, Scanner, Waivers},
    sarif::{Kind, Suppressed, Writer},
};
use spectra_types::{ExitCode, HumanDuration};

use super::local::Source;
use crate::{
    commands::report::{self, Column, Document, Format},
    failure::Failure,
    lines::Lines,
    printer::Printer,
    scratch::Scratch,
};

/// Arguments of `image scan`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A path to a layout or archive if there is one of that name, else an image reference; or with a prefix: docker://, oci:,
    /// oci-archive:, docker-archive:, docker-daemon:
    #[arg(required_unless_present = "sarif")]
    image: Option<String>,
    /// Who looks into the image: Trivy or Grype, whichever is on PATH; with `sarif` nobody does, and the reports alone count
    #[arg(long, env = "SPECTRA_SCANNER", value_enum, default_value_t = Who::Auto)]
    scanner: Who,
    /// A report of another scanner, SARIF 2.1.0, that counts besides; several are read together
    #[arg(long, env = "SPECTRA_SARIF", value_name = "FILE")]
    sarif: Vec<PathBuf>,
    /// Refuse, with exit code 5, if something is at least as bad as this: critical, high, medium or low
    #[arg(long, env = "SPECTRA_FAIL_ON", value_name = "SEVERITY")]
    fail_on: Option<Severity>,
    /// Leave out what no version fixes
    #[arg(long, env = "SPECTRA_IGNORE_UNFIXED", value_parser = BoolishValueParser::new())]
    ignore_unfixed: bool,
    /// Findings that do not count, each with a reason and an end
    #[arg(long, env = "SPECTRA_WAIVERS", value_name = "FILE")]
    waivers: Option<PathBuf>,
    /// How to write the report
    #[arg(long, env = "SPECTRA_SCAN_FORMAT", value_enum, default_value_t = Format::Table)]
    format: Format,
    /// File to write the report to; standard output without it
    #[arg(long, short, env = "SPECTRA_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the report is about: uploads of one category replace each other
    #[arg(long, env = "SPECTRA_SARIF_CATEGORY", default_value = "spectra/image", value_name = "NAME")]
    category: String,
    /// How long a scanner may take
    #[arg(long, env = "SPECTRA_SCAN_TIMEOUT", default_value = "15m", value_name = "DURATION")]
    timeout: HumanDuration,
    #[command(flatten)]
    source: Source,
}

/// Who looks into the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Trivy or Grype; reports that are given count too. Without an image, the reports alone.
    Auto,
    /// Trivy; reports that are given count too.
    Trivy,
    /// Grype; reports that are given count too.
    Grype,
    /// The reports alone.
    Sarif,
}

pub(super) async fn run(arguments: Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    // Everything that can be wrong with the arguments, before minutes are spent.
    let waivers = match &arguments.waivers {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(Failure::file("read", path))?;
            Waivers::parse(path, &text)?
        }
        None => Waivers::default(),
    };
    let scanner = match arguments.scanner {
        Who::Sarif if arguments.sarif.is_empty() => {
            return Err(Failure::usage("`--scanner sarif` needs a report: `--sarif FILE`"));
        }
        Who::Sarif => None,
        // Without an image there are reports.
        Who::Auto if arguments.image.is_none() => None,
        Who::Auto => Some(Scanner::find()?),
        Who::Trivy => Some(Scanner::trivy()?),
        Who::Grype => Some(Scanner::grype()?),
    };
    let mut reports = Vec::new();
    for path in &arguments.sarif {
        let bytes = std::fs::read(path).map_err(Failure::file("read", path))?;
        reports.push((path.display().to_string(), bytes));
    }
    let mut scan = Scan::from_sarif(&reports)?;
    let (mut digest, mut platform, mut other_platforms) = (None, None, Vec::new());
    if let Some(scanner) = &scanner {
        let name = arguments.image.as_deref().ok_or_else(|| {
            Failure::usage(format!("`--scanner {}` needs an image to look into", scanner.name()))
        })?;
        let local = arguments.source.clone().open(name, printer).await?;
        digest = Some(local.digest.clone());
        let layers = local.layers()?;
        platform = Some(local.platform.clone());
        other_platforms.clone_from(&local.other_platforms);
        let place = Scratch::new("spectra-")?;
        let layout = place.path().join("image");
        let stored = layout.clone();
        tokio::task::spawn_blocking(move || local.store(&stored)).await??;
        let work = place.path().join("work");
        std::fs::create_dir(&work).map_err(Failure::file("create", &work))?;
        scan.merge(image::scan(scanner, &layout, &layers, &work, arguments.timeout.get()).await?);
        if !other_platforms.is_empty() {
            scan.notes.push(format!(
                "there are also images for {}, which were not looked at; `--platform` chooses one",
                other_platforms.join(", ").escape_debug()
            ));
        }
    } else if let Some(name) = &arguments.image {
        scan.notes.push(format!("`{name}` itself was not looked at: the reports alone count"));
    }
    let gate = Gate { fail_on: arguments.fail_on, ignore_unfixed: arguments.ignore_unfixed };
    let today = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date();
    let judged = gate.judge(&scan, &waivers, today);
    for warning in scan.notes.iter().chain(&judged.warnings) {
        printer.warn(warning);
    }
    let fallback = arguments.image.as_deref().unwrap_or("image");
    let value = json!({
        "image": arguments.image,
        "digest": digest,
        "platform": platform,
        "other_platforms": other_platforms,
        "tools": scan.tools,
        "databases": scan.databases,
        "passed": judged.passes(),
        "fail_on": arguments.fail_on,
        "refusing": judged.refusing,
        "counts": Severity::ALL.map(|severity| (severity.as_str(), judged.count(severity)))
            .into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "unfixed_left_out": judged.unfixed,
        "findings": judged.findings,
        "waived": judged.waived.iter().map(|entry| json!({
            "finding": entry.finding, "waiver": entry.waiver
        })).collect::<Vec<_>>(),
        "warnings": scan.notes.iter().chain(&judged.warnings).collect::<Vec<_>>(),
        "output": arguments.output,
    });
    let summary = table(&judged, platform.as_deref());
    let document = document(&arguments, fallback, &scan, &judged, &value, &summary)?;
    report::deliver(printer, "image.scan", arguments.output.as_deref(), &document, &value, summary)?;
    if judged.passes() {
        return Ok(ExitCode::Done);
    }
    let least = arguments.fail_on.unwrap_or(Severity::Low);
    printer.note(&format!("refused: findings that are {least} or worse: {}", judged.refusing));
    Ok(ExitCode::GateRefused)
}

fn document(
    arguments: &Arguments,
    fallback: &str,
    scan: &Scan,
    judged: &Judged,
    value: &Value,
    summary: &Lines,
) -> Result<Document, Failure> {
    Ok(match arguments.format {
        Format::Table => Document::Table(summary.clone()),
        Format::Json => Document::Json(report::json("image.scan", value)?),
        Format::Sarif => {
            let suppressed: Vec<Suppressed<'_>> = judged
                .waived
                .iter()
                .map(|entry| Suppressed {
                    finding: &entry.finding,
                    kind: Kind::External,
                    justification: entry.waiver.justification(),
                })
                .collect();
            let writer = Writer {
                category: &arguments.category,
                program: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                fallback,
                // Places in an image are no files of a folder.
                base: None,
                tools: &scan.tools,
            };
            Document::Json(writer.write(&judged.findings, &suppressed))
        }
    })
}

fn table(judged: &Judged, platform: Option<&str>) -> Lines {
    let columns: [Column; 6] = [
        ("SEVERITY", |finding| finding.severity.to_string()),
        ("ID", |finding| finding.id.clone()),
        ("PACKAGE", |finding| finding.package.clone().unwrap_or_default()),
        ("INSTALLED", |finding| finding.installed.clone().unwrap_or_default()),
        ("FIXED", |finding| finding.fixed.clone().unwrap_or_default()),
        ("LOCATION", |finding| finding.location.clone().unwrap_or_default()),
    ];
    let mut text = Lines::default();
    if !judged.findings.is_empty() {
        text.append(&report::table(&judged.findings, &columns));
        text.push("");
    }
    // One image of an index was looked into.
    let mut line = platform.map(|platform| format!("{platform}: ")).unwrap_or_default();
    line.push_str(&report::counts(&judged.findings));
    if !judged.waived.is_empty() {
        let _ = write!(line, "; {} waived", judged.waived.len());
    }
    if judged.unfixed > 0 {
        let _ = write!(line, "; {} without a fix left out", judged.unfixed);
    }
    text.push(&line);
    // What passes because somebody says so is seen by whoever looks at the gate.
    for entry in &judged.waived {
        let (id, package) = (&entry.finding.id, entry.finding.package.as_deref().unwrap_or("the image"));
        text.push(&format!("waived: {id} in {package}: {}", entry.waiver.justification()));
    }
    text
}
