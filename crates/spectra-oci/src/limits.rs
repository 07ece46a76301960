//! How much an input may make of itself: what keeps a hostile archive, layout or index from filling memory or disk.

use std::path::Path;

use crate::Error;

/// Most layers of an image. Runtimes mount far fewer.
pub(crate) const MAX_LAYERS: usize = 1024;
/// Most links on the way to a file, as in Linux: in an image, and to an archive that is written.
pub(crate) const MAX_LINKS: usize = 40;
/// Most manifests, indices and configurations of one input, counted as often as they are named.
const MAX_DOCUMENTS: usize = 1024;
/// Most bytes of all these documents together.
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// Most values in one document, by its commas.
const MAX_VALUES: usize = 100_000;

/// What decompressing an archive may cost. An archive that goes beyond is refused ([`Error::Limit`]), and what was written until
/// then is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLimits {
    /// Most bytes that an archive may have, once it is decompressed if it is compressed; and layers that are downloaded, together.
    pub unpacked: u64,
    /// How many times as large a compressed archive may become. Looked at from 64 MiB on: little files of zeros are common.
    pub ratio: u64,
}

impl OpenLimits {
    /// Below this many bytes the ratio is not looked at.
    pub(crate) const RATIO_FROM: u64 = 64 << 20;
    /// How many times its size a layer may become that is read and not written. No gzip reaches this.
    pub(crate) const LAYER_RATIO: u64 = 2000;

    /// Refuses an archive of this many bytes. Files with holes are as large as they say, and read as such.
    pub(crate) fn check_size(&self, origin: &Path, size: u64) -> Result<(), Error> {
        if size <= self.unpacked {
            return Ok(());
        }
        Err(Error::Limit {
            path: origin.to_owned(),
            what: "its size".to_owned(),
            limit: format!("{} bytes", self.unpacked),
            flag: Some("--max-unpacked"),
        })
    }

    /// Refuses to bring layers of this many bytes to the disk.
    pub(crate) fn check_layers(&self, origin: &Path, size: u64) -> Result<(), Error> {
        if size <= self.unpacked {
            return Ok(());
        }
        Err(Error::Limit {
            path: origin.to_owned(),
            what: format!("its layers have {size} bytes, which"),
            limit: format!("{} bytes", self.unpacked),
            flag: Some("--max-unpacked"),
        })
    }

    /// Refuses a decompression that has made `written` bytes of `read`.
    pub(crate) fn check(&self, origin: &Path, read: u64, written: u64) -> Result<(), Error> {
        if written > self.unpacked {
            return Err(Error::Limit {
                path: origin.to_owned(),
                what: "what it decompresses to".to_owned(),
                limit: format!("{} bytes", self.unpacked),
                flag: Some("--max-unpacked"),
            });
        }
        if written > Self::RATIO_FROM && written / read.max(1) >= self.ratio {
            return Err(Error::Limit {
                path: origin.to_owned(),
                what: "what it decompresses to".to_owned(),
                limit: format!("{} times its size", self.ratio),
                flag: Some("--max-ratio"),
            });
        }
        Ok(())
    }
}

impl Default for OpenLimits {
    fn default() -> Self {
        Self { unpacked: 64 << 30, ratio: 200 }
    }
}

/// What is left of the documents that one input may have. An index of indices names the same few over and over; without this,
/// three levels of them are a day's work.
#[derive(Debug)]
pub(crate) struct Budget {
    documents: usize,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { documents: MAX_DOCUMENTS, bytes: MAX_DOCUMENT_BYTES }
    }
}

impl Budget {
    /// Takes one document of `size` bytes out of it. `origin` is the input, for the error.
    pub(crate) fn take(&mut self, origin: &Path, size: u64) -> Result<(), Error> {
        let limit = |what: &str, limit: String| Error::Limit {
            path: origin.to_owned(),
            what: what.to_owned(),
            limit,
            flag: None,
        };
        self.documents = self.documents.checked_sub(1).ok_or_else(|| {
            limit("the number of its manifests and configurations", MAX_DOCUMENTS.to_string())
        })?;
        self.bytes = self.bytes.checked_sub(size).ok_or_else(|| {
            limit("the size of its manifests and configurations", format!("{MAX_DOCUMENT_BYTES} bytes"))
        })?;
        Ok(())
    }
}

/// Refuses a document of very many very small values: in memory each is many times as large as its text.
pub(crate) fn check_values(origin: &Path, document: &[u8]) -> Result<(), Error> {
    if document.split(|byte| *byte == b',').count() <= MAX_VALUES {
        return Ok(());
    }
    Err(Error::Limit {
        path: origin.to_owned(),
        what: "the number of values in one of its documents".to_owned(),
        limit: MAX_VALUES.to_string(),
        flag: None,
    })
}

/// Refuses an image of too many layers.
pub(crate) fn check_layers(origin: &Path, layers: usize) -> Result<(), Error> {
    if layers <= MAX_LAYERS {
        return Ok(());
    }
    Err(Error::Limit {
        path: origin.to_owned(),
        what: "the number of its layers".to_owned(),
        limit: MAX_LAYERS.to_string(),
        flag: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_seen_by_size_and_by_ratio() {
        let limits = OpenLimits { unpacked: 1 << 30, ratio: 200 };
        let origin = Path::new("x");
        assert!(limits.check(origin, 1, 64 << 20).is_ok(), "small enough to be harmless");
        assert!(limits.check(origin, 1 << 20, 199 << 20).is_ok());
        insta::assert_snapshot!(limits.check(origin, 1 << 20, 200 << 20).unwrap_err(), @"cannot read `x` as an image: what it decompresses to is more than 200 times its size");
        insta::assert_snapshot!(limits.check(origin, 1 << 29, (1 << 30) + 1).unwrap_err(), @"cannot read `x` as an image: what it decompresses to is more than 1073741824 bytes");
    }

    #[test]
    fn documents_are_counted_and_weighed() {
        let mut budget = Budget::default();
        assert!(budget.take(Path::new("x"), MAX_DOCUMENT_BYTES).is_ok());
        assert!(budget.take(Path::new("x"), 1).is_err());
        let mut budget = Budget::default();
        assert!((0..MAX_DOCUMENTS).all(|_| budget.take(Path::new("x"), 1).is_ok()));
        assert!(budget.take(Path::new("x"), 1).is_err());
    }
}
