//! Whether a value is of a type.

use super::Value;
use crate::{AttributePath, PathStep, Type};

/// A place where a value is not of its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}expected {expected}, found {found}", at(.path))]
pub struct Mismatch {
    /// The place; inside a set it is the set.
    pub path: AttributePath,
    /// The type that belongs there, or the part of it that is missing.
    pub expected: String,
    /// What is there instead.
    pub found: String,
}

/// "`path`: ", or nothing for the root.
pub(crate) fn at(path: &AttributePath) -> String {
    if path.is_root() { String::new() } else { format!("`{path}`: ") }
}

impl Mismatch {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { path: AttributePath::root(), expected: expected.into(), found: found.into() }
    }

    fn inside(mut self, step: PathStep) -> Self {
        self.path.prepend(step);
        self
    }
}

impl Value {
    /// Checks that the value is of type `ty`, all the way down. The first place that is not is the error.
    ///
    /// A place of type `dynamic` holds null, unknown, or a [`Value::Dynamic`] that is of its own type.
    pub fn conforms_to(&self, ty: &Type) -> Result<(), Mismatch> {
        match (self, ty) {
            (Self::Null | Self::Unknown(_), _)
            | (Self::Bool(_), Type::Bool)
            | (Self::Number(_), Type::Number)
            | (Self::String(_), Type::String) => Ok(()),
            (Self::Dynamic(inner), Type::Dynamic) => inner.1.conforms_to(&inner.0),
            (Self::List(elements), Type::List(element)) => {
                in_order(elements.iter().map(|value| (value, &**element)))
            }
            (Self::Set(elements), Type::Set(element)) => elements.iter().try_for_each(|value| {
                value
                    .conforms_to(element)
                    .map_err(|mismatch| Mismatch { path: AttributePath::root(), ..mismatch })
            }),
            (Self::Map(entries), Type::Map(element)) => entries.iter().try_for_each(|(key, value)| {
                value.conforms_to(element).map_err(|mismatch| mismatch.inside(PathStep::Key(key.clone())))
            }),
            (Self::Tuple(elements), Type::Tuple(types)) => {
                if elements.len() != types.len() {
                    return Err(Mismatch::new(
                        format!("a tuple of {} elements", types.len()),
                        format!("one of {}", elements.len()),
                    ));
                }
                in_order(elements.iter().zip(types))
            }
            (Self::Object(entries), Type::Object(types)) => {
                if let Some(name) = entries.keys().find(|name| !types.contains_key(*name)) {
                    return Err(
                        Mismatch::new("no such attribute", "one").inside(PathStep::Attribute(name.clone()))
                    );
                }
                types.iter().try_for_each(|(name, ty)| {
                    let step = || PathStep::Attribute(name.clone());
                    match entries.get(name) {
                        Some(value) => value.conforms_to(ty).map_err(|mismatch| mismatch.inside(step())),
                        None => Err(Mismatch::new(ty.to_string(), "no such attribute").inside(step())),
                    }
                })
            }
            _ => Err(Mismatch::new(ty.to_string(), self.kind())),
        }
    }
}

fn in_order<'a>(elements: impl Iterator<Item = (&'a Value, &'a Type)>) -> Result<(), Mismatch> {
    elements.enumerate().try_for_each(|(index, (value, ty))| {
        value.conforms_to(ty).map_err(|mismatch| mismatch.inside(PathStep::Index(index as u64)))
    })
}
