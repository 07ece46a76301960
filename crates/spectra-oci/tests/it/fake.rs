//! An in-process registry: strict about the protocol, with faults to switch on, and a record of all traffic.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use futures::StreamExt as _;
use sha2::Digest as _;
use spectra_oci::{Artifact, Client, ClientOptions, ImageBuilder, Keychain, LayerInput, Layout, RetryPolicy};
use spectra_types::ImageRef;

/// What happens to the next request that fits.
pub(crate) enum Action {
    /// This answer.
    Answer(StatusCode, Vec<(&'static str, String)>),
    /// The connection breaks after this many bytes of the body.
    Reset(usize),
    /// All tokens become invalid first.
    Revoke,
    /// The answer takes so long.
    Think(Duration),
    /// The answer has no end: one byte each time.
    Drip(Duration),
}

pub(crate) struct Fault {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) action: Action,
}

#[expect(clippy::struct_excessive_bools, reason = "each switches one habit of registries")]
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    /// Method, path and query, status.
    pub(crate) log: Vec<String>,
    /// What the client did that it must not do.
    pub(crate) violations: Vec<String>,
    pub(crate) faults: Vec<Fault>,
    /// Bodies above this are refused with 413.
    pub(crate) max_body: Option<usize>,
    pub(crate) min_chunk: Option<usize>,
    /// Where uploads and blobs are redirected to.
    pub(crate) elsewhere: Option<SocketAddr>,
    pub(crate) mounts: bool,
    /// Whether what arrives before a connection breaks is kept, to be resumed.
    pub(crate) keeps_what_arrived: bool,
    /// Whether a repository without manifests is unknown.
    pub(crate) repositories_are_born_with_a_manifest: bool,
    /// Whether it keeps lists of referrers, pages of one entry each.
    pub(crate) lists_referrers: bool,
    /// Whether its list of referrers is two empty pages, each of which leads to the other.
    pub(crate) referrers_lead_in_circles: bool,
    /// Whether it keeps to `If-Match` and `If-None-Match` when a manifest is written.
    pub(crate) keeps_conditions: bool,
    /// Where the next readers of a tag `sha256-…` wait for each other.
    pub(crate) readers_meet: Option<Arc<tokio::sync::Barrier>>,
    /// Where the end of every upload waits for a permit.
    pub(crate) uploads_wait: Option<Arc<tokio::sync::Semaphore>>,
    /// Whether blobs are sent from where `Range` says; many caches in front of registries ignore it.
    pub(crate) ranges: bool,
    /// The next blobs that are read: how many bytes of the body arrive before the connection breaks.
    pub(crate) cuts: Vec<usize>,
    /// `Range` of every blob that was read.
    pub(crate) ranges_asked: Vec<String>,
    /// `user:password` that the token service or Basic wants.
    pub(crate) login: Option<&'static str>,
    pub(crate) scheme: Option<&'static str>,
    /// Whether reading wants no login, not even the first question.
    pub(crate) everybody_reads: bool,
    /// The token service refuses whoever asks for this repository, whatever else is asked for.
    pub(crate) closed: Option<&'static str>,
    pub(crate) tokens: BTreeSet<String>,
    pub(crate) token_requests: Vec<String>,
    /// `Authorization` as received, in order, on any path but the token service's.
    pub(crate) authorizations: Vec<String>,
    next: usize,
    pub(crate) body_bytes: usize,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<Registry>>,
    pub(crate) address: SocketAddr,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self { state: Arc::default(), address: listener.local_addr().unwrap() };
        let router = Router::new().fallback(handle).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Registry> {
        self.state.lock().unwrap()
    }

    pub(crate) fn image(&self, rest: &str) -> ImageRef {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn fault(&self, method: Method, path: &'static str, action: Action) {
        self.lock().faults.push(Fault { method, path, action });
    }

    /// How many requests of this method had `part` in their path.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.lock().log.iter().filter(|line| line.starts_with(method) && line.contains(part)).count()
    }
}

pub(crate) fn client() -> Client {
    client_with(Keychain::empty())
}

pub(crate) fn client_with(keychain: Keychain) -> Client {
    let retry = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
    Client::new(keychain, ClientOptions { retry, ..ClientOptions::default() })
}

