//! What is in an image, what is known to be wrong with it, and secrets in source code.
//!
//! Three questions, each answered by the tool of the trade if it is on PATH and else, where that can be done honestly, by this
//! crate:
//!
//! - [`inventory`]: which packages an image holds, as a bill of materials ([`sbom`]); Syft or the package databases.
//! - [`image`]: which vulnerabilities are known ([`image::scan`]); Trivy, Grype or a SARIF file. There is no answer without one.
//! - [`secrets`]: which files hold credentials; gitleaks or the rules in [`secrets::RULES`].
//!
//! Findings of all kinds are one type, [`Finding`], and leave as SARIF ([`sarif`]), JSON or text. The crate knows no registry:
//! layers are handed to it as readers, and nothing of an image is unpacked.

mod environment;
mod error;
mod finding;
mod glob;
pub mod image;
pub mod inventory;
pub mod sarif;
pub mod sbom;
pub mod secrets;
mod text;
mod tool;

pub use error::Error;
pub use finding::{Finding, Severity, SeverityError};
pub use tool::Tool;
