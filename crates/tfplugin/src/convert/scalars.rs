//! Strings, numbers, booleans and values of any type.

use super::private::mismatch;
use super::{AttributeShape, FromValue, ToValue};
use crate::schema::Shape;
use crate::{AttributePath, Diagnostic, Number, Type, Value};

macro_rules! plain_shape {
    ($($rust:ty => $terraform:ident),* $(,)?) => {$(
        impl AttributeShape for $rust {
            fn shape() -> Shape {
                Shape::Type(Type::$terraform)
            }
        }
    )*};
}

plain_shape!(String => String, bool => Bool, i64 => Number, u32 => Number, f64 => Number, Number => Number);

impl FromValue for String {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        match value {
            Value::String(text) => Ok(text.clone()),
            other => Err(mismatch("a string", other, path)),
        }
    }
}

impl ToValue for String {
    fn to_value(&self) -> Value {
        self.as_str().to_value()
    }
}

impl ToValue for str {
    fn to_value(&self) -> Value {
        Value::string(self)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value {
        (**self).to_value()
    }
}

impl FromValue for bool {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        match value {
            Value::Bool(flag) => Ok(*flag),
            other => Err(mismatch("a bool", other, path)),
        }
    }
}

impl ToValue for bool {
    fn to_value(&self) -> Value {
        Value::Bool(*self)
    }
}

impl FromValue for Number {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        match value {
            Value::Number(number) => Ok(number.clone()),
            other => Err(mismatch("a number", other, path)),
        }
    }
}

impl ToValue for Number {
    fn to_value(&self) -> Value {
        Value::Number(self.clone())
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        let number = Number::from_value(value, path)?;
        number.to_i64().ok_or_else(|| narrow(&number, "a whole number between -2^63 and 2^63-1", path))
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        let number = Number::from_value(value, path)?;
        number
            .to_i64()
            .and_then(|whole| Self::try_from(whole).ok())
            .ok_or_else(|| narrow(&number, "a whole number between 0 and 4294967295", path))
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        let number = Number::from_value(value, path)?;
        number.to_f64().ok_or_else(|| narrow(&number, "a number of at most 15 significant digits", path))
    }
}

fn narrow(number: &Number, expected: &str, path: &AttributePath) -> Diagnostic {
    Diagnostic::error("Number out of range", format!("`{path}` must be {expected}, not {number}."))
        .at(path.clone())
}

macro_rules! number_value {
    ($($rust:ty),*) => {$(
        impl ToValue for $rust {
            fn to_value(&self) -> Value {
                Value::Number(Number::from(*self))
            }
        }
    )*};
}

number_value!(i32, i64, u32, u64);

/// NaN and infinities have no place in Terraform (NaN crashes it): they become null.
impl ToValue for f64 {
    fn to_value(&self) -> Value {
        Number::try_from(*self).map_or(Value::Null, Value::Number)
    }
}

impl FromValue for Value {
    fn from_value(value: &Value, _: &AttributePath) -> Result<Self, Diagnostic> {
        Ok(value.clone())
    }
}

impl ToValue for Value {
    fn to_value(&self) -> Value {
        self.clone()
    }
}

impl AttributeShape for Value {
    const ACCEPTS_NULL: bool = true;
    const ACCEPTS_UNKNOWN: bool = true;

    fn shape() -> Shape {
        Shape::Type(Type::Dynamic)
    }
}
