//! Values and numbers: exact, order-free where order means nothing, addressable.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod values_gen;

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tfplugin::value::{Bound, NumberError, Refinements};
use tfplugin::{AttributePath, Number, Type, Unknown, Value};

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn parse(text: &str) -> Number {
    Number::parse(text).unwrap()
}

/// The order of two numbers, from nothing but their decimal text.
fn by_digits(a: &Number, b: &Number) -> Ordering {
    let split = |number: &Number| {
        let text = number.to_string();
        let negative = text.starts_with('-');
        let (whole, fraction) = text.trim_start_matches('-').split_once('.').map_or_else(
            || (text.trim_start_matches('-').to_owned(), String::new()),
            |(whole, fraction)| (whole.to_owned(), fraction.to_owned()),
        );
        (negative, whole.len(), whole, fraction)
    };
    let ((a_negative, a_length, a_whole, a_fraction), (b_negative, b_length, b_whole, b_fraction)) =
        (split(a), split(b));
    let magnitude = (a_length, a_whole, a_fraction).cmp(&(b_length, b_whole, b_fraction));
    match (a_negative, b_negative) {
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (true, true) => magnitude.reverse(),
        (false, false) => magnitude,
    }
}

proptest! {
    #[test]
    fn numbers_are_read_as_they_are_written(number in values_gen::number()) {
        prop_assert_eq!(parse(&number.to_string()), number);
    }

    #[test]
    fn integers_survive(int in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(Number::from(int).to_i64(), Some(int));
        prop_assert_eq!(Number::from(int).to_string(), int.to_string());
        prop_assert_eq!(Number::from(unsigned).to_u64(), Some(unsigned));
        prop_assert_eq!(parse(&unsigned.to_string()), Number::from(unsigned));
    }

    #[test]
    fn floats_survive(float in any::<f64>()) {
        let Ok(number) = Number::try_from(float) else {
            prop_assert!(!float.is_finite());
            return Ok(());
        };
        prop_assert_eq!(number.to_f64(), Some(float));
        if let Some(exact) = number.to_f64_exact() {
            prop_assert_eq!(exact.to_bits(), (float + 0.0).to_bits());
        }
    }

    /// An exact `f64` is one whose exact expansion is the number; the big-decimal library has the expansion.
    #[test]
    fn exactness_is_exact(mantissa in -1000_i32..1000, down in 0_i32..30) {
        let float = f64::from(mantissa) * 2_f64.powi(-down);
        let exact = Number::try_from(bigdecimal::BigDecimal::try_from(float).unwrap()).unwrap();
        prop_assert_eq!(exact.to_f64_exact(), Some(float));
        let off = Number::try_from(exact.to_big_decimal() + parse("1e-60").to_big_decimal()).unwrap();
        prop_assert_eq!(off.to_f64_exact(), None);
    }

    #[test]
    fn order_is_that_of_the_numbers(a in values_gen::number(), b in values_gen::number()) {
        prop_assert_eq!(a.cmp(&b), by_digits(&a, &b));
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
    }

    #[test]
    fn sets_have_no_order((_, value) in values_gen::typed(true), more in proptest::collection::vec(values_gen::text(), 0..8), seed in any::<u64>()) {
        let mut elements: Vec<Value> = more.into_iter().map(Value::from).collect();
        elements.push(Value::set(elements.clone()));
        elements.push(value);
        let set = Value::Set(elements.clone());
        elements.sort_by_key(|element| hash(&(hash(element), seed)));
        if let Some(Value::Set(inner)) = elements.iter_mut().find(|element| matches!(element, Value::Set(_))) {
            inner.reverse();
        }
        let shuffled = Value::Set(elements.clone());
        prop_assert_eq!(&set, &shuffled);
        prop_assert_eq!(hash(&set), hash(&shuffled));
        prop_assert!(set.cmp(&shuffled).is_eq());
        elements.push(Value::from("one more"));
        prop_assert_ne!(set, Value::Set(elements));
    }

    #[test]
    fn equality_hash_and_order_agree((_, a) in values_gen::typed(true), (_, b) in values_gen::typed(true)) {
        prop_assert_eq!(a == b, a.cmp(&b).is_eq());
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(hash(&a), hash(&a.clone()));
    }

    #[test]
    fn generated_values_are_normal_already((_, value) in values_gen::typed(true)) {
        prop_assert_eq!(value.normalized().into_owned(), value.clone());
        prop_assert_eq!(value.clone().transform(&mut |_, part| part), value);
    }

    #[test]
    fn every_place_that_is_walked_can_be_read((_, value) in values_gen::typed(true)) {
        let mut in_sets = Vec::new();
        let mut failure = None;
        value.walk(&mut |path, part| {
            if in_sets.iter().any(|set: &AttributePath| path.starts_with(set)) {
                return true;
            }
            if matches!(part, Value::Set(_)) {
                in_sets.push(path.clone());
            }
            match value.get_path(path) {
                Some(found) if found.unwrap_dynamic() == part.unwrap_dynamic() => {}
                other => failure = Some((path.clone(), other.cloned())),
            }
            true
        });
        prop_assert_eq!(failure, None);
    }
}

