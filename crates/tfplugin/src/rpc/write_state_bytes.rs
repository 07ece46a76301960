//! `WriteStateBytes`: takes a state in chunks, and stores it when it is there as a whole.
//!
//! A stream that ends early looks like one that ends; what tells them apart is the length that was announced. Nothing reaches
//! the store before that many bytes have arrived, so that a broken connection never cuts a stored state short.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use tonic::Status;

use super::messages::diagnostics;
use super::stores::state_id;
use super::{Call, Service};
use crate::proto::tfplugin6::RequestChunkMeta;
use crate::proto::tfplugin6::write_state_bytes::{RequestChunk, Response};
use crate::{Diagnostic, Diagnostics, Provider};

/// Memory set aside because of an announcement alone.
const BELIEVED: usize = 8 << 20;

/// What has arrived: whole, or not to be stored.
pub(super) struct Received {
    meta: RequestChunkMeta,
    state: Result<Bytes, Diagnostic>,
}

impl Received {
    /// A stop came before the whole had arrived.
    pub(super) fn stopped() -> Self {
        let reason =
            "Terraform was asked to stop before the whole had arrived. The stored state is as it was.";
        Self {
            meta: RequestChunkMeta::default(),
            state: Err(Diagnostic::error("Stopped while a state was being received", reason)),
        }
    }

    pub(super) fn type_name(&self) -> &str {
        &self.meta.type_name
    }
}

/// Takes chunks until they are one too many, are none any longer, or contradict each other.
pub(super) async fn receive(chunks: impl Stream<Item = Result<RequestChunk, Status>> + Send) -> Received {
    let mut meta = RequestChunkMeta::default();
    let state = assemble(chunks, &mut meta).await.map_err(|reason| {
        Diagnostic::error(
            format!("Cannot write state `{}`", meta.state_id),
            format!("What Terraform has sent is not a whole state: {reason}. The stored state is as it was."),
        )
    });
    Received { meta, state }
}

async fn assemble(
    chunks: impl Stream<Item = Result<RequestChunk, Status>> + Send,
    meta: &mut RequestChunkMeta,
) -> Result<Bytes, String> {
    let mut chunks = std::pin::pin!(chunks);
    let mut total = None;
    let mut state = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|status| format!("the stream broke off ({})", status.code()))?;
        let length = usize::try_from(chunk.total_length)
            .map_err(|_| format!("its length is {}", chunk.total_length))?;
        match (chunk.meta, total) {
            (Some(named), None) => {
                *meta = named;
                total = Some(length);
                state.reserve(length.min(BELIEVED));
            }
            (None, None) => return Err("the first chunk does not say which state it belongs to".to_owned()),
            (Some(_), Some(_)) => return Err("a second state begins in the same stream".to_owned()),
            (None, Some(total)) if total != length => {
                return Err(format!("one chunk says {total} bytes, and another {length}"));
            }
            (None, Some(_)) => {}
        }
        let range = chunk.range.ok_or("a chunk does not say which bytes it holds")?;
        let end = state.len() + chunk.bytes.len();
        // Both ends are included; no bytes have no last one, and name the next.
        let last = end.saturating_sub(usize::from(!chunk.bytes.is_empty()));
        if usize::try_from(range.start) != Ok(state.len()) || usize::try_from(range.end) != Ok(last) {
            return Err(format!(
                "a chunk of {} bytes says it is bytes {} to {}, where byte {} comes next",
                chunk.bytes.len(),
                range.start,
                range.end,
                state.len()
            ));
        }
        if end > length {
            return Err(format!("{end} bytes have arrived of {length}"));
        }
        state.extend_from_slice(&chunk.bytes);
    }
    match total {
        None => Err("no chunk has arrived".to_owned()),
        Some(total) if total != state.len() => Err(format!("{} bytes have arrived of {total}", state.len())),
        Some(_) => Ok(state.freeze()),
    }
}

impl<P: Provider> Service<P> {
    pub(super) async fn write_state_bytes(&self, call: Call, received: Received) -> Response {
        let (Ok(messages) | Err(messages)) = self.try_write_state(&call, received).await;
        Response { diagnostics: diagnostics(messages) }
    }

    async fn try_write_state(&self, call: &Call, received: Received) -> Result<Diagnostics, Diagnostics> {
        let Received { meta, state } = received;
        let state = state?;
        let open = self.open_store(call, &meta.type_name)?;
        open.store.write(call, state_id(&meta.state_id)?, state).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tfplugin6::StateByteRange;

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_no_state_even_with_every_byte_there() {
        let chunk = RequestChunk {
            meta: Some(RequestChunkMeta { type_name: "acme_store".to_owned(), state_id: "a".to_owned() }),
            bytes: Bytes::from_static(b"state"),
            total_length: 5,
            range: Some(StateByteRange { start: 0, end: 4 }),
        };
        let whole = receive(futures::stream::iter([Ok(chunk.clone())])).await;
        assert_eq!(whole.state.unwrap(), "state");
        let broken = receive(futures::stream::iter([Ok(chunk), Err(Status::cancelled("gone"))])).await;
        assert_eq!(broken.type_name(), "acme_store");
        let reason = broken.state.unwrap_err().detail;
        assert!(reason.contains("the stream broke off (The operation was cancelled)"), "{reason}");
    }
}
