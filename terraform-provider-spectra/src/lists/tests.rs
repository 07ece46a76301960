//! Searches against a scripted Railway: what is found, what it costs, and where a search ends.

use serde_json::json;
use tfplugin::testing::{Core, Listed};
use tfplugin::{Attr, Value};

use super::domain::{DomainQuery, Domains};
use super::environment::{EnvironmentQuery, Environments};
use super::project::{ProjectQuery, Projects};
use super::rollout::{RolloutQuery, Rollouts};
use super::service::{ServiceQuery, Services};
use super::variables::{VariableSets, VariablesQuery};
use crate::fake::{Fake, environment, instance, list, snapshot};
use crate::provider::Spectra;
use crate::resources::{
    domain::Domain, environment::Environment, project::Project, rollout::Rollout, service::Service,
    variables::Variables,
};

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// One project with one environment; service `web` runs a digest, has a domain and a variable; `worker` has nothing.
async fn railway() -> (Fake, Core<Spectra>) {
    let fake = Fake::start().await;
    let project = json!({ "id": "p-1", "name": "shop", "description": "", "workspaceId": "w-1",
        "primaryEnvironmentId": "e-1", "deletedAt": null });
    let other = json!({ "id": "p-2", "name": "other", "description": "", "workspaceId": "w-1",
        "primaryEnvironmentId": "e-2", "deletedAt": null });
    fake.answer("ProjectList", json!({ "projects": list(&[project, other]) }));
    let deployment = json!({ "id": "d-1", "status": "SUCCESS", "createdAt": "2026-01-01T00:00:00Z",
        "statusUpdatedAt": null, "deploymentStopped": false, "canRedeploy": true, "canRollback": true,
        "environmentId": "e-1", "serviceId": "s-1", "url": null, "instances": [],
        "meta": { "image": format!("ghcr.io/team/web@{DIGEST}") } });
    let domain = json!({ "id": "dom-1", "domain": "web.up.railway.app", "serviceId": "s-1", "environmentId": "e-1",
        "targetPort": 8080, "deletedAt": null });
    let web =
        instance(&json!({ "activeDeployments": [deployment], "domains": { "serviceDomains": [domain] } }));
    let worker = instance(&json!({ "id": "i-2", "serviceId": "s-2", "serviceName": "worker" }));
    let config = json!({
        "sharedVariables": { "SHARED": { "value": "1" } },
        "services": { "s-1": { "variables": { "A": { "value": "1" } } } },
    });
    fake.answer("EnvironmentSnapshot", snapshot(&[worker, web], &config));
    let core = fake.core().await;
    (fake, core)
}

fn project() -> Attr<tfplugin::Text<spectra_types::ProjectId>> {
    Attr::Known("p-1".parse().unwrap())
}

fn names(found: &[Listed]) -> Vec<&str> {
    found.iter().map(|one| one.display_name.as_str()).collect()
}

fn part<'v>(found: &'v Listed, name: &str) -> &'v Value {
    found.identity.get(name).unwrap()
}

#[tokio::test]
async fn a_search_of_an_environment_costs_one_request_for_it_however_many_objects_are_found() {
    let (fake, core) = railway().await;
    let query = ServiceQuery { project_id: project(), ..ServiceQuery::default() };
    let found = core.list::<Services>(&query, 100, true).await.unwrap();
    assert_eq!(names(&found), ["web (main)", "worker (main)"]);
    let query = DomainQuery { project_id: project(), ..DomainQuery::default() };
    assert_eq!(names(&core.list::<Domains>(&query, 100, true).await.unwrap()), ["web.up.railway.app"]);
    let query = VariablesQuery { project_id: project(), ..VariablesQuery::default() };
    let found = core.list::<VariableSets>(&query, 100, true).await.unwrap();
    assert_eq!(names(&found), ["shared (main)", "web (main)"]);
    assert_eq!(part(&found[0], "service_id"), &Value::Null);
    let query = RolloutQuery { project_id: project(), ..RolloutQuery::default() };
    let found = core.list::<Rollouts>(&query, 100, true).await.unwrap();
    assert_eq!(names(&found), ["web (main)"]);
    let image = found[0].object.as_ref().unwrap().get("image").unwrap();
    assert_eq!(image, &Value::from(format!("ghcr.io/team/web@{DIGEST}")));
    // Everything above came from two reads.
    let mut seen = fake.seen();
    seen.retain(|operation| !operation.starts_with("TokenProbe"));
    assert_eq!(seen, ["EnvironmentList", "EnvironmentSnapshot"]);
}

#[tokio::test]
async fn a_search_stops_at_the_limit_and_reads_no_further() {
    let (fake, core) = railway().await;
    let found = core.list::<Environments>(&EnvironmentQuery::default(), 1, false).await.unwrap();
    assert_eq!(names(&found), ["main"]);
    let read = fake.seen().iter().filter(|operation| *operation == "EnvironmentList").count();
    assert_eq!(read, 1, "the second project was not looked into: {:?}", fake.seen());
}

