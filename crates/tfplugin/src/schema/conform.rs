//! Values as the schema's type has them.

use std::collections::BTreeMap;

use crate::convert::private::mismatch;
use crate::{AttributePath, Diagnostic, Type, Value};

/// Brings a value made by Rust code into the form that `ty` demands: sets without duplicates, objects with every
/// attribute, values of dynamic type with their type. A value of another kind is an error that names its place.
pub(crate) fn conform(value: &Value, ty: &Type, path: &AttributePath) -> Result<Value, Diagnostic> {
    match (ty, value) {
        (_, Value::Null | Value::Unknown(_))
        | (Type::String, Value::String(_))
        | (Type::Number, Value::Number(_))
        | (Type::Bool, Value::Bool(_)) => Ok(value.clone()),
        (Type::Dynamic, Value::Dynamic(inner)) => {
            let (ty, value) = inner.as_ref();
            Ok(Value::Dynamic(Box::new((ty.clone(), conform(value, ty, path)?))))
        }
        (Type::Dynamic, plain) => {
            let (ty, value) = infer(plain);
            Ok(Value::Dynamic(Box::new((ty, value))))
        }
        (_, Value::Dynamic(inner)) => conform(&inner.1, ty, path),
        (Type::List(element), Value::List(values) | Value::Set(values) | Value::Tuple(values)) => values
            .iter()
            .enumerate()
            .map(|(index, value)| conform(value, element, &path.index(index as u64)))
            .collect::<Result<_, _>>()
            .map(Value::List),
        (Type::Set(element), Value::List(values) | Value::Set(values) | Value::Tuple(values)) => {
            let values =
                values.iter().map(|value| conform(value, element, path)).collect::<Result<Vec<_>, _>>()?;
            Ok(Value::set(values))
        }
        (Type::Map(element), Value::Map(values) | Value::Object(values)) => values
            .iter()
            .map(|(key, value)| Ok((key.clone(), conform(value, element, &path.key(key.clone()))?)))
            .collect::<Result<_, _>>()
            .map(Value::Map),
        (Type::Tuple(elements), Value::List(values) | Value::Tuple(values))
            if elements.len() == values.len() =>
        {
            values
                .iter()
                .zip(elements)
                .enumerate()
                .map(|(index, (value, element))| conform(value, element, &path.index(index as u64)))
                .collect::<Result<_, _>>()
                .map(Value::Tuple)
        }
        (Type::Object(attributes), Value::Object(values) | Value::Map(values)) => {
            object(values, attributes, path).map(Value::Object)
        }
        (_, other) => Err(mismatch(&expected(ty), other, path)),
    }
}

fn object(
    values: &BTreeMap<String, Value>,
    attributes: &BTreeMap<String, Type>,
    path: &AttributePath,
) -> Result<BTreeMap<String, Value>, Diagnostic> {
    if let Some(surplus) = values.keys().find(|name| !attributes.contains_key(*name)) {
        let path = path.attribute(surplus.clone());
        return Err(
            Diagnostic::error("Unknown attribute", format!("`{path}` is not in the schema.")).at(path)
        );
    }
    attributes
        .iter()
        .map(|(name, ty)| {
            let value = values.get(name).unwrap_or(&Value::Null);
            Ok((name.clone(), conform(value, ty, &path.attribute(name.clone()))?))
        })
        .collect()
}

/// The type that a value has by itself: collections become tuples and objects, which may mix types.
fn infer(value: &Value) -> (Type, Value) {
    match value {
        Value::Null | Value::Unknown(_) => (Type::Dynamic, value.clone()),
        Value::Bool(_) => (Type::Bool, value.clone()),
        Value::Number(_) => (Type::Number, value.clone()),
        Value::String(_) => (Type::String, value.clone()),
        Value::List(values) | Value::Set(values) | Value::Tuple(values) => {
            let (types, values) = values.iter().map(infer).unzip();
            (Type::Tuple(types), Value::Tuple(values))
        }
        Value::Map(values) | Value::Object(values) => {
            let mut types = BTreeMap::new();
            let mut inner = BTreeMap::new();
            for (name, value) in values {
                let (ty, value) = infer(value);
                types.insert(name.clone(), ty);
                inner.insert(name.clone(), value);
            }
            (Type::Object(types), Value::Object(inner))
        }
        Value::Dynamic(inner) => inner.as_ref().clone(),
    }
}

fn expected(ty: &Type) -> String {
    match ty {
        Type::String => "a string".to_owned(),
        Type::Number => "a number".to_owned(),
        Type::Bool => "a bool".to_owned(),
        Type::Dynamic => "anything".to_owned(),
        Type::List(_) => "a list".to_owned(),
        Type::Set(_) => "a set".to_owned(),
        Type::Map(_) => "a map".to_owned(),
        Type::Tuple(elements) => format!("a tuple of {} elements", elements.len()),
        Type::Object(_) => "an object".to_owned(),
    }
}
