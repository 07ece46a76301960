//! GraphQL over WebSocket at `/graphql/v2`, subprotocol `graphql-transport-ws`. The credential is read from the
//! upgrade request's headers; what `connection_init` carries is ignored.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use async_graphql::http::{WebSocket as Protocol, WebSocketProtocols as Protocols, WsMessage};
use async_graphql::{Data, ErrorExtensionValues, Executor, Response as Told, ServerError, Value as Gql};
use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{Request as HttpRequest, Response, header};
use axum::response::IntoResponse as _;
use futures::future::ready;
use futures::stream::{BoxStream, iter, once, unfold};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _, poll};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::core::Core;
use crate::faults::{Action, Stage};
use crate::journal::{Entry, reason, redact_variables};
use crate::railway::auth::Identity;
use crate::railway::breadth;
use crate::railway::gql::scalars::rfc3339;
use crate::railway::gql::{PROBLEM, RailwaySchema, Request};
use crate::railway::http::{self, Answer, errors};

/// The subprotocol, and the name by which fault rules and the journal call the upgrade itself.
const PROTOCOL: &str = "graphql-transport-ws";
/// The protocol's own close code for an operation before `connection_init`.
const UNAUTHORIZED: u16 = 4401;

/// What every operation of one connection shares.
#[derive(Clone)]
struct Connection {
    core: Arc<Core>,
    schema: RailwaySchema,
    who: Identity,
    agent: Option<String>,
    bare: bool,
    /// A fault rule wants the connection cut.
    cut: CancellationToken,
}

/// Answers the request for a WebSocket. Edge rules and the budget hold for it as for any request; what then
/// goes over the connection costs nothing.
pub(crate) async fn upgrade(
    core: Arc<Core>,
    schema: RailwaySchema,
    request: HttpRequest<Body>,
) -> Response<Body> {
    let started = Instant::now();
    let (mut parts, _) = request.into_parts();
    let settings = core.settings();
    let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let connection = Connection {
        who: Identity::of(&parts.headers, &core.world()),
        agent: agent.map(str::to_owned),
        bare: parts.uri.query().is_none_or(str::is_empty),
        cut: CancellationToken::new(),
        core,
        schema,
    };
    let core = &connection.core;
    let refused = http::edge(core, &settings, agent.is_some(), connection.bare)
        .or_else(|| http::budget(core, &settings, &connection.who).err())
        .or_else(|| {
            let actions = core.faults.take(Stage::Upgrade, PROTOCOL, &[], core.clock.now());
            let Some(Action::WsRefuse { status }) = actions.first() else { return None };
            Some(Answer::early(http::respond(*status, "text/plain", "no upgrade"), "fault:ws_refuse"))
        });
    if let Some(answer) = refused {
        return connection.refuse(answer, started);
    }
    let offer = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(offer) => offer.protocols([PROTOCOL]),
        Err(rejection) => {
            return connection.refuse(Answer::early(rejection.into_response(), "error"), started);
        }
    };
    if offer.selected_protocol().is_none() {
        let text = "the one subprotocol here is graphql-transport-ws";
        return connection.refuse(Answer::early(http::respond(400, "text/plain", text), "error"), started);
    }
    let sockets = core.sockets.clone();
    // Counted from now on, so that a stopping sandbox waits for it.
    let token = sockets.token();
    offer.on_upgrade(async move |socket| {
        let _token = token;
        connection.serve(socket).await;
    })
}

impl Connection {
    async fn serve(self, socket: WebSocket) {
        let (mut sink, source) = socket.split();
        let incoming = source
            .take_while(|message| ready(!matches!(message, Err(_) | Ok(Message::Close(_)))))
            .filter_map(|message| {
                ready(match message {
                    Ok(Message::Text(text)) => Some(text.as_bytes().to_vec()),
                    Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
                    _ => None,
                })
            });
        let (cut, shutdown) = (self.cut.clone(), self.core.shutdown.clone());
        let mut outgoing = pin!(Protocol::new(self, incoming, Protocols::GraphQLWS));
        loop {
            let message = tokio::select! {
                biased;
                // Both halves are dropped without a word: that is what a cut looks like.
                () = cut.cancelled() => return,
                () = shutdown.cancelled() => Some(WsMessage::Close(close_code::AWAY, "the sandbox stops".to_owned())),
                message = outgoing.next() => message,
            };
            let frame = match message {
                Some(WsMessage::Text(text)) => Message::Text(text.into()),
                Some(WsMessage::Close(1011, _)) => close(UNAUTHORIZED, "Unauthorized"),
                Some(WsMessage::Close(code, reason)) => close(code, &reason),
                None => return,
            };
            let last = matches!(frame, Message::Close(_));
            let sent = tokio::select! {
                sent = sink.send(frame) => sent,
                // A reader that does not read must not keep the sandbox from stopping.
                () = shutdown.cancelled(), if !last => return,
            };
            if last || sent.is_err() {
                return;
            }
        }
    }

    /// Notes that there will be no connection.
    fn refuse(&self, answer: Answer, started: Instant) -> Response<Body> {
        let mut entry = self.entry(PROTOCOL, Vec::new(), "subscription", Value::Null);
        entry.outcome = answer.outcome;
        entry.status = answer.response.status().as_u16();
        entry.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.core.journal.record(&self.core, &entry);
        answer.response
    }

    fn entry(&self, operation: &str, fields: Vec<String>, kind: &'static str, variables: Value) -> Entry {
        Entry {
            at: rfc3339(self.core.clock.stamp()),
            operation: operation.to_owned(),
            fields,
            kind,
            token: self.who.kind(),
            variables,
            outcome: "ok".to_owned(),
            error: None,
            status: 101,
            duration_ms: 0,
            mutation: false,
            environments: std::collections::BTreeSet::new(),
            user_agent: self.agent.clone(),
            query_string: !self.bare,
        }
    }

