//! Writing SARIF as code hosts read it.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use serde_json::{Map, Value, json};

use crate::{Finding, Severity};

/// Where it is said that a finding does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Beside it.
    InSource,
    /// In a file of its own.
    External,
}

/// A finding that does not count, and why.
#[derive(Debug, Clone)]
pub struct Suppressed<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// Where that is said.
    pub kind: Kind,
    /// Why, by whom, and until when.
    pub justification: String,
}

/// The property that holds a finding's own id.
pub(super) const ID: &str = "spectraId";

/// The name of the folder that files are relative to, as other tools have it.
const BASE: &str = "%SRCROOT%";

/// The most characters that GitHub takes as a rule's description.
const MAX_DESCRIPTION: usize = 1024;

/// One log: a run for each tool.
#[derive(Debug)]
pub struct Writer<'a> {
    /// What the runs are about; with the tool's name, it keeps one upload from replacing another.
    pub category: &'a str,
    /// The tool that is ours, if one is: its version is known.
    pub program: &'a str,
    /// Our version.
    pub version: &'a str,
    /// Where findings without a file are shown: code hosts want a file for each.
    pub fallback: &'a str,
    /// The folder that files are relative to, absolute; without one, it is for the reader to know: code hosts take the top level of the
    /// repository, whatever is said here.
    pub base: Option<&'a Path>,
    /// The tools that ran, also those that found nothing: an empty run says that old findings are gone.
    pub tools: &'a [String],
}

impl Writer<'_> {
    /// The log, with a line feed at the end. The worst findings come first, since code hosts show only so many.
    #[must_use]
    pub fn write(&self, findings: &[Finding], suppressed: &[Suppressed<'_>]) -> String {
        let mut tools: BTreeSet<&str> = self.tools.iter().map(String::as_str).collect();
        tools.extend(findings.iter().map(|finding| finding.tool.as_str()));
        tools.extend(suppressed.iter().map(|entry| entry.finding.tool.as_str()));
        let runs: Vec<Value> = tools
            .into_iter()
            .map(|tool| {
                let open =
                    findings.iter().filter(|finding| finding.tool == tool).map(|finding| (finding, None));
                let closed = suppressed.iter().filter(|entry| entry.finding.tool == tool);
                let closed = closed.map(|entry| (entry.finding, Some(entry)));
                self.run(tool, &open.chain(closed).collect::<Vec<_>>())
            })
            .collect();
        let log = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": runs,
        });
        // The alternate form differs from the plain one in white space alone.
        format!("{log:#}\n")
    }

    fn run(&self, tool: &str, findings: &[(&Finding, Option<&Suppressed<'_>>)]) -> Value {
        let mut rules: Vec<Value> = Vec::new();
        let mut places: BTreeMap<(&str, Severity), usize> = BTreeMap::new();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        let mut results = Vec::new();
        for (finding, suppressed) in findings {
            // GitHub reads the severity from the rule. One that differs between packages needs a rule of its own.
            let index = *places.entry((&finding.id, finding.severity)).or_insert_with(|| {
                let id = if ids.insert(finding.id.clone()) {
                    finding.id.clone()
                } else {
                    // No slash: behind one stands a part of a rule, which has no severity of its own.
                    let id = format!("{}:{}", finding.id, finding.severity);
                    ids.insert(id.clone());
                    id
                };
                rules.push(rule(&id, finding));
                rules.len() - 1
            });
            results.push(self.result(finding, *suppressed, index, &rules[index]["id"]));
        }
        let mut driver = json!({ "name": tool, "rules": rules });
        if tool == self.program {
            driver["version"] = self.version.into();
        }
        let mut run = json!({
            "tool": { "driver": driver },
            "automationDetails": { "id": format!("{}/{tool}/", self.category) },
            "columnKind": "utf16CodeUnits",
            "results": results,
        });
        if let Some(base) = self.base {
            run["originalUriBaseIds"] = json!({ BASE: { "uri": folder(base) } });
        }
        run
    }

    fn result(
        &self,
        finding: &Finding,
        suppressed: Option<&Suppressed<'_>>,
        index: usize,
        rule: &Value,
    ) -> Value {
        let location = finding.location.as_deref().unwrap_or(self.fallback);
        let mut properties = Map::new();
        // The rule may have another id, and without this one a waiver would not know it again.
        properties.insert(ID.to_owned(), finding.id.as_str().into());
        for (name, value) in [
            ("package", &finding.package),
            ("installedVersion", &finding.installed),
            ("fixedVersion", &finding.fixed),
            ("layer", &finding.layer),
            ("commit", &finding.commit),
        ] {
            properties.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
        }
        let mut place = json!({ "uri": uri(location) });
        if self.base.is_some() {
            place["uriBaseId"] = BASE.into();
        }
        let mut result = json!({
            "ruleId": rule,
            "ruleIndex": index,
            "level": level(finding.severity),
            "message": { "text": message(finding) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": place,
                "region": { "startLine": finding.line.unwrap_or(1).max(1) },
            }}],
            "partialFingerprints": {
                "spectraFinding/v1": finding.fingerprint,
                // The name that GitHub goes by; without it, it computes one from a file that may not be in the repository.
                "primaryLocationLineHash": format!("{}:1", finding.fingerprint),
            },
            "properties": properties,
        });
        if let Some(Suppressed { kind, justification, .. }) = suppressed {
            let kind = match kind {
                Kind::InSource => "inSource",
                Kind::External => "external",
            };
            result["suppressions"] =
                json!([{ "kind": kind, "status": "accepted", "justification": justification }]);
        }
        result
    }
}

