//! What can be wrong with an archive.

use std::io;

/// Why an archive is not read on. The text is a clause about the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It ends inside an entry or a header.
    #[error("it is cut off")]
    CutOff,
    /// It is no tar, damaged, or can be read in two ways.
    #[error("{0}")]
    Malformed(String),
    /// Something that would be held is too long. Nothing of it was read.
    #[error("the length of {what} is more than {limit} bytes")]
    TooLong {
        /// What it is, such as `a name`.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// What is read from has failed, in its own words.
    #[error(transparent)]
    Read(io::Error),
}

impl Error {
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Read(error) => error,
            Error::CutOff => Self::new(io::ErrorKind::UnexpectedEof, error),
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
