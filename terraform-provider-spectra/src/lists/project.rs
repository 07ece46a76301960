//! `list "spectra_project"`: the projects within the token's reach.

use spectra_types::WorkspaceId;
use tfplugin::{Attr, Diagnostics, Findings, ListResource, Model, Text};

use super::search;
use crate::provider::{Clients, Cx};
use crate::resources::project::{self, Project, ProjectModel};

/// Finds projects. Costs one request a workspace, and one more a project where whole objects are asked for.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ProjectQuery {
    /// Only projects of this workspace.
    #[tf(optional)]
    pub(super) workspace_id: Attr<Text<WorkspaceId>>,
    /// Only projects whose name begins like this.
    #[tf(optional, validate(length(1..=64)))]
    pub(super) name_prefix: Attr<String>,
}

/// The list resource.
pub(crate) struct Projects;

impl ListResource for Projects {
    type Model = ProjectQuery;
    type Resource = Project;
    type Client = Clients;

    async fn list(
        &self,
        cx: &Cx,
        config: ProjectQuery,
        findings: &Findings<ProjectModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let workspace = config.workspace_id.as_known().map(Text::get);
        let mut projects = search::Projects::within(cx, workspace).await?;
        while let Some(found) = projects.next().await? {
            if !search::matches(&config.name_prefix, &found.name) {
                continue;
            }
            let name = found.name.clone();
            let mut state = ProjectModel::default().with(found);
            if findings.wants_objects() {
                state = project::complete(cx, state).await?;
            }
            if !findings.found(name, state).await {
                break;
            }
        }
        Ok(Diagnostics::new())
    }
}
