//! What core proposes as the new state: the configuration, with prior values where it leaves computed ones open.

use std::collections::BTreeMap;

use super::child;
use super::mask::{Index, Mask};
use crate::schema::{Attribute, Block, NestedBlock, Nesting, Schema, Shape};
use crate::value::dedup_set;
use crate::{Type, Value};

/// The proposal that core sends with a plan request. Computed attributes that are not configured have their
/// prior values (null on create), everything else is as configured, write-only attributes included. Elements
/// of lists are merged by index, of maps by key, of sets with a prior element that is equal but for computed
/// attributes.
#[must_use]
pub fn proposed_new_state(schema: &Schema, prior: &Value, config: &Value) -> Value {
    if config.is_null() {
        return Value::Null;
    }
    Part::Block(&schema.block).merge(prior, config)
}

/// A group of attributes, with blocks or without.
#[derive(Clone, Copy)]
enum Part<'a> {
    Block(&'a Block),
    Attributes(&'a [Attribute]),
}

impl<'a> Part<'a> {
    fn attributes(self) -> &'a [Attribute] {
        match self {
            Self::Block(block) => &block.attributes,
            Self::Attributes(attributes) => attributes,
        }
    }

    fn blocks(self) -> &'a [NestedBlock] {
        match self {
            Self::Block(block) => &block.blocks,
            Self::Attributes(_) => &[],
        }
    }

    /// The proposal for one object.
    fn merge(self, prior: &Value, config: &Value) -> Value {
        let Value::Object(entries) = config else {
            return config.clone();
        };
        let mut proposed = entries.clone();
        for attribute in self.attributes() {
            if let Some(value) = proposed.get_mut(&attribute.name) {
                *value = merge_attribute(attribute, child(prior, &attribute.name), value);
            }
        }
        for nested in self.blocks() {
            if let Some(value) = proposed.get_mut(&nested.name) {
                let part = Part::Block(&nested.block);
                *value = merge_nested(part, nested.nesting, child(prior, &nested.name), value);
            }
        }
        Value::Object(proposed)
    }

    /// The places of a configured element that a prior element must agree in to be the same: all but computed
    /// ones that are not configured.
    fn configured(self, config: &Value) -> Mask {
        let Value::Object(entries) = config.unwrap_dynamic() else {
            return Mask::All;
        };
        let mut masks = BTreeMap::new();
        for attribute in self.attributes() {
            let Some(value) = entries.get(&attribute.name) else { continue };
            let mask = if attribute.write_only || (attribute.computed && value.is_null()) {
                // State never holds write-only values.
                Mask::Any
            } else if let Shape::Nested(nested) = &attribute.shape {
                configured_nested(Part::Attributes(&nested.attributes), nested.nesting, value)
            } else {
                Mask::All
            };
            masks.insert(attribute.name.clone(), mask);
        }
        for nested in self.blocks() {
            let Some(value) = entries.get(&nested.name) else { continue };
            masks.insert(
                nested.name.clone(),
                configured_nested(Part::Block(&nested.block), nested.nesting, value),
            );
        }
        Mask::entries(masks)
    }
}

fn configured_nested(part: Part<'_>, nesting: Nesting, config: &Value) -> Mask {
    match (nesting, config.unwrap_dynamic()) {
        (Nesting::Single | Nesting::Group, value) => part.configured(value),
        (Nesting::List, Value::List(elements) | Value::Tuple(elements)) => {
            Mask::Elements(elements.iter().map(|value| part.configured(value)).collect())
        }
        (Nesting::Map, Value::Map(entries) | Value::Object(entries)) => {
            Mask::entries(entries.iter().map(|(key, value)| (key.clone(), part.configured(value))))
        }
        _ => Mask::All,
    }
}

fn merge_attribute(attribute: &Attribute, prior: &Value, config: &Value) -> Value {
    if attribute.computed && config.is_null() {
        return if was_configured(attribute, prior) { config.clone() } else { prior.clone() };
    }
    match &attribute.shape {
        Shape::Nested(nested) => {
            merge_nested(Part::Attributes(&nested.attributes), nested.nesting, prior, config)
        }
        Shape::Type(_) => config.clone(),
    }
}

/// Whether the prior value of an optional and computed nested attribute can only stem from configuration: it
/// holds something that the provider could not have computed.
fn was_configured(attribute: &Attribute, prior: &Value) -> bool {
    let Shape::Nested(nested) = &attribute.shape else {
        return false;
    };
    attribute.optional && holds_configured(&nested.attributes, nested.nesting, prior)
}

