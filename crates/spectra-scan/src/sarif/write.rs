//! Writing SARIF as code hosts read it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{Finding, Severity};

/// A finding that does not count, and why.
#[derive(Debug, Clone)]
pub struct Suppressed<'a> {
    /// The finding.
    pub finding: &'a Finding,
    /// Why, by whom, and until when.
    pub justification: String,
}

/// One log: a run for each tool.
#[derive(Debug)]
pub struct Writer<'a> {
    /// What the runs are about; with the tool's name, it keeps one upload from replacing another.
    pub category: &'a str,
    /// The program that writes, and its version; shown where a tool has no name of its own.
    pub program: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Where findings without a file are shown: code hosts want a file for each.
    pub fallback: &'a str,
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
                let closed = closed.map(|entry| (entry.finding, Some(entry.justification.as_str())));
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

    fn run(&self, tool: &str, findings: &[(&Finding, Option<&str>)]) -> Value {
        let mut rules: Vec<Value> = Vec::new();
        let mut places: BTreeMap<(&str, Severity), usize> = BTreeMap::new();
        let mut ids: BTreeSet<String> = BTreeSet::new();
        let mut results = Vec::new();
        for (finding, reason) in findings {
            // GitHub reads the severity from the rule. One that differs between packages needs a rule of its own.
            let index = *places.entry((&finding.id, finding.severity)).or_insert_with(|| {
                let id = if ids.insert(finding.id.clone()) {
                    finding.id.clone()
                } else {
                    let id = format!("{}/{}", finding.id, finding.severity);
                    ids.insert(id.clone());
                    id
                };
                rules.push(rule(&id, finding));
                rules.len() - 1
            });
            results.push(self.result(finding, *reason, index, &rules[index]["id"]));
        }
        let mut driver = json!({ "name": tool, "rules": rules });
        if tool == self.program {
            driver["version"] = self.version.into();
        }
        json!({
            "tool": { "driver": driver },
            "automationDetails": { "id": format!("{}/{tool}/", self.category) },
            "columnKind": "utf16CodeUnits",
            "results": results,
        })
    }

    fn result(&self, finding: &Finding, reason: Option<&str>, index: usize, rule: &Value) -> Value {
        let location = finding.location.as_deref().unwrap_or(self.fallback);
        let mut properties = Map::new();
        for (name, value) in [
            ("package", &finding.package),
            ("installedVersion", &finding.installed),
            ("fixedVersion", &finding.fixed),
            ("layer", &finding.layer),
            ("commit", &finding.commit),
        ] {
            properties.extend(value.as_ref().map(|value| (name.to_owned(), value.as_str().into())));
        }
        let mut result = json!({
            "ruleId": rule,
            "ruleIndex": index,
            "level": level(finding.severity),
            "message": { "text": message(finding) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": uri(location) },
                "region": { "startLine": finding.line.unwrap_or(1).max(1) },
            }}],
            "partialFingerprints": {
                "spectraFinding/v1": finding.fingerprint,
                // The name that GitHub goes by; without it, it computes one from a file that may not be in the repository.
                "primaryLocationLineHash": format!("{}:1", finding.fingerprint),
            },
            "properties": properties,
        });
        if let Some(reason) = reason {
            result["suppressions"] =
                json!([{ "kind": "external", "status": "accepted", "justification": reason }]);
        }
        result
    }
}

fn rule(id: &str, finding: &Finding) -> Value {
    let title = if finding.title.is_empty() { &finding.id } else { &finding.title };
    let mut properties = json!({ "tags": ["security"] });
    // A score in another band than the severity would show the finding as something else than we judge it.
    let score = finding.score.filter(|score| Severity::from_score(*score) == finding.severity);
    if let Some(score) = score.or(finding.severity.score()) {
        properties["security-severity"] = format!("{score:.1}").into();
    }
    let mut rule = json!({
        "id": id,
        "name": finding.id,
        "shortDescription": { "text": title },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": properties,
    });
    if let Some(url) =
        finding.url.as_deref().filter(|url| url.starts_with("https://") || url.starts_with("http://"))
    {
        rule["helpUri"] = url.into();
    }
    rule
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
    use std::fmt::Write as _;
    let path = path.trim_start_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut output = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@+=,$&!'()*;%".contains(&byte) {
            output.push(char::from(byte));
        } else {
            let _ = write!(output, "%{byte:02X}");
        }
    }
    if output.is_empty() { ".".to_owned() } else { output }
}
