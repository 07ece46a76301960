//! The one place that owns the sandbox's state: reads are snapshots, writes are transactions, and what a write
//! sets in motion (a deployment to drive, a route to change) is handed to the engine after it is on disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Pace, Stand, Tick};
use crate::config::{Error, SandboxInfo};
use crate::contract::{Edge, ImagePuller, Runtime};
use crate::faults::Faults;
use crate::journal::Journal;
use crate::railway::engine::Engine;
use crate::railway::limits::Limits;
use crate::railway::ops::activity;
use crate::railway::refusal::Refusal;
use crate::railway::traffic::Traffic;
use crate::registry::Registry;
use crate::secrets::Secrets;
use crate::services::TcpForwarder;
use crate::settings::Settings;
use crate::store::rows::{Deployment, Environment, Farewell, Instance, Meta, Service, Status, instance_key};
use crate::store::{ONLY, Store, World};

/// What a committed change sets in motion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A new deployment starts its life.
    Drive(String),
    /// A deployment must go.
    Farewell(String, Farewell),
    /// A running deployment stops its replicas but stays.
    Stop(String),
    /// A deployment starts its replicas again.
    Restart(String),
    /// A waiting deployment may start.
    Release(String),
    /// Routes of a service in an environment are to be computed again.
    Routes(String, String),
    /// A domain answers no more.
    DropDomain(String),
    /// The port of a TCP proxy is given back.
    DropProxy(String),
    /// A patch is to be applied when it is due.
    Patch(String),
    /// A notification is to be sent when it is due.
    Deliver(String),
    /// A project is to be deleted when its grace is over.
    ProjectDeletion(String),
}

/// A change in the making.
pub(crate) struct Draft {
    pub(crate) world: World,
    pub(crate) effects: Vec<Effect>,
    pub(crate) stamp: u64,
    pub(crate) tick: Tick,
}

impl Draft {
    /// The singletons.
    pub(crate) fn meta(&mut self) -> &mut Meta {
        if self.world.meta.get(ONLY).is_none() {
            self.world.meta.insert(ONLY, Meta::default());
        }
        #[expect(clippy::expect_used, reason = "inserted just above when it was missing")]
        self.world.meta.get_mut(ONLY).expect("meta row exists")
    }

    /// The next number of the one sequence that orders deployments and audit rows.
    pub(crate) fn next(&mut self) -> u64 {
        let meta = self.meta();
        meta.sequence += 1;
        meta.sequence
    }
}

/// The pieces that carry images and traffic.
pub(crate) struct Parts {
    pub(crate) puller: Arc<dyn ImagePuller>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) edge: Arc<dyn Edge>,
    pub(crate) tcp: TcpForwarder,
    pub(crate) registry: Registry,
}

/// State and machinery shared by every request.
pub(crate) struct Core {
    pub(crate) info: SandboxInfo,
    pub(crate) clock: Clock,
    pub(crate) parts: Parts,
    pub(crate) faults: Arc<Faults>,
    pub(crate) journal: Journal,
    pub(crate) limits: Limits,
    pub(crate) secrets: Secrets,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) engine: Engine,
    pub(crate) shutdown: CancellationToken,
    /// Open WebSocket connections; they outlive the HTTP connection that they began as.
    pub(crate) sockets: TaskTracker,
    /// Tasks that must end before the last logs are written.
    pub(crate) tasks: TaskTracker,
    changes: watch::Sender<u64>,
    settings: RwLock<Arc<Settings>>,
    store: Mutex<Store>,
    world: RwLock<Arc<World>>,
    past: Mutex<VecDeque<(Tick, Arc<World>)>>,
    kept_clock: Mutex<Option<Stand>>,
}

/// Name of the document that says where the clock was.
pub(crate) const CLOCK: &str = "clock";

/// How many past states are kept for stale reads.
const PAST: usize = 512;

