//! An image that is deployed without a rollout: the first one of a service, for instance.
//!
//! Policies hold there as well. What they ask of a rollout refuses such an image; what they ask of the image is looked at.

use serde_json::json;
use spectra_journal::{Draft, Holder, Journal};
use spectra_rollout::{DeploymentPolicy, Place, Violation};
use spectra_sign::Verdict;
use spectra_types::{EnvironmentId, ImageRef, PinnedImage, ProjectId};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::kinds;
use crate::settings::Settings;
use crate::signatures::{Signatures, judged};

/// An image whose signatures let it in.
#[derive(Debug)]
pub struct Admitted {
    image: PinnedImage,
    verdict: Verdict,
}

/// Whether the policies of an environment let in an image that no rollout brings out. `None`: they do, and ask for no signatures.
///
/// The service may not be there yet, and no policy is about one. An image that has to be signed has to be named by its digest, so that nothing can come
/// between this and its deployment.
pub async fn admitted(
    journal: &Journal,
    signatures: &Signatures<'_>,
    (project, environment): (&ProjectId, &EnvironmentId),
    image: &ImageRef,
    cancel: &CancellationToken,
) -> Result<Option<Admitted>, Error> {
    let policies: Vec<DeploymentPolicy> = Settings::of(journal).at_environment(project, environment).await?;
    let mut violations: Vec<_> =
        policies.iter().flat_map(|policy| policy.violations_without_rollout(image)).collect();
    let pinned = PinnedImage::try_from(image.clone()).ok();
    if pinned.is_none() {
        let asking = policies.iter().filter(|policy| policy.signatures.is_some());
        let names = asking.map(|policy| &policy.name).chain(signatures.policies.iter().map(|(name, _)| name));
        violations.extend(names.map(|name| Violation::no_digest(name, image)));
    }
    if !violations.is_empty() {
        return Err(Error::Policy { violations });
    }
    let Some(image) = pinned else { return Ok(None) };
    let verdict = judged(&policies, signatures, &image, cancel).await?;
    Ok(verdict.map(|verdict| Admitted { image, verdict }))
}

impl Admitted {
    /// Writes down who signed, under the service that is about to be deployed to, as it is for a rollout.
    pub async fn write_down(&self, journal: &Journal, place: &Place, by: &Holder) -> Result<(), Error> {
        let body = json!({ "image": self.image, "accepted": self.verdict.accepted, "by": by.to_string() });
        let kind = kinds::SIGNATURES.to_owned();
        journal.append(Draft { subject: place.subject(), rollout: None, kind, body }).await?;
        Ok(())
    }
}
