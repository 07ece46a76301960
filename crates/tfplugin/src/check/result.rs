//! What results must be: of the schema's type, known, without write-only values, and what the plan said.

use super::{Rule, Violation, compatible};
use crate::schema::{Attribute, Block, NestedBlock, Schema, Shape};
use crate::{AttributePath, Type, Value};

/// Whether any attribute of the block, however deep, must not be shown.
pub(super) fn block_hides(block: &Block) -> bool {
    block.attributes.iter().any(hides) || block.blocks.iter().any(|nested| block_hides(&nested.block))
}

fn hides(attribute: &Attribute) -> bool {
    attribute.sensitive || attribute.write_only || has_hidden(attribute)
}

/// Whether any attribute nested in this one must not be shown.
pub(super) fn has_hidden(attribute: &Attribute) -> bool {
    match &attribute.shape {
        Shape::Type(_) => false,
        Shape::Nested(nested) => nested.attributes.iter().any(hides),
    }
}

/// "Provider produced invalid plan/object": the value is of another type than the schema says.
pub(super) fn conforms(ty: &Type, value: &Value) -> Option<Violation> {
    value.conforms_to(ty).err().map(|mismatch| Violation::mismatch(&AttributePath::root(), &mismatch))
}

/// Finds every place that is unknown. Core: "Provider returned invalid result object after apply".
#[must_use]
pub fn wholly_known(value: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !value.is_wholly_known() {
        value.walk(&mut |path, part| {
            if matches!(part, Value::Unknown(_)) {
                let message = "the value is still unknown; all values must be known after apply";
                violations.push(Violation::new(path, Rule::Unknown, message));
            }
            true
        });
        // Every unknown element of a set stands at the path of the set.
        violations.dedup();
    }
    violations
}

/// Finds every write-only attribute that is not null, in a plan, a result or state.
#[must_use]
pub fn write_only_null(schema: &Schema, value: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    write_only_in_block(&schema.block, value, &AttributePath::root(), &mut violations);
    violations.dedup();
    violations
}

fn write_only_in_block(block: &Block, value: &Value, path: &AttributePath, violations: &mut Vec<Violation>) {
    write_only_in(&block.attributes, value, path, violations);
    for nested in block.blocks.iter().filter(|nested| has_write_only(&nested.block)) {
        let Some(value) = value.get(&nested.name) else { continue };
        each(nested, value, &path.attribute(&nested.name), &mut |path, value| {
            write_only_in_block(&nested.block, value, path, violations);
        });
    }
}

fn has_write_only(block: &Block) -> bool {
    fn any(attributes: &[Attribute]) -> bool {
        attributes.iter().any(|attribute| {
            attribute.write_only
                || matches!(&attribute.shape, Shape::Nested(nested) if any(&nested.attributes))
        })
    }
    any(&block.attributes) || block.blocks.iter().any(|nested| has_write_only(&nested.block))
}

fn write_only_in(
    attributes: &[Attribute],
    value: &Value,
    path: &AttributePath,
    violations: &mut Vec<Violation>,
) {
    for attribute in attributes {
        let Some(value) = value.get(&attribute.name) else { continue };
        if value.is_null() {
            continue;
        }
        let path = path.attribute(&attribute.name);
        if attribute.write_only {
            violations.push(Violation::new(&path, Rule::WriteOnly, "write-only attribute is not null"));
        } else if let Shape::Nested(nested) = &attribute.shape {
            each_element(nested.nesting, value, &path, &mut |path, value| {
                write_only_in(&nested.attributes, value, path, violations);
            });
        }
    }
}

fn each(
    nested: &NestedBlock,
    value: &Value,
    path: &AttributePath,
    visit: &mut dyn FnMut(&AttributePath, &Value),
) {
    each_element(nested.nesting, value, path, visit);
}

/// Visits the objects that a nested block or attribute consists of; those of a set at the path of the set.
fn each_element(
    nesting: crate::schema::Nesting,
    value: &Value,
    path: &AttributePath,
    visit: &mut dyn FnMut(&AttributePath, &Value),
) {
    use crate::schema::Nesting;
    match (nesting, value.unwrap_dynamic()) {
        (Nesting::Single | Nesting::Group, value) => visit(path, value),
        (Nesting::Set, Value::Set(elements)) => elements.iter().for_each(|value| visit(path, value)),
        (_, Value::List(elements) | Value::Tuple(elements)) => {
            for (index, value) in elements.iter().enumerate() {
                visit(&path.index(index as u64), value);
            }
        }
        (_, Value::Map(entries) | Value::Object(entries)) => {
            for (key, value) in entries {
                visit(&path.key(key), value);
            }
        }
        _ => {}
    }
}

/// What read, import, upgrade and move may answer: null, or an object of the schema's type that is wholly known
/// and has no write-only values. Core: "Provider produced invalid object".
#[must_use]
pub fn read_valid(schema: &Schema, state: &Value) -> Vec<Violation> {
    let state = state.normalized();
    if let Some(violation) = conforms(&schema.implied_type(), &state) {
        return vec![violation];
    }
    let mut violations = wholly_known(&state);
    violations.extend(write_only_null(schema, &state));
    blocks_not_null(&schema.block, &state, &AttributePath::root(), &mut violations);
    violations
}

/// Blocks that are collections are empty when there are none.
fn blocks_not_null(block: &Block, value: &Value, path: &AttributePath, violations: &mut Vec<Violation>) {
    use crate::schema::Nesting;
    for nested in &block.blocks {
        let Some(value) = value.get(&nested.name) else { continue };
        let path = path.attribute(&nested.name);
        if value.is_null() && nested.nesting != Nesting::Single {
            violations.push(super::planned::null_block(nested, &path));
        }
        each(nested, value, &path, &mut |path, value| {
            blocks_not_null(&nested.block, value, path, violations);
        });
    }
}

/// Compares the result of an apply with its plan (§ "inconsistent result after apply"): every known planned
/// value is the result, every unknown has become a value of its type that keeps what was promised, nothing
/// is left unknown, and write-only attributes are null. `planned` is null for a delete.
#[must_use]
pub fn apply_consistent(schema: &Schema, planned: &Value, actual: &Value) -> Vec<Violation> {
    let (planned, actual) = (planned.normalized(), actual.normalized());
    if let Some(violation) = conforms(&schema.implied_type(), &actual) {
        return vec![violation];
    }
    let mut violations = wholly_known(&actual);
    violations.extend(write_only_null(schema, &actual));
    compatible::objects(&schema.block, &planned, &actual, &AttributePath::root(), &mut violations);
    violations
}

/// Compares the plan made right before apply, when more is known, with the one the user agreed to. Core:
/// "Provider produced inconsistent final plan".
#[must_use]
pub fn final_plan(schema: &Schema, first: &Value, second: &Value) -> Vec<Violation> {
    let (first, second) = (first.normalized(), second.normalized());
    if let Some(violation) = conforms(&schema.implied_type(), &second) {
        return vec![violation];
    }
    let mut violations = Vec::new();
    compatible::objects(&schema.block, &first, &second, &AttributePath::root(), &mut violations);
    violations
}
