//! A part of a file as the body of a request.
//!
//! What the kernel has in memory is copied where it is asked for: to hand such a read to another thread, and its result back, costs
//! more than the copy. Only what has to come from a disk goes to a thread that may wait for it.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use tokio::task::JoinHandle;

/// How much is read at a time. Several bodies are under way at once, and a connection takes a few pieces before it sends them.
const PIECE: usize = 128 * 1024;

/// Gives out a part of a file in pieces, and ends with an error if the file is too short for it.
#[derive(Debug)]
pub(crate) struct FileBody {
    file: Arc<File>,
    position: u64,
    left: u64,
    buffers: Arc<Buffers>,
    /// A piece that a thread waits for.
    waiting: Option<JoinHandle<Read>>,
    /// Reads what is in memory, as long as the file system can tell.
    at_once: Option<ReadCached>,
}

/// A buffer that a thread has read into, and how many bytes it got.
type Read = (Box<[u8]>, io::Result<usize>);

/// [`read_cached`].
type ReadCached = fn(&File, &mut [u8], u64) -> rustix::io::Result<usize>;

impl FileBody {
    /// The `length` bytes from `position`.
    pub(crate) fn new(file: File, position: u64, length: u64) -> Self {
        Self {
            file: Arc::new(file),
            position,
            left: length,
            buffers: Arc::default(),
            waiting: None,
            at_once: Some(read_cached),
        }
    }

    /// The next piece, of `count` bytes at the start of `buffer`.
    fn piece(&mut self, buffer: Box<[u8]>, count: usize) -> io::Result<Bytes> {
        let piece = Piece { buffer, length: count, home: Arc::clone(&self.buffers) };
        if count == 0 {
            let missing = format!("it ends at byte {}, {} bytes too early", self.position, self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, missing));
        }
        self.position += count as u64;
        self.left -= count as u64;
        Ok(Bytes::from_owner(piece))
    }
}

impl Stream for FileBody {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(waiting) = &mut this.waiting {
                let read = ready!(Pin::new(waiting).poll(context));
                this.waiting = None;
                let piece = match read {
                    Ok((buffer, Ok(count))) => this.piece(buffer, count),
                    Ok((_, Err(error))) => Err(error),
                    Err(error) => Err(io::Error::other(error)),
                };
                if piece.is_err() {
                    this.left = 0;
                }
                return Poll::Ready(Some(piece));
            }
            if this.left == 0 {
                return Poll::Ready(None);
            }
            let mut buffer = this.buffers.take();
            let length = usize::try_from(this.left).unwrap_or(PIECE).min(buffer.len());
            if let Some(read_cached) = this.at_once {
                match read_cached(&this.file, &mut buffer[..length], this.position) {
                    Ok(count) if count > 0 => return Poll::Ready(Some(this.piece(buffer, count))),
                    // It is not in memory.
                    Err(rustix::io::Errno::AGAIN) => {}
                    // The end, which the other way finds too, or a file system that cannot tell.
                    Ok(_) | Err(_) => this.at_once = None,
                }
            }
            let (file, position) = (Arc::clone(&this.file), this.position);
            this.waiting = Some(tokio::task::spawn_blocking(move || {
                let read = loop {
                    match file.read_at(&mut buffer[..length], position) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read,
                    }
                };
                (buffer, read)
            }));
        }
    }
}

/// Reads what is in memory, and fails with `EAGAIN` if nothing of it is.
#[cfg(target_os = "linux")]
fn read_cached(file: &File, buffer: &mut [u8], position: u64) -> rustix::io::Result<usize> {
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    rustix::io::preadv2(file, &mut [io::IoSliceMut::new(buffer)], position, flags)
}

/// No other system can tell.
#[cfg(not(target_os = "linux"))]
fn read_cached(_: &File, _: &mut [u8], _: u64) -> rustix::io::Result<usize> {
    Err(rustix::io::Errno::NOTSUP)
}

