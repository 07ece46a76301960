//! Between Terraform's values and Rust structs.
//!
//! | Rust | Terraform |
//! |---|---|
//! | [`String`], [`bool`] | `string`, `bool` |
//! | [`i64`], [`u32`], [`f64`], [`Number`](crate::Number) | `number`; a value that does not fit is an error, never rounded |
//! | [`Text<T>`], an enum with `#[derive(TfEnum)]` | `string` that is checked in validation and parsed once |
//! | [`Vec<T>`], [`Set<T>`], [`BTreeSet<T>`](std::collections::BTreeSet), [`BTreeMap<String, T>`](std::collections::BTreeMap) | `list`, `set`, `set`, `map` |
//! | a struct with `#[derive(Model)]` | nested attributes, or a block with `#[tf(block)]` |
//! | [`Value`] | `any` (dynamic) |
//! | [`Attr<T>`] | `T` that may be null or not known yet |
//! | [`Option<T>`] | `T` that may be null |
//! | [`Sensitive<T>`] | `T` that is hidden in all output |

mod attr;
mod collections;
#[doc(hidden)]
pub mod private;
mod scalars;
mod text;
#[doc(hidden)]
pub mod validators;

pub use self::attr::{Attr, Sensitive};
pub use self::collections::Set;
pub use self::text::Text;
use crate::schema::{Block, NamedValue, Nesting, Shape, Validator};
use crate::{AttributePath, Diagnostic, Value};

/// The summary of the diagnostic that a field gives which cannot hold an unknown value.
pub(crate) const NOT_KNOWN: &str = "Value not known yet";

/// The summary of the diagnostic that a field gives which cannot be null.
pub(crate) const MISSING: &str = "Missing value";

/// Rust from Terraform. `Err` names the place of the value that does not fit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made of a value of Terraform",
    label = "Terraform has no such type"
)]
pub trait FromValue: Sized {
    /// Converts `value`, which stands at `path`.
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic>;
}

/// Terraform from Rust.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made a value of Terraform",
    label = "Terraform has no such type"
)]
pub trait ToValue {
    /// Converts to a value of the type that the schema says.
    fn to_value(&self) -> Value;
}

/// A Rust type that can stand as an attribute.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an attribute",
    label = "Terraform has no such type",
    note = "a text that parses is `Text<T>`; an object is a struct with `#[derive(Model)]`, and one with blocks inside \
            stands in blocks only"
)]
pub trait AttributeShape {
    /// Whether the type can hold null.
    const ACCEPTS_NULL: bool = false;
    /// Whether the type can hold a value that is not known yet.
    const ACCEPTS_UNKNOWN: bool = false;
    /// Whether an attribute of this type is hidden in output without being told to.
    const SENSITIVE: bool = false;

    /// The attribute's type, or its nested attributes.
    fn shape() -> Shape;

    /// What the type itself demands of a value, beyond its shape.
    #[must_use]
    fn validators() -> Vec<Validator> {
        Vec::new()
    }

    /// The texts that the type takes, when they are named one by one.
    #[must_use]
    fn values() -> Vec<NamedValue> {
        Vec::new()
    }

    /// What the linter asks of nested models.
    #[doc(hidden)]
    #[must_use]
    fn fields() -> Vec<private::Field> {
        Vec::new()
    }
}

/// A Rust type that can stand as a nested block.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a block",
    label = "not a model, nor a collection of models",
    note = "what is inside a block is a struct with `#[derive(Model)]`"
)]
pub trait BlockShape {
    /// Whether the type can hold blocks whose number is not known yet.
    const ACCEPTS_UNKNOWN: bool = false;

    /// How the blocks combine, the least and the greatest number of them (0: no bound).
    fn nesting() -> (Nesting, i64, i64);

    /// What is inside each.
    fn block() -> Block;

    /// What the linter asks of nested models.
    #[doc(hidden)]
    fn fields() -> Vec<private::Field>;
}

/// A struct that is a schema: derive it with `#[derive(Model)]`.
///
/// ```
/// use tfplugin::{Attr, Model};
///
/// /// A service.
/// #[derive(Clone, Model)]
/// struct Service {
///     /// Its name.
///     #[tf(required, force_new, validate(length(1..=63)))]
///     name: Attr<String>,
///     /// How many run.
///     #[tf(default = 1, validate(range(1..=50)))]
///     replicas: Attr<i64>,
///     /// Given by the platform.
///     #[tf(computed, stable)]
///     id: Attr<String>,
/// }
///
/// assert_eq!(Service::block().attributes[1].description, "How many run.");
/// ```
///
/// What may be left out needs a type that can say so:
///
/// ```compile_fail,E0080
/// # use tfplugin::Model;
/// #[derive(Clone, Model)]
/// struct Service {
///     #[tf(optional)]
///     name: String,
/// }
/// ```
///
/// and every field a type that Terraform has:
///
/// ```compile_fail,E0277
/// # use tfplugin::Model;
/// #[derive(Clone, Model)]
/// struct Service {
///     #[tf(required)]
///     started: std::time::Instant,
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model",
    label = "not a struct with `#[derive(Model)]`"
)]
pub trait Model: FromValue + ToValue + Clone + Send + Sync + 'static {
    /// The version of the state layout.
    const VERSION: i64 = 0;
    /// The version of the identity's layout.
    const IDENTITY_VERSION: i64 = 0;
    /// Whether the identity of an object may change while it lives.
    const MUTABLE_IDENTITY: bool = false;

    /// The attributes, blocks and documentation.
    fn block() -> Block;

    /// What the linter asks of each field.
    #[doc(hidden)]
    #[must_use]
    fn fields() -> Vec<private::Field> {
        Vec::new()
    }
}

/// For functions without parameters and providers without configuration.
impl Model for () {
    fn block() -> Block {
        Block::default()
    }
}

impl FromValue for () {
    fn from_value(_: &Value, _: &AttributePath) -> Result<Self, Diagnostic> {
        Ok(())
    }
}

impl ToValue for () {
    fn to_value(&self) -> Value {
        private::to_object([])
    }
}
