//! Reading: shared requests, pages, gone or forbidden, values that come later.

use serde_json::{Value, json};
use spectra_railway::{DeploymentStatus, ErrorKind, StatusClass, VariableScope};
use spectra_types::{EnvironmentId, ProjectId, ServiceId};

use crate::fake::{
    Fake, data, deployment, deployments, environment, environments, instance, instance_ref, project,
    projects, raw, refusal, snapshot,
};

fn prj() -> ProjectId {
    "prj".parse().unwrap()
}

fn env() -> EnvironmentId {
    "env".parse().unwrap()
}

fn ten_services() -> crate::fake::Reply {
    let instances: Vec<_> = (0..10).map(|n| instance(&format!("svc{n}"), &json!({}))).collect();
    let services: serde_json::Map<String, Value> = (0..10)
        .map(|n| {
            let variables: serde_json::Map<String, Value> =
                (0..20).map(|v| (format!("V{v}"), json!({ "value": format!("{n}-{v}") }))).collect();
            (format!("svc{n}"), json!({ "variables": variables }))
        })
        .collect();
    snapshot(&instances, &json!({ "services": services, "sharedVariables": { "S": { "value": "1" } } }))
}

#[tokio::test]
async fn two_hundred_variables_of_ten_services_are_one_request() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentSnapshot", ten_services());
    fake.always("EnvironmentList", environments(&[environment("env", "production", None)]));
    let reads = (0..200).map(|n| {
        let client = client.clone();
        tokio::spawn(async move {
            let service: ServiceId = format!("svc{}", n % 10).parse().unwrap();
            let (environment, scope) = (env(), VariableScope::Service(service));
            client.environment(&prj(), &environment).await.unwrap();
            client.variables(&prj(), &environment, &scope).await.unwrap()
        })
    });
    for read in futures::future::join_all(reads).await {
        let variables = read.unwrap();
        assert_eq!(variables.len(), 20);
        assert!(variables["V7"].value.as_ref().unwrap().expose().ends_with("-7"));
    }
    let shared = client.variables(&prj(), &env(), &VariableScope::Shared).await.unwrap();
    assert_eq!(shared["S"].value.as_ref().unwrap().expose(), "1");
    assert_eq!(fake.operations().len(), 4, "{:?}", fake.operations());
}

