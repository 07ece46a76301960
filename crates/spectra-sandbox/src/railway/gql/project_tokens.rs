//! Tokens of a project's environment.

use async_graphql::{Context, Object, Result};

use super::inputs::ProjectTokenCreateInput;
use super::request;
use crate::railway::ops::tokens;

/// Writes.
#[derive(Default)]
pub(crate) struct ProjectTokenWrites;

#[Object]
impl ProjectTokenWrites {
    async fn project_token_create(
        &self,
        ctx: &Context<'_>,
        input: ProjectTokenCreateInput,
    ) -> Result<String> {
        let request = request(ctx);
        let secret = request.mutate(Some(&input.environment_id), |draft, who, _| {
            tokens::create(draft, who, &input.project_id, &input.environment_id, &input.name)
        })?;
        request.core.secrets.note(&secret);
        Ok(secret)
    }

    async fn project_token_delete(&self, ctx: &Context<'_>, id: String) -> Result<bool> {
        request(ctx).mutate(None, |draft, who, _| tokens::delete(draft, who, &id))?;
        Ok(true)
    }
}
