//! A Railway whose WebSocket says what the test says, and nothing by itself but that a session has begun.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use serde_json::{Value, json};
use spectra_railway::{Client, ClientConfig};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::HeldClock;
use crate::fake::TOKEN;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the server is to do on one connection.
enum Order {
    Say(Value),
    Frame(Message),
}

/// One connection, as the server sees it.
pub(crate) struct Connection {
    orders: UnboundedSender<Order>,
    heard: UnboundedReceiver<Heard>,
}

/// What a client said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Message(Value),
    Pong(Vec<u8>),
    Closed(Option<u16>),
}

pub(crate) struct Sockets {
    connections: UnboundedReceiver<Connection>,
    pub(crate) clock: Arc<HeldClock>,
    pub(crate) client: Client,
}

type Accept = Arc<Mutex<UnboundedSender<Connection>>>;

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

impl Sockets {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/graphql/v2", listener.local_addr().unwrap());
        Self::serve(listener, &endpoint)
    }

    /// Serves on any kind of listener; the client is for this endpoint.
    pub(crate) fn serve<L: Listener>(listener: L, endpoint: &str) -> Self
    where
        L::Addr: std::fmt::Debug,
    {
        let (accept, connections) = unbounded_channel();
        let accept: Accept = Arc::new(Mutex::new(accept));
        let probe = || async {
            axum::Json(json!({ "data": { "apiToken": { "workspaces": [] }, "me": { "id": "user" } } }))
        };
        let router = Router::new().route("/graphql/v2", get(upgrade).post(probe)).with_state(accept);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let clock = Arc::new(HeldClock::default());
        let mut config = ClientConfig::new(TOKEN.into());
        config.endpoint = endpoint.parse().unwrap();
        config.clock = Arc::clone(&clock) as _;
        Self { connections, clock, client: Client::new(config).unwrap() }
    }

    /// The next connection, its session begun.
    pub(crate) async fn accept(&mut self) -> Connection {
        let mut connection = soon("a connection", self.connections.recv()).await.unwrap();
        assert_eq!(connection.message("connection_init").await, json!({ "type": "connection_init" }));
        connection.say(json!({ "type": "connection_ack" }));
        connection
    }

    pub(crate) fn has_no_more(&mut self) -> bool {
        self.connections.try_recv().is_err()
    }

    pub(crate) async fn until_somebody_waits(&self, duration: Duration) {
        soon("somebody waits for it", async {
            while !self.clock.has_sleeper(duration) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }

    /// Lets time pass once somebody waits for that long.
    pub(crate) async fn pass(&self, duration: Duration) {
        self.until_somebody_waits(duration).await;
        self.clock.advance(duration);
    }
}

impl Connection {
    pub(crate) fn say(&self, message: Value) {
        self.orders.send(Order::Say(message)).unwrap();
    }

    pub(crate) fn status(&self, id: &str, deployment: &str, status: &str) {
        let data =
            json!({ "deployment": { "id": deployment, "status": status, "deploymentStopped": false } });
        self.say(json!({ "type": "next", "id": id, "payload": { "data": data } }));
    }

    pub(crate) fn ping(&self, bytes: &'static [u8]) {
        self.orders.send(Order::Frame(Message::Ping(bytes.into()))).unwrap();
    }

    pub(crate) fn close(&self, code: u16) {
        let frame = CloseFrame { code, reason: "so".into() };
        self.orders.send(Order::Frame(Message::Close(Some(frame)))).unwrap();
    }

    pub(crate) async fn hear(&mut self, what: &str) -> Heard {
        soon(what, self.heard.recv()).await.unwrap_or(Heard::Closed(None))
    }

    /// The next thing that is said has to be of this type.
    pub(crate) async fn message(&mut self, kind: &str) -> Value {
        match self.hear(kind).await {
            Heard::Message(message) if message["type"] == kind => message,
            other => panic!("{other:?} instead of `{kind}`"),
        }
    }

    /// A subscription to a deployment: the id under which it goes.
    pub(crate) async fn subscribed(&mut self, deployment: &str) -> String {
        let message = self.message("subscribe").await;
        assert_eq!(message["payload"]["operationName"], "FollowDeployment");
        assert_eq!(message["payload"]["variables"], json!({ "id": deployment }));
        message["id"].as_str().unwrap().to_owned()
    }
}

async fn upgrade(State(accept): State<Accept>, offer: WebSocketUpgrade) -> impl IntoResponse {
    offer.protocols(["graphql-transport-ws"]).on_upgrade(move |socket| async move {
        let (orders, received) = unbounded_channel();
        let (tell, heard) = unbounded_channel();
        // A test that is over accepts nobody.
        let _ = accept.lock().unwrap().send(Connection { orders, heard });
        hold(socket, received, tell).await;
    })
}

async fn hold(mut socket: WebSocket, mut orders: UnboundedReceiver<Order>, tell: UnboundedSender<Heard>) {
    loop {
        tokio::select! {
            order = orders.recv() => {
                let frame = match order {
                    Some(Order::Say(message)) => Message::Text(message.to_string().into()),
                    Some(Order::Frame(frame)) => frame,
                    // The test dropped its end: a cut.
                    None => return,
                };
                if socket.send(frame).await.is_err() {
                    return;
                }
            }
            frame = socket.recv() => {
                let heard = match frame {
                    Some(Ok(Message::Text(text))) => Heard::Message(serde_json::from_str(&text).unwrap()),
                    Some(Ok(Message::Pong(bytes))) => Heard::Pong(bytes.to_vec()),
                    Some(Ok(Message::Close(frame))) => Heard::Closed(frame.map(|frame| frame.code)),
                    Some(Ok(_)) => continue,
                    Some(Err(_)) | None => return,
                };
                if tell.send(heard).is_err() {
                    return;
                }
            }
        }
    }
}
