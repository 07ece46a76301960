//! The deployment engine: one task a deployment, woken by the clock, by its replicas and by commands. Whatever
//! it decides is written before the next step, so that a restart of the sandbox resumes where it was.

mod driver;
mod health;
mod schedules;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::contract::Route;
use crate::core::{Core, Effect};
use crate::railway::ops::{projects, proxies};
use crate::railway::webhooks;
use crate::store::rows::{DeliveryState, Farewell, PatchStatus, Status};
use driver::Driver;
use spectra_types::DeploymentId;

/// What a deployment's task can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Go away.
    Farewell(Farewell),
    /// Stop the replicas, keep the deployment.
    Stop,
    /// Start the replicas again.
    Restart,
    /// A request arrived while asleep.
    Wake,
    /// Stop waiting and start.
    Release,
}

/// Where the replicas of a deployment listen, by replica number.
#[derive(Debug, Clone, Default)]
struct Addresses {
    http: Vec<(u32, SocketAddr)>,
    /// By the port of the application, for those that TCP proxies ask for.
    ports: BTreeMap<u16, Vec<(u32, SocketAddr)>>,
}

/// Tasks and addresses by deployment.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    commands: Mutex<HashMap<String, mpsc::UnboundedSender<Command>>>,
    addresses: Mutex<HashMap<String, Addresses>>,
    /// Held from reading the state to changing the routes: what was read later is written later.
    routing: Mutex<()>,
    gone: Notify,
}

/// Longest wait for the tasks to end when the sandbox stops, in real time.
const END: Duration = Duration::from_secs(10);

impl Engine {
    /// Carries out one effect of a committed change.
    pub(crate) fn apply(core: &Arc<Core>, effect: Effect) {
        match effect {
            Effect::Drive(id) => Self::drive(core, &id),
            Effect::Farewell(id, why) => Self::command(core, &id, Command::Farewell(why)),
            Effect::Stop(id) => Self::command(core, &id, Command::Stop),
            Effect::Restart(id) => Self::command(core, &id, Command::Restart),
            Effect::Release(id) => Self::command(core, &id, Command::Release),
            Effect::Routes(environment, service) => Self::route(core, &environment, &service),
            Effect::DropDomain(domain) => {
                let _routing = core.engine.lock_routing();
                // Effects come after the change: the name may be another service's by now.
                let world = core.world();
                let own = world.domains.iter().any(|row| row.times.live() && row.domain == domain);
                let custom = world.custom_domains.iter().any(|row| row.times.live() && row.domain == domain);
                if !own && !custom {
                    core.parts.edge.remove_route(host(&domain));
                }
            }
            Effect::DropProxy(id) => {
                let _routing = core.engine.lock_routing();
                core.parts.tcp.close(&id);
            }
            Effect::Patch(id) => {
                let core = Arc::clone(core);
                tokio::spawn(async move {
                    let due = core.world().patches.get(&id).and_then(|patch| patch.due_tick).unwrap_or(0);
                    tokio::select! {
                        () = core.clock.sleep_until(due) => crate::railway::ops::patches::apply(&core, &id),
                        () = core.shutdown.cancelled() => {}
                    }
                });
            }
            Effect::Deliver(id) => webhooks::deliver(core, id),
            Effect::ProjectDeletion(id) => {
                let core = Arc::clone(core);
                tokio::spawn(async move {
                    let Some(due) = projects::deletion_due(&core.world(), &id) else { return };
                    tokio::select! {
                        () = core.clock.sleep_until(due) => projects::delete_due(&core, &id),
                        () = core.shutdown.cancelled() => {}
                    }
                });
            }
        }
    }

    /// Takes up everything that was going on when the sandbox last stopped.
    pub(crate) fn resume(core: &Arc<Core>) {
        let world = core.world();
        for deployment in world.deployments.iter() {
            if !matches!(deployment.status, Status::Failed | Status::Skipped | Status::Removed) {
                Self::drive(core, &deployment.id);
            }
        }
        for instance in world.instances.iter().filter(|instance| instance.times.live()) {
            Self::route(core, &instance.environment_id, &instance.service_id);
        }
        tokio::spawn(schedules::keep(Arc::clone(core)));
        for patch in world
            .patches
            .iter()
            .filter(|patch| patch.status == PatchStatus::Applying && patch.last_error.is_none())
        {
            Self::apply(core, Effect::Patch(patch.id.clone()));
        }
        for delivery in world.deliveries.iter().filter(|row| row.state == DeliveryState::Pending) {
            Self::apply(core, Effect::Deliver(delivery.id.clone()));
        }
        for project in world.projects.iter().filter(|row| row.times.live() && row.deletion.is_some()) {
            Self::apply(core, Effect::ProjectDeletion(project.id.clone()));
        }
    }

