//! Projects.

use std::sync::Arc;

use crate::core::{Core, Draft, Effect};
use crate::railway::auth::Identity;
use crate::railway::ops::{Place, activity, audit, born, environments, new_id, notifications, volumes};
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::World;
use crate::store::rows::{Deletion, Environment, Project};

#[derive(Debug, Default)]
pub(crate) struct NewProject {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) default_environment_name: Option<String>,
    pub(crate) is_public: bool,
    pub(crate) pr_deploys: bool,
    pub(crate) workspace_id: Option<String>,
}

pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    input: NewProject,
) -> Result<String, Refusal> {
    who.admin()?;
    let workspace = draft.meta().workspace_id.clone();
    if input.workspace_id.as_ref().is_some_and(|id| *id != workspace) {
        return Err(Refusal::not_authorized());
    }
    let id = new_id();
    let name = input.name.map_or_else(|| format!("sandbox-{}", &id[..8]), |name| name.trim().to_owned());
    if name.is_empty() || name.chars().count() > 50 {
        return Err(Refusal::input("Invalid project name"));
    }
    let cooldown = u64::try_from(settings.project_cooldown.get().as_millis()).unwrap_or(u64::MAX);
    let tick = draft.tick;
    if draft.meta().last_project_tick.is_some_and(|last| tick < last.saturating_add(cooldown)) {
        return Err(Refusal::internal(
            "You are creating projects too quickly. This workspace allows 1 project per 30 seconds.",
        ));
    }
    draft.meta().last_project_tick = Some(tick);
    let environment_id = new_id();
    let times = born(draft);
    draft.world.projects.insert(
        &id,
        Project {
            id: id.clone(),
            name,
            description: input.description,
            workspace_id: workspace,
            is_public: input.is_public,
            pr_deploys: input.pr_deploys,
            bot_pr_environments: false,
            focused_pr_environments: false,
            base_environment_id: Some(environment_id.clone()),
            temporary: input.workspace_id.is_none(),
            deletion: None,
            times,
        },
    );
    let name = input.default_environment_name.filter(|name| !name.trim().is_empty());
    draft.world.environments.insert(
        &environment_id,
        Environment {
            id: environment_id.clone(),
            project_id: id.clone(),
            name: name.unwrap_or_else(|| "production".to_owned()),
            source_id: None,
            ephemeral: false,
            generation: 1,
            times,
        },
    );
    audit(
        draft,
        who,
        "project",
        "create",
        &id,
        Place { project: Some(&id), environment: Some(&environment_id) },
    );
    Ok(id)
}

#[derive(Debug, Default)]
pub(crate) struct ProjectChange {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<Option<String>>,
    pub(crate) is_public: Option<bool>,
    pub(crate) pr_deploys: Option<bool>,
    pub(crate) bot_pr_environments: Option<bool>,
    pub(crate) focused_pr_environments: Option<bool>,
    pub(crate) base_environment_id: Option<Option<String>>,
}

pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    id: &str,
    change: ProjectChange,
) -> Result<(), Refusal> {
    who.admin()?;
    who.project(&draft.world, id)?;
    if change.name.as_ref().is_some_and(|name| name.trim().is_empty() || name.chars().count() > 50) {
        return Err(Refusal::input("Invalid project name"));
    }
    if let Some(Some(base)) = &change.base_environment_id {
        who.environment(&draft.world, base)?;
    }
    let stamp = draft.stamp;
    if let Some(row) = draft.world.projects.get_mut(id) {
        if let Some(name) = change.name {
            row.name = name;
        }
        if let Some(description) = change.description {
            row.description = description;
        }
        if let Some(base) = change.base_environment_id {
            row.base_environment_id = base;
        }
        row.is_public = change.is_public.unwrap_or(row.is_public);
        row.pr_deploys = change.pr_deploys.unwrap_or(row.pr_deploys);
        row.bot_pr_environments = change.bot_pr_environments.unwrap_or(row.bot_pr_environments);
        row.focused_pr_environments = change.focused_pr_environments.unwrap_or(row.focused_pr_environments);
        row.times.updated_at = stamp;
    }
    audit(draft, who, "project", "update", id, Place { project: Some(id), environment: None });
    Ok(())
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    who.admin()?;
    who.project(&draft.world, id)?;
    remove(draft, id);
    audit(draft, who, "project", "delete", id, Place { project: Some(id), environment: None });
    Ok(())
}

