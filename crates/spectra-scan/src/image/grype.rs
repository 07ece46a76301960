//! Grype's report.

use std::{ffi::OsString, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::{Layers, Scan, day};
use crate::{Error, Finding, Severity, environment::Own};

/// Where its data is. Everything else might hide findings or change the report.
pub(super) const OWN: Own = &["GRYPE_DB_"];

/// It would ask the network for news of itself.
pub(super) const WITH: [(&str, &str); 1] = [("GRYPE_CHECK_FOR_APP_UPDATE", "false")];

/// `settings` is a file, so that those in the user's home do not count.
pub(super) fn arguments(layout: &Path, settings: &str) -> Vec<OsString> {
    let mut source = OsString::from("oci-dir:");
    source.push(layout);
    // Not `--quiet`: it would not say why it failed.
    vec![source, "--config".into(), settings.into(), "--output".into(), "json".into()]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    matches: Vec<Match>,
    #[serde(default)]
    ignored_matches: Option<Vec<serde::de::IgnoredAny>>,
    distro: Option<Distribution>,
    descriptor: Descriptor,
}

#[derive(Deserialize)]
struct Distribution {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Descriptor {
    name: String,
    /// Its form has changed between versions.
    #[serde(default)]
    db: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    vulnerability: Vulnerability,
    #[serde(default)]
    related_vulnerabilities: Option<Vec<Vulnerability>>,
    artifact: Artifact,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vulnerability {
    id: String,
    data_source: Option<String>,
    severity: Option<String>,
    description: Option<String>,
    #[serde(default)]
    cvss: Option<Vec<Cvss>>,
    fix: Option<Fix>,
}

#[derive(Deserialize)]
struct Cvss {
    metrics: Option<Metrics>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metrics {
    base_score: Option<f64>,
}

#[derive(Deserialize)]
struct Fix {
    #[serde(default)]
    versions: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Artifact {
    name: String,
    version: Option<String>,
    #[serde(default)]
    locations: Option<Vec<Location>>,
}

#[derive(Deserialize)]
struct Location {
    path: String,
    /// The digest of what the layer decompresses to.
    #[serde(rename = "layerID")]
    layer: Option<String>,
}

pub(super) fn parse(bytes: &[u8], layers: &Layers) -> Result<Scan, Error> {
    let what = "what `grype` printed";
    let report: Report = serde_json::from_slice(bytes).map_err(|error| Error::report(what, error))?;
    if report.descriptor.name != "grype" {
        return Err(Error::report(what, format!("it is a report of `{}`", report.descriptor.name)));
    }
    let mut scan = Scan { tools: vec!["grype".to_owned()], ..Scan::default() };
    if report.distro.is_some_and(|distribution| distribution.name.is_empty()) {
        scan.notes.push("grype recognised no distribution: packages of one were not looked up".to_owned());
    }
    let database = &report.descriptor.db;
    let built = database["built"].as_str().or_else(|| database["status"]["built"].as_str());
    scan.databases.extend(built.and_then(day).map(|day| ("grype".to_owned(), day)));
    let ignored = report.ignored_matches.map_or(0, |list| list.len());
    if ignored > 0 {
        scan.notes.push(format!("grype's own settings ignore {ignored} matches; they do not count"));
    }
    scan.findings.extend(report.matches.into_iter().map(|found| finding(found, layers)));
    Ok(scan)
}

fn finding(found: Match, layers: &Layers) -> Finding {
    let Match { vulnerability, related_vulnerabilities, artifact } = found;
    let related = related_vulnerabilities.unwrap_or_default();
    let known = |vulnerability: &Vulnerability| {
        Severity::from_word(vulnerability.severity.as_deref().unwrap_or_default())
    };
    // A distribution that has not judged it yet leaves the word to the general database.
    let severity = std::iter::once(&vulnerability)
        .chain(&related)
        .map(known)
        .find(|severity| *severity != Severity::Unknown)
        .unwrap_or(Severity::Unknown);
    let texts =
        std::iter::once(&vulnerability).chain(&related).filter_map(|entry| entry.description.as_deref());
    let title = texts.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default();
    let mut finding = Finding::new("grype", &vulnerability.id, severity, title);
    let scores =
        std::iter::once(&vulnerability).chain(&related).flat_map(|entry| entry.cvss.iter().flatten());
    finding.score = scores.filter_map(|entry| entry.metrics.as_ref()?.base_score).reduce(f64::max);
    finding.package = Some(artifact.name);
    finding.installed = artifact.version.filter(|version| !version.is_empty());
    let versions = vulnerability.fix.and_then(|fix| fix.versions).unwrap_or_default();
    finding.fixed = (!versions.is_empty()).then(|| versions.join(", "));
    let place = artifact.locations.unwrap_or_default().into_iter().next();
    finding.layer = place.as_ref().and_then(|place| layers.stored([place.layer.as_deref()]));
    finding.location = place.map(|place| place.path.trim_start_matches('/').to_owned());
    finding.url = vulnerability.data_source;
    finding.identified()
}
