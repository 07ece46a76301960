//! The container runtime: the image's real container, through the socket of a podman or Docker engine.
//!
//! Every container carries a label with its sandbox's identity. Whatever a sandbox left behind when it was killed
//! is removed when one with the same identity connects again.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bollard::{
    API_DEFAULT_VERSION, Docker,
    auth::DockerCredentials,
    container::LogOutput,
    models::{ContainerCreateBody, HostConfig, PortBinding, ResourcesUlimits},
    query_parameters::{
        CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ImportImageOptionsBuilder,
        ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
        StopContainerOptionsBuilder,
    },
};
use futures::{StreamExt, TryStreamExt, future::BoxFuture};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::watch,
};
use uuid::Uuid;

use crate::{
    contract::{Instance, InstanceSpec, InstanceStatus, LogLine, Runtime, StartError},
    pull::{Reach, RegistryPuller, is_local},
};

/// The label that says which sandbox a container belongs to.
const OWNER: &str = "dev.spectra.sandbox-owner";
/// The port that a service listens on when nothing says otherwise.
const DEFAULT_PORT: u16 = 8080;
/// How long one request to the engine may take; pulls are streams and restart it with every message.
const ENGINE_TIMEOUT: u64 = 120;
/// How often a starting container is asked whether it listens.
const LISTEN_POLL: Duration = Duration::from_millis(50);

/// How often another port is tried when somebody took the chosen one.
const START_ATTEMPTS: u32 = 3;

/// Why a container is not running.
enum StartFailure {
    /// Trying again is of no use.
    Final(String),
    /// The host port was taken meanwhile.
    PortTaken(String),
}

/// Which engine is spoken to; decides where its socket is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// podman's Docker-compatible service (`podman system service`).
    Podman,
    /// Docker.
    Docker,
}

/// Why no engine can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No socket where one is expected.
    #[error(
        "no engine socket found (looked at {}); start `podman system service --time=0 unix://…` or Docker, or set DOCKER_HOST", tried.join(", ")
    )]
    NoSocket {
        /// The places.
        tried: Vec<String>,
    },
    /// The engine does not answer, or not as an engine does.
    #[error("the engine at `{}` does not answer; nothing was started", socket.display())]
    Unusable {
        /// Its socket.
        socket: PathBuf,
        /// What went wrong.
        #[source]
        source: bollard::errors::Error,
    },
}

/// Starts containers.
#[derive(Debug)]
pub struct ContainerRuntime {
    docker: Docker,
    owner: String,
    puller: RegistryPuller,
}

impl ContainerRuntime {
    /// Connects to the engine at `socket`, or where `kind` usually has it, and removes what an earlier sandbox
    /// with the same `owner` (one per state directory) left behind.
    pub async fn connect(
        kind: EngineKind,
        socket: Option<PathBuf>,
        owner: impl Into<String>,
    ) -> Result<Self, EngineError> {
        let socket = match socket {
            Some(socket) => socket,
            None => find_socket(kind)?,
        };
        let unusable = |source| EngineError::Unusable { socket: socket.clone(), source };
        let docker =
            Docker::connect_with_socket(&socket.to_string_lossy(), ENGINE_TIMEOUT, API_DEFAULT_VERSION)
                .map_err(&unusable)?
                // podman offers an older interface than the newest Docker.
                .negotiate_version()
                .await
                .map_err(&unusable)?;
        let runtime = Self {
            docker,
            owner: owner.into(),
            puller: RegistryPuller::new(Reach::Everywhere, Duration::from_secs(ENGINE_TIMEOUT)),
        };
        runtime.remove_leftovers().await.map_err(&unusable)?;
        Ok(runtime)
    }

