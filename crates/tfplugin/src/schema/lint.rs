//! What Terraform core demands of schemas, checked before core can stumble over it.

use std::collections::BTreeSet;

use super::{Attribute, Block, NestedBlock, Nesting, Planning, Schema, Shape, lint_rules};
use crate::convert::private::Field;
use crate::{AttributePath, Type, Value, timeouts};

/// What a schema is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The `provider` block.
    Provider,
    /// A managed resource.
    Resource,
    /// A data source.
    DataSource,
    /// An ephemeral resource.
    Ephemeral,
    /// A list resource.
    List,
    /// An action.
    Action,
    /// The `provider_meta` block.
    Meta,
    /// A state store.
    StateStore,
}

impl Kind {
    const fn reserved(self) -> &'static [&'static str] {
        match self {
            Self::Provider => &["alias", "version"],
            Self::Meta => &[],
            // The block inside that says which provider the store belongs to.
            Self::StateStore => &["provider"],
            Self::Resource | Self::DataSource | Self::Ephemeral | Self::List | Self::Action => {
                &["count", "for_each", "provider", "depends_on", "lifecycle", "connection", "provisioner"]
            }
        }
    }
}

/// What surrounds the attributes being checked.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one place")]
struct Surroundings {
    kind: Kind,
    in_set: bool,
    in_collection: bool,
    in_write_only: bool,
    /// The user can write the object: its computed attributes are null in configuration.
    configurable: bool,
}

/// Every rule that the schema breaks, in words for the provider's developer; empty for a sound schema.
pub(crate) fn lint(kind: Kind, schema: &Schema, fields: &[Field]) -> Vec<String> {
    let mut problems = Vec::new();
    if schema.version < 0 {
        problems.push(format!("version {} is negative", schema.version));
    }
    let top =
        Surroundings { kind, in_set: false, in_collection: false, in_write_only: false, configurable: true };
    for name in kind.reserved() {
        let attribute = schema.block.attributes.iter().any(|attribute| attribute.name == *name);
        if attribute || schema.block.blocks.iter().any(|block| block.name == *name) {
            problems.push(format!("`{name}` is a name that Terraform itself uses here"));
        }
    }
    block(&schema.block, fields, top, &AttributePath::root(), &mut problems);
    problems
}

fn block(
    block: &Block,
    fields: &[Field],
    around: Surroundings,
    path: &AttributePath,
    problems: &mut Vec<String>,
) {
    attributes(&block.attributes, fields, around, path, problems);
    lint_rules(&block.rules, &block.attributes, &block.blocks, path, problems);
    let mut names: BTreeSet<_> = block.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    for nested in &block.blocks {
        let path = path.attribute(nested.name.clone());
        if !names.insert(&nested.name) {
            problems.push(format!("`{path}` is the name of two things"));
        }
        check_name(&nested.name, &path, problems);
        bounds(nested, &path, problems);
        if matches!(nested.nesting, Nesting::List | Nesting::Map) && has_dynamic(&nested.block) {
            problems.push(format!(
                "`{path}` is a {} block with an attribute of dynamic type inside, which changes the type of the whole \
                 block: use a nested attribute, or a type",
                if nested.nesting == Nesting::List { "list" } else { "map" }
            ));
        }
        let inner = Surroundings {
            in_set: around.in_set || nested.nesting == Nesting::Set,
            in_collection: around.in_collection
                || matches!(nested.nesting, Nesting::List | Nesting::Set | Nesting::Map),
            ..around
        };
        self::block(&nested.block, &inner_fields(fields, &nested.name), inner, &path, problems);
    }
}

fn bounds(nested: &NestedBlock, path: &AttributePath, problems: &mut Vec<String>) {
    let (min, max) = (nested.min_items, nested.max_items);
    let legal = match nested.nesting {
        // The bounds of a single block must be equal, also when it may be left out.
        Nesting::Single => matches!((min, max), (0, 0) | (1, 1)),
        Nesting::Group | Nesting::Map => min == 0 && max == 0,
        Nesting::List | Nesting::Set => min >= 0 && max >= 0 && (max == 0 || min <= max),
    };
    if !legal {
        problems.push(format!("`{path}`: a {:?} block cannot have bounds {min} and {max}", nested.nesting));
    }
}

