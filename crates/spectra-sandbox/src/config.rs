//! What a sandbox is started with, what it publishes about itself, and how starting can fail.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::registry::RegistryAuth;

/// Which runtime starts the instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// HTTP servers inside the sandbox process, steered by the image's `dev.spectra.sandbox.*` labels.
    #[default]
    Simulated,
    /// Real containers through podman's socket.
    Podman,
    /// Real containers through Docker's socket.
    Docker,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simulated => "simulated",
            Self::Podman => "podman",
            Self::Docker => "docker",
        })
    }
}

impl FromStr for RuntimeKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "simulated" => Ok(Self::Simulated),
            "podman" => Ok(Self::Podman),
            "docker" => Ok(Self::Docker),
            other => Err(format!("`{other}` is no runtime; use `simulated`, `podman` or `docker`")),
        }
    }
}

/// The port `railway-deployer sandbox start` listens on unless told otherwise.
pub const DEFAULT_PORT: u16 = 7430;

/// How to start a sandbox.
#[derive(Debug, Clone)]
pub struct Config {
    /// Directory for `sandbox.json`, `sandbox.db` and `registry/`; made (mode 0700) when missing.
    pub state_dir: PathBuf,
    /// Port on 127.0.0.1; 0 takes the one remembered in the state directory, or else a free one, and remembers it.
    pub port: u16,
    /// Sandbox seconds per real second, more than 0; `None` keeps the stored setting (20 at first).
    pub time_scale: Option<f64>,
    /// Whether the clock moves only when `POST /_sandbox/clock` advances it; `None` keeps the stored setting (it
    /// moves by itself at first).
    pub manual_clock: Option<bool>,
    /// What runs the instances.
    pub runtime: RuntimeKind,
    /// Who may pull from and push to the registry. It is not stored: the next start says it anew.
    pub registry_auth: RegistryAuth,
}

impl Config {
    /// The defaults of the command line for `state_dir`.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self {
            state_dir: state_dir.into(),
            port: DEFAULT_PORT,
            time_scale: None,
            manual_clock: None,
            runtime: RuntimeKind::Simulated,
            registry_auth: RegistryAuth::Anonymous,
        }
    }
}

/// Content of `sandbox.json` (mode 0600): all that a client needs. Tokens are credentials of the sandbox alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// Format of this file; 1.
    pub version: u32,
    /// Process that serves.
    pub pid: u32,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// GraphQL endpoint.
    pub endpoint: String,
    /// `127.0.0.1:PORT`, as image references spell it.
    pub registry: String,
    /// Base of the admin API.
    pub admin: String,
    /// Bearer tokens.
    pub tokens: Tokens,
    /// The workspace both tokens reach.
    pub workspace_id: String,
}

/// The sandbox's own bearer tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Acts as a person in all workspaces.
    pub account: String,
    /// Acts as administrator of the one workspace.
    pub workspace: String,
}

impl SandboxInfo {
    /// Name of the file inside the state directory.
    pub const FILE: &'static str = "sandbox.json";

    /// Reads what a running sandbox left in `state_dir`. The file says nothing about whether that process still
    /// lives; ask `GET {admin}/status`.
    pub fn read(state_dir: &Path) -> Result<Self, Error> {
        let path = state_dir.join(Self::FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| Error::Info { path, reason: source.to_string() })
    }
}

/// Why a sandbox did not start, or did not answer a question about itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory of the state directory.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// Verb.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// `sandbox.json` is not what we write.
    #[error("`{}` is no sandbox description: {reason}", path.display())]
    Info {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The port is taken or not allowed.
    #[error(
        "cannot listen on 127.0.0.1:{port}: {source}; stop what uses it, or choose another with `--port`"
    )]
    Bind {
        /// Port asked for.
        port: u16,
        /// Cause.
        source: std::io::Error,
    },
    /// The database.
    #[error("cannot {action} the sandbox's database `{}`: {source}", path.display())]
    Store {
        /// Verb.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Cause.
        source: rusqlite::Error,
    },
    /// The database belongs to a running sandbox.
    #[error("`{}` is in use by another sandbox; stop that one, or give this one another `--state-dir`", path.display())]
    InUse {
        /// File.
        path: PathBuf,
    },
    /// The database holds something this version cannot read.
    #[error("`{}` holds a {kind} `{id}` that cannot be read: {reason}; remove the state directory to start afresh", path.display())]
    Corrupt {
        /// File.
        path: PathBuf,
        /// Kind of object.
        kind: String,
        /// Its id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Registry or runtime did not start.
    #[error("cannot start the sandbox's {part}: {reason}")]
    Part {
        /// `registry` or `runtime`.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// A value of [`Config`] makes no sense.
    #[error("`{setting}` cannot be `{value}`: {reason}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        reason: &'static str,
    },
}
