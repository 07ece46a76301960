//! One port, four speakers: by `Host` the domains of services, by path the Railway API, the registry and the admin
//! API.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::admin;
use crate::core::Core;
use crate::faults::Cut;
use crate::railway::gql::RailwaySchema;
use crate::railway::http;
use crate::railway::ops::custom_domains;
use crate::railway::ops::domains::SUFFIX;
use crate::railway::socket;
use crate::services::unknown_host;

/// Largest GraphQL or admin document that is read, in bytes.
const MAX_BODY: usize = 16 << 20;
/// How long open connections may finish after shutdown was asked for.
const GRACE: Duration = Duration::from_secs(2);

/// What the server routes to.
#[derive(Clone)]
pub(crate) struct Multiplexer {
    pub(crate) core: Arc<Core>,
    pub(crate) schema: RailwaySchema,
    pub(crate) registry: Router,
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// The host a client asked for, lower case, without port.
fn host<B>(request: &Request<B>) -> String {
    let text = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| request.uri().host())
        .unwrap_or_default();
    let name = if text.starts_with('[') {
        text.split_once(']').map_or(text, |(head, _)| &head[1..])
    } else {
        text.split_once(':').map_or(text, |(head, _)| head)
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Multiplexer {
    /// The custom domain that answers for `host`, and whether it is verified. Names of this machine are never one.
    fn custom_domain(&self, host: &str) -> Option<(String, bool)> {
        if loopback(host) {
            return None;
        }
        let world = self.core.world();
        let row = custom_domains::of_host(&world, host)?;
        let verified = custom_domains::verified(row, &self.core.settings(), self.core.clock.now());
        Some((row.domain.clone(), verified))
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        let host = host(&request);
        if host.ends_with(SUFFIX) {
            return self.core.parts.edge.handle(request).await;
        }
        if let Some((domain, verified)) = self.custom_domain(&host) {
            return if verified {
                self.core.parts.edge.handle_as(&domain, request).await
            } else {
                unknown_host()
            };
        }
        let path = request.uri().path().to_owned();
        if path == "/v2" || path.starts_with("/v2/") {
            return match self.registry.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
        }
        if let Some(rest) = path.strip_prefix("/_sandbox/") {
            // A web page that resolves its own name to this machine must not steer the sandbox.
            if !loopback(&host) {
                return plain(StatusCode::FORBIDDEN, "the admin API answers on loopback names only");
            }
            let (parts, body) = request.into_parts();
            let Ok(body) = to_bytes(body, MAX_BODY).await else {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body cannot be read");
            };
            return admin::handle(
                &self.core,
                &parts.method,
                rest,
                parts.uri.query().unwrap_or_default(),
                &body,
            );
        }
        if path == "/graphql/v2" {
            let upgrades = request.headers().get(header::UPGRADE).is_some_and(|value| {
                value.to_str().is_ok_and(|value| value.eq_ignore_ascii_case("websocket"))
            });
            if request.method() == Method::GET && upgrades {
                return socket::upgrade(Arc::clone(&self.core), self.schema.clone(), request).await;
            }
            if request.method() != Method::POST {
                return plain(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "GraphQL is answered on POST and over WebSocket",
                );
            }
            let (parts, body) = request.into_parts();
            let Ok(body) = to_bytes(body, MAX_BODY).await else {
                return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body cannot be read");
            };
            let bare = parts.uri.query().is_none_or(str::is_empty);
            return http::handle(Arc::clone(&self.core), self.schema.clone(), parts.headers, bare, body)
                .await;
        }
        plain(StatusCode::NOT_FOUND, "the sandbox answers /graphql/v2, /v2/ and /_sandbox/")
    }
}

/// The connection ends without an answer; the text is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule cut the connection")]
struct CutError;

/// Serves until the core's shutdown token is cancelled, then lets open connections finish for a moment.
pub(crate) async fn serve(listener: TcpListener, multiplexer: Multiplexer) {
    let shutdown = multiplexer.core.shutdown.clone();
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let multiplexer = multiplexer.clone();
        let shutdown = shutdown.clone();
        tasks.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let multiplexer = multiplexer.clone();
                async move {
                    let response = multiplexer.route(request.map(Body::new)).await;
                    if response.extensions().get::<Cut>().is_some() { Err(CutError) } else { Ok(response) }
                }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(connection);
            let result = tokio::select! {
                result = &mut connection => result,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a connection ended early");
            }
            Ok::<_, Infallible>(())
        });
    }
    drop(listener);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        tracing::debug!("connections were still open when the sandbox stopped");
    }
    // Whoever is still at work holds the state, and with it the lock on the directory.
    tasks.shutdown().await;
}
