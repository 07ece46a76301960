//! The plan as far as the schema decides it.

use std::collections::BTreeSet;

use super::defaults::{apply_defaults, mark_unknown};
use super::write_only;
use crate::schema::{Attribute, Block, Nesting, Shape};
use crate::{AttributePath, Value};

/// The planned state before the author's refinement.
///
/// A plan that changes nothing stays as it is: were computed values made unknown in it, no plan would ever be empty.
pub(super) fn draft(block: &Block, prior: &Value, proposed: Value, config: &Value) -> Value {
    let mut planned = proposed;
    keep_in_block(block, &mut planned, config, prior);
    apply_defaults(block, &mut planned, config);
    write_only::strip(block, &mut planned);
    if planned != *prior {
        mark_unknown(block, &mut planned, config);
    }
    planned
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
        if let (Some(prior), Some(planned)) = (prior.get(&nested.name), planned.get(&nested.name)) {
            let path = path.attribute(nested.name.clone());
            in_nested(
                nested.nesting,
                prior,
                planned,
                &path,
                forces_in_block(&nested.block),
                paths,
                &|p, n, at, all| {
                    in_block(&nested.block, p, n, at, all);
                },
            );
        }
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
        let (Some(prior), Some(planned)) = (prior.get(&attribute.name), planned.get(&attribute.name)) else {
            continue;
        };
        let path = path.attribute(attribute.name.clone());
        if attribute.force_new {
            if prior != planned {
                paths.insert(path);
            }
        } else if let Shape::Nested(nested) = &attribute.shape {
            let forces = forces(&nested.attributes);
            in_nested(nested.nesting, prior, planned, &path, forces, paths, &|p, n, at, all| {
                in_attributes(&nested.attributes, p, n, at, all);
            });
        }
    }
}

type Inside<'a> = &'a dyn Fn(&Value, &Value, &AttributePath, &mut BTreeSet<AttributePath>);

fn in_nested(
    nesting: Nesting,
    prior: &Value,
    planned: &Value,
    path: &AttributePath,
    forces: bool,
    paths: &mut BTreeSet<AttributePath>,
    inside: Inside<'_>,
) {
    if !forces || prior == planned {
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
        _ => {
            paths.insert(path.clone());
        }
    }
}

fn forces(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.force_new || matches!(&attribute.shape, Shape::Nested(nested) if forces(&nested.attributes))
    })
}

fn forces_in_block(block: &Block) -> bool {
    forces(&block.attributes) || block.blocks.iter().any(|nested| forces_in_block(&nested.block))
}
