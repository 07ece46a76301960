//! Staged changes and commits: `STAGED` → `APPLYING` → `COMMITTED`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::{Core, Draft, Effect};
use crate::railway::auth::Identity;
use crate::railway::ops::{Place, audit, born, change_sets, config, deployments, new_id, variables};
use crate::railway::refusal::Refusal;
use crate::settings::Settings;
use crate::store::World;
use crate::store::rows::{Cause, Patch, PatchStatus};

/// The staged patch of an environment; there is at most one.
pub(crate) fn staged(world: &World, environment: &str) -> Option<Arc<Patch>> {
    world
        .patches
        .iter()
        .find(|row| row.environment_id == environment && row.status == PatchStatus::Staged)
        .cloned()
}

/// How many things the staged patch changes.
pub(crate) fn unmerged(world: &World, environment: &str) -> i32 {
    let Some(patch) = staged(world, environment) else { return 0 };
    let services = patch.patch["services"].as_object().map_or(0, serde_json::Map::len);
    let shared = patch.patch["sharedVariables"].as_object().map_or(0, serde_json::Map::len);
    i32::try_from(services + shared).unwrap_or(i32::MAX)
}

/// Stages `input`, replacing or merging with what is staged; returns the patch id.
pub(crate) fn stage(
    draft: &mut Draft,
    who: &Identity,
    environment: &str,
    input: &Value,
    merge: bool,
) -> Result<String, Refusal> {
    let row = who.environment(&draft.world, environment)?;
    config::check(&draft.world, &row.project_id, input)?;
    let mut document = input.clone();
    if merge && let Some(old) = staged(&draft.world, environment) {
        let mut base = old.patch.clone();
        config::merge(&mut base, input);
        document = base;
    }
    let id = put_staged(draft, who, environment, document);
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "environment", "stage", &id, place);
    Ok(id)
}

/// Makes `document` the staged patch.
pub(crate) fn put_staged(draft: &mut Draft, who: &Identity, environment: &str, document: Value) -> String {
    let stamp = draft.stamp;
    if let Some(old) = staged(&draft.world, environment)
        && let Some(row) = draft.world.patches.get_mut(&old.id)
    {
        row.patch = document;
        row.times.updated_at = stamp;
        return old.id.clone();
    }
    let id = new_id();
    let times = born(draft);
    draft.world.patches.insert(
        &id,
        Patch {
            id: id.clone(),
            environment_id: environment.to_owned(),
            status: PatchStatus::Staged,
            patch: document,
            message: None,
            skip_deploys: false,
            was_staged: true,
            due_tick: None,
            applied_at: None,
            last_error: None,
            creator: Some(who.actor()),
            committer: None,
            times,
        },
    );
    id
}

/// Commits a patch directly. What is staged stays staged. The answer's last `/` segment is the patch id.
pub(crate) fn commit(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    patch: Option<&Value>,
    message: Option<String>,
) -> Result<String, Refusal> {
    let row = who.environment(&draft.world, environment)?;
    let patch = patch.cloned().unwrap_or_else(|| json!({}));
    config::check(&draft.world, &row.project_id, &patch)?;
    let id = enqueue(draft, who, settings, environment, patch, message);
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "environment", "commit", &id, place);
    Ok(format!("applyEnvironmentPatch/{environment}/{id}"))
}

/// Makes a checked patch that is applied when it is due; returns its id.
pub(crate) fn enqueue(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    patch: Value,
    message: Option<String>,
) -> String {
    let id = new_id();
    let times = born(draft);
    draft.world.patches.insert(
        &id,
        Patch {
            id: id.clone(),
            environment_id: environment.to_owned(),
            status: PatchStatus::Applying,
            patch,
            message,
            skip_deploys: false,
            was_staged: false,
            due_tick: Some(due(draft, settings)),
            applied_at: None,
            last_error: None,
            creator: Some(who.actor()),
            committer: Some(who.actor()),
            times,
        },
    );
    draft.effects.push(Effect::Patch(id.clone()));
    id
}

