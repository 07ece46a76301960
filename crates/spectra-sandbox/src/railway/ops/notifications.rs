//! Notification rules, and what they make of a deployment's new status. Sending is `railway::webhooks`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::{Draft, Effect};
use crate::railway::auth::{Identity, found};
use crate::railway::gql::scalars::rfc3339;
use crate::railway::gql::workspace::WORKSPACE_NAME;
use crate::railway::ops::{Place, activity, audit, born, new_id};
use crate::railway::refusal::Refusal;
use crate::settings::{Settings, ticks};
use crate::store::World;
use crate::store::rows::{
    Attempt, Audit, Channel, Delivery, DeliveryState, Deployment, NotificationRule, Severity, Status,
};

/// Statuses that a rule can name, as `Deployment.<status>`.
const STATUSES: [Status; 13] = [
    Status::Building,
    Status::Crashed,
    Status::Deploying,
    Status::Failed,
    Status::Initializing,
    Status::NeedsApproval,
    Status::Queued,
    Status::Removed,
    Status::Removing,
    Status::Skipped,
    Status::Sleeping,
    Status::Success,
    Status::Waiting,
];

/// Deliveries beyond this many are forgotten, the oldest first, once they are at their end.
const KEPT: usize = 1_000;

/// What notifications call an event: `Deployment.failed`.
fn event_name(status: Status) -> String {
    format!("{}.{}", activity::object_name("deployment"), activity::status_word(status))
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct NewRule {
    pub(crate) workspace_id: String,
    pub(crate) project_id: Option<String>,
    pub(crate) event_types: Vec<String>,
    pub(crate) severities: Vec<Severity>,
    pub(crate) ephemeral_environments: Option<bool>,
    pub(crate) channels: Vec<Value>,
}

/// A partial update; what is absent stays.
#[derive(Debug, Default)]
pub(crate) struct RuleChange {
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) severities: Option<Vec<Severity>>,
    pub(crate) ephemeral_environments: Option<bool>,
    pub(crate) channels: Option<Vec<Value>>,
}

fn check_events(types: &[String]) -> Result<(), Refusal> {
    if types.is_empty() {
        return Err(Refusal::input("Invalid eventTypes: name at least one"));
    }
    let known: Vec<String> = STATUSES.into_iter().map(event_name).collect();
    match types.iter().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Refusal::input(format!(
            "The sandbox never notifies of \"{name}\"; it knows {}",
            known.join(", ")
        ))),
    }
}

/// The URL of a channel. Webhooks are the only channels: there is nobody to send mail to.
fn check_channel(config: &Value) -> Result<url::Url, Refusal> {
    let kind = config["type"].as_str().unwrap_or("webhook");
    if !kind.eq_ignore_ascii_case("webhook") {
        return Err(Refusal::input(format!(
            "The sandbox has no channel \"{kind}\"; it sends webhooks alone"
        )));
    }
    let text = ["url", "webhookUrl"].iter().find_map(|key| config[*key].as_str());
    let text = text.ok_or_else(|| Refusal::input("Invalid channel: a webhook needs a \"url\""))?;
    parse_url(text)
}

/// A URL that a webhook can have; the refusal does not repeat it.
pub(crate) fn parse_url(text: &str) -> Result<url::Url, Refusal> {
    url::Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| Refusal::input("Invalid webhook URL: use http:// or https://"))
}

/// What may be shown of a URL: where it goes, and nothing of path, query and credentials.
pub(crate) fn redact_url(url: &url::Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}/{}", url.scheme(), url.host_str().unwrap_or_default(), crate::journal::REDACTED)
}

fn put_channels(draft: &mut Draft, configs: &[Value]) -> Result<Vec<String>, Refusal> {
    if configs.is_empty() {
        return Err(Refusal::input("Invalid channelConfigs: name at least one"));
    }
    let urls: Vec<_> = configs.iter().map(check_channel).collect::<Result<_, _>>()?;
    let times = born(draft);
    Ok(urls
        .into_iter()
        .map(|url| {
            let channel = Channel { id: new_id(), url: url.into(), times };
            let id = channel.id.clone();
            draft.world.channels.insert(&id, channel);
            id
        })
        .collect())
}

fn check_workspace(draft: &mut Draft, id: &str) -> Result<(), Refusal> {
    if draft.meta().workspace_id == id { Ok(()) } else { Err(Refusal::not_authorized()) }
}

