//! From schemas to types, and to the values that stand for "nothing written".

use std::collections::BTreeMap;

use crate::schema::{Attribute, Block, NestedBlock, NestedObject, Nesting, Schema, Shape};
use crate::{Type, Value};

impl Schema {
    /// The type of configuration, plan and state.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        self.block.implied_type()
    }
}

impl Block {
    /// The type of a value of this block: an object of its attributes and nested blocks.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        let mut types = attribute_types(&self.attributes);
        types.extend(self.blocks.iter().map(|block| (block.name.clone(), block.implied_type())));
        Type::Object(types)
    }

    /// The value of this block when nothing is written in it: attributes are null, and blocks are absent.
    #[must_use]
    pub fn empty_value(&self) -> Value {
        let attributes = self.attributes.iter().map(|attribute| (attribute.name.clone(), Value::Null));
        let blocks = self.blocks.iter().map(|block| (block.name.clone(), block.absent_value()));
        Value::Object(attributes.chain(blocks).collect())
    }

    /// The same value, with every nested block that is null (missing from old state, left out by a provider)
    /// absent the way its nesting demands: an empty collection, or a group of nulls.
    #[must_use]
    pub fn complete(&self, value: Value) -> Value {
        let Value::Object(mut entries) = value else {
            return value;
        };
        for block in &self.blocks {
            if let Some(nested) = entries.get_mut(&block.name) {
                *nested = block.complete(std::mem::take(nested));
            }
        }
        Value::Object(entries)
    }

    /// The same value with every write-only attribute null, as it must be everywhere but in configuration.
    #[must_use]
    pub fn without_write_only(&self, value: Value) -> Value {
        let Value::Object(mut entries) = value else {
            return value;
        };
        null_write_only(&self.attributes, &mut entries);
        for nested in &self.blocks {
            if let Some(value) = entries.get_mut(&nested.name) {
                let part = std::mem::take(value);
                *value = each_object(nested.nesting, part, &|value| nested.block.without_write_only(value));
            }
        }
        Value::Object(entries)
    }

    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The nested block of this name.
    #[must_use]
    pub fn nested_block(&self, name: &str) -> Option<&NestedBlock> {
        self.blocks.iter().find(|block| block.name == name)
    }
}

impl NestedBlock {
    /// The type of all blocks of this name together. Blocks in a list or map with anything dynamic inside may
    /// each be of another type: the whole is then of dynamic type, and really a tuple or an object.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        let element = self.block.implied_type();
        match self.nesting {
            Nesting::Single | Nesting::Group => element,
            Nesting::List | Nesting::Map if element.contains_dynamic() => Type::Dynamic,
            Nesting::List => Type::list(element),
            Nesting::Map => Type::map(element),
            Nesting::Set => Type::set(element),
        }
    }

    /// The value when no such block is written.
    #[must_use]
    pub fn absent_value(&self) -> Value {
        let dynamic = self.implied_type() == Type::Dynamic;
        match self.nesting {
            Nesting::Single => Value::Null,
            Nesting::Group => self.block.empty_value(),
            Nesting::List if dynamic => Value::dynamic(Type::Tuple(Vec::new()), Value::Tuple(Vec::new())),
            Nesting::Map if dynamic => {
                Value::dynamic(Type::Object(BTreeMap::new()), Value::Object(BTreeMap::new()))
            }
            Nesting::List => Value::List(Vec::new()),
            Nesting::Set => Value::Set(Vec::new()),
            Nesting::Map => Value::Map(BTreeMap::new()),
        }
    }

    fn complete(&self, value: Value) -> Value {
        match value {
            value if value.is_null() => self.absent_value(),
            Value::List(elements) => {
                Value::List(elements.into_iter().map(|value| self.block.complete(value)).collect())
            }
            Value::Set(elements) => Value::set(elements.into_iter().map(|value| self.block.complete(value))),
            Value::Map(entries) => Value::Map(
                entries.into_iter().map(|(key, value)| (key, self.block.complete(value))).collect(),
            ),
            object @ Value::Object(_) => self.block.complete(object),
            // A tuple or object of dynamic type carries the types of its elements: it is as it is.
            other => other,
        }
    }
}

impl Shape {
    /// The type of the values.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        match self {
            Self::Type(ty) => ty.clone(),
            Self::Nested(nested) => nested.implied_type(),
        }
    }
}

impl NestedObject {
    /// The type of one object, or of the collection of them.
    #[must_use]
    pub fn implied_type(&self) -> Type {
        let element = Type::Object(attribute_types(&self.attributes));
        match self.nesting {
            Nesting::Single | Nesting::Group => element,
            Nesting::List => Type::list(element),
            Nesting::Set => Type::set(element),
            Nesting::Map => Type::map(element),
        }
    }
}

fn null_write_only(attributes: &[Attribute], entries: &mut BTreeMap<String, Value>) {
    for attribute in attributes {
        let Some(value) = entries.get_mut(&attribute.name) else { continue };
        if attribute.write_only {
            *value = Value::Null;
        } else if let Shape::Nested(nested) = &attribute.shape {
            let part = std::mem::take(value);
            *value = each_object(nested.nesting, part, &|value| match value {
                Value::Object(mut entries) => {
                    null_write_only(&nested.attributes, &mut entries);
                    Value::Object(entries)
                }
                other => other,
            });
        }
    }
}

/// Changes every object of a nested attribute, or of blocks of one name.
fn each_object(nesting: Nesting, value: Value, change: &dyn Fn(Value) -> Value) -> Value {
    match (nesting, value) {
        (Nesting::Single | Nesting::Group, value) => change(value),
        (_, Value::List(elements)) => Value::List(elements.into_iter().map(change).collect()),
        (_, Value::Tuple(elements)) => Value::Tuple(elements.into_iter().map(change).collect()),
        (_, Value::Set(elements)) => Value::set(elements.into_iter().map(change)),
        (_, Value::Map(entries)) => {
            Value::Map(entries.into_iter().map(|(key, value)| (key, change(value))).collect())
        }
        (Nesting::Map, Value::Object(entries)) => {
            Value::Object(entries.into_iter().map(|(key, value)| (key, change(value))).collect())
        }
        (_, Value::Dynamic(inner)) => {
            let (ty, value) = *inner;
            Value::dynamic(ty, each_object(nesting, value, change))
        }
        (_, other) => other,
    }
}

fn attribute_types(attributes: &[Attribute]) -> BTreeMap<String, Type> {
    attributes.iter().map(|attribute| (attribute.name.clone(), attribute.shape.implied_type())).collect()
}
