//! Volumes, their instances and backups. No data is kept: a volume is its name, its places and its states.

use std::sync::Arc;

use crate::core::Draft;
use crate::railway::auth::{Identity, found};
use crate::railway::ops::instances::{DEFAULT_REGION, REGIONS};
use crate::railway::ops::{Place, audit, backup_schedules, born, label, new_id};
use crate::railway::refusal::Refusal;
use crate::settings::{PlanName, Settings, ticks};
use crate::store::World;
use crate::store::rows::{Instance, Volume, VolumeBackup, VolumeInstance, Workflow};

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewVolume {
    pub(crate) project_id: String,
    pub(crate) environment_id: Option<String>,
    pub(crate) service_id: Option<String>,
    pub(crate) mount_path: String,
    pub(crate) region: Option<String>,
}

fn check_mount(path: &str) -> Result<(), Refusal> {
    let fits = path.len() > 1 && path.starts_with('/') && !path.split('/').any(|part| part == "..");
    if fits { Ok(()) } else { Err(Refusal::input(format!("Invalid mount path \"{path}\""))) }
}

const fn size(plan: PlanName) -> i32 {
    match plan {
        PlanName::Free => 500,
        PlanName::Hobby => 5_000,
        PlanName::Pro | PlanName::Enterprise => 50_000,
    }
}

/// Whether a service has a volume in an environment.
pub(crate) fn is_mounted(world: &World, environment: &str, service: &str) -> bool {
    world.volume_instances.iter().any(|row| {
        row.times.live() && row.environment_id == environment && row.service_id.as_deref() == Some(service)
    })
}

/// One volume for a service in an environment, and none for a service with several replicas.
fn check_service(
    world: &World,
    who: &Identity,
    environment: &str,
    service: &str,
    except: Option<&str>,
) -> Result<(), Refusal> {
    let instance = who.instance(world, environment, service)?;
    let taken = world.volume_instances.iter().any(|row| {
        row.times.live()
            && row.environment_id == environment
            && row.service_id.as_deref() == Some(service)
            && except != Some(row.id.as_str())
    });
    if taken {
        return Err(Refusal::internal("Service already has a volume attached in this environment"));
    }
    if instance.placement().len() > 1 {
        return Err(Refusal::internal("A volume cannot be attached to a service with several replicas"));
    }
    Ok(())
}

/// The other way round: several replicas for no service with a volume.
pub(crate) fn check_replicas(world: &World, instance: &Instance) -> Result<(), Refusal> {
    let attached = world.volume_instances.iter().any(|row| {
        row.times.live()
            && row.environment_id == instance.environment_id
            && row.service_id.as_deref() == Some(instance.service_id.as_str())
    });
    if attached && instance.placement().len() > 1 {
        return Err(Refusal::internal("A service with a volume cannot have several replicas"));
    }
    Ok(())
}

fn taken(world: &World, project: &str, name: &str, except: Option<&str>) -> Result<(), Refusal> {
    let taken = world.volumes.iter().any(|row| {
        row.project_id == project && row.times.live() && row.name == name && except != Some(row.id.as_str())
    });
    if taken {
        return Err(Refusal::internal(format!("A volume named \"{name}\" already exists in this project")));
    }
    Ok(())
}

/// Without an environment the volume has no instance, whatever the schema promises.
pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    new: &NewVolume,
) -> Result<String, Refusal> {
    who.project(&draft.world, &new.project_id)?;
    check_mount(&new.mount_path)?;
    if let Some(id) = &new.environment_id
        && who.environment(&draft.world, id)?.project_id != new.project_id
    {
        return Err(Refusal::not_found("Environment"));
    }
    let mut base = "volume".to_owned();
    if let Some(id) = &new.service_id {
        let service = who.service(&draft.world, id)?;
        if service.project_id != new.project_id {
            return Err(Refusal::not_found("Service"));
        }
        base = format!("{}-volume", label(&service.name));
        if let Some(environment) = &new.environment_id {
            check_service(&draft.world, who, environment, id, None)?;
        }
    }
    let region = match &new.region {
        None => DEFAULT_REGION,
        Some(wanted) => {
            let known = REGIONS.iter().find(|(name, .., legacy)| name == wanted || legacy == wanted);
            known.ok_or_else(|| Refusal::input(format!("Invalid region \"{wanted}\"")))?.0
        }
    };
    let name =
        if settings.volume_names_collide { base } else { format!("{base}-{:04x}", rand::random::<u16>()) };
    taken(&draft.world, &new.project_id, &name, None)?;
    let tick = draft.tick;
    let cooldown = ticks(settings.volume_cooldown);
    if draft.meta().last_volume_tick.is_some_and(|last| tick < last.saturating_add(cooldown)) {
        return Err(Refusal::internal("Whoa there pal! You are creating volumes too quickly"));
    }
    draft.meta().last_volume_tick = Some(tick);
    let id = new_id();
    let times = born(draft);
    let row = Volume { id: id.clone(), project_id: new.project_id.clone(), name, deleted_tick: None, times };
    draft.world.volumes.insert(&id, row);
    if let Some(environment) = &new.environment_id {
        let instance = VolumeInstance {
            id: new_id(),
            volume_id: id.clone(),
            project_id: new.project_id.clone(),
            environment_id: environment.clone(),
            service_id: new.service_id.clone(),
            mount_path: new.mount_path.clone(),
            region: region.to_owned(),
            size_mb: size(settings.plan),
            updated_tick: tick,
            restoring_until: None,
            deleted_tick: None,
            times,
        };
        let key = instance.id.clone();
        draft.world.volume_instances.insert(&key, instance);
    }
    let place = Place { project: Some(&new.project_id), environment: new.environment_id.as_deref() };
    audit(draft, who, "volume", "create", &id, place);
    Ok(id)
}

