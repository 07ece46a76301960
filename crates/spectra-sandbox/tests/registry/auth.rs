//! Who is let in.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spectra_sandbox::registry::{RegistryAuth, RegistryConfig};
use spectra_types::Secret;

use crate::bed::{Bed, code, header_of, sha256};

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
    let rest = "service=spectra-sandbox&client_id=test&scope=repository:team/app:pull,push";
    for form in [
        "grant_type=password&username=ada&password=correct-horse",
        "grant_type=refresh_token&refresh_token=correct-horse",
    ] {
        // Who asks, and for whom, belongs in it.
        let refused = bed.request(Method::POST, "/v2/_token").body(form).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{form}");
        let response =
            bed.request(Method::POST, "/v2/_token").body(format!("{form}&{rest}")).send().await.unwrap();
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

fn bearer() -> Value {
    json!({ "scheme": "bearer", "user": "ada", "password": "correct-horse" })
}

/// A bed with switches besides a login, and a token of it for some scopes.
async fn bed_with(folder: &tempfile::TempDir, quirks: Value) -> Bed {
    let bed = Bed::at(folder.path()).await;
    let mut quirks = quirks;
    quirks["login"] = bearer();
    bed.registry.set_quirks(serde_json::from_value(quirks).unwrap());
    bed
}

async fn token(bed: &Bed, scopes: &[&str]) -> Value {
    let scopes: Vec<String> = scopes.iter().map(|scope| format!("scope={scope}")).collect();
    let path = format!("/v2/_token?{}", scopes.join("&"));
    let response = bed.request(Method::GET, &path).basic_auth("ada", Some("correct-horse")).send().await;
    response.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_token_that_does_not_read_did_write_and_any_listed_all_repositories() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed_with(&folder, json!({})).await;
    let status = async |scope: &str, method: Method, path: &str| {
        let token = token(&bed, &[scope]).await["token"].as_str().unwrap().to_owned();
        bed.request(method, path).bearer_auth(token).send().await.unwrap().status()
    };
    for (scope, expected) in [("push", StatusCode::UNAUTHORIZED), ("pull,push", StatusCode::ACCEPTED)] {
        let scope = format!("repository:app:{scope}");
        assert_eq!(status(&scope, Method::POST, "/v2/app/blobs/uploads/").await, expected, "{scope}");
    }
    let refused = bed.get("/v2/_catalog").await;
    assert!(header_of(&refused, "www-authenticate").ends_with("scope=\"registry:catalog:*\""));
    assert_eq!(status("repository:app:pull", Method::GET, "/v2/_catalog").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("registry:catalog:*", Method::GET, "/v2/_catalog").await, StatusCode::OK);
    let form = "grant_type=nonsense&service=spectra-sandbox&client_id=test";
    let refused = bed.request(Method::POST, "/v2/_token").body(form).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_mount_wants_the_right_to_read_where_it_is_from() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed_with(&folder, json!({ "mount_needs_scope": true })).await;
    let path = format!("/v2/app/blobs/uploads/?mount={}&from=base", sha256(b"layer"));
    let ask = async |scopes: &[&str]| {
        let token = token(&bed, scopes).await["token"].as_str().unwrap().to_owned();
        bed.request(Method::POST, &path).bearer_auth(token).send().await.unwrap()
    };
    let refused = ask(&["repository:app:pull,push"]).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let scopes = "scope=\"repository:app:pull,push repository:base:pull\"";
    assert!(header_of(&refused, "www-authenticate").contains(scopes));
    assert_eq!(bed.registry.met()["mount_needs_scope"], 1);
    let both = ask(&["repository:app:pull,push", "repository:base:pull"]).await;
    assert_eq!(both.status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn tokens_under_one_name_and_without_an_end() {
    let folder = tempfile::tempdir().unwrap();
    for (field, there, missing) in
        [("token", "token", "access_token"), ("access_token", "access_token", "token")]
    {
        let bed = bed_with(&folder, json!({ "token_field": field, "hide_expiry": true })).await;
        let answer = token(&bed, &[]).await;
        assert!(answer[there].is_string(), "{answer}");
        assert!(answer[missing].is_null() && answer["expires_in"].is_null(), "{answer}");
        assert_eq!(bed.registry.met()["token_field"], 1);
    }
}
