//! Terraform values, exact: numbers of any size, unknowns with refinements, values of dynamic type.

mod number;
mod refinement;

use std::collections::BTreeMap;

pub use self::number::Number;
pub use self::refinement::{Bound, Refinements, Unknown};
use crate::Type;

/// A value. Its type comes from the schema it stands in; only [`Value::Dynamic`] carries one of its own.
///
/// `Null`, an empty string, an empty collection and `Unknown` are different things and stay so.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Absent, of any type.
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
