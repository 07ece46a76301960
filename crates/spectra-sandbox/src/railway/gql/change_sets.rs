//! `ChangeSetPreview`, `ChangeSetApplyResult`: change sets over GraphQL.

use std::sync::Arc;

use async_graphql::{Context, Object, Result, SimpleObject};
use serde_json::json;

use super::scalars::Json;
use super::{Request, request};
use crate::railway::ops::change_sets::{self as ops, Progress};
use crate::railway::refusal::Refusal;
use crate::store::rows;

#[derive(SimpleObject)]
struct ChangeSetPreview {
    change_set: Json,
    diagnostics: Json,
    effects: Json,
}

#[derive(SimpleObject)]
struct ChangeOperationResult {
    kind: String,
    outputs: Option<Json>,
    path: Option<String>,
    status: String,
    summary: Option<String>,
}

struct ChangeSetApplyResult {
    row: Arc<rows::ChangeSet>,
    patch: Arc<rows::Patch>,
}

impl ChangeSetApplyResult {
    fn read(request: &Request, environment: &str, id: &str) -> Result<Self, Refusal> {
        let (row, patch) = ops::reach(&request.world(), &request.who, environment, id)?;
        Ok(Self { row, patch })
    }
}

#[Object]
impl ChangeSetApplyResult {
    async fn id(&self) -> &str {
        &self.row.id
    }

    async fn status(&self) -> &'static str {
        Progress::of(&self.patch).word()
    }

    /// A change set can start several deployments; the one named is the first that its patch started.
    async fn deployment_id(&self) -> Option<&str> {
        self.row.deployment_id.as_deref()
    }

    /// A change set is committed at once and never lies on the stage.
    async fn staged_patch_id(&self) -> Option<String> {
        None
    }

    async fn diagnostics(&self) -> Json {
        let mut diagnostics = self.row.diagnostics.as_array().cloned().unwrap_or_default();
        if let Some(error) = &self.patch.last_error {
            diagnostics.push(json!({ "severity": "error", "path": "changes", "message": error }));
        }
        Json(json!(diagnostics))
    }

    async fn changes(&self, ctx: &Context<'_>) -> Vec<ChangeOperationResult> {
        let world = request(ctx).world();
        let status = Progress::of(&self.patch).word();
        self.row
            .changes
            .iter()
            .map(|change| ChangeOperationResult {
                kind: change.kind.clone(),
                // Only what is there by now has an id to tell.
                outputs: world
                    .service(&change.service_id)
                    .map(|service| Json(json!({ "address": change.address, "serviceId": service.id }))),
                path: change.path.clone(),
                status: status.to_owned(),
                summary: change.summary.clone(),
            })
            .collect()
    }
}

/// Waits until the patch of a change set is applied or has failed, or the sandbox stops.
async fn settled(request: &Request, environment: &str, id: &str) -> Result<(), Refusal> {
    let mut written = request.core.changes();
    loop {
        written.mark_unchanged();
        let (_, patch) = ops::reach(&request.core.world(), &request.who, environment, id)?;
        if Progress::of(&patch) != Progress::Applying {
            return Ok(());
        }
        tokio::select! {
            result = written.changed() => if result.is_err() { return Ok(()) },
            () = request.core.shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Reads.
#[derive(Default)]
pub(crate) struct ChangeSets;

#[Object]
impl ChangeSets {
    async fn environment_change_set_apply(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        id: String,
    ) -> Result<ChangeSetApplyResult> {
        Ok(ChangeSetApplyResult::read(request(ctx), &environment_id, &id)?)
    }
}

/// Writes.
#[derive(Default)]
pub(crate) struct ChangeSetWrites;

#[Object]
impl ChangeSetWrites {
    /// Changes nothing, although it stands among the mutations.
    async fn environment_preview_change_set(
        &self,
        ctx: &Context<'_>,
        environment_id: String,
        input: Json,
    ) -> Result<ChangeSetPreview> {
        let request = request(ctx);
        let (set, diagnostics, effects) =
            ops::preview(&request.world(), &request.who, &request.settings, &environment_id, &input.0)?;
        Ok(ChangeSetPreview {
            change_set: Json(set),
            diagnostics: Json(json!(diagnostics)),
            effects: Json(effects),
        })
    }

    async fn environment_apply_change_set(
        &self,
        ctx: &Context<'_>,
        base_config_etag: Option<String>,
        commit_message: Option<String>,
        environment_id: String,
        input: Json,
        wait_for_completion: Option<bool>,
    ) -> Result<ChangeSetApplyResult> {
        let request = request(ctx);
        let base = base_config_etag.as_deref();
        let id = request.mutate(Some(&environment_id), |draft, who, settings| {
            ops::accept(draft, who, settings, &environment_id, &input.0, base, commit_message)
        })?;
        if wait_for_completion == Some(true) {
            settled(request, &environment_id, &id).await?;
            request.refresh();
        }
        Ok(ChangeSetApplyResult::read(request, &environment_id, &id)?)
    }
}
