//! What is read of tars: honest ones, those that can be read in two ways, and those that were made to do harm.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod dialects;
mod hostile;
mod property;

use std::io::Read;

use spectra_tar::{Entry, Error, Stream};

/// All entries with their content.
pub(crate) fn entries(bytes: impl Read) -> Result<Vec<(Entry, Vec<u8>)>, Error> {
    let mut stream = Stream::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = stream.next()? {
        let mut content = Vec::new();
        stream.read_to_end(&mut content).map_err(Error::Read)?;
        assert_eq!(content.len() as u64, entry.size);
        found.push((entry, content));
    }
    stream.finish()?;
    Ok(found)
}

/// Why an archive is refused.
pub(crate) fn refusal(bytes: impl Read) -> String {
    entries(bytes).unwrap_err().to_string()
}

/// A header; its sum is computed when it is written.
#[derive(Clone)]
pub(crate) struct Block([u8; 512]);

impl Block {
    /// Of GNU tar.
    pub(crate) fn gnu(kind: u8, name: &str, size: u64) -> Self {
        Self::of(*b"ustar  \0", kind, name, size)
    }

    /// Of POSIX.
    pub(crate) fn posix(kind: u8, name: &str, size: u64) -> Self {
        Self::of(*b"ustar\x0000", kind, name, size)
    }

    /// Of the oldest tar.
    pub(crate) fn old(kind: u8, name: &str, size: u64) -> Self {
        Self::of([0; 8], kind, name, size)
    }

    fn of(magic: [u8; 8], kind: u8, name: &str, size: u64) -> Self {
        let block = Self([0; 512]).set(0, name.as_bytes()).set(124, format!("{size:011o}").as_bytes());
        block.set(156, &[kind]).set(257, &magic)
    }

    pub(crate) fn set(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// The header alone.
    pub(crate) fn header(&self) -> Vec<u8> {
        let block = self.clone().set(148, b"        ");
        let sum: u32 = block.0.iter().map(|byte| u32::from(*byte)).sum();
        block.set(148, format!("{sum:06o}\0 ").as_bytes()).0.to_vec()
    }

    /// The header and what is behind it, filled up.
    pub(crate) fn with(&self, content: &[u8]) -> Vec<u8> {
        let mut bytes = [self.header(), content.to_vec()].concat();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

/// A header of POSIX with such records.
pub(crate) fn pax(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length =
            (1..9).map(|digits| rest + digits).find(|length| length.to_string().len() == length - rest);
        content.extend_from_slice(format!("{} {key}={value}\n", length.unwrap()).as_bytes());
    }
    Block::posix(kind, "pax", content.len() as u64).with(&content)
}

/// A header of GNU tar with a long name (`L`) or target (`K`).
pub(crate) fn long(kind: u8, text: &str) -> Vec<u8> {
    let content = [text.as_bytes(), b"\0"].concat();
    Block::gnu(kind, "././@LongLink", content.len() as u64).with(&content)
}

/// The parts with the end of an archive.
pub(crate) fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}
