//! A writer that compresses what is written to it, on all cores.

use std::{
    collections::VecDeque,
    io::{self, Write},
};

use super::{
    BLOCK, Compression,
    pool::{Pending, Pool},
};

/// Blocks of one layer that are in memory at most, each up to twice [`BLOCK`] bytes.
const MOST_BLOCKS: usize = 8;

/// Compresses to `inner`, which receives the blocks in order and on the thread that writes. [`Writer::finish`] must be called.
pub(crate) struct Writer<W> {
    inner: W,
    how: Compression,
    block: Vec<u8>,
    /// Blocks under way, oldest first.
    pending: VecDeque<Pending>,
    /// Buffers to be filled again.
    spare: Vec<Vec<u8>>,
    /// Whether a block was made; an empty layer needs one, too.
    begun: bool,
    window: usize,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(inner: W, how: Compression) -> Self {
        Self {
            inner,
            how,
            block: Vec::new(),
            pending: VecDeque::new(),
            spare: Vec::new(),
            begun: false,
            // One for each thread, and one that is being filled while they work.
            window: (Pool::global().workers + 1).min(MOST_BLOCKS),
        }
    }

    /// Compresses what is left and gives the inner writer back, which is not flushed.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || !self.begun {
            self.submit();
        }
        while !self.pending.is_empty() {
            self.take()?;
        }
        Ok(self.inner)
    }

    fn submit(&mut self) {
        self.begun = true;
        let next = self.spare.pop().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, next);
        self.pending.push_back(Pool::global().submit(self.how, block));
    }

    /// Waits for the oldest block and writes it.
    fn take(&mut self) -> io::Result<()> {
        let Some(pending) = self.pending.pop_front() else { return Ok(()) };
        let done = pending.recv().map_err(|_| io::Error::other("a thread that compresses ended"))??;
        self.inner.write_all(&done.output)?;
        let mut input = done.input;
        input.clear();
        self.spare.push(input);
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.block.capacity() < BLOCK {
            self.block.reserve_exact(BLOCK - self.block.len());
        }
        let count = buffer.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&buffer[..count]);
        if self.block.len() == BLOCK {
            while self.pending.len() >= self.window {
                self.take()?;
            }
            self.submit();
        }
        Ok(count)
    }

    /// Does nothing: a block that is cut short would change the output.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
