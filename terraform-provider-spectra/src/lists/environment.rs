//! `list "spectra_environment"`: environments of a project, or of all.

use spectra_types::ProjectId;
use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model, Text};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::environment::{Environment, EnvironmentModel};

/// Finds environments. Costs one request a project, and one more an environment where whole objects are asked for.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct EnvironmentQuery {
    /// Only environments of this project.
    #[tf(optional)]
    pub(super) project_id: Attr<Text<ProjectId>>,
    /// Only environments whose name begins like this.
    #[tf(optional, validate(length(1..=32)))]
    pub(super) name_prefix: Attr<String>,
    /// Only those that Railway made for pull requests (`true`), or only the others (`false`).
    #[tf(optional)]
    pub(super) is_ephemeral: Attr<bool>,
}

/// The list resource.
pub(crate) struct Environments;

impl ListResource for Environments {
    type Model = EnvironmentQuery;
    type Resource = Environment;
    type Client = Clients;

    async fn list(
        &self,
        cx: &Cx,
        config: EnvironmentQuery,
        findings: &Findings<EnvironmentModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let mut environments = search::Environments::within(cx, &config.project_id, &Attr::Null).await?;
        while let Some(found) = environments.next().await? {
            if !search::matches(&config.name_prefix, &found.name)
                || config.is_ephemeral.as_known().is_some_and(|wanted| *wanted != found.is_ephemeral)
            {
                continue;
            }
            let known =
                EnvironmentModel::imported(Text::new(found.project).into(), Text::new(found.id).into());
            let Some(state) = search::complete(&Environment, cx, known, findings).await? else { continue };
            if !findings.found(found.name, state).await {
                break;
            }
        }
        Ok(environments.warnings())
    }
}
