//! Putting the pieces together.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::{Clock, Pace, Stand};
use crate::config::{Config, Error, RuntimeKind, SandboxInfo, Tokens};
use crate::contract::{ImagePuller, Runtime};
use crate::core::{CLOCK, Core, Parts};
use crate::faults::{Faults, Rule};
use crate::pull::{Reach, RegistryPuller};
use crate::railway::engine::Engine;
use crate::railway::gql;
use crate::railway::load;
use crate::railway::ops::new_id;
use crate::railway::traffic::{self, Traffic};
use crate::registry::{Registry, RegistryConfig};
use crate::runtime::{ContainerRuntime, EngineKind, SimulatedRuntime};
use crate::server::{Multiplexer, serve};
use crate::services::{Proxy, ProxyOptions, TcpForwarder};
use crate::settings::Settings;
use crate::store::rows::{Keys, Meta};
use crate::store::{ONLY, Store, World};

/// Longest wait for one image, in real time.
const PULL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long WebSocket connections may take to say goodbye, in real time.
const SOCKETS: Duration = Duration::from_secs(2);

/// How long the last lines of logs may take to arrive when the sandbox stops, in real time.
const TASKS: Duration = Duration::from_secs(2);

/// A running sandbox.
pub struct Sandbox {
    core: Arc<Core>,
    server: JoinHandle<()>,
    description: PathBuf,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The description holds tokens.
        f.debug_struct("Sandbox").field("url", &self.core.info.url).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Opens (or makes) the state directory, binds the port, resumes what ran, and returns when requests are
    /// answered. Fails without leaving anything behind but the state directory.
    pub async fn start(config: Config) -> Result<Self, Error> {
        if config.time_scale.is_some_and(|scale| !(scale.is_finite() && scale > 0.0)) {
            return Err(Error::Setting {
                setting: "time_scale",
                value: config.time_scale.unwrap_or_default().to_string(),
                reason: "it must be more than 0",
            });
        }
        make_dir(&config.state_dir)?;
        let mut store = Store::open(&config.state_dir)?;
        let mut world = store.load()?;
        let mut settings: Settings = store.document("settings")?.unwrap_or_default();
        world.restrict(&settings);
        if let Some(scale) = config.time_scale {
            settings.time_scale = scale;
        }
        if let Some(manual) = config.manual_clock {
            settings.manual_clock = manual;
        }
        store.put_document("settings", &settings)?;
        let faults = Arc::new(Faults::new(store.document::<Vec<Rule>>("faults")?.unwrap_or_default()));

        let (listener, port) = bind(config.port, remembered(&world)).await?;
        let (keys, meta) = identity(&mut world, port);
        store.commit(&mut world)?;
        let info = describe(port, keys, &meta);

        let pace = if settings.manual_clock { Pace::Manual } else { Pace::Scaled(settings.time_scale) };
        let clock = Clock::resumed(pace, {
            let mut stand: Stand = store.document(CLOCK)?.unwrap_or_default();
            stand.tick = stand.tick.max(meta.tick);
            stand
        });
        let traffic = Arc::new(Traffic::restored(store.load_telemetry()?));
        let failed = |part: &'static str| move |reason: String| Error::Part { part, reason };
        let registry = RegistryConfig::new(config.state_dir.join("registry"));
        let registry = Registry::open_with(registry, Arc::clone(&faults), Some(clock.clone()))
            .await
            .map_err(|error| failed("registry")(error.to_string()))?;
        let reach = if settings.allow_remote_registries { Reach::Everywhere } else { Reach::Loopback };
        let puller: Arc<dyn ImagePuller> = Arc::new(RegistryPuller::new(reach, PULL_TIMEOUT));
        let runtime = runtime(config.runtime, &clock, &meta.workspace_id).await.map_err(failed("runtime"))?;
        let edge = Arc::new(Proxy::new(Arc::clone(&traffic) as _, ProxyOptions::default()));
        let tcp = TcpForwarder::new(Arc::clone(&traffic) as _, ProxyOptions::default());
        registry.set_quirks(settings.registry.clone());
        let router = registry.router();
        let parts = Parts { puller, runtime, edge, tcp, registry };
        let core =
            Arc::new(Core::new(info, clock, parts, faults, settings, store, world, Arc::clone(&traffic)));
        core.secrets.note_world(&core.world());
        traffic.attach(Arc::downgrade(&core));
        let multiplexer = Multiplexer { core: Arc::clone(&core), schema: gql::schema(), registry: router };
        let server = tokio::spawn(serve(listener, multiplexer));
        Engine::resume(&core);
        core.tasks.spawn(traffic::keep(Arc::clone(&core)));
        core.tasks.spawn(load::run(Arc::clone(&core)));
        let description = config.state_dir.join(SandboxInfo::FILE);
        if let Err(error) = write_description(&description, &core.info) {
            core.shutdown.cancel();
            return Err(error);
        }
        Ok(Self { core, server, description })
    }

    /// What `sandbox.json` says.
    #[must_use]
    pub fn info(&self) -> &SandboxInfo {
        &self.core.info
    }

