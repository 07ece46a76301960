//! Compressing layers: in blocks, on all cores, to the same bytes every time.
//!
//! A layer is cut into blocks of [`BLOCK`] bytes. Each becomes a complete gzip member or zstd frame of its own, and the layer is their
//! concatenation, which both formats define and which every decompressor of layers reads. So the output depends on the
//! content, the codec and its level alone: not on how many cores there are, nor on how the bytes came in.

mod pool;
mod writer;

use std::{io, io::Read as _, io::Write as _, path::Path, str::FromStr, sync::Arc};

use spectra_types::Digest;

pub(crate) use self::writer::Writer;
use crate::{
    Descriptor, Error,
    content::{Blob, Content, Hashing},
    media_type, spool,
};

/// Bytes of a layer that become one member or frame. Part of the format: another size makes other digests.
const BLOCK: usize = 1 << 20;
/// What is read from a layer at a time.
const PIECE: usize = 256 * 1024;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Understood by everything that runs images.
    Gzip,
    /// Faster and smaller; for OCI manifests alone, and not for old builders and scanners.
    Zstd,
}

impl Codec {
    /// The name, as in media types.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The levels that the codec has: fastest, usual, smallest output.
    #[must_use]
    pub const fn levels(self) -> (i32, i32, i32) {
        match self {
            Self::Gzip => (1, 1, 12),
            Self::Zstd => (1, 1, 19),
        }
    }

    /// The library that decides which bytes come out.
    fn library(self) -> String {
        match self {
            Self::Gzip => format!("libdeflate-{LIBDEFLATE}"),
            Self::Zstd => format!("libzstd-{}", zstd::zstd_safe::version_string()),
        }
    }
}

/// The version of libdeflate that is built in; it cannot be asked for it. A test compares it with what is locked.
const LIBDEFLATE: &str = "1.26.1";

/// A text is not a codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a way to compress layers; write `gzip` or `zstd`")]
pub struct CodecError {
    text: String,
}

impl FromStr for Codec {
    type Err = CodecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(CodecError { text: text.to_owned() }),
        }
    }
}

/// A codec at one of its levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Compression {
    codec: Codec,
    level: i32,
}

impl Compression {
    /// A codec at a level; without one, at its usual level. Fails if the codec has no such level.
    pub fn new(codec: Codec, level: Option<i32>) -> Result<Self, Error> {
        let (lowest, usual, highest) = codec.levels();
        let level = level.unwrap_or(usual);
        if (lowest..=highest).contains(&level) {
            return Ok(Self { codec, level });
        }
        Err(Error::Level { codec: codec.as_str(), level, lowest, highest })
    }

    /// What decides the output besides the input, as one text: codec, level, library and block size.
    pub(crate) fn id(self) -> String {
        format!("{}-{} {} {BLOCK}", self.codec.as_str(), self.level, self.codec.library())
    }

    /// The media type of layers.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self.codec {
            Codec::Gzip => media_type::LAYER_GZIP,
            Codec::Zstd => media_type::LAYER_ZSTD,
        }
    }
}

impl Default for Compression {
    /// gzip at level 1: on real files libdeflate's first level is within a few per cent of zlib's sixth.
    fn default() -> Self {
        Self { codec: Codec::Gzip, level: Codec::Gzip.levels().1 }
    }
}

