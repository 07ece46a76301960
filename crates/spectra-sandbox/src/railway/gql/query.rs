//! The root of reads.

use std::sync::Arc;

use async_graphql::{Context, ID, MergedObject, Object, Result};
use serde_json::json;

use super::activity::Activity;
use super::change_sets::ChangeSets;
use super::deletion::ProjectsById;
use super::egress::EgressGateways;
use super::environment::{
    Environment, EnvironmentPatch, ProjectToken, QueryEnvironmentPatchesConnection,
    QueryEnvironmentsConnection, QueryProjectTokensConnection, environments,
};
use super::inputs::ProjectsOrderBy;
use super::metrics::Metrics;
use super::network::Networks;
use super::notifications::Notifications;
use super::private_networks::PrivateNetworks;
use super::project::{Project, QueryProjectsConnection};
use super::runs::Runs;
use super::scalars::{EnvironmentVariables, ServiceInstanceLimit};
use super::service::{AllDomains, Service, ServiceInstance, domains};
use super::triggers::Triggers;
use super::volumes::Volumes;
use super::workspace::{
    ApiTokenContext, ApiTokenWorkspace, ExternalWorkspace, PlatformStatus, Region, User, WORKSPACE_NAME,
    Workspace, WorkspacePolicy, projects,
};
use super::{Page, Request, request};
use crate::railway::auth::Identity;
use crate::railway::ops::{instances, new_id, patches, variables};
use crate::railway::refusal::Refusal;
use crate::store::World;
use crate::store::rows::{self, PatchStatus, Times};

/// Every read, group by group.
#[derive(MergedObject, Default)]
pub(crate) struct Query(
    BasicReads,
    Runs,
    Metrics,
    Networks,
    PrivateNetworks,
    EgressGateways,
    Volumes,
    Activity,
    ChangeSets,
    Notifications,
    Triggers,
    ProjectsById,
);

/// Projects, environments, services, variables, domains and the workspace.
#[derive(Default)]
pub(crate) struct BasicReads;

fn instance(
    request: &Request,
    world: &World,
    environment: &str,
    service: &str,
) -> Result<Arc<rows::Instance>, Refusal> {
    let row = request.who.instance(world, environment, service)?;
    if request.visible("service_instance", &row.times) {
        Ok(row)
    } else {
        Err(Refusal::not_found("ServiceInstance"))
    }
}

fn scoped(request: &Request, project: &str, environment: &str) -> Result<Arc<World>, Refusal> {
    let world = request.world();
    let row = request.who.environment(&world, environment)?;
    if row.project_id != project {
        return Err(Refusal::not_authorized());
    }
    Ok(world)
}

#[Object]
impl BasicReads {
    async fn project_token(&self, ctx: &Context<'_>) -> Result<ProjectToken> {
        let request = request(ctx);
        let row = match &request.who {
            Identity::Project { token_id, .. } => request.world().tokens.get(token_id).cloned(),
            Identity::Nobody(_) => {
                return Err(request.who.known().err().unwrap_or_else(Refusal::not_authorized).into());
            }
            Identity::Account | Identity::Workspace => None,
        };
        Ok(row.map(ProjectToken).ok_or_else(|| Refusal::internal("Project Token not found"))?)
    }

    async fn api_token(&self, ctx: &Context<'_>) -> Result<ApiTokenContext> {
        let request = request(ctx);
        request.who.admin()?;
        let workspace =
            ApiTokenWorkspace { id: request.core.info.workspace_id.clone(), name: WORKSPACE_NAME.to_owned() };
        Ok(ApiTokenContext { workspaces: vec![workspace] })
    }

    async fn me(&self, ctx: &Context<'_>) -> Result<User> {
        let request = request(ctx);
        request.who.admin()?;
        if request.who != Identity::Account {
            return Err(Refusal::not_authorized().into());
        }
        Ok(User)
    }

    /// Nobody shares a project with anybody.
    async fn external_workspaces(
        &self,
        ctx: &Context<'_>,
        project_id: Option<String>,
    ) -> Result<Vec<ExternalWorkspace>> {
        let request = request(ctx);
        request.who.admin()?;
        if let Some(id) = project_id {
            request.who.project(&request.world(), &id)?;
        }
        Ok(Vec::new())
    }

