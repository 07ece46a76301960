//! A stream of tar entries with a limit on everything that is held.
//!
//! Libraries read a long name into memory however long it is, and a layer may say that one has ten gigabytes. Read are the
//! formats in use: POSIX with extended headers, GNU with long names and sparse files, and the old one.

use std::io::{self, Read};

/// What an extended header may have. Paths end at 4 KiB, and attributes at 64 KiB.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// The longest path: no system takes a longer one, and what is found in a file repeats its path.
const MAX_PATH: usize = 4096;
const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A file with its content.
    File,
    /// A file whose holes were left out: its content cannot be read as it stands.
    Sparse,
    /// A directory.
    Directory,
    /// A hard or symbolic link, a device or the like.
    Other,
}

/// What is known of an entry before its content.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) kind: EntryKind,
    pub(super) size: u64,
}

/// The stream. Reading from it reads the content of the last entry.
pub(super) struct Tarball<R> {
    reader: R,
    /// Of the current entry.
    left: u64,
    padding: u64,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl<R: Read> Tarball<R> {
    pub(super) const fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0 }
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let mut header = [0; BLOCK];
            if !fill(&mut self.reader, &mut header)? || header.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            check(&header)?;
            let kind = header[156];
            let mut size = number(&header[124..136])?;
            if matches!(kind, b'x' | b'g' | b'L' | b'K') {
                self.expect(size);
                if size > MAX_EXTENSION {
                    return Err(invalid(format!("an extended header has {size} bytes")));
                }
                let mut bytes = Vec::new();
                self.read_to_end(&mut bytes)?;
                match kind {
                    b'L' => {
                        bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
                        extension.path = Some(bytes);
                    }
                    b'x' => extension.read(&bytes)?,
                    // The target of a link, and what holds for all entries: times and owners.
                    _ => {}
                }
                continue;
            }
            size = extension.size.unwrap_or(size);
            // Only files and the sparse kind have content; a directory may state a size and has none.
            let file = matches!(kind, b'0' | 0 | b'7');
            self.expect(if file || kind == b'S' { size } else { 0 });
            if kind == b'S' {
                self.skip_sparse_map(header[482] != 0)?;
            }
            let path = extension.path.take().unwrap_or_else(|| name(&header));
            if path.len() > MAX_PATH {
                return Err(invalid(format!("a path has {} bytes", path.len())));
            }
            let path = String::from_utf8_lossy(&path).into_owned();
            let kind = match kind {
                b'5' => EntryKind::Directory,
                // The oldest format has no directories, but names that end so.
                0 if path.ends_with('/') => EntryKind::Directory,
                b'S' => EntryKind::Sparse,
                _ if file && extension.sparse => EntryKind::Sparse,
                _ if file => EntryKind::File,
                _ => EntryKind::Other,
            };
            return Ok(Some(Entry { path, kind, size: self.left }));
        }
    }

    /// Reads what is behind the last entry, to the end of the stream.
    pub(super) fn finish(mut self) -> io::Result<()> {
        io::copy(&mut self.reader, &mut io::sink()).map(drop)
    }

    const fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    fn skip(&mut self) -> io::Result<()> {
        let total = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.reader.by_ref().take(total), &mut io::sink())?;
        // Some writers leave the last padding out.
        if skipped < self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn skip_sparse_map(&mut self, mut more: bool) -> io::Result<()> {
        while more {
            let mut block = [0; BLOCK];
            if !fill(&mut self.reader, &mut block)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            more = block[504] != 0;
        }
        Ok(())
    }
}

impl<R: Read> Read for Tarball<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.reader.by_ref().take(self.left).read(buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl Extension {
    /// Records of `LENGTH NAME=VALUE\n`; a later one replaces an earlier one.
    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let malformed = || invalid("an extended header is malformed".to_owned());
        while !bytes.is_empty() {
            let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(malformed)?;
            let length =
                std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|length| *length > space + 1 && *length <= bytes.len());
            let (record, rest) = bytes.split_at(length.ok_or_else(malformed)?);
            bytes = rest;
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" if !self.sparse => self.path = Some(value.to_vec()),
                b"size" => {
                    let text = std::str::from_utf8(value).map_err(|_| malformed())?;
                    self.size = Some(text.parse().map_err(|_| malformed())?);
                }
                b"GNU.sparse.name" => {
                    self.sparse = true;
                    self.path = Some(value.to_vec());
                }
                _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The name in a header, with its prefix if the format has one.
fn name(header: &[u8; BLOCK]) -> Vec<u8> {
    let text = |bytes: &[u8]| bytes.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // GNU's own format has other things in that place.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, name].join(&b'/');
    }
    name
}

/// An octal number, or a binary one if the first bit is set.
fn number(field: &[u8]) -> io::Result<u64> {
    if field[0] & 0x80 != 0 {
        let too_large = field[..field.len() - 8].iter().skip(1).any(|byte| *byte != 0) || field[0] != 0x80;
        let low = field[field.len() - 8..].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        return if too_large { Err(invalid("a size is out of range".to_owned())) } else { Ok(low) };
    }
    let text = std::str::from_utf8(field).unwrap_or("?");
    let digits = text.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Ok(0);
    }
    u64::from_str_radix(digits, 8).map_err(|_| invalid("a number in a header is malformed".to_owned()))
}

