//! Notification rules and the webhook sender, against a receiver on loopback that answers what it is told to.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};
use support::{Place, World, world};

const CREATE: &str = "mutation N($i: CreateNotificationRuleInput!) { notificationRuleCreate(input: $i) { id eventTypes severities projectId ephemeralEnvironments channels { id config } } }";
const TEST: &str = "mutation T($u: String!, $p: String!) { webhookTest(url: $u, payload: $p) }";

#[derive(Debug, Clone)]
struct Got {
    path: String,
    headers: HeaderMap,
    body: Value,
}

/// What arrived, and the statuses still to be answered; 200 when there are none left, no answer at all for 0.
#[derive(Debug, Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    port: u16,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let shared = receiver.clone();
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let shared = shared.clone();
            async move {
                let body = serde_json::from_slice(&body).unwrap_or_default();
                shared.got.lock().unwrap().push(Got { path: uri.to_string(), headers, body });
                let status = shared.answers.lock().unwrap().pop_front().unwrap_or(200);
                if status == 0 {
                    std::future::pending::<()>().await;
                }
                let location = [("location", "/elsewhere")];
                (StatusCode::from_u16(status).unwrap(), location)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    fn answer(&self, statuses: impl IntoIterator<Item = u16>) {
        self.answers.lock().unwrap().extend(statuses);
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks/hunter2?key=s3cret", self.port)
    }
}

async fn rule(world: &World, place: &Place, url: &str, events: &[&str]) -> Value {
    let input = json!({ "workspaceId": world.info.workspace_id, "projectId": place.project, "eventTypes": events,
        "channelConfigs": [{ "type": "webhook", "url": url }] });
    world.ask(CREATE, json!({ "i": input })).await["notificationRuleCreate"].take()
}

async fn deliveries(world: &World) -> Vec<Value> {
    world.admin("GET", "deliveries", Value::Null).await["deliveries"].as_array().unwrap().clone()
}

/// Deploys an image that works; returns the deployment.
async fn deploy(world: &World, place: &Place) -> String {
    let digest = world.push("team/app", "v1", &[]).await;
    let id = world.pin(place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    id
}

async fn settle(world: &World, count: usize) -> Vec<Value> {
    world
        .until("the deliveries are over", async || {
            let rows = deliveries(world).await;
            rows.len() >= count && rows.iter().all(|row| row["state"] != "PENDING")
        })
        .await;
    deliveries(world).await
}

#[tokio::test]
async fn a_deployment_is_told_with_the_documented_body_and_no_signature() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    let made = rule(&world, &place, &receiver.url(), &["Deployment.success", "Deployment.failed"]).await;
    assert_eq!(made["channels"][0]["config"]["url"], receiver.url(), "the owner can read it back");
    let variable = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "name": "KEY", "value": "swordfish" } });
    world.ask("mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }", variable).await;
    let id = deploy(&world, &place).await;
    let rows = settle(&world, 1).await;
    let got = receiver.got();
    assert_eq!(got.len(), 1, "{rows:?}");
    assert_eq!(got[0].path, "/hooks/hunter2?key=s3cret");
    let body = &got[0].body;
    assert_eq!(body["type"], "Deployment.success");
    assert_eq!(body["severity"], "INFO");
    assert!(body["timestamp"].is_string());
    assert_eq!(body["details"]["status"], "SUCCESS");
    assert_eq!(body["resource"]["deployment"]["id"], id);
    assert_eq!(body["resource"]["service"], json!({ "id": place.service, "name": "web" }));
    assert_eq!(body["resource"]["environment"]["isEphemeral"], false);
    assert_eq!(body["resource"]["workspace"]["id"], world.info.workspace_id);
    let keys: Vec<_> = body["details"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["branch", "commitAuthor", "commitHash", "commitMessage", "id", "source", "status"]);
    let signed = got[0].headers.keys().any(|name| name.as_str().contains("signature"));
    assert!(!signed, "{:?}", got[0].headers);
    let seen = json!([rows, body]).to_string();
    assert!(!seen.contains("swordfish"), "no value of a variable leaves");
    assert_eq!(rows[0]["url"], format!("http://127.0.0.1:{}/[redacted]", receiver.port));
    let journal = world.admin("GET", "journal", Value::Null).await.to_string();
    for secret in ["hunter2", "s3cret"] {
        assert!(!journal.contains(secret), "{secret} is in the journal");
        assert!(!json!(rows).to_string().contains(secret), "{secret} is in the deliveries");
    }
}

