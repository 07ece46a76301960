//! Deployments of services with a volume: the old one stops before the new one starts.

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const VOLUME: &str = "mutation C($i: VolumeCreateInput!) { volumeCreate(input: $i) { id } }";

async fn active(world: &World, place: &Place) -> Value {
    let query = "query I($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { activeDeployments { id } } }";
    let data = world.ask(query, json!({ "e": place.environment, "s": place.service })).await;
    data["serviceInstance"]["activeDeployments"].clone()
}

async fn attach(world: &World, place: &Place) {
    let input = json!({ "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "mountPath": "/data" });
    world.ask(VOLUME, json!({ "i": input })).await;
}

/// A service that serves "old" at the domain, the pinned image of a successor with `labels`, and the deployment.
async fn serving(world: &World, labels: &[(&str, &str)]) -> (Place, String, String, String) {
    let old = world.push("team/old", "v1", &[("body", "old")]).await;
    let new = world.push("team/new", "v1", labels).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    let id = world.pin(&place, &world.pinned("team/old", &old)).await;
    world.wait_for(&id, "SUCCESS").await;
    world.until("the old one serves", async || world.visit(&domain, "/").await.1 == "old").await;
    (place, domain, id, world.pinned("team/new", &new))
}

#[tokio::test]
async fn a_volume_makes_every_deployment_a_downtime() {
    let world = world().await;
    let (place, domain, old, image) = serving(&world, &[("body", "new"), ("start-delay", "100h")]).await;
    attach(&world, &place).await;
    // An overlap is of no effect.
    world.update(&place, json!({ "overlapSeconds": 360_000, "healthcheckTimeout": 3_600_000 })).await;
    let again = world.deploy(&place).await;
    world.wait_for(&again, "SUCCESS").await;
    assert_eq!(world.deployment(&old).await["status"], "REMOVED", "it was gone before its successor served");
    world.until("the old image serves", async || world.visit(&domain, "/").await.1 == "old").await;

    let new = world.pin(&place, &image).await;
    world.wait_for(&again, "REMOVED").await;
    assert_eq!(world.deployment(&new).await["status"], "DEPLOYING");
    assert_eq!(active(&world, &place).await, json!([]));
    let (status, body) = world.visit(&domain, "/").await;
    assert_eq!((status, body.contains("Application not found")), (404, true), "{body}");
    world.admin("POST", "clock", json!({ "advance": "100h" })).await;
    world.wait_for(&new, "SUCCESS").await;
    world
        .until("the new one serves", async || world.visit(&domain, "/").await == (200, "new".to_owned()))
        .await;
}

#[tokio::test]
async fn a_failed_deployment_leaves_a_service_with_a_volume_down() {
    let world = world().await;
    let (place, domain, old, image) = serving(&world, &[("health-status", "500")]).await;
    attach(&world, &place).await;
    world.update(&place, json!({ "healthcheckPath": "/", "healthcheckTimeout": 60 })).await;
    let new = world.pin(&place, &image).await;
    world.wait_for(&new, "FAILED").await;
    let row = world.deployment(&old).await;
    assert_eq!((&row["status"], &row["deploymentStopped"]), (&json!("REMOVED"), &json!(true)));
    assert_eq!(world.visit(&domain, "/").await.0, 404);
    // A rollback brings it back.
    assert_eq!(row["canRollback"], true);
    world.ask("mutation R($id: String!) { deploymentRollback(id: $id) }", json!({ "id": old })).await;
    world.until("it serves again", async || world.visit(&domain, "/").await.1 == "old").await;
}

#[tokio::test]
async fn an_image_that_cannot_be_pulled_stops_nothing() {
    let world = world().await;
    let (place, domain, old, _) = serving(&world, &[]).await;
    attach(&world, &place).await;
    let absent = world.pinned("team/none", &format!("sha256:{}", "0".repeat(64)));
    let new = world.pin(&place, &absent).await;
    world.wait_for(&new, "FAILED").await;
    assert_eq!(world.deployment(&old).await["status"], "SUCCESS");
    assert_eq!(world.visit(&domain, "/").await.1, "old");
}

#[tokio::test]
async fn a_long_overlap_ends_when_a_volume_is_needed() {
    let world = world().await;
    let (place, _, first, _) = serving(&world, &[]).await;
    world.update(&place, json!({ "overlapSeconds": 3_600_000 })).await;
    let second = world.deploy(&place).await;
    world.wait_for(&second, "SUCCESS").await;
    world.wait_for(&first, "REMOVED").await;
    let third = world.deploy(&place).await;
    world.wait_for(&third, "SUCCESS").await;
    assert_eq!(world.deployment(&second).await["status"], "SUCCESS", "it overlaps");
    attach(&world, &place).await;
    let fourth = world.deploy(&place).await;
    world.wait_for(&fourth, "SUCCESS").await;
    for id in [&second, &third] {
        assert_eq!(world.deployment(id).await["status"], "REMOVED");
    }
}
