//! Why GitHub could not be asked.

use spectra_types::ErrorCode;

/// GitHub could not be asked. Nothing was changed: it is only read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A variable of the environment is missing or of no use.
    #[error("`{variable}` is {state}")]
    Variable {
        /// Which.
        variable: &'static str,
        /// What is wrong with it. Its value is not repeated.
        state: &'static str,
    },
    /// The client could not be made.
    #[error("no client for `{endpoint}` could be made")]
    Client {
        /// Whom it is for.
        endpoint: String,
        /// Why.
        source: reqwest::Error,
    },
    /// There was no answer.
    #[error("`{what}` of GitHub could not be read")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// Why.
        source: reqwest::Error,
    },
    /// GitHub refused.
    #[error("GitHub answered HTTP {status} to `{what}`: {message}")]
    Refused {
        /// What was asked for.
        what: String,
        /// With which status.
        status: u16,
        /// In its words.
        message: String,
    },
    /// The answer is not what GitHub's documentation says.
    #[error("GitHub's answer to `{what}` cannot be understood")]
    Answer {
        /// What was asked for.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Variable { .. } => ErrorCode::new("SPX-450"),
            Self::Client { .. } => ErrorCode::new("SPX-451"),
            Self::Unreachable { .. } => ErrorCode::new("SPX-452"),
            Self::Refused { .. } => ErrorCode::new("SPX-453"),
            Self::Answer { .. } => ErrorCode::new("SPX-454"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Variable { variable, .. } => match variable.as_bytes() {
                b"GITHUB_TOKEN" => {
                    Some("give the step `GITHUB_TOKEN: ${{ github.token }}`, and the job `actions: read`")
                }
                _ => Some("GitHub Actions sets it; outside of a run leave `GITHUB_RUN_ID` unset"),
            },
            Self::Refused { status: 401 | 403 | 404, .. } => {
                Some("the job needs the permission `actions: read`")
            }
            Self::Unreachable { .. } | Self::Refused { .. } => Some("try again"),
            Self::Client { .. } | Self::Answer { .. } => None,
        }
    }
}
