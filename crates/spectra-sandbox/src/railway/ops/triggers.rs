//! Deployment triggers. Connecting a repository makes one; switching to an image leaves it behind, as on the
//! platform, until somebody deletes it or disconnects the service.

use std::sync::Arc;

use crate::core::Draft;
use crate::railway::auth::{Identity, found};
use crate::railway::ops::{Place, audit, born, deployments, new_id};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::Trigger;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewTrigger {
    pub(crate) project_id: String,
    pub(crate) environment_id: String,
    pub(crate) service_id: String,
    pub(crate) provider: String,
    pub(crate) repository: String,
    pub(crate) branch: String,
    pub(crate) root_directory: Option<String>,
    pub(crate) check_suites: bool,
}

/// A partial update; what is absent stays.
#[derive(Debug, Default)]
pub(crate) struct TriggerChange {
    pub(crate) repository: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) root_directory: Option<String>,
    pub(crate) check_suites: Option<bool>,
}

/// The only provider there is.
const PROVIDER: &str = "github";
/// The branch of a repository that was connected without one.
const BRANCH: &str = "main";

/// Triggers of a service in an environment, oldest first.
pub(crate) fn of(world: &World, environment: &str, service: &str) -> Vec<Arc<Trigger>> {
    let mut rows: Vec<_> = world
        .triggers
        .iter()
        .filter(|row| row.environment_id == environment && row.service_id == service)
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
    rows
}

fn check(repository: Option<&str>, branch: Option<&str>) -> Result<(), Refusal> {
    let named = |text: &str| text.split('/').filter(|part| !part.trim().is_empty()).count() == 2;
    if let Some(repository) = repository.filter(|text| !named(text)) {
        return Err(Refusal::input(format!("Invalid repository \"{repository}\": use owner/name")));
    }
    if branch.is_some_and(|branch| branch.trim().is_empty()) {
        return Err(Refusal::input("Invalid branch: must not be empty"));
    }
    Ok(())
}

fn insert(draft: &mut Draft, new: NewTrigger) -> String {
    let id = new_id();
    let times = born(draft);
    draft.world.triggers.insert(
        &id,
        Trigger {
            id: id.clone(),
            project_id: new.project_id,
            environment_id: new.environment_id,
            service_id: new.service_id,
            provider: new.provider,
            repository: new.repository,
            branch: new.branch,
            root_directory: new.root_directory,
            check_suites: new.check_suites,
            times,
        },
    );
    id
}

/// Brings the triggers in line with a source that has just changed: a repository gets its trigger, no source at
/// all loses them, and an image leaves them as they are.
pub(crate) fn follow(draft: &mut Draft, environment: &str, service: &str) {
    let Some(instance) = draft.world.instance(environment, service).cloned() else { return };
    let rows = of(&draft.world, environment, service);
    let Some(repository) = &instance.repo else {
        if instance.image.is_none() {
            remove_of(draft, environment, service);
        }
        return;
    };
    if let Some(old) = rows.first() {
        let branch = instance.branch.clone().unwrap_or_else(|| old.branch.clone());
        if old.repository == *repository && old.branch == branch {
            return;
        }
        let stamp = draft.stamp;
        if let Some(row) = draft.world.triggers.get_mut(&old.id) {
            row.repository.clone_from(repository);
            row.branch = branch;
            row.times.updated_at = stamp;
        }
        return;
    }
    insert(
        draft,
        NewTrigger {
            project_id: instance.project_id.clone(),
            environment_id: environment.to_owned(),
            service_id: service.to_owned(),
            provider: PROVIDER.to_owned(),
            repository: repository.clone(),
            branch: instance.branch.clone().unwrap_or_else(|| BRANCH.to_owned()),
            root_directory: None,
            check_suites: false,
        },
    );
}

/// Takes the triggers of an instance away.
pub(crate) fn remove_of(draft: &mut Draft, environment: &str, service: &str) {
    for row in of(&draft.world, environment, service) {
        draft.world.triggers.remove(&row.id);
    }
}

fn reach(world: &World, who: &Identity, id: &str) -> Result<Arc<Trigger>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.triggers.get(id), "DeploymentTrigger", |_| true)?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

