//! The plan as far as the schema decides it.

use std::collections::BTreeSet;

use super::defaults::{apply_defaults, mark_unknown};
use super::modifiers::{keep_same, modify};
use super::places::child;
use super::write_only;
use crate::schema::{Attribute, Block, Nesting, Shape, any_attribute};
use crate::timeouts::differ_beyond;
use crate::{AttributePath, Diagnostics, Value};

/// The planned state before the author's refinement, and what is wrong with the modifiers of single attributes.
///
/// A plan that changes nothing stays as it is: were computed values made unknown in it, no plan would ever be empty.
/// Modifiers are therefore asked twice, first whether anything changes at all: one may take a change back, and
/// another may be the only one that makes it. Timeouts are no change of the object.
pub(super) fn draft(block: &Block, prior: &Value, proposed: Value, config: &Value) -> (Value, Diagnostics) {
    let mut planned = proposed;
    keep_in_block(block, &mut planned, config, prior);
    apply_defaults(block, &mut planned, config);
    keep_same(block, &mut planned, [prior]);
    write_only::strip(block, &mut planned);
    let mut open = planned.clone();
    let diagnostics = modify(block, &mut planned, prior, config);
    if !differ_beyond(block, &planned, prior) {
        return (planned, diagnostics);
    }
    mark_unknown(block, &mut open, config);
    let diagnostics = modify(block, &mut open, prior, config);
    (open, diagnostics)
}

/// Core proposes null for an optional and computed nested attribute that is not configured but has parts that only
/// a user could have set: it cannot tell "no longer configured" from "decided by the provider". For plain
/// attributes it proposes the prior value, and so do we for all: otherwise no plan would be empty.
fn keep_in_block(block: &Block, target: &mut Value, config: &Value, prior: &Value) {
    keep_in_attributes(&block.attributes, target, config, prior);
    for nested in &block.blocks {
        in_parallel(nested.nesting, target, config, prior, &nested.name, &|target, config, prior| {
            keep_in_block(&nested.block, target, config, prior);
        });
    }
}

fn keep_in_attributes(attributes: &[Attribute], target: &mut Value, config: &Value, prior: &Value) {
    for attribute in attributes {
        let Shape::Nested(nested) = &attribute.shape else { continue };
        if config.get(&attribute.name).is_some_and(|config| !config.is_null()) {
            in_parallel(nested.nesting, target, config, prior, &attribute.name, &|target, config, prior| {
                keep_in_attributes(&nested.attributes, target, config, prior);
            });
        } else if attribute.computed
            && let Value::Object(target) = &mut *target
            && let Some(target) = target.get_mut(&attribute.name)
            && let Some(prior) = prior.get(&attribute.name)
            && target.is_null()
        {
            prior.clone_into(target);
        }
    }
}

/// Visits the elements of one attribute or block that have an address, with those of configuration and prior state.
fn in_parallel(
    nesting: Nesting,
    target: &mut Value,
    config: &Value,
    prior: &Value,
    name: &str,
    visit: &dyn Fn(&mut Value, &Value, &Value),
) {
    let Value::Object(target) = target else { return };
    let (Some(target), Some(config), Some(prior)) = (target.get_mut(name), config.get(name), prior.get(name))
    else {
        return;
    };
    match (nesting, target, config, prior) {
        (Nesting::Single | Nesting::Group, target, config, prior) => visit(target, config, prior),
        (Nesting::List, Value::List(target), Value::List(config), Value::List(prior)) => {
            target
                .iter_mut()
                .zip(config)
                .zip(prior)
                .for_each(|((target, config), prior)| visit(target, config, prior));
        }
        (Nesting::Map, Value::Map(target), Value::Map(config), Value::Map(prior)) => {
            for (key, target) in target {
                if let (Some(config), Some(prior)) = (config.get(key), prior.get(key)) {
                    visit(target, config, prior);
                }
            }
        }
        _ => {}
    }
}

/// The places whose change demands another object.
pub(super) fn replacements(block: &Block, prior: &Value, planned: &Value) -> BTreeSet<AttributePath> {
    let mut paths = BTreeSet::new();
    if !prior.is_null() && !planned.is_null() {
        in_block(block, prior, planned, &AttributePath::root(), &mut paths);
    }
    paths
}

