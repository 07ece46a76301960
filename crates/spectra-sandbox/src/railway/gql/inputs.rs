//! Input objects. `MaybeUndefined` where sending `null` differs from leaving the field out.

use async_graphql::{Enum, InputObject, MaybeUndefined};

use super::scalars::{DateTime, EnvironmentVariables, Json};
use crate::store::rows::Status;

#[derive(InputObject)]
pub(crate) struct ProjectCreateRepo {
    pub(crate) branch: String,
    pub(crate) full_repo_name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum PublicRuntime {
    Legacy,
    Unspecified,
    #[graphql(name = "V2")]
    V2,
}

#[derive(InputObject)]
pub(crate) struct ProjectCreateInput {
    pub(crate) default_environment_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) is_monorepo: Option<bool>,
    pub(crate) is_public: Option<bool>,
    pub(crate) name: Option<String>,
    pub(crate) pr_deploys: Option<bool>,
    pub(crate) repo: Option<ProjectCreateRepo>,
    pub(crate) runtime: Option<PublicRuntime>,
    pub(crate) workspace_id: Option<String>,
}

#[derive(InputObject)]
pub(crate) struct ProjectUpdateInput {
    pub(crate) base_environment_id: MaybeUndefined<String>,
    pub(crate) bot_pr_environments: Option<bool>,
    pub(crate) description: MaybeUndefined<String>,
    pub(crate) focused_pr_environments: Option<bool>,
    pub(crate) is_public: Option<bool>,
    pub(crate) name: Option<String>,
    pub(crate) pr_deploys: Option<bool>,
}

#[derive(InputObject)]
pub(crate) struct EnvironmentCreateInput {
    pub(crate) apply_changes_in_background: Option<bool>,
    pub(crate) ephemeral: Option<bool>,
    pub(crate) name: String,
    pub(crate) project_id: String,
    pub(crate) skip_initial_deploys: Option<bool>,
    pub(crate) source_environment_id: Option<String>,
    pub(crate) stage_initial_changes: Option<bool>,
}

#[derive(InputObject)]
pub(crate) struct EnvironmentRenameInput {
    pub(crate) name: String,
}

#[derive(InputObject)]
pub(crate) struct RegistryCredentialsInput {
    pub(crate) password: String,
    pub(crate) username: String,
}

#[derive(InputObject)]
pub(crate) struct ServiceSourceInput {
    pub(crate) image: Option<String>,
    pub(crate) repo: Option<String>,
}

#[derive(InputObject)]
pub(crate) struct ServiceCreateInput {
    pub(crate) branch: Option<String>,
    pub(crate) environment_id: Option<String>,
    pub(crate) icon: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) project_id: String,
    pub(crate) registry_credentials: Option<RegistryCredentialsInput>,
    pub(crate) source: Option<ServiceSourceInput>,
    pub(crate) variables: Option<EnvironmentVariables>,
}

#[derive(InputObject)]
pub(crate) struct ServiceUpdateInput {
    pub(crate) icon: MaybeUndefined<String>,
    pub(crate) name: Option<String>,
}

