//! Queries against a real Prometheus, where there is one: the program that `SPECTRA_TEST_PROMETHEUS` names, or
//! `prometheus` on `PATH`. Otherwise this is skipped, and says so; with `SPECTRA_REQUIRE_PROMETHEUS=1` it fails.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use spectra_probe::Prometheus;
use spectra_rollout::MetricSource as _;
use spectra_rollout::spec::MetricKind;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::{metric, place, scope};

/// Ids may hold anything but white space.
const SERVICE: &str = r#"s"er'v\ice"#;

#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SPECTRA_TEST_PROMETHEUS") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|folder| folder.join("prometheus")).find(|file| file.is_file());
    if found.is_none() {
        let lacking = "there is no `prometheus` on PATH, and SPECTRA_TEST_PROMETHEUS names none";
        let required = std::env::var("SPECTRA_REQUIRE_PROMETHEUS").is_ok_and(|value| value == "1");
        assert!(!required, "SPECTRA_REQUIRE_PROMETHEUS=1, and {lacking}");
        eprintln!("skipped: {lacking}");
    }
    found
}

/// Starts it on a free port and waits until it takes queries. It ends when the child is dropped.
async fn start(program: PathBuf, folder: &std::path::Path) -> (Child, String) {
    let configuration = folder.join("prometheus.yml");
    std::fs::write(&configuration, "scrape_configs: []\n").unwrap();
    let mut child = Command::new(program)
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .args(["--web.listen-address=127.0.0.1:0", "--log.format=json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut address = None;
    while let Some(line) = lines.next_line().await.unwrap() {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        match entry["msg"].as_str() {
            Some("Listening on") => address = entry["address"].as_str().map(str::to_owned),
            Some("Server is ready to receive web requests.") => break,
            _ => {}
        }
    }
    // Its log has to go somewhere for as long as it runs.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, format!("http://{}", address.expect("it names its address before it is ready")))
}

#[tokio::test]
async fn the_real_one_understands_what_it_is_asked() {
    let Some(program) = program() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (_child, address) = start(program, folder.path()).await;
    let source = Prometheus::new(Duration::from_secs(30), |_| None);
    let mut scope = scope();
    scope.place = place(SERVICE);
    let long = format!("vector(4) # {}", "x".repeat(8_000));
    for (query, expected) in [
        ("1 + 1", Ok(Some(2.0))),
        ("vector(0.25)", Ok(Some(0.25))),
        (long.as_str(), Ok(Some(4.0))),
        ("up", Ok(None)),
        ("1 / 0", Ok(None)),
        ("vector(0) / vector(0)", Ok(None)),
        ("count_over_time(vector(1)[{{window}}:10s]) > bool 1", Ok(Some(1.0))),
        // However a string is quoted, the id in it is the same.
        (
            r#"label_replace(vector(3), "s", "{{service}}", "", "")
               and on(s) label_replace(vector(3), "s", '{{service}}', "", "")
               and on(s) label_replace(vector(3), "s", `{{service}}`, "", "") # it's {{service}}"#,
            Ok(Some(3.0)),
        ),
        (
            r#"vector(1) or label_replace(vector(2), "a", "b", "", "")"#,
            Err("gives 2 samples, but one value has to come of it"),
        ),
        (r#""text""#, Err("gives a string")),
        ("vector(1)[1m:10s]", Err("gives a matrix")),
        ("up{", Err("HTTP 400, bad_data: ")),
    ] {
        let metric = metric(MetricKind::Prometheus {
            address: address.clone(),
            query: query.to_owned(),
            stable_query: None,
            token_env: None,
        });
        let answer = source.sample(&metric, &scope).await.answer.map(|sample| sample.value);
        match expected {
            Ok(value) => assert_eq!(answer, Ok(value), "{query}"),
            Err(words) => {
                assert!(answer.as_ref().is_err_and(|said| said.contains(words)), "{query}: {answer:?}");
            }
        }
    }
}
