//! A webhook against a receiver on this machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures::future::BoxFuture;
use spectra_notify::{Clock, Error, Options, Webhook, sign};
use spectra_types::{Secret, error_chain};
use tokio_util::sync::CancellationToken;

const BODY: &str = r#"{"text":"rolled out"}"#;

/// Every wait is over at once, is remembered, and moves the time.
#[derive(Debug, Default)]
struct TestClock {
    waits: Mutex<Vec<Duration>>,
}

impl TestClock {
    fn waited(&self) -> Duration {
        self.waits.lock().unwrap().iter().sum()
    }
}

impl Clock for TestClock {
    fn unix_seconds(&self) -> u64 {
        1_700_000_000 + self.waited().as_secs()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.waits.lock().unwrap().push(duration);
        Box::pin(std::future::ready(()))
    }
}

#[derive(Clone, Default)]
struct Receiver {
    answers: Arc<Mutex<VecDeque<(StatusCode, HeaderMap)>>>,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    async fn start(statuses: &[u16]) -> (Self, String) {
        let receiver = Self::default();
        for status in statuses {
            receiver.then(*status, &[]);
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=query-secret", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, url)
    }

    fn then(&self, status: u16, headers: &[(&'static str, &str)]) {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        self.answers.lock().unwrap().push_back((StatusCode::from_u16(status).unwrap(), headers.collect()));
    }

    fn header(&self, at: usize, name: &str) -> String {
        self.seen.lock().unwrap()[at].0.get(name).unwrap().to_str().unwrap().to_owned()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap) {
    receiver.seen.lock().unwrap().push((headers, body));
    receiver.answers.lock().unwrap().pop_front().unwrap_or((StatusCode::OK, HeaderMap::new()))
}

fn webhook(url: &str) -> (Webhook, Arc<TestClock>) {
    let clock = Arc::new(TestClock::default());
    let options = Options { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Options::default() };
    (Webhook::new(url, Some(Secret::from("whsec-of-a-test")), options).unwrap(), clock)
}

#[tokio::test]
async fn a_message_arrives_as_it_was_given_with_its_signature() {
    let (receiver, url) = Receiver::start(&[]).await;
    let (webhook, _) = webhook(&url);
    let delivery = webhook.send(BODY, &CancellationToken::new(), |_| {}).await.unwrap();
    assert_eq!((delivery.status, delivery.attempts), (200, 1));
    let expected = sign(&Secret::from("whsec-of-a-test"), 1_700_000_000, BODY.as_bytes());
    assert_eq!(receiver.header(0, "x-spectra-signature"), expected.to_string());
    assert_eq!(receiver.header(0, "x-spectra-delivery"), delivery.id);
    assert_eq!(receiver.seen.lock().unwrap()[0].1, BODY);
}

#[tokio::test]
async fn a_receiver_in_trouble_gets_it_again_under_the_same_id_and_a_new_date() {
    let (receiver, url) = Receiver::start(&[503]).await;
    receiver.then(429, &[("retry-after", "7")]);
    let (webhook, clock) = webhook(&url);
    let mut told = Vec::new();
    let delivery =
        webhook.send(BODY, &CancellationToken::new(), |line| told.push(line.to_owned())).await.unwrap();
    assert_eq!(delivery.attempts, 3);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(receiver.header(0, "x-spectra-delivery"), receiver.header(2, "x-spectra-delivery"));
    let waits = clock.waits.lock().unwrap().clone();
    assert!(waits[0] >= Duration::from_millis(500) && waits[0] <= Duration::from_secs(1), "{waits:?}");
    assert_eq!(waits[1], Duration::from_secs(7), "what the receiver asked for");
    assert!(receiver.header(2, "x-spectra-signature").starts_with("t=170000000"));
    assert_ne!(receiver.header(0, "x-spectra-signature"), receiver.header(2, "x-spectra-signature"));
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    for status in [400, 404, 302] {
        let (receiver, url) = Receiver::start(&[status]).await;
        let (webhook, _) = webhook(&url);
        let error = webhook.send(BODY, &CancellationToken::new(), |_| {}).await.unwrap_err();
        assert!(matches!(error, Error::Refused { status: found, .. } if found == status), "{error}");
        assert_eq!(receiver.count(), 1);
    }
}

#[tokio::test]
async fn it_gives_up_and_shows_neither_path_nor_query_nor_secret() {
    // Nobody listens there any longer.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/services/path-secret?token=query-secret", listener.local_addr().unwrap());
    drop(listener);
    let (webhook, _) = webhook(&url);
    let mut told = String::new();
    let error = webhook.send(BODY, &CancellationToken::new(), |line| told.push_str(line)).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { attempts: 5, .. }), "{error}");
    let text = format!("{told} {} {error:?} {webhook:?}", error_chain(&error));
    for secret in ["path-secret", "query-secret", "whsec-of-a-test"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn a_stop_ends_the_waiting_and_says_that_nothing_arrived() {
    let (receiver, url) = Receiver::start(&[503, 503, 503]).await;
    let (webhook, _) = webhook(&url);
    let cancel = CancellationToken::new();
    let error = webhook.send(BODY, &cancel, |_| cancel.cancel()).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { attempts: 1, .. }), "{error}");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_stop_that_came_before_sends_nothing() {
    let (receiver, url) = Receiver::start(&[]).await;
    let (webhook, _) = webhook(&url);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = webhook.send(BODY, &cancel, |_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Stopped { attempts: 0, .. }), "{error}");
    assert_eq!(receiver.count(), 0);
}

#[test]
fn only_this_machine_is_reached_without_tls() {
    let made = |url: &str| Webhook::new(url, None, Options::default()).map(drop);
    made("https://hooks.example/x").unwrap();
    made("http://127.0.0.1:9/x").unwrap();
    made("http://[::1]:9/x").unwrap();
    made("http://localhost:9/x").unwrap();
    for insecure in ["http://hooks.example/x?token=query-secret", "ftp://hooks.example/x", "http://10.0.0.8/"]
    {
        let error = made(insecure).unwrap_err();
        assert!(matches!(error, Error::Insecure { .. }), "{error}");
        assert!(!error.to_string().contains("query-secret"), "{error}");
    }
    assert!(matches!(made("https://u:p@hooks.example/").unwrap_err(), Error::Credentials { .. }));
    assert!(matches!(made("hooks.example").unwrap_err(), Error::Url(_)));
    let empty = Webhook::new("https://hooks.example/", Some(Secret::from("")), Options::default());
    assert!(matches!(empty.unwrap_err(), Error::EmptySecret));
}
