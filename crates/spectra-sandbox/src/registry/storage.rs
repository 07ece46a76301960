//! The other host of a registry that does not keep its blobs itself: it has a port of its own, lets in whoever has a signed
//! address, and must never see what clients log in with.

use std::{
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};
use uuid::Uuid;

use super::{
    Registry, Target, ViolationKind, answer_to, decoded,
    error::{ApiError, Code},
    query,
};
use crate::faults::Cut;

/// The parameter that signs an address.
const SIGNATURE: &str = "signature";
/// The parameter that says until when an address is good, in seconds since the Unix epoch.
const EXPIRES: &str = "expires";
/// How long an address is good.
const LIFETIME: Duration = Duration::from_hours(1);

/// Marks a request that came with a signed address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed;

/// What a signed address is for; another use of it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Reading one blob.
    Read,
    /// One upload, to its end.
    Upload,
}

impl Use {
    /// Of a request; `None` where no address is ever signed.
    fn of(target: &Target<'_>, method: &Method) -> Option<Self> {
        match target {
            Target::Blob(..) if matches!(*method, Method::GET | Method::HEAD) => Some(Self::Read),
            Target::Upload(..) => Some(Self::Upload),
            _ => None,
        }
    }
}

/// The running host.
#[derive(Debug)]
pub(crate) struct Storage {
    address: SocketAddr,
    key: Uuid,
    task: AbortHandle,
}

impl Storage {
    /// The signature of a path for one use and up to a time. The key is hashed in twice, so that nobody can lengthen what is signed.
    fn signature(&self, purpose: Use, path: &str, expires: u64) -> String {
        let inner = Sha256::new()
            .chain_update(self.key.as_bytes())
            .chain_update(format!("{purpose:?}\n{expires}\n{path}"))
            .finalize();
        let outer = Sha256::new().chain_update(self.key.as_bytes()).chain_update(inner).finalize();
        outer.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// Checks a request; the error says what is wrong with its address.
    fn check(&self, parts: &Parts) -> Result<(), &'static str> {
        let path = decoded(parts);
        let target = Target::parse(&path);
        let Some(purpose) = target.and_then(|target| Use::of(&target, &parts.method)) else {
            return Err("this host reads blobs and takes uploads, and nothing else");
        };
        let (Some(signature), Some(expires)) = (query(parts, SIGNATURE), query(parts, EXPIRES)) else {
            return Err("the address is not signed");
        };
        let Ok(expires) = expires.parse() else { return Err("the address is not signed") };
        if signature != self.signature(purpose, &path, expires) {
            return Err("the address is signed for something else");
        }
        if expires < unix_now() {
            return Err("the address is too old");
        }
        Ok(())
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
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
            // Out of file descriptors, as a rule: they come back when connections end.
            tokio::time::sleep(Duration::from_millis(50)).await;
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
                Ok(Storage { address, key: Uuid::new_v4(), task })
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
        let checked = self.0.storage.get().map_or(Err("the address is not signed"), |own| own.check(&parts));
        if let Err(reason) = checked {
            // An address that was never signed is a stranger's; one that was is used for what it was not given for.
            if query(&parts, SIGNATURE).is_some() {
                let detail = format!("{}: {reason}", parts.method);
                self.0.violations.record(ViolationKind::SignatureMisused, parts.uri.path(), detail);
            }
            let refused = ApiError::new(Code::Denied, reason);
            return std::future::ready(refused.into_response()).boxed();
        }
        request = Request::from_parts(parts, body);
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
                decoded(parts)
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
        let expires = unix_now() + LIFETIME.as_secs();
        let purpose = if matches!(target, Target::Blob(..)) { Use::Read } else { Use::Upload };
        let (bare, more) = path.split_once('?').map_or((path.as_str(), ""), |(bare, more)| (bare, more));
        let signature = storage.signature(purpose, bare, expires);
        let more = if more.is_empty() { String::new() } else { format!("&{more}") };
        let url =
            format!("http://{}{bare}?{EXPIRES}={expires}&{SIGNATURE}={signature}{more}", storage.address);
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
