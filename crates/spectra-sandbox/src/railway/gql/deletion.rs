//! Projects by their ids, and their deletion after a grace.

use async_graphql::{Context, Object, Result};

use super::project::Project;
use super::{Request, request};
use crate::railway::ops::projects as ops;

fn touch(request: &Request, project: &str) {
    for row in request.world().environments.iter().filter(|row| row.project_id == project && row.times.live())
    {
        request.touch(&row.id);
    }
}

/// Reads.
#[derive(Default)]
pub(crate) struct ProjectsById;

#[Object]
impl ProjectsById {
    /// In the order asked. Ids that do not exist or lie out of reach are left out without a word.
    async fn projects_by_ids(&self, ctx: &Context<'_>, ids: Vec<String>) -> Result<Vec<Project>> {
        let request = request(ctx);
        request.who.known()?;
        let world = request.world();
        Ok(ids
            .iter()
            .filter_map(|id| request.who.project(&world, id).ok())
            .filter(|row| request.visible("project", &row.times))
            .map(Project)
            .collect())
    }
}

/// Writes.
#[derive(Default)]
pub(crate) struct DeletionWrites;

#[Object]
impl DeletionWrites {
    async fn project_schedule_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        request(ctx).mutate(None, |draft, who, settings| ops::schedule_delete(draft, who, settings, &id))?;
        Ok(true)
    }

    async fn project_schedule_delete_cancel(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        request(ctx).mutate(None, |draft, who, _| ops::schedule_delete_cancel(draft, who, &id))?;
        Ok(true)
    }

    async fn project_schedule_delete_force(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        let request = request(ctx);
        touch(request, &id);
        request.mutate(None, |draft, who, _| ops::schedule_delete_force(draft, who, &id))?;
        Ok(true)
    }
}
