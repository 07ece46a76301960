//! Places inside values: reading, writing, walking and transforming by path.

use std::borrow::Cow;

use super::{Value, dedup_set, text};
use crate::{AttributePath, PathStep};

/// Why nothing can be put at a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be set at `{path}`: {reason}")]
pub struct PlaceError {
    /// The path that was asked for.
    pub path: AttributePath,
    /// What stands in the way.
    pub reason: &'static str,
}

impl Value {
    /// The value at `path`; `None` when there is no such place, or something above it is null or unknown.
    #[must_use]
    pub fn get_path(&self, path: &AttributePath) -> Option<&Value> {
        path.steps().iter().try_fold(self, |value, step| match (value.unwrap_dynamic(), step) {
            (Self::Object(entries), PathStep::Attribute(name))
            | (Self::Map(entries), PathStep::Key(name)) => entries.get(name),
            (Self::List(elements) | Self::Tuple(elements), PathStep::Index(index)) => {
                elements.get(usize::try_from(*index).ok()?)
            }
            _ => None,
        })
    }

    /// Puts `value` at `path`. Attributes and list elements must exist already; a map takes new keys. Sets and
    /// values of dynamic type are replaced as a whole.
    pub fn set_path(&mut self, path: &AttributePath, value: Value) -> Result<(), PlaceError> {
        let error = |reason| PlaceError { path: path.clone(), reason };
        let Some((last, above)) = path.steps().split_last() else {
            *self = value;
            return Ok(());
        };
        let mut place = self;
        for step in above {
            place = place.child_mut(step).map_err(error)?;
        }
        if let (Self::Map(entries), PathStep::Key(key)) = (&mut *place, last) {
            entries.insert(text::nfc(key.clone()), value);
            return Ok(());
        }
        *place.child_mut(last).map_err(error)? = value;
        Ok(())
    }

    fn child_mut(&mut self, step: &PathStep) -> Result<&mut Value, &'static str> {
        match (self, step) {
            (Self::Object(entries), PathStep::Attribute(name)) => {
                entries.get_mut(name).ok_or("there is no such attribute")
            }
            (Self::Map(entries), PathStep::Key(key)) => entries.get_mut(key).ok_or("there is no such key"),
            (Self::List(elements) | Self::Tuple(elements), PathStep::Index(index)) => usize::try_from(*index)
                .ok()
                .and_then(|index| elements.get_mut(index))
                .ok_or("there is no such element"),
            (Self::Null, _) => Err("the value above it is null"),
            (Self::Unknown(_), _) => Err("the value above it is unknown"),
            (Self::Set(_), _) => Err("elements of sets have no address"),
            (Self::Dynamic(_), _) => Err("the value above it carries its own type"),
            _ => Err("the path does not fit the value"),
        }
    }

    /// Visits the value and everything inside it, outermost first. `visit` answers whether to go deeper.
    /// Everything inside a set is visited with the path of the set.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&AttributePath, &'a Value) -> bool) {
        self.walk_at(&mut AttributePath::root(), false, visit);
    }

    fn walk_at<'a>(
        &'a self,
        path: &mut AttributePath,
        in_set: bool,
        visit: &mut impl FnMut(&AttributePath, &'a Value) -> bool,
    ) {
        if !visit(path, self) {
            return;
        }
        let mut descend = |step: Option<PathStep>, value: &'a Value, in_set: bool| match step {
            Some(step) if !in_set => {
                path.push(step);
                value.walk_at(path, false, visit);
                path.pop();
            }
            _ => value.walk_at(path, in_set, visit),
        };
        match self {
            Self::Null | Self::Unknown(_) | Self::Bool(_) | Self::Number(_) | Self::String(_) => {}
            Self::List(elements) | Self::Tuple(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    descend(Some(PathStep::Index(index as u64)), value, in_set);
                }
            }
            Self::Set(elements) => elements.iter().for_each(|value| descend(None, value, true)),
            Self::Map(entries) => {
                for (key, value) in entries {
                    descend(Some(PathStep::Key(key.clone())), value, in_set);
                }
            }
            Self::Object(entries) => {
                for (name, value) in entries {
                    descend(Some(PathStep::Attribute(name.clone())), value, in_set);
                }
            }
            Self::Dynamic(inner) => descend(None, &inner.1, in_set),
        }
    }

    /// Rebuilds the value from the inside out: `change` gets every part, its own parts changed already, and
    /// answers what to put in its place. Everything inside a set has the path of the set; elements that become
    /// equal become one.
    #[must_use]
    pub fn transform(self, change: &mut impl FnMut(&AttributePath, Value) -> Value) -> Value {
        self.transform_at(&mut AttributePath::root(), false, change)
    }

    fn transform_at(
        self,
        path: &mut AttributePath,
        in_set: bool,
        change: &mut impl FnMut(&AttributePath, Value) -> Value,
    ) -> Value {
        let mut child = |step: PathStep, value: Value| {
            if in_set {
                return value.transform_at(path, true, change);
            }
            path.push(step);
            let value = value.transform_at(path, false, change);
            path.pop();
            value
        };
        let in_order = |elements: Vec<Value>, child: &mut dyn FnMut(PathStep, Value) -> Value| {
            elements
                .into_iter()
                .enumerate()
                .map(|(index, value)| child(PathStep::Index(index as u64), value))
                .collect()
        };
        let rebuilt = match self {
            Self::List(elements) => Self::List(in_order(elements, &mut child)),
            Self::Tuple(elements) => Self::Tuple(in_order(elements, &mut child)),
            Self::Map(entries) => Self::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| {
                        let value = child(PathStep::Key(key.clone()), value);
                        (key, value)
                    })
                    .collect(),
            ),
            Self::Object(entries) => Self::Object(
                entries
                    .into_iter()
                    .map(|(name, value)| {
                        let value = child(PathStep::Attribute(name.clone()), value);
                        (name, value)
                    })
                    .collect(),
            ),
            Self::Set(elements) => Self::Set(dedup_set(
                elements.into_iter().map(|value| value.transform_at(path, true, change)).collect(),
            )),
            Self::Dynamic(inner) => {
                let (ty, value) = *inner;
                Self::Dynamic(Box::new((ty, value.transform_at(path, in_set, change))))
            }
            plain => plain,
        };
        change(path, rebuilt)
    }

    /// The value as Terraform core would hold it: strings, keys and names in NFC, no set with equal elements.
    /// Values from this crate's codecs and constructors are so already and are not copied.
    #[must_use]
    pub fn normalized(&self) -> Cow<'_, Value> {
        if self.is_normal() { Cow::Borrowed(self) } else { Cow::Owned(self.clone().normalize()) }
    }

    fn is_normal(&self) -> bool {
        let mut normal = true;
        self.walk(&mut |_, value| {
            normal &= match value {
                Self::String(text) => text::is_nfc(text),
                Self::Map(entries) | Self::Object(entries) => entries.keys().all(|key| text::is_nfc(key)),
                Self::Set(elements) => {
                    let mut seen = std::collections::HashSet::with_capacity(elements.len());
                    elements.iter().all(|element| !element.is_wholly_known() || seen.insert(element))
                }
                _ => true,
            };
            normal
        });
        normal
    }

    fn normalize(self) -> Self {
        self.transform(&mut |_, value| match value {
            Self::String(text) => Self::String(text::nfc(text)),
            Self::Map(entries) => Self::map(entries),
            Self::Object(entries) => Self::object(entries),
            other => other,
        })
    }
}
