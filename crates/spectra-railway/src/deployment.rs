//! Deployments: one attempt each to run what a service is set to.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use spectra_types::{DeploymentId, Digest, EnvironmentId, ImageRef, ProjectId, ServiceId};

use crate::client::{Client, Touches, confirmed, id};
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    DeploymentCancel, DeploymentGet, DeploymentList, DeploymentRemove, DeploymentRollback, DeploymentStop,
    Operation, ServiceInstanceDeploy, deployment_cancel, deployment_get, deployment_list, deployment_remove,
    deployment_rollback, deployment_stop, service_instance_deploy,
};
use crate::wire_enum::wire_enum;

/// How often a deployment is asked for whose start was not answered and that never showed.
const DEPLOY_TRIES: u32 = 2;

wire_enum! {
    /// Where a deployment stands. There is no "cancelled": cancelled ones become [`Removed`](Self::Removed).
    pub enum DeploymentStatus {
        /// Waits for capacity, or for the end of a pause of the plan; may take hours.
        Queued = "QUEUED",
        /// Waits for checks of the repository.
        Waiting = "WAITING",
        /// Waits for a person.
        NeedsApproval = "NEEDS_APPROVAL",
        /// Accepted.
        Initializing = "INITIALIZING",
        /// Building.
        Building = "BUILDING",
        /// Creating containers, running the pre-deploy command, checking health.
        Deploying = "DEPLOYING",
        /// Active, or ended with exit code 0. May still crash, sleep, or be replaced.
        Success = "SUCCESS",
        /// Active and asleep until the next request.
        Sleeping = "SLEEPING",
        /// Did not come up; what ran before keeps serving.
        Failed = "FAILED",
        /// Came up, and the restart policy is exhausted.
        Crashed = "CRASHED",
        /// Not deployed at all.
        Skipped = "SKIPPED",
        /// Being taken down: replaced, cancelled or removed.
        Removing = "REMOVING",
        /// Taken down.
        Removed = "REMOVED",
    }
}

/// What a status means for somebody who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// Not decided yet. Unknown statuses count as this: they cannot be a verdict.
    Transient,
    /// Not decided until a person acts.
    NeedsHuman,
    /// It serves.
    Good,
    /// It does not serve and will not.
    Bad,
    /// Nothing was deployed.
    Skipped,
    /// Gone; whether it was replaced or cancelled has to be inferred from newer deployments.
    Gone,
}

impl DeploymentStatus {
    /// What it means.
    #[must_use]
    pub const fn class(&self) -> StatusClass {
        match self {
            Self::Queued
            | Self::Waiting
            | Self::Initializing
            | Self::Building
            | Self::Deploying
            | Self::Other(_) => StatusClass::Transient,
            Self::NeedsApproval => StatusClass::NeedsHuman,
            Self::Success | Self::Sleeping => StatusClass::Good,
            Self::Failed | Self::Crashed => StatusClass::Bad,
            Self::Skipped => StatusClass::Skipped,
            Self::Removing | Self::Removed => StatusClass::Gone,
        }
    }

    /// A deployment that is on its way and would collide with another one.
    #[must_use]
    pub const fn is_in_flight(&self) -> bool {
        matches!(self.class(), StatusClass::Transient)
    }
}

wire_enum! {
    /// Where one replica stands.
    pub enum ReplicaStatus {
        /// Created.
        Created = "CREATED",
        /// Starting.
        Initializing = "INITIALIZING",
        /// Running.
        Running = "RUNNING",
        /// Being restarted.
        Restarting = "RESTARTING",
        /// Crashed.
        Crashed = "CRASHED",
        /// Ended by itself.
        Exited = "EXITED",
        /// Stopped.
        Stopped = "STOPPED",
        /// Being taken down.
        Removing = "REMOVING",
        /// Taken down.
        Removed = "REMOVED",
        /// Never started.
        Skipped = "SKIPPED",
    }
}

/// One replica of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: ReplicaStatus,
}

/// One attempt to run what a service was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The service; `None` once that is gone.
    pub service: Option<ServiceId>,
    /// Where it stands.
    pub status: DeploymentStatus,
    /// When it was started.
    pub created_at: Timestamp,
    /// When the status changed last.
    pub status_updated_at: Option<Timestamp>,
    /// Stopped by somebody. Means something together with [`DeploymentStatus::Success`] only.
    pub stopped: bool,
    /// Railway can start it again.
    pub can_redeploy: bool,
    /// Railway still keeps what it was made from.
    pub can_roll_back: bool,
    /// The image it was made from, as it was set.
    pub image: Option<String>,
    /// The digest that runs: Railway's word, otherwise the digest of [`image`](Self::image).
    pub digest: Option<Digest>,
    /// Its URL.
    pub url: Option<String>,
    /// Its replicas.
    pub replicas: Vec<Replica>,
}