#[tokio::test]
async fn prefixes_and_kinds_narrow_a_search() {
    let (fake, core) = railway().await;
    let query = ProjectQuery { name_prefix: "sh".into(), ..ProjectQuery::default() };
    let found = core.list::<Projects>(&query, 100, true).await.unwrap();
    assert_eq!(names(&found), ["shop"]);
    let object = found[0].object.as_ref().unwrap();
    assert_eq!(object.get("default_environment_name"), Some(&Value::from("main")));
    let query = ServiceQuery { project_id: project(), name_prefix: "wo".into(), ..ServiceQuery::default() };
    assert_eq!(names(&core.list::<Services>(&query, 100, false).await.unwrap()), ["worker (main)"]);
    let mut preview = environment("e-9", "pr-7", None);
    preview["isEphemeral"] = json!(true);
    fake.answer(
        "EnvironmentList",
        json!({ "environments": list(&[preview, environment("e-1", "main", None)]) }),
    );
    let (_, core) = (core, fake.core().await);
    let query =
        EnvironmentQuery { project_id: project(), is_ephemeral: true.into(), ..EnvironmentQuery::default() };
    assert_eq!(names(&core.list::<Environments>(&query, 100, false).await.unwrap()), ["pr-7"]);
}

#[tokio::test]
async fn an_environment_is_not_looked_for_without_its_project() {
    let (_, core) = railway().await;
    let query =
        ServiceQuery { environment_id: Attr::Known("e-1".parse().unwrap()), ..ServiceQuery::default() };
    let failed = core.list::<Services>(&query, 100, false).await.unwrap_err().to_string();
    assert!(failed.contains("project_id"), "{failed}");
}

#[tokio::test]
async fn an_environment_that_is_closed_to_the_token_is_passed_over() {
    let (fake, _) = railway().await;
    let mut closed = environment("e-9", "secret", None);
    closed["canAccess"] = json!(false);
    fake.answer(
        "EnvironmentList",
        json!({ "environments": list(&[closed, environment("e-1", "main", None)]) }),
    );
    let core = fake.core().await;
    let query = ServiceQuery { project_id: project(), ..ServiceQuery::default() };
    assert_eq!(core.list::<Services>(&query, 100, false).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_search_finds_can_be_imported_by_its_identity() {
    let (_, mut core) = railway().await;
    let listed = core.list::<Projects>(&ProjectQuery::default(), 1, false).await.unwrap();
    core.import_identity::<Project>("p", listed[0].identity.clone()).await.unwrap();
    let listed = core
        .list::<Environments>(&EnvironmentQuery { project_id: project(), ..Default::default() }, 9, false)
        .await
        .unwrap();
    core.import_identity::<Environment>("e", listed[0].identity.clone()).await.unwrap();
    let listed = core
        .list::<Services>(&ServiceQuery { project_id: project(), ..Default::default() }, 9, false)
        .await
        .unwrap();
    core.import_identity::<Service>("s", listed[0].identity.clone()).await.unwrap();
    let listed = core
        .list::<VariableSets>(&VariablesQuery { project_id: project(), ..Default::default() }, 9, false)
        .await
        .unwrap();
    core.import_identity::<Variables>("shared", listed[0].identity.clone()).await.unwrap();
    core.import_identity::<Variables>("web", listed[1].identity.clone()).await.unwrap();
    let listed = core
        .list::<Domains>(&DomainQuery { project_id: project(), ..Default::default() }, 9, false)
        .await
        .unwrap();
    core.import_identity::<Domain>("d", listed[0].identity.clone()).await.unwrap();
    let listed = core
        .list::<Rollouts>(&RolloutQuery { project_id: project(), ..Default::default() }, 9, false)
        .await
        .unwrap();
    core.import_identity::<Rollout>("r", listed[0].identity.clone()).await.unwrap();
    let value = |name: &str, attribute: &str| core.value(name).get(attribute).cloned().unwrap();
    assert_eq!(value("p", "name"), Value::from("shop"));
    assert_eq!(value("e", "name"), Value::from("main"));
    assert_eq!(value("s", "name"), Value::from("web"));
    assert_eq!(value("shared", "id"), Value::from("e-1/shared"));
    assert_eq!(value("web", "id"), Value::from("e-1/s-1"));
    assert_eq!(value("d", "domain"), Value::from("web.up.railway.app"));
    assert_eq!(value("r", "image"), Value::from(format!("ghcr.io/team/web@{DIGEST}")));
}

#[tokio::test]
async fn a_project_token_searches_the_one_environment_that_it_reaches() {
    let (fake, _) = railway().await;
    fake.refuse("TokenProbeApi", "Not Authorized");
    fake.answer(
        "TokenProbeProject",
        json!({ "projectToken": { "projectId": "p-1", "environmentId": "e-1", "project": { "name": "shop" },
            "environment": { "name": "main" } } }),
    );
    let environments = [environment("e-9", "other", None), environment("e-1", "main", None)];
    fake.answer("EnvironmentList", json!({ "environments": list(&environments) }));
    let core = fake.core().await;
    let found = core.list::<Environments>(&EnvironmentQuery::default(), 100, false).await.unwrap();
    assert_eq!(names(&found), ["main"]);
    let found = core.list::<Services>(&ServiceQuery::default(), 100, false).await.unwrap();
    assert_eq!(names(&found), ["web (main)", "worker (main)"]);
    let found = core.list::<Projects>(&ProjectQuery::default(), 100, false).await.unwrap();
    assert_eq!(names(&found), ["shop"]);
    assert!(!fake.seen().iter().any(|operation| operation == "ProjectList"), "which it may not ask");
}
