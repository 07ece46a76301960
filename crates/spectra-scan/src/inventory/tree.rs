//! What is left of the layers when they are applied one on another, as far as it matters.

use std::{
    collections::BTreeMap,
    io::{Read, Write as _},
    sync::Arc,
};

use spectra_tar::{Kind, Stream, clean};
use spectra_types::Digest;

use super::{cargo, elf};
use crate::Error;

/// A package database with more bytes is not read: the largest distributions need some megabytes, and apk, which lists files, has
/// room for two hundred thousand of them.
const MAX_DATABASE: u64 = 12 * 1024 * 1024;
/// What all databases together may have with their paths. It is held, and of one at a time up to three times as much.
const MAX_KEPT: u64 = 24 * 1024 * 1024;
/// How many files may matter.
const MAX_FILES: u64 = 100_000;
/// Entries of all layers together.
const MAX_ENTRIES: u64 = 20_000_000;
/// Bytes of all layers together, decompressed, headers and all: a limit on time, since nothing of it is held.
const MAX_BYTES: u64 = 256 << 30;
/// A larger program is not looked into.
const MAX_PROGRAM: u64 = 1 << 30;
/// A program up to this size is looked into in memory, a larger one through a temporary file.
const IN_MEMORY: usize = 16 * 1024 * 1024;
/// Where `cargo auditable` puts its list, and how large that may be.
const CRATES_SECTION: &[u8] = b".dep-v0";
const MAX_SECTION: u64 = 8 * 1024 * 1024;

/// A layer's tar, decompressed; an error of whoever opens it.
pub type Opened = Result<Box<dyn Read + Send>, Box<dyn std::error::Error + Send + Sync>>;

/// A layer to be looked into.
pub struct LayerInput<'a> {
    /// Its digest as stored.
    pub digest: Digest,
    /// Opens the tar that it holds, decompressed. It is read to its end, so that the reader can check the digest.
    pub open: Box<dyn Fn() -> Opened + 'a>,
}

impl std::fmt::Debug for LayerInput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerInput").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// A file that matters.
pub(super) struct Kept {
    pub(super) layer: usize,
    pub(super) content: Content,
}

impl Kept {
    /// What it takes; what is not read has a path all the same.
    fn bytes(&self, path: &[u8]) -> u64 {
        let content = match &self.content {
            Content::Text(bytes) | Content::Crates(bytes) => bytes.len(),
            Content::Rpm | Content::Unread(_) => 0,
        };
        (path.len() + content) as u64
    }
}

pub(super) enum Content {
    /// A package database or `os-release`.
    Text(Vec<u8>),
    /// What `cargo auditable` left in a program, as JSON.
    Crates(Vec<u8>),
    /// A database that is not read.
    Rpm,
    /// Something that should have been read.
    Unread(String),
}

/// The files that matter, by path without a leading slash. Paths are bytes: two that are no text may be shown alike.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<Arc<[u8]>, Kept>,
    entries: u64,
    kept_bytes: u64,
}

impl Tree {
    pub(super) fn read(layers: &[LayerInput<'_>]) -> Result<Self, Error> {
        Self::read_within(layers, MAX_BYTES)
    }

    /// [`Tree::read`] with another limit on the bytes of all layers.
    fn read_within(layers: &[LayerInput<'_>], limit: u64) -> Result<Self, Error> {
        let mut tree = Self::default();
        let mut left = limit;
        for (number, layer) in layers.iter().enumerate() {
            let failed = |source| Error::Layer { digest: layer.digest.to_string(), source };
            let reader = (layer.open)().map_err(failed)?;
            let mut reader = Limited { reader, left, exceeded: false };
            let applied = tree.apply(number, &mut reader);
            left = reader.left;
            match applied {
                _ if reader.exceeded => return Err(Error::TooLarge { what: "bytes", limit }),
                Ok(()) => {}
                Err(Stop::Read(error)) => return Err(failed(error.into())),
                Err(Stop::Archive(error)) => return Err(failed(error.into())),
                Err(Stop::TooLarge(what, limit)) => return Err(Error::TooLarge { what, limit }),
            }
        }
        Ok(tree)
    }

    fn apply(&mut self, layer: usize, reader: &mut impl Read) -> Result<(), Stop> {
        let mut stream = Stream::new(reader);
        while let Some(entry) = stream.next()? {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Stop::TooLarge("files", MAX_ENTRIES));
            }
            let path = clean(&entry.name);
            if path.is_empty() {
                continue;
            }
            let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
            let (folder, name) = path.split_at(name);
            if name == b".wh..wh..opq" {
                self.remove_below(folder, layer);
                continue;
            }
            if let Some(hidden) = name.strip_prefix(b".wh.") {
                let hidden = [folder, hidden].concat();
                // A whiteout is about the layers below, wherever it stands in its own.
                if self.files.get(hidden.as_slice()).is_some_and(|kept| kept.layer < layer) {
                    self.remove(&hidden);
                }
                self.remove_below(&hidden, layer);
                continue;
            }
            self.remove(&path);
            if entry.kind != Kind::Directory {
                self.remove_below(&path, layer);
            }
            if let Some(content) = take(&path, entry.kind, entry.size, &mut stream)? {
                let kept = Kept { layer, content };
                self.kept_bytes += kept.bytes(&path);
                if self.files.len() as u64 >= MAX_FILES {
                    return Err(Stop::TooLarge("package databases", MAX_FILES));
                }
                if self.kept_bytes > MAX_KEPT {
                    return Err(Stop::TooLarge("bytes in package databases", MAX_KEPT));
                }
                self.files.insert(path.into(), kept);
            }
        }
        stream.finish()?;
        Ok(())
    }

