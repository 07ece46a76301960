//! Finding the credentials for a registry where docker and podman keep them.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use spectra_types::{DEFAULT_REGISTRY, Secret};
use tokio::io::AsyncWriteExt as _;

use crate::{Error, model::null_as_default};

/// The key under which docker keeps the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// How long a credential helper may take; some ask a key ring or a cloud service.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// What to show to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    Anonymous,
    /// User name and password, or an access token in the password's place.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: Secret<String>,
    },
    /// A refresh token, exchanged for access tokens at the registry's token service.
    IdentityToken(Secret<String>),
    /// A bearer token that goes to the registry as it is.
    RegistryToken(Secret<String>),
}

/// A credential and where it came from, for messages.
#[derive(Debug, Clone)]
pub(crate) struct FoundCredential {
    pub(crate) credential: Credential,
    /// What stands for the credential in a sentence, such as ``the credentials from `FILE` ``.
    pub(crate) origin: String,
}

/// The environment variables that say where credentials are. Taken once, so that tests need not change the
/// process's own.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    username: Option<String>,
    password: Option<Secret<String>>,
    registry: Option<String>,
    docker_config: Option<PathBuf>,
    home: Option<PathBuf>,
    registry_auth_file: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    path: Option<std::ffi::OsString>,
}

impl Environment {
    /// Reads the process's environment.
    #[must_use]
    pub fn from_process() -> Self {
        Self::from_lookup(|name| std::env::var_os(name))
    }

    /// Asks `lookup` for each variable; empty values count as unset.
    #[must_use]
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let get = |name| lookup(name).filter(|value| !value.is_empty());
        let text = |name| get(name).and_then(|value| value.into_string().ok());
        let path = |name| get(name).map(PathBuf::from);
        Self {
            username: text("DOCKER_USERNAME"),
            password: text("DOCKER_PASSWORD").map(Secret::new),
            registry: text("DOCKER_REGISTRY"),
            docker_config: path("DOCKER_CONFIG"),
            home: path("HOME"),
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            runtime_dir: path("XDG_RUNTIME_DIR"),
            path: get("PATH"),
        }
    }

    /// The login of `DOCKER_USERNAME` and `DOCKER_PASSWORD`, with the registry that it is for as references name it: the host
    /// in `DOCKER_REGISTRY`, or Docker Hub if that is unset. `None` unless both are set.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &str, &Secret<String>)> {
        let registry = canonical_host(self.registry.as_deref().unwrap_or(DEFAULT_REGISTRY));
        Some((registry, self.username.as_deref()?, self.password.as_ref()?))
    }
}

/// Where credentials are looked for.
///
/// In order: those given explicitly for the host; `DOCKER_USERNAME` and `DOCKER_PASSWORD`; docker's `config.json`
/// (`$DOCKER_CONFIG`, else `~/.docker`); `$REGISTRY_AUTH_FILE`; `$XDG_RUNTIME_DIR/containers/auth.json`. In each file:
/// `credHelpers` for the host, then `credsStore`, then `auths` with the longest matching path.
///
/// The two variables are for **one** registry: the host in `DOCKER_REGISTRY`, or Docker Hub if that is unset. They are never
/// shown to another host, since a pipeline usually pulls from and pushes to several.
#[derive(Debug, Clone, Default)]
pub struct Keychain {
    explicit: BTreeMap<String, Credential>,
    environment: Environment,
}

