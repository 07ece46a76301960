//! Between Terraform's values and Rust structs.

use crate::schema::{Block, Shape};
use crate::{AttributePath, Diagnostic, Value};

/// A field that may be null or not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Attr<T> {
    /// Not set.
    #[default]
    Null,
    /// Known after apply.
    Unknown,
    /// Set.
    Known(T),
}

/// A value that never shows itself in debug output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sensitive<T>(pub T);

/// Rust from Terraform. `Err` names the place of the value that does not fit.
pub trait FromValue: Sized {
    /// Converts `value`, which stands at `path`.
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic>;
}

/// Terraform from Rust.
pub trait ToValue {
    /// Converts to a value of the type that the schema says.
    fn to_value(&self) -> Value;
}

/// A Rust type that can stand as an attribute.
pub trait AttributeShape {
    /// The attribute's type, or its nested attributes.
    fn shape() -> Shape;
}

/// A struct that is a schema: derive it with `#[derive(Model)]`.
pub trait Model: FromValue + ToValue + Clone + Send + Sync + 'static {
    /// The version of the state layout.
    const VERSION: i64 = 0;

    /// The attributes, blocks and documentation.
    fn block() -> Block;
}