    /// Begins one operation. The journal's row is written when it has begun, since it may have no end.
    async fn begin(self, request: async_graphql::Request, session: Arc<Data>) -> BoxStream<'static, Told> {
        let core = Arc::clone(&self.core);
        let asked = http::read(&request.query, request.operation_name.as_deref());
        let variables = serde_json::to_value(&request.variables).unwrap_or_default();
        core.secrets.note_json(&variables);
        let mut entry = self.entry(
            &asked.operation,
            asked.fields.clone(),
            asked.kind,
            redact_variables(&request.query, &variables),
        );
        let actions = core.faults.take(Stage::Socket, &asked.operation, &asked.fields, core.clock.now());
        let mut who = self.who.clone();
        let mut failed = None;
        for action in &actions {
            entry.outcome = format!("fault:{}", action.name());
            match action {
                Action::TokenRevoked => who = Identity::Nobody("Not Authorized"),
                Action::ClockJump { duration } => core.clock.advance(duration.get()),
                Action::ConcurrentActor { query, variables } => {
                    http::concurrent(&core, &self.schema, query, variables).await;
                }
                Action::FailBeforeCommit { code, message } => failed = Some((code.clone(), message.clone())),
                _ => {}
            }
        }
        if let Some((code, message)) = failed {
            entry.error = Some(message.clone());
            core.journal.record(&core, &entry);
            return once(ready(refusal(&message, code.as_deref()))).boxed();
        }
        let name = request.operation_name.as_deref();
        if let Some(reason) = breadth::refusal(&core.settings(), &request.query, name) {
            "too_broad".clone_into(&mut entry.outcome);
            entry.error = Some(format!("{PROBLEM}: {reason}"));
            core.journal.record(&core, &entry);
            return once(ready(refusal(PROBLEM, None))).boxed();
        }
        let state = Arc::new(Request::new(Arc::clone(&core), who, core.world()));
        let mut answers =
            self.schema.execute_stream_with_session_data(request.data(Arc::clone(&state)), session);
        // Whatever is refused is refused at once; a subscription that waits for news has been accepted.
        let first = match poll!(answers.next()) {
            std::task::Poll::Ready(first) => first,
            std::task::Poll::Pending => None,
        };
        if let Some(error) = first.as_ref().and_then(|answer| answer.errors.first()) {
            entry.error = Some(reason(error));
            if actions.is_empty() {
                "error".clone_into(&mut entry.outcome);
            }
        }
        entry.mutation = state.mutated.load(std::sync::atomic::Ordering::Relaxed);
        entry
            .environments
            .clone_from(&state.touched.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        core.journal.record(&core, &entry);
        let shape = actions.clone();
        let answers = iter(first).chain(answers).map(move |mut answer| {
            if state.too_many_points() {
                return refusal(PROBLEM, None);
            }
            http::code(&mut answer.errors);
            for action in &shape {
                if matches!(action, Action::ReplaceField { .. } | Action::UnknownEnum) {
                    let mut body = json!({ "data": answer.data.clone().into_json().unwrap_or_default() });
                    http::reshape(action, &mut body, &asked);
                    answer.data = Gql::from_json(body["data"].take()).unwrap_or_default();
                }
            }
            answer
        });
        actions.iter().fold(answers.boxed(), |answers, action| disturb(answers, action, &self.cut))
    }
}

impl Executor for Connection {
    async fn execute(&self, request: async_graphql::Request) -> Told {
        self.execute_stream(request, None).next().await.unwrap_or_default()
    }

    fn execute_stream(
        &self,
        request: async_graphql::Request,
        session: Option<Arc<Data>>,
    ) -> BoxStream<'static, Told> {
        self.clone().begin(request, session.unwrap_or_default()).flatten_stream().boxed()
    }
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}

fn refusal(message: &str, code: Option<&str>) -> Told {
    let trace = errors(message, code)["errors"][0]["extensions"].take();
    let mut error = ServerError::new(message, None);
    let details = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
    for (key, value) in trace.as_object().into_iter().flatten() {
        if let Ok(value) = Gql::from_json(value.clone()) {
            details.set(key, value);
        }
    }
    Told::from_errors(vec![error])
}

fn copy(answer: &Told) -> Told {
    let mut copy = Told::new(answer.data.clone());
    copy.errors.clone_from(&answer.errors);
    copy
}

/// What a fault rule makes of an operation's messages.
fn disturb(
    answers: BoxStream<'static, Told>,
    action: &Action,
    cut: &CancellationToken,
) -> BoxStream<'static, Told> {
    match action {
        Action::WsDuplicate => answers.flat_map(|answer| iter([copy(&answer), answer])).boxed(),
        Action::WsOutOfOrder => answers
            .chunks(2)
            .flat_map(|mut pair| {
                pair.reverse();
                iter(pair)
            })
            .boxed(),
        Action::WsDrop { after } => {
            let cut = cut.clone();
            until(answers, *after, move || cut.cancel())
        }
        Action::WsSilence { after } => until(answers, *after, || ()),
        _ => answers,
    }
}

/// The first `count` answers; then `reached` is called and nothing comes any more, not even the end.
fn until(
    answers: BoxStream<'static, Told>,
    count: usize,
    reached: impl Fn() + Send + 'static,
) -> BoxStream<'static, Told> {
    unfold((answers, count, reached), |(mut answers, left, reached)| async move {
        if left == 0 {
            reached();
            return std::future::pending().await;
        }
        let answer = answers.next().await?;
        Some((answer, (answers, left - 1, reached)))
    })
    .boxed()
}
