//! Whether an image is signed as the policies of its place want it.

use spectra_journal::Journal;
use spectra_rollout::{DeploymentPolicy, Place};
use spectra_sign::{CertificateVerifier, EvidenceSource, SignaturePolicy, Unavailable, Verdict, judge};
use spectra_types::PinnedImage;

use crate::error::Error;
use crate::settings::Settings;

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
/// is asked anew each time, and by digest.
pub async fn signed(
    journal: &Journal,
    signatures: &Signatures<'_>,
    place: &Place,
    image: &PinnedImage,
) -> Result<Option<Verdict>, Error> {
    let of_the_place = Settings::of(journal).at::<DeploymentPolicy>(place).await?.into_iter();
    let of_the_place: Vec<_> =
        of_the_place.filter_map(|policy| Some((policy.name, policy.signatures?))).collect();
    // Two groups: an image has to be let in by the journal's policies, and by those that were given besides.
    if of_the_place.is_empty() && signatures.policies.is_empty() {
        return Ok(None);
    }
    let Some(source) = signatures.source else {
        let source = "a policy asks for signatures, and no registry was given to look for them".into();
        return Err(Unavailable { image: image.clone(), source }.into());
    };
    let gathered = source.gather(image).await?;
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
