//! An OCI distribution registry on the local file system.
//!
//! [`Registry::router`] answers everything below `/v2/`. State is on disk alone, so a restart needs nothing.
//! The registry is strict where clients are usually let off: what they do wrong is refused as the distribution
//! specification says, and kept in a list ([`Registry::violations`]) that tests read.

mod auth;
mod blobs;
mod error;
mod incoming;
mod lists;
mod manifests;
mod met;
mod name;
mod quirks;
mod range;
mod storage;
mod store;
mod trouble;
mod unlisted;
mod upload;
mod violation;
mod waits;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use spectra_types::Digest;

pub(crate) use self::store::{Hasher, digest_of};
pub use self::{
    auth::RegistryAuth,
    name::{NameError, RepositoryName},
    quirks::{Login, Mounts, Quirks, Referrers, Scheme, TokenField},
    violation::{Violation, ViolationKind},
};
use self::{
    auth::{Action, Gate, Need, TOKEN_PATH},
    error::{ApiError, Code},
    incoming::Incoming,
    met::Met,
    quirks::Recent,
    storage::{Signed, Storage, for_loopback},
    store::Store,
    trouble::{Trouble, can_do, cut},
    unlisted::Unlisted,
    upload::Uploads,
    violation::Violations,
    waits::Waits,
};
use crate::{
    clock::Clock,
    faults::{Faults, Rule, Stage},
};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Where the registry keeps its data, whom it lets in, and how much it takes.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Folder of the store; created if absent.
    pub root: PathBuf,
    /// Whom it lets in.
    pub auth: RegistryAuth,
    /// Largest manifest, in bytes; larger ones are refused with 413.
    pub max_manifest: u64,
    /// Largest blob, in bytes; larger ones are refused with 413.
    pub max_blob: u64,
}

impl RegistryConfig {
    /// An open registry with the usual limits: 4 MiB a manifest, 16 GiB a blob.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), auth: RegistryAuth::Anonymous, max_manifest: 4 << 20, max_blob: 16 << 30 }
    }
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the registry store `{}`; nothing was changed", root.display())]
pub struct OpenError {
    root: PathBuf,
    #[source]
    source: io::Error,
}

/// A registry. Clones share it.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    uploads: Uploads,
    violations: Violations,
    met: Met,
    unlisted: Unlisted,
    gate: Gate,
    quirks: RwLock<Arc<Quirks>>,
    recent: Mutex<Recent>,
    faults: Arc<Faults>,
    clock: Option<Clock>,
    waits: Waits,
    storage: tokio::sync::OnceCell<Storage>,
    max_manifest: u64,
    max_blob: u64,
}

impl Registry {
    /// Opens the store. Only one process at a time may have it open.
    pub async fn open(config: RegistryConfig) -> Result<Self, OpenError> {
        Self::open_with(config, Arc::default(), None).await
    }

    /// Opens the store of a registry that is a part of the sandbox: it shares fault rules and time. Without a clock the
    /// rules' `after` and `for` mean nothing.
    pub(crate) async fn open_with(
        config: RegistryConfig,
        faults: Arc<Faults>,
        clock: Option<Clock>,
    ) -> Result<Self, OpenError> {
        let fail = |source| OpenError { root: config.root.clone(), source };
        let store = Store::open(config.root.clone()).await.map_err(fail)?;
        let uploads = Uploads::default();
        uploads.purge(&store).await.map_err(fail)?;
        Ok(Self(Arc::new(Shared {
            store,
            uploads,
            violations: Violations::default(),
            met: Met::default(),
            unlisted: Unlisted::default(),
            gate: Gate::new(config.auth),
            quirks: RwLock::default(),
            recent: Mutex::default(),
            faults,
            clock,
            waits: Waits::default(),
            storage: tokio::sync::OnceCell::new(),
            max_manifest: config.max_manifest,
            max_blob: config.max_blob,
        })))
    }

