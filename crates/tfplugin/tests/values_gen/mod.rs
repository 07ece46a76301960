//! Arbitrary types, and arbitrary values of them.

#![allow(dead_code, reason = "every test binary uses its own part")]

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use tfplugin::value::{Bound, Refinements};
use tfplugin::{Number, Type, Unknown, Value};

/// Text with everything that can go wrong: quotes, control characters, combining marks, other planes.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", any::<String>(), "[e\u{301}\u{308}a\"\\\\\n\u{1f600}]{0,6}"]
}

pub(crate) fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        (-300_i64..300).prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        any::<f64>().prop_filter_map("finite", |float| Number::try_from(float).ok()),
        "-?[0-9]{1,40}(\\.[0-9]{1,40})?(e-?[0-9]{1,3})?".prop_map(|text| Number::parse(&text).unwrap()),
    ]
}

pub(crate) fn ty() -> impl Strategy<Value = Type> {
    let leaf = prop_oneof![
        4 => Just(Type::String),
        3 => Just(Type::Number),
        2 => Just(Type::Bool),
        1 => Just(Type::Dynamic),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(Type::list),
            inner.clone().prop_map(Type::set),
            inner.clone().prop_map(Type::map),
            vec(inner.clone(), 0..4).prop_map(Type::Tuple),
            btree_map("[a-z_]{1,5}", inner, 0..4).prop_map(Type::Object),
        ]
    })
}

/// Promises that survive the wire for a value of `ty`.
fn unknown(ty: &Type) -> BoxedStrategy<Unknown> {
    let null = option::of(any::<bool>());
    match ty {
        Type::Dynamic => Just(Unknown::plain()).boxed(),
        Type::String => (null, option::of("[a-z-]{1,300}"))
            .prop_map(|(null, prefix)| {
                let prefix = prefix.filter(|prefix| prefix.len() <= 256);
                Unknown::refined(Refinements { null, prefix, ..Refinements::default() })
            })
            .boxed(),
        Type::Number => {
            let bound = || {
                option::of(
                    (number(), any::<bool>()).prop_map(|(value, inclusive)| Bound { value, inclusive }),
                )
                .prop_map(|bound| bound.filter(|bound| bound.value.to_string().len() <= 256))
            };
            (null, bound(), bound())
                .prop_map(|(null, lower, upper)| {
                    Unknown::refined(Refinements { null, lower, upper, ..Refinements::default() })
                })
                .boxed()
        }
        Type::List(_) | Type::Set(_) | Type::Map(_) => {
            (null, option::of(0_u64..1 << 40), option::of(0_u64..99))
                .prop_map(|(null, min_length, max_length)| {
                    Unknown::refined(Refinements { null, min_length, max_length, ..Refinements::default() })
                })
                .boxed()
        }
        _ => null.prop_map(|null| Unknown::refined(Refinements { null, ..Refinements::default() })).boxed(),
    }
}

/// A value of `ty`; with unknowns inside or without.
pub(crate) fn value(ty: &Type, unknowns: bool) -> BoxedStrategy<Value> {
    let known = known(ty, unknowns);
    if unknowns {
        prop_oneof![
            8 => known,
            1 => Just(Value::Null),
            1 => unknown(ty).prop_map(Value::Unknown),
        ]
        .boxed()
    } else {
        prop_oneof![8 => known, 1 => Just(Value::Null)].boxed()
    }
}

/// The elements of a collection: those of dynamic type all have the same type.
fn elements(element: &Type, unknowns: bool) -> BoxedStrategy<Vec<Value>> {
    if *element == Type::Dynamic {
        return prop_oneof![Just(Type::String), Just(Type::list(Type::Number))]
            .prop_flat_map(move |ty| {
                vec(value(&ty, unknowns).prop_map(move |value| Value::dynamic(ty.clone(), value)), 0..4)
            })
            .boxed();
    }
    vec(value(element, unknowns), 0..4).boxed()
}

fn known(ty: &Type, unknowns: bool) -> BoxedStrategy<Value> {
    match ty {
        Type::String => text().prop_map(Value::string).boxed(),
        Type::Number => number().prop_map(Value::Number).boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Dynamic => prop_oneof![
            Just(Type::String),
            Just(Type::Number),
            Just(Type::list(Type::Bool)),
            Just(Type::Tuple(vec![Type::Number, Type::set(Type::String), Type::Dynamic])),
            Just(Type::object([("a", Type::map(Type::Number)), ("é", Type::String)])),
        ]
        .prop_flat_map(move |ty| {
            let of = if ty.contains_dynamic() { known_shallow() } else { value(&ty, unknowns) };
            of.prop_map(move |value| Value::dynamic(ty.clone(), value))
        })
        .boxed(),
        Type::List(element) => elements(element, unknowns).prop_map(Value::List).boxed(),
        Type::Set(element) => elements(element, unknowns).prop_map(Value::set).boxed(),
        Type::Map(element) => (elements(element, unknowns), vec(text(), 4))
            .prop_map(|(elements, keys)| Value::map(keys.into_iter().zip(elements)))
            .boxed(),
        Type::Tuple(types) => {
            types.iter().map(|ty| value(ty, unknowns)).collect::<Vec<_>>().prop_map(Value::Tuple).boxed()
        }
        Type::Object(types) => {
            let names: Vec<String> = types.keys().cloned().collect();
            types
                .values()
                .map(|ty| value(ty, unknowns))
                .collect::<Vec<_>>()
                .prop_map(move |values| Value::object(names.iter().cloned().zip(values)))
                .boxed()
        }
    }
}

/// One value with a dynamic one inside: a strategy for all of them would not end.
fn known_shallow() -> BoxedStrategy<Value> {
    number()
        .prop_map(|number| {
            Value::tuple([
                Value::Number(number.clone()),
                Value::set([Value::from("x")]),
                Value::dynamic(Type::Number, Value::Number(number)),
            ])
        })
        .boxed()
}

/// A type and a value of it.
pub(crate) fn typed(unknowns: bool) -> impl Strategy<Value = (Type, Value)> {
    ty().prop_flat_map(move |ty| {
        let value = value(&ty, unknowns);
        (Just(ty), value)
    })
}
