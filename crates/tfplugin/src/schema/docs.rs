//! Schemas as documentation has them: with defaults and validators, which the protocol leaves out.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Attribute, Block, IdentityPart, NamedValue, Nesting, Rule, Schema, Shape};
use crate::rpc::{FunctionInfo, ObjectInfo, Parameter, Service};
use crate::server::StopToken;
use crate::{Provider, Value, codec};

/// Everything a provider offers.
#[derive(Clone, Debug, Serialize)]
pub struct ProviderDocs {
    /// The layout of this document.
    pub format_version: &'static str,
    /// The provider's type name.
    pub name: &'static str,
    /// Its full source address.
    pub address: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The `provider` block.
    pub provider: BlockDocs,
    /// Managed resources, by type name.
    pub resources: BTreeMap<String, ResourceDocs>,
    /// Data sources, by type name.
    pub data_sources: BTreeMap<String, BlockDocs>,
    /// Ephemeral resources, by type name.
    pub ephemeral_resources: BTreeMap<String, BlockDocs>,
    /// The `config` blocks of list resources, by type name.
    pub list_resources: BTreeMap<String, BlockDocs>,
    /// Actions, by type name.
    pub actions: BTreeMap<String, BlockDocs>,
    /// Functions, by name.
    pub functions: BTreeMap<String, FunctionDocs>,
}

impl ProviderDocs {
    /// Describes a provider; what `schema` on its command line prints.
    #[must_use]
    pub fn describe<P: Provider>(provider: P) -> Self {
        Self::of(&Service::new(provider, StopToken::new()))
    }

    pub(crate) fn of<P: Provider>(service: &Service<P>) -> Self {
        let registry = service.registry();
        let named = |name: &&'static str, schema: &Schema| ((*name).to_owned(), BlockDocs::of(&schema.block));
        Self {
            format_version: "1",
            name: P::NAME,
            address: P::ADDRESS,
            version: P::VERSION,
            provider: BlockDocs::of(&service.config().schema.block),
            resources: registry
                .resources
                .iter()
                .map(|(name, resource)| {
                    ((*name).to_owned(), ResourceDocs::of(resource.info(), resource.import_id()))
                })
                .collect(),
            ephemeral_resources: registry
                .ephemerals
                .iter()
                .map(|(name, ephemeral)| named(name, &ephemeral.info().schema))
                .collect(),
            list_resources: registry
                .lists
                .iter()
                .map(|(name, list)| named(name, &list.info().schema))
                .collect(),
            actions: registry
                .actions
                .iter()
                .map(|(name, action)| named(name, &action.info().schema))
                .collect(),
            data_sources: registry
                .data_sources
                .iter()
                .map(|(name, data)| named(name, &data.info().schema))
                .collect(),
            functions: registry
                .functions
                .iter()
                .map(|(name, function)| ((*name).to_owned(), FunctionDocs::of(function.info())))
                .collect(),
        }
    }
}

/// A managed resource.
#[derive(Clone, Debug, Serialize)]
pub struct ResourceDocs {
    /// Its attributes and blocks.
    #[serde(flatten)]
    pub block: BlockDocs,
    /// The version of the state's layout.
    pub version: i64,
    /// What the id of an import is made of.
    pub import_id: &'static str,
    /// What tells one object from every other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identity: Vec<IdentityDocs>,
}

/// An attribute of an identity.
#[derive(Clone, Debug, Serialize)]
pub struct IdentityDocs {
    /// The name, that of an attribute of the resource.
    pub name: String,
    /// The type as HCL writes it.
    pub r#type: String,
    /// An import by identity needs it.
    pub required: bool,
}

impl ResourceDocs {
    fn of(info: &ObjectInfo, import_id: &'static str) -> Self {
        let block = &info.schema.block;
        let part = |attribute: &Attribute| {
            attribute.identity.map(|part| IdentityDocs {
                name: attribute.name.clone(),
                r#type: attribute.shape.implied_type().to_string(),
                required: part == IdentityPart::Required,
            })
        };
        Self {
            block: BlockDocs::of(block),
            version: info.schema.version,
            import_id,
            identity: block.attributes.iter().filter_map(part).collect(),
        }
    }
}

impl IdentityDocs {
    /// Something of its type, for an example.
    pub(crate) fn placeholder(&self) -> &'static str {
        match self.r#type.as_str() {
            "string" => "\"…\"",
            "number" => "0",
            "bool" => "false",
            _ => "[]",
        }
    }
}

/// A block, or the attributes of a nested object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BlockDocs {
    /// Markdown.
    pub description: String,
    /// What to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// The attributes, in the order they were declared.
    pub attributes: Vec<AttributeDocs>,
    /// The nested blocks, in the order they were declared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<NestedBlockDocs>,
    /// What must and must not be set together, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// One attribute.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the schema's own flags, one to one")]
