//! One port, four speakers: by `Host` the domains of services, by path the Railway API, the registry and the admin
//! API.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::admin;
use crate::connections;
use crate::core::Core;
use crate::host;
use crate::railway::gql::RailwaySchema;
use crate::railway::http;
use crate::railway::ops::custom_domains;
use crate::railway::ops::domains::SUFFIX;
use crate::railway::socket;
use crate::services::unknown_host;

/// Largest GraphQL or admin document that is read, in bytes.
const MAX_BODY: usize = 16 << 20;

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

impl Multiplexer {
    /// The custom domain that answers for `host`, and whether it is verified. Names of this machine are never one.
    fn custom_domain(&self, host: &str) -> Option<(String, bool)> {
        if host::is_this_machine(host) {
            return None;
        }
        let world = self.core.world();
        let row = custom_domains::of_host(&world, host)?;
        let verified = custom_domains::verified(row, &self.core.settings(), self.core.clock.now());
        Some((row.domain.clone(), verified))
    }

    async fn route(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let host = host::of(&parts).unwrap_or_default();
        let request = Request::from_parts(parts, body);
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
        // A web page that has its own name resolved to this machine must neither steer the sandbox nor use its API.
        let own = path == "/graphql/v2" || path.starts_with("/_sandbox/");
        if own && !host::is_loopback(&host) {
            return plain(StatusCode::MISDIRECTED_REQUEST, host::MISDIRECTED);
        }
        if let Some(rest) = path.strip_prefix("/_sandbox/") {
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

/// Serves until the core's shutdown token is cancelled, then lets open connections finish for a moment.
pub(crate) async fn serve(listener: TcpListener, multiplexer: Multiplexer) {
    let shutdown = multiplexer.core.shutdown.clone();
    let answer = move |request| {
        let multiplexer = multiplexer.clone();
        async move { multiplexer.route(request).await }
    };
    connections::serve(listener, shutdown, answer).await;
}
