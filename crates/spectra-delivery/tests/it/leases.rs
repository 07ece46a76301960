//! Two deliveries of one service.

use std::sync::Mutex;
use std::time::Duration;

use spectra_delivery::{DEFAULT_TTL, Error, Heard, Waiting};
use spectra_journal::Held;
use spectra_rollout::{Outcome, RolloutRequest};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::world::World;

#[tokio::test]
async fn a_second_delivery_is_told_who_acts_and_begins_when_the_first_has_ended() {
    let world = World::start().await;
    let place = world.web(&world.push("v1", &[]).await).await;
    let first_image = world.push("v2", &[]).await;
    let second_image = world.push("v3", &[]).await;
    let never = CancellationToken::new();
    let (begun, waits) = (Notify::new(), Notify::new());
    let listener = |heard: &Heard<'_>| {
        if heard.line.starts_with("begun:") {
            begun.notify_one();
        }
    };
    let first = world.delivery(&listener);
    let holder = first.holder.clone();
    let bake = Duration::from_mins(10);
    let stop = CancellationToken::new();
    let request = RolloutRequest { bake, ..RolloutRequest::new(place.clone(), first_image) };
    let leading = first.deliver(request, &stop);

    let told: Mutex<Vec<Held>> = Mutex::default();
    let following = async {
        begun.notified().await;
        let refused = world.try_deliver(RolloutRequest::new(place.clone(), second_image.clone())).await;
        let Err(Error::LeaseHeld { held }) = refused else { panic!("{refused:?}") };
        assert_eq!(held.holder, holder);
        let mut second = world.delivery(&|_| {});
        let hear = |held: &Held| {
            told.lock().unwrap().push(held.clone());
            waits.notify_one();
        };
        second.waiting = Waiting { at_most: Duration::from_mins(1), told: &hear, ttl: DEFAULT_TTL };
        second.deliver(RolloutRequest::new(place.clone(), second_image.clone()), &never).await
    };
    let stopping = async {
        waits.notified().await;
        stop.cancel();
    };
    let all = async { tokio::join!(leading, following, stopping) };
    let (first, second, ()) = tokio::time::timeout(Duration::from_mins(1), all).await.unwrap();
    assert!(!matches!(first.unwrap().report.outcome, Outcome::Complete { .. }), "it was stopped");
    let second = second.unwrap();
    assert!(second.recovered.is_empty(), "the first one left nothing open");
    assert!(matches!(second.report.outcome, Outcome::Complete { .. }), "{}", second.report.outcome);
    let told = told.into_inner().unwrap();
    assert_eq!(told.iter().map(|held| &held.holder).collect::<Vec<_>>(), [&holder]);
    assert_eq!(world.runs(&place).await, second_image.digest().to_string());
    world.is_in_order().await;
}
