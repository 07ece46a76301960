//! Processes that die.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::Rng as _;
use spectra_delivery::{Standing, standing};
use spectra_journal::Holder;
use spectra_rollout::spec::{Canary, Step};
use spectra_rollout::{HealthPolicy, Outcome, Place, RolloutRequest};
use spectra_types::PinnedImage;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// How many deaths, spread over the whole of a rollout.
const DEATHS: u32 = 9;

/// A future that is dropped when it was polled so often.
struct Mortal<F> {
    inner: Pin<Box<F>>,
    polls: u32,
    lives: u32,
}

impl<F: Future> Future for Mortal<F> {
    /// What came of it, if it lived to see it, and how often it was polled.
    type Output = (Option<F::Output>, u32);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls >= self.lives {
            return Poll::Ready((None, self.polls));
        }
        self.polls += 1;
        let polls = self.polls;
        self.inner.as_mut().poll(cx).map(|output| (Some(output), polls))
    }
}

fn request(place: &Place, candidate: &PinnedImage) -> RolloutRequest {
    let canary = Canary { duration: Duration::from_millis(300), ..Canary::default() };
    let interval = Duration::from_millis(100);
    RolloutRequest {
        health: Some(HealthPolicy { interval, success_threshold: 1, ..HealthPolicy::default() }),
        steps: vec![Step::Canary(canary), Step::Swap],
        bake: Duration::from_millis(300),
        ..RolloutRequest::new(place.clone(), candidate.clone())
    }
}

/// Delivers with a client of its own until it was polled so often; says how often that was.
async fn die(world: &World, request: RolloutRequest, lives: u32) -> (bool, u32) {
    let client = world.other_client();
    let mut delivery = world.delivery(&|_| {});
    delivery.client = &client;
    let never = CancellationToken::new();
    let mortal = Mortal { inner: Box::pin(delivery.deliver(request, &never)), polls: 0, lives };
    let (done, polls) = tokio::time::timeout(Duration::from_mins(1), mortal).await.unwrap();
    (done.is_some_and(|done| matches!(done.unwrap().report.outcome, Outcome::Complete { .. })), polls)
}

#[tokio::test]
async fn whoever_comes_after_a_dead_process_brings_back_one_of_old_and_new_and_leaves_nothing() {
    let world = World::start().await;
    let place = world.web(&world.push("v0", &[]).await).await;
    let subject = place.subject();
    let (done, whole) = die(&world, request(&place, &world.push("whole", &[]).await), u32::MAX).await;
    assert!(done);
    let mut recovered = 0;
    for death in 0..DEATHS {
        let before = world.runs(&place).await;
        let candidate = world.push(&format!("v{death}"), &[]).await;
        let span = whole / DEATHS;
        let lives = span * death + rand::rng().random_range(1..span.max(2));
        let (done, _) = die(&world, request(&place, &candidate), lives).await;
        // The dead process's lease runs out.
        world.clock.advance(Duration::from_mins(2));
        let mut second = world.delivery(&|_| {});
        second.holder = Holder::of_this_process("second");
        let never = CancellationToken::new();
        let report = tokio::time::timeout(Duration::from_mins(1), second.recover(&place, &never)).await;
        let report = report.unwrap().unwrap_or_else(|error| panic!("{lives} of {whole}: {error}"));
        let context = format!("{lives} of {whole}: {report:?}");
        recovered += u32::from(report.is_some());
        match standing(&world.journal, &subject).await.unwrap() {
            Standing::Ended { .. } | Standing::None => {}
            other => panic!("{context}: {other:?}"),
        }
        let row = world.row(&place).await;
        let expected = if done { candidate.digest().to_string() } else { before.clone() };
        let runs = row["running_digest"].as_str().unwrap();
        // The end may have been written by who died before it could say so.
        let ended = report.is_none() && runs == candidate.digest().to_string();
        assert!(runs == expected || ended, "{context}: {row}");
        assert!(row["source_image"].as_str().unwrap().ends_with(runs), "{context}: {row}");
        assert_eq!(world.services().await, ["web"], "{context}");
        world.is_in_order().await;
    }
    assert!(recovered >= DEATHS / 2, "only {recovered} of {DEATHS} left anything to do");
}
