//! The types of Terraform values.

use std::collections::BTreeMap;
use std::fmt;

use crate::codec::json::text::{Json, Syntax, parse, write_string};
use crate::value::text::nfc;

/// The type of a [`Value`](crate::Value), as Terraform's type system has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// `string`
    String,
    /// `number`, of any size and precision.
    Number,
    /// `bool`
    Bool,
    /// `any`: the value carries its own type.
    Dynamic,
    /// `list(T)`
    List(Box<Type>),
    /// `set(T)`
    Set(Box<Type>),
    /// `map(T)`
    Map(Box<Type>),
    /// `tuple([T, …])`
    Tuple(Vec<Type>),
    /// `object({ name = T, … })`
    Object(BTreeMap<String, Type>),
}

impl Type {
    /// `list(element)`
    #[must_use]
    pub fn list(element: Type) -> Self {
        Self::List(Box::new(element))
    }

    /// `set(element)`
    #[must_use]
    pub fn set(element: Type) -> Self {
        Self::Set(Box::new(element))
    }

    /// `map(element)`
    #[must_use]
    pub fn map(element: Type) -> Self {
        Self::Map(Box::new(element))
    }

    /// `object(attributes)`
    pub fn object<N: Into<String>>(attributes: impl IntoIterator<Item = (N, Type)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, ty)| (name.into(), ty)).collect())
    }
}