pub struct AttributeDocs {
    /// The name in HCL.
    pub name: String,
    /// The type as HCL writes it: `list(string)`; for nested attributes the kind of nesting and `object`.
    pub r#type: String,
    /// Markdown.
    pub description: String,
    /// The user must set it.
    pub required: bool,
    /// The user may set it.
    pub optional: bool,
    /// The provider sets it, and the user cannot.
    pub read_only: bool,
    /// Hidden in output.
    pub sensitive: bool,
    /// Never stored.
    pub write_only: bool,
    /// Changing it replaces the object.
    pub force_new: bool,
    /// Some changes of it replace the object.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub force_new_if: bool,
    /// Known after apply, and then not null.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub never_null: bool,
    /// What stands when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// What is demanded of a value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// The texts that it takes, when they are named one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueDocs>,
    /// What to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// The attributes inside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<AttributeDocs>,
    /// What must and must not be set together inside, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// A text that an attribute or parameter takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ValueDocs {
    /// The text.
    pub name: &'static str,
    /// Markdown.
    pub description: &'static str,
}

impl ValueDocs {
    fn all(values: &[NamedValue]) -> Vec<Self> {
        values.iter().map(|value| Self { name: value.name, description: value.description }).collect()
    }
}

/// A nested block.
#[derive(Clone, Debug, Serialize)]
pub struct NestedBlockDocs {
    /// The name in HCL.
    pub name: String,
    /// `single`, `list`, `set`, `map` or `group`.
    pub nesting: &'static str,
    /// The least number of blocks.
    pub min_items: i64,
    /// The greatest number of blocks; 0 is unbounded.
    pub max_items: i64,
    /// What is inside.
    pub block: BlockDocs,
}

/// A function.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionDocs {
    /// One line.
    pub summary: &'static str,
    /// Markdown.
    pub description: &'static str,
    /// The parameters, in order.
    pub parameters: Vec<ParameterDocs>,
    /// What takes the remaining arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variadic: Option<ParameterDocs>,
    /// The type of the result.
    pub result: String,
    /// What must and must not be given together, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
}

/// A parameter of a function.
#[derive(Clone, Debug, Serialize)]
pub struct ParameterDocs {
    /// The name.
    pub name: String,
    /// The type as HCL writes it.
    pub r#type: String,
    /// Markdown.
    pub description: String,
    /// Whether it may be null.
    pub nullable: bool,
    /// The texts that it takes, when they are named one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<ValueDocs>,
}

impl BlockDocs {
    /// Describes a block.
    #[must_use]
    pub fn of(block: &Block) -> Self {
        Self {
            description: block.description.clone(),
            deprecated: block.deprecated.clone(),
            attributes: block.attributes.iter().map(AttributeDocs::of).collect(),
            blocks: block
                .blocks
                .iter()
                .map(|nested| NestedBlockDocs {
                    name: nested.name.clone(),
                    nesting: nesting(nested.nesting),
                    min_items: nested.min_items,
                    max_items: nested.max_items,
                    block: Self::of(&nested.block),
                })
                .collect(),
            rules: sentences(&block.rules),
        }
    }
}

impl AttributeDocs {
    fn of(attribute: &Attribute) -> Self {
        let (ty, attributes, rules) = match &attribute.shape {
            Shape::Type(ty) => (ty.to_string(), Vec::new(), Vec::new()),
            Shape::Nested(nested) => {
                let ty = match nested.nesting {
                    Nesting::Single | Nesting::Group => "object".to_owned(),
                    many => format!("{}(object)", nesting(many)),
                };
                (ty, nested.attributes.iter().map(Self::of).collect(), sentences(&nested.rules))
            }
        };
        Self {
            name: attribute.name.clone(),
            r#type: ty,
            description: attribute.description.clone(),
            required: attribute.required,
            optional: attribute.optional,
            read_only: attribute.computed && !attribute.optional,
            sensitive: attribute.sensitive,
            write_only: attribute.write_only,
            force_new: attribute.force_new,
            force_new_if: attribute.planning.force_new_if.is_some(),
            never_null: attribute.planning.never_null,
            default: attribute.default.as_ref().map(|default| json(default, &attribute.shape)),
            constraints: attribute.validators.iter().map(|validator| validator.description.clone()).collect(),
            values: ValueDocs::all(&attribute.values),
            deprecated: attribute.deprecated.clone(),
            attributes,
            rules,
        }
    }
}

impl FunctionDocs {
    fn of(info: &FunctionInfo) -> Self {
        let parameter = |parameter: &Parameter| ParameterDocs {
            name: parameter.name.clone(),
            r#type: parameter.ty.to_string(),
            description: parameter.description.clone(),
            nullable: parameter.allow_null,
            values: info
                .arguments
                .attribute(&parameter.name)
                .map(|argument| ValueDocs::all(&argument.values))
                .unwrap_or_default(),
        };
        Self {
            summary: info.summary,
            description: info.description,
            parameters: info.parameters.iter().map(parameter).collect(),
            variadic: info.variadic.as_ref().map(parameter),
            result: info.result.to_string(),
            rules: sentences(&info.arguments.rules),
        }
    }
}

const fn nesting(nesting: Nesting) -> &'static str {
    match nesting {
        Nesting::Single => "single",
        Nesting::List => "list",
        Nesting::Set => "set",
        Nesting::Map => "map",
        Nesting::Group => "group",
    }
}

fn sentences(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(Rule::description).collect()
}

/// A default that does not fit its type is refused by the linter; here it is null.
fn json(value: &Value, shape: &Shape) -> serde_json::Value {
    codec::json::encode(value, &shape.implied_type())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}
