//! `NotificationRule` and the test of a webhook.

use std::sync::Arc;

use async_graphql::{
    Context, Enum, ID, InputObject, InputValueResult, Object, Result, Scalar, ScalarType, Value,
};
use serde_json::json;

use super::scalars::DateTime;
use super::{Request, request};
use crate::railway::ops::notifications as ops;
use crate::railway::refusal::Refusal;
use crate::railway::webhooks::{Outcome, send};
use crate::store::rows::{self, Severity};

/// An opaque document.
#[derive(Debug, Clone)]
struct NotificationChannelConfig(serde_json::Value);

#[Scalar(name = "NotificationChannelConfig")]
impl ScalarType for NotificationChannelConfig {
    fn parse(value: Value) -> InputValueResult<Self> {
        value.into_json().map(Self).map_err(async_graphql::InputValueError::custom)
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Severity")]
enum NotificationSeverity {
    Critical,
    Info,
    Notice,
    Warning,
}

struct NotificationChannel(Arc<rows::Channel>);

#[Object]
impl NotificationChannel {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn config(&self) -> NotificationChannelConfig {
        NotificationChannelConfig(json!({ "type": "webhook", "url": self.0.url }))
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.times.updated_at)
    }

    async fn workspace_id(&self, ctx: &Context<'_>) -> String {
        request(ctx).core.info.workspace_id.clone()
    }
}

struct NotificationRule(Arc<rows::NotificationRule>);

#[Object]
impl NotificationRule {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn channels(&self, ctx: &Context<'_>) -> Vec<NotificationChannel> {
        let world = request(ctx).world();
        let found = self.0.channels.iter().filter_map(|id| world.channels.get(id).cloned());
        found.map(NotificationChannel).collect()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.times.updated_at)
    }

    async fn environment_id(&self) -> Option<String> {
        None
    }

    async fn ephemeral_environments(&self) -> Option<bool> {
        self.0.ephemeral_environments
    }

    async fn event_types(&self) -> &[String] {
        &self.0.event_types
    }

    async fn project_id(&self) -> Option<&str> {
        self.0.project_id.as_deref()
    }

    async fn service_id(&self) -> Option<String> {
        None
    }

    async fn severities(&self) -> Vec<NotificationSeverity> {
        self.0.severities.iter().map(|severity| (*severity).into()).collect()
    }

    async fn workspace_id(&self, ctx: &Context<'_>) -> String {
        request(ctx).core.info.workspace_id.clone()
    }
}

#[derive(InputObject)]
struct CreateNotificationRuleInput {
    channel_configs: Vec<NotificationChannelConfig>,
    ephemeral_environments: Option<bool>,
    event_types: Vec<String>,
    project_id: Option<String>,
    severities: Option<Vec<NotificationSeverity>>,
    workspace_id: String,
}

#[derive(InputObject)]
struct UpdateNotificationRuleInput {
    channel_configs: Option<Vec<NotificationChannelConfig>>,
    ephemeral_environments: Option<bool>,
    event_types: Option<Vec<String>>,
    severities: Option<Vec<NotificationSeverity>>,
}

fn severities(list: Vec<NotificationSeverity>) -> Vec<Severity> {
    list.into_iter().map(Severity::from).collect()
}

fn configs(list: Vec<NotificationChannelConfig>) -> Vec<serde_json::Value> {
    list.into_iter().map(|config| config.0).collect()
}

fn rule(request: &Request, id: &str) -> Result<NotificationRule> {
    let row = request.world().rules.get(id).cloned();
    Ok(row.map(NotificationRule).ok_or_else(|| Refusal::not_found("NotificationRule"))?)
}

/// Reads.
#[derive(Default)]
pub(crate) struct Notifications;

#[Object]
impl Notifications {
    /// Rules of the workspace, oldest first; with a project, those that hold for it.
    async fn notification_rules(
        &self,
        ctx: &Context<'_>,
        project_id: Option<String>,
        workspace_id: String,
    ) -> Result<Vec<NotificationRule>> {
        let request = request(ctx);
        request.who.admin()?;
        if workspace_id != request.core.info.workspace_id {
            return Err(Refusal::not_authorized().into());
        }
        let world = request.world();
        if let Some(project) = &project_id {
            request.who.project(&world, project)?;
        }
        let mut rows: Vec<_> = world
            .rules
            .iter()
            .filter(|row| project_id.is_none() || row.project_id.is_none() || row.project_id == project_id)
            .cloned()
            .collect();
        rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
        Ok(rows.into_iter().map(NotificationRule).collect())
    }
}

/// Writes.
#[derive(Default)]
pub(crate) struct NotificationWrites;

#[Object]
impl NotificationWrites {
    async fn notification_rule_create(
        &self,
        ctx: &Context<'_>,
        input: CreateNotificationRuleInput,
    ) -> Result<NotificationRule> {
        let request = request(ctx);
        let new = ops::NewRule {
            workspace_id: input.workspace_id,
            project_id: input.project_id,
            event_types: input.event_types,
            severities: input.severities.map(severities).unwrap_or_default(),
            ephemeral_environments: input.ephemeral_environments,
            channels: configs(input.channel_configs),
        };
        let id = request.mutate(None, |draft, who, _| ops::create(draft, who, new))?;
        rule(request, &id)
    }

    async fn notification_rule_update(
        &self,
        ctx: &Context<'_>,
        id: String,
        input: UpdateNotificationRuleInput,
    ) -> Result<NotificationRule> {
        let request = request(ctx);
        let change = ops::RuleChange {
            event_types: input.event_types,
            severities: input.severities.map(severities),
            ephemeral_environments: input.ephemeral_environments,
            channels: input.channel_configs.map(configs),
        };
        request.mutate(None, |draft, who, _| ops::update(draft, who, &id, change))?;
        rule(request, &id)
    }

    async fn notification_rule_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        request(ctx).mutate(None, |draft, who, _| ops::delete(draft, who, &id))?;
        Ok(true)
    }

    /// Sends once and answers the target's status, whatever that is.
    async fn webhook_test(&self, ctx: &Context<'_>, payload: String, url: String) -> Result<i32> {
        let request = request(ctx);
        request.who.admin()?;
        let url = ops::parse_url(&url)?;
        let outcome = send(&request.settings, &url, payload).await;
        let attempt = outcome.attempt(request.core.clock.stamp(), request.core.clock.now());
        let error = attempt.error.clone();
        request.mutate(None, |draft, who, _| {
            ops::tested(draft, who, &url, attempt);
            Ok(())
        })?;
        match outcome {
            Outcome::Status(status) => Ok(i32::from(status)),
            Outcome::Failed(_) | Outcome::Refused => {
                let reason = error.unwrap_or_default();
                tracing::warn!(target = ops::redact_url(&url), reason, "the test of a webhook failed");
                Err(Refusal::internal(format!("The webhook was not delivered: {reason}")).into())
            }
        }
    }
}
