//! Deterministic gzip.

use std::io::{self, Read, Write};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use spectra_types::Digest;
use tempfile::TempPath;

use crate::{
    Descriptor, Error,
    content::{Blob, Content, Hashing},
    media_type,
};

/// One level everywhere, so that the same tar has the same digest whichever way it is pushed.
const LEVEL: Compression = Compression::new(6);

/// First bytes of a gzip stream.
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// First bytes of a zstd frame.
pub(crate) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A writer whose output depends on its input alone: no time, no name, operating system "unknown".
pub(crate) fn encoder<W: Write>(writer: W) -> GzEncoder<W> {
    GzBuilder::new().mtime(0).operating_system(255).write(writer, LEVEL)
}

/// A temporary file that is being written.
pub(crate) fn spool() -> Result<(std::fs::File, TempPath), Error> {
    let directory = std::env::temp_dir();
    let file = tempfile::NamedTempFile::with_prefix("spectra-layer-")
        .map_err(Error::io("create a temporary file in", directory))?;
    Ok(file.into_parts())
}

/// Compresses a raw layer into a temporary file. Returns the blob and the digest of the raw bytes.
pub(crate) fn compress(raw: &Content, what: &std::path::Path) -> Result<(Blob, Digest), Error> {
    let (file, path) = spool()?;
    let mut reader = Hashing::new(raw.reader()?);
    let mut writer = encoder(Hashing::new(io::BufWriter::with_capacity(256 * 1024, file)));
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = reader.read(&mut buffer).map_err(Error::io("read a layer of", what))?;
        if count == 0 {
            break;
        }
        writer.write_all(&buffer[..count]).map_err(Error::io("compress a layer into", path.to_path_buf()))?;
    }
    let mut hashing = writer.finish().map_err(Error::io("compress a layer into", path.to_path_buf()))?;
    hashing.flush().map_err(Error::io("compress a layer into", path.to_path_buf()))?;
    let (_, digest, length) = hashing.finish();
    let (_, raw_digest, raw_length) = reader.finish();
    if raw_length != raw.len() {
        return Err(Error::input(what, "a layer ends early; the file is cut off"));
    }
    let descriptor = Descriptor::new(media_type::LAYER_GZIP, digest, length);
    let content = Content::Temporary { path: std::sync::Arc::new(path), length };
    Ok((Blob { descriptor, content }, raw_digest))
}
