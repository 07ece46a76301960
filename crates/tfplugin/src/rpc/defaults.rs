//! Defaults and unknowns: what the framework itself puts where configuration says nothing.

use std::collections::BTreeMap;

use crate::schema::{Attribute, Block, Nesting, Shape};
use crate::{Unknown, Value};

/// Puts the default of each attribute whose *configuration* is null into `target`, all the way down.
pub(super) fn apply_defaults(block: &Block, target: &mut Value, config: &Value) {
    each_unconfigured(block, target, config, &|attribute, value| {
        if let Some(default) = &attribute.default {
            *value = default.clone();
        }
    });
}

/// Makes unknown each computed attribute that neither configuration nor a default decides, all the way down.
/// Attributes that keep their value once they have one (`stable`, `force_new`) keep it.
pub(super) fn mark_unknown(block: &Block, target: &mut Value, config: &Value) {
    each_unconfigured(block, target, config, &|attribute, value| {
        let keeps = (attribute.stable || attribute.force_new) && !value.is_null();
        if attribute.computed && attribute.default.is_none() && !keeps {
            *value = Value::Unknown(Unknown::plain());
        }
    });
}

/// What to do with an attribute whose configuration is null.
pub(super) type Change<'a> = &'a dyn Fn(&Attribute, &mut Value);

/// Visits each attribute whose configuration is null, elements of sets included; those inside it are not visited.
pub(super) fn each_unconfigured(block: &Block, target: &mut Value, config: &Value, change: Change<'_>) {
    let (Value::Object(target), Value::Object(config)) = (target, config) else { return };
    in_object(&block.attributes, target, config, change);
    for nested in &block.blocks {
        if let (Some(target), Some(config)) = (target.get_mut(&nested.name), config.get(&nested.name)) {
            let same = |target: &Value, config: &Value| same_block(&nested.block, target, config);
            each_pair(nested.nesting, target, config, &same, &|target, config| {
                each_unconfigured(&nested.block, target, config, change);
            });
        }
    }
}

fn in_object(
    attributes: &[Attribute],
    target: &mut BTreeMap<String, Value>,
    config: &BTreeMap<String, Value>,
    change: Change<'_>,
) {
    for attribute in attributes {
        let Some(target) = target.get_mut(&attribute.name) else { continue };
        let config = config.get(&attribute.name).unwrap_or(&Value::Null);
        if config.is_null() {
            if !attribute.write_only {
                change(attribute, target);
            }
            continue;
        }
        if let Shape::Nested(nested) = &attribute.shape {
            let same = |target: &Value, config: &Value| same_attributes(&nested.attributes, target, config);
            each_pair(nested.nesting, target, config, &same, &|target, config| {
                if let (Value::Object(target), Value::Object(config)) = (target, config) {
                    in_object(&nested.attributes, target, config, change);
                }
            });
        }
    }
}

/// Visits each element of `target` with the element of `config` that it comes from: by position, by key, and in
/// sets by what is configured.
fn each_pair(
    nesting: Nesting,
    target: &mut Value,
    config: &Value,
    same: &dyn Fn(&Value, &Value) -> bool,
    visit: &dyn Fn(&mut Value, &Value),
) {
    match (nesting, target, config) {
        (Nesting::Single | Nesting::Group, target, config) => visit(target, config),
        (Nesting::List, Value::List(target), Value::List(config)) => {
            target.iter_mut().zip(config).for_each(|(target, config)| visit(target, config));
        }
        (Nesting::Map, Value::Map(target), Value::Map(config)) => {
            for (key, target) in target {
                if let Some(config) = config.get(key) {
                    visit(target, config);
                }
            }
        }
        (Nesting::Set, set @ Value::Set(_), Value::Set(config)) => {
            let Value::Set(elements) = std::mem::take(set) else { return };
            let mut open: Vec<&Value> = config.iter().collect();
            *set = Value::set(elements.into_iter().map(|mut element| {
                if let Some(position) = open.iter().position(|config| same(&element, config)) {
                    visit(&mut element, open.swap_remove(position));
                }
                element
            }));
        }
        _ => {}
    }
}

fn same_block(block: &Block, target: &Value, config: &Value) -> bool {
    let inner =
        block.blocks.iter().all(|nested| match (target.get(&nested.name), config.get(&nested.name)) {
            (Some(target), Some(config)) => {
                same_collection(nested.nesting, target, config, &|target, config| {
                    same_block(&nested.block, target, config)
                })
            }
            _ => true,
        });
    inner && same_attributes(&block.attributes, target, config)
}

/// Whether `target` is `config` with nothing but computed attributes filled in.
fn same_attributes(attributes: &[Attribute], target: &Value, config: &Value) -> bool {
    let (Value::Object(target), Value::Object(config)) = (target, config) else { return target == config };
    attributes.iter().all(|attribute| {
        let (Some(target), Some(config)) = (target.get(&attribute.name), config.get(&attribute.name)) else {
            return true;
        };
        if config.is_null() && attribute.computed {
            return true;
        }
        match &attribute.shape {
            Shape::Type(_) => target == config,
            Shape::Nested(nested) => same_collection(nested.nesting, target, config, &|target, config| {
                same_attributes(&nested.attributes, target, config)
            }),
        }
    })
}

fn same_collection(
    nesting: Nesting,
    target: &Value,
    config: &Value,
    same: &dyn Fn(&Value, &Value) -> bool,
) -> bool {
    match (nesting, target, config) {
        (Nesting::List, Value::List(target), Value::List(config)) => {
            target.len() == config.len()
                && target.iter().zip(config).all(|(target, config)| same(target, config))
        }
        (Nesting::Set, Value::Set(target), Value::Set(config)) => {
            target.len() == config.len()
                && target.iter().all(|target| config.iter().any(|config| same(target, config)))
        }
        (Nesting::Map, Value::Map(target), Value::Map(config)) => {
            target.len() == config.len()
                && target
                    .iter()
                    .all(|(key, target)| config.get(key).is_some_and(|config| same(target, config)))
        }
        (Nesting::Single | Nesting::Group, target, config) => same(target, config),
        (_, target, config) => target == config,
    }
}
