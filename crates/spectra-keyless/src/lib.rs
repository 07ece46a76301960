//! Keyless signatures: a certificate says who signed, and a public log that it happened while the certificate was valid.
//!
//! Checking is that of the `sigstore-verify` crate, and stricter where a bundle may leave something out; see [`Keyless`].
//! What cosign attached before version 3 is made into a bundle for it.
//! It asks nobody: everything that is needed is in the bundle and in the root of trust. Whose signatures count is not decided
//! here, but by the policies of `spectra-sign`, to which this is the [`CertificateVerifier`](spectra_sign::CertificateVerifier).
//!
//! Making signatures needs the feature `sign`, and the network: an identity token buys a certificate for a key that lives as long
//! as the call, and the signature is entered into the log.

mod check;
mod deferred;
mod error;
#[cfg(feature = "sign")]
mod service;
#[cfg(feature = "sign")]
mod sign;
mod tagged;
#[cfg(feature = "sign")]
mod token;

pub use check::Keyless;
pub use deferred::Deferred;
pub use error::{Error, Service};
#[cfg(feature = "sign")]
pub use service::Url;
#[cfg(feature = "sign")]
pub use sign::{FULCIO, Made, REKOR, Services};
#[cfg(feature = "sign")]
pub use token::{IdentityToken, TokenRequest};
