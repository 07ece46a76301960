//! An error with its causes, as one line.

use std::error::Error;

/// The error and its causes in one line; a cause that the text already names is not repeated.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failed {
        text: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn causes_follow_and_are_said_once() {
        let failed = |text| Failed { text, source: std::io::Error::other("disk full") };
        assert_eq!(error_chain(&failed("cannot write")), "cannot write: disk full");
        assert_eq!(error_chain(&failed("cannot write: disk full")), "cannot write: disk full");
    }
}