impl Keychain {
    /// A keychain over the places that the environment names.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { explicit: BTreeMap::new(), environment }
    }

    /// A keychain that knows nothing; every access is anonymous.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// Uses `credential` for the registry `host`, before anything else.
    #[must_use]
    pub fn with(mut self, host: &str, credential: Credential) -> Self {
        self.explicit.insert(canonical_host(host).to_owned(), credential);
        self
    }

    /// The credential for a repository of a registry; [`Credential::Anonymous`] if there is none.
    ///
    /// Fails if a file is malformed, or if a helper fails and no later place has an answer.
    pub async fn resolve(&self, registry: &str, repository: &str) -> Result<Credential, Error> {
        self.find(registry, repository).await.map(|found| found.credential)
    }

    /// The files that would be asked and exist, in order.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.candidates().into_iter().filter(|path| path.is_file()).collect()
    }

    /// The names of the helper programs in the files that exist.
    pub fn helpers(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for path in self.files() {
            let file = AuthFile::read(&path, "every registry")?;
            names.extend(file.creds_store.filter(|name| !name.is_empty()));
            names.extend(file.cred_helpers.into_values().filter_map(|helper| helper.0));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    pub(crate) async fn find(&self, registry: &str, repository: &str) -> Result<FoundCredential, Error> {
        let registry = canonical_host(registry);
        if let Some(credential) = self.explicit.get(registry) {
            let origin = format!("the credentials given for `{registry}`");
            return Ok(FoundCredential { credential: credential.clone(), origin });
        }
        if let Some((host, username, password)) = self.environment.login()
            && host == registry
        {
            let credential = Credential::Basic { username: username.to_owned(), password: password.clone() };
            return Ok(FoundCredential {
                credential,
                origin: "the credentials from DOCKER_USERNAME and DOCKER_PASSWORD".to_owned(),
            });
        }
        let mut failed = None;
        for path in self.files() {
            let file = AuthFile::read(&path, registry)?;
            for helper in file.helpers_for(registry, &path)? {
                let from = format!("credential helper `docker-credential-{helper}`");
                match self.ask_helper(helper, registry, &from).await {
                    Ok(Some(credential)) => {
                        let origin = format!("the credentials from {from}");
                        return Ok(FoundCredential { credential, origin });
                    }
                    Ok(None) => {}
                    // A later place may still have an answer, as when a configuration was copied to a
                    // machine without the helper.
                    Err(error) => failed = Some(failed.unwrap_or(error)),
                }
            }
            if let Some(credential) = file.lookup(registry, repository, &path)? {
                let origin = format!("the credentials from `{}`", path.display());
                return Ok(FoundCredential { credential, origin });
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(FoundCredential {
                credential: Credential::Anonymous,
                origin: "anonymous access".to_owned(),
            }),
        }
    }

    fn candidates(&self) -> Vec<PathBuf> {
        let environment = &self.environment;
        let docker = environment
            .docker_config
            .clone()
            .or_else(|| environment.home.as_ref().map(|home| home.join(".docker")))
            .map(|directory| directory.join("config.json"));
        let podman = environment.runtime_dir.as_ref().map(|directory| directory.join("containers/auth.json"));
        [docker, environment.registry_auth_file.clone(), podman].into_iter().flatten().collect()
    }

    async fn ask_helper(
        &self,
        name: &str,
        registry: &str,
        origin: &str,
    ) -> Result<Option<Credential>, Error> {
        let failed = |reason: String| Error::Credentials {
            host: registry.to_owned(),
            from: origin.to_owned(),
            reason,
        };
        // The name becomes part of a program's name; a slash would make it a path.
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(failed(
                "its name has characters other than letters, digits, `-`, `_` and `.`".to_owned(),
            ));
        }
        let mut command = tokio::process::Command::new(format!("docker-credential-{name}"));
        if let Some(path) = &self.environment.path {
            command.env("PATH", path);
        }
        let mut child = command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("cannot start it: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            let key = if registry == DEFAULT_REGISTRY { HUB_KEY } else { registry };
            // A helper that ends without reading is judged by its answer.
            let _ = stdin.write_all(key.as_bytes()).await;
        }
        let output = tokio::time::timeout(HELPER_TIMEOUT, child.wait_with_output())
            .await
            .map_err(|_| failed(format!("it gave no answer within {} s", HELPER_TIMEOUT.as_secs())))?
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            if text.contains("credentials not found") {
                return Ok(None);
            }
            // Its output may hold a secret, so it is not repeated.
            return Err(failed(format!("it failed with {}", output.status)));
        }
        let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
            .map_err(|_| failed("its answer is not the JSON that helpers write".to_owned()))?;
        if answer.secret.expose().is_empty() {
            return Ok(None);
        }
        Ok(Some(match answer.username.as_str() {
            "<token>" => Credential::IdentityToken(answer.secret),
            _ => Credential::Basic { username: answer.username, password: answer.secret },
        }))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    #[serde(default)]
    username: String,
    secret: Secret<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuthFile {
    #[serde(default, deserialize_with = "null_as_default")]
    auths: HashMap<String, Kept<AuthEntry>>,
    #[serde(default, deserialize_with = "null_as_default")]
    cred_helpers: BTreeMap<String, Kept<String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

/// One entry of many, or nothing if it is not what logins write: that matters to its own registry alone.
struct Kept<T>(Option<T>);

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for Kept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(if value.is_null() { Some(T::default()) } else { serde_json::from_value(value).ok() }))
    }
}

