//! `GenerateResourceConfig`: the configuration that an imported object would have been written with.

use std::collections::BTreeMap;

use super::Service;
use super::messages::{decode, encode, failure};
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::generate_resource_config::{Request, Response};
use crate::schema::{Attribute, Block, Rule, Shape};
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
        // After the author, who may have chosen: what still excludes each other would not pass validation.
        let config = choose_in_block(&info.schema.block, config);
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

fn in_attributes(attributes: &[Attribute], object: &mut BTreeMap<String, Value>) {
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

/// Of attributes that exclude each other, the one that the rule names first.
fn choose_in_block(block: &Block, value: Value) -> Value {
    each_object(value, &|mut object| {
        choose(&block.rules, &block.attributes, &mut object);
        for nested in &block.blocks {
            if let Some(value) = object.get_mut(&nested.name) {
                *value = choose_in_block(&nested.block, std::mem::take(value));
            }
        }
        object
    })
}

/// Blocks stay as they are: what is left of one is the author's business.
fn choose(rules: &[Rule], attributes: &[Attribute], object: &mut BTreeMap<String, Value>) {
    let set = |object: &BTreeMap<String, Value>, name: &String| {
        attributes.iter().any(|attribute| attribute.name == *name && !attribute.required)
            && object.get(name).is_some_and(|value| !value.is_null())
    };
    for rule in rules {
        let surplus: Vec<&String> = match rule {
            Rule::ConflictsWith { name, others } if set(object, name) => others.iter().collect(),
            Rule::ExactlyOneOf(names) => names.iter().filter(|name| set(object, name)).skip(1).collect(),
            _ => continue,
        };
        for name in surplus {
            if set(object, name) {
                object.insert(name.clone(), Value::Null);
            }
        }
    }
    for attribute in attributes {
        let Shape::Nested(nested) = &attribute.shape else { continue };
        let Some(value) = object.get_mut(&attribute.name) else { continue };
        *value = each_object(std::mem::take(value), &|mut object| {
            choose(&nested.rules, &nested.attributes, &mut object);
            object
        });
    }
}

/// The object itself, or each object of a collection.
fn each_object(value: Value, change: &dyn Fn(BTreeMap<String, Value>) -> BTreeMap<String, Value>) -> Value {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Attr, Model};

    #[derive(Clone, Model)]
    #[tf(exactly_one_of("image", "source"))]
    struct Job {
        #[tf(optional, computed)]
        image: Attr<String>,
        #[tf(optional, computed)]
        source: Attr<String>,
        #[tf(optional, computed, conflicts_with("schedule"))]
        interval: Attr<i64>,
        #[tf(optional, computed)]
        schedule: Attr<String>,
        #[tf(optional)]
        inner: Attr<Inner>,
    }

    #[derive(Clone, Model)]
    #[tf(exactly_one_of("a", "b", "c"))]
    struct Inner {
        #[tf(optional, computed)]
        a: Attr<String>,
        #[tf(optional, computed)]
        b: Attr<String>,
        #[tf(optional, computed)]
        c: Attr<String>,
    }

    /// The state knew both, and so did the configuration, which then did not pass validation.
    #[test]
    fn of_what_excludes_each_other_one_is_written() {
        let inner = Inner { a: Attr::Null, b: "b".into(), c: "c".into() };
        let job = Job {
            image: "i".into(),
            source: "s".into(),
            interval: 5.into(),
            schedule: "daily".into(),
            inner: inner.into(),
        };
        let chosen = choose_in_block(&Job::block(), crate::testing::to_value(&job).unwrap());
        for (name, expected) in [
            ("image", Value::from("i")),
            ("source", Value::Null),
            ("interval", Value::from(5)),
            ("schedule", Value::Null),
        ] {
            assert_eq!(chosen.get(name), Some(&expected), "{name}");
        }
        let inner = chosen.get("inner").unwrap();
        assert_eq!((inner.get("b"), inner.get("c")), (Some(&"b".into()), Some(&Value::Null)));
    }
}
