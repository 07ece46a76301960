//! Fetching manifests and configs of images, as the deployment engine does before it starts anything.
//!
//! Written from the distribution specification alone and without a line of the product's own registry client:
//! the sandbox must not share the mistakes that it is there to find.

mod archive;
mod challenge;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    sync::OnceLock,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future::BoxFuture};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use serde::Deserialize;
use spectra_types::{Algorithm, DEFAULT_REGISTRY, Digest, ImageRef};
use tokio::sync::mpsc;

use self::challenge::Challenge;
use crate::{
    contract::{ImagePuller, PullError, PulledImage, RegistryCredentials},
    host,
};

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Largest manifest or config that is read, in bytes.
const MAX_DOCUMENT: usize = 8 << 20;
/// How deep indexes may nest; real ones do not.
const MAX_DEPTH: u8 = 2;

/// Which registries may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Loopback addresses, `localhost` and names below `.localhost`, over plain HTTP.
    #[default]
    Loopback,
    /// Those, and every other registry over HTTPS.
    Everywhere,
}

/// Pulls manifests and configs from registries.
#[derive(Debug)]
pub struct RegistryPuller {
    reach: Reach,
    timeout: Duration,
    /// For loopback: no proxy and no certificates.
    local: OnceLock<Client>,
    /// For the world. Made when first needed: it reads the system's certificates.
    remote: OnceLock<Client>,
}

impl RegistryPuller {
    /// A puller that gives up on an image after `timeout` of real time.
    #[must_use]
    pub const fn new(reach: Reach, timeout: Duration) -> Self {
        Self { reach, timeout, local: OnceLock::new(), remote: OnceLock::new() }
    }

    fn client(&self, local: bool) -> Result<Client, reqwest::Error> {
        let slot = if local { &self.local } else { &self.remote };
        if let Some(client) = slot.get() {
            return Ok(client.clone());
        }
        let builder =
            Client::builder().user_agent("spectra-sandbox").connect_timeout(Duration::from_secs(10));
        let client = if local { builder.no_proxy().tls_certs_only([]).build()? } else { builder.build()? };
        Ok(slot.get_or_init(|| client).clone())
    }
}

impl RegistryPuller {
    fn prepare(&self, image: &ImageRef, credentials: Option<RegistryCredentials>) -> Result<Pull, PullError> {
        let unreachable = |reason: String| PullError::Unreachable { image: image.to_string(), reason };
        let site = Site::of(image).map_err(&unreachable)?;
        if self.reach == Reach::Loopback && !site.local {
            return Err(unreachable(
                "this sandbox pulls from registries on loopback only; push the image to its own registry"
                    .to_owned(),
            ));
        }
        let client = self.client(site.local).map_err(|error| unreachable(describe(&error)))?;
        Ok(Pull { client, site, image: image.clone(), credentials, authorization: None })
    }

