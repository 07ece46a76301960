//! Values and types on the wire and in state: msgpack and JSON, driven by type.
//!
//! Both codecs are exact (no number passes through an `f64` unless it is one), bounded (nesting deeper than
//! [`MAX_DEPTH`] is an error, declared lengths are not believed) and answer any bytes with a value or an
//! [`Error`], never with a panic.

pub mod json;
pub mod msgpack;

use crate::ty::TypeError;
use crate::value::NumberError;
use crate::{AttributePath, PathStep, Type, Value};

/// How deep values may be nested.
pub const MAX_DEPTH: usize = 100;

/// Why a value cannot be encoded or decoded, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", crate::value::at(.path))]
pub struct Error {
    /// The place inside the value; inside a set it is the set.
    pub path: AttributePath,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a value on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The bytes end before the value does.
    #[error("the bytes end in the middle of a value")]
    UnexpectedEnd,
    /// Bytes follow the value.
    #[error("{0} bytes follow the value")]
    TrailingBytes(usize),
    /// The byte 0xc1, which msgpack never uses.
    #[error("the byte 0xc1 is not msgpack")]
    InvalidMarker,
    /// Not JSON.
    #[error("not JSON: {0}")]
    Syntax(#[from] json::Syntax),
    /// Text that is not UTF-8.
    #[error("a string is not valid UTF-8")]
    InvalidUtf8,
    /// A value of another kind than the type demands.
    #[error("{expected} is required, found {found}")]
    Kind {
        /// The type.
        expected: String,
        /// What is there.
        found: &'static str,
    },
    /// A tuple with another number of elements than its type has.
    #[error("a tuple with {expected} elements is required, found {found}")]
    Length {
        /// What the type has.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// An object with another number of attributes than its type has.
    #[error("an object with {expected} attributes is required, found {found}")]
    AttributeCount {
        /// What the type has.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// An attribute that the type does not have.
    #[error("the attribute is not part of the object's type")]
    UnknownAttribute,
    /// An attribute that the type has and the value has not.
    #[error("the attribute is missing")]
    MissingAttribute,
    /// The same key twice.
    #[error("the key occurs more than once")]
    DuplicateKey,
    /// A key of a map or object that is not a string.
    #[error("a key is not a string")]
    KeyNotString,
    /// A number that cannot be held.
    #[error(transparent)]
    Number(#[from] NumberError),
    /// A value of dynamic type whose own type cannot be read.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// A value of dynamic type that is not a pair of type and value.
    #[error("a value of dynamic type is a pair of a type and a value of it")]
    DynamicShape,
    /// Elements of different types in a collection of dynamic values: Terraform core ends abruptly on these.
    #[error("all elements of a collection of dynamic values must have one type; use a tuple or an object")]
    MixedTypes,
    /// An unknown where only known values can be written.
    #[error("the value is not known yet, and JSON cannot say so")]
    Unknown,
    /// Nesting deeper than [`MAX_DEPTH`].
    #[error("the value is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

impl Error {
    /// The same error, seen from one level further out. Paths are built while an error travels outwards, so
    /// that values without errors cost nothing.
    pub(crate) fn inside(mut self, step: PathStep) -> Self {
        self.path.prepend(step);
        self
    }

    pub(crate) fn inside_set(self) -> Self {
        self.reason.into()
    }

    pub(crate) fn kind(ty: &Type, found: &'static str) -> Self {
        Reason::Kind { expected: ty.to_string(), found }.into()
    }
}

impl<R: Into<Reason>> From<R> for Error {
    fn from(reason: R) -> Self {
        Self { path: AttributePath::root(), reason: reason.into() }
    }
}

/// Decodes the protocol's pair of encodings: msgpack if present, else JSON; neither is null.
pub fn decode_dynamic_value(msgpack: &[u8], json: &[u8], ty: &Type) -> Result<Value, Error> {
    if !msgpack.is_empty() {
        msgpack::decode(msgpack, ty)
    } else if !json.is_empty() {
        json::decode(json, ty)
    } else {
        Ok(Value::Null)
    }
}

/// The one type of the elements of a collection of dynamic values. Nulls and unknowns of unknown type fit any.
fn check_one_type<'a>(element: &Type, mut values: impl Iterator<Item = &'a Value>) -> Result<(), Error> {
    if *element != Type::Dynamic {
        return Ok(());
    }
    let mut types = values.by_ref().filter_map(|value| match value {
        Value::Dynamic(inner) => Some(&inner.0),
        _ => None,
    });
    match types.next() {
        Some(first) if types.any(|ty| ty != first) => Err(Reason::MixedTypes.into()),
        _ => Ok(()),
    }
}

/// The attributes of an object in the order of its type, with the value of each.
fn attributes<'a>(
    types: &'a std::collections::BTreeMap<String, Type>,
    entries: &'a std::collections::BTreeMap<String, Value>,
) -> Result<impl Iterator<Item = (&'a str, &'a Type, &'a Value)>, Error> {
    if let Some(name) = entries.keys().find(|name| !types.contains_key(*name)) {
        return Err(Error::from(Reason::UnknownAttribute).inside(PathStep::Attribute(name.clone())));
    }
    if let Some(name) = types.keys().find(|name| !entries.contains_key(*name)) {
        return Err(Error::from(Reason::MissingAttribute).inside(PathStep::Attribute(name.clone())));
    }
    // Both hold the same names in the same order.
    Ok(types.iter().zip(entries.values()).map(|((name, ty), value)| (name.as_str(), ty, value)))
}
