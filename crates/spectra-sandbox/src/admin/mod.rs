//! `/_sandbox/…`: what tests and `railway-deployer sandbox` steer the sandbox with. Documented in
//! `docs/sandbox.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use spectra_types::HumanDuration;

use crate::clock::LONGEST;
use crate::core::Core;
use crate::faults::Rule;
use crate::railway::gql::scalars::rfc3339;
use crate::settings::Settings;

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn ok(body: &Value) -> Response<Body> {
    answer(StatusCode::OK, body)
}

fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    answer(status, &json!({ "error": message }))
}

/// Answers one admin request; `path` is what follows `/_sandbox/`.
pub(crate) fn handle(
    core: &Arc<Core>,
    method: &Method,
    path: &str,
    query: &str,
    body: &Bytes,
) -> Response<Body> {
    let query: BTreeMap<String, String> =
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    match (method.as_str(), path.trim_end_matches('/')) {
        ("GET", "status") => ok(&status(core)),
        ("GET", "journal") => journal(core, &query),
        ("DELETE", "journal") => {
            core.journal.reset();
            match core.store().clear_journal() {
                Ok(count) => ok(&json!({ "deleted": count })),
                Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            }
        }
        ("GET", "deliveries") => deliveries(core),
        ("GET", "faults") => ok(&json!({ "faults": core.faults.list() })),
        ("POST", "faults") => set_fault(core, body),
        ("DELETE", "faults") => {
            let cleared = core.faults.clear(query.get("id").map(String::as_str));
            core.parts.registry.forget_waits();
            keep_faults(core).unwrap_or_else(|| ok(&json!({ "cleared": cleared })))
        }
        ("GET", "violations") => {
            let registry = &core.parts.registry;
            ok(&json!({ "violations": registry.violations(), "met": registry.met() }))
        }
        ("DELETE", "violations") => {
            core.parts.registry.clear_violations();
            ok(&json!({ "cleared": true }))
        }
        ("GET", "settings") => ok(&json!(*core.settings())),
        ("PUT", "settings") => put_settings(core, body),
        ("GET", "secrets") => secrets(core, &[]),
        ("POST", "secrets") => more_secrets(core, body),
        ("POST", "clock") => clock(core, body),
        ("POST", "shutdown") => {
            core.shutdown.cancel();
            ok(&json!({ "shutdown": true }))
        }
        (
            _,
            "status" | "journal" | "deliveries" | "faults" | "settings" | "secrets" | "clock" | "shutdown"
            | "violations",
        ) => refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            &format!("`{method}` is not offered on `/_sandbox/{path}`"),
        ),
        _ => refuse(StatusCode::NOT_FOUND, &format!("there is no `/_sandbox/{path}`")),
    }
}

fn journal(core: &Core, query: &BTreeMap<String, String>) -> Response<Body> {
    let number = |key: &str, default: i64| match query.get(key) {
        None => Ok(default),
        Some(text) => {
            text.parse::<i64>().map_err(|_| format!("`{key}` cannot be `{text}`: use a whole number"))
        }
    };
    let (since, limit) = match (number("since", 0), number("limit", 10_000)) {
        (Ok(since), Ok(limit)) => (since, usize::try_from(limit).unwrap_or(0)),
        (Err(message), _) | (_, Err(message)) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    match core.store().journal(since, limit) {
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        Ok(rows) => {
            let last = rows.last().map_or(since, |(seq, _)| *seq);
            let entries: Vec<Value> = rows
                .into_iter()
                .filter_map(|(seq, body)| {
                    let mut entry: Map<String, Value> = serde_json::from_str(&body).ok()?;
                    entry.insert("seq".to_owned(), json!(seq));
                    Some(Value::Object(entry))
                })
                .collect();
            ok(&json!({ "entries": entries, "last": last }))
        }
    }
}

/// What the webhook sender has done, oldest first.
fn deliveries(core: &Core) -> Response<Body> {
    let world = core.world();
    let mut rows: Vec<_> = world.deliveries.iter().collect();
    rows.sort_by_key(|row| row.sequence);
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            let attempts: Vec<Value> = row
                .attempts
                .iter()
                .map(|attempt| {
                    json!({ "at": rfc3339(attempt.at), "tick": attempt.tick, "status": attempt.status, "error": attempt.error })
                })
                .collect();
            json!({
                "id": row.id,
                "rule": row.rule_id,
                "type": row.event_type,
                "project_id": row.project_id,
                "environment_id": row.environment_id,
                "url": row.url,
                "state": row.state,
                "attempts": attempts,
                "body": row.body,
            })
        })
        .collect();
    ok(&json!({ "deliveries": rows }))
}

/// Looks for every secret that was ever given in whatever else is kept.
fn secrets(core: &Core, more: &[String]) -> Response<Body> {
    // What is still on its way to the disk is looked at too.
    core.traffic.save(core);
    match core.secrets.check(&core.store(), more) {
        Ok((count, places)) => ok(&json!({ "secrets": count, "found": places.len(), "places": places })),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn more_secrets(core: &Core, body: &Bytes) -> Response<Body> {
    let values = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|body| serde_json::from_value::<Vec<String>>(body["values"].clone()).ok());
    match values {
        Some(values) => secrets(core, &values),
        None => refuse(StatusCode::BAD_REQUEST, "`values` must be a list of texts"),
    }
}

/// Writes the rules down; `Some` is the error to answer.
fn keep_faults(core: &Core) -> Option<Response<Body>> {
    let error = core.store().put_document("faults", &core.faults.list()).err()?;
    Some(refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()))
}

