//! Fault rules and knobs one by one: each does what its name says, once, and leaves the rest alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Place, World, world};

const PROJECT: &str = "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }";
const ME: &str = "query Me { me { id } }";
const LIST: &str = "query L($i: DeploymentListInput!) { deployments(input: $i) { edges { node { id status } } pageInfo { hasNextPage endCursor } } }";

async fn once(world: &World, operation: &str, action: Value) {
    world.admin("POST", "faults", json!({ "operation": operation, "action": action, "count": 1 })).await;
}

async fn outcome(world: &World) -> String {
    let journal = world.admin("GET", "journal", Value::Null).await;
    journal["entries"].as_array().unwrap().last().unwrap()["outcome"].as_str().unwrap().to_owned()
}

async fn projects(world: &World) -> Value {
    world.admin("GET", "status", Value::Null).await["objects"]["projects"].clone()
}

fn project(world: &World) -> Value {
    json!({ "i": { "name": "x", "workspaceId": world.info.workspace_id } })
}

async fn deployed(world: &World) -> (Place, String) {
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    (place, id)
}

fn list(place: &Place) -> Value {
    json!({ "i": { "environmentId": place.environment, "serviceId": place.service } })
}

#[tokio::test]
async fn without_a_user_agent_the_edge_refuses_where_the_rule_is_on() {
    let world = world().await;
    let nameless = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let send = async || {
        let request = nameless.post(format!("{}?source=test", world.info.endpoint));
        let request = request.bearer_auth(&world.info.tokens.account).json(&json!({ "query": ME }));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(send().await.0, 200);
    world.settings(json!({ "require_user_agent": true })).await;
    assert_eq!(send().await, (403, "error code: 1010".to_owned()));
    assert_eq!(outcome(&world).await, "edge:1010");
    world.ask(ME, json!({})).await;
}

#[tokio::test]
async fn a_hang_is_silence_and_then_a_cut_and_nothing_happens() {
    let world = world().await;
    once(&world, "projectCreate", json!({ "type": "hang" })).await;
    let request = world.request(PROJECT, &project(&world)).bearer_auth(&world.info.tokens.account);
    let error = request.timeout(Duration::from_millis(200)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    once(&world, "projectCreate", json!({ "type": "hang", "duration": "20ms" })).await;
    let request = world.request(PROJECT, &project(&world)).bearer_auth(&world.info.tokens.account);
    let error = request.send().await.unwrap_err();
    assert!(!error.is_timeout(), "{error}");
    assert_eq!(outcome(&world).await, "fault:hang");
    assert_eq!(projects(&world).await, 0);
}

#[tokio::test]
async fn a_page_and_a_false_are_answers_to_what_was_never_done() {
    let world = world().await;
    once(&world, "projectCreate", json!({ "type": "html" })).await;
    let request = world.request(PROJECT, &project(&world)).bearer_auth(&world.info.tokens.account);
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/html".parse().unwrap())
    );
    assert!(response.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    assert_eq!(projects(&world).await, 0);

    let place = world.place().await;
    once(&world, "serviceInstanceUpdate", json!({ "type": "boolean_false" })).await;
    let update = "mutation U($e: String, $s: String!, $i: ServiceInstanceUpdateInput!) { done: serviceInstanceUpdate(environmentId: $e, serviceId: $s, input: $i) }";
    let variables = json!({ "e": place.environment, "s": place.service, "i": { "healthcheckPath": "/up" } });
    assert_eq!(world.ask(update, variables.clone()).await, json!({ "done": false }));
    assert_eq!(outcome(&world).await, "fault:boolean_false");
    let read = "query I($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { healthcheckPath } }";
    let ids = json!({ "e": place.environment, "s": place.service });
    assert!(world.ask(read, ids.clone()).await["serviceInstance"]["healthcheckPath"].is_null());
    assert_eq!(world.ask(update, variables).await, json!({ "done": true }));
    assert_eq!(world.ask(read, ids).await["serviceInstance"]["healthcheckPath"], "/up");
}

#[tokio::test]
async fn stale_reads_show_the_past_to_queries_alone() {
    let world = world().await;
    world.settings(json!({ "time_scale": 1.0 })).await;
    world.admin("POST", "clock", json!({ "advance": "1h" })).await;
    let (id, _) = world.project("shop").await;
    world.admin("POST", "clock", json!({ "advance": "1h" })).await;
    let rename =
        "mutation U($id: String!, $i: ProjectUpdateInput!) { projectUpdate(id: $id, input: $i) { name } }";
    let stale = json!({ "type": "stale_reads", "duration": "30m" });
    once(&world, "projectUpdate", stale.clone()).await;
    let renamed = world.ask(rename, json!({ "id": id, "i": { "name": "store" } })).await;
    assert_eq!(renamed["projectUpdate"]["name"], "store");
    let read = "query P($id: String!) { project(id: $id) { name } }";
    once(&world, "project", stale).await;
    assert_eq!(world.ask(read, json!({ "id": id })).await["project"]["name"], "shop");
    assert_eq!(world.ask(read, json!({ "id": id })).await["project"]["name"], "store");
}

#[tokio::test]
async fn answers_repeat_never_end_and_speak_unknown_words() {
    let world = world().await;
    let (place, id) = deployed(&world).await;
    let rows = async || world.ask(LIST, list(&place)).await["deployments"].take();
    once(&world, "deployments", json!({ "type": "duplicate_rows" })).await;
    let twice = rows().await;
    let ids: Vec<_> = twice["edges"].as_array().unwrap().iter().map(|edge| &edge["node"]["id"]).collect();
    assert_eq!(ids, [&json!(id), &json!(id)]);
    once(&world, "deployments", json!({ "type": "endless_page" })).await;
    let endless = rows().await;
    assert_eq!(endless["pageInfo"], json!({ "hasNextPage": true, "endCursor": null }));
    once(&world, "deployments", json!({ "type": "unknown_enum" })).await;
    assert_eq!(rows().await["edges"][0]["node"]["status"], "MIGRATING_TO_NEW_HOST");
    once(&world, "deployments", json!({ "type": "replace_field", "field": "id", "value": null })).await;
    assert!(rows().await["edges"][0]["node"]["id"].is_null());
    assert_eq!(outcome(&world).await, "fault:replace_field");
    let honest = rows().await;
    assert_eq!(honest["edges"].as_array().unwrap().len(), 1);
    assert_eq!(honest["edges"][0]["node"], json!({ "id": id, "status": "SUCCESS" }));
    assert_eq!(honest["pageInfo"]["hasNextPage"], false);
}

#[tokio::test]
async fn somebody_else_acts_first_and_a_jump_moves_time() {
    let world = world().await;
    let (id, _) = world.project("shop").await;
    let rename = "mutation R($id: String!) { projectUpdate(id: $id, input: { name: \"theirs\" }) { id } }";
    let actor = json!({ "type": "concurrent_actor", "query": rename, "variables": { "id": id } });
    once(&world, "project", actor).await;
    let read = "query P($id: String!) { project(id: $id) { name } }";
    assert_eq!(world.ask(read, json!({ "id": id })).await["project"]["name"], "theirs");

    let now = async || world.admin("GET", "status", Value::Null).await["clock"]["now"].as_u64().unwrap();
    world.settings(json!({ "time_scale": 0.001 })).await;
    let before = now().await;
    once(&world, "me", json!({ "type": "clock_jump", "duration": "1h" })).await;
    world.ask(ME, json!({})).await;
    let moved = now().await - before;
    assert!((3_600_000..3_700_000).contains(&moved), "{moved} ms");
}

#[tokio::test]
async fn a_revoked_token_is_refused_and_works_again_when_the_rule_is_spent() {
    let world = world().await;
    once(&world, "projectCreate", json!({ "type": "token_revoked" })).await;
    assert_eq!(world.refused(PROJECT, project(&world)).await, "Not Authorized");
    assert_eq!(projects(&world).await, 0);
    world.ask(PROJECT, project(&world)).await;
    assert_eq!(projects(&world).await, 1);
}

#[tokio::test]
async fn a_restricted_environment_keeps_its_content_to_itself() {
    let world = world().await;
    let place = world.place().await;
    let read = "query E($id: String!) { environment(id: $id) { canAccess serviceInstances { edges { node { id } } } } }";
    let look = async || world.ask(read, json!({ "id": place.environment })).await["environment"].take();
    let open = look().await;
    assert_eq!(open["canAccess"], true);
    assert_eq!(open["serviceInstances"]["edges"].as_array().unwrap().len(), 1);
    world.settings(json!({ "restricted_environments": [place.environment] })).await;
    let closed = look().await;
    assert_eq!(closed["canAccess"], false);
    assert_eq!(closed["serviceInstances"]["edges"], json!([]));
    let config = "query C($id: String!) { environment(id: $id) { config } }";
    assert_eq!(world.refused(config, json!({ "id": place.environment })).await, "Not Authorized");
    let variables = "query V($p: String!, $e: String!) { variables(projectId: $p, environmentId: $e) }";
    let ids = json!({ "p": place.project, "e": place.environment });
    assert_eq!(world.refused(variables, ids).await, "Not Authorized");
}

#[tokio::test]
async fn an_image_update_loses_zero_values_where_the_knob_says_so() {
    let world = world().await;
    let place = world.place().await;
    let read = "query I($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { overlapSeconds drainingSeconds healthcheckPath } }";
    let look = async || {
        let ids = json!({ "e": place.environment, "s": place.service });
        world.ask(read, ids).await["serviceInstance"].take()
    };
    let set = json!({ "overlapSeconds": 7, "drainingSeconds": 9, "healthcheckPath": "/up" });
    let kept = json!({ "overlapSeconds": 7, "drainingSeconds": 9, "healthcheckPath": "/up" });
    let image = json!({ "source": { "image": "127.0.0.1:1/team/app:v1" } });
    world.update(&place, set).await;
    world.update(&place, image.clone()).await;
    assert_eq!(look().await, kept);
    world.settings(json!({ "zero_value_loss": true })).await;
    world.update(&place, image).await;
    let lost = look().await;
    assert_eq!(lost, json!({ "overlapSeconds": null, "drainingSeconds": null, "healthcheckPath": "/up" }));
}
