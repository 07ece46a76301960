//! `ReadStateBytes`: a stored state, in chunks.
//!
//! Core ends abruptly on a chunk without a range, so every chunk has one, those that carry nothing but an error included.

use bytes::Bytes;

use super::messages::diagnostics;
use super::stores::state_id;
use super::{Call, Service};
use crate::proto::tfplugin6::read_state_bytes::{Request, ResponseChunk};
use crate::proto::tfplugin6::{self as proto, StateByteRange};
use crate::{Diagnostics, Provider};

/// The answer, before it is cut into chunks.
pub(super) struct Stored {
    state: Bytes,
    chunk_size: usize,
    pub(super) diagnostics: Vec<proto::Diagnostic>,
}

impl Stored {
    pub(super) fn refused(failed: Diagnostics) -> Self {
        Self { state: Bytes::new(), chunk_size: 1, diagnostics: diagnostics(failed) }
    }

    /// One chunk at least: that of no state says that there are 0 bytes.
    pub(super) fn chunks(self) -> impl Iterator<Item = ResponseChunk> + Send {
        let Self { state, chunk_size, mut diagnostics } = self;
        let mut start = Some(0);
        std::iter::from_fn(move || {
            let from = start?;
            let end = state.len().min(from + chunk_size);
            start = Some(end).filter(|end| *end < state.len());
            Some(ResponseChunk {
                bytes: state.slice(from..end),
                total_length: length(state.len()),
                // Both ends are included; no bytes have no last one.
                range: Some(StateByteRange { start: length(from), end: length(end.saturating_sub(1)) }),
                diagnostics: std::mem::take(&mut diagnostics),
            })
        })
    }
}

/// Memory never holds more.
fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl<P: Provider> Service<P> {
    pub(super) async fn read_state_bytes(&self, call: Call, request: Request) -> Stored {
        self.try_read_state(&call, &request).await.unwrap_or_else(Stored::refused)
    }

    async fn try_read_state(&self, call: &Call, request: &Request) -> Result<Stored, Diagnostics> {
        let open = self.open_store(call, &request.type_name)?;
        let state = open.store.read(call, state_id(&request.state_id)?).await?;
        Ok(Stored { state: state.unwrap_or_default(), chunk_size: open.chunk_size, diagnostics: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(state: &'static [u8], chunk_size: usize) -> Vec<(Vec<u8>, i64, i64, i64)> {
        let stored = Stored { state: Bytes::from_static(state), chunk_size, diagnostics: Vec::new() };
        stored
            .chunks()
            .map(|chunk| {
                let range = chunk.range.unwrap();
                (chunk.bytes.to_vec(), chunk.total_length, range.start, range.end)
            })
            .collect()
    }

    #[test]
    fn all_chunks_but_the_last_have_the_agreed_size() {
        assert_eq!(
            ranges(b"abcde", 2),
            [(b"ab".to_vec(), 5, 0, 1), (b"cd".to_vec(), 5, 2, 3), (b"e".to_vec(), 5, 4, 4)]
        );
        assert_eq!(ranges(b"abcd", 2), [(b"ab".to_vec(), 4, 0, 1), (b"cd".to_vec(), 4, 2, 3)]);
        assert_eq!(ranges(b"abcd", 9), [(b"abcd".to_vec(), 4, 0, 3)]);
        assert_eq!(ranges(b"", 9), [(Vec::new(), 0, 0, 0)]);
    }
}
