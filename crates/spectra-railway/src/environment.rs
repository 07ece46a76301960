//! Environments of a project.

use std::sync::Arc;

use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::client::{Client, Page, Touches, all_pages, confirmed, id};
use crate::error::{Error, ErrorKind, Result};
use crate::gql::{
    EnvironmentCreate, EnvironmentDelete, EnvironmentList, EnvironmentRename, Operation, environment_create,
    environment_delete, environment_list, environment_rename,
};
use crate::project::dedup;

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// The project.
    pub project: ProjectId,
    /// Its name, unique in the project.
    pub name: String,
    /// The environment it is a fork of; `None` for a root.
    pub source: Option<EnvironmentId>,
    /// Made for a pull request.
    pub is_ephemeral: bool,
    /// `false`: restricted, its content is hidden from this token.
    pub can_access: bool,
}

impl Environment {
    /// A root environment: services made anywhere appear in all of these.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.source.is_none()
    }
}

/// An environment to be made.
#[derive(Clone, Debug)]
pub struct NewEnvironment {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// The environment to copy; `None` makes an empty root.
    pub source: Option<EnvironmentId>,
    /// Whether a fork deploys the services it copied.
    pub deploys: InitialDeploys,
}

/// Whether a fork deploys what it copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialDeploys {
    /// At once.
    Start,
    /// When somebody asks for it.
    Skip,
}

macro_rules! environment_from {
    ($operation:ty, $node:expr) => {{
        let node = $node;
        Environment {
            id: id::<$operation, _>(node.id)?,
            project: id::<$operation, _>(node.project_id)?,
            name: node.name,
            source: node.source_environment.map(|source| id::<$operation, _>(source.id)).transpose()?,
            is_ephemeral: node.is_ephemeral,
            can_access: node.can_access,
        }
    }};
}

impl Client {
    /// The environments of a project, which is the only authority on what exists: a deleted one may still be read by
    /// its id. Shared for a moment between callers.
    pub async fn environments(&self, project: &ProjectId) -> Result<Arc<Vec<Environment>>> {
        let config = self.config();
        self.environment_lists()
            .get(project, config.snapshot_ttl, || self.now(), || self.fetch_environments(project))
            .await
    }

    pub(crate) async fn fetch_environments(&self, project: &ProjectId) -> Result<Vec<Environment>> {
        let listed = all_pages::<EnvironmentList, _, _>(|after| async move {
            let variables = environment_list::Variables { project: project.to_string(), after };
            let list = self.query::<EnvironmentList>(variables).await?.environments;
            let mut items = Vec::new();
            for edge in list.edges {
                if edge.node.deleted_at.is_none() {
                    items.push(environment_from!(EnvironmentList, edge.node));
                }
            }
            Page::new::<EnvironmentList>(items, list.page_info.has_next_page, list.page_info.end_cursor)
        })
        .await;
        match listed {
            Ok(mut environments) => {
                dedup(&mut environments, |environment| environment.id.clone());
                Ok(environments)
            }
            Err(error) => {
                let error = self.settle_missing_project(project, error).await;
                Err(error.attempting(|| format!("list the environments of project `{project}`")))
            }
        }
    }

