//! Volumes, their instances, backups and the workflows that make them.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, Result, SimpleObject};

use super::environment::Environment;
use super::mutation::optional;
use super::project::Project;
use super::scalars::DateTime;
use super::service::Service;
use super::{Page, Request, connection, request};
use crate::clock::Tick;
use crate::railway::ops::backup_schedules;
use crate::railway::ops::volumes::{self as ops, Work};
use crate::railway::refusal::Refusal;
use crate::settings::ticks;
use crate::store::rows;

connection!(ProjectVolumesConnection, ProjectVolumesConnectionEdge, Volume);
connection!(VolumeVolumeInstancesConnection, VolumeVolumeInstancesConnectionEdge, VolumeInstance);
connection!(EnvironmentVolumeInstancesConnection, EnvironmentVolumeInstancesConnectionEdge, VolumeInstance);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum VolumeState {
    Deleted,
    Deleting,
    Error,
    Migrating,
    MigrationPending,
    Ready,
    Restoring,
    Updating,
}

/// Deleted rows stay listed until their tombstone is over.
fn listed(request: &Request, deleted: Option<Tick>) -> bool {
    let end = |at: Tick| at.saturating_add(ticks(request.settings.volume_tombstone));
    deleted.is_none_or(|at| request.core.clock.now() < end(at))
}

/// The volumes of a project, oldest first, with their cursors.
pub(crate) fn volumes(request: &Request, project: &str) -> Vec<(String, Volume)> {
    let world = request.world();
    let mut rows: Vec<_> = world
        .volumes
        .iter()
        .filter(|row| row.project_id == project && listed(request, row.deleted_tick))
        .filter(|row| request.visible("volume", &row.times))
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
    rows.into_iter().map(|row| (row.id.clone(), Volume(row))).collect()
}

/// The volume instances that fit and are within reach, oldest first, with their cursors.
pub(crate) fn volume_instances(
    request: &Request,
    keep: impl Fn(&rows::VolumeInstance) -> bool,
) -> Vec<(String, VolumeInstance)> {
    let world = request.world();
    let mut rows: Vec<_> = world
        .volume_instances
        .iter()
        .filter(|row| keep(row) && listed(request, row.deleted_tick))
        .filter(|row| !request.settings.restricted_environments.contains(&row.environment_id))
        // A tombstone outlives its environment; that of a project token is known by its id.
        .filter(|row| request.who.environment(&world, &row.environment_id).is_ok() || !row.times.live())
        .filter(|row| request.visible("volume", &row.times))
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
    rows.into_iter().map(|row| (row.id.clone(), VolumeInstance(row))).collect()
}

pub(crate) struct Volume(Arc<rows::Volume>);

#[Object]
impl Volume {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn name(&self) -> &str {
        &self.0.name
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

