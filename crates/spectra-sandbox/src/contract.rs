//! The seam between the two halves of the sandbox.
//!
//! The Railway half (`railway`) decides *what* should run; the platform half (`pull`, `runtime`, `services`)
//! fetches images, runs instances and carries traffic. Each knows the other only through the types below, so
//! that either can be replaced in a test by a few lines.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use futures::future::BoxFuture;
use spectra_types::{DeploymentId, Digest, ImageRef, PinnedImage, Secret};
use tokio::sync::{mpsc, watch};

/// User name and password for a registry, as Railway keeps them beside a service.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// Account name; not a secret.
    pub username: String,
    /// Password or token.
    pub password: Secret<String>,
}

/// What a pull learns about an image. Layers are not unpacked: the simulated runtime needs the config alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// Digest of the manifest (or index) that the reference named.
    pub digest: Digest,
    /// Media type of that manifest.
    pub media_type: String,
    /// Sum of config and layer sizes, in bytes.
    pub size: u64,
    /// `config.Labels` of the image config; `dev.spectra.sandbox.*` steer the simulated runtime.
    pub labels: BTreeMap<String, String>,
    /// `config.Env` of the image config, split at the first `=`.
    pub environment: BTreeMap<String, String>,
    /// `config.ExposedPorts`, TCP only, ascending.
    pub exposed_ports: Vec<u16>,
}

/// Why an image could not be pulled. The message is shown to whoever reads the sandbox's own log; Railway
/// itself shows nothing (the deployment fails within seconds with empty logs).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The registry has no such repository, tag or digest.
    #[error("image `{image}` does not exist in its registry")]
    NotFound {
        /// Canonical reference.
        image: String,
    },
    /// The registry refused the credentials, or asked for some and none are stored with the service.
    #[error("the registry refused access to image `{image}`: {reason}")]
    Unauthorized {
        /// Canonical reference.
        image: String,
        /// The registry's words, without secrets.
        reason: String,
    },
    /// No answer in time, or none at all. The sandbox reaches loopback registries alone unless configured.
    #[error("the registry of image `{image}` cannot be reached: {reason}")]
    Unreachable {
        /// Canonical reference.
        image: String,
        /// Transport error.
        reason: String,
    },
    /// The registry answered something that is no image manifest, or whose bytes do not match the digest.
    #[error("image `{image}` is malformed: {reason}")]
    Malformed {
        /// Canonical reference.
        image: String,
        /// What is wrong.
        reason: String,
    },
}

/// Fetches manifests and configs.
pub trait ImagePuller: Send + Sync + 'static {
    /// Resolves `image` to a digest and reads its config, within a deadline of its own.
    fn pull(
        &self,
        image: ImageRef,
        credentials: Option<RegistryCredentials>,
    ) -> BoxFuture<'_, Result<PulledImage, PullError>>;
}

/// The value of a variable, which is never printed. Not a [`Secret`]: the redactor of a program that embeds the sandbox
/// would blot out every id, "8080" and "true" that a variable holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[value]")
    }
}

/// Everything a runtime needs to start one replica.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// Deployment this replica belongs to.
    pub deployment_id: DeploymentId,
    /// Service name, for container names and logs.
    pub service: String,
    /// The image, by digest.
    pub image: PinnedImage,
    /// Credentials to fetch the image's content with, where the runtime fetches it itself.
    pub credentials: Option<RegistryCredentials>,
    /// What the pull learned.
    pub pulled: PulledImage,
    /// Rendered variables (`RAILWAY_*` and `PORT` where set included).
    pub variables: BTreeMap<String, Hidden>,
    /// Replaces the image's command.
    pub start_command: Option<String>,
    /// The port the service listens on, where known: the `PORT` variable or a domain's target port.
    pub port: Option<u16>,
    /// Further ports that must be reachable: those of TCP proxies.
    pub tcp_ports: Vec<u16>,
    /// Replica number, from 0.
    pub replica: u32,
    /// Receives what the instance writes; sending never blocks, and a closed receiver is not an error.
    pub logs: mpsc::UnboundedSender<LogLine>,
}

