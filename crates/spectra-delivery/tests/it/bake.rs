//! What is measured while the candidate is watched.

use std::time::Duration;

use serde_json::json;
use spectra_delivery::Heard;
use spectra_rollout::spec::{CommandSpec, HttpRatio, Metric, MetricKind};
use spectra_rollout::{Entry, Outcome, RolloutRequest};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::world::{World, code, logged_errors, metric};

#[tokio::test]
async fn a_metric_that_turns_bad_in_the_bake_brings_stable_back() {
    let world = World::start().await;
    let stable = world.push("v1", &[]).await;
    let place = world.web(&stable).await;
    let candidate = world.push("v2", &[]).await;
    let traffic = async |error_rate: f64| {
        let profile = json!({ "service": "web", "rps": 0.02, "error_rate": error_rate });
        world.admin("PUT", "settings", json!({ "traffic": [profile] })).await;
    };
    traffic(0.0).await;
    let metric = Metric { max: Some(0.2), count: None, min_samples: 3, ..logged_errors() };
    let request = RolloutRequest {
        metrics: vec![metric],
        bake: Duration::from_mins(5),
        ..RolloutRequest::new(place.clone(), candidate.clone())
    };
    let good = Notify::new();
    let listener = |heard: &Heard<'_>| {
        if heard.line.starts_with("good: metric `errors`") {
            good.notify_one();
        }
    };
    let delivery = world.delivery(&listener);
    let never = CancellationToken::new();
    let turned = async {
        good.notified().await;
        traffic(1.0).await;
    };
    let both = async { tokio::join!(delivery.deliver(request, &never), turned) };
    let (done, ()) = tokio::time::timeout(Duration::from_secs(50), both).await.unwrap();
    let outcome = done.unwrap().report.outcome;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    assert_eq!(code(&outcome), "SPX-418");
    assert_eq!(world.runs(&place).await, stable.digest().to_string());
    world.is_in_order().await;
}

#[tokio::test]
async fn sources_of_one_rollout_are_asked_each_for_its_own() {
    let world = World::start().await;
    let place = world.web(&world.push("v1", &[]).await).await;
    world.variables(&place, &[("QUEUE_DEPTH", "7")], &[]).await;
    let candidate = world.push("v2", &[("memory", "128MB")]).await;
    let program = |script: &str| {
        let run: CommandSpec =
            serde_json::from_value(json!({ "command": ["sh", "-c", script], "timeout": "10s" })).unwrap();
        MetricKind::Command { run: Box::new(run) }
    };
    let named = |name: &str, source: MetricKind| Metric { name: name.to_owned(), ..metric(source) };
    let request = RolloutRequest {
        metrics: vec![
            Metric { max: Some(7.0), min: Some(7.0), ..named("depth", program("echo \"$QUEUE_DEPTH\"")) },
            // Nobody asks it, and nobody listens there: neither decides.
            Metric {
                max: Some(0.1),
                shadow: true,
                ..named("edge", MetricKind::HttpStatus { ratio: HttpRatio::Error })
            },
            Metric {
                max: Some(0.1),
                shadow: true,
                ..named(
                    "prometheus",
                    MetricKind::Prometheus {
                        address: "http://127.0.0.1:9".to_owned(),
                        query: "up".to_owned(),
                        stable_query: None,
                        token_env: None,
                    },
                )
            },
            Metric { max: Some(128e6 + 1.0), shadow: true, ..named("memory", MetricKind::Memory) },
        ],
        bake: Duration::from_secs(1),
        ..RolloutRequest::new(place.clone(), candidate.clone())
    };
    let report = world.deliver(request).await.report;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{}", report.outcome);
    let entries = world.entries(&report.rollout).await;
    let of = |name: &str| {
        let sampled = entries.iter().find_map(|entry| match entry {
            Entry::Sampled { metric, sampled, verdict, .. } if metric == name => Some((sampled, verdict)),
            _ => None,
        });
        sampled.unwrap_or_else(|| panic!("{name} was not measured"))
    };
    assert_eq!((of("depth").0.answer.as_ref().unwrap().value, of("depth").1.as_str()), (Some(7.0), "good"));
    assert_eq!(of("edge").1, "no_data");
    assert!(of("edge").0.query.starts_with("httpMetricsGroupedByStatus of service"));
    assert_eq!(of("prometheus").1, "error");
    assert!(of("memory").0.query.starts_with("metrics (MEMORY_USAGE_GB)"));
}
