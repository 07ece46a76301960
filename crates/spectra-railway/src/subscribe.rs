//! Subscriptions: one connection of a client carries all of them.
//!
//! It is opened with the first subscription and closed some time after the last. Whatever happens to it, nobody who
//! subscribed is told of a failure: the connection comes back, with growing pauses, and everybody is subscribed anew.
//! So a reader has to bear silence, and to be told again what it knows.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use graphql_client::QueryBody;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;

use crate::client::Client;
use crate::gql::Operation;
use crate::websocket::{Heard, Incoming, NoConnection, Socket, heard, open};

/// How long a connection may say nothing before it is asked whether it lives.
const QUIET: Duration = Duration::from_secs(30);
/// How long it may take to answer that.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a connection without subscriptions is kept for the next one.
const LINGER: Duration = Duration::from_secs(30);
/// The pause after a refusal that will not pass by itself, and after many failures; doubled with each further one.
const LONG_PAUSE: Duration = Duration::from_mins(1);
/// So often the long pause is doubled at most. Every attempt costs a request, and on the smallest plan there are 100
/// of them an hour.
const DOUBLINGS: u32 = 4;
/// So many failures are taken for a hiccup.
const HICCUP: u32 = 6;
/// What held for this long was no failure.
const HELD: Duration = Duration::from_mins(1);
/// How long a message may take to be taken; real time, like every timeout of the transport.
const WRITE: Duration = Duration::from_secs(10);

/// Takes what a subscription says.
pub(crate) type Listener = Box<dyn FnMut(Value) -> Told + Send>;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It was taken, or meant nothing.
    Fine,
    /// It could not be taken: the subscription has to begin anew, later.
    Overrun,
}

enum Command {
    Open { key: u64, request: Value, listener: Listener, live: Arc<AtomicBool> },
    Close(u64),
}

/// Where a client's subscriptions come together.
pub(crate) struct Hub {
    /// To the task that holds the connection, while there is one.
    commands: Mutex<Option<UnboundedSender<Command>>>,
    next: AtomicU64,
    proxied: bool,
    said: AtomicBool,
}

/// Somebody who is subscribed; dropping it completes the subscription.
pub(crate) struct Subscription {
    key: u64,
    commands: UnboundedSender<Command>,
    live: Arc<AtomicBool>,
}

