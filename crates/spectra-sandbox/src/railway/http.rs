//! `POST /graphql/v2`: edge rules, budgets, faults, execution, journal.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{OperationType, Selection};
use async_graphql::{ErrorExtensionValues, ServerError, Variables};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::core::Core;
use crate::faults::{Action, AfterCommit, Cut, Stage};
use crate::journal::{Entry, reason, redact_variables};
use crate::railway::auth::Identity;
use crate::railway::breadth;
use crate::railway::gql::scalars::rfc3339;
use crate::railway::gql::{PARSE, PROBLEM, RailwaySchema, Request, VALIDATION};
use crate::railway::limits::Budget;
use crate::settings::Settings;

const HTML: &str = "<!DOCTYPE html><html><head><title>backboard.railway.com | 504: Gateway time-out</title></head><body><h1>Gateway time-out</h1><p>Error code 504</p></body></html>";

/// What a document asks, as far as it can be read before validation.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) operation: String,
    pub(super) fields: Vec<String>,
    keys: Vec<String>,
    pub(super) kind: &'static str,
}

pub(super) fn read(query: &str, name: Option<&str>) -> Asked {
    let mut asked =
        Asked { kind: "unknown", operation: name.unwrap_or_default().to_owned(), ..Asked::default() };
    let Ok(document) = parse_query(query) else { return asked };
    let chosen = document
        .operations
        .iter()
        .find(|(found, _)| name.is_none() || found.map(async_graphql::Name::as_str) == name);
    let Some((found, operation)) = chosen else { return asked };
    asked.kind = match operation.node.ty {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    };
    for selection in &operation.node.selection_set.node.items {
        if let Selection::Field(field) = &selection.node {
            asked.fields.push(field.node.name.node.to_string());
            asked.keys.push(field.node.response_key().node.to_string());
        }
    }
    if asked.operation.is_empty() {
        asked.operation = found
            .map(ToString::to_string)
            .or_else(|| asked.fields.first().cloned())
            .unwrap_or_else(|| "unknown".to_owned());
    }
    asked
}

/// One answer on its way out.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) outcome: String,
    error: Option<String>,
}

