//! What the tests of journals share.

#![allow(dead_code, reason = "each test program uses a part")]

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use spectra_journal::{Acquisition, Draft, Held, Holder, Journal, Lease, Location, ManualClock};
use spectra_test_postgres::Database;

pub(crate) const TTL: Duration = Duration::from_mins(1);

pub(crate) fn draft(kind: &str, body: Value) -> Draft {
    Draft {
        subject: "shop/production/api".to_owned(),
        rollout: Some("r1".to_owned()),
        kind: kind.to_owned(),
        body,
    }
}

pub(crate) fn note(number: u64) -> Draft {
    draft("test.note", json!({ "number": number }))
}

/// Another program on another machine.
pub(crate) fn stranger(id: &str) -> Holder {
    Holder { id: id.to_owned(), host: "elsewhere".to_owned(), ..Holder::of_this_process("test") }
}

pub(crate) fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new("2026-08-01T12:00:00Z".parse::<Timestamp>().unwrap()))
}

pub(crate) fn acquired(acquisition: Acquisition) -> Lease {
    match acquisition {
        Acquisition::Acquired(lease) => lease,
        Acquisition::Held(held) => panic!("held by {}", held.holder),
    }
}

pub(crate) fn refused(acquisition: Acquisition) -> Held {
    match acquisition {
        Acquisition::Held(held) => held,
        Acquisition::Acquired(lease) => panic!("acquired {lease:?}"),
    }
}

/// A place for a journal that goes when the test ends.
pub(crate) enum Place {
    File(tempfile::TempDir),
    Server(Database<'static>),
}

impl Place {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// `None` if there is no PostgreSQL, which was said.
    pub(crate) fn server() -> Option<Self> {
        spectra_test_postgres::shared().map(|server| Self::Server(server.database()))
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(folder) => format!("sqlite://{}/.spectra/journal.db", folder.path().display()),
            Self::Server(database) => database.url(),
        }
    }

    pub(crate) fn location(&self) -> Location {
        self.url().parse().unwrap()
    }

    pub(crate) async fn open(&self) -> Journal {
        Journal::open(&self.location()).await.unwrap()
    }

    /// Changes rows behind the journal's back. Tables are named as SQLite's.
    pub(crate) fn tamper(&self, statements: &str) {
        match self {
            Self::File(folder) => {
                let connection =
                    rusqlite::Connection::open(folder.path().join(".spectra/journal.db")).unwrap();
                connection.busy_timeout(Duration::from_secs(20)).unwrap();
                connection.execute_batch(statements).unwrap();
            }
            Self::Server(database) => {
                let mut statements = statements.to_owned();
                for table in ["records", "head", "leases"] {
                    for before in ["FROM ", "INTO ", "UPDATE "] {
                        statements = statements.replace(
                            &format!("{before}{table}"),
                            &format!("{before}spectra_journal_{table}"),
                        );
                    }
                }
                database.run(&statements);
            }
        }
    }
}

/// Writes each test once for a SQLite file and once for a PostgreSQL server.
#[macro_export]
macro_rules! on_both_stores {
    ($($(#[$attribute:meta])* async fn $name:ident($place:ident: &Place) $body:block)*) => {
        $($(#[$attribute])* async fn $name($place: &Place) $body)*
        mod on_sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(&Place::file()).await;
            })*
        }
        mod on_postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                if let Some(place) = Place::server() {
                    super::$name(&place).await;
                }
            })*
        }
    };
}

/// The hash of a record with another body and predecessor, computed as the documentation says and not by the
/// journal's own code.
pub(crate) fn hash_of(record: &spectra_journal::Record, body: &str, previous: &str) -> String {
    use sha2::{Digest as _, Sha256};
    fn number(hasher: &mut Sha256, number: u64) {
        hasher.update(number.to_be_bytes());
    }
    fn text(hasher: &mut Sha256, text: &str) {
        number(hasher, text.len() as u64);
        hasher.update(text);
    }
    let mut hasher = Sha256::new();
    hasher.update("spectra-journal-record-1");
    number(&mut hasher, record.version.into());
    number(&mut hasher, record.seq);
    text(&mut hasher, &record.at.to_string());
    text(&mut hasher, &record.key);
    text(&mut hasher, &record.subject);
    match &record.rollout {
        Some(rollout) => {
            hasher.update([1]);
            text(&mut hasher, rollout);
        }
        None => hasher.update([0]),
    }
    text(&mut hasher, &record.kind);
    match record.fence {
        Some(fence) => {
            hasher.update([1]);
            number(&mut hasher, fence);
        }
        None => hasher.update([0]),
    }
    text(&mut hasher, body);
    text(&mut hasher, previous);
    hasher.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
