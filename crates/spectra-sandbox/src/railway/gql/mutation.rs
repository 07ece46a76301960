//! The root of writes: decodes inputs, hands over to `ops`.

use std::collections::BTreeMap;

use async_graphql::{Context, MaybeUndefined, MergedObject, Object, Result};
use serde_json::{Value, json};

use super::change_sets::ChangeSetWrites;
use super::deletion::DeletionWrites;
use super::deployment::Deployment;
use super::egress::EgressGatewayWrites;
use super::environment::{Environment, EnvironmentPatch};
use super::inputs::{
    Builder, EnvironmentCreateInput, EnvironmentRenameInput, ProjectCreateInput, ProjectUpdateInput,
    RegistryCredentialsInput, RestartPolicyType, ServiceConnectInput, ServiceCreateInput,
    ServiceDomainCreateInput, ServiceDomainUpdateInput, ServiceInstanceLimitsUpdateInput,
    ServiceInstanceUpdateInput, ServiceUpdateInput, VariableCollectionUpsertInput, VariableDeleteInput,
    VariableUpsertInput,
};
use super::network::NetworkWrites;
use super::notifications::NotificationWrites;
use super::private_networks::PrivateNetworkWrites;
use super::project::Project;
use super::project_tokens::ProjectTokenWrites;
use super::scalars::EnvironmentConfig;
use super::service::{Service, ServiceDomain};
use super::triggers::TriggerWrites;
use super::volumes::VolumeWrites;
use super::{Request, request};
use crate::railway::ops::deployments::{Verb, act};
use crate::railway::ops::instances::InstanceChange;
use crate::railway::ops::variables::{Change, Scope};
use crate::railway::ops::{
    deployments, domains, environments, instances, patches, projects, services, variables,
};
use crate::railway::refusal::Refusal;
use crate::store::rows::{Cause, Credentials};

/// Every write, group by group.
#[derive(MergedObject, Default)]
pub(crate) struct Mutation(
    BasicWrites,
    NetworkWrites,
    PrivateNetworkWrites,
    EgressGatewayWrites,
    VolumeWrites,
    ChangeSetWrites,
    NotificationWrites,
    TriggerWrites,
    DeletionWrites,
    ProjectTokenWrites,
);

/// Projects, environments, services, variables, deployments and Railway domains.
#[derive(Default)]
pub(crate) struct BasicWrites;

/// Absent, null or a value.
#[expect(clippy::option_option, reason = "absent, null and a value are three different things on this wire")]
pub(crate) fn optional<T>(value: MaybeUndefined<T>) -> Option<Option<T>> {
    match value {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(value) => Some(Some(value)),
    }
}

fn credentials(input: RegistryCredentialsInput) -> Credentials {
    Credentials { username: input.username, password: input.password }
}

