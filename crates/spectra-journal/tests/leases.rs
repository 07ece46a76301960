//! Leases: one holder, fencing, time.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod support;

use std::{sync::Arc, time::Duration};

use serde_json::json;
use spectra_journal::{
    Acquisition, Clock as _, Error, Holder, Journal, LeaseEnd, ManualClock, Query, Record, kinds,
};
use support::*;

const SUBJECT: &str = "shop/production/api";

async fn events(journal: &Journal) -> Vec<Record> {
    journal.records(&Query::default()).await.unwrap()
}

fn fenced(error: Error) -> Option<u64> {
    match error {
        Error::Fenced { subject, by, .. } => {
            assert_eq!(subject, SUBJECT);
            by.map(|held| held.fence)
        }
        other => panic!("{other}"),
    }
}

on_both_stores! {
    async fn a_subject_has_one_holder_at_a_time(place: &Place) {
        let journal = place.open().await;
        let lease = acquired(journal.acquire(SUBJECT, stranger("a"), TTL).await.unwrap());
        assert_eq!((lease.subject(), lease.fence(), lease.ttl()), (SUBJECT, 1, TTL));
        assert!(lease.surely_held());
        let held = refused(place.open().await.acquire(SUBJECT, stranger("b"), TTL).await.unwrap());
        assert_eq!((held.holder.id.as_str(), held.fence, held.expired), ("a", 1, false));
        assert!(held.expires_at > held.since);
        let other = acquired(journal.acquire("another", stranger("b"), TTL).await.unwrap());
        assert_eq!(other.fence(), 1);
        let leases = journal.leases().await.unwrap();
        assert_eq!(leases.iter().map(|held| held.subject.as_str()).collect::<Vec<_>>(), ["another", SUBJECT]);
        assert_eq!(journal.lease_of(SUBJECT).await.unwrap().unwrap(), held);

        lease.release().await.unwrap();
        lease.release().await.unwrap();
        assert!(!lease.surely_held());
        assert_eq!(journal.lease_of(SUBJECT).await.unwrap(), None);
        assert_eq!(fenced(lease.append(note(1)).await.unwrap_err()), None);
        let next = acquired(journal.acquire(SUBJECT, stranger("b"), TTL).await.unwrap());
        assert_eq!(next.fence(), 2);
        let recorded: Vec<_> = events(&journal).await.into_iter().map(|record| (record.kind, record.fence)).collect();
        let expected = [(kinds::ACQUIRED, 1), (kinds::ACQUIRED, 1), (kinds::RELEASED, 1), (kinds::ACQUIRED, 2)];
        assert_eq!(recorded, expected.map(|(kind, fence)| (kind.to_owned(), Some(fence))));
        journal.verify(None).await.unwrap();
    }

    async fn who_was_robbed_can_write_nothing_any_more(place: &Place) {
        let journal = place.open().await;
        let old = acquired(journal.acquire(SUBJECT, stranger("old"), TTL).await.unwrap());
        assert_eq!(old.append(note(1)).await.unwrap().fence, Some(1));
        let new = journal.steal(SUBJECT, stranger("new"), TTL, "the runner hangs").await.unwrap();
        assert_eq!(new.fence(), 2);
        let before = journal.head().await.unwrap();
        assert_eq!(fenced(old.append(note(2)).await.unwrap_err()), Some(2));
        assert_eq!(fenced(old.renew().await.unwrap_err()), Some(2));
        assert_eq!(fenced(old.release().await.unwrap_err()), Some(2));
        assert!(!old.surely_held());
        assert_eq!(journal.head().await.unwrap(), before, "what is refused leaves nothing");
        let record = new.append(note(3)).await.unwrap();
        assert_eq!((record.fence, record.subject.as_str()), (Some(2), SUBJECT));
        let stolen = events(&journal).await.into_iter().find(|record| record.kind == kinds::STOLEN).unwrap();
        assert_eq!(stolen.body["from"]["holder"]["id"], "old");
        assert_eq!(stolen.body["holder"]["id"], "new");
        assert_eq!(stolen.body["reason"], "the runner hangs");
    }

    async fn a_lease_writes_about_its_own_subject(place: &Place) {
        let journal = place.open().await;
        let lease = acquired(journal.acquire("mine", stranger("a"), TTL).await.unwrap());
        let record = lease.append(draft("test.other", json!({}))).await.unwrap();
        assert_eq!(record.subject, "mine");
    }

    async fn unlocking_frees_and_is_recorded(place: &Place) {
        let journal = place.open().await;
        assert_eq!(journal.unlock(SUBJECT, stranger("operator"), "why not").await.unwrap(), None);
        let lease = acquired(journal.acquire(SUBJECT, stranger("a"), TTL).await.unwrap());
        let held = journal.unlock(SUBJECT, stranger("operator"), "the machine is gone").await.unwrap().unwrap();
        assert_eq!(held.holder.id, "a");
        assert_eq!(fenced(lease.append(note(1)).await.unwrap_err()), None);
        let last = events(&journal).await.pop().unwrap();
        assert_eq!((last.kind.as_str(), last.fence), (kinds::UNLOCKED, Some(1)));
        assert_eq!(last.body["by"]["id"], "operator");
        assert_eq!(last.body["reason"], "the machine is gone");
        assert_eq!(acquired(journal.acquire(SUBJECT, stranger("b"), TTL).await.unwrap()).fence(), 2);
    }

    async fn a_number_never_comes_back_even_if_the_row_does_not(place: &Place) {
        let journal = place.open().await;
        let lease = acquired(journal.acquire(SUBJECT, stranger("a"), TTL).await.unwrap());
        let lease = { drop(lease); journal.steal(SUBJECT, stranger("b"), TTL, "again").await.unwrap() };
        assert_eq!(lease.fence(), 2);
        place.tamper("DELETE FROM leases");
        assert_eq!(fenced(lease.append(note(1)).await.unwrap_err()), None);
        assert_eq!(acquired(journal.acquire(SUBJECT, stranger("c"), TTL).await.unwrap()).fence(), 3);
    }

    async fn of_many_who_ask_at_once_one_is_given_it(place: &Place) {
        let mut asking = tokio::task::JoinSet::new();
        for number in 0..16 {
            let journal = place.open().await;
            asking.spawn(async move { journal.acquire(SUBJECT, stranger(&number.to_string()), TTL).await.unwrap() });
        }
        let answers = asking.join_all().await;
        let given = answers.iter().filter(|answer| matches!(answer, Acquisition::Acquired(_))).count();
        assert_eq!(given, 1);
        assert_eq!(events(&place.open().await).await.len(), 1);
    }

    async fn a_lease_whose_asker_is_gone_is_given_back(place: &Place) {
        let journal = place.open().await;
        for number in 0..40 {
            // Dropped at some moment: before it is sent, while it waits, or when it was answered.
            let asking = journal.acquire(SUBJECT, Holder::of_this_process("test"), TTL);
            let patience = Duration::from_micros(number * 100);
            let asked = tokio::time::timeout(patience, asking).await;
            if let Ok(answer) = asked {
                // An earlier one may still be on its way back.
                if let Acquisition::Acquired(lease) = answer.unwrap() {
                    lease.release().await.unwrap();
                }
            }
        }
        let deadline = std::time::Instant::now() + TTL;
        while journal.lease_of(SUBJECT).await.unwrap().is_some() {
            assert!(std::time::Instant::now() < deadline, "a lease that nobody knows of blocks its subject");
        }
        journal.verify(None).await.unwrap();
    }

    async fn time_runs_out_by_the_journals_clock(place: &Place) {
        let journal = place.open().await;
        let short = Duration::from_millis(60);
        let old = acquired(journal.acquire(SUBJECT, stranger("old"), short).await.unwrap());
        let deadline = std::time::Instant::now() + TTL;
        let new = loop {
            match journal.acquire(SUBJECT, stranger("new"), TTL).await.unwrap() {
                Acquisition::Acquired(lease) => break lease,
                Acquisition::Held(held) => assert_eq!(held.holder.id, "old"),
            }
            assert!(std::time::Instant::now() < deadline, "the lease never ran out");
        };
        assert!(!old.surely_held(), "nobody is sure of a lease that another one has");
        assert_eq!(fenced(old.append(note(1)).await.unwrap_err()), Some(new.fence()));
        let taken = events(&journal).await.pop().unwrap();
        assert_eq!(taken.kind, kinds::TAKEN_OVER);
        assert_eq!(taken.body["from"]["holder"]["id"], "old");
        assert_eq!(taken.body["because"], "expired");
    }
}

