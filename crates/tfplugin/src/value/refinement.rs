//! What is promised about a value that is not known yet.

use super::Number;

/// A value known after apply, and what is promised about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unknown(Option<Box<Refinements>>);

/// One end of a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// The end itself.
    pub value: Number,
    /// Whether the end belongs to the range.
    pub inclusive: bool,
}

/// Promises about an unknown value; each is checked by Terraform core once the value is known.
#[derive(Clone, Debug, Default, PartialEq)]
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
