//! What replies mean, what is repeated, and how fast.

use std::time::Duration;

use serde_json::json;
use spectra_railway::{Client, ErrorKind, ProjectChanges};
use spectra_types::ProjectId;

use crate::fake::{Fake, Reply, data, project, projects, raw, refusal, refusal_with};

fn prj() -> ProjectId {
    "prj".parse().unwrap()
}

fn found() -> Reply {
    data(json!({ "project": project("prj", "shop") }))
}

#[tokio::test]
async fn reads_are_repeated_until_the_gateway_recovers() {
    for failure in [
        raw(502, "<html>Bad gateway</html>"),
        raw(503, ""),
        raw(504, "upstream request timeout"),
        raw(200, "<html>hello</html>"),
        raw(200, "{\"data\":{\"proj"),
        raw(200, "{}"),
        refusal("Problem processing request"),
    ] {
        let (fake, client) = Fake::with_account().await;
        fake.once("ProjectGet", failure.clone());
        fake.once("ProjectGet", failure);
        fake.once("ProjectGet", found());
        assert_eq!(client.project(&prj()).await.unwrap().name, "shop");
        assert_eq!(fake.count("ProjectGet"), 3);
    }
}

#[tokio::test]
async fn reads_give_up_in_the_end() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectGet", raw(504, "timeout"));
    let error = client.project(&prj()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.operation(), error.retryable()),
        (ErrorKind::Transport, "ProjectGet", true)
    );
    assert_eq!(fake.count("ProjectGet"), 6);
}

