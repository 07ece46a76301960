//! The domain proxy over real HTTP, in front of small servers that show what reached them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    http::{Request, Response},
};
use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use spectra_sandbox::{
    contract::{Edge, ProxyEvents, RequestRecord, Route},
    services::{Proxy, ProxyOptions},
};
use spectra_types::DeploymentId;
use tokio::net::TcpListener;

const DOMAIN: &str = "web-production-1a2b.up.railway.localhost";

#[derive(Default)]
struct Recorder {
    served: Mutex<Vec<RequestRecord>>,
    woken: AtomicUsize,
}

impl ProxyEvents for Recorder {
    fn served(&self, record: RequestRecord) {
        self.served.lock().unwrap().push(record);
    }

    fn carried(&self, _deployment: &DeploymentId) {}

    fn wake(&self, _deployment: &DeploymentId) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

struct Bed {
    proxy: Arc<Proxy>,
    events: Arc<Recorder>,
    addr: SocketAddr,
    client: Client,
}

impl Bed {
    async fn new() -> Self {
        let events = Arc::new(Recorder::default());
        let options = ProxyOptions { wake_timeout: Duration::from_secs(20), ..ProxyOptions::default() };
        Self::with(events, options).await
    }

    async fn with(events: Arc<Recorder>, options: ProxyOptions) -> Self {
        let proxy = Arc::new(Proxy::new(Arc::<Recorder>::clone(&events), options));
        let router = Router::new().fallback({
            let proxy = Arc::clone(&proxy);
            move |request: Request<Body>| async move { proxy.handle(request).await }
        });
        let addr = serve(router).await;
        Self { proxy, events, addr, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn get(&self, host: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("http://{}{path}", self.addr)).header(header::HOST, host)
    }

    async fn name(&self) -> (StatusCode, String) {
        let response = self.get(DOMAIN, "/name").send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}

/// A replica that answers its name, or on `/echo` what it was asked.
async fn replica(name: &'static str) -> SocketAddr {
    serve(Router::new().fallback(move |request: Request<Body>| async move {
        let (parts, body) = request.into_parts();
        if parts.uri.path() != "/echo" {
            return Response::new(Body::from(name));
        }
        let headers: serde_json::Map<String, Value> = parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
            .collect();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let answer = json!({ "method": parts.method.as_str(), "target": parts.uri.to_string(), "headers": headers, "length": body.len() });
        let mut response = axum::response::IntoResponse::into_response(Json(answer));
        response.headers_mut().insert("keep-alive", "timeout=1".parse().unwrap());
        response.headers_mut().insert("x-own", "kept".parse().unwrap());
        response
    }))
    .await
}

fn deployment(id: &str) -> DeploymentId {
    id.parse().unwrap()
}

fn route(id: &str, replicas: &[SocketAddr]) -> Route {
    let replicas = (0..).zip(replicas.iter().copied()).collect();
    Route { deployment_id: deployment(id), replicas, asleep: false }
}

/// An address that nobody listens on.
async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn replicas_take_turns() {
    let bed = Bed::new().await;
    let (one, two) = (replica("one").await, replica("two").await);
    bed.proxy.set_route(DOMAIN, route("d1", &[one, two]));
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(bed.name().await.1);
    }
    assert_eq!(seen, ["one", "two", "one", "two"]);
    let served = bed.events.served.lock().unwrap();
    let replicas: Vec<Option<u32>> = served.iter().map(|record| record.replica).collect();
    assert_eq!(replicas, [Some(0), Some(1), Some(0), Some(1)]);
    let first = &served[0];
    assert_eq!((first.method.as_str(), first.path.as_str(), first.status), ("GET", "/name", 200));
    assert_eq!((first.host.as_str(), &first.deployment_id), (DOMAIN, &deployment("d1")));
    assert!(first.upstream_error.is_none());
}

#[tokio::test]
async fn unknown_domains_and_silent_deployments_answer_as_railway_does() {
    let bed = Bed::new().await;
    let response = bed.get("nobody.up.railway.localhost", "/").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["x-railway-fallback"], "true");
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (&body["status"], &body["code"], &body["message"]),
        (&json!("error"), &json!(404), &json!("Application not found"))
    );
    assert_eq!(bed.events.served.lock().unwrap().len(), 0);

