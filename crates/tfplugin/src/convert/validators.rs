//! The checks of single values that `validate(…)` names.

use std::sync::OnceLock;

use regex_lite::Regex;

use super::AttributeShape;
use crate::Value;

/// The validators of the element type on each known element.
pub(crate) fn check_elements<T: AttributeShape>(value: &Value) -> Result<(), String> {
    let validators = T::validators();
    each_known(value, |element| validators.iter().try_for_each(|validator| (validator.check)(element)))
}

/// Runs a check on the value itself or, in a collection, on each known element; the error says which.
fn each_known(value: &Value, check: impl Fn(&Value) -> Result<(), String>) -> Result<(), String> {
    match value {
        Value::Null | Value::Unknown(_) => Ok(()),
        Value::List(elements) | Value::Tuple(elements) => elements
            .iter()
            .enumerate()
            .filter(|(_, element)| !matches!(element, Value::Null | Value::Unknown(_)))
            .try_for_each(|(index, element)| {
                check(element).map_err(|error| format!("element {index}: {error}"))
            }),
        Value::Set(elements) => elements
            .iter()
            .filter(|element| !matches!(element, Value::Null | Value::Unknown(_)))
            .try_for_each(check),
        Value::Map(map) => map
            .iter()
            .filter(|(_, element)| !matches!(element, Value::Null | Value::Unknown(_)))
            .try_for_each(|(key, element)| {
                check(element).map_err(|error| format!("element {key:?}: {error}"))
            }),
        Value::Dynamic(inner) => each_known(&inner.1, check),
        known => check(known),
    }
}

/// `range(a..=b)`: numbers, or each number of a collection.
#[expect(clippy::needless_pass_by_value, reason = "derived code makes the bounds in the call")]
pub fn range(value: &Value, low: Option<Value>, high: Option<Value>) -> Result<(), String> {
    each_known(value, |value| {
        let Value::Number(number) = value else { return Ok(()) };
        let inside = |bound: &Option<Value>, outside: std::cmp::Ordering| match bound {
            Some(Value::Number(bound)) => number.cmp(bound) != outside,
            _ => true,
        };
        if inside(&low, std::cmp::Ordering::Less) && inside(&high, std::cmp::Ordering::Greater) {
            Ok(())
        } else {
            Err(format!("{number} is not {}", describe_range(low.clone(), high.clone())))
        }
    })
}

#[must_use]
pub fn describe_range(low: Option<Value>, high: Option<Value>) -> String {
    match (low, high) {
        (Some(Value::Number(low)), Some(Value::Number(high))) => format!("between {low} and {high}"),
        (Some(Value::Number(low)), _) => format!("at least {low}"),
        (_, Some(Value::Number(high))) => format!("at most {high}"),
        _ => "any number".to_owned(),
    }
}

/// `length(a..=b)`: characters of a string, elements of a collection.
pub fn length(value: &Value, low: Option<Value>, high: Option<Value>) -> Result<(), String> {
    let (length, unit) = match value {
        Value::String(text) => (text.chars().count(), "characters"),
        Value::List(elements) | Value::Set(elements) | Value::Tuple(elements) => (elements.len(), "elements"),
        Value::Map(map) => (map.len(), "elements"),
        _ => return Ok(()),
    };
    let as_number = Value::Number((length as u64).into());
    range(&as_number, low.clone(), high.clone())
        .map_err(|_| format!("it has {length} {unit}, and must have {}", describe_range(low, high)))
}

#[must_use]
pub fn describe_length(low: Option<Value>, high: Option<Value>) -> String {
    format!("length {}", describe_range(low, high))
}

/// `one_of("a", "b")`: a string, or each string of a collection.
pub fn one_of(value: &Value, texts: &[&str]) -> Result<(), String> {
    each_known(value, |value| match value {
        Value::String(text) if !texts.contains(&text.as_str()) => Err(not_one_of(text, texts)),
        _ => Ok(()),
    })
}

#[must_use]
pub fn describe_one_of(texts: &[&str]) -> String {
    format!("one of {}", quoted(texts))
}

#[must_use]
pub fn not_one_of(text: &str, texts: &[&str]) -> String {
    format!("{text:?} is not one of {}", quoted(texts))
}

/// `pattern("^[a-z]+$")`: a string, or each string of a collection. Compiled at the first use.
#[derive(Debug)]
pub struct Pattern {
    text: &'static str,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text, compiled: OnceLock::new() }
    }

    pub fn check(&self, value: &Value) -> Result<(), String> {
        // The macro has compiled it before, with the same engine.
        let compiled = self.compiled.get_or_init(|| Regex::new(self.text).map_err(|error| error.to_string()));
        let pattern = compiled.as_ref().map_err(|error| format!("`{}` is no pattern: {error}", self.text))?;
        each_known(value, |value| match value {
            Value::String(text) if !pattern.is_match(text) => {
                Err(format!("{text:?} does not match `{}`", self.text))
            }
            _ => Ok(()),
        })
    }
}

#[must_use]
pub fn describe_pattern(pattern: &str) -> String {
    format!("matches `{pattern}`")
}

fn quoted(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")
}
