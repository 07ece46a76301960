//! How the API says no: a message and a code, answered with HTTP 200.

use async_graphql::ErrorExtensions as _;

/// A business error. Deliberately not `Display`: it becomes a GraphQL error in one place, with its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) code: Option<&'static str>,
}

impl Refusal {
    /// Most business errors carry this code; only the message tells them apart.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: Some("INTERNAL_SERVER_ERROR") }
    }

    /// `X not found`.
    pub(crate) fn not_found(kind: &str) -> Self {
        Self::internal(format!("{kind} not found"))
    }

    /// No right, or no such object any more, or an empty id: the API does not say which.
    pub(crate) fn not_authorized() -> Self {
        Self { message: "Not Authorized".to_owned(), code: Some("FORBIDDEN") }
    }

    /// A value that cannot be.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: Some("BAD_USER_INPUT") }
    }
}

impl From<Refusal> for async_graphql::Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(refusal.message);
        match refusal.code {
            Some(code) => error.extend_with(|_, extensions| extensions.set("code", code)),
            None => error,
        }
    }
}
