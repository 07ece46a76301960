//! Every switch of the registry, and what a client must not do.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spectra_sandbox::registry::{Mounts, Quirks, Referrers, ViolationKind};

use crate::bed::{Bed, OCI_MANIFEST, code, descriptor, header_of, image, sha256};

async fn bed(folder: &tempfile::TempDir, quirks: Quirks) -> Bed {
    let bed = Bed::at(folder.path()).await;
    bed.registry.set_quirks(quirks);
    bed
}

#[tokio::test]
async fn bodies_and_chunks_have_limits_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks { max_body: Some(1_000), max_patch: Some(100), ..Quirks::default() };
    let bed = bed(&folder, quirks).await;
    let location = bed.begin("app").await;
    let chunk = [7; 101];
    assert_eq!(bed.patch(&location, "0-100", &chunk).await.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    // In one piece it is within the limit.
    assert_eq!(bed.put(&location, &sha256(&chunk), &chunk).await.status(), StatusCode::CREATED);
    let location = bed.begin("app").await;
    let big = [8; 1_001];
    assert_eq!(bed.put(&location, &sha256(&big), &big).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bed.patch(&location, "0-99", &big[..100]).await.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn a_part_below_the_minimum_must_be_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks { min_part: Some(10), announce_min_part: true, ..Quirks::default() };
    let bed = bed(&folder, quirks).await;
    let begun = bed.request(Method::POST, "/v2/app/blobs/uploads/").send().await.unwrap();
    assert_eq!(header_of(&begun, "oci-chunk-min-length"), "10");
    let location = header_of(&begun, "location");
    assert_eq!(bed.patch(&location, "0-9", &[1; 10]).await.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.patch(&location, "10-13", &[1; 4]).await.status(), StatusCode::ACCEPTED);
    let refused = bed.patch(&location, "14-23", &[1; 10]).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(refused.text().await.unwrap().contains("LayerPartTooSmall"));
    assert_eq!(bed.kinds(), [ViolationKind::PartTooSmall]);
    // What came before stays, and the short part may be the last.
    assert_eq!(bed.put(&location, &sha256(&[1; 14]), b"").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn chunks_answered_201_and_a_close_that_fails_after_the_work_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks { patch_created: true, empty_close_fails: true, ..Quirks::default() };
    let bed = bed(&folder, quirks).await;
    let location = bed.begin("app").await;
    let response = bed.patch(&location, "0-4", b"hello").await;
    assert_eq!((response.status(), header_of(&response, "range")), (StatusCode::CREATED, "0-4".into()));
    let digest = sha256(b"hello");
    assert_eq!(bed.put(&location, &digest, b"").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(bed.get(&format!("/v2/app/blobs/{digest}")).await.text().await.unwrap(), "hello");
}

#[tokio::test]
async fn mounts_in_all_their_ways() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks::default()).await;
    let digest = bed.push("base", b"layer").await;
    let mount = async |quirks: Quirks, rest: &str| {
        bed.registry.set_quirks(quirks);
        let path = format!("/v2/app/blobs/uploads/?mount={digest}{rest}");
        bed.request(Method::POST, &path).send().await.unwrap().status()
    };
    let ways = |mounts| Quirks { mounts, ..Quirks::default() };
    assert_eq!(mount(ways(Mounts::Ignore), "&from=base").await, StatusCode::ACCEPTED);
    assert_eq!(mount(ways(Mounts::Refuse), "&from=base").await, StatusCode::NOT_FOUND);
    assert_eq!(mount(Quirks::default(), "").await, StatusCode::ACCEPTED);
    let needs_from = Quirks { mount_needs_from: true, ..Quirks::default() };
    assert_eq!(mount(needs_from.clone(), "").await, StatusCode::BAD_REQUEST);
    assert_eq!(mount(needs_from, "&from=base").await, StatusCode::CREATED);
}

#[tokio::test]
async fn registries_of_before_the_referrers_api() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { referrers: Referrers::Missing, ..Quirks::default() }).await;
    let (subject, manifest) = bed.push_image("app", "v1", b"layer").await;
    let mut referrer = image(b"layer");
    referrer["subject"] = descriptor(OCI_MANIFEST, manifest.to_string().as_bytes());
    let response = bed.put_manifest("app", "sig", OCI_MANIFEST, &referrer).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    assert!(response.headers().get("oci-subject").is_none());
    let list = bed.get(&format!("/v2/app/referrers/{subject}")).await;
    assert_eq!(list.status(), StatusCode::NOT_FOUND);
    bed.registry.set_quirks(Quirks { referrers: Referrers::Refused, ..Quirks::default() });
    let response = bed.put_manifest("app", "other", OCI_MANIFEST, &referrer).await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(bed.get("/v2/app/manifests/other").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn small_deviations() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks {
        null_tags: true,
        post_begins_only: true,
        ignore_range: true,
        hide_digest: true,
        repositories: Some(vec!["app".to_owned()]),
        ..Quirks::default()
    };
    let bed = bed(&folder, quirks).await;
    let digest = sha256(b"hello");
    let path = format!("/v2/app/blobs/uploads/?digest={digest}");
    let begun = bed.request(Method::POST, &path).body("hello").send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let location = header_of(&begun, "location");
    let closed = bed.put(&location, &digest, b"hello").await;
    assert_eq!(closed.status(), StatusCode::CREATED);
    assert!(closed.headers().get("docker-content-digest").is_none());
    let part = bed.request(Method::GET, &format!("/v2/app/blobs/{digest}")).header("range", "bytes=3-");
    let part = part.send().await.unwrap();
    assert_eq!((part.status(), part.text().await.unwrap()), (StatusCode::OK, "hello".to_owned()));
    assert_eq!(bed.json("/v2/app/tags/list").await["tags"], Value::Null);
    let other = bed.request(Method::POST, "/v2/other/blobs/uploads/").send().await.unwrap();
    assert_eq!((other.status(), code(other).await), (StatusCode::NOT_FOUND, "NAME_UNKNOWN".into()));
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { requests_per_second: Some(1), ..Quirks::default() }).await;
    // Two in the same second at the latest with the third, however slow the machine: each answer is awaited.
    let mut refused = None;
    for _ in 0..50 {
        let response = bed.get("/v2/app/manifests/v1").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
            break;
        }
    }
    assert_eq!(header_of(&refused.expect("50 requests take less than 50 s"), "retry-after"), "1");
    bed.get("/v2/app/manifests/v1").await;
    assert_eq!(bed.kinds(), [ViolationKind::TooSoon]);
}

