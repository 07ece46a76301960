//! Connections with a name, so that what is configured over one can end with it.

use std::fmt;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// Names one connection for the life of the process. Found in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The connection a request came over; `None` for a request that came over no connection of this server
    /// (a call made directly on the service, as unit tests do).
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection-{}", self.0)
    }
}

/// Told when a connection has closed. Called on any thread; must not block.
pub(crate) type ClosedHook = Arc<dyn Fn(ConnectionId) + Send + Sync>;

/// Every connection of one server.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    next: AtomicU64,
    open: watch::Sender<usize>,
    closed: Option<ClosedHook>,
    cut: CancellationToken,
}

impl Connections {
    pub(crate) fn new(closed: Option<ClosedHook>) -> Self {
        let open = watch::Sender::new(0);
        Self(Arc::new(Shared { next: AtomicU64::new(1), open, closed, cut: CancellationToken::new() }))
    }

    /// Gives a fresh stream its name.
    pub(crate) fn register(&self, io: impl Io + 'static) -> Connection {
        self.0.open.send_modify(|open| *open += 1);
        let id = ConnectionId(self.0.next.fetch_add(1, Ordering::Relaxed));
        let cut = Box::pin(self.0.cut.clone().cancelled_owned());
        Connection { io: Box::new(io), cut, registration: Registration { id, shared: Arc::clone(&self.0) } }
    }

    /// How many there are.
    pub(crate) fn watch(&self) -> watch::Receiver<usize> {
        self.0.open.subscribe()
    }

    /// Ends every connection at once, whatever still runs over it.
    pub(crate) fn cut(&self) {
        self.0.cut.cancel();
    }
}

/// A byte stream of any kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One accepted connection, past TLS.
pub(crate) struct Connection {
    io: Box<dyn Io>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    registration: Registration,
}

/// Reports the end, however it comes.
struct Registration {
    id: ConnectionId,
    shared: Arc<Shared>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.open.send_modify(|open| *open -= 1);
        if let Some(closed) = &self.shared.closed {
            closed(self.id);
        }
    }
}

impl Connection {
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        // A completed future must not be polled again.
        self.registration.shared.cut.is_cancelled() || self.cut.as_mut().poll(cx).is_ready()
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionId;

    fn connect_info(&self) -> ConnectionId {
        self.registration.id
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
