//! Whether a plan respects the configuration.

use super::result::{conforms, has_hidden, write_only_null};
use super::{Rule, Violation, child, same_but_promises, show};
use crate::schema::{Attribute, Block, NestedBlock, NestedObject, Nesting, Schema, Shape};
use crate::{AttributePath, Value};

/// The values of one place: before, as configured, and as planned.
#[derive(Clone, Copy)]
struct Three<'a> {
    prior: &'a Value,
    config: &'a Value,
    planned: &'a Value,
}

impl<'a> Three<'a> {
    /// The attribute or block of this name in each.
    fn child(self, name: &str) -> Self {
        Self {
            prior: child(self.prior, name),
            config: child(self.config, name),
            planned: child(self.planned, name),
        }
    }

    /// The pairs of list elements, with the prior element of the same index.
    fn in_order(self) -> impl Iterator<Item = (u64, Self)> {
        let of = |value: &'a Value| value.elements().unwrap_or_default();
        let prior = of(self.prior);
        of(self.config).iter().zip(of(self.planned)).enumerate().map(move |(index, (config, planned))| {
            (index as u64, Self { prior: prior.get(index).unwrap_or(&Value::Null), config, planned })
        })
    }

    /// The pairs of map elements, with the prior element of the same key. Elements without a partner are left
    /// out.
    fn by_key(self) -> impl Iterator<Item = (&'a str, Self)> {
        let entries = self.config.entries().into_iter().flatten();
        entries.filter_map(move |(key, config)| {
            let planned = self.planned.get(key)?;
            Some((key.as_str(), Self { prior: child(self.prior, key), config, planned }))
        })
    }
}

/// Checks a plan as core does: configured values are planned as they are configured or as they were, values that
/// are not configured are planned only where they are computed, elements and blocks are those configured,
/// write-only attributes are null. Core: "Provider produced invalid plan".
///
/// A plan to delete (`planned` and `config` null) is always valid.
#[must_use]
pub fn plan_valid(schema: &Schema, prior: &Value, config: &Value, planned: &Value) -> Vec<Violation> {
    let (prior, config, planned) = (prior.normalized(), config.normalized(), planned.normalized());
    if let Some(violation) = conforms(&schema.implied_type(), &planned) {
        return vec![violation];
    }
    let mut check = Check { violations: write_only_null(schema, &planned) };
    check.block(
        &schema.block,
        Three { prior: &prior, config: &config, planned: &planned },
        &AttributePath::root(),
    );
    check.violations
}

/// What core says about a block that is null.
pub(super) fn null_block(nested: &NestedBlock, path: &AttributePath) -> Violation {
    let kind = match nested.nesting {
        Nesting::Single | Nesting::Group => "group",
        Nesting::List => "list",
        Nesting::Set => "set",
        Nesting::Map => "map",
    };
    let message = format!(
        "attribute representing a {kind} of nested blocks must be empty to indicate no blocks, not null"
    );
    Violation::new(path, Rule::BlockNull, message)
}

struct Check {
    violations: Vec<Violation>,
}

impl Check {
    fn report(&mut self, path: &AttributePath, rule: Rule, message: impl Into<String>) {
        self.violations.push(Violation::new(path, rule, message));
    }

    /// Whether both or neither exist; reports it if not.
    fn exist_alike(&mut self, values: Three<'_>, path: &AttributePath) -> bool {
        let message = match (values.config.is_null(), values.planned.is_null()) {
            (false, true) => "planned for absence but config wants existence",
            (true, false) => "planned for existence but config wants absence",
            _ => return true,
        };
        self.report(path, Rule::PlannedExistence, message);
        false
    }

    fn block(&mut self, block: &Block, values: Three<'_>, path: &AttributePath) {
        if !self.exist_alike(values, path) || values.planned.is_null() {
            return;
        }
        if values.planned.is_unknown() {
            if !values.config.is_unknown() {
                let message =
                    "the object must not be unknown itself; set attribute values to unknown instead";
                self.report(path, Rule::PlannedUnknown, message);
            }
            return;
        }
        for attribute in &block.attributes {
            self.attribute(attribute, values.child(&attribute.name), &path.attribute(&attribute.name));
        }
        for nested in &block.blocks {
            self.nested_block(nested, values.child(&nested.name), &path.attribute(&nested.name));
        }
    }

    fn nested_block(&mut self, nested: &NestedBlock, values: Three<'_>, path: &AttributePath) {
        let Three { config, planned, .. } = values;
        if planned == config {
            return;
        }
        if config.is_unknown() {
            if !planned.is_unknown() {
                let message = format!("planned value {} for unknown dynamic block", show(planned));
                self.report(path, Rule::PlannedElements, message);
            }
            return;
        }
        if matches!(nested.nesting, Nesting::Single | Nesting::Group) {
            return self.block(&nested.block, values, path);
        }
        if planned.is_null() {
            self.violations.push(null_block(nested, path));
            return;
        }
        if planned.is_unknown() {
            return self.report(
                path,
                Rule::PlannedUnknown,
                "blocks must not be unknown themselves; set nested attribute values to unknown instead",
            );
        }
        if nested.nesting == Nesting::Map {
            self.same_keys(values, "block", path);
            for (key, values) in values.by_key() {
                self.block(&nested.block, values, &path.key(key));
            }
        } else if self.same_count(values, "block count", path) && nested.nesting == Nesting::List {
            // Elements of sets cannot be told apart, so core trusts the provider with them.
            for (index, values) in values.in_order() {
                self.block(&nested.block, values, &path.index(index));
            }
        }
    }