    fn remove(&mut self, path: &[u8]) {
        if let Some(kept) = self.files.remove(path) {
            self.kept_bytes -= kept.bytes(path);
        }
    }

    /// Removes what layers below this one have in a folder, which may end with a slash; everything, if it is empty.
    fn remove_below(&mut self, folder: &[u8], layer: usize) {
        let mut prefix = folder.to_vec();
        if !matches!(prefix.last(), None | Some(b'/')) {
            prefix.push(b'/');
        }
        let below: Vec<Arc<[u8]>> = self
            .files
            .range(Arc::from(prefix.as_slice())..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter(|(_, kept)| kept.layer < layer)
            .map(|(path, _)| Arc::clone(path))
            .collect();
        for path in below {
            self.remove(&path);
        }
    }
}

/// A stream that ends with an error before it has given more than it may.
struct Limited<R> {
    reader: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // One byte more tells whether the stream goes on.
        let most = usize::try_from(self.left.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.reader.read(&mut buffer[..most])?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            self.exceeded = true;
            return Err(std::io::Error::other("the layers are too large"));
        };
        self.left = left;
        Ok(count)
    }
}

/// What matters of a file; `None` if nothing does.
fn take(path: &[u8], kind: Kind, size: u64, reader: &mut impl Read) -> Result<Option<Content>, Stop> {
    if kind == Kind::Directory {
        return Ok(None);
    }
    if is_rpm(path) {
        return Ok(Some(Content::Rpm));
    }
    if !is_database(path) {
        return match kind {
            Kind::File => crates(size, reader),
            // It may be a program, whose list of crates nobody sees.
            Kind::Sparse => Ok(Some(Content::Unread("it is stored with its holes left out".to_owned()))),
            _ => Ok(None),
        };
    }
    Ok(Some(match kind {
        Kind::File if size > MAX_DATABASE => {
            Content::Unread(format!("it has {size} bytes, more than a package database has"))
        }
        Kind::File => {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes)?;
            bytes.shrink_to_fit();
            Content::Text(bytes)
        }
        Kind::Sparse => Content::Unread("it is stored with its holes left out".to_owned()),
        // The usual link from /etc to /usr/lib, both of which are looked for.
        _ if path == b"etc/os-release" => return Ok(None),
        _ => Content::Unread("it is no file, and links are not followed".to_owned()),
    }))
}

