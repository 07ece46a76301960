//! Metrics of a rollout, from answers that a test writes.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use spectra_railway::{Client, RailwayMetrics};
use spectra_rollout::spec::{Comparison, HttpRatio, Metric, MetricKind, Percentile};
use spectra_rollout::{MetricSource, Place, Sample, Sampled, Scope};

use crate::fake::{Fake, data, instance_ref, raw};

/// The wall time of a test's clock when nobody has waited, in seconds: a step of ten has just ended.
const WALL: i64 = 1_700_000_000;

async fn world() -> (Fake, Client, RailwayMetrics) {
    let (fake, client) = Fake::with_account().await;
    let metrics = RailwayMetrics::new(client.clone());
    (fake, client, metrics)
}

fn metric(source: MetricKind) -> Metric {
    let text = json!({ "name": "errors", "source": { "kind": "probe" }, "max": 1.0 });
    Metric { source, ..serde_json::from_value(text).unwrap() }
}

fn compared(source: MetricKind) -> Metric {
    let compare = Comparison { max_ratio: Some(1.5), max_increase: None };
    Metric { compare: Some(compare), ..metric(source) }
}

fn scope() -> Scope {
    let place = Place::from(instance_ref());
    Scope {
        candidate: Some("new".parse().unwrap()),
        stable: Some("old".parse().unwrap()),
        stable_place: place.clone(),
        place,
        window: Duration::from_mins(1),
    }
}

fn sample(sampled: &Sampled) -> Sample {
    sampled.answer.clone().unwrap()
}

/// Series by status: begins of steps before the wall time, and counts.
fn counts(series: &[(u16, &[(i64, f64)])]) -> crate::fake::Reply {
    let series: Vec<_> = series
        .iter()
        .map(|(status, samples)| {
            let samples: Vec<_> =
                samples.iter().map(|(ago, value)| json!({ "ts": WALL - ago, "value": value })).collect();
            json!({ "statusCode": status, "samples": samples })
        })
        .collect();
    data(json!({ "httpMetricsGroupedByStatus": series }))
}

const SERVER_ERROR: MetricKind = MetricKind::HttpStatus { ratio: HttpRatio::ServerError };

#[tokio::test]
async fn a_step_that_is_not_over_and_one_before_the_window_are_left_out() {
    let (fake, _, metrics) = world().await;
    // The last one is not over at all, the first one began before the window.
    fake.once(
        "HttpStatusCounts",
        counts(&[(200, &[(70, 100.0), (60, 6.0), (0, 50.0)]), (503, &[(10, 2.0)])]),
    );
    let sampled = metrics.sample(&metric(SERVER_ERROR), &scope()).await;
    assert_eq!(sample(&sampled), Sample { value: Some(0.25), samples: Some(8), stable: None });
    assert_eq!(
        sampled.query,
        "httpMetricsGroupedByStatus of service `svc` in environment `env` from 2023-11-14T22:12:20Z to \
         2023-11-14T22:13:20Z in steps of 10 s: share of statuses from 500 on"
    );
    let asked = fake.seen("HttpStatusCounts");
    assert_eq!(asked[0].variables["from"], "2023-11-14T22:12:20Z");
    assert_eq!(asked[0].variables["step"], 10);
}

#[tokio::test]
async fn nothing_told_is_no_value_and_no_requests_are_not_zero_errors() {
    let (fake, _, metrics) = world().await;
    fake.always("HttpStatusCounts", counts(&[]));
    fake.always("HttpDurations", data(json!({ "httpDurationMetrics": { "samples": [] } })));
    fake.always("HttpLogs", data(json!({ "httpLogs": [] })));
    fake.always("ResourceUsage", data(json!({ "metrics": [] })));
    let duration = MetricKind::HttpDuration { percentile: Percentile::P95 };
    let silent = Sample::default();
    assert_eq!(sample(&metrics.sample(&metric(SERVER_ERROR), &scope()).await), silent);
    assert_eq!(sample(&metrics.sample(&metric(duration), &scope()).await), silent);
    // A log without a row, and a deployment without a step, have none.
    let none = Sample { samples: Some(0), ..Sample::default() };
    let log = MetricKind::HttpLogStatus { ratio: HttpRatio::Success };
    assert_eq!(sample(&metrics.sample(&compared(log), &scope()).await), none);
    assert_eq!(sample(&metrics.sample(&compared(MetricKind::Cpu), &scope()).await), none);
}

