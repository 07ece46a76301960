//! Subscriptions over a real WebSocket.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests: a failure here is a failure of the test"
)]

mod support;

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::{Place, World, world};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const DEADLINE: Duration = Duration::from_secs(30);
const FOLLOW: &str =
    "subscription FollowDeployment($id: String!) { deployment(id: $id) { id status deploymentStopped } }";
const EVENTS: &str = "subscription FollowEvents($id: String!) { deploymentEvents(id: $id) { id step completedAt payload { error } } }";
const LOGS: &str = "subscription FollowLogs($id: String!, $f: String) { deploymentLogs(deploymentId: $id, filter: $f, limit: 100) { timestamp severity message } }";

/// A client of `graphql-transport-ws`.
struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

async fn connect(world: &World, token: &str) -> Result<Socket, Error> {
    let url = world.info.endpoint.replacen("http://", "ws://", 1);
    let mut request = format!("{url}?source=test").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("user-agent", HeaderValue::from_static("test"));
    let (socket, response) = connect_async(request).await?;
    assert_eq!(response.headers()["sec-websocket-protocol"], "graphql-transport-ws");
    Ok(Socket(socket))
}

impl Socket {
    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next frame of any kind.
    async fn frame(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(DEADLINE, self.0.next()).await.expect("nothing came in time")
    }

    async fn hear(&mut self) -> Value {
        match self.frame().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }

    async fn init(&mut self) {
        self.say(json!({ "type": "connection_init" })).await;
        assert_eq!(self.hear().await["type"], "connection_ack");
    }

    async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({ "query": query, "variables": variables });
        self.say(json!({ "id": id, "type": "subscribe", "payload": payload })).await;
    }

    /// The data of the next message, which must be of operation `id`.
    async fn next(&mut self, id: &str) -> Value {
        let mut message = self.hear().await;
        assert!(message["type"] == "next" && message["id"] == id, "{message}");
        assert!(message["payload"]["errors"].is_null(), "{message}");
        message["payload"]["data"].take()
    }

    /// Statuses of the deployment until `last`, repetitions left out.
    async fn statuses(&mut self, id: &str, last: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        loop {
            let status = self.next(id).await["deployment"]["status"].as_str().unwrap().to_owned();
            if seen.last() != Some(&status) {
                seen.push(status.clone());
            }
            if status == last {
                return seen;
            }
        }
    }

    /// The connection is gone without a closing handshake.
    async fn cut(&mut self) -> bool {
        !matches!(self.frame().await, Some(Ok(_)))
    }

    /// Everything that was sent before has been heard: the answer to a ping comes next.
    async fn quiet(&mut self) {
        self.say(json!({ "type": "ping" })).await;
        assert_eq!(self.hear().await["type"], "pong");
    }
}

async fn open(world: &World) -> Socket {
    let mut socket = connect(world, &world.info.tokens.account).await.unwrap();
    socket.init().await;
    socket
}

/// A deployment that waits for approval, so that nothing happens before a test says so.
async fn held(world: &World, labels: &[(&str, &str)]) -> (Place, String) {
    let digest = world.push("team/app", "v1", labels).await;
    let place = world.place().await;
    world.settings(json!({ "hold_deployments": "NEEDS_APPROVAL" })).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    (place, id)
}

async fn approve(world: &World, id: &str) {
    world.ask("mutation A($id: String!) { deploymentApprove(id: $id) }", json!({ "id": id })).await;
}

async fn fault(world: &World, operation: &str, action: Value) {
    world.admin("POST", "faults", json!({ "operation": operation, "action": action, "count": 1 })).await;
}

async fn last_entry(world: &World) -> Value {
    world.admin("GET", "journal", Value::Null).await["entries"].as_array().unwrap().last().unwrap().clone()
}

