//! A program to run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// A program that is run on this machine, without a shell.
///
/// Secrets never stand on its command line: it gets the service's variables as its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandSpec {
    /// The program and its arguments; at least the program.
    pub command: Vec<String>,
    /// Further environment variables; not for secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Whether it gets the variables of the service, references rendered.
    #[serde(default = "yes")]
    pub service_variables: bool,
    /// The folder it runs in; the current one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The longest it may take; it is ended then, and has failed.
    #[serde(with = "human", default = "ten_minutes")]
    pub timeout: Duration,
}

impl CommandSpec {
    /// The program in words, for people: its name and arguments.
    #[must_use]
    pub fn words(&self) -> String {
        self.command.join(" ")
    }
}

const fn yes() -> bool {
    true
}

const fn ten_minutes() -> Duration {
    Duration::from_mins(10)
}
