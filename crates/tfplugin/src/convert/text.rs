//! Text that means something.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::private::parse_text;
use super::{AttributeShape, FromValue, ToValue};
use crate::schema::{Shape, Validator};
use crate::{AttributePath, Diagnostic, Type, Value};

/// A string attribute with a meaning: the text as the user wrote it, and what it was parsed to.
///
/// It is checked in validation, with the attribute named, and parsed once; the text is kept, so that a plan shows
/// what was written and not a canonical form of it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<T> {
    text: String,
    parsed: T,
}

impl<T> Text<T> {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the text means.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.parsed
    }

    /// What the text means, owned.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.parsed
    }
}

impl<T: fmt::Display> Text<T> {
    /// A value in its canonical form.
    #[must_use]
    pub fn new(parsed: T) -> Self {
        Self { text: parsed.to_string(), parsed }
    }
}

impl<T: fmt::Display> From<T> for Text<T> {
    fn from(parsed: T) -> Self {
        Self::new(parsed)
    }
}

impl<T: FromStr> FromStr for Text<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { parsed: text.parse()?, text: text.to_owned() })
    }
}

impl<T> Deref for Text<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.parsed
    }
}

impl<T> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> fmt::Debug for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl<T: FromStr<Err: fmt::Display>> FromValue for Text<T> {
    fn from_value(value: &Value, path: &AttributePath) -> Result<Self, Diagnostic> {
        parse_text(value, path)
    }
}

impl<T> ToValue for Text<T> {
    fn to_value(&self) -> Value {
        self.text.to_value()
    }
}

impl<T: FromStr<Err: fmt::Display>> AttributeShape for Text<T> {
    fn shape() -> Shape {
        Shape::Type(Type::String)
    }

    fn validators() -> Vec<Validator> {
        vec![Validator { description: format!("a valid {}", words::<T>()), check: check::<T> }]
    }
}

/// The type's name as people read it: `PinnedImage` is a pinned image.
fn words<T>() -> String {
    let name = std::any::type_name::<T>();
    let name = name.rsplit("::").next().unwrap_or(name);
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

fn check<T: FromStr<Err: fmt::Display>>(value: &Value) -> Result<(), String> {
    match value {
        Value::String(text) => text.parse::<T>().map(drop).map_err(|error| error.to_string()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PinnedImage;

    #[test]
    fn type_names_read_as_words() {
        assert_eq!(words::<PinnedImage>(), "pinned image");
        assert_eq!(words::<u8>(), "u8");
    }
}