/// Whether a change of an instance by a patch starts a deployment.
pub(crate) fn deploys(world: &World, environment: &str, service: &str) -> bool {
    let first = world.deployments_of(environment, service).is_empty();
    let has_source =
        world.instance(environment, service).is_some_and(|row| row.image.is_some() || row.repo.is_some());
    first && has_source || variables::deployed(world, environment, service)
}

fn due(draft: &Draft, settings: &Settings) -> u64 {
    let delay = u64::try_from(settings.patch_apply_duration.get().as_millis()).unwrap_or(u64::MAX);
    draft.tick.saturating_add(delay)
}

/// Commits whatever is staged, whoever staged it.
pub(crate) fn commit_staged(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    message: Option<String>,
    skip_deploys: bool,
) -> Result<String, Refusal> {
    let row = who.environment(&draft.world, environment)?;
    let Some(patch) = staged(&draft.world, environment) else {
        return Err(Refusal::internal("No staged changes found"));
    };
    let due = due(draft, settings);
    if let Some(row) = draft.world.patches.get_mut(&patch.id) {
        row.status = PatchStatus::Applying;
        row.message = message;
        row.committer = Some(who.actor());
        row.last_error = None;
        row.skip_deploys = skip_deploys;
        row.due_tick = Some(due);
    }
    draft.effects.push(Effect::Patch(patch.id.clone()));
    let place = Place { project: Some(&row.project_id), environment: Some(environment) };
    audit(draft, who, "environment", "commit", &patch.id, place);
    Ok(format!("applyEnvironmentPatch/{environment}/{}", patch.id))
}

/// Applies a due patch: all of it and `COMMITTED`, or none of it and `lastAppliedError` (a patch that was staged
/// is staged again, one that was committed directly stays `APPLYING`). A patch that changes
/// nothing deploys nothing.
pub(crate) fn apply(core: &Arc<Core>, id: &str) {
    let settings = core.settings();
    let result = core.mutate(|draft| {
        let Some(patch) = draft.world.patches.get(id).cloned() else { return Ok(()) };
        if patch.status != PatchStatus::Applying {
            return Ok(());
        }
        // Older rows do not say who committed them.
        let actor = patch.committer.as_deref().and_then(|actor| Identity::of_actor(actor, &draft.world));
        let actor = actor.unwrap_or(Identity::Account);
        if let Some(error) = &settings.patch_error {
            return Err(Refusal::internal(error.clone()));
        }
        change_sets::make_services(draft, &patch)?;
        let changed = config::apply(draft, &settings, &patch.environment_id, &patch.patch)?;
        let place = draft.world.environment(&patch.environment_id).map(|row| row.project_id.clone());
        for service in changed {
            if deploys(&draft.world, &patch.environment_id, &service) && !patch.skip_deploys {
                let environment = &patch.environment_id;
                let deployment =
                    deployments::create(draft, &actor, &settings, environment, &service, Cause::Deploy)?;
                change_sets::note_deployment(draft, id, &deployment);
            }
        }
        let stamp = draft.stamp;
        if let Some(row) = draft.world.patches.get_mut(id) {
            row.status = PatchStatus::Committed;
            row.applied_at = Some(stamp);
            row.times.updated_at = stamp;
        }
        audit(
            draft,
            &actor,
            "environment",
            "apply",
            id,
            Place { project: place.as_deref(), environment: Some(&patch.environment_id) },
        );
        Ok(())
    });
    if let Err(refusal) = result {
        let written = core.mutate(|draft| {
            let stamp = draft.stamp;
            if let Some(row) = draft.world.patches.get_mut(id) {
                row.last_error = Some(refusal.message.clone());
                if row.was_staged {
                    row.status = PatchStatus::Staged;
                }
                row.times.updated_at = stamp;
            }
            Ok(())
        });
        if written.is_err() {
            tracing::error!(patch = id, "the outcome of a patch was not written");
        }
    }
}
