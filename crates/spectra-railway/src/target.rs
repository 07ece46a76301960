//! One service in one environment, as the rollout machine sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use spectra_rollout::{
    DeployOrder, DeploymentState, Effect, Observation, Place, RestoreOrder, Running, SiblingOrder, Target,
    TargetError,
};
use spectra_types::{DeploymentId, ImageRef};

use crate::canary::NewCanary;
use crate::client::Client;
use crate::company::{Seat, shared_state, shows_all};
use crate::deployment::{Deployment, DeploymentStatus, InstanceRef, ReplicaStatus, StatusClass, same_image};
use crate::error::{Error, ErrorKind, Result};
use crate::follow::{DeploymentFeed, FeedChange};
use crate::instance::{Change, Instance, InstanceUpdate, Placement};
use crate::registry_login::RegistryLogin;

/// How many deployments are looked back over.
const LOOK_BACK: u32 = 20;
/// How many lines of a log are quoted as a reason.
const REASON_LINES: u32 = 5;

/// A [`Target`] on Railway.
///
/// The image is set by digest and then deployed by the one call that deploys what is set and says which deployment
/// that is; Railway's own "redeploy" verbs replay the old image. Every write is scoped to the one environment.
#[derive(Clone, Debug)]
pub struct RailwayTarget {
    client: Client,
    login: Option<RegistryLogin>,
    /// The deployment that is waited for, between two waits.
    feed: Arc<Mutex<Option<DeploymentFeed>>>,
    /// The deployment that was read last.
    read: Arc<Mutex<Option<DeploymentId>>>,
    _seat: Arc<Seat>,
}

impl From<&Place> for InstanceRef {
    fn from(place: &Place) -> Self {
        Self {
            project: place.project.clone(),
            environment: place.environment.clone(),
            service: place.service.clone(),
        }
    }
}

impl From<InstanceRef> for Place {
    fn from(instance: InstanceRef) -> Self {
        Self { project: instance.project, environment: instance.environment, service: instance.service }
    }
}

