//! Fault rules on the registry's requests.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spectra_sandbox::registry::{Quirks, ViolationKind};

use crate::bed::{Bed, header_of, sha256};

fn fault(bed: &Bed, request: &str, action: &Value) {
    bed.registry.clear_faults();
    let rule = json!({ "operation": format!("registry.{request}"), "action": action, "count": 1 });
    bed.registry.set_fault(rule).unwrap();
}

#[tokio::test]
async fn answers_in_place_of_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    fault(&bed, "ping", &json!({ "type": "http", "status": 503, "retry_after": 7 }));
    let response = bed.get("/v2/").await;
    assert_eq!(
        (response.status(), header_of(&response, "retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, "7".into())
    );
    assert_eq!(bed.get("/v2/").await.status(), StatusCode::OK, "the rule is spent");
    fault(&bed, "*", &json!({ "type": "busy", "after": 3, "date": true }));
    let response = bed.get("/v2/app/tags/list").await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(header_of(&response, "retry-after").ends_with(" GMT"));
    fault(&bed, "ping", &json!({ "type": "reset" }));
    assert!(bed.request(Method::GET, "/v2/").send().await.is_err());
    // A rule for the API's requests is not for these.
    bed.registry.clear_faults();
    bed.registry.set_fault(json!({ "operation": "*", "action": { "type": "html" } })).unwrap();
    assert_eq!(bed.json("/v2/").await, json!({}));
}

#[tokio::test]
async fn an_upload_that_breaks_off_keeps_what_came() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let bytes = vec![5; 100_000];
    let location = bed.begin("app").await;
    fault(&bed, "upload_patch", &json!({ "type": "reset_after", "bytes": 40_000 }));
    let sent = bed.request(Method::PATCH, &location).body(bytes.clone()).send().await;
    assert!(sent.is_err());
    let status = bed.get(&location).await;
    assert_eq!(header_of(&status, "range"), "0-39999");
    let rest = bed.patch(&location, "40000-99999", &bytes[40_000..]).await;
    assert_eq!(rest.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.put(&location, &sha256(&bytes), b"").await.status(), StatusCode::CREATED);
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn what_is_read_comes_short_broken_or_changed() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let bytes = vec![5; 100_000];
    let path = format!("/v2/app/blobs/{}", bed.push("app", &bytes).await);
    fault(&bed, "blob_get", &json!({ "type": "reset_after", "bytes": 10 }));
    let response = bed.get(&path).await;
    assert_eq!(header_of(&response, "content-length"), "100000");
    assert!(response.bytes().await.is_err());
    fault(&bed, "blob_get", &json!({ "type": "short_body", "missing": 1 }));
    assert_eq!(bed.get(&path).await.bytes().await.unwrap().len(), 99_999);
    fault(&bed, "blob_get", &json!({ "type": "corrupt_body" }));
    let changed = bed.get(&path).await.bytes().await.unwrap();
    assert_eq!((changed.len(), changed[0], &changed[1..]), (100_000, 5 ^ 0xff, &bytes[1..]));
    fault(&bed, "blob_get", &json!({ "type": "wrong_digest" }));
    assert!(!path.ends_with(&header_of(&bed.get(&path).await, "docker-content-digest")));
    fault(&bed, "upload_begin", &json!({ "type": "location", "to": "ftp://elsewhere/" }));
    let begun = bed.request(Method::POST, "/v2/app/blobs/uploads/").send().await.unwrap();
    assert_eq!(header_of(&begun, "location"), "ftp://elsewhere/");
}

#[tokio::test]
async fn work_that_is_done_before_its_answer_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let location = bed.begin("app").await;
    fault(&bed, "upload_put", &json!({ "type": "fail_after_commit" }));
    let digest = sha256(b"hello");
    assert_eq!(bed.put(&location, &digest, b"hello").await.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(bed.get(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_rule_that_means_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let unknown = json!({ "operation": "registry.blob_gte", "action": { "type": "reset" } });
    assert!(bed.registry.set_fault(unknown).unwrap_err().contains("registry.blob_gte"));
    let elsewhere = json!({ "operation": "serviceCreate", "action": { "type": "corrupt_body" } });
    assert!(bed.registry.set_fault(elsewhere).unwrap_err().contains("corrupt_body"));
}

#[tokio::test]
async fn a_rule_that_could_do_nothing_has_not_applied() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let digest = bed.push("app", &[5; 2_000]).await;
    let blob = format!("/v2/app/blobs/{digest}");
    let missing = format!("/v2/app/blobs/{}", sha256(b"missing"));
    let reset = json!({ "type": "reset_after", "bytes": 1000 });
    let short = json!({ "type": "short_body", "missing": 1 });
    for (request, action, method, path) in [
        ("upload_begin", reset.clone(), Method::POST, "/v2/app/blobs/uploads/"),
        ("blob_head", reset, Method::HEAD, &blob),
        ("blob_get", short.clone(), Method::GET, &missing),
        ("manifest_get", short, Method::GET, "/v2/app/manifests/v1"),
        ("blob_get", json!({ "type": "location", "to": "http://x/" }), Method::GET, &blob),
        ("ping", json!({ "type": "wrong_digest" }), Method::GET, "/v2/"),
    ] {
        fault(&bed, request, &action);
        bed.request(method, path).send().await.unwrap();
        assert_eq!(bed.registry.faults_applied(), 0, "{action} on {request}");
    }
    // It waits for the request that it is good for.
    fault(&bed, "blob_get", &json!({ "type": "corrupt_body" }));
    bed.registry.set_quirks(Quirks { elsewhere: true, ..Quirks::default() });
    let stored = header_of(&bed.get(&blob).await, "location");
    assert_eq!(bed.registry.faults_applied(), 0);
    assert_eq!(bed.get(&stored).await.bytes().await.unwrap()[0], 5 ^ 0xff);
    assert_eq!(bed.registry.faults_applied(), 1);
}

#[tokio::test]
async fn lists_come_short_too() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let (digest, _) = bed.push_image("app", "v1", b"layer").await;
    let referrers = format!("/v2/app/referrers/{digest}");
    for (request, path) in
        [("tags", "/v2/app/tags/list"), ("catalog", "/v2/_catalog"), ("referrers", &referrers)]
    {
        let whole = bed.get(path).await.bytes().await.unwrap();
        fault(&bed, request, &json!({ "type": "short_body", "missing": 3 }));
        assert_eq!(bed.get(path).await.bytes().await.unwrap(), whole[..whole.len() - 3], "{request}");
        assert_eq!(bed.registry.faults_applied(), 1);
    }
}

#[tokio::test]
async fn whoever_comes_before_the_time_is_noted_whichever_way_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let ask = async |program: &'static str| {
        bed.request(Method::GET, "/v2/app/tags/list").header("user-agent", program).send().await.unwrap();
    };
    for action in [
        json!({ "type": "busy", "after": 3600 }),
        json!({ "type": "busy", "after": 3600, "date": true }),
        json!({ "type": "http", "status": 503, "retry_after": 3600 }),
    ] {
        fault(&bed, "tags", &action);
        ask("one").await;
        ask("two").await;
        assert_eq!(bed.kinds(), [], "another program was not asked to wait");
        ask("one").await;
        assert_eq!(bed.kinds(), [ViolationKind::TooSoon], "{action}");
        bed.registry.clear_violations();
    }
    // What asked to wait is gone, and with it the wait.
    fault(&bed, "tags", &json!({ "type": "busy", "after": 3600 }));
    ask("one").await;
    bed.registry.set_quirks(Quirks::default());
    ask("one").await;
    assert_eq!(bed.kinds(), []);
}
