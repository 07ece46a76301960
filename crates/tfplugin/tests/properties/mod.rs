//! What holds for any bytes: every function takes some, and panics if it does not hold.
//!
//! The same functions run in the normal suite (`tests/fuzz`), for longer in `cargo xtask fuzz`, and under libFuzzer (`fuzz/`).

#![allow(dead_code, reason = "every fuzz target uses its own part")]
#![allow(clippy::unwrap_used, reason = "a panic is how a property fails")]

use std::collections::BTreeMap;

use tfplugin::codec::{Error, Reason, json, msgpack};
use tfplugin::{Number, Type, Value};

/// Holds for any bytes, or panics.
type Property = fn(&[u8]);

/// All of them, by name.
pub(crate) const PROPERTIES: [(&str, Property); 5] = [
    ("msgpack", decode_msgpack),
    ("json", decode_json),
    ("type", parse_type),
    ("refinement", parse_refinement),
    ("number", parse_number),
];

/// Types inside types, as far as arbitrary bytes make them.
const DEEPEST: usize = 6;

/// The type that the first bytes stand for, and the bytes after them. [`describe`] is the way back.
pub(crate) fn take_type(bytes: &[u8]) -> (Type, &[u8]) {
    take_type_at(bytes, 0)
}

fn take_type_at(bytes: &[u8], depth: usize) -> (Type, &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return (Type::Dynamic, bytes) };
    let (kind, count) = (first % 16, usize::from(first / 16 % 4));
    if depth >= DEEPEST && kind > 3 {
        return (Type::String, rest);
    }
    let one = |make: fn(Type) -> Type| {
        let (inner, rest) = take_type_at(rest, depth + 1);
        (make(inner), rest)
    };
    let many = || {
        let (mut types, mut rest) = (Vec::new(), rest);
        for _ in 0..count {
            let (ty, more) = take_type_at(rest, depth + 1);
            types.push(ty);
            rest = more;
        }
        (types, rest)
    };
    match kind {
        0 => (Type::String, rest),
        1 => (Type::Number, rest),
        2 => (Type::Bool, rest),
        3 => (Type::Dynamic, rest),
        4..=6 => one(Type::list),
        7 | 8 => one(Type::set),
        9 | 10 => one(Type::map),
        11 | 12 => {
            let (types, rest) = many();
            (Type::Tuple(types), rest)
        }
        _ => {
            let (types, rest) = many();
            (Type::object(["a", "b", "c"].into_iter().zip(types)), rest)
        }
    }
}

/// Bytes that [`take_type`] makes this type of, if it can: attributes are named `a`, `b`, `c`.
pub(crate) fn describe(ty: &Type) -> Vec<u8> {
    let many = |kind: u8, types: Vec<&Type>| {
        let count = u8::try_from(types.len()).unwrap_or(3).min(3);
        let inner = types.into_iter().take(3).flat_map(describe);
        std::iter::once(kind + 16 * count).chain(inner).collect()
    };
    match ty {
        Type::String => vec![0],
        Type::Number => vec![1],
        Type::Bool => vec![2],
        Type::Dynamic => vec![3],
        Type::List(inner) => [vec![4], describe(inner)].concat(),
        Type::Set(inner) => [vec![7], describe(inner)].concat(),
        Type::Map(inner) => [vec![9], describe(inner)].concat(),
        Type::Tuple(types) => many(11, types.iter().collect()),
        Type::Object(types) => many(13, types.values().collect()),
    }
}

/// A type, then msgpack: a value of that type, or an error. A value is encoded and comes back.
pub(crate) fn decode_msgpack(bytes: &[u8]) {
    let (ty, bytes) = take_type(bytes);
    match msgpack::decode(bytes, &ty) {
        Ok(value) => comes_back(&value, &ty),
        Err(error) => has_words(&error),
    }
}

/// A type, then JSON, both as the protocol and as old state has it.
pub(crate) fn decode_json(bytes: &[u8]) {
    let (ty, bytes) = take_type(bytes);
    for decode in [json::decode, json::decode_state] {
        match decode(bytes, &ty) {
            Ok(value) => {
                assert!(value.is_wholly_known(), "JSON has no unknown values");
                comes_back(&value, &ty);
            }
            Err(error) => has_words(&error),
        }
    }
}

