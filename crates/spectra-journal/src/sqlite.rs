//! A journal in a SQLite file.
//!
//! One thread has the one connection. Several processes may have the file open: `BEGIN IMMEDIATE` lets one of
//! them write at a time, and the write-ahead log lets the others read meanwhile.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params, types::Value};
use tokio::sync::{mpsc, oneshot};

use crate::{
    clock::Clock,
    error::Error,
    journal::IfMissing,
    operation::{Answer, LeaseRow, Transaction, Write, perform},
    record::{Query, Row},
    store::{Inbox, Request, Waiting, Work},
    verify::Summary,
};

/// Marks the file as a journal: `SPXJ`.
const APPLICATION_ID: i64 = 0x5350_584a;

/// The schema's steps; a journal's `user_version` says how many it has.
const SCHEMA: [&str; 1] = ["
    CREATE TABLE records (
        seq INTEGER PRIMARY KEY,
        version INTEGER NOT NULL,
        at TEXT NOT NULL,
        key TEXT NOT NULL UNIQUE,
        subject TEXT NOT NULL,
        rollout TEXT,
        kind TEXT NOT NULL,
        fence INTEGER,
        body TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    ) STRICT;
    CREATE INDEX records_by_subject ON records (subject, seq);
    CREATE INDEX records_by_rollout ON records (rollout, seq) WHERE rollout IS NOT NULL;
    CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        seq INTEGER NOT NULL,
        hash TEXT NOT NULL
    ) STRICT;
    CREATE TABLE leases (
        subject TEXT PRIMARY KEY,
        fence INTEGER NOT NULL,
        holder TEXT,
        since TEXT,
        expires_at TEXT
    ) STRICT, WITHOUT ROWID;
    INSERT INTO head VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
"];

/// How long another process may keep the file to itself.
const PATIENCE: Duration = Duration::from_secs(20);

const COLUMNS: &str = "seq, version, at, key, subject, rollout, kind, fence, body, previous, hash";

/// Opens the file on a thread of its own, which serves the inbox until every sender is gone.
pub(crate) async fn start(
    path: &Path,
    if_missing: IfMissing,
    clock: Arc<dyn Clock>,
    inbox: mpsc::Receiver<Request>,
) -> Result<(), Error> {
    let path = path.to_owned();
    let location = format!("sqlite://{}", path.display());
    let closed = Error::Closed { location: location.clone() };
    let (opened, wait) = oneshot::channel();
    let thread = std::thread::Builder::new().name("journal".to_owned()).spawn({
        let path = path.clone();
        move || match Store::open(path, location, if_missing, clock) {
            Ok(store) => {
                // Who opened it may be gone by now; then the inbox is closed.
                drop(opened.send(Ok(())));
                store.serve(Inbox::new(inbox));
            }
            Err(error) => drop(opened.send(Err(error))),
        }
    });
    thread.map_err(|source| Error::File { attempt: "start a thread for", path, source })?;
    wait.await.map_err(|_| closed)?
}

struct Store {
    connection: Connection,
    path: PathBuf,
    location: String,
    clock: Arc<dyn Clock>,
    /// Which file it is, whatever its path says later.
    identity: Option<Identity>,
}

#[derive(PartialEq, Eq)]
struct Identity(u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| Identity(metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().map(|_| Identity(0, 0))
}

/// Makes the folders and an empty file that only its owner may read: records can tell a lot.
fn create(path: &Path) -> Result<(), Error> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| Error::File {
            attempt: "create the folder",
            path: folder.to_owned(),
            source,
        })?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(|source| Error::File {
        attempt: "open the journal",
        path: path.to_owned(),
        source,
    })
}

impl Store {
    fn open(
        path: PathBuf,
        location: String,
        if_missing: IfMissing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        match if_missing {
            IfMissing::Create => create(&path)?,
            IfMissing::Fail => match path.try_exists() {
                Ok(true) => {}
                Ok(false) => return Err(Error::Missing { location }),
                Err(source) => return Err(Error::File { attempt: "look for the journal", path, source }),
            },
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)
            .map_err(|source| database("create or read the tables", &location, source))?;
        let identity = identity(&path);
        let mut store = Self { connection, path, location, clock, identity };
        store.prepare(if_missing)?;
        Ok(store)
    }

