//! `spectra_project`: a Railway project.

use spectra_railway::{NewProject, Project as RailwayProject, ProjectChanges};
use spectra_types::{EnvironmentId, ProjectId, WorkspaceId};
use tfplugin::{
    Apply, Attr, Diagnostic, Diagnostics, Import, Model, Operation, Plan, Resource, StateSlot, Text,
};

use super::parents;
use crate::errors::{LEFT_BEHIND, UNCHANGED, known, left_behind, railway};
use crate::provider::{Clients, Cx};

/// A Railway project: the home of environments and services.
///
/// A project is created in one workspace, with one environment. Needs an account or workspace token: a project token
/// reaches one environment of one project and cannot create either.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct ProjectModel {
    /// The project's id.
    #[tf(computed, stable, identity)]
    id: Attr<Text<ProjectId>>,
    /// The project's name.
    #[tf(required, validate(length(1..=64)))]
    name: Attr<String>,
    /// What the project is for.
    #[tf(optional, validate(length(1..=1024)))]
    description: Attr<String>,
    /// The workspace that owns the project. May be left out when the token reaches exactly one workspace.
    #[tf(optional, computed, stable, force_new)]
    workspace_id: Attr<Text<WorkspaceId>>,
    /// The name of the environment that the project is created with. Matters on creation only: an imported project
    /// keeps what it has.
    #[tf(optional, default = "production", force_new, validate(length(1..=32)))]
    default_environment_name: Attr<String>,
    /// The id of the environment that the project was created with.
    #[tf(computed, stable)]
    default_environment_id: Attr<Text<EnvironmentId>>,
}

impl ProjectModel {
    /// What Railway says, over what it does not say.
    pub(crate) fn with(self, project: RailwayProject) -> Self {
        Self {
            id: Text::new(project.id).into(),
            name: project.name.into(),
            description: project.description.into(),
            workspace_id: match project.workspace {
                Some(workspace) => Text::new(workspace).into(),
                None => self.workspace_id,
            },
            // Railway reports the oldest environment that is left; the one it was created with is remembered.
            default_environment_id: match self.default_environment_id {
                Attr::Known(id) => Attr::Known(id),
                Attr::Null | Attr::Unknown => project.default_environment.map(Text::new).into(),
            },
            ..self
        }
    }
}

/// The resource.
pub(crate) struct Project;

impl Resource for Project {
    type Model = ProjectModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_project";
    const IMPORT_ID: &'static str = "the id of the project";

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<ProjectModel>) {
        if plan.operation == Operation::Update
            && plan.config.as_ref().is_some_and(|config| config.default_environment_name.is_null())
        {
            // The default is for creation. A project that was imported has an environment of another name, and must
            // not be replaced for that.
            plan.keep_prior("default_environment_name");
        }
        let (Some(cx), Some(planned)) = (cx, plan.planned.clone()) else { return };
        if plan.operation != Operation::Create
            || !parents::check_not_project_token(cx, plan, "create projects").await
        {
            return;
        }
        let Ok(client) = cx.client.railway() else { return };
        let Ok(identity) = client.identity().await else { return };
        match planned.workspace_id.as_known() {
            Some(wanted) if !identity.workspaces.iter().any(|workspace| &workspace.id == wanted.get()) => {
                plan.error(
                    "workspace_id",
                    "The token does not reach this workspace",
                    format!(
                        "Workspace `{wanted}` is not among those of the {}. {UNCHANGED}",
                        identity.describe()
                    ),
                );
            }
            None if planned.workspace_id.is_unknown() && config_is_null(plan) => {
                match client.only_workspace().await {
                    Ok(workspace) => plan.set("workspace_id", workspace.to_string()),
                    Err(error) => plan
                        .diagnostics
                        .push(railway("The workspace has to be named", &error, UNCHANGED).at("workspace_id")),
                }
            }
            Some(_) | None => {}
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<ProjectModel>,
        state: &StateSlot<ProjectModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let planned = apply.planned;
        let new = NewProject {
            name: known(&planned.name, "name")?,
            description: planned.description.clone().known(),
            workspace: planned.workspace_id.as_known().map(|workspace| workspace.get().clone()),
            default_environment_name: planned.default_environment_name.clone().known(),
        };
        let project = match cx.client.railway()?.create_project(&new).await {
            Ok(project) => project,
            Err(error) => {
                let id = left_behind(&error);
                let left = match (id.is_known(), error.changed_nothing()) {
                    (true, _) => LEFT_BEHIND,
                    (false, true) => UNCHANGED,
                    (false, false) => {
                        "The project may have been created: look for it on Railway, and import or delete it before \
                         applying again."
                    }
                };
                if id.is_known() {
                    state.save(ProjectModel { id, ..planned });
                }
                return Err(railway(
                    format!("The project `{}` could not be created", new.name),
                    &error,
                    left,
                )
                .into());
            }
        };
        state.save(planned.with(project));
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Cx, state: ProjectModel) -> Result<Option<ProjectModel>, Diagnostics> {
        let id = known(&state.id, "id")?;
        match cx.client.railway()?.project(&id).await {
            Ok(project) => complete(cx, state.with(project)).await.map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                Err(railway(format!("The project `{id}` could not be read"), &error, "State is unchanged.")
                    .into())
            }
        }
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<ProjectModel>,
        state: &StateSlot<ProjectModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let planned = apply.planned;
        let id = known(&planned.id, "id")?;
        let changes = ProjectChanges {
            name: planned.name.clone().known(),
            // Empty text clears.
            description: Some(planned.description.clone().or_default()),
        };
        let project = cx.client.railway()?.update_project(&id, &changes).await.map_err(|error| {
            railway(
                format!("The project `{id}` could not be changed"),
                &error,
                "State keeps the values from before.",
            )
        })?;
        state.save(planned.with(project));
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Cx,
        prior: ProjectModel,
        _: &StateSlot<ProjectModel>,
    ) -> Result<Diagnostics, Diagnostics> {
        let id = known(&prior.id, "id")?;
        cx.client.railway()?.delete_project(&id).await.map_err(|error| {
            railway(format!("The project `{id}` could not be deleted"), &error, "It is still in state.")
        })?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<ProjectModel, Diagnostics> {
        let id: Text<ProjectId> = import.id.parse().map_err(|error| {
            Diagnostic::error(
                "Not a project id",
                format!("A project is imported by its id: {error}. Got `{}`.", import.id),
            )
        })?;
        Ok(ProjectModel { id: id.into(), ..ProjectModel::default() })
    }
}

