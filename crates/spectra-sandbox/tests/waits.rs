//! What a client has to wait for, on a clock that stands still until it is told to move.

mod support;

use serde_json::{Value, json};
use support::{World, world};

const CREATE: &str = "mutation C($i: EnvironmentCreateInput!) { environmentCreate(input: $i) { id } }";

async fn advance(world: &World, duration: &str) {
    world.admin("POST", "clock", json!({ "advance": duration })).await;
}

async fn names(world: &World, project: &str) -> Vec<String> {
    let list = "query L($p: String!) { environments(projectId: $p) { edges { node { name } } } }";
    let found = world.ask(list, json!({ "p": project })).await;
    let edges = found["environments"]["edges"].as_array().cloned().unwrap_or_default();
    edges.iter().filter_map(|edge| edge["node"]["name"].as_str().map(str::to_owned)).collect()
}

fn named(project: &str, name: &str) -> Value {
    json!({ "i": { "projectId": project, "name": name } })
}

#[tokio::test]
async fn one_environment_every_thirty_seconds() {
    let world = world().await;
    let (project, _) = world.project("shop").await;
    world.settings(json!({ "manual_clock": true, "environment_cooldown": "30s" })).await;
    advance(&world, "1h").await;
    world.ask(CREATE, named(&project, "one")).await;
    advance(&world, "29s").await;
    let message = world.refused(CREATE, named(&project, "two")).await;
    for fragment in ["Whoa there pal!", "one environment can be created per user every 30s", "too quickly"] {
        assert!(message.contains(fragment), "{fragment} is not in: {message}");
    }
    advance(&world, "1s").await;
    world.ask(CREATE, named(&project, "two")).await;
}

#[tokio::test]
async fn what_was_made_is_listed_after_the_tail_of_its_kind_and_none_is_longer_than_ninety_seconds() {
    let world = world().await;
    let (project, _) = world.project("shop").await;
    let tails = |environment: &str| {
        json!({ "manual_clock": true, "environment_cooldown": "0s",
            "consistency_tail": { "environment": environment, "default": "0s" } })
    };
    world.settings(tails("40s")).await;
    advance(&world, "1h").await;
    let before = names(&world, &project).await;
    world.ask(CREATE, named(&project, "slow")).await;
    advance(&world, "39s").await;
    assert_eq!(names(&world, &project).await, before, "not yet");
    // Other kinds keep to theirs.
    let service = world.ask(
        "mutation S($i: ServiceCreateInput!) { serviceCreate(input: $i) { id } }",
        json!({ "i": { "projectId": project, "name": "web" } }),
    );
    let service = service.await["serviceCreate"]["id"].clone();
    let read = "query S($id: String!) { service(id: $id) { name } }";
    assert_eq!(world.ask(read, json!({ "id": service })).await["service"]["name"], "web");
    advance(&world, "1s").await;
    assert!(names(&world, &project).await.contains(&"slow".to_owned()));

    world.settings(tails("1000h")).await;
    world.ask(CREATE, named(&project, "capped")).await;
    advance(&world, "89s").await;
    assert!(!names(&world, &project).await.contains(&"capped".to_owned()));
    advance(&world, "1s").await;
    assert!(names(&world, &project).await.contains(&"capped".to_owned()));
}

#[tokio::test]
async fn a_limit_of_log_lines_gives_one_more() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    let domain = world.domain(&place).await;
    for number in 0..5 {
        assert_eq!(world.visit(&domain, &format!("/{number}")).await.0, 200);
    }
    let logs = "query L($id: String!, $l: Int) { deploymentLogs(deploymentId: $id, limit: $l) { message } }";
    let mut rows = Vec::new();
    world
        .until("the newest line is kept", async || {
            let found = world.ask(logs, json!({ "id": id, "l": 2 })).await["deploymentLogs"].take();
            rows = found.as_array().cloned().unwrap_or_default();
            rows.last().is_some_and(|row| row["message"].as_str().is_some_and(|text| text.contains("/4")))
        })
        .await;
    assert_eq!(rows.len(), 3, "{rows:?}");
}