async fn with_clock(place: &Place) -> (Journal, Arc<ManualClock>) {
    let clock = clock();
    let journal = Journal::open_with_clock(&place.location(), clock.clone()).await.unwrap();
    (journal, clock)
}

#[tokio::test]
async fn a_lease_is_surely_held_for_nine_tenths_of_its_time() {
    let place = Place::file();
    let (journal, clock) = with_clock(&place).await;
    let lease = acquired(journal.acquire(SUBJECT, stranger("a"), Duration::from_secs(100)).await.unwrap());
    clock.advance(Duration::from_secs(89));
    assert!(lease.surely_held());
    clock.advance(Duration::from_secs(1));
    assert!(!lease.surely_held());
    // Others may not have it yet, and renewing makes it sure again.
    clock.advance(Duration::from_secs(9));
    refused(journal.acquire(SUBJECT, stranger("b"), TTL).await.unwrap());
    lease.renew().await.unwrap();
    assert!(lease.surely_held());
    clock.advance(Duration::from_secs(99));
    assert!(!journal.lease_of(SUBJECT).await.unwrap().unwrap().expired);
    clock.advance(Duration::from_secs(1));
    assert!(journal.lease_of(SUBJECT).await.unwrap().unwrap().expired);
    // Over, and nobody took it: the number is still the current one.
    assert_eq!(lease.append(note(1)).await.unwrap().fence, Some(1));
    let next = acquired(journal.acquire(SUBJECT, stranger("b"), TTL).await.unwrap());
    assert_eq!(next.fence(), 2);
    assert_eq!(fenced(lease.renew().await.unwrap_err()), Some(2));
}

