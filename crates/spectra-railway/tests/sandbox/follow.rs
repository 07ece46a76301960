//! Following deployments over the one connection.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use spectra_railway::{DeploymentFeed, DeploymentStatus, FeedChange, RailwayTarget};

use crate::clock::HeldClock;
use crate::world::{World, soon, until};

const HOUR: Duration = Duration::from_hours(1);

/// The next status that is told, with no wait that could end by time.
async fn told(feed: &mut DeploymentFeed) -> DeploymentStatus {
    match soon("a status is told", feed.changed(HOUR)).await {
        FeedChange::Pushed(status) => status,
        FeedChange::Elapsed => panic!("an hour passed in a test"),
    }
}

async fn told_until(feed: &mut DeploymentFeed, status: &DeploymentStatus) {
    while told(feed).await != *status {}
}

#[tokio::test]
async fn a_status_is_told_although_no_time_passes() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    let client = world.client_on(Arc::new(HeldClock::default()));
    let mut feed = client.follow_deployment(&id);
    assert_eq!(told(&mut feed).await, DeploymentStatus::NeedsApproval);
    world.approve(&id).await;
    told_until(&mut feed, &DeploymentStatus::Success).await;
}

#[tokio::test]
async fn a_target_is_told_from_wait_to_wait() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    let target = RailwayTarget::new(world.client_on(Arc::new(HeldClock::default())));
    let change = soon("the target is told", target.wait_for_change(&id, HOUR)).await;
    assert_eq!(change, FeedChange::Pushed(DeploymentStatus::NeedsApproval));
    world.approve(&id).await;
    while soon("the target is told", target.wait_for_change(&id, HOUR)).await
        != FeedChange::Pushed(DeploymentStatus::Success)
    {}
    assert_eq!(world.journal("FollowDeployment").await.len(), 1, "one subscription for all waits");
}

#[tokio::test]
async fn two_hundred_follows_share_one_connection() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    // The first upgrade passes; a second one would be refused, and leave a row.
    world
        .fault(json!({ "operation": "graphql-transport-ws", "skip": 1,
                       "action": { "type": "ws_refuse", "status": 503 } }))
        .await;
    let client = world.client_on(Arc::new(HeldClock::default()));
    let mut feeds: Vec<_> = (0..200).map(|_| client.follow_deployment(&id)).collect();
    for feed in &mut feeds {
        assert_eq!(told(feed).await, DeploymentStatus::NeedsApproval);
    }
    assert_eq!(world.journal("FollowDeployment").await.len(), 200);
    assert_eq!(world.journal("graphql-transport-ws").await, Vec::<Value>::new());
    let faults = world.admin("GET", "faults", Value::Null).await;
    assert_eq!(faults["faults"][0]["applied"], 0, "{faults}");
    world.approve(&id).await;
    for feed in &mut feeds {
        told_until(feed, &DeploymentStatus::Success).await;
    }
}

#[tokio::test]
async fn a_cut_connection_comes_back_and_tells_what_was_missed() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    world
        .fault(json!({ "operation": "FollowDeployment", "count": 1, "action": { "type": "ws_drop", "after": 1 } }))
        .await;
    let mut feed = world.client.follow_deployment(&id);
    assert_eq!(told(&mut feed).await, DeploymentStatus::NeedsApproval);
    world.approve(&id).await;
    told_until(&mut feed, &DeploymentStatus::Success).await;
    let rows = world.journal("FollowDeployment").await;
    assert_eq!(rows[0]["outcome"], "fault:ws_drop");
    assert!(rows.len() >= 2, "{rows:?}");
}

#[tokio::test]
async fn a_refused_upgrade_leaves_a_plain_wait_and_is_tried_again() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    world
        .fault(
            json!({ "operation": "graphql-transport-ws", "action": { "type": "ws_refuse", "status": 403 } }),
        )
        .await;
    let clock = Arc::new(HeldClock::default());
    let client = world.client_on(Arc::clone(&clock) as _);
    let mut feed = client.follow_deployment(&id);
    until("the upgrade is refused", async || !world.journal("graphql-transport-ws").await.is_empty()).await;
    let wait = Duration::from_secs(3);
    let (change, ()) = tokio::join!(soon("the wait ends", feed.changed(wait)), async {
        until("somebody waits", async || clock.has_sleeper(wait)).await;
        clock.advance(wait);
    });
    assert_eq!(change, FeedChange::Elapsed);
    // Nobody knocked again in these seconds.
    assert_eq!(world.journal("graphql-transport-ws").await.len(), 1);
    world.admin("DELETE", "faults", Value::Null).await;
    until("the pause is slept", async || clock.has_sleeper(Duration::from_secs(57))).await;
    clock.advance(Duration::from_mins(1));
    assert_eq!(told(&mut feed).await, DeploymentStatus::NeedsApproval);
}

#[tokio::test]
async fn q45_a_subscription_that_falls_silent_leaves_a_plain_wait() {
    let world = World::start().await;
    let (_, id) = world.held(&[]).await;
    world
        .fault(json!({ "operation": "FollowDeployment", "action": { "type": "ws_silence", "after": 1 } }))
        .await;
    let clock = Arc::new(HeldClock::default());
    let client = world.client_on(Arc::clone(&clock) as _);
    let mut feed = client.follow_deployment(&id);
    assert_eq!(told(&mut feed).await, DeploymentStatus::NeedsApproval);
    world.approve(&id).await;
    world.until_status(&id, "SUCCESS").await;
    let wait = Duration::from_secs(3);
    let (change, ()) = tokio::join!(soon("the wait ends", feed.changed(wait)), async {
        until("somebody waits", async || clock.has_sleeper(wait)).await;
        clock.advance(wait);
    });
    assert_eq!(change, FeedChange::Elapsed);
}

#[tokio::test]
async fn a_deployment_that_nobody_knows_leaves_a_plain_wait() {
    let world = World::start().await;
    let clock = Arc::new(HeldClock::default());
    let client = world.client_on(Arc::clone(&clock) as _);
    let mut feed = client.follow_deployment(&"00000000-0000-4000-8000-000000000000".parse().unwrap());
    let wait = Duration::from_millis(10);
    until("it is refused", async || {
        world.journal("FollowDeployment").await.iter().any(|row| row["outcome"] == "error")
    })
    .await;
    let (change, ()) = tokio::join!(soon("the wait ends", feed.changed(wait)), async {
        until("somebody waits", async || clock.has_sleeper(wait)).await;
        clock.advance(wait);
    });
    assert_eq!(change, FeedChange::Elapsed);
}