#[tokio::test]
async fn a_deployment_is_followed_to_its_success_and_completed() {
    let world = world().await;
    let (place, id) = held(&world, &[]).await;
    let mut socket = open(&world).await;
    socket.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(socket.next("1").await["deployment"]["status"], "NEEDS_APPROVAL");
    let entry = last_entry(&world).await;
    assert_eq!(entry["kind"], "subscription");
    assert_eq!(entry["operation"], "FollowDeployment");
    assert_eq!((&entry["status"], &entry["outcome"]), (&json!(101), &json!("ok")));
    approve(&world, &id).await;
    let statuses = socket.statuses("1", "SUCCESS").await;
    assert_eq!(statuses.last().unwrap(), "SUCCESS");
    socket.say(json!({ "id": "1", "type": "complete" })).await;
    // Whatever was under way may still come; after the completion nothing does.
    while socket.hear().await["type"] != "complete" {}
    world.ask("mutation R($id: String!) { deploymentRemove(id: $id) }", json!({ "id": id })).await;
    world.wait_for(&id, "REMOVED").await;
    socket.quiet().await;
    drop(place);
}

#[tokio::test]
async fn events_and_logs_arrive_as_they_happen() {
    let world = world().await;
    let (place, id) = held(&world, &[("body", "hi")]).await;
    let domain = world.domain(&place).await;
    let mut events = open(&world).await;
    events.subscribe("e", EVENTS, json!({ "id": id })).await;
    let mut logs = open(&world).await;
    logs.subscribe("l", LOGS, json!({ "id": id })).await;
    let mut errors = open(&world).await;
    errors.subscribe("x", LOGS, json!({ "id": id, "f": "@level:error" })).await;
    approve(&world, &id).await;
    let mut ended = Vec::new();
    while ended.last().is_none_or(|step| step != "CONFIGURE_NETWORK") {
        let event = events.next("e").await["deploymentEvents"].take();
        assert!(event["payload"]["error"].is_null(), "{event}");
        if event["completedAt"].is_string() {
            ended.push(event["step"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(ended, ["CREATE_CONTAINER", "CONFIGURE_NETWORK"]);
    let lines = logs.next("l").await["deploymentLogs"].take();
    assert!(!lines.as_array().unwrap().is_empty(), "an empty batch");
    let mut heard = lines.as_array().unwrap().len();
    world.until("it serves", async || world.visit(&domain, "/").await.0 == 200).await;
    let all = world
        .ask("query L($id: String!) { deploymentLogs(deploymentId: $id) { message } }", json!({ "id": id }))
        .await;
    while heard < all["deploymentLogs"].as_array().unwrap().len() {
        heard += logs.next("l").await["deploymentLogs"].as_array().unwrap().len();
    }
    errors.quiet().await;
}

#[tokio::test]
async fn logs_of_an_environment_arrive_from_deployments_that_come_later_too() {
    let world = world().await;
    let (place, id) = held(&world, &[("error-rate", "1")]).await;
    let domain = world.domain(&place).await;
    let query = "subscription E($e: String!, $f: String, $n: Int) { environmentLogs(environmentId: $e, filter: $f, beforeLimit: $n) { message severity tags { deploymentId } } }";
    let mut all = open(&world).await;
    all.subscribe("a", query, json!({ "e": place.environment })).await;
    let mut errors = open(&world).await;
    errors
        .subscribe("e", query, json!({ "e": place.environment, "f": "@level:error AND \"GET /broken\"" }))
        .await;
    let mut wrong = open(&world).await;
    wrong.subscribe("w", query, json!({ "e": place.environment, "f": "@colour:red" })).await;
    let refusal = wrong.hear().await.to_string();
    assert!(refusal.contains("no `@colour`"), "{refusal}");
    approve(&world, &id).await;
    let lines = all.next("a").await["environmentLogs"].take();
    assert_eq!(lines[0]["tags"]["deploymentId"], json!(id));
    assert!(lines[0]["message"].as_str().unwrap().starts_with("listening"), "{lines}");
    world.wait_for(&id, "SUCCESS").await;
    world.until("it fails", async || world.visit(&domain, "/broken").await.0 == 500).await;
    let lines = errors.next("e").await["environmentLogs"].take();
    assert_eq!(lines[0]["severity"], "error");
    let next = world.deploy(&place).await;
    approve(&world, &next).await;
    loop {
        let lines = all.next("a").await["environmentLogs"].take();
        if lines.as_array().unwrap().iter().any(|line| line["tags"]["deploymentId"] == json!(next)) {
            break;
        }
    }
}

#[tokio::test]
async fn build_logs_are_accepted_and_stay_empty() {
    let world = world().await;
    let (_, id) = held(&world, &[]).await;
    let mut socket = open(&world).await;
    let query =
        "subscription B($id: String!) { buildLogs(deploymentId: $id, filter: \"x\", limit: 5) { message } }";
    socket.subscribe("b", query, json!({ "id": id })).await;
    approve(&world, &id).await;
    world.wait_for(&id, "SUCCESS").await;
    socket.quiet().await;
}

/// The official command line finds the lines of a build by the snapshot, in the log of the environment.
#[tokio::test]
async fn railway_cli_5_71_logs_build_is_understood_and_stays_empty() {
    let world = world().await;
    let (place, id) = held(&world, &[]).await;
    let read = "query D($id: String!) { deployment(id: $id) { snapshotId environmentId createdAt } }";
    let snapshot = world.ask(read, json!({ "id": id })).await["deployment"]["snapshotId"].take();
    let snapshot = snapshot.as_str().unwrap();
    let mut socket = open(&world).await;
    let query = "subscription L($e: String!, $f: String, $d: String) { environmentLogs(environmentId: $e, filter: $f, \
                 beforeDate: $d, beforeLimit: 500, afterLimit: 0) { timestamp message attributes { key value } } }";
    let filter = format!("(@snapshot:{snapshot} OR @replica:{snapshot})");
    let variables = json!({ "e": place.environment, "f": filter, "d": "2026-08-01T10:00:00.000000000Z" });
    socket.subscribe("b", query, variables).await;
    approve(&world, &id).await;
    world.wait_for(&id, "SUCCESS").await;
    socket.quiet().await;
}

#[tokio::test]
async fn requests_are_followed_as_railway_cli_5_71_logs_http_does() {
    let world = world().await;
    let (place, id) = held(&world, &[]).await;
    let domain = world.domain(&place).await;
    approve(&world, &id).await;
    world.wait_for(&id, "SUCCESS").await;
    world.until("it answers", async || world.visit(&domain, "/before").await.0 == 200).await;
    let mut socket = open(&world).await;
    let query = "subscription H($id: String!, $f: String, $a: String) { httpLogs(deploymentId: $id, filter: $f, \
                 anchorDate: $a, afterDate: \"2199-01-01T00:00:00.000000000Z\", afterLimit: 500) { path httpStatus srcIp } }";
    let anchor = "2026-08-01T10:00:00.000000000Z";
    socket
        .subscribe("h", query, json!({ "id": id, "f": "@path:/after OR @path:/before", "a": anchor }))
        .await;
    let first = socket.next("h").await["httpLogs"].take();
    assert_eq!(first[0]["path"], "/before", "{first}");
    world.visit(&domain, "/elsewhere").await;
    world.visit(&domain, "/after").await;
    let next = socket.next("h").await["httpLogs"].take();
    assert_eq!(next, json!([{ "path": "/after", "httpStatus": 200, "srcIp": "127.0.0.1" }]));
    let mut wrong = open(&world).await;
    wrong.subscribe("w", query, json!({ "id": id, "f": "@colour:red", "a": anchor })).await;
    let refusal = wrong.hear().await.to_string();
    assert!(refusal.contains("no `@colour`"), "{refusal}");
}

#[tokio::test]
async fn what_the_query_refuses_the_subscription_refuses() {
    let world = world().await;
    let (place, id) = held(&world, &[]).await;
    let message = async |socket: &mut Socket, query: &str, id: &str| {
        socket.subscribe("1", query, json!({ "id": id })).await;
        let mut message = socket.hear().await;
        let mut errors = if message["type"] == "error" {
            message["payload"].take()
        } else {
            message["payload"]["errors"].take()
        };
        assert_eq!(socket.hear().await["type"], "complete");
        errors[0].take()
    };
    let mut socket = open(&world).await;
    let error = message(&mut socket, FOLLOW, "00000000-0000-4000-8000-000000000000").await;
    assert_eq!(error["message"], "Deployment not found");
    assert_ne!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{error}");
    let error =
        message(&mut socket, "subscription X($id: String!) { deployment(id: $id) { shoeSize } }", &id).await;
    assert_eq!(error["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{error}");
    assert_eq!(last_entry(&world).await["outcome"], "error");

    let mut stranger = connect(&world, "nobody").await.unwrap();
    stranger.init().await;
    assert_eq!(message(&mut stranger, FOLLOW, &id).await["message"], "Not Authorized");
    let mut early = connect(&world, &world.info.tokens.account).await.unwrap();
    early.subscribe("1", FOLLOW, json!({ "id": id })).await;
    match early.frame().await {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 4401),
        other => panic!("not closed: {other:?}"),
    }
    let over_post = world.answer(FOLLOW, json!({ "id": id })).await;
    assert!(over_post["errors"][0]["message"].as_str().unwrap().contains("not supported"), "{over_post}");
    drop(place);
}

#[tokio::test]
async fn the_edge_and_a_rule_refuse_the_upgrade() {
    let world = world().await;
    fault(&world, "*", json!({ "type": "ws_refuse", "status": 503 })).await;
    // Requests of other kinds do not spend it.
    world.ask("query { me { id } }", json!({})).await;
    match connect(&world, &world.info.tokens.account).await {
        Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), 503),
        other => panic!("not refused: {}", other.is_ok()),
    }
    let entry = last_entry(&world).await;
    assert_eq!((&entry["outcome"], &entry["status"]), (&json!("fault:ws_refuse"), &json!(503)));
    fault(&world, "graphql-transport-ws", json!({ "type": "ws_refuse" })).await;
    match connect(&world, &world.info.tokens.account).await {
        Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), 403),
        other => panic!("not refused: {}", other.is_ok()),
    }
    open(&world).await.quiet().await;
    let bare = world.info.endpoint.replacen("http://", "ws://", 1).into_client_request().unwrap();
    match connect_async(bare).await {
        Err(Error::Http(response)) => assert_eq!(response.status().as_u16(), 400, "no subprotocol"),
        other => panic!("not refused: {}", other.is_ok()),
    }
    let entry = last_entry(&world).await;
    assert_eq!((&entry["operation"], &entry["status"]), (&json!("graphql-transport-ws"), &json!(400)));
    world.settings(json!({ "require_user_agent": true })).await;
    let mut nameless =
        format!("{}?a=b", world.info.endpoint.replacen("http://", "ws://", 1)).into_client_request().unwrap();
    nameless.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
    match connect_async(nameless).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status().as_u16(), 403);
            assert_eq!(response.body().as_deref(), Some(b"error code: 1010".as_slice()));
        }
        other => panic!("not refused: {}", other.is_ok()),
    }
    let plain = world.client.get(&world.info.endpoint).send().await.unwrap();
    assert_eq!(plain.status().as_u16(), 405);
}

