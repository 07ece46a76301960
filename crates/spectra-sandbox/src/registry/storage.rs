//! The other host of a registry that does not keep its blobs itself: it has a port of its own, lets in whoever has a signed
//! address, and must never see what clients log in with.

use std::{
    fmt::Write as _,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use futures::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Method, Request, StatusCode, header, request::Parts};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, task::AbortHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Registry, Target, ViolationKind, answer_to, decoded,
    error::{ApiError, Code},
    incoming::Incoming,
    query, text_header,
};
use crate::{connections, host};

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
    /// What the last client that was sent here called the registry.
    registry: Mutex<String>,
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

/// Refuses a request that is for another machine.
pub(super) fn for_loopback(request: Request<Body>) -> Result<Request<Body>, BoxFuture<'static, Response>> {
    let (parts, body) = request.into_parts();
    let known = host::is_for_loopback(&parts);
    let request = Request::from_parts(parts, body);
    if known {
        return Ok(request);
    }
    let error = ApiError::new(Code::Denied, host::MISDIRECTED).status(StatusCode::MISDIRECTED_REQUEST);
    Err(refuse(request, error))
}

/// Answers when the request has been read.
fn refuse(request: Request<Body>, error: ApiError) -> BoxFuture<'static, Response> {
    let (parts, body) = request.into_parts();
    let incoming = Incoming::new(&parts.headers, body);
    async move {
        incoming.drain().await;
        error.into_response()
    }
    .boxed()
}

impl Registry {
    /// Serves the registry alone, until the future is dropped. Unlike [`Registry::router`] it can also cut connections, as
    /// fault rules ask for.
    pub async fn serve(self, listener: TcpListener) {
        let answer = move |request| answer_to(self.clone(), request);
        connections::serve(listener, CancellationToken::new(), answer).await;
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
                let answer = move |request| {
                    let registry = registry.upgrade().map(Registry);
                    async move {
                        match registry {
                            Some(registry) => registry.stored(request).await,
                            None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                        }
                    }
                };
                let served = connections::serve(listener, CancellationToken::new(), answer);
                let task = tokio::spawn(served).abort_handle();
                Ok(Storage { address, registry: Mutex::default(), key: Uuid::new_v4(), task })
            })
            .await
    }

    /// A request to the other host.
    ///
    /// Boxed, for it leads back to where the host is started.
    fn stored(self, mut request: Request<Body>) -> BoxFuture<'static, Response> {
        request = match for_loopback(request) {
            Ok(request) => request,
            Err(refused) => return refused,
        };
        for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
            if request.headers().contains_key(&name) {
                let path = request.uri().path();
                self.0.violations.record(
                    ViolationKind::CredentialsElsewhere,
                    path,
                    format!("`{name}` was sent to the host of the blobs"),
                );
                let refused = ApiError::new(Code::Denied, format!("`{name}` is not for this host"));
                return refuse(request, refused);
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
            return refuse(Request::from_parts(parts, body), refused);
        }
        request = Request::from_parts(parts, body);
        request.extensions_mut().insert(Signed);
        answer_to(self, request).boxed()
    }

    /// The answer to what has become a blob, whose address is the registry's and not this host's.
    async fn at_registry(&self, mut response: Response) -> io::Result<Response> {
        let host = self.storage().await?.registry.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let path = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        let url = path
            .filter(|path| path.starts_with('/') && !host.is_empty())
            .and_then(|path| HeaderValue::from_str(&format!("http://{host}{path}")).ok());
        if let Some(url) = url {
            response.headers_mut().insert(header::LOCATION, url);
        }
        Ok(response)
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
            Target::Blob(..)
                if matches!(parts.method, Method::GET | Method::HEAD)
                    && response.status().is_success()
                    && !signed =>
            {
                decoded(parts)
            }
            Target::Uploads(_) | Target::Upload(..) => {
                let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                let Some(location) = location.map(str::to_owned) else { return Ok(response) };
                let (path, _) = location.split_once('?').unwrap_or((&location, ""));
                match Target::parse(path) {
                    Some(Target::Upload(..)) => location,
                    // What has become a blob is read from the registry.
                    _ if signed => return Ok(self.at_registry(response).await?),
                    _ => return Ok(response),
                }
            }
            _ => return Ok(response),
        };
        let storage = self.storage().await?;
        if let Some(host) = text_header(parts, &header::HOST).filter(|_| !signed) {
            *storage.registry.lock().unwrap_or_else(PoisonError::into_inner) = host;
        }
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
        self.meet("elsewhere");
        Ok(response)
    }
}
