//! Fields that may be null, unknown or secret.

use std::fmt;

use super::private::Field;
use super::{AttributeShape, BlockShape, FromValue, MISSING, NOT_KNOWN, ToValue};
use crate::schema::{Block, NamedValue, Nesting, Shape, Validator};
use crate::{AttributePath, Diagnostic, Unknown, Value};

/// A field that may be null or not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attr<T> {
    /// Not set.
    #[default]
    Null,
    /// Known after apply.
    Unknown,
    /// Set.
    Known(T),
}

impl<T> Attr<T> {
    /// The value, when it is set and known.
    #[must_use]
    pub const fn as_known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Null | Self::Unknown => None,
        }
    }

    /// The value, when it is set and known.
    #[must_use]
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Null | Self::Unknown => None,
        }
    }

    /// The value in place, when it is set and known.
    pub const fn known_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Null | Self::Unknown => None,
        }
    }

    /// This, unless it is unknown: then what `decide` says. Turns a planned value into the real one.
    #[must_use]
    pub fn or_unknown(self, decide: impl FnOnce() -> T) -> Self {
        if self.is_unknown() { Self::Known(decide()) } else { self }
    }

    /// Whether it is set and known.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// Whether it is not set.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is known only after apply.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    /// The same state with another value inside.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Attr<U> {
        match self {
            Self::Known(value) => Attr::Known(convert(value)),
            Self::Null => Attr::Null,
            Self::Unknown => Attr::Unknown,
        }
    }

    /// The same state, borrowed.
    #[must_use]
    pub const fn as_ref(&self) -> Attr<&T> {
        match self {
            Self::Known(value) => Attr::Known(value),
            Self::Null => Attr::Null,
            Self::Unknown => Attr::Unknown,
        }
    }

    /// The value, or `other` when it is null or unknown.
    #[must_use]
    pub fn unwrap_or(self, other: T) -> T {
        self.known().unwrap_or(other)
    }

    /// The value, or the type's default when it is null or unknown.
    #[must_use]
    pub fn or_default(self) -> T
    where
        T: Default,
    {
        self.known().unwrap_or_default()
    }

    /// This, unless it is null: then `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_null() { other } else { self }
    }

    /// The value, or an error that names the attribute: for values that must be there by now.
    pub fn require(self, name: &str) -> Result<T, Diagnostic> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Null => Err(Diagnostic::error(MISSING, format!("`{name}` must be set.")).at(name)),
            Self::Unknown => {
                Err(Diagnostic::error(NOT_KNOWN, format!("`{name}` must be known here, and is not yet."))
                    .at(name))
            }
        }
    }
}

impl Attr<String> {
    /// The text, when it is set and known.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.as_known().map(String::as_str)
    }
}

impl<T> From<T> for Attr<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T> From<Option<T>> for Attr<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Known)
    }
}

impl From<&str> for Attr<String> {
    fn from(text: &str) -> Self {
        Self::Known(text.to_owned())
    }
}

impl<T: FromValue> FromValue for Attr<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        match value {
            Value::Null => Ok(Self::Null),
            Value::Unknown(_) => Ok(Self::Unknown),
            known => T::from_value(known, path).map(Self::Known),
        }
    }
}

impl<T: ToValue> ToValue for Attr<T> {
    fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Unknown => Value::Unknown(Unknown::default()),
            Self::Known(value) => value.to_value(),
        }
    }
}

impl<T: AttributeShape> AttributeShape for Attr<T> {
    const ACCEPTS_NULL: bool = true;
    const ACCEPTS_UNKNOWN: bool = true;
    const SENSITIVE: bool = T::SENSITIVE;

    fn shape() -> Shape {
        T::shape()
    }

    fn validators() -> Vec<Validator> {
        T::validators()
    }

    fn values() -> Vec<NamedValue> {
        T::values()
    }

    fn fields() -> Vec<Field> {
        T::fields()
    }
}

impl<T: BlockShape> BlockShape for Attr<T> {
    const ACCEPTS_UNKNOWN: bool = true;

    fn nesting() -> (Nesting, i64, i64) {
        optional(T::nesting())
    }

    fn block() -> Block {
        T::block()
    }

    fn fields() -> Vec<Field> {
        T::fields()
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        match value {
            Value::Null => Ok(None),
            some => T::from_value(some, path).map(Some),
        }
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, ToValue::to_value)
    }
}

impl<T: AttributeShape> AttributeShape for Option<T> {
    const ACCEPTS_NULL: bool = true;
    const ACCEPTS_UNKNOWN: bool = T::ACCEPTS_UNKNOWN;
    const SENSITIVE: bool = T::SENSITIVE;

    fn shape() -> Shape {
        T::shape()
    }

    fn validators() -> Vec<Validator> {
        T::validators()
    }

    fn values() -> Vec<NamedValue> {
        T::values()
    }

    fn fields() -> Vec<Field> {
        T::fields()
    }
}

impl<T: BlockShape> BlockShape for Option<T> {
    fn nesting() -> (Nesting, i64, i64) {
        optional(T::nesting())
    }

    fn block() -> Block {
        T::block()
    }

    fn fields() -> Vec<Field> {
        T::fields()
    }
}

/// A single block that may be left out has no bounds: Terraform demands that they be equal.
const fn optional((nesting, min, max): (Nesting, i64, i64)) -> (Nesting, i64, i64) {
    match nesting {
        Nesting::Single => (nesting, 0, 0),
        _ => (nesting, min, max),
    }
}

/// A value that never shows itself in debug output; its attribute is sensitive in the schema.
///
/// Sensitive is not secret: Terraform stores it in state all the same. What must not be stored is `write_only`.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sensitive<T>(pub T);

impl<T> Sensitive<T> {
    /// The value itself.
    #[must_use]
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, owned.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> From<T> for Sensitive<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: FromValue> FromValue for Sensitive<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        T::from_value(value, path).map(Self).map_err(hide)
    }
}

/// The messages of conversions quote the value, unless there is none.
fn hide(diagnostic: Diagnostic) -> Diagnostic {
    if matches!(diagnostic.summary.as_str(), NOT_KNOWN | MISSING) {
        return diagnostic;
    }
    let place =
        diagnostic.attribute.as_ref().map_or_else(|| "The value".to_owned(), |path| format!("`{path}`"));
    Diagnostic {
        detail: format!("{place} is not valid; it is sensitive, so it is not shown here."),
        ..diagnostic
    }
}

impl<T: ToValue> ToValue for Sensitive<T> {
    fn to_value(&self) -> Value {
        self.0.to_value()
    }
}

impl<T: AttributeShape> AttributeShape for Sensitive<T> {
    const ACCEPTS_NULL: bool = T::ACCEPTS_NULL;
    const ACCEPTS_UNKNOWN: bool = T::ACCEPTS_UNKNOWN;
    const SENSITIVE: bool = true;

    fn shape() -> Shape {
        T::shape()
    }

    fn validators() -> Vec<Validator> {
        T::validators()
    }

    fn values() -> Vec<NamedValue> {
        T::values()
    }

    fn fields() -> Vec<Field> {
        T::fields()
    }
}
