//! Write-only attributes: seen in configuration, and nowhere else.

use crate::Value;
use crate::schema::{Attribute, Block, Shape};

/// Makes every write-only attribute null, all the way down.
pub(super) fn strip(block: &Block, value: &mut Value) {
    if !in_schema(block) {
        return;
    }
    strip_block(block, value);
}

fn in_schema(block: &Block) -> bool {
    fn any(attributes: &[Attribute]) -> bool {
        attributes.iter().any(|attribute| {
            attribute.write_only
                || matches!(&attribute.shape, Shape::Nested(nested) if any(&nested.attributes))
        })
    }
    any(&block.attributes) || block.blocks.iter().any(|nested| in_schema(&nested.block))
}

fn strip_block(block: &Block, value: &mut Value) {
    each_object(value, &mut |object| {
        strip_attributes(&block.attributes, object);
        for nested in &block.blocks {
            if let Some(value) = object.get_mut(&nested.name) {
                strip_inside(value, &mut |value| strip_block(&nested.block, value));
            }
        }
    });
}

fn strip_attributes(attributes: &[Attribute], object: &mut std::collections::BTreeMap<String, Value>) {
    for attribute in attributes {
        let Some(value) = object.get_mut(&attribute.name) else { continue };
        if attribute.write_only {
            *value = Value::Null;
        } else if let Shape::Nested(nested) = &attribute.shape {
            strip_inside(value, &mut |value| {
                each_object(value, &mut |object| strip_attributes(&nested.attributes, object));
            });
        }
    }
}

fn each_object(value: &mut Value, change: &mut dyn FnMut(&mut std::collections::BTreeMap<String, Value>)) {
    if let Value::Object(object) = value {
        change(object);
    }
}

/// The object itself, or each object of a collection.
fn strip_inside(value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::List(elements) | Value::Tuple(elements) => elements.iter_mut().for_each(change),
        Value::Map(elements) => elements.values_mut().for_each(change),
        Value::Set(_) => {
            if let Value::Set(mut elements) = std::mem::take(value) {
                elements.iter_mut().for_each(change);
                *value = Value::set(elements);
            }
        }
        other => change(other),
    }
}
