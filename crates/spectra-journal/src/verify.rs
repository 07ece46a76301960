//! Whether the records are what was written.

use std::fmt;

use crate::record::{Hash, Row};

/// A chain that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verification {
    /// How many records were checked.
    pub records: u64,
    /// The hash of the last one; note it elsewhere, and it is an anchor.
    pub head: Hash,
}

/// Whether an export should be the whole journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// From the first record on, without gaps.
    Whole,
    /// A selection: each record is checked, and the links between neighbours; missing ones are no violation.
    Excerpt,
}

/// What is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The record's number; of an export that cannot be read, the line's.
    pub seq: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// The ways in which a journal can be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The hash does not belong to the content.
    Edited,
    /// Records are missing from here to the given number, which included.
    Removed {
        /// The last one that is missing.
        to: u64,
    },
    /// The number is not higher than the one before it.
    Reordered,
    /// The record before it is not the one that it was written after.
    Unlinked,
    /// The journal's head says that there was more, up to this number.
    CutOff,
    /// The record is not the one that the journal's head says was the last.
    NotTheHead,
    /// There are records that the journal's head does not know.
    Inserted,
    /// The journal's head is missing.
    Headless,
    /// No record has the hash that was noted elsewhere.
    AnchorNotFound,
    /// The line holds no record.
    Unreadable {
        /// Why.
        reason: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seq = self.seq;
        match &self.fault {
            Fault::Edited => write!(f, "record {seq} was edited"),
            Fault::Removed { to } if *to == seq => write!(f, "record {seq} was removed"),
            Fault::Removed { to } => write!(f, "the records {seq} to {to} were removed"),
            Fault::Reordered => write!(f, "record {seq} is not in its place"),
            Fault::Unlinked => {
                write!(f, "record {seq} was written after another record than the one before it")
            }
            Fault::CutOff => write!(f, "the end was cut off: the last record was {seq}"),
            Fault::NotTheHead => write!(f, "record {seq} is not the last record that was written"),
            Fault::Inserted => write!(f, "there are records that were not appended, the last of them {seq}"),
            Fault::Headless => write!(f, "the row that names the last record is missing"),
            Fault::AnchorNotFound => write!(f, "no record has the hash that was noted elsewhere"),
            Fault::Unreadable { reason } => write!(f, "line {seq} holds no record: {reason}"),
        }
    }
}

/// What was found, at most [`Violations::MOST`] of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    list: Vec<Violation>,
    more: u64,
}

impl Violations {
    /// So many are listed; the others are counted.
    pub const MOST: usize = 100;

    /// The violations that are listed.
    #[must_use]
    pub fn list(&self) -> &[Violation] {
        &self.list
    }

    fn push(&mut self, seq: u64, fault: Fault) {
        if self.list.len() < Self::MOST {
            self.list.push(Violation { seq, fault });
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            violation.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

/// What a store says about all its records, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The head row, if there is one.
    pub(crate) head: Option<(u64, String)>,
    pub(crate) records: u64,
    pub(crate) last_seq: u64,
}

/// Looks at one record after the other.
pub(crate) struct Verifier {
    extent: Extent,
    anchor: Option<Hash>,
    records: u64,
    last: Option<(u64, String)>,
    violations: Violations,
}

impl Verifier {
    pub(crate) const fn new(extent: Extent, anchor: Option<Hash>) -> Self {
        Self { extent, anchor, records: 0, last: None, violations: Violations { list: Vec::new(), more: 0 } }
    }

    pub(crate) fn push(&mut self, row: Row) {
        self.records += 1;
        let hash = row.content_hash();
        // An edited record is no anchor, even if it still says so.
        if hash.to_string() != row.hash {
            self.violations.push(row.seq, Fault::Edited);
        } else if self.anchor == Some(hash) {
            self.anchor = None;
        }
        let zero = Hash::ZERO.to_string();
        let (last_seq, last_hash) =
            self.last.as_ref().map_or((0, zero.as_str()), |(seq, hash)| (*seq, hash.as_str()));
        let first_of_excerpt = self.extent == Extent::Excerpt && self.last.is_none();
        if row.seq <= last_seq {
            self.violations.push(row.seq, Fault::Reordered);
        } else if row.seq == last_seq + 1 {
            if row.previous != last_hash {
                self.violations.push(row.seq, Fault::Unlinked);
            }
        } else if self.extent == Extent::Whole && !first_of_excerpt {
            self.violations.push(last_seq + 1, Fault::Removed { to: row.seq - 1 });
        }
        self.last = Some((row.seq, row.hash));
    }

    pub(crate) fn unreadable(&mut self, line: u64, reason: String) {
        self.violations.push(line, Fault::Unreadable { reason });
    }

    /// Compares with what the store says; an export has no summary, and only an anchor shows a cut end.
    pub(crate) fn finish(mut self, summary: Option<&Summary>) -> Result<Verification, Violations> {
        let (last_seq, last_hash) = self.last.take().unwrap_or((0, Hash::ZERO.to_string()));
        if let Some(summary) = summary {
            match &summary.head {
                None => self.violations.push(last_seq, Fault::Headless),
                Some((seq, _)) if *seq > last_seq => self.violations.push(*seq, Fault::CutOff),
                Some((seq, hash)) if *seq == last_seq && *hash != last_hash => {
                    self.violations.push(last_seq, Fault::NotTheHead);
                }
                // Records from before 1 are seen by the count alone.
                Some((seq, _)) if summary.last_seq > *seq || summary.records > self.records => {
                    self.violations.push(summary.last_seq, Fault::Inserted);
                }
                Some(_) => {}
            }
        }
        // The head of an empty journal can be noted too.
        if self.anchor.is_some_and(|anchor| anchor != Hash::ZERO) {
            self.violations.push(last_seq, Fault::AnchorNotFound);
        }
        if !self.violations.list.is_empty() {
            return Err(self.violations);
        }
        // A hash that is none would have been an edited record.
        Ok(Verification { records: self.records, head: last_hash.parse().unwrap_or(Hash::ZERO) })
    }
}
