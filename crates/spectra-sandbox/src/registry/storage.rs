//! The other host of a registry that does not keep its blobs itself: it has a port of its own, lets in whoever has a signed
//! address, and must never see what clients log in with.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use uuid::Uuid;

use super::{
    Registry, Target, ViolationKind, answer_to,
    error::{ApiError, Code},
    query,
};
use crate::faults::Cut;

/// The parameter that signs an address.
const KEY: &str = "signature";

/// Marks a request that came with a signed address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed;

/// The running host.
#[derive(Debug)]
pub(crate) struct Storage {
    address: SocketAddr,
    key: String,
    task: AbortHandle,
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connection ends without an answer; the text is for the log alone.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule cut the connection")]
struct CutError;

/// Serves on a listener until it is dropped. An answer marked [`Cut`] ends its connection instead.
pub(super) async fn serve<F, Fut>(listener: TcpListener, answer: F)
where
    F: Fn(Request<Body>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answered = answer(request.map(Body::new));
                async move {
                    let response = answered.await;
                    if response.extensions().get::<Cut>().is_some() { Err(CutError) } else { Ok(response) }
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

impl Registry {
    /// Serves the registry alone, until the future is dropped. Unlike [`Registry::router`] it can also cut connections, as
    /// fault rules ask for.
    pub async fn serve(self, listener: TcpListener) {
        serve(listener, move |request| answer_to(self.clone(), request)).await;
    }

    /// The other host, started when it is first needed.
    async fn storage(&self) -> io::Result<&Storage> {
        self.0
            .storage
            .get_or_try_init(|| async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                let address = listener.local_addr()?;
                // Weak: the host must not keep the registry alive that owns it.
                let registry = Arc::downgrade(&self.0);
                let served = serve(listener, move |request| {
                    let registry = registry.upgrade().map(Registry);
                    async move {
                        match registry {
                            Some(registry) => registry.stored(request).await,
                            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                        }
                    }
                });
                let task = tokio::spawn(served).abort_handle();
                Ok(Storage { address, key: Uuid::new_v4().simple().to_string(), task })
            })
            .await
    }

    /// A request to the other host.
    ///
    /// Boxed, for it leads back to where the host is started.
    fn stored(self, mut request: Request<Body>) -> BoxFuture<'static, Response> {
        for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
            if request.headers().contains_key(&name) {
                let path = request.uri().path();
                self.0.violations.record(
                    ViolationKind::CredentialsElsewhere,
                    path,
                    format!("`{name}` was sent to the host of the blobs"),
                );
                let refused = ApiError::new(Code::Denied, format!("`{name}` is not for this host"));
                return std::future::ready(refused.into_response()).boxed();
            }
        }
        let (parts, body) = request.into_parts();
        let signed = self.0.storage.get().is_some_and(|own| query(&parts, KEY).as_ref() == Some(&own.key));
        request = Request::from_parts(parts, body);
        if !signed {
            let refused = ApiError::new(Code::Denied, "the address is not signed");
            return std::future::ready(refused.into_response()).boxed();
        }
        request.extensions_mut().insert(Signed);
        answer_to(self, request).boxed()
    }

    /// Sends the client to the other host where the registry's switches say so: for a blob's bytes, and by the address of
    /// an upload.
    pub(super) async fn relocate(
        &self,
        parts: &Parts,
        target: &Target<'_>,
        response: Response,
    ) -> Result<Response, ApiError> {
        if !self.quirks().elsewhere {
            return Ok(response);
        }
        let signed = parts.extensions.get::<Signed>().is_some();
        let path = match target {
            Target::Blob(..) if parts.method == Method::GET && response.status().is_success() && !signed => {
                parts.uri.path().to_owned()
            }
            Target::Uploads(_) | Target::Upload(..) if response.status() != StatusCode::CREATED => {
                match response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()) {
                    Some(path) => path.to_owned(),
                    None => return Ok(response),
                }
            }
            _ => return Ok(response),
        };
        let storage = self.storage().await?;
        let url = format!("http://{}{path}?{KEY}={}", storage.address, storage.key);
        let Ok(url) = HeaderValue::from_str(&url) else { return Ok(response) };
        let mut response = if matches!(target, Target::Blob(..)) {
            StatusCode::TEMPORARY_REDIRECT.into_response()
        } else {
            response
        };
        response.headers_mut().insert(header::LOCATION, url);
        Ok(response)
    }
}