fn attributes(
    attributes: &[Attribute],
    fields: &[Field],
    around: Surroundings,
    path: &AttributePath,
    problems: &mut Vec<String>,
) {
    let mut names = BTreeSet::new();
    for attribute in attributes {
        let path = path.attribute(attribute.name.clone());
        if !names.insert(attribute.name.as_str()) {
            problems.push(format!("`{path}` is the name of two things"));
        }
        check_name(&attribute.name, &path, problems);
        flags(attribute, around, &path, problems);
        defaults(attribute, &path, problems);
        planning(attribute, around, &path, problems);
        timeouts(attribute, around, &path, problems);
        if let Some(field) = fields.iter().find(|field| field.name == attribute.name) {
            rust_type(attribute, field, around, &path, problems);
        }
        match &attribute.shape {
            Shape::Type(ty) => dynamic(ty, around, &path, problems),
            Shape::Nested(nested) => {
                if nested.nesting == Nesting::Group {
                    problems.push(format!("`{path}`: only blocks can be groups"));
                }
                let inner = Surroundings {
                    kind: around.kind,
                    in_set: around.in_set || nested.nesting == Nesting::Set,
                    in_collection: around.in_collection || nested.nesting != Nesting::Single,
                    in_write_only: around.in_write_only || attribute.write_only,
                    configurable: around.configurable && (attribute.required || attribute.optional),
                };
                self::attributes(
                    &nested.attributes,
                    &inner_fields(fields, &attribute.name),
                    inner,
                    &path,
                    problems,
                );
                lint_rules(&nested.rules, &nested.attributes, &[], &path, problems);
            }
        }
    }
}

/// The identity that the marked attributes make; see [`crate::schema::Attribute::identity`].
pub(crate) fn lint_identity(kind: Kind, block: &Block) -> Vec<String> {
    let mut problems = Vec::new();
    for attribute in block.attributes.iter().filter(|attribute| attribute.identity.is_some()) {
        let name = &attribute.name;
        if kind != Kind::Resource {
            problems.push(format!("`{name}`: only managed resources have an identity"));
        }
        let plain = |ty: &Type| matches!(ty, Type::String | Type::Number | Type::Bool);
        let legal = match &attribute.shape {
            Shape::Type(Type::List(element)) => plain(element),
            Shape::Type(ty) => plain(ty),
            Shape::Nested(_) => false,
        };
        if !legal {
            problems.push(format!(
                "`{name}` is part of the identity, so it must be a string, a number, a bool, or a list of one of these"
            ));
        }
        if attribute.sensitive || attribute.write_only {
            problems.push(format!(
                "`{name}` is part of the identity, which is shown and stored: it cannot be secret"
            ));
        }
    }
    let nested = block
        .attributes
        .iter()
        .any(|attribute| matches!(&attribute.shape, Shape::Nested(nested) if marked(&nested.attributes)));
    if nested || block.blocks.iter().any(|nested| marked_in_block(&nested.block)) {
        problems.push("an attribute inside another cannot be part of the identity".to_owned());
    }
    problems
}

fn marked(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.identity.is_some()
            || matches!(&attribute.shape, Shape::Nested(nested) if marked(&nested.attributes))
    })
}

fn marked_in_block(block: &Block) -> bool {
    marked(&block.attributes) || block.blocks.iter().any(|nested| marked_in_block(&nested.block))
}

fn inner_fields(fields: &[Field], name: &str) -> Vec<Field> {
    fields.iter().find(|field| field.name == name).map(|field| (field.nested)()).unwrap_or_default()
}

fn flags(attribute: &Attribute, around: Surroundings, path: &AttributePath, problems: &mut Vec<String>) {
    let Attribute { required, optional, computed, write_only, .. } = *attribute;
    if !(required || optional || computed) {
        problems.push(format!("`{path}` is neither required, optional nor computed"));
    }
    if required && (optional || computed) {
        problems.push(format!("`{path}` is required, so it cannot be optional or computed"));
    }
    if write_only {
        if !matches!(around.kind, Kind::Resource | Kind::Action) {
            problems.push(format!(
                "`{path}` is write-only: only attributes of managed resources and actions can be"
            ));
        }
        if computed {
            problems.push(format!("`{path}` is write-only, so it cannot be computed"));
        }
        if around.in_set {
            problems.push(format!(
                "`{path}` is write-only inside a set, where it would change the element's identity"
            ));
        }
    } else if around.in_write_only {
        problems.push(format!("`{path}` is inside a write-only attribute, so it must be write-only too"));
    }
    if attribute.force_new && around.kind != Kind::Resource {
        problems.push(format!("`{path}`: only attributes of managed resources can force a replacement"));
    }
    if computed
        && attribute.default.is_none()
        && matches!(around.kind, Kind::List | Kind::Action | Kind::Meta | Kind::StateStore)
    {
        problems.push(format!("`{path}` is computed, but here nothing is ever returned"));
    }
    if attribute.default.is_some() && !optional {
        problems.push(format!("`{path}` has a default, so it must be optional"));
    }
}

