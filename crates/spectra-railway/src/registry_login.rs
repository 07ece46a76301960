//! What Railway logs in to a registry with when it pulls an image.

use spectra_types::ImageRef;

use crate::instance::RegistryCredentials;

/// Access to the private repositories of one registry.
///
/// A rollout deals with two images, the new one and the one that ran before, and they may be of two registries. Neither
/// registry is ever shown the other one's password.
#[derive(Clone, Debug)]
pub struct RegistryLogin {
    /// The registry, as references name it: `ghcr.io`, `docker.io`, `127.0.0.1:7430`.
    pub registry: String,
    /// User and password there.
    pub credentials: RegistryCredentials,
}

impl RegistryLogin {
    /// What is sent along with an image: `None` when it is of another registry, and Railway keeps what it has.
    pub(crate) fn of(&self, image: &str) -> Option<RegistryCredentials> {
        let image: ImageRef = image.parse().ok()?;
        (image.registry() == self.registry).then(|| self.credentials.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_registry_is_not_shown_the_password() {
        let login = |registry: &str| RegistryLogin {
            registry: registry.to_owned(),
            credentials: RegistryCredentials {
                username: "robot".to_owned(),
                password: "p4ss-of-a-login".to_owned().into(),
            },
        };
        let digest = "a".repeat(64);
        let sent = |registry: &str, image: &str| login(registry).of(image).is_some();
        assert!(sent("ghcr.io", &format!("ghcr.io/team/web@sha256:{digest}")));
        assert!(sent("ghcr.io", "ghcr.io/other/web:1"));
        assert!(sent("docker.io", "team/web:1"));
        assert!(!sent("ghcr.io", &format!("quay.io/ghcr.io/web@sha256:{digest}")));
        assert!(!sent("127.0.0.1:7430", "127.0.0.1:7431/team/web:1"));
        assert!(!sent("ghcr.io", "team/web:1"));
    }
}
