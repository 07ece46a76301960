//! Whether one value keeps to what another, planned before, said: known parts equal, unknown parts of the same
//! type and within what was promised.

use std::collections::{BTreeMap, HashMap};

use super::mask::{Index, Mask};
use super::{Rule, Violation, child, show};
use crate::schema::{Block, NestedBlock, Nesting};
use crate::{AttributePath, PathStep, Value};

/// Compares objects of a block.
pub(super) fn objects(
    block: &Block,
    planned: &Value,
    actual: &Value,
    path: &AttributePath,
    violations: &mut Vec<Violation>,
) {
    let mut inconsistent = |message: &str| {
        let object = if path.is_root() { "root object " } else { "" };
        violations.push(Violation::new(path, Rule::Inconsistent, format!("{object}{message}")));
    };
    match (planned.is_null(), actual.is_null()) {
        (true, true) => return,
        (true, false) => return inconsistent("was absent, but now present"),
        (false, true) => return inconsistent("was present, but now absent"),
        (false, false) => {}
    }
    if planned.is_unknown() || planned == actual {
        return;
    }
    if actual.is_unknown() {
        return inconsistent("was known, but now unknown");
    }
    for attribute in &block.attributes {
        let path = path.attribute(&attribute.name);
        let before = violations.len();
        let (planned, actual) = (child(planned, &attribute.name), child(actual, &attribute.name));
        values(planned, actual, &path, violations);
        if (attribute.sensitive || attribute.write_only) && violations.len() > before {
            // What differs is for no one to see.
            violations.truncate(before);
            let message = "inconsistent values for sensitive attribute";
            violations.push(Violation::new(&path, Rule::Inconsistent, message));
        } else {
            hide_sensitive(attribute, before, violations);
        }
    }
    for nested in &block.blocks {
        let (planned, actual) = (child(planned, &nested.name), child(actual, &nested.name));
        blocks(nested, planned, actual, &path.attribute(&nested.name), violations);
    }
}

/// Replaces messages about sensitive attributes inside a nested one.
fn hide_sensitive(attribute: &crate::schema::Attribute, from: usize, violations: &mut [Violation]) {
    if super::result::has_hidden(attribute) {
        for violation in &mut violations[from..] {
            if violation.rule == Rule::Inconsistent || violation.rule == Rule::Refinement {
                violation.message =
                    String::from("inconsistent values for an object with sensitive attributes");
            }
        }
    }
}

fn blocks(
    nested: &NestedBlock,
    planned: &Value,
    actual: &Value,
    path: &AttributePath,
    violations: &mut Vec<Violation>,
) {
    // A block whose number is not known yet may turn out to be any number of blocks.
    if planned.is_unknown() {
        return;
    }
    if matches!(nested.nesting, Nesting::Single | Nesting::Group) {
        return objects(&nested.block, planned, actual, path, violations);
    }
    if planned.is_null() || actual.is_null() || actual.is_unknown() {
        if planned.is_null() != actual.is_null() || actual.is_unknown() {
            let message = format!("was {}, but now {}", show(planned), show(actual));
            violations.push(Violation::new(path, Rule::Inconsistent, message));
        }
        return;
    }
    let mut inconsistent = |message: String| {
        violations.push(Violation::new(path, Rule::Inconsistent, message));
    };
    if let (Some(before), Some(after)) = (planned.entries(), actual.entries()) {
        for key in before.keys().filter(|key| !after.contains_key(*key)) {
            inconsistent(format!("block key {key:?} has vanished"));
        }
        for key in after.keys().filter(|key| !before.contains_key(*key)) {
            inconsistent(format!("new block key {key:?} has appeared"));
        }
        for (key, planned) in before {
            if let Some(actual) = after.get(key) {
                objects(&nested.block, planned, actual, &path.key(key), violations);
            }
        }
        return;
    }
    let (Some(before), Some(after)) = (planned.elements(), actual.elements()) else {
        return inconsistent(format!("was {}, but now {}", show(planned), show(actual)));
    };
    if nested.nesting == Nesting::Set {
        let agree = |planned: &Value, actual: &Value| {
            let mut found = Vec::new();
            objects(&nested.block, planned, actual, path, &mut found);
            found.is_empty()
        };
        sets(
            before,
            after,
            path,
            "block set length",
            &agree,
            super::result::block_hides(&nested.block),
            violations,
        );
    } else if before.len() == after.len() {
        for (index, (planned, actual)) in before.iter().zip(after).enumerate() {
            objects(&nested.block, planned, actual, &path.index(index as u64), violations);
        }
    } else {
        inconsistent(format!("block count changed from {} to {}", before.len(), after.len()));
    }
}

