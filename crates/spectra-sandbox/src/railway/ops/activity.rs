//! The audit log (what people asked for) and the activity feed of a project (that, and what came of it).

use std::sync::Arc;

use crate::core::Draft;
use crate::railway::auth::Identity;
use crate::railway::ops::{Place, new_id, notifications};
use crate::settings::{PlanName, Settings, span};
use crate::store::rows::{Audit, Deployment, Severity, Status};
use crate::store::{ONLY, World};

/// Every event type that the audit log can show, and what it says.
pub(crate) const EVENT_TYPES: &[(&str, &str)] = &[
    ("custom_domain.create", "A custom domain was added"),
    ("custom_domain.delete", "A custom domain was removed"),
    ("custom_domain.update", "The port of a custom domain was changed"),
    ("deployment.approve", "A deployment that needed approval was approved"),
    ("deployment.cancel", "A deployment on its way was cancelled"),
    ("deployment.create", "A deployment was started"),
    ("deployment.remove", "A deployment was removed"),
    ("deployment.restart", "A deployment was restarted"),
    ("deployment.stop", "A deployment was stopped"),
    ("deployment_trigger.create", "A deployment trigger was made"),
    ("deployment_trigger.delete", "A deployment trigger was deleted"),
    ("deployment_trigger.deploy", "The deployment triggers of a service were deployed"),
    ("deployment_trigger.update", "A deployment trigger was changed"),
    ("domain.create", "A Railway domain was generated"),
    ("domain.delete", "A Railway domain was removed"),
    ("domain.update", "A Railway domain was changed"),
    ("egress_gateway.clear", "The egress gateways of a service were removed"),
    ("egress_gateway.create", "A service got an egress gateway"),
    ("environment.apply", "A committed patch of an environment was applied"),
    ("environment.apply_change_set", "A change set was accepted"),
    ("environment.commit", "A patch of an environment was committed"),
    ("environment.create", "An environment was made"),
    ("environment.delete", "An environment was deleted"),
    ("environment.rename", "An environment was renamed"),
    ("environment.stage", "Changes of an environment were staged"),
    ("notification_rule.create", "A notification rule was made"),
    ("notification_rule.delete", "A notification rule was deleted"),
    ("notification_rule.update", "A notification rule was changed"),
    ("private_network.create", "A private network was made"),
    ("private_network.delete", "The private networks of an environment were deleted"),
    ("private_network_endpoint.create", "A service joined a private network"),
    ("private_network_endpoint.delete", "A service left a private network"),
    ("private_network_endpoint.update", "A service got another name in a private network"),
    ("project.create", "A project was made"),
    ("project.delete", "A project was deleted"),
    ("project.schedule_delete", "The deletion of a project was scheduled"),
    ("project.schedule_delete_cancel", "The scheduled deletion of a project was cancelled"),
    ("project.update", "A project was changed"),
    ("project_token.create", "A project token was made"),
    ("project_token.delete", "A project token was deleted"),
    ("service.connect", "A service was connected to a source"),
    ("service.create", "A service was made"),
    ("service.delete", "A service was deleted"),
    ("service.disconnect", "A service was disconnected from its source"),
    ("service.update", "A service was changed"),
    ("service_instance.auto_deploy", "Deploying on push was turned on or off"),
    ("service_instance.limits", "The resource limits of a service were changed"),
    ("service_instance.update", "The configuration of a service was changed"),
    ("tcp_proxy.create", "A TCP proxy was made"),
    ("tcp_proxy.delete", "A TCP proxy was deleted"),
    ("variable.update", "Variables were changed"),
    ("volume.create", "A volume was made"),
    ("volume.delete", "A volume was deleted"),
    ("volume.update", "A volume was changed"),
    ("volume_instance.backup", "A backup of a volume was asked for"),
    ("volume_instance.delete", "The volume of an environment was deleted"),
    ("volume_instance.delete_backup", "A backup of a volume was deleted"),
    ("volume_instance.lock_backup", "A backup of a volume was locked"),
    ("volume_instance.restore", "A backup of a volume was restored"),
    ("volume_instance.update", "The place of a volume was changed"),
    ("volume_instance.update_backup_schedule", "The backup schedules of a volume were changed"),
    ("webhook.test", "A webhook was tested"),
];

