//! Elements of sets, lists and maps: which is which before and after.

use std::time::{Duration, Instant};

use tfplugin::check::{Rule, apply_consistent, plan_valid, proposed_new_state};
use tfplugin::schema::{Block, NestedBlock, Nesting, Schema};
use tfplugin::{Type, Value};

use crate::check_gen::{Kind, attribute, nested};
use crate::{body, found, inner, schema};

#[test]
fn sets_are_paired_whatever_is_unknown_in_them() {
    let schema = schema();
    let element = |key: &str, id: Value| inner(key, "v", id);
    let planned =
        body([("set", Value::set([element("a", Value::unknown()), element("b", Value::unknown())]))]);
    let actual = body([("set", Value::set([element("b", "2".into()), element("a", "1".into())]))]);
    assert_eq!(found(&apply_consistent(&schema, &planned, &actual)), []);
    let altered = body([("set", Value::set([element("b", "2".into()), element("A", "1".into())]))]);
    let violations = apply_consistent(&schema, &planned, &altered);
    assert_eq!(
        violations[0].message,
        "planned set element { id = (known after apply), key = \"a\", value = \"v\" } does not correlate with any \
         element in actual"
    );
    let more = body([(
        "set",
        Value::set([element("b", "2".into()), element("a", "1".into()), element("a", "3".into())]),
    )]);
    assert_eq!(apply_consistent(&schema, &planned, &more)[0].message, "block set length changed from 2 to 3");
    // Elements that are unknown as a whole may become equal, and one.
    let hosts = |hosts: Vec<Value>| body([("hosts", Value::Set(hosts))]);
    let two = hosts(vec![Value::unknown(), Value::unknown()]);
    assert_eq!(found(&apply_consistent(&schema, &two, &hosts(vec!["x".into()]))), []);
    assert_eq!(found(&apply_consistent(&schema, &two, &hosts(vec!["x".into(), "y".into()]))), []);
}

