//! `list "spectra_variables"`: variables of services, and shared ones of environments.

use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model, Text};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::variables::{Variables, VariablesModel};

/// Finds where variables are: one object a service that has some, and one for the shared ones of an environment. Costs one request an environment.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct VariablesQuery {
    /// Only in this project.
    #[tf(optional)]
    pub(super) project_id: Attr<Text<ProjectId>>,
    /// Only in this environment; needs `project_id`.
    #[tf(optional)]
    pub(super) environment_id: Attr<Text<EnvironmentId>>,
    /// Only variables of services whose name begins like this; shared ones belong to no service and are left out then.
    #[tf(optional, validate(length(1..=32)))]
    pub(super) name_prefix: Attr<String>,
}

/// The list resource.
pub(crate) struct VariableSets;

impl ListResource for VariableSets {
    type Model = VariablesQuery;
    type Resource = Variables;
    type Client = Clients;

    fn validate(&self, config: &VariablesQuery, diagnostics: &mut Diagnostics) {
        search::validate(&config.project_id, &config.environment_id, diagnostics);
    }

    async fn list(
        &self,
        cx: &Cx,
        config: VariablesQuery,
        findings: &Findings<VariablesModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let mut environments =
            search::Environments::within(cx, &config.project_id, &config.environment_id).await?;
        while let Some(snapshot) = environments.next_snapshot().await? {
            let environment = &snapshot.environment;
            let mut owners = Vec::new();
            if config.name_prefix.is_null() && !snapshot.shared_variables.is_empty() {
                owners.push(("shared", Attr::Null));
            }
            for (at, instance) in search::services(&snapshot, &config.name_prefix) {
                if !instance.variables.is_empty() {
                    owners.push((&instance.service_name, Text::new(at.service).into()));
                }
            }
            for (name, service) in owners {
                let known = VariablesModel::imported(
                    Text::new(environment.project.clone()).into(),
                    Text::new(environment.id.clone()).into(),
                    service,
                );
                let Some(state) = search::complete(&Variables, cx, known, findings).await? else { continue };
                if !findings.found(search::title(name, &snapshot), state).await {
                    return Ok(environments.warnings());
                }
            }
        }
        Ok(environments.warnings())
    }
}
