//! What a registry has about an image that may be a signature, in every form that cosign has attached them.

use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use spectra_sign::{
    Evidence, EvidenceFuture, EvidenceSource, Gathered, Material, TaggedCertificate, Unavailable,
};
use spectra_types::PinnedImage;

use crate::{Client, Descriptor, Error, referrers::ArtifactManifest, session::Session};

/// How the types of bundles begin.
const BUNDLES: &str = "application/vnd.dev.sigstore.bundle";
const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";
const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE_ANNOTATION: &str = "dev.sigstore.cosign/certificate";
const CHAIN_ANNOTATION: &str = "dev.sigstore.cosign/chain";
/// No Sigstore bundle: the log's entry, and its promise.
const BUNDLE_ANNOTATION: &str = "dev.sigstore.cosign/bundle";
const CREATED_ANNOTATION: &str = "org.opencontainers.image.created";
/// The longest signature or attestation that is read, in bytes: an attestation can hold a whole bill of material.
pub const MAX_EVIDENCE: u64 = 32 * 1024 * 1024;
/// The most bytes that are read of everything that may be a signature of one image, manifests included: all of it is in
/// memory at once.
const MAX_ALL_EVIDENCE: u64 = 256 * 1024 * 1024;
/// Layers of one tag.
const MAX_LAYERS: usize = 200;
const JOBS: usize = 4;

/// What may still be read for one image.
pub(crate) struct Budget(AtomicU64);

impl Budget {
    fn new() -> Self {
        Self(AtomicU64::new(MAX_ALL_EVIDENCE))
    }

    /// Takes `size` bytes; the `Err` says in words that they are too many.
    pub(crate) fn take(&self, size: u64) -> Result<(), String> {
        let rest = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rest| rest.checked_sub(size));
        rest.map(drop).map_err(|_| {
            format!(
                "with it, there are more than {MAX_ALL_EVIDENCE} bytes about this image, and no more are read"
            )
        })
    }
}

impl EvidenceSource for Client {
    fn gather<'a>(&'a self, image: &'a PinnedImage) -> EvidenceFuture<'a> {
        Box::pin(async move {
            let unavailable = |error: Error| Unavailable { image: image.clone(), source: Box::new(error) };
            Box::pin(self.evidence(image)).await.map_err(unavailable)
        })
    }
}

impl Client {
    async fn evidence(&self, image: &PinnedImage) -> Result<Gathered, Error> {
        let session = self.pull_session(&image.image_ref())?;
        let (_, manifest) = session.manifest(&image.image_ref()).await?;
        let budget = Budget::new();
        let (mut evidence, signatures, attestations) = futures::try_join!(
            async { session.bundles(image, self.referrers(image, None).await?, &budget).await },
            session.tagged(image, "sig", &budget),
            session.tagged(image, "att", &budget),
        )?;
        evidence.extend(signatures);
        evidence.extend(attestations);
        Ok(Gathered { manifest: manifest.to_vec(), evidence })
    }
}

impl Session {
    /// The bundles among an image's referrers.
    async fn bundles(
        &self,
        image: &PinnedImage,
        entries: Vec<Descriptor>,
        budget: &Budget,
    ) -> Result<Vec<Evidence>, Error> {
        let artifacts = self.artifacts(&image.image_ref(), entries, BUNDLES, budget).await?;
        stream::iter(artifacts)
            .map(|(digest, manifest)| async move {
                let stated_time = manifest
                    .as_ref()
                    .ok()
                    .and_then(|manifest| manifest.annotations.get(CREATED_ANNOTATION).cloned());
                let material = match manifest {
                    Err(reason) => Material::Unreadable(reason),
                    Ok(manifest) => self.bundle(image, &manifest, budget).await?,
                };
                Ok(Evidence { origin: digest.to_string(), stated_time, material })
            })
            .buffered(JOBS)
            .try_collect()
            .await
    }

