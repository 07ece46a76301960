//! The wire forms of values: exact, tolerant where Terraform core is, and never a panic.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod values_gen;

use std::time::{Duration, Instant};

use proptest::prelude::*;
use tfplugin::codec::{Reason, decode_dynamic_value, json, msgpack};
use tfplugin::value::{Bound, Refinements};
use tfplugin::{Number, Type, TypeError, Unknown, Value};

fn number(text: &str) -> Value {
    Value::Number(Number::parse(text).unwrap())
}

proptest! {
    #[test]
    fn msgpack_round_trips((ty, value) in values_gen::typed(true)) {
        value.conforms_to(&ty).unwrap();
        let bytes = msgpack::encode(&value, &ty).unwrap();
        prop_assert_eq!(msgpack::decode(&bytes, &ty).unwrap(), value);
    }

    #[test]
    fn json_round_trips((ty, value) in values_gen::typed(false)) {
        let bytes = json::encode(&value, &ty).unwrap();
        prop_assert_eq!(json::decode(&bytes, &ty).unwrap(), value.clone());
        prop_assert_eq!(json::decode_state(&bytes, &ty).unwrap(), value);
        // Any other JSON parser understands it as well.
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    }

    #[test]
    fn types_round_trip(ty in values_gen::ty()) {
        prop_assert_eq!(Type::from_json_bytes(&ty.to_json_bytes()).unwrap(), ty);
    }

    #[test]
    fn arbitrary_bytes_never_panic(ty in values_gen::ty(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = msgpack::decode(&bytes, &ty);
        let _ = json::decode(&bytes, &ty);
        let _ = json::decode_state(&bytes, &ty);
        let _ = Type::from_json_bytes(&bytes);
    }

    /// Bytes that are nearly right reach deeper than arbitrary ones.
    #[test]
    fn damaged_bytes_never_panic((ty, value) in values_gen::typed(true), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = msgpack::encode(&value, &ty).unwrap();
        let index = at.index(bytes.len());
        let _ = msgpack::decode(&bytes[..index], &ty);
        bytes[index] = byte;
        if let Ok(value) = msgpack::decode(&bytes, &ty) {
            value.conforms_to(&ty).unwrap();
        }
    }

    #[test]
    fn damaged_json_never_panics((ty, value) in values_gen::typed(false), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = json::encode(&value, &ty).unwrap();
        let index = at.index(bytes.len());
        let _ = json::decode(&bytes[..index], &ty);
        bytes[index] = byte;
        if let Ok(value) = json::decode_state(&bytes, &ty) {
            value.conforms_to(&ty).unwrap();
        }
    }

    /// Our JSON parser and the general one agree on what is JSON.
    #[test]
    fn agrees_with_the_general_parser(text in "[\\[\\]{}\",:0-9eE+.\\-ntfualsr \\\\]{0,24}") {
        let general = serde_json::from_str::<serde_json::Value>(&text);
        if let Err(error) = json::decode(text.as_bytes(), &Type::Dynamic)
            && let Reason::Syntax(syntax) = error.reason
        {
            prop_assert!(general.is_err() || syntax.reason == "the same key twice", "{syntax} {text}");
        } else {
            prop_assert!(general.is_ok(), "{text}");
        }
    }
}

#[test]
fn numbers_take_the_form_that_loses_nothing() {
    let cases: &[(&str, &[u8])] = &[
        ("0", &[0x00]),
        ("-0", &[0x00]),
        ("-0.0", &[0x00]),
        ("127", &[0x7f]),
        ("128", &[0xcc, 0x80]),
        ("256", &[0xcd, 0x01, 0x00]),
        ("65536", &[0xce, 0, 1, 0, 0]),
        ("4294967296", &[0xcf, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("-1", &[0xff]),
        ("-32", &[0xe0]),
        ("-33", &[0xd0, 0xdf]),
        ("-129", &[0xd1, 0xff, 0x7f]),
        ("-32769", &[0xd2, 0xff, 0xff, 0x7f, 0xff]),
        ("-2147483649", &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
        ("9007199254740993", &[0xcf, 0, 0x20, 0, 0, 0, 0, 0, 1]),
        ("0.5", &[0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0]),
        ("-2.25", &[0xcb, 0xc0, 0x02, 0, 0, 0, 0, 0, 0]),
        ("0.1", b"\xa30.1"),
        ("9223372036854775808", b"\xb39223372036854775808"),
        ("18446744073709551615", b"\xb418446744073709551615"),
        ("3.14159265358979323846", b"\xb63.14159265358979323846"),
    ];
    for (text, bytes) in cases {
        assert_eq!(msgpack::encode(&number(text), &Type::Number).unwrap(), *bytes, "{text}");
        assert_eq!(msgpack::decode(bytes, &Type::Number).unwrap(), number(text), "{text}");
    }
    let googol = msgpack::encode(&number("1e100"), &Type::Number).unwrap();
    assert_eq!(googol, [b"\xd9\x65".as_slice(), format!("1{}", "0".repeat(100)).as_bytes()].concat());
}

#[test]
fn every_form_of_a_number_is_read() {
    let one: &[&[u8]] = &[
        &[0x01],
        &[0xcc, 1],
        &[0xcd, 0, 1],
        &[0xce, 0, 0, 0, 1],
        &[0xcf, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0xd0, 1],
        &[0xd1, 0, 1],
        &[0xd2, 0, 0, 0, 1],
        &[0xd3, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0xca, 0x3f, 0x80, 0, 0],
        &[0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0],
        b"\xa11",
        b"\xa31.0",
        b"\xa510e-1",
        b"\xc4\x011",
    ];
    for bytes in one {
        assert_eq!(msgpack::decode(bytes, &Type::Number).unwrap(), number("1"), "{bytes:x?}");
    }
    assert_eq!(
        msgpack::decode(&[0xcf, 255, 255, 255, 255, 255, 255, 255, 255], &Type::Number).unwrap(),
        number("18446744073709551615")
    );
    let tenth = [[0xcb].as_slice(), &0.1_f64.to_be_bytes()].concat();
    assert_eq!(msgpack::decode(&tenth, &Type::Number).unwrap(), number("0.1"));
    for not_finite in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let bytes = [[0xcb].as_slice(), &not_finite.to_be_bytes()].concat();
        assert!(matches!(msgpack::decode(&bytes, &Type::Number).unwrap_err().reason, Reason::Number(_)));
    }
    assert!(msgpack::decode(b"\xab1e999999999", &Type::Number).is_err());
}

#[test]
fn unknowns() {
    assert_eq!(msgpack::encode(&Value::unknown(), &Type::String).unwrap(), [0xd4, 0, 0]);
    for bytes in [
        [0xd4, 0, 0].as_slice(),
        &[0xd4, 99, 7],
        &[0xd5, 3, 1, 2],
        &[0xc7, 0, 12],
        &[0xc7, 3, 12, 0xff, 0xff, 0xff],
        &[0xc8, 0, 1, 12, 0x80],
        // Keys that nobody knows yet are passed over.
        &[0xc7, 5, 12, 0x81, 0x63, 0x92, 0x01, 0xc0],
    ] {
        assert_eq!(msgpack::decode(bytes, &Type::String).unwrap(), Value::unknown(), "{bytes:x?}");
    }
    // A template string in configuration: not null, starts with `pre-`.
    let refined = b"\xc7\x09\x0c\x82\x01\xc2\x02\xa4pre-";
    let value = Value::Unknown(Unknown::with_prefix("pre-"));
    assert_eq!(msgpack::decode(refined, &Type::String).unwrap(), value);
    assert_eq!(msgpack::encode(&value, &Type::String).unwrap(), refined);
    // Promises do not travel with a value of unknown type, nor with one that they make no sense for.
    assert_eq!(msgpack::encode(&value, &Type::Dynamic).unwrap(), [0xd4, 0, 0]);
    assert_eq!(msgpack::encode(&value, &Type::Bool).unwrap(), [0xc7, 3, 12, 0x81, 1, 0xc2]);
    assert_eq!(json::encode(&value, &Type::String).unwrap_err().reason, Reason::Unknown);
}

#[test]
fn promises_stay_within_what_core_reads() {
    let long = Bound { value: Number::parse(&"7".repeat(250)).unwrap(), inclusive: true };
    let longer = Bound { value: Number::parse(&"7".repeat(2500)).unwrap(), inclusive: true };
    let refinements = Refinements {
        null: Some(false),
        lower: Some(long.clone()),
        upper: Some(longer),
        ..Refinements::default()
    };
    let bytes = msgpack::encode(&Value::Unknown(Unknown::refined(refinements)), &Type::Number).unwrap();
    assert!(bytes.len() < 1024);
    let kept = Refinements { null: Some(false), lower: Some(long), ..Refinements::default() };
    assert_eq!(msgpack::decode(&bytes, &Type::Number).unwrap(), Value::Unknown(Unknown::refined(kept)));

    // A prefix is cut where a grapheme certainly ends: never between a letter and its accent.
    let prefix = format!("{}{}", "a".repeat(250), "x\u{323}\u{323}".repeat(100));
    let bytes = msgpack::encode(&Value::Unknown(Unknown::with_prefix(prefix)), &Type::String).unwrap();
    let cut = Value::Unknown(Unknown::with_prefix("a".repeat(250)));
    assert_eq!(msgpack::decode(&bytes, &Type::String).unwrap(), cut);
}

#[test]
fn dynamic_values() {
    let cases: Vec<(Value, Vec<u8>)> = vec![
        (Value::Null, vec![0xc0]),
        (Value::unknown(), vec![0xd4, 0, 0]),
        (
            Value::dynamic(Type::String, Value::from("x")),
            [b"\x92\xc4\x08\"string\"".as_slice(), b"\xa1x"].concat(),
        ),
        (Value::dynamic(Type::String, Value::Null), [b"\x92\xc4\x08\"string\"".as_slice(), b"\xc0"].concat()),
        (
            Value::dynamic(Type::Bool, Value::unknown()),
            [b"\x92\xc4\x06\"bool\"".as_slice(), b"\xd4\0\0"].concat(),
        ),
        // What core sends for no blocks, when there is a dynamic attribute in the block.
        (
            Value::dynamic(Type::Tuple(vec![]), Value::Tuple(vec![])),
            [b"\x92\xc4\x0c[\"tuple\",[]]".as_slice(), b"\x90"].concat(),
        ),
    ];
    for (value, bytes) in cases {
        assert_eq!(msgpack::encode(&value, &Type::Dynamic).unwrap(), bytes);
        assert_eq!(msgpack::decode(&bytes, &Type::Dynamic).unwrap(), value);
    }
    // The type may be a string instead of bytes, and `dynamic` itself.
    assert_eq!(
        msgpack::decode(b"\x92\xa8\"string\"\xa1x", &Type::Dynamic).unwrap(),
        Value::dynamic(Type::String, Value::from("x"))
    );
    assert_eq!(msgpack::decode(b"\x92\xa9\"dynamic\"\xc0", &Type::Dynamic).unwrap(), Value::Null);
    let json = br#"{"type":["list","number"],"value":[1,2.50]}"#;
    let value = Value::dynamic(Type::list(Type::Number), Value::list([number("1"), number("2.5")]));
    assert_eq!(json::decode(json, &Type::Dynamic).unwrap(), value);
    assert_eq!(
        json::encode(&value, &Type::Dynamic).unwrap(),
        br#"{"value":[1,2.5],"type":["list","number"]}"#
    );
    let mixed = Value::list([
        Value::dynamic(Type::String, Value::from("x")),
        Value::Null,
        Value::dynamic(Type::Number, number("1")),
    ]);
    let ty = Type::list(Type::Dynamic);
    assert_eq!(msgpack::encode(&mixed, &ty).unwrap_err().reason, Reason::MixedTypes);
    assert_eq!(json::encode(&mixed, &ty).unwrap_err().reason, Reason::MixedTypes);
    assert!(msgpack::decode(b"\xa1x", &Type::Dynamic).is_err());
}

#[test]
fn objects_hold_exactly_their_attributes() {
    let ty = Type::object([("a", Type::String), ("b", Type::map(Type::Number))]);
    let error = |bytes: &[u8]| msgpack::decode(bytes, &ty).unwrap_err().to_string();
    assert_eq!(error(b"\x80"), "an object with 2 attributes is required, found 0");
    assert_eq!(error(b"\x82\xa1a\xc0\xa1c\xc0"), "`c`: the attribute is not part of the object's type");
    assert_eq!(error(b"\x82\xa1a\xc0\xa1a\xc0"), "`a`: the key occurs more than once");
    assert_eq!(error(b"\x82\xa1a\xc0\xa1b\x81\xa1k\xc3"), "`b[\"k\"]`: number is required, found bool");
    assert_eq!(error(b"\x82\xa1a\xc0\x01\xc0"), "a key is not a string");
    assert_eq!(error(b"\x82\xa1a\xc0\xa1b"), "`b`: the bytes end in the middle of a value");
    assert!(msgpack::decode(b"\x82\xa1b\xc0\xa1a\xc0", &ty).is_ok(), "in any order");
    let value = Value::object([("a", Value::Null)]);
    assert_eq!(msgpack::encode(&value, &ty).unwrap_err().to_string(), "`b`: the attribute is missing");
    assert_eq!(msgpack::decode(b"\xc0\xc0", &ty).unwrap_err().reason, Reason::TrailingBytes(1));
    assert_eq!(msgpack::decode(b"", &ty).unwrap_err().reason, Reason::UnexpectedEnd);
    assert_eq!(msgpack::decode(b"\xc1", &ty).unwrap_err().reason, Reason::InvalidMarker);
    assert_eq!(msgpack::decode(b"\xa2\xff\xff", &Type::String).unwrap_err().reason, Reason::InvalidUtf8);
}

#[test]
fn state_of_an_earlier_build_is_read() {
    let ty = Type::object([("a", Type::String), ("b", Type::list(Type::Bool)), ("n", Type::Number)]);
    let state = br#"{"a": 5, "gone": {"x": [1]}, "n": "18446744073709551615"}"#;
    let value = json::decode_state(state, &ty).unwrap();
    let expected =
        Value::object([("a", Value::from("5")), ("b", Value::Null), ("n", number("18446744073709551615"))]);
    assert_eq!(value, expected);
    assert_eq!(json::decode(state, &ty).unwrap_err().to_string(), "`a`: string is required, found number");
    let missing = br#"{"a": null, "n": 1e2}"#;
    assert_eq!(json::decode(missing, &ty).unwrap_err().to_string(), "`b`: the attribute is missing");
}

#[test]
fn json_keys_that_other_parsers_hold_sacred() {
    let ty = Type::map(Type::String);
    let bytes = br#"{"$serde_json::private::Number":"12"}"#;
    let value = Value::map([("$serde_json::private::Number", Value::from("12"))]);
    assert_eq!(json::decode(bytes, &ty).unwrap(), value);
}

#[test]
fn text_is_normalised_on_the_way_in_and_out() {
    let decomposed = "Cafe\u{301}";
    let ty = Type::map(Type::String);
    let value = Value::map([("Caf\u{e9}", Value::from("Caf\u{e9}"))]);
    let bytes = [b"\x81\xa6".as_slice(), decomposed.as_bytes(), b"\xa6", decomposed.as_bytes()].concat();
    assert_eq!(msgpack::decode(&bytes, &ty).unwrap(), value);
    let json = format!(r#"{{"{decomposed}":"Cafe\u0301"}}"#);
    assert_eq!(json::decode(json.as_bytes(), &ty).unwrap(), value);
    let raw = Value::Map([(decomposed.to_owned(), Value::String(decomposed.to_owned()))].into());
    assert_eq!(msgpack::encode(&raw, &ty).unwrap(), msgpack::encode(&value, &ty).unwrap());
    assert_eq!(json::encode(&raw, &ty).unwrap(), json::encode(&value, &ty).unwrap());
}

#[test]
fn sets_are_sent_sorted_and_without_duplicates() {
    let set = Value::Set(vec![Value::from("b"), Value::from("a"), Value::from("b")]);
    let ty = Type::set(Type::String);
    assert_eq!(msgpack::encode(&set, &ty).unwrap(), b"\x92\xa1a\xa1b");
    let read = msgpack::decode(b"\x93\xa1b\xa1a\xa1b", &ty).unwrap();
    assert_eq!(read, Value::set([Value::from("a"), Value::from("b")]));
}

#[test]
fn neither_encoding_is_null() {
    assert_eq!(decode_dynamic_value(b"", b"", &Type::String).unwrap(), Value::Null);
    assert_eq!(decode_dynamic_value(b"", b"\"x\"", &Type::String).unwrap(), Value::from("x"));
    assert_eq!(decode_dynamic_value(b"\xa1y", b"\"x\"", &Type::String).unwrap(), Value::from("y"));
}

#[test]
fn types_are_read_strictly() {
    let read = |text: &str| Type::from_json_bytes(text.as_bytes());
    assert_eq!(
        read(r#" ["object", {"a": "string", "b": ["set", "number"]}, ["b"]] "#).unwrap(),
        Type::object([("a", Type::String), ("b", Type::set(Type::Number))])
    );
    assert_eq!(read(r#""int""#).unwrap_err(), TypeError::UnknownName("int".to_owned()));
    for wrong in [
        "",
        "null",
        "[]",
        "{}",
        "1",
        r#""string" x"#,
        r#"["list"]"#,
        r#"["list","string","x"]"#,
        r#"["vec","string"]"#,
        r#"["tuple","string"]"#,
        r#"["object",[]]"#,
        r#"["object",{},{}]"#,
        r#"["object",{},["a"]]"#,
        r#"["object",{"a":"string","a":"bool"}]"#,
        r#"["object",{},[],[]]"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let ty =
        Type::map(Type::object([("n", Type::Number), ("t", Type::Tuple(vec![Type::Bool, Type::Dynamic]))]));
    assert_eq!(ty.to_string(), "map(object({ n = number, t = tuple([bool, any]) }))");
    let json = r#"["map",["object",{"n":"number","t":["tuple",["bool","dynamic"]]}]]"#;
    assert_eq!(String::from_utf8(ty.to_json_bytes()).unwrap(), json);
}

#[test]
fn bombs_are_quick() {
    let started = Instant::now();
    let deep_type = format!("{}\"string\"{}", "[\"list\",".repeat(100_000), "]".repeat(100_000));
    assert!(Type::from_json_bytes(deep_type.as_bytes()).is_err());
    let deep = "[\"list\",".repeat(70) + "\"string\"" + &"]".repeat(70);
    assert_eq!(Type::from_json_bytes(deep.as_bytes()).unwrap_err(), TypeError::TooDeep);
    // Dynamic values inside dynamic values.
    let level = b"\x92\xc4\x15[\"tuple\",[\"dynamic\"]]\x91";
    let bomb = level.repeat(100_000);
    assert_eq!(msgpack::decode(&bomb, &Type::Dynamic).unwrap_err().reason, Reason::TooDeep);
    assert!(json::decode("[".repeat(1_000_000).as_bytes(), &Type::Dynamic).is_err());
    // Four gigabytes of nothing.
    for marker in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
        for ty in [Type::list(Type::String), Type::map(Type::Bool), Type::String, Type::Dynamic] {
            assert!(msgpack::decode(&[marker, 0xff, 0xff, 0xff, 0xff], &ty).is_err());
        }
    }
    // Promises with arrays inside arrays.
    let refinements = [[0x81, 0x63].as_slice(), &[0x91].repeat(1000)].concat();
    let length = u16::try_from(refinements.len()).unwrap().to_be_bytes();
    let bytes = [[0xc8].as_slice(), &length, &[12], &refinements].concat();
    assert_eq!(msgpack::decode(&bytes, &Type::String).unwrap(), Value::unknown());
    // A number of a megabyte.
    let digits = "7".repeat(1 << 20);
    assert!(json::decode(digits.as_bytes(), &Type::Number).is_err());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