#[tokio::test]
async fn queries_and_mutations_are_answered_there_too() {
    let world = world().await;
    let create = "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }";
    let input = json!({ "i": { "name": "x", "workspaceId": world.info.workspace_id } });
    let mut socket = open(&world).await;
    // What only HTTP has is neither applied nor spent.
    fault(&world, "projectCreate", json!({ "type": "html" })).await;
    fault(
        &world,
        "projectCreate",
        json!({ "type": "fail_before_commit", "message": "no", "code": "FORBIDDEN" }),
    )
    .await;
    socket.subscribe("1", create, input.clone()).await;
    let refused = socket.hear().await;
    assert!(refused.to_string().contains("\"FORBIDDEN\""), "{refused}");
    assert_eq!(socket.hear().await["type"], "complete");
    assert_eq!(last_entry(&world).await["outcome"], "fault:fail_before_commit");
    socket.subscribe("2", create, input).await;
    let id = socket.next("2").await["projectCreate"]["id"].take();
    assert_eq!(socket.hear().await["type"], "complete");
    let entry = last_entry(&world).await;
    assert_eq!((&entry["kind"], &entry["mutation"]), (&json!("mutation"), &json!(true)));
    // Past the consistency tail.
    world.admin("POST", "clock", json!({ "advance": "1m" })).await;
    socket.subscribe("3", "query Q($id: String!) { project(id: $id) { name } }", json!({ "id": id })).await;
    assert_eq!(socket.next("3").await["project"]["name"], "x");
    let rules = world.admin("GET", "faults", Value::Null).await;
    assert_eq!(rules["faults"][0]["applied"], 0, "{rules}");
}