/// Takes a project and all that lives in it away.
fn remove(draft: &mut Draft, id: &str) {
    let environments: Vec<_> = draft
        .world
        .environments
        .iter()
        .filter(|row| row.project_id == id && row.times.live())
        .map(|row| row.id.clone())
        .collect();
    for environment in environments {
        environments::remove(draft, &environment);
    }
    volumes::remove_project(draft, id);
    notifications::remove_project(draft, id);
    let stamp = draft.stamp;
    let services: Vec<_> =
        draft.world.services.iter().filter(|row| row.project_id == id).map(|row| row.id.clone()).collect();
    for service in services {
        if let Some(row) = draft.world.services.get_mut(&service) {
            row.times.deleted_at.get_or_insert(stamp);
        }
    }
    if let Some(row) = draft.world.projects.get_mut(id) {
        row.times.deleted_at = Some(stamp);
    }
}

/// Deletes the project when the grace is over, unless somebody cancels that. Asking twice does not begin anew.
pub(crate) fn schedule_delete(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
) -> Result<(), Refusal> {
    who.admin()?;
    let project = who.project(&draft.world, id)?;
    if project.deletion.is_some() {
        return Err(Refusal::internal("Project is already scheduled for deletion"));
    }
    let deletion = Deletion {
        asked_at: draft.stamp,
        due_tick: draft.tick.saturating_add(ticks(settings.project_delete_grace)),
    };
    set_deletion(draft, id, Some(deletion));
    draft.effects.push(Effect::ProjectDeletion(id.to_owned()));
    audit(draft, who, "project", "schedule_delete", id, Place { project: Some(id), environment: None });
    Ok(())
}

/// Takes a scheduled deletion back.
pub(crate) fn schedule_delete_cancel(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    scheduled(draft, who, id)?;
    set_deletion(draft, id, None);
    let place = Place { project: Some(id), environment: None };
    audit(draft, who, "project", "schedule_delete_cancel", id, place);
    Ok(())
}

/// Does now what was scheduled for later.
pub(crate) fn schedule_delete_force(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    scheduled(draft, who, id)?;
    delete(draft, who, id)
}

fn scheduled(draft: &Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    who.admin()?;
    match who.project(&draft.world, id)?.deletion {
        Some(_) => Ok(()),
        None => Err(Refusal::internal("Project is not scheduled for deletion")),
    }
}

fn set_deletion(draft: &mut Draft, id: &str, deletion: Option<Deletion>) {
    let stamp = draft.stamp;
    if let Some(row) = draft.world.projects.get_mut(id) {
        row.deletion = deletion;
        row.times.updated_at = stamp;
    }
}

/// When a live project is to be deleted.
pub(crate) fn deletion_due(world: &World, id: &str) -> Option<u64> {
    Some(world.projects.get(id).filter(|row| row.times.live())?.deletion?.due_tick)
}

/// Deletes a project whose grace is over; one that was cancelled (and perhaps scheduled anew) in the meantime stays.
pub(crate) fn delete_due(core: &Arc<Core>, id: &str) {
    let done = core.mutate(|draft| {
        if deletion_due(&draft.world, id).is_some_and(|due| due <= draft.tick) {
            remove(draft, id);
            let place = Place { project: Some(id), environment: None };
            activity::write(draft, activity::Actor::platform(), "project", "delete", id, place);
        }
        Ok(())
    });
    if let Err(refusal) = done {
        tracing::error!(project = id, message = %refusal.message, "a scheduled deletion was not written");
    }
}
