//! Walks a value together with others of the same schema.

use crate::schema::{Attribute, Block, Nesting, Shape};
use crate::{AttributePath, Value};

/// What to do with an attribute of the target, given what the other values hold at the same place (null where there
/// is no such place). Answers whether to go on inside it.
pub(super) type Visit<'a, const N: usize> =
    &'a mut dyn FnMut(&Attribute, &AttributePath, &mut Value, [&Value; N]) -> bool;

/// Visits every attribute of `target` that has an address, outermost first: list elements go with the index, map
/// elements with the key. Elements of sets have no address, and nothing inside them is visited.
pub(super) fn visit<const N: usize>(
    block: &Block,
    target: &mut Value,
    beside: [&Value; N],
    visit: Visit<'_, N>,
) {
    in_block(block, target, beside, &AttributePath::root(), visit);
}

fn in_block<const N: usize>(
    block: &Block,
    target: &mut Value,
    beside: [&Value; N],
    path: &AttributePath,
    visit: Visit<'_, N>,
) {
    in_attributes(&block.attributes, target, beside, path, visit);
    let Value::Object(target) = target else { return };
    for nested in &block.blocks {
        let Some(target) = target.get_mut(&nested.name) else { continue };
        let (beside, path) = (beside.map(|value| child(value, &nested.name)), path.attribute(&nested.name));
        elements(nested.nesting, target, beside, &path, &mut |target, beside, path| {
            in_block(&nested.block, target, beside, path, visit);
        });
    }
}

fn in_attributes<const N: usize>(
    attributes: &[Attribute],
    target: &mut Value,
    beside: [&Value; N],
    path: &AttributePath,
    visit: Visit<'_, N>,
) {
    let Value::Object(target) = target else { return };
    for attribute in attributes {
        let Some(target) = target.get_mut(&attribute.name) else { continue };
        let beside = beside.map(|value| child(value, &attribute.name));
        let path = path.attribute(&attribute.name);
        if !visit(attribute, &path, target, beside) {
            continue;
        }
        if let Shape::Nested(nested) = &attribute.shape {
            elements(nested.nesting, target, beside, &path, &mut |target, beside, path| {
                in_attributes(&nested.attributes, target, beside, path, visit);
            });
        }
    }
}

fn elements<const N: usize>(
    nesting: Nesting,
    target: &mut Value,
    beside: [&Value; N],
    path: &AttributePath,
    visit: &mut dyn FnMut(&mut Value, [&Value; N], &AttributePath),
) {
    match (nesting, target) {
        (Nesting::Single | Nesting::Group, target) => visit(target, beside, path),
        (Nesting::List, Value::List(target)) => {
            for (index, target) in target.iter_mut().enumerate() {
                let beside = beside.map(|value| {
                    value.elements().and_then(|elements| elements.get(index)).unwrap_or(&Value::Null)
                });
                visit(target, beside, &path.index(index as u64));
            }
        }
        (Nesting::Map, Value::Map(target)) => {
            for (key, target) in target {
                visit(target, beside.map(|value| child(value, key)), &path.key(key.clone()));
            }
        }
        _ => {}
    }
}

/// What an object or map holds under a name; null where there is none.
pub(super) fn child<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}