/// Compares values of any type.
pub(super) fn values(planned: &Value, actual: &Value, path: &AttributePath, violations: &mut Vec<Violation>) {
    // Equal values are the rule, and this is the quickest way to see it.
    if planned == actual {
        return;
    }
    let mut inconsistent = |message: String| {
        violations.push(Violation::new(path, Rule::Inconsistent, message));
    };
    if let (Value::Dynamic(before), Value::Dynamic(after)) = (planned, actual) {
        return if before.0 == after.0 {
            values(&before.1, &after.1, path, violations);
        } else {
            inconsistent(format!("wrong final value type: was {}, but now {}", before.0, after.0));
        };
    }
    match (planned.unwrap_dynamic(), actual.unwrap_dynamic()) {
        (Value::Unknown(unknown), actual) => {
            if !unknown.admits(actual) {
                let message = format!("value {} does not conform to planning placeholder", show(actual));
                violations.push(Violation::new(path, Rule::Refinement, message));
            }
        }
        (Value::Null, Value::Null) => {}
        (planned, Value::Null) => inconsistent(format!("was {}, but now null", show(planned))),
        (Value::Null, actual) => inconsistent(format!("was null, but now {}", show(actual))),
        (_, Value::Unknown(_)) => inconsistent("was known, but now unknown".to_owned()),
        (Value::List(before), Value::List(after)) | (Value::Tuple(before), Value::Tuple(after)) => {
            if before.len() != after.len() {
                let message = format!("length changed from {} to {}", before.len(), after.len());
                violations.push(Violation::new(path, Rule::Inconsistent, message));
            }
            for (index, (planned, actual)) in before.iter().zip(after).enumerate() {
                if planned != actual {
                    values(planned, actual, &path.index(index as u64), violations);
                }
            }
        }
        (Value::Map(before), Value::Map(after)) => entries(before, after, PathStep::Key, path, violations),
        (Value::Object(before), Value::Object(after)) => {
            entries(before, after, PathStep::Attribute, path, violations);
        }
        (Value::Set(before), Value::Set(after)) => {
            let agree = |planned: &Value, actual: &Value| {
                let mut found = Vec::new();
                values(planned, actual, path, &mut found);
                found.is_empty()
            };
            sets(before, after, path, "length", &agree, false, violations);
        }
        (planned, actual) => inconsistent(format!("was {}, but now {}", show(planned), show(actual))),
    }
}

fn entries(
    before: &BTreeMap<String, Value>,
    after: &BTreeMap<String, Value>,
    step: fn(String) -> PathStep,
    path: &AttributePath,
    violations: &mut Vec<Violation>,
) {
    for (key, planned) in before {
        match after.get(key) {
            Some(actual) if actual == planned => {}
            Some(actual) => values(planned, actual, &path.child(step(key.clone())), violations),
            None => {
                let message = format!("element {key:?} has vanished");
                violations.push(Violation::new(path, Rule::Inconsistent, message));
            }
        }
    }
    for key in after.keys().filter(|key| !before.contains_key(*key)) {
        let message = format!("new element {key:?} has appeared");
        violations.push(Violation::new(path, Rule::Inconsistent, message));
    }
}

/// Compares sets: each element of one must agree with at least one of the other. Elements are known by what they
/// hold, so there is no saying which became which.
fn sets(
    before: &[Value],
    after: &[Value],
    path: &AttributePath,
    length: &str,
    agree: &dyn Fn(&Value, &Value) -> bool,
    hidden: bool,
    violations: &mut Vec<Violation>,
) {
    let mut index = Index::new(after);
    let mut paired = vec![false; after.len()];
    // Planned elements are often all alike: "one more, not known yet".
    let mut seen: HashMap<&Value, bool> = HashMap::new();
    let mut lost = Vec::new();
    for planned in before {
        let found = *seen.entry(planned).or_insert_with(|| {
            let mask = Mask::known(planned);
            let mut found = false;
            for position in index.candidates(&mask, planned) {
                // An element that is paired already need not be looked at again, once this one has a partner.
                if !(found && paired[*position]) && agree(planned, &after[*position]) {
                    paired[*position] = true;
                    found = true;
                }
            }
            found
        });
        if !found {
            lost.push(planned);
        }
    }
    let show = |value: &Value| if hidden { "(sensitive)".to_owned() } else { describe(value) };
    let mut inconsistent = |message: String| {
        violations.push(Violation::new(path, Rule::Inconsistent, message));
    };
    for planned in &lost {
        let element = show(planned);
        inconsistent(format!("planned set element {element} does not correlate with any element in actual"));
    }
    if lost.is_empty() {
        for (actual, _) in after.iter().zip(&paired).filter(|(_, paired)| !**paired) {
            let element = show(actual);
            inconsistent(format!("actual set element {element} does not correlate with any element in plan"));
        }
    }
    // Elements may turn out equal and become one, but none can be added.
    if before.len() < after.len() {
        inconsistent(format!("{length} changed from {} to {}", before.len(), after.len()));
    }
}

/// An element of a set, which has no other name than what it holds.
fn describe(value: &Value) -> String {
    match value.entries() {
        Some(entries) => {
            let shown: Vec<String> = entries
                .iter()
                .filter(|(_, value)| !value.is_null())
                .take(4)
                .map(|(name, value)| format!("{name} = {}", show(value)))
                .collect();
            format!("{{ {} }}", shown.join(", "))
        }
        None => show(value),
    }
}
