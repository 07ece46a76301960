//! Records as JSON Lines, to keep elsewhere.

use std::{
    borrow::Cow,
    io::{BufRead, Write},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    error::Error,
    journal::Journal,
    record::{Hash, Query, Row},
    verify::{Extent, Verification, Verifier},
};

/// A record as a line. The body is the text that is stored and hashed, byte for byte. Its fields are fixed,
/// as what is hashed is: one that is not known was put there by somebody else.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'t> {
    version: u64,
    seq: u64,
    #[serde(borrow)]
    at: Cow<'t, str>,
    #[serde(borrow)]
    key: Cow<'t, str>,
    #[serde(borrow)]
    subject: Cow<'t, str>,
    #[serde(borrow)]
    rollout: Option<Cow<'t, str>>,
    #[serde(borrow)]
    kind: Cow<'t, str>,
    fence: Option<u64>,
    #[serde(borrow)]
    body: &'t RawValue,
    #[serde(borrow)]
    previous: Cow<'t, str>,
    #[serde(borrow)]
    hash: Cow<'t, str>,
}

impl Line<'_> {
    fn into_row(self) -> Row {
        Row {
            version: self.version,
            seq: self.seq,
            at: self.at.into_owned(),
            key: self.key.into_owned(),
            subject: self.subject.into_owned(),
            rollout: self.rollout.map(Cow::into_owned),
            kind: self.kind.into_owned(),
            fence: self.fence,
            body: self.body.get().to_owned(),
            previous: self.previous.into_owned(),
            hash: self.hash.into_owned(),
        }
    }
}

impl Journal {
    /// Writes the records that the query selects, oldest first, one JSON object a line; tells how many. What
    /// is written is what is stored, and [`verify_lines`] checks it.
    ///
    /// `newest_first` decides, with a limit, which records are written, and not their order.
    pub async fn export(&self, writer: &mut (impl Write + Send), query: &Query) -> Result<u64, Error> {
        let failed = |source| Error::Export { attempt: "write", source };
        let mut written = 0;
        if query.newest_first && query.limit.is_some() {
            let mut rows = self.rows(query.clone()).await?;
            rows.reverse();
            for row in rows {
                self.line(writer, row)?;
                written += 1;
            }
            writer.flush().map_err(failed)?;
            return Ok(written);
        }
        let mut after = 0;
        loop {
            let left = query.limit.map_or(u64::MAX, |limit| limit - written);
            let rows = if left == 0 { Vec::new() } else { self.page(query, after, left).await? };
            let Some(last) = rows.last() else { break };
            after = last.seq;
            for row in rows {
                self.line(writer, row)?;
                written += 1;
            }
        }
        writer.flush().map_err(failed)?;
        Ok(written)
    }

    fn line(&self, writer: &mut impl Write, row: Row) -> Result<(), Error> {
        let body = RawValue::from_string(row.body).map_err(|error| Error::Damaged {
            location: self.location().to_owned(),
            seq: row.seq,
            reason: format!("its body is not JSON: {error}"),
        })?;
        let line = Line {
            version: row.version,
            seq: row.seq,
            at: row.at.into(),
            key: row.key.into(),
            subject: row.subject.into(),
            rollout: row.rollout.map(Cow::from),
            kind: row.kind.into(),
            fence: row.fence,
            body: &body,
            previous: row.previous.into(),
            hash: row.hash.into(),
        };
        serde_json::to_writer(&mut *writer, &line)
            .map_err(std::io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
            .map_err(|source| Error::Export { attempt: "write", source })
    }
}

/// Checks an export. `anchor` is a hash of a record noted elsewhere: the journal's head at the time of the
/// export shows that nothing was cut off at the end. Fails with [`Error::Violated`].
pub fn verify_lines(
    mut reader: impl BufRead,
    extent: Extent,
    anchor: Option<&Hash>,
) -> Result<Verification, Error> {
    let mut verifier = Verifier::new(extent, anchor.copied());
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        let read = reader
            .read_until(b'\n', &mut text)
            .map_err(|source| Error::Export { attempt: "read", source })?;
        if read == 0 {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Line<'_>>(&text) {
            Ok(line) => verifier.push(line.into_row()),
            Err(error) => verifier.unreadable(number, error.to_string()),
        }
    }
    verifier.finish(None).map_err(|violations| Error::Violated { location: "export".to_owned(), violations })
}