    async fn bundle(
        &self,
        image: &PinnedImage,
        manifest: &ArtifactManifest,
        budget: &Budget,
    ) -> Result<Material, Error> {
        // What it is about is signed; this only keeps a confused list from looking like a forgery.
        if manifest.subject.as_ref().is_some_and(|subject| subject.digest != *image.digest()) {
            return Ok(Material::Unreadable("its manifest is about another image".to_owned()));
        }
        let [layer] = manifest.layers.as_slice() else {
            return Ok(Material::Unreadable(format!("it has {} layers, expected 1", manifest.layers.len())));
        };
        Ok(self.content(layer, budget).await?.map_or_else(Material::Unreadable, Material::Bundle))
    }

    /// What is under the tag that cosign used before version 3, a layer each.
    async fn tagged(
        &self,
        image: &PinnedImage,
        suffix: &str,
        budget: &Budget,
    ) -> Result<Vec<Evidence>, Error> {
        let digest = image.digest();
        let tag = format!("{}-{}.{suffix}", digest.algorithm(), digest.hex());
        // A digest that makes no tag was never signed so.
        let Ok(reference) = image.image_ref().with_tag(&tag) else { return Ok(Vec::new()) };
        let unreadable = |reason: String| {
            let material = Material::Unreadable(reason);
            vec![Evidence { origin: tag.clone(), stated_time: None, material }]
        };
        let bytes = match self.manifest(&reference).await {
            Ok((_, bytes)) => bytes,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error @ Error::Input { .. }) => return Ok(unreadable(error.to_string())),
            Err(error) => return Err(error),
        };
        let manifest: ArtifactManifest = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => return Ok(unreadable(error.to_string())),
        };
        if manifest.layers.len() > MAX_LAYERS {
            return Ok(unreadable(format!(
                "it has {} layers, and {MAX_LAYERS} are read",
                manifest.layers.len()
            )));
        }
        let tag = &tag;
        stream::iter(manifest.layers.into_iter().enumerate())
            .map(|(number, layer)| async move {
                let annotation = |name| layer.annotations.get(name).cloned();
                let certificate = annotation(CERTIFICATE_ANNOTATION).map(|certificate| TaggedCertificate {
                    certificate,
                    chain: annotation(CHAIN_ANNOTATION).unwrap_or_default(),
                    bundle: annotation(BUNDLE_ANNOTATION).unwrap_or_default(),
                });
                let signature = annotation(SIGNATURE_ANNOTATION).unwrap_or_default();
                let material = match (layer.media_type.as_str(), self.content(&layer, budget).await?) {
                    (_, Err(reason)) => Material::Unreadable(reason),
                    (SIMPLE, Ok(payload)) => Material::Simple { payload, signature, certificate },
                    (ENVELOPE, Ok(json)) => Material::Envelope { json, certificate },
                    (other, Ok(_)) => Material::Unreadable(format!("it has the type `{other}`")),
                };
                Ok(Evidence { origin: format!("{tag}#{}", number + 1), stated_time: None, material })
            })
            .buffered(JOBS)
            .try_collect()
            .await
    }

    /// A blob; the inner `Err` concerns this blob alone.
    async fn content(
        &self,
        descriptor: &Descriptor,
        budget: &Budget,
    ) -> Result<Result<Vec<u8>, String>, Error> {
        if descriptor.size > MAX_EVIDENCE {
            return Ok(Err(format!("it has {} bytes, and {MAX_EVIDENCE} are read", descriptor.size)));
        }
        if let Err(reason) = budget.take(descriptor.size) {
            return Ok(Err(reason));
        }
        // No more than was counted.
        let attempt = format!("get blob `{}`", descriptor.digest);
        match self.blob(&attempt, descriptor, descriptor.size).await {
            Ok(bytes) => Ok(Ok(bytes.into())),
            Err(error @ (Error::NotFound { .. } | Error::DigestMismatch { .. } | Error::Protocol { .. })) => {
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }
}