    /// Answers `/v2/` and everything below it.
    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// What clients did wrong since the start or the last [`Registry::clear_violations`], oldest first; at most
    /// the last thousand. After them comes what they have not done yet: referrers that no list has.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        let mut all = self.0.violations.all();
        all.extend(self.unlisted());
        all
    }

    /// Sets a fault rule, written as for `POST /_sandbox/faults`; the error says what is wrong with it.
    pub fn set_fault(&self, rule: serde_json::Value) -> Result<(), String> {
        let rule: Rule = serde_json::from_value(rule).map_err(|error| error.to_string())?;
        rule.check()?;
        self.0.faults.set(rule, self.now());
        Ok(())
    }

    /// Removes all fault rules, and with them what clients were asked to wait for.
    pub fn clear_faults(&self) {
        self.0.faults.clear(None);
        self.forget_waits();
    }

    /// How often the fault rules have applied, all together.
    #[must_use]
    pub fn faults_applied(&self) -> u32 {
        self.0.faults.list().iter().map(|rule| rule.applied).sum()
    }

    fn now(&self) -> crate::clock::Tick {
        self.0.clock.as_ref().map_or(0, Clock::now)
    }

    /// Empties the list of violations.
    pub fn clear_violations(&self) {
        self.0.violations.clear();
        self.0.unlisted.clear();
    }
}

/// What a path names. Repository names contain slashes, so a path is read from its end.
#[derive(Debug, Clone, Copy)]
enum Target<'a> {
    Base,
    Token,
    Catalog,
    Tags(&'a str),
    Uploads(&'a str),
    Upload(&'a str, &'a str),
    Blob(&'a str, &'a str),
    Manifest(&'a str, &'a str),
    Referrers(&'a str, &'a str),
}

impl<'a> Target<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        if path == "/v2" || path == "/v2/" {
            return Some(Self::Base);
        }
        let path = path.strip_prefix("/v2/")?;
        match path {
            TOKEN_PATH => return Some(Self::Token),
            "_catalog" => return Some(Self::Catalog),
            _ => {}
        }
        let ends = |suffix: &str| path.strip_suffix(suffix);
        if let Some(name) = ends("/tags/list") {
            return Some(Self::Tags(name));
        }
        if let Some(name) = ends("/blobs/uploads/").or_else(|| ends("/blobs/uploads")) {
            return Some(Self::Uploads(name));
        }
        let (front, last) = path.rsplit_once('/')?;
        if let Some(name) = front.strip_suffix("/blobs/uploads") {
            return Some(Self::Upload(name, last));
        }
        let (name, kind) = front.rsplit_once('/')?;
        match kind {
            "blobs" => Some(Self::Blob(name, last)),
            "manifests" => Some(Self::Manifest(name, last)),
            "referrers" => Some(Self::Referrers(name, last)),
            _ => None,
        }
    }
}

impl Target<'_> {
    /// The name by which fault rules speak of the request; `None` where nothing is offered.
    fn request(&self, parts: &Parts) -> Option<&'static str> {
        let method = parts.method.as_str();
        Some(match (self, method) {
            (Self::Base, _) => "ping",
            (Self::Token, _) => "token",
            (Self::Catalog, _) => "catalog",
            (Self::Tags(_), _) => "tags",
            (Self::Referrers(..), _) => "referrers",
            (Self::Uploads(_), "POST") if query(parts, "mount").is_some() => "mount",
            (Self::Uploads(_), "POST") if query(parts, "digest").is_some() => "upload_post",
            (Self::Uploads(_), "POST") => "upload_begin",
            (Self::Upload(..), "GET") => "upload_status",
            (Self::Upload(..), "PATCH") => "upload_patch",
            (Self::Upload(..), "PUT") => "upload_put",
            (Self::Upload(..), "DELETE") => "upload_cancel",
            (Self::Blob(..), "HEAD") => "blob_head",
            (Self::Blob(..), "GET") => "blob_get",
            (Self::Blob(..), "DELETE") => "blob_delete",
            (Self::Manifest(..), "HEAD") => "manifest_head",
            (Self::Manifest(..), "GET") => "manifest_get",
            (Self::Manifest(..), "PUT") => "manifest_put",
            (Self::Manifest(..), "DELETE") => "manifest_delete",
            _ => return None,
        })
    }
}

async fn answer(State(registry): State<Registry>, request: Request<Body>) -> Response {
    answer_to(registry, request).await
}

