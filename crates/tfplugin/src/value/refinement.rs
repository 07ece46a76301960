//! What is promised about a value that is not known yet.

use std::cmp::Ordering;

use super::{Number, Value};

/// A value known after apply, and what is promised about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unknown(Option<Box<Refinements>>);

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bound {
    /// The end itself.
    pub value: Number,
    /// Whether the end belongs to the range.
    pub inclusive: bool,
}

/// Promises about an unknown value; each is checked by Terraform core once the value is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Refinements {
    /// `Some(false)`: certainly not null. `Some(true)`: certainly null.
    pub null: Option<bool>,
    /// A string that the value starts with.
    pub prefix: Option<String>,
    /// The smallest number it can be.
    pub lower: Option<Bound>,
    /// The largest number it can be.
    pub upper: Option<Bound>,
    /// The least number of elements.
    pub min_length: Option<u64>,
    /// The greatest number of elements.
    pub max_length: Option<u64>,
}

impl Unknown {
    /// Nothing is promised.
    #[must_use]
    pub const fn plain() -> Self {
        Self(None)
    }

    /// Not null, whatever it will be. Worth saying about ids: `id == null` is then known while planning.
    #[must_use]
    pub fn not_null() -> Self {
        Self::refined(Refinements { null: Some(false), ..Refinements::default() })
    }

    /// Not null, and a string that starts with `prefix`.
    #[must_use]
    pub fn with_prefix(prefix: impl Into<String>) -> Self {
        let prefix = super::text::nfc(prefix.into());
        Self::refined(Refinements { null: Some(false), prefix: Some(prefix), ..Refinements::default() })
    }

    /// Not null, and with at least `min` and, if given, at most `max` elements.
    #[must_use]
    pub fn with_length(min: u64, max: Option<u64>) -> Self {
        Self::refined(Refinements {
            null: Some(false),
            min_length: Some(min),
            max_length: max,
            ..Refinements::default()
        })
    }

    /// With these promises; none at all is [`Unknown::plain`].
    #[must_use]
    pub fn refined(refinements: Refinements) -> Self {
        Self((refinements != Refinements::default()).then(|| Box::new(refinements)))
    }

    /// What is promised, if anything is.
    #[must_use]
    pub fn refinements(&self) -> Option<&Refinements> {
        self.0.as_deref()
    }

    /// Whether nothing is promised.
    #[must_use]
    pub const fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it is certain that the value will not be null.
    #[must_use]
    pub fn is_not_null(&self) -> bool {
        self.0.as_ref().is_some_and(|refinements| refinements.null == Some(false))
    }

    /// Whether `value` keeps every promise. A value that is itself unknown keeps all that it does not break for
    /// certain.
    #[must_use]
    pub fn admits(&self, value: &Value) -> bool {
        self.0.as_ref().is_none_or(|refinements| refinements.admit(value))
    }
}

impl Refinements {
    /// Whether `value` keeps every promise.
    fn admit(&self, value: &Value) -> bool {
        let length_fits = |length: usize| {
            let length = length as u64;
            self.min_length.is_none_or(|min| min <= length) && self.max_length.is_none_or(|max| length <= max)
        };
        match value {
            Value::Dynamic(inner) => self.admit(&inner.1),
            Value::Unknown(unknown) => {
                match (self.null, unknown.refinements().and_then(|other| other.null)) {
                    (Some(mine), Some(theirs)) => mine == theirs,
                    _ => true,
                }
            }
            Value::Null => self.null != Some(false),
            _ if self.null == Some(true) => false,
            Value::String(text) => self.prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix)),
            Value::Number(number) => {
                let within = |bound: &Option<Bound>, beyond: Ordering| {
                    bound.as_ref().is_none_or(|bound| match number.cmp(&bound.value) {
                        Ordering::Equal => bound.inclusive,
                        order => order == beyond,
                    })
                };
                within(&self.lower, Ordering::Greater) && within(&self.upper, Ordering::Less)
            }
            // Elements that are not known yet may turn out equal and become one.
            Value::Set(elements) if !value.is_wholly_known() => {
                self.min_length.is_none_or(|min| min <= elements.len() as u64)
            }
            Value::List(elements) | Value::Set(elements) => length_fits(elements.len()),
            Value::Map(elements) => length_fits(elements.len()),
            Value::Bool(_) | Value::Tuple(_) | Value::Object(_) => true,
        }
    }
}

impl From<Unknown> for Value {
    fn from(unknown: Unknown) -> Self {
        Self::Unknown(unknown)
    }
}