/// Who did it, as the log names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Actor {
    name: String,
    token: &'static str,
}

impl Actor {
    pub(crate) fn of(who: &Identity) -> Self {
        Self { name: who.actor(), token: who.kind() }
    }

    /// Nobody: the platform itself.
    pub(crate) fn platform() -> Self {
        Self { name: "platform".to_owned(), token: "platform" }
    }
}

/// The service that an object belongs to, where it belongs to one.
fn service_of(world: &World, object: &str, id: &str) -> Option<String> {
    match object {
        "service" | "service_instance" => Some(id.to_owned()),
        // Shared variables are logged under the environment.
        "variable" => world.services.get(id).map(|row| row.id.clone()),
        "deployment" => world.deployments.get(id).map(|row| row.service_id.clone()),
        "deployment_trigger" => world.triggers.get(id).map(|row| row.service_id.clone()),
        "domain" => world.domains.get(id).map(|row| row.service_id.clone()),
        "custom_domain" => world.custom_domains.get(id).map(|row| row.service_id.clone()),
        "egress_gateway" => world
            .services
            .get(id)
            .map(|row| row.id.clone())
            .or_else(|| world.egress_gateways.get(id).map(|row| row.service_id.clone())),
        "private_network_endpoint" => world.private_endpoints.get(id).map(|row| row.service_id.clone()),
        "tcp_proxy" => world.proxies.get(id).map(|row| row.service_id.clone()),
        "volume_instance" => world.volume_instances.get(id).and_then(|row| row.service_id.clone()),
        _ => None,
    }
}

fn row(draft: &mut Draft, actor: Actor, object: &str, action: &str, id: &str, place: Place<'_>) -> Audit {
    Audit {
        id: new_id(),
        event_type: format!("{object}.{action}"),
        project_id: place.project.map(str::to_owned),
        environment_id: place.environment.map(str::to_owned),
        service_id: service_of(&draft.world, object, id),
        object: object.to_owned(),
        action: action.to_owned(),
        object_id: id.to_owned(),
        actor: actor.name,
        token: actor.token.to_owned(),
        severity: Severity::Info,
        feed_only: false,
        created_at: draft.stamp,
        created_tick: draft.tick,
        sequence: draft.next(),
    }
}

/// Writes one line.
pub(crate) fn write(draft: &mut Draft, actor: Actor, object: &str, action: &str, id: &str, place: Place<'_>) {
    let row = row(draft, actor, object, action, id, place);
    let key = row.id.clone();
    draft.world.audits.insert(&key, row);
}

/// How the platform writes the name of a kind of object: `ProjectToken` for `project_token`.
pub(crate) fn object_name(object: &str) -> String {
    object
        .split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters
                .next()
                .map(|first| first.to_ascii_uppercase())
                .into_iter()
                .chain(letters)
                .collect::<String>()
        })
        .collect()
}

/// How a deployment status is called in feed and notifications: `needs_approval` for `NEEDS_APPROVAL`.
pub(crate) fn status_word(status: Status) -> String {
    let text = serde_json::to_value(status).unwrap_or_default();
    text.as_str().unwrap_or_default().to_ascii_lowercase()
}

const fn severity(status: Status) -> Severity {
    match status {
        Status::Crashed => Severity::Critical,
        Status::Failed => Severity::Warning,
        Status::NeedsApproval | Status::Skipped => Severity::Notice,
        _ => Severity::Info,
    }
}

