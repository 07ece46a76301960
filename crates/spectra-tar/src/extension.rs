//! Extended headers of POSIX, and what all headers before an entry say about it.

use crate::{Error, MAX_NAME, MAX_OCTAL};

/// The records of an extended header: `LENGTH KEY=VALUE`, each ended by a line feed.
///
/// Ends after the first that is malformed.
#[derive(Debug)]
pub struct Records<'a>(&'a [u8]);

/// A record is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl<'a> Records<'a> {
    /// Takes the content of an extended header.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn record(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let rest = std::mem::take(&mut self.0);
        let blank = rest.iter().take(20).position(|byte| *byte == b' ')?;
        let length = usize::try_from(digits(&rest[..blank])?).ok()?;
        let record = rest.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        self.0 = &rest[length..];
        Some((&record[..equals], &record[equals + 1..]))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.record().ok_or(Malformed))
    }
}

/// What headers before an entry say about it.
#[derive(Default)]
pub(crate) struct Extension {
    pax: Option<Pax>,
    /// Of GNU tar.
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

/// What an extended header of POSIX says.
#[derive(Default)]
struct Pax {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    user: Option<u64>,
    group: Option<u64>,
    sparse: Option<Sparse>,
}

/// What an extended header says of a file's holes.
#[derive(Default)]
struct Sparse {
    /// The file's own name: that of the entry is made up, for readers that know no holes.
    name: Option<Vec<u8>>,
    major: Option<Vec<u8>>,
    minor: Option<Vec<u8>>,
    /// Whether the map is in the header, as in the formats before 1.0.
    has_map: bool,
}

impl Sparse {
    /// Whether Go's reader takes it for sparse; if it does not, it takes the other name.
    fn is_known(&self) -> bool {
        match (self.major.as_deref(), self.minor.as_deref()) {
            (Some(b"1"), Some(b"0")) => !self.has_map,
            // The oldest format has no other name, and no map if there is nothing but holes.
            (None, None) => self.has_map || self.name.is_none(),
            (Some(b"0"), Some(b"0" | b"1")) => self.has_map,
            _ => false,
        }
    }
}

const TWICE: &str = "two headers in a row describe the same entry";
const MALFORMED: &str = "an extended header is malformed";
/// Some readers take an empty value for the value, others for none.
const EMPTY: &str = "a header gives an entry an empty name, link or size";

impl Extension {
    pub(crate) const fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    /// Takes the content of a header of GNU tar that has a name.
    pub(crate) fn set_long_name(&mut self, content: Vec<u8>) -> Result<(), Error> {
        set_long(&mut self.long_name, content)
    }

    /// Takes the content of a header of GNU tar that has a link's target.
    pub(crate) fn set_long_link(&mut self, content: Vec<u8>) -> Result<(), Error> {
        set_long(&mut self.long_link, content)
    }

    /// Takes the content of an extended header.
    pub(crate) fn set_pax(&mut self, content: &[u8]) -> Result<(), Error> {
        if self.pax.is_some() {
            return Err(Error::malformed(TWICE));
        }
        self.pax = Some(Pax::read(content)?);
        Ok(())
    }

    /// Looks at an extended header for all entries. Go's reader makes nothing of it, others do.
    pub(crate) fn check_global(content: &[u8]) -> Result<(), Error> {
        let Pax { name, link, size, user, group, sparse } = Pax::read(content)?;
        if name.is_some() || link.is_some() || size.is_some() || sparse.is_some() {
            return Err(Error::malformed("a header gives all entries the same name, link or size"));
        }
        if user.is_some() || group.is_some() {
            return Err(Error::malformed("a header gives all entries the same owner"));
        }
        Ok(())
    }

    /// Whether the entry is stored without its holes.
    pub(crate) fn is_sparse(&self) -> bool {
        self.pax.as_ref().is_some_and(|pax| pax.sparse.is_some())
    }

    pub(crate) fn user(&self) -> Option<u64> {
        self.pax.as_ref()?.user
    }

    pub(crate) fn group(&self) -> Option<u64> {
        self.pax.as_ref()?.group
    }

    /// The size of the content, if the header itself states this one.
    pub(crate) fn size(&self, stated: u64) -> Result<u64, Error> {
        match self.pax.as_ref().and_then(|pax| pax.size) {
            None => Ok(stated),
            // What does not fit into the header's digits has zero, or its lower part, there.
            Some(size) if size == stated || size > MAX_OCTAL || stated == 0 => Ok(size),
            Some(size) => {
                Err(Error::malformed(format!("an entry states two sizes, {stated} and {size} bytes")))
            }
        }
    }

