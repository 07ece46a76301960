//! Trivy's report, schema 2.

use std::{ffi::OsString, path::Path};

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::Value;

use super::{Layers, Scan, day};
use crate::{Error, Finding, Severity, environment::Own};

/// Where its data is. Everything else might hide findings or change the report.
pub(super) const OWN: Own = &[
    "TRIVY_CACHE_DIR",
    "TRIVY_DB_REPOSITORY",
    "TRIVY_JAVA_DB_REPOSITORY",
    "TRIVY_SKIP_DB_UPDATE",
    "TRIVY_SKIP_JAVA_DB_UPDATE",
];

pub(super) fn arguments(layout: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        ["image", "--quiet", "--format", "json", "--scanners", "vuln", "--input"].map(Into::into).into();
    arguments.push(layout.into());
    arguments
}

/// Asks for the version, also of the database.
pub(super) const VERSION: [&str; 3] = ["version", "--format", "json"];

/// The day on which the database was made, from the answer to [`VERSION`].
pub(super) fn database(answer: &[u8]) -> Option<Date> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    day(answer["VulnerabilityDB"]["UpdatedAt"].as_str()?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    schema_version: u32,
    #[serde(default)]
    metadata: Option<Metadata>,
    results: Option<Vec<Target>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "OS")]
    system: Option<System>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct System {
    #[serde(default)]
    family: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "EOSL", default)]
    is_over: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    #[serde(rename = "Target", default)]
    name: String,
    #[serde(default)]
    class: String,
    vulnerabilities: Option<Vec<Vulnerability>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vulnerability {
    #[serde(rename = "VulnerabilityID")]
    id: String,
    #[serde(default)]
    pkg_name: String,
    pkg_path: Option<String>,
    installed_version: Option<String>,
    fixed_version: Option<String>,
    severity: Option<String>,
    title: Option<String>,
    description: Option<String>,
    #[serde(rename = "PrimaryURL")]
    primary_url: Option<String>,
    layer: Option<LayerPart>,
    #[serde(rename = "CVSS", default)]
    cvss: Option<serde_json::Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LayerPart {
    digest: Option<String>,
    #[serde(rename = "DiffID")]
    diff_id: Option<String>,
}

pub(super) fn parse(bytes: &[u8], layers: &Layers) -> Result<Scan, Error> {
    let what = "what `trivy` printed";
    let report: Report = serde_json::from_slice(bytes).map_err(|error| Error::report(what, error))?;
    if report.schema_version != 2 {
        let reason = format!("it has schema version {}, expected 2", report.schema_version);
        return Err(Error::report(what, reason));
    }
    let mut scan = Scan { tools: vec!["trivy".to_owned()], ..Scan::default() };
    let targets = report.results.unwrap_or_default();
    let system = report.metadata.and_then(|metadata| metadata.system);
    let no_system = system.as_ref().is_some_and(|system| system.family.is_empty() || system.family == "none");
    if targets.is_empty() {
        scan.notes.push(
            "trivy recognised no packages in the image: no findings means here that nothing was looked up"
                .to_owned(),
        );
    } else if no_system {
        scan.notes.push("trivy recognised no distribution: packages of one were not looked up".to_owned());
    }
    if let Some(System { family, name, .. }) = system.filter(|system| system.is_over) {
        scan.notes.push(format!(
            "{family} {name} gets no more advisories: what became known after its end is not looked up"
        ));
    }
    for target in targets {
        for vulnerability in target.vulnerabilities.unwrap_or_default() {
            let of_system = target.class == "os-pkgs";
            scan.findings.push(finding(&target.name, of_system, vulnerability, layers));
        }
    }
    Ok(scan)
}

fn finding(target: &str, of_system: bool, found: Vulnerability, layers: &Layers) -> Finding {
    let severity = Severity::from_word(found.severity.as_deref().unwrap_or_default());
    let title = found.title.or(found.description).unwrap_or_default();
    let mut finding = Finding::new("trivy", &found.id, severity, &title);
    // The highest of what the databases say.
    let scores = found.cvss.iter().flat_map(serde_json::Map::values);
    let scores = scores.flat_map(|scores| [&scores["V3Score"], &scores["V40Score"]]);
    finding.score = scores.filter_map(Value::as_f64).reduce(f64::max);
    let text = |value: Option<String>| value.filter(|text| !text.is_empty());
    finding.package = Some(found.pkg_name);
    finding.installed = text(found.installed_version);
    finding.fixed = text(found.fixed_version);
    // The target of a system's packages is the image's name; that of other packages is a file.
    finding.location = text(found.pkg_path).or_else(|| (!of_system).then(|| target.to_owned()));
    // The digest is that of the layout, which has layers compressed that the image may not have so.
    finding.layer =
        found.layer.and_then(|layer| layers.stored([layer.diff_id.as_deref(), layer.digest.as_deref()]));
    finding.url = text(found.primary_url);
    finding.identified()
}
