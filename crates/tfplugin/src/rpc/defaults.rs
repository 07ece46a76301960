//! Defaults and unknowns: what the framework itself puts where configuration says nothing.

use std::collections::{BTreeMap, HashMap};

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
            let alike = Alike {
                same: &|target, config| same_block(&nested.block, target, config),
                outline: &|value| outline_block(&nested.block, value),
            };
            each_pair(nested.nesting, target, config, &alike, &|target, config| {
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
            let alike = Alike {
                same: &|target, config| same_attributes(&nested.attributes, target, config),
                outline: &|value| outline(&nested.attributes, value),
            };
            each_pair(nested.nesting, target, config, &alike, &|target, config| {
                if let (Value::Object(target), Value::Object(config)) = (target, config) {
                    in_object(&nested.attributes, target, config, change);
                }
            });
        }
    }
}

/// When two elements of a set are the same but for what the provider fills in.
struct Alike<'a> {
    same: &'a dyn Fn(&Value, &Value) -> bool,
    /// What of an element only configuration decides. Equal for elements that are the same, so that not every pair has to be
    /// compared.
    outline: &'a dyn Fn(&Value) -> Value,
}

impl Alike<'_> {
    /// Elements by their outline.
    fn sort<'v>(&self, elements: &'v [Value]) -> HashMap<Value, Vec<&'v Value>> {
        let mut sorted: HashMap<Value, Vec<&Value>> = HashMap::new();
        for element in elements {
            sorted.entry((self.outline)(element)).or_default().push(element);
        }
        sorted
    }
}

/// Visits each element of `target` with the element of `config` that it comes from: by position, by key, and in
/// sets by what is configured.
fn each_pair(
    nesting: Nesting,
    target: &mut Value,
    config: &Value,
    alike: &Alike<'_>,
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
            let mut open = alike.sort(config);
            *set = Value::set(elements.into_iter().map(|mut element| {
                if let Some(open) = open.get_mut(&(alike.outline)(&element))
                    && let Some(position) = open.iter().position(|config| (alike.same)(&element, config))
                {
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
                let alike = Alike {
                    same: &|target, config| same_block(&nested.block, target, config),
                    outline: &|value| outline_block(&nested.block, value),
                };
                same_collection(nested.nesting, target, config, &alike)
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
            Shape::Nested(nested) => {
                let alike = Alike {
                    same: &|target, config| same_attributes(&nested.attributes, target, config),
                    outline: &|value| outline(&nested.attributes, value),
                };
                same_collection(nested.nesting, target, config, &alike)
            }
        }
    })
}

fn same_collection(nesting: Nesting, target: &Value, config: &Value, alike: &Alike<'_>) -> bool {
    match (nesting, target, config) {
        (Nesting::List, Value::List(target), Value::List(config)) => {
            target.len() == config.len()
                && target.iter().zip(config).all(|(target, config)| (alike.same)(target, config))
        }
        (Nesting::Set, Value::Set(target), Value::Set(config)) => {
            let config = (target.len() == config.len()).then(|| alike.sort(config));
            config.is_some_and(|config| {
                target.iter().all(|target| {
                    let near = config.get(&(alike.outline)(target));
                    near.is_some_and(|near| near.iter().any(|config| (alike.same)(target, config)))
                })
            })
        }
        (Nesting::Map, Value::Map(target), Value::Map(config)) => {
            target.len() == config.len()
                && target
                    .iter()
                    .all(|(key, target)| config.get(key).is_some_and(|config| (alike.same)(target, config)))
        }
        (Nesting::Single | Nesting::Group, target, config) => (alike.same)(target, config),
        (_, target, config) => target == config,
    }
}

/// What of a block only configuration decides: what is computed is null, and so are sets, which have no order to go by.
fn outline_block(block: &Block, value: &Value) -> Value {
    let Value::Object(entries) = outline(&block.attributes, value) else { return value.clone() };
    Value::Object(
        entries
            .into_iter()
            .map(|(name, value)| {
                let value = match block.nested_block(&name) {
                    Some(nested) => {
                        outline_nested(nested.nesting, &value, &|value| outline_block(&nested.block, value))
                    }
                    None => value,
                };
                (name, value)
            })
            .collect(),
    )
}

/// The same of an object of attributes.
fn outline(attributes: &[Attribute], value: &Value) -> Value {
    let Value::Object(entries) = value else { return value.clone() };
    let mut entries = entries.clone();
    for attribute in attributes {
        let Some(value) = entries.get_mut(&attribute.name) else { continue };
        if attribute.computed {
            *value = Value::Null;
        } else if let Shape::Nested(nested) = &attribute.shape {
            *value = outline_nested(nested.nesting, value, &|value| outline(&nested.attributes, value));
        }
    }
    Value::Object(entries)
}

fn outline_nested(nesting: Nesting, value: &Value, outline: &dyn Fn(&Value) -> Value) -> Value {
    match (nesting, value) {
        (Nesting::Set, _) => Value::Null,
        (Nesting::List, Value::List(elements)) => Value::List(elements.iter().map(outline).collect()),
        (Nesting::Map, Value::Map(elements)) => {
            Value::Map(elements.iter().map(|(key, value)| (key.clone(), outline(value))).collect())
        }
        (_, value) => outline(value),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{Attr, Model};

    #[derive(Clone, Model)]
    struct Part {
        #[tf(required)]
        name: Attr<String>,
        #[tf(default = 7)]
        weight: Attr<i64>,
        #[tf(optional)]
        more: Attr<crate::Set<String>>,
    }

    fn part(number: i64, weight: Value) -> Value {
        Value::object([
            ("name", Value::from(format!("n{number}"))),
            ("weight", weight),
            ("more", Value::Null),
        ])
    }

    /// A large set was planned in quadratic time: every element was compared with every other.
    #[test]
    fn elements_of_a_large_set_are_found_without_comparing_all() {
        let count = 10_000;
        let attributes = Part::block().attributes;
        let config: Vec<_> = (0..count).map(|number| part(number, Value::Null)).collect();
        let mut target = Value::set((0..count).rev().map(|number| part(number, Value::from(3))));
        let (compared, visited) = (Cell::new(0), Cell::new(0));
        let alike = Alike {
            same: &|target, config| {
                compared.set(compared.get() + 1);
                same_attributes(&attributes, target, config)
            },
            outline: &|value| outline(&attributes, value),
        };
        each_pair(Nesting::Set, &mut target, &Value::set(config), &alike, &|target, config| {
            assert_eq!(target.get("name"), config.get("name"));
            visited.set(visited.get() + 1);
        });
        assert_eq!((compared.get(), visited.get()), (count, count));
    }

    #[test]
    fn what_is_the_same_has_the_same_outline() {
        let attributes = Part::block().attributes;
        let filled = part(1, Value::from(7));
        assert!(same_attributes(&attributes, &filled, &part(1, Value::Null)));
        assert_eq!(outline(&attributes, &filled), outline(&attributes, &part(1, Value::Null)));
        assert_ne!(outline(&attributes, &filled), outline(&attributes, &part(2, Value::Null)));
    }
}
