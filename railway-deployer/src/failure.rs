//! Why a command failed, and the exit code that says so.

use std::{error::Error as StdError, io, path::PathBuf};

use spectra_railway::{ConfigError, ErrorKind};
use spectra_types::{ErrorCode, ExitCode, PinnedImage};

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments make no sense together or name something that does not exist.
    #[error("{message}")]
    Usage { message: String },
    /// A file operation or the like.
    #[error("cannot {action}")]
    Io { action: String, source: io::Error },
    /// A result that could not be printed.
    #[error("cannot write to standard output")]
    Output { source: io::Error },
    /// Images and registries.
    #[error(transparent)]
    Image(#[from] spectra_oci::Error),
    /// An image was copied, and what belongs to it was not, or not all.
    #[error("`{image}` is there, but not all that belongs to it, and no tag was set")]
    Companions { image: Box<PinnedImage>, source: spectra_oci::Error },
    /// Keys, signatures and policies about them.
    #[error(transparent)]
    Signing(#[from] spectra_sign::Error),
    /// A key would be replaced.
    #[error("cannot write `{}`: it exists, and keys are never replaced", path.display())]
    KeyExists { path: PathBuf },
    /// Nobody could be asked for the signatures of an image.
    #[error(transparent)]
    SignaturesUnavailable(#[from] spectra_sign::Unavailable),
    /// An image is not signed as it has to be. What was found has been printed.
    #[error("`{image}` is not signed as it has to be: {}", unmet.join("; "))]
    Unsigned { image: PinnedImage, unmet: Vec<String>, lacks: spectra_sign::Lacks },
    /// Keyless signatures.
    #[cfg(feature = "keyless")]
    #[error(transparent)]
    Keyless(#[from] spectra_keyless::Error),
    /// A keyless signature was not made.
    #[cfg(feature = "keyless")]
    #[error("`{image}` is not signed, and nothing was attached to it")]
    NotSigned { image: PinnedImage, source: Box<spectra_keyless::Error> },
    /// Scanners, and what they found.
    #[error(transparent)]
    Scan(#[from] spectra_scan::Error),
    /// The Railway API.
    #[error(transparent)]
    Railway(#[from] spectra_railway::Error),
    /// A rollout that was not begun, or a journal that says nothing of it.
    #[error("{}", not_begun(.0))]
    Delivery(#[from] spectra_delivery::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] spectra_journal::Error),
    /// Ended by a signal while a rollout is open in the journal.
    #[error("{message}")]
    HandedOver { message: String, hint: String },
    /// The settings of the Railway client.
    #[error(transparent)]
    RailwayConfig(#[from] spectra_railway::ConfigError),
    /// The sandbox does not start.
    #[error(transparent)]
    SandboxStart(#[from] spectra_sandbox::Error),
    /// A running sandbox does not do what it should, or there is none.
    #[error("{message}")]
    SandboxState { message: String, hint: &'static str },
    /// What is asked for does not fit what is there.
    #[error("{message}")]
    State { message: String, hint: &'static str },
    /// Checks failed; they have been printed.
    #[error("{failed} of {total} checks failed")]
    Checks { failed: usize, total: usize },
    /// An `image.toml` is not understood.
    #[error("{message}")]
    Recipe { message: String },
    /// A tool that builds Dockerfiles is missing or failed.
    #[error("{message}")]
    Builder { code: &'static str, message: String, hint: &'static str },
    /// A worker task ended unexpectedly.
    #[error("a worker task ended early")]
    Worker(#[from] tokio::task::JoinError),
    /// A signal.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }

    pub(crate) fn file(action: &str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{action} `{}`", path.into().display());
        move |source| Self::Io { action, source }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into() }
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage { .. }
            | Self::Signing(_)
            | Self::Recipe { .. }
            | Self::Image(spectra_oci::Error::Reference(_) | spectra_oci::Error::Level { .. })
            | Self::Journal(spectra_journal::Error::Location { .. }) => ExitCode::Usage,
            #[cfg(feature = "keyless")]
            Self::Keyless(error) if error.is_usage() => ExitCode::Usage,
            #[cfg(feature = "keyless")]
            Self::NotSigned { source, .. } if source.is_usage() => ExitCode::Usage,
            #[cfg(feature = "keyless")]
            Self::NotSigned { source, .. } if source.is_not_authorised() => ExitCode::NotAuthorised,
            Self::Scan(error) if error.is_usage() => ExitCode::Usage,
            Self::Image(error) | Self::Companions { source: error, .. } if error.is_not_authorised() => {
                ExitCode::NotAuthorised
            }
            Self::SignaturesUnavailable(error)
                if registry(error).is_some_and(spectra_oci::Error::is_not_authorised) =>
            {
                ExitCode::NotAuthorised
            }
            Self::Unsigned { .. } => ExitCode::GateRefused,
            Self::Railway(error) => match error.kind() {
                ErrorKind::Unauthenticated | ErrorKind::Forbidden => ExitCode::NotAuthorised,
                _ => ExitCode::Failed,
            },
            Self::Delivery(error) => error.exit_code(),
            Self::RailwayConfig(ConfigError::MissingToken) => ExitCode::NotAuthorised,
            Self::RailwayConfig(_) => ExitCode::Usage,
            Self::HandedOver { .. } | Self::Interrupted => ExitCode::Interrupted,
            _ => ExitCode::Failed,
        }
    }

    /// The stable code of the error, where its crate has one.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Image(error) | Self::Companions { source: error, .. } => Some(error.code()),
            Self::Signing(error) => Some(error.code()),
            Self::SignaturesUnavailable(_) => Some(spectra_sign::UNAVAILABLE),
            Self::Unsigned { .. } => Some(spectra_sign::UNSIGNED),
            #[cfg(feature = "keyless")]
            Self::Keyless(error) => Some(error.code()),
            #[cfg(feature = "keyless")]
            Self::NotSigned { source, .. } => Some(source.code()),
            Self::Scan(error) => Some(error.code()),
            Self::Railway(error) => Some(error.kind().code()),
            Self::Delivery(error) => Some(error.code()),
            Self::Journal(error) => Some(error.code()),
            // That of files of images, for everything that is read and written here.
            Self::Io { .. } | Self::Output { .. } => Some(ErrorCode::new("SPX-300")),
            Self::KeyExists { .. } => Some(ErrorCode::new("SPX-352")),
            Self::Recipe { .. } => Some(ErrorCode::new("SPX-355")),
            Self::Builder { code, .. } => Some(ErrorCode::new(code)),
            _ => None,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Companions { source: spectra_oci::Error::Exists { .. }, .. } => {
                Some("`--force` replaces it; copying again goes on where this ended")
            }
            Self::Image(error) | Self::Companions { source: error, .. } => error.hint(),
            Self::Signing(error) => error.hint(),
            Self::SignaturesUnavailable(error) => match registry(error) {
                Some(error) => error.hint(),
                None => Some("the registry is slow, or has very much about the image: try again"),
            },
            Self::Unsigned { lacks, .. } => Some(match (lacks.signatures, lacks.attestations) {
                (true, false) => {
                    "sign it with `railway-deployer image sign`, or see above why a signature does not count"
                }
                (false, true) => {
                    "attest it with `railway-deployer image attest`, or see above why an attestation does not count"
                }
                (true, true) => {
                    "sign it with `railway-deployer image sign` and attest it with `railway-deployer image attest`, or see above why \
                     something does not count"
                }
                (false, false) => "the file of `--policy` says which repositories its policies are about",
            }),
            #[cfg(feature = "keyless")]
            Self::Keyless(error) => error.hint(),
            #[cfg(feature = "keyless")]
            Self::NotSigned { source, .. } => source.hint(),
            Self::Scan(error) => error.hint(),
            Self::Railway(error) => error.hint(),
            Self::Delivery(error) => error.hint(),
            Self::Journal(error) => error.hint(),
            Self::HandedOver { hint, .. } => Some(hint),
            Self::SandboxState { hint, .. } | Self::State { hint, .. } | Self::Builder { hint, .. } => {
                Some(hint)
            }
            Self::KeyExists { .. } => Some(
                "name other files with `--output PREFIX`, or move the old pair away: a private key cannot be made again, and what it signed is verified with its public one",
            ),
            Self::Output { .. } => Some(
                "the result alone is lost, and what the command changed is changed; see whether the disk or quota behind standard output is full",
            ),
            Self::Recipe { .. } => Some("docs/cli.md describes the file"),
            _ => None,
        }
    }

    /// The texts of the error and everything below it, a text that repeats its parent's left out.
    pub(crate) fn chain(&self) -> Vec<String> {
        let mut texts = vec![self.to_string()];
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            if texts.last().is_none_or(|last| !last.ends_with(&text)) {
                texts.push(text);
            }
            source = error.source();
        }
        texts
    }
}

/// What became of a rollout that Railway was asked about in vain: the question may have looked like a change.
fn not_begun(error: &spectra_delivery::Error) -> String {
    match error {
        spectra_delivery::Error::Railway(_) => format!("nothing was begun and nothing was changed: {error}"),
        error => error.to_string(),
    }
}

/// The registry's error below.
fn registry(error: &spectra_sign::Unavailable) -> Option<&spectra_oci::Error> {
    error.source.downcast_ref()
}
