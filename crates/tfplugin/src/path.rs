//! Paths to a place inside a value.

use std::fmt;

/// One step of an [`AttributePath`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathStep {
    /// An attribute of an object.
    Attribute(String),
    /// An element of a map.
    Key(String),
    /// An element of a list or tuple, counted from 0.
    Index(u64),
}

/// A path from the object at hand (a resource body, a provider body) to one place inside it.
///
/// Elements of sets have no address: a path stops at the set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttributePath(Vec<PathStep>);

impl AttributePath {
    /// The whole object.
    #[must_use]
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// This path, one attribute deeper.
    #[must_use]
    pub fn attribute(&self, name: impl Into<String>) -> Self {
        self.child(PathStep::Attribute(name.into()))
    }

    /// This path, one map element deeper.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.child(PathStep::Key(key.into()))
    }

    /// This path, one list element deeper.
    #[must_use]
    pub fn index(&self, index: u64) -> Self {
        self.child(PathStep::Index(index))
    }

    /// This path and one more step.
    #[must_use]
    pub fn child(&self, step: PathStep) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// One step deeper, in place.
    pub(crate) fn push(&mut self, step: PathStep) {
        self.0.push(step);
    }

    /// One step back, in place.
    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }

    /// The same place, seen from one step further out.
    pub(crate) fn prepend(&mut self, step: PathStep) {
        self.0.insert(0, step);
    }

    /// Whether this place is `other` or lies inside it.
    #[must_use]
    pub fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// The steps, outermost first.
    #[must_use]
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }

    /// Whether this is the whole object.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

/// A single attribute name is a path of one step.
impl From<&str> for AttributePath {
    fn from(name: &str) -> Self {
        Self::root().attribute(name)
    }
}

impl FromIterator<PathStep> for AttributePath {
    fn from_iter<I: IntoIterator<Item = PathStep>>(steps: I) -> Self {
        Self(steps.into_iter().collect())
    }
}

/// Written as it is in HCL: `health.thresholds[0].labels["a b"]`.
impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Attribute(name) if position == 0 => f.write_str(name)?,
                PathStep::Attribute(name) => write!(f, ".{name}")?,
                PathStep::Key(key) => write!(f, "[{key:?}]")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
