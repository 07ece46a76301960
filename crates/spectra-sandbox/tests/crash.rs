//! The sandbox's process is killed outright and another one takes up its state directory.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spectra_sandbox::{Config, Sandbox, SandboxInfo};
use support::World;

const STATE: &str = "SPECTRA_SANDBOX_TEST_STATE";
const DEADLINE: Duration = Duration::from_mins(1);

/// Not a test: what the test below starts as a process of its own and kills.
#[tokio::test]
#[ignore = "the body of the process that `a_killed_sandbox_goes_on_where_it_was` starts"]
async fn the_process_to_kill() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let mut config = Config::new(PathBuf::from(state));
    config.port = 0;
    config.time_scale = Some(2000.0);
    Sandbox::start(config).await.unwrap().wait().await;
}

/// Kills the process also where the test fails.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a copy of the database, as a crash at this moment would leave it, has the first request and its line.
fn on_disk(state: &Path) -> bool {
    let copy = tempfile::tempdir().unwrap();
    for name in ["sandbox.db", "sandbox.db-wal"] {
        std::fs::copy(state.join(name), copy.path().join(name)).unwrap();
    }
    // A copy that was torn by a write is no database; the next one will be.
    let Ok(database) = rusqlite::Connection::open(copy.path().join("sandbox.db")) else { return false };
    let count = |query: &str| database.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap_or_default();
    count("SELECT count(*) FROM requests") > 0
        && count("SELECT count(*) FROM lines WHERE body LIKE '%GET / 200%'") > 0
}

#[tokio::test]
async fn a_killed_sandbox_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_process_to_kill"])
        .env(STATE, &state)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Killed(process);
    let start = Instant::now();
    let info = loop {
        match SandboxInfo::read(&state) {
            Ok(info) => break info,
            Err(error) => assert!(start.elapsed() < DEADLINE, "the process never started: {error}"),
        }
        assert!(process.0.try_wait().unwrap().is_none(), "the process ended by itself");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(info.pid, process.0.id());
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).user_agent("test").build().unwrap();
    let mut world = World { sandbox: None, info, client, dir };

    let digest = world.push("team/app", "v1", &[("body", "before the crash")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    let served = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&served, "SUCCESS").await;
    let answered = (200, "before the crash".to_owned());
    world.until("it serves", async || world.visit(&domain, "/").await == answered).await;
    world.until("the request and the lines are on disk", async || on_disk(&state)).await;
    let next = world.push("team/app", "v2", &[("body", "after the crash")]).await;
    world.settings(json!({ "image_deploy_duration": "100h" })).await;
    let coming = world.pin(&place, &world.pinned("team/app", &next)).await;
    world.wait_for(&coming, "DEPLOYING").await;
    let rule = json!({ "operation": "projectDelete", "action": { "type": "reset" } });
    world.admin("POST", "faults", rule).await;
    let before = world.info.clone();
    process.kill();
    assert!(SandboxInfo::read(&world.dir.path().join("state")).is_ok(), "a killed process tidies nothing");

    let sandbox = Sandbox::start(support::config(&world.dir)).await.unwrap();
    world.info = sandbox.info().clone();
    world.sandbox = Some(sandbox);
    assert_eq!((&world.info.tokens, world.info.port), (&before.tokens, before.port));
    assert_ne!(world.info.pid, before.pid);
    assert_eq!(SandboxInfo::read(&world.dir.path().join("state")).unwrap(), world.info);
    // What was answered was kept, what ran runs, and what was on its way goes on.
    let logs = world
        .ask(
            "query L($id: String!) { httpLogs(deploymentId: $id) { path } deploymentLogs(deploymentId: $id) { message } }",
            json!({ "id": served }),
        )
        .await;
    assert_eq!(logs["httpLogs"].as_array().unwrap().first().unwrap()["path"], "/");
    let lines: Vec<_> = logs["deploymentLogs"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(lines.iter().any(|line| line.contains("GET / 200")), "{lines:?}");
    world.until("the old one serves", async || world.visit(&domain, "/").await == answered).await;
    assert_eq!(world.deployment(&coming).await["status"], "DEPLOYING");
    let faults = world.admin("GET", "faults", Value::Null).await;
    assert_eq!(faults["faults"][0]["operation"], "projectDelete");
    let journal = world.admin("GET", "journal", Value::Null).await;
    assert!(journal["entries"].as_array().unwrap().len() > 5, "{journal}");
    world.admin("POST", "clock", json!({ "advance": "100h" })).await;
    world.wait_for(&coming, "SUCCESS").await;
    world.wait_for(&served, "REMOVED").await;
    let answered = (200, "after the crash".to_owned());
    world.until("the new one serves", async || world.visit(&domain, "/").await == answered).await;
}
