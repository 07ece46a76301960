//! The registry client: what it is set up with, its connections, and the calls that read.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use reqwest::header::{HeaderMap, LINK};
use spectra_types::{DEFAULT_REGISTRY, ImageRef, PinnedImage, SafeUrl};
use url::Url;

use crate::{
    Error, Keychain, NoProgress, Progress, RetryPolicy,
    auth::{Challenge, Scopes, Tokens},
    authorize::FoundCredentials,
    session::Session,
};

/// How a [`Client`] behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Repetition of failed calls.
    pub retry: RetryPolicy,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long nothing at all may happen on a request before it counts as failed; not a limit on its whole length. Six times as long
    /// while a registry makes a blob or a manifest of what it got; and a document may take three times as long, all in all.
    pub stall_timeout: Duration,
    /// Registries, as hosts with optional ports, besides those on this machine that are spoken to without TLS. Logins that are known for
    /// them go there in the clear.
    pub plain_http: BTreeSet<String>,
    /// Registries on this machine, as hosts with optional ports, that are spoken to with TLS. They count before
    /// [`plain_http`](Self::plain_http).
    pub tls: BTreeSet<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            retry: RetryPolicy::default(),
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(100),
            plain_http: BTreeSet::new(),
            tls: BTreeSet::new(),
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
    /// Without proxies, for registries on this machine that have TLS.
    loopback_tls: OnceLock<reqwest::Client>,
    /// For other registries without TLS.
    plain: OnceLock<reqwest::Client>,
    remote: OnceLock<reqwest::Client>,
    registries: Mutex<HashMap<String, Arc<Registry>>>,
}

/// What is known about one registry.
#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) host: String,
    pub(crate) base: Url,
    /// What it asks for, once it was asked. The answer to a call may replace it.
    pub(crate) challenge: tokio::sync::Mutex<Option<Challenge>>,
    pub(crate) credentials: FoundCredentials,
    pub(crate) tokens: Tokens,
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

impl Client {
    /// A client that finds credentials in `keychain`. Opens nothing yet.
    #[must_use]
    pub fn new(keychain: Keychain, options: ClientOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                keychain,
                options,
                loopback: OnceLock::new(),
                loopback_tls: OnceLock::new(),
                plain: OnceLock::new(),
                remote: OnceLock::new(),
                registries: Mutex::default(),
            }),
        }
    }

    /// Asks a registry (host with optional port) whether it is one, and how it wants to be authorised. Shows it no credentials.
    pub async fn ping(&self, registry: &str) -> Result<Ping, Error> {
        let registry = self.registry(registry)?;
        let session = self.session(&registry, "", Scopes::none(), Arc::new(NoProgress));
        let authentication = match session.challenge(None).await? {
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
            cache: None,
            new_repository: false,
            unreadable: Arc::default(),
        }
    }

    pub(crate) fn keychain(&self) -> &Keychain {
        &self.inner.keychain
    }

    pub(crate) fn stall_timeout(&self) -> Duration {
        self.inner.options.stall_timeout
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
        let options = &self.inner.options;
        let plain = SafeUrl::from(base.clone()).is_loopback() || options.plain_http.contains(host);
        if plain && !options.tls.contains(host) {
            base = parse("http")?;
        }
        let registry = Arc::new(Registry {
            host: host.to_owned(),
            base,
            challenge: tokio::sync::Mutex::default(),
            credentials: FoundCredentials::default(),
            tokens: Tokens::default(),
            chunk_size: Mutex::default(),
        });
        registries.insert(host.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }

    /// The connection pool for a URL. Registries on this machine are reached without proxies, and as a rule without certificates, which
    /// a minimal container may not even have.
    pub(crate) fn http(&self, attempt: &str, url: &Url) -> Result<&reqwest::Client, Error> {
        let plain = url.scheme() == "http";
        let loopback = SafeUrl::from(url.clone()).is_loopback();
        let cell = match (loopback, plain) {
            (true, true) => &self.inner.loopback,
            (true, false) => &self.inner.loopback_tls,
            (false, true) => &self.inner.plain,
            (false, false) => &self.inner.remote,
        };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let builder = |certificates: bool| {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("spectra/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(self.inner.options.connect_timeout)
                .redirect(reqwest::redirect::Policy::none());
            let builder = if loopback { builder.no_proxy() } else { builder };
            if certificates { builder } else { builder.tls_certs_only([]) }
        };
        let built = match (loopback, plain) {
            (true, true) => builder(false).build(),
            // A proxy may have to be reached with TLS.
            (false, true) => builder(true).build().or_else(|_| builder(false).build()),
            (_, false) => builder(true).build(),
        };
        let client = built.map_err(|source| Error::Transport {
            attempt: attempt.to_owned(),
            host: SafeUrl::from(url.clone()).authority(),
            attempts: 0,
            source: Box::new(source),
        })?;
        Ok(cell.get_or_init(|| client))
    }
}

/// The next page of a list, on the same registry only.
pub(crate) fn next_page(url: &Url, headers: &HeaderMap) -> Option<Url> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    if !parameters.contains("rel=\"next\"") && !parameters.contains("rel=next") {
        return None;
    }
    let next = url.join(target).ok()?;
    (next.origin() == url.origin()).then_some(next)
}
