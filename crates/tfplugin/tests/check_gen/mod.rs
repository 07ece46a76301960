//! Arbitrary schemas, with configurations and states that fit them.

#![allow(dead_code, reason = "every test binary uses its own part")]

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use tfplugin::schema::{Attribute, Block, NestedBlock, NestedObject, Nesting, Planning, Schema, Shape};
use tfplugin::{Type, Value};

use crate::values_gen;

/// Who sets an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Required,
    Optional,
    OptionalComputed,
    Computed,
}

fn shaped(name: &str, shape: Shape, kind: Kind) -> Attribute {
    Attribute {
        name: name.to_owned(),
        shape,
        description: String::new(),
        required: kind == Kind::Required,
        optional: matches!(kind, Kind::Optional | Kind::OptionalComputed),
        computed: matches!(kind, Kind::OptionalComputed | Kind::Computed),
        sensitive: false,
        write_only: false,
        deprecated: None,
        default: None,
        force_new: false,
        stable: false,
        identity: None,
        planning: Planning::default(),
        validators: Vec::new(),
        values: Vec::new(),
    }
}

pub(crate) fn attribute(name: &str, ty: Type, kind: Kind) -> Attribute {
    shaped(name, Shape::Type(ty), kind)
}

pub(crate) fn nested(name: &str, nesting: Nesting, kind: Kind, attributes: Vec<Attribute>) -> Attribute {
    shaped(name, Shape::Nested(NestedObject { nesting, attributes, rules: Vec::new() }), kind)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Required),
        Just(Kind::Optional),
        Just(Kind::OptionalComputed),
        Just(Kind::Computed)
    ]
}

fn nesting() -> impl Strategy<Value = Nesting> {
    prop_oneof![Just(Nesting::Single), Just(Nesting::List), Just(Nesting::Set), Just(Nesting::Map)]
}

fn names() -> impl Strategy<Value = Vec<String>> {
    btree_set("[a-f]", 0..5).prop_map(|names| names.into_iter().collect())
}

fn one_attribute(name: String, depth: u32) -> BoxedStrategy<Attribute> {
    let plain = (
        prop_oneof![
            Just(Type::String),
            Just(Type::Number),
            Just(Type::Bool),
            Just(Type::list(Type::String)),
            Just(Type::set(Type::Number)),
            Just(Type::map(Type::object([("x", Type::Number)]))),
        ],
        kind(),
        any::<bool>(),
        0_u8..8,
    )
        .prop_map({
            let name = name.clone();
            move |(ty, kind, sensitive, write_only)| Attribute {
                sensitive,
                write_only: write_only == 0 && matches!(kind, Kind::Required | Kind::Optional),
                ..attribute(&name, ty, kind)
            }
        });
    if depth == 0 {
        return plain.boxed();
    }
    let inner =
        (nesting(), kind(), attributes(depth - 1)).prop_map(move |(nesting, kind, mut attributes)| {
            if nesting == Nesting::Set {
                attributes.iter_mut().for_each(no_write_only);
            }
            nested(&name, nesting, kind, attributes)
        });
    prop_oneof![3 => plain, 1 => inner].boxed()
}

/// Schemas may not have write-only attributes inside sets.
fn no_write_only(attribute: &mut Attribute) {
    attribute.write_only = false;
    if let Shape::Nested(nested) = &mut attribute.shape {
        nested.attributes.iter_mut().for_each(no_write_only);
    }
}

fn attributes(depth: u32) -> BoxedStrategy<Vec<Attribute>> {
    names()
        .prop_flat_map(move |names| {
            names.into_iter().map(|name| one_attribute(name, depth)).collect::<Vec<_>>()
        })
        .boxed()
}

fn block(depth: u32) -> BoxedStrategy<Block> {
    let blocks = if depth == 0 {
        Just(Vec::new()).boxed()
    } else {
        let nesting = prop_oneof![4 => nesting(), 1 => Just(Nesting::Group)];
        vec((nesting, block(depth - 1)), 0..3)
            .prop_map(|blocks| {
                let block = |(index, (nesting, mut block)): (usize, (Nesting, Block))| {
                    if nesting == Nesting::Set {
                        no_write_only_block(&mut block);
                    }
                    NestedBlock { name: format!("block_{index}"), nesting, min_items: 0, max_items: 0, block }
                };
                blocks.into_iter().enumerate().map(block).collect()
            })
            .boxed()
    };
    (attributes(1), blocks)
        .prop_map(|(attributes, blocks)| Block { attributes, blocks, ..Block::default() })
        .boxed()
}

fn no_write_only_block(block: &mut Block) {
    block.attributes.iter_mut().for_each(no_write_only);
    block.blocks.iter_mut().for_each(|nested| no_write_only_block(&mut nested.block));
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Config,
    State,
}

fn attribute_value(attribute: &Attribute, stage: Stage) -> BoxedStrategy<Value> {
    let absent = match stage {
        Stage::Config => attribute.computed && !attribute.optional,
        Stage::State => attribute.write_only,
    };
    if absent {
        return Just(Value::Null).boxed();
    }
    let present = match &attribute.shape {
        // Small values, so that equal ones are found in sets and in prior states.
        Shape::Type(Type::String) => "[ab]{0,1}".prop_map(Value::from).boxed(),
        Shape::Type(ty) => values_gen::value(ty, false),
        Shape::Nested(nested) => {
            let object = object(&nested.attributes, &[], stage);
            many(nested.nesting, object)
        }
    };
    if attribute.required && stage == Stage::Config {
        return present;
    }
    prop_oneof![2 => present, 1 => Just(Value::Null)].boxed()
}

fn many(nesting: Nesting, object: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let objects = vec(object.clone(), 0..4);
    match nesting {
        Nesting::Single | Nesting::Group => object,
        Nesting::List => objects.prop_map(Value::List).boxed(),
        Nesting::Set => objects.prop_map(Value::set).boxed(),
        Nesting::Map => (vec("[ab]{0,2}", 4), objects)
            .prop_map(|(keys, objects)| Value::map(keys.into_iter().zip(objects)))
            .boxed(),
    }
}

fn object(attributes: &[Attribute], blocks: &[NestedBlock], stage: Stage) -> BoxedStrategy<Value> {
    let names: Vec<String> = attributes
        .iter()
        .map(|attribute| attribute.name.clone())
        .chain(blocks.iter().map(|nested| nested.name.clone()))
        .collect();
    let values: Vec<BoxedStrategy<Value>> = attributes
        .iter()
        .map(|attribute| attribute_value(attribute, stage))
        .chain(blocks.iter().map(|nested| {
            let object = object(&nested.block.attributes, &nested.block.blocks, stage);
            match nested.nesting {
                Nesting::Single => prop_oneof![object, Just(Value::Null)].boxed(),
                nesting => many(nesting, object),
            }
        }))
        .collect();
    values.prop_map(move |values| Value::object(names.iter().cloned().zip(values))).boxed()
}

/// A schema, a prior state and a configuration.
pub(crate) fn situation() -> impl Strategy<Value = (Schema, Value, Value)> {
    block(2).prop_flat_map(|block| {
        let value = |stage| object(&block.attributes, &block.blocks, stage);
        let (prior, config) = (value(Stage::State), value(Stage::Config));
        (Just(Schema { version: 0, block }), prior, config)
    })
}