    fn prepare(&mut self, if_missing: IfMissing) -> Result<(), Error> {
        self.try_to("create or read the tables", |connection| {
            connection.busy_timeout(PATIENCE)?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)
        })?;
        let found = self.schema()?;
        if found == Some(SCHEMA.len()) {
            return Ok(());
        }
        if if_missing == IfMissing::Fail && found.is_none() {
            // A file of no bytes, which somebody else is about to fill.
            return Err(Error::Missing { location: self.location.clone() });
        }
        // Turning the log on needs the file alone, and then SQLite does not wait for others by itself.
        let begun = Instant::now();
        loop {
            let mode = self
                .connection
                .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
            match mode {
                Err(error) if is_busy(&error) && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(database("create or read the tables", &self.location, error)),
                Ok(_) => break,
            }
        }
        self.try_to("create or read the tables", |connection| connection.execute_batch("BEGIN IMMEDIATE"))?;
        let result = self.migrate();
        if result.is_err() {
            self.roll_back();
        }
        result
    }

    /// In a transaction, for another process may have done it meanwhile.
    fn migrate(&mut self) -> Result<(), Error> {
        let done = self.schema()?.unwrap_or(0);
        self.try_to("create or read the tables", |connection| {
            for step in &SCHEMA[done..] {
                connection.execute_batch(step)?;
            }
            connection.pragma_update(None, "application_id", APPLICATION_ID)?;
            // The number of steps of a constant array.
            connection.pragma_update(
                None,
                "user_version",
                i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX),
            )?;
            connection.execute_batch("COMMIT")
        })
    }

    /// How many steps of the schema the file has; `None` if it is empty.
    fn schema(&self) -> Result<Option<usize>, Error> {
        let (application, version, tables): (i64, i64, i64) =
            self.try_to("create or read the tables", |connection| {
                connection.query_row(
                    "SELECT (SELECT application_id FROM pragma_application_id),
                            (SELECT user_version FROM pragma_user_version),
                            (SELECT count(*) FROM sqlite_schema)",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
            })?;
        if application == 0 && version == 0 && tables == 0 {
            return Ok(None);
        }
        if application != APPLICATION_ID {
            let reason = "it is a SQLite database of another program".to_owned();
            return Err(Error::NotAJournal { location: self.location.clone(), reason });
        }
        match usize::try_from(version) {
            Ok(version) if version <= SCHEMA.len() => Ok(Some(version)),
            _ => Err(Error::NewerSchema {
                location: self.location.clone(),
                found: version,
                known: i64::try_from(SCHEMA.len()).unwrap_or(i64::MAX),
            }),
        }
    }

    fn try_to<R>(
        &self,
        attempt: &'static str,
        act: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, Error> {
        act(&self.connection).map_err(|source| database(attempt, &self.location, source))
    }

    fn serve(mut self, mut inbox: Inbox) {
        while let Some(work) = futures::executor::block_on(inbox.next()) {
            match work {
                Work::Writes(writes) => self.write(writes, &mut inbox),
                Work::Read(request) => self.read(request),
            }
        }
    }

    fn write(&mut self, writes: Vec<Waiting>, inbox: &mut Inbox) {
        match self.transact(writes.iter().map(|(write, _)| write)) {
            Ok(answers) => {
                for ((write, reply), answer) in writes.into_iter().zip(answers) {
                    inbox.answer(&write, reply, Ok(answer));
                }
            }
            // Each hears what is wrong with its own.
            Err(_) if writes.len() > 1 => {
                for (write, reply) in writes {
                    let answer = self.transact(std::iter::once(&write));
                    inbox.answer(
                        &write,
                        reply,
                        answer.and_then(|mut answers| {
                            answers.pop().ok_or(Error::Closed { location: self.location.clone() })
                        }),
                    );
                }
            }
            Err(error) => {
                if let Some((write, reply)) = writes.into_iter().next() {
                    inbox.answer(&write, reply, Err(error));
                }
            }
        }
    }

    /// All of the writes in one transaction, or none.
    fn transact<'w>(&mut self, writes: impl Iterator<Item = &'w Write>) -> Result<Vec<Answer>, Error> {
        let mut writes = writes.peekable();
        let Some(attempt) = writes.peek().map(|write| write.attempt()) else { return Ok(Vec::new()) };
        // The bytes would go to a file that nobody finds.
        if self.identity.is_some() && identity(&self.path) != self.identity {
            return Err(Error::Replaced { path: self.path.clone() });
        }
        self.try_to(attempt, |connection| connection.execute_batch("BEGIN IMMEDIATE"))?;
        let result = self.fill(attempt, writes).and_then(|answers| {
            self.try_to(attempt, |connection| connection.execute_batch("COMMIT"))?;
            Ok(answers)
        });
        if result.is_err() {
            self.roll_back();
        }
        result
    }

    fn fill<'w>(
        &mut self,
        attempt: &'static str,
        writes: impl Iterator<Item = &'w Write>,
    ) -> Result<Vec<Answer>, Error> {
        let head = self.try_to(attempt, |connection| {
            connection
                .prepare_cached("SELECT seq, hash FROM head")?
                .query_row([], |row| Ok((unsigned(row.get(0)?), row.get(1)?)))
                .optional()
        })?;
        let head = head.ok_or_else(|| Error::Corrupt {
            location: self.location.clone(),
            reason: "the row that names the last record is missing".to_owned(),
        })?;
        let before = head.clone();
        let now = self.clock.now();
        let mut open =
            Open { connection: &mut self.connection, location: &self.location, attempt, now, head };
        let answers: Vec<Answer> = writes
            .map(|write| {
                // Nothing of SQLite's is waited for, so the future is ready when it is first asked.
                perform(&mut open, write, false)
                    .now_or_never()
                    .unwrap_or_else(|| Err(Error::Closed { location: open.location.to_owned() }))
            })
            .collect::<Result<_, _>>()?;
        let head = open.head;
        if head != before {
            self.try_to(attempt, |connection| {
                connection
                    .prepare_cached("UPDATE head SET seq = ?, hash = ?")?
                    .execute(params![head.0.cast_signed(), head.1])
            })?;
        }
        Ok(answers)
    }

    fn roll_back(&self) {
        // SQLite may have rolled back by itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a journal's transaction could not be rolled back");
        }
    }

    fn read(&self, request: Request) {
        // Who asked may be gone; then nobody hears the answer.
        match request {
            Request::Records(query, reply) => drop(reply.send(self.records(&query))),
            Request::Summary(reply) => drop(reply.send(self.summary())),
            Request::Leases(subject, reply) => {
                let leases = self.leases(subject.as_deref());
                drop(reply.send(leases.map(|leases| (leases, self.clock.now()))));
            }
            // Is no read; its waiter is told that the journal is closed.
            Request::Write(..) => {}
        }
    }

    fn records(&self, query: &Query) -> Result<Vec<Row>, Error> {
        let mut clauses = vec!["1"];
        let mut values: Vec<Value> = Vec::new();
        if let Some(subject) = &query.subject {
            clauses.push("subject = ?");
            values.push(subject.clone().into());
        }
        if let Some(rollout) = &query.rollout {
            clauses.push("rollout = ?");
            values.push(rollout.clone().into());
        }
        let kinds = format!("kind IN ({})", vec!["?"; query.kinds.len()].join(", "));
        if !query.kinds.is_empty() {
            clauses.push(&kinds);
            values.extend(query.kinds.iter().cloned().map(Value::from));
        }
        if let Some(after) = query.after_seq {
            clauses.push("seq > ?");
            values.push(i64::try_from(after).unwrap_or(i64::MAX).into());
        }
        let order = if query.newest_first { "DESC" } else { "ASC" };
        let limit = query.limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        values.push(limit.into());
        let statement = format!(
            "SELECT {COLUMNS} FROM records WHERE {} ORDER BY seq {order} LIMIT ?",
            clauses.join(" AND ")
        );
        self.try_to("read records", |connection| {
            connection
                .prepare_cached(&statement)?
                .query_map(rusqlite::params_from_iter(values), row_of)?
                .collect()
        })
    }

    fn summary(&self) -> Result<Summary, Error> {
        self.try_to("read the head", |connection| {
            connection.query_row(
                "SELECT (SELECT seq FROM head), (SELECT hash FROM head), count(*), coalesce(max(seq), 0) FROM records",
                [],
                |row| {
                    let head: (Option<i64>, Option<String>) = (row.get(0)?, row.get(1)?);
                    Ok(Summary {
                        head: head.0.map(unsigned).zip(head.1),
                        records: unsigned(row.get(2)?),
                        last_seq: unsigned(row.get(3)?),
                    })
                },
            )
        })
    }

    fn leases(&self, subject: Option<&str>) -> Result<Vec<LeaseRow>, Error> {
        self.try_to("read leases", |connection| {
            connection
                .prepare_cached(
                    "SELECT subject, fence, holder, since, expires_at FROM leases
                     WHERE holder IS NOT NULL AND (?1 IS NULL OR subject = ?1) ORDER BY subject",
                )?
                .query_map([subject], lease_of)?
                .collect()
        })
    }
}

