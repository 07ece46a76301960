//! Reviews are read from an API that answers as GitHub's published description says, and refuses everything else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use spectra_github::{Error, Reviews, Run, Verdict};
use spectra_types::Secret;

const TOKEN: &str = "ghs-token-of-a-github-test";

/// The properties of `environment-approvals`, its `environments`, and `simple-user` in GitHub's published `OpenAPI`
/// description of version 2022-11-28. The fake says nothing else.
const ENTRY: [&str; 4] = ["environments", "state", "user", "comment"];
const ENVIRONMENT: [&str; 7] = ["id", "node_id", "name", "url", "html_url", "created_at", "updated_at"];
const USER: [&str; 4] = ["login", "id", "node_id", "type"];
/// Some of those of `workflow-run`.
const RUN: [&str; 4] = ["id", "run_attempt", "run_number", "status"];

fn has_only(value: &Value, names: &[&str]) {
    let keys: Vec<_> = value.as_object().unwrap().keys().collect();
    assert!(keys.iter().all(|key| names.contains(&key.as_str())), "{keys:?} is not in {names:?}");
    assert_eq!(keys.len(), names.len(), "a field of {names:?} is missing");
}

fn entry(login: &str, state: &str, environments: &[&str]) -> Value {
    let environment = |name: &&str| {
        json!({
            "id": 56_780_428, "node_id": "MDEx", "name": name,
            "url": format!("https://api.github.com/repos/acme/shop/environments/{name}"),
            "html_url": "https://github.com/acme/shop/deployments/activity_log?environments_filter=production",
            "created_at": "2020-11-23T22:00:40Z", "updated_at": "2020-11-23T22:00:40Z",
        })
    };
    let value = json!({
        "state": state, "comment": "Ship it!",
        "environments": environments.iter().map(environment).collect::<Vec<_>>(),
        "user": { "login": login, "id": 1, "node_id": "MDQ6", "type": "User" },
    });
    has_only(&value, &ENTRY);
    has_only(&value["environments"][0], &ENVIRONMENT);
    has_only(&value["user"], &USER);
    value
}

#[derive(Clone)]
struct Fake {
    run: Value,
    approvals: Value,
}

impl Fake {
    fn new(approvals: &[Value]) -> Self {
        let run = json!({ "id": 42, "run_number": 7, "run_attempt": 1, "status": "in_progress" });
        has_only(&run, &RUN);
        Self { run, approvals: approvals.into() }
    }

    async fn serve(self) -> Run {
        self.serve_with(TOKEN).await
    }

    async fn serve_with(self, token: &str) -> Run {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}/api/v3/", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::new(self));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Run::new(api.parse().unwrap(), "acme/shop", 42, &Secret::from(token)).unwrap()
    }

    async fn reviews(self) -> Reviews {
        self.serve().await.reviews("production").await.unwrap()
    }
}

async fn answer(State(fake): State<Arc<Fake>>, request: Request) -> (StatusCode, String) {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let refused = |status, message: &str| (status, json!({ "message": message, "status": "x" }).to_string());
    if header("authorization") != format!("Bearer {TOKEN}") {
        return refused(StatusCode::UNAUTHORIZED, "Bad credentials");
    }
    if request.method() != "GET"
        || header("accept") != "application/vnd.github+json"
        || header("x-github-api-version") != "2022-11-28"
        || header("user-agent").is_empty()
    {
        return refused(StatusCode::BAD_REQUEST, "not as the documentation says");
    }
    match request.uri().to_string().as_str() {
        "/api/v3/repos/acme/shop/actions/runs/42" => (StatusCode::OK, fake.run.to_string()),
        "/api/v3/repos/acme/shop/actions/runs/42/approvals" => (StatusCode::OK, fake.approvals.to_string()),
        _ => refused(StatusCode::NOT_FOUND, "Not Found"),
    }
}

