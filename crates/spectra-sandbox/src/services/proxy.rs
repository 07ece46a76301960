//! The reverse proxy: from the domain of a service to the replicas of the deployment that serves now.
//!
//! A connection to the replica is made for every request. On loopback that costs little, and it means that a
//! connection error is always known before anything was sent: such a request goes to the next replica, whatever
//! its method, and a replica that stopped between two requests is never noticed by a client.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts};
use hyper::body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, sync::watch};
use uuid::Uuid;

use super::headers::remove_hop_by_hop;
use crate::{
    contract::{Edge, ProxyEvents, RequestRecord, Route},
    host,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-railway-request-id");
const FALLBACK: HeaderName = HeaderName::from_static("x-railway-fallback");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const NOT_FOUND: &str = "Application not found";

/// How patient the proxy is, in real time.
#[derive(Debug, Clone, Copy)]
pub struct ProxyOptions {
    /// How long connecting to one replica may take.
    pub connect_timeout: Duration,
    /// How long a replica may take to answer a request's head.
    pub response_timeout: Duration,
    /// How long a request waits for a sleeping deployment to wake.
    pub wake_timeout: Duration,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_mins(5),
            wake_timeout: Duration::from_secs(30),
        }
    }
}

/// The proxy. Share it behind an `Arc`.
pub struct Proxy {
    routes: RwLock<HashMap<String, Arc<Entry>>>,
    /// Moves on with every change of a route, for requests that wait for one.
    changed: watch::Sender<u64>,
    events: Arc<dyn ProxyEvents>,
    options: ProxyOptions,
}

/// A route and whose turn it is. Replaced whole, never changed.
struct Entry {
    route: Route,
    turn: AtomicUsize,
}

/// What became of one attempt to have a request answered.
enum Attempt {
    /// The replica answered.
    Answered(Response<Body>),
    /// Nothing was sent; the request can go elsewhere.
    NotSent(Request<Body>, String),
    /// The request was sent and is lost.
    Lost(String),
}

impl Proxy {
    /// A proxy without routes that reports to `events`.
    #[must_use]
    pub fn new(events: Arc<dyn ProxyEvents>, options: ProxyOptions) -> Self {
        Self { routes: RwLock::default(), changed: watch::Sender::new(0), events, options }
    }

    fn entry(&self, domain: &str) -> Option<Arc<Entry>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(domain).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Arc<Entry>>)) {
        change(&mut self.routes.write().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_modify(|generation| *generation += 1);
    }

    async fn answer(&self, name: Option<&str>, request: Request<Body>) -> Response<Body> {
        let began = Instant::now();
        let (mut parts, body) = request.into_parts();
        let id = Uuid::new_v4().simple().to_string();
        let Some(domain) = host::of(&parts) else {
            return fallback(StatusCode::NOT_FOUND, NOT_FOUND, &id);
        };
        let name = name.unwrap_or(&domain);
        let Some(entry) = self.entry(name) else {
            return fallback(StatusCode::NOT_FOUND, NOT_FOUND, &id);
        };
        let (method, path) = (parts.method.to_string(), parts.uri.path().to_owned());
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let agent = agent.unwrap_or_default().to_owned();
        let line = method.len() + parts.uri.path_and_query().map_or(1, |target| target.as_str().len());
        let received = message_bytes(line, &parts.headers, &body);
        prepare(&mut parts, &id);
        let (entry, replica, outcome) = self.through(name, entry, Request::from_parts(parts, body)).await;
        let (mut response, upstream_error) = match outcome {
            Ok(response) => (response, None),
            Err(error) => {
                (fallback(StatusCode::BAD_GATEWAY, "Application failed to respond", &id), Some(error))
            }
        };
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.events.served(RequestRecord {
            deployment_id: entry.route.deployment_id.clone(),
            replica,
            method,
            path,
            host: domain,
            status: response.status().as_u16(),
            duration: began.elapsed(),
            upstream_error,
            agent,
            received,
            sent: message_bytes(0, response.headers(), response.body()),
        });
        response
    }

    /// Takes the request to a replica, following the route when it changes under way. Returns also which entry
    /// and replica answered or failed last.
    async fn through(
        &self,
        domain: &str,
        mut entry: Arc<Entry>,
        mut request: Request<Body>,
    ) -> (Arc<Entry>, Option<u32>, Result<Response<Body>, String>) {
        let mut called = false;
        let wake_by = tokio::time::Instant::now() + self.options.wake_timeout;
        loop {
            // Subscribed before the route is read, so that no change falls between reading and waiting.
            let mut changed = self.changed.subscribe();
            if let Some(now) = self.entry(domain) {
                entry = now;
            }
            if entry.route.asleep {
                if !called {
                    called = true;
                    self.events.wake(&entry.route.deployment_id);
                }
                if !matches!(tokio::time::timeout_at(wake_by, changed.changed()).await, Ok(Ok(()))) {
                    return (entry, None, Err("the deployment sleeps and did not wake in time".to_owned()));
                }
                continue;
            }
            let replicas = &entry.route.replicas;
            let first = entry.turn.fetch_add(1, Ordering::Relaxed);
            let mut last = (None, "the deployment has no running replica".to_owned());
            for step in 0..replicas.len() {
                let (replica, addr) = replicas[first.wrapping_add(step) % replicas.len()];
                match self.attempt(addr, request).await {
                    Attempt::Answered(response) => return (entry, Some(replica), Ok(response)),
                    Attempt::Lost(error) => return (entry, Some(replica), Err(error)),
                    Attempt::NotSent(unsent, error) => {
                        request = unsent;
                        last = (Some(replica), error);
                    }
                }
            }
            // Every replica refused. If the route was switched meanwhile, those were yesterday's replicas.
            let switched = self.entry(domain).is_some_and(|now| !Arc::ptr_eq(&now, &entry));
            if !switched {
                return (entry, last.0, Err(last.1));
            }
        }
    }

    async fn attempt(&self, addr: SocketAddr, request: Request<Body>) -> Attempt {
        let connected = tokio::time::timeout(self.options.connect_timeout, TcpStream::connect(addr)).await;
        let stream = match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Attempt::NotSent(request, format!("cannot connect to {addr}: {error}")),
            Err(_) => return Attempt::NotSent(request, format!("connecting to {addr} takes too long")),
        };
        // Small answers would otherwise wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
            Ok(pair) => pair,
            Err(error) => return Attempt::NotSent(request, format!("{addr} speaks no HTTP: {error}")),
        };
        // Carries the bodies; ends by itself when both are through or one side is gone.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a proxied connection broke");
            }
        });
        match tokio::time::timeout(self.options.response_timeout, sender.send_request(request)).await {
            Ok(Ok(response)) => {
                let (mut parts, body) = response.into_parts();
                remove_hop_by_hop(&mut parts.headers);
                parts.version = Version::default();
                Attempt::Answered(Response::from_parts(parts, Body::new(body)))
            }
            Ok(Err(error)) => Attempt::Lost(format!("{addr} broke off: {error}")),
            Err(_) => Attempt::Lost(format!("{addr} did not answer in time")),
        }
    }
}

