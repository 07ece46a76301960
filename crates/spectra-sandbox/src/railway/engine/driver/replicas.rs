//! The replicas of one deployment: starting, listening, ending, coming back.

use std::collections::BTreeMap;
use std::time::Duration;

use spectra_types::PinnedImage;
use tokio::sync::mpsc;

use super::super::{Addresses, Engine, health};
use super::record::mark_one;
use super::{Driver, Report, Running, ticks};
use crate::contract::{Hidden, InstanceSpec, InstanceStatus};
use crate::railway::ops::{instances, proxies, variables};
use crate::railway::traffic::Span;
use crate::runtime::{Behaviour, Usage};
use crate::store::World;
use crate::store::rows::{Deployment, Replica, ReplicaStatus, Times};

/// The port that a domain of the service names; Railway's own domains come first.
fn target_port(world: &World, record: &Deployment) -> Option<u16> {
    let here = |environment: &str, service: &str, times: &Times| {
        environment == record.environment_id && service == record.service_id && times.live()
    };
    let own = world.domains.iter().filter(|row| here(&row.environment_id, &row.service_id, &row.times));
    let custom =
        world.custom_domains.iter().filter(|row| here(&row.environment_id, &row.service_id, &row.times));
    let mut ports = own.map(|row| row.target_port).chain(custom.map(|row| row.target_port));
    ports.find_map(|port| u16::try_from(port?).ok())
}

impl Driver {
    /// Handles what a replica reports; true when the deployment has crashed for good.
    pub(super) async fn take(&mut self, (number, generation, status): Report) -> bool {
        let Some(at) =
            self.running.iter().position(|row| row.number == number && row.generation == generation)
        else {
            return false;
        };
        match status {
            InstanceStatus::Starting | InstanceStatus::Stopped => false,
            InstanceStatus::Running => {
                self.running[at].listening = true;
                self.publish();
                self.mark(number, ReplicaStatus::Running);
                false
            }
            InstanceStatus::Exited(code) => {
                let gone = self.running.swap_remove(at);
                gone.instance.stop(Duration::ZERO).await;
                self.core.traffic.ended(&self.id, number, self.core.clock.stamp());
                self.publish();
                let Some(record) = self.record() else { return false };
                let policy = record.snapshot.deploy_text("restartPolicyType");
                let most = record.snapshot.deploy_number("restartPolicyMaxRetries").unwrap_or(10);
                let again = match policy.as_deref() {
                    Some("ALWAYS") => true,
                    Some("NEVER") => false,
                    _ => code != 0 && u64::from(record.restarts) < most,
                };
                if again {
                    self.change(|row| {
                        row.restarts += 1;
                        mark_one(row, number, ReplicaStatus::Restarting);
                    });
                    let delay = ticks(self.core.settings().restart_delay.get());
                    self.due.push((self.core.clock.now().saturating_add(delay), number));
                    return false;
                }
                if code == 0 {
                    self.mark(number, ReplicaStatus::Exited);
                    return false;
                }
                true
            }
        }
    }

    pub(super) async fn restart_due(&mut self) {
        let now = self.core.clock.now();
        let (ready, later): (Vec<_>, Vec<_>) = self.due.drain(..).partition(|(tick, _)| *tick <= now);
        self.due = later;
        let Some(record) = self.record() else { return };
        for (_, number) in ready {
            if let Err(reason) = self.start_one(&record, number).await {
                tracing::error!(deployment = %self.id, %reason, "a replica did not start again");
            }
        }
    }

    pub(super) async fn start_all(&mut self, record: &Deployment) -> Result<(), String> {
        let old = record.replicas.clone();
        let placement = record.snapshot.placement();
        self.change(|row| {
            row.replicas = placement
                .iter()
                .zip(0..)
                .map(|(region, number)| Replica {
                    id: old
                        .iter()
                        .find(|replica| replica.number == number)
                        .map_or_else(crate::railway::ops::new_id, |replica| replica.id.clone()),
                    number,
                    status: ReplicaStatus::Initializing,
                    region: region.clone(),
                })
                .collect();
        });
        let Some(record) = self.record() else { return Err("the deployment is gone".to_owned()) };
        for replica in &record.replicas {
            self.start_one(&record, replica.number).await?;
        }
        Ok(())
    }

