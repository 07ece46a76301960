//! How a service is probed from outside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human;

/// A `GET` of the service, repeated, and how its answers are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthPolicy {
    /// The path to ask for on the service's own domain.
    #[serde(default = "slash")]
    pub path: String,
    /// The whole URL to ask for, when it is not on the service's own domain. Siblings and waves are always asked at
    /// their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The status that counts as healthy.
    #[serde(default = "ok")]
    pub expected_status: u16,
    /// Time between two probes.
    #[serde(with = "human", default = "five_seconds")]
    pub interval: Duration,
    /// How long one probe may take.
    #[serde(with = "human", default = "five_seconds")]
    pub timeout: Duration,
    /// Consecutive healthy answers that make the candidate healthy; at least 1.
    #[serde(default = "two")]
    pub success_threshold: u32,
    /// Consecutive unhealthy answers that make it unhealthy; at least 1.
    #[serde(default = "three")]
    pub failure_threshold: u32,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            path: slash(),
            url: None,
            expected_status: ok(),
            interval: five_seconds(),
            timeout: five_seconds(),
            success_threshold: two(),
            failure_threshold: three(),
        }
    }
}

fn slash() -> String {
    "/".to_owned()
}

const fn ok() -> u16 {
    200
}

const fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

const fn two() -> u32 {
    2
}

const fn three() -> u32 {
    3
}