/// Waits until the heartbeat sleeps for so long, as it does between two renewals.
async fn asleep(clock: &ManualClock, pause: Duration) {
    let deadline = std::time::Instant::now() + TTL;
    while clock.wakes() != [clock.elapsed() + pause] {
        assert!(std::time::Instant::now() < deadline, "the heartbeat sleeps until {:?}", clock.wakes());
        tokio::task::yield_now().await;
    }
}

const THIRD: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_heartbeat_renews_at_every_third_until_the_release() {
    let place = Place::file();
    let (journal, clock) = with_clock(&place).await;
    let lease = acquired(journal.acquire(SUBJECT, stranger("a"), Duration::from_secs(30)).await.unwrap());
    let heartbeat = tokio::spawn(lease.heartbeat());
    for _ in 0..10 {
        asleep(&clock, THIRD).await;
        assert!(lease.surely_held());
        let expires_at = journal.lease_of(SUBJECT).await.unwrap().unwrap().expires_at;
        assert_eq!(expires_at, clock.now() + 3 * THIRD);
        clock.advance(THIRD);
    }
    assert_eq!(clock.elapsed(), Duration::from_secs(100));
    asleep(&clock, THIRD).await;
    lease.release().await.unwrap();
    assert!(matches!(heartbeat.await.unwrap(), LeaseEnd::Released));
}