#[tokio::test]
async fn a_rule_cuts_the_connection_after_so_many_messages() {
    let world = world().await;
    let (_, id) = held(&world, &[]).await;
    fault(&world, "FollowDeployment", json!({ "type": "ws_drop", "after": 1 })).await;
    let mut socket = open(&world).await;
    socket.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(socket.next("1").await["deployment"]["status"], "NEEDS_APPROVAL");
    assert!(socket.cut().await);
    assert_eq!(last_entry(&world).await["outcome"], "fault:ws_drop");
    let mut again = open(&world).await;
    again.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(again.next("1").await["deployment"]["id"], json!(id));
}

#[tokio::test]
async fn messages_come_twice_swapped_or_not_at_all() {
    let world = world().await;
    let (_, id) = held(&world, &[]).await;
    fault(&world, "deployment", json!({ "type": "ws_duplicate" })).await;
    let mut twice = open(&world).await;
    twice.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(twice.next("1").await, twice.next("1").await);

    fault(&world, "deployment", json!({ "type": "ws_out_of_order" })).await;
    let mut swapped = open(&world).await;
    swapped.subscribe("1", FOLLOW, json!({ "id": id })).await;
    swapped.quiet().await;

    fault(&world, "deployment", json!({ "type": "ws_silence", "after": 1 })).await;
    let mut silent = open(&world).await;
    silent.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(silent.next("1").await["deployment"]["status"], "NEEDS_APPROVAL");

    fault(&world, "deployment", json!({ "type": "replace_field", "field": "status", "value": "ODD" })).await;
    let mut odd = open(&world).await;
    odd.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(odd.next("1").await["deployment"]["status"], "ODD");

    approve(&world, &id).await;
    world.wait_for(&id, "SUCCESS").await;
    silent.quiet().await;
    assert_ne!(swapped.next("1").await["deployment"]["status"], "NEEDS_APPROVAL");
    assert_eq!(swapped.next("1").await["deployment"]["status"], "NEEDS_APPROVAL");
}

