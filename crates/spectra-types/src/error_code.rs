//! Stable codes of errors.

use std::fmt;

/// A code such as `SPX-101` that stays the same when the wording of an error changes, so that scripts,
/// documentation and people searching can rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(&'static str);

impl ErrorCode {
    /// Makes a code.
    ///
    /// # Panics
    ///
    /// Panics unless `code` is `SPX-` and three digits; used in constants, so the compiler reports it.
    #[must_use]
    pub const fn new(code: &'static str) -> Self {
        let bytes = code.as_bytes();
        assert!(
            bytes.len() == 7
                && bytes[0] == b'S'
                && bytes[1] == b'P'
                && bytes[2] == b'X'
                && bytes[3] == b'-'
                && bytes[4].is_ascii_digit()
                && bytes[5].is_ascii_digit()
                && bytes[6].is_ascii_digit(),
            "an error code is `SPX-` and three digits"
        );
        Self(code)
    }

    /// The code as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl serde::Serialize for ErrorCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::ErrorCode;

    #[test]
    fn shape_is_checked() {
        assert_eq!(ErrorCode::new("SPX-042").to_string(), "SPX-042");
        assert!(std::panic::catch_unwind(|| ErrorCode::new("SPX-42")).is_err());
        assert!(std::panic::catch_unwind(|| ErrorCode::new("E0042-x")).is_err());
    }
}
