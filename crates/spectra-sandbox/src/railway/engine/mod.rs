//! The deployment engine: one task a deployment, woken by the clock, by its replicas and by commands. Whatever
//! it decides is written before the next step, so that a restart of the sandbox resumes where it was.

mod driver;
mod health;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::contract::Route;
use crate::core::{Core, Effect};
use crate::railway::ops::projects;
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

/// Tasks and addresses by deployment.
#[derive(Debug, Default)]
pub(crate) struct Engine {
    commands: Mutex<HashMap<String, mpsc::UnboundedSender<Command>>>,
    addresses: Mutex<HashMap<String, Vec<(u32, SocketAddr)>>>,
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
            Effect::DropDomain(domain) => core.parts.edge.remove_route(host(&domain)),
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
        for domain in world.domains.iter().filter(|domain| domain.times.live()) {
            Self::route(core, &domain.environment_id, &domain.service_id);
        }
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

    /// Where the replicas of a deployment listen.
    pub(crate) fn addresses(&self, id: &str) -> Vec<(u32, SocketAddr)> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned().unwrap_or_default()
    }

    fn set_addresses(&self, id: &str, addresses: Vec<(u32, SocketAddr)>) {
        let mut all = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if addresses.is_empty() {
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
        self.set_addresses(id, Vec::new());
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

    fn route(core: &Arc<Core>, environment_id: &str, service_id: &str) {
        let world = core.world();
        let active = world.active(environment_id, service_id);
        for domain in world.domains.iter() {
            if domain.environment_id != environment_id
                || domain.service_id != service_id
                || !domain.times.live()
            {
                continue;
            }
            let name = host(&domain.domain);
            let route = active.as_ref().and_then(|deployment| {
                let deployment_id = deployment.id.parse::<DeploymentId>().ok()?;
                Some(Route {
                    deployment_id,
                    replicas: core.engine.addresses(&deployment.id),
                    asleep: deployment.status == Status::Sleeping,
                })
            });
            match route {
                Some(route) => core.parts.edge.set_route(name, route),
                None => core.parts.edge.remove_route(name),
            }
        }
    }

    fn lock_commands(&self) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Command>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host(domain: &str) -> &str {
    domain.split_once(':').map_or(domain, |(host, _)| host)
}