    /// Takes out the name, if it is not that of the header itself.
    pub(crate) fn take_name(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let pax = self.pax.as_mut();
        let name = pax.and_then(|pax| {
            // That of a sparse file counts before the one that is made up for it.
            let own = pax.sparse.as_mut().and_then(|sparse| sparse.name.take());
            own.or_else(|| pax.name.take())
        });
        one(name, self.long_name.take())
    }

    /// Takes out the link's target, if it is not that of the header itself.
    pub(crate) fn take_link(&mut self) -> Result<Option<Vec<u8>>, Error> {
        one(self.pax.as_mut().and_then(|pax| pax.link.take()), self.long_link.take())
    }
}

/// The one name that two headers give. Which of two wins is what readers disagree about.
fn one(pax: Option<Vec<u8>>, long: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
    match (pax, long) {
        (Some(pax), Some(long)) if pax != long => {
            Err(Error::malformed("two headers give the same entry different names"))
        }
        (pax, long) => Ok(pax.or(long)),
    }
}

fn set_long(slot: &mut Option<Vec<u8>>, mut content: Vec<u8>) -> Result<(), Error> {
    content.truncate(content.iter().position(|byte| *byte == 0).unwrap_or(content.len()));
    if content.is_empty() {
        return Err(Error::malformed(EMPTY));
    }
    check_length(&content)?;
    match slot.replace(content) {
        Some(_) => Err(Error::malformed(TWICE)),
        None => Ok(()),
    }
}

/// Refuses a name that no system takes.
const fn check_length(name: &[u8]) -> Result<(), Error> {
    if name.len() as u64 > MAX_NAME {
        return Err(Error::TooLong { what: "a name", limit: MAX_NAME });
    }
    Ok(())
}

impl Pax {
    fn read(content: &[u8]) -> Result<Self, Error> {
        let mut pax = Self::default();
        for record in Records::new(content) {
            let (key, value) = record.map_err(|Malformed| Error::malformed(MALFORMED))?;
            pax.add(key, value)?;
        }
        match &pax.sparse {
            Some(sparse) if !sparse.is_known() => {
                Err(Error::malformed("a file is sparse in a form that is not known"))
            }
            _ => Ok(pax),
        }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let is_fresh = match key {
            b"path" => set_name(&mut self.name, value)?,
            b"linkpath" => set_name(&mut self.link, value)?,
            b"size" => set_number(&mut self.size, value, "size")?,
            b"uid" => set_number(&mut self.user, value, "user")?,
            b"gid" => set_number(&mut self.group, value, "group")?,
            _ => {
                let Some(key) = key.strip_prefix(b"GNU.sparse.") else { return Ok(()) };
                let sparse = self.sparse.get_or_insert_default();
                match key {
                    b"name" => set_name(&mut sparse.name, value)?,
                    b"major" => sparse.major.replace(value.to_owned()).is_none(),
                    b"minor" => sparse.minor.replace(value.to_owned()).is_none(),
                    b"map" => !std::mem::replace(&mut sparse.has_map, !value.is_empty()),
                    // A pair for each part of the file.
                    b"offset" | b"numbytes" => {
                        sparse.has_map = true;
                        true
                    }
                    _ => true,
                }
            }
        };
        if is_fresh { Ok(()) } else { Err(Error::malformed("an extended header says the same thing twice")) }
    }
}

/// Returns whether there was none before.
fn set_name(slot: &mut Option<Vec<u8>>, value: &[u8]) -> Result<bool, Error> {
    if value.is_empty() {
        return Err(Error::malformed(EMPTY));
    }
    // Go's reader refuses it, and others end the name there.
    if value.contains(&0) {
        return Err(Error::malformed("a name has a zero byte in it"));
    }
    check_length(value)?;
    Ok(slot.replace(value.to_owned()).is_none())
}

/// Returns whether there was none before.
fn set_number(slot: &mut Option<u64>, value: &[u8], what: &str) -> Result<bool, Error> {
    if value.is_empty() {
        return Err(Error::malformed(EMPTY));
    }
    let number = digits(value).ok_or_else(|| {
        Error::malformed(format!("an extended header states a {what} that is not a number"))
    })?;
    Ok(slot.replace(number).is_none())
}

/// A decimal number, without a sign.
fn digits(text: &[u8]) -> Option<u64> {
    let text =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}
