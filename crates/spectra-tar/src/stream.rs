//! The entries of a tar, one after another.

use std::io::{self, Read};

use crate::{BLOCK, Error, Header, MAX_EXTENSION, MAX_NAME, NumberError, extension::Extension};

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A file with its content.
    File,
    /// A file whose holes were left out: its content cannot be read as it stands.
    Sparse,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an entry before it.
    HardLink,
    /// A device or a pipe.
    Device,
}

/// What is said of an entry before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands there: bytes of any kind but zero, up to [`MAX_NAME`]. See [`crate::clean`].
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Where a link leads, as the name; empty for others.
    pub target: Vec<u8>,
    /// Bytes of content that follow, of a sparse file as it is stored. Only files have content, whatever others state.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// The number of its user.
    pub user: u32,
    /// The number of its group.
    pub group: u32,
}

/// The entries of a tar. Reading from it reads the content of the last entry, as far as it was not read yet.
///
/// Holds one entry at a time, of at most some megabytes whatever it is given. After an error it is of no use.
#[derive(Debug)]
pub struct Stream<R> {
    reader: R,
    /// Of the current entry's content.
    left: u64,
    padding: u64,
    has_ended: bool,
}

impl<R: Read> Stream<R> {
    /// Reads from there. Everything is read in pieces of 512 bytes and what the content is asked for in, so that a file should have a
    /// buffer before it.
    pub const fn new(reader: R) -> Self {
        Self { reader, left: 0, padding: 0, has_ended: false }
    }