#[tokio::test]
async fn zeros_alone_are_told_and_still_no_share() {
    let (fake, _, metrics) = world().await;
    fake.once("HttpStatusCounts", counts(&[(200, &[(20, 0.0), (10, 0.0)])]));
    let sampled = metrics.sample(&metric(SERVER_ERROR), &scope()).await;
    assert_eq!(sample(&sampled), Sample { value: None, samples: Some(0), stable: None });
}

#[tokio::test]
async fn a_gap_of_counts_does_not_hide_durations() {
    let (fake, _, metrics) = world().await;
    fake.once("HttpStatusCounts", counts(&[(200, &[(40, 9.0)])]));
    let step =
        |ago: i64, p95: f64| json!({ "ts": WALL - ago, "p50": 1.0, "p90": 2.0, "p95": p95, "p99": 9.0 });
    // Of the second step nobody told how many; the third is not over.
    let steps = [step(40, 100.0), step(20, 200.0), step(0, 9_000.0)];
    fake.once("HttpDurations", data(json!({ "httpDurationMetrics": { "samples": steps } })));
    let duration = MetricKind::HttpDuration { percentile: Percentile::P95 };
    let sampled = metrics.sample(&metric(duration), &scope()).await;
    let Sample { value: Some(value), samples: Some(9), stable: None } = sample(&sampled) else {
        panic!("{sampled:?}")
    };
    assert!((value - 110.0).abs() < 1e-9, "{value}");
    assert!(sampled.query.contains("p95 in ms"), "{}", sampled.query);
}

fn log(of: &[(i64, u16, u32)]) -> crate::fake::Reply {
    let row = |(ago, status, duration): &(i64, u16, u32)| {
        let at = jiff::Timestamp::from_second(WALL - ago).unwrap();
        json!({ "timestamp": at.to_string(), "httpStatus": status, "totalDuration": duration, "method": "GET",
                "path": "/", "deploymentInstanceId": "", "upstreamErrors": "" })
    };
    data(json!({ "httpLogs": of.iter().map(row).collect::<Vec<_>>() }))
}