    /// Wakes a sleeping deployment.
    pub(crate) fn wake(&self, id: &str) {
        if let Some(sender) = self.lock_commands().get(id) {
            // A task that has just ended needs no wake-up.
            let _ = sender.send(Command::Wake);
        }
    }

    fn addresses(&self, id: &str) -> Addresses {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }

    fn set_addresses(&self, id: &str, addresses: Addresses) {
        let mut all = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.http.is_empty() {
            all.remove(id);
        } else {
            all.insert(id.to_owned(), addresses);
        }
    }

    fn drive(core: &Arc<Core>, id: &str) {
        let (sender, receiver) = mpsc::unbounded_channel();
        core.engine.lock_commands().insert(id.to_owned(), sender);
        tokio::spawn(Driver::new(Arc::clone(core), id.to_owned(), receiver).run());
    }

    fn command(core: &Arc<Core>, id: &str, command: Command) {
        if let Some(sender) = core.engine.lock_commands().get(id) {
            // A task that has just ended is past taking commands; its record says so.
            let _ = sender.send(command);
        }
    }

    fn finished(&self, id: &str) {
        self.lock_commands().remove(id);
        self.set_addresses(id, Addresses::default());
        self.gone.notify_waiters();
    }

    /// Waits until no deployment has a task any more; after shutdown that is when every replica has stopped.
    pub(crate) async fn ended(&self) {
        let wait = async {
            loop {
                let gone = self.gone.notified();
                tokio::pin!(gone);
                // Registered before the look, so that no end is missed between the two.
                gone.as_mut().enable();
                if self.lock_commands().is_empty() {
                    return;
                }
                gone.await;
            }
        };
        if tokio::time::timeout(END, wait).await.is_err() {
            tracing::warn!("some deployments did not stop in time");
        }
    }

    /// Points every name and TCP proxy of a service in an environment at its active deployment. Whether a custom
    /// domain is verified is looked at when a request comes.
    fn route(core: &Arc<Core>, environment_id: &str, service_id: &str) {
        let _routing = core.engine.lock_routing();
        let world = core.world();
        let active = world.active(environment_id, service_id);
        let addresses = active.as_ref().map(|row| core.engine.addresses(&row.id)).unwrap_or_default();
        let route = active.as_ref().and_then(|deployment| {
            let deployment_id = deployment.id.parse::<DeploymentId>().ok()?;
            let asleep = deployment.status == Status::Sleeping;
            Some(Route { deployment_id, replicas: addresses.http, asleep })
        });
        let own = world.domains.iter().filter(|row| {
            row.environment_id == environment_id && row.service_id == service_id && row.times.live()
        });
        let custom = world.custom_domains.iter().filter(|row| {
            row.environment_id == environment_id && row.service_id == service_id && row.times.live()
        });
        let names = own.map(|row| host(&row.domain)).chain(custom.map(|row| row.domain.as_str()));
        for name in names {
            match &route {
                Some(route) => core.parts.edge.set_route(name, route.clone()),
                None => core.parts.edge.remove_route(name),
            }
        }
        for row in world.proxies.iter().filter(|row| {
            row.environment_id == environment_id && row.service_id == service_id && row.times.live()
        }) {
            let Ok(port) = u16::try_from(row.proxy_port) else { continue };
            core.parts.tcp.open(&row.id, port);
            let replicas =
                u16::try_from(row.application_port).ok().and_then(|port| addresses.ports.get(&port));
            let replicas = replicas.cloned().unwrap_or_default();
            let carried = active.as_ref().is_some_and(|active| proxies::carries(active, row));
            let route = route.as_ref().filter(|_| carried);
            core.parts.tcp.set_route(&row.id, route.map(|route| Route { replicas, ..route.clone() }));
        }
    }

    fn lock_routing(&self) -> MutexGuard<'_, ()> {
        self.routing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_commands(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host(domain: &str) -> &str {
    domain.split_once(':').map_or(domain, |(host, _)| host)
}
