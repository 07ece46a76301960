//! Deployments: how they begin, and what can be asked of one that exists.

use spectra_types::HumanDuration;

use crate::clock::Tick;
use crate::core::{Draft, Effect};
use crate::railway::auth::{Identity, found};
use crate::railway::ops::{Place, audit, born, new_id};
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::World;
use crate::store::rows::{
    Cause, Deployment, Farewell, Instance, Snapshot, Status, Trigger, instance_key, variables_key,
};

/// Deploys the configuration of an instance as it is now; returns the deployment's id.
pub(crate) fn create(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    service: &str,
    cause: Cause,
) -> Result<String, Refusal> {
    let Some(instance) = draft.world.instance(environment, service).cloned() else {
        return Err(Refusal::not_found("ServiceInstance"));
    };
    if instance.image.is_none() && instance.repo.is_none() {
        return Err(Refusal::internal("Cannot deploy: the service has no source"));
    }
    let snapshot = snapshot(&draft.world, environment, service);
    start(draft, who, settings, (*instance).clone(), snapshot, None, cause)
}

/// Deploys the repository of a trigger with the rest of the instance's configuration, even where the instance
/// has taken another source since.
pub(crate) fn create_from_repository(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    trigger: &Trigger,
) -> Result<String, Refusal> {
    let (environment, service) = (&trigger.environment_id, &trigger.service_id);
    let Some(instance) = draft.world.instance(environment, service) else {
        return Err(Refusal::not_found("ServiceInstance"));
    };
    let mut instance = (**instance).clone();
    instance.image = None;
    instance.repo = Some(trigger.repository.clone());
    instance.branch = Some(trigger.branch.clone());
    let snapshot = snapshot(&draft.world, environment, service);
    start(draft, who, settings, instance, snapshot, None, Cause::Deploy)
}

/// The variables and credentials a deployment made now would take.
fn snapshot(world: &World, environment: &str, service: &str) -> Snapshot {
    let set = |service: Option<&str>| {
        world
            .variables
            .get(&variables_key(environment, service))
            .map(|set| set.variables.clone())
            .unwrap_or_default()
    };
    Snapshot {
        own: set(Some(service)),
        shared: set(None),
        credentials: world.credentials.get(&instance_key(environment, service)).map(|row| (**row).clone()),
    }
}

fn start(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    instance: Instance,
    snapshot: Snapshot,
    pinned: Option<String>,
    cause: Cause,
) -> Result<String, Refusal> {
    if settings.restrict_image_deploys && instance.image.is_some() {
        return Err(Refusal {
            message: "Deploys are restricted to allowed sources by a workspace policy".to_owned(),
            code: Some("FORBIDDEN"),
        });
    }
    let (project, environment, service) =
        (instance.project_id.clone(), instance.environment_id.clone(), instance.service_id.clone());
    // One deployment at a time is on its way; the newer one wins.
    for old in draft.world.deployments_of(&environment, &service) {
        if old.status.in_flight() && old.farewell.is_none() {
            if let Some(row) = draft.world.deployments.get_mut(&old.id) {
                row.farewell = Some(Farewell::Superseded);
            }
            draft.effects.push(Effect::Farewell(old.id.clone(), Farewell::Superseded));
        }
    }
    let id = new_id();
    let times = born(draft);
    let sequence = draft.next();
    let status = settings.hold_deployments.map_or(Status::Initializing, crate::settings::HoldStatus::status);
    draft.world.deployments.insert(
        &id,
        Deployment {
            id: id.clone(),
            project_id: project.clone(),
            environment_id: environment.clone(),
            service_id: service,
            sequence,
            status,
            status_at: draft.stamp,
            phase_tick: draft.tick,
            stopped: true,
            cause,
            farewell: None,
            snapshot: instance,
            pinned,
            snapshot_id: new_id(),
            replicas: Vec::new(),
            events: Vec::new(),
            restarts: 0,
            ever_succeeded: false,
            removed_tick: None,
            creator: Some(who.actor()),
            times,
        },
    );
    draft.world.snapshots.insert(&id, snapshot);
    draft.effects.push(Effect::Drive(id.clone()));
    let place = Place { project: Some(&project), environment: Some(&environment) };
    audit(draft, who, "deployment", "create", &id, place);
    Ok(id)
}

/// The row, if it lies within reach.
pub(crate) fn reach(world: &World, who: &Identity, id: &str) -> Result<std::sync::Arc<Deployment>, Refusal> {
    who.known()?;
    if id.is_empty() {
        return Err(Refusal::not_authorized());
    }
    let row = found(world.deployments.get(id), "Deployment", |_| true)?;
    who.environment(world, &row.environment_id)?;
    Ok(row)
}

fn building(status: Status) -> bool {
    matches!(status, Status::Building | Status::Initializing | Status::Queued | Status::Waiting)
}

/// Refuses while the newest deployment of the instance is being built.
pub(crate) fn not_building(world: &World, environment: &str, service: &str) -> Result<(), Refusal> {
    let newest = world.deployments_of(environment, service).into_iter().next();
    if newest.is_some_and(|row| building(row.status)) {
        return Err(Refusal::internal(
            "Cannot redeploy yet, please wait for the original deployment to finish building, then try again.",
        ));
    }
    Ok(())
}

