//! `Service`, `ServiceInstance`, domains.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};
use serde_json::Value;

use super::deployment::Deployment;
use super::inputs::{Builder, RestartPolicyType};
use super::network::{CustomDomain, custom_domains};
use super::project::Project;
use super::scalars::{DateTime, Json};
use super::triggers::{ServiceRepoTriggersConnection, triggers};
use super::{Page, Request, connection, request};
use crate::railway::refusal::Refusal;
use crate::store::rows;

pub(crate) struct Service(pub(crate) Arc<rows::Service>);

connection!(ProjectServicesConnection, ProjectServicesConnectionEdge, Service);
connection!(
    EnvironmentServiceInstancesConnection,
    EnvironmentServiceInstancesConnectionEdge,
    ServiceInstance
);

#[Object]
impl Service {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn icon(&self) -> Option<&str> {
        self.0.icon.as_deref()
    }

    async fn project_id(&self) -> &str {
        &self.0.project_id
    }

    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        let row = request(ctx).world().projects.get(&self.0.project_id).cloned();
        Ok(row.map(Project).ok_or_else(|| Refusal::not_found("Project"))?)
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

    async fn is_restricted(&self) -> bool {
        false
    }

    async fn repo_triggers(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<ServiceRepoTriggersConnection> {
        let request = request(ctx);
        let rows = triggers(request, |row| row.service_id == self.0.id);
        Ok(ServiceRepoTriggersConnection::page(request, rows, &Page::new(after, before, first, last)))
    }
}

#[derive(SimpleObject)]
pub(crate) struct ServiceSource {
    image: Option<String>,
    repo: Option<String>,
}

pub(crate) struct ServiceInstance(pub(crate) Arc<rows::Instance>);

impl ServiceInstance {
    fn number(&self, key: &str) -> Option<i32> {
        self.0.deploy_number(key).and_then(|number| i32::try_from(number).ok())
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.0.deploy.get(key).and_then(Value::as_bool)
    }

    fn build_text(&self, key: &str) -> Option<String> {
        self.0.build.get(key).and_then(Value::as_str).map(str::to_owned)
    }
}

#[Object]
impl ServiceInstance {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn service_id(&self) -> &str {
        &self.0.service_id
    }

    async fn service_name(&self, ctx: &Context<'_>) -> String {
        request(ctx).world().services.get(&self.0.service_id).map(|row| row.name.clone()).unwrap_or_default()
    }

