//! Projects.

use spectra_types::{EnvironmentId, ProjectId, WorkspaceId};

use crate::client::{Client, Page, Touches, all_pages, confirmed, id};
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    Operation, ProjectCreate, ProjectDelete, ProjectGet, ProjectList, ProjectUpdate, project_create,
    project_delete, project_get, project_list, project_update,
};
use crate::identity::{TokenKind, Workspace};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name; not unique.
    pub name: String,
    /// Its description; Railway's empty text is `None`.
    pub description: Option<String>,
    /// Who owns it.
    pub workspace: Option<WorkspaceId>,
    /// The environment it was made with, or the oldest that is left.
    pub default_environment: Option<EnvironmentId>,
}

/// A project to be made.
#[derive(Clone, Debug)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The owner. Without one Railway makes a temporary public project, so `None` takes the token's only workspace
    /// and fails if there are several.
    pub workspace: Option<WorkspaceId>,
    /// The name of the first environment; Railway calls it `production` otherwise.
    pub default_environment_name: Option<String>,
}

/// What to change of a project; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct ProjectChanges {
    /// The new name.
    pub name: Option<String>,
    /// The new description; empty text clears it.
    pub description: Option<String>,
}

macro_rules! project_from {
    ($operation:ty, $node:expr) => {{
        let node = $node;
        Project {
            id: id::<$operation, _>(node.id)?,
            name: node.name,
            description: node.description.filter(|text| !text.is_empty()),
            workspace: node.workspace_id.map(id::<$operation, _>).transpose()?,
            default_environment: node.primary_environment_id.map(id::<$operation, _>).transpose()?,
        }
    }};
}

impl Client {
    /// The workspaces that the token reaches; none for project tokens.
    pub async fn workspaces(&self) -> Result<&[Workspace]> {
        Ok(&self.identity().await?.workspaces)
    }

