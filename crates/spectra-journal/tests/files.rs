//! What only a file has: permissions, folders, other people's files, many who open it.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod support;

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;
use spectra_journal::{Error, Hash, Journal, Location, Query, Record};
use support::*;

async fn open(path: &Path) -> Result<Journal, Error> {
    Journal::open(&Location::file(path)).await
}

#[tokio::test]
async fn folders_are_made_and_the_file_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b/journal.db");
    let journal = open(&path).await.unwrap();
    journal.append(note(1)).await.unwrap();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let mode = std::fs::metadata(path.with_file_name(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    // The record is on the disk when `append` returns: a copy of the files has it.
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(path.with_file_name(name), folder.path().join(name)).unwrap();
    }
    assert_eq!(open(&folder.path().join("journal.db")).await.unwrap().head().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let error = open(&folder.path().join("file/journal.db")).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
    assert!(error.to_string().contains("/file"), "{error}");
    assert!(error.hint().is_some());
    // The folder itself is no file.
    let error = open(folder.path()).await.unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error}");
}

#[tokio::test]
async fn other_files_are_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "This is not a database, and longer than a header of one. ".repeat(20)).unwrap();
    let before = std::fs::read(&text).unwrap();
    let error = open(&text).await.unwrap_err();
    assert!(matches!(error, Error::NotAJournal { .. }), "{error}");
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let other = folder.path().join("other.db");
    let connection = rusqlite::Connection::open(&other).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x)").unwrap();
    let error = open(&other).await.unwrap_err();
    assert!(matches!(error, Error::NotAJournal { .. }), "{error}");
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_newer_schema_is_left_as_it_is() {
    let place = Place::file();
    drop(place.open().await);
    place.tamper("PRAGMA user_version = 99");
    for error in [
        Journal::open(&place.location()).await.unwrap_err(),
        Journal::open_existing(&place.location()).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::NewerSchema { found: 99, known: 1, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_is_not_written_to() {
    let place = Place::file();
    let journal = place.open().await;
    journal.append(note(1)).await.unwrap();
    let path = place.location().path().unwrap().to_owned();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(journal.append(note(2)).await, Err(Error::Replaced { .. })));
    assert!(!path.exists());
}

#[tokio::test]
async fn nothing_is_made_where_there_is_no_journal() {
    let place = Place::file();
    let error = Journal::open_existing(&place.location()).await.unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(!place.location().path().unwrap().parent().unwrap().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_open_and_write_at_once() {
    let place = Place::file();
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..12 {
        let location = place.location();
        opening.spawn(async move {
            let journal = Journal::open(&location).await.unwrap();
            for _ in 0..5 {
                journal.append(note(number)).await.unwrap();
            }
        });
    }
    opening.join_all().await;
    assert_eq!(place.open().await.verify(None).await.unwrap().records, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_appenders_share_transactions() {
    let place = Place::file();
    let journal = place.open().await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..200 {
        let journal = journal.clone();
        writers.spawn(async move {
            let first = journal.append(note(number)).await.unwrap();
            let second = journal.append(note(number)).await.unwrap();
            assert!(second.seq > first.seq);
        });
    }
    writers.join_all().await;
    assert_eq!(journal.verify(None).await.unwrap().records, 400);
}

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal-1");
/// The head of the fixture, as somebody noted it when it was written.
const FIXTURE_HEAD: &str = include_str!("fixtures/journal-1.head");

/// Writes the fixture anew; only for a new version of the records, beside the old one.
#[tokio::test]
#[ignore = "writes a fixture into the repository"]
async fn write_the_fixture() {
    let place = Place::file();
    let journal = Journal::open_with_clock(&place.location(), clock()).await.unwrap();
    journal
        .append(draft("approval.given", json!({"digest": "sha256:00", "by": "ada", "é": [1, 2.50, null]})))
        .await
        .unwrap();
    let lease = acquired(journal.acquire("shop/production/api", holder(), TTL).await.unwrap());
    lease.append(draft("rollout.begun", json!({"image": "a\nb \"c\""}))).await.unwrap();
    drop(journal.steal("shop/production/api", holder(), TTL, "fixture").await.unwrap());
    journal.unlock("shop/production/api", holder(), "fixture").await.unwrap();
    let lease = acquired(journal.acquire("shop/staging/api", holder(), TTL).await.unwrap());
    lease.release().await.unwrap();
    let mut lines = std::fs::File::create(format!("{FIXTURE}.jsonl")).unwrap();
    journal.export(&mut lines, &Query::default()).await.unwrap();
    std::fs::write(format!("{FIXTURE}.head"), journal.head().await.unwrap().1.to_string()).unwrap();
    place.tamper(&format!("VACUUM INTO '{FIXTURE}.db'"));
}

/// A holder that says nothing of the machine that the fixture was written on.
fn holder() -> spectra_journal::Holder {
    spectra_journal::Holder {
        id: "run-1".to_owned(),
        host: "runner-7".to_owned(),
        pid: 4711,
        process_start: Some("123456".to_owned()),
        boot_id: Some("boot".to_owned()),
        pid_namespace: Some("pid:[4026531836]".to_owned()),
        run_url: Some("https://github.com/acme/shop/actions/runs/1".to_owned()),
        user: Some("ada".to_owned()),
        program: "railway-deployer".to_owned(),
    }
}

/// Who breaks this breaks every journal that was ever written.
#[tokio::test]
async fn a_journal_of_version_one_still_verifies_reads_and_goes_on() {
    let head: Hash = FIXTURE_HEAD.trim().parse().unwrap();
    let lines = std::fs::read_to_string(format!("{FIXTURE}.jsonl")).unwrap();
    let verified =
        spectra_journal::verify_lines(lines.as_bytes(), spectra_journal::Extent::Whole, Some(&head)).unwrap();
    assert_eq!((verified.records, verified.head), (7, head));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.db");
    std::fs::copy(format!("{FIXTURE}.db"), &path).unwrap();
    let journal = open(&path).await.unwrap();
    assert_eq!(journal.verify(Some(&head)).await.unwrap().head, head);
    let read: Vec<Record> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(journal.records(&Query::default()).await.unwrap(), read);
    assert!(read.iter().all(|record| record.version == 1));
    assert_eq!(read[0].body["é"], json!([1, 2.50, null]));
    assert_eq!(read[2].fence, Some(1));
    let next = acquired(journal.acquire("shop/production/api", stranger("b"), TTL).await.unwrap());
    assert_eq!(next.fence(), 3);
    assert_eq!(journal.verify(Some(&head)).await.unwrap().records, 8);
}

/// A newer program's record: another version, and a body whose text this program would not write.
#[tokio::test]
async fn a_record_of_a_newer_version_is_read_verified_and_exported_as_it_is() {
    let place = Place::file();
    let journal = place.open().await;
    let first = journal.append(note(1)).await.unwrap();
    let body = r#"{"z":{"new":true},  "a":1.50}"#;
    let newer = Record { version: 9, seq: 2, key: "k2".to_owned(), previous: first.hash, ..first.clone() };
    let hash = hash_of(&newer, body, &first.hash.to_string());
    place.tamper(&format!(
        "INSERT INTO records SELECT 2, 9, at, 'k2', subject, rollout, kind, fence, '{body}', hash, '{hash}' FROM records;
         UPDATE head SET seq = 2, hash = '{hash}'"
    ));
    journal.append(note(3)).await.unwrap();
    assert_eq!(journal.verify(None).await.unwrap().records, 3);
    let record = journal.records(&Query::default()).await.unwrap().remove(1);
    assert_eq!((record.version, &record.body), (9, &serde_json::from_str(body).unwrap()));
    let mut lines = Vec::new();
    journal.export(&mut lines, &Query::default()).await.unwrap();
    assert!(String::from_utf8_lossy(&lines).contains(body));
    spectra_journal::verify_lines(lines.as_slice(), spectra_journal::Extent::Whole, None).unwrap();
}
