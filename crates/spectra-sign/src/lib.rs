//! Signatures and attestations of images: keys, formats, and the policies that judge them.
//!
//! Everything here is pure: bytes in, a verdict out. Where the bytes come from is an [`EvidenceSource`]'s business, which
//! the registry client is. Nothing counts that is not signed by a key or an identity that was named beforehand, over the digest
//! that was asked about; whatever does not count is named with its reason. Who checks the certificates that vouch for identities
//! is a [`CertificateVerifier`], which `spectra-keyless` is.
//!
//! | form | where | what is signed |
//! |---|---|---|
//! | bundle | a referrer of the image, Sigstore bundle 0.3 | a DSSE envelope with an in-toto statement, or the image's manifest |
//! | simple signing | tag `sha256-….sig` | a JSON document that names the digest |
//! | envelope | tag `sha256-….att` | a DSSE envelope with an in-toto statement |

mod annotations;
mod bundle;
mod dsse;
mod encrypted;
mod error;
mod evidence;
mod examine;
mod hash;
mod identity;
mod key;
mod pem;
mod policy;
mod predicate;
mod repository;
mod simple;
mod statement;

pub use bundle::{BUNDLE_MEDIA_TYPE, BUNDLE_MEDIA_TYPES, seal_statement, sign_statement};
pub use error::{Error, UNAVAILABLE, UNSIGNED};
pub use evidence::{
    Evidence, EvidenceFuture, EvidenceSource, Gathered, Material, TaggedCertificate, Unavailable,
};
pub use examine::{Accepted, Examination, Form, Rejected, Rejection, Subject, Trust, examine};
pub use identity::{
    CertificateVerifier, Certified, IdentityPattern, IdentityPatternError, Proof, Proven, Tagged,
    TrustedIdentity,
};
pub use key::{Algorithm, KeyError, PublicKey, SigningKey};
pub use policy::{
    Lacks, PolicyFile, Problem, Refusal, SignaturePolicy, Threshold, ThresholdError, TrustedKey, Verdict,
    is_repository_pattern, judge, judge_annotated, repository_matches,
};
pub use predicate::{PredicateType, PredicateTypeError, SIGNATURE};
pub use repository::{SourceRepository, SourceRepositoryError};
pub use statement::Statement;