/// Compresses a raw layer into a temporary file in `folder`. Returns the blob and the digest of the raw bytes. Blocking.
pub(crate) fn layer(
    raw: &Content,
    what: &Path,
    how: Compression,
    folder: &Path,
) -> Result<(Blob, Digest), Error> {
    let (file, path) = spool::file(folder)?;
    let failed = |error: io::Error| Error::io("compress a layer into", folder)(error).needs(raw.len());
    let mut reader = Hashing::new(raw.reader()?);
    let mut writer = Writer::new(Hashing::new(io::BufWriter::with_capacity(PIECE, file)), how);
    let mut buffer = vec![0; PIECE];
    loop {
        let count = reader.read(&mut buffer).map_err(Error::io("read a layer of", what))?;
        if count == 0 {
            break;
        }
        writer.write_all(&buffer[..count]).map_err(failed)?;
    }
    let mut hashing = writer.finish().map_err(failed)?;
    hashing.flush().map_err(failed)?;
    let (_, digest, length) = hashing.finish();
    let (_, raw_digest, raw_length) = reader.finish();
    if raw_length != raw.len() {
        return Err(Error::input(what, "a layer ends early; the file is cut off"));
    }
    let descriptor = Descriptor::new(how.media_type(), digest, length);
    let content = Content::Temporary { path: Arc::new(path), length };
    Ok((Blob { descriptor, content }, raw_digest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::sha256;

    /// Text that compresses, of any length, the same on every machine.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_u32;
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let word = state >> 20;
            bytes.extend_from_slice(format!("{word:x} entry of a layer\n").as_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn compressed(bytes: &[u8], how: Compression, piece: usize) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), how);
        for piece in bytes.chunks(piece.max(1)) {
            writer.write_all(piece).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_went_in_comes_out_and_pieces_do_not_matter() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 12345] {
            let bytes = sample(length);
            for codec in [Codec::Gzip, Codec::Zstd] {
                let how = Compression::new(codec, None).unwrap();
                let output = compressed(&bytes, how, 64 * 1024);
                let mut back = Vec::new();
                match codec {
                    Codec::Gzip => {
                        let mut decoder = flate2::read::MultiGzDecoder::new(output.as_slice());
                        decoder.read_to_end(&mut back).unwrap();
                    }
                    Codec::Zstd => back = zstd::decode_all(output.as_slice()).unwrap(),
                }
                assert!(back == bytes, "{codec:?} of {length} bytes");
                assert_eq!(output, compressed(&bytes, how, 3 * BLOCK + 7), "{codec:?} of {length} bytes");
                assert!(length < BLOCK || output.len() < length / 2);
            }
        }
    }

    /// The digest of a layer that is compressed again has to be the one that the registry has. When an update of a library changes
    /// these, it changes the digests of all images: say so in the changelog.
    #[test]
    fn the_bytes_are_fixed() {
        let bytes = sample(3 * BLOCK);
        let digest = |codec| sha256(&compressed(&bytes, Compression::new(codec, None).unwrap(), 1 << 16));
        assert_eq!(
            [Codec::Gzip, Codec::Zstd].map(|codec| digest(codec).to_string()),
            [
                "sha256:30d0d3e166c3eeba49892702b3070ef275d4d11e8b55968e495c055def18016b",
                "sha256:27d1c50a4f0359d4806c142001ea64aa00f93a124a379a6c29adaa8044b6aaa5",
            ]
        );
        // No time, no name, system "unknown".
        assert_eq!(compressed(b"x", Compression::default(), 1)[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255]);
    }

    #[test]
    fn the_cache_names_the_libraries_that_are_built_in() {
        let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
        assert!(lock.contains(&format!("name = \"libdeflate-sys\"\nversion = \"{LIBDEFLATE}\"")));
        assert!(Compression::new(Codec::Zstd, Some(3)).unwrap().id().starts_with("zstd-3 libzstd-1."));
    }

    #[test]
    fn a_level_that_is_not_there_is_an_error() {
        let error = Compression::new(Codec::Zstd, Some(20)).unwrap_err();
        assert_eq!(error.to_string(), "zstd has no level 20; it has 1 to 19");
        assert!(Compression::new(Codec::Gzip, Some(0)).is_err());
    }

    #[test]
    fn a_reader_that_fails_leaves_the_pool_usable() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("no space"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = sample(40 * BLOCK);
        let mut writer = Writer::new(Full, Compression::default());
        let error = writer.write_all(&bytes).and_then(|()| writer.finish().map(drop)).unwrap_err();
        assert_eq!(error.to_string(), "no space");
        assert!(!compressed(&bytes[..BLOCK], Compression::default(), BLOCK).is_empty());
    }
}
