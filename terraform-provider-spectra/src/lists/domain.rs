//! `list "spectra_domain"`: domains that Railway generated.

use spectra_types::{EnvironmentId, ProjectId};
use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model, Text};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::domain::{Domain, DomainModel};

/// Finds domains that Railway generated. Costs one request an environment.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct DomainQuery {
    /// Only in this project.
    #[tf(optional)]
    pub(super) project_id: Attr<Text<ProjectId>>,
    /// Only in this environment; needs `project_id`.
    #[tf(optional)]
    pub(super) environment_id: Attr<Text<EnvironmentId>>,
    /// Only domains of services whose name begins like this.
    #[tf(optional, validate(length(1..=32)))]
    pub(super) name_prefix: Attr<String>,
}

/// The list resource.
pub(crate) struct Domains;

impl ListResource for Domains {
    type Model = DomainQuery;
    type Resource = Domain;
    type Client = Clients;

    fn validate(&self, config: &DomainQuery, diagnostics: &mut Diagnostics) {
        search::validate(&config.project_id, &config.environment_id, diagnostics);
    }

    async fn list(
        &self,
        cx: &Cx,
        config: DomainQuery,
        findings: &Findings<DomainModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let mut environments =
            search::Environments::within(cx, &config.project_id, &config.environment_id).await?;
        while let Some(snapshot) = environments.next_snapshot().await? {
            for (at, instance) in search::services(&snapshot, &config.name_prefix) {
                for found in &instance.domains {
                    let known = DomainModel::imported(at.clone(), found.id.clone());
                    let Some(state) = search::complete(&Domain, cx, known, findings).await? else { continue };
                    if !findings.found(found.domain.clone(), state).await {
                        return Ok(environments.warnings());
                    }
                }
            }
        }
        Ok(environments.warnings())
    }
}
