//! What a schema demands of a configuration, without asking the author's code.

use std::collections::BTreeMap;

use crate::schema::{Attribute, Block, Place, Shape, broken_rules};
use crate::{AttributePath, Diagnostic, Diagnostics, Value};

/// What a configuration breaks of the demands of its schema: validators, rules between fields, deprecations.
pub(super) fn demands(block: &Block, config: &Value) -> Diagnostics {
    let mut messages = Diagnostics::new();
    in_block(block, config, &AttributePath::root(), false, &mut messages);
    messages
}

fn in_block(block: &Block, config: &Value, path: &AttributePath, in_set: bool, messages: &mut Diagnostics) {
    let Value::Object(object) = config else { return };
    in_attributes(&block.attributes, object, path, in_set, messages);
    let broken = broken_rules(&block.rules, &block.blocks, object, Place { path, in_set });
    messages.extend(broken);
    for nested in &block.blocks {
        let Some(value) = object.get(&nested.name) else { continue };
        let path = step(path, &nested.name, in_set);
        let mut used = false;
        each(value, &path, in_set, &mut |value, path, in_set| {
            used = true;
            in_block(&nested.block, value, path, in_set, messages);
        });
        if let (true, Some(instead)) = (used, &nested.block.deprecated) {
            messages.push(deprecated(&nested.name, instead, &path));
        }
    }
}

fn in_attributes(
    attributes: &[Attribute],
    object: &BTreeMap<String, Value>,
    path: &AttributePath,
    in_set: bool,
    messages: &mut Diagnostics,
) {
    for attribute in attributes {
        let value = object.get(&attribute.name).unwrap_or(&Value::Null);
        if value.is_null() {
            continue;
        }
        let path = step(path, &attribute.name, in_set);
        // Warned only where it is set: otherwise everyone would be.
        if let Some(instead) = &attribute.deprecated {
            messages.push(deprecated(&attribute.name, instead, &path));
        }
        if value.is_unknown() {
            continue;
        }
        for validator in &attribute.validators {
            if let Err(reason) = (validator.check)(value) {
                let summary = format!("Invalid value for `{}`", attribute.name);
                // Reasons quote the value.
                let reason = if attribute.sensitive || attribute.write_only {
                    "The value is not valid; it is sensitive, so it is not shown here.".to_owned()
                } else {
                    reason
                };
                let detail = format!("{reason}{} Expected: {}.", stop(&reason), validator.description);
                messages.push(Diagnostic::error(summary, detail).at(path.clone()));
            }
        }
        if let Shape::Nested(nested) = &attribute.shape {
            each(value, &path, in_set, &mut |value, path, in_set| {
                if let Value::Object(object) = value {
                    in_attributes(&nested.attributes, object, path, in_set, messages);
                    let broken = broken_rules(&nested.rules, &[], object, Place { path, in_set });
                    messages.extend(broken);
                }
            });
        }
    }
}

/// Ends a sentence that does not end yet.
fn stop(reason: &str) -> &'static str {
    if reason.ends_with(['.', '!', '?']) { "" } else { "." }
}

fn deprecated(name: &str, instead: &str, path: &AttributePath) -> Diagnostic {
    Diagnostic::warning(format!("`{name}` is deprecated"), instead).at(path.clone())
}

/// Elements of sets have no address, and nothing inside them either: the path stays at the set.
fn step(path: &AttributePath, name: &str, in_set: bool) -> AttributePath {
    if in_set { path.clone() } else { path.attribute(name) }
}

/// The object itself, or each object of a collection.
fn each(
    value: &Value,
    path: &AttributePath,
    in_set: bool,
    visit: &mut dyn FnMut(&Value, &AttributePath, bool),
) {
    match value {
        Value::List(elements) | Value::Tuple(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let path = if in_set { path.clone() } else { path.index(index as u64) };
                visit(element, &path, in_set);
            }
        }
        Value::Set(elements) => elements.iter().for_each(|element| visit(element, path, true)),
        Value::Map(elements) => {
            for (key, element) in elements {
                let path = if in_set { path.clone() } else { path.key(key.clone()) };
                visit(element, &path, in_set);
            }
        }
        object @ Value::Object(_) => visit(object, path, in_set),
        _ => {}
    }
}
