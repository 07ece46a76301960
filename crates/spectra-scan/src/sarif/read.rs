//! Reading SARIF of any tool.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use super::write;
use crate::{Error, Finding, Severity};

// A level or kind that a later version adds is kept as text: what is not known to be harmless counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    version: Option<String>,
    runs: Vec<Run>,
    /// Parts of runs that are kept beside them.
    inline_external_properties: Option<Vec<IgnoredAny>>,
}

/// The version that is read. What an older one or a newer one says in other fields would be missed.
const VERSION: &str = "2.1.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: ToolPart,
    /// Missing if the run was not carried out; empty if nothing was found.
    results: Option<Vec<ResultPart>>,
    #[serde(default)]
    invocations: Vec<Invocation>,
    external_property_file_references: Option<External>,
}

/// What of a run is in other files, of what matters here.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct External {
    results: Option<Vec<IgnoredAny>>,
    invocations: Option<Vec<IgnoredAny>>,
    driver: Option<IgnoredAny>,
    extensions: Option<Vec<IgnoredAny>>,
}

impl External {
    fn first(&self) -> Option<&'static str> {
        let list = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|list| !list.is_empty());
        [
            ("results", list(&self.results)),
            ("invocations", list(&self.invocations)),
            ("driver", self.driver.is_some()),
            ("extensions", list(&self.extensions)),
        ]
        .into_iter()
        .find_map(|(name, is_there)| is_there.then_some(name))
    }
}

#[derive(Deserialize)]
struct ToolPart {
    driver: Component,
    #[serde(default)]
    extensions: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(default)]
    name: String,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    id: String,
    name: Option<String>,
    short_description: Option<Message>,
    help_uri: Option<String>,
    default_configuration: Option<Configuration>,
    properties: Map<String, Value>,
}

#[derive(Deserialize)]
struct Configuration {
    level: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    exit_code: Option<i64>,
    #[serde(default)]
    tool_execution_notifications: Vec<Notification>,
    #[serde(default)]
    tool_configuration_notifications: Vec<Notification>,
}

#[derive(Deserialize)]
struct Notification {
    level: Option<String>,
    message: Option<Message>,
}