#[tokio::test]
async fn reviews_of_the_environment_count() {
    let approvals = [
        entry("anna", "approved", &["production"]),
        entry("ben", "rejected", &["Production", "canary"]),
        entry("cleo", "approved", &["staging"]),
        entry("dora", "pending", &["production"]),
    ];
    let reviews = Fake::new(&approvals).reviews().await;
    let counted: Vec<_> = reviews.counted.iter().map(|one| (one.login.as_str(), one.verdict)).collect();
    assert_eq!(counted, [("anna", Verdict::Approved), ("ben", Verdict::Rejected)]);
    let ignored: Vec<_> = reviews.ignored.iter().map(|(login, why)| format!("{login}: {why}")).collect();
    assert_eq!(
        ignored,
        ["cleo: the review is of `staging`, and not of `production`", "dora: the review is `pending`"]
    );
}

/// The list of reviews is that of all attempts, and does not say which.
#[tokio::test]
async fn reviews_of_a_run_that_was_started_again_do_not_count() {
    let mut fake = Fake::new(&[entry("anna", "approved", &["production"])]);
    fake.run["run_attempt"] = json!(2);
    let reviews = fake.reviews().await;
    assert_eq!(reviews.counted, []);
    assert!(reviews.ignored[0].1.contains("attempt 2"), "{reviews:?}");
}

/// Whoever sets the environment could name another run, which was reviewed for something else.
#[tokio::test]
async fn reviews_of_a_run_that_is_over_do_not_count() {
    let mut fake = Fake::new(&[entry("anna", "approved", &["production"])]);
    fake.run["status"] = json!("completed");
    assert_eq!(fake.reviews().await.counted, []);
}

#[tokio::test]
async fn a_refusal_is_told_with_a_hint_and_without_the_token() {
    let run = Fake::new(&[]).serve_with("ghs-another-token-of-a-test").await;
    let error = run.reviews("production").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { status: 401, message, .. } if message == "Bad credentials"));
    assert_eq!(error.hint(), Some("the job needs the permission `actions: read`"));
    assert!(!format!("{error:?} {run:?}").contains("ghs-another"), "{error:?}");
}

#[tokio::test]
async fn an_answer_of_another_form_is_an_error() {
    let mut fake = Fake::new(&[]);
    fake.approvals = json!([{ "environments": [], "state": "approved" }]);
    let error = fake.serve().await.reviews("production").await.unwrap_err();
    assert!(matches!(error, Error::Answer { .. }), "{error:?}");
}

fn from(variables: &[(&str, &str)]) -> Result<Option<Run>, Error> {
    Run::from_env(&|name| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn the_run_comes_from_the_environment() {
    let all = [("GITHUB_RUN_ID", "42"), ("GITHUB_REPOSITORY", "acme/shop"), ("GITHUB_TOKEN", TOKEN)];
    assert_eq!(format!("{:?}", from(&all).unwrap().unwrap()), "Run(api.github.com acme/shop 42)");
    assert!(from(&[]).unwrap().is_none());
    assert!(from(&[("GITHUB_RUN_ID", "")]).unwrap().is_none());
    for (left_out, variable) in [(1, "GITHUB_REPOSITORY"), (2, "GITHUB_TOKEN")] {
        let rest: Vec<_> =
            all.iter().enumerate().filter(|(index, _)| *index != left_out).map(|(_, one)| *one).collect();
        let error = from(&rest).unwrap_err();
        assert!(matches!(&error, Error::Variable { variable: found, .. } if *found == variable), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn what_could_lead_a_token_elsewhere_is_refused() {
    let with = |name: &'static str, value: &'static str| {
        let mut all =
            vec![("GITHUB_RUN_ID", "42"), ("GITHUB_REPOSITORY", "acme/shop"), ("GITHUB_TOKEN", TOKEN)];
        all.insert(0, (name, value));
        from(&all).unwrap_err().to_string()
    };
    assert!(with("GITHUB_API_URL", "http://github.example").contains("GITHUB_API_URL"));
    for repository in ["acme", "acme/shop/x", "acme/..", "acme/shop?x=1", "/shop"] {
        assert!(with("GITHUB_REPOSITORY", repository).contains("GITHUB_REPOSITORY"), "{repository}");
    }
    assert!(with("GITHUB_RUN_ID", "42/../43").contains("GITHUB_RUN_ID"));
}
