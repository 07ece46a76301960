//! What a provider-defined function implements.

use crate::convert::AttributeShape;
use crate::{Model, ToValue};

/// A function: pure, no configuration, no I/O. Same arguments, same result.
pub trait Function: Send + Sync + 'static {
    /// A struct whose fields are the parameters, in order; doc comments are their documentation.
    /// A last field with `#[tf(variadic)]` of type `Vec<T>` takes the remaining arguments.
    type Arguments: Model;
    /// The result.
    type Output: AttributeShape + ToValue;

    /// The name: `provider::acme::NAME(…)`.
    const NAME: &'static str;
    /// One line for the documentation.
    const SUMMARY: &'static str;
    /// Markdown for the documentation.
    const DESCRIPTION: &'static str;

    /// Computes the result.
    fn call(&self, arguments: Self::Arguments) -> Result<Self::Output, FunctionError>;
}

/// Why a function refuses its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// What is wrong and what to write instead.
    pub text: String,
    /// Which argument, counted from 0 over all of them.
    pub argument: Option<u32>,
}

impl FunctionError {
    /// About no argument in particular.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: None }
    }

    /// About one argument, counted from 0 over all of them.
    pub fn argument(argument: u32, text: impl Into<String>) -> Self {
        Self { text: text.into(), argument: Some(argument) }
    }
}