    #[graphql(deprecation)]
    async fn volume_instances(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<VolumeVolumeInstancesConnection> {
        let request = request(ctx);
        let rows = volume_instances(request, |row| row.volume_id == self.0.id);
        Ok(VolumeVolumeInstancesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }
}

pub(crate) struct VolumeInstance(Arc<rows::VolumeInstance>);

#[Object]
impl VolumeInstance {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn volume_id(&self) -> &str {
        &self.0.volume_id
    }

    async fn volume(&self, ctx: &Context<'_>) -> Result<Volume> {
        let row = request(ctx).world().volumes.get(&self.0.volume_id).cloned();
        Ok(row.map(Volume).ok_or_else(|| Refusal::not_found("Volume"))?)
    }

    async fn environment_id(&self) -> &str {
        &self.0.environment_id
    }

    async fn environment(&self, ctx: &Context<'_>) -> Result<Environment> {
        let row = request(ctx).world().environments.get(&self.0.environment_id).cloned();
        Ok(row.map(Environment).ok_or_else(|| Refusal::not_found("Environment"))?)
    }

    async fn service_id(&self) -> Option<&str> {
        self.0.service_id.as_deref()
    }

    /// The schema promises a service; an instance that is attached to none answers with an error.
    async fn service(&self, ctx: &Context<'_>) -> Result<Service> {
        let world = request(ctx).world();
        let row = self.0.service_id.as_deref().and_then(|id| world.services.get(id)).cloned();
        Ok(row.map(Service).ok_or_else(|| Refusal::not_found("Service"))?)
    }

    async fn mount_path(&self) -> &str {
        &self.0.mount_path
    }

    async fn region(&self) -> Option<&str> {
        Some(&self.0.region)
    }

    #[graphql(name = "sizeMB")]
    async fn size_mb(&self) -> i32 {
        self.0.size_mb
    }

    /// Nothing is ever written to a volume of the sandbox.
    #[graphql(name = "currentSizeMB")]
    async fn current_size_mb(&self) -> f64 {
        0.0
    }

    async fn is_pending_deletion(&self) -> bool {
        !self.0.times.live()
    }

    async fn state(&self, ctx: &Context<'_>) -> Option<VolumeState> {
        let request = request(ctx);
        let now = request.core.clock.now();
        let busy = |since: Tick| now < since.saturating_add(ticks(request.settings.volume_sync_duration));
        Some(match self.0.deleted_tick {
            Some(at) if busy(at) => VolumeState::Deleting,
            Some(_) => VolumeState::Deleted,
            None if self.0.restoring_until.is_some_and(|until| now < until) => VolumeState::Restoring,
            None if busy(self.0.updated_tick) => VolumeState::Updating,
            None => VolumeState::Ready,
        })
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.times.deleted_at.map(DateTime)
    }
}

pub(crate) struct VolumeInstanceBackup(Arc<rows::VolumeBackup>);

#[Object]
impl VolumeInstanceBackup {
    async fn id(&self) -> &str {
        &self.0.id
    }

    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    async fn creator_id(&self) -> Option<&str> {
        self.0.creator.as_deref()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(DateTime)
    }

    async fn schedule_id(&self) -> Option<&str> {
        self.0.schedule_id.as_deref()
    }

    #[graphql(name = "volumeInstanceSizeMB")]
    async fn volume_instance_size_mb(&self) -> Option<i32> {
        Some(self.0.size_mb)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "rows::BackupKind")]
enum VolumeInstanceBackupScheduleKind {
    Daily,
    Weekly,
    Monthly,
}

pub(crate) struct VolumeInstanceBackupSchedule(Arc<rows::BackupSchedule>);

#[Object]
impl VolumeInstanceBackupSchedule {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn kind(&self) -> VolumeInstanceBackupScheduleKind {
        self.0.kind.into()
    }

    async fn name(&self) -> &str {
        self.0.kind.name()
    }

    async fn cron(&self) -> &str {
        self.0.kind.cron()
    }

    async fn retention_seconds(&self) -> Option<i32> {
        i32::try_from(self.0.kind.retention().as_secs()).ok()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }
}

#[derive(SimpleObject)]
struct WorkflowId {
    workflow_id: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum WorkflowStatus {
    #[graphql(name = "Complete")]
    Complete,
    #[graphql(name = "Error")]
    Error,
    #[graphql(name = "NotFound")]
    NotFound,
    #[graphql(name = "Running")]
    Running,
}

#[derive(SimpleObject)]
struct WorkflowResult {
    error: Option<String>,
    status: WorkflowStatus,
}

/// Reads.
#[derive(Default)]
pub(crate) struct Volumes;

#[Object]
impl Volumes {
    /// Answers for a deleted instance too, until its tombstone is over.
    async fn volume_instance(&self, ctx: &Context<'_>, id: String) -> Result<VolumeInstance> {
        let request = request(ctx);
        request.who.known()?;
        let mut rows = volume_instances(request, |row| row.id == id);
        Ok(rows.pop().map(|(_, row)| row).ok_or_else(|| Refusal::not_found("VolumeInstance"))?)
    }

    async fn volume_instance_backup_list(
        &self,
        ctx: &Context<'_>,
        volume_instance_id: String,
    ) -> Result<Vec<VolumeInstanceBackup>> {
        let request = request(ctx);
        let now = request.core.clock.now();
        let rows = ops::backups(&request.world(), &request.who, &volume_instance_id, now)?;
        Ok(rows.into_iter().map(VolumeInstanceBackup).collect())
    }

    async fn volume_instance_backup_schedule_list(
        &self,
        ctx: &Context<'_>,
        volume_instance_id: String,
    ) -> Result<Vec<VolumeInstanceBackupSchedule>> {
        let request = request(ctx);
        let rows = backup_schedules::list(&request.world(), &request.who, &volume_instance_id)?;
        Ok(rows.into_iter().map(VolumeInstanceBackupSchedule).collect())
    }

    async fn workflow_status(&self, ctx: &Context<'_>, workflow_id: String) -> Result<WorkflowResult> {
        let request = request(ctx);
        request.who.known()?;
        let world = request.world();
        let row = world.workflows.get(&workflow_id);
        let row = row.filter(|row| request.who.environment(&world, &row.environment_id).is_ok());
        let status = match row {
            None => WorkflowStatus::NotFound,
            Some(row) if request.core.clock.now() < row.due_tick => WorkflowStatus::Running,
            Some(row) if row.error.is_some() => WorkflowStatus::Error,
            Some(_) => WorkflowStatus::Complete,
        };
        let error = row.and_then(|row| row.error.clone()).filter(|_| status == WorkflowStatus::Error);
        Ok(WorkflowResult { error, status })
    }
}

#[derive(InputObject)]
struct VolumeCreateInput {
    environment_id: Option<String>,
    mount_path: String,
    project_id: String,
    region: Option<String>,
    service_id: Option<String>,
}

#[derive(InputObject)]
struct VolumeUpdateInput {
    name: Option<String>,
}

#[derive(InputObject)]
struct VolumeInstanceUpdateInput {
    mount_path: Option<String>,
    service_id: MaybeUndefined<String>,
    state: Option<VolumeState>,
}

/// Where a volume instance lives.
fn place(request: &Request, instance: &str) -> Option<String> {
    request.world().volume_instances.get(instance).map(|row| row.environment_id.clone())
}

fn volume(request: &Request, id: &str) -> Result<Volume> {
    let row = request.world().volumes.get(id).cloned();
    Ok(row.map(Volume).ok_or_else(|| Refusal::not_found("Volume"))?)
}

fn work(ctx: &Context<'_>, instance: &str, work: Work) -> Result<WorkflowId> {
    let request = request(ctx);
    let place = place(request, instance);
    let id = request
        .mutate(place.as_deref(), |draft, who, settings| ops::work(draft, who, settings, instance, work))?;
    Ok(WorkflowId { workflow_id: Some(id) })
}

/// Writes.
#[derive(Default)]
pub(crate) struct VolumeWrites;

#[Object]
impl VolumeWrites {
    async fn volume_create(&self, ctx: &Context<'_>, input: VolumeCreateInput) -> Result<Volume> {
        let request = request(ctx);
        let new = ops::NewVolume {
            project_id: input.project_id,
            environment_id: input.environment_id,
            service_id: input.service_id,
            mount_path: input.mount_path,
            region: input.region,
        };
        let id = request.mutate(new.environment_id.as_deref(), |draft, who, settings| {
            ops::create(draft, who, settings, &new)
        })?;
        volume(request, &id)
    }

    async fn volume_update(
        &self,
        ctx: &Context<'_>,
        input: VolumeUpdateInput,
        volume_id: String,
    ) -> Result<Volume> {
        let request = request(ctx);
        request
            .mutate(None, |draft, who, settings| ops::rename(draft, who, settings, &volume_id, input.name))?;
        volume(request, &volume_id)
    }

    async fn volume_instance_update(
        &self,
        ctx: &Context<'_>,
        environment_id: Option<String>,
        input: VolumeInstanceUpdateInput,
        volume_id: String,
    ) -> Result<bool> {
        if input.state.is_some() {
            return Err(Refusal::input("The sandbox works out the state of a volume by itself").into());
        }
        let service = optional(input.service_id);
        request(ctx).mutate(environment_id.as_deref(), |draft, who, _| {
            let service = service.as_ref().map(Option::as_deref);
            let path = input.mount_path.as_deref();
            ops::update_instance(draft, who, &volume_id, environment_id.as_deref(), path, service)
        })?;
        Ok(true)
    }

    async fn volume_delete(&self, ctx: &Context<'_>, volume_id: String) -> Result<bool> {
        let request = request(ctx);
        for row in request.world().volume_instances.iter().filter(|row| row.volume_id == volume_id) {
            request.touch(&row.environment_id);
        }
        request.mutate(None, |draft, who, _| ops::delete(draft, who, &volume_id))?;
        Ok(true)
    }

    async fn volume_instance_backup_create(
        &self,
        ctx: &Context<'_>,
        name: Option<String>,
        volume_instance_id: String,
    ) -> Result<WorkflowId> {
        work(ctx, &volume_instance_id, Work::Create(name))
    }

    /// There is one service to a volume here, so the lists of services change nothing.
    async fn volume_instance_backup_restore(
        &self,
        ctx: &Context<'_>,
        replica_service_ids: Option<Vec<String>>,
        volume_instance_backup_id: String,
        volume_instance_id: String,
        wipe_service_ids: Option<Vec<String>>,
    ) -> Result<WorkflowId> {
        let _ = (replica_service_ids, wipe_service_ids);
        work(ctx, &volume_instance_id, Work::Restore(volume_instance_backup_id))
    }

    async fn volume_instance_backup_delete(
        &self,
        ctx: &Context<'_>,
        volume_instance_backup_id: String,
        volume_instance_id: String,
    ) -> Result<WorkflowId> {
        work(ctx, &volume_instance_id, Work::Delete(volume_instance_backup_id))
    }

    /// The backup loses its end.
    async fn volume_instance_backup_lock(
        &self,
        ctx: &Context<'_>,
        volume_instance_backup_id: String,
        volume_instance_id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        request.mutate(place(request, &volume_instance_id).as_deref(), |draft, who, _| {
            backup_schedules::lock(draft, who, &volume_instance_id, &volume_instance_backup_id)
        })?;
        Ok(true)
    }

    /// The kinds are the whole new set.
    async fn volume_instance_backup_schedule_update(
        &self,
        ctx: &Context<'_>,
        kinds: Vec<VolumeInstanceBackupScheduleKind>,
        volume_instance_id: String,
    ) -> Result<bool> {
        let request = request(ctx);
        let kinds = kinds.into_iter().map(Into::into).collect();
        request.mutate(place(request, &volume_instance_id).as_deref(), |draft, who, _| {
            backup_schedules::update(draft, who, &volume_instance_id, &kinds)
        })?;
        Ok(true)
    }
}