pub(super) fn respond(status: u16, kind: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_response(status: u16, body: &Value) -> Response<Body> {
    respond(status, "application/json", body.to_string())
}

fn cut() -> Response<Body> {
    let mut response = respond(500, "text/plain", "");
    response.extensions_mut().insert(Cut);
    response
}

fn trace_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

pub(super) fn errors(message: &str, code: Option<&str>) -> Value {
    let mut extensions = serde_json::Map::new();
    if let Some(code) = code {
        extensions.insert("code".to_owned(), json!(code));
    }
    let trace = trace_id();
    extensions.insert("traceId".to_owned(), json!(trace));
    json!({ "data": null, "errors": [{ "message": message, "extensions": extensions, "traceId": trace }] })
}

/// What the platform's edge refuses before anybody looks at the request.
pub(super) fn edge(core: &Core, settings: &Settings, named: bool, bare: bool) -> Option<Answer> {
    if settings.require_user_agent && !named {
        return Some(Answer::early(respond(403, "text/plain", "error code: 1010"), "edge:1010"));
    }
    if bare && !core.limits.bare_url(settings, &core.clock) {
        return Some(Answer::early(respond(429, "text/plain", "error code: 1015"), "edge:1015"));
    }
    None
}

/// Spends one request of the credential's budget; the error is the refusal when there is none left.
#[expect(clippy::result_large_err, reason = "the error is the answer itself and goes out at once")]
pub(super) fn budget(core: &Core, settings: &Settings, who: &Identity) -> Result<Option<Budget>, Answer> {
    let budget = core.limits.spend(&who.budget_key(), settings, &core.clock);
    let Some(wait) = budget.and_then(|budget| budget.retry_after) else { return Ok(budget) };
    let mut response = json_response(429, &errors("You are being rate limited", Some("RATE_LIMITED")));
    retry_after(&mut response, seconds_up(wait));
    budget_headers(&mut response, budget);
    Err(Answer::early(response, "rate_limited"))
}

/// Takes the rest of the credential's budget; the refusal of this request, where there was a budget.
fn exhaust(core: &Core, settings: &Settings, who: &Identity) -> Option<Answer> {
    core.limits.exhaust(&who.budget_key(), settings, &core.clock);
    let mut answer = budget(core, settings, who).err()?;
    answer.outcome = format!("fault:{}", Action::QuotaExhausted.name());
    Some(answer)
}

/// Gives every error its trace id, and those of requests that were never executed their code; true when there
/// was one of those.
pub(super) fn code(errors: &mut [ServerError]) -> bool {
    let mut refused = false;
    for error in errors {
        let details = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
        let kind = details.get("code").map(ToString::to_string).unwrap_or_default();
        if kind.contains(VALIDATION) || kind.contains(PARSE) {
            refused = true;
        } else if error.path.is_empty() {
            // Variables that do not fit, an operation name that does not exist: refused before execution.
            details.set("code", VALIDATION);
            refused = true;
        }
        details.set("traceId", trace_id());
    }
    refused
}

/// Answers one request. `bare` says that the URL had no query string.
pub(crate) async fn handle(
    core: Arc<Core>,
    schema: RailwaySchema,
    headers: HeaderMap,
    bare: bool,
    body: Bytes,
) -> Response<Body> {
    let started = Instant::now();
    let at = rfc3339(core.clock.stamp());
    let settings = core.settings();
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let document: Option<Value> = serde_json::from_slice(&body).ok();
    let query =
        document.as_ref().and_then(|document| document["query"].as_str()).unwrap_or_default().to_owned();
    let name = document.as_ref().and_then(|document| document["operationName"].as_str()).map(str::to_owned);
    let variables = document.as_ref().map(|document| document["variables"].clone()).unwrap_or_default();
    let asked = read(&query, name.as_deref());
    core.secrets.note_json(&variables);
    let mut who = Identity::of(&headers, &core.world());
    let token = who.kind();
    let mut entry = Entry {
        at,
        operation: asked.operation.clone(),
        fields: asked.fields.clone(),
        kind: asked.kind,
        token,
        variables: redact_variables(&query, &variables),
        outcome: String::new(),
        error: None,
        status: 0,
        duration_ms: 0,
        mutation: false,
        environments: std::collections::BTreeSet::new(),
        user_agent: agent.clone(),
        query_string: !bare,
    };
    let answer = if let Some(answer) = edge(&core, &settings, agent.is_some(), bare) {
        answer
    } else if document.is_none() {
        Answer::early(json_response(400, &errors("the body is no JSON document", Some(PARSE))), "error")
    } else {
        match budget(&core, &settings, &who) {
            Err(answer) => answer,
            Ok(budget) => {
                let actions =
                    core.faults.take(Stage::Http, &asked.operation, &asked.fields, core.clock.now());
                let exhausted = actions
                    .contains(&Action::QuotaExhausted)
                    .then(|| exhaust(&core, &settings, &who))
                    .flatten();
                if let Some(answer) = exhausted {
                    answer
                } else {
                    if actions.contains(&Action::TokenRevoked) {
                        who = Identity::Nobody("Not Authorized");
                    }
                    let incoming = Incoming { query, name, variables, asked: &asked, headers: &headers };
                    let mut answer = act(&core, &schema, who, incoming, &actions, &mut entry).await;
                    budget_headers(&mut answer.response, budget);
                    answer
                }
            }
        }
    };
    entry.outcome = answer.outcome;
    entry.error = answer.error;
    let is_cut = answer.response.extensions().get::<Cut>().is_some();
    entry.status = if is_cut { 0 } else { answer.response.status().as_u16() };
    entry.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    core.journal.record(&core, &entry);
    answer.response
}

struct Incoming<'a> {
    query: String,
    name: Option<String>,
    variables: Value,
    asked: &'a Asked,
    headers: &'a HeaderMap,
}

impl Answer {
    pub(super) fn early(response: Response<Body>, outcome: &str) -> Self {
        Self { response, outcome: outcome.to_owned(), error: None }
    }

    /// The gateway gives up; only the journal is told why.
    fn problem(reason: &str) -> Self {
        let mut answer = Self::early(json_response(200, &errors(PROBLEM, None)), "too_broad");
        answer.error = Some(format!("{PROBLEM}: {reason}"));
        answer
    }
}

