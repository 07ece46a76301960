//! Lists, sets and maps.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::private::{Field, elements, mismatch};
use super::validators::check_elements;
use super::{AttributeShape, BlockShape, FromValue, Model, ToValue};
use crate::schema::{Block, NamedValue, NestedObject, Nesting, Shape, Validator};
use crate::{AttributePath, Diagnostic, Type, Value};

/// A set of things that have no order of their own, such as nested models.
///
/// Two sets are equal when they hold the same elements in any order.
#[derive(Clone, Debug, Eq)]
pub struct Set<T>(Vec<T>);

impl<T> Set<T> {
    /// The elements.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> PartialEq for Set<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().all(|element| {
                let count = |set: &Self| set.0.iter().filter(|twin| *twin == element).count();
                count(self) == count(other)
            })
    }
}

impl<T> Deref for Set<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl<T> From<Vec<T>> for Set<T> {
    fn from(elements: Vec<T>) -> Self {
        Self(elements)
    }
}

impl<T> IntoIterator for Set<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Set<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        elements(value, path)?.map(|(element, path)| T::from_value(element, &path)).collect()
    }
}

impl<T: FromValue> FromValue for Set<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        Vec::from_value(value, path).map(Self)
    }
}

impl<T: FromValue + Ord> FromValue for BTreeSet<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        elements(value, path)?.map(|(element, path)| T::from_value(element, &path)).collect()
    }
}

impl<T: FromValue> FromValue for BTreeMap<String, T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        match value {
            Value::Map(map) | Value::Object(map) => map
                .iter()
                .map(|(key, element)| Ok((key.clone(), T::from_value(element, &path.key(key.clone()))?)))
                .collect(),
            other => Err(mismatch("a map", other, path)),
        }
    }
}

impl<T: ToValue> ToValue for Vec<T> {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl<T: ToValue> ToValue for [T] {
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(ToValue::to_value).collect())
    }
}

/// For defaults: `default = ["a", "b"]`, of a list or a set.
impl<T: ToValue, const N: usize> ToValue for [T; N] {
    fn to_value(&self) -> Value {
        self.as_slice().to_value()
    }
}

impl<T: ToValue> ToValue for Set<T> {
    fn to_value(&self) -> Value {
        Value::Set(self.0.iter().map(ToValue::to_value).collect())
    }
}

impl<T: ToValue> ToValue for BTreeSet<T> {
    fn to_value(&self) -> Value {
        Value::Set(self.iter().map(ToValue::to_value).collect())
    }
}

impl<T: ToValue> ToValue for BTreeMap<String, T> {
    fn to_value(&self) -> Value {
        Value::Map(self.iter().map(|(key, element)| (key.clone(), element.to_value())).collect())
    }
}

/// A collection of nested objects has nested attributes; a collection of anything else has a type.
fn collection<T: AttributeShape>(nesting: Nesting, of: fn(Type) -> Type) -> Shape {
    match T::shape() {
        Shape::Nested(object @ NestedObject { nesting: Nesting::Single, .. }) => {
            Shape::Nested(NestedObject { nesting, ..object })
        }
        inner => Shape::Type(of(inner.implied_type())),
    }
}

/// The validators of the element type, applied to each element.
fn each<T: AttributeShape>() -> Vec<Validator> {
    let demands: Vec<_> = T::validators().into_iter().map(|validator| validator.description).collect();
    if demands.is_empty() {
        return Vec::new();
    }
    vec![Validator { description: format!("each {}", demands.join(", ")), check: check_elements::<T> }]
}

macro_rules! collections {
    ($([$($bound:tt)*] $collection:ty => $nesting:ident, $of:ident;)*) => {$(
        impl<T: AttributeShape $($bound)*> AttributeShape for $collection {
            const SENSITIVE: bool = T::SENSITIVE;

            fn shape() -> Shape {
                collection::<T>(Nesting::$nesting, Type::$of)
            }

            fn validators() -> Vec<Validator> {
                each::<T>()
            }

            fn values() -> Vec<NamedValue> {
                T::values()
            }

            fn fields() -> Vec<Field> {
                T::fields()
            }
        }

        impl<T: Model $($bound)*> BlockShape for $collection {
            fn nesting() -> (Nesting, i64, i64) {
                (Nesting::$nesting, 0, 0)
            }

            fn block() -> Block {
                T::block()
            }

            fn fields() -> Vec<Field> {
                T::fields()
            }
        }
    )*};
}

collections! {
    [] Vec<T> => List, list;
    [] Set<T> => Set, set;
    [+ Ord] BTreeSet<T> => Set, set;
    [] BTreeMap<String, T> => Map, map;
}
