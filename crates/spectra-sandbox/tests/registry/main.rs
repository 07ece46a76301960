//! The registry over real HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod auth;
mod bed;
mod faults;
mod quirks;
mod violations;

use std::{fmt::Write as _, time::Duration};

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use spectra_sandbox::registry::{Quirks, RegistryConfig, ViolationKind};
use spectra_types::{Algorithm, Digest};

use self::bed::{Bed, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, code, descriptor, header_of, image, sha256};

#[tokio::test]
async fn every_way_to_upload_ends_in_the_same_blob() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let bytes: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let digest = bed.push("a/monolithic", &bytes).await;

    let location = bed.begin("a/two-steps").await;
    assert_eq!(bed.put(&location, &digest, &bytes).await.status(), StatusCode::CREATED);

    let location = bed.begin("a/chunks").await;
    let (first, rest) = bytes.split_at(150_000);
    let (second, third) = rest.split_at(150_000);
    let response = bed.patch(&location, "0-149999", first).await;
    assert_eq!((response.status(), header_of(&response, "range")), (StatusCode::ACCEPTED, "0-149999".into()));
    let response = bed.patch(&header_of(&response, "location"), "150000-299999", second).await;
    assert_eq!(header_of(&response, "range"), "0-299999");
    // The last chunk rides in the closing request, which says where it belongs as the others do.
    let closing = format!("{}&digest={digest}", header_of(&response, "location"));
    let closing = bed.request(Method::PUT, &closing).header("content-range", "300000-399999");
    assert_eq!(closing.body(third.to_vec()).send().await.unwrap().status(), StatusCode::CREATED);

    let location = bed.begin("a/streamed").await;
    let pieces = bytes.chunks(7_777).map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.collect::<Vec<_>>()));
    let response = bed.request(Method::PATCH, &location).body(body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.put(&location, &digest, b"").await.status(), StatusCode::CREATED);

    for name in ["a/monolithic", "a/two-steps", "a/chunks", "a/streamed"] {
        let path = format!("/v2/{name}/blobs/{digest}");
        let head = bed.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK, "{name}");
        assert_eq!(header_of(&head, "content-length"), "400000");
        assert_eq!(header_of(&head, "docker-content-digest"), digest.to_string());
        assert_eq!(header_of(&head, "docker-distribution-api-version"), "registry/2.0");
        assert_eq!(bed.get(&path).await.bytes().await.unwrap(), bytes, "{name}");
    }
    assert_eq!(bed.kinds(), []);
    assert_eq!(std::fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
}