#[tokio::test]
async fn rules_are_listed_changed_and_deleted() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    let made = rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    let list = "query L($w: String!, $p: String) { notificationRules(workspaceId: $w, projectId: $p) { id eventTypes severities channels { config } } }";
    let ids = json!({ "w": world.info.workspace_id, "p": place.project });
    assert_eq!(world.ask(list, ids.clone()).await["notificationRules"][0]["id"], made["id"]);
    let update = "mutation U($id: String!, $i: UpdateNotificationRuleInput!) { notificationRuleUpdate(id: $id, input: $i) { eventTypes severities channels { config } } }";
    let change = json!({ "severities": ["CRITICAL"] });
    let changed =
        world.ask(update, json!({ "id": made["id"], "i": change })).await["notificationRuleUpdate"].take();
    assert_eq!(changed["severities"], json!(["CRITICAL"]));
    assert_eq!(changed["channels"][0]["config"]["url"], receiver.url(), "what is not named stays");
    deploy(&world, &place).await;
    assert!(deliveries(&world).await.is_empty(), "a success is not critical");
    let delete = "mutation D($id: String!) { notificationRuleDelete(id: $id) }";
    assert_eq!(world.ask(delete, json!({ "id": made["id"] })).await["notificationRuleDelete"], true);
    assert_eq!(world.ask(list, ids).await["notificationRules"], json!([]));
    assert!(world.refused(delete, json!({ "id": made["id"] })).await.contains("not found"));

    let bad = |events: Value, config: Value| json!({ "i": { "workspaceId": world.info.workspace_id, "eventTypes": events, "channelConfigs": [config] } });
    let hook = json!({ "type": "webhook", "url": receiver.url() });
    assert!(
        world.refused(CREATE, bad(json!(["Monitor.triggered"]), hook)).await.contains("Monitor.triggered")
    );
    let mail = json!({ "type": "email", "address": "a@example.com" });
    assert!(world.refused(CREATE, bad(json!(["Deployment.failed"]), mail)).await.contains("email"));
}

#[tokio::test]
async fn failures_are_tried_again_three_times_with_growing_pauses_of_sandbox_time() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    receiver.answer([500, 404, 503, 500]);
    deploy(&world, &place).await;
    let rows = settle(&world, 1).await;
    assert_eq!(rows[0]["state"], "FAILED");
    let attempts = rows[0]["attempts"].as_array().unwrap();
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [500, 404, 503, 500], "one attempt and three retries");
    let ticks: Vec<_> = attempts.iter().map(|attempt| attempt["tick"].as_u64().unwrap()).collect();
    let pauses: Vec<_> = ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] >= 10_000 && pauses[1] >= 20_000 && pauses[2] >= 40_000, "{pauses:?}");
    assert_eq!(receiver.got().len(), 4);
}

#[tokio::test]
async fn a_retry_that_succeeds_ends_it_and_a_redirect_is_success_and_not_followed() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    receiver.answer([500, 302]);
    deploy(&world, &place).await;
    let rows = settle(&world, 1).await;
    assert_eq!(rows[0]["state"], "SENT");
    assert_eq!(rows[0]["attempts"][1]["status"], 302);
    let paths: Vec<_> = receiver.got().into_iter().map(|got| got.path).collect();
    assert_eq!(paths, ["/hooks/hunter2?key=s3cret", "/hooks/hunter2?key=s3cret"]);
}

#[tokio::test]
async fn a_target_that_stays_silent_times_out() {
    let world = world().await;
    world.settings(json!({ "webhook_timeout": "50ms" })).await;
    let receiver = Receiver::start().await;
    receiver.answer([0]);
    let message = world.refused(TEST, json!({ "u": receiver.url(), "p": "{}" })).await;
    assert!(message.contains("no answer within 50ms"), "{message}");
}

#[tokio::test]
async fn duplicates_and_disorder_come_when_the_knobs_say_so() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    world.settings(json!({ "webhook_duplicate_probability": 1.0, "image_deploy_duration": "1s" })).await;
    let made = rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    let id = deploy(&world, &place).await;
    let rows = settle(&world, 1).await;
    let twice: Vec<_> =
        receiver.got().into_iter().map(|got| got.body["resource"]["deployment"]["id"].clone()).collect();
    assert_eq!(twice, [json!(id), json!(id)]);
    assert_eq!(rows[0]["attempts"].as_array().unwrap().len(), 2);

    world.settings(json!({ "webhook_duplicate_probability": 0.0, "webhook_jitter": "100h" })).await;
    let all = [
        "Deployment.initializing",
        "Deployment.deploying",
        "Deployment.success",
        "Deployment.removing",
        "Deployment.removed",
    ];
    let update = "mutation U($id: String!, $i: UpdateNotificationRuleInput!) { notificationRuleUpdate(id: $id, input: $i) { id } }";
    world.ask(update, json!({ "id": made["id"], "i": { "eventTypes": all } })).await;
    for _ in 0..4 {
        deploy(&world, &place).await;
    }
    let before = receiver.got().len();
    world.until("all are queued", async || deliveries(&world).await.len() >= 21).await;
    world.admin("POST", "clock", json!({ "advance": "100h" })).await;
    let rows = settle(&world, 21).await;
    let made: Vec<_> =
        rows[1..].iter().map(|row| row["body"]["timestamp"].as_str().unwrap().to_owned()).collect();
    let sent: Vec<_> = receiver.got()[before..]
        .iter()
        .map(|got| got.body["timestamp"].as_str().unwrap().to_owned())
        .collect();
    assert!(made.is_sorted(), "{made:?}");
    assert!(!sent.is_sorted(), "twenty deliveries came in order: {sent:?}");
}

