//! Scalars: moments, and the opaque documents.

use std::collections::BTreeMap;

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};

/// RFC 3339 with milliseconds; kept as wall milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DateTime(pub(crate) u64);

/// Text form of a wall time.
pub(crate) fn rfc3339(at: u64) -> String {
    let moment = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    moment.map_or_else(|| "1970-01-01T00:00:00.000Z".to_owned(), |moment| format!("{moment:.3}"))
}

/// Wall milliseconds of an RFC 3339 text.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_millisecond()).ok()
}

#[Scalar(name = "DateTime")]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => {
                parse_time(text).map(Self).ok_or_else(|| InputValueError::custom("DateTime must be RFC 3339"))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(rfc3339(self.0))
    }
}

/// A whole number that may not fit 32 bits; a number on the wire, not a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BigInt(pub(crate) u64);

#[Scalar(name = "BigInt")]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        let number = match &value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| InputValueError::expected_type(value))
    }

    fn to_value(&self) -> Value {
        Value::from(self.0)
    }
}

macro_rules! document {
    ($(#[$attribute:meta])* $name:ident) => {
        /// An opaque document.
        #[derive(Debug, Clone)]
        pub(crate) struct $name(pub(crate) serde_json::Value);

        $(#[$attribute])*
        impl ScalarType for $name {
            fn parse(value: Value) -> InputValueResult<Self> {
                value.into_json().map(Self).map_err(InputValueError::custom)
            }

            fn to_value(&self) -> Value {
                Value::from_json(self.0.clone()).unwrap_or_default()
            }
        }
    };
}

document!(
    #[Scalar(name = "JSON")]
    Json
);
document!(
    #[Scalar(name = "EnvironmentConfig")]
    EnvironmentConfig
);
document!(
    #[Scalar(name = "DeploymentMeta")]
    DeploymentMeta
);
document!(
    #[Scalar(name = "ServiceInstanceLimit")]
    ServiceInstanceLimit
);

/// Names and values.
#[derive(Debug, Clone)]
pub(crate) struct EnvironmentVariables(pub(crate) BTreeMap<String, String>);

#[Scalar(name = "EnvironmentVariables")]
impl ScalarType for EnvironmentVariables {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::Object(map) = value else { return Err(InputValueError::expected_type(value)) };
        map.into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name.to_string(), text)),
                Value::Number(number) => Ok((name.to_string(), number.to_string())),
                Value::Boolean(flag) => Ok((name.to_string(), flag.to_string())),
                _ => Err(InputValueError::custom(format!("variable \"{name}\" must be a string"))),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn to_value(&self) -> Value {
        Value::Object(
            self.0
                .iter()
                .map(|(name, value)| (async_graphql::Name::new(name), Value::String(value.clone())))
                .collect(),
        )
    }
}
