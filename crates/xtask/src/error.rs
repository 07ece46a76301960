//! Everything that can stop a task, worded for the person who ran it.

use std::path::PathBuf;

/// A task could not be finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A program could not be started at all.
    #[error("cannot start `{program}`: {source}")]
    Spawn { program: String, source: std::io::Error },
    /// A program ended with another exit code than the one the task needs.
    #[error("`{command}` ended with {status}{output}")]
    Failed { command: String, status: String, output: String },
    /// A program ran longer than its limit and was killed.
    #[error("`{command}` did not end within {seconds} s and was killed{output}")]
    TimedOut { command: String, seconds: u64, output: String },
    /// The task is being stopped; no new process may start.
    #[error("`{0}` was not started because this run is being stopped")]
    Closing(String),
    /// Reading or writing a file failed.
    #[error("cannot {action} `{path}`: {source}")]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    /// A request to the sandbox or to a service on it failed.
    #[error("`{method} {url}` failed: {reason}")]
    Http { method: &'static str, url: String, reason: String },
    /// The workspace could not be read.
    #[error("cannot read the workspace: {0}")]
    Metadata(#[from] cargo_metadata::Error),
    /// A program printed something that is not what its contract says.
    #[error("`{source_name}` answered something unexpected: {reason}")]
    Unexpected { source_name: String, reason: String },
    /// No usable Terraform.
    #[error("no Terraform to use: {0}")]
    NoTerraform(String),
    /// Something that the quickstart promises did not hold.
    #[error("the promise `{promise}` does not hold: {found}")]
    Promise { promise: &'static str, found: String },
    /// One or more steps of the suite failed; they were printed.
    #[error("{failed} of {total} steps failed: {names}")]
    Steps { failed: usize, total: usize, names: String },
    /// The plugin handshake or the schema call failed.
    #[error("the provider's start failed: {0}")]
    Handshake(String),
}

impl Error {
    /// A file error with what was attempted.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// A program's answer broke its contract.
    pub(crate) fn unexpected(source_name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Unexpected { source_name: source_name.into(), reason: reason.into() }
    }
}