    /// The workspace to act in when none was named.
    pub async fn only_workspace(&self) -> Result<WorkspaceId> {
        let identity = self.identity().await?;
        match identity.workspaces.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => Err(Error::new(
                ErrorKind::Forbidden,
                ProjectCreate::NAME,
                format!("the {} reaches no workspace", identity.describe()),
            )),
            several => {
                let names: Vec<_> = several
                    .iter()
                    .map(|workspace| format!("`{}` ({})", workspace.name, workspace.id))
                    .collect();
                Err(Error::new(
                    ErrorKind::BadInput,
                    ProjectCreate::NAME,
                    format!("the token reaches several workspaces: {}", names.join(", ")),
                )
                .hinting("name the workspace"))
            }
        }
    }

    /// Every project of one workspace.
    pub async fn projects_of(&self, workspace: &WorkspaceId) -> Result<Vec<Project>> {
        let mut projects = all_pages::<ProjectList, _, _>(|after| async move {
            let variables = project_list::Variables { workspace: Some(workspace.to_string()), after };
            let list = self.query::<ProjectList>(variables).await?.projects;
            let mut items = Vec::new();
            for edge in list.edges {
                if edge.node.deleted_at.is_none() {
                    items.push(project_from!(ProjectList, edge.node));
                }
            }
            Page::new::<ProjectList>(items, list.page_info.has_next_page, list.page_info.end_cursor)
        })
        .await
        .map_err(|error| error.attempting(|| format!("list the projects of workspace `{workspace}`")))?;
        dedup(&mut projects, |project| project.id.clone());
        Ok(projects)
    }

    /// Every project that the token reaches. Asked workspace by workspace: without one Railway answers with an
    /// empty list. Shared for a moment between callers.
    pub async fn projects(&self) -> Result<Vec<Project>> {
        let config = self.config();
        let list = self
            .project_lists()
            .get(&(), config.snapshot_ttl, || self.now(), || self.fetch_projects())
            .await?;
        Ok(list.to_vec())
    }

    async fn fetch_projects(&self) -> Result<Vec<Project>> {
        let mut projects = Vec::new();
        for workspace in self.workspaces().await? {
            projects.extend(self.projects_of(&workspace.id).await?);
        }
        Ok(projects)
    }

    /// One project. [`ErrorKind::NotFound`] means that a listing confirmed its absence; Railway itself answers "Not
    /// Authorized" for both. A project token cannot list, so there the answer stays as Railway gave it.
    pub async fn project(&self, project: &ProjectId) -> Result<Project> {
        let variables = project_get::Variables { id: project.to_string() };
        let result = match self.query::<ProjectGet>(variables).await {
            Ok(data) if data.project.deleted_at.is_some() => {
                return Err(Error::new(ErrorKind::NotFound, ProjectGet::NAME, "the project is deleted")
                    .attempting(|| format!("read project `{project}`")));
            }
            Ok(data) => return Ok(project_from!(ProjectGet, data.project)),
            Err(error) => error,
        };
        let error = self.settle_missing_project(project, result).await;
        Err(error.attempting(|| format!("read project `{project}`")))
    }

    /// Decides between gone, not yet there, and out of reach.
    pub(crate) async fn settle_missing_project(&self, project: &ProjectId, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) {
            return error;
        }
        match self.identity().await {
            Ok(identity) if identity.kind == TokenKind::Project => return error,
            Ok(_) => {}
            Err(_) => return error,
        }
        match self.fetch_projects().await {
            Ok(projects) if projects.iter().any(|known| known.id == *project) => {
                if error.kind() == ErrorKind::NotFound { error.with_kind(ErrorKind::NotYet) } else { error }
            }
            Ok(_) => Error::new(
                ErrorKind::NotFound,
                error.operation(),
                format!("project `{project}` is in no workspace that the token reaches"),
            )
            .trace(error.trace_id().map(str::to_owned)),
            // The listing failed, so nothing was learnt; the first answer stands.
            Err(_) => error,
        }
    }

    /// Makes a project and waits until it can be read. Waits out the cooldown of 30 s between two; takes over the
    /// project that a lost answer left behind.
    pub async fn create_project(&self, new: &NewProject) -> Result<Project> {
        let attempt = || format!("create project `{}`", new.name);
        let _row = self.creation().lock().await;
        let workspace = match &new.workspace {
            Some(workspace) => workspace.clone(),
            None => self.only_workspace().await.map_err(|error| error.attempting(attempt))?,
        };
        // Names are not unique, so ours is recognised by not having been there before.
        let before = self.projects_of(&workspace).await.map_err(|error| error.attempting(attempt))?;
        let created = self.create_project_once(new, &workspace).await;
        let project = match created {
            Err(error) if error.is_ambiguous() => {
                match self.find_new_project(new, &workspace, &before).await {
                    Ok(Some(project)) => Ok(project),
                    // A whole window of negative reads: it was not made.
                    Ok(None) => self.create_project_once(new, &workspace).await,
                    Err(_) => Err(error),
                }
            }
            other => other,
        }
        .map_err(|error| error.attempting(attempt))?;
        let object = format!("project `{}` ({})", project.name, project.id);
        self.wait_until_visible(&object, || self.project(&project.id))
            .await
            .map_err(|error| error.leaving(&project.id).attempting(attempt))
    }

    async fn create_project_once(&self, new: &NewProject, workspace: &WorkspaceId) -> Result<Project> {
        let data = self
            .out_wait_cooldown(|| {
                let input = project_create::ProjectCreateInput {
                    name: Some(new.name.clone()),
                    description: new.description.clone(),
                    default_environment_name: new.default_environment_name.clone(),
                    workspace_id: Some(workspace.to_string()),
                };
                self.mutate::<ProjectCreate>(Touches::Everything, project_create::Variables { input })
            })
            .await?;
        Ok(project_from!(ProjectCreate, data.project_create))
    }

    async fn find_new_project(
        &self,
        new: &NewProject,
        workspace: &WorkspaceId,
        before: &[Project],
    ) -> Result<Option<Project>> {
        self.look(self.polling().visible_within, || async {
            let mut found = self.projects_of(workspace).await?;
            found.retain(|project| {
                project.name == new.name && !before.iter().any(|known| known.id == project.id)
            });
            Ok(if found.len() == 1 { found.pop() } else { None })
        })
        .await
    }

    /// Changes a project.
    pub async fn update_project(&self, project: &ProjectId, changes: &ProjectChanges) -> Result<Project> {
        let attempt = || format!("update project `{project}`");
        let update = || async {
            let input = project_update::ProjectUpdateInput {
                name: changes.name.clone(),
                description: changes.description.clone(),
            };
            let variables = project_update::Variables { id: project.to_string(), input };
            let data = self.mutate::<ProjectUpdate>(Touches::Everything, variables).await?;
            Ok::<_, Error>(project_from!(ProjectUpdate, data.project_update))
        };
        match update().await {
            Ok(project) => Ok(project),
            Err(error) if error.is_ambiguous() => {
                // Setting the same values twice is the same as once.
                let now = self.project(project).await.map_err(|_| error)?;
                let done = changes.name.as_ref().is_none_or(|name| now.name == *name)
                    && changes
                        .description
                        .as_ref()
                        .is_none_or(|text| now.description.as_deref().unwrap_or_default() == text);
                if done { Ok(now) } else { update().await.map_err(|error| error.attempting(attempt)) }
            }
            Err(error) => Err(self.settle_missing_project(project, error).await.attempting(attempt)),
        }
    }

    /// Deletes a project with everything in it, at once. One that a listing says is gone counts as deleted.
    pub async fn delete_project(&self, project: &ProjectId) -> Result<()> {
        let variables = project_delete::Variables { id: project.to_string() };
        let error = match self
            .mutate::<ProjectDelete>(Touches::Everything, variables)
            .await
            .and_then(|data| confirmed::<ProjectDelete>(data.project_delete))
        {
            Ok(()) => return self.wait_until_project_gone(project).await,
            Err(error) => error,
        };
        let unclear =
            matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Ambiguous);
        if unclear && self.wait_until_project_gone(project).await.is_ok() {
            return Ok(());
        }
        Err(error.attempting(|| format!("delete project `{project}`")))
    }

    async fn wait_until_project_gone(&self, project: &ProjectId) -> Result<()> {
        let gone = self
            .look(self.polling().settled_within, || async {
                let projects = self.fetch_projects().await?;
                Ok((!projects.iter().any(|known| known.id == *project)).then_some(()))
            })
            .await?;
        gone.ok_or_else(|| {
            Error::new(
                ErrorKind::NotYet,
                ProjectDelete::NAME,
                "the project is still listed after its deletion",
            )
        })
    }
}

/// Lists have been seen with repeated rows.
pub(crate) fn dedup<T, K: Eq + std::hash::Hash>(items: &mut Vec<T>, key: impl Fn(&T) -> K) {
    let mut seen = std::collections::HashSet::new();
    items.retain(|item| seen.insert(key(item)));
}
