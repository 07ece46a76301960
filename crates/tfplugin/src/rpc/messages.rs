//! Between the framework's types and the protocol's messages.

use super::text::harmless;
use crate::proto::tfplugin6 as proto;
use crate::{AttributePath, Diagnostic, Diagnostics, PathStep, Severity, Type, Value, codec};

/// Decodes a value of a request; absent is null.
pub(super) fn decode(
    value: Option<&proto::DynamicValue>,
    ty: &Type,
    what: &str,
) -> Result<Value, Diagnostic> {
    let Some(value) = value else { return Ok(Value::Null) };
    codec::decode_dynamic_value(&value.msgpack, &value.json, ty).map_err(|error| {
        Diagnostic::error(
            format!("Cannot read the {what}"),
            format!("What Terraform has sent does not fit the schema: {error}. Nothing was changed."),
        )
        .at(error.path.clone())
    })
}

/// Encodes a value of an answer.
pub(super) fn encode(value: &Value, ty: &Type, what: &str) -> Result<proto::DynamicValue, Diagnostic> {
    let msgpack = codec::msgpack::encode(value, ty).map_err(|error| {
        Diagnostic::provider_bug(format!("The {what} does not fit the schema: {error}."))
            .at(error.path.clone())
    })?;
    Ok(proto::DynamicValue { msgpack: msgpack.into(), json: bytes::Bytes::new() })
}

pub(super) fn diagnostics(source: Diagnostics) -> Vec<proto::Diagnostic> {
    source.into_iter().map(diagnostic).collect()
}

/// The messages of a failure of `name`. One without an error would count as success, and what is missing in the answer
/// would be believed: a state that was not upgraded would be forgotten.
pub(super) fn failure(name: &str, mut source: Diagnostics) -> Vec<proto::Diagnostic> {
    if !source.has_errors() {
        source.push(silent(name));
    }
    diagnostics(source)
}

/// A failure without an error message.
pub(super) fn silent(name: &str) -> Diagnostic {
    Diagnostic::provider_bug(format!("`{name}` failed without an error message."))
}

fn diagnostic(source: Diagnostic) -> proto::Diagnostic {
    let severity = match source.severity {
        Severity::Error => proto::diagnostic::Severity::Error,
        Severity::Warning => proto::diagnostic::Severity::Warning,
    };
    // Core shows an empty line for an empty summary.
    let summary =
        if source.summary.trim().is_empty() { "Error".to_owned() } else { harmless(source.summary) };
    proto::Diagnostic {
        severity: severity.into(),
        summary,
        detail: harmless(source.detail),
        attribute: source.attribute.as_ref().map(path),
    }
}

pub(super) fn path(source: &AttributePath) -> proto::AttributePath {
    use proto::attribute_path::{Step, step::Selector};

    let step = |step: &PathStep| {
        let selector = match step {
            PathStep::Attribute(name) => Selector::AttributeName(name.clone()),
            PathStep::Key(key) => Selector::ElementKeyString(key.clone()),
            PathStep::Index(index) => Selector::ElementKeyInt(i64::try_from(*index).unwrap_or(i64::MAX)),
        };
        Step { selector: Some(selector) }
    };
    proto::AttributePath { steps: source.steps().iter().map(step).collect() }
}
