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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use futures::StreamExt as _;
    use http::HeaderValue;
    use tokio::time::Instant;

    use super::*;

    /// What a client sends, a piece of a megabyte at a time, and how many pieces of it were taken.
    fn sent(pieces: usize, wait: Duration) -> (Body, Arc<AtomicU64>) {
        let taken = Arc::<AtomicU64>::default();
        let count = Arc::clone(&taken);
        let pieces = stream::iter(0..pieces).then(move |_| {
            let count = Arc::clone(&count);
            async move {
                tokio::time::sleep(wait).await;
                count.fetch_add(1, Ordering::SeqCst);
                Ok::<_, io::Error>(Bytes::from(vec![0; 1 << 20]))
            }
        });
        (Body::from_stream(pieces), taken)
    }

    #[tokio::test]
    async fn so_much_is_read_away_and_no_more() {
        let most = MOST_DRAINED >> 20;
        for (pieces, expected) in [(5, 5), (1_000, most + 1)] {
            let (body, taken) = sent(pieces, Duration::ZERO);
            Incoming::new(&HeaderMap::new(), body).drain().await;
            assert_eq!(taken.load(Ordering::SeqCst), expected, "of {pieces}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_read_away_for_so_long_and_no_longer() {
        for (wait, pieces, expected) in [
            (Duration::from_secs(1), 5, Duration::from_secs(5)),
            // Slowly, and not at all.
            (Duration::from_secs(3), 1_000, LONGEST_DRAIN),
            (Duration::from_hours(1), 1, LONGEST_DRAIN),
        ] {
            let (body, _) = sent(pieces, wait);
            let began = Instant::now();
            Incoming::new(&HeaderMap::new(), body).drain().await;
            let took = began.elapsed();
            assert!((expected..expected + Duration::from_millis(100)).contains(&took), "{wait:?}: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_first_is_not_waited_for() {
        let asks = HeaderMap::from_iter([(header::EXPECT, HeaderValue::from_static("100-Continue"))]);
        let began = Instant::now();
        let (body, taken) = sent(1, Duration::ZERO);
        Incoming::new(&asks, body).drain().await;
        assert_eq!((began.elapsed(), taken.load(Ordering::SeqCst)), (Duration::ZERO, 0));
        // Once somebody has begun to read it is on its way.
        let (body, taken) = sent(3, Duration::ZERO);
        let incoming = Incoming::new(&asks, body);
        let mut reader = incoming.body(None).into_data_stream();
        assert_eq!(reader.next().await.unwrap().unwrap().len(), 1 << 20);
        incoming.drain().await;
        assert_eq!(taken.load(Ordering::SeqCst), 3);
    }
}
