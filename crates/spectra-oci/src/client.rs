//! The registry client: connections, authorisation, redirects, and the calls that read.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LINK, LOCATION},
};
use serde::Deserialize;
use spectra_types::{DEFAULT_REGISTRY, Digest, ImageRef, PinnedImage, SafeUrl, Secret};
use tokio::sync::{OnceCell, watch};
use url::Url;

use crate::{
    Credential, Descriptor, Error, ImageIndex, Keychain, NoProgress, Progress, RetryPolicy,
    auth::{Challenge, Scopes, Token, TokenAnswer, Tokens, is_safe_target, parse_challenges},
    content::{Content, digest_like, sha256},
    credentials::FoundCredential,
    media_type,
    model::null_as_default,
    retry::{is_retryable, retry_after},
    source::MAX_DOCUMENT,
};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 5;
/// How much of an error's body is read.
const MAX_ERROR_BODY: u64 = 64 * 1024;
const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
const DIGEST_HEADER: &str = "docker-content-digest";

/// How a [`Client`] behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Repetition of failed calls.
    pub retry: RetryPolicy,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long nothing at all may happen on a request before it counts as failed; not a limit on its whole length.
    pub stall_timeout: Duration,
    /// Registries, besides those on this machine, that are spoken to without TLS.
    pub plain_http: BTreeSet<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(100),
            plain_http: BTreeSet::new(),
        }
    }
}

/// Talks to registries. Cheap to clone; clones share connections and tokens.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keychain: Keychain,
    options: ClientOptions,
    /// Without proxies and certificates, for registries on this machine.
    loopback: OnceLock<reqwest::Client>,
    remote: OnceLock<reqwest::Client>,
    registries: Mutex<HashMap<String, Arc<Registry>>>,
}

/// What is known about one registry.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) host: String,
    base: Url,
    challenge: OnceCell<Challenge>,
    tokens: Tokens,
    /// The size above which uploads are cut into chunks, once the registry has refused a larger body.
    pub(crate) chunk_size: Mutex<Option<u64>>,
}

/// What a registry answered to the first question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Where it is.
    pub url: SafeUrl,
    /// How it wants to be authorised: `none`, `basic` or `bearer`.
    pub authentication: &'static str,
}

/// A manifest or index that a reference led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The image, pinned.
    pub image: PinnedImage,
    /// Media type of the manifest or index.
    pub media_type: String,
    /// Size of the manifest or index in bytes.
    pub size: u64,
}

/// One request that can be made again.
pub(crate) struct Call<'a> {
    /// What is attempted on which object; begins an error's text.
    pub(crate) attempt: &'a str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Body<'a>>,
}

pub(crate) struct Body<'a> {
    pub(crate) content: &'a Content,
    pub(crate) start: u64,
    pub(crate) length: u64,
    /// The blob to report progress for.
    pub(crate) digest: Option<&'a Digest>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(attempt: &'a str, method: Method, url: Url) -> Self {
        Self { attempt, method, url, headers: HeaderMap::new(), body: None }
    }
}

/// An error, and how long the registry asked to wait.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) retry_after: Option<Duration>,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

/// The calls on one repository, with the rights they need.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) registry: Arc<Registry>,
    pub(crate) repository: String,
    pub(crate) scopes: Scopes,
    pub(crate) progress: Arc<dyn Progress>,
}

#[derive(Debug, thiserror::Error)]
#[error("nothing was sent or received for {} s", .0.as_secs())]
struct Stalled(Duration);

