//! Who lost the lease acts no more; who cannot write goes back, and not on.

use std::sync::atomic::Ordering;

use spectra_rollout::spec::Step;
use spectra_rollout::{Entry, FailureReason, Ledger, Outcome, RolloutRequest};

use crate::support::requests::{
    canary, carried, contract, expand, hook, request, roll, seconds, taken_up, wave,
};
use crate::support::world::{Fate, World};
use crate::support::{Blow, Diary};
use crate::{is_complete, is_old, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

fn everything() -> RolloutRequest {
    request(vec![
        expand("m1"),
        carried("m2"),
        hook("h1"),
        canary(5),
        Step::Swap,
        wave(&["mail"], 0),
        contract("m3"),
    ])
}

fn world(fate: Fate) -> World {
    World::running(&SERVICES).with(|inner| {
        inner.fates.insert("mail".to_owned(), fate);
    })
}

/// How much was changed and written when it lost the lease.
async fn without_the_lease(fate: Fate, at: usize, blow: Blow) {
    let whole = Diary::default();
    let untouched = world(fate);
    roll(&untouched, &whole, everything()).await.unwrap();
    let written = whole.entries();
    // What was changed before that write was written down before it.
    let changes =
        |entries: &[Entry]| entries.iter().filter(|one| matches!(one, Entry::Intent { .. })).count();

    let world = world(fate);
    let diary = Diary::with(at, blow.clone());
    let report = roll(&world, &diary, everything()).await.unwrap();
    let context = format!("{at} {blow:?}: {:?} {:?}", report.outcome, world.log());
    assert!(world.log().len() <= changes(&written[..at - 1]), "{context}");
    let log = world.log();
    if log.len() < untouched.log().len() || at < written.len() || blow == Blow::Fenced {
        assert!(matches!(report.outcome, Outcome::Fenced { .. }), "{context}");
        assert!(matches!(crate::reason(&report), FailureReason::LeaseLost { .. }), "{context}");
    }
    // Also much later.
    tokio::time::sleep(seconds(600)).await;
    assert_eq!(world.log(), log);
    // Whoever has it now brings things in order.
    if !diary.entries().is_empty() && Ledger::of(&diary.entries()).outcome().is_none() {
        taken_up(&world, &diary.reopened()).await;
        is_old(&world, &SERVICES);
        schema_is_back(&world, &everything());
    }
}

#[tokio::test(start_paused = true)]
async fn no_mutation_follows_the_loss_of_the_lease_at_any_write() {
    for fate in [Fate::Serves, Fate::Fails] {
        let whole = Diary::default();
        roll(&world(fate), &whole, everything()).await.unwrap();
        for at in 1..=whole.entries().len() {
            without_the_lease(fate, at, Blow::Fenced).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ran_out_unseen_stops_the_next_mutation_and_leaves_the_rollout_open() {
    for fate in [Fate::Serves, Fate::Fails] {
        let whole = Diary::default();
        roll(&world(fate), &whole, everything()).await.unwrap();
        let last = whole.entries().iter().rposition(|one| matches!(one, Entry::Intent { .. })).unwrap();
        for at in 1..=last {
            let world = world(fate);
            let diary = Diary::with(at, Blow::Expired);
            let report = roll(&world, &diary, everything()).await.unwrap();
            assert!(matches!(report.outcome, Outcome::Fenced { .. }), "{at}: {:?}", report.outcome);
            assert_eq!(Ledger::of(&diary.entries()).outcome(), None, "{at}: it is not over");
            taken_up(&world, &diary.reopened()).await;
            is_old(&world, &SERVICES);
            schema_is_back(&world, &everything());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unwritable_journal_refuses_what_was_not_begun() {
    let world = world(Fate::Serves);
    let diary = Diary::default();
    diary.unavailable.store(true, Ordering::SeqCst);
    let report = roll(&world, &diary, everything()).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Refused { .. }), "{:?}", report.outcome);
    assert!(matches!(crate::reason(&report), FailureReason::Journal { .. }));
    assert_eq!(world.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_from_any_write_on_refuses_the_way_forward_and_lets_the_way_back_be_taken() {
    let whole = Diary::default();
    roll(&world(Fate::Serves), &whole, everything()).await.unwrap();
    let last = whole.entries().iter().rposition(|one| matches!(one, Entry::Intent { .. })).unwrap();
    for at in 1..=last + 1 {
        let world = world(Fate::Serves);
        let diary = Diary::default();
        diary.at.lock().unwrap().extend((at..at + 1000).map(|write| (write, Blow::Unavailable)));
        let report = roll(&world, &diary, everything()).await.unwrap();
        assert!(
            matches!(crate::reason(&report), FailureReason::Journal { .. }),
            "{at}: {:?}",
            report.outcome
        );
        is_old(&world, &SERVICES);
        schema_is_back(&world, &everything());
        assert!(
            report.leftovers.iter().any(|line| line.contains("the end could not be written")),
            "{at}: {:?}",
            report.leftovers
        );
        // What is whole already survives that the next one does not know.
        if !diary.entries().is_empty() {
            taken_up(&world, &diary.reopened()).await;
            is_old(&world, &SERVICES);
            schema_is_back(&world, &everything());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_write_that_fails_leaves_no_gap_in_the_record() {
    let whole = Diary::default();
    roll(&world(Fate::Serves), &whole, everything()).await.unwrap();
    for at in 1..=whole.entries().len() {
        let world = world(Fate::Serves);
        let diary = Diary::with(at, Blow::Unavailable);
        let report = roll(&world, &diary, everything()).await.unwrap();
        if matches!(whole.entries()[at - 1], Entry::Intent { action: ref one } if !carries(one)) {
            assert!(
                matches!(crate::reason(&report), FailureReason::Journal { .. }),
                "{at}: {:?}",
                report.outcome
            );
            is_old(&world, &SERVICES);
            continue;
        }
        if at == whole.entries().len() {
            continue;
        }
        is_complete(&report);
        assert_eq!(diary.entries(), whole.entries(), "{at}");
    }
}

/// Whether an intent belongs to a deployment that comes right after it.
fn carries(action: &spectra_rollout::Action) -> bool {
    matches!(action, spectra_rollout::Action::Migrate { name, .. } if name == "m2")
}
