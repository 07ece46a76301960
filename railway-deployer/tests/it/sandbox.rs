//! `sandbox status`, `faults` and `stop`, against an admin endpoint that records what it is asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{Json, Router, extract::State, http::Uri};
use serde_json::{Value, json};

use crate::support::Place;

type Asked = Arc<Mutex<Vec<String>>>;

async fn answer(
    State(asked): State<Asked>,
    method: axum::http::Method,
    uri: Uri,
    body: String,
) -> Json<Value> {
    asked.lock().unwrap().push(format!("{method} {uri} {body}"));
    Json(json!({ "faults": [], "uptime": "1s" }))
}

/// An admin endpoint, and a state directory that leads to it; `pid` is whose process the file names.
fn admin(place: &Place, pid: u32) -> (tokio::runtime::Runtime, Asked) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let asked = Asked::default();
    let state = Arc::clone(&asked);
    let address: SocketAddr = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    describe(place, address, pid);
    (runtime, asked)
}

fn describe(place: &Place, address: SocketAddr, pid: u32) {
    let info = json!({
        "version": 1, "pid": pid, "port": address.port(), "url": format!("http://{address}"),
        "endpoint": format!("http://{address}/graphql/v2"), "registry": address.to_string(),
        "admin": format!("http://{address}/_sandbox"), "tokens": { "account": "a", "workspace": "w" },
        "workspace_id": "w-1",
    });
    place.write(".spectra/sandbox/sandbox.json", &info.to_string());
}

#[test]
fn nothing_runs() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["sandbox", "status"]).shown(), @"
    exit 1
    --- stdout
    not running in `.spectra/sandbox`
    --- stderr
    ");
    insta::assert_snapshot!(place.run(&["sandbox", "faults", "list"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error: no sandbox runs with the state directory `.spectra/sandbox`
    hint: start one with `railway-deployer sandbox start`, or give its `--state-dir`
    ");
    let stopped = place.run(&["sandbox", "stop", "--json"]).done().json();
    assert_eq!(stopped["stopped"], false);
}

#[test]
fn a_file_without_a_process_is_not_a_sandbox() {
    let place = Place::new();
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // The id of a process that lives and must not be touched: our own.
    describe(&place, address, std::process::id());
    let status = place.run(&["sandbox", "status", "--json"]);
    assert_eq!((status.code, status.json()["running"].as_bool()), (1, Some(false)));
    assert_eq!(place.run(&["sandbox", "stop", "--json"]).done().json()["stopped"], false);
    place.write(".spectra/sandbox/sandbox.json", "{\"version\":1}");
    let broken = place.run(&["sandbox", "status"]);
    assert_eq!(broken.code, 1);
    assert!(broken.stderr.contains("is no sandbox description"), "{}", broken.shown());
}

#[test]
fn status_and_faults_reach_the_admin_endpoint() {
    let place = Place::new();
    let (_runtime, asked) = admin(&place, 1);
    let status = place.run(&["sandbox", "status", "--json"]).done().json();
    assert_eq!((status["running"].as_bool(), status["status"]["uptime"].as_str()), (Some(true), Some("1s")));
    assert!(status.get("tokens").is_none(), "a status is pasted into reports");
    let rule = r#"{"operation":"serviceCreate","action":{"type":"http","status":503},"count":1}"#;
    place.run(&["sandbox", "faults", "set", rule]).done();
    place.write("rule.json", rule);
    place.run(&["sandbox", "faults", "set", "@rule.json"]).done();
    place.run(&["sandbox", "faults", "list"]).done();
    place.run(&["sandbox", "faults", "clear"]).done();
    assert_eq!(place.run(&["sandbox", "faults", "set", "{"]).code, 2);
    let asked: Vec<String> =
        asked.lock().unwrap().iter().filter(|line| line.contains("faults")).cloned().collect();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(asked[0].starts_with("POST /_sandbox/faults {") && asked[0].contains("503"));
    assert_eq!(asked[0], asked[1]);
    assert_eq!(asked[3], "DELETE /_sandbox/faults ");
}

#[test]
fn stop_asks_and_then_waits_for_the_process() {
    let place = Place::new();
    // Stands for a sandbox that does not react to being asked, only to the signal.
    let mut process = std::process::Command::new("sleep").arg("600").spawn().unwrap();
    let (_runtime, asked) = admin(&place, process.id());
    let reaper = std::thread::spawn(move || process.wait().unwrap());
    place.run(&["sandbox", "stop", "--grace", "100ms"]).done();
    assert!(!reaper.join().unwrap().success(), "ended by the signal");
    assert!(asked.lock().unwrap().iter().any(|line| line.starts_with("POST /_sandbox/shutdown")));
}
