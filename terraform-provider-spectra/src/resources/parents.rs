//! Whether the project, environment and service that a resource names exist: asked at plan, so that a wrong id is
//! refused before anything is changed.

use spectra_railway::{Error, ErrorKind, TokenKind};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};
use tfplugin::{Attr, Diagnostic, Model, Plan, Text};

use crate::errors::{UNCHANGED, railway};
use crate::provider::Cx;

/// Refuses the plan if there is only a project token, which reaches one environment of one project and cannot
/// `do_what`. Returns whether there is another one.
pub(crate) async fn check_not_project_token<M: Model>(cx: &Cx, plan: &mut Plan<M>, do_what: &str) -> bool {
    let client = match cx.client.railway() {
        Ok(client) => client,
        Err(diagnostics) => {
            plan.diagnostics.extend(diagnostics);
            return false;
        }
    };
    match client.identity().await {
        Ok(identity) if identity.kind == TokenKind::Project => {
            plan.diagnostics.push(Diagnostic::error(
                format!("A project token cannot {do_what}"),
                format!(
                    "There is only the {}. {UNCHANGED}\n\nGive an account or workspace token in `railway.token` of the \
                     provider or in `RAILWAY_API_TOKEN`.",
                    identity.describe()
                ),
            ));
            false
        }
        Ok(_) => true,
        Err(error) => {
            plan.diagnostics.push(refused_token(&error));
            false
        }
    }
}

/// It is the token that is wrong, not an attribute of the resource.
fn refused_token(error: &Error) -> Diagnostic {
    railway("Railway does not accept `railway.token` of the provider", error, UNCHANGED)
}

/// Refuses the plan if the project, when its id is known, cannot be reached. Returns whether it can.
pub(crate) async fn check_project<M: Model>(
    cx: &Cx,
    plan: &mut Plan<M>,
    project: &Attr<Text<ProjectId>>,
) -> bool {
    let Some(project) = project.as_known() else { return true };
    let client = match cx.client.railway() {
        Ok(client) => client,
        Err(diagnostics) => {
            plan.diagnostics.extend(diagnostics);
            return false;
        }
    };
    // The list of environments is asked for anyhow, and shared by everybody who asks.
    match client.environments(project.get()).await {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::Unauthenticated => {
            plan.diagnostics.push(refused_token(&error));
            false
        }
        Err(error) => {
            let summary = if error.is_not_found() {
                format!("There is no project `{project}`")
            } else {
                format!("The project `{project}` cannot be reached")
            };
            plan.diagnostics.push(railway(summary, &error, UNCHANGED).at("project_id"));
            false
        }
    }
}

/// Refuses the plan if the environment, when both ids are known, is not in the project. `attribute` names it.
pub(crate) async fn check_environment<M: Model>(
    cx: &Cx,
    plan: &mut Plan<M>,
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
    attribute: &str,
) -> bool {
    let (Some(project), Some(environment)) = (project.as_known(), environment.as_known()) else {
        return true;
    };
    let Ok(client) = cx.client.railway() else { return false };
    match client.environment(project.get(), environment.get()).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => {
            let summary = format!("There is no environment `{environment}` in project `{project}`");
            plan.diagnostics.push(railway(summary, &error, UNCHANGED).at(attribute));
            false
        }
        Err(error) => {
            let summary = format!("The environment `{environment}` cannot be reached");
            plan.diagnostics.push(railway(summary, &error, UNCHANGED).at(attribute));
            false
        }
    }
}

/// Refuses the plan if the service, when all ids are known, has no instance in the environment.
pub(crate) async fn check_service<M: Model>(
    cx: &Cx,
    plan: &mut Plan<M>,
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
    service: &Attr<Text<ServiceId>>,
) -> bool {
    let (Some(project), Some(environment), Some(service)) =
        (project.as_known(), environment.as_known(), service.as_known())
    else {
        return true;
    };
    let Ok(client) = cx.client.railway() else { return false };
    let found = match client.environment_snapshot(project.get(), environment.get()).await {
        Ok(snapshot) => snapshot.instance(service.get()).map(|_| ()),
        Err(error) => Err(error),
    };
    if let Err(error) = found {
        let summary = if error.is_not_found() {
            format!("There is no service `{service}` in environment `{environment}`")
        } else {
            format!("The service `{service}` cannot be reached")
        };
        plan.diagnostics.push(railway(summary, &error, UNCHANGED).at("service_id"));
        return false;
    }
    true
}

/// All three, outermost first; the first that is missing is the one that is named.
pub(crate) async fn check_all<M: Model>(
    cx: &Cx,
    plan: &mut Plan<M>,
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
    service: &Attr<Text<ServiceId>>,
) -> bool {
    check_project(cx, plan, project).await
        && check_environment(cx, plan, project, environment, "environment_id").await
        && check_service(cx, plan, project, environment, service).await
}