    /// Whether there are as many elements planned as configured; reports it if not.
    fn same_count(&mut self, values: Three<'_>, what: &str, path: &AttributePath) -> bool {
        let count = |value: &Value| value.elements().unwrap_or_default().len();
        let (planned, configured) = (count(values.planned), count(values.config));
        if planned != configured {
            let message = format!("{what} in plan ({planned}) disagrees with count in config ({configured})");
            self.report(path, Rule::PlannedElements, message);
        }
        planned == configured
    }

    fn same_keys(&mut self, values: Three<'_>, what: &str, path: &AttributePath) {
        for key in values.config.entries().into_iter().flatten().map(|(key, _)| key) {
            if values.planned.get(key).is_none() {
                let message = format!("{what} key {key:?} from configuration is not present in plan");
                self.report(path, Rule::PlannedElements, message);
            }
        }
        for key in values.planned.entries().into_iter().flatten().map(|(key, _)| key) {
            if values.config.get(key).is_none() {
                let message = format!("{what} key {key:?} from plan is not present in config");
                self.report(path, Rule::PlannedElements, message);
            }
        }
    }

    fn attribute(&mut self, attribute: &Attribute, values: Three<'_>, path: &AttributePath) {
        let Three { prior, config, planned } = values;
        // Write-only attributes are null in every plan, which is checked on its own.
        if attribute.write_only
            || same_but_promises(planned, config)
            || (planned.is_null() && config.is_null())
        {
            return;
        }
        // What the user cannot or does not set is the provider's.
        if attribute.computed && (!attribute.optional || config.is_null()) {
            return;
        }
        // Old and new may mean the same: the provider may keep the old form.
        if !prior.is_null() && !config.is_null() && planned == prior {
            return;
        }
        let show = |value: &Value| {
            if attribute.sensitive || has_hidden(attribute) { "(sensitive)".to_owned() } else { show(value) }
        };
        if config.is_null() {
            let message = format!("planned value {} for a non-computed attribute", show(planned));
            return self.report(path, Rule::PlannedNotComputed, message);
        }
        if let Shape::Nested(nested) = &attribute.shape {
            return self.nested_object(nested, values, path);
        }
        if planned.is_unknown() {
            return self.report(path, Rule::PlannedUnknown, "planned unknown for configured value");
        }
        let mut message =
            format!("planned value {} does not match config value {}", show(planned), show(config));
        if !prior.is_null() {
            message = format!("{message} nor prior value {}", show(prior));
        }
        self.report(path, Rule::PlannedOtherThanConfigured, message);
    }

    fn nested_object(&mut self, nested: &NestedObject, values: Three<'_>, path: &AttributePath) {
        if !self.exist_alike(values, path) {
            return;
        }
        if values.planned.is_unknown() {
            return self.report(path, Rule::PlannedUnknown, "planned unknown for configured value");
        }
        if values.config.is_unknown() {
            let message = "planned a known object although its configuration is unknown";
            return self.report(path, Rule::PlannedOtherThanConfigured, message);
        }
        match nested.nesting {
            Nesting::Single | Nesting::Group => self.object(&nested.attributes, values, path),
            Nesting::Map => {
                self.same_keys(values, "map", path);
                for (key, values) in values.by_key() {
                    self.element(&nested.attributes, values, &path.key(key));
                }
            }
            Nesting::List => {
                if self.same_count(values, "count", path) {
                    for (index, values) in values.in_order() {
                        self.element(&nested.attributes, values, &path.index(index));
                    }
                }
            }
            // Elements of sets cannot be told apart, so core trusts the provider with them.
            Nesting::Set => {
                self.same_count(values, "count", path);
            }
        }
    }

    fn element(&mut self, attributes: &[Attribute], values: Three<'_>, path: &AttributePath) {
        if values.planned == values.config || !self.exist_alike(values, path) {
            return;
        }
        match (values.config.is_unknown(), values.planned.is_unknown()) {
            (true, true) => {}
            (false, true) => self.report(
                path,
                Rule::PlannedUnknown,
                "an element must not be unknown itself; set nested attribute values to unknown instead",
            ),
            (true, false) => self.report(
                path,
                Rule::PlannedOtherThanConfigured,
                "planned a known object although its configuration is unknown",
            ),
            (false, false) => self.object(attributes, values, path),
        }
    }

    fn object(&mut self, attributes: &[Attribute], values: Three<'_>, path: &AttributePath) {
        for attribute in attributes {
            self.attribute(attribute, values.child(&attribute.name), &path.attribute(&attribute.name));
        }
    }
}
