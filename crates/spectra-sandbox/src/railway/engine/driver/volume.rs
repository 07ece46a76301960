//! Volumes are written by one deployment at a time: its predecessors are gone before the replicas of a new one
//! start. The service is down in between, and stays down when the new one fails.

use std::sync::Arc;
use std::time::Duration;

use super::{Driver, Woken, ticks};
use crate::core::Effect;
use crate::railway::engine::Command;
use crate::railway::ops::volumes;
use crate::store::World;
use crate::store::rows::{Deployment, Farewell, Status};

/// Deployments of the same instance, older than `record`, that may still have replicas.
fn predecessors(world: &World, record: &Deployment) -> Vec<Arc<Deployment>> {
    let mut rows = world.deployments_of(&record.environment_id, &record.service_id);
    rows.retain(|row| {
        let gone = matches!(row.status, Status::Failed | Status::Skipped | Status::Removed);
        row.sequence < record.sequence && !gone
    });
    rows
}

/// One that overlaps after an earlier cut-over must be told too; it cuts its overlap short.
fn untold(row: &Deployment) -> bool {
    matches!(row.farewell, None | Some(Farewell::Superseded))
}

impl Driver {
    /// Where the service has a volume: tells every older deployment to go and waits until none is left.
    pub(super) async fn free_volume(&mut self, record: &Deployment) -> Result<(), Farewell> {
        if !volumes::is_mounted(&self.core.world(), &record.environment_id, &record.service_id) {
            return Ok(());
        }
        let mut changed = self.core.changes();
        loop {
            // Marked as seen before the look, so that no change is missed between the two.
            changed.mark_unchanged();
            let old = predecessors(&self.core.world(), record);
            if old.is_empty() {
                return Ok(());
            }
            if old.iter().any(|row| untold(row)) {
                self.replace(record);
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

    fn replace(&self, record: &Deployment) {
        let told = self.core.mutate(|draft| {
            for old in predecessors(&draft.world, record).iter().filter(|row| untold(row)) {
                if let Some(row) = draft.world.deployments.get_mut(&old.id) {
                    row.farewell = Some(Farewell::Replaced);
                }
                draft.effects.push(Effect::Farewell(old.id.clone(), Farewell::Replaced));
            }
            Ok(())
        });
        // It is tried again with the next change.
        if let Err(refusal) = told {
            tracing::error!(deployment = %self.id, message = %refusal.message, "its predecessors were not told to go");
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
