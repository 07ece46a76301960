//! Whom a metric is asked of.

use futures::future::BoxFuture;
use spectra_probe::{ProgramMetrics, Prometheus};
use spectra_railway::RailwayMetrics;
use spectra_rollout::spec::{Metric, MetricKind};
use spectra_rollout::{MetricSource, Sampled, Scope};

/// Every source, each asked for its own kinds of metrics.
pub(crate) struct Metrics {
    pub(crate) railway: RailwayMetrics,
    pub(crate) prometheus: Prometheus,
    pub(crate) programs: ProgramMetrics,
}

impl MetricSource for Metrics {
    fn sample<'a>(&'a self, metric: &'a Metric, scope: &'a Scope) -> BoxFuture<'a, Sampled> {
        match &metric.source {
            MetricKind::Prometheus { .. } => self.prometheus.sample(metric, scope),
            MetricKind::Command { .. } => self.programs.sample(metric, scope),
            // The engine counts its own probes; whoever asks for them here is told so.
            MetricKind::Probe
            | MetricKind::HttpStatus { .. }
            | MetricKind::HttpDuration { .. }
            | MetricKind::HttpLogStatus { .. }
            | MetricKind::HttpLogDuration { .. }
            | MetricKind::Cpu
            | MetricKind::Memory => self.railway.sample(metric, scope),
        }
    }
}
