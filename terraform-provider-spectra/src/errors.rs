//! From the adapters' errors to what the person at Terraform reads.

use std::error::Error;

use tfplugin::{Attr, Diagnostic};

/// The error and its causes in one line; a cause that the text already names is not repeated.
pub(crate) fn chain(error: &dyn Error) -> String {
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

/// What Railway said, what state things were left in, and what to do.
pub(crate) fn railway(summary: impl Into<String>, error: &spectra_railway::Error, left: &str) -> Diagnostic {
    let mut detail = format!("{} [{}].\n\n{left}", sentence(&chain(error)), error.code());
    if let Some(hint) = error.hint() {
        detail.push_str("\n\n");
        detail.push_str(&sentence(hint));
        detail.push('.');
    }
    Diagnostic::error(summary, detail)
}

/// Upper case at the beginning, no full stop at the end.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// The value of an attribute that is known by the time this is asked: required ones in apply, ids in state.
pub(crate) fn known<T: Clone>(attribute: &Attr<T>, name: &str) -> Result<T, Diagnostic> {
    attribute.clone().require(name)
}

/// Nothing was changed on Railway.
pub(crate) const UNCHANGED: &str = "Nothing was changed on Railway.";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        let inner = io::Error::other("disk full");
        let outer = io::Error::other(format!("cannot write: {inner}"));
        assert_eq!(chain(&outer), "cannot write: disk full");
    }

    #[test]
    fn sentences_begin_with_a_capital() {
        assert_eq!(sentence("it broke."), "It broke");
        assert_eq!(sentence(""), "");
    }
}