/// A small image of one layer; `size` bytes of it do not compress.
pub(crate) fn image(directory: &Path, size: usize) -> Artifact {
    let content = directory.join("content");
    std::fs::create_dir_all(&content).unwrap();
    let mut noise = Vec::with_capacity(size);
    let mut hash = sha2::Sha256::digest(b"noise");
    while noise.len() < size {
        noise.extend_from_slice(&hash);
        hash = sha2::Sha256::digest(hash);
    }
    std::fs::write(content.join("app"), noise).unwrap();
    let layout = Layout::create(directory.join("layout")).unwrap();
    ImageBuilder::new()
        .layer(LayerInput { directory: content, target: "/".to_owned() })
        .entrypoint(vec!["/app".to_owned()])
        .label("team", "blue")
        .build(&layout, Some("v1"))
        .unwrap();
    spectra_oci::open(layout.root(), None).unwrap()
}

fn answer(status: u16) -> axum::http::response::Builder {
    Response::builder().status(status)
}

fn error(status: u16, code: &str, message: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":null}}]}}"#);
    answer(status).header("content-type", "application/json").body(body.into()).unwrap()
}

fn empty(status: u16) -> Response {
    answer(status).body(Body::empty()).unwrap()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap().to_string()
}

async fn handle(State(fake): State<Fake>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let authorization =
        parts.headers.get(header::AUTHORIZATION).map_or("", |v| v.to_str().unwrap()).to_owned();
    let action = {
        let mut state = fake.lock();
        let fits = |fault: &Fault| fault.method == parts.method && target.contains(fault.path);
        let at = state.faults.iter().position(fits);
        at.map(|at| state.faults.remove(at).action)
    };
    let limit = if let Some(Action::Reset(after)) = action { after } else { usize::MAX };
    let mut bytes = Vec::new();
    let mut stream = body.into_data_stream();
    while bytes.len() < limit {
        let Some(Ok(piece)) = stream.next().await else { break };
        bytes.extend_from_slice(&piece);
    }
    fake.lock().body_bytes += bytes.len();
    let response = match action {
        Some(Action::Reset(_)) => {
            keep(&mut fake.lock(), &parts.uri, &bytes);
            let broken = futures::stream::iter([Err::<Vec<u8>, _>(std::io::Error::other("reset"))]);
            answer(200).header("content-length", 10).body(Body::from_stream(broken)).unwrap()
        }
        Some(Action::Drip(time)) => {
            let drops = futures::stream::repeat(()).then(move |()| async move {
                tokio::time::sleep(time).await;
                Ok::<_, std::io::Error>(b" ".to_vec())
            });
            answer(200).body(Body::from_stream(drops)).unwrap()
        }
        Some(Action::Answer(status, headers)) => {
            let mut builder = Response::builder().status(status);
            for (name, value) in headers {
                builder = builder.header(name, value);
            }
            let body = r#"{"errors":[{"code":"TROUBLE","message":"on purpose"}]}"#;
            builder.body(body.into()).unwrap()
        }
        other => {
            let meeting = if parts.method == Method::GET && target.contains("/manifests/sha256-") {
                fake.lock().readers_meet.clone()
            } else {
                None
            };
            if let Some(meeting) = meeting {
                // Those that come later do not wait: they are no longer the first readers.
                meeting.wait().await;
                fake.lock().readers_meet = None;
            }
            let gate = if parts.method == Method::PUT && target.contains("/blobs/uploads/") {
                fake.lock().uploads_wait.clone()
            } else {
                None
            };
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
            if let Some(Action::Think(time)) = other {
                tokio::time::sleep(time).await;
            }
            if matches!(other, Some(Action::Revoke)) {
                fake.lock().tokens.clear();
            }
            let mut state = fake.lock();
            route(&mut state, fake.address, &parts.method, &target, &parts.headers, &authorization, bytes)
        }
    };
    let mut state = fake.lock();
    state.log.push(format!("{} {target} {}", parts.method, response.status().as_u16()));
    if !target.starts_with("/token") {
        state.authorizations.push(authorization);
    }
    response
}

