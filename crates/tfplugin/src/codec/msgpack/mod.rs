//! Values as msgpack, as Terraform core reads and writes them.

mod reader;
mod unknown;
mod writer;

use std::collections::BTreeMap;

use self::reader::{Head, Reader};
use self::writer::Writer;
use super::{Error, MAX_DEPTH, Reason, attributes, check_one_type};
use crate::value::text::{is_nfc, nfc};
use crate::value::{dedup_set, sorted};
use crate::{Number, PathStep, Type, Value};

/// Encodes `value`, which is of type `ty`: numbers in the form that loses nothing, maps and objects sorted by
/// name, sets sorted and without duplicates, strings in NFC.
pub fn encode(value: &Value, ty: &Type) -> Result<Vec<u8>, Error> {
    let mut out = Writer::new();
    write(&mut out, value, ty, 0)?;
    Ok(out.into_bytes())
}

/// Decodes a value of type `ty`. Every form that a number can have is accepted, and every extension item is an
/// unknown; objects hold every attribute of their type and no other.
pub fn decode(bytes: &[u8], ty: &Type) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader, ty, 0)?;
    match reader.remaining() {
        0 => Ok(value),
        count => Err(Reason::TrailingBytes(count).into()),
    }
}

fn write_number(out: &mut Writer, number: &Number) {
    if let Some(int) = number.to_i64() {
        out.int(int);
    } else if let Some(float) = number.to_f64_exact().filter(|_| !number.is_integer()) {
        out.float(float);
    } else {
        out.str(&number.to_string());
    }
}

fn write_str(out: &mut Writer, text: &str) {
    if is_nfc(text) { out.str(text) } else { out.str(&nfc(text.to_owned())) }
}

fn write(out: &mut Writer, value: &Value, ty: &Type, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Reason::TooDeep.into());
    }
    match (value, ty) {
        (Value::Null, _) => out.nil(),
        (Value::Unknown(unknown), _) => unknown::write(out, unknown, ty),
        (Value::Dynamic(inner), Type::Dynamic) => {
            if inner.0 == Type::Dynamic {
                return write(out, &inner.1, &inner.0, depth + 1);
            }
            out.array(2);
            out.bin(&inner.0.to_json_bytes());
            write(out, &inner.1, &inner.0, depth + 1)?;
        }
        (Value::Bool(truth), Type::Bool) => out.bool(*truth),
        (Value::Number(number), Type::Number) => write_number(out, number),
        (Value::String(text), Type::String) => write_str(out, text),
        (Value::List(elements), Type::List(element)) => {
            check_one_type(element, elements.iter())?;
            write_array(out, elements.iter().map(|value| (value, &**element)), depth)?;
        }
        (Value::Set(elements), Type::Set(element)) => {
            check_one_type(element, elements.iter())?;
            let mut elements = sorted(elements);
            elements.dedup_by(|a, b| a == b && a.is_wholly_known());
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
            out.map(entries.len());
            for (key, value) in entries {
                write_str(out, key);
                write(out, value, element, depth + 1)
                    .map_err(|error| error.inside(PathStep::Key(key.clone())))?;
            }
        }
        (Value::Object(entries), Type::Object(types)) => {
            let attributes = attributes(types, entries)?;
            out.map(types.len());
            for (name, ty, value) in attributes {
                write_str(out, name);
                write(out, value, ty, depth + 1)
                    .map_err(|error| error.inside(PathStep::Attribute(name.to_owned())))?;
            }
        }
        _ => return Err(Error::kind(ty, value.kind())),
    }
    Ok(())
}

fn write_array<'a>(
    out: &mut Writer,
    elements: impl ExactSizeIterator<Item = (&'a Value, &'a Type)>,
    depth: usize,
) -> Result<(), Error> {
    out.array(elements.len());
    for (index, (value, ty)) in elements.enumerate() {
        write(out, value, ty, depth + 1).map_err(|error| error.inside(PathStep::Index(index as u64)))?;
    }
    Ok(())
}

