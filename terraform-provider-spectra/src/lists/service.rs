//! `list "spectra_service"`: services in environments.

use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model, Text};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::service::{Service, ServiceModel};

/// Finds services, each once for every environment that it is in. Costs one request an environment.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ServiceQuery {
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
pub(crate) struct Services;

impl ListResource for Services {
    type Model = ServiceQuery;
    type Resource = Service;
    type Client = Clients;

    fn validate(&self, config: &ServiceQuery, diagnostics: &mut Diagnostics) {
        search::validate(&config.project_id, &config.environment_id, diagnostics);
    }

    async fn list(
        &self,
        cx: &Cx,
        config: ServiceQuery,
        findings: &Findings<ServiceModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let mut environments =
            search::Environments::within(cx, &config.project_id, &config.environment_id).await?;
        while let Some(snapshot) = environments.next_snapshot().await? {
            for (at, instance) in search::services(&snapshot, &config.name_prefix) {
                let known = ServiceModel::imported(
                    Text::new(at.project).into(),
                    Text::new(at.environment).into(),
                    Text::new(at.service).into(),
                );
                let Some(state) = search::complete(&Service, cx, known, findings).await? else { continue };
                if !findings.found(search::title(&instance.service_name, &snapshot), state).await {
                    return Ok(environments.warnings());
                }
            }
        }
        Ok(environments.warnings())
    }
}