impl Invocation {
    /// What speaks against a run that calls itself successful. It need not be wrong: some tools end with another code than 0 when
    /// they find something.
    fn doubts<'a>(&'a self, tool: &'a str) -> impl Iterator<Item = String> + use<'a> {
        let code = self.exit_code.filter(|code| *code != 0);
        let code = code.map(|code| format!("says that `{tool}` ended with exit code {code}"));
        let notifications =
            self.tool_execution_notifications.iter().chain(&self.tool_configuration_notifications);
        let errors = notifications.filter(|one| one.level.as_deref() == Some("error")).map(move |one| {
            let text = one.message.as_ref().and_then(|message| message.text.as_deref());
            format!("holds an error of `{tool}`: {}", text.unwrap_or("it does not say which"))
        });
        errors.chain(code)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ResultPart {
    rule_id: Option<String>,
    rule_index: Option<i64>,
    rule: Option<RuleReference>,
    kind: Option<String>,
    level: Option<String>,
    baseline_state: Option<String>,
    message: Option<Message>,
    locations: Vec<Location>,
    suppressions: Option<Vec<Suppression>>,
    properties: Map<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RuleReference {
    id: Option<String>,
    index: Option<i64>,
    tool_component: Option<ComponentReference>,
}

#[derive(Deserialize)]
struct ComponentReference {
    index: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Location {
    physical_location: Option<Physical>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Physical {
    artifact_location: Option<ArtifactLocation>,
    region: Option<Region>,
}

#[derive(Deserialize)]
struct ArtifactLocation {
    uri: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: Option<u64>,
}

#[derive(Deserialize)]
struct Suppression {
    status: Option<String>,
}

/// What was read from a file.
#[derive(Debug, Default)]
pub struct Log {
    /// What counts.
    pub findings: Vec<Finding>,
    /// How many results the tool itself says are suppressed.
    pub suppressed: usize,
    /// The tools.
    pub tools: Vec<String>,
    /// Why it may be no whole scan, as what follows the log's name.
    pub doubts: Vec<String>,
}

/// Reads the findings of a SARIF log; `what` names it in errors.
///
/// Severity is the first of: `security-severity` of the result or its rule, unless it is 0, the result's level, the rule's level,
/// and the specification's default, which is `warning`. Results that say that nothing is wrong, and those that their tool
/// suppresses, are left out. A log without a run, a run without results or with some in other files, a run that says that it
/// failed, and another version of the format are errors: they are no scans.
pub fn read(what: &str, bytes: &[u8]) -> Result<Log, Error> {
    let strange = |reason: &str| Error::report(what, reason);
    // Some writers begin with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let log: Document = serde_json::from_slice(bytes).map_err(|error| Error::report(what, error))?;
    if log.version.as_deref() != Some(VERSION) {
        let version = log.version.map_or("no version".to_owned(), |version| format!("version {version}"));
        return Err(strange(&format!("it has {version}, expected {VERSION}")));
    }
    if log.inline_external_properties.is_some_and(|parts| !parts.is_empty()) {
        return Err(strange("it has parts in `inlineExternalProperties`, which are not read"));
    }
    if log.runs.is_empty() {
        return Err(strange("it holds no run of a scanner, so nothing was scanned"));
    }
    let mut read = Log::default();
    for run in log.runs {
        let tool = if run.tool.driver.name.is_empty() { "unnamed" } else { &run.tool.driver.name };
        if run.invocations.iter().any(|invocation| !invocation.execution_successful) {
            return Err(strange(&format!("it says that `{tool}` failed")));
        }
        if let Some(part) = run.external_property_file_references.as_ref().and_then(External::first) {
            return Err(strange(&format!(
                "its run of `{tool}` has `{part}` in other files, which are not read"
            )));
        }
        read.doubts.extend(run.invocations.iter().flat_map(|invocation| invocation.doubts(tool)));
        let Some(results) = &run.results else {
            return Err(strange(&format!("its run of `{tool}` has no `results`, so nothing was scanned")));
        };
        let rules = Rules::new(&run.tool);
        for result in results {
            let harmless = matches!(result.kind.as_deref(), Some("pass" | "notApplicable" | "informational"))
                || result.baseline_state.as_deref() == Some("absent");
            if harmless {
                continue;
            }
            if is_suppressed(result) {
                read.suppressed += 1;
                continue;
            }
            read.findings.push(finding(tool, result, rules.of(result)));
        }
        if !read.tools.iter().any(|known| known == tool) {
            read.tools.push(tool.to_owned());
        }
    }
    Ok(read)
}

/// One suppression that is not accepted leaves the result standing.
fn is_suppressed(result: &ResultPart) -> bool {
    result.suppressions.as_ref().is_some_and(|list| {
        let accepted =
            |entry: &Suppression| entry.status.as_deref().is_none_or(|status| status == "accepted");
        !list.is_empty() && list.iter().all(accepted)
    })
}

/// The rules of a run, by place and by id.
struct Rules<'a> {
    tool: &'a ToolPart,
    by_id: BTreeMap<&'a str, &'a Rule>,
}

impl<'a> Rules<'a> {
    fn new(tool: &'a ToolPart) -> Self {
        let components = tool.extensions.iter().rev().chain([&tool.driver]);
        let by_id = components.flat_map(|part| &part.rules).map(|rule| (rule.id.as_str(), rule)).collect();
        Self { tool, by_id }
    }

    fn of(&self, result: &ResultPart) -> Option<&'a Rule> {
        let place = |index: Option<i64>| index.and_then(|index| usize::try_from(index).ok());
        let reference = result.rule.as_ref();
        let component = reference.and_then(|rule| rule.tool_component.as_ref()).map(|part| place(part.index));
        let component = match component {
            Some(Some(index)) => self.tool.extensions.get(index),
            Some(None) | None => Some(&self.tool.driver),
        };
        let index = place(result.rule_index).or_else(|| place(reference.and_then(|rule| rule.index)));
        let by_place = component.zip(index).and_then(|(component, index)| component.rules.get(index));
        let id = result.rule_id.as_deref().or_else(|| reference.and_then(|rule| rule.id.as_deref()));
        by_place.or_else(|| {
            let id = id?;
            // An id may name a part of a rule: `RULE/part`.
            self.by_id.get(id).or_else(|| self.by_id.get(id.rsplit_once('/')?.0)).copied()
        })
    }
}

fn finding(tool: &str, result: &ResultPart, rule: Option<&Rule>) -> Finding {
    let own = result.properties.get(write::ID).and_then(Value::as_str);
    let id = own
        .or(result.rule_id.as_deref())
        .or_else(|| result.rule.as_ref()?.id.as_deref())
        .or_else(|| rule.map(|rule| rule.id.as_str()))
        .filter(|id| !id.is_empty())
        .unwrap_or("unnamed");
    let score = score(&result.properties).or_else(|| score(&rule?.properties));
    let level = result
        .level
        .as_deref()
        .or_else(|| rule?.default_configuration.as_ref()?.level.as_deref())
        .unwrap_or("warning");
    let severity = score.map_or_else(
        || match level {
            "note" => Severity::Low,
            "none" => Severity::Unknown,
            "warning" => Severity::Medium,
            // `error`, and a level that is not known: it is no reason to let something pass.
            _ => Severity::High,
        },
        Severity::from_score,
    );
    let message = result.message.as_ref().and_then(|message| message.text.as_deref()).unwrap_or_default();
    let title = rule
        .and_then(|rule| rule.short_description.as_ref()?.text.as_deref().or(rule.name.as_deref()))
        .filter(|text| !text.is_empty());
    let mut finding = Finding::new(tool, id, severity, title.unwrap_or(message));
    finding.score = score;
    finding.url = rule.and_then(|rule| rule.help_uri.clone());
    // How Trivy writes what SARIF has no fields for.
    let said = |name: &str| {
        let values = message.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        values.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
    };
    finding.package = said("Package");
    finding.installed = said("Installed Version");
    finding.fixed = said("Fixed Version");
    let place = result.locations.iter().find_map(|location| location.physical_location.as_ref());
    finding.location = place.and_then(|place| place.artifact_location.as_ref()?.uri.as_deref()).map(path);
    finding.line = place.and_then(|place| place.region.as_ref()?.start_line);
    finding.identified()
}

/// The path that a reference stands for; the reference itself, if what it encodes is no text.
fn path(uri: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = uri.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let byte = digit(0).zip(digit(1)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        if let Some(byte) = byte.filter(|_| *first == b'%') {
            bytes.push(byte);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| uri.to_owned())
}

/// A score that says something: 0 is also what tools write that have none.
fn score(properties: &Map<String, Value>) -> Option<f64> {
    let value = properties.get("security-severity")?;
    let score = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    (score > 0.0 && score <= 10.0).then_some(score)
}