fn read(reader: &mut Reader<'_>, ty: &Type, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Reason::TooDeep.into());
    }
    let head = reader.head()?;
    match (head, ty) {
        (Head::Nil, _) => Ok(Value::Null),
        // Promises about a value of unknown type have no meaning.
        (Head::Ext { .. }, Type::Dynamic) => Ok(Value::unknown()),
        (Head::Ext { code, payload }, _) => Ok(Value::Unknown(unknown::read(code, payload))),
        (Head::Array(2), Type::Dynamic) => {
            let (Head::Str(ty) | Head::Bin(ty)) = reader.head()? else {
                return Err(Reason::DynamicShape.into());
            };
            let ty = Type::from_json_bytes(ty)?;
            let value = read(reader, &ty, depth + 1)?;
            Ok(Value::dynamic(ty, value))
        }
        (_, Type::Dynamic) => Err(Reason::DynamicShape.into()),
        (Head::Bool(truth), Type::Bool) => Ok(Value::Bool(truth)),
        (Head::Str(text) | Head::Bin(text), Type::String) => Ok(Value::String(string(text)?)),
        (head, Type::Number) => match head.number() {
            Some(number) => Ok(Value::Number(number?)),
            None => Err(Error::kind(ty, head.kind())),
        },
        (Head::Array(count), Type::List(element)) => {
            read_list(reader, element, count, depth).map(Value::List)
        }
        (Head::Array(count), Type::Set(element)) => read_list(reader, element, count, depth)
            .map(|elements| Value::Set(dedup_set(elements)))
            .map_err(Error::inside_set),
        (Head::Array(count), Type::Tuple(types)) => {
            if count != types.len() {
                return Err(Reason::Length { expected: types.len(), found: count }.into());
            }
            let read = |(index, ty): (usize, &Type)| {
                read(reader, ty, depth + 1).map_err(|error| error.inside(PathStep::Index(index as u64)))
            };
            types.iter().enumerate().map(read).collect::<Result<_, _>>().map(Value::Tuple)
        }
        (Head::Map(count), Type::Map(element)) => read_map(reader, element, count, depth),
        (Head::Map(count), Type::Object(types)) => read_object(reader, types, count, depth),
        (head, ty) => Err(Error::kind(ty, head.kind())),
    }
}

fn string(bytes: &[u8]) -> Result<String, Reason> {
    std::str::from_utf8(bytes).map(|text| nfc(text.to_owned())).map_err(|_| Reason::InvalidUtf8)
}

fn key(reader: &mut Reader<'_>) -> Result<String, Reason> {
    match reader.head()? {
        Head::Str(text) | Head::Bin(text) => string(text),
        _ => Err(Reason::KeyNotString),
    }
}

fn read_list(
    reader: &mut Reader<'_>,
    element: &Type,
    count: usize,
    depth: usize,
) -> Result<Vec<Value>, Error> {
    // Grows as elements arrive: a declared length is only a claim.
    let mut elements = Vec::new();
    for index in 0..count {
        let value =
            read(reader, element, depth + 1).map_err(|error| error.inside(PathStep::Index(index as u64)))?;
        elements.push(value);
    }
    Ok(elements)
}

fn read_map(reader: &mut Reader<'_>, element: &Type, count: usize, depth: usize) -> Result<Value, Error> {
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let key = key(reader)?;
        let step = || PathStep::Key(key.clone());
        let value = read(reader, element, depth + 1).map_err(|error| error.inside(step()))?;
        if entries.contains_key(&key) {
            return Err(Error::from(Reason::DuplicateKey).inside(step()));
        }
        entries.insert(key, value);
    }
    Ok(Value::Map(entries))
}

fn read_object(
    reader: &mut Reader<'_>,
    types: &BTreeMap<String, Type>,
    count: usize,
    depth: usize,
) -> Result<Value, Error> {
    if count != types.len() {
        return Err(Reason::AttributeCount { expected: types.len(), found: count }.into());
    }
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        let name = key(reader)?;
        let step = || PathStep::Attribute(name.clone());
        let Some(ty) = types.get(&name) else {
            return Err(Error::from(Reason::UnknownAttribute).inside(step()));
        };
        let value = read(reader, ty, depth + 1).map_err(|error| error.inside(step()))?;
        if entries.contains_key(&name) {
            return Err(Error::from(Reason::DuplicateKey).inside(step()));
        }
        entries.insert(name, value);
    }
    Ok(Value::Object(entries))
}
