//! Logs, requests and the times that replicas ran, as they lie on disk. They are written in batches and apart from
//! the model: a log must never make a change wait, and a crash may cost the newest batch.

use std::time::Duration;

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Store, decode, encode};
use crate::config::Error;
use crate::contract::RequestRecord;
use crate::railway::traffic::{LINES, Line, REQUESTS, SPANS, Seen, Span};

/// The tables; made beside those of the model.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS requests (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS lines (deployment TEXT NOT NULL, number INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (deployment, number)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS spans (number INTEGER PRIMARY KEY, body TEXT NOT NULL);";

/// What is read at a start, or written in one go. Numbers order the rows of one kind and are never used twice.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    /// Wall time up to which everything is here.
    pub(crate) at: u64,
    pub(crate) requests: Vec<(u64, Seen)>,
    /// By deployment.
    pub(crate) lines: Vec<(String, u64, Line)>,
    /// Those that began or ended.
    pub(crate) spans: Vec<(u64, Span)>,
    /// Deployments whose whole log is no longer kept; none at a start.
    pub(crate) forgotten: Vec<String>,
}

/// One request on disk.
#[derive(Debug, Serialize, Deserialize)]
struct RequestRow {
    at: u64,
    deployment: String,
    replica: Option<u32>,
    method: String,
    path: String,
    host: String,
    status: u16,
    /// Microseconds.
    duration: u64,
    upstream_error: Option<String>,
    agent: String,
    received: u64,
    sent: u64,
}

impl RequestRow {
    fn of(seen: &Seen) -> Self {
        let record = seen.record.clone();
        Self {
            at: seen.at,
            deployment: record.deployment_id.to_string(),
            replica: record.replica,
            method: record.method,
            path: record.path,
            host: record.host,
            status: record.status,
            duration: u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
            upstream_error: record.upstream_error,
            agent: record.agent,
            received: record.received,
            sent: record.sent,
        }
    }

    fn seen(self) -> Result<Seen, String> {
        Ok(Seen {
            at: self.at,
            record: RequestRecord {
                deployment_id: self.deployment.parse().map_err(|error| format!("{error}"))?,
                replica: self.replica,
                method: self.method,
                path: self.path,
                host: self.host,
                status: self.status,
                duration: Duration::from_micros(self.duration),
                upstream_error: self.upstream_error,
                agent: self.agent,
                received: self.received,
                sent: self.sent,
            },
        })
    }
}

/// Name of the document that says up to when the rows are complete.
const AT: &str = "telemetry";

impl Store {
    /// Reads everything.
    pub(crate) fn load_telemetry(&self) -> Result<Telemetry, Error> {
        let mut telemetry = Telemetry { at: self.document(AT)?.unwrap_or_default(), ..Telemetry::default() };
        for (_, number, body) in self.numbered("SELECT '', number, body FROM requests ORDER BY number")? {
            let row: RequestRow = decode(&self.path, "request", &number.to_string(), &body)?;
            let seen = row.seen().map_err(|reason| Error::Corrupt {
                path: self.path.clone(),
                kind: "request".to_owned(),
                id: number.to_string(),
                reason,
            })?;
            telemetry.requests.push((number, seen));
        }
        let all = "SELECT deployment, number, body FROM lines ORDER BY deployment, number";
        for (deployment, number, body) in self.numbered(all)? {
            let line = decode(&self.path, "log line", &format!("{deployment}/{number}"), &body)?;
            telemetry.lines.push((deployment, number, line));
        }
        for (_, number, body) in self.numbered("SELECT '', number, body FROM spans ORDER BY number")? {
            telemetry.spans.push((number, decode(&self.path, "span", &number.to_string(), &body)?));
        }
        Ok(telemetry)
    }

