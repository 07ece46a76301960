//! What survives a restart, and who may open a state directory.

mod support;

use serde_json::{Value, json};
use spectra_sandbox::{Error, Sandbox, SandboxInfo};
use support::world;

#[tokio::test]
async fn a_restart_keeps_tokens_port_objects_and_what_runs() {
    let mut world = world().await;
    let digest = world.push("team/app", "v1", &[("body", "still here")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    let before = world.info.clone();
    world.restart().await;
    assert_eq!(world.info.tokens, before.tokens);
    assert_eq!(world.info.workspace_id, before.workspace_id);
    world
        .until("the service answers again", async || world.visit(&domain, "/").await.1 == "still here")
        .await;
    let status = world.admin("GET", "status", Value::Null).await;
    assert_eq!(status["services"][0]["running_digest"], json!(digest));
}

#[tokio::test]
async fn logs_requests_and_metrics_survive_a_restart() {
    let mut world = world().await;
    let digest = world.push("team/app", "v1", &[("memory", "128MB")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    world.until("it serves", async || world.visit(&domain, "/early").await.0 == 200).await;
    let read = async |world: &support::World| {
        let query = "query R($d: String!, $s: String!) {
            httpLogs(deploymentId: $d) { timestamp path httpStatus deploymentInstanceId totalDuration clientUa rxBytes }
            deploymentLogs(deploymentId: $d) { timestamp message tags { deploymentInstanceId } }
            metrics(serviceId: $s, measurements: [MEMORY_USAGE_GB], startDate: \"2020-01-01T00:00:00Z\", sampleRateSeconds: 1) { values { ts value } } }";
        world.ask(query, json!({ "d": id, "s": place.service })).await
    };
    let before = read(&world).await;
    assert_eq!(before["httpLogs"].as_array().unwrap().last().unwrap()["path"], "/early");
    world.restart().await;
    let after = read(&world).await;
    let starts_with = |key: &str| {
        let (old, new) = (before[key].as_array().unwrap(), after[key].as_array().unwrap());
        assert!(!old.is_empty() && new.starts_with(old), "{key}: {old:?} {new:?}");
    };
    starts_with("httpLogs");
    starts_with("deploymentLogs");
    assert_eq!(before["metrics"][0]["values"][0]["ts"], after["metrics"][0]["values"][0]["ts"]);
    world.until("it serves again", async || world.visit(&domain, "/late").await.0 == 200).await;
    let last = read(&world).await;
    let rows = last["httpLogs"].as_array().unwrap();
    assert_eq!((&rows[0]["path"], &rows[rows.len() - 1]["path"]), (&json!("/early"), &json!("/late")));
}

#[tokio::test]
async fn a_deployment_in_flight_goes_on_after_a_restart() {
    let mut world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    world.settings(json!({ "image_deploy_duration": "10h" })).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "DEPLOYING").await;
    world.restart().await;
    assert_eq!(world.deployment(&id).await["status"], "DEPLOYING");
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    world.wait_for(&id, "SUCCESS").await;
}

#[tokio::test]
async fn a_second_sandbox_on_the_same_state_is_refused() {
    let world = world().await;
    let error = Sandbox::start(support::config(&world.dir)).await.unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[tokio::test]
async fn the_description_is_private_and_goes_with_the_sandbox() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut world = world().await;
    let state = world.dir.path().join("state");
    let file = state.join(SandboxInfo::FILE);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(SandboxInfo::read(&state).unwrap(), world.info);
    world.sandbox.take().unwrap().shutdown().await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_restart_does_not_take_the_clock_back_and_keeps_it_manual() {
    let mut world = world().await;
    let now = async |world: &support::World| {
        world.admin("GET", "status", Value::Null).await["clock"]["now"].as_u64().unwrap()
    };
    let shown = async |world: &support::World, name: &str| {
        let project = json!({ "i": { "name": name, "workspaceId": world.info.workspace_id } });
        let query = "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { createdAt } }";
        world.ask(query, project).await["projectCreate"]["createdAt"].as_str().unwrap().to_owned()
    };
    world.settings(json!({ "manual_clock": true })).await;
    // Nothing is changed afterwards: the clock alone must have been written.
    let moved = world.admin("POST", "clock", json!({ "advance": "2000h" })).await["now"].as_u64().unwrap();
    let before = shown(&world, "one").await;
    world.restart().await;
    let after = now(&world).await;
    assert!(after >= moved, "{after} is before {moved}");
    assert_eq!(world.admin("GET", "settings", Value::Null).await["manual_clock"], true);
    assert_eq!(now(&world).await, after, "a manual clock stands still");
    world.admin("POST", "clock", json!({ "advance": "1h" })).await;
    let later = shown(&world, "two").await;
    assert!(later > before, "{later} is shown after {before}");

    // A clock that runs by itself is written by the stopping sandbox.
    world.settings(json!({ "manual_clock": false, "time_scale": 100_000.0 })).await;
    let start = now(&world).await;
    world.until("an hour has passed", async || now(&world).await > start + 3_600_000).await;
    let last = now(&world).await;
    world.restart().await;
    assert!(now(&world).await >= last);
}

#[tokio::test]
async fn an_advance_beyond_ten_years_is_refused() {
    let world = world().await;
    let request = world.client.post(format!("{}/clock", world.info.admin));
    let response = request.json(&json!({ "advance": "600000000000h" })).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
    let answer: Value = response.json().await.unwrap();
    assert!(answer["error"].as_str().unwrap().contains("ten years"), "{answer}");
    world.admin("POST", "clock", json!({ "advance": "87840h" })).await;
}

#[tokio::test]
async fn a_request_that_hangs_does_not_keep_the_next_start_out() {
    let mut world = world().await;
    let rule = json!({ "operation": "Slow", "action": { "type": "hang", "duration": "1h" } });
    world.admin("POST", "faults", rule).await;
    let request = world.request("query Slow { me { id } }", &Value::Null);
    let hanging = tokio::spawn(request.bearer_auth(&world.info.tokens.account).send());
    world
        .until("the rule was applied", async || {
            world.admin("GET", "faults", Value::Null).await["faults"][0]["applied"] == 1
        })
        .await;
    world.restart().await;
    assert!(hanging.await.unwrap().is_err(), "its connection was cut");
}