/// An entry of a registry, if it can be used.
fn usable<'a, T>(entry: &'a Kept<T>, name: &str, registry: &str, path: &Path) -> Result<&'a T, Error> {
    entry.0.as_ref().ok_or_else(|| Error::Credentials {
        host: registry.to_owned(),
        from: format!("`{}`", path.display()),
        reason: format!("its entry `{}` is not what logins write; log in again", name.escape_debug()),
    })
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase", default)]
struct AuthEntry {
    auth: Option<Secret<String>>,
    username: Option<String>,
    password: Option<Secret<String>>,
    identitytoken: Option<Secret<String>>,
    registrytoken: Option<Secret<String>>,
}

impl AuthFile {
    fn read(path: &Path, registry: &str) -> Result<Self, Error> {
        let failed = |reason| Error::Credentials {
            host: registry.to_owned(),
            from: format!("`{}`", path.display()),
            reason,
        };
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        // What a tool leaves that was interrupted, or that only asks whether the file is there.
        let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes.as_slice() };
        // The error of the JSON reader names line and column and, for a wrong type, the kind of value alone.
        serde_json::from_slice(bytes).map_err(|error| {
            failed(format!("it is malformed at line {}, column {}", error.line(), error.column()))
        })
    }

    fn helpers_for(&self, registry: &str, path: &Path) -> Result<Vec<&str>, Error> {
        let own = self.cred_helpers.iter().find(|(key, _)| canonical_host(key) == registry);
        let own = own.map(|(name, helper)| usable(helper, name, registry, path)).transpose()?;
        let helpers = own.into_iter().chain(&self.creds_store).map(String::as_str);
        Ok(helpers.filter(|name| !name.is_empty()).collect())
    }

    /// The entry with the longest key that is the registry or a path in it.
    fn lookup(&self, registry: &str, repository: &str, path: &Path) -> Result<Option<Credential>, Error> {
        let full = format!("{registry}/{repository}");
        let mut matches: Vec<(usize, &str, &Kept<AuthEntry>)> = self
            .auths
            .iter()
            .filter_map(|(name, entry)| {
                let key = canonical_key(name);
                let rest = full.strip_prefix(key.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then_some((key.len(), name.as_str(), entry))
            })
            .collect();
        matches.sort_by_key(|(length, ..)| std::cmp::Reverse(*length));
        for (_, name, entry) in matches {
            if let Some(credential) = usable(entry, name, registry, path)?.credential(registry, path)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

impl AuthEntry {
    /// An empty entry is what docker leaves when a helper holds the secret.
    fn credential(&self, registry: &str, path: &Path) -> Result<Option<Credential>, Error> {
        let filled = |secret: &Option<Secret<String>>| secret.clone().filter(|s| !s.expose().is_empty());
        if let Some(token) = filled(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = filled(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(auth) = filled(&self.auth) {
            let malformed = || Error::Credentials {
                host: registry.to_owned(),
                from: format!("`{}`", path.display()),
                reason: "its `auth` is not base64 of `user:password`; log in again".to_owned(),
            };
            let bytes = BASE64_STANDARD.decode(auth.expose().trim()).map_err(|_| malformed())?;
            let text = Secret::new(String::from_utf8(bytes).map_err(|_| malformed())?);
            let (username, password) = text.expose().split_once(':').ok_or_else(malformed)?;
            // Docker pads with NUL bytes.
            let password = Secret::from(password.trim_end_matches('\0'));
            return Ok(Some(Credential::Basic { username: username.to_owned(), password }));
        }
        match (&self.username, filled(&self.password)) {
            (Some(username), Some(password)) => {
                Ok(Some(Credential::Basic { username: username.clone(), password }))
            }
            _ => Ok(None),
        }
    }
}

/// A key of `auths` as registry and path: without scheme, API version and trailing slash.
fn canonical_key(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest).trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key.split_once('/') {
        Some((host, path)) => format!("{}/{path}", canonical_host(host)),
        None => canonical_host(key).to_owned(),
    }
}

/// The name of a registry without scheme and API version; all names of Docker Hub become `docker.io`.
fn canonical_host(host: &str) -> &str {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => DEFAULT_REGISTRY,
        other => other,
    }
}