#[tokio::test]
async fn a_refused_connection_is_repeated_also_for_writes() {
    let (fake, _) = Fake::with_account().await;
    let mut config = fake.config();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    config.endpoint = format!("http://127.0.0.1:{port}/graphql/v2").parse().unwrap();
    let error = Client::new(config).unwrap().delete_project(&prj()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert!(error.changed_nothing());
    assert!(std::error::Error::source(&error).is_some());
}

#[tokio::test]
async fn retry_after_is_kept_for_writes_too() {
    let (fake, client) = Fake::with_account().await;
    fake.once("ProjectUpdate", raw(429, "slow down").header("retry-after", "17"));
    fake.once("ProjectUpdate", data(json!({ "projectUpdate": project("prj", "new") })));
    let changes = ProjectChanges { name: Some("new".to_owned()), description: None };
    client.update_project(&prj(), &changes).await.unwrap();
    let seen = fake.seen("ProjectUpdate");
    assert_eq!(seen.len(), 2);
    assert_eq!((seen[1].at - seen[0].at).as_secs(), 17);
    assert_eq!(seen[1].variables["input"], json!({ "name": "new" }), "what is kept is not sent");
}

#[tokio::test]
async fn the_edges_block_is_respected_for_a_minute() {
    let (fake, client) = Fake::with_account().await;
    fake.once("ProjectGet", raw(429, "error code: 1015"));
    fake.once("ProjectGet", found());
    client.project(&prj()).await.unwrap();
    let seen = fake.seen("ProjectGet");
    assert_eq!((seen[1].at - seen[0].at).as_secs(), 60);
}

#[tokio::test]
async fn an_empty_budget_that_refills_too_late_is_said() {
    let (fake, client) = Fake::with_account().await;
    let reset = (1_700_000_000 + 3000).to_string();
    fake.once("ProjectGet", found().header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", reset));
    client.project(&prj()).await.unwrap();
    let error = client.project(&prj()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after().unwrap() > Duration::from_secs(2900));
    assert_eq!(fake.count("ProjectGet"), 1, "nothing was sent");
}

#[tokio::test]
async fn requests_are_paced() {
    let (fake, client) = Fake::with_account().await;
    fake.always("ProjectGet", found());
    for _ in 0..23 {
        client.project(&prj()).await.unwrap();
    }
    // 25 with the two probes: 5 at once, then 5 a second.
    assert_eq!(fake.total(), 25);
    assert_eq!(fake.now().as_millis(), 4000);
}

#[tokio::test]
async fn errors_keep_railways_words_and_the_trace() {
    let (fake, client) = Fake::with_account().await;
    fake.once("ProjectUpdate", refusal_with("BAD_USER_INPUT", "Invalid project name"));
    let changes = ProjectChanges { name: Some("☃".to_owned()), description: None };
    let error = client.update_project(&prj(), &changes).await.unwrap_err();
    assert_eq!((error.kind(), error.trace_id()), (ErrorKind::BadInput, Some("trace-1")));
    assert_eq!(error.code().as_str(), "SPX-209");
    insta::assert_snapshot!(error, @"failed to update project `prj`: Invalid project name (Railway operation `ProjectUpdate`, trace id `trace-1`)");
}

#[tokio::test]
async fn an_unknown_field_means_upgrade() {
    let (fake, client) = Fake::with_account().await;
    let body = json!({ "errors": [{ "message": "Cannot query field \"x\"",
        "extensions": { "code": "GRAPHQL_VALIDATION_FAILED" } }] });
    fake.once("ProjectGet", raw(400, body.to_string()));
    let error = client.project(&prj()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SchemaMismatch);
    assert!(error.hint().unwrap().contains("upgrade"));
    fake.once("ProjectGet", data(json!({ "project": { "id": 7 } })));
    assert_eq!(client.project(&prj()).await.unwrap_err().kind(), ErrorKind::SchemaMismatch);
}

#[tokio::test]
async fn partial_data_is_an_error_and_a_write_with_it_was_made() {
    let (fake, client) = Fake::with_account().await;
    let partial = |data| {
        raw(
            200,
            json!({ "data": data, "errors": [{ "message": "workspace failed", "path": ["x"] }] }).to_string(),
        )
    };
    fake.once("ProjectGet", partial(json!({ "project": project("prj", "shop") })));
    assert_eq!(client.project(&prj()).await.unwrap_err().kind(), ErrorKind::Business);
    // The write is looked up instead of repeated.
    fake.once("ProjectUpdate", partial(json!({ "projectUpdate": project("prj", "new") })));
    fake.once("ProjectGet", data(json!({ "project": project("prj", "new") })));
    let changes = ProjectChanges { name: Some("new".to_owned()), description: None };
    assert_eq!(client.update_project(&prj(), &changes).await.unwrap().name, "new");
    assert_eq!(fake.count("ProjectUpdate"), 1);
}

#[tokio::test]
async fn false_is_no_confirmation() {
    let (fake, client) = Fake::with_account().await;
    fake.once("ProjectDelete", data(json!({ "projectDelete": false })));
    fake.always("ProjectList", projects(&[project("prj", "shop")]));
    let error = client.delete_project(&prj()).await.unwrap_err();
    assert!(error.is_ambiguous() && !error.changed_nothing(), "{error}");
    fake.once("ProjectDelete", data(json!({ "projectDelete": false })));
    fake.always("ProjectList", projects(&[]));
    client.delete_project(&prj()).await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_of_a_write_is_never_repeated_blindly() {
    for failure in [raw(504, "timeout"), raw(200, "<html>"), refusal("Problem processing request")] {
        let (fake, client) = Fake::with_account().await;
        fake.once("DeploymentRollback", failure);
        let error = client.roll_back(&crate::fake::instance_ref(), &"d1".parse().unwrap()).await.unwrap_err();
        assert!(error.is_ambiguous(), "{error}");
        assert_eq!(fake.count("DeploymentRollback"), 1);
    }
}

#[tokio::test]
async fn secrets_are_in_no_error() {
    let (fake, client) = Fake::with_account().await;
    fake.once("ProjectGet", raw(403, "error code: 1010"));
    fake.always("ProjectList", projects(&[project("prj", "shop")]));
    let error = client.project(&prj()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let shown = format!("{error} {error:?} {client:?}");
    assert!(shown.contains("1010") && !shown.contains(crate::fake::TOKEN), "{shown}");
}
