//! `Environment`, `EnvironmentPatch`, `Variable`, `ProjectToken`.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result};

use super::deployment::{Deployment, EnvironmentDeploymentsConnection};
use super::project::Project;
use super::scalars::{DateTime, EnvironmentConfig, Json};
use super::service::{EnvironmentServiceInstancesConnection, Service, ServiceInstance};
use super::triggers::{EnvironmentDeploymentTriggersConnection, triggers};
use super::volumes::{EnvironmentVolumeInstancesConnection, volume_instances};
use super::{Page, Request, connection, request};
use crate::railway::ops::{config, patches};
use crate::railway::refusal::Refusal;
use crate::store::rows::{self, PatchStatus};

pub(crate) struct Environment(pub(crate) Arc<rows::Environment>);

connection!(QueryEnvironmentsConnection, QueryEnvironmentsConnectionEdge, Environment);
connection!(ProjectEnvironmentsConnection, ProjectEnvironmentsConnectionEdge, Environment);
connection!(EnvironmentVariablesConnection, EnvironmentVariablesConnectionEdge, Variable);
connection!(QueryEnvironmentPatchesConnection, QueryEnvironmentPatchesConnectionEdge, EnvironmentPatch);
connection!(QueryProjectTokensConnection, QueryProjectTokensConnectionEdge, ProjectToken);

/// Live, visible environments of a project, oldest first, with their cursors.
pub(crate) fn environments(
    request: &Request,
    project: &str,
    ephemeral: Option<bool>,
) -> Vec<(String, Environment)> {
    let world = request.world();
    let mut rows: Vec<_> = world
        .environments
        .iter()
        .filter(|row| row.project_id == project && row.times.live())
        .filter(|row| request.who.sees(&world, &row.id).is_ok())
        .filter(|row| request.visible("environment", &row.times))
        .filter(|row| ephemeral.is_none_or(|wanted| row.ephemeral == wanted))
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
    rows.into_iter().map(|row| (row.id.clone(), Environment(row))).collect()
}

impl Environment {
    fn restricted(&self, request: &Request) -> bool {
        request.settings.restricted_environments.contains(&self.0.id)
    }
}

#[Object]
impl Environment {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn project_id(&self) -> &str {
        &self.0.project_id
    }

    async fn can_access(&self, ctx: &Context<'_>) -> bool {
        !self.restricted(request(ctx))
    }

