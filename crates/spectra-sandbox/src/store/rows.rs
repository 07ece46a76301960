//! The objects of the sandbox as they are kept. Ids are UUIDs in text; `*_at` is wall time in milliseconds (what
//! clients are shown), `*_tick` is sandbox time.

mod networks;
mod notifications;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use self::networks::*;
pub(crate) use self::notifications::*;
use crate::clock::Tick;

/// When a row came to be, changed and went.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) created_at: u64,
    pub(crate) created_tick: Tick,
    pub(crate) updated_at: u64,
    pub(crate) deleted_at: Option<u64>,
}

impl Times {
    pub(crate) const fn live(&self) -> bool {
        self.deleted_at.is_none()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the API")]
pub(crate) struct Project {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) workspace_id: String,
    pub(crate) is_public: bool,
    pub(crate) pr_deploys: bool,
    pub(crate) bot_pr_environments: bool,
    pub(crate) focused_pr_environments: bool,
    pub(crate) base_environment_id: Option<String>,
    pub(crate) temporary: bool,
    /// It is to be deleted, unless somebody cancels that in time.
    #[serde(default)]
    pub(crate) deletion: Option<Deletion>,
    pub(crate) times: Times,
}

/// A deletion that was asked for and has not happened yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deletion {
    pub(crate) asked_at: u64,
    pub(crate) due_tick: Tick,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Environment {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) name: String,
    pub(crate) source_id: Option<String>,
    pub(crate) ephemeral: bool,
    /// Counts every change of the configuration; the etag is made of it.
    pub(crate) generation: u64,
    pub(crate) times: Times,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) name: String,
    pub(crate) icon: Option<String>,
    pub(crate) times: Times,
}

/// Deployable configuration of a service in one environment. `deploy`, `build` and `source` have the keys of
/// `EnvironmentConfig`; an absent key means the platform's default.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) image: Option<String>,
    pub(crate) repo: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) source_extra: BTreeMap<String, Value>,
    pub(crate) deploy: BTreeMap<String, Value>,
    pub(crate) build: BTreeMap<String, Value>,
    pub(crate) limits: Option<Value>,
    pub(crate) has_credentials: bool,
    pub(crate) times: Times,
}

/// Key of an instance.
pub(crate) fn instance_key(environment_id: &str, service_id: &str) -> String {
    format!("{environment_id}/{service_id}")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Variable {
    pub(crate) value: String,
    pub(crate) sealed: bool,
    pub(crate) description: Option<String>,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) id: String,
}

/// Variables of a service in an environment, or the shared ones of an environment. Kept apart from the other
/// rows because values are secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct VariableSet {
    pub(crate) environment_id: String,
    pub(crate) service_id: Option<String>,
    pub(crate) variables: BTreeMap<String, Variable>,
}

/// Key of a variable set.
pub(crate) fn variables_key(environment_id: &str, service_id: Option<&str>) -> String {
    format!("{environment_id}/{}", service_id.unwrap_or("shared"))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Status {
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

impl Status {
    /// On its way to serving.
    pub(crate) const fn in_flight(self) -> bool {
        matches!(
            self,
            Self::Building
                | Self::Deploying
                | Self::Initializing
                | Self::NeedsApproval
                | Self::Queued
                | Self::Waiting
        )
    }

    /// Holds the service's traffic (or did until it crashed).
    pub(crate) const fn settled(self) -> bool {
        matches!(self, Self::Success | Self::Sleeping | Self::Crashed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ReplicaStatus {
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

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) number: u32,
    pub(crate) status: ReplicaStatus,
    pub(crate) region: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Step {
    SnapshotCode,
    BuildImage,
    PreDeployCommand,
    CreateContainer,
    ConfigureNetwork,
    Healthcheck,
    DrainInstances,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StepEvent {
    pub(crate) id: String,
    pub(crate) step: Step,
    pub(crate) created_at: u64,
    pub(crate) completed_at: Option<u64>,
    pub(crate) attempt: Option<i32>,
    pub(crate) max_attempts: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) detail: Option<String>,
}

/// Why a deployment exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    Deploy,
    Redeploy,
    Rollback,
}

/// Why a deployment is going away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Farewell {
    /// A newer one serves, or was asked for before this one did.
    Superseded,
    /// A newer one waits for the volume: no overlap.
    Replaced,
    Cancelled,
    Removed,
}

/// An attempt to run a snapshot of an instance's configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) sequence: u64,
    pub(crate) status: Status,
    pub(crate) status_at: u64,
    pub(crate) phase_tick: Tick,
    pub(crate) stopped: bool,
    pub(crate) cause: Cause,
    pub(crate) farewell: Option<Farewell>,
    /// The configuration it was created from; `image` may be a tag.
    pub(crate) snapshot: Instance,
    /// What the pull resolved the image to, as `registry/repository@sha256:…`.
    pub(crate) pinned: Option<String>,
    pub(crate) snapshot_id: String,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) events: Vec<StepEvent>,
    pub(crate) restarts: u32,
    pub(crate) ever_succeeded: bool,
    pub(crate) removed_tick: Option<Tick>,
    pub(crate) creator: Option<String>,
    pub(crate) times: Times,
}

/// Rendered and unrendered variables of a deployment; secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) own: BTreeMap<String, Variable>,
    pub(crate) shared: BTreeMap<String, Variable>,
    pub(crate) credentials: Option<Credentials>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum PatchStatus {
    Applying,
    Committed,
    Staged,
}

/// A staged or committed set of changes. May hold variable values, so it is kept with the secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the words of the API")]
pub(crate) struct Patch {
    pub(crate) id: String,
    pub(crate) environment_id: String,
    pub(crate) status: PatchStatus,
    pub(crate) patch: Value,
    pub(crate) message: Option<String>,
    pub(crate) skip_deploys: bool,
    /// It lay on the stage; a failure brings it back there.
    pub(crate) was_staged: bool,
    pub(crate) due_tick: Option<Tick>,
    pub(crate) applied_at: Option<u64>,
    pub(crate) last_error: Option<String>,
    pub(crate) creator: Option<String>,
    /// Who committed it, as the audit log names actors; what it sets in motion is theirs.
    #[serde(default)]
    pub(crate) committer: Option<String>,
    pub(crate) times: Times,
}

/// A volume of a project; its data lives in one instance for each environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) name: String,
    pub(crate) deleted_tick: Option<Tick>,
    pub(crate) times: Times,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VolumeInstance {
    pub(crate) id: String,
    pub(crate) volume_id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    /// `None`: attached to nothing.
    pub(crate) service_id: Option<String>,
    pub(crate) mount_path: String,
    pub(crate) region: String,
    pub(crate) size_mb: i32,
    pub(crate) updated_tick: Tick,
    /// A restore runs until then.
    pub(crate) restoring_until: Option<Tick>,
    pub(crate) deleted_tick: Option<Tick>,
    pub(crate) times: Times,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct VolumeBackup {
    pub(crate) id: String,
    pub(crate) volume_instance_id: String,
    pub(crate) name: Option<String>,
    /// `None`: a schedule made it.
    pub(crate) creator: Option<String>,
    pub(crate) size_mb: i32,
    /// Its workflow is through and the list shows it.
    pub(crate) ready_tick: Tick,
    /// The workflow that takes it away is through.
    pub(crate) gone_tick: Option<Tick>,
    #[serde(default)]
    pub(crate) schedule_id: Option<String>,
    /// It is dropped then; `None` once it is locked, and where no schedule made it.
    #[serde(default)]
    pub(crate) expires_tick: Option<Tick>,
    /// The same as clients are shown it.
    #[serde(default)]
    pub(crate) expires_at: Option<u64>,
    pub(crate) times: Times,
}

/// How often a schedule makes a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum BackupKind {
    Daily,
    Weekly,
    Monthly,
}

/// Makes backups of a volume instance by itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BackupSchedule {
    pub(crate) id: String,
    pub(crate) volume_instance_id: String,
    pub(crate) kind: BackupKind,
    pub(crate) next_tick: Tick,
    pub(crate) times: Times,
}