/// Refuses an instance that does not exist, is out of reach, or belongs to another project.
pub(crate) fn check_place(
    world: &World,
    who: &Identity,
    project: &str,
    environment: &str,
    service: &str,
) -> Result<(), Refusal> {
    let row = who.instance(world, environment, service)?;
    if row.project_id == project { Ok(()) } else { Err(Refusal::not_authorized()) }
}

/// Returns the id of the new trigger.
pub(crate) fn create(draft: &mut Draft, who: &Identity, new: NewTrigger) -> Result<String, Refusal> {
    check_place(&draft.world, who, &new.project_id, &new.environment_id, &new.service_id)?;
    if new.provider != PROVIDER {
        return Err(Refusal::input(format!("Invalid provider \"{}\": use \"{PROVIDER}\"", new.provider)));
    }
    check(Some(&new.repository), Some(&new.branch))?;
    let same = |row: &Arc<Trigger>| row.repository == new.repository && row.branch == new.branch;
    if of(&draft.world, &new.environment_id, &new.service_id).iter().any(same) {
        return Err(Refusal::internal("A deployment trigger for this branch already exists"));
    }
    let (project, environment) = (new.project_id.clone(), new.environment_id.clone());
    let id = insert(draft, new);
    let place = Place { project: Some(&project), environment: Some(&environment) };
    audit(draft, who, "deployment_trigger", "create", &id, place);
    Ok(id)
}

pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    id: &str,
    change: TriggerChange,
) -> Result<(), Refusal> {
    let old = reach(&draft.world, who, id)?;
    check(change.repository.as_deref(), change.branch.as_deref())?;
    let stamp = draft.stamp;
    if let Some(row) = draft.world.triggers.get_mut(id) {
        row.repository = change.repository.unwrap_or_else(|| old.repository.clone());
        row.branch = change.branch.unwrap_or_else(|| old.branch.clone());
        row.check_suites = change.check_suites.unwrap_or(old.check_suites);
        if change.root_directory.is_some() {
            row.root_directory = change.root_directory;
        }
        row.times.updated_at = stamp;
    }
    let place = Place { project: Some(&old.project_id), environment: Some(&old.environment_id) };
    audit(draft, who, "deployment_trigger", "update", id, place);
    Ok(())
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "deployment_trigger", "delete", id, place);
    draft.world.triggers.remove(id);
    Ok(())
}

/// Deploys what the triggers of a service stand for: their repository, whatever the service's source is now.
pub(crate) fn deploy(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    project: &str,
    environment: &str,
    service: &str,
) -> Result<(), Refusal> {
    check_place(&draft.world, who, project, environment, service)?;
    let rows = of(&draft.world, environment, service);
    if rows.is_empty() {
        return Err(Refusal::not_found("DeploymentTrigger"));
    }
    for row in rows {
        deployments::create_from_repository(draft, who, settings, &row)?;
        let place = Place { project: Some(project), environment: Some(environment) };
        audit(draft, who, "deployment_trigger", "deploy", &row.id, place);
    }
    Ok(())
}

/// Whether pushes deploy a service, whether they could, and why not.
pub(crate) fn auto_deploy(
    world: &World,
    environment: &str,
    service: &str,
) -> (bool, bool, Option<&'static str>) {
    let enabled = !of(world, environment, service).is_empty();
    let connected = world.instance(environment, service).is_some_and(|row| row.repo.is_some());
    let reason = match (connected, enabled) {
        (true, _) => None,
        (false, true) => {
            Some("The service is not connected to a repository any more; its trigger was left behind")
        }
        (false, false) => Some("The service is not connected to a repository"),
    };
    (connected, enabled, reason)
}

/// Turns deploying on push on (which needs a repository) or off.
pub(crate) fn set_auto_deploy(
    draft: &mut Draft,
    who: &Identity,
    project: &str,
    environment: &str,
    service: &str,
    enabled: bool,
) -> Result<(), Refusal> {
    check_place(&draft.world, who, project, environment, service)?;
    if enabled {
        let (connected, already, reason) = auto_deploy(&draft.world, environment, service);
        if !connected {
            return Err(Refusal::input(reason.unwrap_or("The service is not connected to a repository")));
        }
        if !already {
            follow(draft, environment, service);
        }
    } else {
        remove_of(draft, environment, service);
    }
    let place = Place { project: Some(project), environment: Some(environment) };
    audit(draft, who, "service_instance", "auto_deploy", service, place);
    Ok(())
}