#[tokio::test]
async fn a_heartbeat_tells_who_took_the_lease() {
    let place = Place::file();
    let (journal, clock) = with_clock(&place).await;
    let lease = acquired(journal.acquire(SUBJECT, stranger("a"), Duration::from_secs(30)).await.unwrap());
    let heartbeat = tokio::spawn(lease.heartbeat());
    asleep(&clock, THIRD).await;
    let thief = journal.steal(SUBJECT, stranger("thief"), 3 * THIRD, "test").await.unwrap();
    clock.advance(Duration::from_secs(10));
    let LeaseEnd::Lost { by: Some(by) } = heartbeat.await.unwrap() else { panic!("not lost") };
    assert_eq!((by.holder.id.as_str(), by.fence), ("thief", thief.fence()));
    assert!(!lease.surely_held());
    // An append that finds it out ends a heartbeat too, without waiting for its turn.
    let heartbeat = tokio::spawn(thief.heartbeat());
    asleep(&clock, THIRD).await;
    journal.unlock(SUBJECT, stranger("operator"), "test").await.unwrap();
    thief.append(note(1)).await.unwrap_err();
    assert!(matches!(heartbeat.await.unwrap(), LeaseEnd::Lost { by: None }));
}

#[tokio::test]
async fn a_heartbeat_ends_with_the_last_clone() {
    let place = Place::file();
    let (journal, clock) = with_clock(&place).await;
    let lease = acquired(journal.acquire(SUBJECT, stranger("a"), 3 * THIRD).await.unwrap());
    let clone = lease.clone();
    let heartbeat = tokio::spawn(lease.heartbeat());
    asleep(&clock, THIRD).await;
    drop(lease);
    assert!(!heartbeat.is_finished());
    drop(clone);
    assert!(matches!(heartbeat.await.unwrap(), LeaseEnd::Dropped));
}

#[tokio::test]
async fn a_heartbeat_that_reaches_nothing_ends_when_the_lease_is_not_sure() {
    let place = Place::file();
    let (journal, clock) = with_clock(&place).await;
    let lease = acquired(journal.acquire(SUBJECT, stranger("a"), Duration::from_secs(30)).await.unwrap());
    let heartbeat = tokio::spawn(lease.heartbeat());
    std::fs::rename(
        place.location().path().unwrap(),
        place.location().path().unwrap().with_extension("gone"),
    )
    .unwrap();
    asleep(&clock, THIRD).await;
    clock.advance(THIRD);
    // It tries on while the lease is sure.
    for _ in 10..27 {
        asleep(&clock, Duration::from_secs(1)).await;
        assert!(lease.surely_held());
        clock.advance(Duration::from_secs(1));
    }
    let end = heartbeat.await.unwrap();
    assert!(!lease.surely_held());
    let LeaseEnd::Expired { source: Some(error) } = end else { panic!("{end}") };
    assert!(matches!(*error, Error::Replaced { .. }), "{error}");
}

/// After a stop of the process the time is over; if nobody took the lease, it is renewed and sure again.
#[tokio::test]
async fn a_heartbeat_that_slept_too_long_asks_whether_the_lease_is_still_there() {
    let place = Place::file();
    let (journal, clock) = with_clock(&place).await;
    let lease = acquired(journal.acquire(SUBJECT, stranger("a"), Duration::from_secs(30)).await.unwrap());
    let heartbeat = tokio::spawn(lease.heartbeat());
    asleep(&clock, THIRD).await;
    clock.advance(Duration::from_secs(1000));
    assert!(!lease.surely_held());
    asleep(&clock, THIRD).await;
    assert!(lease.surely_held());
    journal.steal(SUBJECT, stranger("thief"), TTL, "test").await.unwrap();
    clock.advance(Duration::from_secs(1000));
    assert!(matches!(heartbeat.await.unwrap(), LeaseEnd::Lost { by: Some(_) }));
}
