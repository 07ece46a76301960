//! Restarting what runs: the same deployment, with new processes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use spectra_types::DeploymentId;

use crate::client::{Client, Touches, confirmed};
use crate::deployment::{Deployment, DeploymentStatus, InstanceRef, ReplicaStatus};
use crate::error::Result;
use crate::gql::{DeploymentRestart, deployment_restart};

/// How many healthy looks in a row make a restart done: one alone may be a process about to end again.
const LOOKS: u32 = 2;

impl Client {
    /// Ends the processes of a deployment and starts them anew; a stopped or crashed one is started again. The
    /// deployment keeps its id, and Railway answers before anything has happened: follow it with a [`RestartWatch`].
    pub async fn restart_deployment(&self, instance: &InstanceRef, deployment: &DeploymentId) -> Result<()> {
        let variables = deployment_restart::Variables { id: deployment.to_string() };
        let touches = Touches::Environment(&instance.environment);
        self.mutate::<DeploymentRestart>(touches, variables)
            .await
            .and_then(|data| confirmed::<DeploymentRestart>(data.deployment_restart))
            .map_err(|error| error.attempting(|| format!("restart deployment `{deployment}`")))
    }
}

/// Which of a service's deployments a restart means: the newest that serves, else the latest if it could be started
/// again.
#[must_use]
pub fn restartable<'d>(active: &'d [Deployment], latest: Option<&'d Deployment>) -> Option<&'d Deployment> {
    let serving = active.iter().filter(|deployment| deployment.is_serving());
    serving.max_by_key(|deployment| deployment.created_at).or_else(|| {
        latest.filter(|latest| match latest.status {
            DeploymentStatus::Crashed => true,
            DeploymentStatus::Success => latest.stopped,
            _ => false,
        })
    })
}

/// What one look at a restarting deployment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restarting {
    /// Look again. The words are for people.
    Waiting(String),
    /// New processes run, seen twice in a row.
    Done,
    /// It did not come back, and why.
    Failed(String),
}

/// Follows a restart. The first looks may still show the old processes, which must not be taken for the new ones.
#[derive(Clone, Debug)]
pub struct RestartWatch {
    replicas: BTreeSet<String>,
    updated_at: Option<Timestamp>,
    was_up: bool,
    begun: bool,
    healthy: u32,
}

impl RestartWatch {
    /// Before the restart is asked for.
    #[must_use]
    pub fn new(before: &Deployment) -> Self {
        Self {
            replicas: before.replicas.iter().map(|replica| replica.id.clone()).collect(),
            updated_at: before.status_updated_at,
            was_up: before.all_replicas_running(),
            begun: false,
            healthy: 0,
        }
    }

    /// Whether anything of the restart was seen yet. A quick one may be over between two looks.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes the restart for begun: it was confirmed, and enough time has passed.
    pub const fn assume_begun(&mut self) {
        self.begun = true;
    }

