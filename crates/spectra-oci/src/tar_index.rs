//! A strict index of a tar archive: names, offsets and lengths.
//!
//! Tar has several dialects, and readers disagree about archives that mix them: what one takes for a file is content to another.
//! Whatever can be read in two ways is refused here, and so is what no image archive needs: devices, sparse files, names that lead
//! outside. Nothing is trusted: a header's length is never allocated, and names, headers and their number have limits.
//!
//! Headers and records are those of `spectra_tar`; its stream of entries is not used. That reads what it skips, and this only the
//! headers of an archive of many gigabytes; that reads layers, which may have all that is refused here (links that lead outside, devices,
//! names that are no text, sizes of what has no content); and what is wrong is said here of the entry, by its name.

use std::{
    collections::{HashMap, hash_map},
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
};

use spectra_tar::{BLOCK as BLOCK_SIZE, Header, MAX_EXTENSION as MAX_PAX, MAX_NAME, MAX_OCTAL, Records};

use crate::Error;

const BLOCK: u64 = BLOCK_SIZE as u64;
/// Most headers of an archive. An image has a few for each layer.
const MAX_HEADERS: usize = 65_536;
/// Most bytes of all names and link targets together.
const MAX_NAMES: usize = 8 << 20;
/// Most bytes after the end of an archive. Writers fill up their last record, which has 10 KiB by default.
const MAX_PADDING: u64 = 64 << 20;

/// Some readers take an empty value for the value, others for none.
const EMPTY: &str = "a header gives an entry an empty name or size";

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A part of the archive.
    File { offset: u64, length: u64 },
    /// Another name.
    Link(String),
    /// Nothing that can be read.
    Directory,
}

/// The entries by name, without `.` and double slashes.
pub(crate) type Entries = HashMap<String, Entry>;

/// Reads all headers of a tar archive. `origin` is what the user named, for messages.
pub(crate) fn index(file: &File, origin: &Path) -> Result<Entries, Error> {
    let total = file.metadata().map_err(Error::io("read", origin))?.len();
    let mut scan = Scan { file, origin, total, at: 0, entries: HashMap::new(), headers: 0, names: 0 };
    while scan.next()? {}
    Ok(scan.entries)
}

struct Scan<'a> {
    file: &'a File,
    origin: &'a Path,
    total: u64,
    /// Where the next header begins.
    at: u64,
    entries: Entries,
    headers: usize,
    /// Bytes of all names so far.
    names: usize,
}

/// What headers before an entry say about it.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    has_pax: bool,
}

impl Extended {
    const fn is_empty(&self) -> bool {
        !self.has_pax && self.long_name.is_none() && self.long_link.is_none()
    }
}

