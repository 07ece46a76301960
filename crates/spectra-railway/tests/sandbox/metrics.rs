//! What an analysis measures, with requests that were really made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Value, json};
use spectra_railway::{Clock, InstanceRef, RailwayMetrics};
use spectra_rollout::spec::{HttpRatio, Metric, MetricKind, Percentile};
use spectra_rollout::{MetricSource, Sample, Scope};
use spectra_types::DeploymentId;

use crate::world::{World, until};

/// A wall clock that a test sets. Between two settings so much time passes that no read is shared.
#[derive(Debug)]
struct SetClock {
    wall: Mutex<Duration>,
    readings: Mutex<u32>,
}

impl SetClock {
    fn at(second: i64) -> Arc<Self> {
        Arc::new(Self { wall: Mutex::new(seconds(second)), readings: Mutex::default() })
    }

    fn set(&self, second: i64) {
        *self.wall.lock().unwrap() = seconds(second);
        *self.readings.lock().unwrap() += 1;
    }
}

fn seconds(second: i64) -> Duration {
    Duration::from_secs(second.try_into().unwrap())
}

impl Clock for SetClock {
    fn now(&self) -> Duration {
        Duration::from_hours(1) * *self.readings.lock().unwrap()
    }

    fn wall(&self) -> Duration {
        *self.wall.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct Asked {
    world: World,
    place: InstanceRef,
    deployment: DeploymentId,
    /// The second in which the last request was made.
    last: i64,
}

/// A service that was asked 21 times by a profile of traffic, 5 times of them in vain.
async fn asked() -> Asked {
    let world = World::start().await;
    let (place, deployment, _) = world.serving(&[("memory", "256MB")]).await;
    world.settings(json!({ "manual_clock": true })).await;
    let profile = json!({ "service": "web", "rps": 2, "error_rate": 0.25 });
    world.settings(json!({ "traffic": [profile] })).await;
    let (from, to) = (Timestamp::UNIX_EPOCH, Timestamp::MAX);
    let log = async || world.client.http_logs(&deployment, from, to, 1_000).await.unwrap().requests;
    until("the first request", async || log().await.len() == 1).await;
    world.admin("POST", "clock", json!({ "advance": "10s" })).await;
    until("ten seconds of requests", async || log().await.len() == 21).await;
    let last = log().await.last().unwrap().at.as_second();
    Asked { world, place, deployment, last }
}

impl Asked {
    fn metrics(&self, second: i64) -> (RailwayMetrics, Arc<SetClock>) {
        let clock = SetClock::at(second);
        (RailwayMetrics::new(self.world.client_on(Arc::clone(&clock) as Arc<dyn Clock>)), clock)
    }

    async fn sample(&self, metrics: &RailwayMetrics, source: MetricKind) -> Sample {
        let text = json!({ "name": "errors", "source": { "kind": "probe" }, "max": 1.0 });
        let metric = Metric { source, ..serde_json::from_value(text).unwrap() };
        let scope = Scope {
            place: self.place.clone().into(),
            candidate: Some(self.deployment.clone()),
            stable_place: self.place.clone().into(),
            stable: None,
            window: Duration::from_hours(1),
        };
        let sampled = metrics.sample(&metric, &scope).await;
        assert!(sampled.query.contains(" from 20"), "{}", sampled.query);
        sampled.answer.unwrap()
    }
}

const ERRORS: MetricKind = MetricKind::HttpStatus { ratio: HttpRatio::ServerError };
const LOGGED: MetricKind = MetricKind::HttpLogStatus { ratio: HttpRatio::ServerError };

#[tokio::test]
async fn requests_count_when_their_step_is_over_and_not_before() {
    let asked = asked().await;
    let over = asked.last.div_euclid(60) * 60 + 60;
    let (metrics, clock) = asked.metrics(over - 1);
    let early = asked.sample(&metrics, ERRORS).await;
    assert_ne!(early.samples, Some(21), "the last step is not over");
    clock.set(over);
    let sample = asked.sample(&metrics, ERRORS).await;
    assert_eq!(sample, Sample { value: Some(5.0 / 21.0), samples: Some(21), stable: None });
    let sample = asked.sample(&metrics, MetricKind::HttpDuration { percentile: Percentile::P99 }).await;
    assert!(sample.value.is_some_and(|millis| (0.0..30_000.0).contains(&millis)), "{sample:?}");
    assert_eq!(sample.samples, Some(21));
    let sample = asked.sample(&metrics, LOGGED).await;
    assert_eq!(sample, Sample { value: Some(5.0 / 21.0), samples: Some(21), stable: None });
    let sample = asked.sample(&metrics, MetricKind::HttpLogDuration { percentile: Percentile::P50 }).await;
    assert!(sample.value.is_some_and(|millis| (0.0..30_000.0).contains(&millis)), "{sample:?}");
    let sample = asked.sample(&metrics, MetricKind::Memory).await;
    assert!(sample.value.is_some_and(|bytes| 0.0 < bytes && bytes <= 256e6 + 1.0), "{sample:?}");
    // An hour later the window has left them behind.
    clock.set(over + 3_660);
    assert_eq!(asked.sample(&metrics, ERRORS).await, Sample::default());
    assert_eq!(asked.sample(&metrics, LOGGED).await, Sample { samples: Some(0), ..Sample::default() });
}

#[tokio::test]
async fn what_lag_and_gaps_hide_is_not_taken_for_silence_of_errors() {
    let asked = asked().await;
    let (metrics, clock) = asked.metrics(asked.last + 120);
    let hidden = async |setting: Value, clear: Value| {
        asked.world.settings(setting).await;
        clock.set(asked.last + 120);
        assert_eq!(asked.sample(&metrics, ERRORS).await, Sample::default());
        let memory = asked.sample(&metrics, MetricKind::Memory).await;
        assert_eq!(memory, Sample { samples: Some(0), ..Sample::default() });
        assert_eq!(asked.sample(&metrics, LOGGED).await.samples, Some(21), "logs neither lag nor have gaps");
        asked.world.settings(clear).await;
        clock.set(asked.last + 120);
        assert_eq!(asked.sample(&metrics, ERRORS).await.samples, Some(21));
    };
    hidden(json!({ "metrics_lag": "100000h" }), json!({ "metrics_lag": "0s" })).await;
    let at = |second: i64| Timestamp::from_second(second).unwrap().to_string();
    let gap = json!({ "from": at(asked.last - 3_600), "to": at(asked.last + 3_600) });
    hidden(json!({ "metrics_gap": gap }), json!({ "metrics_gap": null })).await;
}

#[tokio::test]
async fn a_service_that_nobody_asks_has_no_share_of_errors() {
    let world = World::start().await;
    let (place, deployment, _) = world.serving(&[]).await;
    let last = Timestamp::now().as_second();
    let asked = Asked { world, place, deployment, last };
    let (metrics, _) = asked.metrics(last + 60);
    assert_eq!(asked.sample(&metrics, ERRORS).await, Sample::default());
    assert_eq!(asked.sample(&metrics, LOGGED).await, Sample { samples: Some(0), ..Sample::default() });
}