    async fn workspace(&self, ctx: &Context<'_>, workspace_id: String) -> Result<Workspace> {
        let request = request(ctx);
        request.who.admin()?;
        if workspace_id != request.core.info.workspace_id {
            return Err(Refusal::not_authorized().into());
        }
        Ok(Workspace { id: workspace_id })
    }

    /// Without `workspaceId` an account sees nothing.
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn projects(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        include_deleted: Option<bool>,
        last: Option<i32>,
        order_by: Option<ProjectsOrderBy>,
        user_id: Option<String>,
        workspace_id: Option<String>,
    ) -> Result<QueryProjectsConnection> {
        let request = request(ctx);
        request.who.admin()?;
        // There is one user.
        let _ = user_id;
        let mut rows = match (&request.who, &workspace_id) {
            (Identity::Account, None) => Vec::new(),
            (_, Some(id)) if *id != request.core.info.workspace_id => {
                return Err(Refusal::not_authorized().into());
            }
            _ => projects(request, include_deleted.unwrap_or(false)),
        };
        match order_by {
            Some(ProjectsOrderBy::NameAsc) => rows.sort_by(|a, b| a.name.cmp(&b.name)),
            Some(ProjectsOrderBy::CreatedAtDesc) => rows.reverse(),
            Some(ProjectsOrderBy::UpdatedAtDesc) => {
                rows.sort_by_key(|row| std::cmp::Reverse(row.times.updated_at));
            }
            None => {}
        }
        let rows = rows.into_iter().map(|row| (row.id.clone(), Project(row))).collect();
        Ok(QueryProjectsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn project(&self, ctx: &Context<'_>, id: String) -> Result<Project> {
        let request = request(ctx);
        let row = request.who.project(&request.world(), &id)?;
        if !request.visible("project", &row.times) {
            return Err(Refusal::not_found("Project").into());
        }
        Ok(Project(row))
    }

    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn environments(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        is_ephemeral: Option<bool>,
        last: Option<i32>,
        project_id: String,
    ) -> Result<QueryEnvironmentsConnection> {
        let request = request(ctx);
        request.who.project(&request.world(), &project_id)?;
        let rows = environments(request, &project_id, is_ephemeral);
        Ok(QueryEnvironmentsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn environment(
        &self,
        ctx: &Context<'_>,
        id: String,
        project_id: Option<String>,
    ) -> Result<Environment> {
        let request = request(ctx);
        let world = request.world();
        let gone = world.environments.get(&id).filter(|row| !row.times.live()).cloned();
        if let Some(row) = gone.filter(|_| request.settings.deleted_environment_readable) {
            request.who.known()?;
            return Ok(Environment(row));
        }
        let row = request.who.sees(&world, &id)?;
        if project_id.is_some_and(|project| project != row.project_id)
            || !request.visible("environment", &row.times)
        {
            return Err(Refusal::not_found("Environment").into());
        }
        Ok(Environment(row))
    }

    async fn environment_staged_changes(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
    ) -> Result<EnvironmentPatch> {
        let request = request(ctx);
        let world = request.world();
        let row = request.who.environment(&world, &environment_id)?;
        // With nothing staged the API shows an empty patch.
        let patch = patches::staged(&world, &environment_id).unwrap_or_else(|| {
            Arc::new(rows::Patch {
                id: new_id(),
                environment_id: row.id.clone(),
                status: PatchStatus::Staged,
                patch: json!({}),
                message: None,
                skip_deploys: false,
                was_staged: true,
                due_tick: None,
                applied_at: None,
                last_error: None,
                creator: None,
                committer: None,
                times: Times { deleted_at: None, ..row.times },
            })
        });
        Ok(EnvironmentPatch(patch))
    }

    async fn environment_patch(&self, ctx: &Context<'_>, id: String) -> Result<EnvironmentPatch> {
        let request = request(ctx);
        let world = request.world();
        request.who.known()?;
        let row = world.patches.get(&id).cloned().ok_or_else(|| Refusal::not_found("EnvironmentPatch"))?;
        request.who.environment(&world, &row.environment_id)?;
        Ok(EnvironmentPatch(row))
    }

    async fn environment_patches(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        environment_id: String,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<QueryEnvironmentPatchesConnection> {
        let request = request(ctx);
        let world = request.world();
        request.who.environment(&world, &environment_id)?;
        let mut rows: Vec<_> =
            world.patches.iter().filter(|row| row.environment_id == environment_id).cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.times.created_tick, row.id.clone())));
        let rows = rows.into_iter().map(|row| (row.id.clone(), EnvironmentPatch(row))).collect();
        Ok(QueryEnvironmentPatchesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn service(&self, ctx: &Context<'_>, id: String) -> Result<Service> {
        let request = request(ctx);
        let row = request.who.service(&request.world(), &id)?;
        if !request.visible("service", &row.times) {
            return Err(Refusal::not_found("Service").into());
        }
        Ok(Service(row))
    }

    async fn service_instance(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<ServiceInstance> {
        let request = request(ctx);
        Ok(ServiceInstance(instance(request, &request.world(), &environment_id, &service_id)?))
    }

    async fn service_instance_limits(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<ServiceInstanceLimit> {
        let request = request(ctx);
        let row = instance(request, &request.world(), &environment_id, &service_id)?;
        Ok(ServiceInstanceLimit(instances::limits_of(&row)))
    }

    async fn service_instance_limit_override(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<Option<ServiceInstanceLimit>> {
        let request = request(ctx);
        let row = instance(request, &request.world(), &environment_id, &service_id)?;
        Ok(row.limits.clone().map(ServiceInstanceLimit))
    }

    async fn service_instance_is_updatable(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        instance(request, &request.world(), &environment_id, &service_id)?;
        Ok(false)
    }

    async fn variables(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        project_id: String,
        service_id: Option<String>,
        unrendered: Option<bool>,
    ) -> Result<EnvironmentVariables> {
        let request = request(ctx);
        let world = scoped(request, &project_id, &environment_id)?;
        if let Some(service) = &service_id {
            request.who.service(&world, service)?;
        }
        let read =
            variables::read(&world, &environment_id, service_id.as_deref(), unrendered.unwrap_or(false));
        Ok(EnvironmentVariables(read))
    }

    async fn variables_for_service_deployment(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        project_id: String,
        service_id: String,
    ) -> Result<EnvironmentVariables> {
        let request = request(ctx);
        let world = scoped(request, &project_id, &environment_id)?;
        request.who.service(&world, &service_id)?;
        Ok(EnvironmentVariables(variables::for_service(&world, &environment_id, &service_id)))
    }

    async fn domains(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        project_id: String,
        service_id: String,
    ) -> Result<AllDomains> {
        let request = request(ctx);
        let world = scoped(request, &project_id, &environment_id)?;
        request.who.service(&world, &service_id)?;
        Ok(domains(request, &environment_id, &service_id))
    }

    async fn project_tokens(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
        project_id: String,
    ) -> Result<QueryProjectTokensConnection> {
        let request = request(ctx);
        let world = request.world();
        request.who.admin()?;
        request.who.project(&world, &project_id)?;
        let mut rows: Vec<_> = world
            .tokens
            .iter()
            .filter(|row| row.project_id == project_id && row.times.live())
            .cloned()
            .collect();
        rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
        let rows = rows.into_iter().map(|row| (row.id.clone(), ProjectToken(row))).collect();
        Ok(QueryProjectTokensConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn regions(&self, ctx: &Context<'_>, project_id: Option<String>) -> Result<Vec<Region>> {
        let request = request(ctx);
        if let Some(id) = &project_id {
            request.who.project(&request.world(), id)?;
        }
        Ok(instances::REGIONS
            .iter()
            .map(|(name, country, location, legacy)| Region {
                country: (*country).to_owned(),
                id: None,
                location: (*location).to_owned(),
                name: (*name).to_owned(),
                region: Some((*legacy).to_owned()),
                workspace_id: None,
            })
            .collect())
    }

    async fn platform_status(&self) -> PlatformStatus {
        PlatformStatus { is_stable: true }
    }

    async fn workspace_policy(
        &self,
        ctx: &Context<'_>,
        workspace_id: String,
    ) -> Result<Option<WorkspacePolicy>> {
        let request = request(ctx);
        request.who.admin()?;
        if workspace_id != request.core.info.workspace_id {
            return Err(Refusal::not_authorized().into());
        }
        Ok(Some(WorkspacePolicy {
            id: ID(workspace_id),
            restrict_deploys_to_allowed_sources: request.settings.restrict_image_deploys,
            restrict_public_tcp_proxies: false,
            restrict_railway_domain_generation: false,
        }))
    }
}
