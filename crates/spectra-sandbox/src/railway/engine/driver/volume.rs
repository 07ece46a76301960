//! Volumes are written by one deployment at a time: its predecessors are gone before the replicas of a new one
//! start. The service is down in between, and stays down when the new one fails.

use std::time::Duration;

use super::{Driver, Woken, ticks};
use crate::core::Effect;
use crate::railway::engine::Command;
use crate::railway::ops::volumes;
use crate::store::World;
use crate::store::rows::{Deployment, Farewell, Status};

/// Whether a deployment of the same instance, older than `record`, may still have replicas.
fn has_predecessor(world: &World, record: &Deployment) -> bool {
    world.deployments_of(&record.environment_id, &record.service_id).iter().any(|row| older(row, record))
}

fn older(row: &Deployment, record: &Deployment) -> bool {
    let gone = matches!(row.status, Status::Failed | Status::Skipped | Status::Removed);
    row.sequence < record.sequence && !gone
}

impl Driver {
    /// Where the service has a volume: tells every older deployment to go and waits until none is left.
    pub(super) async fn free_volume(&mut self, record: &Deployment) -> Result<(), Farewell> {
        if !volumes::is_mounted(&self.core.world(), &record.environment_id, &record.service_id) {
            return Ok(());
        }
        let told = self.core.mutate(|draft| {
            for row in draft.world.deployments_of(&record.environment_id, &record.service_id) {
                // One that overlaps after an earlier cut-over is told too; it cuts its overlap short.
                if !older(&row, record) || !matches!(row.farewell, None | Some(Farewell::Superseded)) {
                    continue;
                }
                if let Some(row) = draft.world.deployments.get_mut(&row.id) {
                    row.farewell = Some(Farewell::Replaced);
                }
                draft.effects.push(Effect::Farewell(row.id.clone(), Farewell::Replaced));
            }
            Ok(())
        });
        if let Err(refusal) = told {
            tracing::error!(deployment = %self.id, message = %refusal.message, "its predecessors were not told to go");
        }
        let mut changed = self.core.changes();
        loop {
            // Marked as seen before the look, so that no change is missed between the two.
            changed.mark_unchanged();
            if !has_predecessor(&self.core.world(), record) {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(command) = self.commands.recv() => {
                    if let Command::Farewell(why) = command {
                        return Err(why);
                    }
                }
                _ = changed.changed() => {}
            }
        }
    }

    /// Serves on beside its successor for `duration`; being told once more to go cuts that short.
    pub(super) async fn overlap(&mut self, duration: Duration) {
        // A replica that waits to start again does so no more.
        self.due.clear();
        let until = self.core.clock.now().saturating_add(ticks(duration));
        while self.core.clock.now() < until {
            if let Woken::Command(Command::Farewell(_)) = self.wait(Some(until)).await {
                return;
            }
        }
    }
}
