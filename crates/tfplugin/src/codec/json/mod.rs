//! Values as JSON: state, raw state, and answers without unknowns.

pub(crate) mod text;

use std::collections::BTreeMap;

pub use self::text::Syntax;
use self::text::{Json, parse, write_string};
use super::{Error, MAX_DEPTH, Reason, attributes, check_one_type};
use crate::value::text::nfc;
use crate::value::{dedup_set, sorted};
use crate::{Number, PathStep, Type, Value};

/// How closely JSON has to follow the type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Exactly.
    Strict,
    /// As state written under an earlier schema may: attributes missing or left over, numbers and bools in
    /// place of strings and the other way round.
    State,
}

/// Encodes `value`, which is of type `ty`. Unknowns are an error.
pub fn encode(value: &Value, ty: &Type) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(&mut out, value, ty, 0)?;
    Ok(out)
}

/// Decodes a value of type `ty`. A number may stand as a string.
pub fn decode(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    read(parse(bytes)?, ty, Fit::Strict, 0)
}

/// Decodes state that was written under the same schema version, perhaps by an earlier build: missing
/// attributes become null, surplus ones are dropped, strings are converted to numbers and bools and back.
///
/// A missing *block* becomes null, too; [`Block::complete`](crate::schema::Block::complete) makes it empty.
pub fn decode_state(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    read(parse(bytes)?, ty, Fit::State, 0)
}

fn write(out: &mut Vec<u8>, value: &Value, ty: &Type, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Reason::TooDeep.into());
    }
    match (value, ty) {
        (Value::Null, _) => out.extend_from_slice(b"null"),
        (Value::Unknown(_), _) => return Err(Reason::Unknown.into()),
        (Value::Dynamic(inner), Type::Dynamic) => {
            out.extend_from_slice(b"{\"value\":");
            write(out, &inner.1, &inner.0, depth + 1)?;
            out.extend_from_slice(b",\"type\":");
            out.extend_from_slice(&inner.0.to_json_bytes());
            out.push(b'}');
        }
        (Value::Bool(truth), Type::Bool) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
        (Value::Number(number), Type::Number) => out.extend_from_slice(number.to_string().as_bytes()),
        (Value::String(text), Type::String) => write_string(out, &nfc(text.clone())),
        (Value::List(elements), Type::List(element)) => {
            check_one_type(element, elements.iter())?;
            write_array(out, elements.iter().map(|value| (value, &**element)), depth)?;
        }
        (Value::Set(elements), Type::Set(element)) => {
            check_one_type(element, elements.iter())?;
            let elements = sorted(elements);
            write_array(out, elements.into_iter().map(|value| (value, &**element)), depth)
                .map_err(Error::inside_set)?;
        }
        (Value::Tuple(elements), Type::Tuple(types)) => {
            if elements.len() != types.len() {
                return Err(Reason::Length { expected: types.len(), found: elements.len() }.into());
            }
            write_array(out, elements.iter().zip(types), depth)?;
        }
        (Value::Map(entries), Type::Map(element)) => {
            check_one_type(element, entries.values())?;
            let entries = entries.iter().map(|(key, value)| (key.as_str(), &**element, value));
            write_object(out, entries, PathStep::Key, depth)?;
        }
        (Value::Object(entries), Type::Object(types)) => {
            write_object(out, attributes(types, entries)?, PathStep::Attribute, depth)?;
        }
        _ => return Err(Error::kind(ty, value.kind())),
    }
    Ok(())
}

fn write_array<'a>(
    out: &mut Vec<u8>,
    elements: impl Iterator<Item = (&'a Value, &'a Type)>,
    depth: usize,
) -> Result<(), Error> {
    out.push(b'[');
    for (index, (value, ty)) in elements.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, value, ty, depth + 1).map_err(|error| error.inside(PathStep::Index(index as u64)))?;
    }
    out.push(b']');
    Ok(())
}

fn write_object<'a>(
    out: &mut Vec<u8>,
    entries: impl Iterator<Item = (&'a str, &'a Type, &'a Value)>,
    step: fn(String) -> PathStep,
    depth: usize,
) -> Result<(), Error> {
    out.push(b'{');
    for (index, (name, ty, value)) in entries.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, &nfc(name.to_owned()));
        out.push(b':');
        write(out, value, ty, depth + 1).map_err(|error| error.inside(step(name.to_owned())))?;
    }
    out.push(b'}');
    Ok(())
}

