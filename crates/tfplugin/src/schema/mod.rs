//! Schemas: what Terraform users may write, and what state holds.

mod conform;
mod docs;
mod lint;
mod markdown;
mod pages;
mod planning;
mod rules;
mod wire;

pub(crate) use self::conform::conform;
pub use self::docs::{
    AttributeDocs, BlockDocs, FunctionDocs, IdentityDocs, NestedBlockDocs, ParameterDocs, ProviderDocs,
    ResourceDocs, ValueDocs,
};
pub(crate) use self::lint::{Kind, lint, lint_identity};
pub use self::pages::{PageKind, Pages, PagesError};
pub(crate) use self::planning::any_attribute;
pub use self::planning::{Modify, Planning};
pub use self::rules::Rule;
pub(crate) use self::rules::{Place, broken_rules, lint_rules};
pub(crate) use self::wire::{function_to_proto, schema_to_proto};
use crate::{Type, Value};

/// The schema of a provider, resource or data source.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// The version of the state layout; raised when old state must be upgraded.
    pub version: i64,
    /// The outermost block.
    pub block: Block,
}

/// A group of attributes and nested blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Markdown, from the struct's doc comment.
    pub description: String,
    /// What to use instead, when the whole is deprecated.
    pub deprecated: Option<String>,
    /// The attributes, in the order they were declared.
    pub attributes: Vec<Attribute>,
    /// The nested blocks, in the order they were declared.
    pub blocks: Vec<NestedBlock>,
    /// What must and must not be set together in each block of this kind.
    pub rules: Vec<Rule>,
}

/// One attribute: `name = value`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the protocol's own flags, one to one")]
pub struct Attribute {
    /// The name in HCL.
    pub name: String,
    /// What values it takes.
    pub shape: Shape,
    /// Markdown, from the field's doc comment.
    pub description: String,
    /// The user must set it.
    pub required: bool,
    /// The user may set it.
    pub optional: bool,
    /// The provider sets it when the user does not.
    pub computed: bool,
    /// Hidden in Terraform's output; stored in state all the same.
    pub sensitive: bool,
    /// Never stored: seen in configuration only.
    pub write_only: bool,
    /// What to use instead, when deprecated.
    pub deprecated: Option<String>,
    /// The value that a null in configuration stands for; the attribute is optional and computed then.
    pub default: Option<Value>,
    /// Changing it means destroying the object and creating another.
    pub force_new: bool,
    /// A computed value that never changes once set: plans keep the prior value.
    pub stable: bool,
    /// Part of the object's identity, and how an import by identity needs it.
    pub identity: Option<IdentityPart>,
    /// How it is planned beyond that.
    pub planning: Planning,
    /// Checks of a single value, run in validation when the value is known.
    pub validators: Vec<Validator>,
    /// The texts that it takes, when they are named one by one; of a collection, those of its elements.
    pub values: Vec<NamedValue>,
}

/// How an import by identity needs an attribute of the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityPart {
    /// It must be given.
    Required,
    /// It may be left out; the provider finds it.
    Optional,
}

/// What values an attribute takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A plain type.
    Type(Type),
    /// An object, or a collection of objects, with attributes of their own.
    Nested(NestedObject),
}

/// Attributes of a nested object, and how many of it there are.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedObject {
    /// Single, list, set or map.
    pub nesting: Nesting,
    /// The attributes of each.
    pub attributes: Vec<Attribute>,
    /// What must and must not be set together in each.
    pub rules: Vec<Rule>,
}

/// How often a nested object or block occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// At most once.
    Single,
    /// Any number, ordered.
    List,
    /// Any number, unordered.
    Set,
    /// Any number, by key.
    Map,
    /// Blocks only: once, and never null.
    Group,
}

/// A nested block: `name { … }`.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedBlock {
    /// The name in HCL.
    pub name: String,
    /// How often it occurs.
    pub nesting: Nesting,
    /// The least number of blocks.
    pub min_items: i64,
    /// The greatest number of blocks; 0 is unbounded.
    pub max_items: i64,
    /// What is inside.
    pub block: Block,
}

/// A text that an attribute takes, and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedValue {
    /// The text.
    pub name: &'static str,
    /// Markdown, from the variant's doc comment.
    pub description: &'static str,
}

/// A check of one known value.
#[derive(Clone)]
pub struct Validator {
    /// What it demands, for the documentation: "between 1 and 50".
    pub description: String,
    /// `Err` says what is wrong with the value.
    pub check: fn(&Value) -> Result<(), String>,
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Validator").field(&self.description).finish()
    }
}

impl PartialEq for Validator {
    fn eq(&self, other: &Self) -> bool {
        self.description == other.description
    }
}
