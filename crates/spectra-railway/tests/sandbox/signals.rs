//! Metrics and requests, as an analysis reads them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use spectra_railway::{ErrorKind, InstanceRef};

use crate::world::{World, until};

const MINUTE: Duration = Duration::from_mins(1);

/// From an hour ago to in an hour: everything that a test does lies well within.
fn window() -> (Timestamp, Timestamp) {
    let (now, hour) = (Timestamp::now(), SignedDuration::from_hours(1));
    (now.checked_sub(hour).unwrap(), now.checked_add(hour).unwrap())
}

/// A service that was asked 21 times: 16 times with success, 5 times without.
async fn asked(world: &World) -> InstanceRef {
    let (place, _, _) = world.serving(&[]).await;
    world.settings(json!({ "manual_clock": true })).await;
    let profile = json!({ "service": "web", "rps": 2, "error_rate": 0.25, "path": "/shop?x=1" });
    world.settings(json!({ "traffic": [profile] })).await;
    until("the first request", async || total(world, &place).await == Some(1)).await;
    world.admin("POST", "clock", json!({ "advance": "10s" })).await;
    until("ten seconds of requests", async || total(world, &place).await == Some(21)).await;
    place
}

async fn total(world: &World, place: &InstanceRef) -> Option<u64> {
    let (from, to) = window();
    world.client.http_status_counts(place, from, to, MINUTE).await.unwrap().total()
}

#[tokio::test]
async fn requests_are_counted_by_status_and_silence_is_not_zero() {
    let world = World::start().await;
    let place = asked(&world).await;
    let (from, to) = window();
    let counts = world.client.http_status_counts(&place, from, to, MINUTE).await.unwrap();
    assert_eq!(counts.with_status(200..=299), Some(16));
    assert_eq!(counts.with_status(500..=599), Some(5));
    assert_eq!(counts.with_status(300..=399), Some(0), "nobody was redirected, and that is known");
    let newest = counts.newest().unwrap();
    assert_eq!(newest.as_second() % 60, 0, "{newest}");
    assert!(from < newest && newest < to);
    let durations = world.client.http_durations(&place, from, to, MINUTE).await.unwrap();
    assert!(!durations.is_empty());
    assert!(durations.iter().all(|one| one.p50 <= one.p90 && one.p90 <= one.p95 && one.p95 <= one.p99));
    assert!(durations.iter().all(|one| one.p99 < Duration::from_secs(30)), "{durations:?}");

    world.settings(json!({ "metrics_lag": "100000h" })).await;
    let counts = world.client.http_status_counts(&place, from, to, MINUTE).await.unwrap();
    assert_eq!((counts.total(), counts.with_status(500..=599), counts.newest()), (None, None, None));
    assert_eq!(world.client.http_durations(&place, from, to, MINUTE).await.unwrap(), []);
}

#[tokio::test]
async fn q60_a_long_window_is_read_in_parts_that_count_nothing_twice() {
    let world = World::start().await;
    let place = asked(&world).await;
    // Far fewer than the steps of the window: one request for all of it would not be processed.
    world.settings(json!({ "query_data_points": 1_000 })).await;
    world.admin("DELETE", "journal", Value::Null).await;
    let (from, to) = window();
    let second = Duration::from_secs(1);
    let counts = world.client.http_status_counts(&place, from, to, second).await.unwrap();
    assert_eq!((counts.total(), counts.with_status(500..=599)), (Some(21), Some(5)));
    let rows = world.journal("HttpStatusCounts").await;
    // 7 200 steps; the first part may begin within one.
    assert!(rows.len() == 8 || rows.len() == 9, "{}", rows.len());
    assert!(rows.iter().all(|row| row["outcome"] == "ok"), "{rows:?}");
    let year = to.checked_add(SignedDuration::from_hours(24 * 365)).unwrap();
    let refused = world.client.http_durations(&place, from, year, second).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BadInput);
    assert!(refused.to_string().contains("take a longer step"), "{refused}");
}

#[tokio::test]
async fn requests_of_a_deployment_are_read_page_by_page() {
    let world = World::start().await;
    let (place, id, domain) = world.serving(&[]).await;
    until("it serves", async || world.visit(&domain, "/").await.0 == 200).await;
    // Many within one millisecond, so that pages break amid a moment.
    for block in 0..12 {
        let visits = (0..100).map(|number| world.visit(&domain, if number % 4 == 0 { "/a" } else { "/b" }));
        let answers = futures::future::join_all(visits).await;
        assert!(answers.iter().all(|answer| answer.0 == 200), "block {block}");
    }
    let (from, to) = window();
    world.admin("DELETE", "journal", Value::Null).await;
    let log = world.client.http_logs(&id, from, to, 10_000).await.unwrap();
    let pages = world.journal("HttpLogs").await.len();
    assert!(pages >= 3, "{pages}");
    assert_eq!(log.cut, None);
    let of = |path: &str| log.requests.iter().filter(|request| request.path == path).count();
    assert_eq!((of("/a"), of("/b")), (300, 900));
    assert!(log.requests.is_sorted_by_key(|request| request.at));
    let replicas = world.client.deployment(&id).await.unwrap().replicas;
    let one = log.requests.last().unwrap();
    assert_eq!((one.status, one.method.as_str()), (200, "GET"));
    assert_eq!(one.replica.as_deref(), Some(replicas[0].id.as_str()));
    assert_eq!(one.upstream_error, None);

    // The bound cuts, and says where: later than that nothing is missing.
    let few = world.client.http_logs(&id, from, to, 600).await.unwrap();
    let cut = few.cut.unwrap();
    let later: Vec<_> = log.requests.iter().filter(|request| request.at > cut).collect();
    assert!(!later.is_empty() && later.len() < log.requests.len());
    assert_eq!(few.requests.iter().collect::<Vec<_>>(), later);

    // Another deployment has requests of its own, a window its ends.
    let second = world.deploy(&place).await;
    world.until_status(&second, "SUCCESS").await;
    let none =
        world.client.http_logs(&second, from, from.checked_add(SignedDuration::from_secs(1)).unwrap(), 10);
    assert_eq!(none.await.unwrap().requests, []);
    assert_eq!(world.client.http_logs(&id, to, from, 10).await.unwrap_err().kind(), ErrorKind::BadInput);
}

#[tokio::test]
async fn usage_is_told_by_deployment() {
    let world = World::start().await;
    let labels = [("cpu", "0.5"), ("cpu-per-request", "0s"), ("memory", "256MB")];
    let (place, first, _) = world.serving(&labels).await;
    let (from, to) = window();
    let second = world.deploy(&place).await;
    world.until_status(&second, "SUCCESS").await;
    world.until_status(&first, "REMOVED").await;
    let step = Duration::from_secs(1);
    let read = async || world.client.resource_usage(&place, from, to, step).await.unwrap();
    until("both are told of", async || read().await.len() == 2).await;
    let usage = read().await;
    for id in [&first, &second] {
        let of = &usage[id];
        // A step in which it ran for a part has a part.
        let most = of.cpu.iter().map(|sample| sample.vcpus).fold(0.0, f64::max);
        assert!((0.0..=0.5 + 1e-9).contains(&most) && most > 0.0, "{of:?}");
        let most = of.memory.iter().map(|sample| sample.gigabytes).fold(0.0, f64::max);
        assert!((most - 0.256).abs() < 1e-9, "{of:?}");
        assert!(of.memory.iter().all(|sample| from < sample.at && sample.at < to));
    }
    world.settings(json!({ "metrics_lag": "100000h" })).await;
    assert!(read().await.is_empty());
}