#[test]
fn one_number_however_written() {
    for group in [
        &["1", "1.0", "1e0", "10e-1", "+1", "001", "0.1e1", "1.", "1E+0"][..],
        &["0", "-0", "0.0", "-0.0e5", "0e999999999999999999999", ".0"],
        &["1e100", "10e99", "0.1e101"],
        &["0.1", ".1", "1e-1", "0.100"],
        &["-12.5", "-125e-1"],
    ] {
        for text in group {
            assert_eq!(parse(text), parse(group[0]), "{text}");
            assert_eq!(hash(&parse(text)), hash(&parse(group[0])), "{text}");
        }
    }
    assert_eq!(parse("12.50").to_string(), "12.5");
    assert_eq!(parse("-0.00001230").to_string(), "-0.0000123");
    assert_eq!(parse("123456789012345678901234567890").to_string(), "123456789012345678901234567890");
    assert_eq!(parse("1.5e3").to_string(), "1500");
    assert_eq!(parse("1e25").to_string(), format!("1{}", "0".repeat(25)));
    assert!(
        parse("2").cmp(&parse("1e20")).is_lt()
            && parse("-1e20") < parse("-2")
            && parse("0.1") < parse("0.11")
    );
}

#[test]
fn what_is_not_a_number() {
    for text in [
        "", "-", ".", "e5", "1e", "1e+", "0x10", "1_000", "NaN", "inf", " 1", "1 ", "1.2.3", "--1", "1e1.5",
        "+-1",
    ] {
        assert_eq!(Number::parse(text), Err(NumberError::Syntax), "{text:?}");
    }
    for text in ["1e999999999", "1e-999999999", "1e99999999999999999999", "-1e10001", "1e-20000"] {
        assert_eq!(Number::parse(text), Err(NumberError::OutOfRange), "{text}");
    }
    assert_eq!(Number::parse(&"1".repeat(5000)), Err(NumberError::TooPrecise));
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Number::try_from(float), Err(NumberError::NotFinite));
    }
}

#[test]
fn narrower_numbers_only_when_nothing_is_lost() {
    assert_eq!(parse("9223372036854775807").to_i64(), Some(i64::MAX));
    assert_eq!(parse("-9223372036854775808").to_i64(), Some(i64::MIN));
    assert_eq!(parse("9223372036854775808").to_i64(), None);
    assert_eq!(parse("9223372036854775808").to_u64(), Some(1 << 63));
    assert_eq!(parse("18446744073709551615").to_u64(), Some(u64::MAX));
    assert_eq!(parse("18446744073709551616").to_u64(), None);
    assert_eq!(parse("10000000000000000000").to_u64(), Some(10_000_000_000_000_000_000));
    assert_eq!(parse("1e20").to_u64(), None);
    assert_eq!(parse("-1").to_u64(), None);
    assert_eq!((parse("1.5").to_i64(), parse("1.5").to_u64()), (None, None));
    assert_eq!(parse("0.1").to_f64(), Some(0.1));
    assert_eq!(parse("0.1").to_f64_exact(), None);
    assert_eq!(parse("0.5").to_f64_exact(), Some(0.5));
    assert_eq!(parse("9007199254740993").to_f64(), None);
    assert_eq!(parse("1e100").to_f64(), None);
    assert_eq!(parse("3.14159265358979323846").to_f64(), None);
    assert_eq!(parse("1e400").to_f64(), None);
    assert_eq!(Number::try_from(1e22).unwrap(), parse("1e22"), "this power of ten is an f64");
    assert_eq!(Number::try_from(5e-324).unwrap().to_f64(), Some(5e-324));
    assert_eq!(Number::try_from(-0.0).unwrap(), Number::ZERO);
    assert_eq!(Number::try_from(18_446_744_073_709_551_616.0).unwrap().to_string(), "18446744073709551616");
}

