//! Making and deleting, with lost answers, cooldowns and tails.

use serde_json::json;
use spectra_railway::{ErrorKind, FanOut, InitialDeploys, NewEnvironment, NewProject, NewService};

use crate::fake::{
    Fake, data, environment, environments, instance, instance_ref, project, projects, raw, refusal, service,
    services, snapshot,
};

fn shop() -> NewProject {
    NewProject { name: "shop".into(), description: None, workspace: None, default_environment_name: None }
}

fn staging(source: Option<&str>) -> NewEnvironment {
    NewEnvironment {
        project: "prj".parse().unwrap(),
        name: "staging".into(),
        source: source.map(|id| id.parse().unwrap()),
        deploys: InitialDeploys::Skip,
    }
}

fn web(fan_out: FanOut) -> NewService {
    NewService {
        project: "prj".parse().unwrap(),
        environment: "env".parse().unwrap(),
        name: "web".into(),
        fan_out,
    }
}

#[tokio::test]
async fn q03_the_cooldown_between_projects_is_waited_out() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectList", projects(&[]));
    for _ in 0..3 {
        fake.once(
            "ProjectCreate",
            refusal("You are creating projects too quickly. 1 project per 30 seconds"),
        );
    }
    fake.once("ProjectCreate", data(json!({ "projectCreate": project("prj", "shop") })));
    fake.always("ProjectGet", data(json!({ "project": project("prj", "shop") })));
    assert_eq!(client.create_project(&shop()).await.unwrap().id.as_str(), "prj");
    // A project without an owner would be a temporary public one.
    assert_eq!(
        fake.seen("ProjectCreate")[0].variables["input"],
        json!({ "name": "shop", "workspaceId": "ws" })
    );
}

#[tokio::test]
async fn q03_a_cooldown_that_does_not_end_is_said_and_nothing_was_made() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectList", projects(&[]));
    fake.always("ProjectCreate", refusal("Whoa there pal! You are creating projects too quickly"));
    let error = client.create_project(&shop()).await.unwrap_err();
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Cooldown, true));
    let waited = fake.now().as_secs();
    assert!((80..=95).contains(&waited), "{waited}");
}

#[tokio::test]
async fn q12_a_project_whose_answer_was_lost_is_taken_over() {
    let (fake, client) = Fake::with_account().await;
    let old = project("old", "shop");
    fake.once("ProjectList", projects(std::slice::from_ref(&old)));
    fake.once("ProjectCreate", raw(504, "timeout"));
    fake.once("ProjectList", projects(std::slice::from_ref(&old)));
    fake.always("ProjectList", projects(&[old, project("prj", "shop")]));
    fake.always("ProjectGet", data(json!({ "project": project("prj", "shop") })));
    assert_eq!(client.create_project(&shop()).await.unwrap().id.as_str(), "prj", "not the older namesake");
    assert_eq!(fake.count("ProjectCreate"), 1);
}

#[tokio::test]
async fn q12_a_project_that_was_not_made_is_made_after_the_consistency_window() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectList", projects(&[]));
    fake.once("ProjectCreate", raw(504, "timeout"));
    fake.once("ProjectCreate", data(json!({ "projectCreate": project("prj", "shop") })));
    fake.always("ProjectGet", data(json!({ "project": project("prj", "shop") })));
    client.create_project(&shop()).await.unwrap();
    let seen = fake.seen("ProjectCreate");
    assert!((seen[1].at - seen[0].at).as_secs() >= 88, "{:?}", seen[1].at - seen[0].at);
}

#[tokio::test]
async fn q07_a_new_project_is_waited_for_and_kept_if_it_never_shows() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectList", projects(&[]));
    fake.always("ProjectCreate", data(json!({ "projectCreate": project("prj", "shop") })));
    for _ in 0..5 {
        fake.once("ProjectGet", refusal("Not Authorized"));
    }
    fake.once("ProjectGet", data(json!({ "project": project("prj", "shop") })));
    client.create_project(&shop()).await.unwrap();
    assert_eq!(fake.count("ProjectGet"), 6);
    fake.always("ProjectGet", refusal("Project not found"));
    let error = client.create_project(&shop()).await.unwrap_err();
    assert_eq!((error.kind(), error.left_behind()), (ErrorKind::NotYet, Some("prj")));
    assert!(!error.changed_nothing());
}

