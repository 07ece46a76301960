//! `GenerateResourceConfig`: the configuration that an imported object would have been written with.

use super::Service;
use super::messages::{decode, encode, failure};
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::generate_resource_config::{Request, Response};
use crate::schema::{Attribute, Block, Shape};
use crate::{Diagnostics, Provider, Value};

impl<P: Provider> Service<P> {
    pub(crate) fn generate_resource_config(&self, request: &Request) -> Response {
        match self.try_generate(request) {
            Ok(config) => Response { config: Some(config), diagnostics: Vec::new() },
            Err(failed) => Response { config: None, diagnostics: failure(&request.type_name, failed) },
        }
    }

    fn try_generate(&self, request: &Request) -> Result<proto::DynamicValue, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let state = decode(request.state.as_ref(), &info.ty, "state")?;
        let config = resource.generate(in_block(&info.schema.block, state))?;
        Ok(encode(&config, &info.ty, "generated configuration")?)
    }
}

/// What a user could have written, and would have had to.
fn in_block(block: &Block, value: Value) -> Value {
    each_object(value, &|mut object| {
        in_attributes(&block.attributes, &mut object);
        for nested in &block.blocks {
            if let Some(value) = object.get_mut(&nested.name) {
                *value = in_block(&nested.block, std::mem::take(value));
            }
        }
        object
    })
}

fn in_attributes(attributes: &[Attribute], object: &mut std::collections::BTreeMap<String, Value>) {
    for attribute in attributes {
        let Some(value) = object.get_mut(&attribute.name) else { continue };
        let written = (attribute.required || attribute.optional)
            && !attribute.write_only
            && (attribute.required || attribute.deprecated.is_none())
            // A secret in a generated file would be one more place where it leaks.
            && (attribute.required || !attribute.sensitive)
            && attribute.default.as_ref() != Some(&*value);
        if !written {
            *value = Value::Null;
        } else if let Shape::Nested(nested) = &attribute.shape {
            *value = each_object(std::mem::take(value), &|mut object| {
                in_attributes(&nested.attributes, &mut object);
                object
            });
        }
    }
}

/// The object itself, or each object of a collection.
fn each_object(
    value: Value,
    change: &dyn Fn(std::collections::BTreeMap<String, Value>) -> std::collections::BTreeMap<String, Value>,
) -> Value {
    let each = |elements: Vec<Value>| elements.into_iter().map(|value| each_object(value, change)).collect();
    match value {
        Value::Object(object) => Value::Object(change(object)),
        Value::List(elements) => Value::List(each(elements)),
        Value::Tuple(elements) => Value::Tuple(each(elements)),
        Value::Set(elements) => Value::set(elements.into_iter().map(|value| each_object(value, change))),
        Value::Map(elements) => {
            Value::Map(elements.into_iter().map(|(key, value)| (key, each_object(value, change))).collect())
        }
        other => other,
    }
}
