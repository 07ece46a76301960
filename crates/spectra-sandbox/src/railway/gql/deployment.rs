//! `Deployment`, its events, instances and snapshot.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use serde_json::{Map, Value, json};

use super::environment::Environment;
use super::inputs::DeploymentStatus;
use super::scalars::{DateTime, DeploymentMeta, EnvironmentVariables};
use super::service::Service;
use super::{connection, request};
use crate::railway::ops::deployments::can_roll_back;
use crate::railway::refusal::Refusal;
use crate::store::rows::{self, Cause, ReplicaStatus, Status, Step};

pub(crate) struct Deployment(pub(crate) Arc<rows::Deployment>);

connection!(QueryDeploymentsConnection, QueryDeploymentsConnectionEdge, Deployment);
connection!(EnvironmentDeploymentsConnection, EnvironmentDeploymentsConnectionEdge, Deployment);
connection!(QueryDeploymentEventsConnection, QueryDeploymentEventsConnectionEdge, DeploymentEvent);

impl Deployment {
    fn domain(&self, ctx: &Context<'_>) -> Option<String> {
        let world = request(ctx).world();
        let mut rows = world.domains.iter();
        rows.find(|row| {
            row.environment_id == self.0.environment_id
                && row.service_id == self.0.service_id
                && row.times.live()
        })
        .map(|row| row.domain.clone())
    }
}

#[Object]
impl Deployment {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn status(&self) -> DeploymentStatus {
        self.0.status.into()
    }

    async fn status_updated_at(&self) -> Option<DateTime> {
        Some(DateTime(self.0.status_at))
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.times.updated_at)
    }

    async fn project_id(&self) -> &str {
        &self.0.project_id
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn environment(&self, ctx: &Context<'_>) -> Result<Environment> {
        let row = request(ctx).world().environments.get(&self.0.environment_id).cloned();
        Ok(row.map(Environment).ok_or_else(|| Refusal::not_found("Environment"))?)
    }

    async fn service_id(&self) -> Option<&str> {
        Some(&self.0.service_id)
    }

    async fn service(&self, ctx: &Context<'_>) -> Result<Service> {
        let row = request(ctx).world().services.get(&self.0.service_id).cloned();
        Ok(row.map(Service).ok_or_else(|| Refusal::not_found("Service"))?)
    }

    async fn snapshot_id(&self) -> Option<&str> {
        Some(&self.0.snapshot_id)
    }

    async fn deployment_stopped(&self) -> bool {
        self.0.stopped
    }

    async fn can_redeploy(&self) -> bool {
        self.0.status != Status::Skipped && !self.0.status.in_flight()
    }

    async fn can_rollback(&self, ctx: &Context<'_>) -> bool {
        let request = request(ctx);
        can_roll_back(&self.0, &request.settings, request.core.clock.now())
    }

    async fn suggest_add_service_domain(&self, ctx: &Context<'_>) -> bool {
        self.domain(ctx).is_none()
    }

    async fn static_url(&self, ctx: &Context<'_>) -> Option<String> {
        self.domain(ctx)
    }

    /// Null until something was pulled.
    async fn url(&self, ctx: &Context<'_>) -> Option<String> {
        self.0.pinned.as_ref().and_then(|_| self.domain(ctx))
    }

    async fn instances(&self) -> Vec<DeploymentDeploymentInstance> {
        self.0
            .replicas
            .iter()
            .map(|row| DeploymentDeploymentInstance { id: row.id.clone(), status: row.status.into() })
            .collect()
    }

    async fn meta(&self) -> Option<DeploymentMeta> {
        let row = &self.0;
        let mut meta = Map::new();
        if let Some(image) = &row.snapshot.image {
            meta.insert("image".to_owned(), json!(image));
            // A deployment pinned by digest says so in `image` alone.
            let digest = row.pinned.as_ref().and_then(|pinned| pinned.split_once('@'));
            if let Some((_, digest)) = digest.filter(|_| !image.contains('@')) {
                meta.insert("imageDigest".to_owned(), json!(digest));
            }
        }
        if let Some(repo) = &row.snapshot.repo {
            meta.insert("repo".to_owned(), json!(repo));
        }
        if let Some(branch) = &row.snapshot.branch {
            meta.insert("branch".to_owned(), json!(branch));
        }
        let reason = match row.cause {
            Cause::Deploy => "deploy",
            Cause::Redeploy => "redeploy",
            Cause::Rollback => "rollback",
        };
        meta.insert("reason".to_owned(), json!(reason));
        let deploy: Map<String, Value> = row.snapshot.deploy.clone().into_iter().collect();
        meta.insert("serviceManifest".to_owned(), json!({ "deploy": deploy, "build": row.snapshot.build }));
        Some(DeploymentMeta(Value::Object(meta)))
    }
}

#[derive(SimpleObject)]
pub(crate) struct DeploymentDeploymentInstance {
    id: String,
    status: DeploymentInstanceStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "ReplicaStatus")]
pub(crate) enum DeploymentInstanceStatus {
    Crashed,
    Created,
    Exited,
    Initializing,
    Removed,
    Removing,
    Restarting,
    Running,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Step")]
pub(crate) enum DeploymentEventStep {
    SnapshotCode,
    BuildImage,
    PreDeployCommand,
    CreateContainer,
    ConfigureNetwork,
    Healthcheck,
    DrainInstances,
}

pub(crate) struct DeploymentEvent(pub(crate) rows::StepEvent);

#[Object]
impl DeploymentEvent {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn step(&self) -> DeploymentEventStep {
        self.0.step.into()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    async fn completed_at(&self) -> Option<DateTime> {
        self.0.completed_at.map(DateTime)
    }

    async fn payload(&self) -> Option<DeploymentEventPayload> {
        let row = &self.0;
        let duration =
            row.completed_at.and_then(|end| i32::try_from(end.saturating_sub(row.created_at)).ok());
        Some(DeploymentEventPayload {
            attempt: row.attempt,
            detail: row.detail.clone(),
            duration_ms: duration,
            error: row.error.clone(),
            max_attempts: row.max_attempts,
            reason: None,
            skipped: None,
        })
    }
}

#[derive(SimpleObject)]
pub(crate) struct DeploymentEventPayload {
    attempt: Option<i32>,
    detail: Option<String>,
    duration_ms: Option<i32>,
    error: Option<String>,
    max_attempts: Option<i32>,
    reason: Option<String>,
    skipped: Option<bool>,
}

#[derive(SimpleObject)]
pub(crate) struct DeploymentSnapshot {
    pub(crate) created_at: DateTime,
    pub(crate) id: ID,
    pub(crate) updated_at: DateTime,
    pub(crate) variables: EnvironmentVariables,
}
