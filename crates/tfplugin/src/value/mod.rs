//! Terraform values, exact: numbers of any size, unknowns with refinements, values of dynamic type.

mod canonical;
mod conform;
mod number;
mod place;
mod refinement;
pub(crate) mod text;

use std::collections::BTreeMap;

pub(crate) use self::canonical::{dedup_set, sorted};
pub use self::conform::Mismatch;
pub(crate) use self::conform::at;
pub use self::number::{Number, NumberError};
pub use self::place::PlaceError;
pub use self::refinement::{Bound, Refinements, Unknown};
use crate::Type;

/// A value. Its type comes from the schema it stands in; only [`Value::Dynamic`] carries one of its own.
///
/// `Null`, an empty string, an empty collection and `Unknown` are different things and stay so. Equality, order
/// and hash are those of the value: sets are compared as multisets, numbers by what they are.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// Absent, of any type.
    #[default]
    Null,
    /// Known after apply, of any type.
    Unknown(Unknown),
    /// `bool`
    Bool(bool),
    /// `number`
    Number(Number),
    /// `string`, in Unicode NFC as Terraform core has it.
    String(String),
    /// `list(T)`
    List(Vec<Value>),
    /// `set(T)`; the order carries no meaning, duplicates do not occur.
    Set(Vec<Value>),
    /// `map(T)`
    Map(BTreeMap<String, Value>),
    /// `tuple([…])`
    Tuple(Vec<Value>),
    /// `object({…})`: every attribute of the type is present.
    Object(BTreeMap<String, Value>),
    /// A value at a place whose schema type is `dynamic`, with the type it really has.
    /// A null or unknown of unknown type is plain [`Value::Null`] or [`Value::Unknown`].
    Dynamic(Box<(Type, Value)>),
}

impl Value {
    /// A string, in NFC.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text::nfc(text.into()))
    }

    /// A number.
    pub fn number(number: impl Into<Number>) -> Self {
        Self::Number(number.into())
    }

    /// A list.
    pub fn list(elements: impl IntoIterator<Item = Value>) -> Self {
        Self::List(elements.into_iter().collect())
    }

    /// A set; equal elements become one.
    pub fn set(elements: impl IntoIterator<Item = Value>) -> Self {
        Self::Set(dedup_set(elements.into_iter().collect()))
    }

    /// A map, its keys in NFC.
    pub fn map<K: Into<String>>(elements: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(elements.into_iter().map(|(key, value)| (text::nfc(key.into()), value)).collect())
    }

    /// A tuple.
    pub fn tuple(elements: impl IntoIterator<Item = Value>) -> Self {
        Self::Tuple(elements.into_iter().collect())
    }

    /// An object, its attribute names in NFC.
    pub fn object<N: Into<String>>(attributes: impl IntoIterator<Item = (N, Value)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, value)| (text::nfc(name.into()), value)).collect())
    }

    /// A value of type `ty`, for a place whose schema type is `dynamic`.
    #[must_use]
    pub fn dynamic(ty: Type, value: Value) -> Self {
        if ty == Type::Dynamic { value } else { Self::Dynamic(Box::new((ty, value))) }
    }

    /// Known after apply; nothing more is promised.
    #[must_use]
    pub const fn unknown() -> Self {
        Self::Unknown(Unknown::plain())
    }

    /// The value itself, without the type that a dynamic one carries.
    #[must_use]
    pub fn unwrap_dynamic(&self) -> &Self {
        let mut value = self;
        while let Self::Dynamic(inner) = value {
            value = &inner.1;
        }
        value
    }

    /// Whether the value is null (a null with a type of its own included).
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.unwrap_dynamic(), Self::Null)
    }

    /// Whether the value as a whole is unknown. One with unknown parts is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self.unwrap_dynamic(), Self::Unknown(_))
    }

    /// Whether no part of the value is unknown.
    #[must_use]
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
            Self::List(elements) | Self::Set(elements) | Self::Tuple(elements) => {
                elements.iter().all(Self::is_wholly_known)
            }
            Self::Map(elements) | Self::Object(elements) => elements.values().all(Self::is_wholly_known),
            Self::Dynamic(inner) => inner.1.is_wholly_known(),
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self.unwrap_dynamic() {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The truth of a bool.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.unwrap_dynamic() {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub fn as_number(&self) -> Option<&Number> {
        match self.unwrap_dynamic() {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The elements of a list, set or tuple.
    #[must_use]
    pub fn elements(&self) -> Option<&[Value]> {
        match self.unwrap_dynamic() {
            Self::List(elements) | Self::Set(elements) | Self::Tuple(elements) => Some(elements),
            _ => None,
        }
    }

    /// The elements of a map, or the attributes of an object, by name.
    #[must_use]
    pub fn entries(&self) -> Option<&BTreeMap<String, Value>> {
        match self.unwrap_dynamic() {
            Self::Map(entries) | Self::Object(entries) => Some(entries),
            _ => None,
        }
    }

    /// The attribute of an object, or the element of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.entries()?.get(name)
    }

    /// What the value is, for messages: `string`, `list`, `null`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Unknown(_) => "unknown",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Map(_) => "map",
            Self::Tuple(_) => "tuple",
            Self::Object(_) => "object",
            Self::Dynamic(_) => "dynamic",
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Number(int.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::string(text)
    }
}