/// Why bytes are not the JSON form of a [`Type`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypeError {
    /// Not JSON.
    #[error("the type is not JSON: {0}")]
    Json(#[from] Syntax),
    /// A name that is no type. Terraform core ends abruptly when it gets one of these.
    #[error("`{0}` is not a type")]
    UnknownName(String),
    /// JSON of another shape.
    #[error("{0}")]
    Shape(&'static str),
    /// Types inside types, deeper than [`Type::MAX_DEPTH`].
    #[error("the type is nested deeper than {max} levels", max = Type::MAX_DEPTH)]
    TooDeep,
}

impl Type {
    /// How deep types may be nested on the wire.
    pub const MAX_DEPTH: usize = 64;

    /// The JSON form that schemas and values of dynamic type carry: `["list","string"]`.
    #[must_use]
    pub fn to_json_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        out
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let container = |name: &str, out: &mut Vec<u8>, inner: &dyn Fn(&mut Vec<u8>)| {
            out.extend_from_slice(b"[\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\",");
            inner(out);
            out.push(b']');
        };
        match self {
            Self::String => out.extend_from_slice(b"\"string\""),
            Self::Number => out.extend_from_slice(b"\"number\""),
            Self::Bool => out.extend_from_slice(b"\"bool\""),
            Self::Dynamic => out.extend_from_slice(b"\"dynamic\""),
            Self::List(element) => container("list", out, &|out| element.write_json(out)),
            Self::Set(element) => container("set", out, &|out| element.write_json(out)),
            Self::Map(element) => container("map", out, &|out| element.write_json(out)),
            Self::Tuple(elements) => container("tuple", out, &|out| {
                out.push(b'[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    element.write_json(out);
                }
                out.push(b']');
            }),
            Self::Object(attributes) => container("object", out, &|out| {
                out.push(b'{');
                for (index, (name, ty)) in attributes.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(out, name);
                    out.push(b':');
                    ty.write_json(out);
                }
                out.push(b'}');
            }),
        }
    }

    /// Reads the JSON form. An object's list of optional attributes is accepted and has no effect: on the wire
    /// every attribute is present.
    pub fn from_json_bytes(bytes: &[u8]) -> Result<Self, TypeError> {
        Self::from_json(parse(bytes)?)
    }

    pub(crate) fn from_json(json: Json) -> Result<Self, TypeError> {
        Self::from_json_at(json, 0)
    }

    fn from_json_at(json: Json, depth: usize) -> Result<Self, TypeError> {
        if depth >= Self::MAX_DEPTH {
            return Err(TypeError::TooDeep);
        }
        let members = match json {
            Json::String(name) => {
                return match name.as_str() {
                    "string" => Ok(Self::String),
                    "number" => Ok(Self::Number),
                    "bool" => Ok(Self::Bool),
                    "dynamic" => Ok(Self::Dynamic),
                    _ => Err(TypeError::UnknownName(name)),
                };
            }
            Json::Array(members) => members,
            _ => return Err(TypeError::Shape("a type is a name, or a list of a name and what is inside")),
        };
        let mut members = members.into_iter();
        let (Some(Json::String(name)), Some(inner)) = (members.next(), members.next()) else {
            return Err(TypeError::Shape("a type that holds others is a list of a name and what is inside"));
        };
        let optional = members.next();
        if members.next().is_some() || (optional.is_some() && name != "object") {
            return Err(TypeError::Shape("a type has more members than it can have"));
        }
        match (name.as_str(), inner) {
            ("list", inner) => Ok(Self::list(Self::from_json_at(inner, depth + 1)?)),
            ("set", inner) => Ok(Self::set(Self::from_json_at(inner, depth + 1)?)),
            ("map", inner) => Ok(Self::map(Self::from_json_at(inner, depth + 1)?)),
            ("tuple", Json::Array(elements)) => elements
                .into_iter()
                .map(|element| Self::from_json_at(element, depth + 1))
                .collect::<Result<_, _>>()
                .map(Self::Tuple),
            ("object", Json::Object(attributes)) => {
                let mut types = BTreeMap::new();
                for (name, ty) in attributes {
                    if types.insert(nfc(name), Self::from_json_at(ty, depth + 1)?).is_some() {
                        return Err(TypeError::Shape("two attributes of an object have the same name"));
                    }
                }
                check_optional(optional, &types)?;
                Ok(Self::Object(types))
            }
            ("tuple" | "object", _) => {
                Err(TypeError::Shape("a tuple holds a list of types, and an object holds types by name"))
            }
            _ => Err(TypeError::UnknownName(name)),
        }
    }

    /// Whether a place of dynamic type is anywhere inside.
    #[must_use]
    pub fn contains_dynamic(&self) -> bool {
        match self {
            Self::Dynamic => true,
            Self::String | Self::Number | Self::Bool => false,
            Self::List(element) | Self::Set(element) | Self::Map(element) => element.contains_dynamic(),
            Self::Tuple(elements) => elements.iter().any(Self::contains_dynamic),
            Self::Object(attributes) => attributes.values().any(Self::contains_dynamic),
        }
    }
}

/// The third member of an object type names attributes of it.
fn check_optional(optional: Option<Json>, types: &BTreeMap<String, Type>) -> Result<(), TypeError> {
    match optional {
        None => Ok(()),
        Some(Json::Array(names))
            if names.iter().all(|name| match name {
                Json::String(name) => types.contains_key(&nfc(name.clone())),
                _ => false,
            }) =>
        {
            Ok(())
        }
        Some(_) => Err(TypeError::Shape("the optional attributes of an object are a list of their names")),
    }
}

/// Written as it is in HCL: `map(object({ name = string, port = number }))`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("string"),
            Self::Number => f.write_str("number"),
            Self::Bool => f.write_str("bool"),
            Self::Dynamic => f.write_str("any"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Set(element) => write!(f, "set({element})"),
            Self::Map(element) => write!(f, "map({element})"),
            Self::Tuple(elements) => {
                f.write_str("tuple([")?;
                for (index, element) in elements.iter().enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{element}")?;
                }
                f.write_str("])")
            }
            Self::Object(attributes) if attributes.is_empty() => f.write_str("object({})"),
            Self::Object(attributes) => {
                f.write_str("object({ ")?;
                for (index, (name, ty)) in attributes.iter().enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{name} = {ty}")?;
                }
                f.write_str(" })")
            }
        }
    }
}