/// Returns the id of the new rule.
pub(crate) fn create(draft: &mut Draft, who: &Identity, new: NewRule) -> Result<String, Refusal> {
    who.admin()?;
    check_workspace(draft, &new.workspace_id)?;
    if let Some(project) = &new.project_id {
        who.project(&draft.world, project)?;
    }
    check_events(&new.event_types)?;
    let channels = put_channels(draft, &new.channels)?;
    let id = new_id();
    let times = born(draft);
    draft.world.rules.insert(
        &id,
        NotificationRule {
            id: id.clone(),
            project_id: new.project_id.clone(),
            event_types: new.event_types,
            severities: new.severities,
            ephemeral_environments: new.ephemeral_environments,
            channels,
            times,
        },
    );
    let place = Place { project: new.project_id.as_deref(), environment: None };
    audit(draft, who, "notification_rule", "create", &id, place);
    Ok(id)
}

/// New channels take the place of all old ones.
pub(crate) fn update(draft: &mut Draft, who: &Identity, id: &str, change: RuleChange) -> Result<(), Refusal> {
    who.admin()?;
    let old = found(draft.world.rules.get(id), "NotificationRule", |row| row.times.live())?;
    if let Some(types) = &change.event_types {
        check_events(types)?;
    }
    let channels = match &change.channels {
        None => None,
        Some(configs) => {
            let new = put_channels(draft, configs)?;
            remove_channels(draft, &old);
            Some(new)
        }
    };
    let stamp = draft.stamp;
    if let Some(row) = draft.world.rules.get_mut(id) {
        row.event_types = change.event_types.unwrap_or_else(|| old.event_types.clone());
        row.severities = change.severities.unwrap_or_else(|| old.severities.clone());
        row.ephemeral_environments = change.ephemeral_environments.or(old.ephemeral_environments);
        row.channels = channels.unwrap_or_else(|| old.channels.clone());
        row.times.updated_at = stamp;
    }
    let place = Place { project: old.project_id.as_deref(), environment: None };
    audit(draft, who, "notification_rule", "update", id, place);
    Ok(())
}

pub(crate) fn delete(draft: &mut Draft, who: &Identity, id: &str) -> Result<(), Refusal> {
    who.admin()?;
    let row = found(draft.world.rules.get(id), "NotificationRule", |row| row.times.live())?;
    remove(draft, &row);
    let place = Place { project: row.project_id.as_deref(), environment: None };
    audit(draft, who, "notification_rule", "delete", id, place);
    Ok(())
}

fn remove(draft: &mut Draft, row: &NotificationRule) {
    remove_channels(draft, row);
    draft.world.rules.remove(&row.id);
}

fn remove_channels(draft: &mut Draft, row: &NotificationRule) {
    for channel in &row.channels {
        draft.world.channels.remove(channel);
    }
}

/// Takes the rules of a project away.
pub(crate) fn remove_project(draft: &mut Draft, project: &str) {
    let rows: Vec<_> =
        draft.world.rules.iter().filter(|row| row.project_id.as_deref() == Some(project)).cloned().collect();
    for row in rows {
        remove(draft, &row);
    }
}

fn wants(rule: &NotificationRule, name: &str, line: &Audit, ephemeral: bool) -> bool {
    (rule.project_id.is_none() || rule.project_id == line.project_id)
        && rule.event_types.iter().any(|wanted| wanted == name)
        && (rule.severities.is_empty() || rule.severities.contains(&line.severity))
        && !(ephemeral && rule.ephemeral_environments == Some(false))
}

/// Queues what the rules want to be told of a deployment's new status.
pub(crate) fn notify(draft: &mut Draft, settings: &Settings, deployment: &Deployment, line: &Audit) {
    let name = event_name(deployment.status);
    let ephemeral = draft.world.environments.get(&deployment.environment_id).is_some_and(|row| row.ephemeral);
    let rules: Vec<Arc<NotificationRule>> =
        draft.world.rules.iter().filter(|rule| wants(rule, &name, line, ephemeral)).cloned().collect();
    for rule in rules {
        for channel in &rule.channels {
            let Some(url) = draft.world.channels.get(channel).and_then(|row| url::Url::parse(&row.url).ok())
            else {
                continue;
            };
            let jitter = ticks(settings.webhook_jitter);
            let due_tick =
                draft.tick.saturating_add(if jitter == 0 { 0 } else { rand::random_range(0..jitter) });
            let delivery = Delivery {
                id: new_id(),
                sequence: draft.next(),
                rule_id: Some(rule.id.clone()),
                channel_id: Some(channel.clone()),
                event_type: name.clone(),
                project_id: Some(deployment.project_id.clone()),
                environment_id: Some(deployment.environment_id.clone()),
                url: redact_url(&url),
                body: body(draft, deployment, &name, line),
                state: DeliveryState::Pending,
                attempts: Vec::new(),
                due_tick,
                times: born(draft),
            };
            draft.effects.push(Effect::Deliver(delivery.id.clone()));
            insert(draft, delivery);
        }
    }
}