fn change(input: ServiceInstanceUpdateInput) -> InstanceChange {
    let mut deploy = BTreeMap::new();
    let mut build = BTreeMap::new();
    let put = |into: &mut BTreeMap<&'static str, Value>, key: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            into.insert(key, value);
        }
    };
    macro_rules! section {
        ($into:ident: $($key:literal = $field:ident),* $(,)?) => {
            $(put(&mut $into, $key, optional(input.$field).map(|value| json!(value)));)*
        };
    }
    section!(deploy:
        "drainingSeconds" = draining_seconds,
        "healthcheckPath" = healthcheck_path,
        "healthcheckTimeout" = healthcheck_timeout,
        "ipv6EgressEnabled" = ipv6_egress_enabled,
        "numReplicas" = num_replicas,
        "overlapSeconds" = overlap_seconds,
        "preDeployCommand" = pre_deploy_command,
        "region" = region,
        "restartPolicyMaxRetries" = restart_policy_max_retries,
        "sleepApplication" = sleep_application,
        "startCommand" = start_command,
        "cronSchedule" = cron_schedule,
    );
    section!(build:
        "buildCommand" = build_command,
        "dockerfilePath" = dockerfile_path,
        "railwayConfigFile" = railway_config_file,
        "rootDirectory" = root_directory,
        "watchPatterns" = watch_patterns,
    );
    put(
        &mut deploy,
        "multiRegionConfig",
        optional(input.multi_region_config).map(|value| value.map_or(Value::Null, |json| json.0)),
    );
    put(
        &mut build,
        "nixpacksPlan",
        optional(input.nixpacks_plan).map(|value| value.map_or(Value::Null, |json| json.0)),
    );
    let policy = optional(input.restart_policy_type).map(|value| {
        json!(value.map(|value| match value {
            RestartPolicyType::Always => "ALWAYS",
            RestartPolicyType::Never => "NEVER",
            RestartPolicyType::OnFailure => "ON_FAILURE",
        }))
    });
    put(&mut deploy, "restartPolicyType", policy);
    let builder = optional(input.builder).map(|value| {
        json!(value.map(|value| match value {
            Builder::Heroku => "HEROKU",
            Builder::Nixpacks => "NIXPACKS",
            Builder::Paketo => "PAKETO",
            Builder::Railpack => "RAILPACK",
        }))
    });
    put(&mut build, "builder", builder);
    InstanceChange {
        source: optional(input.source)
            .map(|source| source.map_or((None, None), |source| (source.image, source.repo))),
        credentials: optional(input.registry_credentials).map(|value| value.map(credentials)),
        deploy,
        build,
    }
}

fn project(request: &Request, id: &str) -> Result<Project> {
    let row = request.world().projects.get(id).cloned();
    Ok(row.map(Project).ok_or_else(|| Refusal::not_found("Project"))?)
}

fn environment(request: &Request, id: &str) -> Result<Environment> {
    let row = request.world().environments.get(id).cloned();
    Ok(row.map(Environment).ok_or_else(|| Refusal::not_found("Environment"))?)
}

fn service(request: &Request, id: &str) -> Result<Service> {
    let row = request.world().services.get(id).cloned();
    Ok(row.map(Service).ok_or_else(|| Refusal::not_found("Service"))?)
}

/// Records which environments a service lives in as touched.
fn touch_service(request: &Request, id: &str) {
    for row in request.world().instances.iter().filter(|row| row.service_id == id) {
        request.touch(&row.environment_id);
    }
}

fn deployment_verb(ctx: &Context<'_>, id: &str, verb: Verb) -> Result<bool> {
    let request = request(ctx);
    let place = request.world().deployments.get(id).map(|row| row.environment_id.clone());
    request.mutate(place.as_deref(), |draft, who, _| act(draft, who, id, verb))?;
    Ok(true)
}

#[Object]
impl BasicWrites {
    async fn project_create(&self, ctx: &Context<'_>, input: ProjectCreateInput) -> Result<Project> {
        let request = request(ctx);
        if input.repo.is_some() {
            return Err(Refusal::input(
                "the sandbox deploys images; it cannot create a project from a repository",
            )
            .into());
        }
        let _ = (input.is_monorepo, input.runtime);
        let new = projects::NewProject {
            name: input.name,
            description: input.description,
            default_environment_name: input.default_environment_name,
            is_public: input.is_public.unwrap_or(false),
            pr_deploys: input.pr_deploys.unwrap_or(false),
            workspace_id: input.workspace_id,
        };
        let id = request.mutate(None, |draft, who, settings| projects::create(draft, who, settings, new))?;
        project(request, &id)
    }

    async fn project_update(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: ProjectUpdateInput,
    ) -> Result<Project> {
        let request = request(ctx);
        let change = projects::ProjectChange {
            name: input.name,
            description: optional(input.description),
            is_public: input.is_public,
            pr_deploys: input.pr_deploys,
            bot_pr_environments: input.bot_pr_environments,
            focused_pr_environments: input.focused_pr_environments,
            base_environment_id: optional(input.base_environment_id),
        };
        request.mutate(None, |draft, who, _| projects::update(draft, who, &id, change))?;
        project(request, &id)
    }

