//! Several services, one after the other.

use std::time::Duration;

use spectra_railway::{Change, InstanceUpdate};
use spectra_rollout::spec::{Step, Wave};
use spectra_rollout::{Entry, Outcome, RolloutRequest};

use crate::world::{World, code};

#[tokio::test]
async fn when_the_second_service_of_a_wave_is_bad_all_go_back_in_reverse() {
    let world = World::start().await;
    let stable = world.push("v1", &[]).await;
    // It answers one path alone, and that is not the one that the second service is asked for.
    let candidate = world.push("v2", &[("health-path", "/health")]).await;
    let asked_for = |path: &str| InstanceUpdate {
        healthcheck_path: Change::Set(path.to_owned()),
        healthcheck_timeout: Change::Set(Duration::from_mins(1)),
        ..InstanceUpdate::default()
    };
    let web = world.serving("web", &stable, asked_for("/health")).await;
    let api = world.serving("api", &stable, asked_for("/ready")).await;
    let worker = world.serving("worker", &stable, asked_for("/health")).await;
    let untouched = world.row(&worker).await;
    let wave = Wave {
        services: vec![web.service.clone(), api.service.clone(), worker.service.clone()],
        pause: Duration::ZERO,
    };
    let request = RolloutRequest {
        steps: vec![Step::Wave(wave)],
        ..RolloutRequest::new(web.clone(), candidate.clone())
    };
    let report = world.deliver(request).await.report;
    assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{}", report.outcome);
    assert_eq!(code(&report.outcome), "SPX-402");
    let entries = world.entries(&report.rollout).await;
    let returned: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Returned { place, .. } => Some(place.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(returned, [api.clone(), web.clone()]);
    for place in [&web, &api, &worker] {
        let row = world.row(place).await;
        assert_eq!(row["running_digest"], stable.digest().to_string());
        assert!(row["source_image"].as_str().unwrap().ends_with(&stable.digest().to_string()), "{row}");
    }
    assert_eq!(world.row(&worker).await["active_deployment"], untouched["active_deployment"]);
    world.is_in_order().await;
}
