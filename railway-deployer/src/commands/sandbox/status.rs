//! `sandbox status`.

use serde_json::json;
use spectra_types::ExitCode;

use super::{Found, StateDir, find};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Exits 0 if a sandbox runs, 1 if not.
pub(super) async fn run(state: &StateDir, printer: Printer) -> Result<ExitCode, Failure> {
    let directory = state.state_dir.display();
    let (running, value, text) = match find(&state.state_dir).await? {
        Found::Running(info, status) => {
            let text: Lines = [
                format!("running at {} (process {})", info.url, info.pid),
                format!("endpoint  {}", info.endpoint),
                format!("registry  {}", info.registry),
                format!("admin     {}", info.admin),
            ]
            .into_iter()
            .collect();
            let value = json!({
                "running": true,
                "state_dir": state.state_dir,
                "pid": info.pid,
                "port": info.port,
                "url": info.url,
                "endpoint": info.endpoint,
                "registry": info.registry,
                "admin": info.admin,
                "workspace_id": info.workspace_id,
                "status": status,
            });
            (true, value, text)
        }
        Found::Stale(info) => {
            let text = format!(
                "not running; the one on port {} in `{directory}` has ended without saying so",
                info.port
            );
            (false, json!({ "running": false, "state_dir": state.state_dir, "port": info.port }), text.into())
        }
        Found::Nothing => (
            false,
            json!({ "running": false, "state_dir": state.state_dir }),
            format!("not running in `{directory}`").into(),
        ),
    };
    printer.data("sandbox.status", &value, text)?;
    Ok(if running { ExitCode::Done } else { ExitCode::Failed })
}
