//! What can go wrong with a journal.

use std::{io, path::PathBuf};

use spectra_types::ErrorCode;

use crate::{lease::Held, verify::Violations};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// An error of the journal: what was attempted on what, and in which state things are left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no place of a journal.
    #[error("not the place of a journal: {reason}")]
    Location {
        /// Why; does not repeat the text, which may hold a password.
        reason: String,
    },
    /// A file or folder cannot be used.
    #[error("cannot {attempt} `{}`; nothing was recorded", path.display())]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something else where the journal should be.
    #[error("`{location}` is not a journal of Spectra: {reason}; it was left as it is")]
    NotAJournal {
        /// Where.
        location: String,
        /// Why.
        reason: String,
    },
    /// A newer program made or changed the tables.
    #[error("the journal `{location}` has schema {found}, this program knows {known}; it was left as it is")]
    NewerSchema {
        /// Where.
        location: String,
        /// The version that the journal has.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// There is no journal, and none was to be made.
    #[error("there is no journal at `{location}`")]
    Missing {
        /// Where.
        location: String,
    },
    /// Another process keeps the journal to itself for too long.
    #[error(
        "cannot {attempt}: another process holds the journal `{location}` for longer than {} s; nothing was recorded", waited.as_secs()
    )]
    Busy {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        location: String,
        /// How long it was waited for.
        waited: std::time::Duration,
    },
    /// The database answers with an error.
    #[error("cannot {attempt} in the journal `{location}`; nothing was recorded")]
    Database {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        location: String,
        /// What the database says.
        source: Source,
    },
    /// The database server cannot be reached.
    #[error("cannot {attempt}: the journal `{location}` cannot be reached; {}", left(*unsure))]
    Unreachable {
        /// What was attempted.
        attempt: &'static str,
        /// Where.
        location: String,
        /// The connection was lost when the server had been asked to commit: it may have been recorded.
        unsure: bool,
        /// Why.
        source: Source,
    },
    /// The connection would not be safe, or its certificates cannot be used.
    #[error("cannot connect to the journal `{location}`: {reason}")]
    Tls {
        /// Where.
        location: String,
        /// Why.
        reason: String,
    },
    /// The lease is not the current one of its subject any more.
    #[error("the lease {fence} of `{subject}` was lost: {}; nothing was recorded", holds(by.as_deref()))]
    Fenced {
        /// The subject of the lease.
        subject: String,
        /// The fencing number of the lost lease.
        fence: u64,
        /// Who holds the subject now, if anybody does.
        by: Option<Box<Held>>,
    },
    /// The records are not what was written.
    #[error("the journal `{location}` was changed: {violations}")]
    Violated {
        /// Where.
        location: String,
        /// What is wrong.
        violations: Violations,
    },
    /// A row cannot be understood.
    #[error("record {seq} of the journal `{location}` cannot be read: {reason}")]
    Damaged {
        /// Where.
        location: String,
        /// Which record.
        seq: u64,
        /// Why.
        reason: String,
    },
    /// What belongs beside the records is missing or cannot be understood.
    #[error("the journal `{location}` is damaged: {reason}; nothing was recorded")]
    Corrupt {
        /// Where.
        location: String,
        /// What is missing.
        reason: String,
    },
    /// The journal's worker has ended, with its runtime or by a bug.
    #[error("the journal `{location}` is closed; whether the last request was recorded is not known")]
    Closed {
        /// Where.
        location: String,
    },
    /// The file was removed or replaced while it was open.
    #[error("the journal `{}` was removed or replaced while it was in use; nothing was recorded", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// An export cannot be written or read.
    #[error("cannot {attempt} the export of a journal")]
    Export {
        /// What was attempted.
        attempt: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn left(unsure: bool) -> &'static str {
    if unsure {
        "the connection was lost during the commit, so it may have been recorded"
    } else {
        "nothing was recorded"
    }
}

fn holds(by: Option<&Held>) -> String {
    by.map_or_else(
        || "nobody holds the subject now".to_owned(),
        |held| format!("{} holds it with {} since {}", held.holder, held.fence, held.since),
    )
}

impl Error {
    /// The stable code, for documentation and scripts.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::new(match self {
            Self::Location { .. } => "SPX-500",
            Self::File { .. } => "SPX-501",
            Self::NotAJournal { .. } => "SPX-502",
            Self::NewerSchema { .. } => "SPX-503",
            Self::Missing { .. } => "SPX-504",
            Self::Busy { .. } => "SPX-505",
            Self::Database { .. } => "SPX-506",
            Self::Unreachable { .. } => "SPX-507",
            Self::Tls { .. } => "SPX-508",
            Self::Fenced { .. } => "SPX-509",
            Self::Violated { .. } => "SPX-510",
            Self::Damaged { .. } => "SPX-511",
            Self::Corrupt { .. } => "SPX-512",
            Self::Closed { .. } => "SPX-513",
            Self::Replaced { .. } => "SPX-514",
            Self::Export { .. } => "SPX-515",
        })
    }

    /// Advice that follows from the kind of error, if there is any.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Location { .. } => Some(
                "write `sqlite://.spectra/journal.db`, `sqlite:///absolute/path` or `postgres://host/database`",
            ),
            Self::File { .. } => {
                Some("choose a place that this user may write to, or a database: `postgres://host/database`")
            }
            Self::NotAJournal { .. } => Some("choose another file or database for the journal"),
            Self::NewerSchema { .. } => Some("install the Spectra version that wrote it, or a newer one"),
            Self::Missing { .. } => {
                Some("check the URL of the journal; the first command that records something creates it")
            }
            Self::Busy { .. } => {
                Some("find a process that is stopped in the middle of a write, and let it go on or end it")
            }
            Self::Unreachable { .. } => {
                Some("check host, port, name, password and the network; then run the command again")
            }
            Self::Tls { .. } => Some(
                "use `sslmode=verify-full` with `sslrootcert=FILE` for a private authority; `sslmode=disable` gives up encryption",
            ),
            Self::Fenced { .. } => {
                Some("another run took over; look at it before anything else is tried on the same subject")
            }
            Self::Violated { .. } | Self::Damaged { .. } | Self::Corrupt { .. } => Some(
                "keep a copy of the journal as evidence, and compare it with the last export that verifies",
            ),
            Self::Replaced { .. } => Some("run the command again; find out what removes the file"),
            Self::Database { .. } => Some(
                "see what the database says: a full disk, a file or table that this user may only read, a limit",
            ),
            Self::Closed { .. } | Self::Export { .. } => None,
        }
    }

    /// Whether the same call may succeed later, without anybody changing anything.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Unreachable { .. })
    }
}
