//! From the attributes to a request of the engine.
//!
//! The steps and metrics have the same names in both, so they are handed on as data: what has no value is left out, and
//! `{ canary = { … } }` becomes `{ step = "canary", … }`.

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use spectra_delivery::{ABILITIES, Error, Signatures, freezes, governed, signed};
use spectra_journal::Journal;
use spectra_rollout::Adopt;
use spectra_rollout::spec::{Problem, RolloutRequest, check};
use spectra_types::error_chain;
use tfplugin::{AttributePath, Diagnostic, ToValue, Value};

use super::model::RolloutModel;
use crate::errors::{UNCHANGED, sentence};
use crate::provider::Cx;

/// Ids and an image that stand for what is not known yet, so that the rest can be checked.
const NOT_YET: &str = "not-known-yet";

impl RolloutModel {
    /// What the engine is asked for. `None` while something that matters is not known; ids and the image do not matter
    /// for a check. The `Err` is a mistake of this provider.
    pub(crate) fn request(&self, adopt: Adopt) -> Result<Option<RolloutRequest>, String> {
        let mut request = Map::new();
        let id = |known: Option<String>| known.unwrap_or_else(|| NOT_YET.to_owned());
        request.insert(
            "place".to_owned(),
            json!({
                "project": id(self.project_id.as_known().map(ToString::to_string)),
                "environment": id(self.environment_id.as_known().map(ToString::to_string)),
                "service": id(self.service_id.as_known().map(ToString::to_string)),
            }),
        );
        let image = self
            .image
            .as_known()
            .map_or_else(|| format!("{NOT_YET}/{NOT_YET}@sha256:{}", "0".repeat(64)), ToString::to_string);
        request.insert("candidate".to_owned(), Json::String(image));
        request.insert("adopt".to_owned(), json!(adopt));
        for (name, value) in [
            ("health", self.health.to_value()),
            ("steps", self.steps.to_value()),
            ("metrics", self.metrics.to_value()),
            ("approval", self.approval.to_value()),
            ("bake", self.bake.to_value()),
            ("progress_deadline", self.progress_deadline.to_value()),
            ("timeout", self.timeout.to_value()),
            ("abort_timeout", self.abort_timeout.to_value()),
            ("freeze_override", self.freeze_override.to_value()),
            ("depends_on", self.depends_on_rollouts.to_value()),
        ] {
            let Ok(json) = json_of(&value) else { return Ok(None) };
            let json = match name {
                "steps" => list(json, step),
                "metrics" => list(json, metric),
                _ => json,
            };
            if !json.is_null() {
                request.insert(name.to_owned(), json);
            }
        }
        let Ok(inconclusive) = json_of(&self.on_inconclusive.to_value()) else { return Ok(None) };
        let Ok(hold) = json_of(&self.hold_for.to_value()) else { return Ok(None) };
        if let Json::String(word) = inconclusive {
            let policy = if word == "hold" { json!({ "hold": hold }) } else { Json::String(word) };
            request.insert("on_inconclusive".to_owned(), policy);
        }
        serde_json::from_value(Json::Object(request)).map(Some).map_err(|error| error.to_string())
    }

    /// What is wrong with it, as far as it is known.
    pub(crate) fn problems(&self) -> Vec<Diagnostic> {
        match self.request(Adopt::IfRunning) {
            Ok(None) => Vec::new(),
            Ok(Some(request)) => check(&request, &ABILITIES).iter().map(diagnostic).collect(),
            Err(error) => vec![Diagnostic::error(
                "The rollout cannot be read",
                format!(
                    "The attributes make no request of the engine: {error}. This is a mistake in the provider."
                ),
            )],
        }
    }
}

fn diagnostic(problem: &Problem) -> Diagnostic {
    Diagnostic::error("The rollout cannot work", format!("`{}`: {}.", problem.path, problem.message))
        .at(attribute(&problem.path))
}

/// The attribute of a path such as `steps[2].metrics[0].max`: as deep as the two shapes agree.
fn attribute(path: &str) -> AttributePath {
    let first = path.split('.').next().unwrap_or(path);
    let Some((name, index)) = first.split_once('[') else { return AttributePath::from(first) };
    match index.trim_end_matches(']').parse() {
        Ok(index) => AttributePath::from(name).index(index),
        Err(_) => AttributePath::from(name),
    }
}