fn rule(id: &str, finding: &Finding) -> Value {
    let title = if finding.title.is_empty() { &finding.id } else { &finding.title };
    // GitHub wants all three, and takes no longer ones. The message has all of it.
    let text: String = title.chars().take(MAX_DESCRIPTION).collect();
    let url = finding.url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://"));
    let url = url.map(reference);
    let help = url.as_ref().map_or_else(|| text.clone(), |url| format!("{text}\n\n{url}"));
    let mut properties = json!({ "tags": ["security"] });
    // A score in another band than the severity would show the finding as something else than we judge it.
    let score = finding.score.filter(|score| Severity::from_score(*score) == finding.severity);
    if let Some(score) = score.or(finding.severity.score()) {
        properties["security-severity"] = format!("{score:.1}").into();
    }
    let mut rule = json!({
        "id": id,
        "shortDescription": { "text": text },
        "fullDescription": { "text": text },
        "help": { "text": help },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": properties,
    });
    if let Some(url) = url {
        rule["helpUri"] = url.into();
    }
    rule
}

/// A URL that somebody has written, without what none may hold.
fn reference(url: &str) -> String {
    const PLAIN: &[u8] = b"-._~/@+=,$&!'()*;%:?";
    let (place, part) = url.split_once('#').map_or((url, None), |(place, part)| (place, Some(part)));
    let part = part.map(|part| format!("#{}", encoded(part.as_bytes(), PLAIN))).unwrap_or_default();
    format!("{}{part}", encoded(place.as_bytes(), PLAIN))
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Unknown => "note",
    }
}

/// The message, in lines that [`super::read`] finds package and versions in again.
fn message(finding: &Finding) -> String {
    let mut lines = vec![if finding.title.is_empty() { finding.id.clone() } else { finding.title.clone() }];
    for (name, value) in [
        ("Package", &finding.package),
        ("Installed Version", &finding.installed),
        ("Fixed Version", &finding.fixed),
        ("Commit", &finding.commit),
    ] {
        lines.extend(value.as_ref().map(|value| format!("{name}: {value}")));
    }
    lines.join("\n")
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    let output = encoded(path.as_bytes(), PATH);
    if output.is_empty() { ".".to_owned() } else { output }
}

/// What stands in the path of a URI as it is.
const PATH: &[u8] = b"-._~/@+=,$&!'()*;";

/// An absolute path as the URI of a folder, with a slash at the end: without it, the last part is none of what is below it.
fn folder(path: &Path) -> String {
    let path = encoded(path.as_os_str().as_bytes(), PATH);
    format!("file://{}/", path.trim_end_matches('/'))
}

/// A text with everything but letters, digits and these characters as its bytes; a `%` among them has to begin such a byte.
fn encoded(bytes: &[u8], plain: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut output = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let is_hex = |offset: usize| bytes.get(at + offset).is_some_and(u8::is_ascii_hexdigit);
        let stays =
            byte.is_ascii_alphanumeric() || plain.contains(byte) && (*byte != b'%' || is_hex(1) && is_hex(2));
        if stays {
            output.push(char::from(*byte));
        } else {
            let _ = write!(output, "%{byte:02X}");
        }
    }
    output
}
