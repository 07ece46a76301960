//! The sandbox as a child process: started by the built command-line program, read through its admin
//! surface, gone with this program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::Context;
use crate::error::Error;
use crate::http;
use crate::process::{Job, Output, Running};
use crate::workspace::Programs;

/// How long the sandbox may take to answer.
const READY: Duration = Duration::from_secs(30);

/// A running sandbox.
pub(crate) struct Sandbox {
    running: Running,
    /// Base URL of the admin surface.
    pub(crate) admin: String,
    /// The workspace that holds everything.
    pub(crate) workspace: String,
    /// GraphQL URL.
    pub(crate) endpoint: String,
    /// `127.0.0.1:PORT` of the image registry.
    pub(crate) registry: String,
    /// A token of the account kind.
    pub(crate) token: String,
}

/// One request that the sandbox answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    /// `query` or `mutation` for API requests; other surfaces have other words.
    pub(crate) kind: String,
    /// Name of the operation, or method and path.
    pub(crate) operation: String,
    /// How it was answered: `ok`, or what went wrong.
    pub(crate) outcome: String,
}

impl Entry {
    /// Whether the request changed, or tried to change, an object of the platform.
    pub(crate) fn is_mutation(&self) -> bool {
        self.kind == "mutation"
    }
}

impl Sandbox {
    /// Starts a sandbox that keeps its state in `state` and ends with this program.
    pub(crate) async fn start(context: &Context, programs: &Programs, state: &Path) -> Result<Self, Error> {
        let log = state.with_extension("log");
        let job = Job::new(&programs.deployer)
            .args(["sandbox", "start", "--foreground", "--exit-with-parent", "--port", "0", "--state-dir"])
            .arg(state)
            .output(Output::File(log.clone()));
        let mut running = context.processes.start(&job)?;
        let deadline = Instant::now() + READY;
        let info = loop {
            if let Some(end) = running.finished() {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::Failed {
                    command: end.command,
                    status: end.status.to_string(),
                    output: format!("\n{}", text.trim_end()),
                });
            }
            if let Some(info) = ready(state).await {
                break info;
            }
            if Instant::now() >= deadline {
                context.processes.stop(&mut running).await;
                let output = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::TimedOut { command: job.line(), seconds: READY.as_secs(), output });
            }
            sleep(Duration::from_millis(50)).await;
        };
        let text = |pointer: &str| {
            info.pointer(pointer).and_then(Value::as_str).map(ToOwned::to_owned).ok_or_else(|| {
                Error::unexpected(
                    state.join("sandbox.json").display().to_string(),
                    format!("it has no `{pointer}`"),
                )
            })
        };
        Ok(Self {
            admin: text("/admin")?,
            endpoint: text("/endpoint")?,
            registry: text("/registry")?,
            token: text("/tokens/account")?,
            workspace: text("/workspace_id")?,
            running,
        })
    }

    /// The environment that points the provider and the command-line program here.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [("SPECTRA_RAILWAY_ENDPOINT", self.endpoint.clone()), ("RAILWAY_API_TOKEN", self.token.clone())]
    }

    /// Process id, for messages.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Everything that was asked of the sandbox after `sequence`, however many pages that takes.
    pub(crate) async fn journal(&self, sequence: u64) -> Result<Vec<Entry>, Error> {
        let mut all = Vec::new();
        let mut after = sequence;
        loop {
            let page = self.journal_page(after).await?;
            match page.last() {
                Some(last) if last.sequence > after => after = last.sequence,
                _ => return Ok(all),
            }
            all.extend(page);
        }
    }

    async fn journal_page(&self, sequence: u64) -> Result<Vec<Entry>, Error> {
        let url = format!("{}/journal?since={sequence}", self.admin);
        let value = http::get_json(&url).await?;
        let entries = value.get("entries").and_then(Value::as_array).or_else(|| value.as_array());
        let entries = entries.ok_or_else(|| Error::unexpected(&url, "there is no list of entries"))?;
        entries
            .iter()
            .map(|entry| {
                let text = |name: &str| entry.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
                let sequence = entry.get("seq").and_then(Value::as_u64);
                match (sequence, text("kind"), text("operation"), text("outcome")) {
                    (Some(sequence), Some(kind), Some(operation), Some(outcome)) => {
                        Ok(Entry { sequence, kind, operation, outcome })
                    }
                    _ => Err(Error::unexpected(
                        &url,
                        format!("an entry lacks seq, kind, operation or outcome: {entry}"),
                    )),
                }
            })
            .collect()
    }

    /// Sequence number of the latest entry.
    pub(crate) async fn last_sequence(&self) -> Result<u64, Error> {
        Ok(self.journal(0).await?.last().map_or(0, |entry| entry.sequence))
    }

    /// How many objects of each kind the platform holds.
    pub(crate) async fn objects(&self) -> Result<Vec<(String, u64)>, Error> {
        let url = format!("{}/status", self.admin);
        let value = http::get_json(&url).await?;
        let objects = value
            .get("objects")
            .and_then(Value::as_object)
            .ok_or_else(|| Error::unexpected(&url, "there is no `objects`"))?;
        Ok(objects.iter().map(|(kind, count)| (kind.clone(), count.as_u64().unwrap_or(0))).collect())
    }

    /// What clients of the registry did wrong.
    pub(crate) async fn violations(&self) -> Result<Vec<Value>, Error> {
        let url = format!("{}/violations", self.admin);
        let value = http::get_json(&url).await?;
        let violations = value.get("violations").and_then(Value::as_array).cloned();
        violations.ok_or_else(|| Error::unexpected(&url, "there are no `violations`"))
    }

    /// Changes settings of the sandbox.
    pub(crate) async fn set(&self, settings: &Value) -> Result<(), Error> {
        let url = format!("{}/settings", self.admin);
        http::send_json(reqwest::Method::PUT, &url, None, settings).await.map(drop)
    }

    /// Calls the API as the account; an answer with errors is an error.
    pub(crate) async fn call(&self, query: &str, variables: &Value) -> Result<Value, Error> {
        let body = serde_json::json!({ "query": query, "variables": variables });
        // Without a query string the API's edge has another limit.
        let url = format!("{}?source=xtask", self.endpoint);
        let answer = http::send_json(reqwest::Method::POST, &url, Some(&self.token), &body).await?;
        match (answer.get("errors"), answer.get("data")) {
            (None | Some(Value::Null), Some(data)) => Ok(data.clone()),
            _ => Err(Error::unexpected(url, answer.to_string())),
        }
    }

    /// What the platform says of each service in each environment.
    pub(crate) async fn services(&self) -> Result<Vec<Value>, Error> {
        let url = format!("{}/status", self.admin);
        let mut value = http::get_json(&url).await?;
        match value.get_mut("services").map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
            _ => Err(Error::unexpected(&url, "there is no list of services")),
        }
    }

    /// Ends the sandbox and waits for it.
    pub(crate) async fn stop(mut self, context: &Context) {
        context.processes.stop(&mut self.running).await;
    }
}

/// Reads `sandbox.json` and asks the admin surface that it names.
async fn ready(state: &Path) -> Option<Value> {
    let path: PathBuf = state.join("sandbox.json");
    let info: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let admin = info.get("admin")?.as_str()?;
    http::get_json(&format!("{admin}/status")).await.ok()?;
    Some(info)
}
