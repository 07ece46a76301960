//! What derived code calls. Not part of the public interface: it changes without notice.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

pub use super::validators::{
    Pattern, describe_length, describe_one_of, describe_pattern, describe_range, length, not_one_of, one_of,
    range,
};
use super::{AttributeShape, BlockShape, FromValue, MISSING, Model, NOT_KNOWN};
pub use crate::schema::IdentityPart;
use crate::schema::{
    Attribute, Block, NestedBlock, NestedObject, Nesting, Planning, Shape, Validator, conform,
};
use crate::{AttributePath, Diagnostic, Value};

/// What the schema does not say of a field's Rust type.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of one type")]
pub struct Field {
    pub name: &'static str,
    pub accepts_null: bool,
    pub accepts_unknown: bool,
    pub variadic: bool,
    pub block: bool,
    pub nested: fn() -> Vec<Field>,
}

#[must_use]
pub fn field<T: AttributeShape>(name: &'static str, variadic: bool) -> Field {
    Field {
        name,
        accepts_null: T::ACCEPTS_NULL,
        accepts_unknown: T::ACCEPTS_UNKNOWN,
        variadic,
        block: false,
        nested: T::fields,
    }
}

#[must_use]
pub fn block_field<T: BlockShape>(name: &'static str, _variadic: bool) -> Field {
    Field {
        name,
        accepts_null: T::nesting().0 == Nesting::Single && T::nesting().1 == 0,
        accepts_unknown: T::ACCEPTS_UNKNOWN,
        variadic: false,
        block: true,
        nested: T::fields,
    }
}

/// The flags of `#[tf(…)]`.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own flags, one to one")]
pub struct Flags {
    pub required: bool,
    pub optional: bool,
    pub computed: bool,
    pub sensitive: bool,
    pub write_only: bool,
    pub force_new: bool,
    pub stable: bool,
    pub identity: Option<IdentityPart>,
}

#[must_use]
pub fn attribute<T: AttributeShape>(
    name: &str,
    description: &str,
    flags: Flags,
    planning: Planning,
    default: Option<Value>,
    deprecated: Option<String>,
    own_validators: Vec<Validator>,
) -> Attribute {
    let shape = T::shape();
    // A default makes the attribute optional and computed; without any flag the Rust type decides.
    let silent = !flags.required && !flags.optional && !flags.computed && default.is_none();
    let default = default.map(|value| conform(&value, &shape.implied_type(), &name.into()).unwrap_or(value));
    let mut validators = T::validators();
    validators.extend(own_validators);
    Attribute {
        name: name.to_owned(),
        shape,
        description: description.to_owned(),
        required: flags.required || (silent && !T::ACCEPTS_NULL),
        optional: flags.optional || default.is_some() || (silent && T::ACCEPTS_NULL),
        computed: flags.computed || default.is_some(),
        sensitive: flags.sensitive || T::SENSITIVE,
        write_only: flags.write_only,
        deprecated,
        default,
        force_new: flags.force_new,
        stable: flags.stable,
        identity: flags.identity,
        planning,
        validators,
        values: T::values(),
    }
}

#[must_use]
pub fn block<T: BlockShape>(
    name: &str,
    description: &str,
    deprecated: Option<String>,
    min: Option<i64>,
    max: Option<i64>,
) -> NestedBlock {
    let (nesting, least, most) = T::nesting();
    let mut block = T::block();
    if !description.is_empty() {
        description.clone_into(&mut block.description);
    }
    if deprecated.is_some() {
        block.deprecated = deprecated;
    }
    NestedBlock {
        name: name.to_owned(),
        nesting,
        min_items: min.unwrap_or(least),
        max_items: max.unwrap_or(most),
        block,
    }
}

/// The shape of a model as a nested attribute.
#[must_use]
pub fn nested<M: Model>() -> Shape {
    let Block { attributes, rules, .. } = M::block();
    Shape::Nested(NestedObject { nesting: Nesting::Single, attributes, rules })
}

/// An object being taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    attributes: &'a BTreeMap<String, Value>,
    path: &'a AttributePath,
}

pub fn object<'a>(value: &'a Value, path: &'a AttributePath) -> Result<Object<'a>, Diagnostic> {
    match value {
        Value::Object(attributes) => Ok(Object { attributes, path }),
        other => Err(mismatch("an object", other, path)),
    }
}

impl Object<'_> {
    /// One attribute; absent is null.
    pub fn get<T: FromValue>(&self, name: &str) -> Result<T, Diagnostic> {
        T::from_value(self.attributes.get(name).unwrap_or(&Value::Null), &self.path.attribute(name))
    }
}

#[must_use]
pub fn to_object<const N: usize>(attributes: [(&str, Value); N]) -> Value {
    Value::Object(attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Text to anything that parses from it.
pub fn parse_text<T: FromStr<Err: fmt::Display>>(
    value: &Value,
    path: &AttributePath,
) -> Result<T, Diagnostic> {
    let text = String::from_value(value, path)?;
    text.parse().map_err(|error: T::Err| {
        Diagnostic::error("Invalid value", format!("`{path}` is {text:?}: {error}.")).at(path.clone())
    })
}

/// A value of another kind than the field holds.
pub(crate) fn mismatch(expected: &str, found: &Value, path: &AttributePath) -> Diagnostic {
    let place = if path.is_root() { "the object".to_owned() } else { format!("`{path}`") };
    let diagnostic = match found {
        Value::Unknown(_) => {
            Diagnostic::error(NOT_KNOWN, format!("{place} must be known here, and is not yet."))
        }
        Value::Null => Diagnostic::error(MISSING, format!("{place} must be {expected}, and is null.")),
        other => {
            let kind = kind(other);
            Diagnostic::error("Wrong type of value", format!("{place} must be {expected}, and is {kind}."))
        }
    };
    diagnostic.at(path.clone())
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Unknown(_) => "not known yet",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::List(_) => "a list",
        Value::Set(_) => "a set",
        Value::Map(_) => "a map",
        Value::Tuple(_) => "a tuple",
        Value::Object(_) => "an object",
        Value::Dynamic(inner) => kind(&inner.1),
    }
}

/// The elements of a list, set or tuple with their paths; elements of a set have the path of the set.
pub(crate) fn elements<'a>(
    value: &'a Value,
    path: &'a AttributePath,
) -> Result<impl Iterator<Item = (&'a Value, AttributePath)>, Diagnostic> {
    let (elements, indexed) = match value {
        Value::List(elements) | Value::Tuple(elements) => (elements, true),
        Value::Set(elements) => (elements, false),
        other => return Err(mismatch("a list or set", other, path)),
    };
    let at = move |index: usize| if indexed { path.index(index as u64) } else { path.clone() };
    Ok(elements.iter().enumerate().map(move |(index, element)| (element, at(index))))
}