impl Deployment {
    /// There are replicas, and all of them run.
    #[must_use]
    pub fn all_replicas_running(&self) -> bool {
        !self.replicas.is_empty()
            && self.replicas.iter().all(|replica| replica.status == ReplicaStatus::Running)
    }

    /// It serves: active or asleep, and not stopped by somebody.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        match self.status {
            DeploymentStatus::Success => !self.stopped,
            DeploymentStatus::Sleeping => true,
            _ => false,
        }
    }
}

/// A service in an environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceRef {
    /// The project.
    pub project: ProjectId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The service.
    pub service: ServiceId,
}

fn deploying(instance: &InstanceRef) -> String {
    format!("deploy service `{}` in environment `{}`", instance.service, instance.environment)
}

/// What a deployment's metadata says about its image.
pub(crate) fn image_of(meta: Option<&Value>) -> (Option<String>, Option<Digest>) {
    let text = |key: &str| meta?.get(key)?.as_str().filter(|text| !text.is_empty());
    let image = text("image").map(str::to_owned);
    // Pinned deployments often have no `imageDigest`; the reference itself has it then.
    let digest = text("imageDigest").and_then(|digest| digest.parse().ok()).or_else(|| {
        let reference: ImageRef = image.as_deref()?.parse().ok()?;
        reference.digest().cloned()
    });
    (image, digest)
}

pub(crate) fn timestamp<O: Operation>(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|error| {
        Error::new(ErrorKind::SchemaMismatch, O::NAME, format!("`{text}` is not a point in time"))
            .because(error)
    })
}

/// The same fields come back from several documents, each with types of its own.
macro_rules! deployment_from {
    ($operation:ty, $node:expr) => {{
        let node = $node;
        let (image, digest) = $crate::deployment::image_of(node.meta.as_ref());
        $crate::deployment::Deployment {
            id: $crate::client::id::<$operation, _>(node.id)?,
            environment: $crate::client::id::<$operation, _>(node.environment_id)?,
            service: node.service_id.map($crate::client::id::<$operation, _>).transpose()?,
            status: node.status,
            created_at: $crate::deployment::timestamp::<$operation>(&node.created_at)?,
            status_updated_at: node
                .status_updated_at
                .as_deref()
                .map($crate::deployment::timestamp::<$operation>)
                .transpose()?,
            stopped: node.deployment_stopped,
            can_redeploy: node.can_redeploy,
            can_roll_back: node.can_rollback,
            image,
            digest,
            url: node.url,
            replicas: node
                .instances
                .into_iter()
                .map(|replica| $crate::deployment::Replica { id: replica.id, status: replica.status })
                .collect(),
        }
    }};
}
pub(crate) use deployment_from;

impl Client {
    /// One deployment.
    pub async fn deployment(&self, deployment: &DeploymentId) -> Result<Deployment> {
        let variables = deployment_get::Variables { id: deployment.to_string() };
        let data = self
            .query::<DeploymentGet>(variables)
            .await
            .map_err(|error| error.attempting(|| format!("read deployment `{deployment}`")))?;
        Ok(deployment_from!(DeploymentGet, data.deployment))
    }

    /// The newest `limit` deployments of a service in an environment, newest first.
    pub async fn recent_deployments(&self, instance: &InstanceRef, limit: u32) -> Result<Vec<Deployment>> {
        let input = deployment_list::DeploymentListInput {
            project_id: Some(instance.project.to_string()),
            environment_id: Some(instance.environment.to_string()),
            service_id: Some(instance.service.to_string()),
        };
        let variables = deployment_list::Variables { input, first: Some(i64::from(limit)) };
        let data = self.query::<DeploymentList>(variables).await.map_err(|error| {
            error.attempting(|| {
                format!(
                    "list the deployments of service `{}` in environment `{}`",
                    instance.service, instance.environment
                )
            })
        })?;
        let mut deployments = Vec::new();
        for edge in data.deployments.edges {
            let deployment: Deployment = deployment_from!(DeploymentList, edge.node);
            if !deployments.iter().any(|known: &Deployment| known.id == deployment.id) {
                deployments.push(deployment);
            }
        }
        // Stable: equal times keep Railway's order.
        deployments.sort_by_key(|deployment| std::cmp::Reverse(deployment.created_at));
        Ok(deployments)
    }

