//! What Railway pulls private images with.

use clap::{Args, ValueEnum};
use spectra_oci::Environment;
use spectra_railway::{RegistryCredentials, RegistryLogin};
use spectra_types::PinnedImage;

use crate::failure::Failure;

/// Where the login is taken from. Never the command line: others can read that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// `DOCKER_USERNAME` and `DOCKER_PASSWORD`, for the registry in `DOCKER_REGISTRY`
    Env,
}

/// Whether Railway is given a login to the registry.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Credentials {
    /// Give Railway a login to pull the images with: `env` is `DOCKER_USERNAME` and `DOCKER_PASSWORD`, for the registry in
    /// `DOCKER_REGISTRY` (Docker Hub if unset) and no other; without it, Railway keeps the login that it has
    #[arg(long, value_name = "FROM", env = "SPECTRA_REGISTRY_CREDENTIALS")]
    registry_credentials: Option<Source>,
}

impl Credentials {
    /// The login, if one was asked for. Images of another registry are refused: Railway could not pull them with it, and the
    /// other registry must not see it.
    pub(super) fn login<'i>(
        &self,
        images: impl IntoIterator<Item = &'i PinnedImage>,
    ) -> Result<Option<RegistryLogin>, Failure> {
        match self.registry_credentials {
            None => Ok(None),
            Some(Source::Env) => of(&Environment::from_process(), images).map(Some),
        }
    }
}

fn of<'i>(
    environment: &Environment,
    images: impl IntoIterator<Item = &'i PinnedImage>,
) -> Result<RegistryLogin, Failure> {
    let Some((registry, username, password)) = environment.login() else {
        return Err(Failure::usage(
            "`--registry-credentials env` needs `DOCKER_USERNAME` and `DOCKER_PASSWORD`, and one of them is not set",
        ));
    };
    for image in images {
        if image.registry() != registry {
            return Err(Failure::usage(format!(
                "`DOCKER_USERNAME` and `DOCKER_PASSWORD` are for `{registry}`, but `{image}` is of `{0}`: set `DOCKER_REGISTRY={0}`, \
                 or leave `--registry-credentials` out",
                image.registry()
            )));
        }
    }
    let credentials = RegistryCredentials { username: username.to_owned(), password: password.clone() };
    Ok(RegistryLogin { registry: registry.to_owned(), credentials })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn login(set: &[(&str, &str)], images: &[&str]) -> Result<RegistryLogin, String> {
        let lookup = |name: &str| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(*value))
        };
        let digest = "a".repeat(64);
        let images: Vec<PinnedImage> =
            images.iter().map(|name| format!("{name}@sha256:{digest}").parse().unwrap()).collect();
        of(&Environment::from_lookup(lookup), &images).map_err(|failure| failure.to_string())
    }

    const BOTH: [(&str, &str); 2] = [("DOCKER_USERNAME", "robot"), ("DOCKER_PASSWORD", "p4ss-of-a-cli-test")];

    #[test]
    fn a_login_is_for_one_registry() {
        let hub = login(&BOTH, &["team/web"]).unwrap();
        assert_eq!((hub.registry.as_str(), hub.credentials.username.as_str()), ("docker.io", "robot"));
        let refused = login(&BOTH, &["team/web", "ghcr.io/team/web"]).unwrap_err();
        assert!(refused.contains("set `DOCKER_REGISTRY=ghcr.io`"), "{refused}");
        assert!(!refused.contains("p4ss"), "{refused}");
        let set = [BOTH[0], BOTH[1], ("DOCKER_REGISTRY", "ghcr.io")];
        assert_eq!(login(&set, &["ghcr.io/team/web"]).unwrap().registry, "ghcr.io");
        // Which image an abort brings back is not known beforehand.
        assert_eq!(login(&set, &[]).unwrap().registry, "ghcr.io");
    }

    #[test]
    fn half_a_login_is_none() {
        for half in [&BOTH[..1], &BOTH[1..], &[]] {
            let refused = login(half, &[]).unwrap_err();
            assert!(refused.contains("one of them is not set"), "{refused}");
        }
    }
}
