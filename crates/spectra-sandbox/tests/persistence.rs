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