/// Notes every deployment whose status `draft` changes: one line in the feed, and what the notification rules
/// want to be told. Called for each change of the state, so that none can be forgotten.
pub(crate) fn follow(before: &World, draft: &mut Draft, settings: &Settings) {
    let changed: Vec<Arc<Deployment>> = draft
        .world
        .deployments
        .dirty()
        .iter()
        .filter_map(|id| draft.world.deployments.get(id))
        .filter(|row| before.deployments.get(&row.id).is_none_or(|old| old.status != row.status))
        .cloned()
        .collect();
    for deployment in changed {
        let place =
            Place { project: Some(&deployment.project_id), environment: Some(&deployment.environment_id) };
        let word = status_word(deployment.status);
        let mut line = row(draft, Actor::platform(), "deployment", &word, &deployment.id, place);
        line.feed_only = true;
        line.severity = severity(deployment.status);
        notifications::notify(draft, settings, &deployment, &line);
        let key = line.id.clone();
        draft.world.audits.insert(&key, line);
    }
}

/// Most lines that are kept, give or take a step; the oldest go first.
const KEPT: usize = 10_000;
const STEP: usize = 250;

/// Deletes what no plan shows any more, and the oldest lines where there are too many; every now and then, since it
/// looks at all of them.
pub(crate) fn trim(draft: &mut Draft) {
    let added = draft.world.audits.dirty().len();
    let sequence = draft.world.meta.get(ONLY).map_or(0, |meta| meta.sequence);
    let step = STEP as u64;
    let pause = sequence / step == sequence.saturating_sub(added as u64) / step;
    if added == 0 || (pause && draft.world.audits.len() < KEPT + STEP) {
        return;
    }
    let longest = span(PlanName::Enterprise.audit_retention());
    let mut rows: Vec<_> = draft
        .world
        .audits
        .iter()
        .map(|row| (row.sequence, row.created_tick.max(row.created_at), row.id.clone()))
        .collect();
    rows.sort_unstable();
    let over = rows.len().saturating_sub(KEPT);
    for (at, (_, born, id)) in rows.iter().enumerate() {
        if at < over || draft.tick > born.saturating_add(longest) {
            draft.world.audits.remove(id);
        }
    }
}

/// Whether a line is past what the plan keeps.
pub(crate) fn expired(row: &Audit, settings: &Settings, now: u64) -> bool {
    // Lines of older sandboxes have no tick; sandbox time never runs behind the wall.
    let born = row.created_tick.max(row.created_at);
    now > born.saturating_add(span(settings.plan.audit_retention()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_types_are_sorted_and_each_is_there_once() {
        assert!(EVENT_TYPES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn the_log_is_bounded_by_time_and_by_number() {
        let mut draft = Draft { world: World::default(), effects: Vec::new(), stamp: 1, tick: 1 };
        let place = Place { project: None, environment: None };
        let line = |draft: &mut Draft| write(draft, Actor::platform(), "webhook", "test", "x", place);
        for _ in 0..KEPT + 3 * STEP {
            line(&mut draft);
            trim(&mut draft);
            draft.world.audits.take_dirty();
            assert!(draft.world.audits.len() <= KEPT + STEP);
        }
        let oldest = draft.world.audits.iter().map(|row| row.sequence).min().unwrap();
        assert!(oldest > (2 * STEP) as u64, "{oldest}");
        // A while later than any plan remembers.
        draft.tick = span(PlanName::Enterprise.audit_retention()) + 10;
        for _ in 0..STEP {
            line(&mut draft);
            trim(&mut draft);
            draft.world.audits.take_dirty();
        }
        assert!(draft.world.audits.len() <= STEP, "{}", draft.world.audits.len());
    }

    #[test]
    fn objects_and_statuses_are_named_as_the_platform_does() {
        assert_eq!(object_name("project_token"), "ProjectToken");
        assert_eq!(object_name("deployment"), "Deployment");
        assert_eq!(status_word(Status::NeedsApproval), "needs_approval");
    }
}
