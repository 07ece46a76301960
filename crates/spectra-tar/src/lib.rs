//! Tars that are not trusted: the entries of a stream that is read once, with a limit on everything that is held.
//!
//! Libraries read a long name into memory however long it is said to be, and a layer may say that one has ten gigabytes. Here
//! names and the headers that describe other headers have limits, and content is handed on as it comes.
//!
//! Tar has grown in dialects, and readers disagree about what mixes them. Docker, containerd and Podman unpack images with Go's reader, so
//! an entry is here what it is there. Where Go's follows one reading, and GNU tar or Python's another, of a name, of what is content or of
//! where the archive ends, the archive is refused ([`Error::Malformed`]): somebody who looks for what is in an image must not be shown
//! something else than what runs. Read are POSIX with extended headers, GNU with long names, the old format, and sparse files as
//! far as to know them.

mod error;
mod extension;
mod header;
mod path;
mod stream;

pub use error::Error;
pub use extension::{Malformed, Records};
pub use header::{BLOCK, Header, NumberError};
pub use path::clean;
pub use stream::{Entry, Kind, Stream};

/// Longest name or link target, in bytes; the longest path of Linux.
pub const MAX_NAME: u64 = 4096;
/// Longest extended header, and longest map of a sparse file's holes, in bytes. Attributes end at 64 KiB.
pub const MAX_EXTENSION: u64 = 1 << 20;
/// The largest size that a header's octal digits can say.
pub const MAX_OCTAL: u64 = (1 << 33) - 1;