fn planning(attribute: &Attribute, around: Surroundings, path: &AttributePath, problems: &mut Vec<String>) {
    let planning = attribute.planning;
    if around.kind != Kind::Resource && planning != Planning::default() {
        problems.push(format!(
            "`{path}`: only attributes of managed resources are planned (`force_new_if`, `modify`, `same_as`, \
             `never_null`)"
        ));
    }
    if around.in_set && planning.compares() {
        problems.push(format!(
            "`{path}` is inside a set, whose elements have no prior value: `force_new_if`, `modify` and `same_as` \
             cannot work there"
        ));
    }
    if planning.never_null && !attribute.computed {
        problems
            .push(format!("`{path}` is not computed, so nothing can be promised about it (`never_null`)"));
    }
}

fn timeouts(attribute: &Attribute, around: Surroundings, path: &AttributePath, problems: &mut Vec<String>) {
    if !timeouts::is_timeouts(attribute) {
        return;
    }
    if around.kind != Kind::Resource || *path != timeouts::ATTRIBUTE.into() {
        problems.push(format!(
            "`{path}` is of type `Timeouts`, which is enforced only as attribute `{}` of a managed resource itself",
            timeouts::ATTRIBUTE
        ));
    }
    if attribute.write_only || attribute.force_new || (attribute.computed && attribute.default.is_none()) {
        problems.push(format!(
            "`{path}` are timeouts: the user sets them, state keeps them, and they change nothing else (no `computed`, \
             `write_only` or `force_new`)"
        ));
    }
}

fn defaults(attribute: &Attribute, path: &AttributePath, problems: &mut Vec<String>) {
    let Some(default) = &attribute.default else { return };
    if matches!(default, Value::Null | Value::Unknown(_)) {
        problems.push(format!("`{path}`: a default is a known value"));
    }
    if let Err(diagnostic) = super::conform(default, &attribute.shape.implied_type(), path) {
        problems.push(format!("`{path}` has a default of another type: {}", diagnostic.detail));
        return;
    }
    for validator in &attribute.validators {
        if let Err(reason) = (validator.check)(default) {
            problems.push(format!("`{path}` has a default that its own validation refuses: {reason}"));
        }
    }
}

/// A field must be able to hold what plans and configurations hold.
fn rust_type(
    attribute: &Attribute,
    field: &Field,
    around: Surroundings,
    path: &AttributePath,
    problems: &mut Vec<String>,
) {
    if !attribute.computed || !around.configurable {
        return;
    }
    if around.kind == Kind::Resource && !field.accepts_unknown {
        problems
            .push(format!("`{path}` is computed, so plans hold it unknown: its Rust type must be `Attr<…>`"));
    } else if !field.accepts_null {
        problems.push(format!(
            "`{path}` is computed, so configuration holds it null: its Rust type must be `Attr<…>` or `Option<…>`"
        ));
    }
}

fn dynamic(ty: &Type, around: Surroundings, path: &AttributePath, problems: &mut Vec<String>) {
    if !contains_dynamic(ty) {
        return;
    }
    if around.in_collection || *ty != Type::Dynamic {
        problems.push(format!(
            "`{path}` has dynamic type inside a collection: elements of different types crash Terraform; put one \
             dynamic attribute around the whole"
        ));
    }
}

fn has_dynamic(block: &Block) -> bool {
    fn in_attributes(attributes: &[Attribute]) -> bool {
        attributes.iter().any(|attribute| match &attribute.shape {
            Shape::Type(ty) => contains_dynamic(ty),
            Shape::Nested(nested) => in_attributes(&nested.attributes),
        })
    }
    in_attributes(&block.attributes) || block.blocks.iter().any(|nested| has_dynamic(&nested.block))
}

fn contains_dynamic(ty: &Type) -> bool {
    match ty {
        Type::Dynamic => true,
        Type::String | Type::Number | Type::Bool => false,
        Type::List(element) | Type::Set(element) | Type::Map(element) => contains_dynamic(element),
        Type::Tuple(elements) => elements.iter().any(contains_dynamic),
        Type::Object(attributes) => attributes.values().any(contains_dynamic),
    }
}

fn check_name(name: &str, path: &AttributePath, problems: &mut Vec<String>) {
    let legal = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    if name.is_empty() || !name.chars().all(legal) || name.starts_with(|letter: char| letter.is_ascii_digit())
    {
        problems.push(format!("`{path}` is not a name of a-z, 0-9 and _ that starts with a letter"));
    }
}
