//! A Railway that answers as it is told, and is strict about what every request must have.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use spectra_railway::{Budget, Client, ClientConfig, Clock, Polling, TokenKindHint};

pub(crate) const TOKEN: &str = "b7a1c6e2-token";

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Reply {
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

pub(crate) fn data(value: Value) -> Reply {
    Reply { status: 200, headers: Vec::new(), body: json!({ "data": value }).to_string() }
}

pub(crate) fn refusal(message: &str) -> Reply {
    refusal_with("INTERNAL_SERVER_ERROR", message)
}

pub(crate) fn refusal_with(code: &str, message: &str) -> Reply {
    let error = json!({ "message": message, "extensions": { "code": code, "traceId": "trace-1" } });
    Reply { status: 200, headers: Vec::new(), body: json!({ "data": null, "errors": [error] }).to_string() }
}

pub(crate) fn raw(status: u16, body: impl Into<String>) -> Reply {
    Reply { status, headers: Vec::new(), body: body.into() }
}

#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) operation: String,
    pub(crate) variables: Value,
    pub(crate) bearer: bool,
    /// When, by the test's clock.
    pub(crate) at: Duration,
}

#[derive(Debug, Default)]
struct Script {
    queued: BTreeMap<String, VecDeque<Reply>>,
    standing: BTreeMap<String, Reply>,
    seen: Vec<Seen>,
    violations: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Fake {
    script: Arc<Mutex<Script>>,
    clock: Arc<TestClock>,
    port: u16,
}

/// Time that passes only when somebody waits.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    now: Mutex<Duration>,
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        *self.now.lock().unwrap()
    }

    fn wall(&self) -> Duration {
        Duration::from_secs(1_700_000_000) + self.now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        *self.now.lock().unwrap() += duration;
        Box::pin(tokio::task::yield_now())
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            script: Arc::default(),
            clock: Arc::default(),
            port: listener.local_addr().unwrap().port(),
        };
        let router = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    /// Whose token is an account's, with one workspace.
    pub(crate) async fn with_account() -> (Self, Client) {
        let fake = Self::start().await;
        fake.always(
            "TokenProbeApi",
            data(json!({ "apiToken": { "workspaces": [{ "id": "ws", "name": "Team" }] } })),
        );
        fake.always("TokenProbeMe", data(json!({ "me": { "id": "user" } })));
        let client = fake.client();
        (fake, client)
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new(TOKEN.into());
        config.endpoint = format!("http://127.0.0.1:{}/graphql/v2", self.port).parse().unwrap();
        config.token_kind = TokenKindHint::Auto;
        config.budget = Some(Budget { per_second: 5.0, burst: 5, longest_wait: Duration::from_mins(5) });
        config.polling = Some(Polling::REMOTE);
        config.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        config
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.config()).unwrap()
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Time passes without anybody waiting.
    pub(crate) fn pass(&self, duration: Duration) {
        *self.clock.now.lock().unwrap() += duration;
    }

    /// The next answer to an operation that has no earlier one waiting.
    pub(crate) fn once(&self, operation: &str, reply: Reply) {
        self.script.lock().unwrap().queued.entry(operation.to_owned()).or_default().push_back(reply);
    }

    /// The answer to an operation when no other is waiting.
    pub(crate) fn always(&self, operation: &str, reply: Reply) {
        self.script.lock().unwrap().standing.insert(operation.to_owned(), reply);
    }

    pub(crate) fn seen(&self, operation: &str) -> Vec<Seen> {
        let script = self.script.lock().unwrap();
        assert_eq!(script.violations, Vec::<String>::new());
        script.seen.iter().filter(|seen| seen.operation == operation).cloned().collect()
    }

    pub(crate) fn count(&self, operation: &str) -> usize {
        self.seen(operation).len()
    }

    pub(crate) fn total(&self) -> usize {
        self.script.lock().unwrap().seen.len()
    }

    /// Everything that was asked for, in order.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.script.lock().unwrap().seen.iter().map(|seen| seen.operation.clone()).collect()
    }
}