    async fn project_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        for row in request.world().environments.iter().filter(|row| row.project_id == id && row.times.live())
        {
            request.touch(&row.id);
        }
        request.mutate(None, |draft, who, _| projects::delete(draft, who, &id))?;
        Ok(true)
    }

    async fn environment_create(
        &self,
        ctx: &Context<'_>,
        input: EnvironmentCreateInput,
    ) -> Result<Environment> {
        let request = request(ctx);
        let _ = input.apply_changes_in_background;
        let new = environments::NewEnvironment {
            name: input.name,
            project_id: input.project_id,
            source_id: input.source_environment_id,
            ephemeral: input.ephemeral.unwrap_or(false),
            skip_initial_deploys: input.skip_initial_deploys.unwrap_or(false),
            stage_initial_changes: input.stage_initial_changes.unwrap_or(false),
        };
        let id =
            request.mutate(None, |draft, who, settings| environments::create(draft, who, settings, &new))?;
        request.touch(&id);
        environment(request, &id)
    }

    async fn environment_rename(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: EnvironmentRenameInput,
    ) -> Result<Environment> {
        let request = request(ctx);
        request.mutate(Some(&id), |draft, who, _| environments::rename(draft, who, &id, &input.name))?;
        environment(request, &id)
    }

    async fn environment_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        request.mutate(Some(&id), |draft, who, _| environments::delete(draft, who, &id))?;
        Ok(true)
    }

    async fn environment_stage_changes(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        input: EnvironmentConfig,
        merge: Option<bool>,
    ) -> Result<EnvironmentPatch> {
        let request = request(ctx);
        let id = request.mutate(Some(&environment_id), |draft, who, _| {
            patches::stage(draft, who, &environment_id, &input.0, merge.unwrap_or(false))
        })?;
        let row = request.world().patches.get(&id).cloned();
        Ok(row.map(EnvironmentPatch).ok_or_else(|| Refusal::not_found("EnvironmentPatch"))?)
    }

    async fn environment_patch_commit(
        &self,
        ctx: &Context<'_>,
        commit_message: Option<String>,
        environment_id: String,
        patch: Option<EnvironmentConfig>,
    ) -> Result<String> {
        let patch = patch.map(|patch| patch.0);
        Ok(request(ctx).mutate(Some(&environment_id), |draft, who, settings| {
            patches::commit(draft, who, settings, &environment_id, patch.as_ref(), commit_message)
        })?)
    }

    async fn environment_patch_commit_staged(
        &self,
        ctx: &Context<'_>,
        commit_message: Option<String>,
        environment_id: String,
        skip_deploys: Option<bool>,
    ) -> Result<String> {
        let skip = skip_deploys.unwrap_or(false);
        Ok(request(ctx).mutate(Some(&environment_id), |draft, who, settings| {
            patches::commit_staged(draft, who, settings, &environment_id, commit_message, skip)
        })?)
    }

    async fn service_create(&self, ctx: &Context<'_>, input: ServiceCreateInput) -> Result<Service> {
        let request = request(ctx);
        let (image, repo) = input.source.map_or((None, None), |source| (source.image, source.repo));
        let new = services::NewService {
            project_id: input.project_id,
            name: input.name,
            environment_id: input.environment_id,
            icon: input.icon,
            image,
            repo,
            branch: input.branch,
            credentials: input.registry_credentials.map(credentials),
            variables: input.variables.map(|variables| variables.0).unwrap_or_default(),
        };
        let id = request.mutate(None, |draft, who, settings| services::create(draft, who, settings, new))?;
        touch_service(request, &id);
        service(request, &id)
    }

    async fn service_update(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: ServiceUpdateInput,
    ) -> Result<Service> {
        let request = request(ctx);
        let icon = optional(input.icon);
        request.mutate(None, |draft, who, _| services::update(draft, who, &id, input.name, icon))?;
        touch_service(request, &id);
        service(request, &id)
    }

    async fn service_delete(
        &self,
        ctx: &Context<'_>,
        environment_id: Option<String>,
        id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        request.mutate(environment_id.as_deref(), |draft, who, _| {
            services::delete(draft, who, &id, environment_id.as_deref())
        })?;
        if environment_id.is_none() {
            touch_service(request, &id);
        }
        Ok(true)
    }

    async fn service_connect(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: ServiceConnectInput,
    ) -> Result<Service> {
        let request = request(ctx);
        let source = services::Source { image: input.image, repo: input.repo, branch: input.branch };
        request.mutate(None, |draft, who, settings| services::connect(draft, who, settings, &id, &source))?;
        touch_service(request, &id);
        service(request, &id)
    }

    async fn service_disconnect(&self, ctx: &Context<'_>, id: String) -> Result<Service> {
        let request = request(ctx);
        request.mutate(None, |draft, who, settings| {
            services::connect(draft, who, settings, &id, &services::Source::default())
        })?;
        touch_service(request, &id);
        service(request, &id)
    }

    async fn service_instance_update(
        &self,
        ctx: &Context<'_>,
        environment_id: Option<String>,
        input: ServiceInstanceUpdateInput,
        service_id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        if let Some(environment) = &environment_id {
            let world = request.world();
            let row = request.who.instance(&world, environment, &service_id)?;
            if !request.visible("service_instance", &row.times) {
                return Err(Refusal::not_found("ServiceInstance").into());
            }
        }
        let change = change(input);
        request.mutate(environment_id.as_deref(), |draft, who, settings| {
            let dice = rand::random();
            instances::update(draft, who, settings, environment_id.as_deref(), &service_id, &change, dice)
        })?;
        if environment_id.is_none() {
            touch_service(request, &service_id);
        }
        Ok(true)
    }

    async fn service_instance_deploy_v2(
        &self,
        ctx: &Context<'_>,
        commit_sha: Option<String>,
        environment_id: String,
        service_id: String,
    ) -> Result<String> {
        let _ = commit_sha;
        Ok(request(ctx).mutate(Some(&environment_id), |draft, who, settings| {
            who.instance(&draft.world, &environment_id, &service_id)?;
            deployments::create(draft, who, settings, &environment_id, &service_id, Cause::Deploy)
        })?)
    }

    async fn service_instance_deploy(
        &self,
        ctx: &Context<'_>,
        commit_sha: Option<String>,
        environment_id: String,
        latest_commit: Option<bool>,
        service_id: String,
    ) -> Result<bool> {
        let _ = (commit_sha, latest_commit);
        request(ctx).mutate(Some(&environment_id), |draft, who, settings| {
            who.instance(&draft.world, &environment_id, &service_id)?;
            deployments::create(draft, who, settings, &environment_id, &service_id, Cause::Deploy)
        })?;
        Ok(true)
    }

    async fn service_instance_redeploy(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        service_id: String,
    ) -> Result<bool> {
        request(ctx).mutate(Some(&environment_id), |draft, who, settings| {
            deployments::redeploy_instance(draft, who, settings, &environment_id, &service_id)
        })?;
        Ok(true)
    }

    async fn service_instance_limits_update(
        &self,
        ctx: &Context<'_>,
        input: ServiceInstanceLimitsUpdateInput,
    ) -> Result<bool> {
        request(ctx).mutate(Some(&input.environment_id), |draft, who, _| {
            instances::limits(
                draft,
                who,
                &input.environment_id,
                &input.service_id,
                input.vcpus,
                input.memory_gb,
            )
        })?;
        Ok(true)
    }

    async fn variable_upsert(&self, ctx: &Context<'_>, input: VariableUpsertInput) -> Result<bool> {
        let values = BTreeMap::from([(input.name, input.value)]);
        let scope = Scope {
            project: &input.project_id,
            environment: &input.environment_id,
            service: input.service_id.as_deref(),
        };
        let skip = input.skip_deploys.unwrap_or(false);
        request(ctx).mutate(Some(&input.environment_id), |draft, who, settings| {
            variables::change(draft, who, settings, scope, Change::Upsert(values), skip)
        })?;
        Ok(true)
    }

    async fn variable_collection_upsert(
        &self,
        ctx: &Context<'_>,
        input: VariableCollectionUpsertInput,
    ) -> Result<bool> {
        let scope = Scope {
            project: &input.project_id,
            environment: &input.environment_id,
            service: input.service_id.as_deref(),
        };
        let values = input.variables.0;
        let change =
            if input.replace == Some(true) { Change::Replace(values) } else { Change::Upsert(values) };
        let skip = input.skip_deploys.unwrap_or(false);
        request(ctx).mutate(Some(&input.environment_id), |draft, who, settings| {
            variables::change(draft, who, settings, scope, change, skip)
        })?;
        Ok(true)
    }

    async fn variable_delete(&self, ctx: &Context<'_>, input: VariableDeleteInput) -> Result<bool> {
        let scope = Scope {
            project: &input.project_id,
            environment: &input.environment_id,
            service: input.service_id.as_deref(),
        };
        request(ctx).mutate(Some(&input.environment_id), |draft, who, settings| {
            variables::change(draft, who, settings, scope, Change::Delete(input.name), false)
        })?;
        Ok(true)
    }

    async fn deployment_redeploy(
        &self,
        ctx: &Context<'_>,
        id: String,
        use_previous_image_tag: Option<bool>,
    ) -> Result<Deployment> {
        let request = request(ctx);
        let place = request.world().deployments.get(&id).map(|row| row.environment_id.clone());
        let new = request.mutate(place.as_deref(), |draft, who, settings| {
            deployments::redeploy(draft, who, settings, &id, use_previous_image_tag.unwrap_or(false))
        })?;
        let row = request.world().deployments.get(&new).cloned();
        Ok(row.map(Deployment).ok_or_else(|| Refusal::not_found("Deployment"))?)
    }

    async fn deployment_rollback(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        let place = request.world().deployments.get(&id).map(|row| row.environment_id.clone());
        request.mutate(place.as_deref(), |draft, who, settings| {
            deployments::roll_back(draft, who, settings, &id)
        })?;
        Ok(true)
    }

    async fn deployment_restart(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        deployment_verb(ctx, &id, Verb::Restart)
    }

    async fn deployment_stop(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        deployment_verb(ctx, &id, Verb::Stop)
    }

    async fn deployment_cancel(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        deployment_verb(ctx, &id, Verb::Cancel)
    }

    async fn deployment_remove(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        deployment_verb(ctx, &id, Verb::Remove)
    }

    async fn deployment_approve(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        deployment_verb(ctx, &id, Verb::Approve)
    }

    async fn service_domain_create(
        &self,
        ctx: &Context<'_>,
        input: ServiceDomainCreateInput,
    ) -> Result<ServiceDomain> {
        let request = request(ctx);
        let port = request.core.info.port;
        let id = request.mutate(Some(&input.environment_id), |draft, who, _| {
            domains::create(draft, who, &input.environment_id, &input.service_id, input.target_port, port)
        })?;
        let row = request.world().domains.get(&id).cloned();
        Ok(row.map(ServiceDomain).ok_or_else(|| Refusal::not_found("ServiceDomain"))?)
    }

    async fn service_domain_update(
        &self,
        ctx: &Context<'_>,
        input: ServiceDomainUpdateInput,
    ) -> Result<bool> {
        let request = request(ctx);
        let port = request.core.info.port;
        let target = optional(input.target_port);
        request.mutate(Some(&input.environment_id), |draft, who, _| {
            let id = &input.service_domain_id;
            let fits = draft.world.domains.get(id).is_none_or(|row| {
                row.service_id == input.service_id && row.environment_id == input.environment_id
            });
            if !fits {
                return Err(Refusal::not_found("ServiceDomain"));
            }
            domains::update(draft, who, id, &input.domain, target, port)
        })?;
        Ok(true)
    }

    async fn service_domain_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        let place = request.world().domains.get(&id).map(|row| row.environment_id.clone());
        request.mutate(place.as_deref(), |draft, who, _| domains::delete(draft, who, &id))?;
        Ok(true)
    }
}
