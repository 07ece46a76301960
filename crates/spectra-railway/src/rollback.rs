//! Which image a rollback goes back to.

use spectra_types::{Digest, ImageRef, PinnedImage};

use crate::deployment::{Deployment, DeploymentStatus};

/// The image of a deployment, pinned.
fn pinned(deployment: &Deployment) -> Option<PinnedImage> {
    let image: ImageRef = deployment.image.as_deref()?.parse().ok()?;
    Some(image.pin(deployment.digest.clone()?))
}

/// Whether it served, as far as Railway still tells.
///
/// A removed deployment counts only while Railway says that it could be rolled back to, which it says of none that
/// never served; that word is not needed for anything else, since the image is deployed anew by its digest.
#[must_use]
pub fn has_served(deployment: &Deployment) -> bool {
    match deployment.status {
        DeploymentStatus::Success | DeploymentStatus::Sleeping => true,
        DeploymentStatus::Removing | DeploymentStatus::Removed => deployment.can_roll_back,
        _ => false,
    }
}

/// The newest deployment that served and runs another digest than `current`, with its image. `deployments` are newest
/// first, as Railway lists them.
#[must_use]
pub fn rollback_candidate<'d>(
    deployments: &'d [Deployment],
    current: &Digest,
) -> Option<(&'d Deployment, PinnedImage)> {
    deployments
        .iter()
        .filter(|deployment| has_served(deployment))
        .filter(|deployment| deployment.digest.as_ref().is_some_and(|digest| digest != current))
        .find_map(|deployment| Some((deployment, pinned(deployment)?)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn digest(letter: &str) -> Digest {
        format!("sha256:{}", letter.repeat(64)).parse().unwrap()
    }

    fn deployment(id: &str, status: &str, letter: &str, can_roll_back: bool) -> Deployment {
        Deployment {
            id: id.parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: None,
            status: status.to_owned().into(),
            created_at: Timestamp::UNIX_EPOCH,
            status_updated_at: None,
            stopped: false,
            can_redeploy: true,
            can_roll_back,
            image: Some("ghcr.io/team/web:1".to_owned()),
            digest: Some(digest(letter)),
            url: None,
            replicas: Vec::new(),
        }
    }

    fn chosen(deployments: &[Deployment]) -> Option<String> {
        rollback_candidate(deployments, &digest("a")).map(|(deployment, image)| {
            assert_eq!(
                image.to_string().split_once('@').unwrap().1,
                deployment.digest.as_ref().unwrap().to_string()
            );
            deployment.id.to_string()
        })
    }

    #[test]
    fn it_is_not_simply_the_previous_entry() {
        let deployments = [
            deployment("serves", "SUCCESS", "a", true),
            deployment("failed", "FAILED", "b", false),
            deployment("never-up", "REMOVED", "c", false),
            deployment("same-image", "REMOVED", "a", true),
            deployment("served", "REMOVED", "d", true),
            deployment("older", "REMOVED", "e", true),
        ];
        assert_eq!(chosen(&deployments).as_deref(), Some("served"));
        assert_eq!(chosen(&deployments[..4]), None);
    }

    #[test]
    fn a_deployment_whose_image_is_not_known_cannot_be_gone_back_to() {
        let unknown = Deployment { image: None, ..deployment("built", "REMOVED", "b", true) };
        let undigested = Deployment { digest: None, ..deployment("tagged", "REMOVED", "b", true) };
        assert_eq!(chosen(&[unknown, undigested]), None);
    }
}
