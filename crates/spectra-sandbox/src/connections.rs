//! Connections: taking them, answering what comes over them, and how long they may take.
//!
//! All bounds are in real time, whatever the sandbox's clock says.

use std::{future::Future, io, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::faults::Cut;

/// How long a server that cannot accept gives others time to close their descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a connection waits for the whole head of the next request, which begins when the answer before it has been sent.
const IDLE: Duration = Duration::from_secs(30);
/// How long open connections may finish after the end was asked for.
const GRACE: Duration = Duration::from_secs(2);

/// The connection ends without an answer; the text is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule cut the connection")]
struct CutError;

/// The next connection of a listener. May be dropped at any time and loses nothing.
pub(crate) async fn next(listener: &TcpListener) -> TcpStream {
    accepted(|| listener.accept()).await
}

/// What `accept` brings, however often it fails first: out of file descriptors, as a rule, which come back when connections
/// end, or the peer is gone already. Neither is the end of a server.
async fn accepted<S, P, F>(mut accept: impl FnMut() -> F) -> S
where
    F: Future<Output = io::Result<(S, P)>>,
{
    loop {
        match accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers HTTP/1 until `end` is cancelled, then lets open connections finish for a moment. When this returns, or is dropped,
/// no request is at work any more. An answer marked [`Cut`] ends its connection instead.
pub(crate) async fn serve<A, F>(listener: TcpListener, end: CancellationToken, answer: A)
where
    A: Fn(Request<Body>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = next(&listener) => stream,
            Some(_) = connections.join_next() => continue,
            () = end.cancelled() => break,
        };
        let _ = stream.set_nodelay(true);
        connections.spawn(connection(stream, end.clone(), answer.clone()));
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::debug!("connections were still open when the sandbox stopped");
    }
    // Whoever is still at work holds the state, and with it the lock on the directory.
    connections.shutdown().await;
}

async fn connection<A, F>(stream: TcpStream, end: CancellationToken, answer: A)
where
    A: Fn(Request<Body>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = answer(request.map(Body::new));
        async move {
            let response = answered.await;
            if response.extensions().get::<Cut>().is_some() { Err(CutError) } else { Ok(response) }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = end.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    //! The clock stands still and jumps to the next timer when nothing else is left to do, so that every bound is measured to
    //! the millisecond and nobody waits for it.

    use std::{
        collections::VecDeque,
        future::{pending, ready},
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        task::JoinHandle,
        time::Instant,
    };

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// A server that says hello, except to `/never`.
    struct Bed {
        end: CancellationToken,
        server: JoinHandle<()>,
        socket: TcpStream,
    }

    impl Bed {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let end = CancellationToken::new();
            let answer = async |request: Request<Body>| {
                if request.uri().path() == "/never" {
                    pending::<()>().await;
                }
                Response::new(Body::from("hello"))
            };
            let server = tokio::spawn(serve(listener, end.clone(), answer));
            Self { end, server, socket: TcpStream::connect(address).await.unwrap() }
        }

        async fn ask(&mut self) {
            self.socket.write_all(REQUEST).await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\nhello") {
                assert_ne!(self.socket.read_buf(&mut read).await.unwrap(), 0, "the connection ended");
            }
        }

        /// How long it takes until the server closes the connection, without another word.
        async fn closes_after(&mut self) -> Duration {
            let began = Instant::now();
            let mut rest = Vec::new();
            self.socket.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"");
            began.elapsed()
        }

        /// How long the server takes to end, once it is asked to.
        async fn ends_after(self) -> Duration {
            let began = Instant::now();
            self.end.cancel();
            self.server.await.unwrap();
            began.elapsed()
        }
    }

    /// Timers fire at whole milliseconds, rounded up.
    #[track_caller]
    fn about(found: Duration, expected: Duration) {
        assert!(
            (expected..expected + Duration::from_millis(2)).contains(&found),
            "{found:?}, not {expected:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on() {
        let mut bed = Bed::new().await;
        about(bed.closes_after().await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_not_waited_for() {
        let mut bed = Bed::new().await;
        let began = Instant::now();
        // A little now and then does not help.
        for _ in 0..2 {
            bed.socket.write_all(b"GET / HTTP/1.1\r\nx-slow: ").await.unwrap();
            tokio::time::sleep(IDLE / 4).await;
        }
        bed.closes_after().await;
        about(began.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_waits_as_long_again_after_each_answer() {
        let mut bed = Bed::new().await;
        for _ in 0..3 {
            tokio::time::sleep(IDLE * 9 / 10).await;
            bed.ask().await;
        }
        about(bed.closes_after().await, IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_at_work_at_the_end_has_a_moment() {
        for (sent, moment) in [
            (&b""[..], Duration::ZERO),
            // Nobody can tell whether the rest of it would ever come.
            (&REQUEST[..10], Duration::ZERO),
            (b"GET /never HTTP/1.1\r\nhost: localhost\r\n\r\n", GRACE),
        ] {
            let mut bed = Bed::new().await;
            bed.ask().await;
            bed.socket.write_all(sent).await.unwrap();
            // Shorter than every bound. The clock stands still until all that was sent has been read, and then leaps: nobody waits.
            tokio::time::sleep(IDLE.min(GRACE) / 2).await;
            about(bed.ends_after().await, moment);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_cannot_accept_pauses_and_goes_on() {
        let full = || Err(io::Error::from_raw_os_error(24));
        let mut accepts = VecDeque::from([full(), full(), full(), Ok(("a connection", ()))]);
        let began = Instant::now();
        let stream = accepted(|| ready(accepts.pop_front().expect("it asks no more than it has to"))).await;
        assert_eq!(stream, "a connection");
        about(began.elapsed(), 3 * PAUSE);
    }
}
