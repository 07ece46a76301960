//! What compressed layers begin with, and the writer for those that are made here.

use std::io::Write;

use crate::compress::{Compression, Writer};

pub(crate) use crate::compress::spool;

/// First bytes of a gzip stream.
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// First bytes of a zstd frame.
pub(crate) const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A writer whose output depends on its input alone, and is what a push makes of the same tar.
pub(crate) fn encoder<W: Write>(writer: W) -> Writer<W> {
    Writer::new(writer, Compression::default())
}
