//! A journal's file, seen by somebody who does not share the programs' code, and a way to stop a program at one exact
//! place of it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The fields of a record's body that tell it from others of its kind.
const FIELDS: [&str; 8] = [
    "/action/action",
    "/action/name",
    "/action/place/service",
    "/place/service",
    "/phase",
    "/step",
    "/metric",
    "/event",
];

/// Processor time that nothing but [`JournalFile::stop_before`] takes, in ticks of 10 ms.
const SPUN: u64 = 5;

/// One record.
#[derive(Clone, Debug)]
pub struct JournalRecord {
    /// Its place, from 1.
    pub seq: u64,
    /// When it was written, by the journal's clock.
    pub at: jiff::Timestamp,
    /// What it is about.
    pub subject: String,
    /// The rollout it belongs to.
    pub rollout: Option<String>,
    /// What happened.
    pub kind: String,
    /// The fencing number that it was written under.
    pub fence: Option<u64>,
    /// The rest.
    pub body: Value,
}

/// Who has a lease, by the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Its fencing number.
    pub fence: u64,
    /// The holder's process.
    pub pid: u32,
    /// The holder's program.
    pub program: String,
}

/// A place in a program's record: the moment before it writes a record of this sort for the n-th time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    kind: String,
    /// Of [`FIELDS`], those that are there; names of services instead of their ids.
    fields: Vec<(&'static str, String)>,
    /// How many of the sort go before.
    before: u64,
}

impl Point {
    /// The kind of the record.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The kind, and the action where there is one: what has to be covered at least once.
    #[must_use]
    pub fn sort(&self) -> String {
        let action = self.fields.iter().find(|(path, _)| *path == "/action/action");
        action.map_or_else(|| self.kind.clone(), |(_, action)| format!("{} {action}", self.kind))
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        for (_, value) in &self.fields {
            write!(f, " {value}")?;
        }
        if self.before > 0 {
            write!(f, " ({})", self.before + 1)?;
        }
        Ok(())
    }
}

/// Ids and names of services; whatever is not among them is a canary.
pub type Names = [(String, String)];

/// The points of a run, in order. Of measurements, whose number differs from run to run, the first of each sort.
#[must_use]
pub fn points(records: &[JournalRecord], names: &Names) -> Vec<Point> {
    let mut found: Vec<Point> = Vec::new();
    for record in records {
        let fields: Vec<_> = FIELDS
            .iter()
            .filter_map(|path| {
                let text = record.body.pointer(path)?.as_str()?;
                Some((*path, if path.ends_with("/service") { name_of(text, names) } else { text.to_owned() }))
            })
            .collect();
        let before = found.iter().filter(|point| point.kind == record.kind && point.fields == fields).count();
        if before > 0 && record.kind == "rollout.measured" {
            continue;
        }
        found.push(Point {
            kind: record.kind.clone(),
            fields,
            before: u64::try_from(before).expect("a few records"),
        });
    }
    found
}

fn name_of(id: &str, names: &Names) -> String {
    names.iter().find(|(known, _)| known == id).map_or_else(|| "canary".to_owned(), |(_, name)| name.clone())
}

/// A journal in a SQLite file.
#[derive(Clone, Debug)]
pub struct JournalFile {
    path: PathBuf,
}