fn holds_configured(attributes: &[Attribute], nesting: Nesting, value: &Value) -> bool {
    let in_object = |object: &Value| {
        attributes.iter().any(|attribute| {
            let value = child(object, &attribute.name);
            !value.is_null()
                && match &attribute.shape {
                    _ if !attribute.computed => true,
                    Shape::Nested(nested) => holds_configured(&nested.attributes, nested.nesting, value),
                    Shape::Type(_) => false,
                }
        })
    };
    match (nesting, value) {
        (Nesting::Single | Nesting::Group, value) => in_object(value),
        (_, Value::List(elements) | Value::Set(elements)) => elements.iter().any(in_object),
        (_, Value::Map(entries)) => entries.values().any(in_object),
        _ => false,
    }
}

/// The proposal for a nested attribute or for blocks. What there is comes from the configuration.
fn merge_nested(part: Part<'_>, nesting: Nesting, prior: &Value, config: &Value) -> Value {
    let before = prior.unwrap_dynamic();
    match (nesting, config) {
        (Nesting::Single | Nesting::Group, config) => part.merge(before, config),
        (_, Value::List(elements)) => Value::List(merge_elements(part, before, elements)),
        (_, Value::Map(entries)) => Value::Map(merge_entries(part, before, entries)),
        (_, Value::Set(elements)) => Value::Set(dedup_set(merge_set(part, before, elements))),
        (_, Value::Dynamic(inner)) => {
            let merged = match &inner.1 {
                Value::Tuple(elements) => Value::Tuple(merge_elements(part, before, elements)),
                Value::Object(entries) => Value::Object(merge_entries(part, before, entries)),
                other => other.clone(),
            };
            let prior_type = match prior {
                Value::Dynamic(prior) => Some(&prior.0),
                _ => None,
            };
            Value::dynamic(merged_type(&inner.0, prior_type, &merged), merged)
        }
        (_, other) => other.clone(),
    }
}

/// The type of blocks that are a tuple or an object because of dynamic attributes inside: that of the
/// configuration, but where a prior value was taken that is of another type.
fn merged_type(config: &Type, prior: Option<&Type>, merged: &Value) -> Type {
    if merged.conforms_to(config).is_ok() {
        return config.clone();
    }
    match (config, merged) {
        (Type::Tuple(types), Value::Tuple(elements)) => {
            let before = |index: usize| match prior {
                Some(Type::Tuple(types)) => types.get(index),
                _ => None,
            };
            let merge =
                |(index, (ty, value)): (usize, (&Type, &Value))| merged_type(ty, before(index), value);
            Type::Tuple(types.iter().zip(elements).enumerate().map(merge).collect())
        }
        (Type::Object(types), Value::Object(_)) => {
            let before = |name: &str| match prior {
                Some(Type::Object(types)) => types.get(name),
                _ => None,
            };
            Type::object(
                types
                    .iter()
                    .map(|(name, ty)| (name.as_str(), merged_type(ty, before(name), child(merged, name)))),
            )
        }
        _ => prior.unwrap_or(config).clone(),
    }
}

fn merge_elements(part: Part<'_>, prior: &Value, elements: &[Value]) -> Vec<Value> {
    let before = prior.elements().unwrap_or_default();
    elements
        .iter()
        .enumerate()
        .map(|(index, config)| match before.get(index) {
            Some(prior) => part.merge(prior, config),
            None => config.clone(),
        })
        .collect()
}

fn merge_entries(
    part: Part<'_>,
    prior: &Value,
    entries: &BTreeMap<String, Value>,
) -> BTreeMap<String, Value> {
    entries.iter().map(|(key, config)| (key.clone(), part.merge(child(prior, key), config))).collect()
}

/// Pairs elements that are equal first: had an element with something left open the prior element that another
/// one is equal to, the two would become one, and the proposal would have fewer elements than the configuration.
fn merge_set(part: Part<'_>, prior: &Value, elements: &[Value]) -> Vec<Value> {
    let before = prior.elements().unwrap_or_default();
    let mut index = Index::new(before);
    let mut used = vec![false; before.len()];
    let mut find = |mask: &Mask, config: &Value| {
        let mut candidates = index.candidates(mask, config).iter().copied();
        let position = candidates.find(|at| !used[*at] && mask.agree(config, &before[*at]))?;
        used[position] = true;
        Some(&before[position])
    };
    let equal: Vec<Option<&Value>> = elements.iter().map(|config| find(&Mask::All, config)).collect();
    elements
        .iter()
        .zip(equal)
        .map(|(config, equal)| {
            let prior = equal.or_else(|| find(&part.configured(config), config));
            part.merge(prior.unwrap_or(&Value::Null), config)
        })
        .collect()
}