impl RailwayTarget {
    /// Services that this client reaches.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let seat = Arc::new(client.sit_down());
        Self { client, login: None, feed: Arc::default(), read: Arc::default(), _seat: seat }
    }

    /// Sends this login along with every image of its registry, on the way back too: the image from before is pulled anew
    /// there. Without one, Railway keeps the login that it has.
    #[must_use]
    pub fn with_registry_login(mut self, login: RegistryLogin) -> Self {
        self.login = Some(login);
        self
    }

    /// Waits until Railway tells that deployment `id` has changed, at the latest for `at_most`. A hint when to look
    /// again and no verdict; sends no request but the one that opens the client's WebSocket. One deployment is followed
    /// from wait to wait, until another one is waited for. A wait may be abandoned: the next one follows anew.
    pub async fn wait_for_change(&self, id: &DeploymentId, at_most: Duration) -> FeedChange {
        let kept = self.slot().take().filter(|feed| feed.deployment() == id);
        let mut feed = kept.unwrap_or_else(|| self.client.follow_deployment(id));
        let change = feed.changed(at_most).await;
        *self.slot() = Some(feed);
        change
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<DeploymentFeed>> {
        // Every write is one assignment, so a poisoned slot is still whole.
        self.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_read(&self) -> std::sync::MutexGuard<'_, Option<DeploymentId>> {
        // Every write is one assignment, so a poisoned slot is still whole.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, at: &InstanceRef) -> Result<(Instance, Vec<Deployment>)> {
        let instance = self.client.fresh_instance(at).await?;
        let recent = self.client.recent_deployments(at, LOOK_BACK).await?;
        Ok((instance, recent))
    }

    /// Like [`look`](Self::look), without the list where that has nothing to add.
    async fn see(&self, at: &InstanceRef) -> Result<(Instance, Vec<Deployment>)> {
        let instance = self.client.fresh_instance(at).await?;
        let followed = self.last_read().clone();
        if shows_all(&self.client, &instance, followed.as_ref()) {
            return Ok((instance, Vec::new()));
        }
        let recent = self.client.recent_deployments(at, LOOK_BACK).await?;
        Ok((instance, recent))
    }

    async fn set_image(
        &self,
        at: &InstanceRef,
        image: Change<String>,
        pre_deploy_command: Change<String>,
    ) -> Result<()> {
        let registry_credentials = match (&self.login, &image) {
            (Some(login), Change::Set(image)) => login.of(image),
            _ => None,
        };
        let update =
            InstanceUpdate { image, registry_credentials, pre_deploy_command, ..InstanceUpdate::default() };
        self.client.update_instance(at, &update).await.map(drop)
    }

    /// Sets the image and starts a deployment of it, or takes over the one that setting it started.
    async fn set_and_deploy(
        &self,
        at: &InstanceRef,
        image: &str,
        pre_deploy: Change<String>,
    ) -> Result<DeploymentId> {
        let known: Vec<_> = self
            .client
            .recent_deployments(at, LOOK_BACK)
            .await?
            .into_iter()
            .map(|deployment| deployment.id)
            .collect();
        self.set_image(at, Change::Set(image.to_owned()), pre_deploy).await?;
        // Usually it starts none.
        let started =
            self.client.find_new_deployment(at, &known, Some(image)).await.map_err(Error::after_change)?;
        match started {
            Some(deployment) => Ok(deployment.id),
            None => self.client.deploy_after(at, &known, Some(image)).await.map_err(Error::after_change),
        }
    }

    /// Why a deployment failed, as far as Railway tells. Best effort: a reason that cannot be read is no failure.
    async fn reason(&self, deployment: &Deployment) -> String {
        let events = self.client.deployment_events(&deployment.id).await.unwrap_or_default();
        let failed = events.iter().rev().find(|event| event.error.is_some() || event.reason.is_some());
        let mut parts = Vec::new();
        if let Some(event) = failed {
            let attempt = match event.attempt {
                Some((attempt, Some(of))) => format!(", attempt {attempt} of {of}"),
                Some((attempt, None)) => format!(", attempt {attempt}"),
                None => String::new(),
            };
            let words: Vec<_> = [&event.error, &event.reason, &event.detail]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            parts.push(format!("step {}{attempt}: {}", event.step, words.join(", ")));
        }
        let lines = self.client.deployment_log_tail(&deployment.id, REASON_LINES).await.unwrap_or_default();
        if let Some(last) = lines.iter().rev().find(|line| !line.message.trim().is_empty()) {
            parts.push(format!("last line of its log: `{}`", last.message.trim()));
        }
        if parts.is_empty() {
            let build = self.client.build_log_tail(&deployment.id, REASON_LINES).await.unwrap_or_default();
            parts.push(match build.iter().rev().find(|line| !line.message.trim().is_empty()) {
                Some(line) => format!("last line of its build log: `{}`", line.message.trim()),
                None => {
                    "it failed without any log, as happens when the image cannot be pulled: check its name \
                         and the registry credentials"
                        .to_owned()
                }
            });
        }
        parts.join("; ")
    }

    async fn state_of(&self, at: &InstanceRef, id: &DeploymentId) -> Result<DeploymentState> {
        *self.last_read() = Some(id.clone());
        if let Some(state) = shared_state(&self.client, at, id).await? {
            return Ok(state);
        }
        let deployment = self.client.deployment(id).await?;
        Ok(match deployment.status.class() {
            StatusClass::Transient => DeploymentState::Pending(deployment.status.to_string()),
            StatusClass::NeedsHuman => DeploymentState::NeedsApproval,
            StatusClass::Good if deployment.status == DeploymentStatus::Sleeping => DeploymentState::Sleeping,
            StatusClass::Good if deployment.stopped && !any_replica_up(&deployment) => {
                DeploymentState::Removed
            }
            StatusClass::Good => DeploymentState::Active,
            StatusClass::Bad => DeploymentState::Failed {
                status: deployment.status.to_string(),
                reason: self.reason(&deployment).await,
            },
            StatusClass::Skipped => DeploymentState::Skipped,
            StatusClass::Gone => {
                let recent = self.client.recent_deployments(at, LOOK_BACK).await?;
                let newer = recent.into_iter().find(|other| {
                    other.id != *id
                        && other.created_at > deployment.created_at
                        && other.status.class() != StatusClass::Skipped
                });
                newer.map_or(DeploymentState::Removed, |newer| DeploymentState::Superseded { by: newer.id })
            }
        })
    }

    /// The call that was to start the candidate was never answered, so nobody knows its deployment by name. What is on its
    /// way with the candidate's image is it: it would take over after the end.
    async fn cancel_unanswered(
        &self,
        at: &InstanceRef,
        candidate: &str,
        recent: &[Deployment],
    ) -> Result<()> {
        for other in recent.iter().filter(|other| other.status.is_in_flight()) {
            if same_image(other.image.as_deref(), candidate) {
                self.client.cancel_deployment(at, &other.id).await?;
            }
        }
        Ok(())
    }

    async fn clone_for(&self, of: &InstanceRef, order: &SiblingOrder) -> Result<Place> {
        let original = self.client.fresh_instance(of).await?;
        let sealed = self.client.unreadable_variables(of).await?;
        if !sealed.is_empty() {
            let names: Vec<_> = sealed.into_iter().collect();
            let message = format!(
                "a copy of the service would lack its sealed variables, which Railway shows to nobody: `{}`",
                names.join("`, `")
            );
            return Err(Error::new(ErrorKind::BadInput, "ServiceCreate", message)
                .hinting("leave the canary out, or set these variables unsealed"));
        }
        let name = order.name.clone().unwrap_or_else(|| canary_name(&original.service_name));
        let new = NewCanary {
            of: of.clone(),
            name,
            rollout: order.rollout.clone(),
            placement: order.replicas.map(Placement::Replicas),
            // They come with the image, when that is deployed there.
            registry_credentials: None,
        };
        let made = self.client.clone_service(&new).await?;
        let port = original.domains.first().and_then(|domain| domain.target_port);
        self.client.ensure_domain(&made.instance, port).await.map_err(Error::after_change)?;
        Ok(made.instance.into())
    }

    async fn remove_clones(&self, of: &InstanceRef, order: &SiblingOrder) -> Result<()> {
        if let Some(place) = &order.place {
            return self.client.delete_canary(&of.service, &place.into()).await;
        }
        // Whether it was made was never answered; its mark tells.
        for found in self.client.canaries_of(of).await? {
            if found.rollout.as_ref().is_none_or(|rollout| *rollout == order.rollout) {
                self.client.delete_canary(&of.service, &found.instance).await?;
            }
        }
        Ok(())
    }

    async fn bring_back(&self, at: &InstanceRef, order: &RestoreOrder) -> Result<Option<DeploymentId>> {
        let snapshot = &order.snapshot;
        let set_before = Change::from_option(snapshot.pre_deploy.clone());
        // The setting first: whoever deploys from here on, deploys the old image.
        self.set_image(at, Change::from_option(snapshot.setting.clone()), set_before.clone()).await?;
        let (instance, recent) = self.look(at).await?;
        let failed = order.failed.as_ref();
        let failed = failed.and_then(|id| recent.iter().find(|deployment| deployment.id == *id));
        if let Some(failed) = failed
            && (failed.status.is_in_flight() || failed.status == DeploymentStatus::NeedsApproval)
        {
            self.client.cancel_deployment(at, &failed.id).await?;
        }
        let failed_id = failed.map(|failed| &failed.id);
        if failed_id.is_none() {
            self.cancel_unanswered(at, &order.candidate.to_string(), &recent).await?;
        }
        let Some(before) = &snapshot.running else {
            // Nothing served, so nothing shall.
            let unanswered = || {
                serving(&instance, &recent)
                    .filter(|serving| serving.digest.as_ref() == Some(order.candidate.digest()))
            };
            if let Some(failed) = failed.or_else(unanswered)
                && matches!(failed.status.class(), StatusClass::Good | StatusClass::Bad)
            {
                self.client.remove_deployment(at, &failed.id).await?;
            }
            return Ok(None);
        };
        let serving = serving(&instance, &recent);
        let still = serving.is_some_and(|serving| {
            Some(&serving.id) != failed_id
                && (serving.id == before.deployment
                    || (before.digest.is_some() && serving.digest == before.digest))
        });
        let image = pinned(before);
        if let Some(other) = recent.iter().find(|other| {
            other.status.is_in_flight() && Some(&other.id) != failed_id && other.id != before.deployment
        }) {
            // An interrupted attempt to come back is under way already.
            if let Some(image) = &image
                && same_image(other.image.as_deref(), image)
            {
                return Ok(Some(other.id.clone()));
            }
        }
        // What takes migrations back runs with a deployment, so there has to be one.
        if still && order.pre_deploy.is_none() {
            return Ok(None);
        }
        let Some(image) = image.or_else(|| snapshot.setting.clone()) else {
            let message = format!(
                "Railway does not say which image deployment `{}` was made from, so it cannot be deployed again",
                before.deployment
            );
            return Err(Error::new(ErrorKind::Business, "ServiceInstanceDeploy", message));
        };
        let pre_deploy = order.pre_deploy.clone().map_or(Change::Keep, Change::Set);
        let deployment = self.set_and_deploy(at, &image, pre_deploy).await?;
        // What is deployed is pinned; what was set may have been a tag, and stays somebody's choice.
        let image = match &snapshot.setting {
            Some(setting) if !same_image(Some(&image), setting) => Change::Set(setting.clone()),
            _ => Change::Keep,
        };
        let pre_deploy = if order.pre_deploy.is_some() { set_before } else { Change::Keep };
        if image != Change::Keep || pre_deploy != Change::Keep {
            self.set_image(at, image, pre_deploy).await?;
        }
        Ok(Some(deployment))
    }
}