    /// The whole image as the tar that `docker load` reads, under the name `tag`. Nothing is kept on disk; every
    /// blob is verified while it passes, and a wrong one breaks the stream before its end.
    pub(crate) async fn archive(
        &self,
        image: &ImageRef,
        credentials: Option<RegistryCredentials>,
        tag: &str,
    ) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static, PullError> {
        let mut pull = self.prepare(image, credentials)?;
        let (config, layers) = pull.contents().await?;
        let (sender, receiver) = mpsc::channel(4);
        let tag = tag.to_owned();
        tokio::spawn(async move {
            if let Err(error) = archive::write(&mut pull, &config, &layers, &tag, &sender).await {
                // A receiver that is gone has given up already.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(futures::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        }))
    }
}

/// Is the registry of the image on this machine by definition?
pub(crate) fn is_local(image: &ImageRef) -> bool {
    Site::of(image).is_ok_and(|site| site.local)
}

impl ImagePuller for RegistryPuller {
    fn pull(
        &self,
        image: ImageRef,
        credentials: Option<RegistryCredentials>,
    ) -> BoxFuture<'_, Result<PulledImage, PullError>> {
        Box::pin(async move {
            let pull = self.prepare(&image, credentials)?;
            tokio::time::timeout(self.timeout, pull.run()).await.unwrap_or_else(|_| {
                Err(PullError::Unreachable {
                    image: image.to_string(),
                    reason: format!("no answer within {:?}", self.timeout),
                })
            })
        })
    }
}

/// Where a registry is.
#[derive(Debug, Clone)]
struct Site {
    base: Url,
    /// The name to send as `Host` where the URL holds an address instead.
    host: Option<String>,
    local: bool,
}

impl Site {
    fn of(image: &ImageRef) -> Result<Self, String> {
        let registry =
            if image.registry() == DEFAULT_REGISTRY { "registry-1.docker.io" } else { image.registry() };
        let url = |scheme: &str| {
            Url::parse(&format!("{scheme}://{registry}/"))
                .map_err(|error| format!("`{registry}` is no host: {error}"))
        };
        let mut base = url("http")?;
        let local = is_loopback(&base);
        if !local {
            return Ok(Self { base: url("https")?, host: None, local });
        }
        // Resolvers need not know names below `.localhost` (RFC 6761 leaves it to applications).
        let mut host = None;
        if base.host_str().is_some_and(|name| name.ends_with(".localhost")) {
            host = Some(registry.to_owned());
            let address = IpAddr::from([127, 0, 0, 1]);
            base.set_ip_host(address).map_err(|()| format!("`{registry}` cannot be addressed"))?;
        }
        Ok(Self { base, host, local })
    }
}

/// Is the URL's host this machine by definition?
fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(host::is_loopback)
}

/// One pull.
struct Pull {
    client: Client,
    site: Site,
    image: ImageRef,
    credentials: Option<RegistryCredentials>,
    authorization: Option<Authorization>,
}

#[derive(Clone)]
enum Authorization {
    Basic,
    Bearer(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    config: Option<Behaviour>,
}

/// The `config` object of an image config. Every field may be absent or null.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct Behaviour {
    labels: Option<BTreeMap<String, String>>,
    env: Option<Vec<String>>,
    exposed_ports: Option<HashMap<String, serde_json::Value>>,
}

impl Pull {
    async fn run(mut self) -> Result<PulledImage, PullError> {
        let wanted = self.image.digest().cloned();
        let reference =
            wanted.as_ref().map_or_else(|| self.image.tag_or_latest().to_owned(), ToString::to_string);
        let (body, media_type) = self.manifest(&reference, wanted.as_ref()).await?;
        let digest = wanted.unwrap_or_else(|| hash(Algorithm::Sha256, &body));
        let manifest = self.image_manifest(&body, &media_type).await?;
        let Some(config) =
            manifest.config.filter(|config| CONFIG_TYPES.contains(&config.media_type.as_str()))
        else {
            return Err(self.malformed("it is an artifact, not an image that can run"));
        };
        let layers = manifest.layers.unwrap_or_default();
        let size = layers.iter().fold(config.size, |sum, layer| sum.saturating_add(layer.size));
        let bytes = self.get(&format!("blobs/{}", config.digest), None).await?;
        let bytes = self.read(bytes).await?;
        self.verify(&config.digest, &bytes)?;
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|error| self.malformed(format!("its config cannot be read: {error}")))?;
        let config = config.config.unwrap_or_default();
        let mut exposed_ports: Vec<u16> = config
            .exposed_ports
            .unwrap_or_default()
            .keys()
            .filter_map(|port| port.strip_suffix("/tcp").unwrap_or(port).parse().ok())
            .collect();
        exposed_ports.sort_unstable();
        Ok(PulledImage {
            digest,
            media_type,
            size,
            labels: config.labels.unwrap_or_default(),
            environment: config
                .env
                .unwrap_or_default()
                .iter()
                .map(|entry| entry.split_once('=').unwrap_or((entry, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            exposed_ports,
        })
    }

    /// The descriptors of config and layers.
    async fn contents(&mut self) -> Result<(Descriptor, Vec<Descriptor>), PullError> {
        let wanted = self.image.digest().cloned();
        let reference =
            wanted.as_ref().map_or_else(|| self.image.tag_or_latest().to_owned(), ToString::to_string);
        let (body, media_type) = self.manifest(&reference, wanted.as_ref()).await?;
        let manifest = self.image_manifest(&body, &media_type).await?;
        match manifest.config {
            Some(config) => Ok((config, manifest.layers.unwrap_or_default())),
            None => Err(self.malformed("its manifest has no config")),
        }
    }

    /// Follows indexes to the manifest of the platform that the sandbox plays.
    async fn image_manifest(&mut self, body: &[u8], media_type: &str) -> Result<Manifest, PullError> {
        let mut body = body.to_vec();
        let mut media_type = media_type.to_owned();
        for _ in 0..=MAX_DEPTH {
            let manifest: Manifest = serde_json::from_slice(&body)
                .map_err(|error| self.malformed(format!("its manifest cannot be read: {error}")))?;
            match media_type.as_str() {
                OCI_MANIFEST | DOCKER_MANIFEST => return Ok(manifest),
                OCI_INDEX | DOCKER_LIST => {
                    let fits = |child: &Descriptor| {
                        child.platform.as_ref().is_some_and(|platform| {
                            platform.os == "linux" && platform.architecture == "amd64"
                        })
                    };
                    let Some(child) = manifest.manifests.unwrap_or_default().into_iter().find(fits) else {
                        return Err(self.malformed("its index has no entry for linux/amd64"));
                    };
                    (body, media_type) =
                        self.manifest(&child.digest.to_string(), Some(&child.digest)).await?;
                }
                other => return Err(self.malformed(format!("`{other}` is not an image"))),
            }
        }
        Err(self.malformed("its indexes are nested too deeply"))
    }

    /// A manifest, verified, with its media type.
    async fn manifest(
        &mut self,
        reference: &str,
        digest: Option<&Digest>,
    ) -> Result<(Vec<u8>, String), PullError> {
        let accept = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
        let response = self.get(&format!("manifests/{reference}"), Some(&accept)).await?;
        let text = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let media_type = text("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let announced = text("docker-content-digest").and_then(|digest| digest.parse::<Digest>().ok());
        let body = self.read(response).await?;
        if let Some(digest) = digest.or(announced.as_ref()) {
            self.verify(digest, &body)?;
        }
        Ok((body, media_type))
    }

    /// One GET in the repository, answering the registry's challenge if it has one.
    async fn get(&mut self, path: &str, accept: Option<&str>) -> Result<Response, PullError> {
        let url = self
            .site
            .base
            .join(&format!("v2/{}/{path}", self.image.repository()))
            .map_err(|error| self.malformed(error.to_string()))?;
        let mut challenged = false;
        loop {
            let mut request = self.client.get(url.clone());
            if let Some(accept) = accept {
                request = request.header(header::ACCEPT, accept);
            }
            let response = self.send(self.authorize(request)).await?;
            match response.status() {
                StatusCode::UNAUTHORIZED if !challenged => {
                    challenged = true;
                    self.answer_challenge(response).await?;
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let reason = words(response).await;
                    return Err(self.unauthorized(reason));
                }
                StatusCode::NOT_FOUND => return Err(PullError::NotFound { image: self.image.to_string() }),
                status if status.is_success() => return Ok(response),
                status => {
                    let reason = format!("{status}: {}", words(response).await);
                    return Err(self.unreachable(reason));
                }
            }
        }
    }

    fn authorize(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(host) = &self.site.host {
            request = request.header(header::HOST, host);
        }
        match (&self.authorization, &self.credentials) {
            (Some(Authorization::Bearer(token)), _) => request.bearer_auth(token),
            (Some(Authorization::Basic), Some(credentials)) => {
                request.basic_auth(&credentials.username, Some(credentials.password.expose()))
            }
            _ => request,
        }
    }

    /// Takes the first challenge that it understands.
    async fn answer_challenge(&mut self, response: Response) -> Result<(), PullError> {
        let challenges: Vec<Challenge> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let reason = words(response).await;
        for challenge in challenges {
            match challenge.scheme.as_str() {
                "basic" if self.credentials.is_some() => {
                    self.authorization = Some(Authorization::Basic);
                    return Ok(());
                }
                "basic" => {
                    return Err(self.unauthorized("it wants a password, and the service has none".to_owned()));
                }
                "bearer" => {
                    let token = self.fetch_token(&challenge).await?;
                    self.authorization = Some(Authorization::Bearer(token));
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.unauthorized(reason))
    }

    async fn fetch_token(&self, challenge: &Challenge) -> Result<String, PullError> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let parameter = |name: &str| challenge.parameters.get(name).cloned();
        let realm = parameter("realm").and_then(|realm| Url::parse(&realm).ok());
        // The password goes there: never in the clear, unless both ends are this machine.
        let Some(mut realm) =
            realm.filter(|realm| realm.scheme() == "https" || (self.site.local && is_loopback(realm)))
        else {
            return Err(
                self.unauthorized("its token realm is no address that a password may go to".to_owned())
            );
        };
        if self.site.host.is_some() && is_loopback(&realm) {
            let _ = realm.set_ip_host(IpAddr::from([127, 0, 0, 1]));
        }
        let scope =
            parameter("scope").unwrap_or_else(|| format!("repository:{}:pull", self.image.repository()));
        realm
            .query_pairs_mut()
            .extend_pairs(parameter("service").map(|service| ("service", service)))
            .append_pair("scope", &scope);
        let mut request = self.client.get(realm);
        if let Some(credentials) = &self.credentials {
            request = request.basic_auth(&credentials.username, Some(credentials.password.expose()));
        }
        let response = self.send(request).await?;
        if !response.status().is_success() {
            let reason = format!("no token, {}: {}", response.status(), words(response).await);
            return Err(self.unauthorized(reason));
        }
        let body = self.read(response).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| self.unauthorized("its token endpoint answers no token".to_owned()))?;
        answer
            .token
            .or(answer.access_token)
            .ok_or_else(|| self.unauthorized("its token endpoint answers no token".to_owned()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, PullError> {
        request.send().await.map_err(|error| self.unreachable(describe(&error)))
    }

    /// Reads a document of limited size.
    async fn read(&self, response: Response) -> Result<Vec<u8>, PullError> {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|error| self.unreachable(describe(&error)))?;
            if bytes.len() + piece.len() > MAX_DOCUMENT {
                return Err(self.malformed(format!("a manifest or config has over {MAX_DOCUMENT} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn verify(&self, digest: &Digest, bytes: &[u8]) -> Result<(), PullError> {
        let found = hash(digest.algorithm(), bytes);
        if found == *digest {
            return Ok(());
        }
        Err(self.malformed(format!("digest mismatch: asked for `{digest}`, got bytes with `{found}`")))
    }

    fn malformed(&self, reason: impl Into<String>) -> PullError {
        PullError::Malformed { image: self.image.to_string(), reason: reason.into() }
    }

    fn unauthorized(&self, reason: String) -> PullError {
        PullError::Unauthorized { image: self.image.to_string(), reason }
    }

    fn unreachable(&self, reason: String) -> PullError {
        PullError::Unreachable { image: self.image.to_string(), reason }
    }
}

fn hash(algorithm: Algorithm, bytes: &[u8]) -> Digest {
    crate::registry::digest_of(algorithm, bytes)
}

/// A transport error with its causes; the outer message alone says only "error sending request".
fn describe(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What a registry says in an error, shortened.
async fn words(response: Response) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        code: String,
        message: Option<String>,
    }
    let status = response.status();
    let Ok(body) = response.bytes().await else {
        return status.to_string();
    };
    serde_json::from_slice::<Errors>(&body).ok().and_then(|body| body.errors.into_iter().next()).map_or_else(
        || status.to_string(),
        |error| format!("{} {}", error.code, error.message.unwrap_or_default()).trim_end().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_plain_http_and_the_rest_is_not() {
        for (image, base, host) in [
            ("127.0.0.1:7430/team/app", "http://127.0.0.1:7430/", None),
            ("localhost:5000/app", "http://localhost:5000/", None),
            ("[::1]:5000/app", "http://[::1]:5000/", None),
            ("reg.localhost:5000/app", "http://127.0.0.1:5000/", Some("reg.localhost:5000")),
            ("nginx", "https://registry-1.docker.io/", None),
            ("ghcr.io/team/app", "https://ghcr.io/", None),
            ("localhost.example.com/app", "https://localhost.example.com/", None),
        ] {
            let site = Site::of(&image.parse().unwrap()).unwrap();
            assert_eq!((site.base.as_str(), site.host.as_deref()), (base, host), "{image}");
        }
    }
}
