//! What deployments print, beside the rollout.

use std::time::Duration;

use serde_json::{Value, json};
use spectra_delivery::Logged;
use spectra_rollout::spec::HealthPolicy;
use spectra_rollout::{Outcome, Place, RolloutRequest};
use spectra_types::{PinnedImage, Redactor};
use tokio_util::sync::CancellationToken;

use crate::world::{Lines, TRAFFIC, World};

/// Rolls an image out, and hears what its deployments print.
async fn heard(world: &World, request: RolloutRequest) -> (Outcome, Vec<String>) {
    let lines = Lines::default();
    let listener = |logged: &Logged<'_>| lines.add(&format!("{} {}", logged.deployment, logged.line));
    let mut delivery = world.delivery(&|_| {});
    delivery.logs = Some(&listener);
    let never = CancellationToken::new();
    let delivering = delivery.deliver(request, &never);
    let delivered = tokio::time::timeout(Duration::from_mins(1), delivering).await.unwrap().unwrap();
    (delivered.report.outcome, lines.all())
}

fn baking(place: &Place, image: PinnedImage, bake: Duration) -> RolloutRequest {
    RolloutRequest {
        health: Some(HealthPolicy { interval: Duration::from_millis(50), ..HealthPolicy::default() }),
        bake,
        ..RolloutRequest::new(place.clone(), image)
    }
}

/// How often an operation was asked for.
async fn asked(world: &World, operation: &str) -> usize {
    let journal = world.admin("GET", "journal?limit=10000", Value::Null).await;
    journal["entries"].as_array().unwrap().iter().filter(|row| row["operation"] == operation).count()
}

#[tokio::test]
async fn a_crashing_candidate_is_heard_through_its_subscription_without_its_secrets() {
    let world = World::start().await;
    let good = world.push("v1", &[]).await;
    let place = world.web(&good).await;
    let bad = world.push("v2", &[("exit", "3")]).await;
    let (outcome, lines) = heard(&world, RolloutRequest::new(place.clone(), bad)).await;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    assert!(lines.iter().any(|line| line.ends_with(" exited with code 3")), "{lines:?}");

    // Of this test alone: the redactor is the process's.
    Redactor::global().register("exited with code 117");
    let secretive = world.push("v3", &[("exit", "117")]).await;
    let (_, lines) = heard(&world, RolloutRequest::new(place.clone(), secretive)).await;
    assert!(lines.iter().any(|line| line.ends_with(" [redacted]")), "{lines:?}");
    assert!(!lines.concat().contains("code 117"), "{lines:?}");
    world.is_in_order().await;
}

#[tokio::test]
async fn without_subscriptions_logs_are_read_seldom_and_without_them_not_at_all() {
    let world = World::start().await;
    let old = world.push("v1", &[]).await;
    let place = world.web(&old).await;
    let refuse = json!({ "operation": "*", "count": 1000, "action": { "type": "ws_refuse" } });
    world.admin("POST", "faults", refuse).await;
    world.admin("DELETE", "journal", Value::Null).await;
    let new = world.push("v2", &[TRAFFIC]).await;
    let began = std::time::Instant::now();
    let (outcome, lines) = heard(&world, baking(&place, new, Duration::from_secs(5))).await;
    assert!(matches!(outcome, Outcome::Complete { .. }), "{outcome}");
    assert!(lines.iter().any(|line| line.contains(" listening on port ")), "{lines:?}");
    let looks = asked(&world, "DeploymentLogs").await + asked(&world, "BuildLogs").await;
    // One in five looks at a deployment, whichever log it is of.
    let most = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    assert!((1..=most).contains(&looks), "{looks} of {most}");

    world.admin("DELETE", "journal", Value::Null).await;
    let silent = world.push("v3", &[]).await;
    world.deliver(baking(&place, silent, Duration::from_secs(2))).await;
    assert_eq!(asked(&world, "DeploymentLogs").await + asked(&world, "BuildLogs").await, 0);
    world.is_in_order().await;
}