/// The longest name of a service.
const LONGEST_NAME: usize = 32;

/// `NAME-canary`, the name cut where it would be too long.
fn canary_name(service: &str) -> String {
    let kept: String = service.chars().take(LONGEST_NAME - "-canary".len()).collect();
    format!("{kept}-canary")
}

fn any_replica_up(deployment: &Deployment) -> bool {
    deployment.replicas.iter().any(|replica| {
        matches!(
            replica.status,
            ReplicaStatus::Created
                | ReplicaStatus::Initializing
                | ReplicaStatus::Running
                | ReplicaStatus::Restarting
        )
    })
}

/// The newest deployment that serves. While one takes over from another both do for a time.
fn serving<'a>(instance: &'a Instance, recent: &'a [Deployment]) -> Option<&'a Deployment> {
    let newest = |deployments: &'a [Deployment]| {
        deployments
            .iter()
            .filter(|deployment| deployment.is_serving())
            .max_by(|a, b| a.created_at.cmp(&b.created_at))
    };
    match (newest(&instance.active_deployments), newest(recent)) {
        (Some(active), Some(listed)) if listed.created_at > active.created_at => Some(listed),
        (Some(active), _) => Some(active),
        (None, listed) => listed,
    }
}

/// The reference by digest of what ran.
fn pinned(running: &Running) -> Option<String> {
    let image = running.image.as_deref()?;
    let digest = running.digest.as_ref()?;
    let reference: ImageRef = image.parse().ok()?;
    Some(reference.pin(digest.clone()).to_string())
}