impl Client {
    /// A client that finds credentials in `keychain`. Opens nothing yet.
    #[must_use]
    pub fn new(keychain: Keychain, options: ClientOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                keychain,
                options,
                loopback: OnceLock::new(),
                remote: OnceLock::new(),
                registries: Mutex::default(),
            }),
        }
    }

    /// Asks a registry (host with optional port) whether it is one, and how it wants to be authorised. Shows it no credentials.
    pub async fn ping(&self, registry: &str) -> Result<Ping, Error> {
        let registry = self.registry(registry)?;
        let session = self.session(&registry, "", Scopes::none(), Arc::new(NoProgress));
        let authentication = match session.challenge().await? {
            Challenge::None => "none",
            Challenge::Basic => "basic",
            Challenge::Bearer { .. } => "bearer",
        };
        Ok(Ping { url: SafeUrl::from(registry.base.clone()), authentication })
    }

    /// Finds the digest that a reference stands for now, and checks that the registry's document really has it.
    pub async fn resolve(&self, image: &ImageRef) -> Result<Resolved, Error> {
        let session = self.pull_session(image)?;
        let (descriptor, _) = session.manifest(image).await?;
        Ok(Resolved {
            image: image.pin(descriptor.digest),
            media_type: descriptor.media_type,
            size: descriptor.size,
        })
    }

    /// The tags of the image's repository, sorted; all pages are read.
    pub async fn tags(&self, image: &ImageRef) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default, deserialize_with = "null_as_default")]
            tags: Vec<String>,
        }
        let session = self.pull_session(image)?;
        let attempt = format!("list the tags of `{}/{}`", image.registry(), image.repository());
        let mut tags = Vec::new();
        let mut next = Some(session.url("tags/list?n=1000")?);
        while let Some(url) = next.take() {
            let (headers, bytes) = session.document(&attempt, url.clone(), HeaderMap::new()).await?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| session.protocol(&attempt, format!("malformed list: {error}")))?;
            tags.extend(page.tags);
            next = next_page(&url, &headers);
            // A server that names the same page again must not keep us for ever.
            if next.as_ref() == Some(&url) {
                next = None;
            }
        }
        tags.sort();
        tags.dedup();
        Ok(tags)
    }

    /// What refers to an image: signatures, attestations, bills of material. Falls back to the tag schema where the registry
    /// has no referrers API.
    pub async fn referrers(&self, image: &PinnedImage) -> Result<Vec<Descriptor>, Error> {
        let session = self.pull_session(&image.image_ref())?;
        let attempt = format!("list what refers to `{image}`");
        let url = session.url(&format!("referrers/{}", image.digest()))?;
        let bytes = match session.document(&attempt, url, HeaderMap::new()).await {
            Ok((_, bytes)) => bytes,
            Err(error) if error.is_not_found() => {
                let digest = image.digest();
                let tag = format!("{}-{}", digest.algorithm(), digest.hex());
                match session.manifest(&image.image_ref().with_tag(&tag)?).await {
                    Ok((_, bytes)) => bytes,
                    Err(error) if error.is_not_found() => return Ok(Vec::new()),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let index: ImageIndex = serde_json::from_slice(&bytes)
            .map_err(|error| session.protocol(&attempt, format!("malformed index: {error}")))?;
        Ok(index.manifests)
    }

    pub(crate) fn pull_session(&self, image: &ImageRef) -> Result<Session, Error> {
        let registry = self.registry(image.registry())?;
        let scopes = Scopes::none().repository(image.repository(), "pull");
        Ok(self.session(&registry, image.repository(), scopes, Arc::new(NoProgress)))
    }

    pub(crate) fn session(
        &self,
        registry: &Arc<Registry>,
        repository: &str,
        scopes: Scopes,
        progress: Arc<dyn Progress>,
    ) -> Session {
        Session {
            client: self.clone(),
            registry: Arc::clone(registry),
            repository: repository.to_owned(),
            scopes,
            progress,
        }
    }

    pub(crate) fn retry_policy(&self) -> &RetryPolicy {
        &self.inner.options.retry
    }

    pub(crate) fn registry(&self, host: &str) -> Result<Arc<Registry>, Error> {
        let mut registries = self.inner.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = registries.get(host) {
            return Ok(Arc::clone(registry));
        }
        let endpoint = if host == DEFAULT_REGISTRY { "registry-1.docker.io" } else { host };
        let parse = |scheme: &str| {
            Url::parse(&format!("{scheme}://{endpoint}/")).map_err(|error| Error::Protocol {
                attempt: "connect".to_owned(),
                host: host.to_owned(),
                reason: format!("its name makes no URL: {error}"),
            })
        };
        let mut base = parse("https")?;
        if SafeUrl::from(base.clone()).is_loopback() || self.inner.options.plain_http.contains(host) {
            base = parse("http")?;
        }
        let registry = Arc::new(Registry {
            host: host.to_owned(),
            base,
            challenge: OnceCell::new(),
            tokens: Tokens::default(),
            chunk_size: Mutex::default(),
        });
        registries.insert(host.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }

    /// The connection pool for a URL. Registries on this machine are reached without proxies, and without
    /// certificates, which a minimal container may not even have.
    fn http(&self, attempt: &str, url: &Url) -> Result<&reqwest::Client, Error> {
        let loopback = url.scheme() == "http" && SafeUrl::from(url.clone()).is_loopback();
        let cell = if loopback { &self.inner.loopback } else { &self.inner.remote };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("spectra/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.inner.options.connect_timeout)
            .redirect(reqwest::redirect::Policy::none());
        if loopback {
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let client = builder.build().map_err(|source| Error::Transport {
            attempt: attempt.to_owned(),
            host: SafeUrl::from(url.clone()).authority(),
            attempts: 1,
            source: Box::new(source),
        })?;
        Ok(cell.get_or_init(|| client))
    }
}

/// The next page of a list, on the same registry only.
fn next_page(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    if !parameters.contains("rel=\"next\"") && !parameters.contains("rel=next") {
        return None;
    }
    let next = url.join(target).ok()?;
    (next.origin() == url.origin()).then_some(next)
}

impl Session {
    /// A URL below the repository.
    pub(crate) fn url(&self, rest: &str) -> Result<Url, Error> {
        let path = format!("v2/{}/{rest}", self.repository);
        self.registry.base.join(&path).map_err(|error| self.protocol("build a URL", error.to_string()))
    }

    pub(crate) fn protocol(&self, attempt: &str, reason: impl Into<String>) -> Error {
        Error::Protocol {
            attempt: attempt.to_owned(),
            host: self.registry.host.clone(),
            reason: reason.into(),
        }
    }

    /// Where a `Location` header leads, if we may go there.
    pub(crate) fn location(&self, attempt: &str, from: &Url, headers: &HeaderMap) -> Result<Url, Error> {
        let text = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| self.protocol(attempt, "there is no Location header"))?;
        let url =
            from.join(text).map_err(|error| self.protocol(attempt, format!("bad Location: {error}")))?;
        is_safe_target(&self.registry.base, &url).map_err(|reason| {
            self.protocol(attempt, format!("Location `{}`: {reason}", SafeUrl::from(url.clone())))
        })?;
        Ok(url)
    }

    /// Gets a manifest or index. The bytes have been checked against the digest asked for, or else against the one that the
    /// registry states.
    pub(crate) async fn manifest(&self, image: &ImageRef) -> Result<(Descriptor, Bytes), Error> {
        let attempt = format!("get the manifest of `{image}`");
        let reference = image.digest().map_or_else(|| image.tag_or_latest().to_owned(), ToString::to_string);
        let mut accept = HeaderMap::new();
        accept.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        let (headers, bytes) =
            self.document(&attempt, self.url(&format!("manifests/{reference}"))?, accept).await?;
        let stated: Option<Digest> =
            headers.get(DIGEST_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let expected = image.digest().or(stated.as_ref());
        let found = expected.map_or_else(|| sha256(&bytes), |expected| digest_like(expected, &bytes));
        if let Some(expected) = expected.filter(|expected| **expected != found) {
            return Err(Error::DigestMismatch {
                what: format!("the manifest of `{image}` that `{}` sent", self.registry.host),
                expected: expected.clone(),
                found,
            });
        }
        // The document's own type wins over the header, which some proxies rewrite.
        let typed: Typed = serde_json::from_slice(&bytes)
            .map_err(|error| self.protocol(&attempt, format!("malformed manifest: {error}")))?;
        let header = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let header = header.and_then(|value| value.split(';').next()).map(|value| value.trim().to_owned());
        let media_type = typed.media_type.or(header).unwrap_or_else(|| media_type::MANIFEST.to_owned());
        Ok((Descriptor::new(media_type, found, bytes.len() as u64), bytes))
    }

    /// Gets a small blob and checks its digest.
    pub(crate) async fn small_blob(&self, attempt: &str, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let url = self.url(&format!("blobs/{}", descriptor.digest))?;
        let (_, bytes) = self.document(attempt, url, HeaderMap::new()).await?;
        let found = digest_like(&descriptor.digest, &bytes);
        if found != descriptor.digest {
            return Err(Error::DigestMismatch {
                what: format!("a blob of `{}/{}`", self.registry.host, self.repository),
                expected: descriptor.digest.clone(),
                found,
            });
        }
        Ok(bytes)
    }

    /// Gets a document, with retries.
    async fn document(
        &self,
        attempt: &str,
        url: Url,
        headers: HeaderMap,
    ) -> Result<(HeaderMap, Bytes), Error> {
        self.with_retries(attempt, || async {
            let call = Call { headers: headers.clone(), ..Call::new(attempt, Method::GET, url.clone()) };
            let response = self.send(&call).await?;
            if response.status() != StatusCode::OK {
                return Err(self.failed(attempt, response).await);
            }
            let headers = response.headers().clone();
            let (bytes, complete) = self.read(attempt, response, MAX_DOCUMENT).await?;
            if !complete {
                return Err(self.protocol(attempt, format!("it is longer than {MAX_DOCUMENT} bytes")).into());
            }
            Ok((headers, bytes))
        })
        .await
    }

    /// Repeats `action` while its error may pass.
    pub(crate) async fn with_retries<T, F, Fut>(&self, attempt: &str, mut action: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Failed>>,
    {
        let mut number = 1;
        loop {
            let mut failed = match action().await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            let wait = failed
                .error
                .retryable()
                .then(|| self.client.retry_policy().wait(number, failed.retry_after))
                .flatten();
            let Some(wait) = wait else {
                if let Error::Registry { attempts, .. } | Error::Transport { attempts, .. } =
                    &mut failed.error
                {
                    *attempts = number;
                }
                if let (Error::Registry { message, .. }, Some(asked)) =
                    (&mut failed.error, failed.retry_after)
                    && asked > self.client.retry_policy().longest_retry_after
                {
                    let separator = if message.is_empty() { "" } else { "; " };
                    *message = format!("{message}{separator}it asks to wait {} s", asked.as_secs());
                }
                return Err(failed.error);
            };
            self.progress.retrying(attempt, &failed.error.to_string(), wait);
            tokio::time::sleep(wait).await;
            number += 1;
        }
    }

    /// Makes the request once: with authorisation, one renewal of it, and redirects. Any other status is the caller's to judge.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Response, Error> {
        let mut url = call.url.clone();
        let mut asked: Option<String> = None;
        let mut renewed = false;
        let mut redirects = 0;
        loop {
            // Another host never receives the registry's authorisation; signed locations carry their own.
            let own = url.origin() == self.registry.base.origin();
            let (authorization, used) =
                if own { self.authorization(call.attempt, asked.as_deref()).await? } else { (None, None) };
            let response = self.send_bare(call, &url, authorization).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && own && !renewed {
                renewed = true;
                if let Some(challenge) = parse_challenges(response.headers()) {
                    if let Challenge::Bearer { scope, .. } = &challenge {
                        asked.clone_from(scope);
                    }
                    // The first answer decides how this registry works, also if the ping was let through.
                    if self.registry.challenge.get() != Some(&Challenge::None) || used.is_some() {
                        self.forget(used.as_ref(), asked.as_deref()).await;
                        continue;
                    }
                    if let Some(fresh) = self.override_challenge(call, &url, &challenge).await? {
                        return Ok(fresh);
                    }
                }
            }
            let follow = match status.as_u16() {
                307 | 308 => true,
                301..=303 => matches!(call.method, Method::GET | Method::HEAD),
                _ => false,
            };
            if !follow {
                return Ok(response);
            }
            redirects += 1;
            if redirects > MAX_REDIRECTS {
                return Err(self.protocol(call.attempt, format!("more than {MAX_REDIRECTS} redirects")));
            }
            url = self.location(call.attempt, &url, response.headers())?;
        }
    }

    /// A registry that lets `/v2/` pass without asking, but not the call itself.
    async fn override_challenge(
        &self,
        call: &Call<'_>,
        url: &Url,
        challenge: &Challenge,
    ) -> Result<Option<Response>, Error> {
        let found = self.credential().await?;
        let header = match challenge {
            Challenge::None => return Ok(None),
            Challenge::Basic => match &found.credential {
                Credential::Basic { username, password } => basic(username, password),
                _ => return Ok(None),
            },
            Challenge::Bearer { realm, service, scope } => {
                let scopes = self.scopes.and(scope.as_deref());
                let token = self.token(call.attempt, realm, service.as_deref(), &scopes).await?;
                bearer(&token.value)
            }
        };
        self.send_bare(call, url, header).await.map(Some)
    }

    async fn send_bare(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<HeaderValue>,
    ) -> Result<Response, Error> {
        let host = SafeUrl::from(url.clone()).authority();
        let transport = |source: Box<dyn std::error::Error + Send + Sync>| Error::Transport {
            attempt: call.attempt.to_owned(),
            host: host.clone(),
            attempts: 1,
            source,
        };
        let (alive, mut beats) = watch::channel(());
        let mut request = self
            .client
            .http(call.attempt, url)?
            .request(call.method.clone(), url.clone())
            .headers(call.headers.clone());
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = &call.body {
            let progress = Arc::clone(&self.progress);
            let digest = body.digest.cloned();
            let report = move |bytes: u64| {
                alive.send_replace(());
                if let Some(digest) = &digest {
                    progress.sent(digest, bytes);
                }
            };
            request = request
                .header(CONTENT_LENGTH, body.length)
                .body(body.content.body(body.start, body.length, report).await?);
        } else if call.method == Method::POST || call.method == Method::PUT {
            request = request.header(CONTENT_LENGTH, 0);
        }
        let stall = self.client.inner.options.stall_timeout;
        let mut response = std::pin::pin!(request.send());
        loop {
            tokio::select! {
                result = &mut response => {
                    return result.map_err(|error| transport(Box::new(error.without_url())));
                }
                // Every piece of the body that leaves starts the clock again.
                changed = tokio::time::timeout(stall, beats.changed()) => match changed {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => {
                        // The body is out; now the answer alone is awaited.
                        return match tokio::time::timeout(stall, &mut response).await {
                            Ok(result) => result.map_err(|error| transport(Box::new(error.without_url()))),
                            Err(_) => Err(transport(Box::new(Stalled(stall)))),
                        };
                    }
                    Err(_) => return Err(transport(Box::new(Stalled(stall)))),
                },
            }
        }
    }

    /// Reads a body up to `limit`; the second value says whether that was all.
    async fn read(&self, attempt: &str, mut response: Response, limit: u64) -> Result<(Bytes, bool), Error> {
        let stall = self.client.inner.options.stall_timeout;
        let transport = |source: Box<dyn std::error::Error + Send + Sync>| Error::Transport {
            attempt: attempt.to_owned(),
            host: self.registry.host.clone(),
            attempts: 1,
            source,
        };
        let mut bytes = Vec::new();
        loop {
            let chunk = tokio::time::timeout(stall, response.chunk())
                .await
                .map_err(|_| transport(Box::new(Stalled(stall))))?
                .map_err(|error| transport(Box::new(error.without_url())))?;
            let Some(chunk) = chunk else { return Ok((bytes.into(), true)) };
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Ok((bytes.into(), false));
            }
            bytes.extend_from_slice(&chunk);
        }
    }

    /// The error for an answer that is not what was asked for.
    pub(crate) async fn failed(&self, attempt: &str, response: Response) -> Failed {
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        let host = SafeUrl::from(response.url().clone()).authority();
        // Docker Hub answers under another name than the one that people know.
        let host = if host == "registry-1.docker.io" { self.registry.host.clone() } else { host };
        let bytes =
            self.read(attempt, response, MAX_ERROR_BODY).await.map(|(bytes, _)| bytes).unwrap_or_default();
        let message = registry_message(&bytes);
        let attempt = attempt.to_owned();
        let error = match status {
            401 | 403 => {
                let used = match self.credential().await {
                    Ok(found) if found.credential == Credential::Anonymous => found.origin,
                    Ok(found) => format!("the credentials from {}", found.origin),
                    Err(_) => "the request".to_owned(),
                };
                Error::NotAuthorised { attempt, host, status, used, message }
            }
            404 => Error::NotFound { attempt, host, status, message },
            _ => Error::Registry { attempt, host, status, attempts: 1, message },
        };
        Failed { error, retry_after }
    }

    async fn credential(&self) -> Result<FoundCredential, Error> {
        self.client.inner.keychain.find(&self.registry.host, &self.repository).await
    }

    /// Learns once a registry how it wants to be authorised.
    async fn challenge(&self) -> Result<&Challenge, Error> {
        let attempt = format!("reach the registry `{}`", self.registry.host);
        self.registry
            .challenge
            .get_or_try_init(|| {
                self.with_retries(&attempt, || async {
                    let url = self
                        .registry
                        .base
                        .join("v2/")
                        .map_err(|error| self.protocol(&attempt, error.to_string()))?;
                    let response =
                        self.send_bare(&Call::new(&attempt, Method::GET, url.clone()), &url, None).await?;
                    match response.status().as_u16() {
                        401 => parse_challenges(response.headers()).ok_or_else(|| {
                            self.protocol(&attempt, "401 without a Bearer or Basic challenge").into()
                        }),
                        200..=299 => Ok(Challenge::None),
                        // Not a registry, most likely a web site; or a registry in trouble.
                        _ => Err(self.failed(&attempt, response).await),
                    }
                })
            })
            .await
    }

    /// The header to send, and the token in it if it is one that can be renewed.
    async fn authorization(
        &self,
        attempt: &str,
        asked: Option<&str>,
    ) -> Result<(Option<HeaderValue>, Option<Token>), Error> {
        let challenge = self.challenge().await?;
        if *challenge == Challenge::None {
            return Ok((None, None));
        }
        match (challenge, self.credential().await?.credential) {
            (_, Credential::RegistryToken(token)) => Ok((bearer(&token), None)),
            (Challenge::Basic, Credential::Basic { username, password }) => {
                Ok((basic(&username, &password), None))
            }
            (Challenge::Bearer { realm, service, scope: _ }, _) => {
                let scopes = self.scopes.and(asked);
                let token = self.token(attempt, realm, service.as_deref(), &scopes).await?;
                Ok((bearer(&token.value), Some(token)))
            }
            _ => Ok((None, None)),
        }
    }

    /// A usable token for the scopes; one request for all who need it at the same time.
    async fn token(
        &self,
        attempt: &str,
        realm: &str,
        service: Option<&str>,
        scopes: &Scopes,
    ) -> Result<Token, Error> {
        let slot = self.registry.tokens.slot(scopes);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.is_usable()) {
            return Ok(token.clone());
        }
        let token = self.fetch_token(attempt, realm, service, scopes).await?;
        *slot = Some(token.clone());
        Ok(token)
    }

    /// Drops a token that the registry refused, unless someone has replaced it since.
    async fn forget(&self, used: Option<&Token>, asked: Option<&str>) {
        let Some(used) = used else { return };
        for scopes in [self.scopes.and(asked), self.scopes.clone()] {
            let slot = self.registry.tokens.slot(&scopes);
            let mut slot = slot.lock().await;
            if slot.as_ref().is_some_and(|token| token.value == used.value) {
                *slot = None;
            }
        }
    }

    async fn fetch_token(
        &self,
        attempt: &str,
        realm: &str,
        service: Option<&str>,
        scopes: &Scopes,
    ) -> Result<Token, Error> {
        let url =
            Url::parse(realm).map_err(|error| self.protocol(attempt, format!("bad token realm: {error}")))?;
        is_safe_target(&self.registry.base, &url).map_err(|reason| {
            self.protocol(attempt, format!("token realm `{}`: {reason}", SafeUrl::from(url.clone())))
        })?;
        let found = self.credential().await?;
        let attempt = format!("{attempt}: get an access token");
        self.with_retries(&attempt, || async {
            let mut url = url.clone();
            let mut headers = HeaderMap::new();
            let mut form = None;
            if let Credential::IdentityToken(token) = &found.credential {
                let scope = scopes.iter().collect::<Vec<_>>().join(" ");
                let encoded = url::form_urlencoded::Serializer::new(String::new())
                    .append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", "spectra")
                    .append_pair("service", service.unwrap_or_default())
                    .append_pair("scope", &scope)
                    .append_pair("refresh_token", token.expose())
                    .finish();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
                form = Some(Content::Memory(encoded.into()));
            } else {
                let mut query = url.query_pairs_mut();
                if let Some(service) = service {
                    query.append_pair("service", service);
                }
                for scope in scopes.iter() {
                    query.append_pair("scope", scope);
                }
                drop(query);
            }
            let authorization = match &found.credential {
                Credential::Basic { username, password } => basic(username, password),
                _ => None,
            };
            let call = Call {
                attempt: &attempt,
                method: if form.is_some() { Method::POST } else { Method::GET },
                url: url.clone(),
                headers,
                body: form.as_ref().map(|content| Body {
                    content,
                    start: 0,
                    length: content.len(),
                    digest: None,
                }),
            };
            let response = self.send_bare(&call, &url, authorization).await?;
            if response.status() != StatusCode::OK {
                return Err(self.failed(&attempt, response).await);
            }
            let (bytes, _) = self.read(&attempt, response, MAX_DOCUMENT).await?;
            serde_json::from_slice::<TokenAnswer>(&bytes)
                .ok()
                .and_then(TokenAnswer::into_token)
                .ok_or_else(|| self.protocol(&attempt, "the token service's answer holds no token").into())
        })
        .await
    }
}

/// The part of a manifest or index that says which of them it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    media_type: Option<String>,
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn bearer(token: &Secret<String>) -> Option<HeaderValue> {
    sensitive(&format!("Bearer {}", token.expose()))
}

fn basic(username: &str, password: &Secret<String>) -> Option<HeaderValue> {
    use base64::Engine as _;
    let pair = format!("{username}:{}", password.expose());
    sensitive(&format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair)))
}

/// What an error's body says, in one line: OCI's list of errors, a token service's message, or plain text.
fn registry_message(bytes: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Body {
        #[serde(deserialize_with = "null_as_default")]
        errors: Vec<Entry>,
        details: Option<String>,
        message: Option<String>,
        error_description: Option<String>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Entry {
        code: String,
        message: String,
    }
    const LONGEST: usize = 300;
    let text = match serde_json::from_slice::<Body>(bytes) {
        Ok(body) if !body.errors.is_empty() => {
            let parts = body.errors.iter().map(|entry| match (entry.code.as_str(), entry.message.as_str()) {
                ("", message) => message.to_owned(),
                (code, "") => code.to_owned(),
                (code, message) => format!("{code}: {message}"),
            });
            parts.collect::<Vec<_>>().join("; ")
        }
        Ok(body) => body.details.or(body.message).or(body.error_description).unwrap_or_default(),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes);
            // A page for browsers says nothing in one line.
            if text.trim_start().starts_with('<') { String::new() } else { text.into_owned() }
        }
    };
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Whether an answer may be different next time; for callers that look at statuses themselves.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    is_retryable(status.as_u16())
}
