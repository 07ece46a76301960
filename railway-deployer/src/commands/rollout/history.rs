//! `rollout history`.

use clap::{Args, builder::BoolishValueParser};
use serde_json::{Value, json};
use spectra_delivery::{Standing, history, request_of, standing_of};
use spectra_types::ExitCode;

use super::place::PlaceFlags;
use super::{open_existing, platform};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Arguments of `rollout history`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    service: PlaceFlags,
    /// How many to list
    #[arg(long, env = "SPECTRA_LIMIT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// List the deployments that Railway knows instead of the rollouts of the journal
    #[arg(long, env = "SPECTRA_HISTORY_PLATFORM", value_parser = BoolishValueParser::new())]
    platform: bool,
}

pub(super) async fn run(arguments: Arguments, journal: &str, printer: Printer) -> Result<ExitCode, Failure> {
    let place = arguments.service.place()?;
    if arguments.platform {
        return platform::run(place, arguments.limit, printer).await;
    }
    let journal = open_existing(journal).await?;
    let subject = place.subject();
    let mut list: Vec<Value> = Vec::new();
    let mut text = Lines::default();
    for begun in history(&journal, Some(&subject), u64::from(arguments.limit)).await? {
        let Some(rollout) = begun.rollout else { continue };
        let request = request_of(&journal, &rollout).await?;
        let (state, outcome) = match standing_of(&journal, &rollout).await? {
            Standing::None => ("none", None),
            Standing::Open { .. } => ("open", None),
            Standing::Ended { outcome, .. } => ("ended", Some(outcome)),
            Standing::Unresolved { outcome, .. } => ("unresolved", Some(outcome)),
        };
        let words = outcome.as_ref().map_or_else(|| state.to_owned(), ToString::to_string);
        let at = begun.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        text.push(&format!("{rollout}  {at}  {}  {words}", request.candidate.digest().short()));
        list.push(json!({
            "rollout": rollout,
            "begun_at": begun.at.to_string(),
            "image": request.candidate,
            "state": state,
            "outcome": outcome.as_ref().map(|outcome| outcome.phase()),
            "exit_code": outcome.as_ref().map(|outcome| outcome.exit_code().code()),
            "message": words,
        }));
    }
    if list.is_empty() {
        text.push("no rollouts");
    }
    let value = json!({
        "project_id": place.project,
        "environment_id": place.environment,
        "service_id": place.service,
        "rollouts": list,
    });
    printer.data("rollout.history", &value, text)?;
    Ok(ExitCode::Done)
}
