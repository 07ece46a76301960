//! `doctor`: what Spectra needs, whether it is there, and what to do if not.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use spectra_oci::{Client, ClientOptions, Credential, Environment, Keychain, RetryPolicy};
use spectra_types::ExitCode;

use super::{
    image::Transport,
    sandbox::{Found, StateDir, find},
};
use crate::{
    failure::Failure,
    lines::Lines,
    printer::{Printer, Status},
};

mod railway;

/// How long `terraform version` and the like may take.
const VERSION_TIMEOUT: Duration = Duration::from_secs(20);

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A registry to reach, such as ghcr.io
    #[arg(long, env = "SPECTRA_REGISTRY", value_name = "HOST")]
    registry: Vec<String>,
    #[command(flatten)]
    transport: Transport,
    #[command(flatten)]
    state: StateDir,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    status: Status,
    message: String,
    /// What to do; missing where nothing has to be done.
    advice: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, status: Status, message: impl Into<String>) -> Self {
        Self { name: name.into(), status, message: message.into(), advice: None }
    }

    fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

pub(crate) async fn run(arguments: &Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let mut checks = vec![engine().await, docker(), docker_helpers()];
    // A person waits for the answer, so one repetition is enough.
    let retry = RetryPolicy { attempts: 2, ..RetryPolicy::default() };
    let mut options =
        ClientOptions { retry, stall_timeout: Duration::from_secs(15), ..ClientOptions::default() };
    arguments.transport.apply(&mut options, printer)?;
    for host in &arguments.registry {
        checks.push(registry(host, options.clone()).await);
    }
    checks.push(railway::check().await);
    checks.push(sandbox(&arguments.state).await);
    let failed = checks.iter().filter(|check| check.status == Status::Fail).count();
    printer.data("doctor", &json!({ "ok": failed == 0, "checks": checks }), text(&checks, printer))?;
    if failed == 0 {
        return Ok(ExitCode::Done);
    }
    Err(Failure::Checks { failed, total: checks.len() })
}

fn text(checks: &[Check], printer: Printer) -> Lines {
    let mut output = Lines::default();
    for check in checks {
        let word = match check.status {
            Status::Ok => "ok  ",
            Status::Warn => "warn",
            Status::Fail => "fail",
        };
        let word = printer.paint(word, check.status);
        output.marked(&word, &format!(" {}: {}", check.name, check.message));
        if let Some(advice) = &check.advice {
            output.push(&format!("     -> {advice}"));
        }
    }
    output
}

/// Terraform or OpenTofu, new enough; the better of the two decides.
async fn engine() -> Check {
    let mut old = Vec::new();
    for (program, name, minimum) in [("terraform", "Terraform", (1, 5)), ("tofu", "OpenTofu", (1, 8))] {
        let Some(version) = engine_version(program).await else { continue };
        let number = parse_version(&version);
        if number.is_some_and(|number| number >= minimum) {
            return Check::new("terraform", Status::Ok, format!("{name} {version}"));
        }
        old.push(format!("{name} {version} is older than {}.{}", minimum.0, minimum.1));
    }
    if old.is_empty() {
        return Check::new("terraform", Status::Fail, "neither `terraform` nor `tofu` is on PATH")
            .advice("install Terraform 1.5 or OpenTofu 1.8, or newer");
    }
    Check::new("terraform", Status::Fail, old.join(", "))
        .advice("install Terraform 1.5 or OpenTofu 1.8, or newer")
}

async fn engine_version(program: &str) -> Option<String> {
    let mut command = tokio::process::Command::new(program);
    command.args(["version", "-json"]).env("CHECKPOINT_DISABLE", "1").kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, command.output()).await.ok()?.ok()?;
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    answer["terraform_version"].as_str().map(str::to_owned)
}

fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether the files that hold registry credentials can be read.
fn docker() -> Check {
    let keychain = Keychain::new(Environment::from_process());
    let files: Vec<String> = keychain.files().iter().map(|path| format!("`{}`", path.display())).collect();
    match keychain.helpers() {
        Err(error) => Check::new("credentials", Status::Fail, error.to_string())
            .advice("repair the file, or remove it and log in again with `docker login`"),
        Ok(_) if files.is_empty() => Check::new(
            "credentials",
            Status::Warn,
            "no docker or podman configuration; registries are used anonymously",
        )
        .advice(
            "log in with `docker login HOST`, or set DOCKER_USERNAME, DOCKER_PASSWORD and DOCKER_REGISTRY",
        ),
        Ok(_) => Check::new("credentials", Status::Ok, files.join(", ")),
    }
}

/// Whether the helpers that those files name are installed.
fn docker_helpers() -> Check {
    let helpers = Keychain::new(Environment::from_process()).helpers().unwrap_or_default();
    let missing: Vec<String> = helpers
        .iter()
        .map(|name| format!("docker-credential-{name}"))
        .filter(|program| on_path(program).is_none())
        .collect();
    if missing.is_empty() {
        let message = if helpers.is_empty() { "none are used".to_owned() } else { helpers.join(", ") };
        return Check::new("credential helpers", Status::Ok, message);
    }
    Check::new("credential helpers", Status::Warn, format!("not on PATH: {}", missing.join(", ")))
        .advice("install them, or log in again without them")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Whether a registry answers, and whether there are credentials for it.
async fn registry(host: &str, options: ClientOptions) -> Check {
    let name = format!("registry {host}");
    let keychain = Keychain::new(Environment::from_process());
    let ping = match Client::new(keychain.clone(), options).ping(host).await {
        Ok(ping) => ping,
        Err(error) => {
            let check = Check::new(name, Status::Fail, error.to_string());
            return check.advice(
                error.hint().unwrap_or("check the host name; `--registry` takes a host without `https://`"),
            );
        }
    };
    let credential = match keychain.resolve(host, "").await {
        Ok(Credential::Anonymous) => "no credentials",
        Ok(_) => "credentials found",
        Err(error) => return Check::new(name, Status::Fail, error.to_string()),
    };
    let message = format!("answers at {}, authentication {}, {credential}", ping.url, ping.authentication);
    if ping.authentication != "none" && credential == "no credentials" {
        return Check::new(name, Status::Warn, message)
            .advice(format!("to push, log in with `docker login {host}`"));
    }
    Check::new(name, Status::Ok, message)
}

/// Whether a sandbox runs; none is fine.
async fn sandbox(state: &StateDir) -> Check {
    match find(&state.state_dir).await {
        Ok(Found::Running(info, _)) => Check::new("sandbox", Status::Ok, format!("running at {}", info.url)),
        Ok(Found::Nothing) => Check::new("sandbox", Status::Ok, "not running"),
        Ok(Found::Stale(info)) => {
            Check::new("sandbox", Status::Warn, format!("process {} has ended without cleaning up", info.pid))
                .advice("start it again with `railway-deployer sandbox start`; its state is kept")
        }
        Err(error) => Check::new("sandbox", Status::Warn, error.chain().join(": ")),
    }
}