impl Core {
    #[expect(clippy::too_many_arguments, reason = "called once, where the parts come together")]
    pub(crate) fn new(
        info: SandboxInfo,
        clock: Clock,
        parts: Parts,
        faults: Arc<Faults>,
        settings: Settings,
        store: Store,
        world: World,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            info,
            clock,
            parts,
            faults,
            journal: Journal::default(),
            limits: Limits::default(),
            secrets: Secrets::default(),
            traffic,
            engine: Engine::default(),
            shutdown: CancellationToken::new(),
            sockets: TaskTracker::new(),
            tasks: TaskTracker::new(),
            changes: watch::Sender::new(0),
            settings: RwLock::new(Arc::new(settings)),
            store: Mutex::new(store),
            world: RwLock::new(Arc::new(world)),
            past: Mutex::default(),
            kept_clock: Mutex::default(),
        }
    }

    /// The state now.
    pub(crate) fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state as it was `age` ago in sandbox time (as far back as is kept).
    pub(crate) fn world_before(&self, age: Duration) -> Arc<World> {
        let then = self.clock.now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        // Each entry is the state that held *until* its tick.
        past.iter()
            .find(|(until, _)| *until > then)
            .map_or_else(|| self.world(), |(_, world)| Arc::clone(world))
    }

    /// The knobs now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the knobs, on disk too.
    pub(crate) fn put_settings(&self, settings: Settings) -> Result<(), Error> {
        {
            // Held to the end, so that no change of the state that began before takes the restriction back.
            let store = self.store();
            store.put_document("settings", &settings)?;
            let mut world = (*self.world()).clone();
            world.restrict(&settings);
            *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(world);
        }
        self.clock.set_pace(if settings.manual_clock {
            Pace::Manual
        } else {
            Pace::Scaled(settings.time_scale)
        });
        self.parts.registry.set_quirks(settings.registry.clone());
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        // Traffic profiles begin and end with the settings.
        self.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Writes down where the clock is, so that the next start does not go back. A failing disk is logged.
    pub(crate) fn keep_clock(&self) {
        let stand = self.clock.stand();
        let mut kept = self.kept_clock.lock().unwrap_or_else(PoisonError::into_inner);
        // A manual clock that stands still costs nothing.
        if kept.is_some_and(|kept: Stand| kept.tick == stand.tick && kept.advanced == stand.advanced) {
            return;
        }
        match self.store().put_document(CLOCK, &stand) {
            Ok(()) => *kept = Some(stand),
            Err(error) => {
                tracing::error!(%error, "the clock was not written and may go back at the next start");
            }
        }
    }

    /// The database; hold it shortly.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        // A panic while it was held can have lost at most an uncommitted transaction, which SQLite rolls back.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `change` on a copy of the state, writes it in one transaction, makes it the state, and hands its
    /// effects to the engine. When `change` or the write refuses, nothing has happened.
    pub(crate) fn mutate<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Draft) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let (value, effects) = {
            let mut store = self.store();
            let before = self.world();
            let tick = self.clock.now();
            let mut draft =
                Draft { world: (*before).clone(), effects: Vec::new(), stamp: self.clock.stamp(), tick };
            let value = change(&mut draft)?;
            activity::follow(&before, &mut draft, &self.settings());
            activity::trim(&mut draft);
            draft.meta().tick = tick;
            self.secrets.note_changes(&draft.world);
            store.commit(&mut draft.world).map_err(|error| {
                tracing::error!(%error, "the change was not written and did not happen");
                Refusal::internal("Problem processing request")
            })?;
            {
                let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
                past.push_back((tick, before));
                if past.len() > PAST {
                    past.pop_front();
                }
            }
            *self.world.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(draft.world);
            self.changes.send_modify(|count| *count += 1);
            (value, draft.effects)
        };
        for effect in effects {
            Engine::apply(self, effect);
        }
        Ok(value)
    }

    /// Wakes up after every committed change; several in a row may wake once.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Changes one deployment if it still exists; the closure says whether it wants the change.
    pub(crate) fn update_deployment(
        self: &Arc<Self>,
        id: &str,
        change: impl FnOnce(&mut Deployment, u64) -> bool,
    ) -> bool {
        self.mutate(|draft| {
            let stamp = draft.stamp;
            let Some(deployment) = draft.world.deployments.get_mut(id) else {
                return Err(Refusal::not_found("Deployment"));
            };
            if !change(deployment, stamp) {
                return Err(Refusal::not_found("Deployment"));
            }
            deployment.times.updated_at = stamp;
            let route = Effect::Routes(deployment.environment_id.clone(), deployment.service_id.clone());
            draft.effects.push(route);
            Ok(())
        })
        .is_ok()
    }

    /// How many objects of each kind live.
    pub(crate) fn object_counts(&self) -> BTreeMap<&'static str, usize> {
        let world = self.world();
        BTreeMap::from([
            ("projects", world.projects.iter().filter(|row| row.times.live()).count()),
            ("environments", world.environments.iter().filter(|row| row.times.live()).count()),
            ("services", world.services.iter().filter(|row| row.times.live()).count()),
            ("service_instances", world.instances.iter().filter(|row| row.times.live()).count()),
            (
                "deployments",
                world
                    .deployments
                    .iter()
                    // What is being taken down together with its environment is no object any more.
                    .filter(|row| {
                        world.environments.get(&row.environment_id).is_some_and(|home| home.times.live())
                            && !matches!(row.status, Status::Removed | Status::Failed | Status::Skipped)
                    })
                    .count(),
            ),
            ("domains", world.domains.iter().filter(|row| row.times.live()).count()),
            ("custom_domains", world.custom_domains.iter().filter(|row| row.times.live()).count()),
            ("tcp_proxies", world.proxies.iter().filter(|row| row.times.live()).count()),
            ("private_networks", world.private_networks.iter().filter(|row| row.times.live()).count()),
            ("private_endpoints", world.private_endpoints.iter().filter(|row| row.times.live()).count()),
            ("egress_gateways", world.egress_gateways.iter().count()),
            ("volumes", world.volumes.iter().filter(|row| row.times.live()).count()),
            ("volume_instances", world.volume_instances.iter().filter(|row| row.times.live()).count()),
            ("variables", world.variables.iter().map(|set| set.variables.len()).sum()),
            ("deployment_triggers", world.triggers.iter().count()),
            ("notification_rules", world.rules.iter().count()),
            ("project_tokens", world.tokens.iter().filter(|row| row.times.live()).count()),
        ])
    }
}