/// Something is not known yet.
struct Unknown;

/// Plain data; what has no value is left out of objects.
fn json_of(value: &Value) -> Result<Json, Unknown> {
    Ok(match value {
        Value::Null => Json::Null,
        Value::Unknown(_) => return Err(Unknown),
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Number(number) => match number.to_i64() {
            Some(whole) => json!(whole),
            None => json!(number.to_f64()),
        },
        Value::String(text) => Json::String(text.clone()),
        Value::List(items) | Value::Set(items) | Value::Tuple(items) => {
            Json::Array(items.iter().map(json_of).collect::<Result<_, _>>()?)
        }
        Value::Map(entries) | Value::Object(entries) => {
            let mut object = Map::new();
            for (name, value) in entries {
                let json = json_of(value)?;
                if !json.is_null() {
                    object.insert(name.clone(), json);
                }
            }
            Json::Object(object)
        }
        Value::Dynamic(inner) => json_of(&inner.1)?,
    })
}

fn list(json: Json, each: impl Fn(Json) -> Json) -> Json {
    match json {
        Json::Array(items) => Json::Array(items.into_iter().map(each).collect()),
        other => other,
    }
}

/// `{ canary = { … } }` to `{ step = "canary", … }`.
fn step(json: Json) -> Json {
    let Some((kind, mut body)) = only(json) else { return Json::Null };
    if let Json::Object(fields) = &mut body {
        if let Some(metrics) = fields.remove("metrics") {
            fields.insert("metrics".to_owned(), list(metrics, metric));
        }
        fields.insert("step".to_owned(), Json::String(kind));
        return body;
    }
    json!({ "step": kind })
}

fn metric(mut json: Json) -> Json {
    if let Some(source) = json.get_mut("source") {
        let taken = source.take();
        *source = self::source(taken);
    }
    json
}

/// `{ http_status = "error" }` to `{ kind = "http_status", ratio = "error" }`.
fn source(json: Json) -> Json {
    let Some((kind, body)) = only(json) else { return Json::Null };
    match (kind.as_str(), body) {
        ("http_status" | "http_log_status", ratio) => json!({ "kind": kind, "ratio": ratio }),
        ("http_duration" | "http_log_duration", percentile) => {
            json!({ "kind": kind, "percentile": percentile })
        }
        ("command", run) => json!({ "kind": kind, "run": run }),
        (_, Json::Object(mut fields)) => {
            fields.insert("kind".to_owned(), Json::String(kind));
            Json::Object(fields)
        }
        (_, _) => json!({ "kind": kind }),
    }
}

/// The one attribute that has a value.
fn only(json: Json) -> Option<(String, Json)> {
    match json {
        Json::Object(fields) => fields.into_iter().next(),
        _ => None,
    }
}

/// What the plan says of the way that a rollout will take.
pub(crate) fn schedule(request: &RolloutRequest) -> Vec<String> {
    let schedule = spectra_rollout::spec::schedule(request);
    let human = |duration: std::time::Duration| spectra_types::HumanDuration::new(duration);
    let mut lines: Vec<String> = schedule
        .steps
        .iter()
        .map(|step| {
            if step.at_least.is_zero() {
                step.title.clone()
            } else {
                format!("{} (at least {})", step.title, human(step.at_least))
            }
        })
        .collect();
    lines.push(format!(
        "ends after {} at the earliest and {} at the latest, the way back included",
        human(schedule.at_least),
        human(schedule.at_most)
    ));
    // Terraform shows only the lines that differ, so each says which image it is about.
    let image = request.candidate.digest().short();
    lines.into_iter().enumerate().map(|(at, line)| format!("{image} {}: {line}", at + 1)).collect()
}

/// What whoever applies this should know: what would hold it up or refuse it, as things are now. The apply asks again, so it is
/// no error here: a window or a policy may go with the same apply. Missing signatures alone are one: they do not come with an
/// apply, and a plan with an image that nobody answers for is not to be approved.
pub(crate) async fn warnings(cx: &Cx, request: &RolloutRequest) -> Vec<Diagnostic> {
    let mut found: Vec<_> = cx.client.journal_of_this_machine_alone().into_iter().collect();
    if request.place.environment.as_str() == NOT_YET {
        return found;
    }
    match gates(cx, request).await {
        Ok(gates) => found.extend(gates),
        // The apply needs the journal, and says what is wrong with it.
        Err(message) => found.push(Diagnostic::warning(
            "Freeze windows and policies could not be read",
            format!(
                "{}. The apply asks again, and begins nothing before it has an answer.",
                sentence(&message)
            ),
        )),
    }
    found
}

