//! Whose token it is.

use serde_json::json;
use spectra_railway::{Client, ErrorKind, NewProject, TokenKind, TokenKindHint, TokenOrigin};

use crate::fake::{Fake, Reply, data, projects, refusal};

fn api() -> Reply {
    data(json!({ "apiToken": { "workspaces": [{ "id": "ws", "name": "Team" }] } }))
}

fn project_scope() -> Reply {
    data(json!({ "projectToken": { "projectId": "prj", "environmentId": "env",
        "project": { "name": "shop" }, "environment": { "name": "production" } } }))
}

#[tokio::test]
async fn one_probe_however_many_callers() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectList", projects(&[]));
    let calls = (0..10).map(|_| client.projects());
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(client.identity().await.unwrap().kind, TokenKind::Account);
    assert_eq!(fake.operations(), ["TokenProbeApi", "TokenProbeMe", "ProjectList"]);
}

#[tokio::test]
async fn a_workspace_token_does_not_know_itself() {
    let (fake, client) = Fake::with_account().await;
    fake.always("TokenProbeMe", refusal("Not Authorized"));
    assert_eq!(client.identity().await.unwrap().kind, TokenKind::Workspace);
}

#[tokio::test]
async fn a_project_token_is_found_and_what_it_cannot_do_is_said_before_asking() {
    let fake = Fake::start().await;
    fake.always("TokenProbeApi", refusal("Project Token not found"));
    fake.always("TokenProbeProject", project_scope());
    let client = fake.client();
    let new = NewProject {
        name: "x".into(),
        description: None,
        workspace: Some("ws".parse().unwrap()),
        default_environment_name: None,
    };
    let error = client.create_project(&new).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    insta::assert_snapshot!(error, @"failed to create project `x`: this needs an account or workspace token, but there is only the project token in the configuration for environment `production` of project `shop` (Railway operation `ProjectList`)");
    assert_eq!(fake.operations(), ["TokenProbeApi", "TokenProbeProject"]);
    assert!(!fake.seen("TokenProbeProject")[0].bearer);
}

#[tokio::test]
async fn the_ambiguous_variable_is_probed_as_project_token_first() {
    let fake = Fake::start().await;
    fake.always("TokenProbeProject", refusal("Not Authorized"));
    fake.always("TokenProbeApi", api());
    fake.always("TokenProbeMe", data(json!({ "me": { "id": "u" } })));
    let mut config = fake.config();
    config.token_origin = TokenOrigin::TokenVariable;
    let client = Client::new(config).unwrap();
    assert_eq!(client.identity().await.unwrap().kind, TokenKind::Account);
    assert_eq!(fake.operations(), ["TokenProbeProject", "TokenProbeApi", "TokenProbeMe"]);
}

#[tokio::test]
async fn two_tokens_of_different_kinds_are_named() {
    let fake = Fake::start().await;
    fake.always("TokenProbeApi", api());
    fake.always("TokenProbeMe", refusal("Not Authorized"));
    fake.always("TokenProbeProject", project_scope());
    let mut config = fake.config();
    config.token_origin = TokenOrigin::ApiTokenVariable;
    config.other_token = Some(("another-token".into(), TokenOrigin::TokenVariable));
    let error = Client::new(config).unwrap().identity().await.unwrap_err();
    insta::assert_snapshot!(error, @"two different tokens are set: workspace token in `RAILWAY_API_TOKEN` and project token in `RAILWAY_TOKEN` for environment `production` of project `shop` (Railway operation `TokenProbeApi`)");
}

#[tokio::test]
async fn a_token_of_another_kind_than_configured_is_named() {
    let fake = Fake::start().await;
    fake.always("TokenProbeApi", refusal("Not Authorized"));
    fake.always("TokenProbeProject", project_scope());
    let mut config = fake.config();
    config.token_kind = TokenKindHint::Account;
    let error = Client::new(config).unwrap().identity().await.unwrap_err();
    insta::assert_snapshot!(error, @"the token type is set to account token, but Railway knows it as project token in the configuration for environment `production` of project `shop` (Railway operation `TokenProbeApi`)");
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_no_transport_failure_and_is_asked_about_again() {
    let fake = Fake::start().await;
    fake.once("TokenProbeApi", refusal("Not Authorized"));
    fake.once("TokenProbeProject", refusal("Project Token not found"));
    let client = fake.client();
    assert_eq!(client.identity().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    fake.always("TokenProbeApi", api());
    fake.always("TokenProbeMe", data(json!({ "me": { "id": "u" } })));
    assert_eq!(client.identity().await.unwrap().kind, TokenKind::Account);
}