/// Look-ups that skip deleted rows.
impl World {
    pub(crate) fn environment(&self, id: &str) -> Option<&Arc<Environment>> {
        self.environments.get(id).filter(|row| row.times.live())
    }

    pub(crate) fn service(&self, id: &str) -> Option<&Arc<Service>> {
        self.services.get(id).filter(|row| row.times.live())
    }

    pub(crate) fn instance(&self, environment_id: &str, service_id: &str) -> Option<&Arc<Instance>> {
        self.instances.get(&instance_key(environment_id, service_id)).filter(|row| row.times.live())
    }

    /// Deployments of a service in an environment, newest first.
    pub(crate) fn deployments_of(&self, environment_id: &str, service_id: &str) -> Vec<Arc<Deployment>> {
        let mut rows: Vec<_> = self
            .deployments
            .iter()
            .filter(|row| row.environment_id == environment_id && row.service_id == service_id)
            .cloned()
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sequence));
        rows
    }

    /// The deployment that holds the traffic: the newest settled one that is not on its way out. One that crashed before it
    /// served never took it over.
    pub(crate) fn active(&self, environment_id: &str, service_id: &str) -> Option<Arc<Deployment>> {
        self.deployments_of(environment_id, service_id)
            .into_iter()
            .find(|row| row.status.settled() && (row.ever_succeeded || row.status != Status::Crashed))
    }
}
