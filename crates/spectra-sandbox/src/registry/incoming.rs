//! The body of a request: what is read of it, how much it may have, and what becomes of the rest.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, BodyDataStream, Bytes};
use futures::{Stream, future::poll_fn, stream};
use http::{HeaderMap, header};

/// How much of a body that nobody wants is read: a client that is still sending does not see an answer reliably.
const MOST_DRAINED: u64 = 64 << 20;
/// How long it is read.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// A body that can be read away when its reader has had enough.
pub(crate) struct Incoming {
    pieces: Arc<Mutex<BodyDataStream>>,
    /// Whether more came than may.
    over: Arc<AtomicBool>,
    /// Whether somebody has begun to read. Before that a client that waits for `100 Continue` sends nothing.
    begun: Arc<AtomicBool>,
    asks_first: bool,
}

impl Incoming {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Self {
        let asks_first = headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            pieces: Arc::new(Mutex::new(body.into_data_stream())),
            over: Arc::default(),
            begun: Arc::default(),
            asks_first,
        }
    }

    /// The body for its reader. After `limit` bytes comes an error.
    pub(crate) fn body(&self, limit: Option<u64>) -> Body {
        let (pieces, over, begun) =
            (Arc::clone(&self.pieces), Arc::clone(&self.over), Arc::clone(&self.begun));
        let mut left = limit.unwrap_or(u64::MAX);
        Body::from_stream(stream::poll_fn(move |context| {
            begun.store(true, Ordering::SeqCst);
            if over.load(Ordering::SeqCst) {
                return Poll::Ready(None);
            }
            let polled = poll(&pieces, context);
            if let Poll::Ready(Some(Ok(piece))) = &polled {
                let length = piece.len() as u64;
                if length > left {
                    over.store(true, Ordering::SeqCst);
                    return Poll::Ready(Some(Err(io::Error::other("the body is larger than it may be"))));
                }
                left -= length;
            }
            polled.map_err(io::Error::other)
        }))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Reads what is left and drops it, as far as that goes.
    pub(crate) async fn drain(self) {
        if self.asks_first && !self.begun.load(Ordering::SeqCst) {
            return;
        }
        let all = async {
            let mut read = 0;
            while let Some(Ok(piece)) = poll_fn(|context| poll(&self.pieces, context)).await {
                read += piece.len() as u64;
                if read > MOST_DRAINED {
                    break;
                }
            }
        };
        // In vain or not: the answer goes out now.
        let _ = tokio::time::timeout(LONGEST_DRAIN, all).await;
    }
}

fn poll(
    pieces: &Mutex<BodyDataStream>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, axum::Error>>> {
    Pin::new(&mut *pieces.lock().unwrap_or_else(PoisonError::into_inner)).poll_next(context)
}