#[test]
fn sets_of_ten_thousand_are_quick() {
    let element = |n: i64| {
        Value::object([("id", Value::from(n)), ("tags", Value::set((0..5).map(|tag| Value::from(tag + n))))])
    };
    let started = Instant::now();
    let forwards = Value::set((0..10_000).map(element));
    let backwards = Value::set((0..10_000).rev().map(element));
    assert_eq!(forwards, backwards);
    let other = Value::set((1..10_001).map(element));
    assert_ne!(forwards, other);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn places() {
    let mut value = Value::object([
        ("list", Value::list([Value::object([("a", Value::from("x"))])])),
        ("map", Value::map([("a.b", Value::from(true))])),
        ("set", Value::set([Value::object([("a", Value::from("x"))])])),
        ("any", Value::dynamic(Type::list(Type::Number), Value::list([Value::from(1)]))),
        ("none", Value::Null),
    ]);
    let path = AttributePath::from("list").index(0).attribute("a");
    assert_eq!(path.to_string(), "list[0].a");
    assert_eq!(value.get_path(&path).unwrap().as_str(), Some("x"));
    value.set_path(&path, Value::from("y")).unwrap();
    assert_eq!(value.get_path(&path).unwrap().as_str(), Some("y"));
    let key = AttributePath::from("map").key("new");
    value.set_path(&key, Value::from(false)).unwrap();
    assert_eq!(value.get_path(&key).unwrap().as_bool(), Some(false));
    assert_eq!(
        value.get_path(&AttributePath::from("any").index(0)).unwrap().as_number(),
        Some(&1_i64.into())
    );
    for wrong in [
        AttributePath::from("missing"),
        AttributePath::from("list").index(1),
        AttributePath::from("list").key("0"),
        AttributePath::from("map").attribute("a.b"),
        AttributePath::from("set").index(0),
        AttributePath::from("none").attribute("x"),
    ] {
        assert_eq!(value.get_path(&wrong), None, "{wrong}");
        assert!(value.set_path(&wrong, Value::Null).is_err(), "{wrong}");
    }
    let error = value.set_path(&AttributePath::from("none").attribute("x"), Value::Null).unwrap_err();
    assert_eq!(error.to_string(), "nothing can be set at `none.x`: the value above it is null");
    let mut inside_set = None;
    value.walk(&mut |path, part| {
        if part.as_str() == Some("x") {
            inside_set = Some(path.to_string());
        }
        true
    });
    assert_eq!(inside_set.unwrap(), "set");
}

#[test]
fn conformance_names_the_place() {
    let ty = Type::object([
        ("a", Type::list(Type::object([("n", Type::Number)]))),
        ("s", Type::set(Type::object([("n", Type::Number)]))),
        ("t", Type::Tuple(vec![Type::Bool])),
        ("d", Type::Dynamic),
    ]);
    let with = |name: &str, value: Value| {
        let mut object = Value::object(["a", "s", "t", "d"].map(|name| (name, Value::Null)));
        object.set_path(&name.into(), value).unwrap();
        object.conforms_to(&ty).map_err(|mismatch| mismatch.to_string())
    };
    let object = |value: &str| Value::object([("n", Value::from(value))]);
    assert_eq!(with("a", Value::Null), Ok(()));
    assert_eq!(with("a", Value::unknown()), Ok(()));
    assert_eq!(with("a", Value::list([object("x")])).unwrap_err(), "`a[0].n`: expected number, found string");
    assert_eq!(with("s", Value::set([object("x")])).unwrap_err(), "`s`: expected number, found string");
    assert_eq!(
        with("t", Value::tuple([])).unwrap_err(),
        "`t`: expected a tuple of 1 elements, found one of 0"
    );
    assert_eq!(with("d", Value::from("x")).unwrap_err(), "`d`: expected any, found string");
    assert_eq!(with("d", Value::dynamic(Type::String, Value::from("x"))), Ok(()));
    let wrong = Value::dynamic(Type::Bool, Value::from("x"));
    assert_eq!(with("d", wrong).unwrap_err(), "`d`: expected bool, found string");
    assert_eq!(
        Value::object([("a", Value::Null)]).conforms_to(&ty).unwrap_err().to_string(),
        "`d`: expected any, found no such attribute"
    );
    let surplus = Value::object([("zz", Value::Null)]).conforms_to(&ty).unwrap_err();
    assert_eq!(surplus.to_string(), "`zz`: expected no such attribute, found one");
}

#[test]
fn promises_are_checked() {
    let bound = |text: &str, inclusive| Some(Bound { value: parse(text), inclusive });
    let number = Unknown::refined(Refinements {
        null: Some(false),
        lower: bound("1", true),
        upper: bound("2", false),
        ..Refinements::default()
    });
    let admits = |unknown: &Unknown, text: &str| unknown.admits(&Value::Number(parse(text)));
    assert!(admits(&number, "1") && admits(&number, "1.999"));
    assert!(!admits(&number, "2") && !admits(&number, "0.999") && !number.admits(&Value::Null));
    assert!(Unknown::plain().admits(&Value::Null) && Unknown::plain().is_plain());
    assert!(Unknown::not_null().is_not_null() && !Unknown::not_null().admits(&Value::Null));
    assert!(Unknown::with_prefix("pre-").admits(&"pre-x".into()));
    assert!(!Unknown::with_prefix("pre-").admits(&"post".into()));
    let length = Unknown::with_length(1, Some(2));
    let list = |count| Value::list(vec![Value::from(1); count]);
    assert!(
        !length.admits(&list(0))
            && length.admits(&list(1))
            && length.admits(&list(2))
            && !length.admits(&list(3))
    );
    assert!(length.admits(&Value::unknown()) && !length.admits(&Value::Null));
    let null = Unknown::refined(Refinements { null: Some(true), ..Refinements::default() });
    assert!(
        null.admits(&Value::Null) && !null.admits(&"x".into()) && !null.admits(&Unknown::not_null().into())
    );
}