#[tokio::test]
async fn the_host_of_the_blobs_wants_its_signature_and_no_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { elsewhere: true, ..Quirks::default() }).await;
    let location = bed.begin("app").await;
    assert!(location.starts_with("http://127.0.0.1:") && !location.starts_with(&bed.url), "{location}");
    let digest = sha256(b"hello");
    let send = |url: String| bed.request(Method::PUT, &url).body("hello");
    let close = format!("{location}&digest={digest}");
    let shown = send(close.clone()).bearer_auth("secret").send().await.unwrap();
    assert_eq!(shown.status(), StatusCode::FORBIDDEN);
    assert_eq!(bed.kinds(), [ViolationKind::CredentialsElsewhere]);
    assert!(!format!("{:?}", bed.registry.violations()).contains("secret"));
    let (bare, _) = location.split_once('?').unwrap();
    let unsigned = send(format!("{bare}?digest={digest}")).send().await.unwrap();
    assert_eq!(unsigned.status(), StatusCode::FORBIDDEN);
    assert_eq!(send(close.clone()).send().await.unwrap().status(), StatusCode::CREATED);
    // Once more, although it has ended.
    assert_eq!(send(close).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    assert_eq!(bed.kinds().last(), Some(&ViolationKind::UploadClosed));
    bed.push("app", b"other").await;
    let blob = bed.get(&format!("/v2/app/blobs/{digest}")).await;
    assert_eq!(blob.status(), StatusCode::TEMPORARY_REDIRECT);
    let signed = header_of(&blob, "location");
    assert_eq!(bed.get(&signed).await.text().await.unwrap(), "hello");
    bed.registry.clear_violations();
    // The address of one blob reads nothing else, writes nothing, and deletes nothing.
    let manifest = signed.replace(&format!("/blobs/{digest}"), "/manifests/v1");
    let other = signed.replace(&digest.to_string(), &sha256(b"other").to_string());
    for (method, url) in [
        (Method::PUT, manifest.clone()),
        (Method::GET, manifest),
        (Method::GET, other),
        (Method::DELETE, signed.clone()),
        (Method::GET, signed.replace("expires=1", "expires=2")),
    ] {
        let refused = bed.request(method.clone(), &url).send().await.unwrap();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method} {url}");
    }
    assert_eq!(bed.kinds(), [ViolationKind::SignatureMisused; 5]);
}

#[tokio::test]
async fn logins_can_be_switched_on_and_off() {
    let folder = tempfile::tempdir().unwrap();
    let quirks: Quirks =
        serde_json::from_value(json!({ "login": { "scheme": "basic", "user": "ada", "password": "pw" } }))
            .unwrap();
    let bed = bed(&folder, quirks).await;
    assert_eq!(bed.get("/v2/").await.status(), StatusCode::UNAUTHORIZED);
    let known = bed.request(Method::GET, "/v2/").basic_auth("ada", Some("pw")).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::OK);
    bed.registry.set_quirks(Quirks::default());
    assert_eq!(bed.get("/v2/").await.status(), StatusCode::OK);
}
