//! Deleting a project after a grace, and reading projects by id.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use serde_json::{Value, json};
use support::{World, world};

const SCHEDULE: &str = "mutation S($id: String!) { projectScheduleDelete(id: $id) }";
const CANCEL: &str = "mutation C($id: String!) { projectScheduleDeleteCancel(id: $id) }";
const FORCE: &str = "mutation F($id: String!) { projectScheduleDeleteForce(id: $id) }";
const READ: &str = "query P($id: String!) { project(id: $id) { id deletedAt } }";
const LIST: &str = "query L($w: String!, $d: Boolean) { projects(workspaceId: $w, includeDeleted: $d) { edges { node { id deletedAt } } } }";

async fn listed(world: &World, deleted: bool) -> Vec<Value> {
    let data = world.ask(LIST, json!({ "w": world.info.workspace_id, "d": deleted })).await;
    data["projects"]["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect()
}

/// A project on a clock that only the test moves.
async fn project(world: &World) -> Value {
    world.settings(json!({ "manual_clock": true })).await;
    let (id, _) = world.project("shop").await;
    world.admin("POST", "clock", json!({ "advance": "1m" })).await;
    json!({ "id": id })
}

#[tokio::test]
async fn a_scheduled_project_lives_through_its_grace_and_then_goes() {
    let world = world().await;
    let id = project(&world).await;
    assert_eq!(world.ask(SCHEDULE, id.clone()).await["projectScheduleDelete"], true);
    let row = world.ask(READ, id.clone()).await["project"].take();
    assert!(row["deletedAt"].is_string(), "the plan shows: {row}");
    assert!(world.refused(SCHEDULE, id.clone()).await.contains("already scheduled"));
    world.admin("POST", "clock", json!({ "advance": "47h59m" })).await;
    assert_eq!(listed(&world, false).await.len(), 1);
    world.admin("POST", "clock", json!({ "advance": "1m" })).await;
    world.until("the grace is over", async || listed(&world, false).await.is_empty()).await;
    assert_eq!(world.refused(READ, id.clone()).await, "Not Authorized");
    let all = listed(&world, true).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["id"], id["id"]);
    let logs = "query L($w: String!) { auditLogs(workspaceId: $w) { edges { node { eventType context } } } }";
    let newest =
        world.ask(logs, json!({ "w": world.info.workspace_id })).await["auditLogs"]["edges"][0]["node"]
            .take();
    assert_eq!(newest["eventType"], "project.delete");
    assert_eq!(newest["context"]["actor"], "platform");
}

#[tokio::test]
async fn a_cancelled_deletion_does_not_happen_and_can_be_scheduled_anew() {
    let world = world().await;
    let id = project(&world).await;
    assert!(world.refused(CANCEL, id.clone()).await.contains("not scheduled"));
    world.ask(SCHEDULE, id.clone()).await;
    world.admin("POST", "clock", json!({ "advance": "24h" })).await;
    world.ask(CANCEL, id.clone()).await;
    assert!(world.ask(READ, id.clone()).await["project"]["deletedAt"].is_null());
    world.ask(SCHEDULE, id.clone()).await;
    // The first schedule's time comes; the second one's has not.
    world.admin("POST", "clock", json!({ "advance": "25h" })).await;
    world.ask("query M { me { id } }", json!({})).await;
    assert_eq!(listed(&world, false).await.len(), 1);
    world.admin("POST", "clock", json!({ "advance": "23h" })).await;
    world.until("the second grace is over", async || listed(&world, false).await.is_empty()).await;
}

#[tokio::test]
async fn force_skips_the_grace_of_what_was_scheduled() {
    let world = world().await;
    let id = project(&world).await;
    assert!(world.refused(FORCE, id.clone()).await.contains("not scheduled"));
    world.ask(SCHEDULE, id.clone()).await;
    assert_eq!(world.ask(FORCE, id.clone()).await["projectScheduleDeleteForce"], true);
    assert!(listed(&world, false).await.is_empty());
}

#[tokio::test]
async fn a_restart_keeps_the_schedule() {
    let mut world = world().await;
    world.settings(json!({ "project_delete_grace": "10s", "time_scale": 0.001 })).await;
    let (id, _) = world.project("shop").await;
    world.ask(SCHEDULE, json!({ "id": id })).await;
    world.restart().await;
    world.until("the restarted sandbox deletes it", async || listed(&world, false).await.is_empty()).await;
    assert_eq!(listed(&world, true).await.len(), 1);
}

#[tokio::test]
async fn ids_out_of_reach_are_left_out_without_a_word() {
    let world = world().await;
    world.settings(json!({ "project_cooldown": "0s", "consistency_tail": { "default": "0s" } })).await;
    let (one, environment) = world.project("one").await;
    let (two, _) = world.project("two").await;
    let (gone, _) = world.project("gone").await;
    world.ask("mutation D($id: String!) { projectDelete(id: $id) }", json!({ "id": gone })).await;
    let query = "query I($ids: [String!]!) { projectsByIds(ids: $ids) { name } }";
    let ids = json!({ "ids": [two, "nobody", gone, one] });
    let found = world.ask(query, ids.clone()).await;
    assert_eq!(found["projectsByIds"], json!([{ "name": "two" }, { "name": "one" }]));
    let create = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input = json!({ "i": { "projectId": one, "environmentId": environment, "name": "ci" } });
    let secret = world.ask(create, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    let request = world.request(query, &ids).header("project-access-token", secret);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["data"]["projectsByIds"], json!([{ "name": "one" }]), "{answer}");
}
