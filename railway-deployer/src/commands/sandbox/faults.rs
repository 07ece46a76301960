//! `sandbox faults`: list, set, clear.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use spectra_types::ExitCode;

use super::{
    StateDir,
    admin::{call, require},
};
use crate::{failure::Failure, lines::Lines, printer::Printer};

/// Commands of `sandbox faults`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the rules in force and how often each has applied
    List(StateDir),
    /// Add a rule
    Set(Set),
    /// Remove all rules
    Clear(StateDir),
}

/// Arguments of `sandbox faults set`.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The rule as JSON, or `@FILE`: `{"operation":"serviceCreate","action":{"type":"http","status":503},"count":1}`
    rule: String,
    #[command(flatten)]
    state: StateDir,
}

pub(super) async fn run(command: Command, printer: Printer) -> Result<ExitCode, Failure> {
    let answer = match command {
        Command::List(state) => {
            let info = require(&state.state_dir).await?;
            call(&info, Method::GET, "faults", None).await?
        }
        Command::Set(arguments) => {
            let rule = parse(&arguments.rule)?;
            let info = require(&arguments.state.state_dir).await?;
            call(&info, Method::POST, "faults", Some(&rule)).await?
        }
        Command::Clear(state) => {
            let info = require(&state.state_dir).await?;
            call(&info, Method::DELETE, "faults", None).await?
        }
    };
    let value = if answer.is_object() { answer } else { json!({ "faults": answer }) };
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    let text: Lines = text.lines().collect();
    printer.data("sandbox.faults", &value, text)?;
    Ok(ExitCode::Done)
}

fn parse(rule: &str) -> Result<Value, Failure> {
    let text = match rule.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(Failure::file("read the rule", path))?,
        None => rule.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| Failure::usage(format!("the rule is not JSON: {error}")))
}