    async fn remove_leftovers(&self) -> Result<(), bollard::errors::Error> {
        let filters = HashMap::from([("label", vec![format!("{OWNER}={}", self.owner)])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        for container in self.docker.list_containers(Some(options)).await? {
            if let Some(id) = container.id {
                tracing::info!(container = id, "removing a container that an earlier sandbox left behind");
                remove(&self.docker, &id).await;
            }
        }
        Ok(())
    }

    async fn start_now(&self, spec: InstanceSpec) -> Result<ContainerInstance, String> {
        let image = self.provide_image(&spec).await?;
        let named = spec.port.or_else(|| spec.pulled.exposed_ports.first().copied());
        let port = named.or_else(|| spec.tcp_ports.first().copied()).unwrap_or(DEFAULT_PORT);
        let mut refusal = String::new();
        for _ in 0..START_ATTEMPTS {
            match self.create_and_start(&spec, &image, port).await {
                Ok((container, ports)) => {
                    return Ok(ContainerInstance::watch(Arc::new(container), ports, &spec));
                }
                Err(StartFailure::Final(reason)) => return Err(reason),
                Err(StartFailure::PortTaken(reason)) => refusal = reason,
            }
        }
        Err(refusal)
    }

    /// Creates and starts a container on free host ports of our choosing. The engine could choose, but then the
    /// port is known only as long as the container runs, and podman describes one that ended at once with a
    /// status (`stopped`) that the Docker interface does not have.
    async fn create_and_start(
        &self,
        spec: &InstanceSpec,
        image: &str,
        port: u16,
    ) -> Result<(Container, Ports), StartFailure> {
        let free = |error: io::Error| StartFailure::Final(format!("no loopback port: {error}"));
        let mut reserved = Vec::new();
        let mut ports = Ports { main: reserve(&mut reserved).map_err(free)?, all: BTreeMap::new() };
        ports.all.insert(port, ports.main);
        for other in &spec.tcp_ports {
            if !ports.all.contains_key(other) {
                ports.all.insert(*other, reserve(&mut reserved).map_err(free)?);
            }
        }
        let name = format!("spectra-{}-{}", spec.replica, Uuid::new_v4().simple());
        let options = CreateContainerOptionsBuilder::new().name(&name).build();
        let body = self.container(spec, image.to_owned(), port, &ports);
        let created = self
            .docker
            .create_container(Some(options), body)
            .await
            .map_err(|error| StartFailure::Final(format!("the engine refuses the container: {error}")))?;
        // From here on the container exists: its guard removes it when this function fails or is dropped.
        let container =
            Container { docker: self.docker.clone(), id: created.id, removed: AtomicBool::new(false) };
        // The engine binds the ports now; in the moment between somebody else may get it.
        drop(reserved);
        match self.docker.start_container(&container.id, None).await {
            Ok(()) => Ok((container, ports)),
            Err(error) => {
                let reason = format!("the container does not start: {error}");
                let taken = reason.contains("address already in use") || reason.contains("port is already");
                Err(if taken { StartFailure::PortTaken(reason) } else { StartFailure::Final(reason) })
            }
        }
    }

    /// Has the engine get the image, and returns the name that it has there. Images of registries on this
    /// machine are handed over as an archive: engines insist on HTTPS unless somebody configures them.
    async fn provide_image(&self, spec: &InstanceSpec) -> Result<String, String> {
        let image = spec.image.image_ref();
        if !is_local(&image) {
            let credentials = spec.credentials.as_ref().map(|credentials| DockerCredentials {
                username: Some(credentials.username.clone()),
                password: Some(credentials.password.expose().clone()),
                serveraddress: Some(image.registry().to_owned()),
                ..DockerCredentials::default()
            });
            let options = CreateImageOptionsBuilder::new().from_image(&image.to_string()).build();
            let pulled = self.docker.create_image(Some(options), None, credentials);
            pulled
                .try_for_each(|_| async { Ok(()) })
                .await
                .map_err(|error| format!("the engine cannot pull `{image}`: {error}"))?;
            return Ok(image.to_string());
        }
        let name =
            format!("localhost/spectra-sandbox/{}:{}", image.repository(), &spec.image.digest().hex()[..32]);
        if self.docker.inspect_image(&name).await.is_ok() {
            return Ok(name);
        }
        let archive = self
            .puller
            .archive(&image, spec.credentials.clone(), &name)
            .await
            .map_err(|error| error.to_string())?;
        self.docker
            .import_image_stream(ImportImageOptionsBuilder::new().build(), archive, None)
            .try_for_each(|_| async { Ok(()) })
            .await
            .map_err(|error| format!("the engine cannot load `{image}`: {error}"))?;
        Ok(name)
    }

    fn container(&self, spec: &InstanceSpec, image: String, port: u16, ports: &Ports) -> ContainerCreateBody {
        let mut environment: Vec<String> =
            spec.variables.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect();
        if !spec.variables.contains_key("PORT") {
            environment.push(format!("PORT={port}"));
        }
        let binding = |addr: &SocketAddr| {
            let host_port = Some(addr.port().to_string());
            Some(vec![PortBinding { host_ip: Some(addr.ip().to_string()), host_port }])
        };
        let bindings = ports.all.iter().map(|(port, addr)| (format!("{port}/tcp"), binding(addr)));
        // Some engines (runc in a container without the right to raise limits) start nothing without both.
        let limit = |name: &str, value| ResourcesUlimits {
            name: Some(name.to_owned()),
            soft: Some(value),
            hard: Some(value),
        };
        // Railway's start command replaces the entrypoint, and a shell reads it.
        let command = spec.start_command.clone();
        ContainerCreateBody {
            image: Some(image),
            env: Some(environment),
            entrypoint: command.map(|command| vec!["/bin/sh".to_owned(), "-c".to_owned(), command]),
            exposed_ports: Some(ports.all.keys().map(|port| format!("{port}/tcp")).collect()),
            labels: Some(HashMap::from([
                (OWNER.to_owned(), self.owner.clone()),
                ("dev.spectra.sandbox-deployment".to_owned(), spec.deployment_id.to_string()),
                ("dev.spectra.sandbox-service".to_owned(), spec.service.clone()),
            ])),
            host_config: Some(HostConfig {
                port_bindings: Some(bindings.collect()),
                ulimits: Some(vec![limit("nofile", 1024), limit("nproc", 1000)]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }
}

impl Runtime for ContainerRuntime {
    fn start(&self, spec: InstanceSpec) -> BoxFuture<'_, Result<Box<dyn Instance>, StartError>> {
        Box::pin(async move {
            let (deployment, replica) = (spec.deployment_id.to_string(), spec.replica);
            match self.start_now(spec).await {
                Ok(instance) => Ok(Box::new(instance) as Box<dyn Instance>),
                Err(reason) => Err(StartError { deployment, replica, reason }),
            }
        })
    }
}

/// A container that is removed with its last owner.
#[derive(Debug)]
struct Container {
    docker: Docker,
    id: String,
    removed: AtomicBool,
}

impl Drop for Container {
    fn drop(&mut self) {
        // Without a runtime the process is ending; the next start removes the container by its label.
        if let (false, Ok(runtime)) = (*self.removed.get_mut(), tokio::runtime::Handle::try_current()) {
            let (docker, id) = (self.docker.clone(), std::mem::take(&mut self.id));
            runtime.spawn(async move { remove(&docker, &id).await });
        }
    }
}

async fn remove(docker: &Docker, id: &str) {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    if let Err(error) = docker.remove_container(id, Some(options)).await {
        tracing::warn!(container = id, %error, "cannot remove a container; the next start of the sandbox tries again");
    }
}

/// Where the ports of a container are reached.
#[derive(Debug, Clone)]
struct Ports {
    /// The one that speaks HTTP.
    main: SocketAddr,
    /// All, by the port inside.
    all: BTreeMap<u16, SocketAddr>,
}

/// Takes a free loopback port and keeps it taken in `reserved`.
fn reserve(reserved: &mut Vec<TcpSocket>) -> io::Result<SocketAddr> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let addr = socket.local_addr()?;
    reserved.push(socket);
    Ok(addr)
}

struct ContainerInstance {
    container: Arc<Container>,
    ports: Ports,
    status: watch::Sender<InstanceStatus>,
    watcher: tokio::task::JoinHandle<()>,
    logger: tokio::task::JoinHandle<()>,
}

impl ContainerInstance {
    fn watch(container: Arc<Container>, ports: Ports, spec: &InstanceSpec) -> Self {
        let addr = ports.main;
        let status = watch::Sender::new(InstanceStatus::Starting);
        let watcher = tokio::spawn({
            let (docker, id, status) = (container.docker.clone(), container.id.clone(), status.clone());
            async move {
                let listening = async {
                    while TcpStream::connect(addr).await.is_err() {
                        tokio::time::sleep(LISTEN_POLL).await;
                    }
                    settle(&status, InstanceStatus::Running);
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    code = exit_code(&docker, &id) => settle(&status, InstanceStatus::Exited(code)),
                    () = listening => {}
                }
            }
        });
        let logger =
            tokio::spawn(follow_logs(container.docker.clone(), container.id.clone(), spec.logs.clone()));
        Self { container, ports, status, watcher, logger }
    }
}

/// Moves on, but never from an end.
fn settle(status: &watch::Sender<InstanceStatus>, next: InstanceStatus) {
    status.send_if_modified(|now| {
        let open = matches!(now, InstanceStatus::Starting | InstanceStatus::Running) && *now != next;
        if open {
            *now = next;
        }
        open
    });
}

/// Waits for the end of a container.
async fn exit_code(docker: &Docker, id: &str) -> i32 {
    let answer = docker.wait_container(id, None).next().await;
    let code = match answer {
        Some(Ok(ended)) => Some(ended.status_code),
        Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Some(code),
        // The engine went away, or the container was removed by hand. Ask once more, then call it a crash.
        Some(Err(_)) | None => docker
            .inspect_container(id, None)
            .await
            .ok()
            .and_then(|container| container.state)
            .and_then(|state| state.exit_code),
    };
    code.and_then(|code| i32::try_from(code).ok()).unwrap_or(1)
}

async fn follow_logs(docker: Docker, id: String, out: tokio::sync::mpsc::UnboundedSender<LogLine>) {
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
    let mut stream = std::pin::pin!(docker.logs(&id, Some(options)));
    while let Some(Ok(output)) = stream.next().await {
        let error = matches!(output, LogOutput::StdErr { .. });
        for line in String::from_utf8_lossy(&output.into_bytes()).lines() {
            if out.send(LogLine { error, message: line.to_owned() }).is_err() {
                return;
            }
        }
    }
}

impl Instance for ContainerInstance {
    fn addr(&self) -> SocketAddr {
        self.ports.main
    }

    fn addr_of(&self, port: u16) -> Option<SocketAddr> {
        self.ports.all.get(&port).copied()
    }

    fn status(&self) -> watch::Receiver<InstanceStatus> {
        self.status.subscribe()
    }

    fn stop(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.container.removed.swap(true, Ordering::SeqCst) {
                return;
            }
            // First, so that the watcher's news of the end is not taken for a crash.
            settle(&self.status, InstanceStatus::Stopped);
            let seconds = i32::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
            let options = StopContainerOptionsBuilder::new().t(seconds).build();
            let (docker, id) = (self.container.docker.clone(), self.container.id.clone());
            // A task of its own: a caller that gives up waiting must not leave the container running.
            let ended = tokio::spawn(async move {
                if let Err(error) = docker.stop_container(&id, Some(options)).await {
                    tracing::debug!(%error, "a container does not stop; it is removed by force");
                }
                remove(&docker, &id).await;
            });
            let _ = ended.await;
        })
    }
}

impl Drop for ContainerInstance {
    fn drop(&mut self) {
        self.watcher.abort();
        self.logger.abort();
    }
}

/// `DOCKER_HOST` if it names a socket, else where the engine has its own.
fn find_socket(kind: EngineKind) -> Result<PathBuf, EngineError> {
    let mut places: Vec<PathBuf> = Vec::new();
    if let Some(path) =
        std::env::var("DOCKER_HOST").ok().and_then(|host| host.strip_prefix("unix://").map(PathBuf::from))
    {
        places.push(path);
    }
    match kind {
        EngineKind::Docker => places.push("/var/run/docker.sock".into()),
        EngineKind::Podman => {
            if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR") {
                places.push(Path::new(&folder).join("podman/podman.sock"));
            }
            places.push("/run/podman/podman.sock".into());
        }
    }
    match places.iter().find(|place| place.exists()) {
        Some(place) => Ok(place.clone()),
        None => Err(EngineError::NoSocket {
            tried: places.iter().map(|place| place.display().to_string()).collect(),
        }),
    }
}
