//! Services: identities that span the environments of a project.

use std::collections::BTreeMap;

use crate::core::Draft;
use crate::railway::auth::Identity;
use crate::railway::ops::{Place, audit, born, deployments, instances, new_id, triggers, variables};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::{Cause, Credentials, Instance, Service, instance_key};

#[derive(Debug, Default)]
pub(crate) struct NewService {
    pub(crate) project_id: String,
    pub(crate) name: Option<String>,
    pub(crate) environment_id: Option<String>,
    pub(crate) icon: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) repo: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) variables: BTreeMap<String, String>,
}

/// Refuses a name that cannot be, or that another service of the project has.
pub(crate) fn check_name(
    world: &World,
    project: &str,
    name: &str,
    except: Option<&str>,
) -> Result<(), Refusal> {
    if name.trim().is_empty() || name.chars().count() > 32 {
        return Err(Refusal::input("Invalid service name: use 1 to 32 characters"));
    }
    let taken = world.services.iter().any(|row| {
        row.project_id == project && row.times.live() && row.name == name && except != Some(row.id.as_str())
    });
    if taken {
        return Err(Refusal::internal(format!("A service named \"{name}\" already exists in this project")));
    }
    Ok(())
}

/// `environment_id` counts only when that environment is a fork; otherwise the service appears in every root.
pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    input: NewService,
) -> Result<String, Refusal> {
    who.project(&draft.world, &input.project_id)?;
    if input.environment_id.as_deref() == Some("") {
        return Err(Refusal::not_found("Environment"));
    }
    let asked = match &input.environment_id {
        Some(id) => Some(who.environment(&draft.world, id)?),
        None => None,
    };
    if asked.as_ref().is_some_and(|row| row.project_id != input.project_id) {
        return Err(Refusal::not_found("Environment"));
    }
    let id = new_id();
    let name = input.name.unwrap_or_else(|| format!("service-{}", &id[..8]));
    check_name(&draft.world, &input.project_id, &name, None)?;
    if let Some(image) = &input.image {
        instances::check_image(image)?;
    }
    let times = born(draft);
    draft.world.services.insert(
        &id,
        Service { id: id.clone(), project_id: input.project_id.clone(), name, icon: input.icon, times },
    );
    let targets: Vec<String> = match asked {
        Some(row) if row.source_id.is_some() => vec![row.id.clone()],
        _ => draft
            .world
            .environments
            .iter()
            .filter(|row| row.project_id == input.project_id && row.times.live() && row.source_id.is_none())
            .filter(|row| !row.ephemeral)
            .map(|row| row.id.clone())
            .collect(),
    };
    for environment in &targets {
        let mut instance = Instance::blank(&input.project_id, environment, &id, times);
        instance.image.clone_from(&input.image);
        instance.repo.clone_from(&input.repo);
        instance.branch.clone_from(&input.branch);
        instance.has_credentials = input.credentials.is_some();
        let key = instance_key(environment, &id);
        draft.world.instances.insert(&key, instance);
        triggers::follow(draft, environment, &id);
        if let Some(credentials) = &input.credentials {
            draft.world.credentials.insert(&key, credentials.clone());
        }
        if !input.variables.is_empty() {
            variables::write(draft, environment, Some(&id), &input.variables);
        }
        if input.image.is_some() || input.repo.is_some() {
            deployments::create(draft, who, settings, environment, &id, Cause::Deploy)?;
        }
        let place = Place { project: Some(&input.project_id), environment: Some(environment) };
        audit(draft, who, "service", "create", &id, place);
    }
    Ok(id)
}

pub(crate) fn update(
    draft: &mut Draft,
    who: &Identity,
    id: &str,
    name: Option<String>,
    icon: Option<Option<String>>,
) -> Result<(), Refusal> {
    let row = who.service(&draft.world, id)?;
    if let Some(name) = &name {
        check_name(&draft.world, &row.project_id, name, Some(id))?;
    }
    let stamp = draft.stamp;
    if let Some(row) = draft.world.services.get_mut(id) {
        if let Some(name) = name {
            row.name = name;
        }
        if let Some(icon) = icon {
            row.icon = icon;
        }
        row.times.updated_at = stamp;
    }
    audit(draft, who, "service", "update", id, Place { project: Some(&row.project_id), environment: None });
    Ok(())
}

/// With an environment only that instance goes; without, the service goes everywhere.
pub(crate) fn delete(
    draft: &mut Draft,
    who: &Identity,
    id: &str,
    environment: Option<&str>,
) -> Result<(), Refusal> {
    let row = who.service(&draft.world, id)?;
    if let Some(environment) = environment {
        who.instance(&draft.world, environment, id)?;
        instances::remove(draft, environment, id);
        let place = Place { project: Some(&row.project_id), environment: Some(environment) };
        audit(draft, who, "service", "delete", id, place);
        return Ok(());
    }
    who.admin()?;
    let environments: Vec<_> = draft
        .world
        .instances
        .iter()
        .filter(|instance| instance.service_id == id && instance.times.live())
        .map(|instance| instance.environment_id.clone())
        .collect();
    for environment in &environments {
        instances::remove(draft, environment, id);
        let place = Place { project: Some(&row.project_id), environment: Some(environment) };
        audit(draft, who, "service", "delete", id, place);
    }
    if environments.is_empty() {
        audit(
            draft,
            who,
            "service",
            "delete",
            id,
            Place { project: Some(&row.project_id), environment: None },
        );
    }
    let stamp = draft.stamp;
    if let Some(row) = draft.world.services.get_mut(id) {
        row.times.deleted_at = Some(stamp);
    }
    Ok(())
}

/// Where a service takes its content from; nothing at all disconnects it.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) image: Option<String>,
    pub(crate) repo: Option<String>,
    pub(crate) branch: Option<String>,
}

/// Not environment-aware: every instance takes the source and deploys. Account and workspace tokens only.
pub(crate) fn connect(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
    source: &Source,
) -> Result<(), Refusal> {
    who.admin()?;
    let row = who.service(&draft.world, id)?;
    if let Some(image) = &source.image {
        instances::check_image(image)?;
    }
    let environments: Vec<_> = draft
        .world
        .instances
        .iter()
        .filter(|instance| instance.service_id == id && instance.times.live())
        .map(|instance| instance.environment_id.clone())
        .collect();
    if environments.is_empty() {
        return Err(Refusal::not_found("ServiceInstance"));
    }
    let connects = source.image.is_some() || source.repo.is_some();
    for environment in environments {
        if let Some(instance) = draft.world.instances.get_mut(&instance_key(&environment, id)) {
            instance.image.clone_from(&source.image);
            instance.repo.clone_from(&source.repo);
            instance.branch.clone_from(&source.branch);
        }
        triggers::follow(draft, &environment, id);
        if connects {
            deployments::create(draft, who, settings, &environment, id, Cause::Deploy)?;
        }
        let place = Place { project: Some(&row.project_id), environment: Some(&environment) };
        audit(draft, who, "service", if connects { "connect" } else { "disconnect" }, id, place);
    }
    Ok(())
}