    bed.proxy.set_route(DOMAIN, route("d1", &[]));
    assert_eq!(bed.name().await.0, StatusCode::BAD_GATEWAY);
    bed.proxy.set_route(DOMAIN, route("d1", &[dead().await, dead().await]));
    let response = bed.get(DOMAIN, "/").send().await.unwrap();
    let id = response.headers()["x-railway-request-id"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(
        (&body["message"], &body["request_id"]),
        (&json!("Application failed to respond"), &json!(id))
    );
    {
        let served = bed.events.served.lock().unwrap();
        assert_eq!((served[0].replica, served[0].status), (None, 502));
        assert!(served[1].upstream_error.as_ref().unwrap().contains("cannot connect"));
    }
    bed.proxy.remove_route(DOMAIN);
    assert_eq!(bed.name().await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_replica_that_is_gone_is_passed_over_whatever_the_method() {
    let bed = Bed::new().await;
    bed.proxy.set_route(DOMAIN, route("d1", &[dead().await, replica("alive").await]));
    for _ in 0..4 {
        let response = bed
            .client
            .post(format!("http://{}/echo", bed.addr))
            .header(header::HOST, DOMAIN)
            .body("payload")
            .send()
            .await
            .unwrap();
        assert_eq!(response.json::<Value>().await.unwrap()["length"], 7);
    }
}

#[tokio::test]
async fn a_replica_that_breaks_off_is_a_502() {
    let bed = Bed::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    // The request was sent and may have had effects, so it must not go to the second replica.
    bed.proxy.set_route(DOMAIN, route("d1", &[addr, replica("second").await]));
    assert_eq!(bed.name().await.0, StatusCode::BAD_GATEWAY);
    assert_eq!(bed.name().await.1, "second");
}

#[tokio::test]
async fn headers_of_the_connection_stay_behind_and_the_rest_travels() {
    let bed = Bed::new().await;
    bed.proxy.set_route(DOMAIN, route("d1", &[replica("one").await]));
    let host = format!("{}:7430", DOMAIN.to_uppercase());
    let response = bed
        .get(&host, "/echo?a=b%20c")
        .header("connection", "x-private")
        .header("x-private", "1")
        .header("te", "trailers")
        .header("x-public", "2")
        .send()
        .await
        .unwrap();
    assert!(response.headers().get("keep-alive").is_none());
    assert_eq!(response.headers()["x-own"], "kept");
    let echo: Value = response.json().await.unwrap();
    assert_eq!(echo["target"], "/echo?a=b%20c");
    let headers = &echo["headers"];
    assert_eq!(
        (&headers["x-public"], &headers["host"], &headers["x-forwarded-host"]),
        (&json!("2"), &json!(host), &json!(host))
    );
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert!(headers["x-railway-request-id"].is_string());
    for gone in ["x-private", "te", "connection"] {
        assert!(headers.get(gone).is_none(), "{gone}");
    }
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let bed = Bed::new().await;
    // Answers each piece as soon as it comes: works only if neither body is held back.
    let addr = serve(Router::new().fallback(|request: Request<Body>| async move {
        Response::new(Body::from_stream(request.into_body().into_data_stream()))
    }))
    .await;
    bed.proxy.set_route(DOMAIN, route("d1", &[addr]));
    let (pieces, receiver) = futures::channel::mpsc::unbounded::<Result<Vec<u8>, std::io::Error>>();
    pieces.unbounded_send(Ok(b"first".to_vec())).unwrap();
    let mut response = bed
        .client
        .post(format!("http://{}/", bed.addr))
        .header(header::HOST, DOMAIN)
        .body(reqwest::Body::wrap_stream(receiver))
        .send()
        .await
        .unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "first");
    pieces.unbounded_send(Ok(b"second".to_vec())).unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "second");
    drop(pieces);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn switching_a_route_loses_no_request() {
    let bed = Bed::new().await;
    let (old, new) = (replica("old").await, replica("new").await);
    bed.proxy.set_route(DOMAIN, route("d1", &[old]));
    let done = AtomicBool::new(false);
    let traffic = async {
        let mut seen = Vec::new();
        while !done.load(Ordering::SeqCst) {
            seen.push(bed.name().await);
        }
        seen
    };
    let switching = async {
        for turn in 0..100 {
            let to = if turn % 2 == 0 { ("d2", new) } else { ("d1", old) };
            bed.proxy.set_route(DOMAIN, route(to.0, &[to.1]));
            tokio::task::yield_now().await;
            let (status, _) = bed.name().await;
            assert_eq!(status, StatusCode::OK);
        }
        done.store(true, Ordering::SeqCst);
    };
    let (seen, ()) = tokio::join!(traffic, switching);
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|(status, name)| *status == StatusCode::OK && (name == "old" || name == "new")));
    // Every answer is recorded for the deployment that gave it.
    let served = bed.events.served.lock().unwrap();
    assert!(served.iter().any(|record| record.deployment_id == deployment("d2")));
}

#[tokio::test]
async fn a_request_wakes_a_sleeping_deployment_and_waits_for_it() {
    let bed = Bed::new().await;
    let mut asleep = route("d1", &[]);
    asleep.asleep = true;
    bed.proxy.set_route(DOMAIN, asleep.clone());
    let addr = replica("awake").await;
    let waking = async {
        while bed.events.woken.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // Another domain's change must not be taken for this one's.
        bed.proxy.set_route("other.up.railway.localhost", route("d9", &[]));
        bed.proxy.set_route(DOMAIN, route("d1", &[addr]));
    };
    let ((status, name), ()) = tokio::join!(bed.name(), waking);
    assert_eq!((status, name.as_str()), (StatusCode::OK, "awake"));

    let options = ProxyOptions { wake_timeout: Duration::from_millis(20), ..ProxyOptions::default() };
    let bed = Bed::with(Arc::default(), options).await;
    bed.proxy.set_route(DOMAIN, asleep);
    assert_eq!(bed.name().await.0, StatusCode::BAD_GATEWAY);
}
