//! Where a search looks: one workspace, project and environment after another, each read once and only when the
//! search gets there.

use std::collections::VecDeque;
use std::sync::Arc;

use spectra_railway::{Client, EnvironmentSnapshot, Error, Instance, InstanceRef, Project, TokenKind};
use spectra_types::{EnvironmentId, ProjectId, WorkspaceId};
use tfplugin::{Attr, Diagnostic, Diagnostics, Findings, Resource, Text};

use crate::errors::railway;
use crate::provider::{Clients, Cx};

/// A search reads and changes nothing.
const NOTHING: &str = "Nothing was changed.";

fn failed(what: &str, error: &Error) -> Diagnostics {
    railway(format!("{what} could not be read"), error, NOTHING).into()
}

/// An environment's id says nothing of its project, and asking every project would cost a request each.
pub(super) fn validate(
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
    diagnostics: &mut Diagnostics,
) {
    if environment.is_known() && project.is_null() {
        diagnostics.error_at(
            "environment_id",
            "The environment's project is missing",
            "Railway finds an environment only inside its project: give `project_id` too.",
        );
    }
}

/// Whether a name is looked for.
pub(super) fn matches(prefix: &Attr<String>, name: &str) -> bool {
    prefix.as_str().is_none_or(|prefix| name.starts_with(prefix))
}

/// The state of what was found: all of it, where all of it is wanted. `None` if it has gone meanwhile.
pub(super) async fn complete<R: Resource<Client = Clients>>(
    resource: &R,
    cx: &Cx,
    known: R::Model,
    findings: &Findings<R::Model>,
) -> Result<Option<R::Model>, Diagnostics> {
    if findings.wants_objects() { resource.read(cx, known).await } else { Ok(Some(known)) }
}

/// The projects within the token's reach.
pub(super) struct Projects<'a> {
    client: &'a Client,
    workspaces: VecDeque<WorkspaceId>,
    found: VecDeque<Project>,
}

impl<'a> Projects<'a> {
    /// Those of one workspace, or of all.
    pub(super) async fn within(cx: &'a Cx, workspace: Option<&WorkspaceId>) -> Result<Self, Diagnostics> {
        let client = cx.client.railway()?;
        let identity = client.identity().await.map_err(|error| failed("The token", &error))?;
        let mut found = VecDeque::new();
        // A project token lists nothing; it reaches one project.
        if let Some(scope) = &identity.scope
            && identity.kind == TokenKind::Project
        {
            let project = client.project(&scope.project).await;
            found.push_back(project.map_err(|error| failed("The token's project", &error))?);
            found.retain(|project| workspace.is_none_or(|wanted| project.workspace.as_ref() == Some(wanted)));
        }
        let workspaces = match workspace {
            Some(_) if identity.kind == TokenKind::Project => VecDeque::new(),
            Some(workspace) => VecDeque::from([workspace.clone()]),
            None => identity.workspaces.iter().map(|workspace| workspace.id.clone()).collect(),
        };
        Ok(Self { client, workspaces, found })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Result<Option<Project>, Diagnostics> {
        loop {
            if let Some(project) = self.found.pop_front() {
                return Ok(Some(project));
            }
            let Some(workspace) = self.workspaces.pop_front() else { return Ok(None) };
            let projects = self.client.projects_of(&workspace).await;
            self.found = projects
                .map_err(|error| failed(&format!("The projects of workspace `{workspace}`"), &error))?
                .into();
        }
    }
}

/// The environments to look into.
pub(super) struct Environments<'a> {
    client: &'a Client,
    projects: Option<Projects<'a>>,
    found: VecDeque<spectra_railway::Environment>,
    /// A project token reaches this one alone.
    only: Option<EnvironmentId>,
    closed: Vec<String>,
}

impl<'a> Environments<'a> {
    /// One environment, those of one project, or all. What is named has to exist.
    pub(super) async fn within(
        cx: &'a Cx,
        project: &Attr<Text<ProjectId>>,
        environment: &Attr<Text<EnvironmentId>>,
    ) -> Result<Self, Diagnostics> {
        let client = cx.client.railway()?;
        let identity = client.identity().await.map_err(|error| failed("The token", &error))?;
        let only = identity
            .scope
            .as_ref()
            .filter(|_| identity.kind == TokenKind::Project)
            .map(|scope| scope.environment.clone());
        let mut search = Self { client, projects: None, found: VecDeque::new(), only, closed: Vec::new() };
        match (project.as_known(), environment.as_known()) {
            (Some(project), Some(environment)) => {
                let found = client.environment(project, environment).await.map_err(|error| {
                    Diagnostics::from(
                        railway(
                            format!("The environment `{environment}` could not be read"),
                            &error,
                            NOTHING,
                        )
                        .at("environment_id"),
                    )
                })?;
                search.found.push_back(found);
            }
            (Some(project), None) => {
                let found = client.environments(project).await.map_err(|error| {
                    Diagnostics::from(
                        railway(format!("The project `{project}` could not be read"), &error, NOTHING)
                            .at("project_id"),
                    )
                })?;
                search.found.extend(found.iter().cloned());
            }
            (None, _) => search.projects = Some(Projects::within(cx, None).await?),
        }
        Ok(search)
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Result<Option<spectra_railway::Environment>, Diagnostics> {
        loop {
            while let Some(environment) = self.found.pop_front() {
                if self.only.as_ref().is_some_and(|only| *only != environment.id) {
                    continue;
                }
                if environment.can_access {
                    return Ok(Some(environment));
                }
                self.closed.push(format!("`{}` of project `{}`", environment.name, environment.project));
            }
            let Some(projects) = &mut self.projects else { return Ok(None) };
            let Some(project) = projects.next().await? else { return Ok(None) };
            match self.client.environments(&project.id).await {
                Ok(found) => self.found.extend(found.iter().cloned()),
                // Deleted while the search was under way.
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    return Err(failed(&format!("The environments of project `{}`", project.name), &error));
                }
            }
        }
    }

    /// Everything about the next one.
    pub(super) async fn next_snapshot(&mut self) -> Result<Option<Arc<EnvironmentSnapshot>>, Diagnostics> {
        while let Some(environment) = self.next().await? {
            match self.client.environment_snapshot(&environment.project, &environment.id).await {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(failed(&format!("The environment `{}`", environment.name), &error)),
            }
        }
        Ok(None)
    }

    /// What was passed over: a search that is silent about it looks complete.
    pub(super) fn warnings(self) -> Diagnostics {
        if self.closed.is_empty() {
            return Diagnostics::new();
        }
        Diagnostic::warning(
            "Some environments could not be looked into",
            format!("The token may not see what is in {}.", self.closed.join(", ")),
        )
        .into()
    }
}

/// The services of an environment whose names begin like this, by name.
pub(super) fn services<'s>(
    snapshot: &'s EnvironmentSnapshot,
    prefix: &Attr<String>,
) -> Vec<(InstanceRef, &'s Instance)> {
    let mut found: Vec<_> = snapshot
        .instances
        .values()
        .filter(|instance| matches(prefix, &instance.service_name))
        .map(|instance| {
            let reference = InstanceRef {
                project: snapshot.environment.project.clone(),
                environment: snapshot.environment.id.clone(),
                service: instance.service.clone(),
            };
            (reference, instance)
        })
        .collect();
    found.sort_by(|a, b| a.1.service_name.cmp(&b.1.service_name));
    found
}

/// What a person calls something of a service in an environment.
pub(super) fn title(name: &str, snapshot: &EnvironmentSnapshot) -> String {
    format!("{name} ({})", snapshot.environment.name)
}
