//! `rollout start`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use spectra_delivery::Delivered;
use spectra_railway::{Client, ClientConfig};
use spectra_rollout::RolloutRequest;
use spectra_types::{ExitCode, error_chain};

use super::credentials::Credentials;
use super::crew::{Crew, Patience};
use super::flags::{RequestFlags, SignatureFlags};
use super::logs::Logs;
use super::place::PlaceFlags;
use super::postmortem::Folder;
use super::signals::Handover;
use super::{open, outcome, spec};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `rollout start`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    service: PlaceFlags,
    /// File with a rollout, or with several as `[[rollout]]`, which run at once; TOML, or JSON if its name ends so
    #[arg(long, value_name = "FILE", env = "SPECTRA_SPEC")]
    spec: Option<PathBuf>,
    #[command(flatten)]
    request: RequestFlags,
    #[command(flatten)]
    signatures: SignatureFlags,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    logs: Logs,
    #[command(flatten)]
    handover: Handover,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let requests = match &arguments.spec {
        Some(path) => spec::read(path, &arguments.service, arguments.request.image.as_ref())?,
        None => vec![arguments.request.request(&arguments.service)?],
    };
    let registry = arguments.credentials.login(requests.iter().map(|request| &request.candidate))?;
    let signatures = arguments.signatures.policies()?;
    let certificates = arguments.signatures.certificates(&signatures)?;
    let client = Client::new(ClientConfig::from_env()?)?;
    let journal = open(journal).await?;
    let crew = Crew {
        client: &client,
        journal: &journal,
        printer,
        patience: &arguments.patience,
        folder: &arguments.folder,
        registry,
        logs: arguments.logs,
        signatures: &signatures,
        certificates: &certificates,
    };
    let mut results = crew.deliver(&requests, &arguments.handover).await?;
    if let [request] = requests.as_slice()
        && let Some(result) = results.pop()
    {
        let delivered = result?;
        let text = outcome::delivered_text(&request.candidate, &delivered, &arguments.folder);
        let value = outcome::delivered_value(&request.candidate, &delivered, &arguments.folder);
        return printer.outcome("rollout.result", &value, text, delivered.report.outcome.exit_code());
    }
    several(&requests, &results, &arguments.folder, printer)
}

fn several(
    requests: &[RolloutRequest],
    results: &[Result<Delivered, Failure>],
    folder: &Folder,
    printer: Printer,
) -> Result<ExitCode, Failure> {
    let worst = results.iter().map(outcome::exit_code).max_by_key(|code| outcome::badness(*code));
    let worst = worst.unwrap_or_default();
    let both = || requests.iter().zip(results);
    let values: Vec<_> = both()
        .map(|(request, result)| match result {
            Ok(delivered) => outcome::delivered_value(&request.candidate, delivered, folder),
            Err(failure) => outcome::not_begun(&request.candidate, &request.place, failure),
        })
        .collect();
    let mut text = Lines::default();
    for (request, result) in both() {
        if !text.is_empty() {
            text.push("");
        }
        match result {
            Ok(delivered) => text.append(&outcome::delivered_text(&request.candidate, delivered, folder)),
            Err(failure) => {
                text.push(&format!("not begun: {}", error_chain(failure)));
                text.push(&format!("service     {}", request.place.service));
                if let Some(hint) = failure.hint() {
                    text.push(&format!("hint: {hint}"));
                }
            }
        }
    }
    let value = json!({ "exit_code": worst.code(), "results": values });
    printer.outcome("rollout.results", &value, text, worst)
}