impl Edge for Proxy {
    fn set_route(&self, domain: &str, route: Route) {
        let entry = Arc::new(Entry { route, turn: AtomicUsize::new(0) });
        self.change(|routes| {
            routes.insert(domain.to_owned(), entry);
        });
    }

    fn remove_route(&self, domain: &str) {
        self.change(|routes| {
            routes.remove(domain);
        });
    }

    fn handle(&self, request: Request<Body>) -> BoxFuture<'_, Response<Body>> {
        Box::pin(self.answer(None, request))
    }

    fn handle_as<'a>(&'a self, domain: &'a str, request: Request<Body>) -> BoxFuture<'a, Response<Body>> {
        Box::pin(self.answer(Some(domain), request))
    }
}

/// The edge's answer where no service is known under the name that was asked for.
#[must_use]
pub fn unknown_host() -> Response<Body> {
    let id = Uuid::new_v4().simple().to_string();
    let mut response = fallback(StatusCode::NOT_FOUND, NOT_FOUND, &id);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Turns what a client sent to the edge into what a replica gets.
fn prepare(parts: &mut Parts, id: &str) {
    remove_hop_by_hop(&mut parts.headers);
    // A replica wants the path alone; an absolute target is for proxies.
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = parts.uri.authority().map(ToString::to_string);
    if let Some(authority) = authority.and_then(|text| HeaderValue::from_str(&text).ok()) {
        parts.headers.insert(header::HOST, authority);
    }
    parts.uri = Uri::try_from(target).unwrap_or_default();
    parts.version = Version::HTTP_11;
    if let Some(host) = parts.headers.get(header::HOST).cloned() {
        parts.headers.insert(FORWARDED_HOST, host);
    }
    parts.headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Ok(id) = HeaderValue::from_str(id) {
        parts.headers.insert(REQUEST_ID, id);
    }
}

/// Size of a message: `line` bytes of its own in the first line, the headers, and the length of the body where it is
/// announced.
fn message_bytes(line: usize, headers: &http::HeaderMap, body: &Body) -> u64 {
    /// ` HTTP/1.1`, a status with its phrase or the blanks, and the two line ends around the headers.
    const FRAME: usize = 16;
    let headers: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    u64::try_from(line + FRAME + headers).unwrap_or(u64::MAX).saturating_add(body.size_hint().lower())
}

/// An answer of the edge itself, in Railway's shape.
fn fallback(status: StatusCode, message: &str, id: &str) -> Response<Body> {
    let body = json!({ "status": "error", "code": status.as_u16(), "message": message, "request_id": id });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(FALLBACK, HeaderValue::from_static("true"));
    response
}