#[tokio::test]
async fn a_revoked_project_token_ends_its_subscriptions() {
    let world = world().await;
    let (place, id) = held(&world, &[]).await;
    let data = world
        .ask(
            "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }",
            json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } }),
        )
        .await;
    let url = world.info.endpoint.replacen("http://", "ws://", 1);
    let mut request = format!("{url}?source=test").into_client_request().unwrap();
    let token = data["projectTokenCreate"].as_str().unwrap().parse().unwrap();
    request.headers_mut().insert("project-access-token", token);
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("graphql-transport-ws"));
    let mut socket = Socket(connect_async(request).await.unwrap().0);
    socket.init().await;
    socket.subscribe("1", FOLLOW, json!({ "id": id })).await;
    assert_eq!(socket.next("1").await["deployment"]["status"], "NEEDS_APPROVAL");
    assert_eq!(last_entry(&world).await["token"], "project");
    let tokens = world
        .ask(
            "query T($p: String!) { projectTokens(projectId: $p) { edges { node { id } } } }",
            json!({ "p": place.project }),
        )
        .await;
    let token = &tokens["projectTokens"]["edges"][0]["node"]["id"];
    world.ask("mutation D($id: String!) { projectTokenDelete(id: $id) }", json!({ "id": token })).await;
    assert_eq!(socket.hear().await["type"], "complete");
}

#[tokio::test]
async fn a_stopping_sandbox_says_goodbye_and_starts_again_at_once() {
    let mut world = world().await;
    let (_, id) = held(&world, &[]).await;
    let mut socket = open(&world).await;
    socket.subscribe("1", FOLLOW, json!({ "id": id })).await;
    socket.next("1").await;
    let watch = tokio::spawn(async move {
        loop {
            match socket.frame().await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("cut instead of closed: {other:?}"),
            }
        }
    });
    world.restart().await;
    assert_eq!(watch.await.unwrap(), 1001);
    assert_eq!(world.deployment(&id).await["status"], "NEEDS_APPROVAL");
}