/// Buffers that were sent and can be filled again: fresh memory would have to be mapped and cleared for every piece.
#[derive(Debug, Default)]
struct Buffers(Mutex<Vec<Box<[u8]>>>);

impl Buffers {
    fn take(&self) -> Box<[u8]> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; PIECE].into_boxed_slice())
    }
}

/// A filled buffer, which goes back when its last user is done.
struct Piece {
    buffer: Box<[u8]>,
    length: usize,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use proptest::prelude::*;

    use super::*;

    /// A file of `length` bytes none of which can be taken for another, and the bytes.
    fn file(length: usize) -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0_u32..).flat_map(u32::to_le_bytes).take(length).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        (file, bytes)
    }

    /// Everything a body gives; pieces are kept as long as `keep` says, the newest first.
    async fn all(body: &mut FileBody, keep: usize) -> io::Result<Vec<u8>> {
        let (mut bytes, mut kept) = (Vec::new(), std::collections::VecDeque::new());
        while let Some(piece) = body.next().await {
            let piece = piece?;
            bytes.extend_from_slice(&piece);
            kept.push_back((piece, bytes.len()));
            if kept.len() > keep {
                kept.pop_front();
            }
            for (piece, end) in &kept {
                assert_eq!(piece, &bytes[end - piece.len()..*end], "a buffer was filled while it was in use");
            }
        }
        Ok(bytes)
    }

    /// Has of a file now nothing in memory, now a little, and now all.
    fn in_parts(file: &File, buffer: &mut [u8], position: u64) -> rustix::io::Result<usize> {
        let most = match position % 7 {
            0 | 1 => return Err(rustix::io::Errno::AGAIN),
            2..5 => buffer.len().min(3000),
            _ => buffer.len(),
        };
        Ok(file.read_at(&mut buffer[..most], position).unwrap())
    }

    fn cannot_tell(_: &File, _: &mut [u8], _: u64) -> rustix::io::Result<usize> {
        Err(rustix::io::Errno::OPNOTSUPP)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn any_part_arrives_whatever_of_it_is_in_memory(
            length in 0..4 * PIECE,
            cut in (0.0..=1.0, 0.0..=1.0),
            read in prop_oneof![Just(read_cached as ReadCached), Just(in_parts as ReadCached), Just(cannot_tell as ReadCached)],
            keep in 0..4_usize,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a place within")]
            let place = |part: f64, of: usize| (part * of as f64) as usize;
            let start = place(cut.0, length);
            let wanted = place(cut.1, length - start);
            let (file, bytes) = file(length);
            let mut body = FileBody::new(file, start as u64, wanted as u64);
            body.at_once = Some(read);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(all(&mut body, keep)).unwrap();
            prop_assert!(got == bytes[start..start + wanted]);
            let buffers = body.buffers.0.lock().unwrap().len();
            prop_assert!(buffers <= keep + 1, "{buffers} buffers for {keep} pieces in use and one to come");
            if wanted > 0 {
                prop_assert_eq!(body.at_once.is_some(), !std::ptr::fn_addr_eq(read, cannot_tell as ReadCached));
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_got_shorter_is_an_error_and_not_an_end() {
        for at_once in [Some(read_cached as ReadCached), None] {
            let (file, _) = file(3 * PIECE);
            let mut body = FileBody::new(file.try_clone().unwrap(), 0, 3 * PIECE as u64);
            body.at_once = at_once;
            body.next().await.unwrap().unwrap();
            file.set_len(PIECE as u64 + 10).unwrap();
            assert_eq!(body.next().await.unwrap().unwrap().len(), 10);
            let error = body.next().await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let text = format!("it ends at byte {}, {} bytes too early", PIECE + 10, 2 * PIECE - 10);
            assert_eq!(error.to_string(), text);
            assert!(body.next().await.is_none(), "it is told once");
        }
    }
}