/// Answers a request, with everything that fault rules do to it.
async fn answer_to(registry: Registry, request: Request<Body>) -> Response {
    let request = match for_loopback(request) {
        Ok(request) => request,
        Err(refused) => return refused.await,
    };
    let (parts, body) = request.into_parts();
    let head_only = parts.method == Method::HEAD;
    let trouble = registry.trouble(&parts);
    if let Some(silence) = trouble.silence() {
        registry.settle(&trouble);
        tokio::time::sleep(silence).await;
        return cut();
    }
    // A task of its own: when a client goes away, the handler of its request is dropped at any await. An upload
    // must write what it has and put its file and offset in order first.
    let answered = tokio::spawn(async move {
        let response = registry.respond(&parts, body, &trouble).await;
        registry.settle(&trouble);
        response
    })
    .await;
    let mut response = match answered {
        Ok(response) => response,
        Err(error) => ApiError::new(Code::Unknown, format!("the registry failed: {error}")).into_response(),
    };
    if head_only {
        *response.body_mut() = Body::empty();
    }
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    response
}

/// The path with the colon of a digest as it is. Some clients encode it; anything else encoded fails the grammar.
fn decoded(parts: &Parts) -> String {
    parts.uri.path().replace("%3A", ":").replace("%3a", ":")
}

impl Registry {
    /// What fault rules do to a request.
    fn trouble(&self, parts: &Parts) -> Trouble {
        let path = decoded(parts);
        let Some(request) = Target::parse(&path).and_then(|target| target.request(parts)) else {
            return Trouble::default();
        };
        let name = format!("registry.{request}");
        let can = |action: &_| can_do(action, parts);
        Trouble::new(self.0.faults.take_rules(Stage::Registry, &name, &[], self.now(), can))
    }

    /// Rules that could do nothing have not applied, and wait for a request that they are good for.
    fn settle(&self, trouble: &Trouble) {
        trouble.idle().for_each(|id| self.0.faults.give_back(id));
    }

    async fn respond(&self, parts: &Parts, body: Body, trouble: &Trouble) -> Response {
        self.check_wait(parts);
        let incoming = Incoming::new(&parts.headers, body);
        if let Some(response) = trouble.instead() {
            incoming.drain().await;
            self.note_wait(parts, &response);
            return response;
        }
        if trouble.revokes_tokens() {
            let revoked = self.0.gate.revoke();
            if revoked != Some(false) {
                trouble.has_revoked();
            }
            if revoked.is_none() {
                incoming.drain().await;
                return ApiError::new(Code::Unauthorized, "the credentials were revoked").into_response();
            }
        }
        let limit = self.body_limit(parts);
        let body = incoming.body(limit.map(|(limit, _)| limit));
        let (body, broken) = trouble.request_body(&parts.method, body);
        let mut response = self.admitted(parts, body).await.unwrap_or_else(IntoResponse::into_response);
        if let Some((limit, switch)) = limit.filter(|_| incoming.is_over()) {
            response = self.too_large(limit, switch).into_response();
        }
        if !broken.load(std::sync::atomic::Ordering::SeqCst) {
            incoming.drain().await;
        }
        self.note_wait(parts, &response);
        trouble.spoil(&parts.method, response, &broken)
    }

    async fn admitted(&self, parts: &Parts, body: Body) -> Result<Response, ApiError> {
        let path = decoded(parts);
        let target = Target::parse(&path).ok_or_else(|| {
            ApiError::new(Code::NameUnknown, format!("`{path}` names nothing in a registry"))
        })?;
        self.check_quirks(parts)?;
        // An error, too, may say where to go on.
        let mut response = self.route(parts, &target, body).await.unwrap_or_else(IntoResponse::into_response);
        if self.quirks().hide_digest && response.headers_mut().remove(CONTENT_DIGEST).is_some() {
            self.meet("hide_digest");
        }
        self.relocate(parts, &target, response).await
    }