fn failed(error: Error, attempt: &str) -> TargetError {
    let effect = if error.changed_nothing() { Effect::None } else { Effect::Possible };
    let message = match error.hint() {
        Some(hint) => format!("{attempt}: {error}; {hint}"),
        None => format!("{attempt}: {error}"),
    };
    let failed = match effect {
        Effect::None => TargetError::unchanged(message),
        Effect::Possible => TargetError::possibly_changed(message),
    };
    failed.caused_by(error)
}

impl Target for RailwayTarget {
    fn observe<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Observation, TargetError>> {
        Box::pin(async move {
            let (instance, recent) = self
                .see(&place.into())
                .await
                .map_err(|error| failed(error, "the service could not be observed"))?;
            let running = serving(&instance, &recent).map(|deployment| Running {
                deployment: deployment.id.clone(),
                image: deployment.image.clone(),
                digest: deployment.digest.clone(),
                all_replicas_running: deployment.status == DeploymentStatus::Sleeping
                    || (deployment.all_replicas_running()
                        && deployment.replicas.len()
                            >= usize::try_from(instance.total_replicas()).unwrap_or(usize::MAX)),
            });
            let in_flight = recent.iter().find(|deployment| deployment.status.is_in_flight());
            Ok(Observation {
                running,
                in_flight: in_flight.map(|found| found.id.clone()),
                setting: instance.image,
                pre_deploy: instance.pre_deploy_command,
            })
        })
    }