    async fn service(&self, ctx: &Context<'_>) -> Result<Service> {
        let row = request(ctx).world().services.get(&self.0.service_id).cloned();
        Ok(row.map(Service).ok_or_else(|| Refusal::not_found("Service"))?)
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

    async fn source(&self) -> Option<ServiceSource> {
        (self.0.image.is_some() || self.0.repo.is_some())
            .then(|| ServiceSource { image: self.0.image.clone(), repo: self.0.repo.clone() })
    }

    async fn builder(&self) -> Builder {
        match self.build_text("builder").as_deref() {
            Some("HEROKU") => Builder::Heroku,
            Some("NIXPACKS") => Builder::Nixpacks,
            Some("PAKETO") => Builder::Paketo,
            _ => Builder::Railpack,
        }
    }

    async fn build_command(&self) -> Option<String> {
        self.build_text("buildCommand")
    }

    async fn dockerfile_path(&self) -> Option<String> {
        self.build_text("dockerfilePath")
    }

    async fn root_directory(&self) -> Option<String> {
        self.build_text("rootDirectory")
    }

    async fn railway_config_file(&self) -> Option<String> {
        self.build_text("railwayConfigFile")
    }

    async fn watch_patterns(&self) -> Vec<String> {
        let patterns = self.0.build.get("watchPatterns").and_then(Value::as_array);
        patterns.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    async fn nixpacks_plan(&self) -> Option<Json> {
        self.0.build.get("nixpacksPlan").cloned().map(Json)
    }

    async fn start_command(&self) -> Option<String> {
        self.0.deploy_text("startCommand")
    }

    async fn pre_deploy_command(&self) -> Option<Json> {
        self.0.deploy.get("preDeployCommand").cloned().map(Json)
    }

    async fn cron_schedule(&self) -> Option<String> {
        self.0.deploy_text("cronSchedule")
    }

    /// Nothing is run by the clock here.
    async fn next_cron_run_at(&self) -> Option<DateTime> {
        None
    }

    /// The sandbox records no traces.
    async fn tracing_enabled(&self) -> bool {
        false
    }

    async fn auto_instrumentation_enabled(&self) -> bool {
        false
    }

    async fn healthcheck_path(&self) -> Option<String> {
        self.0.deploy_text("healthcheckPath")
    }

    async fn healthcheck_timeout(&self) -> Option<i32> {
        self.number("healthcheckTimeout")
    }

    async fn overlap_seconds(&self) -> Option<i32> {
        self.number("overlapSeconds")
    }

    async fn draining_seconds(&self) -> Option<i32> {
        self.number("drainingSeconds")
    }

    async fn num_replicas(&self) -> Option<i32> {
        i32::try_from(self.0.placement().len()).ok()
    }

    /// Accepted on write, never read back.
    async fn region(&self) -> Option<String> {
        None
    }

    async fn restart_policy_type(&self) -> RestartPolicyType {
        match self.0.deploy_text("restartPolicyType").as_deref() {
            Some("ALWAYS") => RestartPolicyType::Always,
            Some("NEVER") => RestartPolicyType::Never,
            _ => RestartPolicyType::OnFailure,
        }
    }

    async fn restart_policy_max_retries(&self) -> i32 {
        self.number("restartPolicyMaxRetries").unwrap_or(10)
    }

    async fn sleep_application(&self) -> Option<bool> {
        self.flag("sleepApplication")
    }

    async fn ipv6_egress_enabled(&self) -> Option<bool> {
        self.flag("ipv6EgressEnabled")
    }

    async fn is_updatable(&self) -> bool {
        false
    }

    async fn domains(&self, ctx: &Context<'_>) -> AllDomains {
        domains(request(ctx), &self.0.environment_id, &self.0.service_id)
    }

    /// Lags behind: right after a trigger it still shows the previous one.
    async fn latest_deployment(&self, ctx: &Context<'_>) -> Option<Deployment> {
        let request = request(ctx);
        let lag = u64::try_from(request.settings.latest_deployment_lag.get().as_millis()).unwrap_or(u64::MAX);
        let now = request.core.clock.now();
        let rows = request.world().deployments_of(&self.0.environment_id, &self.0.service_id);
        let seen = rows.into_iter().find(|row| now >= row.times.created_tick.saturating_add(lag));
        seen.map(Deployment)
    }

    async fn active_deployments(&self, ctx: &Context<'_>) -> Vec<Deployment> {
        let rows = request(ctx).world().deployments_of(&self.0.environment_id, &self.0.service_id);
        rows.into_iter().filter(|row| row.status.settled()).map(Deployment).collect()
    }
}

/// The domains of a service in an environment.
pub(crate) fn domains(request: &Request, environment: &str, service: &str) -> AllDomains {
    let world = request.world();
    let rows = world
        .domains
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service && row.times.live())
        .filter(|row| request.visible("domain", &row.times))
        .cloned()
        .map(ServiceDomain)
        .collect();
    AllDomains { custom_domains: custom_domains(request, environment, service), service_domains: rows }
}

#[derive(SimpleObject)]
pub(crate) struct AllDomains {
    custom_domains: Vec<CustomDomain>,
    service_domains: Vec<ServiceDomain>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum ServiceDomainSyncStatus {
    Active,
    Deleted,
}

pub(crate) struct ServiceDomain(pub(crate) Arc<rows::Domain>);

#[Object]
impl ServiceDomain {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn domain(&self) -> &str {
        &self.0.domain
    }

    async fn project_id(&self) -> Option<&str> {
        Some(&self.0.project_id)
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn service_id(&self) -> &str {
        &self.0.service_id
    }

    async fn target_port(&self) -> Option<i32> {
        self.0.target_port
    }

    async fn suffix(&self) -> Option<&str> {
        Some(crate::railway::ops::domains::SUFFIX)
    }

    async fn sync_status(&self) -> ServiceDomainSyncStatus {
        if self.0.times.live() { ServiceDomainSyncStatus::Active } else { ServiceDomainSyncStatus::Deleted }
    }

    async fn created_at(&self) -> Option<DateTime> {
        Some(DateTime(self.0.times.created_at))
    }

    async fn updated_at(&self) -> Option<DateTime> {
        Some(DateTime(self.0.times.updated_at))
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.times.deleted_at.map(DateTime)
    }
}