fn in_block(
    block: &Block,
    prior: &Value,
    planned: &Value,
    path: &AttributePath,
    paths: &mut BTreeSet<AttributePath>,
) {
    in_attributes(&block.attributes, prior, planned, path, paths);
    for nested in &block.blocks {
        let (prior, planned) = (inside(prior, &nested.name), inside(planned, &nested.name));
        let path = path.attribute(nested.name.clone());
        let any = |wanted| nested.block.any_attribute(wanted);
        let forces = Forces { always: any(always), perhaps: any(perhaps) };
        in_nested(nested.nesting, prior, planned, &path, forces, paths, &|p, n, at, all| {
            in_block(&nested.block, p, n, at, all);
        });
    }
}

fn in_attributes(
    attributes: &[Attribute],
    prior: &Value,
    planned: &Value,
    path: &AttributePath,
    paths: &mut BTreeSet<AttributePath>,
) {
    for attribute in attributes {
        let (prior, planned) = (inside(prior, &attribute.name), inside(planned, &attribute.name));
        if prior == planned {
            continue;
        }
        let path = path.attribute(attribute.name.clone());
        if attribute.force_new || attribute.planning.force_new_if.is_some_and(|asked| asked(prior, planned)) {
            paths.insert(path);
        } else if let Shape::Nested(nested) = &attribute.shape {
            let any = |wanted| any_attribute(&nested.attributes, wanted);
            let forces = Forces { always: any(always), perhaps: any(perhaps) };
            in_nested(nested.nesting, prior, planned, &path, forces, paths, &|p, n, at, all| {
                in_attributes(&nested.attributes, p, n, at, all);
            });
        }
    }
}

/// What stands at a name: unknown if the whole is, null if there is no whole.
fn inside<'a>(value: &'a Value, name: &str) -> &'a Value {
    const UNKNOWN: &Value = &Value::unknown();
    if value.is_unknown() { UNKNOWN } else { child(value, name) }
}

const fn always(attribute: &Attribute) -> bool {
    attribute.force_new
}

const fn perhaps(attribute: &Attribute) -> bool {
    attribute.planning.force_new_if.is_some()
}

/// Whether attributes inside demand another object when they change.
#[derive(Clone, Copy)]
struct Forces {
    /// `force_new`
    always: bool,
    /// `force_new_if`
    perhaps: bool,
}

type Inside<'a> = &'a dyn Fn(&Value, &Value, &AttributePath, &mut BTreeSet<AttributePath>);

fn in_nested(
    nesting: Nesting,
    prior: &Value,
    planned: &Value,
    path: &AttributePath,
    forces: Forces,
    paths: &mut BTreeSet<AttributePath>,
    inside: Inside<'_>,
) {
    if !(forces.always || forces.perhaps) || prior == planned {
        return;
    }
    match (nesting, prior, planned) {
        (Nesting::List, Value::List(prior), Value::List(planned)) => {
            for (index, (prior, planned)) in prior.iter().zip(planned).enumerate() {
                inside(prior, planned, &path.index(index as u64), paths);
            }
        }
        (Nesting::Map, Value::Map(prior), Value::Map(planned)) => {
            for (key, planned) in planned {
                if let Some(prior) = prior.get(key) {
                    inside(prior, planned, &path.key(key.clone()), paths);
                }
            }
        }
        (Nesting::Single | Nesting::Group, Value::Object(_), Value::Object(_)) => {
            inside(prior, planned, path, paths);
        }
        // Elements of sets have no address; an object that appears or goes has none on one side.
        _ if forces.always => {
            paths.insert(path.clone());
        }
        (Nesting::Single | Nesting::Group, prior, planned) => {
            let mut found = BTreeSet::new();
            inside(prior, planned, path, &mut found);
            if !found.is_empty() {
                paths.insert(path.clone());
            }
        }
        // The linter refuses `force_new_if` in sets; what comes or goes with a whole list is no change of an element.
        _ => {}
    }
}
