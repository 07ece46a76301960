//! `AuditLog` and `Event`: what people asked for, and what went on in a project.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, InputObject, Object, Result, SimpleObject};
use serde_json::json;

use super::environment::Environment;
use super::inputs::{AuditLogFilterInput, SortOrder};
use super::project::Project;
use super::scalars::{DateTime, Json};
use super::{Page, Request, connection, request};
use crate::railway::auth::Identity;
use crate::railway::ops::activity;
use crate::railway::refusal::Refusal;
use crate::store::World;
use crate::store::rows::{self, Severity};

connection!(QueryAuditLogsConnection, QueryAuditLogsConnectionEdge, AuditLog);
connection!(QueryEventsConnection, QueryEventsConnectionEdge, Event);

pub(crate) struct AuditLog(Arc<rows::Audit>);

#[Object]
impl AuditLog {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn event_type(&self) -> &str {
        &self.0.event_type
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    async fn project_id(&self) -> Option<&str> {
        self.0.project_id.as_deref()
    }

    async fn environment_id(&self) -> Option<&str> {
        self.0.environment_id.as_deref()
    }

    async fn environment(&self, ctx: &Context<'_>) -> Option<Environment> {
        let id = self.0.environment_id.as_deref()?;
        request(ctx).world().environments.get(id).cloned().map(Environment)
    }

    async fn project(&self, ctx: &Context<'_>) -> Option<Project> {
        request(ctx).world().projects.get(self.0.project_id.as_deref()?).cloned().map(Project)
    }

    async fn workspace_id(&self, ctx: &Context<'_>) -> Option<String> {
        Some(request(ctx).core.info.workspace_id.clone())
    }

    async fn context(&self) -> Option<Json> {
        Some(Json(json!({ "actor": self.0.actor, "tokenKind": self.0.token })))
    }