#[tokio::test]
async fn chunks_out_of_order_are_refused_and_say_where_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let location = bed.begin("app").await;
    assert_eq!(bed.patch(&location, "0-4", b"hello").await.status(), StatusCode::ACCEPTED);
    for range in ["0-4", "6-10", "4-8"] {
        let response = bed.patch(&location, range, b"world").await;
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(header_of(&response, "range"), "0-4");
        assert_eq!(header_of(&response, "location"), bed.current(&location).await);
        assert_eq!(code(response).await, "BLOB_UPLOAD_INVALID");
    }
    let response = bed.patch(&location, "bytes 5-9/10", b"world").await;
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID".into())
    );
    // Announced and sent differ: the chunk is dropped whole, and the hash beside the file with it.
    let response = bed.patch(&location, "5-7", b"wrong").await;
    assert_eq!((response.status(), code(response).await), (StatusCode::BAD_REQUEST, "SIZE_INVALID".into()));
    let status = bed.get(&location).await;
    assert_eq!((status.status(), header_of(&status, "range")), (StatusCode::NO_CONTENT, "0-4".into()));
    assert_eq!(bed.patch(&location, "5-9", b"world").await.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.put(&location, &sha256(b"helloworld"), b"").await.status(), StatusCode::CREATED);
    assert_eq!(bed.kinds(), [ViolationKind::WrongContentRange; 5]);
    bed.registry.clear_violations();
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn parts_go_where_the_last_answer_said_and_say_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let first = bed.begin("app").await;
    let part = async |location: &str, bytes: &'static str| {
        bed.request(Method::PATCH, location).body(bytes).send().await.unwrap()
    };
    let second = header_of(&part(&first, "hello").await, "location");
    assert_ne!(first, second);
    let stale = part(&first, "world").await;
    assert_eq!(stale.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header_of(&stale, "location"), second);
    assert_eq!(bed.kinds(), [ViolationKind::StaleLocation]);
    // An address that the client made up is as good as an old one.
    let (made_up, _) = second.split_once('?').unwrap();
    assert_eq!(part(made_up, "world").await.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(part(&second, "world").await.status(), StatusCode::ACCEPTED);
    let expected =
        [ViolationKind::StaleLocation, ViolationKind::StaleLocation, ViolationKind::WrongContentRange];
    assert_eq!(bed.kinds(), expected);
    assert_eq!(bed.put(&second, &sha256(b"helloworld"), b"").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn a_look_from_another_repository_let_two_requests_write_one_upload() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    bed.registry.set_quirks(Quirks { min_part: Some(10), announce_min_part: true, ..Quirks::default() });
    let location = bed.begin("app").await;
    bed.patch(&location, "0-3", b"1234").await;
    assert_eq!(bed.get(&location.replace("/app/", "/other/")).await.status(), StatusCode::NOT_FOUND);
    // What is remembered of the upload is still there: the part before was too small.
    assert_eq!(bed.patch(&location, "4-7", b"5678").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(bed.kinds(), [ViolationKind::PartTooSmall]);
}

#[tokio::test]
async fn an_upload_whose_bytes_became_a_blob_before_a_crash_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let location = bed.begin("app").await;
    let uploads = folder.path().join("uploads");
    let upload = std::fs::read_dir(&uploads).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(upload.join("data")).unwrap();
    assert_eq!(bed.get(&location).await.status(), StatusCode::NOT_FOUND);
    assert!(!upload.exists());
    // Of one that ended, its owner goes first: what is left after a crash is nobody's.
    let location = bed.begin("app").await;
    let upload = std::fs::read_dir(&uploads).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(upload.join("repository")).unwrap();
    assert_eq!(bed.get(&location).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_are_removed_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let old = bed.begin("app").await;
    let upload = std::fs::read_dir(folder.path().join("uploads")).unwrap().next().unwrap().unwrap().path();
    let fresh = bed.begin("app").await;
    let two_days_ago = std::time::SystemTime::now() - Duration::from_hours(48);
    let data = std::fs::File::options().write(true).open(upload.join("data")).unwrap();
    data.set_modified(two_days_ago).unwrap();
    bed.begin("app").await;
    assert!(!upload.exists());
    assert_eq!(bed.get(&old).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(bed.get(&fresh).await.status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn uploads_under_way_have_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let first = bed.begin("app").await;
    for number in 1..1_000 {
        std::fs::create_dir(folder.path().join("uploads").join(number.to_string())).unwrap();
    }
    let begin = async || bed.request(Method::POST, "/v2/app/blobs/uploads/").send().await.unwrap().status();
    assert_eq!(begin().await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(bed.delete(&first).await, StatusCode::NO_CONTENT);
    assert_eq!(begin().await, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn an_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let location = {
        let bed = Bed::at(folder.path()).await;
        let location = bed.begin("team/app").await;
        bed.patch(&location, "0-4", b"hello").await;
        bed.push_image("team/app", "v1", b"layer").await;
        location
    };
    let bed = Bed::at(folder.path()).await;
    let status = bed.get(&location).await;
    assert_eq!(header_of(&status, "range"), "0-4");
    assert_eq!(bed.patch(&location, "5-9", b"world").await.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.put(&location, &sha256(b"helloworld"), b"").await.status(), StatusCode::CREATED);
    assert_eq!(bed.get("/v2/team/app/manifests/v1").await.status(), StatusCode::OK);
    assert_eq!(bed.json("/v2/_catalog").await, json!({ "repositories": ["team/app"] }));
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_an_upload_that_can_be_resumed() {
    use tokio::io::AsyncWriteExt as _;
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let location = bed.begin("app").await;
    let mut socket = tokio::net::TcpStream::connect(bed.url.trim_start_matches("http://")).await.unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhello");
    socket.write_all(head.as_bytes()).await.unwrap();
    drop(socket);
    // The status waits its turn behind the broken request only once that has begun.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let range = header_of(&bed.get(&location).await, "range");
        if range == "0-4" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "stayed at {range}");
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.patch(&location, "5-9", b"world").await.status(), StatusCode::ACCEPTED);
    assert_eq!(bed.put(&location, &sha256(b"helloworld"), b"").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn wrong_digests_and_unknown_uploads() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let location = bed.begin("app").await;
    let response = bed.put(&location, &sha256(b"other"), b"bytes").await;
    assert_eq!((response.status(), code(response).await), (StatusCode::BAD_REQUEST, "DIGEST_INVALID".into()));
    let response = bed.get(&location).await;
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN".into())
    );
    assert_eq!(bed.kinds(), [ViolationKind::DigestMismatch]);
    assert_eq!(bed.get(&format!("/v2/app/blobs/{}", sha256(b"bytes"))).await.status(), StatusCode::NOT_FOUND);

    let location = bed.begin("app").await;
    // Another repository's upload.
    let foreign = location.replace("/app/", "/other/");
    assert_eq!(bed.get(&foreign).await.status(), StatusCode::NOT_FOUND);
    let response = bed.request(Method::PUT, &location).body("x").send().await.unwrap();
    assert_eq!(code(response).await, "DIGEST_INVALID");
    assert_eq!(bed.delete(&location).await, StatusCode::NO_CONTENT);
    assert_eq!(bed.delete(&location).await, StatusCode::NOT_FOUND);
    assert_eq!(bed.get("/v2/app/blobs/uploads/nonsense").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn sha512_is_a_digest_too() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let digest = Digest::from_bytes(Algorithm::Sha512, &Sha512::digest(b"bytes")).unwrap();
    let location = bed.begin("app").await;
    assert_eq!(bed.put(&location, &digest, b"bytes").await.status(), StatusCode::CREATED);
    assert_eq!(bed.get(&format!("/v2/app/blobs/{digest}")).await.text().await.unwrap(), "bytes");
}

#[tokio::test]
async fn a_part_of_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let digest = bed.push("app", b"0123456789").await;
    let path = format!("/v2/app/blobs/{}", digest.to_string().replace(':', "%3A"));
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=7-", 206, "bytes 7-9/10", "789"),
        ("bytes=-2", 206, "bytes 8-9/10", "89"),
        ("bytes=0-99", 206, "bytes 0-9/10", "0123456789"),
    ] {
        let response = bed.request(Method::GET, &path).header(header::RANGE, range).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(header_of(&response, "content-range"), content_range);
        assert_eq!(response.text().await.unwrap(), body);
    }
    let response = bed.request(Method::GET, &path).header(header::RANGE, "bytes=10-").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header_of(&response, "content-range"), "bytes */10");
}

#[tokio::test]
async fn mounting_moves_no_bytes_and_failing_to_is_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let digest = bed.push("from", b"layer").await;
    let mount = |from: &str, digest: &Digest| {
        bed.request(Method::POST, &format!("/v2/to/blobs/uploads/?mount={digest}&from={from}")).send()
    };
    assert_eq!(bed.get(&format!("/v2/to/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(mount("elsewhere", &digest).await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(mount("from", &sha256(b"unknown")).await.unwrap().status(), StatusCode::ACCEPTED);
    let response = mount("from", &digest).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(header_of(&response, "docker-content-digest"), digest.to_string());
    // The content stays as long as one repository has it.
    assert_eq!(bed.delete(&format!("/v2/from/blobs/{digest}")).await, StatusCode::ACCEPTED);
    assert_eq!(bed.delete(&format!("/v2/from/blobs/{digest}")).await, StatusCode::NOT_FOUND);
    assert_eq!(bed.get(&format!("/v2/to/blobs/{digest}")).await.text().await.unwrap(), "layer");
    assert_eq!(bed.delete(&format!("/v2/to/blobs/{digest}")).await, StatusCode::ACCEPTED);
    assert!(!folder.path().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex()).exists());
    // A mount without `from` is an upload as well.
    let response = bed.request(Method::POST, &format!("/v2/to/blobs/uploads/?mount={digest}"));
    assert_eq!(response.send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn a_blob_sent_twice_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let digest = bed.push("app", b"layer").await;
    let location = bed.begin("app").await;
    assert_eq!(bed.put(&location, &digest, b"layer").await.status(), StatusCode::CREATED);
    bed.push("app", b"layer").await;
    assert_eq!(bed.kinds(), [ViolationKind::BlobResent; 2]);
    // The same bytes to another repository are news there.
    bed.registry.clear_violations();
    bed.push("other", b"layer").await;
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn manifests_by_tag_and_digest() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let (digest, manifest) = bed.push_image("team/app", "v1", b"one").await;
    for reference in ["v1", &digest.to_string()] {
        let path = format!("/v2/team/app/manifests/{reference}");
        let head = bed.request(Method::HEAD, &path).send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(header_of(&head, "content-type"), OCI_MANIFEST);
        assert_eq!(header_of(&head, "content-length"), manifest.to_string().len().to_string());
        assert_eq!(header_of(&head, "docker-content-digest"), digest.to_string());
        let etag = header_of(&head, "etag");
        assert_eq!(bed.get(&path).await.text().await.unwrap(), manifest.to_string());
        let cached = bed.request(Method::GET, &path).header(header::IF_NONE_MATCH, etag).send().await;
        assert_eq!(cached.unwrap().status(), StatusCode::NOT_MODIFIED);
    }
    // A tag moves; what it named stays.
    let (second, _) = bed.push_image("team/app", "v1", b"two").await;
    let now = bed.get("/v2/team/app/manifests/v1").await;
    assert_eq!(header_of(&now, "docker-content-digest"), second.to_string());
    assert_eq!(bed.get(&format!("/v2/team/app/manifests/{digest}")).await.status(), StatusCode::OK);
    // Deleting a digest takes its tags along; deleting a tag takes nothing along.
    bed.push_image("team/app", "v2", b"two").await;
    assert_eq!(bed.delete("/v2/team/app/manifests/v2").await, StatusCode::ACCEPTED);
    assert_eq!(bed.get("/v2/team/app/manifests/v1").await.status(), StatusCode::OK);
    assert_eq!(bed.delete(&format!("/v2/team/app/manifests/{second}")).await, StatusCode::ACCEPTED);
    let gone = bed.get("/v2/team/app/manifests/v1").await;
    assert_eq!((gone.status(), code(gone).await), (StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN".into()));
    assert_eq!(bed.delete(&format!("/v2/team/app/manifests/{second}")).await, StatusCode::NOT_FOUND);
    assert_eq!(bed.json("/v2/team/app/tags/list").await, json!({ "name": "team/app", "tags": [] }));
}

#[tokio::test]
async fn docker_manifests_and_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let (digest, manifest) = bed.push_image("app", "oci", b"layer").await;
    let mut docker = manifest.clone();
    docker["mediaType"] = DOCKER_MANIFEST.into();
    assert_eq!(
        bed.put_manifest("app", "docker", DOCKER_MANIFEST, &docker).await.status(),
        StatusCode::CREATED
    );
    let mut entry = descriptor(OCI_MANIFEST, manifest.to_string().as_bytes());
    entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] });
    assert_eq!(bed.put_manifest("app", "all", OCI_INDEX, &index).await.status(), StatusCode::CREATED);
    let response = bed.get("/v2/app/manifests/all").await;
    assert_eq!(header_of(&response, "content-type"), OCI_INDEX);
    // A child that is not there.
    assert_eq!(bed.delete(&format!("/v2/app/manifests/{digest}")).await, StatusCode::ACCEPTED);
    let response = bed.put_manifest("app", "again", OCI_INDEX, &index).await;
    assert_eq!(code(response).await, "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(bed.kinds().last(), Some(&ViolationKind::ManifestBeforeBlobs));
}

#[tokio::test]
async fn manifests_that_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = RegistryConfig::new(folder.path());
    (config.max_manifest, config.max_blob) = (2_000, 1_000);
    let bed = Bed::with(config).await;
    let good = image(b"layer");
    let response = bed.put_manifest("app", "v1", OCI_MANIFEST, &good).await;
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN".into())
    );
    assert_eq!(bed.kinds(), [ViolationKind::ManifestBeforeBlobs]);
    bed.push("app", b"layer").await;
    bed.push("app", b"{}").await;

    let changed = |pointer: &str, value: Value| {
        let mut manifest = good.clone();
        *manifest.pointer_mut(pointer).unwrap() = value;
        manifest
    };
    for (kind, manifest, expected) in [
        (OCI_MANIFEST, changed("/layers/0/size", json!(4)), "MANIFEST_INVALID"),
        (OCI_MANIFEST, changed("/schemaVersion", json!(1)), "MANIFEST_INVALID"),
        (OCI_MANIFEST, changed("/layers/0/digest", json!("sha256:00")), "MANIFEST_INVALID"),
        (OCI_MANIFEST, changed("/layers", Value::Null), "MANIFEST_INVALID"),
        (OCI_INDEX, good.clone(), "MANIFEST_INVALID"),
        ("text/plain", changed("/mediaType", json!("text/plain")), "MANIFEST_INVALID"),
        (OCI_MANIFEST, json!("text"), "MANIFEST_INVALID"),
        (OCI_MANIFEST, changed("/mediaType", json!("x".repeat(3_000))), "SIZE_INVALID"),
    ] {
        let response = bed.put_manifest("app", "v1", kind, &manifest).await;
        assert_eq!(code(response).await, expected, "{manifest}");
    }
    let other = sha256(b"other").to_string();
    let response = bed.put_manifest("app", &other, OCI_MANIFEST, &good).await;
    assert_eq!(code(response).await, "DIGEST_INVALID");
    let response = bed.put_manifest("app", "-tag", OCI_MANIFEST, &good).await;
    assert_eq!(code(response).await, "TAG_INVALID");
    assert_eq!(bed.kinds()[1..], [ViolationKind::SizeMismatch, ViolationKind::DigestMismatch]);
    // A layer of the usual kind has to be here, whatever addresses it has.
    let mut elsewhere = changed("/layers/0/digest", json!(sha256(b"elsewhere")));
    elsewhere["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    let response = bed.put_manifest("app", "v1", OCI_MANIFEST, &elsewhere).await;
    assert_eq!(code(response).await, "MANIFEST_BLOB_UNKNOWN");
    // A manifest that was sent as a blob is none.
    let text = good.to_string();
    bed.push("app", text.as_bytes()).await;
    let child = descriptor(OCI_MANIFEST, text.as_bytes());
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child] });
    let response = bed.put_manifest("app", "v1", OCI_INDEX, &index).await;
    assert_eq!(code(response).await, "MANIFEST_BLOB_UNKNOWN");
    bed.registry.clear_violations();
    let response =
        bed.request(Method::PUT, "/v2/app/manifests/v1").body(good.to_string()).send().await.unwrap();
    assert_eq!(code(response).await, "MANIFEST_INVALID");
    assert_eq!(bed.kinds(), [ViolationKind::ContentTypeMissing]);
    let response = bed.request(Method::POST, "/v2/app/manifests/v1").send().await.unwrap();
    assert_eq!(
        (response.status(), code(response).await),
        (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED".into())
    );
    assert_eq!(bed.json("/v2/app/tags/list").await["tags"], json!([]));

    let location = bed.begin("app").await;
    let big = vec![0; 1_001];
    assert_eq!(bed.put(&location, &sha256(&big), &big).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bed.put(&location, &sha256(b"fits"), b"fits").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn names_cannot_leave_the_store() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "outside").unwrap();
    let bed = Bed::at(&folder.path().join("registry")).await;
    // Raw sockets: clients normalise such paths before they send them.
    for path in [
        "/v2/../secret/manifests/v1",
        "/v2/a/../../secret/tags/list",
        "/v2/%2e%2e/%2e%2e/tags/list",
        "/v2/a%2f..%2fb/tags/list",
        "/v2/a/manifests/..",
        "/v2/a/manifests/..%2f..%2fsecret",
        "/v2/a/blobs/sha256:../../../secret",
        "/v2/A/tags/list",
        "/v2/_blobs/tags/list",
        "/v2/a//b/tags/list",
        "/v2/nothing",
    ] {
        let mut socket = tokio::net::TcpStream::connect(bed.url.trim_start_matches("http://")).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(!answer.contains("outside"), "{path}");
    }
}

#[tokio::test]
async fn tags_and_repositories_come_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    assert_eq!(code(bed.get("/v2/app/tags/list").await).await, "NAME_UNKNOWN");
    for tag in ["v2", "v10", "Latest", "v1"] {
        bed.push_image("app", tag, b"layer").await;
    }
    bed.push_image("team/app", "v1", b"layer").await;
    assert_eq!(bed.json("/v2/app/tags/list").await["tags"], json!(["Latest", "v1", "v10", "v2"]));
    let mut seen = String::new();
    let mut next = Some("/v2/app/tags/list?n=3".to_owned());
    while let Some(path) = next {
        let response = bed.get(&path).await;
        next = response.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            assert!(link.ends_with("; rel=\"next\""));
            link[1..link.find('>').unwrap()].to_owned()
        });
        write!(seen, "{} ", response.json::<Value>().await.unwrap()["tags"]).unwrap();
    }
    assert_eq!(seen, r#"["Latest","v1","v10"] ["v2"] "#);
    assert_eq!(bed.json("/v2/app/tags/list?n=0").await["tags"], json!([]));
    assert_eq!(bed.json("/v2/app/tags/list?last=v1").await["tags"], json!(["v10", "v2"]));
    assert_eq!(bed.get("/v2/app/tags/list?n=x").await.status(), StatusCode::BAD_REQUEST);
    let response = bed.get("/v2/_catalog?n=1").await;
    assert_eq!(header_of(&response, "link"), "</v2/_catalog?n=1&last=app>; rel=\"next\"");
    assert_eq!(bed.json("/v2/_catalog?n=1&last=app").await, json!({ "repositories": ["team/app"] }));
}

