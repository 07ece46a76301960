//! Environments: roots, forks, and what goes with them.

use serde_json::Value;

use crate::core::{Draft, Effect};
use crate::railway::auth::Identity;
use crate::railway::ops::{
    Place, audit, born, config, deployments, instances, new_id, patches, private_networks, triggers, volumes,
};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::rows::{Cause, Environment, VariableSet, instance_key, variables_key};

#[derive(Debug, Default)]
pub(crate) struct NewEnvironment {
    pub(crate) name: String,
    pub(crate) project_id: String,
    pub(crate) source_id: Option<String>,
    pub(crate) ephemeral: bool,
    pub(crate) skip_initial_deploys: bool,
    pub(crate) stage_initial_changes: bool,
}

fn check_name(draft: &Draft, project: &str, name: &str, except: Option<&str>) -> Result<(), Refusal> {
    if name.trim().is_empty() || name.chars().count() > 32 {
        return Err(Refusal::input("Invalid environment name"));
    }
    let taken = draft.world.environments.iter().any(|row| {
        row.project_id == project && row.times.live() && row.name == name && except != Some(row.id.as_str())
    });
    if taken {
        return Err(Refusal::internal(format!(
            "An environment named \"{name}\" already exists in this project"
        )));
    }
    Ok(())
}

pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    input: &NewEnvironment,
) -> Result<String, Refusal> {
    who.admin()?;
    who.project(&draft.world, &input.project_id)?;
    let source = match &input.source_id {
        None => None,
        Some(source) => {
            let row = who.environment(&draft.world, source)?;
            if row.project_id != input.project_id {
                return Err(Refusal::not_found("Environment"));
            }
            Some(row)
        }
    };
    check_name(draft, &input.project_id, &input.name, None)?;
    let cooldown = u64::try_from(settings.environment_cooldown.get().as_millis()).unwrap_or(u64::MAX);
    let tick = draft.tick;
    if draft.meta().last_environment_tick.is_some_and(|last| tick < last.saturating_add(cooldown)) {
        return Err(Refusal::internal(
            "Whoa there pal! You are creating environments too quickly. Only one environment can be created per user every 30s. This workspace allows 1 environment per 30 seconds.",
        ));
    }
    draft.meta().last_environment_tick = Some(tick);
    let id = new_id();
    let times = born(draft);
    draft.world.environments.insert(
        &id,
        Environment {
            id: id.clone(),
            project_id: input.project_id.clone(),
            name: input.name.clone(),
            source_id: source.as_ref().map(|row| row.id.clone()),
            ephemeral: input.ephemeral,
            generation: 1,
            times,
        },
    );
    if let Some(source) = source {
        if input.stage_initial_changes {
            let mut document = config::export(&draft.world, &source.id, config::Values::Plain);
            if let Some(services) = document.get_mut("services").and_then(Value::as_object_mut) {
                for service in services.values_mut().filter_map(Value::as_object_mut) {
                    service.insert("isCreated".to_owned(), Value::Bool(true));
                }
            }
            patches::put_staged(draft, who, &id, document);
        } else {
            copy(draft, who, settings, &source.id, &id, input.skip_initial_deploys)?;
        }
    }
    audit(
        draft,
        who,
        "environment",
        "create",
        &id,
        Place { project: Some(&input.project_id), environment: Some(&id) },
    );
    Ok(id)
}

/// A fork takes instances, variables and (empty) volumes; sealed variables and domains stay behind.
fn copy(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    from: &str,
    to: &str,
    skip_deploys: bool,
) -> Result<(), Refusal> {
    let times = born(draft);
    let sets: Vec<_> =
        draft.world.variables.iter().filter(|set| set.environment_id == from).cloned().collect();
    for set in sets {
        let mut variables = set.variables.clone();
        variables.retain(|_, variable| !variable.sealed);
        let copy =
            VariableSet { environment_id: to.to_owned(), service_id: set.service_id.clone(), variables };
        draft.world.variables.insert(&variables_key(to, set.service_id.as_deref()), copy);
    }
    volumes::copy(draft, from, to);
    let rows: Vec<_> = draft
        .world
        .instances
        .iter()
        .filter(|row| row.environment_id == from && row.times.live())
        .cloned()
        .collect();
    for row in rows {
        let mut instance = (*row).clone();
        instance.id = new_id();
        to.clone_into(&mut instance.environment_id);
        instance.times = times;
        let service = instance.service_id.clone();
        let key = instance_key(to, &service);
        if let Some(credentials) = draft.world.credentials.get(&instance_key(from, &service)).cloned() {
            draft.world.credentials.insert(&key, (*credentials).clone());
        }
        let deployable = instance.image.is_some() || instance.repo.is_some();
        draft.world.instances.insert(&key, instance);
        triggers::follow(draft, to, &service);
        if deployable && !skip_deploys {
            deployments::create(draft, who, settings, to, &service, Cause::Deploy)?;
        }
    }
    Ok(())
}

pub(crate) fn rename(draft: &mut Draft, who: &Identity, id: &str, name: &str) -> Result<(), Refusal> {
    who.admin()?;
    let row = who.environment(&draft.world, id)?;
    check_name(draft, &row.project_id, name, Some(id))?;
    if let Some(row) = draft.world.environments.get_mut(id) {
        name.clone_into(&mut row.name);
    }
    audit(
        draft,
        who,
        "environment",
        "rename",
        id,
        Place { project: Some(&row.project_id), environment: Some(id) },
    );
    Ok(())
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    who.admin()?;
    let row = who.environment(&draft.world, id)?;
    remove(draft, id);
    audit(
        draft,
        who,
        "environment",
        "delete",
        id,
        Place { project: Some(&row.project_id), environment: Some(id) },
    );
    Ok(())
}

/// Takes an environment and all that lives in it away.
pub(crate) fn remove(draft: &mut Draft, id: &str) {
    let services: Vec<_> = draft
        .world
        .instances
        .iter()
        .filter(|row| row.environment_id == id && row.times.live())
        .map(|row| row.service_id.clone())
        .collect();
    for service in services {
        instances::remove(draft, id, &service);
    }
    private_networks::remove_environment(draft, id);
    volumes::remove_environment(draft, id);
    draft.world.variables.remove(&variables_key(id, None));
    let tokens: Vec<_> =
        draft.world.tokens.iter().filter(|row| row.environment_id == id).map(|row| row.id.clone()).collect();
    for token in tokens {
        draft.world.tokens.remove(&token);
    }
    let staged: Vec<_> =
        draft.world.patches.iter().filter(|row| row.environment_id == id).map(|row| row.id.clone()).collect();
    for patch in staged {
        draft.world.patches.remove(&patch);
    }
    let sets: Vec<_> = draft
        .world
        .change_sets
        .iter()
        .filter(|row| row.environment_id == id)
        .map(|row| row.id.clone())
        .collect();
    for set in sets {
        draft.world.change_sets.remove(&set);
    }
    let stamp = draft.stamp;
    if let Some(row) = draft.world.environments.get_mut(id) {
        row.times.deleted_at = Some(stamp);
    }
    draft.effects.push(Effect::Routes(id.to_owned(), String::new()));
}