impl JournalFile {
    /// The journal at this path, which need not be there yet.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Where it is, as `--journal` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path.display())
    }

    fn open(&self) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)
            .unwrap_or_else(|error| panic!("`{}` cannot be opened: {error}", self.path.display()));
        connection.busy_timeout(Duration::from_secs(30)).unwrap();
        connection
    }

    /// The place of the last record; 0 while there is none, or no file.
    #[must_use]
    pub fn last(&self) -> u64 {
        if !self.path.is_file() {
            return 0;
        }
        let query = "SELECT coalesce(max(seq), 0) FROM records";
        // The tables may not be there yet.
        self.open().query_row(query, [], |row| row.get::<_, i64>(0)).map_or(0, i64::unsigned_abs)
    }

    /// The records behind this place, oldest first.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn records(&self, after: u64) -> Vec<JournalRecord> {
        let connection = self.open();
        let query =
            "SELECT seq, at, subject, rollout, kind, fence, body FROM records WHERE seq > ?1 ORDER BY seq";
        let mut statement = connection.prepare(query).unwrap();
        let rows = statement.query_map([i64::try_from(after).unwrap()], |row| {
            Ok(JournalRecord {
                seq: row.get::<_, i64>(0)?.unsigned_abs(),
                at: row.get::<_, String>(1)?.parse().expect("a record has a time"),
                subject: row.get(2)?,
                rollout: row.get(3)?,
                kind: row.get(4)?,
                fence: row.get::<_, Option<i64>>(5)?.map(i64::unsigned_abs),
                body: serde_json::from_str(&row.get::<_, String>(6)?).expect("a body is JSON"),
            })
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The rollouts behind this place that were begun and have no end.
    #[must_use]
    pub fn open_rollouts(&self, after: u64) -> Vec<String> {
        let records = self.records(after);
        let of = |kinds: &[&str]| -> BTreeSet<String> {
            let found = records.iter().filter(|record| kinds.contains(&record.kind.as_str()));
            found.filter_map(|record| record.rollout.clone()).collect()
        };
        let ended = of(&["rollout.finished", "rollout.cleared"]);
        of(&["rollout.begun"]).difference(&ended).cloned().collect()
    }

    /// Every lease that somebody has, by subject.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn leases(&self) -> Vec<(String, LeaseHolder)> {
        if !self.path.is_file() {
            return Vec::new();
        }
        let connection = self.open();
        let query = "SELECT subject, fence, holder FROM leases WHERE holder IS NOT NULL ORDER BY subject";
        // The tables may not be there yet.
        let Ok(mut statement) = connection.prepare(query) else { return Vec::new() };
        let rows = statement.query_map([], |row| {
            let holder: Value = serde_json::from_str(&row.get::<_, String>(2)?).expect("a holder is JSON");
            let pid = holder.get("pid").and_then(Value::as_u64).expect("a holder has a process");
            let program = holder.get("program").and_then(Value::as_str).expect("a holder has a program");
            let fence = row.get::<_, i64>(1)?.unsigned_abs();
            let pid = u32::try_from(pid).expect("a process id");
            Ok((row.get(0)?, LeaseHolder { fence, pid, program: program.to_owned() }))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// Lets whoever writes the record of `point` next spin in the middle of writing it, for ever: everything that goes
    /// before it is done and written, and it never is. That is as exact as it can be, and needs no help of the program.
    ///
    /// # Panics
    /// When the trigger cannot be made.
    pub fn stop_before(&self, point: &Point, names: &Names) {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let condition = |row: &str| {
            let mut all = vec![format!("{row}kind = {}", quoted(&point.kind))];
            for path in FIELDS {
                let wanted = point.fields.iter().find(|(known, _)| *known == path).map(|(_, value)| value);
                let found = format!("json_extract({row}body, '${}')", path.replace('/', "."));
                let service = path.ends_with("/service");
                all.push(match wanted {
                    None => {
                        format!("coalesce(json_type({row}body, '${}'), '') != 'text'", path.replace('/', "."))
                    }
                    Some(name) if service && name == "canary" => {
                        let known: Vec<_> = names.iter().map(|(id, _)| quoted(id)).collect();
                        format!("{found} NOT IN ({})", known.join(", "))
                    }
                    Some(name) if service => {
                        let id =
                            names.iter().find(|(_, known)| known == name).expect("a service of the shop");
                        format!("{found} = {}", quoted(&id.0))
                    }
                    Some(value) => format!("{found} = {}", quoted(value)),
                });
            }
            all.join(" AND ")
        };
        let connection = self.open();
        let last: i64 =
            connection.query_row("SELECT coalesce(max(seq), 0) FROM records", [], |row| row.get(0)).unwrap();
        let script = format!(
            "CREATE VIEW forever AS
                 WITH RECURSIVE again(n) AS (SELECT 1 UNION ALL SELECT 1 FROM again) SELECT count(*) AS n FROM again;
             CREATE TRIGGER stop BEFORE INSERT ON records
             WHEN {} AND (SELECT count(*) FROM records WHERE seq > {last} AND {}) = {}
             BEGIN SELECT n FROM forever; END;",
            condition("NEW."),
            condition(""),
            point.before,
        );
        connection.execute_batch(&script).unwrap_or_else(|error| panic!("{error}: {script}"));
    }

    /// Takes [`JournalFile::stop_before`] back.
    ///
    /// # Panics
    /// When it cannot: the program that it has stopped is to be ended first.
    pub fn go_on(&self) {
        let script = "DROP TRIGGER IF EXISTS stop; DROP VIEW IF EXISTS forever;";
        self.open().execute_batch(script).unwrap();
    }

    /// Whether somebody is in the middle of writing.
    ///
    /// # Panics
    /// When that cannot be told.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        let connection = self.open();
        connection.busy_timeout(Duration::ZERO).unwrap();
        match connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK;") {
            Ok(()) => false,
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => true,
            Err(error) => panic!("the journal cannot be looked at: {error}"),
        }
    }

    /// Looks whether the process came to the point that it was to stop at. `watch` is what earlier looks saw.
    pub fn has_stopped(&self, pid: u32, watch: &mut Watch) -> bool {
        if !self.is_locked() {
            *watch = Watch::default();
            return false;
        }
        let Some(ticks) = ticks_of_the_writer(pid) else {
            *watch = Watch::default();
            return false;
        };
        // It writes for microseconds, or it spins.
        ticks >= *watch.0.get_or_insert(ticks) + SPUN
    }

    /// Checks the chain of hashes from the first record to the head, by the documented encoding alone.
    ///
    /// # Panics
    /// When a record is missing, changed or out of place.
    pub fn assert_chain(&self) {
        let connection = self.open();
        let query = "SELECT seq, version, at, key, subject, rollout, kind, fence, body, previous, hash FROM records ORDER BY seq";
        let mut statement = connection.prepare(query).unwrap();
        let mut rows = statement.query([]).unwrap();
        let (mut seq, mut hash) = (0_i64, "0".repeat(64));
        while let Some(row) = rows.next().unwrap() {
            seq += 1;
            assert_eq!(row.get::<_, i64>(0).unwrap(), seq, "a record is missing");
            let mut hasher = Sha256::new();
            hasher.update(b"spectra-journal-record-1");
            hasher.update(row.get::<_, i64>(1).unwrap().to_be_bytes());
            hasher.update(seq.to_be_bytes());
            for column in [2, 3, 4] {
                text(&mut hasher, &row.get::<_, String>(column).unwrap());
            }
            let rollout: Option<String> = row.get(5).unwrap();
            hasher.update([u8::from(rollout.is_some())]);
            if let Some(rollout) = &rollout {
                text(&mut hasher, rollout);
            }
            text(&mut hasher, &row.get::<_, String>(6).unwrap());
            let fence: Option<i64> = row.get(7).unwrap();
            hasher.update([u8::from(fence.is_some())]);
            if let Some(fence) = fence {
                hasher.update(fence.to_be_bytes());
            }
            text(&mut hasher, &row.get::<_, String>(8).unwrap());
            assert_eq!(
                row.get::<_, String>(9).unwrap(),
                hash,
                "record {seq} does not follow the one before it"
            );
            text(&mut hasher, &hash);
            let content = hasher.finalize();
            hash = content.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            assert_eq!(row.get::<_, String>(10).unwrap(), hash, "record {seq} was changed");
        }
        let head = connection.query_row("SELECT seq, hash FROM head", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        });
        assert_eq!(head.unwrap(), (seq, hash), "the head is not the last record");
    }
}

/// What was seen of a process that is to stop.
#[derive(Debug, Default)]
pub struct Watch(Option<u64>);

fn text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text.as_bytes());
}

/// The processor time of the thread of a process that writes its journal.
fn ticks_of_the_writer(pid: u32) -> Option<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.flatten().find_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        // Behind the name come the state and, as the twelfth and thirteenth word, the times in user and kernel mode.
        let words: Vec<&str> = rest.split_whitespace().collect();
        let time = words.get(11)?.parse::<u64>().ok()? + words.get(12)?.parse::<u64>().ok()?;
        (name == "journal").then_some(time)
    })
}