    /// Starts a deployment of what the service is set to now, and returns its id.
    ///
    /// If the answer is lost, the deployments that were not there before are looked through, and one that runs
    /// `image` (any, if `None`) is taken for ours. Where none shows for longer than news of it may take, it was not started,
    /// and is asked for once more.
    pub async fn deploy(&self, instance: &InstanceRef, image: Option<&str>) -> Result<DeploymentId> {
        let before: Vec<DeploymentId> = self
            .recent_deployments(instance, 20)
            .await
            .map_err(|error| error.attempting(|| deploying(instance)))?
            .into_iter()
            .map(|deployment| deployment.id)
            .collect();
        self.deploy_after(instance, &before, image).await
    }

    /// The same for somebody who knows what was there before.
    pub(crate) async fn deploy_after(
        &self,
        instance: &InstanceRef,
        before: &[DeploymentId],
        image: Option<&str>,
    ) -> Result<DeploymentId> {
        let mut tries = DEPLOY_TRIES;
        loop {
            let started = self
                .out_wait_cooldown(|| {
                    self.mutate::<ServiceInstanceDeploy>(
                        Touches::Environment(&instance.environment),
                        service_instance_deploy::Variables {
                            service: instance.service.to_string(),
                            environment: instance.environment.to_string(),
                        },
                    )
                })
                .await;
            let error = match started {
                Ok(data) => return id::<ServiceInstanceDeploy, _>(data.service_instance_deploy_v2),
                Err(error) if error.is_ambiguous() => error,
                Err(error) => return Err(error.attempting(|| deploying(instance))),
            };
            tries -= 1;
            let found = self
                .look(self.polling().settled_within, || async {
                    Ok(self.find_new_deployment(instance, before, image).await?.map(|found| found.id))
                })
                .await;
            match found {
                Ok(Some(id)) => return Ok(id),
                Ok(None) if tries > 0 => {}
                // Whether there is one is not known where the list cannot be read: a second one might be one too many.
                _ => return Err(error.attempting(|| deploying(instance))),
            }
        }
    }

    /// The newest deployment that is not among `known` and runs `image` (any, if `None`).
    pub async fn find_new_deployment(
        &self,
        instance: &InstanceRef,
        known: &[DeploymentId],
        image: Option<&str>,
    ) -> Result<Option<Deployment>> {
        let deployments = self.recent_deployments(instance, 20).await?;
        Ok(deployments.into_iter().find(|deployment| {
            !known.contains(&deployment.id)
                && image.is_none_or(|image| same_image(deployment.image.as_deref(), image))
        }))
    }

    /// Brings back what a deployment was made from, variables included, as a new deployment. Railway does not say
    /// which: look for it with [`find_new_deployment`](Self::find_new_deployment), and set the image anew, for the
    /// service's setting may still be the other one.
    pub async fn roll_back(&self, instance: &InstanceRef, deployment: &DeploymentId) -> Result<()> {
        let variables = deployment_rollback::Variables { id: deployment.to_string() };
        let touches = Touches::Environment(&instance.environment);
        self.mutate::<DeploymentRollback>(touches, variables)
            .await
            .and_then(|data| confirmed::<DeploymentRollback>(data.deployment_rollback))
            .map_err(|error| error.attempting(|| format!("roll back to deployment `{deployment}`")))
    }

    /// Stops a deployment; it stays in the list as stopped.
    pub async fn stop_deployment(&self, instance: &InstanceRef, deployment: &DeploymentId) -> Result<()> {
        let variables = deployment_stop::Variables { id: deployment.to_string() };
        let touches = Touches::Environment(&instance.environment);
        let result = self
            .mutate::<DeploymentStop>(touches, variables)
            .await
            .and_then(|data| confirmed::<DeploymentStop>(data.deployment_stop));
        self.unless_gone(deployment, result, |deployment| deployment.stopped)
            .await
            .map_err(|error| error.attempting(|| format!("stop deployment `{deployment}`")))
    }

    /// Removes a deployment. Removing the active one takes the service down.
    pub async fn remove_deployment(&self, instance: &InstanceRef, deployment: &DeploymentId) -> Result<()> {
        let variables = deployment_remove::Variables { id: deployment.to_string() };
        let touches = Touches::Environment(&instance.environment);
        let result = self
            .mutate::<DeploymentRemove>(touches, variables)
            .await
            .and_then(|data| confirmed::<DeploymentRemove>(data.deployment_remove));
        self.unless_gone(deployment, result, |_| false)
            .await
            .map_err(|error| error.attempting(|| format!("remove deployment `{deployment}`")))
    }