/// Replays a deployment: its image and configuration, with the variables of today.
pub(crate) fn redeploy(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
    previous_tag: bool,
) -> Result<String, Refusal> {
    let row = reach(&draft.world, who, id)?;
    if building(row.status) {
        not_building(&draft.world, &row.environment_id, &row.service_id)?;
    }
    let connected = draft
        .world
        .instance(&row.environment_id, &row.service_id)
        .is_some_and(|instance| instance.image.is_some() || instance.repo.is_some());
    if row.status == Status::Skipped || !connected {
        return Err(Refusal::internal("Cannot redeploy without a snapshot"));
    }
    let pinned = if previous_tag { row.pinned.clone() } else { None };
    let variables = snapshot(&draft.world, &row.environment_id, &row.service_id);
    start(draft, who, settings, row.snapshot.clone(), variables, pinned, Cause::Redeploy)
}

/// Replays the newest deployment of an instance.
pub(crate) fn redeploy_instance(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    environment: &str,
    service: &str,
) -> Result<String, Refusal> {
    who.instance(&draft.world, environment, service)?;
    let newest = draft.world.deployments_of(environment, service).into_iter().next();
    let id = newest.ok_or_else(|| Refusal::not_found("Deployment"))?.id.clone();
    redeploy(draft, who, settings, &id, false)
}

/// Whether a deployment can be rolled back to at `tick`.
pub(crate) fn can_roll_back(row: &Deployment, settings: &Settings, tick: u64) -> bool {
    let retention = u64::try_from(settings.plan.retention().as_millis()).unwrap_or(u64::MAX);
    row.ever_succeeded
        && row.pinned.is_some()
        && row.removed_tick.is_none_or(|removed| tick < removed.saturating_add(retention))
}

/// A new deployment with image, configuration and variables of an old one. The service's source stays as it is.
pub(crate) fn roll_back(
    draft: &mut Draft,
    who: &Identity,
    settings: &Settings,
    id: &str,
) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    if !can_roll_back(&row, settings, draft.tick) {
        return Err(Refusal::internal(
            "Cannot rollback to this deployment: its image is no longer available",
        ));
    }
    let snapshot = draft
        .world
        .snapshots
        .get(id)
        .map(|snapshot| (**snapshot).clone())
        .ok_or_else(|| Refusal::internal("Cannot redeploy without a snapshot"))?;
    start(draft, who, settings, row.snapshot.clone(), snapshot, row.pinned.clone(), Cause::Rollback)?;
    if settings.rollback_moves_pin {
        let image = row.snapshot.image.clone();
        let key = instance_key(&row.environment_id, &row.service_id);
        if let Some(instance) = draft.world.instances.get_mut(&key) {
            instance.image = image;
        }
    }
    Ok(())
}

/// What can be done to one deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Restart,
    Stop,
    Cancel,
    Remove,
    Approve,
}

/// Checks that the status allows the verb and tells the deployment's task.
pub(crate) fn act(draft: &mut Draft, who: &Identity, id: &str, verb: Verb) -> Result<(), Refusal> {
    let row = reach(&draft.world, who, id)?;
    let wrong = |what: &str| {
        let status = serde_json::to_value(row.status).unwrap_or_default();
        let status = status.as_str().unwrap_or("in this state").to_owned();
        Err(Refusal::internal(format!("Cannot {what} a deployment that is {status}")))
    };
    let farewell = |draft: &mut Draft, why: Farewell| {
        if let Some(row) = draft.world.deployments.get_mut(id) {
            row.farewell = Some(why);
        }
        draft.effects.push(Effect::Farewell(id.to_owned(), why));
    };
    let word = match verb {
        Verb::Restart => {
            if !row.status.settled() {
                return wrong("restart");
            }
            draft.effects.push(Effect::Restart(id.to_owned()));
            "restart"
        }
        Verb::Stop => {
            if row.status != Status::Success {
                return wrong("stop");
            }
            draft.effects.push(Effect::Stop(id.to_owned()));
            "stop"
        }
        Verb::Cancel => {
            if !row.status.in_flight() {
                return wrong("cancel");
            }
            farewell(draft, Farewell::Cancelled);
            "cancel"
        }
        Verb::Remove => {
            match row.status {
                Status::Removed => return wrong("remove"),
                Status::Failed | Status::Skipped => {
                    let tick = draft.tick;
                    if let Some(row) = draft.world.deployments.get_mut(id) {
                        row.status = Status::Removed;
                        row.removed_tick = Some(tick);
                    }
                }
                _ => farewell(draft, Farewell::Removed),
            }
            "remove"
        }
        Verb::Approve => {
            if row.status != Status::NeedsApproval {
                return wrong("approve");
            }
            draft.effects.push(Effect::Release(id.to_owned()));
            "approve"
        }
    };
    let place = Place { project: Some(&row.project_id), environment: Some(&row.environment_id) };
    audit(draft, who, "deployment", word, id, place);
    Ok(())
}

/// When the next deployment that never served is forgotten.
pub(crate) fn retired_at(world: &World, retention: Option<HumanDuration>) -> Option<Tick> {
    let retention = ticks(retention?);
    let over = world.deployments.iter().filter(|row| matches!(row.status, Status::Failed | Status::Skipped));
    over.map(|row| row.phase_tick.saturating_add(retention)).min()
}

/// Forgets those whose time is over.
pub(crate) fn retire(draft: &mut Draft, retention: Option<HumanDuration>) {
    let Some(retention) = retention.map(ticks) else { return };
    let (now, stamp) = (draft.tick, draft.stamp);
    let over = draft.world.deployments.iter().filter(|row| {
        matches!(row.status, Status::Failed | Status::Skipped)
            && row.phase_tick.saturating_add(retention) <= now
    });
    let ids: Vec<_> = over.map(|row| row.id.clone()).collect();
    for id in ids {
        if let Some(row) = draft.world.deployments.get_mut(&id) {
            row.status = Status::Removed;
            row.status_at = stamp;
            row.removed_tick = Some(now);
            row.times.updated_at = stamp;
        }
    }
}
