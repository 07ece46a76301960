//! Volumes, their tombstones and backups, over real HTTP.

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const CREATE: &str = "mutation C($i: VolumeCreateInput!) { volumeCreate(input: $i) { id name projectId
    volumeInstances { edges { node { id } } } } }";
const LIST: &str = "query L($p: String!) { project(id: $p) { volumes { edges { node { id name volumeInstances { edges { node {
    id environmentId serviceId mountPath region sizeMB currentSizeMB state isPendingDeletion deletedAt } } } } } } } }";
const RENAME: &str =
    "mutation R($v: String!, $n: String) { volumeUpdate(volumeId: $v, input: { name: $n }) { name } }";
const CHANGE: &str = "mutation U($v: String!, $e: String, $i: VolumeInstanceUpdateInput!) { volumeInstanceUpdate(volumeId: $v, environmentId: $e, input: $i) }";
const DELETE: &str = "mutation D($v: String!) { volumeDelete(volumeId: $v) }";

/// A still clock, nothing behind consistency tails, no throttle.
async fn still(world: &World) -> Place {
    let place = world.place().await;
    world
        .settings(
            json!({ "manual_clock": true, "consistency_tail": { "default": "0s" }, "volume_cooldown": "0s" }),
        )
        .await;
    place
}

async fn advance(world: &World, by: &str) {
    world.admin("POST", "clock", json!({ "advance": by })).await;
}

fn input(place: &Place) -> Value {
    json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "mountPath": "/data" } })
}

/// Id of a new volume and of its one instance.
#[expect(clippy::unwrap_used, reason = "test support")]
async fn volume(world: &World, place: &Place) -> (String, String) {
    let row = world.ask(CREATE, input(place)).await["volumeCreate"].clone();
    let instance = row["volumeInstances"]["edges"][0]["node"]["id"].as_str().unwrap().to_owned();
    (row["id"].as_str().unwrap().to_owned(), instance)
}

#[expect(clippy::unwrap_used, reason = "test support")]
async fn list(world: &World, place: &Place) -> Vec<Value> {
    let data = world.ask(LIST, json!({ "p": place.project })).await;
    let edges = data["project"]["volumes"]["edges"].as_array().unwrap().clone();
    edges.into_iter().map(|edge| edge["node"].clone()).collect()
}

fn node(volume: &Value) -> &Value {
    &volume["volumeInstances"]["edges"][0]["node"]
}

#[tokio::test]
async fn a_volume_is_named_by_the_platform_and_settles() {
    let mut world = world().await;
    let place = still(&world).await;
    let (id, _) = volume(&world, &place).await;
    let rows = list(&world, &place).await;
    assert!(rows[0]["name"].as_str().unwrap().starts_with("web-volume-"), "{rows:?}");
    let instance = node(&rows[0]);
    assert_eq!((&instance["state"], &instance["sizeMB"]), (&json!("UPDATING"), &json!(50_000)));
    assert_eq!((&instance["mountPath"], &instance["region"]), (&json!("/data"), &json!("us-west2")));
    advance(&world, "2s").await;
    assert_eq!(node(&list(&world, &place).await[0])["state"], "READY");

    let query = "query C($id: String!) { environment(id: $id) { config volumeInstances { edges { node { volumeId service { name } } } } } }";
    let data = world.ask(query, json!({ "id": place.environment })).await["environment"].clone();
    assert_eq!(
        data["volumeInstances"]["edges"][0]["node"],
        json!({ "volumeId": id, "service": { "name": "web" } })
    );
    assert_eq!(data["config"]["volumes"][&id], json!({ "sizeMB": 50_000, "region": "us-west2" }));
    let mounts = &data["config"]["services"][&place.service]["volumeMounts"];
    assert_eq!(*mounts, json!({ &id: { "mountPath": "/data" } }));

    world.restart().await;
    assert_eq!(list(&world, &place).await[0]["id"], id, "a restart keeps it");
}

#[tokio::test]
async fn without_an_environment_there_is_no_instance() {
    let world = world().await;
    let place = still(&world).await;
    let input = json!({ "i": { "projectId": place.project, "mountPath": "/data" } });
    let row = world.ask(CREATE, input).await["volumeCreate"].clone();
    assert_eq!(row["volumeInstances"]["edges"], json!([]));
    let change = json!({ "v": row["id"], "i": { "mountPath": "/other" } });
    assert_eq!(world.refused(CHANGE, change).await, "VolumeInstance not found");
}

