//! The statements of a journal in PostgreSQL. None is prepared by name, so that they pass through a pooler.

use futures::future::try_join;
use jiff::Timestamp;
use tokio_postgres::{
    Client,
    types::{ToSql, Type},
};

use super::{Failure, NOW};
use crate::{
    operation::{LeaseRow, Transaction},
    record::{Query, Row},
    verify::Summary,
};

const COLUMNS: &str = "seq, version, at, key, subject, rollout, kind, fence, body, previous, hash";

fn row_of(row: &tokio_postgres::Row) -> Result<Row, tokio_postgres::Error> {
    Ok(Row {
        seq: row.try_get::<_, i64>(0)?.cast_unsigned(),
        version: row.try_get::<_, i64>(1)?.cast_unsigned(),
        at: row.try_get(2)?,
        key: row.try_get(3)?,
        subject: row.try_get(4)?,
        rollout: row.try_get(5)?,
        kind: row.try_get(6)?,
        fence: row.try_get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
        body: row.try_get(8)?,
        previous: row.try_get(9)?,
        hash: row.try_get(10)?,
    })
}

fn lease_of(row: &tokio_postgres::Row) -> Result<LeaseRow, tokio_postgres::Error> {
    Ok(LeaseRow {
        subject: row.try_get(0)?,
        fence: row.try_get::<_, i64>(1)?.cast_unsigned(),
        holder: row.try_get(2)?,
        since: row.try_get(3)?,
        expires_at: row.try_get(4)?,
    })
}

pub(super) async fn records(client: &Client, query: Query) -> Result<Vec<Row>, Failure> {
    // A condition whose parameter is null holds for every row.
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let statement = format!(
        "SELECT {COLUMNS} FROM spectra_journal_records
         WHERE ($1 IS NULL OR subject = $1) AND ($2 IS NULL OR rollout = $2)
           AND ($3 IS NULL OR kind = ANY($3)) AND ($4 IS NULL OR seq > $4)
         ORDER BY seq {order} LIMIT $5"
    );
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let kinds = Some(&query.kinds).filter(|kinds| !kinds.is_empty());
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&query.subject, Type::TEXT),
        (&query.rollout, Type::TEXT),
        (&kinds, Type::TEXT_ARRAY),
        (&query.after_seq.map(number), Type::INT8),
        (&query.limit.map(number), Type::INT8),
    ];
    let rows = client.query_typed(&statement, &parameters).await?;
    Ok(rows.iter().map(row_of).collect::<Result<_, _>>()?)
}

pub(super) async fn summary(client: &Client) -> Result<Summary, Failure> {
    let row = client
        .query_typed_one(
            "SELECT (SELECT seq FROM spectra_journal_head), (SELECT hash FROM spectra_journal_head),
                    count(*), coalesce(max(seq), 0) FROM spectra_journal_records",
            &[],
        )
        .await?;
    let head: (Option<i64>, Option<String>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Summary {
        head: head.0.map(i64::cast_unsigned).zip(head.1),
        records: row.try_get::<_, i64>(2)?.cast_unsigned(),
        last_seq: row.try_get::<_, i64>(3)?.cast_unsigned(),
    })
}

pub(super) async fn leases(
    client: &Client,
    subject: Option<String>,
) -> Result<(Vec<LeaseRow>, String), Failure> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&subject, Type::TEXT)];
    let (rows, now) = try_join(
        client.query_typed(
            "SELECT subject, fence, holder, since, expires_at FROM spectra_journal_leases
             WHERE holder IS NOT NULL AND ($1 IS NULL OR subject = $1) ORDER BY subject",
            &parameters,
        ),
        client.query_typed_one(NOW, &[]),
    )
    .await?;
    Ok((rows.iter().map(lease_of).collect::<Result<_, _>>()?, now.try_get(0)?))
}

