//! Somebody else acts between two calls of a client: rename, delete, stage, deploy, scale and change variables.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const ENVIRONMENT: &str = "query Look($e: String!) { environment(id: $e) { unmergedChangesCount configEtag config(decryptVariables: true) serviceInstances { edges { node { serviceName } } } } }";
const INSTANCE: &str = "query Look($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { source { image } } }";

/// The next request named `Look` finds that `query` was there first.
async fn first(world: &World, query: &str, variables: Value) {
    let action = json!({ "type": "concurrent_actor", "query": query, "variables": variables });
    world.admin("POST", "faults", json!({ "operation": "Look", "action": action, "count": 1 })).await;
}

async fn environment(world: &World, place: &Place) -> Value {
    world.ask(ENVIRONMENT, json!({ "e": place.environment })).await["environment"].take()
}

async fn outcome(world: &World) -> Value {
    let journal = world.admin("GET", "journal", Value::Null).await;
    journal["entries"].as_array().unwrap().last().unwrap()["outcome"].clone()
}

#[tokio::test]
async fn somebody_renames_the_service() {
    let world = world().await;
    let place = world.place().await;
    assert_eq!(
        environment(&world, &place).await["serviceInstances"]["edges"][0]["node"]["serviceName"],
        "web"
    );
    let rename = "mutation R($id: String!) { serviceUpdate(id: $id, input: { name: \"theirs\" }) { id } }";
    first(&world, rename, json!({ "id": place.service })).await;
    let seen = environment(&world, &place).await;
    assert_eq!(outcome(&world).await, "fault:concurrent_actor");
    assert_eq!(seen["serviceInstances"]["edges"][0]["node"]["serviceName"], "theirs");
}

#[tokio::test]
async fn somebody_deletes_the_service() {
    let world = world().await;
    let place = world.place().await;
    let delete = "mutation D($id: String!) { serviceDelete(id: $id) }";
    first(&world, delete, json!({ "id": place.service })).await;
    let refused = world.refused(INSTANCE, json!({ "e": place.environment, "s": place.service })).await;
    assert_eq!(refused, "Not Authorized", "what is gone looks like a missing right");
    assert_eq!(environment(&world, &place).await["serviceInstances"]["edges"], json!([]));
}

#[tokio::test]
async fn somebody_stages_a_change() {
    let world = world().await;
    let place = world.place().await;
    let before = environment(&world, &place).await;
    assert_eq!(before["unmergedChangesCount"], 0);
    let stage = "mutation S($e: String!, $c: EnvironmentConfig!) { environmentStageChanges(environmentId: $e, input: $c) { id } }";
    let theirs = json!({ "sharedVariables": { "THEIRS": { "value": "1" } } });
    first(&world, stage, json!({ "e": place.environment, "c": theirs })).await;
    let seen = environment(&world, &place).await;
    assert_eq!(seen["unmergedChangesCount"], 1);
    assert_ne!(seen["configEtag"], before["configEtag"]);
    assert_eq!(seen["config"], before["config"], "staged is not applied");
}

#[tokio::test]
async fn somebody_deploys_another_image() {
    let world = world().await;
    let ours = world.push("team/app", "v1", &[("body", "ours")]).await;
    let theirs = world.push("team/app", "v2", &[("body", "theirs")]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &ours)).await;
    world.wait_for(&id, "SUCCESS").await;
    let image = world.pinned("team/app", &theirs);
    let deploy = "mutation D($e: String!, $s: String!, $i: ServiceInstanceUpdateInput!) {
        serviceInstanceUpdate(environmentId: $e, serviceId: $s, input: $i) serviceInstanceDeployV2(environmentId: $e, serviceId: $s) }";
    let input = json!({ "e": place.environment, "s": place.service, "i": { "source": { "image": image } } });
    first(&world, deploy, input).await;
    let seen = world.ask(INSTANCE, json!({ "e": place.environment, "s": place.service })).await;
    assert_eq!(seen["serviceInstance"]["source"]["image"], image);
    world.wait_for(&id, "REMOVED").await;
    let status = world.admin("GET", "status", Value::Null).await;
    assert_eq!(status["deployments_by_service"][&place.service], 2);
}

#[tokio::test]
async fn somebody_scales_the_service() {
    let world = world().await;
    let place = world.place().await;
    let scale = "mutation S($e: String!, $s: String!, $r: JSON!) { serviceInstanceUpdate(environmentId: $e, serviceId: $s, input: { multiRegionConfig: $r }) }";
    let input =
        json!({ "e": place.environment, "s": place.service, "r": { "us-west2": { "numReplicas": 3 } } });
    first(&world, scale, input).await;
    let config = environment(&world, &place).await["config"].take();
    assert_eq!(
        config["services"][&place.service]["deploy"]["multiRegionConfig"]["us-west2"]["numReplicas"],
        3
    );
}

#[tokio::test]
async fn somebody_changes_a_variable() {
    let world = world().await;
    let place = world.place().await;
    let upsert = "mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }";
    let input = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "name": "A", "value": "theirs" } });
    first(&world, upsert, input).await;
    let config = environment(&world, &place).await["config"].take();
    assert_eq!(config["services"][&place.service]["variables"]["A"]["value"], "theirs");
}

/// The case change sets and their etag are for: somebody acts between reading the base and applying to it.
#[tokio::test]
async fn somebody_makes_the_base_of_a_change_set_stale() {
    let world = world().await;
    let place = world.place().await;
    let base = environment(&world, &place).await["configEtag"].clone();
    let upsert = "mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }";
    let input = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "name": "A", "value": "theirs" } });
    first(&world, upsert, input).await;
    let apply = "mutation Look($e: String!, $b: String, $i: JSON!) { environmentApplyChangeSet(environmentId: $e, baseConfigEtag: $b, input: $i, waitForCompletion: true) { status } }";
    let change = json!({ "kind": "variable.set", "address": "service.web", "variable": "A", "after": { "type": "literal", "value": "ours" } });
    let input = json!({ "e": place.environment, "b": base, "i": { "version": 1, "changes": [change] } });
    let answer = world.answer(apply, input).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "STALE_ENVIRONMENT_BASE", "{answer}");
    let config = environment(&world, &place).await["config"].take();
    assert_eq!(config["services"][&place.service]["variables"]["A"]["value"], "theirs");
}