#[tokio::test]
async fn creation_is_throttled_checked_and_may_collide() {
    let world = world().await;
    let place = still(&world).await;
    let mut bad = input(&place);
    bad["i"]["mountPath"] = json!("data");
    assert!(world.refused(CREATE, bad).await.contains("Invalid mount path"));
    world.settings(json!({ "volume_cooldown": "3s", "volume_names_collide": true })).await;
    let loose =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "mountPath": "/x" } });
    world.ask(CREATE, loose.clone()).await;
    let refused = world.refused(CREATE, input(&place)).await;
    assert_eq!(refused, "Whoa there pal! You are creating volumes too quickly");
    advance(&world, "3s").await;
    let refused = world.refused(CREATE, loose).await;
    assert_eq!(refused, "A volume named \"volume\" already exists in this project");
    volume(&world, &place).await;
    advance(&world, "3s").await;
    world.settings(json!({ "volume_names_collide": false })).await;
    let refused = world.refused(CREATE, input(&place)).await;
    assert!(refused.contains("already has a volume"), "{refused}");
}

#[tokio::test]
async fn a_service_with_replicas_takes_no_volume() {
    let world = world().await;
    let place = still(&world).await;
    world.update(&place, json!({ "numReplicas": 2 })).await;
    assert!(world.refused(CREATE, input(&place)).await.contains("several replicas"));
}

#[tokio::test]
async fn a_rename_may_fail_right_after_creation() {
    let world = world().await;
    let place = still(&world).await;
    world.settings(json!({ "volume_rename_delay": "5s" })).await;
    let (id, _) = volume(&world, &place).await;
    let refused = world.refused(RENAME, json!({ "v": id, "n": "data" })).await;
    assert!(refused.contains("please try again"), "{refused}");
    advance(&world, "5s").await;
    let data = world.ask(RENAME, json!({ "v": id, "n": "data" })).await;
    assert_eq!(data["volumeUpdate"]["name"], "data");
    assert!(world.refused(RENAME, json!({ "v": id, "n": " " })).await.contains("Invalid volume name"));
}

