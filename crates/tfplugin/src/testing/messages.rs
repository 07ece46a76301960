//! Answers of the service, the way Terraform reads them.

use crate::proto::tfplugin6 as proto;
use crate::{AttributePath, Diagnostic, Diagnostics, PathStep, Severity, Type, Value, codec};

use super::outcome::Failed;

pub(super) fn diagnostics(messages: Vec<proto::Diagnostic>) -> Diagnostics {
    messages
        .into_iter()
        .map(|message| Diagnostic {
            severity: if message.severity == proto::diagnostic::Severity::Warning as i32 {
                Severity::Warning
            } else {
                Severity::Error
            },
            summary: message.summary,
            detail: message.detail,
            attribute: message.attribute.map(path),
        })
        .collect()
}

pub(super) fn path(path: proto::AttributePath) -> AttributePath {
    use proto::attribute_path::step::Selector;

    path.steps
        .into_iter()
        .filter_map(|step| {
            Some(match step.selector? {
                Selector::AttributeName(name) => PathStep::Attribute(name),
                Selector::ElementKeyString(key) => PathStep::Key(key),
                Selector::ElementKeyInt(index) => PathStep::Index(u64::try_from(index).ok()?),
            })
        })
        .collect()
}

pub(super) fn encode(value: &Value, ty: &Type) -> Result<Option<proto::DynamicValue>, Failed> {
    let msgpack =
        codec::msgpack::encode(value, ty).map_err(|error| Failed::Rules(vec![error.to_string()]))?;
    Ok(Some(proto::DynamicValue { msgpack: msgpack.into(), json: bytes::Bytes::new() }))
}

pub(super) fn decode(value: Option<&proto::DynamicValue>, ty: &Type) -> Result<Value, Failed> {
    value.map_or(Ok(Value::Null), |value| {
        codec::decode_dynamic_value(&value.msgpack, &value.json, ty)
            .map_err(|error| Failed::Rules(vec![error.to_string()]))
    })
}