/// What a registry does with the part of a body that arrived.
fn keep(state: &mut Registry, uri: &axum::http::Uri, bytes: &[u8]) {
    let id = uri.path().rsplit('/').next().unwrap_or_default();
    if state.keeps_what_arrived
        && let Some(upload) = state.uploads.get_mut(id)
    {
        upload.extend_from_slice(bytes);
    }
}

fn query(target: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(&format!("http://x{target}")).unwrap();
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn route(
    state: &mut Registry,
    address: SocketAddr,
    method: &Method,
    target: &str,
    headers: &HeaderMap,
    authorization: &str,
    body: Vec<u8>,
) -> Response {
    use base64::Engine as _;
    let path = target.split('?').next().unwrap();
    let login = state.login.map(|login| format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(login)));
    if path == "/token" {
        state.token_requests.push(format!("{method} {target} {}", String::from_utf8_lossy(&body)));
        let identity = String::from_utf8_lossy(&body).contains("refresh_token=identity-token");
        if login.is_some_and(|login| login != authorization) && !identity {
            return answer(401).body(r#"{"details":"incorrect username or password"}"#.into()).unwrap();
        }
        if state
            .closed
            .is_some_and(|closed| target.contains(&format!("repository%3A{}%3A", closed.replace('/', "%2F"))))
        {
            return answer(403).body(r#"{"details":"access forbidden"}"#.into()).unwrap();
        }
        state.next += 1;
        let token = format!("token-{}-value", state.next);
        state.tokens.insert(format!("Bearer {token}"));
        let body = format!(r#"{{"access_token":"{token}","expires_in":300}}"#);
        return answer(200).body(body.into()).unwrap();
    }
    let admitted = match state.scheme {
        Some(_) if state.everybody_reads && matches!(method.as_str(), "GET" | "HEAD") => true,
        Some("basic") => login.as_deref() == Some(authorization),
        Some(_) => state.tokens.contains(authorization),
        None => true,
    };
    if !admitted {
        let challenge = if state.scheme == Some("basic") {
            "Basic realm=\"fake\"".to_owned()
        } else {
            format!("Bearer realm=\"http://{address}/token\",service=\"fake\"")
        };
        let mut response = error(401, "UNAUTHORIZED", "authentication required");
        response.headers_mut().append("www-authenticate", "Negotiate".parse().unwrap());
        response.headers_mut().append("www-authenticate", challenge.parse().unwrap());
        return response;
    }
    if state.max_body.is_some_and(|max| body.len() > max) {
        return error(413, "SIZE_INVALID", "too large");
    }
    if path == "/v2/" {
        return empty(200);
    }
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    if let Some((repository, reference)) = rest.split_once("/manifests/") {
        return manifest(state, method, repository, reference, headers, body);
    }
    if let Some((repository, id)) = rest.split_once("/blobs/uploads/") {
        return upload(state, address, method, repository, id, target, headers, body);
    }
    if let Some((repository, wanted)) = rest.split_once("/blobs/") {
        let blob = state.blobs.get(&(repository.to_owned(), wanted.to_owned()));
        return match (blob, state.elsewhere, method.as_str()) {
            (None, ..) => error(404, "BLOB_UNKNOWN", "blob unknown"),
            (Some(_), Some(elsewhere), "GET") => answer(307)
                .header("location", format!("http://{elsewhere}{path}"))
                .body(Body::empty())
                .unwrap(),
            (Some(blob), _, "HEAD") => {
                answer(200).header("content-length", blob.len()).body(Body::empty()).unwrap()
            }
            (Some(blob), ..) => {
                let blob = blob.clone();
                read(state, headers, &blob)
            }
        };
    }
    if rest.contains("/referrers/") && state.referrers_lead_in_circles {
        let other = if target.ends_with("page=1") { 2 } else { 1 };
        return answer(200)
            .header("link", format!("<{path}?page={other}>; rel=\"next\""))
            .body(r#"{"schemaVersion":2,"manifests":[]}"#.into())
            .unwrap();
    }
    if let Some((repository, subject)) = rest.split_once("/referrers/")
        && state.lists_referrers
    {
        return referrers(state, repository, subject, target);
    }
    if let Some(repository) = rest.strip_suffix("/tags/list") {
        let known = state.manifests.keys().any(|(name, _)| name == repository);
        if state.repositories_are_born_with_a_manifest && !known {
            return error(404, "NAME_UNKNOWN", "repository name not known to registry");
        }
        let second = target.contains("last=b");
        let body = if second { r#"{"tags":["c"]}"# } else { r#"{"tags":["b","a"]}"# };
        let mut builder = answer(200);
        if !second {
            builder = builder.header("link", format!("<{path}?n=2&last=b>; rel=\"next\""));
        }
        return builder.body(body.into()).unwrap();
    }
    error(404, "NAME_UNKNOWN", "unknown route")
}

fn read(state: &mut Registry, headers: &HeaderMap, blob: &[u8]) -> Response {
    let asked = headers.get("range").map_or("", |value| value.to_str().unwrap());
    state.ranges_asked.push(asked.to_owned());
    let start: usize = match asked {
        "" => 0,
        text => text.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap(),
    };
    let (status, from) = if state.ranges && start > 0 { (206, start) } else { (200, 0) };
    let mut builder = answer(status).header("content-length", blob.len() - from);
    if status == 206 {
        builder = builder.header("content-range", format!("bytes {from}-{}/{}", blob.len() - 1, blob.len()));
    }
    let body = match state.cuts.pop() {
        None => Body::from(blob[from..].to_vec()),
        Some(cut) => {
            let whole = blob[from..].chunks(100).map(|piece| Ok(piece.to_vec())).take(cut / 100);
            let broken = [Err(std::io::Error::other("reset"))];
            Body::from_stream(futures::stream::iter(whole.chain(broken).collect::<Vec<_>>()).then(
                async |piece| {
                    // The connection would break before the first pieces are out.
                    tokio::task::yield_now().await;
                    piece
                },
            ))
        }
    };
    builder.body(body).unwrap()
}

/// One entry a page. The filter is applied where it is asked for, and said so.
fn referrers(state: &Registry, repository: &str, subject: &str, target: &str) -> Response {
    let wanted = query(target, "artifactType");
    let mut entries = Vec::new();
    for ((place, reference), (media_type, bytes)) in &state.manifests {
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let kind = document["artifactType"].as_str();
        if place == repository
            && reference.contains(':')
            && document["subject"]["digest"] == *subject
            && (wanted.is_none() || wanted.as_deref() == kind)
        {
            entries.push(serde_json::json!({
                "mediaType": media_type, "digest": digest(bytes), "size": bytes.len(), "artifactType": kind,
            }));
        }
    }
    let page: usize = query(target, "page").map_or(0, |page| page.parse().unwrap());
    let mut builder = answer(200).header("content-type", "application/vnd.oci.image.index.v1+json");
    if let Some(wanted) = &wanted {
        builder = builder.header("oci-filters-applied", "artifactType");
        assert!(!wanted.is_empty());
    }
    if page + 1 < entries.len() {
        let filter = wanted.map_or(String::new(), |wanted| format!("artifactType={wanted}&"));
        let next = format!("</v2/{repository}/referrers/{subject}?{filter}page={}>; rel=\"next\"", page + 1);
        builder = builder.header("link", next);
    }
    let entries: Vec<_> = entries.into_iter().skip(page).take(1).collect();
    builder.body(serde_json::json!({ "schemaVersion": 2, "manifests": entries }).to_string().into()).unwrap()
}

fn manifest(
    state: &mut Registry,
    method: &Method,
    repository: &str,
    reference: &str,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Response {
    let key = (repository.to_owned(), reference.to_owned());
    if method == Method::PUT {
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let mut named: Vec<&serde_json::Value> = vec![&document["config"]];
        named.extend(document["layers"].as_array().into_iter().flatten());
        for descriptor in named.into_iter().filter_map(|d| d["digest"].as_str()) {
            if !state.blobs.contains_key(&(repository.to_owned(), descriptor.to_owned())) {
                state.violations.push(format!("manifest before blob {descriptor}"));
                return error(400, "MANIFEST_BLOB_UNKNOWN", "blob unknown");
            }
        }
        for child in document["manifests"].as_array().into_iter().flatten() {
            let child = child["digest"].as_str().unwrap().to_owned();
            if !state.manifests.contains_key(&(repository.to_owned(), child.clone())) {
                state.violations.push(format!("index before manifest {child}"));
            }
        }
        let media_type = headers[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        if document["mediaType"] != media_type.as_str() {
            state.violations.push("content type differs from the manifest's own".to_owned());
        }
        if state.keeps_conditions {
            let present = state.manifests.get(&key).map(|(_, bytes)| format!("\"{}\"", digest(bytes)));
            let wanted = headers.get("if-match").map(|value| value.to_str().unwrap().to_owned());
            let changed = wanted.is_some() && wanted != present;
            if changed || headers.contains_key("if-none-match") && present.is_some() {
                return empty(412);
            }
        }
        let found = digest(&body);
        let lists = state.lists_referrers && document["subject"].is_object();
        state.manifests.insert((repository.to_owned(), found.clone()), (media_type.clone(), body.clone()));
        state.manifests.insert(key, (media_type, body));
        let mut builder = answer(201).header("docker-content-digest", found);
        if lists {
            builder = builder.header("oci-subject", document["subject"]["digest"].as_str().unwrap());
        }
        return builder.body(Body::empty()).unwrap();
    }
    match state.manifests.get(&key) {
        Some((media_type, bytes)) => answer(200)
            .header("content-type", media_type)
            .header("etag", format!("\"{}\"", digest(bytes)))
            .header("docker-content-digest", digest(bytes))
            .body(bytes.clone().into())
            .unwrap(),
        None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    }
}

#[expect(
    clippy::too_many_arguments,
    clippy::needless_pass_by_value,
    reason = "one call site, which is done with them"
)]
fn upload(
    state: &mut Registry,
    address: SocketAddr,
    method: &Method,
    repository: &str,
    id: &str,
    target: &str,
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Response {
    let at = |state: &Registry, id: &str| {
        let host = state.elsewhere.unwrap_or(address);
        format!("http://{host}/v2/{repository}/blobs/uploads/{id}?_state=signed")
    };
    match method.as_str() {
        "POST" => {
            if let (Some(wanted), Some(from)) = (query(target, "mount"), query(target, "from"))
                && state.mounts
                && let Some(blob) = state.blobs.get(&(from, wanted.clone())).cloned()
            {
                state.blobs.insert((repository.to_owned(), wanted), blob);
                return empty(201);
            }
            state.next += 1;
            let id = format!("upload-{}", state.next);
            state.uploads.insert(id.clone(), Vec::new());
            let mut builder = answer(202).header("location", at(state, &id));
            if let Some(minimum) = state.min_chunk {
                builder = builder.header("oci-chunk-min-length", minimum);
            }
            builder.body(Body::empty()).unwrap()
        }
        "PATCH" => {
            let Some(have) = state.uploads.get(id).map(Vec::len) else {
                return error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload");
            };
            let range = headers.get("content-range").map_or("", |v| v.to_str().unwrap());
            if range != format!("{have}-{}", have + body.len() - 1) {
                state.violations.push(format!("Content-Range {range} at {have}"));
                return empty(416);
            }
            state.uploads.get_mut(id).unwrap().extend_from_slice(&body);
            let last = have + body.len() - 1;
            answer(202)
                .header("location", at(state, id))
                .header("range", format!("0-{last}"))
                .body(Body::empty())
                .unwrap()
        }
        "GET" => match state.uploads.get(id) {
            Some(have) => answer(204)
                .header("location", at(state, id))
                .header("range", format!("0-{}", have.len().saturating_sub(1)))
                .body(Body::empty())
                .unwrap(),
            None => error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload"),
        },
        "PUT" => {
            // An upload begun at another host arrives here without having been opened here.
            let mut bytes = state.uploads.remove(id).unwrap_or_default();
            if let Some(range) = headers.get("content-range") {
                let expected = format!("{}-{}", bytes.len(), (bytes.len() + body.len()).saturating_sub(1));
                if range.to_str().unwrap() != expected {
                    state.violations.push(format!("Content-Range {range:?} at {}", bytes.len()));
                }
            }
            bytes.extend_from_slice(&body);
            let wanted = query(target, "digest").unwrap();
            if digest(&bytes) != wanted {
                return error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
            }
            if state.blobs.insert((repository.to_owned(), wanted.clone()), bytes).is_some() {
                state.violations.push(format!("blob {wanted} sent although present"));
            }
            empty(201)
        }
        _ => empty(405),
    }
}