    /// Checks that the request may do this; whoever has a signed address has been checked before.
    fn check(&self, parts: &Parts, needs: &[Need<'_>]) -> Result<(), ApiError> {
        if parts.extensions.get::<Signed>().is_some() {
            return Ok(());
        }
        let checked = self.0.gate.check(&parts.headers, needs);
        if checked.is_err() && self.quirks().login.is_some() {
            self.meet("login");
        }
        checked
    }

    async fn route(&self, parts: &Parts, target: &Target<'_>, body: Body) -> Result<Response, ApiError> {
        let method = match parts.method.as_str() {
            "HEAD" => "GET",
            method => method,
        };
        let get = method == "GET";
        match *target {
            Target::Base if get => {
                self.check(parts, &[])?;
                Ok((StatusCode::OK, axum::Json(serde_json::json!({}))).into_response())
            }
            Target::Token if get || method == "POST" => self.token(parts, body).await,
            Target::Catalog if get => {
                self.check(parts, &[Need::Catalog])?;
                self.catalog(parts).await
            }
            Target::Tags(name) if get => self.tags(parts, &self.admit(parts, name, Action::Pull)?).await,
            Target::Referrers(name, digest) if get => {
                let name = self.admit(parts, name, Action::Pull)?;
                self.referrers(parts, &name, &parse_digest(digest)?).await
            }
            Target::Uploads(name) if method == "POST" => {
                let name = self.admit(parts, name, Action::Push)?;
                self.begin_upload(parts, &name, body).await
            }
            Target::Upload(name, id) => {
                let name = self.admit(parts, name, Action::Push)?;
                self.upload(parts, method, &name, id, body).await
            }
            Target::Blob(name, digest) if get => {
                let name = self.admit(parts, name, Action::Pull)?;
                self.blob(parts, &name, &parse_digest(digest)?).await
            }
            Target::Blob(name, digest) if method == "DELETE" => {
                let name = self.admit(parts, name, Action::Delete)?;
                self.delete_blob(&name, &parse_digest(digest)?).await
            }
            Target::Manifest(name, reference) => {
                let action = match method {
                    "GET" => Action::Pull,
                    "DELETE" => Action::Delete,
                    _ => Action::Push,
                };
                let name = self.admit(parts, name, action)?;
                self.manifest(parts, method, &name, reference, body).await
            }
            _ => Err(unsupported(&parts.method)),
        }
    }

    /// Parses the repository's name and checks that the request may act on it, and then that a switch leaves it there.
    fn admit(&self, parts: &Parts, name: &str, action: Action) -> Result<RepositoryName, ApiError> {
        let name: RepositoryName =
            name.parse().map_err(|error: NameError| ApiError::new(Code::NameInvalid, error.to_string()))?;
        self.check(parts, &[Need::Repository(&name, action)])?;
        self.check_offered(parts)?;
        Ok(name)
    }

    async fn token(&self, parts: &Parts, body: Body) -> Result<Response, ApiError> {
        /// Far more than any form of credentials.
        const MAX_FORM: usize = 64 << 10;
        let form = if parts.method == Method::POST {
            axum::body::to_bytes(body, MAX_FORM)
                .await
                .map_err(|error| ApiError::new(Code::Denied, format!("the form is unreadable: {error}")))?
        } else {
            parts.uri.query().unwrap_or_default().to_owned().into()
        };
        let form: Vec<(String, String)> = url::form_urlencoded::parse(&form).into_owned().collect();
        let quirks = self.quirks();
        let response = self.0.gate.issue(&parts.headers, &form, &quirks);
        if response.status().is_success() {
            if quirks.token_field != TokenField::Both {
                self.meet("token_field");
            }
            if quirks.hide_expiry {
                self.meet("hide_expiry");
            }
        }
        Ok(response)
    }
}

fn unsupported(method: &Method) -> ApiError {
    ApiError::new(Code::Unsupported, format!("`{method}` is not offered here"))
}

fn parse_digest(text: &str) -> Result<Digest, ApiError> {
    text.parse()
        .map_err(|error: spectra_types::DigestError| ApiError::new(Code::DigestInvalid, error.to_string()))
}

/// A parameter of the query.
fn query(parts: &Parts, name: &str) -> Option<String> {
    url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A header that is text.
fn text_header(parts: &Parts, name: &HeaderName) -> Option<String> {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Builds an answer; header values are paths, digests and numbers made here, so they are always valid.
fn reply(status: StatusCode, headers: &[(HeaderName, String)], body: Body) -> Response {
    let mut response = (status, body).into_response();
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    response
}