fn check(header: &[u8; BLOCK]) -> io::Result<()> {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
        .sum();
    if number(&header[148..156]).ok() == Some(sum) {
        return Ok(());
    }
    Err(invalid("it is no tar archive: a header has a wrong checksum".to_owned()))
}

/// Fills the block; false if the stream has ended before it.
fn fill(reader: &mut impl Read, block: &mut [u8; BLOCK]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < BLOCK {
        match reader.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries(bytes: &[u8]) -> io::Result<Vec<(String, EntryKind, Vec<u8>)>> {
        let mut tarball = Tarball::new(bytes);
        let mut found = Vec::new();
        while let Some(entry) = tarball.next()? {
            let mut content = Vec::new();
            tarball.read_to_end(&mut content)?;
            assert_eq!(content.len() as u64, entry.size);
            found.push((entry.path, entry.kind, content));
        }
        Ok(found)
    }

    #[test]
    fn reads_what_libraries_write() {
        let long = format!("{}/file", "directory/".repeat(40));
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in [("a", "one"), (long.as_str(), ""), ("b/c", "three")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        builder.append_pax_extensions([("path", "from/an/extension".as_bytes()), ("size", b"4")]).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_path("short").unwrap();
        header.set_size(4);
        header.set_cksum();
        builder.append(&header, b"four".as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "link", "a").unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_path("d/").unwrap();
        header.set_cksum();
        builder.append(&header, io::empty()).unwrap();
        let bytes = builder.into_inner().unwrap();
        let expected = vec![
            ("a".to_owned(), EntryKind::File, b"one".to_vec()),
            (long, EntryKind::File, vec![]),
            ("b/c".to_owned(), EntryKind::File, b"three".to_vec()),
            ("from/an/extension".to_owned(), EntryKind::File, b"four".to_vec()),
            ("link".to_owned(), EntryKind::Other, vec![]),
            ("d/".to_owned(), EntryKind::Directory, vec![]),
        ];
        assert_eq!(entries(&bytes).unwrap(), expected);
        assert_eq!(entries(&bytes[..bytes.len() - 1024]).unwrap(), expected, "without the end marker");
        assert!(entries(&bytes[..514]).is_err(), "cut off");
    }

    #[test]
    fn a_long_name_without_end_is_refused_before_it_is_read() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(10 << 30);
        header.set_cksum();
        let endless = io::Cursor::new(header.as_bytes().to_vec()).chain(io::repeat(b'a'));
        let error = Tarball::new(endless).next().unwrap_err();
        assert_eq!(error.to_string(), "an extended header has 10737418240 bytes");
    }

    #[test]
    fn a_path_that_no_system_takes_is_refused() {
        let with = |length: usize| {
            let mut builder = tar::Builder::new(Vec::new());
            builder.append_pax_extensions([("path", "a".repeat(length).as_bytes())]).unwrap();
            let mut header = tar::Header::new_ustar();
            header.set_path("short").unwrap();
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
            entries(&builder.into_inner().unwrap())
        };
        assert_eq!(with(4096).unwrap()[0].0.len(), 4096);
        assert_eq!(with(4097).unwrap_err().to_string(), "a path has 4097 bytes");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2048), kind: u8) {
            let _ = entries(&bytes);
            let mut header = tar::Header::new_gnu();
            header.as_mut_bytes()[124..136].copy_from_slice(&[b'7'; 12]);
            header.as_mut_bytes()[156] = kind;
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            let _ = entries(&[header.as_bytes().as_slice(), &bytes].concat());
        }
    }
}