#[tokio::test]
async fn an_instance_moves_between_services() {
    let world = world().await;
    let place = still(&world).await;
    let (id, _) = volume(&world, &place).await;
    let other = world.service(&place.project, &place.environment, "db", None).await;
    let change = |input: Value| json!({ "v": id, "e": place.environment, "i": input });
    world.ask(CHANGE, change(json!({ "serviceId": null }))).await;
    assert_eq!(node(&list(&world, &place).await[0])["serviceId"], Value::Null);
    world.ask(CHANGE, change(json!({ "serviceId": other, "mountPath": "/db" }))).await;
    let rows = list(&world, &place).await;
    assert_eq!((&node(&rows[0])["serviceId"], &node(&rows[0])["mountPath"]), (&json!(other), &json!("/db")));
    assert!(world.refused(CHANGE, change(json!({ "state": "READY" }))).await.contains("by itself"));
    // The service goes, the volume stays.
    world.ask("mutation X($id: String!) { serviceDelete(id: $id) }", json!({ "id": other })).await;
    let rows = list(&world, &place).await;
    assert_eq!((&node(&rows[0])["serviceId"], &node(&rows[0])["deletedAt"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_deleted_volume_stays_listed_for_two_days() {
    let world = world().await;
    let place = still(&world).await;
    let (id, instance) = volume(&world, &place).await;
    world.ask(DELETE, json!({ "v": id })).await;
    let rows = list(&world, &place).await;
    assert_eq!(
        (&node(&rows[0])["state"], &node(&rows[0])["isPendingDeletion"]),
        (&json!("DELETING"), &json!(true))
    );
    advance(&world, "47h").await;
    let read = "query V($id: String!) { volumeInstance(id: $id) { state } }";
    let data = world.ask(read, json!({ "id": instance })).await;
    assert_eq!(data["volumeInstance"]["state"], "DELETED");
    assert_eq!(world.refused(DELETE, json!({ "v": id })).await, "Not Authorized");
    let objects = world.admin("GET", "status", Value::Null).await["objects"].clone();
    assert_eq!((&objects["volumes"], &objects["volume_instances"]), (&json!(0), &json!(0)));
    // Its service is free for another one.
    volume(&world, &place).await;
    advance(&world, "1h").await;
    assert_eq!(list(&world, &place).await.len(), 1);
    assert_eq!(world.refused(read, json!({ "id": instance })).await, "VolumeInstance not found");
}

#[tokio::test]
async fn volumes_are_forked_and_go_with_their_environment_and_project() {
    let world = world().await;
    let place = still(&world).await;
    volume(&world, &place).await;
    let fork = "mutation F($i: EnvironmentCreateInput!) { environmentCreate(input: $i) { id } }";
    let fork_input =
        json!({ "projectId": place.project, "name": "copy", "sourceEnvironmentId": place.environment });
    let fork = world.ask(fork, json!({ "i": fork_input })).await["environmentCreate"]["id"].clone();
    let count = async |key: &str| world.admin("GET", "status", Value::Null).await["objects"][key].clone();
    assert_eq!((count("volumes").await, count("volume_instances").await), (json!(1), json!(2)));
    world.ask("mutation X($id: String!) { environmentDelete(id: $id) }", json!({ "id": fork })).await;
    assert_eq!((count("volumes").await, count("volume_instances").await), (json!(1), json!(1)));
    world.ask("mutation X($id: String!) { projectDelete(id: $id) }", json!({ "id": place.project })).await;
    assert_eq!((count("volumes").await, count("volume_instances").await), (json!(0), json!(0)));
}

#[tokio::test]
async fn backups_are_workflows() {
    let world = world().await;
    let place = still(&world).await;
    let (_, instance) = volume(&world, &place).await;
    advance(&world, "2s").await;
    let status = async |id: &Value| {
        let query = "query W($id: String!) { workflowStatus(workflowId: $id) { status error } }";
        world.ask(query, json!({ "id": id })).await["workflowStatus"].clone()
    };
    let backups = async || {
        let query = "query B($v: String!) { volumeInstanceBackupList(volumeInstanceId: $v) { id name } }";
        world.ask(query, json!({ "v": instance })).await["volumeInstanceBackupList"].clone()
    };
    let state = async || node(&list(&world, &place).await[0])["state"].clone();
    let make = "mutation B($v: String!) { w: volumeInstanceBackupCreate(volumeInstanceId: $v, name: \"nightly\") { workflowId } }";
    let flow = world.ask(make, json!({ "v": instance })).await["w"]["workflowId"].clone();
    assert_eq!(status(&flow).await["status"], "Running");
    assert_eq!(backups().await, json!([]));
    advance(&world, "10s").await;
    assert_eq!(status(&flow).await, json!({ "status": "Complete", "error": null }));
    let backup = backups().await[0].clone();
    assert_eq!(backup["name"], "nightly");

    let restore = "mutation R($v: String!, $b: String!) { w: volumeInstanceBackupRestore(volumeInstanceId: $v, volumeInstanceBackupId: $b) { workflowId } }";
    let chosen = json!({ "v": instance, "b": backup["id"] });
    world.settings(json!({ "workflow_error": "no space" })).await;
    let flow = world.ask(restore, chosen.clone()).await["w"]["workflowId"].clone();
    assert_eq!(state().await, "RESTORING");
    advance(&world, "10s").await;
    assert_eq!(status(&flow).await, json!({ "status": "Error", "error": "no space" }));
    assert_eq!(state().await, "READY");

    let drop = "mutation D($v: String!, $b: String!) { w: volumeInstanceBackupDelete(volumeInstanceId: $v, volumeInstanceBackupId: $b) { workflowId } }";
    world.ask(drop, chosen.clone()).await;
    advance(&world, "10s").await;
    assert_eq!(backups().await.as_array().unwrap().len(), 1, "a workflow that fails deletes nothing");
    world.settings(json!({ "workflow_error": null })).await;
    world.ask(drop, chosen.clone()).await;
    advance(&world, "10s").await;
    assert_eq!(backups().await, json!([]));
    assert_eq!(world.refused(restore, chosen).await, "VolumeInstanceBackup not found");
    assert_eq!(status(&json!("nothing")).await["status"], "NotFound");
}

#[tokio::test]
async fn a_service_with_a_volume_gets_no_second_replica() {
    let world = world().await;
    let place = still(&world).await;
    world.update(&place, json!({ "source": { "image": "127.0.0.1:1/team/app:v1" } })).await;
    volume(&world, &place).await;
    world.settings(json!({ "rate_limit": false })).await;
    let update = "mutation U($e: String, $s: String!, $i: ServiceInstanceUpdateInput!) { serviceInstanceUpdate(environmentId: $e, serviceId: $s, input: $i) }";
    let why = "A service with a volume cannot have several replicas";
    let ids = |input: Value| json!({ "e": place.environment, "s": place.service, "i": input });
    assert_eq!(world.refused(update, ids(json!({ "numReplicas": 3 }))).await, why);
    let regions = json!({ "us-west2": { "numReplicas": 1 }, "europe-west4-drams3a": { "numReplicas": 1 } });
    assert_eq!(world.refused(update, ids(json!({ "multiRegionConfig": regions }))).await, why);
    world.update(&place, json!({ "numReplicas": 1 })).await;

    let commit = "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }";
    let mut patch = json!({ "services": {} });
    patch["services"][&place.service] = json!({ "deploy": { "numReplicas": 2 } });
    let data = world.ask(commit, json!({ "e": place.environment, "p": patch })).await;
    let patch = data["environmentPatchCommit"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    advance(&world, "1m").await;
    let read = "query I($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { numReplicas } }";
    let look = async || {
        let ids = json!({ "e": place.environment, "s": place.service });
        world.ask(read, ids).await["serviceInstance"]["numReplicas"].take()
    };
    let failed = "query P($id: String!) { environmentPatch(id: $id) { lastAppliedError } }";
    world
        .until("the patch has failed", async || {
            world.ask(failed, json!({ "id": patch })).await["environmentPatch"]["lastAppliedError"] == why
        })
        .await;
    assert_eq!(look().await, 1);
}
