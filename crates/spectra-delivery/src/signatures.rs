//! Whether an image is signed as the policies of its place want it.

use std::time::Duration;

use spectra_journal::Journal;
use spectra_rollout::{DeploymentPolicy, Place};
use spectra_sign::{
    CertificateVerifier, EvidenceSource, Gathered, SignaturePolicy, Unavailable, Verdict, judge,
};
use spectra_types::{HumanDuration, PinnedImage};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::settings::Settings;

/// How long a registry may take until all that it has about an image is there. One request has limits of its own, and there may be
/// hundreds of them.
const WITHIN: Duration = Duration::from_mins(1);

/// Where signatures are, and what is asked of them besides the policies of the journal.
#[derive(Clone, Copy, Default)]
pub struct Signatures<'a> {
    /// The registry that the image is in. Without one, an image that needs signatures is refused.
    pub source: Option<&'a dyn EvidenceSource>,
    /// Who checks the certificates of identities. Without one, none counts.
    pub certificates: Option<&'a dyn CertificateVerifier>,
    /// More policies, with their names.
    pub policies: &'a [(String, SignaturePolicy)],
}

/// Judges an image by all policies that hold for a place. `None` where there is none: nobody asks for signatures. The registry
/// is asked anew each time, by digest, for a minute at most and until `cancel` trips.
pub async fn signed(
    journal: &Journal,
    signatures: &Signatures<'_>,
    place: &Place,
    image: &PinnedImage,
    cancel: &CancellationToken,
) -> Result<Option<Verdict>, Error> {
    judged(&Settings::of(journal).at(place).await?, signatures, image, cancel).await
}

/// [`signed`], by the policies of the place.
pub(crate) async fn judged(
    policies: &[DeploymentPolicy],
    signatures: &Signatures<'_>,
    image: &PinnedImage,
    cancel: &CancellationToken,
) -> Result<Option<Verdict>, Error> {
    let of_the_place: Vec<_> = policies
        .iter()
        .filter_map(|policy| Some((policy.name.clone(), policy.signatures.clone()?)))
        .collect();
    // Two groups: an image has to be let in by the journal's policies, and by those that were given besides.
    if of_the_place.is_empty() && signatures.policies.is_empty() {
        return Ok(None);
    }
    let Some(source) = signatures.source else {
        let source = "a policy asks for signatures, and no registry was given to look for them".into();
        return Err(Unavailable { image: image.clone(), source }.into());
    };
    let gathered = gather(source, image, cancel).await?;
    let mut whole = Verdict::default();
    for policies in [of_the_place.as_slice(), signatures.policies] {
        if policies.is_empty() {
            continue;
        }
        let verdict = judge(policies, image, &gathered, signatures.certificates).map_err(Error::Unsigned)?;
        let new = |one: &spectra_sign::Accepted| !whole.accepted.contains(one);
        let accepted: Vec<_> = verdict.accepted.into_iter().filter(new).collect();
        whole.accepted.extend(accepted);
        whole.rejected.extend(verdict.rejected);
    }
    whole.rejected.retain(|one| !whole.accepted.iter().any(|accepted| accepted.origin == one.origin));
    Ok(Some(whole))
}

/// Everything that a registry has about an image, if it is there within a minute.
pub async fn gathered(source: &dyn EvidenceSource, image: &PinnedImage) -> Result<Gathered, Unavailable> {
    let Ok(gathered) = tokio::time::timeout(WITHIN, source.gather(image)).await else {
        let limit = HumanDuration::new(WITHIN);
        let source = format!("the registry had not given all of them within {limit}").into();
        return Err(Unavailable { image: image.clone(), source });
    };
    gathered
}

/// [`gathered`], until `cancel` trips. Nothing is changed by asking, so it is let go of at any time.
async fn gather(
    source: &dyn EvidenceSource,
    image: &PinnedImage,
    cancel: &CancellationToken,
) -> Result<Gathered, Error> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::Interrupted { image: image.clone() }),
        gathered = gathered(source, image) => Ok(gathered?),
    }
}

#[cfg(test)]
mod tests {
    use spectra_sign::EvidenceFuture;

    use super::*;

    /// A registry that accepts connections and says nothing.
    struct Silent;

    impl EvidenceSource for Silent {
        fn gather<'a>(&'a self, _: &'a PinnedImage) -> EvidenceFuture<'a> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_registry_is_not_waited_for_without_end() {
        let image = format!("ghcr.io/acme/shop@sha256:{}", "a".repeat(64)).parse().unwrap();
        let begun = tokio::time::Instant::now();
        let error = gather(&Silent, &image, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), 60);
        let text = spectra_types::error_chain(&error);
        assert_eq!(error.code(), spectra_sign::UNAVAILABLE);
        assert!(text.contains("within 1m"), "{text}");
    }
}