fn column<'r, V>(rows: &'r [Row], of: impl Fn(&'r Row) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}

/// An open transaction that holds the head.
pub(super) struct Open<'s> {
    pub(super) client: &'s Client,
    pub(super) location: &'s str,
    pub(super) now: Timestamp,
    pub(super) head: (u64, String),
    /// Records of this transaction that are not sent yet.
    pub(super) rows: Vec<Row>,
}

impl Open<'_> {
    /// Sends the records, and the head that they end in.
    pub(super) async fn flush(&mut self) -> Result<(), Failure> {
        let rows = std::mem::take(&mut self.rows);
        if rows.is_empty() {
            return Ok(());
        }
        let head = self.head.0.cast_signed();
        let parameters: [(&(dyn ToSql + Sync), Type); 11] = [
            (&column(&rows, |row| row.seq.cast_signed()), Type::INT8_ARRAY),
            (&column(&rows, |row| row.version.cast_signed()), Type::INT8_ARRAY),
            (&column(&rows, |row| row.at.as_str()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.key.as_str()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.subject.as_str()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.rollout.as_deref()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.kind.as_str()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.fence.map(u64::cast_signed)), Type::INT8_ARRAY),
            (&column(&rows, |row| row.body.as_str()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.previous.as_str()), Type::TEXT_ARRAY),
            (&column(&rows, |row| row.hash.as_str()), Type::TEXT_ARRAY),
        ];
        let insert = format!(
            "INSERT INTO spectra_journal_records ({COLUMNS})
             SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
        );
        let head: [(&(dyn ToSql + Sync), Type); 2] = [(&head, Type::INT8), (&self.head.1, Type::TEXT)];
        try_join(
            self.client.query_typed(&insert, &parameters),
            self.client.query_typed("UPDATE spectra_journal_head SET seq = $1, hash = $2", &head),
        )
        .await?;
        Ok(())
    }
}

impl Transaction for Open<'_> {
    type Failure = Failure;

    fn location(&self) -> &str {
        self.location
    }

    fn now(&self) -> Timestamp {
        self.now
    }

    fn head(&self) -> (u64, &str) {
        (self.head.0, &self.head.1)
    }

    async fn insert(&mut self, row: Row) -> Result<(), Failure> {
        self.head = (row.seq, row.hash.clone());
        self.rows.push(row);
        Ok(())
    }

    async fn find(&mut self, key: &str) -> Result<Option<Row>, Failure> {
        let statement = format!("SELECT {COLUMNS} FROM spectra_journal_records WHERE key = $1");
        let row = self.client.query_typed_opt(&statement, &[(&key, Type::TEXT)]).await?;
        Ok(row.as_ref().map(row_of).transpose()?)
    }

    async fn lease(&mut self, subject: &str) -> Result<Option<LeaseRow>, Failure> {
        let statement =
            "SELECT subject, fence, holder, since, expires_at FROM spectra_journal_leases WHERE subject = $1";
        let row = self.client.query_typed_opt(statement, &[(&subject, Type::TEXT)]).await?;
        Ok(row.as_ref().map(lease_of).transpose()?)
    }

    async fn highest_fence(&mut self, subject: &str) -> Result<u64, Failure> {
        let statement = "SELECT coalesce(max(fence), 0) FROM spectra_journal_records WHERE subject = $1";
        let row = self.client.query_typed_one(statement, &[(&subject, Type::TEXT)]).await?;
        Ok(row.try_get::<_, i64>(0)?.cast_unsigned())
    }

    async fn put_lease(&mut self, row: &LeaseRow) -> Result<(), Failure> {
        let fence = row.fence.cast_signed();
        let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
            (&row.subject, Type::TEXT),
            (&fence, Type::INT8),
            (&row.holder, Type::TEXT),
            (&row.since, Type::TEXT),
            (&row.expires_at, Type::TEXT),
        ];
        self.client
            .query_typed(
                "INSERT INTO spectra_journal_leases (subject, fence, holder, since, expires_at)
                 VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (subject) DO UPDATE SET fence = excluded.fence, holder = excluded.holder,
                    since = excluded.since, expires_at = excluded.expires_at",
                &parameters,
            )
            .await?;
        Ok(())
    }
}
