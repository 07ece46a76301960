//! From the adapters' errors to what the person at Terraform reads.

use std::fmt::Display;
use std::str::FromStr;

use spectra_types::{Redactor, error_chain};
use tfplugin::{Attr, Diagnostic, Text};

/// What Railway said, what state things were left in, and what to do.
pub(crate) fn railway(summary: impl Into<String>, error: &spectra_railway::Error, left: &str) -> Diagnostic {
    let mut detail = format!("{} [{}].\n\n{left}", sentence(&error_chain(error)), error.code());
    if let Some(hint) = error.hint() {
        detail.push_str("\n\n");
        detail.push_str(&sentence(hint));
        detail.push('.');
    }
    // Railway's words may quote what was sent.
    Diagnostic::error(summary, Redactor::global().redact(&detail).into_owned())
}

/// The id of an object that a failed creation made: state has to keep it, or nobody ever deletes it.
pub(crate) fn left_behind<T: FromStr + Display>(error: &spectra_railway::Error) -> Attr<Text<T>> {
    error.left_behind().and_then(|id| id.parse::<T>().ok()).map(|id| Text::new(id)).into()
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

/// What a failed creation made is in state.
pub(crate) const LEFT_BEHIND: &str =
    "It exists on Railway and is in state, marked as tainted: the next apply replaces it.";

/// Nothing was changed on Railway.
pub(crate) const UNCHANGED: &str = "Nothing was changed on Railway.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_begin_with_a_capital() {
        assert_eq!(sentence("it broke."), "It broke");
        assert_eq!(sentence(""), "");
    }
}
