//! `DeploymentTrigger` and deploying on push.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, Result, SimpleObject};

use super::{Page, Request, connection, request};
use crate::railway::ops::triggers as ops;
use crate::railway::refusal::Refusal;
use crate::store::rows;

connection!(QueryDeploymentTriggersConnection, QueryDeploymentTriggersConnectionEdge, DeploymentTrigger);
connection!(
    EnvironmentDeploymentTriggersConnection,
    EnvironmentDeploymentTriggersConnectionEdge,
    DeploymentTrigger
);
connection!(ServiceRepoTriggersConnection, ServiceRepoTriggersConnectionEdge, DeploymentTrigger);

pub(crate) struct DeploymentTrigger(Arc<rows::Trigger>);

#[Object]
impl DeploymentTrigger {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn base_environment_override_id(&self) -> Option<String> {
        None
    }

    async fn branch(&self) -> &str {
        &self.0.branch
    }

    async fn check_suites(&self) -> bool {
        self.0.check_suites
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn project_id(&self) -> &str {
        &self.0.project_id
    }

    async fn provider(&self) -> &str {
        &self.0.provider
    }

    async fn repository(&self) -> &str {
        &self.0.repository
    }

    async fn service_id(&self) -> Option<&str> {
        Some(&self.0.service_id)
    }

    /// Nobody runs check suites here.
    async fn valid_check_suites(&self) -> i32 {
        0
    }
}

/// Triggers within reach, oldest first, with their cursors.
pub(crate) fn triggers(
    request: &Request,
    keep: impl Fn(&rows::Trigger) -> bool,
) -> Vec<(String, DeploymentTrigger)> {
    let world = request.world();
    let mut rows: Vec<_> = world
        .triggers
        .iter()
        .filter(|row| keep(row) && request.who.environment(&world, &row.environment_id).is_ok())
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
    rows.into_iter().map(|row| (row.id.clone(), DeploymentTrigger(row))).collect()
}

#[derive(SimpleObject)]
struct ServiceInstanceAutoDeployStatus {
    can_enable: bool,
    enabled: bool,
    reason: Option<String>,
}

#[derive(SimpleObject)]
struct ServiceInstanceAutoDeployUpdateResult {
    enabled: bool,
}

#[derive(InputObject)]
struct DeploymentTriggerCreateInput {
    branch: String,
    check_suites: Option<bool>,
    environment_id: String,
    project_id: String,
    provider: String,
    repository: String,
    root_directory: Option<String>,
    service_id: String,
}

#[derive(InputObject)]
struct DeploymentTriggerUpdateInput {
    branch: Option<String>,
    check_suites: Option<bool>,
    repository: Option<String>,
    root_directory: Option<String>,
}

#[derive(InputObject)]
#[expect(clippy::struct_field_names, reason = "the schema's names")]
struct EnvironmentTriggersDeployInput {
    environment_id: String,
    project_id: String,
    service_id: String,
}

#[derive(InputObject)]
struct ServiceInstanceAutoDeployUpdateInput {
    enabled: bool,
    environment_id: String,
    project_id: String,
    service_id: String,
}

fn trigger(request: &Request, id: &str) -> Result<DeploymentTrigger> {
    let row = request.world().triggers.get(id).cloned();
    Ok(row.map(DeploymentTrigger).ok_or_else(|| Refusal::not_found("DeploymentTrigger"))?)
}

/// Reads.
#[derive(Default)]
pub(crate) struct Triggers;

#[Object]
impl Triggers {
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn deployment_triggers(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        environment_id: String,
        first: Option<i32>,
        last: Option<i32>,
        project_id: String,
        service_id: String,
    ) -> Result<QueryDeploymentTriggersConnection> {
        let request = request(ctx);
        ops::check_place(&request.world(), &request.who, &project_id, &environment_id, &service_id)?;
        let rows =
            triggers(request, |row| row.environment_id == environment_id && row.service_id == service_id);
        Ok(QueryDeploymentTriggersConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn service_instance_auto_deploy_status(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        project_id: String,
        service_id: String,
    ) -> Result<ServiceInstanceAutoDeployStatus> {
        let request = request(ctx);
        let world = request.world();
        ops::check_place(&world, &request.who, &project_id, &environment_id, &service_id)?;
        let (can_enable, enabled, reason) = ops::auto_deploy(&world, &environment_id, &service_id);
        Ok(ServiceInstanceAutoDeployStatus { can_enable, enabled, reason: reason.map(str::to_owned) })
    }
}

/// Writes.
#[derive(Default)]
pub(crate) struct TriggerWrites;

#[Object]
impl TriggerWrites {
    async fn deployment_trigger_create(
        &self,
        ctx: &Context<'_>,
        input: DeploymentTriggerCreateInput,
    ) -> Result<DeploymentTrigger> {
        let request = request(ctx);
        let environment = input.environment_id.clone();
        let new = ops::NewTrigger {
            project_id: input.project_id,
            environment_id: input.environment_id,
            service_id: input.service_id,
            provider: input.provider,
            repository: input.repository,
            branch: input.branch,
            root_directory: input.root_directory,
            check_suites: input.check_suites.unwrap_or(false),
        };
        let id = request.mutate(Some(&environment), |draft, who, _| ops::create(draft, who, new))?;
        trigger(request, &id)
    }

    async fn deployment_trigger_update(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: DeploymentTriggerUpdateInput,
    ) -> Result<DeploymentTrigger> {
        let request = request(ctx);
        let place = request.world().triggers.get(&id).map(|row| row.environment_id.clone());
        let change = ops::TriggerChange {
            repository: input.repository,
            branch: input.branch,
            root_directory: input.root_directory,
            check_suites: input.check_suites,
        };
        request.mutate(place.as_deref(), |draft, who, _| ops::update(draft, who, &id, change))?;
        trigger(request, &id)
    }

    async fn deployment_trigger_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        let place = request.world().triggers.get(&id).map(|row| row.environment_id.clone());
        request.mutate(place.as_deref(), |draft, who, _| ops::delete(draft, who, &id))?;
        Ok(true)
    }

    async fn environment_triggers_deploy(
        &self,
        ctx: &Context<'_>,
        input: EnvironmentTriggersDeployInput,
    ) -> Result<bool> {
        let (project, environment, service) = (&input.project_id, &input.environment_id, &input.service_id);
        request(ctx).mutate(Some(environment), |draft, who, settings| {
            ops::deploy(draft, who, settings, project, environment, service)
        })?;
        Ok(true)
    }

    async fn service_instance_auto_deploy_update(
        &self,
        ctx: &Context<'_>,
        input: ServiceInstanceAutoDeployUpdateInput,
    ) -> Result<ServiceInstanceAutoDeployUpdateResult> {
        let (project, environment, service) = (&input.project_id, &input.environment_id, &input.service_id);
        request(ctx).mutate(Some(environment), |draft, who, _| {
            ops::set_auto_deploy(draft, who, project, environment, service, input.enabled)
        })?;
        Ok(ServiceInstanceAutoDeployUpdateResult { enabled: input.enabled })
    }
}