/// The live volume `id`, if it is within reach.
fn reach(world: &World, who: &Identity, id: &str) -> Result<Arc<Volume>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.volumes.get(id), "Volume", |row| row.times.live())?;
    who.project(world, &row.project_id)?;
    Ok(row)
}

/// Live instances of a volume; every one must be within reach.
fn instances_of(world: &World, who: &Identity, volume: &str) -> Result<Vec<Arc<VolumeInstance>>, Refusal> {
    let rows: Vec<_> = world
        .volume_instances
        .iter()
        .filter(|row| row.volume_id == volume && row.times.live())
        .cloned()
        .collect();
    for row in &rows {
        who.environment(world, &row.environment_id)?;
    }
    Ok(rows)
}

pub(crate) fn rename(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
    name: Option<String>,
) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    let Some(name) = name else { return Ok(()) };
    if name.trim().is_empty() {
        return Err(Refusal::input("Invalid volume name"));
    }
    if draft.tick < row.times.created_tick.saturating_add(ticks(settings.volume_rename_delay)) {
        return Err(Refusal::internal("Failed to update volume, please try again"));
    }
    taken(&draft.world, &row.project_id, &name, Some(id))?;
    let stamp = draft.stamp;
    if let Some(row) = draft.world.volumes.get_mut(id) {
        row.name = name;
        row.times.updated_at = stamp;
    }
    audit(draft, who, "volume", "update", id, Place { project: Some(&row.project_id), environment: None });
    Ok(())
}

/// Without an environment every instance changes; a service of `Some(None)` detaches.
pub(crate) fn update_instance(
    draft: &mut Draft,
    who: &Identity,
    id: &str,
    environment: Option<&str>,
    mount_path: Option<&str>,
    service: Option<Option<&str>>,
) -> Result<(), Refusal> {
    let volume = reach(&draft.world, who, id)?;
    if let Some(path) = mount_path {
        check_mount(path)?;
    }
    let rows: Vec<_> = if let Some(environment) = environment {
        who.environment(&draft.world, environment)?;
        let live = |row: &&Arc<VolumeInstance>| row.volume_id == id && row.times.live();
        let all = draft.world.volume_instances.iter().filter(live);
        all.filter(|row| row.environment_id == environment).cloned().collect()
    } else {
        instances_of(&draft.world, who, id)?
    };
    if rows.is_empty() {
        return Err(Refusal::not_found("VolumeInstance"));
    }
    let (stamp, tick) = (draft.stamp, draft.tick);
    for row in rows {
        if let Some(Some(service)) = service {
            check_service(&draft.world, who, &row.environment_id, service, Some(&row.id))?;
        }
        if let Some(row) = draft.world.volume_instances.get_mut(&row.id) {
            if let Some(path) = mount_path {
                path.clone_into(&mut row.mount_path);
            }
            if let Some(service) = service {
                row.service_id = service.map(str::to_owned);
            }
            row.updated_tick = tick;
            row.times.updated_at = stamp;
        }
        let place = Place { project: Some(&volume.project_id), environment: Some(&row.environment_id) };
        audit(draft, who, "volume_instance", "update", &row.id, place);
    }
    Ok(())
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    for instance in instances_of(&draft.world, who, id)? {
        bury_instance(draft, &instance.id);
        let place = Place { project: Some(&row.project_id), environment: Some(&instance.environment_id) };
        audit(draft, who, "volume_instance", "delete", &instance.id, place);
    }
    bury(draft, id);
    audit(draft, who, "volume", "delete", id, Place { project: Some(&row.project_id), environment: None });
    Ok(())
}

fn bury(draft: &mut Draft, id: &str) {
    let (stamp, tick) = (draft.stamp, draft.tick);
    if let Some(row) = draft.world.volumes.get_mut(id) {
        row.times.deleted_at = Some(stamp);
        row.deleted_tick = Some(tick);
    }
}

fn bury_instance(draft: &mut Draft, id: &str) {
    backup_schedules::remove_of(draft, id);
    let (stamp, tick) = (draft.stamp, draft.tick);
    if let Some(row) = draft.world.volume_instances.get_mut(id) {
        row.times.deleted_at = Some(stamp);
        row.deleted_tick = Some(tick);
    }
}