#[tokio::test]
async fn pages_are_followed_and_an_endless_list_is_refused() {
    let (fake, client) = Fake::with_account().await;
    let page = |nodes: &[Value], next: Option<&str>, more: bool| {
        let mut list = crate::fake::connection(nodes);
        list["pageInfo"] = json!({ "hasNextPage": more, "endCursor": next });
        data(json!({ "environments": list }))
    };
    let (one, two) = (environment("e1", "one", None), environment("e2", "two", None));
    fake.once("EnvironmentList", page(std::slice::from_ref(&one), Some("c1"), true));
    // A repeated row is one row.
    fake.once("EnvironmentList", page(&[one.clone(), two], None, false));
    let list = client.environments(&prj()).await.unwrap();
    assert_eq!(list.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(fake.seen("EnvironmentList")[1].variables["after"], "c1");

    let other: ProjectId = "other".parse().unwrap();
    fake.once("EnvironmentList", page(std::slice::from_ref(&one), None, true));
    assert_eq!(client.environments(&other).await.unwrap_err().kind(), ErrorKind::SchemaMismatch);
    fake.always("EnvironmentList", page(std::slice::from_ref(&one), Some("c1"), true));
    assert_eq!(client.environments(&other).await.unwrap_err().kind(), ErrorKind::SchemaMismatch);
}

#[tokio::test]
async fn q13_not_authorized_is_gone_only_if_the_listing_says_so() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectGet", refusal("Not Authorized"));
    fake.always("ProjectList", projects(&[project("prj", "shop")]));
    assert_eq!(client.project(&prj()).await.unwrap_err().kind(), ErrorKind::Forbidden);
    fake.always("ProjectList", projects(&[project("other", "x")]));
    assert_eq!(client.project(&prj()).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A listing that fails proves nothing.
    fake.always("ProjectList", refusal("Not Authorized"));
    assert_eq!(client.project(&prj()).await.unwrap_err().kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn q14_a_deleted_environment_that_still_answers_is_gone() {
    let (fake, client) = Fake::with_account().await;
    let mut node = environment("env", "production", None);
    for (key, value) in [
        ("deletedAt", json!("2026-08-01T00:00:00Z")),
        ("configEtag", json!("x")),
        ("unmergedChangesCount", Value::Null),
        ("config", json!({})),
        ("serviceInstances", crate::fake::connection(&[])),
    ] {
        node[key] = value;
    }
    fake.always("EnvironmentSnapshot", data(json!({ "environment": node })));
    fake.always("EnvironmentList", environments(&[]));
    let error = client.environment_snapshot(&prj(), &env()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn a_restricted_environment_is_forbidden_and_a_vanished_project_is_gone() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentSnapshot", refusal("Not Authorized"));
    let mut restricted = environment("env", "production", None);
    restricted["canAccess"] = json!(false);
    fake.always("EnvironmentList", environments(&[restricted]));
    let error = client.environment_snapshot(&prj(), &env()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(error.hint().unwrap().contains("restricted"));
    fake.always("EnvironmentList", refusal("Not Authorized"));
    fake.always("ProjectList", projects(&[]));
    let error = client.environment_snapshot(&prj(), &env()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn settings_are_read_in_every_shape() {
    let (fake, client) = Fake::with_account().await;
    let settings = json!({
        "source": { "image": "redis:7", "repo": null }, "healthcheckPath": "/up", "healthcheckTimeout": 30,
        "preDeployCommand": ["migrate"], "overlapSeconds": 5, "numReplicas": null,
        "restartPolicyType": "SOMETIMES",
        "activeDeployments": [deployment("d1", "LEVITATING", "redis:7", 1)],
    });
    let config = json!({ "services": { "svc": {
        "deploy": { "multiRegionConfig": { "us-west2": { "numReplicas": 2 }, "old": null } },
        "variables": { "A": { "value": "x" }, "SEALED": { "value": "*****", "isSealed": true }, "GONE": null },
    } }, "somethingNew": { "a": [1.5] } });
    fake.always("EnvironmentSnapshot", snapshot(&[instance("svc", &settings)], &config));
    let found = client.instance(&instance_ref()).await.unwrap();
    assert_eq!(found.pre_deploy_command.as_deref(), Some("migrate"));
    assert_eq!(found.healthcheck_timeout.unwrap().as_secs(), 30);
    assert_eq!((found.regions.len(), found.total_replicas()), (1, 2));
    assert_eq!(found.restart_policy.condition.as_str(), "SOMETIMES");
    assert_eq!(found.active_deployments[0].status.class(), StatusClass::Transient);
    assert_eq!(found.variables.keys().collect::<Vec<_>>(), ["A", "SEALED"]);
    assert!(found.variables["SEALED"].sealed && found.variables["SEALED"].value.is_none());
    assert!(!format!("{found:?}").contains("\"x\""), "values are not printed");
}

#[tokio::test]
async fn deployments_come_newest_first_and_once() {
    let (fake, client) = Fake::with_account().await;
    let digest = format!("sha256:{}", "a".repeat(64));
    let image = format!("ghcr.io/t/a@{digest}");
    let (old, new) = (deployment("d1", "REMOVED", "x:1", 1), deployment("d2", "SUCCESS", &image, 2));
    fake.always("DeploymentList", deployments(&[old, new.clone(), new]));
    let list = client.recent_deployments(&instance_ref(), 20).await.unwrap();
    assert_eq!(list.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["d2", "d1"]);
    assert_eq!(list[0].digest.as_ref().unwrap().to_string(), digest);
    assert!(list[0].is_serving() && list[0].all_replicas_running());
    assert_eq!(list[1].status, DeploymentStatus::Removed);
}

#[tokio::test]
async fn q12_a_deployment_whose_answer_was_lost_is_found() {
    let (fake, client) = Fake::with_account().await;
    fake.once("DeploymentList", deployments(&[deployment("d1", "SUCCESS", "x:1", 1)]));
    fake.once("ServiceInstanceDeploy", raw(504, "timeout"));
    fake.once("DeploymentList", deployments(&[deployment("d1", "SUCCESS", "x:1", 1)]));
    fake.always(
        "DeploymentList",
        deployments(&[
            deployment("d3", "INITIALIZING", "other:1", 3),
            deployment("d2", "INITIALIZING", "x:2", 2),
            deployment("d1", "SUCCESS", "x:1", 1),
        ]),
    );
    let id = client.deploy(&instance_ref(), Some("x:2")).await.unwrap();
    assert_eq!(id.as_str(), "d2", "the one with our image, not the newest");
    assert_eq!(fake.count("ServiceInstanceDeploy"), 1);
}
