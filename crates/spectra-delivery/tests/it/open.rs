//! What comes of a rollout that another process left open.

use spectra_delivery::{Aborted, Error, Standing, kinds, standing};
use spectra_journal::{Draft, Query};
use spectra_rollout::{Entry, HealthPolicy, Place, RolloutRequest};
use spectra_types::PinnedImage;
use tokio_util::sync::CancellationToken;

use crate::world::World;

const OPEN: &str = "ro-open";

/// Begins a rollout and leaves it.
async fn leave_open(world: &World, place: &Place, candidate: &PinnedImage) {
    let request = RolloutRequest::new(place.clone(), candidate.clone());
    let begun = Entry::Begun { request: Box::new(request) };
    let draft = Draft {
        subject: place.subject(),
        rollout: Some(OPEN.to_owned()),
        kind: begun.kind().to_owned(),
        body: serde_json::to_value(&begun).unwrap(),
    };
    world.journal.append(draft).await.unwrap();
}

#[tokio::test]
async fn a_refusal_after_a_recovery_names_what_was_brought_to_an_end() {
    let world = World::start().await;
    let [first, second] = [world.push("1", &[]).await, world.push("2", &[]).await];
    let place = world.web(&first).await;
    leave_open(&world, &place, &second).await;
    let health = HealthPolicy { url: Some("no URL".to_owned()), ..HealthPolicy::default() };
    let request =
        RolloutRequest { health: Some(health), ..RolloutRequest::new(place.clone(), second.clone()) };
    let error = world.try_deliver(request).await.unwrap_err();
    assert!(matches!(error.cause(), Error::Probe(_)), "{error:?}");
    let Error::AfterRecovery { recovered, .. } = error else { panic!("{error:?}") };
    let names: Vec<_> = recovered.iter().map(|(rollout, _)| rollout.as_str()).collect();
    assert_eq!(names, [OPEN]);
    let stands = standing(&world.journal, &place.subject()).await.unwrap();
    assert!(matches!(stands, Standing::Ended { .. }), "{stands:?}");
}

#[tokio::test]
async fn an_abort_of_a_rollout_that_is_not_the_open_one_says_which_is_and_asks_nothing() {
    let world = World::start().await;
    let image = world.push("1", &[]).await;
    let place = world.web(&image).await;
    leave_open(&world, &place, &image).await;
    let (delivery, never) = (world.delivery(&|_| {}), CancellationToken::new());
    let aborted = delivery.abort(&place, Some("ro-other"), "test", "", &never).await.unwrap();
    assert!(matches!(&aborted, Aborted::Another { open } if open == OPEN), "{aborted:?}");
    let wishes = Query { kinds: vec![kinds::ABORT.to_owned()], ..Query::default() };
    assert!(world.journal.records(&wishes).await.unwrap().is_empty());
    let stands = standing(&world.journal, &place.subject()).await.unwrap();
    assert!(matches!(stands, Standing::Open { .. }), "{stands:?}");
}