/// One line an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Standard error rather than standard output.
    pub error: bool,
    /// The text without its line ending.
    pub message: String,
}

/// Life of an instance as the runtime sees it. Restarting is the engine's decision, never the runtime's: after
/// `Exited` the instance is over and the engine starts a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstanceStatus {
    /// Started, not yet listening.
    Starting,
    /// Listening.
    Running,
    /// Ended by itself; 0 is a clean exit.
    Exited(i32),
    /// Ended because `stop` was called.
    Stopped,
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start replica {replica} of deployment `{deployment}`: {reason}")]
pub struct StartError {
    /// Deployment id.
    pub deployment: String,
    /// Replica number.
    pub replica: u32,
    /// What the runtime said, without secrets.
    pub reason: String,
}

/// Starts replicas.
pub trait Runtime: Send + Sync + 'static {
    /// Starts one replica and returns once its address is known; it may still be `Starting`.
    fn start(&self, spec: InstanceSpec) -> BoxFuture<'_, Result<Box<dyn Instance>, StartError>>;
}

/// One started replica. Dropping it without `stop` must not leave a process, container or port behind for
/// longer than the sandbox itself lives.
pub trait Instance: Send + Sync + 'static {
    /// Where the replica answers HTTP. Fixed for its life.
    fn addr(&self) -> SocketAddr;
    /// Where the replica's own `port` is reached; `None` if it was not asked for at the start. Fixed for its life.
    fn addr_of(&self, port: u16) -> Option<SocketAddr>;
    /// Status now and every change to come.
    fn status(&self) -> watch::Receiver<InstanceStatus>;
    /// Asks it to end, waits at most `grace` (already in real time), then ends it. Idempotent.
    fn stop(&self, grace: Duration) -> BoxFuture<'_, ()>;
}

/// Where a domain or a TCP proxy of a service leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The deployment that serves now.
    pub deployment_id: DeploymentId,
    /// Its listening replicas by replica number; empty answers 502 "Application failed to respond"
    /// (a TCP proxy closes the connection).
    pub replicas: Vec<(u32, SocketAddr)>,
    /// The deployment sleeps: a request calls [`ProxyEvents::wake`] and waits a little for a new route.
    pub asleep: bool,
}

/// One request that went through the proxy.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    /// Deployment that answered (or should have).
    pub deployment_id: DeploymentId,
    /// Replica that was asked; `None` if there was none.
    pub replica: Option<u32>,
    /// Request method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Host without port.
    pub host: String,
    /// Status sent to the client.
    pub status: u16,
    /// From the request's head received to the answer's head sent, in real time.
    pub duration: Duration,
    /// Transport error towards the replica, if any.
    pub upstream_error: Option<String>,
    /// What the client calls itself; empty if it does not say.
    pub agent: String,
    /// Bytes from the client: the head, and the body as far as its length is known when the head arrives.
    pub received: u64,
    /// Bytes to the client, counted likewise.
    pub sent: u64,
}

/// What the proxy tells the Railway half. Calls must be quick and must not block.
pub trait ProxyEvents: Send + Sync + 'static {
    /// A request was answered.
    fn served(&self, record: RequestRecord);
    /// A request arrived for a sleeping deployment.
    fn wake(&self, deployment_id: &DeploymentId);
    /// Bytes went through a TCP proxy, to or from a deployment.
    fn carried(&self, deployment_id: &DeploymentId);
}

/// The reverse proxy in front of service domains.
pub trait Edge: Send + Sync + 'static {
    /// Points `domain` (lower case, without port) at `route`, replacing what was there in one step: no request
    /// sees neither the old nor the new.
    fn set_route(&self, domain: &str, route: Route);
    /// Forgets `domain`; it answers 404 "Application not found" from now on.
    fn remove_route(&self, domain: &str);
    /// Answers one request by its `Host`.
    fn handle(&self, request: Request<Body>) -> BoxFuture<'_, Response<Body>>;
    /// Answers one request by the route of `domain`, whatever its `Host`: a wildcard covers many hosts.
    fn handle_as<'a>(&'a self, domain: &'a str, request: Request<Body>) -> BoxFuture<'a, Response<Body>>;
}