/// Keeps a delivery and forgets the oldest ones that are over.
pub(crate) fn insert(draft: &mut Draft, delivery: Delivery) {
    let key = delivery.id.clone();
    draft.world.deliveries.insert(&key, delivery);
    let mut rows: Vec<_> =
        draft.world.deliveries.iter().map(|row| (row.sequence, row.state, row.id.clone())).collect();
    if rows.len() <= KEPT {
        return;
    }
    rows.sort_by_key(|(sequence, _, _)| *sequence);
    let over = rows.iter().filter(|(_, state, _)| *state != DeliveryState::Pending);
    for (_, _, id) in over.take(rows.len() - KEPT) {
        draft.world.deliveries.remove(id);
    }
}

/// A test that is over; it belongs to no rule.
pub(crate) fn tested(draft: &mut Draft, who: &Identity, url: &url::Url, attempt: Attempt) {
    let delivery = Delivery {
        id: new_id(),
        sequence: draft.next(),
        rule_id: None,
        channel_id: None,
        event_type: "webhook.test".to_owned(),
        project_id: None,
        environment_id: None,
        url: redact_url(url),
        body: Value::Null,
        state: if attempt.error.is_none() { DeliveryState::Sent } else { DeliveryState::Failed },
        attempts: vec![attempt],
        due_tick: draft.tick,
        times: born(draft),
    };
    audit(draft, who, "webhook", "test", &delivery.id, Place::default());
    insert(draft, delivery);
}

/// What is sent: names and ids, no value of anything.
fn body(draft: &mut Draft, deployment: &Deployment, name: &str, line: &Audit) -> Value {
    let workspace = draft.meta().workspace_id.clone();
    let world: &World = &draft.world;
    let project = world.projects.get(&deployment.project_id).map(|row| row.name.clone());
    let environment = world.environments.get(&deployment.environment_id);
    let service = world.services.get(&deployment.service_id).map(|row| row.name.clone());
    let source = if deployment.snapshot.image.is_some() { "Docker Image" } else { "GitHub" };
    json!({
        "type": name,
        "details": {
            "id": deployment.id,
            "source": source,
            "status": deployment.status,
            "branch": deployment.snapshot.branch,
            "commitHash": null,
            "commitAuthor": null,
            "commitMessage": null,
        },
        "resource": {
            "workspace": { "id": workspace, "name": WORKSPACE_NAME },
            "project": { "id": deployment.project_id, "name": project },
            "environment": {
                "id": deployment.environment_id,
                "name": environment.map(|row| row.name.clone()),
                "isEphemeral": environment.is_some_and(|row| row.ephemeral),
            },
            "service": { "id": deployment.service_id, "name": service },
            "deployment": { "id": deployment.id },
        },
        "severity": line.severity,
        "timestamp": rfc3339(line.created_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        let url = parse_url("https://user:p4ss@127.0.0.1:8443/hooks/hunter2?key=s3cret").unwrap();
        assert_eq!(redact_url(&url), "https://127.0.0.1:8443/[redacted]");
    }

    #[test]
    fn a_refused_url_is_not_repeated() {
        let refusal = parse_url("ftp://127.0.0.1/hunter2").unwrap_err();
        assert!(!refusal.message.contains("hunter2"), "{}", refusal.message);
    }

    #[test]
    fn channels_other_than_webhooks_and_unknown_events_are_refused_by_name() {
        let refusal = check_channel(&json!({ "type": "EMAIL" })).unwrap_err();
        assert!(refusal.message.contains("EMAIL"), "{}", refusal.message);
        let refusal =
            check_events(&["Deployment.failed".to_owned(), "Monitor.triggered".to_owned()]).unwrap_err();
        assert!(refusal.message.contains("Monitor.triggered"), "{}", refusal.message);
    }
}
