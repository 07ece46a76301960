//! The request journal: what clients asked, without a single value they sent in confidence.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Mutex;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{Selection, SelectionSet};
use async_graphql::{ServerError, Value as Literal};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::core::Core;
use crate::railway::gql::{PARSE, VALIDATION};

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
const CONFIDENTIAL: [&str; 11] = [
    "value",
    "variables",
    "sharedvariables",
    "password",
    "token",
    "secret",
    "credentials",
    "authorization",
    // Targets of webhooks: the secret stands in the URL, and a test's payload is the client's own.
    "url",
    "channelconfig",
    "payload",
];

/// Replaces every value under a confidential key. Names stay, so that a test can see *which* variable was set.
fn redact(value: &Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter()
                .map(|(key, inner)| {
                    (key.clone(), if confidential(key) { blank(inner) } else { redact(inner) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(redact).collect()),
        other => other.clone(),
    }
}

fn confidential(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    // The two sides of a change set's change; longer names such as `beforeDate` are no secrets.
    ["before", "after"].contains(&lower.as_str()) || CONFIDENTIAL.iter().any(|word| lower.contains(word))
}

/// The variables of a request without confidential values: below confidential keys, and wherever the document
/// puts a variable of any name into a confidential place.
pub(crate) fn redact_variables(query: &str, variables: &Value) -> Value {
    let mut redacted = redact(variables);
    let Ok(document) = parse_query(query) else { return redacted };
    let mut hidden = BTreeSet::new();
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    for set in operations.chain(fragments) {
        hidden_in(set, &mut hidden);
    }
    for name in hidden {
        if let Some(value) = redacted.get_mut(&name) {
            *value = blank(value);
        }
    }
    redacted
}

/// What may be kept of an error. Of a document that was not executed it is the code and the place, since the
/// message quotes the document; of any other it is the message without what stands in quotes.
pub(crate) fn reason(error: &ServerError) -> String {
    let code = error.extensions.as_ref().and_then(|details| details.get("code"));
    let code = match code {
        Some(Literal::String(code)) => Some(code.as_str()),
        _ => None,
    };
    if error.path.is_empty() || code.is_some_and(|code| code == PARSE || code == VALIDATION) {
        let code = code.unwrap_or(VALIDATION);
        return error.locations.first().map_or_else(
            || code.to_owned(),
            |place| format!("{code} at line {}, column {}", place.line, place.column),
        );
    }
    unquoted(&error.message)
}

/// `message` without what lies between its first quotation mark and its last one: what is quoted is the client's,
/// and may hold quotation marks itself.
fn unquoted(message: &str) -> String {
    let mark = |found: char| matches!(found, '"' | '`');
    match (message.find(mark), message.rfind(mark)) {
        (Some(first), Some(last)) if first < last => {
            format!("{}{REDACTED}{}", &message[..=first], &message[last..])
        }
        (Some(first), _) => format!("{}{REDACTED}", &message[..=first]),
        _ => message.to_owned(),
    }
}

fn hidden_in(set: &SelectionSet, hidden: &mut BTreeSet<String>) {
    for selection in &set.items {
        match &selection.node {
            Selection::Field(field) => {
                for (name, value) in &field.node.arguments {
                    // No document holds a `Binary`: here it stands for a variable.
                    let marked = value.node.clone().into_const_with(|name| {
                        Ok::<_, Infallible>(Literal::Binary(name.to_string().into()))
                    });
                    let Ok(marked) = marked;
                    used(&marked, confidential(&name.node), hidden);
                }
                hidden_in(&field.node.selection_set.node, hidden);
            }
            Selection::InlineFragment(fragment) => hidden_in(&fragment.node.selection_set.node, hidden),
            Selection::FragmentSpread(_) => {}
        }
    }
}

/// Collects the variables that stand below a confidential name in `value`.
fn used(value: &Literal, below: bool, hidden: &mut BTreeSet<String>) {
    match value {
        Literal::Binary(name) if below => {
            hidden.insert(String::from_utf8_lossy(name).into_owned());
        }
        Literal::Object(map) => {
            map.iter().for_each(|(key, inner)| used(inner, below || confidential(key), hidden));
        }
        Literal::List(items) => items.iter().for_each(|inner| used(inner, below, hidden)),
        _ => {}
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

    #[test]
    fn both_sides_of_a_change_are_hidden_and_windows_are_not() {
        let kept = redact(
            &json!({ "kind": "variable.set", "after": "hunter2", "before": { "x": "p4ss" }, "beforeDate": "2026" }),
        );
        let wanted = json!({ "kind": "variable.set", "after": REDACTED, "before": { "x": REDACTED }, "beforeDate": "2026" });
        assert_eq!(kept, wanted);
    }

    #[test]
    fn what_a_message_quotes_is_not_kept() {
        assert_eq!(unquoted("Invalid region \"a\"b\""), "Invalid region \"[redacted]\"");
        assert_eq!(unquoted("a \"hunter2\": `p4ss` is none"), "a \"[redacted]` is none");
        assert_eq!(unquoted("an open \"hunter2"), "an open \"[redacted]");
        assert_eq!(unquoted("Not Authorized"), "Not Authorized");
    }

    #[test]
    fn a_variable_is_hidden_by_the_place_it_is_put_into_whatever_its_name() {
        let query = "mutation($x: String!, $y: String!, $z: String!) {
            a: webhookTest(url: $x, payload: $y) ... on Mutation { variableUpsert(input: { name: $z, value: $y }) } }";
        let redacted = redact_variables(query, &json!({ "x": "http://h/hunter2", "y": "p4ss", "z": "NAME" }));
        assert_eq!(redacted, json!({ "x": REDACTED, "y": REDACTED, "z": "NAME" }));
    }
}
