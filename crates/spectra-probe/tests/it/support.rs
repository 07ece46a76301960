//! Values that every test needs.

use std::collections::BTreeMap;
use std::time::Duration;

use spectra_rollout::spec::{CommandSpec, Metric, MetricKind, OnNoData};
use spectra_rollout::{Place, RunContext, Scope};
use spectra_types::PinnedImage;

pub(crate) const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

pub(crate) fn image() -> PinnedImage {
    format!("registry.example/app/web@{DIGEST}").parse().unwrap()
}

pub(crate) fn place(service: &str) -> Place {
    Place {
        project: "project-1".parse().unwrap(),
        environment: "environment-1".parse().unwrap(),
        service: service.parse().unwrap(),
    }
}

pub(crate) fn context(purpose: &str) -> RunContext {
    RunContext { rollout: "rollout-1".to_owned(), candidate: image(), purpose: purpose.to_owned() }
}

pub(crate) fn scope() -> Scope {
    Scope {
        place: place("canary-1"),
        candidate: Some("deployment-new".parse().unwrap()),
        stable_place: place("service-1"),
        stable: Some("deployment-old".parse().unwrap()),
        window: Duration::from_secs(90),
    }
}

/// A script for `sh`, with a service's variables and enough time.
pub(crate) fn script(text: &str) -> CommandSpec {
    CommandSpec {
        command: ["sh", "-c", text].map(str::to_owned).to_vec(),
        environment: BTreeMap::new(),
        service_variables: true,
        directory: None,
        timeout: Duration::from_mins(2),
    }
}

pub(crate) fn metric(source: MetricKind) -> Metric {
    Metric {
        name: "errors".to_owned(),
        source,
        interval: Duration::from_mins(1),
        count: None,
        initial_delay: Duration::ZERO,
        min: None,
        max: Some(1.0),
        compare: None,
        failure_limit: 0,
        consecutive_error_limit: 4,
        consecutive_success_limit: None,
        min_samples: 0,
        on_no_data: OnNoData::Inconclusive,
        shadow: false,
    }
}