/// The JSON of a type: what is read is written, and read as the same.
pub(crate) fn parse_type(bytes: &[u8]) {
    match Type::from_json_bytes(bytes) {
        Ok(ty) => {
            assert_eq!(Type::from_json_bytes(&ty.to_json_bytes()).unwrap(), ty);
            assert!(!ty.to_string().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A type, then the promises about an unknown value of it: any are an unknown value.
pub(crate) fn parse_refinement(bytes: &[u8]) {
    let (ty, payload) = take_type(bytes);
    let payload = &payload[..payload.len().min(2000)];
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let item = [[0xc8].as_slice(), &length, &[12], payload].concat();
    let value = msgpack::decode(&item, &ty).unwrap();
    assert!(value.is_unknown());
    comes_back(&value, &ty);
}

/// Text as a number: what is read is exact in every encoding.
pub(crate) fn parse_number(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(number) = Number::parse(text) else { return };
    assert_eq!(Number::parse(&number.to_string()).unwrap(), number);
    let value = Value::Number(number);
    comes_back(&value, &Type::Number);
    let listed = Value::list([value.clone(), Value::Null]);
    comes_back(&listed, &Type::list(Type::Number));
    comes_back(&Value::dynamic(Type::Number, value), &Type::Dynamic);
}

/// A decoded value is of its type, and both encodings keep it. Promises about unknown values may be cut once, to what Terraform
/// reads; what is cut stays as it is.
fn comes_back(value: &Value, ty: &Type) {
    value.conforms_to(ty).unwrap();
    let bytes = match msgpack::encode(value, ty) {
        Ok(bytes) => bytes,
        Err(error) => return assert_eq!(error.reason, Reason::MixedTypes, "{value:?}"),
    };
    let once = msgpack::decode(&bytes, ty).unwrap();
    if value.is_wholly_known() {
        assert_eq!(&once, value);
        let text = json::encode(value, ty).unwrap();
        assert_eq!(&json::decode(&text, ty).unwrap(), value);
    } else {
        let again = msgpack::encode(&once, ty).unwrap();
        assert_eq!(msgpack::decode(&again, ty).unwrap(), once);
        assert_eq!(json::encode(value, ty).unwrap_err().reason, Reason::Unknown);
    }
}

fn has_words(error: &Error) {
    assert!(!error.to_string().is_empty());
}

/// What the corpus begins with: a property's name and bytes that it takes without an error.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (ty, value) in values() {
        let head = describe(&ty);
        assert_eq!(take_type(&head).0, ty);
        let bytes = msgpack::encode(&value, &ty).unwrap();
        seeds.push(("msgpack", [head.as_slice(), &bytes].concat()));
        if value.is_wholly_known() {
            let text = json::encode(&value, &ty).unwrap();
            seeds.push(("json", [head.as_slice(), &text].concat()));
        }
        seeds.push(("type", ty.to_json_bytes()));
    }
    for (ty, payload) in [
        (Type::String, b"\x82\x01\xc2\x02\xa4pre-".as_slice()),
        (Type::Number, b"\x83\x01\xc2\x03\x92\x01\xc3\x04\x92\xa30.1\xc2"),
        (Type::list(Type::Bool), b"\x83\x01\xc2\x05\x01\x06\x09"),
        (Type::Dynamic, b"\x81\x01\xc3"),
    ] {
        seeds.push(("refinement", [describe(&ty).as_slice(), payload].concat()));
    }
    seeds.extend(NUMBERS.map(|text| ("number", text.as_bytes().to_vec())));
    seeds
}

/// Numbers that an `f64` does not hold, beside some that it does.
pub(crate) const NUMBERS: [&str; 9] = [
    "9007199254740993",
    "1e100",
    "0.1",
    "123456789012345678901234567890",
    "0.123456789012345678901234567890",
    "-18446744073709551615",
    "3.14159265358979323846",
    "-0.5",
    "1e-100",
];

fn values() -> Vec<(Type, Value)> {
    let number = |text: &str| Value::Number(Number::parse(text).unwrap());
    let object = Type::object([("a", Type::String), ("b", Type::map(Type::Number))]);
    let pair = Value::object([
        ("a", Value::from("é\u{1f600}\"\\")),
        ("b", Value::map([("k", number("0.1")), ("", Value::Null)])),
    ]);
    let tuple = Type::Tuple(vec![Type::Bool, Type::Dynamic]);
    vec![
        (Type::String, "text".into()),
        (Type::Bool, Value::Bool(true)),
        (Type::list(Type::Number), Value::list(NUMBERS.map(number))),
        (Type::set(Type::String), Value::set(["b".into(), "a".into(), Value::unknown()])),
        (object.clone(), pair.clone()),
        (
            Type::list(object.clone()),
            Value::list([pair.clone(), Value::Null, Value::unknown(), pair.clone()]),
        ),
        (Type::Dynamic, Value::dynamic(object, pair)),
        (tuple, Value::tuple([Value::Null, Value::dynamic(Type::list(Type::Bool), Value::Null)])),
        (Type::Object(BTreeMap::new()), Value::Object(BTreeMap::new())),
        (
            Type::list(Type::list(Type::list(Type::String))),
            Value::list([Value::list([Value::list(["x".into()])])]),
        ),
    ]
}