async fn act(
    core: &Arc<Core>,
    schema: &RailwaySchema,
    who: Identity,
    incoming: Incoming<'_>,
    actions: &[Action],
    entry: &mut Entry,
) -> Answer {
    let mut view = core.world();
    for action in actions {
        match action {
            Action::ClockJump { duration } => core.clock.advance(duration.get()),
            Action::ConcurrentActor { query, variables } => {
                concurrent(core, schema, query, variables).await;
                view = core.world();
            }
            Action::StaleReads { duration } if incoming.asked.kind == "query" => {
                view = core.world_before(duration.get());
            }
            _ => {}
        }
    }
    if let Some(answer) = before(actions, incoming.asked).await {
        return answer;
    }
    if let Some(reason) = breadth::refusal(&core.settings(), &incoming.query, incoming.name.as_deref()) {
        return Answer::problem(&reason);
    }
    let request = Arc::new(Request::new(Arc::clone(core), who, view));
    let mut execution = async_graphql::Request::new(incoming.query)
        .variables(Variables::from_json(incoming.variables))
        .data(Arc::clone(&request));
    if let Some(name) = incoming.name {
        execution = execution.operation_name(name);
    }
    let mut result = schema.execute(execution).await;
    if request.too_many_points() {
        return Answer::problem("the answer has too many samples of metrics");
    }
    let status = if code(&mut result.errors) { 400 } else { 200 };
    entry.mutation = request.mutated.load(Ordering::Relaxed);
    entry.environments.clone_from(&request.touched.lock().unwrap_or_else(PoisonError::into_inner));
    let error = result.errors.first().map(reason);
    let mut body = json!({});
    body["data"] = result.data.into_json().unwrap_or_default();
    if !result.errors.is_empty() {
        body["errors"] = serde_json::to_value(&result.errors).unwrap_or_default();
    }
    let mut outcome = if error.is_some() { "error".to_owned() } else { "ok".to_owned() };
    for action in actions {
        if reshape(action, &mut body, incoming.asked) {
            outcome = format!("fault:{}", action.name());
        }
    }
    let mut response = json_response(status, &body);
    for action in actions {
        let replaced = match action {
            Action::TruncatedJson => {
                let text = body.to_string();
                Some(respond(200, "application/json", text[..floor(&text, text.len() / 2)].to_owned()))
            }
            Action::FailAfterCommit { with: AfterCommit::GatewayTimeout } => {
                Some(respond(504, "text/html", HTML))
            }
            Action::FailAfterCommit { with: AfterCommit::Reset } => Some(cut()),
            Action::FailAfterCommit { with: AfterCommit::Problem } => {
                Some(json_response(200, &errors(PROBLEM, None)))
            }
            Action::SlowBody { duration } => Some(slow(&body, duration.get())),
            _ => None,
        };
        if let Some(replaced) = replaced {
            response = replaced;
            outcome = format!("fault:{}", action.name());
        }
    }
    if let Some(trace) = incoming.headers.get("x-request-id") {
        response.headers_mut().insert("x-request-id", trace.clone());
    }
    Answer { response, outcome, error }
}

/// The largest index at or below `at` that does not split a character.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Faults that answer without executing.
async fn before(actions: &[Action], asked: &Asked) -> Option<Answer> {
    for action in actions {
        let response = match action {
            Action::Http { status, body, retry_after: wait } => {
                let mut response = match (body, status) {
                    (Some(body), _) => respond(*status, "text/plain", body.clone()),
                    (None, 429) => {
                        json_response(429, &errors("You are being rate limited", Some("RATE_LIMITED")))
                    }
                    (None, _) => respond(*status, "text/html", HTML),
                };
                if let Some(wait) = wait {
                    retry_after(&mut response, *wait);
                    let reset_in = Duration::from_secs(*wait);
                    let budget = Budget { limit: 1, remaining: 0, reset_in, retry_after: None };
                    budget_headers(&mut response, Some(budget));
                }
                response
            }
            Action::Edge1015 => respond(429, "text/plain", "error code: 1015"),
            Action::Html => respond(200, "text/html", HTML),
            Action::Reset => cut(),
            Action::Hang { duration } => {
                let forever = Duration::from_hours(1);
                tokio::time::sleep(duration.map_or(forever, Into::into)).await;
                cut()
            }
            Action::FailBeforeCommit { code, message } => {
                json_response(200, &errors(message, code.as_deref()))
            }
            Action::BooleanFalse => {
                let data: BTreeMap<_, _> = asked.keys.iter().map(|key| (key.clone(), false)).collect();
                json_response(200, &json!({ "data": data }))
            }
            _ => continue,
        };
        return Some(Answer::early(response, &format!("fault:{}", action.name())));
    }
    None
}

