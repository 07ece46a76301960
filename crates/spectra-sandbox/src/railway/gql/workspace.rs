//! `Workspace`, `User`, token probes, regions, platform status, policy.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, Result, SimpleObject};

use super::project::{Project, WorkspaceProjectsConnection};
use super::{Page, Request, request};
use crate::settings::PlanName;
use crate::store::{ONLY, rows};

pub(crate) const WORKSPACE_NAME: &str = "Sandbox";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum Plan {
    Free,
    Hobby,
    Pro,
}

pub(crate) struct Workspace {
    pub(crate) id: String,
}

/// Visible projects within reach, oldest first; those that were deleted are there only when asked for.
pub(crate) fn projects(request: &Request, deleted: bool) -> Vec<Arc<rows::Project>> {
    let world = request.world();
    let mut rows: Vec<_> = world
        .projects
        .iter()
        .filter(|row| request.visible("project", &row.times))
        .filter(|row| if row.times.live() { request.who.project(&world, &row.id).is_ok() } else { deleted })
        .cloned()
        .collect();
    rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
    rows
}

#[Object]
impl Workspace {
    async fn id(&self) -> ID {
        ID(self.id.clone())
    }

    async fn name(&self) -> &str {
        WORKSPACE_NAME
    }

    /// Teams are what workspaces were once; there is none.
    async fn team(&self) -> Option<Team> {
        None
    }

    async fn plan(&self, ctx: &Context<'_>) -> Plan {
        match request(ctx).settings.plan {
            PlanName::Free => Plan::Free,
            PlanName::Hobby => Plan::Hobby,
            // The schema has no word for Enterprise.
            PlanName::Pro | PlanName::Enterprise => Plan::Pro,
        }
    }

    async fn avatar(&self) -> Option<String> {
        None
    }

    async fn preferred_region(&self) -> Option<String> {
        None
    }

    #[graphql(name = "has2FAEnforcement")]
    async fn has_2fa_enforcement(&self) -> bool {
        false
    }

    async fn project_count(&self, ctx: &Context<'_>, include_deleted: Option<bool>) -> i32 {
        let world = request(ctx).world();
        let rows = world.projects.iter().filter(|row| include_deleted == Some(true) || row.times.live());
        i32::try_from(rows.count()).unwrap_or(i32::MAX)
    }

    async fn projects(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<WorkspaceProjectsConnection> {
        let request = request(ctx);
        let rows = projects(request, false).into_iter().map(|row| (row.id.clone(), Project(row))).collect();
        Ok(WorkspaceProjectsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }
}

#[derive(SimpleObject)]
pub(crate) struct Team {
    id: ID,
}

/// A workspace of others, some of whose projects are shared; there is none.
#[derive(SimpleObject)]
pub(crate) struct ExternalWorkspace {
    id: String,
    name: String,
    projects: Vec<Project>,
    team_id: Option<String>,
}

pub(crate) struct User;

#[Object]
impl User {
    async fn id(&self, ctx: &Context<'_>) -> ID {
        ID(request(ctx).world().meta.get(ONLY).map(|meta| meta.user_id.clone()).unwrap_or_default())
    }

    async fn name(&self) -> Option<&str> {
        Some("Sandbox User")
    }

    async fn email(&self) -> &str {
        "sandbox@railway.localhost"
    }

    async fn username(&self) -> Option<&str> {
        Some("sandbox")
    }

    async fn avatar(&self) -> Option<String> {
        None
    }

    #[graphql(name = "has2FA")]
    async fn has_2fa(&self) -> bool {
        true
    }

    async fn is_verified(&self) -> bool {
        true
    }

    async fn workspaces(&self, ctx: &Context<'_>) -> Vec<Workspace> {
        vec![Workspace { id: request(ctx).core.info.workspace_id.clone() }]
    }
}

#[derive(SimpleObject)]
pub(crate) struct ApiTokenWorkspace {
    pub(crate) id: String,
    pub(crate) name: String,
}

#[derive(SimpleObject)]
pub(crate) struct ApiTokenContext {
    pub(crate) workspaces: Vec<ApiTokenWorkspace>,
}

#[derive(SimpleObject)]
#[expect(clippy::struct_field_names, reason = "the schema's names")]
pub(crate) struct Region {
    pub(crate) country: String,
    pub(crate) id: Option<String>,
    pub(crate) location: String,
    pub(crate) name: String,
    pub(crate) region: Option<String>,
    pub(crate) workspace_id: Option<String>,
}

#[derive(SimpleObject)]
pub(crate) struct PlatformStatus {
    pub(crate) is_stable: bool,
}

#[derive(SimpleObject)]
pub(crate) struct WorkspacePolicy {
    pub(crate) id: ID,
    pub(crate) restrict_deploys_to_allowed_sources: bool,
    pub(crate) restrict_public_tcp_proxies: bool,
    pub(crate) restrict_railway_domain_generation: bool,
}