    fn deploy<'a>(
        &'a self,
        place: &'a Place,
        order: &'a DeployOrder,
    ) -> BoxFuture<'a, Result<DeploymentId, TargetError>> {
        Box::pin(async move {
            let image = order.image.to_string();
            let pre_deploy = order.pre_deploy.clone().map_or(Change::Keep, Change::Set);
            let changed = pre_deploy != Change::Keep;
            let at = InstanceRef::from(place);
            let attempt = format!("`{image}` could not be deployed");
            let deployment = self
                .set_and_deploy(&at, &image, pre_deploy)
                .await
                .map_err(|error| failed(error, &attempt))?;
            if changed {
                // The deployment has taken the command with it; the next one is not to run it again.
                let before = Change::from_option(order.baseline.pre_deploy.clone());
                self.set_image(&at, Change::Keep, before).await.map_err(|error| {
                    failed(error.after_change(), "the pre-deploy command could not be set back")
                })?;
            }
            Ok(deployment)
        })
    }

    fn deployment<'a>(
        &'a self,
        place: &'a Place,
        id: &'a DeploymentId,
    ) -> BoxFuture<'a, Result<DeploymentState, TargetError>> {
        Box::pin(async move {
            self.state_of(&place.into(), id)
                .await
                .map_err(|error| failed(error, &format!("deployment `{id}` could not be read")))
        })
    }

    fn restore<'a>(
        &'a self,
        place: &'a Place,
        order: &'a RestoreOrder,
    ) -> BoxFuture<'a, Result<Option<DeploymentId>, TargetError>> {
        Box::pin(async move {
            self.bring_back(&place.into(), order)
                .await
                .map_err(|error| failed(error, "the previous state could not be brought back"))
        })
    }

    fn create_sibling<'a>(
        &'a self,
        place: &'a Place,
        order: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<Place, TargetError>> {
        Box::pin(async move {
            self.clone_for(&place.into(), order)
                .await
                .map_err(|error| failed(error, "the canary service could not be made"))
        })
    }

    fn remove_sibling<'a>(
        &'a self,
        place: &'a Place,
        order: &'a SiblingOrder,
    ) -> BoxFuture<'a, Result<(), TargetError>> {
        Box::pin(async move {
            self.remove_clones(&place.into(), order)
                .await
                .map_err(|error| failed(error, "the canary service could not be removed"))
        })
    }

    fn changed<'a>(&'a self, _: &'a Place, id: &'a DeploymentId, at_most: Duration) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            self.wait_for_change(id, at_most).await;
        })
    }

    fn poll_interval(&self) -> Duration {
        self.client.watch_interval()
    }
}