#[tokio::test]
async fn stable_is_read_in_the_same_window_only_where_it_is_compared() {
    let (fake, _, metrics) = world().await;
    fake.once("HttpLogs", log(&[(1, 200, 10), (2, 500, 30), (61, 500, 30)]));
    let status = MetricKind::HttpLogStatus { ratio: HttpRatio::ServerError };
    let sampled = metrics.sample(&metric(status.clone()), &scope()).await;
    assert_eq!(sample(&sampled), Sample { value: Some(0.5), samples: Some(2), stable: None });
    assert_eq!(fake.count("HttpLogs"), 1);

    fake.once("HttpLogs", log(&[(1, 200, 10), (3, 200, 20), (5, 200, 30), (7, 503, 40)]));
    let sampled = metrics.sample(&compared(status), &scope()).await;
    // The candidate's log was just read.
    assert_eq!(sample(&sampled), Sample { value: Some(0.5), samples: Some(2), stable: Some(0.25) });
    let asked = fake.seen("HttpLogs");
    assert_eq!(
        asked.iter().map(|seen| seen.variables["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["new", "old"]
    );
    assert_eq!(asked[0].variables["before"], asked[1].variables["before"]);
    assert_eq!(
        sampled.query,
        "httpLogs of deployment `new` from 2023-11-14T22:12:20Z to 2023-11-14T22:13:20Z: share of statuses from \
         500 on, compared with deployment `old`"
    );
    let duration = MetricKind::HttpLogDuration { percentile: Percentile::P50 };
    let sampled = metrics.sample(&compared(duration), &scope()).await;
    assert_eq!(sample(&sampled), Sample { value: Some(10.0), samples: Some(2), stable: Some(20.0) });
    assert_eq!(fake.count("HttpLogs"), 2, "both were just read");
}

#[tokio::test]
async fn metrics_that_are_due_together_share_one_read_and_the_next_window_is_read_anew() {
    let (fake, client, metrics) = world().await;
    fake.always("HttpStatusCounts", counts(&[(200, &[(10, 4.0)])]));
    let success = metric(MetricKind::HttpStatus { ratio: HttpRatio::Success });
    let errors = metric(SERVER_ERROR);
    let of = scope();
    let both = join_all([metrics.sample(&success, &of), metrics.sample(&errors, &of)]).await;
    assert_eq!(both.iter().map(|sampled| sample(sampled).value.unwrap()).collect::<Vec<_>>(), [1.0, 0.0]);
    assert_eq!(fake.count("HttpStatusCounts"), 1);
    let longer = Scope { window: Duration::from_mins(5), ..scope() };
    metrics.sample(&errors, &longer).await.answer.unwrap();
    assert_eq!(fake.count("HttpStatusCounts"), 2, "another window is another read");
    fake.pass(Duration::from_secs(6));
    metrics.sample(&errors, &of).await.answer.unwrap();
    assert_eq!(fake.count("HttpStatusCounts"), 3);
    drop(client);
}

#[tokio::test]
async fn a_failed_read_is_an_error_of_the_source_and_serves_nobody_else() {
    let (fake, _, metrics) = world().await;
    fake.once("HttpStatusCounts", raw(400, "no"));
    let sampled = metrics.sample(&metric(SERVER_ERROR), &scope()).await;
    let error = sampled.answer.unwrap_err();
    assert!(error.contains("read the requests of service `svc` by status"), "{error}");
    assert!(sampled.query.contains("service `svc`"), "{}", sampled.query);
    fake.once("HttpStatusCounts", counts(&[(200, &[(10, 4.0)])]));
    assert_eq!(sample(&metrics.sample(&metric(SERVER_ERROR), &scope()).await).samples, Some(4));
}

/// A deployment, what was measured of it, and its values by age.
type Series<'a> = (&'a str, &'a str, &'a [(i64, f64)]);

fn usage(of: &[Series<'_>]) -> crate::fake::Reply {
    let series: Vec<Value> = of
        .iter()
        .map(|(deployment, measurement, values)| {
            let values: Vec<_> =
                values.iter().map(|(ago, value)| json!({ "ts": WALL - ago, "value": value })).collect();
            json!({ "measurement": measurement, "tags": { "deploymentId": deployment }, "values": values })
        })
        .collect();
    data(json!({ "metrics": series }))
}

#[tokio::test]
async fn usage_of_both_versions_is_one_read_and_a_canary_has_its_own() {
    let (fake, _, metrics) = world().await;
    fake.once(
        "ResourceUsage",
        usage(&[
            ("new", "CPU_USAGE", &[(30, 0.5), (20, 1.5), (0, 99.0)]),
            ("new", "MEMORY_USAGE_GB", &[(20, 0.256)]),
            ("old", "CPU_USAGE", &[(30, 0.25)]),
        ]),
    );
    let cpu = metrics.sample(&compared(MetricKind::Cpu), &scope()).await;
    assert_eq!(sample(&cpu), Sample { value: Some(1.0), samples: Some(2), stable: Some(0.25) });
    let memory = metrics.sample(&compared(MetricKind::Memory), &scope()).await;
    assert_eq!(sample(&memory), Sample { value: Some(256e6), samples: Some(1), stable: None });
    assert_eq!(fake.count("ResourceUsage"), 1);
    assert!(cpu.query.contains("metrics (CPU_USAGE) of service `svc`"), "{}", cpu.query);
    assert!(cpu.query.contains("mean of deployment `new` in cores"), "{}", cpu.query);

    let canary = Scope { place: scope().place.sibling("canary".parse().unwrap()), ..scope() };
    fake.once("ResourceUsage", usage(&[("new", "CPU_USAGE", &[(30, 2.0)])]));
    let sampled = metrics.sample(&compared(MetricKind::Cpu), &canary).await;
    assert_eq!(sample(&sampled), Sample { value: Some(2.0), samples: Some(1), stable: Some(0.25) });
    assert_eq!(fake.count("ResourceUsage"), 2, "stable's service was just read");
}

#[tokio::test]
async fn other_kinds_are_refused_by_name() {
    let (fake, _, metrics) = world().await;
    let sampled = metrics.sample(&metric(MetricKind::Probe), &scope()).await;
    assert_eq!(sampled.answer.unwrap_err(), "metric `errors` is not measured by Railway");
    assert_eq!(fake.total(), 0);
}

#[tokio::test]
async fn a_candidate_without_a_deployment_has_no_data() {
    let (fake, _, metrics) = world().await;
    let early = Scope { candidate: None, ..scope() };
    let log = MetricKind::HttpLogStatus { ratio: HttpRatio::Success };
    assert_eq!(sample(&metrics.sample(&metric(log), &early).await), Sample::default());
    assert_eq!(sample(&metrics.sample(&metric(MetricKind::Memory), &early).await), Sample::default());
    assert_eq!(fake.total(), 0);
}