fn live_ids(draft: &Draft, keep: impl Fn(&VolumeInstance) -> bool) -> Vec<String> {
    let live = draft.world.volume_instances.iter().filter(|row| row.times.live() && keep(row));
    live.map(|row| row.id.clone()).collect()
}

/// A service that goes leaves its volume behind, attached to nothing.
pub(crate) fn detach_of(draft: &mut Draft, environment: &str, service: &str) {
    let ids = live_ids(draft, |row| {
        row.environment_id == environment && row.service_id.as_deref() == Some(service)
    });
    for id in ids {
        if let Some(row) = draft.world.volume_instances.get_mut(&id) {
            row.service_id = None;
        }
    }
}

/// An environment takes its instances along.
pub(crate) fn remove_environment(draft: &mut Draft, environment: &str) {
    for id in live_ids(draft, |row| row.environment_id == environment) {
        bury_instance(draft, &id);
    }
}

/// A project takes its volumes along.
pub(crate) fn remove_project(draft: &mut Draft, project: &str) {
    let live = draft.world.volumes.iter().filter(|row| row.project_id == project && row.times.live());
    let ids: Vec<_> = live.map(|row| row.id.clone()).collect();
    for id in ids {
        bury(draft, &id);
    }
    for id in live_ids(draft, |row| row.project_id == project) {
        bury_instance(draft, &id);
    }
}

/// A fork gets its own, empty instance of every volume of its source.
pub(crate) fn copy(draft: &mut Draft, from: &str, to: &str) {
    let times = born(draft);
    for id in live_ids(draft, |row| row.environment_id == from) {
        let Some(row) = draft.world.volume_instances.get(&id) else { continue };
        let mut row = (**row).clone();
        row.id = new_id();
        to.clone_into(&mut row.environment_id);
        row.updated_tick = draft.tick;
        row.restoring_until = None;
        row.times = times;
        let key = row.id.clone();
        draft.world.volume_instances.insert(&key, row);
    }
}

/// The live instance `id`, if it is within reach.
pub(crate) fn reach_instance(
    world: &World,
    who: &Identity,
    id: &str,
) -> Result<Arc<VolumeInstance>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.volume_instances.get(id), "VolumeInstance", |row| row.times.live())?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

/// Backups that the list shows at `tick`, newest first.
pub(crate) fn backups(
    world: &World,
    who: &Identity,
    instance: &str,
    tick: u64,
) -> Result<Vec<Arc<VolumeBackup>>, Refusal> {
    reach_instance(world, who, instance)?;
    let shown = |row: &&Arc<VolumeBackup>| {
        row.volume_instance_id == instance
            && row.ready_tick <= tick
            && row.gone_tick.is_none_or(|gone| gone > tick)
            && row.expires_tick.is_none_or(|end| end > tick)
    };
    let mut rows: Vec<_> = world.backups.iter().filter(shown).cloned().collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.ready_tick, row.id.clone())));
    Ok(rows)
}

/// What a workflow does to backups when it ends well.
#[derive(Debug, Clone)]
pub(crate) enum Work {
    Create(Option<String>),
    Restore(String),
    Delete(String),
}

/// Starts a workflow on a volume instance; returns its id.
pub(crate) fn work(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    instance: &str,
    work: Work,
) -> Result<String, Refusal> {
    let row = reach_instance(&draft.world, who, instance)?;
    let tick = draft.tick;
    if let Work::Restore(backup) | Work::Delete(backup) = &work {
        let shown = backups(&draft.world, who, instance, tick)?;
        if !shown.iter().any(|row| row.id == *backup) {
            return Err(Refusal::not_found("VolumeInstanceBackup"));
        }
    }
    let due = tick.saturating_add(ticks(settings.workflow_duration));
    let succeeds = settings.workflow_error.is_none();
    let action = match &work {
        Work::Create(_) => "backup",
        Work::Restore(_) => "restore",
        Work::Delete(_) => "delete_backup",
    };
    match work {
        Work::Create(name) if succeeds => {
            let backup = VolumeBackup {
                id: new_id(),
                volume_instance_id: instance.to_owned(),
                name,
                creator: Some(who.actor()),
                size_mb: row.size_mb,
                ready_tick: due,
                gone_tick: None,
                schedule_id: None,
                expires_tick: None,
                expires_at: None,
                times: born(draft),
            };
            let key = backup.id.clone();
            draft.world.backups.insert(&key, backup);
        }
        Work::Delete(backup) if succeeds => {
            if let Some(row) = draft.world.backups.get_mut(&backup) {
                row.gone_tick = Some(due);
            }
        }
        // A restore that fails is under way all the same until it has failed.
        Work::Restore(_) => {
            if let Some(row) = draft.world.volume_instances.get_mut(instance) {
                row.restoring_until = Some(due);
            }
        }
        Work::Create(_) | Work::Delete(_) => {}
    }
    let id = new_id();
    let workflow = Workflow {
        id: id.clone(),
        environment_id: row.environment_id.clone(),
        due_tick: due,
        error: settings.workflow_error.clone(),
    };
    draft.world.workflows.insert(&id, workflow);
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "volume_instance", action, instance, place);
    Ok(id)
}
