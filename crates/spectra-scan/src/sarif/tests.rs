//! Reading and writing SARIF.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use serde_json::json;

use super::*;
use crate::{Finding, Severity};

fn run(rules: &str, results: &str) -> String {
    format!(
        r#"{{"version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"T","rules":[{rules}]}}}},"results":[{results}]}}]}}"#
    )
}

fn severities(rules: &str, results: &str) -> Vec<(String, Severity)> {
    let log = read("x", run(rules, results).as_bytes()).unwrap();
    log.findings.into_iter().map(|finding| (finding.id, finding.severity)).collect()
}

#[test]
fn a_severity_is_the_score_then_the_level_then_the_rule() {
    let rules = r#"{"id":"A","properties":{"security-severity":"9.8"}},
        {"id":"B","defaultConfiguration":{"level":"note"}},{"id":"C"}"#;
    let results = r#"{"ruleId":"A","level":"note"},{"ruleId":"B"},{"ruleId":"B","level":"error"},{"ruleId":"C"},
        {"ruleId":"C","properties":{"security-severity":5}},{"ruleIndex":0},{"rule":{"index":1}},{"ruleId":"A/part"},
        {"ruleId":"Z","level":"none"},{"ruleId":"Z","level":"fatal"},
        {"ruleId":"Y","level":"error","properties":{"security-severity":"0.0"}},{"ruleId":"A","properties":{"security-severity":0}}"#;
    let severities: Vec<String> =
        severities(rules, results).into_iter().map(|(id, severity)| format!("{id} {severity}")).collect();
    insta::assert_snapshot!(severities.join(", "), @"A critical, B low, B high, C medium, C medium, A critical, B low, A/part critical, Z unknown, Z high, Y high, A critical");
}

#[test]
fn what_says_that_nothing_is_wrong_is_left_out() {
    let results = r#"{"ruleId":"A","kind":"pass"},{"ruleId":"B","baselineState":"absent"},{"ruleId":"C","kind":"open"},
        {"ruleId":"D","suppressions":[{"kind":"inSource"}]},{"ruleId":"E","suppressions":[{"kind":"external","status":"rejected"}]},
        {"ruleId":"F","suppressions":[]}"#;
    let log = read("x", run("", results).as_bytes()).unwrap();
    let ids: Vec<&str> = log.findings.iter().map(|finding| finding.id.as_str()).collect();
    assert_eq!((ids, log.suppressed), (vec!["C", "E", "F"], 1));
}