impl Scan<'_> {
    fn refuse(&self, reason: impl Into<String>) -> Error {
        Error::input(self.origin, reason)
    }

    fn limit(&self, what: &str, limit: String) -> Error {
        Error::Limit { path: self.origin.to_owned(), what: what.to_owned(), limit, flag: None }
    }

    fn read(&self, at: u64, buffer: &mut [u8]) -> Result<(), Error> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.total) {
            return Err(self.refuse("it is not a tar archive, or cut off: there is no mark of its end"));
        }
        self.file.read_exact_at(buffer, at).map_err(Error::io("read", self.origin))
    }

    fn block(&mut self) -> Result<Header, Error> {
        let mut block = [0; BLOCK_SIZE];
        self.read(self.at, &mut block)?;
        self.at += BLOCK;
        Ok(Header::new(block))
    }

    /// The content of a header that describes another one.
    fn content(&mut self, size: u64, most: u64, what: &str) -> Result<Vec<u8>, Error> {
        if size > most {
            return Err(self.limit(what, format!("{most} bytes")));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read(self.at, &mut bytes)?;
        self.at += size.next_multiple_of(BLOCK);
        Ok(bytes)
    }

    /// The rest of the file after a first block of zeros. A writer may leave the second out, and fill up with more; anything else would be
    /// another archive, which some readers go on with.
    fn end(&self) -> Result<(), Error> {
        let mut rest = self.total.saturating_sub(self.at);
        if rest > MAX_PADDING {
            return Err(self.limit("what follows its end", format!("{MAX_PADDING} bytes")));
        }
        let mut buffer = vec![0; 64 << 10];
        while rest > 0 {
            let count = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            self.read(self.total - rest, &mut buffer[..count])?;
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(self.refuse("it goes on after a block of zeros"));
            }
            rest -= count as u64;
        }
        Ok(())
    }

    /// Reads one entry with the headers before it; `false` at the end.
    fn next(&mut self) -> Result<bool, Error> {
        let mut extended = Extended::default();
        loop {
            let header = self.block()?;
            if header.is_end() {
                if !extended.is_empty() {
                    return Err(self.refuse("it ends after a header that describes another entry"));
                }
                return self.end().map(|()| false);
            }
            self.headers += 1;
            if self.headers > MAX_HEADERS {
                return Err(self.limit("the number of its entries", MAX_HEADERS.to_string()));
            }
            if !header.has_right_sum() {
                return Err(self.refuse("it is not a tar archive, or damaged: the sum of a header is wrong"));
            }
            // No writer of images has times there, where GNU tar may have them.
            let is_mixed = !header.is_posix() && header.is_any_set(345..500);
            if is_mixed || header.has_doubtful_prefix() {
                return Err(self.refuse("a header mixes dialects, which give the entry different names"));
            }
            let size = header.size();
            let size =
                size.map_err(|error| self.refuse(format!("an entry states {}", error.about("size"))))?;
            let twice = "two headers in a row describe the same entry";
            match header.kind() {
                b'L' | b'K' => {
                    let mut text = self.content(size, MAX_NAME + 1, "the length of a name")?;
                    text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                    if text.is_empty() {
                        return Err(self.refuse(EMPTY));
                    }
                    let slot = match header.kind() {
                        b'L' => &mut extended.long_name,
                        _ => &mut extended.long_link,
                    };
                    if slot.replace(text).is_some() {
                        return Err(self.refuse(twice));
                    }
                }
                b'x' => {
                    if std::mem::replace(&mut extended.has_pax, true) {
                        return Err(self.refuse(twice));
                    }
                    let bytes = self.content(size, MAX_PAX, "the length of a PAX header")?;
                    self.pax(&bytes, &mut extended)?;
                }
                // Some readers forget there what they have read about the next entry.
                b'g' if !extended.is_empty() => {
                    return Err(
                        self.refuse("a header for all entries stands between an entry and what describes it")
                    );
                }
                b'g' => {
                    let bytes = self.content(size, MAX_PAX, "the length of a PAX header")?;
                    let mut all = Extended::default();
                    self.pax(&bytes, &mut all)?;
                    if all.name.is_some() || all.link.is_some() || all.size.is_some() {
                        return Err(self.refuse("a header gives all entries the same name or size"));
                    }
                }
                _ => {
                    self.entry(&header, size, extended)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The records of a PAX header: `LENGTH KEY=VALUE`, each ended by a line feed.
    fn pax(&self, bytes: &[u8], extended: &mut Extended) -> Result<(), Error> {
        for record in Records::new(bytes) {
            let (key, value) = record.map_err(|_| self.refuse("a PAX header is malformed"))?;
            if value.is_empty() && matches!(key, b"path" | b"linkpath" | b"size") {
                return Err(self.refuse(EMPTY));
            }
            let fresh = match key {
                b"path" => extended.name.replace(value.to_owned()).is_none(),
                b"linkpath" => extended.link.replace(value.to_owned()).is_none(),
                b"size" => {
                    let digits = std::str::from_utf8(value).ok();
                    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
                    let size = digits
                        .and_then(|digits| digits.parse().ok())
                        .ok_or_else(|| self.refuse("a PAX header states a size that is not a number"))?;
                    extended.size.replace(size).is_none()
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(self.refuse("an entry is stored sparse, which cannot be read by offset"));
                }
                _ => true,
            };
            if !fresh {
                return Err(self.refuse("a PAX header says the same thing twice"));
            }
        }
        Ok(())
    }

    fn entry(&mut self, header: &Header, stated: u64, extended: Extended) -> Result<(), Error> {
        let differ = |one: &Option<Vec<u8>>, other: &Option<Vec<u8>>| {
            one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one != other)
        };
        if differ(&extended.name, &extended.long_name) || differ(&extended.link, &extended.long_link) {
            return Err(self.refuse("two headers give the same entry different names"));
        }
        let name = extended.name.or(extended.long_name).unwrap_or_else(|| header.name());
        let name = self.text(&name)?;
        let shown = name.escape_debug().to_string();
        let size = match extended.size {
            None => stated,
            // What does not fit into the header's digits has zero, or its lower part, there.
            Some(size) if size == stated || size > MAX_OCTAL || stated == 0 => size,
            Some(size) => {
                return Err(self.refuse(format!("`{shown}` states two sizes, {stated} and {size} bytes")));
            }
        };
        let kind = header.kind();
        // The oldest dialect marks directories by a slash alone.
        let is_directory = kind == b'5' || (matches!(kind, 0 | b'0') && name.ends_with('/'));
        let key = normalise(&name, "")
            .ok_or_else(|| self.refuse(format!("the name `{shown}` leads out of the archive")))?;
        let entry = if is_directory {
            Entry::Directory
        } else {
            match kind {
                0 | b'0' | b'7' => Entry::File { offset: self.at, length: size },
                b'1' | b'2' => {
                    let link = extended.link.or(extended.long_link);
                    let link = link.unwrap_or_else(|| header.link().to_owned());
                    let link = self.text(&link)?;
                    // A symbolic link is relative to its directory, a hard link to the root of the archive.
                    let base = if kind == b'2' { key.rfind('/').map_or("", |at| &key[..at]) } else { "" };
                    let target = normalise(&link, base).ok_or_else(|| {
                        let link = link.escape_debug();
                        self.refuse(format!("the link `{shown}` leads out of the archive, to `{link}`"))
                    })?;
                    Entry::Link(target)
                }
                b'3' | b'4' | b'6' => {
                    return Err(self.refuse(format!("`{shown}` is a device or a pipe")));
                }
                b'S' => {
                    return Err(
                        self.refuse(format!("`{shown}` is stored sparse, which cannot be read by offset"))
                    );
                }
                other => {
                    let kind = char::from(other).escape_debug().to_string();
                    return Err(self.refuse(format!("`{shown}` is of the unknown kind `{kind}`")));
                }
            }
        };
        if let Entry::File { offset, length } = &entry {
            let end = offset.checked_add(*length).filter(|end| *end <= self.total);
            end.ok_or_else(|| {
                self.refuse(format!("it is cut off inside `{shown}`, which states {length} bytes"))
            })?;
            // No overflow: the end is within the file.
            self.at = offset + length.next_multiple_of(BLOCK);
        } else if size != 0 {
            return Err(self.refuse(format!("`{shown}` has no content, but states {size} bytes")));
        }
        self.insert(key, entry, &shown)
    }

    fn insert(&mut self, key: String, entry: Entry, shown: &str) -> Result<(), Error> {
        if key.is_empty() {
            return match entry {
                Entry::Directory => Ok(()),
                _ => Err(self.refuse("an entry has no name")),
            };
        }
        self.names += key.len() + if let Entry::Link(target) = &entry { target.len() } else { 0 };
        if self.names > MAX_NAMES {
            return Err(self.limit("the length of all its names", format!("{MAX_NAMES} bytes")));
        }
        let known = match self.entries.entry(key) {
            hash_map::Entry::Vacant(slot) => {
                slot.insert(entry);
                return Ok(());
            }
            hash_map::Entry::Occupied(slot) => slot.into_mut(),
        };
        let same = match (&*known, &entry) {
            (&Entry::File { offset: one, length }, &Entry::File { offset: other, length: other_length }) => {
                length == other_length
                    && same(self.file, one, other, length).map_err(Error::io("read", self.origin))?
            }
            (known, entry) => known == entry,
        };
        // Which of them wins is what readers disagree about.
        if same { Ok(()) } else { Err(self.refuse(format!("two different entries have the name `{shown}`"))) }
    }

    fn text(&self, bytes: &[u8]) -> Result<String, Error> {
        let lossy = || String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).escape_debug().to_string();
        if bytes.len() as u64 > MAX_NAME {
            return Err(self.limit("the length of a name", format!("{MAX_NAME} bytes")));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
            Ok(_) => Err(self.refuse(format!("the name `{}` has a zero byte in it", lossy()))),
            Err(_) => Err(self.refuse(format!("the name `{}` is not UTF-8", lossy()))),
        }
    }
}

/// A name without `.` and `..`, inside `base`; `None` if it is absolute or leads above the root.
pub(crate) fn normalise(name: &str, base: &str) -> Option<String> {
    if name.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(name.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Whether two parts of a file have the same bytes. Each part is read once, so the whole costs at most reading the file twice.
fn same(file: &File, one: u64, other: u64, length: u64) -> std::io::Result<bool> {
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < length {
        let count = usize::try_from(length - at).unwrap_or(usize::MAX).min(left.len());
        file.read_exact_at(&mut left[..count], one + at)?;
        file.read_exact_at(&mut right[..count], other + at)?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}
