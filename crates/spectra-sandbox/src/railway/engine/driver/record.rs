//! Writing down what happened to one deployment.

use super::Driver;
use crate::store::rows::{Deployment, ReplicaStatus, Status, Step, StepEvent};

impl Driver {
    pub(super) fn change(&self, change: impl FnOnce(&mut Deployment)) {
        self.core.update_deployment(&self.id, |row, _| {
            change(row);
            true
        });
    }

    pub(super) fn set(&self, status: Status, change: impl FnOnce(&mut Deployment)) {
        let tick = self.core.clock.now();
        self.core.update_deployment(&self.id, |row, stamp| {
            row.status = status;
            row.status_at = stamp;
            row.phase_tick = tick;
            change(row);
            true
        });
    }

    pub(super) fn mark(&self, number: u32, status: ReplicaStatus) {
        self.change(|row| mark_one(row, number, status));
    }

    /// Writes a step: a new one, or progress of the one that is open.
    pub(super) fn event(
        &self,
        step: Step,
        attempt: Option<i32>,
        most: Option<i32>,
        done: bool,
        error: Option<String>,
    ) {
        self.core.update_deployment(&self.id, |row, stamp| {
            let open =
                row.events.iter_mut().rev().find(|event| event.step == step && event.completed_at.is_none());
            let event = if let Some(event) = open {
                event
            } else {
                row.events.push(blank(step, stamp));
                let last = row.events.len() - 1;
                &mut row.events[last]
            };
            event.attempt = attempt.or(event.attempt);
            event.max_attempts = most.or(event.max_attempts);
            event.error = error;
            event.completed_at = done.then_some(stamp);
            true
        });
    }
}

pub(super) fn blank(step: Step, stamp: u64) -> StepEvent {
    StepEvent {
        id: crate::railway::ops::new_id(),
        step,
        created_at: stamp,
        completed_at: None,
        attempt: None,
        max_attempts: None,
        error: None,
        detail: None,
    }
}

/// Closes the open event of `step`, or adds a closed one.
pub(super) fn finish(row: &mut Deployment, step: Step, error: Option<String>) {
    let stamp = row.status_at;
    let found = row.events.iter().rposition(|event| event.step == step && event.completed_at.is_none());
    let at = found.unwrap_or_else(|| {
        row.events.push(blank(step, stamp));
        row.events.len() - 1
    });
    row.events[at].completed_at = Some(stamp);
    row.events[at].error = error;
}

pub(super) fn mark_all(row: &mut Deployment, status: ReplicaStatus) {
    for replica in &mut row.replicas {
        replica.status = status;
    }
}

pub(super) fn mark_one(row: &mut Deployment, number: u32, status: ReplicaStatus) {
    for replica in row.replicas.iter_mut().filter(|replica| replica.number == number) {
        replica.status = status;
    }
}

pub(super) fn all_exited(row: &Deployment) -> bool {
    !row.replicas.is_empty() && row.replicas.iter().all(|replica| replica.status == ReplicaStatus::Exited)
}
