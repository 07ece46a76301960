//! Many rollouts of one process, and what they cost together.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use spectra_delivery::Logged;
use spectra_railway::InstanceUpdate;
use spectra_rollout::spec::HealthPolicy;
use spectra_rollout::{Outcome, RolloutRequest};
use spectra_types::PinnedImage;
use tokio_util::sync::CancellationToken;

use crate::world::{Lines, World};

/// So many services at once.
const SERVICES: usize = 20;
/// So many requests one of the rollouts may cost, with a deployment that is on its way for some twenty polls and a bake of
/// ten more. Alone, each poll is a request of its own, and some are three.
const REQUESTS_EACH: usize = 16;

#[tokio::test]
async fn rollouts_side_by_side_share_what_they_read() {
    let world = World::start().await;
    let old = world.push("v1", &[]).await;
    let mut places = Vec::new();
    for number in 0..SERVICES {
        places.push(world.serving(&format!("s{number}"), &old, InstanceUpdate::default()).await);
    }
    // Four seconds of the test's own time.
    world.admin("PUT", "settings", json!({ "image_deploy_duration": "8000s" })).await;
    world.admin("DELETE", "journal", serde_json::Value::Null).await;
    let new = world.push("v2", &[]).await;
    // As another process has: nothing was read yet.
    let client = world.other_client();
    let mut delivery = world.delivery(&|_| {});
    delivery.client = &client;
    let heard = Lines::default();
    let listener = |logged: &Logged<'_>| heard.add(logged.place.service.as_str());
    delivery.logs = Some(&listener);
    let never = CancellationToken::new();
    let request = |place| RolloutRequest {
        health: Some(HealthPolicy { interval: Duration::from_millis(200), ..HealthPolicy::default() }),
        bake: Duration::from_secs(2),
        ..RolloutRequest::new(place, PinnedImage::clone(&new))
    };
    let all = join_all(places.iter().map(|place| delivery.deliver(request(place.clone()), &never)));
    for done in tokio::time::timeout(Duration::from_mins(3), all).await.unwrap() {
        let outcome = done.unwrap().report.outcome;
        assert!(matches!(outcome, Outcome::Complete { .. }), "{outcome}");
    }
    for place in &places {
        assert_eq!(world.runs(place).await, new.digest().to_string());
    }
    let journal = world.admin("GET", "journal?limit=10000", serde_json::Value::Null).await;
    let mut counted = BTreeMap::<String, usize>::new();
    for entry in journal["entries"].as_array().unwrap() {
        // Subscriptions on an open connection cost nothing.
        if entry["kind"] != "subscription" {
            *counted.entry(entry["operation"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    let heard = heard.all();
    assert!(places.iter().all(|place| heard.iter().any(|service| service == place.service.as_str())));
    assert_eq!(counted.get("ServiceInstanceDeploy"), Some(&SERVICES), "{counted:?}");
    let all: usize = counted.values().sum();
    assert!(all <= REQUESTS_EACH * SERVICES, "{} a rollout: {counted:?}", all.div_ceil(SERVICES));
    world.is_in_order().await;
}
