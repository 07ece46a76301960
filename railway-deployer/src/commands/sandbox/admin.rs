//! Finding the sandbox of a state directory, and talking to its admin endpoint.

use std::{path::Path, time::Duration};

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;

/// The file in a state directory in which a sandbox says where it is.
const FILE: &str = "sandbox.json";
/// The version of that file that we read.
const VERSION: u32 = 1;

/// The admin endpoint is on this machine and answers at once, or not at all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a sandbox says about itself in [`FILE`]. Its tokens open nothing but the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SandboxInfo {
    version: u32,
    pub(crate) pid: u32,
    pub(crate) port: u16,
    pub(crate) url: String,
    pub(crate) endpoint: String,
    pub(crate) registry: String,
    pub(crate) admin: String,
    pub(crate) tokens: Tokens,
    pub(crate) workspace_id: String,
}

/// Tokens for the sandbox's API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) account: String,
    pub(crate) workspace: String,
}

/// What a state directory leads to.
pub(crate) enum Found {
    /// No sandbox was ever started there.
    Nothing,
    /// One was, but does not answer any more.
    Stale(Box<SandboxInfo>),
    /// One runs; with what it says about itself.
    Running(Box<SandboxInfo>, Value),
}

/// Looks for a running sandbox.
///
/// It counts as running only if it answers: after a crash the file remains, and its process id may belong to
/// something else.
pub(crate) async fn find(state_dir: &Path) -> Result<Found, Failure> {
    let path = state_dir.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(Failure::file("read", path)(error)),
    };
    let unreadable = |reason: String| Failure::SandboxState {
        message: format!("`{}` is no sandbox description: {reason}", path.display()),
        hint: "give the state directory of a sandbox, or remove the file and start a new one",
    };
    let info: Box<SandboxInfo> =
        serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    if info.version != VERSION {
        return Err(unreadable(format!("it has version {}, expected {VERSION}", info.version)));
    }
    match call(&info, Method::GET, "status", None).await {
        Ok(status) => Ok(Found::Running(info, status)),
        Err(_) => Ok(Found::Stale(info)),
    }
}

/// The running sandbox, or an error that says how to start one.
pub(super) async fn require(state_dir: &Path) -> Result<Box<SandboxInfo>, Failure> {
    match find(state_dir).await? {
        Found::Running(info, _) => Ok(info),
        Found::Stale(_) | Found::Nothing => Err(Failure::SandboxState {
            message: format!("no sandbox runs with the state directory `{}`", state_dir.display()),
            hint: "start one with `railway-deployer sandbox start`, or give its `--state-dir`",
        }),
    }
}

/// Calls `path` of the admin endpoint. Answers JSON, or null for an empty body.
pub(super) async fn call(
    info: &SandboxInfo,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let attempt = format!("{method} {}/{path}", info.admin);
    let failed = |reason: String| Failure::SandboxState {
        message: format!("the sandbox refused `{attempt}`: {reason}"),
        hint: "see `railway-deployer sandbox status`, and `sandbox.log` in its state directory",
    };
    // No proxy and no certificates: the address is on this machine.
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(TIMEOUT)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut request = client.request(method, format!("{}/{path}", info.admin));
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| failed(error.to_string()))?;
    if !status.is_success() {
        return Err(failed(format!("{status} {}", text.trim())));
    }
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| failed(format!("its answer is not JSON: {error}")))
}
