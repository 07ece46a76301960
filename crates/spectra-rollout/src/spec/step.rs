//! The steps of a rollout.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use spectra_types::ServiceId;

use super::command::CommandSpec;
use super::human;
use super::metric::Metric;
use super::migration::Migration;
use super::nothing::nothing_more;

/// One step. Steps are taken in order, and undone in reverse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// Change the database schema.
    Migrate(Migration),
    /// Run a program.
    Hook(Hook),
    /// Run the candidate beside stable, as a service of its own.
    Canary(Canary),
    /// Wait for a time or for a person.
    Pause(Pause),
    /// Measure and judge.
    Analysis(Analysis),
    /// Replace stable by the candidate, when the candidate is healthy.
    #[serde(deserialize_with = "nothing_more")]
    Swap,
    /// Replace the image of several services, one after the other.
    Wave(Wave),
}

impl Step {
    /// The word for it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Migrate(_) => "migrate",
            Self::Hook(_) => "hook",
            Self::Canary(_) => "canary",
            Self::Pause(_) => "pause",
            Self::Analysis(_) => "analysis",
            Self::Swap => "swap",
            Self::Wave(_) => "wave",
        }
    }

    /// The word and the name, where it has one.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Migrate(migration) => format!("migrate `{}`", migration.name),
            Self::Hook(hook) => format!("hook `{}`", hook.name),
            other => other.kind().to_owned(),
        }
    }
}

/// A program that is run once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// Its name, unique in the rollout.
    pub name: String,
    /// What it does. Run again after a crash, so it has to bear that.
    pub run: CommandSpec,
    /// What undoes it, also after it stopped half way; left out, there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<CommandSpec>,
}

/// A sibling service with the candidate: placement and variables are stable's, the domain is its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Canary {
    /// The name of the sibling; `SERVICE-canary` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many replicas it has; stable's number when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How long it is watched and measured at least.
    #[serde(with = "human")]
    pub duration: Duration,
    /// What is measured of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
}

/// A wait. What is up is watched meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pause {
    /// For a time.
    Duration(#[serde(with = "human")] Duration),
    /// Until the rollout is approved, at most for this long; then it fails.
    Approval(#[serde(with = "human")] Duration),
}

/// Measurements that decide whether it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analysis {
    /// How long it lasts at least; metrics with a count may make it longer.
    #[serde(with = "human", default)]
    pub duration: Duration,
    /// What is measured; at least one.
    pub metrics: Vec<Metric>,
}

/// Services of the same environment that get the candidate, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// The services; at least one, each once. The rollout's own service may be among them.
    pub services: Vec<ServiceId>,
    /// How long each is watched before the next.
    #[serde(with = "human", default)]
    pub pause: Duration,
}

impl Pause {
    /// The longest it lasts.
    #[must_use]
    pub const fn at_most(&self) -> Duration {
        match self {
            Self::Duration(duration) | Self::Approval(duration) => *duration,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_written_as_they_are_read() {
        let text = r#"[
            {"step":"migrate","name":"add-column","part":"expand","up":{"command":["migrate","up"]},"irreversible":true},
            {"step":"canary","duration":"5m","metrics":[{"name":"errors","source":{"kind":"http_log_status","ratio":"server_error"},"max":0.01}]},
            {"step":"pause","approval":"1h"},
            {"step":"pause","duration":"30s"},
            {"step":"swap"},
            {"step":"wave","services":["s-2"],"pause":"10s"},
            {"step":"hook","name":"warm","run":{"command":["warm"]}}
        ]"#;
        let read = |text: &str| -> Vec<Step> {
            serde_json::from_value(serde_json::from_str(text).unwrap()).unwrap()
        };
        let steps = read(text);
        let kinds: Vec<_> = steps.iter().map(Step::kind).collect();
        assert_eq!(kinds, ["migrate", "canary", "pause", "pause", "swap", "wave", "hook"]);
        assert_eq!(read(&serde_json::to_string(&steps).unwrap()), steps);
    }
}
