//! The headers of a tar that is read once, from its beginning to its end.
//!
//! Libraries read a long name into memory however long it is said to be, and a layer may say that one has ten gigabytes. Here every
//! name has a limit. Read are the formats in use: POSIX with extended headers, GNU with long names, and the old one.

use std::{
    io::{self, Read},
    path::Path,
};

use crate::Error;

const BLOCK: usize = 512;
/// Longest name or link target, in bytes; the longest path of Linux.
const MAX_NAME: u64 = 4096;
/// Longest extended header, in bytes. Attributes end at 64 KiB.
const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is, as far as it matters to what lies above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A symbolic link.
    Link,
    /// A file, hard link, device or the like.
    Other,
}

/// What is said of an entry before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Where a link leads.
    pub(crate) target: Vec<u8>,
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) user: u32,
    pub(crate) group: u32,
}

/// The stream. `origin` is what the user named, for messages.
pub(crate) struct Stream<'a, R> {
    reader: R,
    origin: &'a Path,
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    size: Option<u64>,
    user: Option<u64>,
    group: Option<u64>,
}

impl<'a, R: Read> Stream<'a, R> {
    pub(crate) const fn new(reader: R, origin: &'a Path) -> Self {
        Self { reader, origin }
    }

    /// The next entry; nothing at the end. The content of the one before is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Header>, Error> {
        let mut extension = Extension::default();
        loop {
            let Some(header) = self.header()? else { return Ok(None) };
            let malformed = |_| self.refuse("a header is not one of a tar");
            let kind = header.entry_type();
            let size = header.entry_size().map_err(malformed)?;
            match kind {
                tar::EntryType::GNULongName => extension.name = Some(self.text(size)?),
                tar::EntryType::GNULongLink => extension.target = Some(self.text(size)?),
                tar::EntryType::XHeader => {
                    let bytes =
                        self.content(size, MAX_EXTENSION, "the length of a header in one of its layers")?;
                    extension.read(&bytes).ok_or_else(|| self.refuse("an extended header is malformed"))?;
                }
                tar::EntryType::XGlobalHeader => self.skip(size)?,
                _ => {
                    if kind == tar::EntryType::GNUSparse {
                        self.skip_sparse_map(&header)?;
                    }
                    let has_content = !matches!(
                        kind,
                        tar::EntryType::Directory
                            | tar::EntryType::Symlink
                            | tar::EntryType::Link
                            | tar::EntryType::Char
                            | tar::EntryType::Block
                            | tar::EntryType::Fifo
                    );
                    if has_content {
                        self.skip(extension.size.unwrap_or(size))?;
                    }
                    return self.entry(&header, kind, extension).map(Some);
                }
            }
        }
    }

    fn entry(
        &self,
        header: &tar::Header,
        kind: tar::EntryType,
        extension: Extension,
    ) -> Result<Header, Error> {
        let name = extension.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = extension.target.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
        let target = target.unwrap_or_default();
        if name.len().max(target.len()) as u64 > MAX_NAME {
            return Err(self.limit("the length of a path in one of its layers", MAX_NAME));
        }
        // Fields may be left empty, and no system has users beyond 32 bits.
        let number = |stated: Option<u64>, field: io::Result<u64>| {
            stated.or_else(|| field.ok()).and_then(|number| u32::try_from(number).ok()).unwrap_or_default()
        };
        Ok(Header {
            kind: match kind {
                tar::EntryType::Directory => Kind::Directory,
                // The oldest format has no directories, but names that end so.
                tar::EntryType::Regular if name.ends_with(b"/") => Kind::Directory,
                tar::EntryType::Symlink => Kind::Link,
                _ => Kind::Other,
            },
            mode: header.mode().map_or(0o755, |mode| mode & 0o7777),
            user: number(extension.user, header.uid()),
            group: number(extension.group, header.gid()),
            name,
            target,
        })
    }

    /// Reads what is behind the last entry, to the end of the stream.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        io::copy(&mut self.reader, &mut io::sink()).map(drop).map_err(|error| self.failed(error))
    }

    fn header(&mut self) -> Result<Option<tar::Header>, Error> {
        let mut block = Vec::with_capacity(BLOCK);
        self.read(&mut block, BLOCK as u64)?;
        // A writer may leave out the zeros at the end.
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut header = tar::Header::new_old();
        if block.len() != BLOCK {
            return Err(self.refuse("it is cut off"));
        }
        header.as_mut_bytes().copy_from_slice(&block);
        let sum: u32 = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
        match header.cksum() {
            Ok(stated) if stated == sum + 8 * 32 => Ok(Some(header)),
            _ => Err(self.refuse("it is not a tar, or damaged: the sum of a header is wrong")),
        }
    }

    /// Reads up to `most` bytes.
    fn read(&mut self, bytes: &mut Vec<u8>, most: u64) -> Result<(), Error> {
        let read = self.reader.by_ref().take(most).read_to_end(bytes);
        read.map(drop).map_err(|error| self.failed(error))
    }

    /// The content of a header that describes another one.
    fn content(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>, Error> {
        if size > most {
            return Err(self.limit(what, most));
        }
        let mut bytes = Vec::new();
        self.read(&mut bytes, size)?;
        self.skip_exactly(size.next_multiple_of(BLOCK as u64) - size)?;
        Ok(bytes)
    }

    fn text(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut text = self.content(size, MAX_NAME + 1, "the length of a path in one of its layers")?;
        text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
        Ok(text)
    }

    /// Skips content and what fills its last block, which the last entry may lack.
    fn skip(&mut self, size: u64) -> Result<(), Error> {
        self.skip_exactly(size)?;
        let padding = size.wrapping_neg() % BLOCK as u64;
        io::copy(&mut self.reader.by_ref().take(padding), &mut io::sink())
            .map(drop)
            .map_err(|error| self.failed(error))
    }

    fn skip_exactly(&mut self, size: u64) -> Result<(), Error> {
        match io::copy(&mut self.reader.by_ref().take(size), &mut io::sink()) {
            Ok(skipped) if skipped == size => Ok(()),
            Ok(_) => Err(self.refuse("it is cut off")),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The blocks in which GNU tar says where the holes of a file are.
    fn skip_sparse_map(&mut self, header: &tar::Header) -> Result<(), Error> {
        let mut more = header.as_bytes()[482] != 0;
        while more {
            let mut block = Vec::with_capacity(BLOCK);
            self.read(&mut block, BLOCK as u64)?;
            more = *block.get(504).ok_or_else(|| self.refuse("it is cut off"))? != 0;
        }
        Ok(())
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::input(self.origin, reason)
    }

    fn limit(&self, what: &str, most: u64) -> Error {
        Error::Limit {
            path: self.origin.to_owned(),
            what: what.to_owned(),
            limit: format!("{most} bytes"),
            flag: None,
        }
    }

    /// A limit of what is below comes through as it is.
    fn failed(&self, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(error) => self.refuse(&error.to_string()),
        }
    }
}

impl Extension {
    /// Records of `LENGTH NAME=VALUE\n`; a later one replaces an earlier one. `None` if they are malformed.
    fn read(&mut self, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
            let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            let value = &record[equals + 1..];
            let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
            match &record[..equals] {
                b"path" | b"GNU.sparse.name" => self.name = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.size = Some(number()?),
                b"uid" => self.user = Some(number()?),
                b"gid" => self.group = Some(number()?),
                _ => {}
            }
            bytes = &bytes[length..];
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of this kind that states this size, without anything behind it.
    fn header(kind: tar::EntryType, name: &str, size: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn names(bytes: impl Read) -> Result<Vec<String>, Error> {
        let mut stream = Stream::new(bytes, Path::new("x"));
        let mut names = Vec::new();
        while let Some(header) = stream.next()? {
            names.push(String::from_utf8(header.name).unwrap());
        }
        Ok(names)
    }

    #[test]
    fn a_name_of_gigabytes_is_not_read() {
        for (kind, most) in [
            (tar::EntryType::GNULongName, "4097 bytes"),
            (tar::EntryType::GNULongLink, "4097 bytes"),
            (tar::EntryType::XHeader, "1048576 bytes"),
        ] {
            let mut endless = io::Cursor::new(header(kind, "././@LongLink", 10 << 30))
                .chain(io::repeat(b'a'))
                .take(10 << 30);
            let error = names(&mut endless).unwrap_err();
            assert!(matches!(&error, Error::Limit { limit, .. } if limit == most), "{error}");
            assert!((10 << 30) - endless.limit() < 4096, "nothing but the header was read");
        }
    }

    #[test]
    fn every_dialect_is_read() {
        let mut bytes = header(tar::EntryType::XGlobalHeader, "pax", 3);
        bytes.extend([&b"8 a=b"[..3], &[0; 509]].concat());
        let long = "d/".repeat(200) + "file";
        let mut builder = tar::Builder::new(Vec::new());
        let mut gnu = tar::Header::new_gnu();
        gnu.set_size(3);
        builder.append_data(&mut gnu, &long, &b"abc"[..]).unwrap();
        let pax: Vec<(&str, &[u8])> = vec![("path", b"by/pax"), ("size", b"5"), ("uid", b"70000")];
        builder.append_pax_extensions(pax).unwrap();
        builder.append_data(&mut gnu, "cut", &b"12345"[..3]).unwrap();
        bytes.extend(builder.into_inner().unwrap());
        // The block has room for what the longer size says.
        assert_eq!(names(bytes.as_slice()).unwrap(), [long, "by/pax".to_owned()]);
        assert!(names(&bytes[..bytes.len() - 1600]).is_err(), "cut off");
    }
}
