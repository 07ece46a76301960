//! Values that must not be printed.

use std::fmt;

use zeroize::Zeroize;

use crate::{REDACTED, Redactor};

/// A value that a [`Secret`] can hold: it can be wiped, and knows the text that a redactor must look for.
pub trait SecretValue: Zeroize {
    /// The text to remove from whatever the process writes, if the value is text.
    fn as_text(&self) -> Option<&str>;
}

impl SecretValue for String {
    fn as_text(&self) -> Option<&str> {
        Some(self)
    }
}

impl SecretValue for Vec<u8> {
    fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(self).ok()
    }
}

/// A secret value: no `Display`, no `Serialize`, `Debug` prints `[redacted]`, wiped from memory when dropped.
///
/// Creating one registers its text with [`Redactor::global`], so that the last-resort filter on the process's
/// writers knows it. That list is the one place where the text outlives the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T: SecretValue>(T);

impl<T: SecretValue> Secret<T> {
    /// Takes the value and registers it with the process's redactor.
    #[must_use]
    pub fn new(value: T) -> Self {
        if let Some(text) = value.as_text() {
            Redactor::global().register(text);
        }
        Self(value)
    }

    /// Lends the value. Every call is a place to review.
    #[must_use]
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: SecretValue> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: SecretValue> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl<T: SecretValue> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl From<&str> for Secret<String> {
    fn from(value: &str) -> Self {
        Self::new(value.to_owned())
    }
}

/// For command-line arguments; cannot fail.
impl std::str::FromStr for Secret<String> {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(text))
    }
}

impl<'de, T: SecretValue + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_and_the_redactor_learns_it() {
        let secret: Secret<String> = serde_json::from_str("\"correct-horse-battery\"").unwrap();
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "[redacted] Some(\n    [redacted],\n)");
        assert_eq!(secret.expose(), "correct-horse-battery");
        assert_eq!(Redactor::global().redact("got correct-horse-battery!"), "got [redacted]!");
    }
}