async fn answer(State(fake): State<Fake>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let now = fake.now();
    let mut script = fake.script.lock().unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let operation = body["operationName"].as_str().unwrap_or_default().to_owned();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            script.violations.push(format!("{operation}: {what}"));
        }
    };
    demand(uri.query().is_some_and(|query| query.contains("source=spectra")), "no `?source=spectra`");
    demand(
        headers.get("user-agent").is_some_and(|agent| agent.to_str().unwrap().starts_with("spectra/")),
        "no user agent",
    );
    let query = body["query"].as_str().unwrap_or_default();
    demand(
        [format!("query {operation}"), format!("mutation {operation}")]
            .iter()
            .any(|text| query.contains(text)),
        "the operation's name is not the document's",
    );
    // In a merge patch a null is a wish; anywhere else it would reset a field by accident.
    let patch = operation == "EnvironmentStageChanges";
    let bearer = headers.get("authorization").is_some();
    demand(bearer != headers.contains_key("project-access-token"), "not exactly one credential");
    demand(
        patch || body.pointer("/variables/input").is_none_or(|input| !has_null(input)),
        "an explicit null in the input",
    );
    let reply = script
        .queued
        .get_mut(&operation)
        .and_then(VecDeque::pop_front)
        .or_else(|| script.standing.get(&operation).cloned());
    let reply = reply.unwrap_or_else(|| {
        script.violations.push(format!("{operation}: unscripted"));
        raw(400, "unscripted")
    });
    script.seen.push(Seen { operation, variables: body["variables"].clone(), bearer, at: now });
    let mut response = (StatusCode::from_u16(reply.status).unwrap(), reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().any(has_null),
        _ => false,
    }
}

// Objects as Railway shows them.

pub(crate) fn connection(nodes: &[Value]) -> Value {
    let edges: Vec<_> = nodes.iter().map(|node| json!({ "node": node })).collect();
    json!({ "edges": edges, "pageInfo": { "hasNextPage": false, "endCursor": null } })
}

pub(crate) fn project(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name, "description": "", "workspaceId": "ws", "primaryEnvironmentId": "env",
            "deletedAt": null })
}

pub(crate) fn projects(list: &[Value]) -> Reply {
    data(json!({ "projects": connection(list) }))
}

pub(crate) fn environment(id: &str, name: &str, source: Option<&str>) -> Value {
    json!({ "id": id, "name": name, "projectId": "prj", "isEphemeral": false, "canAccess": true, "deletedAt": null,
            "sourceEnvironment": source.map(|id| json!({ "id": id })) })
}

pub(crate) fn environments(list: &[Value]) -> Reply {
    data(json!({ "environments": connection(list) }))
}

pub(crate) fn service(id: &str, name: &str) -> Value {
    json!({ "id": id, "name": name, "projectId": "prj", "deletedAt": null })
}

pub(crate) fn services(list: &[Value]) -> Reply {
    data(json!({ "project": { "services": connection(list) } }))
}

pub(crate) fn deployment(id: &str, status: &str, image: &str, minute: u8) -> Value {
    let replica = if status == "SUCCESS" { "RUNNING" } else { "INITIALIZING" };
    json!({ "id": id, "status": status, "createdAt": format!("2026-08-01T10:{minute:02}:00.000Z"),
            "statusUpdatedAt": null, "deploymentStopped": false, "canRedeploy": true, "canRollback": true,
            "environmentId": "env", "serviceId": "svc", "url": null, "meta": { "image": image },
            "instances": [{ "id": "r1", "status": replica }] })
}

pub(crate) fn deployments(list: &[Value]) -> Reply {
    data(json!({ "deployments": connection(list) }))
}

pub(crate) fn instance(id: &str, settings: &Value) -> Value {
    let mut node = json!({
        "id": format!("inst-{id}"), "serviceId": id, "serviceName": format!("name-{id}"), "deletedAt": null,
        "source": { "image": null, "repo": null }, "healthcheckPath": null, "healthcheckTimeout": null,
        "startCommand": null, "preDeployCommand": null, "overlapSeconds": null, "drainingSeconds": null,
        "numReplicas": 1, "restartPolicyType": "ON_FAILURE", "restartPolicyMaxRetries": 10,
        "domains": { "serviceDomains": [] }, "latestDeployment": null, "activeDeployments": [],
    });
    for (key, value) in settings.as_object().unwrap() {
        node[key] = value.clone();
    }
    node
}

pub(crate) fn snapshot(instances: &[Value], config: &Value) -> Reply {
    let mut node = environment("env", "production", None);
    node["configEtag"] = json!("etag-1");
    node["unmergedChangesCount"] = json!(0);
    node["config"] = config.clone();
    node["serviceInstances"] = connection(instances);
    data(json!({ "environment": node }))
}

pub(crate) fn unmerged(count: u32) -> Reply {
    data(json!({ "environment": { "id": "env", "configEtag": "etag-1", "unmergedChangesCount": count } }))
}

pub(crate) fn instance_ref() -> spectra_railway::InstanceRef {
    spectra_railway::InstanceRef {
        project: "prj".parse().unwrap(),
        environment: "env".parse().unwrap(),
        service: "svc".parse().unwrap(),
    }
}