    /// Adds rows in one transaction and takes away what is over the caps.
    pub(crate) fn keep_telemetry(&mut self, batch: &Telemetry) -> Result<(), Error> {
        let path = self.path.clone();
        let fail = |source| Error::Store { action: "write to", path: path.clone(), source };
        let transaction = self.connection.transaction().map_err(fail)?;
        for (number, seen) in &batch.requests {
            let body = encode(&path, "request", &number.to_string(), &RequestRow::of(seen))?;
            put(&transaction, "REPLACE INTO requests (number, body) VALUES (?, ?)", *number, &body)
                .map_err(fail)?;
        }
        for (number, span) in &batch.spans {
            let body = encode(&path, "span", &number.to_string(), span)?;
            put(&transaction, "REPLACE INTO spans (number, body) VALUES (?, ?)", *number, &body)
                .map_err(fail)?;
        }
        for (deployment, number, line) in &batch.lines {
            let body = encode(&path, "log line", &format!("{deployment}/{number}"), line)?;
            transaction
                .prepare_cached("REPLACE INTO lines (deployment, number, body) VALUES (?, ?, ?)")
                .and_then(|mut statement| statement.execute(params![deployment, signed(*number), body]))
                .map_err(fail)?;
        }
        for (at, (deployment, number, _)) in batch.lines.iter().enumerate() {
            // The last row of each deployment says how far its log has moved on.
            if batch.lines.get(at + 1).is_none_or(|(next, ..)| next != deployment) {
                transaction
                    .prepare_cached("DELETE FROM lines WHERE deployment = ? AND number <= ?")
                    .and_then(|mut statement| statement.execute(params![deployment, over(*number, LINES)]))
                    .map_err(fail)?;
            }
        }
        for deployment in &batch.forgotten {
            transaction
                .prepare_cached("DELETE FROM lines WHERE deployment = ?")
                .and_then(|mut statement| statement.execute([deployment]))
                .map_err(fail)?;
        }
        let trim = |table: &str, cap: usize| {
            transaction.execute(
                &format!("DELETE FROM {table} WHERE number <= (SELECT max(number) FROM {table}) - ?"),
                [i64::try_from(cap).unwrap_or(i64::MAX)],
            )
        };
        trim("requests", REQUESTS).map_err(fail)?;
        trim("spans", SPANS).map_err(fail)?;
        let at = encode(&path, "document", AT, &batch.at)?;
        transaction
            .execute("REPLACE INTO documents (name, body) VALUES (?, ?)", params![AT, at])
            .map_err(fail)?;
        transaction.commit().map_err(fail)
    }

    fn numbered(&self, query: &str) -> Result<Vec<(String, u64, String)>, Error> {
        let read = |source| self.read_error(source);
        let mut statement = self.connection.prepare(query).map_err(read)?;
        let rows = statement
            .query_map([], |row| {
                let number: i64 = row.get(1)?;
                Ok((row.get(0)?, u64::try_from(number).unwrap_or_default(), row.get(2)?))
            })
            .map_err(read)?;
        rows.collect::<Result<_, _>>().map_err(read)
    }
}

fn put(transaction: &Transaction<'_>, statement: &str, number: u64, body: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached(statement)?.execute(params![signed(number), body]).map(drop)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The highest number that is too old when `last` is the newest and `cap` rows are kept.
fn over(last: u64, cap: usize) -> i64 {
    signed(last).saturating_sub(i64::try_from(cap).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> Line {
        Line { at: 1, replica: 0, error: false, message: message.to_owned() }
    }

    fn seen(at: u64) -> Seen {
        let record = RequestRecord {
            deployment_id: "d".parse().unwrap(),
            replica: Some(1),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            host: "web".to_owned(),
            status: 502,
            duration: Duration::from_micros(1500),
            upstream_error: Some("gone".to_owned()),
            agent: "test".to_owned(),
            received: 3,
            sent: 4,
        };
        Seen { at, record }
    }

    #[test]
    fn the_disk_keeps_no_more_than_the_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let lines = u64::try_from(LINES).unwrap();
        let requests = u64::try_from(REQUESTS).unwrap();
        let batch = |numbers: std::ops::Range<u64>| Telemetry {
            at: 7,
            requests: vec![(numbers.start + requests, seen(9))],
            lines: numbers.map(|number| ("a".to_owned(), number, line("x"))).collect(),
            ..Telemetry::default()
        };
        store.keep_telemetry(&batch(0..lines)).unwrap();
        store.keep_telemetry(&batch(lines..lines + 10)).unwrap();
        let other = Telemetry {
            lines: vec![("b".to_owned(), 0, line("y"))],
            requests: vec![(0, seen(1))],
            ..Telemetry::default()
        };
        store.keep_telemetry(&other).unwrap();
        let read = store.load_telemetry().unwrap();
        let numbers: Vec<_> = read.requests.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [requests, requests + lines], "an old number is over the cap at once");
        assert_eq!(format!("{:?}", read.requests[0].1), format!("{:?}", seen(9)));
        assert_eq!(read.lines.len(), LINES + 1);
        assert_eq!(read.lines[0].1, 10, "the oldest go first");
        let gone = Telemetry { forgotten: vec!["a".to_owned()], ..Telemetry::default() };
        store.keep_telemetry(&gone).unwrap();
        assert_eq!(store.load_telemetry().unwrap().lines.len(), 1);
    }
}
