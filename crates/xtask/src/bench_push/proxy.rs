//! A line between a client and a registry: it takes its time, counts, and breaks once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::error::Error;

/// Pieces under way in one direction, at most; each is as long as one read.
const IN_FLIGHT: usize = 4096;
const PIECE: usize = 64 * 1024;

/// What happens to the first connection that has carried so many bytes to the registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    Never,
    /// It is closed.
    Cut(u64),
    /// It takes nothing more. What it took arrives, as on any line: only the client ends.
    Hang(u64),
}

/// A running proxy; it ends with this value.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    line: Arc<Line>,
    hung: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

struct Line {
    target: String,
    round_trip: Duration,
    breaks: Break,
    /// Whether it broke.
    broken: AtomicBool,
    /// Bytes to the registry.
    sent: AtomicU64,
    hang: watch::Sender<bool>,
    release: watch::Sender<bool>,
    connections: Mutex<Vec<JoinHandle<()>>>,
}

impl Proxy {
    /// Listens on loopback and leads to `target`.
    pub(crate) async fn start(target: &str, round_trip: Duration, breaks: Break) -> Result<Self, Error> {
        let listener =
            TcpListener::bind("127.0.0.1:0").await.map_err(Error::file("listen on", "127.0.0.1"))?;
        let address = listener.local_addr().map_err(Error::file("listen on", "127.0.0.1"))?;
        let (hang, waiting) = watch::channel(false);
        let line = Arc::new(Line {
            target: target.to_owned(),
            round_trip,
            breaks,
            broken: AtomicBool::new(breaks == Break::Never),
            sent: AtomicU64::new(0),
            hang,
            release: watch::Sender::new(false),
            connections: Mutex::default(),
        });
        let shared = Arc::clone(&line);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let connection = tokio::spawn(carry(Arc::clone(&shared), client));
                shared.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
        });
        Ok(Self { address, line, hung: waiting, task })
    }

    /// Bytes that went to the registry so far.
    pub(crate) fn sent(&self) -> u64 {
        self.line.sent.load(Ordering::Relaxed)
    }

    /// Whether the line broke as it was told to.
    pub(crate) fn broke(&self) -> bool {
        self.line.breaks != Break::Never && self.line.broken.load(Ordering::Relaxed)
    }

    /// Waits until the line hangs.
    pub(crate) async fn hangs(&mut self) {
        // The sender lives as long as this value.
        let _ = self.hung.wait_for(|hung| *hung).await;
    }

    /// Ends the connections of a client that is gone, once all that the line took of it is on its way to the registry. New ones are
    /// carried.
    pub(crate) async fn release(&self) {
        self.line.release.send_replace(true);
        for connection in self.line.take_connections() {
            // It fails only by being aborted, which nobody does.
            let _ = connection.await;
        }
    }
}

impl Line {
    fn take_connections(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        for connection in self.line.take_connections() {
            connection.abort();
        }
    }
}

async fn carry(line: Arc<Line>, client: TcpStream) {
    // What setting up a connection costs on such a line.
    sleep(line.round_trip).await;
    let Ok(server) = TcpStream::connect(&line.target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = direction(Arc::clone(&line), from_client, to_server, true);
    let down = direction(line, from_server, to_client, false);
    // Whichever side ends, the other one is of no use.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// Carries one direction; each piece arrives half a round trip after it was sent.
async fn direction(line: Arc<Line>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, up: bool) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let delay = line.round_trip / 2;
    let read = async move {
        let mut carried = 0;
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if up {
                line.sent.fetch_add(count as u64, Ordering::Relaxed);
                carried += count as u64;
            }
            if sender.send((Instant::now() + delay, buffer[..count].to_vec())).await.is_err() {
                return;
            }
            let (Break::Cut(limit) | Break::Hang(limit)) = line.breaks else { continue };
            if carried >= limit && !line.broken.swap(true, Ordering::Relaxed) {
                if matches!(line.breaks, Break::Hang(_)) {
                    line.hang.send_replace(true);
                    // The sender lives as long as the line.
                    let _ = line.release.subscribe().wait_for(|release| *release).await;
                }
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