    /// The sandbox's time, for tests that share its process.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.core.clock
    }

    /// Waits until somebody asks it to stop (`POST /_sandbox/shutdown`); [`shutdown`](Self::shutdown) then does so.
    pub async fn stop_requested(&self) {
        self.core.shutdown.cancelled().await;
    }

    /// Stops serving, stops every instance and removes `sandbox.json`; the state stays for the next start.
    pub async fn shutdown(self) {
        self.core.shutdown.cancel();
        self.wait().await;
    }

    /// Waits until somebody asks it to stop (`POST /_sandbox/shutdown`), and for the end.
    pub async fn wait(self) {
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server ended badly");
        }
        self.core.parts.tcp.end().await;
        self.core.engine.ended().await;
        self.core.sockets.close();
        if tokio::time::timeout(SOCKETS, self.core.sockets.wait()).await.is_err() {
            tracing::debug!("WebSocket connections were still open when the sandbox stopped");
        }
        self.core.tasks.close();
        if tokio::time::timeout(TASKS, self.core.tasks.wait()).await.is_err() {
            tracing::debug!("the last lines of some logs are not kept");
        }
        self.core.traffic.save(&self.core);
        self.core.keep_clock();
        if let Err(error) = std::fs::remove_file(&self.description)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the description of the stopped sandbox was not removed");
        }
    }
}

impl SandboxInfo {
    fn url_of(port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }
}

/// `owner` marks the containers of this state directory, so that its next start finds what a crash left behind.
async fn runtime(kind: RuntimeKind, clock: &Clock, owner: &str) -> Result<Arc<dyn Runtime>, String> {
    let engine = match kind {
        RuntimeKind::Simulated => {
            return Ok(Arc::new(SimulatedRuntime::new(clock.clone(), rand::random())));
        }
        RuntimeKind::Podman => EngineKind::Podman,
        RuntimeKind::Docker => EngineKind::Docker,
    };
    match ContainerRuntime::connect(engine, None, owner).await {
        Ok(runtime) => Ok(Arc::new(runtime)),
        Err(error) => Err(std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))),
    }
}

fn make_dir(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| Error::Io {
        action: "make",
        path: path.to_owned(),
        source,
    })
}

fn remembered(world: &World) -> Option<u16> {
    world.meta.get(ONLY).and_then(|meta| meta.port)
}

/// Port 0 means: the remembered one if it is free, else any.
async fn bind(port: u16, remembered: Option<u16>) -> Result<(TcpListener, u16), Error> {
    let open = |port: u16| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = match (port, remembered) {
        (0, Some(old)) => match open(old).await {
            Ok(listener) => Ok(listener),
            // Domains follow the port, so another one costs nothing but bookmarks.
            Err(_) => open(0).await,
        },
        (port, _) => open(port).await,
    };
    let fail = |source| Error::Bind { port, source };
    let listener = listener.map_err(fail)?;
    let port = listener.local_addr().map_err(fail)?.port();
    Ok((listener, port))
}

/// Tokens and ids of this state directory, made at its first start. Domains carry the port, so they follow it.
fn identity(world: &mut World, port: u16) -> (Keys, Meta) {
    let keys = if let Some(keys) = world.keys.get(ONLY) {
        (**keys).clone()
    } else {
        let keys = Keys { account: new_id(), workspace: new_id() };
        world.keys.insert(ONLY, keys.clone());
        keys
    };
    let mut meta = world.meta.get(ONLY).map(|meta| (**meta).clone()).unwrap_or_default();
    if meta.workspace_id.is_empty() {
        meta.workspace_id = new_id();
        meta.user_id = new_id();
    }
    if meta.port != Some(port) {
        let ids: Vec<String> = world.domains.iter().map(|row| row.id.clone()).collect();
        for id in ids {
            if let Some(row) = world.domains.get_mut(&id) {
                let host = row.domain.split_once(':').map_or(row.domain.as_str(), |(host, _)| host);
                row.domain = format!("{host}:{port}");
            }
        }
        meta.port = Some(port);
    }
    world.meta.insert(ONLY, meta.clone());
    (keys, meta)
}

fn describe(port: u16, keys: Keys, meta: &Meta) -> SandboxInfo {
    let url = SandboxInfo::url_of(port);
    SandboxInfo {
        version: 1,
        pid: std::process::id(),
        port,
        endpoint: format!("{url}/graphql/v2"),
        registry: format!("127.0.0.1:{port}"),
        admin: format!("{url}/_sandbox"),
        url,
        tokens: Tokens { account: keys.account, workspace: keys.workspace },
        workspace_id: meta.workspace_id.clone(),
    }
}

/// Written beside and renamed: a reader sees the whole description or none.
fn write_description(path: &Path, info: &SandboxInfo) -> Result<(), Error> {
    let fail = |source| Error::Io { action: "write", path: path.to_owned(), source };
    let text = serde_json::to_string_pretty(info)
        .map_err(|error| Error::Info { path: path.to_owned(), reason: error.to_string() })?;
    let draft = path.with_extension("json.new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(fail)?;
    drop(file);
    std::fs::rename(&draft, path).map_err(fail)
}
