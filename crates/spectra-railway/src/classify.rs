//! From Railway's words to a class.
//!
//! Most refusals carry the code `INTERNAL_SERVER_ERROR`, so the message decides first and the code second. Messages
//! are compared in lower case and by fragment, since gateways put prefixes before them.

use serde::Deserialize;

use crate::error::{Error, ErrorKind};
use crate::gql::Effect;

/// One entry of `errors`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GraphqlError {
    #[serde(default)]
    message: String,
    extensions: Option<Extensions>,
    trace_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Extensions {
    code: Option<String>,
    trace_id: Option<String>,
    workspace_name: Option<String>,
}

/// Fragments, most specific first.
const MESSAGES: &[(&str, ErrorKind)] = &[
    ("project token not found", ErrorKind::Unauthenticated),
    ("two factor authentication required", ErrorKind::Forbidden),
    // The instance of a service appears some time after the service.
    ("serviceinstance not found", ErrorKind::NotYet),
    ("service instance not found", ErrorKind::NotYet),
    ("bucketinstancecredential not found", ErrorKind::NotYet),
    ("whoa there pal", ErrorKind::Cooldown),
    ("too quickly", ErrorKind::Cooldown),
    ("can be created per user every", ErrorKind::Cooldown),
    ("cannot redeploy yet", ErrorKind::Cooldown),
    ("an operation is already in progress", ErrorKind::Cooldown),
    ("failed to create service domain, please try again", ErrorKind::Cooldown),
    ("failed to create custom domain, please try again", ErrorKind::Cooldown),
    ("cannot redeploy without a snapshot", ErrorKind::Business),
    ("already exists", ErrorKind::Conflict),
    ("is not a valid domain", ErrorKind::BadInput),
    ("invalid project name", ErrorKind::BadInput),
    ("commit not found", ErrorKind::BadInput),
    ("error in predeploycommand - invalid input", ErrorKind::BadInput),
    ("not authorized", ErrorKind::Forbidden),
    ("unauthenticated", ErrorKind::Unauthenticated),
];

const GATEWAY_FAILURE: &str = "problem processing request";

fn of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "UNAUTHENTICATED" | "UNAUTHORIZED" => ErrorKind::Unauthenticated,
        "FORBIDDEN" => ErrorKind::Forbidden,
        "BAD_USER_INPUT" => ErrorKind::BadInput,
        "GRAPHQL_VALIDATION_FAILED" | "GRAPHQL_PARSE_FAILED" => ErrorKind::SchemaMismatch,
        "NOT_FOUND" | "RESOURCE_NOT_FOUND" => ErrorKind::NotFound,
        "RATE_LIMITED" | "TOO_MANY_REQUESTS" => ErrorKind::RateLimited,
        "PLAN_LIMIT" | "SUBSCRIPTION_REQUIRED" => ErrorKind::PlanLimit,
        "STALE_ENVIRONMENT_BASE" => ErrorKind::StaleBase,
        _ => return None,
    })
}

pub(crate) fn classify(code: Option<&str>, message: &str, effect: Effect) -> ErrorKind {
    let message = message.to_lowercase();
    if message.contains(GATEWAY_FAILURE) {
        return match effect {
            Effect::Read => ErrorKind::Transport,
            Effect::Write => ErrorKind::Ambiguous,
        };
    }
    if let Some((_, kind)) = MESSAGES.iter().find(|(fragment, _)| message.contains(fragment)) {
        return *kind;
    }
    if let Some(kind) = code.and_then(of_code) {
        return kind;
    }
    if message.contains("not found") { ErrorKind::NotFound } else { ErrorKind::Business }
}

/// Turns a non-empty `errors` list into one error: the class is the first entry's, the words are everybody's.
pub(crate) fn to_error(
    operation: &'static str,
    effect: Effect,
    errors: &[GraphqlError],
    partial_data: bool,
) -> Error {
    let first = errors.first();
    let code = first.and_then(|error| error.extensions.as_ref()?.code.as_deref());
    let mut kind = classify(code, first.map_or("", |error| error.message.as_str()), effect);
    let mut words = errors
        .iter()
        .map(
            |error| {
                if error.message.is_empty() { "an error without a message" } else { error.message.as_str() }
            },
        )
        .collect::<Vec<_>>()
        .join("; ");
    if partial_data && effect == Effect::Write {
        // The mutation itself answered, a field of its answer did not: the change was made.
        kind = ErrorKind::Ambiguous;
        words.push_str("; the answer is incomplete, so the change was probably made");
    }
    let trace = errors.iter().find_map(|error| {
        error.trace_id.clone().or_else(|| error.extensions.as_ref().and_then(|e| e.trace_id.clone()))
    });
    let workspace = first.and_then(|error| error.extensions.as_ref()?.workspace_name.clone());
    let error = Error::new(kind, operation, words).trace(trace);
    match workspace {
        Some(name) => error.hinting(format!(
            "workspace `{name}` demands two-factor authentication: enable it for the account that owns the token"
        )),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_before_codes_and_case_does_not_matter() {
        const ISE: Option<&str> = Some("INTERNAL_SERVER_ERROR");
        let cases = [
            (ISE, "input:3: projectCreate You are creating projects too quickly", ErrorKind::Cooldown),
            (ISE, "Whoa there pal! Only one environment can be created", ErrorKind::Cooldown),
            (ISE, "Cannot redeploy yet, please wait for the original deployment", ErrorKind::Cooldown),
            (ISE, "Cannot redeploy without a snapshot", ErrorKind::Business),
            (ISE, "ServiceInstance not found", ErrorKind::NotYet),
            (ISE, "Service not found", ErrorKind::NotFound),
            (ISE, "A service named \"web\" already exists in this project", ErrorKind::Conflict),
            (ISE, "Project Token not found", ErrorKind::Unauthenticated),
            (None, "Not Authorized", ErrorKind::Forbidden),
            (Some("FORBIDDEN"), "no", ErrorKind::Forbidden),
            (Some("STALE_ENVIRONMENT_BASE"), "base moved", ErrorKind::StaleBase),
            (Some("GRAPHQL_VALIDATION_FAILED"), "Cannot query field", ErrorKind::SchemaMismatch),
            (Some("PLAN_LIMIT"), "upgrade", ErrorKind::PlanLimit),
            (Some("BAD_USER_INPUT"), "x", ErrorKind::BadInput),
            (Some("TOO_MANY_REQUESTS"), "x", ErrorKind::RateLimited),
            (Some("NEVER_SEEN"), "the moon is full", ErrorKind::Business),
        ];
        for (code, message, expected) in cases {
            assert_eq!(classify(code, message, Effect::Write), expected, "{code:?} {message}");
            assert_eq!(
                classify(code, &message.to_uppercase(), Effect::Write),
                expected,
                "{code:?} {message}"
            );
        }
    }

    #[test]
    fn a_gateway_failure_is_ambiguous_for_writes_only() {
        assert_eq!(classify(None, "Problem processing request", Effect::Read), ErrorKind::Transport);
        assert_eq!(classify(None, "Problem processing request", Effect::Write), ErrorKind::Ambiguous);
    }
}
