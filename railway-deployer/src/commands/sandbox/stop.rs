//! `sandbox stop`.

use std::time::{Duration, Instant};

use clap::Args;
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use spectra_types::{ExitCode, HumanDuration};

use super::{Found, StateDir, admin::call, find, process::is_alive};
use crate::{failure::Failure, printer::Printer};

const POLL: Duration = Duration::from_millis(20);

/// Arguments of `sandbox stop`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    state: StateDir,
    /// How long it may take to end after being asked, and again after a signal
    #[arg(long, env = "SPECTRA_GRACE", default_value = "10s")]
    grace: HumanDuration,
}

/// Stops the sandbox and waits until its process is gone. If none runs, that is done already.
pub(super) async fn run(arguments: &Arguments, printer: Printer) -> Result<ExitCode, Failure> {
    let Found::Running(info, _) = find(&arguments.state.state_dir).await? else {
        printer.note(&format!("no sandbox runs in `{}`", arguments.state.state_dir.display()));
        printer.data("sandbox.stop", &json!({ "stopped": false }), "not running")?;
        return Ok(ExitCode::Done);
    };
    // The answer may be lost in the shutdown that it announces; what counts is that the process ends.
    let asked = call(&info, Method::POST, "shutdown", None).await;
    let pid = i32::try_from(info.pid).ok().and_then(Pid::from_raw);
    if !is_gone(pid, arguments.grace.get()).await {
        // It answered a moment ago under this id, so the id is still its own.
        let signalled = pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok());
        if !signalled || !is_gone(pid, arguments.grace.get()).await {
            asked?;
            return Err(Failure::SandboxState {
                message: format!("the sandbox, process {}, does not end", info.pid),
                hint: "end the process yourself; its state is kept and a new start goes on from there",
            });
        }
    }
    printer.data("sandbox.stop", &json!({ "stopped": true, "pid": info.pid }), "stopped")?;
    Ok(ExitCode::Done)
}

async fn is_gone(pid: Option<Pid>, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if pid.is_none_or(|pid| !is_alive(pid)) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}