#[derive(InputObject)]
pub(crate) struct ServiceConnectInput {
    pub(crate) branch: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) repo: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Builder {
    Heroku,
    Nixpacks,
    Paketo,
    Railpack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum RestartPolicyType {
    Always,
    Never,
    OnFailure,
}

#[derive(InputObject)]
pub(crate) struct ServiceInstanceUpdateInput {
    pub(crate) build_command: MaybeUndefined<String>,
    pub(crate) builder: MaybeUndefined<Builder>,
    pub(crate) cron_schedule: MaybeUndefined<String>,
    pub(crate) dockerfile_path: MaybeUndefined<String>,
    pub(crate) draining_seconds: MaybeUndefined<i32>,
    pub(crate) healthcheck_path: MaybeUndefined<String>,
    pub(crate) healthcheck_timeout: MaybeUndefined<i32>,
    pub(crate) ipv6_egress_enabled: MaybeUndefined<bool>,
    pub(crate) multi_region_config: MaybeUndefined<Json>,
    pub(crate) nixpacks_plan: MaybeUndefined<Json>,
    pub(crate) num_replicas: MaybeUndefined<i32>,
    pub(crate) overlap_seconds: MaybeUndefined<i32>,
    pub(crate) pre_deploy_command: MaybeUndefined<Vec<String>>,
    pub(crate) railway_config_file: MaybeUndefined<String>,
    pub(crate) region: MaybeUndefined<String>,
    pub(crate) registry_credentials: MaybeUndefined<RegistryCredentialsInput>,
    pub(crate) restart_policy_max_retries: MaybeUndefined<i32>,
    pub(crate) restart_policy_type: MaybeUndefined<RestartPolicyType>,
    pub(crate) root_directory: MaybeUndefined<String>,
    pub(crate) sleep_application: MaybeUndefined<bool>,
    pub(crate) source: MaybeUndefined<ServiceSourceInput>,
    pub(crate) start_command: MaybeUndefined<String>,
    pub(crate) watch_patterns: MaybeUndefined<Vec<String>>,
}

#[derive(InputObject)]
pub(crate) struct ServiceInstanceLimitsUpdateInput {
    pub(crate) environment_id: String,
    #[graphql(name = "memoryGB")]
    pub(crate) memory_gb: Option<f64>,
    pub(crate) service_id: String,
    #[graphql(name = "vCPUs")]
    pub(crate) vcpus: Option<f64>,
}

#[derive(InputObject)]
pub(crate) struct VariableUpsertInput {
    pub(crate) environment_id: String,
    pub(crate) name: String,
    pub(crate) project_id: String,
    pub(crate) service_id: Option<String>,
    pub(crate) skip_deploys: Option<bool>,
    pub(crate) value: String,
}

#[derive(InputObject)]
pub(crate) struct VariableCollectionUpsertInput {
    pub(crate) environment_id: String,
    pub(crate) project_id: String,
    pub(crate) replace: Option<bool>,
    pub(crate) service_id: Option<String>,
    pub(crate) skip_deploys: Option<bool>,
    pub(crate) variables: EnvironmentVariables,
}

#[derive(InputObject)]
pub(crate) struct VariableDeleteInput {
    pub(crate) environment_id: String,
    pub(crate) name: String,
    pub(crate) project_id: String,
    pub(crate) service_id: Option<String>,
}

#[derive(InputObject)]
pub(crate) struct ServiceDomainCreateInput {
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) target_port: Option<i32>,
}

#[derive(InputObject)]
pub(crate) struct ServiceDomainUpdateInput {
    pub(crate) domain: String,
    pub(crate) environment_id: String,
    pub(crate) service_domain_id: String,
    pub(crate) service_id: String,
    pub(crate) target_port: MaybeUndefined<i32>,
}

#[derive(InputObject)]
pub(crate) struct ProjectTokenCreateInput {
    pub(crate) environment_id: String,
    pub(crate) name: String,
    pub(crate) project_id: String,
}

#[derive(InputObject)]
pub(crate) struct DeploymentStatusInput {
    #[graphql(name = "in")]
    pub(crate) any_of: Option<Vec<DeploymentStatus>>,
    pub(crate) not_in: Option<Vec<DeploymentStatus>>,
}

#[derive(InputObject)]
pub(crate) struct DeploymentListInput {
    pub(crate) environment_id: Option<String>,
    pub(crate) include_deleted: Option<bool>,
    pub(crate) project_id: Option<String>,
    pub(crate) service_id: Option<String>,
    pub(crate) status: Option<DeploymentStatusInput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Status")]
pub(crate) enum DeploymentStatus {
    Building,
    Crashed,
    Deploying,
    Failed,
    Initializing,
    NeedsApproval,
    Queued,
    Removed,
    Removing,
    Skipped,
    Sleeping,
    Success,
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum ProjectsOrderBy {
    CreatedAtDesc,
    NameAsc,
    UpdatedAtDesc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum SortOrder {
    #[graphql(name = "asc")]
    Asc,
    #[graphql(name = "desc")]
    Desc,
}

#[derive(InputObject)]
pub(crate) struct AuditLogFilterInput {
    pub(crate) end_date: Option<DateTime>,
    pub(crate) environment_id: Option<String>,
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) project_id: Option<String>,
    pub(crate) start_date: Option<DateTime>,
}
