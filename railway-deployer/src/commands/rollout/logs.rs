//! Whether and how log lines of deployments are shown.

use clap::Args;
use clap::builder::BoolishValueParser;
use spectra_delivery::Logged;
use spectra_railway::LogKind;

use crate::printer::Printer;

/// Whether logs are shown.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Logs {
    /// Show what the deployments print, also where other progress is not shown; wins over `--no-logs`
    #[arg(long, env = "SPECTRA_LOGS", value_parser = BoolishValueParser::new())]
    logs: bool,
    /// Show nothing of what the deployments print [default: shown like other progress]
    #[arg(long, env = "SPECTRA_NO_LOGS", value_parser = BoolishValueParser::new())]
    no_logs: bool,
}

impl Logs {
    /// Whether they are shown: as other progress is, unless something else was said. `--quiet` has the last word.
    pub(super) const fn shown(self, printer: Printer) -> bool {
        !printer.is_quiet() && (self.logs || (printer.shows_progress() && !self.no_logs))
    }
}

/// `deploy 1f0c2a9b | text`: which log of which deployment, then what it says.
pub(super) fn line(logged: &Logged<'_>) -> String {
    let log = match logged.kind {
        LogKind::Build => "build",
        LogKind::Deploy => "deploy",
    };
    let id: String = logged.deployment.as_str().chars().take(8).collect();
    format!("{log} {id} | {}", logged.line)
}
