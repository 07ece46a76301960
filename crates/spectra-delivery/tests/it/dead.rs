//! Leases that nobody gives back any more.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use spectra_delivery::{DEFAULT_TTL, free_what_the_dead_have};
use spectra_journal::{Acquisition, Draft, Holder, Journal, Location, ManualClock};
use spectra_rollout::{Entry, Place, RolloutRequest};

fn place(service: &str) -> Place {
    let [project, environment] = ["p", "e"];
    Place {
        project: project.parse().unwrap(),
        environment: environment.parse().unwrap(),
        service: service.parse().unwrap(),
    }
}

/// Takes the lease of a service, and never gives it back.
async fn take(journal: &Journal, service: &str, holder: Holder) {
    let taken = journal.acquire(&place(service).subject(), holder, DEFAULT_TTL).await.unwrap();
    assert!(matches!(taken, Acquisition::Acquired(_)));
}

/// Begins a rollout of a service, which has no end.
async fn begin(journal: &Journal, service: &str) {
    let digest = "a".repeat(64);
    let candidate = format!("registry.example/app@sha256:{digest}").parse().unwrap();
    let begun = Entry::Begun { request: Box::new(RolloutRequest::new(place(service), candidate)) };
    let draft = Draft {
        subject: place(service).subject(),
        rollout: Some(format!("of-{service}")),
        kind: begun.kind().to_owned(),
        body: serde_json::to_value(&begun).unwrap(),
    };
    journal.append(draft).await.unwrap();
}

async fn held(journal: &Journal) -> Vec<String> {
    journal.leases().await.unwrap().into_iter().map(|held| held.subject).collect()
}

#[tokio::test]
async fn leases_of_the_dead_are_freed_where_nothing_is_open_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(Timestamp::now()));
    let location = Location::file(dir.path().join("journal.db"));
    let journal = Journal::open_with_clock(&location, Arc::clone(&clock) as _).await.unwrap();
    let me = Holder::of_this_process("test");
    let gone = || Holder { process_start: Some("1".to_owned()), ..Holder::of_this_process("gone") };
    let elsewhere = || Holder { host: "elsewhere".to_owned(), ..Holder::of_this_process("elsewhere") };
    take(&journal, "ended", gone()).await;
    take(&journal, "open", gone()).await;
    begin(&journal, "open").await;
    take(&journal, "living", Holder::of_this_process("living")).await;
    take(&journal, "elsewhere", elsewhere()).await;

    let freed = free_what_the_dead_have(&journal, &me).await.unwrap();
    let freed: Vec<_> = freed.into_iter().map(|held| (held.subject, held.holder.program)).collect();
    assert_eq!(freed, [(place("ended").subject(), "gone".to_owned())]);
    let subject = |service: &str| place(service).subject();
    assert_eq!(held(&journal).await, [subject("elsewhere"), subject("living"), subject("open")]);

    // Of another machine nothing is known but the time.
    clock.advance(DEFAULT_TTL + Duration::from_secs(1));
    take(&journal, "living", Holder::of_this_process("living")).await;
    let freed = free_what_the_dead_have(&journal, &me).await.unwrap();
    assert_eq!(freed.into_iter().map(|held| held.subject).collect::<Vec<_>>(), [subject("elsewhere")]);
    assert_eq!(held(&journal).await, [subject("living"), subject("open")]);
    journal.verify(None).await.unwrap();
}