/// What an import and a search do not know: the name of the first environment.
pub(crate) async fn complete(cx: &Cx, project: ProjectModel) -> Result<ProjectModel, Diagnostics> {
    if !project.default_environment_name.is_null() {
        return Ok(project);
    }
    let default_environment_name = first_environment_name(cx, &project).await?;
    Ok(ProjectModel { default_environment_name, ..project })
}

fn config_is_null(plan: &Plan<ProjectModel>) -> bool {
    plan.config.as_ref().is_some_and(|config| config.workspace_id.is_null())
}

/// For an imported project: the name of the oldest environment, so that the plan after the import is empty.
async fn first_environment_name(cx: &Cx, project: &ProjectModel) -> Result<Attr<String>, Diagnostics> {
    let (Some(id), Some(environment)) = (project.id.as_known(), project.default_environment_id.as_known())
    else {
        return Ok(Attr::Null);
    };
    let environments = cx.client.railway()?.environments(id.get()).await.map_err(|error| {
        railway(
            format!("The environments of project `{id}` could not be read"),
            &error,
            "State is unchanged.",
        )
    })?;
    let found = environments.iter().find(|known| &known.id == environment.get());
    Ok(found.map(|environment| environment.name.clone()).into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tfplugin::testing::Changed;

    use super::*;
    use crate::fake::Fake;

    fn named(name: &str) -> ProjectModel {
        ProjectModel { name: name.to_owned().into(), ..ProjectModel::default() }
    }

    #[tokio::test]
    async fn an_imported_project_whose_environment_has_another_name_is_not_replaced() {
        let fake = Fake::start().await;
        let mut core = fake.core().await;
        core.import::<Project>("shop", "p-1").await.unwrap();
        assert_eq!(core.plan::<Project>("shop", &named("shop")).await.unwrap().changed, Changed::Nothing);
        assert_eq!(core.plan::<Project>("shop", &named("store")).await.unwrap().changed, Changed::Updated);
        let asked =
            ProjectModel { default_environment_name: "production".to_owned().into(), ..named("shop") };
        assert_eq!(core.plan::<Project>("shop", &asked).await.unwrap().changed, Changed::Replaced);
    }

    #[tokio::test]
    async fn a_project_token_is_refused_at_plan_and_named() {
        let fake = Fake::start().await;
        fake.answer("TokenProbeApi", json!(null));
        fake.answer(
            "TokenProbeProject",
            json!({ "projectToken": { "projectId": "p-1", "environmentId": "e-1", "project": { "name": "shop" },
                "environment": { "name": "main" } } }),
        );
        let error = fake.core().await.plan::<Project>("shop", &named("shop")).await.unwrap_err().to_string();
        assert!(error.contains("railway.token"), "{error}");
    }
}
