//! Rollouts that go back together.

use std::time::Duration;

use spectra_journal::{Acquisition, Holder};
use spectra_railway::InstanceUpdate;
use spectra_rollout::{Outcome, Place, RolloutRequest};
use spectra_types::PinnedImage;

use crate::world::World;

fn request(place: &Place, image: &PinnedImage, depends_on: &[&str]) -> RolloutRequest {
    RolloutRequest {
        group: Some("run-1".to_owned()),
        depends_on: depends_on.iter().map(|&id| id.to_owned()).collect(),
        ..RolloutRequest::new(place.clone(), image.clone())
    }
}

/// How the failed one ended must not get lost in the error of another one: the caller would take it for not begun.
#[tokio::test]
async fn what_cannot_be_taken_back_is_said_beside_how_the_rollout_ended() {
    let world = World::start().await;
    let old = world.push("v1", &[]).await;
    let new = world.push("v2", &[]).await;
    let bad = world.push("v3", &[("exit", "1")]).await;
    let api = world.serving("api", &old, InstanceUpdate::default()).await;
    let web = world.serving("web", &old, InstanceUpdate::default()).await;
    let first = world.deliver(request(&api, &new, &[])).await.report;
    assert!(matches!(first.outcome, Outcome::Complete { .. }), "{}", first.outcome);

    let other = Holder::of_this_process("somebody else");
    let taken = world.journal.acquire(&api.subject(), other, Duration::from_mins(5)).await.unwrap();
    let Acquisition::Acquired(lease) = taken else { panic!("{taken:?}") };
    let delivered = world.deliver(request(&web, &bad, &[&first.rollout])).await;
    assert!(matches!(delivered.report.outcome, Outcome::RolledBack { .. }), "{}", delivered.report.outcome);
    assert!(delivered.taken_back.is_empty());
    let leftovers = delivered.report.leftovers.join("\n");
    assert!(leftovers.contains("somebody else") && leftovers.contains(&first.rollout), "{leftovers}");
    assert_eq!(world.runs(&web).await, old.digest().to_string());
    assert_eq!(world.runs(&api).await, new.digest().to_string());

    // With the lease free, the next failure takes it back.
    lease.release().await.unwrap();
    let delivered = world.deliver(request(&web, &bad, &[&first.rollout])).await;
    assert_eq!(delivered.taken_back.len(), 1);
    assert_eq!(world.runs(&api).await, old.digest().to_string());
    world.is_in_order().await;
}