#[test]
fn a_scan_that_did_not_happen_is_an_error() {
    for (text, reason) in [
        (r#"{"version":"2.1.0","runs":[]}"#, "it holds no run of a scanner, so nothing was scanned"),
        (
            r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}}}]}"#,
            "its run of `T` has no `results`, so nothing was scanned",
        ),
        (
            r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}},"results":[],"invocations":[{"executionSuccessful":false}]}]}"#,
            "it says that `T` failed",
        ),
        (
            r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}},"results":[],
                "externalPropertyFileReferences":{"results":[{"location":{"uri":"r.sarif-external-properties"}}]}}]}"#,
            "its run of `T` has `results` in other files, which are not read",
        ),
        (
            r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"T"}},"results":[],
                "externalPropertyFileReferences":{"driver":{"location":{"uri":"d"}}}}]}"#,
            "its run of `T` has `driver` in other files, which are not read",
        ),
        (
            r#"{"version":"2.1.0","inlineExternalProperties":[{"results":[{"ruleId":"A"}]}],
                "runs":[{"tool":{"driver":{"name":"T"}},"results":[]}]}"#,
            "it has parts in `inlineExternalProperties`, which are not read",
        ),
        (r#"{"runs":[{"tool":{"driver":{"name":"T"}},"results":[]}]}"#, "it has no version, expected 2.1.0"),
        (r#"{"version":"2.0.0","runs":[]}"#, "it has version 2.0.0, expected 2.1.0"),
        ("{}", "missing field `runs` at line 1 column 2"),
        ("", "EOF while parsing a value at line 1 column 0"),
    ] {
        let error = read("`x.sarif`", text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read `x.sarif`: {reason}"));
    }
    assert!(read("x", format!("\u{feff}{}", run("", "")).as_bytes()).unwrap().findings.is_empty());
}

#[test]
fn what_speaks_against_a_run_that_calls_itself_successful_is_said() {
    let read = |invocation: &str| {
        let invocation = format!(r#""invocations":[{{"executionSuccessful":true{invocation}}}],"results""#);
        read("x", run("", "").replacen(r#""results""#, &invocation, 1).as_bytes()).unwrap().doubts
    };
    assert!(read("").is_empty() && read(r#","exitCode":0"#).is_empty());
    let notes = r#","exitCode":2,"toolExecutionNotifications":[{"level":"error","message":{"text":"one file was not read"}},{"level":"note"},{}],
        "toolConfigurationNotifications":[{"level":"error"}]"#;
    insta::assert_snapshot!(read(notes).join("\n"), @"
    holds an error of `T`: one file was not read
    holds an error of `T`: it does not say which
    says that `T` ended with exit code 2
    ");
}

fn findings() -> Vec<Finding> {
    let mut first = Finding::new("trivy", "CVE-2026-1", Severity::Critical, "overflow");
    first.score = Some(9.8);
    first.package = Some("libfoo".to_owned());
    first.installed = Some("1.0-1".to_owned());
    first.fixed = Some("1.0-2".to_owned());
    first.url = Some("https://example.com/1".to_owned());
    let mut second = Finding::new("trivy", "CVE-2026-1", Severity::Low, "overflow");
    second.package = Some("libbar".to_owned());
    second.location = Some("/usr/lib/a b.jar".to_owned());
    let third = Finding::new("trivy", "CVE-2026-2", Severity::Unknown, "");
    [first, second, third].map(Finding::identified).to_vec()
}

#[test]
fn what_is_written_is_read_back() {
    let findings = findings();
    let tools = ["grype".to_owned(), "trivy".to_owned()];
    let writer = Writer {
        category: "spectra/image",
        program: "p",
        version: "1",
        fallback: "ghcr.io/team/web:v1",
        base: None,
        tools: &tools,
    };
    let suppressed =
        [Suppressed { finding: &findings[2], kind: Kind::External, justification: "because".to_owned() }];
    let text = writer.write(&findings[..2], &suppressed);
    let log: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(log["runs"].as_array().unwrap().len(), 2, "also a tool that found nothing has a run");
    let run = &log["runs"][1];
    assert_eq!(run["automationDetails"]["id"], "spectra/image/trivy/");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: Vec<_> = rules
        .iter()
        .map(|rule| (rule["id"].as_str().unwrap(), rule["properties"]["security-severity"].as_str()))
        .collect();
    assert_eq!(ids, [("CVE-2026-1", Some("9.8")), ("CVE-2026-1:low", Some("2.0")), ("CVE-2026-2", None)]);
    let results = run["results"].as_array().unwrap();
    assert_eq!(results[2]["suppressions"][0]["justification"], "because");
    let uri = |result: &serde_json::Value| {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].clone()
    };
    assert_eq!(
        (uri(&results[0]), uri(&results[1])),
        ("ghcr.io/team/web%3Av1".into(), "usr/lib/a%20b.jar".into())
    );
    assert!(
        results.iter().all(|result| result["partialFingerprints"]["spectraFinding/v1"]
            .as_str()
            .unwrap()
            .len()
            == 32)
    );
    let back = read("x", text.as_bytes()).unwrap();
    assert_eq!((back.suppressed, back.tools.len()), (1, 2));
    assert!(back.findings.iter().all(|finding| finding.id == "CVE-2026-1"), "as a waiver knows it");
    assert_eq!(back.findings[1].location.as_deref(), Some("usr/lib/a b.jar"), "a path, and no reference");
    let seen: Vec<_> =
        back.findings.iter().map(|f| (f.severity, f.package.as_deref(), f.fixed.as_deref())).collect();
    assert_eq!(
        seen,
        [(Severity::Critical, Some("libfoo"), Some("1.0-2")), (Severity::Low, Some("libbar"), None)]
    );
}

#[test]
fn a_place_is_a_reference_in_the_log_and_a_path_outside() {
    let writer = Writer { category: "c", program: "p", version: "1", fallback: ".", base: None, tools: &[] };
    for (location, reference) in [
        ("100% ü:a#b?.txt", "100%25%20%C3%BC%3Aa%23b%3F.txt"),
        ("a%20b", "a%2520b"),
        ("x\u{1b}[2J", "x%1B%5B2J"),
    ] {
        let mut finding = Finding::new("t", "A", Severity::Low, "x");
        finding.location = Some(location.to_owned());
        finding.url = Some("https://x.test/a b#c#d|ü%zz%20".to_owned());
        let text = writer.write(&[finding], &[]);
        let log: serde_json::Value = serde_json::from_str(&text).unwrap();
        let run = &log["runs"][0];
        let place = &run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"];
        assert_eq!(place["uri"], reference);
        let url = &run["tool"]["driver"]["rules"][0]["helpUri"];
        assert_eq!(url, "https://x.test/a%20b#c%23d%7C%C3%BC%25zz%20");
        assert_eq!(read("x", text.as_bytes()).unwrap().findings[0].location.as_deref(), Some(location));
    }
}

#[test]
fn files_of_a_folder_are_below_its_uri() {
    let mut finding = Finding::new("t", "A", Severity::High, "a");
    finding.location = Some("sub/a b.txt".to_owned());
    let log = |base: Option<&Path>| {
        let writer = Writer { category: "c", program: "p", version: "1", fallback: ".", base, tools: &[] };
        let text = writer.write(std::slice::from_ref(&finding), &[]);
        let run = serde_json::from_str::<serde_json::Value>(&text).unwrap()["runs"][0].clone();
        let place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"].clone();
        (run.get("originalUriBaseIds").cloned(), place)
    };
    let id = "%SRCROOT%";
    for (folder, uri) in [
        (&b"/in/a%20b?#\xff"[..], "file:///in/a%2520b%3F%23%FF/"),
        (b"/in/", "file:///in/"),
        (b"/", "file:///"),
    ] {
        let base = Path::new(OsStr::from_bytes(folder));
        let place = json!({ "uri": "sub/a%20b.txt", "uriBaseId": id });
        assert_eq!(log(Some(base)), (Some(json!({ id: { "uri": uri } })), place));
    }
    assert_eq!(log(None), (None, json!({ "uri": "sub/a%20b.txt" })), "from the top of the repository");
}