/// Faults that change an executed answer; true when this was one.
pub(super) fn reshape(action: &Action, body: &mut Value, asked: &Asked) -> bool {
    match action {
        Action::PartialData { fields, message } => {
            let mut lost = Vec::new();
            for key in asked.keys.iter().filter(|key| fields.is_empty() || fields.contains(key)) {
                body["data"][key.as_str()] = Value::Null;
                let message = message.as_deref().unwrap_or("Internal Server Error");
                let extensions = json!({ "code": "INTERNAL_SERVER_ERROR", "traceId": trace_id() });
                lost.push(json!({ "message": message, "path": [key], "extensions": extensions }));
            }
            body["errors"] = Value::Array(lost);
            true
        }
        Action::DuplicateRows => {
            walk(&mut body["data"], &mut |key, value| {
                if key == "edges"
                    && let Some(rows) = value.as_array_mut()
                    && let Some(first) = rows.first().cloned()
                {
                    rows.insert(0, first);
                }
            });
            true
        }
        Action::EndlessPage => {
            walk(&mut body["data"], &mut |key, value| {
                if key == "pageInfo" && value.is_object() {
                    value["hasNextPage"] = json!(true);
                    value["endCursor"] = Value::Null;
                }
            });
            true
        }
        Action::UnknownEnum => {
            walk(&mut body["data"], &mut |key, value| {
                if key == "status" && value.is_string() {
                    *value = json!("MIGRATING_TO_NEW_HOST");
                }
            });
            true
        }
        Action::ReplaceField { field, value: new } => {
            walk(&mut body["data"], &mut |key, value| {
                if key == field {
                    *value = new.clone();
                }
            });
            true
        }
        Action::StaleReads { .. }
        | Action::ConcurrentActor { .. }
        | Action::ClockJump { .. }
        | Action::TokenRevoked => true,
        _ => false,
    }
}

fn walk(value: &mut Value, change: &mut impl FnMut(&str, &mut Value)) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter_mut() {
                change(key, inner);
                walk(inner, change);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, change)),
        _ => {}
    }
}

/// Somebody else's mutation, with the account's rights and outside faults, budgets and journal.
pub(super) async fn concurrent(core: &Arc<Core>, schema: &RailwaySchema, query: &str, variables: &Value) {
    let request = Arc::new(Request::new(Arc::clone(core), Identity::Account, core.world()));
    let execution =
        async_graphql::Request::new(query).variables(Variables::from_json(variables.clone())).data(request);
    let executed = schema.execute(execution).await;
    if let Some(error) = executed.errors.first() {
        tracing::warn!(reason = reason(error), "the concurrent actor of a fault rule failed");
    }
}

fn slow(body: &Value, duration: Duration) -> Response<Body> {
    let bytes = body.to_string().into_bytes();
    let pause = duration / u32::try_from(bytes.len().max(1)).unwrap_or(u32::MAX);
    let stream = futures::stream::unfold(bytes.into_iter(), move |mut rest| async move {
        let byte = rest.next()?;
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(Bytes::from(vec![byte])), rest))
    });
    respond(200, "application/json", Body::from_stream(stream))
}

/// Real seconds, rounded up, at least 1.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

fn retry_after(response: &mut Response<Body>, seconds: u64) {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
}

fn budget_headers(response: &mut Response<Body>, budget: Option<Budget>) {
    let Some(budget) = budget else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let reset = (now + budget.reset_in).as_secs();
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(budget.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(budget.remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    if let Ok(policy) = HeaderValue::from_str(&format!("{};w=3600", budget.limit)) {
        headers.insert("ratelimit-policy", policy);
    }
}