    /// The next entry; nothing at the end. What is left of the content of the one before is skipped.
    ///
    /// An archive ends with two blocks of zeros, or, since some writers leave them out, where the stream does.
    #[expect(
        clippy::should_implement_trait,
        reason = "the content of an entry is read from the stream itself"
    )]
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        let mut extension = Extension::default();
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                if extension.is_empty() {
                    return Ok(None);
                }
                return Err(Error::malformed("it ends after a header that describes another entry"));
            };
            if !header.has_right_sum() {
                return Err(Error::malformed("it is not a tar, or damaged: the sum of a header is wrong"));
            }
            if header.has_doubtful_prefix() {
                return Err(Error::malformed(
                    "a header mixes dialects, which give the entry different names",
                ));
            }
            let size = header.size().map_err(states("size"))?;
            match header.kind() {
                b'L' => {
                    let name = self.name(size)?;
                    extension.set_long_name(name)?;
                }
                b'K' => {
                    let target = self.name(size)?;
                    extension.set_long_link(target)?;
                }
                b'x' => {
                    let content = self.held(size, "an extended header")?;
                    extension.set_pax(&content)?;
                }
                b'g' => {
                    let content = self.held(size, "an extended header")?;
                    // Go forgets there what it has read about the next entry.
                    if !extension.is_empty() {
                        return Err(Error::malformed(
                            "a header for all entries stands between an entry and what describes it",
                        ));
                    }
                    Extension::check_global(&content)?;
                }
                _ => return self.entry(&header, size, extension).map(Some),
            }
        }
    }

    /// Reads what is behind the last entry, to the end of the stream. No reader makes anything of it.
    pub fn finish(mut self) -> Result<(), Error> {
        io::copy(&mut self.reader, &mut io::sink()).map(drop).map_err(Error::Read)
    }

    fn entry(&mut self, header: &Header, size: u64, mut extension: Extension) -> Result<Entry, Error> {
        let (name, target) = (extension.take_name()?, extension.take_link()?);
        let name = name.unwrap_or_else(|| header.name());
        let is_sparse = extension.is_sparse();
        let kind = match header.kind() {
            // The oldest format has no directories, but names that end so.
            0 if name.ends_with(b"/") => {
                // Which GNU tar skips, and others do not.
                if extension.size(size)? != 0 {
                    return Err(Error::malformed("a directory of the oldest format states content"));
                }
                Kind::Directory
            }
            // What is contiguous is a file.
            0 | b'0' | b'7' if is_sparse => Kind::Sparse,
            0 | b'0' | b'7' => Kind::File,
            b'S' => Kind::Sparse,
            b'5' => Kind::Directory,
            b'2' => Kind::Symlink,
            b'1' => Kind::HardLink,
            b'3' | b'4' | b'6' => Kind::Device,
            // Some readers take it for a file, others stop.
            other => {
                let kind = char::from(other).escape_debug();
                return Err(Error::malformed(format!("an entry is of the unknown kind `{kind}`")));
            }
        };
        if is_sparse && kind != Kind::Sparse {
            return Err(Error::malformed("something that is no file is stored sparse"));
        }
        let target = match kind {
            Kind::Symlink | Kind::HardLink => target.unwrap_or_else(|| header.link().to_owned()),
            _ => Vec::new(),
        };
        if header.kind() == b'S' {
            self.skip_map(header)?;
        }
        // Links and directories may state a size and have no content: Docker once wrote such links.
        self.expect(if matches!(kind, Kind::File | Kind::Sparse) { extension.size(size)? } else { 0 });
        let id = |stated: Option<u64>, field: Result<u64, NumberError>, what| {
            let number = stated.map_or(field, Ok).map_err(states(what))?;
            u32::try_from(number).map_err(|_| states(what)(NumberError::TooLarge))
        };
        Ok(Entry {
            kind,
            target,
            size: self.left,
            // At most twelve bits are left.
            mode: (header.mode().map_err(states("mode"))? & 0o7777) as u32,
            user: id(extension.user(), header.user(), "user")?,
            group: id(extension.group(), header.group(), "group")?,
            name,
        })
    }

    /// The next header, or none at the end.
    fn header(&mut self) -> Result<Option<Header>, Error> {
        if self.has_ended {
            return Ok(None);
        }
        let header = self.block()?;
        if header.as_ref().is_some_and(|header| !header.is_end()) {
            return Ok(header);
        }
        self.has_ended = true;
        // After one block of zeros some readers stop, others want a second, and go on or fail without it.
        if header.is_some() && self.block()?.is_some_and(|block| !block.is_end()) {
            return Err(Error::malformed("it goes on after a block of zeros"));
        }
        Ok(None)
    }

    /// A block, or nothing if the stream has ended before it.
    fn block(&mut self) -> Result<Option<Header>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(Error::CutOff),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
        Ok(Some(Header::new(block)))
    }

    /// The content of a header that has a name and a zero byte.
    fn name(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > MAX_NAME + 1 {
            return Err(Error::TooLong { what: "a name", limit: MAX_NAME });
        }
        self.held(size, "a name")
    }

    /// The content of a header that describes another one.
    fn held(&mut self, size: u64, what: &'static str) -> Result<Vec<u8>, Error> {
        if size > MAX_EXTENSION {
            return Err(Error::TooLong { what, limit: MAX_EXTENSION });
        }
        self.expect(size);
        let mut bytes = Vec::new();
        self.reader.by_ref().take(size).read_to_end(&mut bytes).map_err(Error::Read)?;
        self.left -= bytes.len() as u64;
        if self.left > 0 { Err(Error::CutOff) } else { Ok(bytes) }
    }

    const fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Skips what is left of the content, and what fills its last block, which the last entry may lack.
    fn skip(&mut self) -> Result<(), Error> {
        let total = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut self.reader.by_ref().take(total), &mut io::sink());
        if skipped.map_err(Error::Read)? < self.left {
            return Err(Error::CutOff);
        }
        self.expect(0);
        Ok(())
    }

    /// The blocks in which GNU tar says where the holes of a file are.
    fn skip_map(&mut self, header: &Header) -> Result<(), Error> {
        let (mut more, mut length) = (header.has_more_map(), 0);
        while more {
            length += BLOCK as u64;
            if length > MAX_EXTENSION {
                return Err(Error::TooLong { what: "a map of a file's holes", limit: MAX_EXTENSION });
            }
            more = self.block()?.ok_or(Error::CutOff)?.map_goes_on();
        }
        Ok(())
    }
}

impl<R: Read> Read for Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let count = self.reader.by_ref().take(self.left).read(buffer)?;
        if count == 0 {
            return Err(Error::CutOff.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn states(what: &'static str) -> impl Fn(NumberError) -> Error {
    move |error| Error::malformed(format!("an entry states {}", error.about(what)))
}
