//! Why something could not be signed, or a policy could not be read.

use spectra_types::ErrorCode;

use crate::{KeyError, Problem};

/// The code that says that an image is not signed as it has to be.
pub const UNSIGNED: ErrorCode = ErrorCode::new("SPX-335");
/// The code that says that nobody could be asked for an image's signatures.
pub const UNAVAILABLE: ErrorCode = ErrorCode::new("SPX-336");

/// Something could not be signed, or a policy is none. That an image is not signed as it should be is no error of this
/// kind: it is a `Refusal`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key cannot be used.
    #[error("the key {from} cannot be used")]
    Key {
        /// Where it comes from, never what it is.
        from: String,
        /// Why.
        source: KeyError,
    },
    /// A predicate does not fit its type.
    #[error("the predicate {from} is no `{kind}`: {reason}")]
    Predicate {
        /// Where it comes from.
        from: String,
        /// The type.
        kind: String,
        /// Why.
        reason: String,
    },
    /// A policy file cannot be read.
    #[error("the signature policy {from} cannot be read: {reason}")]
    Policy {
        /// Where it comes from.
        from: String,
        /// Why.
        reason: String,
    },
    /// A policy makes no sense.
    #[error("the signature policy {from} makes no sense: {}", list(.problems))]
    PolicyProblems {
        /// Where it comes from.
        from: String,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// A statement cannot be written.
    #[error("the statement cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

fn list(problems: &[Problem]) -> String {
    let lines: Vec<_> =
        problems.iter().map(|problem| format!("`{}`: {}", problem.path, problem.message)).collect();
    lines.join("; ")
}

impl Error {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Key { .. } => "SPX-330",
            Self::Predicate { .. } => "SPX-331",
            Self::Policy { .. } => "SPX-332",
            Self::PolicyProblems { .. } => "SPX-333",
            Self::Encode(_) => "SPX-334",
        })
    }

    /// Advice that follows from the kind of error, if there is any.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Key { source: KeyError::PasswordMissing, .. } => {
                Some("give the password in COSIGN_PASSWORD, or a file that holds it with `--password-file`")
            }
            Self::Key { .. } => Some("`railway-deployer image keygen` makes a pair of keys"),
            _ => None,
        }
    }
}
