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
