//! Schemas as the protocol has them.

use super::{Attribute, Block, NestedBlock, NestedObject, Nesting, Schema, Shape};
use crate::Type;
use crate::proto::tfplugin6 as proto;
use crate::rpc::FunctionInfo;

const MARKDOWN: i32 = proto::StringKind::Markdown as i32;

/// Converts a schema. An attribute with a default is optional and computed there; in providers and data sources,
/// where there is no plan to show the default in, it is optional.
pub(crate) fn schema_to_proto(schema: &Schema, kind: super::Kind) -> proto::Schema {
    let planned = kind == super::Kind::Resource;
    proto::Schema { version: schema.version, block: Some(block(&schema.block, planned)) }
}

fn block(source: &Block, planned: bool) -> proto::schema::Block {
    proto::schema::Block {
        attributes: source.attributes.iter().map(|source| attribute(source, planned)).collect(),
        block_types: source.blocks.iter().map(|source| nested_block(source, planned)).collect(),
        description: source.description.clone(),
        description_kind: MARKDOWN,
        deprecated: source.deprecated.is_some(),
        deprecation_message: source.deprecated.clone().unwrap_or_default(),
        ..proto::schema::Block::default()
    }
}

fn attribute(source: &Attribute, planned: bool) -> proto::schema::Attribute {
    let (ty, nested_type) = match &source.shape {
        Shape::Type(ty) => (type_json(ty), None),
        Shape::Nested(object) => (bytes::Bytes::new(), Some(nested_object(object, planned))),
    };
    proto::schema::Attribute {
        name: source.name.clone(),
        r#type: ty,
        nested_type,
        description: source.description.clone(),
        description_kind: MARKDOWN,
        required: source.required,
        optional: source.optional,
        computed: source.computed && (planned || source.default.is_none()),
        sensitive: source.sensitive,
        write_only: source.write_only,
        deprecated: source.deprecated.is_some(),
        deprecation_message: source.deprecated.clone().unwrap_or_default(),
    }
}

fn nested_object(source: &NestedObject, planned: bool) -> proto::schema::Object {
    use proto::schema::object::NestingMode;

    let nesting = match source.nesting {
        // The linter refuses groups here.
        Nesting::Single | Nesting::Group => NestingMode::Single,
        Nesting::List => NestingMode::List,
        Nesting::Set => NestingMode::Set,
        Nesting::Map => NestingMode::Map,
    };
    proto::schema::Object {
        attributes: source.attributes.iter().map(|source| attribute(source, planned)).collect(),
        nesting: nesting.into(),
        ..proto::schema::Object::default()
    }
}

fn nested_block(source: &NestedBlock, planned: bool) -> proto::schema::NestedBlock {
    use proto::schema::nested_block::NestingMode;

    let nesting = match source.nesting {
        Nesting::Single => NestingMode::Single,
        Nesting::List => NestingMode::List,
        Nesting::Set => NestingMode::Set,
        Nesting::Map => NestingMode::Map,
        Nesting::Group => NestingMode::Group,
    };
    proto::schema::NestedBlock {
        type_name: source.name.clone(),
        block: Some(block(&source.block, planned)),
        nesting: nesting.into(),
        min_items: source.min_items,
        max_items: source.max_items,
    }
}

/// Converts the signature of a function.
pub(crate) fn function_to_proto(source: &FunctionInfo) -> proto::Function {
    let parameter = |source: &crate::rpc::Parameter| proto::function::Parameter {
        name: source.name.clone(),
        r#type: type_json(&source.ty),
        allow_null_value: source.allow_null,
        allow_unknown_values: source.allow_unknown,
        description: source.description.clone(),
        description_kind: MARKDOWN,
    };
    proto::Function {
        parameters: source.parameters.iter().map(parameter).collect(),
        variadic_parameter: source.variadic.as_ref().map(parameter),
        r#return: Some(proto::function::Return { r#type: type_json(&source.result) }),
        summary: source.summary.to_owned(),
        description: source.description.to_owned(),
        description_kind: MARKDOWN,
        deprecation_message: String::new(),
    }
}

fn type_json(ty: &Type) -> bytes::Bytes {
    ty.to_json_bytes().into()
}
