//! The request journal: what clients asked, without a single value they sent in confidence.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::core::Core;

/// What stands in the place of a value.
pub(crate) const REDACTED: &str = "[redacted]";

/// One request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// Wall time the request arrived, RFC 3339.
    pub(crate) at: String,
    /// `operationName`, or the first root field where the client named none.
    pub(crate) operation: String,
    /// Root fields of the operation.
    pub(crate) fields: Vec<String>,
    /// `query`, `mutation` or `subscription`; `unknown` when the document could not be read.
    pub(crate) kind: &'static str,
    /// `account`, `workspace`, `project` or `none`.
    pub(crate) token: &'static str,
    /// Variables with confidential values replaced.
    pub(crate) variables: Value,
    /// `ok`, `error`, or `fault:<kind>`.
    pub(crate) outcome: String,
    /// First error message, if any.
    pub(crate) error: Option<String>,
    /// HTTP status answered; 0 when the connection was cut.
    pub(crate) status: u16,
    /// Real milliseconds.
    pub(crate) duration_ms: u64,
    /// The request changed the state.
    pub(crate) mutation: bool,
    /// Environments it changed.
    pub(crate) environments: BTreeSet<String>,
    /// `User-Agent`.
    pub(crate) user_agent: Option<String>,
    /// The URL had a query string.
    pub(crate) query_string: bool,
}

/// Totals since the last reset that survive no restart.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    touched: Mutex<BTreeSet<String>>,
}

impl Journal {
    /// Appends `entry`. A failing disk is logged and does not fail the request.
    pub(crate) fn record(&self, core: &Core, entry: &Entry) {
        if let Ok(mut touched) = self.touched.lock() {
            touched.extend(entry.environments.iter().cloned());
        }
        let body = match serde_json::to_string(entry) {
            Ok(body) => body,
            Err(error) => {
                tracing::error!(%error, "cannot encode a journal row");
                return;
            }
        };
        if let Err(error) = core.store().append_journal(&body) {
            tracing::error!(%error, "cannot write a journal row");
        }
    }

    /// Environments changed since the last reset.
    pub(crate) fn environments(&self) -> BTreeSet<String> {
        self.touched.lock().map(|touched| touched.clone()).unwrap_or_default()
    }

    /// Forgets the totals.
    pub(crate) fn reset(&self) {
        if let Ok(mut touched) = self.touched.lock() {
            touched.clear();
        }
    }
}

/// Keys below which nothing may be kept, compared in lower case and by part.
const CONFIDENTIAL: [&str; 8] =
    ["value", "variables", "sharedvariables", "password", "token", "secret", "credentials", "authorization"];

/// Replaces every value under a confidential key. Names stay, so that a test can see *which* variable was set.
pub(crate) fn redact(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, inner)| {
                    let lower = key.to_ascii_lowercase();
                    let hidden = CONFIDENTIAL.iter().any(|word| lower.contains(word));
                    (key.clone(), if hidden { blank(inner) } else { redact(inner) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(redact).collect()),
        other => other.clone(),
    }
}

fn blank(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.iter().map(|(key, inner)| (key.clone(), blank(inner))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(blank).collect()),
        Value::Null => Value::Null,
        Value::Bool(flag) => Value::Bool(*flag),
        Value::String(_) | Value::Number(_) => Value::String(REDACTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_vanish_and_names_stay() {
        let redacted = redact(&json!({
            "input": {
                "serviceId": "s", "name": "A", "value": "hunter2", "variables": {"DB": "p4ss"},
                "registryCredentials": {"username": "u", "password": "x"},
                "services": {"id": {"variables": {"K": {"value": "v", "isSealed": true}}, "source": {"image": "i"}}}
            }
        }));
        let text = redacted.to_string();
        for secret in ["hunter2", "p4ss", "\"x\"", "\"v\""] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(redacted["input"]["variables"]["DB"], REDACTED);
        assert_eq!(redacted["input"]["services"]["id"]["source"]["image"], "i");
    }
}
