//! The schema of what a rollout measures.

use spectra_types::HumanDuration;
use tfplugin::{Attr, Model, Text, TfEnum};

use super::steps::{CommandModel, only_true};

/// A measurement that is repeated and judged.
#[derive(Clone, Debug, Default, Model)]
#[tf(at_least_one_of("min", "max", "compare"))]
pub(crate) struct MetricModel {
    /// Its name, unique in the rollout.
    #[tf(required)]
    pub(crate) name: Attr<String>,
    /// Where it comes from.
    #[tf(required)]
    pub(crate) source: Attr<SourceModel>,
    /// Time between two measurements, and the window that one looks at.
    #[tf(optional, default = "1m", validate(with = crate::validators::positive_duration))]
    pub(crate) interval: Attr<Text<HumanDuration>>,
    /// How many measurements decide; left out, it is measured as long as the step or the bake lasts.
    #[tf(optional, validate(range(1..=10_000)))]
    pub(crate) count: Attr<i64>,
    /// How long after the beginning the first one is made.
    #[tf(optional, default = "0s")]
    pub(crate) initial_delay: Attr<Text<HumanDuration>>,
    /// The least value that is good.
    #[tf(optional)]
    pub(crate) min: Attr<f64>,
    /// The greatest value that is good.
    #[tf(optional)]
    pub(crate) max: Attr<f64>,
    /// How it is compared with the stable version in the same window.
    #[tf(optional)]
    pub(crate) compare: Attr<CompareModel>,
    /// It fails with more bad measurements than this.
    #[tf(optional, default = 0_i64, validate(range(0..=10_000)))]
    pub(crate) failure_limit: Attr<i64>,
    /// It fails with more errors of the source in a row than this.
    #[tf(optional, default = 4_i64, validate(range(0..=10_000)))]
    pub(crate) consecutive_error_limit: Attr<i64>,
    /// Good measurements in a row that decide early.
    #[tf(optional, validate(range(1..=10_000)))]
    pub(crate) consecutive_success_limit: Attr<i64>,
    /// With fewer samples in the window than this, there is no data.
    #[tf(optional, default = 0_i64, validate(range(0..=1_000_000_000)))]
    pub(crate) min_samples: Attr<i64>,
    /// What a window without data counts as.
    #[tf(optional, default = "inconclusive")]
    pub(crate) on_no_data: Attr<NoData>,
    /// Measured and recorded, but decides nothing.
    #[tf(optional, default = false)]
    pub(crate) shadow: Attr<bool>,
}

/// What a window without data counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum NoData {
    /// As nothing: neither good nor bad.
    Inconclusive,
    /// As bad.
    Fail,
    /// As good.
    Pass,
}

/// The greatest that the candidate may be, seen from stable.
#[derive(Clone, Debug, Default, Model)]
#[tf(at_least_one_of("max_ratio", "max_increase"))]
pub(crate) struct CompareModel {
    /// Times the stable value: 1.2 allows a fifth more.
    #[tf(optional)]
    pub(crate) max_ratio: Attr<f64>,
    /// Beyond the stable value, in the metric's unit.
    #[tf(optional)]
    pub(crate) max_increase: Attr<f64>,
}

/// Where a measurement comes from: exactly one of its attributes.
#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of(
    "probe",
    "http_status",
    "http_duration",
    "http_log_status",
    "http_log_duration",
    "cpu",
    "memory",
    "prometheus",
    "command"
))]
pub(crate) struct SourceModel {
    /// The rollout's own probe: the share of healthy answers, 0 to 1. `probe = true`.
    #[tf(optional, validate(with = only_true))]
    pub(crate) probe: Attr<bool>,
    /// Railway's HTTP metrics of the whole service: this share of requests, 0 to 1. Old and new deployments are mixed
    /// while both serve.
    #[tf(optional)]
    pub(crate) http_status: Attr<Ratio>,
    /// Railway's HTTP durations of the whole service: this percentile, in milliseconds.
    #[tf(optional)]
    pub(crate) http_duration: Attr<PercentileKind>,
    /// Railway's HTTP log of the candidate's deployment: this share of requests, 0 to 1. Comparable with stable.
    #[tf(optional)]
    pub(crate) http_log_status: Attr<Ratio>,
    /// Railway's HTTP log of the candidate's deployment: this percentile of durations, in milliseconds. Comparable.
    #[tf(optional)]
    pub(crate) http_log_duration: Attr<PercentileKind>,
    /// Processor use of the candidate's deployment, in cores. `cpu = true`. Comparable.
    #[tf(optional, validate(with = only_true))]
    pub(crate) cpu: Attr<bool>,
    /// Memory use of the candidate's deployment, in bytes. `memory = true`. Comparable.
    #[tf(optional, validate(with = only_true))]
    pub(crate) memory: Attr<bool>,
    /// A query of Prometheus.
    #[tf(optional)]
    pub(crate) prometheus: Attr<PrometheusModel>,
    /// The number that a program prints.
    #[tf(optional)]
    pub(crate) command: Attr<CommandModel>,
}

/// Which share of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum Ratio {
    /// Answers below 500.
    Success,
    /// Answers from 500 on.
    ServerError,
    /// Answers from 400 on.
    Error,
}

/// Which percentile of durations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, TfEnum)]
pub(crate) enum PercentileKind {
    /// The median.
    P50,
    /// 90 %.
    P90,
    /// 95 %.
    P95,
    /// 99 %.
    P99,
}

/// An instant query of Prometheus.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct PrometheusModel {
    /// The address of the server.
    #[tf(required, validate(with = crate::validators::http_url))]
    pub(crate) address: Attr<String>,
    /// The query; one value has to come of it. `{{service}}`, `{{environment}}`, `{{deployment}}` and `{{window}}` are filled
    /// in.
    #[tf(required)]
    pub(crate) query: Attr<String>,
    /// The same for stable, where it is compared.
    #[tf(optional)]
    pub(crate) stable_query: Attr<String>,
    /// The environment variable that holds a bearer token.
    #[tf(optional)]
    pub(crate) token_env: Attr<String>,
}
