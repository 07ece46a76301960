//! The words that every Spectra crate shares: digests, image references, secrets, durations, identifiers,
//! exit and error codes.
//!
//! Nothing here performs I/O or knows an async runtime. A value that exists is valid: text is parsed once, at
//! the edge, and whatever a type promises (a digest, a non-empty id, a duration with a unit) needs no second
//! look further in.

mod digest;
mod duration;
mod error_chain;
mod error_code;
mod exit_code;
mod id;
mod image;
mod redact;
mod safe_url;
mod secret;
mod text;

pub use digest::{Algorithm, Digest, DigestError};
pub use duration::{HumanDuration, HumanDurationError};
pub use error_chain::error_chain;
pub use error_code::ErrorCode;
pub use exit_code::ExitCode;
pub use id::{DeploymentId, EnvironmentId, IdError, ProjectId, ServiceId, WorkspaceId};
pub use image::{DEFAULT_REGISTRY, ImageRef, ImageRefError, PinnedImage};
pub use redact::{REDACTED, Redactor};
pub use safe_url::{SafeUrl, SafeUrlError};
pub use secret::{Secret, SecretValue};