fn read(json: Json, ty: &Type, fit: Fit, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Reason::TooDeep.into());
    }
    let value = match (json, ty) {
        (Json::Null, _) => Value::Null,
        (Json::Object(members), Type::Dynamic) => read_dynamic(members, fit, depth)?,
        (_, Type::Dynamic) => return Err(Reason::DynamicShape.into()),
        (Json::Bool(truth), Type::Bool) => Value::Bool(truth),
        (Json::Number(text) | Json::String(text), Type::Number) => Value::Number(Number::parse(&text)?),
        (Json::String(text), Type::String) => Value::string(text),
        (Json::String(text), Type::Bool) if fit == Fit::State && text == "true" => Value::Bool(true),
        (Json::String(text), Type::Bool) if fit == Fit::State && text == "false" => Value::Bool(false),
        (Json::Number(text), Type::String) if fit == Fit::State => {
            Value::String(Number::parse(&text)?.to_string())
        }
        (Json::Bool(truth), Type::String) if fit == Fit::State => Value::String(truth.to_string()),
        (Json::Array(elements), Type::List(element)) => {
            Value::List(read_array(elements, std::iter::repeat(&**element), fit, depth)?)
        }
        (Json::Array(elements), Type::Set(element)) => Value::Set(dedup_set(
            read_array(elements, std::iter::repeat(&**element), fit, depth).map_err(Error::inside_set)?,
        )),
        (Json::Array(elements), Type::Tuple(types)) => {
            if elements.len() != types.len() {
                return Err(Reason::Length { expected: types.len(), found: elements.len() }.into());
            }
            Value::Tuple(read_array(elements, types.iter(), fit, depth)?)
        }
        (Json::Object(members), Type::Map(element)) => {
            let mut entries = BTreeMap::new();
            for (key, json) in members {
                let key = nfc(key);
                let step = || PathStep::Key(key.clone());
                let value = read(json, element, fit, depth + 1).map_err(|error| error.inside(step()))?;
                if entries.contains_key(&key) {
                    return Err(Error::from(Reason::DuplicateKey).inside(step()));
                }
                entries.insert(key, value);
            }
            Value::Map(entries)
        }
        (Json::Object(members), Type::Object(types)) => read_object(members, types, fit, depth)?,
        (json, ty) => return Err(Error::kind(ty, json.kind())),
    };
    Ok(value)
}

fn read_array<'a>(
    elements: Vec<Json>,
    types: impl Iterator<Item = &'a Type>,
    fit: Fit,
    depth: usize,
) -> Result<Vec<Value>, Error> {
    elements
        .into_iter()
        .zip(types)
        .enumerate()
        .map(|(index, (json, ty))| {
            read(json, ty, fit, depth + 1).map_err(|error| error.inside(PathStep::Index(index as u64)))
        })
        .collect()
}

fn read_object(
    members: BTreeMap<String, Json>,
    types: &BTreeMap<String, Type>,
    fit: Fit,
    depth: usize,
) -> Result<Value, Error> {
    let mut entries = BTreeMap::new();
    for (name, json) in members {
        let name = nfc(name);
        let step = || PathStep::Attribute(name.clone());
        let Some(ty) = types.get(&name) else {
            if fit == Fit::State {
                continue;
            }
            return Err(Error::from(Reason::UnknownAttribute).inside(step()));
        };
        let value = read(json, ty, fit, depth + 1).map_err(|error| error.inside(step()))?;
        if entries.contains_key(&name) {
            return Err(Error::from(Reason::DuplicateKey).inside(step()));
        }
        entries.insert(name, value);
    }
    for name in types.keys() {
        if entries.contains_key(name) {
            continue;
        }
        if fit == Fit::Strict {
            return Err(Error::from(Reason::MissingAttribute).inside(PathStep::Attribute(name.clone())));
        }
        entries.insert(name.clone(), Value::Null);
    }
    Ok(Value::Object(entries))
}

fn read_dynamic(mut members: BTreeMap<String, Json>, fit: Fit, depth: usize) -> Result<Value, Error> {
    let (Some(json), Some(ty), true) = (members.remove("value"), members.remove("type"), members.is_empty())
    else {
        return Err(Reason::DynamicShape.into());
    };
    let ty = Type::from_json(ty).map_err(Reason::from)?;
    let value = read(json, &ty, fit, depth + 1)?;
    Ok(Value::dynamic(ty, value))
}
