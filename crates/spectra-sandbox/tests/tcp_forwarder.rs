//! The TCP forwarder in front of small servers that say their name and then repeat what they hear.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use spectra_sandbox::contract::{ProxyEvents, RequestRecord, Route};
use spectra_sandbox::services::{ProxyOptions, TcpForwarder};
use spectra_types::DeploymentId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Recorder {
    carried: AtomicUsize,
    woken: AtomicUsize,
}

impl ProxyEvents for Recorder {
    fn served(&self, _record: RequestRecord) {}

    fn wake(&self, _deployment: &DeploymentId) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }

    fn carried(&self, _deployment: &DeploymentId) {
        self.carried.fetch_add(1, Ordering::SeqCst);
    }
}

async fn server(name: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                stream.write_all(&[name]).await.unwrap();
                let (mut from, mut to) = stream.split();
                // The client's end is the end.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    addr
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn route(replicas: &[SocketAddr], asleep: bool) -> Route {
    let deployment_id = "deployment-1".parse().unwrap();
    Route { deployment_id, replicas: (0..).zip(replicas.iter().copied()).collect(), asleep }
}

fn forwarder(wake_timeout: Duration) -> (Arc<Recorder>, TcpForwarder, u16) {
    let events = Arc::new(Recorder::default());
    let options = ProxyOptions { wake_timeout, ..ProxyOptions::default() };
    let forwarder = TcpForwarder::new(Arc::clone(&events) as _, options);
    let port = forwarder.open_any("p", &BTreeSet::new()).unwrap();
    (events, forwarder, port)
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).await.unwrap()
}

/// Who answers a new connection; `None` when it ends without a word.
async fn who(port: u16) -> Option<u8> {
    connect(port).await.read_u8().await.ok()
}

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_new_route_is_for_new_connections() {
    let (_, forwarder, port) = forwarder(PATIENCE);
    assert_eq!(who(port).await, None, "nothing serves yet");
    forwarder.set_route("p", Some(route(&[server(b'a').await], false)));
    let mut old = connect(port).await;
    assert_eq!(old.read_u8().await.unwrap(), b'a');
    forwarder.set_route("p", Some(route(&[server(b'b').await], false)));
    assert_eq!(who(port).await, Some(b'b'));
    old.write_all(b"still there").await.unwrap();
    let mut heard = [0; 11];
    old.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still there");
    forwarder.set_route("p", None);
    assert_eq!(who(port).await, None);
    forwarder.end().await;
    assert_eq!(old.read(&mut heard).await.unwrap_or(0), 0, "cut");
    TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    forwarder.open("p", port);
    assert!(forwarder.refusal("p").is_some(), "the end is for good");
    assert_eq!(forwarder.open_any("q", &BTreeSet::new()), None);
}

#[tokio::test]
async fn replicas_take_turns_and_a_dead_one_is_passed_over() {
    let (_, forwarder, port) = forwarder(PATIENCE);
    forwarder.set_route("p", Some(route(&[server(b'a').await, server(b'b').await], false)));
    let both = BTreeSet::from([who(port).await, who(port).await]);
    assert_eq!(both, BTreeSet::from([Some(b'a'), Some(b'b')]));
    forwarder.set_route("p", Some(route(&[nobody().await, server(b'c').await], false)));
    for _ in 0..3 {
        assert_eq!(who(port).await, Some(b'c'));
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_and_an_end_is_passed_on() {
    let (events, forwarder, port) = forwarder(PATIENCE);
    forwarder.set_route("p", Some(route(&[server(b'a').await], false)));
    let (mut from, mut to) = connect(port).await.into_split();
    let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&copy).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut heard = Vec::new();
    from.read_to_end(&mut heard).await.unwrap();
    writer.await.unwrap();
    assert!(heard[0] == b'a' && heard[1..] == sent[..], "{} of {} bytes", heard.len() - 1, sent.len());
    assert!(events.carried.load(Ordering::SeqCst) > 2);
}

#[tokio::test]
async fn a_sleeping_deployment_is_woken_once_and_waited_for() {
    let (events, sleeper, port) = forwarder(PATIENCE);
    sleeper.set_route("p", Some(route(&[], true)));
    let waiting = tokio::spawn(who(port));
    while events.woken.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    // Awake, but not listening yet.
    sleeper.set_route("p", Some(route(&[], false)));
    sleeper.set_route("p", Some(route(&[server(b'a').await], false)));
    assert_eq!(waiting.await.unwrap(), Some(b'a'));
    assert_eq!(events.woken.load(Ordering::SeqCst), 1);

    let (_, dead, port) = forwarder(Duration::from_millis(1));
    dead.set_route("p", Some(route(&[], true)));
    assert_eq!(who(port).await, None, "it does not wait for ever");
}

#[tokio::test]
async fn a_port_that_is_taken_is_no_crash_and_is_tried_again() {
    let (_, forwarder, _) = forwarder(PATIENCE);
    let squatter = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = squatter.local_addr().unwrap().port();
    forwarder.open("q", port);
    assert!(forwarder.refusal("q").unwrap().contains("cannot be bound"));
    forwarder.set_route("q", Some(route(&[server(b'a').await], false)));
    drop(squatter);
    forwarder.open("q", port);
    assert_eq!(forwarder.refusal("q"), None);
    forwarder.set_route("q", Some(route(&[server(b'a').await], false)));
    assert_eq!(who(port).await, Some(b'a'));
    forwarder.close("q");
    assert!(forwarder.refusal("q").is_some());
}
