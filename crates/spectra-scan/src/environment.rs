//! What of this process's environment a scanner gets.
//!
//! A scanner parses what strangers have made, so it gets none of our secrets; and none of its own settings but those that say
//! where its data is, since many of the others hide findings. Which ones do changes from version to version: what may stay is
//! listed, and not what has to go.

use std::ffi::{OsStr, OsString};

/// Variables, as a process has them.
pub(crate) type Environment = Vec<(OsString, OsString)>;

/// The settings of one scanner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    /// How the names of its variables begin.
    pub(crate) prefix: &'static str,
    /// Those that may stay; one that ends in `_` stands for all that begin so.
    pub(crate) keep: &'static [&'static str],
}

/// Credentials, and everything that begins so if it ends in `_`. A scanner of local files needs none of them.
const SECRETS: &[&str] = &[
    "SPECTRA_",
    "RAILWAY_",
    "COSIGN_",
    "TF_TOKEN_",
    "TERRAFORM_API_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DOCKER_PASSWORD",
    "DOCKER_AUTH_CONFIG",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
];

/// The environment of this process.
pub(crate) fn of_process() -> Environment {
    std::env::vars_os().collect()
}

/// What a scanner gets of it.
pub(crate) fn for_scanner(
    environment: &[(OsString, OsString)],
    own: Own,
) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    environment
        .iter()
        .filter(move |(name, _)| {
            // A name that is no UTF-8 is none of those that are known; its beginning may be.
            let name = name.to_string_lossy();
            let hides = name.starts_with(own.prefix) && !listed(own.keep, &name);
            !hides && !listed(SECRETS, &name)
        })
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
}

fn listed(list: &[&str], name: &str) -> bool {
    list.iter().any(|entry| name == *entry || entry.ends_with('_') && name.starts_with(entry))
}