    /// Cancels a deployment that is on its way; it becomes removed.
    pub async fn cancel_deployment(&self, instance: &InstanceRef, deployment: &DeploymentId) -> Result<()> {
        let variables = deployment_cancel::Variables { id: deployment.to_string() };
        let touches = Touches::Environment(&instance.environment);
        let result = self
            .mutate::<DeploymentCancel>(touches, variables)
            .await
            .and_then(|data| confirmed::<DeploymentCancel>(data.deployment_cancel));
        self.unless_gone(deployment, result, |_| false)
            .await
            .map_err(|error| error.attempting(|| format!("cancel deployment `{deployment}`")))
    }

    /// A failed end of a deployment is none if reading it says that it has ended.
    async fn unless_gone(
        &self,
        deployment: &DeploymentId,
        result: Result<()>,
        ended: impl Fn(&Deployment) -> bool,
    ) -> Result<()> {
        let Err(error) = result else { return Ok(()) };
        let unclear =
            matches!(error.kind(), ErrorKind::Ambiguous | ErrorKind::NotFound | ErrorKind::Forbidden);
        if !unclear {
            return Err(error);
        }
        let gone = self
            .look(self.polling().settled_within.min(Duration::from_secs(5)), || async {
                let now = self.deployment(deployment).await?;
                Ok((now.status.class() == StatusClass::Gone || ended(&now)).then_some(()))
            })
            .await;
        match gone {
            Ok(Some(())) => Ok(()),
            _ => Err(error),
        }
    }
}

/// Two references name the same image; text that is no reference is compared as text.
pub(crate) fn same_image(found: Option<&str>, wanted: &str) -> bool {
    let Some(found) = found else { return false };
    match (found.parse::<ImageRef>(), wanted.parse::<ImageRef>()) {
        (Ok(found), Ok(wanted)) => match (found.digest(), wanted.digest()) {
            (Some(a), Some(b)) => {
                a == b && found.registry() == wanted.registry() && found.repository() == wanted.repository()
            }
            _ => found == wanted,
        },
        _ => found == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_classified() {
        use StatusClass::{Bad, Gone, Good, NeedsHuman, Skipped, Transient};
        for (text, class) in [
            ("QUEUED", Transient),
            ("WAITING", Transient),
            ("NEEDS_APPROVAL", NeedsHuman),
            ("INITIALIZING", Transient),
            ("BUILDING", Transient),
            ("DEPLOYING", Transient),
            ("SUCCESS", Good),
            ("SLEEPING", Good),
            ("FAILED", Bad),
            ("CRASHED", Bad),
            ("SKIPPED", Skipped),
            ("REMOVING", Gone),
            ("REMOVED", Gone),
            ("LEVITATING", Transient),
        ] {
            let status = DeploymentStatus::from(text.to_owned());
            assert_eq!(status.class(), class, "{text}");
            assert_eq!(status.as_str(), text);
        }
    }

    #[test]
    fn the_digest_is_railways_or_the_references() {
        let pinned = format!("ghcr.io/team/app@sha256:{}", "a".repeat(64));
        let meta = serde_json::json!({ "image": pinned });
        assert_eq!(image_of(Some(&meta)).1.unwrap().to_string(), format!("sha256:{}", "a".repeat(64)));
        let meta = serde_json::json!({
            "image": "ghcr.io/team/app:1", "imageDigest": format!("sha256:{}", "b".repeat(64))
        });
        assert_eq!(image_of(Some(&meta)).1.unwrap().to_string(), format!("sha256:{}", "b".repeat(64)));
        assert_eq!(image_of(Some(&serde_json::json!({ "image": "redis:7" }))).1, None);
        assert_eq!(image_of(None), (None, None));
    }

    #[test]
    fn images_are_compared_as_references() {
        let digest = format!("@sha256:{}", "a".repeat(64));
        assert!(same_image(Some(&format!("docker.io/library/redis{digest}")), &format!("redis{digest}")));
        assert!(same_image(Some(&format!("redis:7{digest}")), &format!("redis{digest}")));
        assert!(!same_image(Some("redis:7"), "redis:8"));
        assert!(!same_image(None, "redis:8"));
    }
}