async fn gates(cx: &Cx, request: &RolloutRequest) -> Result<Vec<Diagnostic>, String> {
    let Some(journal) = cx.client.journal_if_there().await.map_err(|error| error_chain(&error))? else {
        return Ok(Vec::new());
    };
    let now = Timestamp::now();
    let end = now.checked_add(spectra_rollout::spec::schedule(request).at_most).unwrap_or(Timestamp::MAX);
    let mut found = Vec::new();
    for (window, hit) in
        freezes(journal, &request.place, now, end).await.map_err(|error| error_chain(&error))?
    {
        let over = match &request.freeze_override {
            Some(reason) => format!("`freeze_override` lets it through: {reason}."),
            None => {
                "Apply when it is over, or give `freeze_override` a reason, which is recorded.".to_owned()
            }
        };
        found.push(
            Diagnostic::warning(
                "A freeze window holds this rollout up",
                format!("The {window} holds from {} until {}. {over}", hit.from, hit.to),
            )
            .at("freeze_override"),
        );
    }
    found.extend(signatures(cx, journal, request).await?);
    match governed(journal, request.clone()).await {
        Ok(_) => {}
        Err(error @ Error::Policy { .. }) => found.push(Diagnostic::warning(
            "A deployment policy refuses this rollout",
            format!("{} [{}].", sentence(&error_chain(&error)), error.code()),
        )),
        Err(error) => return Err(error_chain(&error)),
    }
    Ok(found)
}

/// What the signature policies of the place say of the image.
async fn signatures(
    cx: &Cx,
    journal: &Journal,
    request: &RolloutRequest,
) -> Result<Option<Diagnostic>, String> {
    if request.candidate.registry() == NOT_YET {
        return Ok(None);
    }
    let certificates = crate::signatures::certificates_if_needed();
    let registry = Signatures { source: Some(cx.client.registry()), certificates, policies: &[] };
    match signed(journal, &registry, &request.place, &request.candidate, &cx.cancel).await {
        Ok(_) => Ok(None),
        Err(error @ Error::Unsigned(_)) => {
            let hint = error.hint().map(sentence).unwrap_or_default();
            let detail = format!(
                "{} [{}].\n\n{hint}. Where the policy is to change with this apply, apply it first, alone.",
                sentence(&error_chain(&error)),
                error.code()
            );
            Ok(Some(
                Diagnostic::error("The image is not signed as the deployment policy wants it", detail)
                    .at("image"),
            ))
        }
        Err(error @ Error::Interrupted { .. }) => Ok(Some(
            Diagnostic::error(
                "The plan was interrupted",
                format!("{} [{}]. {UNCHANGED}", sentence(&error.to_string()), error.code()),
            )
            .at("image"),
        )),
        Err(error @ Error::SignaturesUnavailable(_)) => Ok(Some(
            Diagnostic::warning(
                "The signatures of the image could not be read",
                format!(
                    "{} [{}]. The apply asks again, and begins nothing before it has an answer.",
                    sentence(&error_chain(&error)),
                    error.code()
                ),
            )
            .at("image"),
        )),
        Err(error) => Err(error_chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use spectra_rollout::{DeploymentPolicy, Reach};
    use tfplugin::Severity;
    use tokio::net::TcpListener;

    use super::*;
    use crate::fake::{Fake, signed_by_somebody};

    #[tokio::test]
    async fn a_plan_that_is_interrupted_waits_for_no_registry() {
        let fake = Fake::start().await;
        let signatures = Some(signed_by_somebody());
        fake.put(&DeploymentPolicy { signatures, ..DeploymentPolicy::new("signed", Reach::Everything) })
            .await;
        // It accepts connections, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let image = format!("127.0.0.1:{port}/acme/web@sha256:{}", "a".repeat(64)).parse().unwrap();
        let place = spectra_rollout::Place {
            project: "p-1".parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: "s-1".parse().unwrap(),
        };
        let said = warnings(&fake.stopped().await, &RolloutRequest::new(place, image)).await;
        let [one] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!((one.severity, one.summary.as_str()), (Severity::Error, "The plan was interrupted"));
    }
}