#[tokio::test]
async fn q11_a_fork_that_the_gateway_lost_is_found_by_its_name() {
    let (fake, client) = Fake::with_account().await;
    let production = environment("env", "production", None);
    fake.once("EnvironmentList", environments(std::slice::from_ref(&production)));
    fake.once("EnvironmentCreate", raw(504, "timeout"));
    fake.once("EnvironmentList", environments(std::slice::from_ref(&production)));
    fake.always("EnvironmentList", environments(&[production, environment("e2", "staging", Some("env"))]));
    // its services appear one by one.
    let both = [instance("s1", &json!({})), instance("s2", &json!({}))];
    fake.once("EnvironmentSnapshot", snapshot(&both, &json!({})));
    fake.once("EnvironmentSnapshot", snapshot(&both[..1], &json!({})));
    fake.once("EnvironmentSnapshot", snapshot(&both, &json!({})));
    let made = client.create_environment(&staging(Some("env"))).await.unwrap();
    assert_eq!(fake.count("EnvironmentSnapshot"), 3);
    assert_eq!((made.id.as_str(), made.is_root()), ("e2", false));
    assert_eq!(fake.count("EnvironmentCreate"), 1);
    assert_eq!(
        fake.seen("EnvironmentCreate")[0].variables["input"],
        json!({ "name": "staging", "projectId": "prj", "sourceEnvironmentId": "env", "skipInitialDeploys": true,
                "stageInitialChanges": false })
    );
}

#[tokio::test]
async fn an_environment_of_that_name_is_a_conflict_and_is_not_taken_over() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentList", environments(&[environment("e2", "staging", None)]));
    let error = client.create_environment(&staging(None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("`e2`"), "{error}");
    assert_eq!(fake.count("EnvironmentCreate"), 0);
}

#[tokio::test]
async fn q15_deleting_what_is_gone_is_done_after_a_listing_said_so() {
    let (fake, client) = Fake::with_account().await;
    let (prj, env) = ("prj".parse().unwrap(), "e2".parse().unwrap());
    fake.always("EnvironmentDelete", refusal("Not Authorized"));
    fake.always("EnvironmentList", environments(&[environment("env", "production", None)]));
    client.delete_environment(&prj, &env).await.unwrap();
    // And it is not done while the listing still has it.
    fake.always("EnvironmentList", environments(&[environment("e2", "staging", None)]));
    let error = client.delete_environment(&prj, &env).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
}

#[tokio::test]
async fn q10_a_service_that_would_appear_everywhere_is_refused() {
    let (fake, client) = Fake::with_account().await;
    fake.always(
        "EnvironmentList",
        environments(&[environment("env", "production", None), environment("e2", "staging", None)]),
    );
    let error = client.create_service(&web(FanOut::Refuse)).await.unwrap_err();
    insta::assert_snapshot!(error, @"failed to create service `web` in project `prj`: Railway would place it into every root environment, that is also into `staging`; nothing was made (Railway operation `ServiceCreate`)");
    assert_eq!(fake.count("ServiceCreate"), 0);
}

#[tokio::test]
async fn q08_the_instance_is_waited_for_and_q12_a_lost_service_is_taken_over() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentList", environments(&[environment("env", "production", None)]));
    fake.once("ServiceList", services(&[]));
    fake.once("ServiceCreate", refusal("Problem processing request"));
    fake.always("ServiceList", services(&[service("svc", "web")]));
    fake.once("EnvironmentSnapshot", snapshot(&[], &json!({})));
    fake.once("EnvironmentSnapshot", refusal("ServiceInstance not found"));
    fake.always("EnvironmentSnapshot", snapshot(&[instance("svc", &json!({}))], &json!({})));
    let (made, placed) = client.create_service(&web(FanOut::Refuse)).await.unwrap();
    assert_eq!((made.id.as_str(), placed.total_replicas()), ("svc", 1));
    assert_eq!(fake.count("ServiceCreate"), 1);
}

