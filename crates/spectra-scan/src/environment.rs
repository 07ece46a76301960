//! What of this process's environment a scanner gets.
//!
//! A scanner parses what strangers have made, so it gets no secrets of whoever runs it; and none of its own settings but those that
//! say where its data is, since many of the others hide findings. Nobody can list all secrets that a job may have, nor all settings of
//! the versions to come: what may stay is listed, and not what has to go.

use std::ffi::{OsStr, OsString};

/// Variables, as a process has them.
pub(crate) type Environment = Vec<(OsString, OsString)>;

/// Of the settings of one scanner those that it gets, and everything that begins so if it ends in `_`.
pub(crate) type Own = &'static [&'static str];

/// What every scanner gets, and everything that begins so if it ends in `_`: where things are, how to reach the network, and how to
/// write. A scanner is given an image on disk, so that it needs nothing of an engine or a registry.
const COMMON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "TMP",
    "TEMP",
    "XDG_",
    "LANG",
    "LANGUAGE",
    "LC_",
    "TZ",
    "TERM",
    "NO_COLOR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_",
];

/// How the names of credentials end, of which no beginning makes something else.
const OF_SECRETS: [&str; 6] = ["_TOKEN", "_PASSWORD", "_SECRET", "_KEY", "_CREDENTIALS", "_AUTH"];

/// Names the variables that a scanner gets besides, with commas or blanks between them.
const MORE: &str = "SPECTRA_SCANNER_ENV";

/// The environment of this process.
pub(crate) fn of_process() -> Environment {
    std::env::vars_os().collect()
}

/// What a scanner gets of it.
pub(crate) fn for_scanner(
    environment: &[(OsString, OsString)],
    own: Own,
) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    let more = environment.iter().find(|(name, _)| name == MORE);
    let more = more.map(|(_, names)| names.to_string_lossy().into_owned()).unwrap_or_default();
    environment
        .iter()
        .filter(move |(name, _)| {
            // A name that is no UTF-8 is none of those that are known.
            name.to_str().is_some_and(|name| {
                let asked =
                    more.split([',', ' ', '\t', '\n']).any(|other| !other.is_empty() && other == name);
                asked || listed(COMMON, name) || listed(own, name)
            })
        })
        .map(|(name, value)| (name.as_os_str(), value.as_os_str()))
}

fn listed(list: &[&str], name: &str) -> bool {
    let begins = |entry: &str| entry.ends_with('_') && name.starts_with(entry);
    let is_secret = || OF_SECRETS.iter().any(|end| name.ends_with(end));
    list.iter().any(|entry| name == *entry || begins(entry) && !is_secret())
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn given(names: &[&str], own: Own) -> Vec<String> {
        let mut environment: Environment =
            names.iter().map(|name| (OsString::from(name), "x".into())).collect();
        environment.push((OsString::from_vec(b"PATH\xff".to_vec()), "x".into()));
        environment.push((MORE.into(), "PGPASSWORD, TRIVY_USERNAME TRIVY_PASSWORD,,MISSING".into()));
        for_scanner(&environment, own).map(|(name, _)| name.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn credentials_that_nobody_had_listed_reached_scanners() {
        let own = &["TRIVY_CACHE_DIR", "TRIVY_DB_"];
        let secrets = [
            "SIGSTORE_ID_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "GITHUB_PAT",
            "CI_JOB_TOKEN",
            "ARM_CLIENT_SECRET",
            "SLACK_TOKEN",
            "DOCKER_CONFIG",
            "DOCKER_HOST",
            "SPECTRA_KEY",
            "TRIVY_TOKEN",
            "TRIVY_DB_TOKEN",
            "TRIVY_IGNOREFILE",
            "TRIVY_CACHE_DIRECTORY",
            "XDG_SESSION_TOKEN",
            "SSL_CERT_KEY",
            "",
        ];
        assert_eq!(given(&secrets, own), [""; 0]);
        let harmless = [
            "PATH",
            "HOME",
            "https_proxy",
            "NO_PROXY",
            "LC_ALL",
            "XDG_CACHE_HOME",
            "SSL_CERT_FILE",
            "TRIVY_CACHE_DIR",
            "TRIVY_DB_REPOSITORY",
        ];
        assert_eq!(given(&harmless, own), harmless);
        assert_eq!(
            given(&["PGPASSWORD", "TRIVY_PASSWORD"], own),
            ["PGPASSWORD", "TRIVY_PASSWORD"],
            "if they are asked for"
        );
    }
}
