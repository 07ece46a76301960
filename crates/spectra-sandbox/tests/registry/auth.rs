//! Who is let in.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use spectra_sandbox::registry::{RegistryAuth, RegistryConfig};
use spectra_types::Secret;

use crate::bed::{Bed, code, header_of};

fn password() -> Secret<String> {
    Secret::from("correct-horse")
}

#[tokio::test]
async fn basic_authentication() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RegistryConfig::new(folder.path());
    config.auth = RegistryAuth::Basic { user: "ada".into(), password: password() };
    let bed = Bed::with(config).await;
    for request in [
        bed.request(Method::GET, "/v2/"),
        bed.request(Method::GET, "/v2/").basic_auth("ada", Some("wrong")),
        bed.request(Method::POST, "/v2/app/blobs/uploads/").bearer_auth("correct-horse"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(header_of(&response, "www-authenticate"), "Basic realm=\"spectra-sandbox\"");
        assert_eq!(code(response).await, "UNAUTHORIZED");
    }
    let response = bed.request(Method::GET, "/v2/").basic_auth("ada", Some("correct-horse")).send().await;
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn bearer_authentication_is_by_repository_and_action() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RegistryConfig::new(folder.path());
    config.auth = RegistryAuth::Bearer {
        user: "ada".into(),
        password: password(),
        token_lifetime: Duration::from_mins(1),
        anonymous_pull: true,
    };
    let bed = Bed::with(config).await;
    let upload = "/v2/team/app/blobs/uploads/";
    let refused = bed.request(Method::POST, upload).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        header_of(&refused, "www-authenticate"),
        format!(
            "Bearer realm=\"{}/v2/_token\",service=\"spectra-sandbox\",scope=\"repository:team/app:pull,push\"",
            bed.url
        )
    );
    let token = |user: Option<&'static str>, scope: &'static str| {
        let mut request = bed.request(Method::GET, &format!("/v2/_token?scope={scope}"));
        if let Some(password) = user {
            request = request.basic_auth("ada", Some(password));
        }
        async move {
            let response = request.send().await.unwrap();
            let status = response.status();
            let body: Value = response.json().await.unwrap();
            (status, body["token"].as_str().unwrap_or_default().to_owned())
        }
    };
    assert_eq!(token(Some("wrong"), "repository:team/app:pull").await.0, StatusCode::UNAUTHORIZED);
    let (_, anonymous) = token(None, "repository:team/app:pull,push").await;
    let (_, pusher) = token(Some("correct-horse"), "repository:team/app:pull,push").await;
    let (_, elsewhere) = token(Some("correct-horse"), "repository:team/other:pull,push").await;
    let post = async |token: &str| bed.request(Method::POST, upload).bearer_auth(token).send().await.unwrap();
    for token in [&anonymous, &elsewhere] {
        let response = post(token).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(header_of(&response, "www-authenticate").ends_with("error=\"insufficient_scope\""));
    }
    assert!(header_of(&post("made-up").await, "www-authenticate").ends_with("error=\"invalid_token\""));
    assert_eq!(post(&pusher).await.status(), StatusCode::ACCEPTED);
    let pull = bed.request(Method::GET, "/v2/team/app/manifests/v1").bearer_auth(&anonymous).send().await;
    assert_eq!(pull.unwrap().status(), StatusCode::NOT_FOUND);
    // The OAuth2 form, with a password and with an identity token.
    for form in [
        "grant_type=password&username=ada&password=correct-horse&scope=repository:team/app:push",
        "grant_type=refresh_token&refresh_token=correct-horse&scope=repository:team/app:push",
    ] {
        let response = bed.request(Method::POST, "/v2/_token").body(form).send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        assert_eq!(post(body["access_token"].as_str().unwrap()).await.status(), StatusCode::ACCEPTED);
    }
}

#[tokio::test]
async fn a_token_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RegistryConfig::new(folder.path());
    config.auth = RegistryAuth::Bearer {
        user: "ada".into(),
        password: password(),
        token_lifetime: Duration::ZERO,
        anonymous_pull: false,
    };
    let bed = Bed::with(config).await;
    let anonymous = bed.get("/v2/_token?scope=repository:app:pull").await;
    assert_eq!(anonymous.status(), StatusCode::UNAUTHORIZED);
    let answer = bed.request(Method::GET, "/v2/_token").basic_auth("ada", Some("correct-horse")).send().await;
    let body: Value = answer.unwrap().json().await.unwrap();
    let token = body["token"].as_str().unwrap();
    let response = bed.request(Method::GET, "/v2/").bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}
