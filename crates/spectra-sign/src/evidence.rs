//! What a registry has about an image, before anything of it is believed.

use std::{future::Future, pin::Pin};

use spectra_types::PinnedImage;

/// Something that claims to be a signature or an attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Where it was found: the digest of its manifest, or a tag with the number of a layer.
    pub origin: String,
    /// When it was attached, as its manifest states it: any text. Nothing protects that.
    pub stated_time: Option<String>,
    /// What was found.
    pub material: Material,
}

/// The bytes, by their form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// A Sigstore bundle.
    Bundle(Vec<u8>),
    /// A simple-signing document.
    Simple {
        /// The document.
        payload: Vec<u8>,
        /// Its signature, base64.
        signature: String,
        /// The certificate that is beside it, if one is: then no key is meant.
        certificate: Option<TaggedCertificate>,
    },
    /// A DSSE envelope.
    Envelope {
        /// The envelope.
        json: Vec<u8>,
        /// The certificate that is beside it, if one is: then no key is meant.
        certificate: Option<TaggedCertificate>,
    },
    /// It is there, and cannot be read.
    Unreadable(String),
}

/// What is beside a signature under a tag instead of a bundle: the texts of annotations, as cosign wrote them before version 3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaggedCertificate {
    /// The certificate, PEM.
    pub certificate: String,
    /// What is above it, PEM; may be empty.
    pub chain: String,
    /// The entry of the log and the log's promise, JSON; empty where there is none.
    pub bundle: String,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// The image's own manifest or index, with the digest that was asked for.
    pub manifest: Vec<u8>,
    /// What refers to it.
    pub evidence: Vec<Evidence>,
}

/// A registry could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the signatures of `{image}` cannot be read")]
pub struct Unavailable {
    /// Of which image.
    pub image: PinnedImage,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What [`EvidenceSource::gather`] returns.
pub type EvidenceFuture<'a> = Pin<Box<dyn Future<Output = Result<Gathered, Unavailable>> + Send + 'a>>;

/// Somewhere that signatures are kept.
pub trait EvidenceSource: Send + Sync {
    /// Everything that is said about exactly this digest. An `Err` means that nobody knows, never that there is nothing.
    fn gather<'a>(&'a self, image: &'a PinnedImage) -> EvidenceFuture<'a>;
}