/// Work that goes on after its mutation was answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Workflow {
    pub(crate) id: String,
    pub(crate) environment_id: String,
    pub(crate) due_tick: Tick,
    /// What it ends with, when it does not end well.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProjectToken {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) name: String,
    /// SHA-256 of the secret, hexadecimal; the secret itself is shown once and not kept.
    pub(crate) hash: String,
    pub(crate) display: String,
    pub(crate) times: Times,
}

/// One line of the audit log and of the activity feed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Audit {
    pub(crate) id: String,
    pub(crate) event_type: String,
    pub(crate) project_id: Option<String>,
    pub(crate) environment_id: Option<String>,
    /// The service it is about, where it is about one.
    #[serde(default)]
    pub(crate) service_id: Option<String>,
    pub(crate) object: String,
    pub(crate) action: String,
    pub(crate) object_id: String,
    pub(crate) actor: String,
    /// Kind of the credential: `account`, `workspace`, `project`, or `platform` where there was none.
    #[serde(default)]
    pub(crate) token: String,
    #[serde(default)]
    pub(crate) severity: Severity,
    /// Nobody asked for it: it stands in the feed and not in the audit log.
    #[serde(default)]
    pub(crate) feed_only: bool,
    pub(crate) created_at: u64,
    #[serde(default)]
    pub(crate) created_tick: Tick,
    pub(crate) sequence: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Severity {
    Critical,
    #[default]
    Info,
    Notice,
    Warning,
}

/// Singletons: identity of this sandbox and its counters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) workspace_id: String,
    pub(crate) user_id: String,
    pub(crate) sequence: u64,
    pub(crate) port: Option<u16>,
    pub(crate) tick: Tick,
    pub(crate) last_project_tick: Option<Tick>,
    pub(crate) last_environment_tick: Option<Tick>,
    pub(crate) last_volume_tick: Option<Tick>,
}

/// The bearer tokens; secrets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Keys {
    pub(crate) account: String,
    pub(crate) workspace: String,
}

/// Deploys a service when a branch of a repository moves. The sandbox sees no repositories: it keeps the record
/// and deploys when it is asked to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trigger {
    pub(crate) id: String,
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) provider: String,
    pub(crate) repository: String,
    pub(crate) branch: String,
    pub(crate) root_directory: Option<String>,
    pub(crate) check_suites: bool,
    pub(crate) times: Times,
}

/// A change set that was accepted. Its patch does the work and tells how far that is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ChangeSet {
    pub(crate) id: String,
    pub(crate) environment_id: String,
    pub(crate) patch_id: String,
    pub(crate) changes: Vec<PlannedChange>,
    /// Services that come into being when the patch is applied, id and name.
    pub(crate) services: Vec<(String, String)>,
    /// Warnings that came with the answer.
    pub(crate) diagnostics: Value,
    /// The first deployment that its patch started.
    pub(crate) deployment_id: Option<String>,
    pub(crate) times: Times,
}

/// One change of a change set, without its values.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PlannedChange {
    pub(crate) kind: String,
    pub(crate) address: String,
    pub(crate) path: Option<String>,
    pub(crate) summary: Option<String>,
    /// The service it is about.
    pub(crate) service_id: String,
}