#[tokio::test]
async fn referrers_list_what_points_at_a_digest() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let (subject, manifest) = bed.push_image("app", "v1", b"layer").await;
    let path = format!("/v2/app/referrers/{subject}");
    assert_eq!(bed.json(&path).await["manifests"], json!([]));
    let mut digests = Vec::new();
    for (kind, note) in [("application/x.signature", "one"), ("application/x.sbom", "two")] {
        let mut referrer = image(b"layer");
        referrer["subject"] = descriptor(OCI_MANIFEST, manifest.to_string().as_bytes());
        referrer["artifactType"] = kind.into();
        referrer["annotations"] = json!({ "note": note });
        let digest = sha256(referrer.to_string().as_bytes());
        let response = bed.put_manifest("app", &digest.to_string(), OCI_MANIFEST, &referrer).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(header_of(&response, "oci-subject"), subject.to_string());
        digests.push(digest);
    }
    let response = bed.get(&path).await;
    assert_eq!(header_of(&response, "content-type"), OCI_INDEX);
    assert!(response.headers().get("oci-filters-applied").is_none());
    assert_eq!(response.json::<Value>().await.unwrap()["manifests"].as_array().unwrap().len(), 2);
    let response = bed.get(&format!("{path}?artifactType=application/x.sbom")).await;
    assert_eq!(header_of(&response, "oci-filters-applied"), "artifactType");
    let filtered: Value = response.json().await.unwrap();
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(filtered["manifests"][0]["digest"], digests[1].to_string());
    assert_eq!(filtered["manifests"][0]["artifactType"], "application/x.sbom");
    assert_eq!(filtered["manifests"][0]["annotations"], json!({ "note": "two" }));
    bed.delete(&format!("/v2/app/manifests/{}", digests[1])).await;
    assert_eq!(bed.json(&path).await["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(code(bed.get("/v2/app/referrers/sha256:0").await).await, "DIGEST_INVALID");
}

#[tokio::test]
async fn many_clients_push_the_same_image_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let layers: Vec<Vec<u8>> = (0..4_u8).map(|fill| vec![fill; 50_000]).collect();
    let pushes = (0..16).map(|at| {
        let (bed, layers) = (&bed, &layers);
        async move {
            let tag = format!("t{at}");
            bed.push_image("team/app", &tag, &layers[at % 4]).await.0
        }
    });
    let digests = futures::future::join_all(pushes).await;
    for (at, digest) in digests.iter().enumerate() {
        let response = bed.get(&format!("/v2/team/app/manifests/t{at}")).await;
        assert_eq!(header_of(&response, "docker-content-digest"), digest.to_string());
    }
    assert_eq!(bed.json("/v2/team/app/tags/list").await["tags"].as_array().unwrap().len(), 16);
}
