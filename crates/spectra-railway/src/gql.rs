//! The operation documents in `graphql/`, compiled against `graphql/schema.graphql`.
//!
//! Everything generated stays inside the crate; the models that callers see are written by hand, so that a change
//! of a document is no change of the public interface.

use graphql_client::GraphQLQuery;

use crate::deployment::{DeploymentStatus, ReplicaStatus as DeploymentInstanceStatus};
use crate::instance::RestartPolicyType;

/// Rust types of the schema's custom scalars.
pub(crate) mod scalars {
    /// RFC 3339; parsed where it is needed.
    pub(crate) type DateTime = String;
    pub(crate) type DeploymentMeta = serde_json::Value;
    pub(crate) type EnvironmentConfig = serde_json::Value;
    pub(crate) type EnvironmentVariables = std::collections::BTreeMap<String, String>;
    #[expect(clippy::upper_case_acronyms, reason = "the name in the schema")]
    pub(crate) type JSON = serde_json::Value;
}

/// What a repeated request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Read,
    /// Something, possibly twice.
    Write,
}

/// Which tokens an operation accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Every kind.
    Any,
    /// Account and workspace tokens.
    Workspace,
}

/// An operation document with what the client has to know about it.
pub(crate) trait Operation: GraphQLQuery {
    const NAME: &'static str;
    const EFFECT: Effect;
    const ACCESS: Access;
}

macro_rules! operations {
    ($($name:ident, $path:tt, $effect:ident, $access:ident;)+) => {$(
        #[derive(GraphQLQuery)]
        #[graphql(
            schema_path = "graphql/schema.graphql",
            query_path = $path,
            response_derives = "Debug, Clone",
            custom_scalars_module = "crate::gql::scalars",
            extern_enums("DeploymentStatus", "DeploymentInstanceStatus", "RestartPolicyType"),
            skip_serializing_none
        )]
        pub(crate) struct $name;

        impl Operation for $name {
            const NAME: &'static str = stringify!($name);
            const EFFECT: Effect = Effect::$effect;
            const ACCESS: Access = Access::$access;
        }
    )+};
}

operations! {
    TokenProbeApi, "graphql/token_probe_api.graphql", Read, Workspace;
    TokenProbeMe, "graphql/token_probe_me.graphql", Read, Workspace;
    TokenProbeProject, "graphql/token_probe_project.graphql", Read, Any;
    ProjectList, "graphql/project_list.graphql", Read, Workspace;
    ProjectGet, "graphql/project_get.graphql", Read, Any;
    ProjectCreate, "graphql/project_create.graphql", Write, Workspace;
    ProjectUpdate, "graphql/project_update.graphql", Write, Workspace;
    ProjectDelete, "graphql/project_delete.graphql", Write, Workspace;
    EnvironmentList, "graphql/environment_list.graphql", Read, Any;
    EnvironmentSnapshot, "graphql/environment_snapshot.graphql", Read, Any;
    EnvironmentChanges, "graphql/environment_changes.graphql", Read, Any;
    EnvironmentCreate, "graphql/environment_create.graphql", Write, Workspace;
    EnvironmentRename, "graphql/environment_rename.graphql", Write, Workspace;
    EnvironmentDelete, "graphql/environment_delete.graphql", Write, Workspace;
    EnvironmentPatchCommit, "graphql/environment_patch_commit.graphql", Write, Any;
    EnvironmentPatchGet, "graphql/environment_patch_get.graphql", Read, Any;
    EnvironmentStageChanges, "graphql/environment_stage_changes.graphql", Write, Any;
    EnvironmentPatchCommitStaged, "graphql/environment_patch_commit_staged.graphql", Write, Any;
    ServiceList, "graphql/service_list.graphql", Read, Any;
    ServiceCreate, "graphql/service_create.graphql", Write, Any;
    ServiceUpdate, "graphql/service_update.graphql", Write, Any;
    ServiceDelete, "graphql/service_delete.graphql", Write, Any;
    ServiceInstanceUpdate, "graphql/service_instance_update.graphql", Write, Any;
    ServiceInstanceDeploy, "graphql/service_instance_deploy.graphql", Write, Any;
    RegionList, "graphql/region_list.graphql", Read, Any;
    VariablesRendered, "graphql/variables_rendered.graphql", Read, Any;
    VariableCollectionUpsert, "graphql/variable_collection_upsert.graphql", Write, Any;
    DomainList, "graphql/domain_list.graphql", Read, Any;
    ServiceDomainCreate, "graphql/service_domain_create.graphql", Write, Any;
    ServiceDomainUpdate, "graphql/service_domain_update.graphql", Write, Any;
    ServiceDomainDelete, "graphql/service_domain_delete.graphql", Write, Any;
    DeploymentGet, "graphql/deployment_get.graphql", Read, Any;
    DeploymentList, "graphql/deployment_list.graphql", Read, Any;
    DeploymentEvents, "graphql/deployment_events.graphql", Read, Any;
    DeploymentLogs, "graphql/deployment_logs.graphql", Read, Any;
    BuildLogs, "graphql/build_logs.graphql", Read, Any;
    FollowDeployment, "graphql/follow_deployment.graphql", Read, Any;
    FollowDeploymentLogs, "graphql/follow_deployment_logs.graphql", Read, Any;
    FollowBuildLogs, "graphql/follow_build_logs.graphql", Read, Any;
    HttpLogs, "graphql/http_logs.graphql", Read, Any;
    HttpStatusCounts, "graphql/http_status_counts.graphql", Read, Any;
    HttpDurations, "graphql/http_durations.graphql", Read, Any;
    ResourceUsage, "graphql/resource_usage.graphql", Read, Any;
    VolumeInstanceList, "graphql/volume_instance_list.graphql", Read, Any;
    DeploymentRestart, "graphql/deployment_restart.graphql", Write, Any;
    DeploymentRollback, "graphql/deployment_rollback.graphql", Write, Any;
    DeploymentStop, "graphql/deployment_stop.graphql", Write, Any;
    DeploymentRemove, "graphql/deployment_remove.graphql", Write, Any;
    DeploymentCancel, "graphql/deployment_cancel.graphql", Write, Any;
    ProjectTokenList, "graphql/project_token_list.graphql", Read, Workspace;
    ProjectTokenCreate, "graphql/project_token_create.graphql", Write, Workspace;
    ProjectTokenDelete, "graphql/project_token_delete.graphql", Write, Workspace;
}