fn set_fault(core: &Core, body: &Bytes) -> Response<Body> {
    let rule: Rule = match serde_json::from_slice(body) {
        Ok(rule) => rule,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("this is no fault rule: {error}")),
    };
    if let Err(message) = rule.check() {
        return refuse(StatusCode::BAD_REQUEST, &message);
    }
    let rule = core.faults.set(rule, core.clock.now());
    keep_faults(core).unwrap_or_else(|| answer(StatusCode::CREATED, &json!(rule)))
}

fn put_settings(core: &Core, body: &Bytes) -> Response<Body> {
    let change: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(change) => change,
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, &format!("settings must be an object: {error}"));
        }
    };
    let mut all = json!(*core.settings());
    for (key, value) in change {
        all[key] = value;
    }
    let settings: Settings = match serde_json::from_value(all) {
        Ok(settings) => settings,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, &format!("these are no settings: {error}")),
    };
    if let Err(message) = settings.check() {
        return refuse(StatusCode::BAD_REQUEST, &message);
    }
    match core.put_settings(settings) {
        Ok(()) => ok(&json!(*core.settings())),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn clock(core: &Core, body: &Bytes) -> Response<Body> {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let advance = parsed["advance"].as_str().unwrap_or_default();
    match advance.parse::<HumanDuration>() {
        Ok(duration) if duration.get() > LONGEST => {
            refuse(StatusCode::BAD_REQUEST, "`advance` can be ten years (`87840h`) at most")
        }
        Ok(duration) => {
            core.clock.advance(duration.get());
            core.keep_clock();
            ok(&json!({ "now": core.clock.now(), "advanced": duration }))
        }
        Err(error) => {
            refuse(StatusCode::BAD_REQUEST, &format!("`advance` must be a duration such as `30s`: {error}"))
        }
    }
}

fn status(core: &Core) -> Value {
    let world = core.world();
    let requests = core.traffic.totals();
    let mut deployments: BTreeMap<String, usize> = BTreeMap::new();
    let mut services = Vec::new();
    for row in world.deployments.iter() {
        *deployments.entry(row.service_id.clone()).or_default() += 1;
    }
    for row in world.instances.iter().filter(|row| row.times.live()) {
        let active = world.active(&row.environment_id, &row.service_id);
        let all = world.deployments_of(&row.environment_id, &row.service_id);
        let newest = all.first();
        let urls: Vec<String> = world
            .domains
            .iter()
            .filter(|domain| {
                domain.environment_id == row.environment_id && domain.service_id == row.service_id
            })
            .filter(|domain| domain.times.live())
            .map(|domain| format!("http://{}", domain.domain))
            .collect();
        let proxies: Vec<Value> = world
            .proxies
            .iter()
            .filter(|proxy| proxy.environment_id == row.environment_id && proxy.service_id == row.service_id)
            .filter(|proxy| proxy.times.live())
            .map(|proxy| {
                json!({
                    "id": proxy.id,
                    "proxy_port": proxy.proxy_port,
                    "application_port": proxy.application_port,
                    "error": core.parts.tcp.refusal(&proxy.id),
                })
            })
            .collect();
        let digest = active
            .as_ref()
            .and_then(|active| active.pinned.as_ref())
            .and_then(|pinned| pinned.split_once('@'))
            .map(|(_, digest)| digest.to_owned());
        let counts: BTreeMap<&str, u64> = all
            .iter()
            .filter_map(|deployment| Some((deployment.id.as_str(), *requests.get(&deployment.id)?)))
            .collect();
        services.push(json!({
            "project_id": row.project_id,
            "project": world.projects.get(&row.project_id).map(|project| project.name.clone()),
            "environment_id": row.environment_id,
            "environment": world.environments.get(&row.environment_id).map(|environment| environment.name.clone()),
            "service_id": row.service_id,
            "service": world.services.get(&row.service_id).map(|service| service.name.clone()),
            "source_image": row.image,
            "urls": urls,
            "tcp_proxies": proxies,
            "running_digest": digest,
            "active_deployment": active.as_ref().map(|active| active.id.clone()),
            "active_status": active.as_ref().map(|active| active.status),
            "replicas": active.as_ref().map(|active| active.replicas.clone()).unwrap_or_default(),
            "latest_deployment": newest.map(|newest| newest.id.clone()),
            "latest_status": newest.map(|newest| newest.status),
            "deployments": all.len(),
            "requests": counts,
        }));
    }
    json!({
        "version": 1,
        "pid": core.info.pid,
        "url": core.info.url,
        "endpoint": core.info.endpoint,
        "registry": core.info.registry,
        "workspace_id": core.info.workspace_id,
        "clock": { "now": core.clock.now(), "uptime_ms": u64::try_from(core.clock.uptime().as_millis()).unwrap_or(u64::MAX) },
        "objects": core.object_counts(),
        "deployments_by_service": deployments,
        "environments_touched": core.journal.environments(),
        "services": services,
    })
}