    /// One environment, from the list.
    pub async fn environment(&self, project: &ProjectId, environment: &EnvironmentId) -> Result<Environment> {
        let environments = self.environments(project).await?;
        environments.iter().find(|known| known.id == *environment).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                EnvironmentList::NAME,
                format!("project `{project}` has no such environment"),
            )
            .attempting(|| format!("read environment `{environment}`"))
        })
    }

    /// The environment of that name.
    pub async fn environment_by_name(&self, project: &ProjectId, name: &str) -> Result<Option<Environment>> {
        Ok(self.environments(project).await?.iter().find(|known| known.name == name).cloned())
    }

    /// Makes an environment and waits until it is listed. Waits out the cooldown of 30 s; a large fork whose answer
    /// the gateway lost is found by its name.
    pub async fn create_environment(&self, new: &NewEnvironment) -> Result<Environment> {
        let attempt = || format!("create environment `{}` in project `{}`", new.name, new.project);
        let _row = self.creation().lock().await;
        let before =
            self.fetch_environments(&new.project).await.map_err(|error| error.attempting(attempt))?;
        if let Some(existing) = before.iter().find(|known| known.name == new.name) {
            return Err(Error::new(
                ErrorKind::Conflict,
                EnvironmentCreate::NAME,
                format!("there is one of that name already: `{}`", existing.id),
            )
            .attempting(attempt));
        }
        // Asked before the fork: a service that is made meanwhile is not part of it, and would be waited for in vain.
        let to_be_copied: Vec<ServiceId> = match &new.source {
            None => Vec::new(),
            Some(source) => {
                let original = self.fresh_environment_snapshot(&new.project, source).await;
                original.map_err(|error| error.attempting(attempt))?.instances.keys().cloned().collect()
            }
        };
        let created = match self.create_environment_once(new).await {
            Err(error) if error.is_ambiguous() => {
                let found = self
                    .look(self.polling().visible_within, || async {
                        let list = self.fetch_environments(&new.project).await?;
                        Ok(list
                            .into_iter()
                            .find(|known| known.name == new.name && known.source == new.source))
                    })
                    .await;
                match found {
                    Ok(Some(environment)) => Ok(environment),
                    Ok(None) => self.create_environment_once(new).await,
                    Err(_) => Err(error),
                }
            }
            other => other,
        }
        .map_err(|error| error.attempting(attempt))?;
        let object = format!("environment `{}` ({})", created.name, created.id);
        let leaving = |error: Error| error.leaving(&created.id).attempting(attempt);
        let environment = self
            .wait_until_visible(&object, || async {
                self.forget(Touches::Everything);
                self.environment(&new.project, &created.id).await
            })
            .await
            .map_err(leaving)?;
        if !to_be_copied.is_empty() {
            self.wait_for_copies(&new.project, &to_be_copied, &created.id).await.map_err(leaving)?;
        }
        Ok(environment)
    }

    /// The services of a fork appear one by one. Waits until those that the source had before the fork are all
    /// there, as long as new objects are waited for; what is missing then is the next plan's to see.
    async fn wait_for_copies(
        &self,
        project: &ProjectId,
        services: &[ServiceId],
        fork: &EnvironmentId,
    ) -> Result<()> {
        let complete = self
            .look(self.polling().visible_within, || async {
                let copy = self.fresh_environment_snapshot(project, fork).await?;
                let missing = services.iter().any(|service| !copy.instances.contains_key(service));
                Ok((!missing).then_some(()))
            })
            .await?;
        if complete.is_none() {
            tracing::warn!(environment = %fork, "the fork does not have all services of its source yet");
        }
        Ok(())
    }

    async fn create_environment_once(&self, new: &NewEnvironment) -> Result<Environment> {
        let data = self
            .out_wait_cooldown(|| {
                let input = environment_create::EnvironmentCreateInput {
                    name: new.name.clone(),
                    project_id: new.project.to_string(),
                    source_environment_id: new.source.as_ref().map(ToString::to_string),
                    skip_initial_deploys: Some(new.deploys == InitialDeploys::Skip),
                    // Otherwise a fork is a pile of staged edits that somebody has to commit.
                    stage_initial_changes: Some(false),
                };
                self.mutate::<EnvironmentCreate>(Touches::Everything, environment_create::Variables { input })
            })
            .await?;
        Ok(environment_from!(EnvironmentCreate, data.environment_create))
    }

    /// Renames an environment.
    pub async fn rename_environment(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        name: &str,
    ) -> Result<Environment> {
        let attempt = || format!("rename environment `{environment}` to `{name}`");
        let input = environment_rename::EnvironmentRenameInput { name: name.to_owned() };
        let variables = environment_rename::Variables { id: environment.to_string(), input };
        let error = match self.mutate::<EnvironmentRename>(Touches::Everything, variables).await {
            Ok(data) => return Ok(environment_from!(EnvironmentRename, data.environment_rename)),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Ambiguous => {
                let renamed = self
                    .look(self.polling().settled_within, || async {
                        let list = self.fetch_environments(project).await?;
                        Ok(list.into_iter().find(|known| known.id == *environment && known.name == name))
                    })
                    .await;
                match renamed {
                    Ok(Some(environment)) => Ok(environment),
                    _ => Err(error.attempting(attempt)),
                }
            }
            _ => Err(self.settle_missing_environment(project, environment, error).await.attempting(attempt)),
        }
    }

    /// Deletes an environment with everything in it. One that the list no longer has counts as deleted.
    pub async fn delete_environment(&self, project: &ProjectId, environment: &EnvironmentId) -> Result<()> {
        let attempt = || format!("delete environment `{environment}`");
        let variables = environment_delete::Variables { id: environment.to_string() };
        let result = self
            .mutate::<EnvironmentDelete>(Touches::Everything, variables)
            .await
            .and_then(|data| confirmed::<EnvironmentDelete>(data.environment_delete));
        if let Err(error) = &result
            && !matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Ambiguous)
        {
            return result.map_err(|error| error.attempting(attempt));
        }
        let gone = self
            .look(self.polling().settled_within, || async {
                match self.fetch_environments(project).await {
                    Ok(list) => Ok((!list.iter().any(|known| known.id == *environment)).then_some(())),
                    // With the project everything in it went.
                    Err(error) if error.is_not_found() => Ok(Some(())),
                    Err(error) => Err(error),
                }
            })
            .await;
        match (gone, result) {
            (Ok(Some(())), _) => Ok(()),
            (_, Err(error)) | (Err(error), Ok(())) => Err(error.attempting(attempt)),
            (Ok(None), Ok(())) => Err(Error::new(
                ErrorKind::NotYet,
                EnvironmentDelete::NAME,
                "the environment is still listed after its deletion",
            )
            .attempting(attempt)),
        }
    }

    /// Decides between gone, not yet there, and out of reach.
    pub(crate) async fn settle_missing_environment(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
        error: Error,
    ) -> Error {
        if !matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound) {
            return error;
        }
        match self.fetch_environments(project).await {
            Ok(list) => match list.iter().find(|known| known.id == *environment) {
                Some(known) if !known.can_access => {
                    let name = known.name.clone();
                    error
                        .with_kind(ErrorKind::Forbidden)
                        .hinting(format!("environment `{name}` is restricted: the token needs to be let in"))
                }
                Some(_) if error.kind() == ErrorKind::NotFound => error.with_kind(ErrorKind::NotYet),
                Some(_) => error,
                None => Error::new(
                    ErrorKind::NotFound,
                    error.operation(),
                    format!("project `{project}` has no environment `{environment}`"),
                )
                .trace(error.trace_id().map(str::to_owned)),
            },
            Err(parent) if parent.is_not_found() => parent,
            Err(_) => error,
        }
    }
}
