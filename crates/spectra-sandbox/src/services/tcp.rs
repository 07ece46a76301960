//! TCP proxies: a loopback port each, whose connections are carried byte by byte to a replica of the deployment
//! that serves now.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use spectra_types::DeploymentId;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Instant,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::ProxyOptions;
use crate::{
    connections::next,
    contract::{ProxyEvents, Route},
};

/// Ports given out: above the well-known ones and below those that systems give to whoever asks for any, so that
/// a port is most likely still free after a restart.
const PORTS: std::ops::RangeInclusive<u16> = 10_000..=32_767;

/// Bytes carried at once in one direction.
const CHUNK: usize = 16 << 10;

/// The proxies of a sandbox by id.
pub struct TcpForwarder {
    doors: Mutex<HashMap<String, Door>>,
    tasks: TaskTracker,
    events: Arc<dyn ProxyEvents>,
    options: ProxyOptions,
}

/// What became of one proxy's port.
enum Door {
    /// It listens. Dropping this closes it and cuts its connections.
    Open { route: watch::Sender<Option<Route>>, _closed: DropGuard },
    /// It could not be bound; the reason is shown.
    Shut(String),
}

impl TcpForwarder {
    /// A forwarder without ports that reports to `events`. Of `options` it heeds connecting and waking.
    #[must_use]
    pub fn new(events: Arc<dyn ProxyEvents>, options: ProxyOptions) -> Self {
        Self { doors: Mutex::default(), tasks: TaskTracker::new(), events, options }
    }

    /// Listens for proxy `id` on any free port that is not in `avoid`; `None` when there is none.
    pub fn open_any(&self, id: &str, avoid: &BTreeSet<u16>) -> Option<u16> {
        let from = rand::random_range(PORTS);
        let mut ports = (from..=*PORTS.end()).chain(*PORTS.start()..from);
        ports.find(|port| !avoid.contains(port) && self.listen(id, *port).is_ok())
    }

    /// Listens for proxy `id` on `port` unless it does already. A port that cannot be bound is logged once and
    /// tried again with the next call. Does nothing after [`end`](Self::end).
    pub fn open(&self, id: &str, port: u16) {
        let Err(error) = self.listen(id, port) else { return };
        if self.tasks.is_closed() {
            return;
        }
        let reason = format!("port {port} cannot be bound: {error}");
        let before = self.lock().insert(id.to_owned(), Door::Shut(reason.clone()));
        if !matches!(before, Some(Door::Shut(old)) if old == reason) {
            tracing::warn!(proxy = id, %reason, "a TCP proxy carries nothing");
        }
    }

    fn listen(&self, id: &str, port: u16) -> io::Result<()> {
        let mut doors = self.lock();
        if matches!(doors.get(id), Some(Door::Open { .. })) {
            return Ok(());
        }
        if self.tasks.is_closed() {
            return Err(io::Error::other("the sandbox stops"));
        }
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (sender, route) = watch::channel(None);
        let closed = CancellationToken::new();
        let carrier =
            Carrier { route, turn: Arc::default(), events: Arc::clone(&self.events), options: self.options };
        self.tasks.spawn(accept(listener, carrier, closed.clone()));
        doors.insert(id.to_owned(), Door::Open { route: sender, _closed: closed.drop_guard() });
        Ok(())
    }

    /// Where new connections of proxy `id` go; with `None` they are closed at once. Open ones stay where they are.
    pub fn set_route(&self, id: &str, route: Option<Route>) {
        if let Some(Door::Open { route: now, .. }) = self.lock().get(id) {
            now.send_if_modified(|now| {
                let changed = *now != route;
                *now = route;
                changed
            });
        }
    }

    /// Stops listening and cuts what is open.
    pub fn close(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Why proxy `id` does not listen; `None` when it does.
    pub fn refusal(&self, id: &str) -> Option<String> {
        match self.lock().get(id) {
            Some(Door::Open { .. }) => None,
            Some(Door::Shut(reason)) => Some(reason.clone()),
            None => Some("it was not opened".to_owned()),
        }
    }

    /// Closes every port for good and returns when they are free.
    pub async fn end(&self) {
        self.tasks.close();
        self.lock().clear();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Door>> {
        // Entries are replaced whole; a panic elsewhere leaves none half written.
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes connections until `closed`; then drops them all.
async fn accept(listener: TcpListener, carrier: Carrier, closed: CancellationToken) {
    // Dropped with this future, and aborts its tasks then.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closed.cancelled() => return,
            stream = next(&listener) => {
                connections.spawn(carrier.clone().carry(stream));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What one connection needs.
#[derive(Clone)]
struct Carrier {
    route: watch::Receiver<Option<Route>>,
    turn: Arc<AtomicUsize>,
    events: Arc<dyn ProxyEvents>,
    options: ProxyOptions,
}

impl Carrier {
    /// Carries one connection to its end. Where nothing serves it is closed without a word.
    async fn carry(mut self, mut client: TcpStream) {
        let Some((deployment, mut replica)) = self.connect().await else { return };
        // Small messages would otherwise wait for an acknowledgement.
        let _ = (client.set_nodelay(true), replica.set_nodelay(true));
        self.events.carried(&deployment);
        let carried = || self.events.carried(&deployment);
        let (from_client, to_client) = client.split();
        let (from_replica, to_replica) = replica.split();
        let both = tokio::try_join!(
            pump(from_client, to_replica, &carried),
            pump(from_replica, to_client, &carried)
        );
        if let Err(error) = both {
            tracing::debug!(%error, "a connection through a TCP proxy broke");
        }
    }

    /// A connection to a replica; wakes a deployment that sleeps and waits for it.
    async fn connect(&mut self) -> Option<(DeploymentId, TcpStream)> {
        let mut called = false;
        let wake_by = Instant::now() + self.options.wake_timeout;
        loop {
            let route = self.route.borrow_and_update().clone()?;
            if route.asleep && !called {
                called = true;
                self.events.wake(&route.deployment_id);
            }
            let first = self.turn.fetch_add(1, Ordering::Relaxed);
            for step in 0..route.replicas.len() {
                let (_, addr) = route.replicas[first.wrapping_add(step) % route.replicas.len()];
                if let Some(stream) = self.attempt(addr).await {
                    return Some((route.deployment_id, stream));
                }
            }
            // Whoever was woken has no replica yet; a route that was switched meanwhile has new ones.
            let waits = called || self.route.has_changed().ok()?;
            if !waits || !matches!(tokio::time::timeout_at(wake_by, self.route.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    async fn attempt(&self, addr: SocketAddr) -> Option<TcpStream> {
        match tokio::time::timeout(self.options.connect_timeout, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%addr, %error, "a TCP proxy cannot connect to a replica");
                None
            }
            Err(_) => None,
        }
    }
}

/// Carries one direction until its source ends, and passes the end on.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    carried: &impl Fn(),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..count]).await?;
        carried();
    }
}