#[test]
fn sets_of_ten_thousand_are_paired_quickly() {
    let schema = schema();
    let elements = |id: &dyn Fn(i64) -> Value| {
        body([("set", Value::Set((0..10_000).map(|n| inner(&n.to_string(), "v", id(n))).collect()))])
    };
    let started = Instant::now();
    let config = elements(&|_| Value::Null);
    let prior = elements(&|n| Value::from(n.to_string()));
    assert_eq!(proposed_new_state(&schema, &prior, &config), prior);
    let planned = elements(&|_| Value::unknown());
    assert_eq!(found(&plan_valid(&schema, &Value::Null, &config, &planned)), []);
    assert_eq!(found(&apply_consistent(&schema, &planned, &prior)), []);
    let unknown = body([("hosts", Value::Set(vec![Value::unknown(); 10_000]))]);
    let known = body([("hosts", Value::set((0..10_000).map(|n| Value::from(n.to_string()))))]);
    assert_eq!(found(&apply_consistent(&schema, &unknown, &known)), []);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn what_core_proposes() {
    let schema = schema();
    let id = |id: &str| Value::from(id);
    let config = body([
        ("password_wo", Value::from("w")),
        ("many", Value::list([inner("a", "v", Value::Null), inner("b", "v", Value::Null)])),
        ("keyed", Value::map([("x", inner("a", "v", Value::Null)), ("new", inner("a", "v", Value::Null))])),
        ("set", Value::set([inner("a", "changed", Value::Null), inner("b", "v", Value::Null)])),
        ("list", Value::list([inner("a", "v", Value::Null)])),
        ("single", inner("a", "v", Value::Null)),
    ]);
    assert_eq!(proposed_new_state(&schema, &Value::Null, &config), config, "create: computed are null");
    assert_eq!(proposed_new_state(&schema, &config, &Value::Null), Value::Null, "delete");
    let prior = body([
        ("size", Value::from(1)),
        ("zone", id("eu")),
        ("etag", id("1")),
        ("many", Value::list([inner("z", "v", id("m0"))])),
        ("keyed", Value::map([("x", inner("z", "v", id("kx"))), ("old", inner("z", "v", id("ko")))])),
        ("set", Value::set([inner("a", "v", id("sa")), inner("b", "v", id("sb"))])),
        ("list", Value::list([inner("z", "v", id("l0")), inner("z", "v", id("l1"))])),
        ("single", inner("z", "v", id("s"))),
        ("maybe", Value::object([("key", Value::Null), ("value", Value::Null), ("id", id("computed"))])),
    ]);
    let expected = body([
        ("password_wo", Value::from("w")),
        ("zone", id("eu")),
        ("etag", id("1")),
        ("many", Value::list([inner("a", "v", id("m0")), inner("b", "v", Value::Null)])),
        ("keyed", Value::map([("x", inner("a", "v", id("kx"))), ("new", inner("a", "v", Value::Null))])),
        ("set", Value::set([inner("a", "changed", Value::Null), inner("b", "v", id("sb"))])),
        ("list", Value::list([inner("a", "v", id("l0"))])),
        ("single", inner("a", "v", id("s"))),
        ("maybe", Value::object([("key", Value::Null), ("value", Value::Null), ("id", id("computed"))])),
    ]);
    assert_eq!(proposed_new_state(&schema, &prior, &config), expected);
    // The user once wrote `maybe`, and has removed it.
    let prior = body([("maybe", inner("k", "v", id("computed")))]);
    assert_eq!(proposed_new_state(&schema, &prior, &body([])), body([]));
}

/// Two elements of configuration never become one: the plan would have fewer than the configuration.
#[test]
fn an_open_element_does_not_take_what_another_is_equal_to() {
    let mut schema = schema();
    let attributes = vec![attribute("key", Type::String, Kind::OptionalComputed)];
    schema.block.attributes = vec![nested("set", Nesting::Set, Kind::Optional, attributes)];
    schema.block.blocks.clear();
    let body = |keys: &[Value]| {
        let elements = keys.iter().map(|key| Value::object([("key", key.clone())]));
        Value::object([("set", Value::set(elements))])
    };
    let config = body(&[Value::Null, "a".into()]);
    let proposed = proposed_new_state(&schema, &body(&["a".into()]), &config);
    assert_eq!(proposed, config);
    let proposed = proposed_new_state(&schema, &body(&["a".into(), "b".into()]), &config);
    assert_eq!(proposed, body(&["b".into(), "a".into()]));
}

#[test]
fn blocks_with_dynamic_attributes_inside() {
    let block = |name: &str, nesting| NestedBlock {
        name: name.to_owned(),
        nesting,
        min_items: 0,
        max_items: 0,
        block: Block {
            attributes: vec![
                attribute("any", Type::Dynamic, Kind::Optional),
                attribute("got", Type::Dynamic, Kind::Computed),
            ],
            ..Block::default()
        },
    };
    let schema = Schema {
        version: 0,
        block: Block {
            blocks: vec![block("list", Nesting::List), block("map", Nesting::Map)],
            ..Block::default()
        },
    };
    assert_eq!(schema.implied_type(), Type::object([("list", Type::Dynamic), ("map", Type::Dynamic)]));
    let element = |any: Type, got: Type| Type::object([("any", any), ("got", got)]);
    let value = |any: Value, got: Value| Value::object([("any", any), ("got", got)]);
    let body = |types: Vec<Type>, values: Vec<Value>| {
        let mut body = schema.block.empty_value();
        body.set_path(&"list".into(), Value::dynamic(Type::Tuple(types), Value::Tuple(values))).unwrap();
        body
    };
    let config = body(
        vec![element(Type::String, Type::Dynamic), element(Type::Number, Type::Dynamic)],
        vec![value("x".into(), Value::Null), value(1.into(), Value::Null)],
    );
    let prior = body(
        vec![element(Type::String, Type::list(Type::Bool))],
        vec![value("x".into(), Value::list([true.into()]))],
    );
    let proposed = proposed_new_state(&schema, &prior, &config);
    let expected = body(
        vec![element(Type::String, Type::list(Type::Bool)), element(Type::Number, Type::Dynamic)],
        vec![value("x".into(), Value::list([true.into()])), value(1.into(), Value::Null)],
    );
    assert_eq!(proposed, expected);
    proposed.conforms_to(&schema.implied_type()).unwrap();
    assert_eq!(found(&plan_valid(&schema, &prior, &config, &proposed)), []);
    let fewer = body(vec![element(Type::String, Type::Dynamic)], vec![value("x".into(), Value::Null)]);
    assert_eq!(plan_valid(&schema, &prior, &config, &fewer)[0].rule, Rule::PlannedElements);
}
