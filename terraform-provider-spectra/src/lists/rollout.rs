//! `list "spectra_rollout"`: services that run a digest.

use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model, Text};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::rollout::{self, Rollout, RolloutModel};

/// Finds services that run an image whose digest is known, each once for every environment. Costs one request an environment.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct RolloutQuery {
    /// Only in this project.
    #[tf(optional)]
    pub(super) project_id: Attr<Text<ProjectId>>,
    /// Only in this environment; needs `project_id`.
    #[tf(optional)]
    pub(super) environment_id: Attr<Text<EnvironmentId>>,
    /// Only services whose name begins like this.
    #[tf(optional, validate(length(1..=32)))]
    pub(super) name_prefix: Attr<String>,
}

/// The list resource.
pub(crate) struct Rollouts;

impl ListResource for Rollouts {
    type Model = RolloutQuery;
    type Resource = Rollout;
    type Client = Clients;

    fn validate(&self, config: &RolloutQuery, diagnostics: &mut Diagnostics) {
        search::validate(&config.project_id, &config.environment_id, diagnostics);
    }

    async fn list(
        &self,
        cx: &Cx,
        config: RolloutQuery,
        findings: &Findings<RolloutModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let mut environments =
            search::Environments::within(cx, &config.project_id, &config.environment_id).await?;
        while let Some(snapshot) = environments.next_snapshot().await? {
            let running = search::services(&snapshot, &config.name_prefix).into_iter();
            for (at, instance) in running.filter(|(_, instance)| rollout::runs(instance)) {
                let known = RolloutModel::imported(
                    Text::new(at.project).into(),
                    Text::new(at.environment).into(),
                    Text::new(at.service).into(),
                );
                let Some(state) = search::complete(&Rollout, cx, known, findings).await? else { continue };
                if !findings.found(search::title(&instance.service_name, &snapshot), state).await {
                    return Ok(environments.warnings());
                }
            }
        }
        Ok(environments.warnings())
    }
}