    pub(super) async fn start_one(&mut self, record: &Deployment, number: u32) -> Result<(), String> {
        let pulled = self.pulled.clone().ok_or("the image was not pulled")?;
        let image: PinnedImage = record
            .pinned
            .as_ref()
            .ok_or("the image was not resolved")?
            .parse()
            .map_err(|error| format!("{error}"))?;
        let world = self.core.world();
        let rendered = variables::of_deployment(&self.core, &world, record, Some(number));
        let port =
            rendered.get("PORT").and_then(|port| port.parse().ok()).or_else(|| target_port(&world, record));
        let variables: BTreeMap<_, _> =
            rendered.into_iter().map(|(name, value)| (name, Hidden::from(value))).collect();
        let (sender, mut lines) = mpsc::unbounded_channel();
        let logs = self.logs.clone();
        self.core.tasks.spawn(async move {
            while let Some(line) = lines.recv().await {
                if logs.send((number, line)).is_err() {
                    return;
                }
            }
        });
        // The simulated runtime refuses labels that mean nothing; a container runs whatever its labels are.
        let behaviour = Behaviour::from_labels(&pulled.labels);
        if let Err(error) = &behaviour {
            tracing::warn!(deployment = %self.id, %error, "the resource metrics are those of an image without labels");
        }
        let usage = behaviour.unwrap_or_default().usage;
        let spec = InstanceSpec {
            deployment_id: self.id.parse().map_err(|error| format!("{error}"))?,
            service: world.services.get(&record.service_id).map_or_else(String::new, |row| row.name.clone()),
            image,
            credentials: self.credentials(),
            pulled,
            variables,
            start_command: record.snapshot.deploy_text("startCommand"),
            port,
            tcp_ports: proxies::ports(&world, record),
            replica: number,
            logs: sender,
        };
        let instance = self.core.parts.runtime.start(spec).await.map_err(|error| error.to_string())?;
        self.core.traffic.started(self.span(record, number, usage));
        self.generation += 1;
        let generation = self.generation;
        let mut status = instance.status();
        let reporter = self.reporter.clone();
        tokio::spawn(async move {
            loop {
                let now = *status.borrow_and_update();
                if reporter.send((number, generation, now)).is_err()
                    || matches!(now, InstanceStatus::Exited(_) | InstanceStatus::Stopped)
                    || status.changed().await.is_err()
                {
                    return;
                }
            }
        });
        self.running.push(Running { number, generation, listening: false, instance });
        Ok(())
    }

    /// The run of a replica that begins now.
    fn span(&self, record: &Deployment, number: u32, usage: Usage) -> Span {
        let replica = record.replicas.iter().find(|replica| replica.number == number);
        let limits = instances::limits_of(&record.snapshot);
        let limit = |key: &str| limits["containers"][key].as_f64().unwrap_or_default();
        Span {
            deployment: self.id.clone(),
            replica: number,
            instance: replica.map(|replica| replica.id.clone()).unwrap_or_default(),
            region: replica.map(|replica| replica.region.clone()).unwrap_or_default(),
            from: self.core.clock.stamp(),
            to: None,
            usage,
            cpu_limit: limit("cpu"),
            memory_limit: limit("memoryBytes"),
        }
    }

    pub(super) async fn probe_all(&self, path: &str) -> Result<(), String> {
        for replica in &self.running {
            health::probe(replica.instance.addr(), path).await?;
        }
        Ok(())
    }

    pub(super) async fn stop_all(&mut self, grace: Duration) {
        self.due.clear();
        let running = std::mem::take(&mut self.running);
        self.publish();
        if !running.is_empty()
            && let Some(record) = self.record()
        {
            // Traffic leaves before the replicas do.
            Engine::route(&self.core, &record.environment_id, &record.service_id);
        }
        futures::future::join_all(running.iter().map(|replica| async {
            replica.instance.stop(grace).await;
            self.core.traffic.ended(&self.id, replica.number, self.core.clock.stamp());
        }))
        .await;
    }

    pub(super) fn publish(&self) {
        let mut listening: Vec<_> = self.running.iter().filter(|replica| replica.listening).collect();
        listening.sort_unstable_by_key(|replica| replica.number);
        let http = listening.iter().map(|replica| (replica.number, replica.instance.addr())).collect();
        let ports = self.record().map(|row| proxies::ports(&self.core.world(), &row)).unwrap_or_default();
        let at = |port: u16| {
            let rows = listening.iter();
            rows.filter_map(|replica| Some((replica.number, replica.instance.addr_of(port)?))).collect()
        };
        let ports = ports.into_iter().map(|port| (port, at(port))).collect();
        self.core.engine.set_addresses(&self.id, Addresses { http, ports });
    }
}
