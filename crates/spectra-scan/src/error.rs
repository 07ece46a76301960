//! What can go wrong.

use std::{io, path::PathBuf, time::Duration};

use spectra_types::ErrorCode;

/// An error of this crate. The text says what was attempted on which object; the cause is in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A layer cannot be read, or is no tar.
    #[error("cannot look into layer `{digest}`")]
    Layer {
        /// The layer's digest.
        digest: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image is larger than is looked into.
    #[error("the image has more than {limit} {what}; that is not looked into")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// None of the programs that could do it is there.
    #[error("cannot {attempt}: {missing}")]
    NoTool {
        /// What was attempted.
        attempt: &'static str,
        /// What is not there, as a clause.
        missing: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A program did not start, failed, or took too long. What it was to find out is not known.
    #[error("`{program}` failed: {reason}")]
    ToolFailed {
        /// The program.
        program: String,
        /// How it ended, and its last words.
        reason: String,
    },
    /// A program took too long and was ended.
    #[error("`{program}` was ended after {} s", limit.as_secs())]
    ToolTimeout {
        /// The program.
        program: String,
        /// How long it had.
        limit: Duration,
    },
    /// A program's output, or a report, is not what it should be.
    #[error("cannot read {what}: {reason}")]
    Report {
        /// The report, as a phrase.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A file of waivers cannot be used.
    #[error("cannot use the waivers in `{}`: {reason}", path.display())]
    Waivers {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The history of a repository cannot be read.
    #[error("cannot read the history of `{}`: {reason}", path.display())]
    History {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// The stable code, for documentation and scripts.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Io { .. } => "SPX-360",
            Self::Layer { .. } => "SPX-361",
            Self::TooLarge { .. } => "SPX-362",
            Self::NoTool { .. } => "SPX-363",
            Self::ToolFailed { .. } => "SPX-364",
            Self::ToolTimeout { .. } => "SPX-365",
            Self::Report { .. } => "SPX-366",
            Self::Waivers { .. } => "SPX-367",
            Self::History { .. } => "SPX-368",
        })
    }

    /// Advice that follows from the kind of error, if there is any.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoTool { advice, .. } => Some(advice),
            Self::ToolFailed { .. } => {
                Some("what it was to find out is not known: a failed scan is not a clean one")
            }
            Self::ToolTimeout { .. } => Some("give it longer: `--timeout`"),
            Self::Waivers { .. } => Some(
                "a waiver is `[[waiver]]` with `id`, `reason`, `expires = \"2027-01-31\"`, and as wished `package` and `approved-by`",
            ),
            _ => None,
        }
    }

    /// Whether what was given, and not what was found, is wrong.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::Waivers { .. })
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn report(what: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Report { what: what.into(), reason: reason.to_string() }
    }
}
