//! Deployment triggers: who makes them, who loses them, what they deploy.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const CREATE: &str = "mutation C($i: DeploymentTriggerCreateInput!) { deploymentTriggerCreate(input: $i) { id provider repository branch checkSuites serviceId environmentId projectId validCheckSuites } }";
const CONNECT: &str =
    "mutation C($id: String!, $i: ServiceConnectInput!) { serviceConnect(id: $id, input: $i) { id } }";
const DEPLOY: &str =
    "mutation D($i: EnvironmentTriggersDeployInput!) { environmentTriggersDeploy(input: $i) }";
const STATUS: &str = "query A($p: String!, $e: String!, $s: String!) { serviceInstanceAutoDeployStatus(projectId: $p, environmentId: $e, serviceId: $s) { canEnable enabled reason } }";
const SWITCH: &str = "mutation U($i: ServiceInstanceAutoDeployUpdateInput!) { serviceInstanceAutoDeployUpdate(input: $i) { enabled } }";

fn at(place: &Place, more: &Value) -> Value {
    let mut ids =
        json!({ "projectId": place.project, "environmentId": place.environment, "serviceId": place.service });
    ids.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "i": ids })
}

/// The triggers as each of the three lists shows them.
async fn triggers(world: &World, place: &Place) -> Vec<Value> {
    let query = "query T($p: String!, $e: String!, $s: String!) {
        deploymentTriggers(projectId: $p, environmentId: $e, serviceId: $s) { edges { node { id repository branch } } }
        environment(id: $e) { deploymentTriggers { edges { node { id repository branch } } } }
        service(id: $s) { repoTriggers { edges { node { id repository branch } } } } }";
    let ids = json!({ "p": place.project, "e": place.environment, "s": place.service });
    let data = world.ask(query, ids).await;
    let list = data["deploymentTriggers"]["edges"].as_array().unwrap().clone();
    assert_eq!(data["environment"]["deploymentTriggers"]["edges"], json!(list));
    assert_eq!(data["service"]["repoTriggers"]["edges"], json!(list));
    list.into_iter().map(|edge| edge["node"].clone()).collect()
}

async fn auto(world: &World, place: &Place) -> Value {
    let ids = json!({ "p": place.project, "e": place.environment, "s": place.service });
    world.ask(STATUS, ids).await["serviceInstanceAutoDeployStatus"].take()
}

async fn newest(world: &World, place: &Place) -> Value {
    let query =
        "query L($i: DeploymentListInput!) { deployments(input: $i) { edges { node { id status meta } } } }";
    let input = json!({ "i": { "environmentId": place.environment, "serviceId": place.service } });
    world.ask(query, input).await["deployments"]["edges"][0]["node"].take()
}

#[tokio::test]
async fn a_trigger_is_made_changed_and_deleted() {
    let world = world().await;
    let place = world.place().await;
    let new = at(
        &place,
        &json!({ "provider": "github", "repository": "acme/app", "branch": "main", "checkSuites": true }),
    );
    let made = world.ask(CREATE, new.clone()).await["deploymentTriggerCreate"].take();
    assert_eq!(made["repository"], "acme/app");
    assert_eq!(made["checkSuites"], true);
    assert!(world.refused(CREATE, new).await.contains("already exists"));
    let other = at(&place, &json!({ "provider": "gitlab", "repository": "acme/app", "branch": "main" }));
    assert!(world.refused(CREATE, other).await.contains("gitlab"));
    let shapeless = at(&place, &json!({ "provider": "github", "repository": "app", "branch": "main" }));
    assert!(world.refused(CREATE, shapeless).await.contains("owner/name"));
    let update = "mutation U($id: String!, $i: DeploymentTriggerUpdateInput!) { deploymentTriggerUpdate(id: $id, input: $i) { branch repository checkSuites } }";
    let changed = world.ask(update, json!({ "id": made["id"], "i": { "branch": "next" } })).await;
    assert_eq!(
        changed["deploymentTriggerUpdate"],
        json!({ "branch": "next", "repository": "acme/app", "checkSuites": true })
    );
    let delete = "mutation D($id: String!) { deploymentTriggerDelete(id: $id) }";
    assert_eq!(world.ask(delete, json!({ "id": made["id"] })).await["deploymentTriggerDelete"], true);
    assert!(triggers(&world, &place).await.is_empty());
    assert!(world.refused(delete, json!({ "id": made["id"] })).await.contains("not found"));
}

#[tokio::test]
async fn q55_a_switch_from_repository_to_image_leaves_the_trigger_which_still_deploys() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[("body", "image")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    world.ask(CONNECT, json!({ "id": place.service, "i": { "repo": "acme/app", "branch": "main" } })).await;
    let connected = triggers(&world, &place).await;
    assert_eq!(connected.len(), 1);
    assert_eq!(auto(&world, &place).await, json!({ "canEnable": true, "enabled": true, "reason": null }));

    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    assert_eq!(triggers(&world, &place).await, connected, "the switch leaves it behind");
    let status = auto(&world, &place).await;
    assert_eq!((&status["canEnable"], &status["enabled"]), (&json!(false), &json!(true)));
    assert!(status["reason"].as_str().unwrap().contains("left behind"), "{status}");

    assert_eq!(world.ask(DEPLOY, at(&place, &json!({}))).await["environmentTriggersDeploy"], true);
    let pushed = newest(&world, &place).await;
    assert_ne!(pushed["id"], json!(id), "the trigger started a deployment of its own");
    assert_eq!(pushed["meta"]["repo"], "acme/app", "of the repository, not of the image: {pushed}");
    world.wait_for(pushed["id"].as_str().unwrap(), "FAILED").await;
    assert_eq!(world.visit(&domain, "/").await, (200, "image".to_owned()));

    let off = at(&place, &json!({ "enabled": false }));
    assert_eq!(world.ask(SWITCH, off).await["serviceInstanceAutoDeployUpdate"]["enabled"], false);
    assert!(triggers(&world, &place).await.is_empty());
    assert!(world.refused(DEPLOY, at(&place, &json!({}))).await.contains("not found"));
    let on = at(&place, &json!({ "enabled": true }));
    assert!(world.refused(SWITCH, on).await.contains("not connected"));
}

#[tokio::test]
async fn disconnecting_takes_the_trigger_away_and_a_patch_makes_one() {
    let world = world().await;
    let place = world.place().await;
    world.ask(CONNECT, json!({ "id": place.service, "i": { "repo": "acme/app" } })).await;
    assert_eq!(triggers(&world, &place).await[0]["branch"], "main");
    world
        .ask("mutation D($id: String!) { serviceDisconnect(id: $id) { id } }", json!({ "id": place.service }))
        .await;
    assert!(triggers(&world, &place).await.is_empty());
    let commit = "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }";
    let patch =
        json!({ "services": { &place.service: { "source": { "repo": "acme/other", "branch": "next" } } } });
    world.ask(commit, json!({ "e": place.environment, "p": patch })).await;
    world.until("the patch made a trigger", async || !triggers(&world, &place).await.is_empty()).await;
    let made = triggers(&world, &place).await;
    assert_eq!((&made[0]["repository"], &made[0]["branch"]), (&json!("acme/other"), &json!("next")));
    let delete = "mutation D($id: String!) { serviceDelete(id: $id) }";
    world.ask(delete, json!({ "id": place.service })).await;
    let read =
        "query E($e: String!) { environment(id: $e) { deploymentTriggers { edges { node { id } } } } }";
    let left = world.ask(read, json!({ "e": place.environment })).await;
    assert_eq!(left["environment"]["deploymentTriggers"]["edges"], json!([]), "a deleted service has none");
}
