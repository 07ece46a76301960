//! The twins of Terraform core's checks: each mistake of the catalogue is found at its place, and nothing that
//! core would accept is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod catalogue;
#[path = "../check_gen/mod.rs"]
mod check_gen;
mod elements;
#[path = "../values_gen/mod.rs"]
mod values_gen;
mod words;

use tfplugin::check::{Rule, Violation};
use tfplugin::schema::{Attribute, Block, NestedBlock, Nesting, Schema};
use tfplugin::{Type, Value};

use check_gen::{Kind, attribute, nested};

/// Attributes of every kind, nested ones, and blocks of every nesting.
fn schema() -> Schema {
    let inner = || {
        vec![
            attribute("key", Type::String, Kind::Optional),
            attribute("value", Type::String, Kind::Optional),
            attribute("id", Type::String, Kind::Computed),
        ]
    };
    let block = |name: &str, nesting| NestedBlock {
        name: name.to_owned(),
        nesting,
        min_items: 0,
        max_items: 0,
        block: Block { attributes: inner(), ..Block::default() },
    };
    Schema {
        version: 0,
        block: Block {
            attributes: vec![
                attribute("name", Type::String, Kind::Required),
                attribute("size", Type::Number, Kind::Optional),
                attribute("zone", Type::String, Kind::OptionalComputed),
                attribute("tags", Type::map(Type::String), Kind::Optional),
                attribute("ports", Type::list(Type::Number), Kind::Optional),
                attribute("hosts", Type::set(Type::String), Kind::Optional),
                attribute("etag", Type::String, Kind::Computed),
                attribute("info", Type::object([("a", Type::String), ("b", Type::String)]), Kind::Computed),
                Attribute { sensitive: true, ..attribute("secret", Type::String, Kind::Optional) },
                Attribute { write_only: true, ..attribute("password_wo", Type::String, Kind::Optional) },
                nested("one", Nesting::Single, Kind::Optional, inner()),
                nested("maybe", Nesting::Single, Kind::OptionalComputed, inner()),
                nested("many", Nesting::List, Kind::Optional, inner()),
                nested("keyed", Nesting::Map, Kind::Optional, inner()),
                nested("unordered", Nesting::Set, Kind::Optional, inner()),
            ],
            blocks: vec![
                block("single", Nesting::Single),
                block("list", Nesting::List),
                block("set", Nesting::Set),
                block("map", Nesting::Map),
            ],
            ..Block::default()
        },
    }
}

/// A value of the schema with nothing but these.
fn body(values: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let mut body = schema().block.empty_value();
    body.set_path(&"name".into(), "n".into()).unwrap();
    for (name, value) in values {
        body.set_path(&name.into(), value).unwrap();
    }
    body
}

fn inner(key: &str, value: &str, id: Value) -> Value {
    Value::object([("key", Value::from(key)), ("value", Value::from(value)), ("id", id)])
}

fn found(violations: &[Violation]) -> Vec<(String, Rule, &str)> {
    violations
        .iter()
        .map(|violation| (violation.path.to_string(), violation.rule, violation.message.as_str()))
        .collect()
}
