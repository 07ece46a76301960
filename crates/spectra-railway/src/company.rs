//! What rollouts that run side by side in one process read together.
//!
//! Alone, a rollout reads its one deployment. In company that would be a request a poll for each of them, out of one hourly
//! budget. So they share reads of the environment: each takes one that began after it asked, so it sees what holds then,
//! and those who ask meanwhile take the same.

use std::sync::Arc;

use spectra_rollout::DeploymentState;
use spectra_types::DeploymentId;

use crate::client::Client;
use crate::deployment::{Deployment, DeploymentStatus, InstanceRef, StatusClass};
use crate::error::Result;
use crate::instance::Instance;

/// Counts those who hold it, see [`Client::sit_down`].
#[derive(Debug, Default)]
pub(crate) struct Table(Arc<()>);

/// A place at the table; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat(#[expect(dead_code, reason = "counted")] Arc<()>);

impl Table {
    pub(crate) fn sit_down(&self) -> Seat {
        Seat(Arc::clone(&self.0))
    }

    /// How many are taken.
    pub(crate) fn seats(&self) -> usize {
        // One of the holders is the table.
        Arc::strong_count(&self.0) - 1
    }
}

/// What a read of the environment says of a deployment, where it settles the matter. What failed, is gone or is not in it
/// has to be asked for by name.
pub(crate) async fn shared_state(
    client: &Client,
    at: &InstanceRef,
    id: &DeploymentId,
) -> Result<Option<DeploymentState>> {
    if !client.has_company() {
        return Ok(None);
    }
    let instance = client.fresh_instance(at).await?;
    let mut shown = instance.active_deployments.iter().chain(&instance.latest_deployment);
    let Some(deployment) = shown.find(|deployment| deployment.id == *id) else { return Ok(None) };
    Ok(match deployment.status.class() {
        StatusClass::Transient => Some(DeploymentState::Pending(deployment.status.to_string())),
        StatusClass::Good if deployment.status == DeploymentStatus::Sleeping => {
            Some(DeploymentState::Sleeping)
        }
        StatusClass::Good if deployment.is_serving() => Some(DeploymentState::Active),
        _ => None,
    })
}

/// Whether the environment alone shows that the followed deployment serves and that there is no newer one: the list of the
/// service's deployments has nothing to add then.
pub(crate) fn shows_all(client: &Client, instance: &Instance, followed: Option<&DeploymentId>) -> bool {
    let newest = |deployments: &[Deployment]| {
        let newest = deployments.iter().max_by_key(|deployment| deployment.created_at);
        newest.filter(|deployment| deployment.is_serving()).map(|deployment| deployment.id.clone())
    };
    let latest = instance.latest_deployment.as_ref().map(|deployment| &deployment.id);
    client.has_company()
        && followed.is_some()
        && latest == followed
        && newest(&instance.active_deployments).as_ref() == followed
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn seats_are_counted_while_they_are_kept() {
        let table = Table::default();
        let one = table.sit_down();
        let other = table.sit_down();
        assert_eq!(table.seats(), 2);
        drop(one);
        assert_eq!(table.seats(), 1);
        drop(other);
        assert_eq!(table.seats(), 0);
    }
}