/// An open transaction.
struct Open<'s> {
    connection: &'s mut Connection,
    location: &'s str,
    attempt: &'static str,
    now: Timestamp,
    head: (u64, String),
}

impl Open<'_> {
    fn try_to<R>(&self, act: impl FnOnce(&Connection) -> rusqlite::Result<R>) -> Result<R, Error> {
        act(self.connection).map_err(|source| database(self.attempt, self.location, source))
    }
}

impl Transaction for Open<'_> {
    type Failure = Error;

    fn location(&self) -> &str {
        self.location
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn head(&self) -> (u64, &str) {
        (self.head.0, &self.head.1)
    }

    async fn insert(&mut self, row: Row) -> Result<(), Error> {
        self.try_to(|connection| {
            connection
                .prepare_cached("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
                .execute(params![
                    row.seq.cast_signed(),
                    row.version.cast_signed(),
                    row.at,
                    row.key,
                    row.subject,
                    row.rollout,
                    row.kind,
                    row.fence.map(u64::cast_signed),
                    row.body,
                    row.previous,
                    row.hash
                ])
        })?;
        self.head = (row.seq, row.hash);
        Ok(())
    }

    async fn find(&mut self, key: &str) -> Result<Option<Row>, Error> {
        self.try_to(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM records WHERE key = ?"))?
                .query_row([key], row_of)
                .optional()
        })
    }

    async fn lease(&mut self, subject: &str) -> Result<Option<LeaseRow>, Error> {
        self.try_to(|connection| {
            connection
                .prepare_cached(
                    "SELECT subject, fence, holder, since, expires_at FROM leases WHERE subject = ?",
                )?
                .query_row([subject], lease_of)
                .optional()
        })
    }

    async fn highest_fence(&mut self, subject: &str) -> Result<u64, Error> {
        self.try_to(|connection| {
            connection
                .prepare_cached("SELECT coalesce(max(fence), 0) FROM records WHERE subject = ?")?
                .query_row([subject], |row| row.get(0).map(unsigned))
        })
    }

    async fn put_lease(&mut self, row: &LeaseRow) -> Result<(), Error> {
        self.try_to(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?, ?)")?
                .execute(params![row.subject, row.fence.cast_signed(), row.holder, row.since, row.expires_at])
        })
        .map(drop)
    }
}

/// Rows that somebody changed are to be found by their hash, not to stop the reader: no number is refused.
const fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: unsigned(row.get(0)?),
        version: unsigned(row.get(1)?),
        at: row.get(2)?,
        key: row.get(3)?,
        subject: row.get(4)?,
        rollout: row.get(5)?,
        kind: row.get(6)?,
        fence: row.get::<_, Option<i64>>(7)?.map(unsigned),
        body: row.get(8)?,
        previous: row.get(9)?,
        hash: row.get(10)?,
    })
}

fn lease_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<LeaseRow> {
    Ok(LeaseRow {
        subject: row.get(0)?,
        fence: unsigned(row.get(1)?),
        holder: row.get(2)?,
        since: row.get(3)?,
        expires_at: row.get(4)?,
    })
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn database(attempt: &'static str, location: &str, source: rusqlite::Error) -> Error {
    let location = location.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::Busy { attempt, location, waited: PATIENCE }
        }
        Some(ErrorCode::NotADatabase) => {
            Error::NotAJournal { location, reason: "it is not a SQLite database".to_owned() }
        }
        _ => Error::Database { attempt, location, source: Box::new(source) },
    }
}