#[tokio::test]
async fn too_many_failures_suspend_a_target_for_a_day() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    world.settings(json!({ "webhook_failure_limit": 4, "image_deploy_duration": "1s" })).await;
    rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    receiver.answer([500; 4]);
    deploy(&world, &place).await;
    settle(&world, 1).await;
    deploy(&world, &place).await;
    let rows = settle(&world, 2).await;
    assert_eq!(rows[1]["state"], "FAILED");
    assert_eq!(rows[1]["attempts"][0]["error"], "the target is suspended");
    assert_eq!(receiver.got().len(), 4, "a suspended target is left alone");
    world.admin("POST", "clock", json!({ "advance": "24h" })).await;
    deploy(&world, &place).await;
    let rows = settle(&world, 3).await;
    assert_eq!(rows[2]["state"], "SENT", "after a day it is asked again");
}

#[tokio::test]
async fn failures_that_are_six_hours_old_count_no_more() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    world.settings(json!({ "webhook_failure_limit": 5, "image_deploy_duration": "1s" })).await;
    rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    receiver.answer([500; 8]);
    deploy(&world, &place).await;
    settle(&world, 1).await;
    world.admin("POST", "clock", json!({ "advance": "6h" })).await;
    deploy(&world, &place).await;
    let rows = settle(&world, 2).await;
    assert_eq!(
        rows[1]["attempts"].as_array().unwrap().len(),
        4,
        "four and four make no five within six hours"
    );
    deploy(&world, &place).await;
    assert_eq!(settle(&world, 3).await[2]["state"], "SENT");
}

#[tokio::test]
async fn nothing_leaves_the_machine() {
    let world = world().await;
    let place = world.place().await;
    rule(&world, &place, "https://hooks.example.com/hunter2", &["Deployment.success"]).await;
    deploy(&world, &place).await;
    let rows = settle(&world, 1).await;
    assert_eq!(rows[0]["state"], "FAILED");
    assert_eq!(rows[0]["attempts"].as_array().unwrap().len(), 1, "trying again changes nothing");
    assert!(rows[0]["attempts"][0]["error"].as_str().unwrap().contains("loopback"), "{rows:?}");
    assert_eq!(rows[0]["url"], "https://hooks.example.com/[redacted]");
    let message = world.refused(TEST, json!({ "u": "http://10.0.0.1/hunter2", "p": "{}" })).await;
    assert!(message.contains("loopback") && !message.contains("hunter2"), "{message}");
}

#[tokio::test]
async fn a_test_answers_the_status_of_the_target() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answer([418]);
    let payload = json!({ "hello": "there" }).to_string();
    let told = world.ask(TEST, json!({ "u": receiver.url(), "p": payload })).await;
    assert_eq!(told["webhookTest"], 418);
    assert_eq!(receiver.got()[0].body, json!({ "hello": "there" }));
    let by_name = receiver.url().replace("127.0.0.1", "localhost");
    let told = world.ask(TEST, json!({ "u": by_name, "p": payload })).await;
    assert_eq!(told["webhookTest"], 200);
    assert_eq!(receiver.got().len(), 2);
    let states: Vec<_> = deliveries(&world).await.into_iter().map(|row| row["state"].clone()).collect();
    assert_eq!(states, ["FAILED", "SENT"]);
    let journal = world.admin("GET", "journal", Value::Null).await.to_string();
    assert!(journal.contains("webhookTest") && !journal.contains("hunter2") && !journal.contains("hello"));
}

#[tokio::test]
async fn a_restart_takes_up_what_was_on_its_way() {
    let mut world = world().await;
    let receiver = Receiver::start().await;
    let place = world.place().await;
    world.settings(json!({ "webhook_jitter": "5000h" })).await;
    rule(&world, &place, &receiver.url(), &["Deployment.success"]).await;
    deploy(&world, &place).await;
    assert_eq!(deliveries(&world).await[0]["state"], "PENDING");
    world.restart().await;
    world.admin("POST", "clock", json!({ "advance": "5000h" })).await;
    let rows = settle(&world, 1).await;
    assert_eq!(rows[0]["state"], "SENT");
    assert_eq!(receiver.got().len(), 1);
}
