//! `audit`: the journal as evidence.

use crate::support::Place;
use crate::world::World;

#[test]
fn what_was_done_is_shown_exported_and_checked() {
    let world = World::new();
    let image = world.image("image", &[]);
    world.start(&image, &[]).done();
    let place = &world.place;
    let log = place.run(&["audit", "log", "--limit", "3"]).done();
    assert_eq!(log.stdout.lines().count(), 6, "{}", log.stdout);
    assert!(log.stdout.contains("rollout.finished  railway/"), "{}", log.stdout);
    let begun =
        place.run(&["audit", "log", "--kind", "rollout.begun,lease.acquired", "--json"]).done().json();
    let kinds: Vec<_> =
        begun["records"].as_array().unwrap().iter().map(|record| record["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["lease.acquired", "rollout.begun"]);
    assert_eq!(
        place.run(&["audit", "log", "--since", "24h", "--json"]).done().json()["records"][0]["seq"],
        1
    );
    let none = place.run(&["audit", "log", "--since", "2100-01-01T00:00:00Z"]).done();
    assert_eq!(none.stdout, "no records\n");
    assert_eq!(place.run(&["audit", "log", "--since", "yesterday"]).code, 2);

    let head = place.run(&["audit", "head", "--json"]).done().json();
    let (seq, hash) = (head["seq"].as_u64().unwrap(), head["hash"].as_str().unwrap());
    let verified = place.run(&["audit", "verify", "--anchor", hash, "--json"]).done().json();
    assert_eq!((verified["ok"].as_bool(), verified["records"].as_u64()), (Some(true), Some(seq)));
    let other = place.run(&["audit", "verify", "--anchor", &"0123456789abcdef".repeat(4)]);
    assert_eq!((other.code, other.stdout.as_str()), (1, "no record has the hash that was noted elsewhere\n"));
    assert_eq!(place.run(&["audit", "verify", "--anchor", "abc"]).code, 2);

    place.run(&["audit", "export", "--output", "journal.jsonl"]).done();
    let exported = std::fs::read_to_string(place.path("journal.jsonl")).unwrap();
    assert_eq!(exported, place.run(&["audit", "export"]).done().stdout);
    assert_eq!(u64::try_from(exported.lines().count()).unwrap(), seq);
    place.run(&["audit", "verify", "--export", "journal.jsonl", "--anchor", hash]).done();
    place.write("journal.jsonl", &exported.replacen("rollout.begun", "rollout.bogus", 1));
    let edited = place.run(&["audit", "verify", "--export", "journal.jsonl", "--json"]);
    assert_eq!(edited.code, 1, "{}", edited.shown());
    assert_eq!(edited.json()["violations"].as_array().unwrap().len(), 1, "{}", edited.stdout);
}

#[test]
fn a_journal_that_is_not_there_is_not_made_by_looking() {
    let place = Place::new();
    for arguments in [&["audit", "log"][..], &["audit", "verify"], &["audit", "export"], &["audit", "head"]] {
        let run = place.run(arguments);
        assert_eq!(run.code, 1, "{}", run.shown());
        assert!(run.stderr.starts_with("error[SPX-504]: there is no journal at "), "{}", run.stderr);
    }
    assert!(!place.path(".spectra").exists());
    let wrong = place.run(&["audit", "head", "--journal", "mysql://me:canary-secret@host/x"]);
    assert_eq!(wrong.code, 2);
    assert!(!wrong.shown().contains("canary-secret"), "{}", wrong.shown());
}