    /// Judges one look.
    pub fn see(&mut self, now: &Deployment) -> Restarting {
        let ids: BTreeSet<String> = now.replicas.iter().map(|replica| replica.id.clone()).collect();
        let up = now.all_replicas_running();
        self.begun |= !up || !self.was_up || ids != self.replicas || now.status_updated_at != self.updated_at;
        match &now.status {
            DeploymentStatus::Failed | DeploymentStatus::Crashed if self.begun => {
                return Restarting::Failed(format!("it is {} now", now.status));
            }
            DeploymentStatus::Skipped | DeploymentStatus::Removing | DeploymentStatus::Removed => {
                return Restarting::Failed(format!(
                    "it is {} now: another deployment took over, or somebody removed it",
                    now.status
                ));
            }
            DeploymentStatus::Success if up && !now.stopped && self.begun => {
                self.healthy += 1;
                if self.healthy >= LOOKS {
                    return Restarting::Done;
                }
            }
            _ => self.healthy = 0,
        }
        if !self.begun {
            return Restarting::Waiting("Railway has not begun yet".to_owned());
        }
        let running = now.replicas.iter().filter(|replica| replica.status == ReplicaStatus::Running).count();
        Restarting::Waiting(format!("{}: {running} of {} replicas run", now.status, now.replicas.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Replica;

    fn deployment(status: &str, replicas: &[(&str, &str)]) -> Deployment {
        Deployment {
            id: "d-1".parse().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: None,
            status: status.to_owned().into(),
            created_at: Timestamp::UNIX_EPOCH,
            status_updated_at: None,
            stopped: false,
            can_redeploy: true,
            can_roll_back: true,
            image: None,
            digest: None,
            url: None,
            replicas: replicas
                .iter()
                .map(|(id, status)| Replica { id: (*id).to_owned(), status: (*status).to_owned().into() })
                .collect(),
        }
    }

    fn waits(seen: &Restarting) -> bool {
        matches!(seen, Restarting::Waiting(_))
    }

    #[test]
    fn the_old_processes_are_not_taken_for_the_new_ones() {
        let before = deployment("SUCCESS", &[("r-1", "RUNNING")]);
        let mut watch = RestartWatch::new(&before);
        for _ in 0..5 {
            assert!(waits(&watch.see(&before)));
        }
        assert!(!watch.has_begun());
        assert!(waits(&watch.see(&deployment("SUCCESS", &[("r-1", "INITIALIZING")]))));
        assert!(waits(&watch.see(&before)), "once may be chance");
        assert_eq!(watch.see(&before), Restarting::Done);
    }

    #[test]
    fn a_restart_between_two_looks_is_seen_by_its_replicas_or_its_time() {
        let before = deployment("SUCCESS", &[("r-1", "RUNNING")]);
        let other = deployment("SUCCESS", &[("r-2", "RUNNING")]);
        let later = Deployment { status_updated_at: Some(Timestamp::UNIX_EPOCH), ..before.clone() };
        for after in [other, later] {
            let mut watch = RestartWatch::new(&before);
            assert!(waits(&watch.see(&after)));
            assert_eq!(watch.see(&after), Restarting::Done);
        }
    }

    #[test]
    fn a_crash_loop_never_counts_twice_in_a_row() {
        let before = deployment("SUCCESS", &[("r-1", "RUNNING")]);
        let mut watch = RestartWatch::new(&before);
        watch.assume_begun();
        for _ in 0..3 {
            assert!(waits(&watch.see(&before)));
            assert!(waits(&watch.see(&deployment("SUCCESS", &[("r-1", "RESTARTING")]))));
        }
        let crashed = watch.see(&deployment("CRASHED", &[("r-1", "CRASHED")]));
        assert_eq!(crashed, Restarting::Failed("it is CRASHED now".to_owned()));
    }

    #[test]
    fn what_had_crashed_is_not_judged_before_it_begins_again() {
        let crashed = deployment("CRASHED", &[("r-1", "CRASHED")]);
        assert_eq!(restartable(&[], Some(&crashed)).map(|one| one.id.as_str()), Some("d-1"));
        let mut watch = RestartWatch::new(&crashed);
        watch.see(&deployment("SUCCESS", &[("r-1", "RUNNING")]));
        assert_eq!(watch.see(&deployment("SUCCESS", &[("r-1", "RUNNING")])), Restarting::Done);
    }

    #[test]
    fn what_serves_is_restarted_before_what_could() {
        let serving = deployment("SUCCESS", &[]);
        let stopped = Deployment { id: "d-2".parse().unwrap(), stopped: true, ..serving.clone() };
        let chosen = restartable(std::slice::from_ref(&serving), Some(&stopped));
        assert_eq!(chosen.map(|one| one.id.as_str()), Some("d-1"));
        assert_eq!(restartable(&[], Some(&stopped)).map(|one| one.id.as_str()), Some("d-2"));
        assert_eq!(restartable(&[], Some(&deployment("FAILED", &[]))), None);
    }
}