#[tokio::test]
async fn q09_a_service_of_that_name_is_a_conflict_that_names_it() {
    let (fake, client) = Fake::with_account().await;
    fake.always("EnvironmentList", environments(&[environment("env", "production", None)]));
    fake.always("ServiceList", services(&[service("svc", "web")]));
    let error = client.create_service(&web(FanOut::Refuse)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("`svc`"), "{error}");
}

#[tokio::test]
async fn a_domain_race_is_tried_again_and_a_lost_domain_taken_over() {
    let (fake, client) = Fake::with_account().await;
    let domain = json!({ "id": "dom", "domain": "web.up.railway.app", "serviceId": "svc", "environmentId": "env",
        "targetPort": 8080, "deletedAt": null });
    let listed = |list: &[serde_json::Value]| data(json!({ "domains": { "serviceDomains": list } }));
    fake.once("DomainList", listed(&[]));
    fake.once("ServiceDomainCreate", refusal("Failed to create service domain, please try again"));
    fake.once("ServiceDomainCreate", raw(502, "bad gateway"));
    fake.once("DomainList", listed(&[]));
    fake.always("DomainList", listed(std::slice::from_ref(&domain)));
    let made = client.create_service_domain(&instance_ref(), Some(8080)).await.unwrap();
    assert_eq!((made.id.as_str(), made.target_port), ("dom", Some(8080)));
    assert_eq!(fake.count("ServiceDomainCreate"), 2);
}

#[tokio::test]
async fn q37_a_project_tokens_id_is_found_by_its_name() {
    let (fake, client) = Fake::with_account().await;
    let token = json!({ "id": "tok", "name": "ci", "environmentId": "env", "displayToken": "****1a2b" });
    let listed = |list: &[serde_json::Value]| data(json!({ "projectTokens": crate::fake::connection(list) }));
    fake.once("ProjectTokenList", listed(&[]));
    fake.always("ProjectTokenList", listed(std::slice::from_ref(&token)));
    fake.always("ProjectTokenCreate", data(json!({ "projectTokenCreate": "s3cr3t-value" })));
    let (prj, env) = ("prj".parse().unwrap(), "env".parse().unwrap());
    let (made, secret) = client.create_project_token(&prj, &env, "ci").await.unwrap();
    assert_eq!((made.id.as_str(), secret.expose().as_str()), ("tok", "s3cr3t-value"));
    let error = client.create_project_token(&prj, &env, "ci").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn tokens_that_interrupted_runs_left_behind_are_swept_and_nothing_else_is() {
    let (fake, client) = Fake::with_account().await;
    // The test's clock stands at 2023-11-14 22:13:20.
    let token = |id: &str, name: &str| json!({ "id": id, "name": name, "environmentId": "env", "displayToken": "****" });
    let tokens = [
        token("over", "spectra-ephemeral-20231114T221319Z-00000000000000aa"),
        token("in-use", "spectra-ephemeral-20231114T231319Z-00000000000000ab"),
        token("stubborn", "spectra-ephemeral-20200101T000000Z-00000000000000ac"),
        token("ci", "ci"),
    ];
    fake.always("ProjectTokenList", data(json!({ "projectTokens": crate::fake::connection(&tokens) })));
    fake.once("ProjectTokenDelete", data(json!({ "projectTokenDelete": true })));
    fake.always("ProjectTokenDelete", refusal("Problem processing request"));
    let swept = client.sweep_run_tokens(&"prj".parse().unwrap()).await.unwrap();
    let ids: Vec<_> = swept.deleted.iter().map(|token| token.id.as_str()).collect();
    assert_eq!(ids, ["over"]);
    let kept: Vec<_> = swept.kept.iter().map(|(token, _)| token.id.as_str()).collect();
    assert_eq!(kept, ["stubborn"]);
}