impl Subscription {
    /// Whether it is on the wire, as far as is known: it was sent, and neither refused nor cut since.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // Without a task there is no connection either.
        let _ = self.commands.send(Command::Close(self.key));
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) const fn new(proxied: bool) -> Self {
        Self { commands: Mutex::new(None), next: AtomicU64::new(0), proxied, said: AtomicBool::new(false) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<UnboundedSender<Command>>> {
        // Every write is one assignment, so a poisoned sender is still whole.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nobody can be subscribed; said once.
    fn unavailable(&self) -> bool {
        let reason = if self.proxied {
            "the API is reached through a proxy"
        } else if tokio::runtime::Handle::try_current().is_err() {
            "there is no runtime"
        } else {
            return false;
        };
        if !self.said.swap(true, Ordering::Relaxed) {
            tracing::debug!(reason, "no subscriptions: changes are seen by polling");
        }
        true
    }
}

impl Client {
    /// Subscribes; `None` where that is impossible for good. No error ever comes of it: while there is no connection
    /// the listener hears nothing.
    pub(crate) fn subscribe<O: Operation>(
        &self,
        variables: O::Variables,
        listener: Listener,
    ) -> Option<Subscription> {
        let hub = self.hub();
        if hub.unavailable() {
            return None;
        }
        let request = payload(O::NAME, &O::build_query(variables))?;
        let key = hub.next.fetch_add(1, Ordering::Relaxed);
        let live = Arc::new(AtomicBool::new(false));
        let mut command = Command::Open { key, request, listener, live: Arc::clone(&live) };
        let mut sender = hub.lock();
        if let Some(commands) = sender.as_ref() {
            match commands.send(command) {
                Ok(()) => return Some(Subscription { key, commands: commands.clone(), live }),
                // Its runtime is gone.
                Err(unsent) => command = unsent.0,
            }
        }
        let (commands, receiver) = unbounded_channel();
        commands.send(command).ok()?;
        let subscription = Subscription { key, commands: commands.clone(), live };
        *sender = Some(commands);
        drop(sender);
        tokio::spawn(Holder::new(self.clone(), receiver).run());
        Some(subscription)
    }
}

fn payload<V: Serialize>(name: &str, body: &QueryBody<V>) -> Option<Value> {
    let variables = serde_json::to_value(&body.variables).ok()?;
    Some(json!({ "operationName": name, "query": body.query, "variables": variables }))
}

struct Entry {
    request: Value,
    listener: Listener,
    /// The id under which the server knows it; a new one each time, so that late words of an old one are nobody's.
    wire: Option<String>,
    /// Whether it is on the wire, for its reader.
    live: Arc<AtomicBool>,
    /// When it was put on the wire last.
    since: Duration,
    /// When it may be put there again.
    due: Duration,
    failures: u32,
}

impl Entry {
    /// It is not on the wire any more.
    fn take_off(&mut self) {
        self.wire = None;
        self.live.store(false, Ordering::Relaxed);
    }
}

/// The task that holds the connection.
struct Holder {
    client: Client,
    commands: UnboundedReceiver<Command>,
    entries: BTreeMap<u64, Entry>,
    wires: HashMap<String, u64>,
    ids: u64,
    failures: u32,
}

type Sink = SplitSink<Socket, Message>;

/// How a connection ended.
enum End {
    /// Nobody needed it.
    Idle,
    Lost(NoConnection),
}

impl Holder {
    fn new(client: Client, commands: UnboundedReceiver<Command>) -> Self {
        Self { client, commands, entries: BTreeMap::new(), wires: HashMap::new(), ids: 0, failures: 0 }
    }

    async fn run(mut self) {
        loop {
            if self.has_ended() {
                return;
            }
            let lost = match open(&self.client).await {
                Ok(socket) => {
                    let since = self.client.now();
                    let end = self.serve(socket).await;
                    for entry in self.entries.values_mut() {
                        entry.take_off();
                    }
                    self.wires.clear();
                    if self.client.now().saturating_sub(since) >= HELD {
                        self.failures = 0;
                    }
                    match end {
                        End::Idle => continue,
                        End::Lost(lost) => lost,
                    }
                }
                Err(refusal) => refusal,
            };
            self.failures = self.failures.saturating_add(1);
            let pause = self.pause(self.failures, lost.lasting).max(lost.wait);
            tracing::debug!(reason = lost.reason, ?pause, "no connection for subscriptions: polling goes on");
            self.wait(pause).await;
        }
    }

    /// Nobody is subscribed: the task ends, and the next subscription starts another one.
    fn has_ended(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            self.take_offline(command);
        }
        if !self.entries.is_empty() {
            return false;
        }
        let client = self.client.clone();
        // Subscribers send under this lock: what is not here now goes to the next task.
        let mut sender = client.hub().lock();
        while let Ok(command) = self.commands.try_recv() {
            self.take_offline(command);
        }
        if self.entries.is_empty() {
            *sender = None;
        }
        self.entries.is_empty()
    }

    /// How long to wait after so many failures in a row.
    fn pause(&self, failures: u32, lasting: bool) -> Duration {
        let short = self.client.back_off(failures);
        long_pause(failures, lasting).map_or(short, |long| long.max(short))
    }

    /// Waits until it is time to try again, or nobody is left to try for.
    async fn wait(&mut self, pause: Duration) {
        let until = self.client.now() + pause;
        while !self.entries.is_empty() {
            let left = until.saturating_sub(self.client.now());
            if left.is_zero() {
                return;
            }
            let client = self.client.clone();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take_offline(command),
                    None => return,
                },
                () = client.sleep(left) => {}
            }
        }
    }

    fn take_offline(&mut self, command: Command) {
        match command {
            Command::Open { key, request, listener, live } => {
                let now = self.client.now();
                let entry = Entry { request, listener, wire: None, live, since: now, due: now, failures: 0 };
                self.entries.insert(key, entry);
            }
            Command::Close(key) => drop(self.entries.remove(&key)),
        }
    }

    async fn serve(&mut self, socket: Socket) -> End {
        let (mut sink, mut source) = socket.split();
        match self.converse(&mut sink, &mut source).await {
            Ok(()) => {
                let _ = tokio::time::timeout(WRITE, sink.close()).await;
                End::Idle
            }
            Err(lost) => End::Lost(lost),
        }
    }

    /// Until nobody needs the connection, or it is lost.
    async fn converse(
        &mut self,
        sink: &mut Sink,
        source: &mut SplitStream<Socket>,
    ) -> Result<(), NoConnection> {
        let client = self.client.clone();
        let mut alive = client.now();
        let mut asked: Option<Duration> = None;
        let mut idle: Option<Duration> = None;
        loop {
            self.subscribe_due(sink).await?;
            let now = client.now();
            idle = if self.entries.is_empty() { idle.or(Some(now)) } else { None };
            if idle.is_some_and(|since| now >= since + LINGER) {
                return Ok(());
            }
            match asked {
                Some(at) if now >= at + ANSWER => {
                    return Err(NoConnection::new("silent: a ping was not answered"));
                }
                None if now >= alive + QUIET => {
                    send(sink, &json!({ "type": "ping" })).await?;
                    asked = Some(now);
                }
                _ => {}
            }
            let retries = self.entries.values().filter(|entry| entry.wire.is_none()).map(|entry| entry.due);
            let wake = retries
                .chain([asked.map_or(alive + QUIET, |at| at + ANSWER)])
                .chain(idle.map(|since| since + LINGER))
                .min()
                .unwrap_or(now);
            tokio::select! {
                frame = source.next() => {
                    match heard(frame) {
                        Heard::Message(message) => self.hear(message, sink).await?,
                        Heard::Noise => {}
                        Heard::End(end) => return Err(end),
                    }
                    alive = client.now();
                    asked = None;
                }
                command = self.commands.recv() => match command {
                    Some(Command::Close(key)) => self.close(key, sink).await?,
                    Some(command) => self.take_offline(command),
                    // The hub is gone, and with it everybody who could listen.
                    None => return Ok(()),
                },
                () = client.sleep(wake.saturating_sub(now)) => {}
            }
        }
    }

    async fn subscribe_due(&mut self, sink: &mut Sink) -> Result<(), NoConnection> {
        let now = self.client.now();
        for (key, entry) in &mut self.entries {
            if entry.wire.is_some() || entry.due > now {
                continue;
            }
            self.ids += 1;
            let id = self.ids.to_string();
            send(sink, &json!({ "type": "subscribe", "id": id, "payload": entry.request })).await?;
            self.wires.insert(id.clone(), *key);
            entry.wire = Some(id);
            entry.live.store(true, Ordering::Relaxed);
            entry.since = now;
        }
        Ok(())
    }

    async fn close(&mut self, key: u64, sink: &mut Sink) -> Result<(), NoConnection> {
        let Some(entry) = self.entries.remove(&key) else { return Ok(()) };
        let Some(id) = entry.wire else { return Ok(()) };
        self.wires.remove(&id);
        send(sink, &json!({ "type": "complete", "id": id })).await
    }

    async fn hear(&mut self, message: Incoming, sink: &mut Sink) -> Result<(), NoConnection> {
        if message.kind == "ping" {
            return send(sink, &json!({ "type": "pong" })).await;
        }
        let Some(id) = message.id else { return Ok(()) };
        let Some(key) = self.wires.get(&id).copied() else { return Ok(()) };
        let Some(entry) = self.entries.get_mut(&key) else { return Ok(()) };
        match message.kind.as_str() {
            "next" => {
                let mut payload = message.payload;
                let data = payload["data"].take();
                if data.is_null() {
                    let reason = first_message(&payload["errors"]);
                    tracing::debug!(reason, "a subscription answers with an error");
                    return Ok(());
                }
                if (entry.listener)(data) == Told::Overrun {
                    self.retire(&id, key);
                    return send(sink, &json!({ "type": "complete", "id": id })).await;
                }
            }
            "error" => {
                let reason = first_message(&message.payload);
                tracing::debug!(reason, "a subscription is refused");
                self.retire(&id, key);
            }
            "complete" => self.retire(&id, key),
            _ => {}
        }
        Ok(())
    }

    /// The server is done with it, its reader is not: it begins anew after a pause.
    fn retire(&mut self, id: &str, key: u64) {
        self.wires.remove(id);
        let now = self.client.now();
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let held = now.saturating_sub(entry.since) >= HELD;
        entry.take_off();
        entry.failures = if held { 1 } else { entry.failures.saturating_add(1) };
        let failures = entry.failures;
        let due = now + self.pause(failures, false);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = due;
        }
    }
}

/// Nothing while a short pause will do.
fn long_pause(failures: u32, lasting: bool) -> Option<Duration> {
    let beyond = if lasting { failures.saturating_sub(1) } else { failures.checked_sub(HICCUP + 1)? };
    Some(LONG_PAUSE * (1 << beyond.min(DOUBLINGS)))
}

fn first_message(errors: &Value) -> &str {
    errors[0]["message"].as_str().unwrap_or("no reason was given")
}

async fn send(sink: &mut Sink, message: &Value) -> Result<(), NoConnection> {
    match tokio::time::timeout(WRITE, sink.send(Message::text(message.to_string()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(NoConnection::new(error.to_string())),
        Err(_) => Err(NoConnection::new("a message was not taken in time")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_become_rare_before_they_eat_the_budget() {
        let minutes = |failures, lasting| long_pause(failures, lasting).map(|pause| pause.as_secs() / 60);
        assert_eq!([1, 2, 6].map(|failures| minutes(failures, false)), [None; 3]);
        assert_eq!([7, 8, 99].map(|failures| minutes(failures, false)), [Some(1), Some(2), Some(16)]);
        assert_eq!([1, 2, 99].map(|failures| minutes(failures, true)), [Some(1), Some(2), Some(16)]);
    }
}
