//! What is measured of a candidate, and what is expected.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::command::CommandSpec;
use super::human;
use super::nothing::nothing_more;

/// A measurement that is repeated and judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, unique in the rollout.
    pub name: String,
    /// What is measured.
    pub source: MetricKind,
    /// Time between two measurements, and the window that one looks at.
    #[serde(with = "human", default = "a_minute")]
    pub interval: Duration,
    /// How many measurements decide; left out, it is measured as long as the step or the bake lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How long after the beginning the first one is made.
    #[serde(with = "human", default)]
    pub initial_delay: Duration,
    /// The least value that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest value that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// How it is compared with the stable version in the same window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Comparison>,
    /// It fails with more bad measurements than this.
    #[serde(default)]
    pub failure_limit: u32,
    /// It fails with more errors of the source in a row than this.
    #[serde(default = "four")]
    pub consecutive_error_limit: u32,
    /// Good measurements in a row that decide early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consecutive_success_limit: Option<u32>,
    /// With fewer samples in the window than this, there is no data.
    #[serde(default)]
    pub min_samples: u64,
    /// What a window without data counts as.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// Measured and recorded, but decides nothing.
    #[serde(default)]
    pub shadow: bool,
}

/// What a window without data counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnNoData {
    /// As nothing: neither good nor bad.
    #[default]
    Inconclusive,
    /// As bad.
    Fail,
    /// As good.
    Pass,
}

/// The greatest that the candidate may be, seen from stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Times the stable value: 1.2 allows a fifth more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ratio: Option<f64>,
    /// Beyond the stable value, in the metric's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_increase: Option<f64>,
}

/// Where a measurement comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MetricKind {
    /// The HTTP probe of the rollout: the share of healthy answers since the last measurement, 0 to 1.
    #[serde(deserialize_with = "nothing_more")]
    Probe,
    /// Railway's HTTP metrics of the whole service: the share of requests, 0 to 1. Cheap; old and new deployments are
    /// mixed while both serve.
    HttpStatus {
        /// Which share.
        #[serde(default)]
        ratio: HttpRatio,
    },
    /// Railway's HTTP durations of the whole service, in milliseconds.
    HttpDuration {
        /// Which percentile.
        #[serde(default)]
        percentile: Percentile,
    },
    /// Railway's HTTP log of the candidate's deployment: the share of requests, 0 to 1. Costly, and comparable with
    /// stable.
    HttpLogStatus {
        /// Which share.
        #[serde(default)]
        ratio: HttpRatio,
    },
    /// Railway's HTTP log of the candidate's deployment: durations in milliseconds, comparable with stable.
    HttpLogDuration {
        /// Which percentile.
        #[serde(default)]
        percentile: Percentile,
    },
    /// Processor use of the candidate's deployment, in cores.
    #[serde(deserialize_with = "nothing_more")]
    Cpu,
    /// Memory use of the candidate's deployment, in bytes.
    #[serde(deserialize_with = "nothing_more")]
    Memory,
    /// An instant query of Prometheus. `{{service}}`, `{{environment}}`, `{{deployment}}`, `{{window}}` are filled in.
    Prometheus {
        /// The address of the server.
        address: String,
        /// The query; one value has to come of it.
        query: String,
        /// The query for stable, where it is compared.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stable_query: Option<String>,
        /// The environment variable that holds a bearer token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_env: Option<String>,
    },
    /// The number that a program prints; a failed run is an error of the source.
    Command {
        /// The program.
        run: Box<CommandSpec>,
    },
}

/// Which share of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpRatio {
    /// Answers below 500.
    #[default]
    Success,
    /// Answers from 500 on.
    ServerError,
    /// Answers from 400 on.
    Error,
}

/// Which percentile of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Percentile {
    /// The median.
    P50,
    /// 90 %.
    P90,
    /// 95 %.
    #[default]
    P95,
    /// 99 %.
    P99,
}

const fn a_minute() -> Duration {
    Duration::from_mins(1)
}

const fn four() -> u32 {
    4
}
