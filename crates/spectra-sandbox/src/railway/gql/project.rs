//! `Project`.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result};

use super::buckets::ProjectBucketsConnection;
use super::environment::{Environment, ProjectEnvironmentsConnection, environments};
use super::inputs::SortOrder;
use super::scalars::DateTime;
use super::service::{ProjectServicesConnection, Service};
use super::volumes::{ProjectVolumesConnection, volumes};
use super::workspace::Workspace;
use super::{Page, connection, request};
use crate::store::rows;

pub(crate) struct Project(pub(crate) Arc<rows::Project>);

connection!(QueryProjectsConnection, QueryProjectsConnectionEdge, Project);
connection!(WorkspaceProjectsConnection, WorkspaceProjectsConnectionEdge, Project);

#[Object]
impl Project {
    async fn id(&self) -> ID {
        ID(self.0.id.clone())
    }

    async fn name(&self) -> &str {
        &self.0.name
    }

    async fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.0.times.created_at)
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.0.times.updated_at)
    }

    /// Set as soon as the deletion is scheduled; until the grace is over the project is there all the same.
    async fn deleted_at(&self) -> Option<DateTime> {
        self.0.times.deleted_at.or(self.0.deletion.map(|deletion| deletion.asked_at)).map(DateTime)
    }

    async fn expired_at(&self) -> Option<DateTime> {
        // A project made without a workspace is a temporary one; it lives for a day unless claimed.
        self.0.temporary.then(|| DateTime(self.0.times.created_at + 86_400_000))
    }

    async fn is_public(&self) -> bool {
        self.0.is_public
    }

    async fn is_temp_project(&self) -> bool {
        self.0.temporary
    }

    async fn pr_deploys(&self) -> bool {
        self.0.pr_deploys
    }

    async fn bot_pr_environments(&self) -> bool {
        self.0.bot_pr_environments
    }

    async fn focused_pr_environments(&self) -> bool {
        self.0.focused_pr_environments
    }

    async fn base_environment_id(&self) -> Option<&str> {
        self.0.base_environment_id.as_deref()
    }

    async fn base_environment(&self, ctx: &Context<'_>) -> Option<Environment> {
        let world = request(ctx).world();
        world.environment(self.0.base_environment_id.as_deref()?).cloned().map(Environment)
    }

    async fn primary_environment_id(&self, ctx: &Context<'_>) -> Option<String> {
        let world = request(ctx).world();
        world
            .environments
            .iter()
            .filter(|row| row.project_id == self.0.id && row.times.live() && !row.ephemeral)
            .min_by_key(|row| row.times.created_tick)
            .map(|row| row.id.clone())
    }

    async fn workspace_id(&self) -> Option<&str> {
        Some(&self.0.workspace_id)
    }

    async fn workspace(&self) -> Option<Workspace> {
        Some(Workspace { id: self.0.workspace_id.clone() })
    }

    #[expect(clippy::too_many_arguments, reason = "Relay's arguments")]
    async fn environments(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        is_ephemeral: Option<bool>,
        last: Option<i32>,
        sort: Option<SortOrder>,
    ) -> Result<ProjectEnvironmentsConnection> {
        let request = request(ctx);
        let mut rows = environments(request, &self.0.id, is_ephemeral);
        if sort == Some(SortOrder::Desc) {
            rows.reverse();
        }
        Ok(ProjectEnvironmentsConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn services(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<ProjectServicesConnection> {
        let request = request(ctx);
        let world = request.world();
        let mut rows: Vec<_> = world
            .services
            .iter()
            .filter(|row| {
                row.project_id == self.0.id && row.times.live() && request.visible("service", &row.times)
            })
            .cloned()
            .collect();
        rows.sort_by_key(|row| (row.times.created_tick, row.id.clone()));
        let rows = rows.into_iter().map(|row| (row.id.clone(), Service(row))).collect();
        Ok(ProjectServicesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    async fn volumes(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<ProjectVolumesConnection> {
        let request = request(ctx);
        let rows = volumes(request, &self.0.id);
        Ok(ProjectVolumesConnection::page(request, rows, &Page::new(after, before, first, last)))
    }

    /// The sandbox has no buckets; the official command line reads them with every project.
    async fn buckets(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> ProjectBucketsConnection {
        let page = Page::new(after, before, first, last);
        ProjectBucketsConnection::page(request(ctx), Vec::new(), &page)
    }
}