/// Why a layer is not read on.
enum Stop {
    /// What it is read from has failed, in its content.
    Read(std::io::Error),
    Archive(spectra_tar::Error),
    TooLarge(&'static str, u64),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<spectra_tar::Error> for Stop {
    fn from(error: spectra_tar::Error) -> Self {
        Self::Archive(error)
    }
}

/// What `cargo auditable` left, if the file is a program with such a list.
fn crates(size: u64, reader: &mut impl Read) -> Result<Option<Content>, Stop> {
    let mut magic = Vec::with_capacity(4);
    reader.take(4).read_to_end(&mut magic)?;
    if magic != elf::MAGIC {
        return Ok(None);
    }
    if size > MAX_PROGRAM {
        return Ok(Some(Content::Unread(format!("a program of {size} bytes is not looked into"))));
    }
    let mut file = tempfile::spooled_tempfile(IN_MEMORY);
    file.write_all(&magic)?;
    std::io::copy(reader, &mut file)?;
    let unread = |error: std::io::Error| Content::Unread(format!("its list of crates is damaged: {error}"));
    Ok(match elf::section(&mut file, CRATES_SECTION, MAX_SECTION) {
        Ok(None) => None,
        Ok(Some(section)) => Some(cargo::inflate(&section).map_or_else(unread, Content::Crates)),
        Err(error) => Some(unread(error)),
    })
}

fn is_database(path: &[u8]) -> bool {
    matches!(
        path,
        b"etc/os-release"
            | b"usr/lib/os-release"
            | b"var/lib/dpkg/status"
            | b"lib/apk/db/installed"
            | b"usr/lib/apk/db/installed"
    ) || path
        .strip_prefix(b"var/lib/dpkg/status.d/")
        .is_some_and(|name| !name.contains(&b'/') && !name.ends_with(b".md5sums"))
}

fn is_rpm(path: &[u8]) -> bool {
    [&b"var/lib/rpm/"[..], b"usr/lib/sysimage/rpm/", b"usr/share/rpm/"].iter().any(|folder| {
        path.strip_prefix(*folder)
            .is_some_and(|name| matches!(name, b"Packages" | b"Packages.db" | b"rpmdb.sqlite"))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A block again and again.
    struct Blocks(Cursor<[u8; 512]>);
    impl Read for Blocks {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() == 512 {
                self.0.set_position(0);
            }
            self.0.read(buffer)
        }
    }

    /// A header, and behind it blocks of this byte without an end.
    fn endless(kind: tar::EntryType, byte: u8) -> Box<dyn Read + Send> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.as_mut_bytes()[482] = 1;
        header.set_cksum();
        let header = Cursor::new(header.as_bytes().to_vec());
        Box::new(header.chain(Blocks(Cursor::new([byte; 512]))))
    }

    fn read_within(limit: u64, open: impl Fn() -> Box<dyn Read + Send>) -> Result<Tree, Error> {
        let digest = format!("sha256:{:064x}", 1).parse().unwrap();
        Tree::read_within(&[LayerInput { digest, open: Box::new(move || Ok(open())) }], limit)
    }

    #[test]
    fn what_no_entry_states_counts_too() {
        let refused = |open: &dyn Fn() -> Box<dyn Read + Send>| {
            matches!(read_within(1 << 20, open), Err(Error::TooLarge { what: "bytes", limit: 0x10_0000 }))
        };
        // A map of holes that says in each block that there is more, and what follows the end mark.
        assert!(refused(&|| endless(tar::EntryType::GNUSparse, 1)));
        assert!(refused(&|| Box::new(std::io::repeat(0))));
        let exact = || -> Box<dyn Read + Send> { Box::new(std::io::repeat(0).take(1 << 20)) };
        assert!(read_within(1 << 20, exact).is_ok());
    }

    /// Each `apt-get install` writes the whole database anew: what it replaced counted as well.
    #[test]
    fn what_is_replaced_or_removed_no_longer_counts() {
        let mut tree = Tree::default();
        let layer = |name: &str, size: usize| {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(size as u64);
            builder.append_data(&mut header, name, vec![b' '; size].as_slice()).unwrap();
            builder.into_inner().unwrap()
        };
        let large = usize::try_from(MAX_DATABASE).unwrap();
        let status = layer("var/lib/dpkg/status", large);
        for number in 0..4 {
            assert!(tree.apply(number, &mut status.as_slice()).is_ok());
            assert_eq!(tree.kept_bytes, MAX_DATABASE + 19);
        }
        assert!(tree.apply(4, &mut layer("var/lib/dpkg/.wh.status", 0).as_slice()).is_ok());
        assert_eq!(tree.kept_bytes, 0);
        assert!(tree.apply(5, &mut layer("var/lib/dpkg/status.d/a", large).as_slice()).is_ok());
        assert!(tree.apply(6, &mut layer("var/.wh..wh..opq", 0).as_slice()).is_ok());
        assert_eq!((tree.kept_bytes, tree.files.len()), (0, 0));
    }

    #[test]
    fn paths_of_files_that_are_not_read_count() {
        let mut tree = Tree { kept_bytes: MAX_KEPT - 22, ..Tree::default() };
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        builder.append_data(&mut header, "var/lib/rpm/Packages.db", std::io::empty()).unwrap();
        let bytes = builder.into_inner().unwrap();
        assert!(matches!(tree.apply(0, &mut bytes.as_slice()), Err(Stop::TooLarge(_, MAX_KEPT))));
        tree.kept_bytes = MAX_KEPT - 23;
        assert!(tree.apply(0, &mut bytes.as_slice()).is_ok());
    }
}
