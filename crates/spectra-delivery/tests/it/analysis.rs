//! Canaries that are measured beside stable, and windows without data.

use std::time::Duration;

use spectra_rollout::spec::{Analysis, Canary, Comparison, Metric, OnNoData, Step};
use spectra_rollout::{Entry, Outcome, Place, RolloutRequest};
use spectra_types::PinnedImage;

use crate::world::{TRAFFIC, World, code, logged_errors};

fn with_canary(place: &Place, candidate: &PinnedImage, metric: Metric) -> RolloutRequest {
    let canary = Canary { duration: Duration::from_secs(1), metrics: vec![metric], ..Canary::default() };
    RolloutRequest {
        steps: vec![Step::Canary(canary), Step::Swap],
        ..RolloutRequest::new(place.clone(), candidate.clone())
    }
}

/// A tenth more errors than stable has, of at least three requests.
fn no_worse_than_stable() -> Metric {
    let compare = Comparison { max_ratio: None, max_increase: Some(0.1) };
    Metric { compare: Some(compare), min_samples: 3, ..logged_errors() }
}

#[tokio::test]
async fn a_canary_that_is_no_worse_than_stable_passes_and_is_removed() {
    let world = World::start().await;
    let place = world.web(&world.push("v1", &[TRAFFIC]).await).await;
    let candidate = world.push("v2", &[TRAFFIC]).await;
    let stable = world.row(&place).await["active_deployment"].as_str().unwrap().to_owned();
    let done = world.deliver(with_canary(&place, &candidate, no_worse_than_stable())).await;
    assert!(matches!(done.report.outcome, Outcome::Complete { .. }), "{}", done.report.outcome);
    assert_eq!(world.runs(&place).await, candidate.digest().to_string());
    assert_eq!(world.services().await, ["web"]);
    let entries = world.entries(&done.report.rollout).await;
    let sampled: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Sampled { place, sampled, verdict, .. } => Some((place, sampled, verdict)),
            _ => None,
        })
        .collect();
    assert!(sampled.len() >= 3, "{entries:?}");
    let (at, sampled, _) = sampled.iter().find(|(_, _, verdict)| *verdict == "good").unwrap();
    assert_ne!(**at, place, "the canary is what is measured");
    let sample = sampled.answer.as_ref().unwrap();
    assert_eq!((sample.value, sample.stable), (Some(0.0), Some(0.0)));
    assert!(sampled.query.contains(&format!("compared with deployment `{stable}`")), "{}", sampled.query);
    world.is_in_order().await;
}

#[tokio::test]
async fn a_canary_with_errors_is_removed_and_stable_is_not_touched() {
    let world = World::start().await;
    let stable = world.push("v1", &[TRAFFIC]).await;
    let place = world.web(&stable).await;
    let before = world.row(&place).await;
    let candidate = world.push("v2", &[TRAFFIC, ("error-rate", "0.6")]).await;
    let done = world.deliver(with_canary(&place, &candidate, no_worse_than_stable())).await;
    assert!(matches!(done.report.outcome, Outcome::RolledBack { .. }), "{}", done.report.outcome);
    assert_eq!(code(&done.report.outcome), "SPX-418");
    let why = done.report.outcome.to_string();
    assert!(why.contains("above stable's 0") && why.contains("httpLogs of deployment"), "{why}");
    let after = world.row(&place).await;
    for key in ["running_digest", "active_deployment", "deployments", "source_image"] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(world.services().await, ["web"]);
    world.is_in_order().await;
}

/// A swap that is analysed.
async fn analysed(world: &World, labels: &[(&str, &str)], metric: Metric) -> (Outcome, bool) {
    let place = world.web(&world.push("v1", &[]).await).await;
    let candidate = world.push("v2", labels).await;
    let analysis = Analysis { duration: Duration::ZERO, metrics: vec![metric] };
    let request = RolloutRequest {
        steps: vec![Step::Swap, Step::Analysis(analysis)],
        ..RolloutRequest::new(place.clone(), candidate.clone())
    };
    let outcome = world.deliver(request).await.report.outcome;
    let runs = world.runs(&place).await == candidate.digest().to_string();
    world.is_in_order().await;
    (outcome, runs)
}

#[tokio::test]
async fn without_traffic_nothing_is_concluded_and_the_code_says_so() {
    let world = World::start().await;
    let metric = Metric { max: Some(0.1), ..logged_errors() };
    let (outcome, runs) = analysed(&world, &[], metric).await;
    assert_eq!((code(&outcome).as_str(), runs), ("SPX-419", false));
    let why = outcome.to_string();
    assert!(why.contains("3 were without data"), "{why}");
}

#[tokio::test]
async fn without_traffic_on_no_data_decides() {
    let world = World::start().await;
    let metric = Metric { max: Some(0.1), on_no_data: OnNoData::Pass, ..logged_errors() };
    let (outcome, runs) = analysed(&world, &[], metric).await;
    assert!(matches!(outcome, Outcome::Complete { .. }) && runs, "{outcome}");

    let world = World::start().await;
    let metric = Metric { max: Some(0.1), on_no_data: OnNoData::Fail, ..logged_errors() };
    let (outcome, runs) = analysed(&world, &[], metric).await;
    assert_eq!((code(&outcome).as_str(), runs), ("SPX-418", false));
}

#[tokio::test]
async fn fewer_requests_than_min_samples_are_no_data_however_bad_they_are() {
    let world = World::start().await;
    let metric = Metric { max: Some(0.1), min_samples: 1_000_000, ..logged_errors() };
    let (outcome, runs) = analysed(&world, &[TRAFFIC, ("error-rate", "1")], metric).await;
    assert_eq!((code(&outcome).as_str(), runs), ("SPX-419", false), "{outcome}");
    assert!(outcome.to_string().contains("fewer than 1000000"), "{outcome}");
}