    async fn payload(&self) -> Option<Json> {
        Some(Json(json!({ "object": self.0.object, "action": self.0.action, "id": self.0.object_id })))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Severity")]
enum EventSeverity {
    Critical,
    Info,
    Notice,
    Warning,
}

pub(crate) struct Event(Arc<rows::Audit>);

#[Object]
impl Event {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn object(&self) -> String {
        activity::object_name(&self.0.object)
    }

    async fn action(&self) -> &str {
        &self.0.action
    }

    async fn severity(&self) -> EventSeverity {
        self.0.severity.into()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_at)
    }

    async fn project_id(&self) -> Option<&str> {
        self.0.project_id.as_deref()
    }

    async fn project(&self, ctx: &Context<'_>) -> Result<Project> {
        let row = self.0.project_id.as_deref().and_then(|id| request(ctx).world().projects.get(id).cloned());
        Ok(row.map(Project).ok_or_else(|| Refusal::not_found("Project"))?)
    }

    async fn environment_id(&self) -> Option<&str> {
        self.0.environment_id.as_deref()
    }

    async fn environment(&self, ctx: &Context<'_>) -> Option<Environment> {
        let id = self.0.environment_id.as_deref()?;
        request(ctx).world().environments.get(id).cloned().map(Environment)
    }

    async fn payload(&self) -> Option<Json> {
        Some(Json(json!({ "id": self.0.object_id, "serviceId": self.0.service_id })))
    }

    async fn activity_payload(&self) -> Option<Json> {
        Some(Json(json!({ "actor": self.0.actor, "tokenKind": self.0.token })))
    }
}

#[derive(SimpleObject)]
struct AuditLogEventTypeInfo {
    description: String,
    event_type: String,
}

#[derive(InputObject)]
struct EventStringListFilter {
    r#in: Option<Vec<String>>,
    not_in: Option<Vec<String>>,
}

impl EventStringListFilter {
    fn keeps(&self, value: Option<&str>) -> bool {
        let named = |list: &Vec<String>| value.is_some_and(|value| list.iter().any(|name| name == value));
        self.r#in.as_ref().is_none_or(named) && !self.not_in.as_ref().is_some_and(named)
    }
}

#[derive(InputObject)]
struct EventFilterInput {
    action: Option<EventStringListFilter>,
    object: Option<EventStringListFilter>,
    service_id: Option<EventStringListFilter>,
}

impl EventFilterInput {
    fn keeps(&self, row: &rows::Audit) -> bool {
        let keeps = |filter: &Option<EventStringListFilter>, value: Option<&str>| {
            filter.as_ref().is_none_or(|filter| filter.keeps(value))
        };
        keeps(&self.action, Some(&row.action))
            && keeps(&self.object, Some(&activity::object_name(&row.object)))
            && keeps(&self.service_id, row.service_id.as_deref())
    }
}

fn workspace(request: &Request, id: &str) -> Result<(), Refusal> {
    request.who.admin()?;
    if id == request.core.info.workspace_id { Ok(()) } else { Err(Refusal::not_authorized()) }
}

/// Whether a row is of no restricted environment.
fn open(world: &World, row: &rows::Audit) -> bool {
    row.environment_id.as_ref().is_none_or(|id| !world.restricted.contains(id))
}

/// Rows of the audit log that the plan still keeps, oldest first.
fn audits(request: &Request) -> Vec<Arc<rows::Audit>> {
    let now = request.core.clock.now();
    let world = request.world();
    let mut rows: Vec<_> = world
        .audits
        .iter()
        .filter(|row| open(&world, row) && !row.feed_only && !activity::expired(row, &request.settings, now))
        .cloned()
        .collect();
    rows.sort_by_key(|row| row.sequence);
    rows
}

/// Reads.
#[derive(Default)]
pub(crate) struct Activity;

#[Object]
impl Activity {
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn audit_logs(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        filter: Option<AuditLogFilterInput>,
        first: Option<i32>,
        last: Option<i32>,
        sort: Option<SortOrder>,
        workspace_id: String,
    ) -> Result<QueryAuditLogsConnection> {
        let request = request(ctx);
        workspace(request, &workspace_id)?;
        let keep = |row: &rows::Audit| {
            let Some(filter) = &filter else { return true };
            let same = |wanted: &Option<String>, value: &Option<String>| wanted.is_none() || wanted == value;
            same(&filter.project_id, &row.project_id)
                && same(&filter.environment_id, &row.environment_id)
                && filter.event_types.as_ref().is_none_or(|types| types.contains(&row.event_type))
                && filter.start_date.is_none_or(|start| row.created_at >= start.0)
                && filter.end_date.is_none_or(|end| row.created_at <= end.0)
        };
        let mut rows: Vec<_> = audits(request).into_iter().filter(|row| keep(row)).collect();
        if sort != Some(SortOrder::Asc) {
            rows.reverse();
        }
        let rows = rows.into_iter().map(|row| (row.id.clone(), AuditLog(row))).collect();
        Ok(QueryAuditLogsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn audit_log(&self, ctx: &Context<'_>, id: String, workspace_id: String) -> Result<AuditLog> {
        let request = request(ctx);
        workspace(request, &workspace_id)?;
        let row = audits(request).into_iter().find(|row| row.id == id);
        Ok(row.map(AuditLog).ok_or_else(|| Refusal::not_found("AuditLog"))?)
    }

    async fn audit_log_event_type_info(&self, ctx: &Context<'_>) -> Result<Vec<AuditLogEventTypeInfo>> {
        request(ctx).who.known()?;
        let info = |(name, text): &(&str, &str)| AuditLogEventTypeInfo {
            description: (*text).to_owned(),
            event_type: (*name).to_owned(),
        };
        Ok(activity::EVENT_TYPES.iter().map(info).collect())
    }

    /// Newest first. A project token sees the rows of its own environment.
    #[expect(clippy::too_many_arguments, reason = "the schema's arguments")]
    async fn events(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        environment_id: Option<String>,
        filter: Option<EventFilterInput>,
        first: Option<i32>,
        last: Option<i32>,
        project_id: String,
    ) -> Result<QueryEventsConnection> {
        let request = request(ctx);
        let world = request.world();
        request.who.project(&world, &project_id)?;
        let mut environment = environment_id;
        if let Identity::Project { environment_id: own, .. } = &request.who {
            environment.get_or_insert_with(|| own.clone());
        }
        if let Some(id) = &environment
            && request.who.environment(&world, id)?.project_id != project_id
        {
            return Err(Refusal::not_authorized().into());
        }
        let mut rows: Vec<_> = world
            .audits
            .iter()
            .filter(|row| row.project_id.as_deref() == Some(project_id.as_str()))
            .filter(|row| open(&world, row))
            .filter(|row| environment.is_none() || row.environment_id == environment)
            .filter(|row| filter.as_ref().is_none_or(|filter| filter.keeps(row)))
            .cloned()
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sequence));
        let rows = rows.into_iter().map(|row| (row.id.clone(), Event(row))).collect();
        Ok(QueryEventsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }
}
