//! What the tests share: a clock that does not wait, a receiver, a message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use futures::future::BoxFuture;
use spectra_notify::{Channel, ChannelSpec, Clock, Event, Message, Options, Severity};
use tokio::sync::Notify;

/// Every wait is over at once, is remembered, and moves the time.
#[derive(Debug, Default)]
pub(crate) struct TestClock {
    waits: Mutex<Vec<Duration>>,
}

impl TestClock {
    pub(crate) fn options() -> (Options, Arc<Self>) {
        let clock = Arc::new(Self::default());
        (Options { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Options::default() }, clock)
    }

    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.waits.lock().unwrap().clone()
    }
}

impl Clock for TestClock {
    fn unix_seconds(&self) -> u64 {
        1_700_000_000 + self.waits().iter().sum::<Duration>().as_secs()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        self.waits.lock().unwrap().push(duration);
        Box::pin(std::future::ready(()))
    }
}

type Answer = (StatusCode, HeaderMap, String);
/// What a receiver says to a request that nothing else was planned for.
type Judge = fn(&HeaderMap, &[u8]) -> (u16, String);

/// Remembers what it gets; answers what was planned, then what its judge says.
#[derive(Clone)]
pub(crate) struct Receiver {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    judge: Judge,
}

impl Receiver {
    /// Takes everything, after these statuses.
    pub(crate) async fn start(statuses: &[u16]) -> (Self, String) {
        let (receiver, origin) = Self::judging(|_, _| (200, String::new())).await;
        for status in statuses {
            receiver.then(*status, &[]);
        }
        (receiver, format!("{origin}/hook?token=query-secret"))
    }

    pub(crate) async fn judging(judge: Judge) -> (Self, String) {
        let receiver = Self { answers: Arc::default(), seen: Arc::default(), judge };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (receiver, origin)
    }

    pub(crate) fn then(&self, status: u16, headers: &[(&'static str, &str)]) {
        self.then_saying(status, headers, "");
    }

    pub(crate) fn then_saying(&self, status: u16, headers: &[(&'static str, &str)], words: &str) {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let answer = (StatusCode::from_u16(status).unwrap(), headers.collect(), words.to_owned());
        self.answers.lock().unwrap().push_back(answer);
    }

    pub(crate) fn header(&self, at: usize, name: &str) -> String {
        self.seen.lock().unwrap()[at].0.get(name).unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn body(&self, at: usize) -> String {
        String::from_utf8(self.seen.lock().unwrap()[at].1.to_vec()).unwrap()
    }

    pub(crate) fn json(&self, at: usize) -> serde_json::Value {
        serde_json::from_str(&self.body(at)).unwrap()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Answer {
    let judged = (receiver.judge)(&headers, &body);
    receiver.seen.lock().unwrap().push((headers, body));
    let planned = receiver.answers.lock().unwrap().pop_front();
    planned.unwrap_or_else(|| (StatusCode::from_u16(judged.0).unwrap(), HeaderMap::new(), judged.1))
}

/// A channel from its description, with these variables and a clock that does not wait.
pub(crate) fn channel(spec: &str, variables: &[(&str, &str)]) -> (Channel, Arc<TestClock>) {
    let spec: ChannelSpec = serde_json::from_str(spec).unwrap();
    let find =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let (options, clock) = TestClock::options();
    (spec.open_with(&find, options).unwrap(), clock)
}

/// Everything that a message can have, with characters that mean something to receivers.
pub(crate) fn message() -> Message {
    Message::new(
        Event::ROLLOUT_ROLLBACK_FAILED,
        Severity::Critical,
        "rollout-7",
        "api could not be rolled back",
        "2026-08-01T10:00:00Z".parse().unwrap(),
    )
    .with_summary("<!channel> & \"both\" versions are down\nsince 10:00")
    .with_field("service", "api & co")
    .with_field("digest", "sha256:4f5e")
    .with_link("run", "https://ci.example/runs/1?a=1&b=2")
}

/// Takes connections and says nothing; tells of each.
pub(crate) async fn silent() -> (String, Arc<Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let reached = Arc::new(Notify::new());
    let tell = Arc::clone(&reached);
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
            tell.notify_one();
        }
    });
    (url, reached)
}