    async fn is_ephemeral(&self) -> bool {
        self.0.ephemeral
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.times.updated_at)
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.times.deleted_at.map(DateTime)
    }

    async fn canvas_group_refs(&self) -> Json {
        Json(serde_json::json!([]))
    }

    async fn config(&self, ctx: &Context<'_>, decrypt_variables: Option<bool>) -> Result<EnvironmentConfig> {
        let request = request(ctx);
        if self.restricted(request) {
            return Err(Refusal::not_authorized().into());
        }
        let values =
            if decrypt_variables == Some(true) { config::Values::Plain } else { config::Values::Masked };
        Ok(EnvironmentConfig(config::export(&request.world(), &self.0.id, values)))
    }

    async fn config_etag(&self) -> String {
        config::etag(&self.0)
    }

    async fn unmerged_changes_count(&self, ctx: &Context<'_>) -> Option<i32> {
        Some(patches::unmerged(&request(ctx).world(), &self.0.id))
    }

    async fn source_environment(&self, ctx: &Context<'_>) -> Option<Environment> {
        request(ctx).world().environments.get(self.0.source_id.as_deref()?).cloned().map(Environment)
    }

    async fn deployments(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<EnvironmentDeploymentsConnection> {
        let request = request(ctx);
        let world = request.world();
        let mut rows: Vec<_> = world
            .deployments
            .iter()
            .filter(|row| row.environment_id == self.0.id && !self.restricted(request))
            .cloned()
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sequence));
        let rows = rows.into_iter().map(|row| (row.id.clone(), Deployment(row))).collect();
        Ok(EnvironmentDeploymentsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn service_instances(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<EnvironmentServiceInstancesConnection> {
        let request = request(ctx);
        let world = request.world();
        let mut rows: Vec<_> = world
            .instances
            .iter()
            .filter(|row| row.environment_id == self.0.id && row.times.live() && !self.restricted(request))
            .filter(|row| request.visible("service_instance", &row.times))
            .cloned()
            .collect();
        rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
        let rows = rows.into_iter().map(|row| (row.id.clone(), ServiceInstance(row))).collect();
        Ok(EnvironmentServiceInstancesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn deployment_triggers(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<EnvironmentDeploymentTriggersConnection> {
        let request = request(ctx);
        let rows = triggers(request, |row| row.environment_id == self.0.id);
        let page = Page::new(after, before, first, last);
        Ok(EnvironmentDeploymentTriggersConnection::page(request, rows, &page))
    }

    async fn volume_instances(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<EnvironmentVolumeInstancesConnection> {
        let request = request(ctx);
        let rows = volume_instances(request, |row| row.environment_id == self.0.id);
        Ok(EnvironmentVolumeInstancesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn variables(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<EnvironmentVariablesConnection> {
        let request = request(ctx);
        let world = request.world();
        let rows = world
            .variables
            .iter()
            .filter(|set| set.environment_id == self.0.id && !self.restricted(request))
            .flat_map(|set| {
                set.variables.iter().map(|(name, row)| Variable {
                    environment: self.0.id.clone(),
                    service: set.service_id.clone(),
                    name: name.clone(),
                    row: row.clone(),
                })
            })
            .map(|variable| (variable.row.id.clone(), variable))
            .collect();
        Ok(EnvironmentVariablesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }
}

pub(crate) struct Variable {
    environment: String,
    service: Option<String>,
    name: String,
    row: rows::Variable,
}

#[Object]
impl Variable {
    async fn id(&self) -> ID {
        ID(self.row.id.clone())
    }

    async fn name(&self) -> &str {
        &self.name
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.row.updated_at)
    }

    async fn environment_id(&self) -> Option<&str> {
        Some(&self.environment)
    }

    async fn environment(&self, ctx: &Context<'_>) -> Result<Environment> {
        let world = request(ctx).world();
        let row = world.environments.get(&self.environment).cloned();
        Ok(row.map(Environment).ok_or_else(|| Refusal::not_found("Environment"))?)
    }

    async fn service_id(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// Non-null although shared variables have none: selecting it there loses the parent, as on the platform.
    async fn service(&self, ctx: &Context<'_>) -> Result<Service> {
        let world = request(ctx).world();
        let row = self.service.as_deref().and_then(|id| world.services.get(id)).cloned();
        Ok(row.map(Service).ok_or_else(|| {
            Refusal::internal("Cannot return null for non-nullable field Variable.service.")
        })?)
    }

    async fn is_sealed(&self) -> bool {
        self.row.sealed
    }

    async fn references(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut rest = self.row.value.as_str();
        while let Some((_, after)) = rest.split_once("${{") {
            let Some((reference, tail)) = after.split_once("}}") else { break };
            out.push(reference.trim().to_owned());
            rest = tail;
        }
        out
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "PatchStatus")]
pub(crate) enum EnvironmentPatchStatus {
    Applying,
    Committed,
    Staged,
}

pub(crate) struct EnvironmentPatch(pub(crate) Arc<rows::Patch>);

#[Object]
impl EnvironmentPatch {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn status(&self) -> EnvironmentPatchStatus {
        self.0.status.into()
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn environment(&self, ctx: &Context<'_>) -> Result<Environment> {
        let world = request(ctx).world();
        let row = world.environments.get(&self.0.environment_id).cloned();
        Ok(row.map(Environment).ok_or_else(|| Refusal::not_found("Environment"))?)
    }

    async fn message(&self) -> Option<&str> {
        self.0.message.as_deref()
    }

    async fn last_applied_error(&self) -> Option<&str> {
        self.0.last_error.as_deref()
    }

    async fn applied_at(&self) -> Option<DateTime> {
        self.0.applied_at.map(DateTime)
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.times.updated_at)
    }

    async fn patch(&self, decrypt_variables: Option<bool>) -> EnvironmentConfig {
        EnvironmentConfig(if decrypt_variables == Some(true) {
            self.0.patch.clone()
        } else {
            config::mask(&self.0.patch)
        })
    }
}

pub(crate) struct ProjectToken(pub(crate) Arc<rows::ProjectToken>);

#[Object]
impl ProjectToken {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn display_token(&self) -> &str {
        &self.0.display
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn project_id(&self) -> &str {
        &self.0.project_id
    }

    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        let row = request(ctx).world().projects.get(&self.0.project_id).cloned();
        Ok(row.map(Project).ok_or_else(|| Refusal::not_found("Project"))?)
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn environment(&self, ctx: &Context<'_>) -> Result<Environment> {
        let row = request(ctx).world().environments.get(&self.0.environment_id).cloned();
        Ok(row.map(Environment).ok_or_else(|| Refusal::not_found("Environment"))?)
    }
}
