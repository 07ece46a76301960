//! Every switch of the registry, and what a client must not do.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use spectra_sandbox::registry::{Mounts, Quirks, Referrers, ViolationKind};

use crate::bed::{Bed, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, code, descriptor, header_of, image, sha256};

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
async fn bodies_without_a_length_passed_every_limit() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks { max_body: Some(1_000), max_patch: Some(100), ..Quirks::default() };
    let bed = bed(&folder, quirks).await;
    let streamed = |method, url: &str| {
        let pieces = (0..50).map(|_| Ok::<_, std::io::Error>(vec![7_u8; 60]));
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
        bed.request(method, url).body(body).send()
    };
    let location = bed.begin("app").await;
    let patched = streamed(Method::PATCH, &location).await.unwrap();
    assert_eq!(patched.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let close = format!("{}&digest={}", bed.begin("app").await, sha256(&[7; 3_000]));
    assert_eq!(streamed(Method::PUT, &close).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(bed.registry.met(), [("max_body", 1), ("max_patch", 1)].into());
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn who_asks_first_is_refused_without_a_body() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { max_body: Some(1_000), ..Quirks::default() }).await;
    let location = bed.begin("app").await;
    let mut socket = tokio::net::TcpStream::connect(bed.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "PUT {location} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 1001\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

/// A client that is still sending must see why it is refused, whatever is wrong.
#[tokio::test]
async fn a_large_body_is_read_before_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let login = json!({ "login": { "scheme": "bearer", "user": "ada", "password": "pw" } });
    let bed = bed(&folder, Quirks::default()).await;
    let location = bed.begin("app").await;
    let big = vec![7; 8 << 20];
    for _ in 0..5 {
        let refused = bed.patch(&location, "5-9", &big).await;
        assert_eq!(refused.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    }
    bed.registry.set_quirks(serde_json::from_value(login).unwrap());
    for _ in 0..5 {
        let refused = bed.request(Method::PATCH, &location).bearer_auth("old").body(big.clone());
        assert_eq!(refused.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn nobody_unknown_is_told_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = json!({
        "login": { "scheme": "bearer", "user": "ada", "password": "pw" },
        "repositories": [], "mounts": "refuse", "mount_needs_from": true, "referrers": "missing",
    });
    let bed = bed(&folder, serde_json::from_value(quirks).unwrap()).await;
    let digest = sha256(b"hello");
    for (method, path) in [
        (Method::POST, "/v2/app/blobs/uploads/".to_owned()),
        (Method::POST, format!("/v2/app/blobs/uploads/?mount={digest}")),
        (Method::PUT, "/v2/app/manifests/v1".to_owned()),
        (Method::GET, format!("/v2/app/referrers/{digest}")),
    ] {
        let status = bed.request(method, &path).send().await.unwrap().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
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
    assert_eq!(bed.registry.met(), [("mount_needs_from", 1)].into());
    // Who was refused can still send it.
    assert_eq!(bed.get(&format!("/v2/app/blobs/{digest}")).await.status(), StatusCode::NOT_FOUND);
    let location = bed.begin("app").await;
    assert_eq!(bed.put(&location, &digest, b"layer").await.status(), StatusCode::CREATED);
    assert_eq!(mount(needs_from, "&from=base").await, StatusCode::CREATED);
    assert!(bed.registry.met().is_empty());
    assert_eq!(bed.kinds(), []);
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
async fn what_refers_to_an_image_is_listed_by_the_client_where_the_registry_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { referrers: Referrers::Missing, ..Quirks::default() }).await;
    let (subject, manifest) = bed.push_image("app", "v1", b"layer").await;
    let mut referrer = image(b"layer");
    referrer["subject"] = descriptor(OCI_MANIFEST, manifest.to_string().as_bytes());
    let push = async |tag: &str, kind, manifest: &Value| {
        let response = bed.put_manifest("app", tag, kind, manifest).await;
        assert_eq!(response.status(), StatusCode::CREATED);
    };
    push("sig", OCI_MANIFEST, &referrer).await;
    assert_eq!(bed.kinds(), [ViolationKind::ReferrerNotListed]);
    let index =
        |manifests: Value| json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests });
    let entry = descriptor(OCI_MANIFEST, referrer.to_string().as_bytes());
    let tag = format!("sha256-{}", subject.hex());
    push(&tag, OCI_INDEX, &index(json!([entry]))).await;
    assert_eq!(bed.kinds(), []);
    // Once more, which changes nothing; and a list that has lost it.
    push("sig", OCI_MANIFEST, &referrer).await;
    assert_eq!(bed.kinds(), []);
    push(&tag, OCI_INDEX, &index(json!([]))).await;
    assert_eq!(bed.kinds(), [ViolationKind::ReferrerNotListed]);
    let gone = sha256(referrer.to_string().as_bytes());
    assert_eq!(bed.delete(&format!("/v2/app/manifests/{gone}")).await, StatusCode::ACCEPTED);
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn a_manifest_of_a_type_that_nobody_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { accept_matters: true, ..Quirks::default() }).await;
    bed.push_image("app", "v1", b"layer").await;
    for (accept, expected) in [
        (None, StatusCode::NOT_FOUND),
        (Some(DOCKER_MANIFEST), StatusCode::NOT_FOUND),
        (Some("text/html, application/vnd.oci.image.manifest.v1+json;q=0.5"), StatusCode::OK),
        (Some("*/*"), StatusCode::OK),
    ] {
        let mut request = bed.request(Method::GET, "/v2/app/manifests/v1");
        // The client sends `*/*` of its own accord.
        request = request.header("accept", accept.unwrap_or(""));
        assert_eq!(request.send().await.unwrap().status(), expected, "{accept:?}");
    }
    assert_eq!(bed.registry.met()["accept_matters"], 2);
}

#[tokio::test]
async fn less_is_kept_than_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { keeps_less: true, ..Quirks::default() }).await;
    let bytes: Vec<u8> = (0..1_000_u32).flat_map(u32::to_le_bytes).collect();
    let location = bed.begin("app").await;
    let half = bed.patch(&location, "0-3999", &bytes).await;
    assert_eq!((half.status(), header_of(&half, "range")), (StatusCode::ACCEPTED, "0-1999".into()));
    let rest = bed.patch(&location, "2000-2999", &bytes[2_000..3_000]).await;
    assert_eq!(header_of(&rest, "range"), "0-2999");
    let close = format!("{}&digest={}", bed.current(&location).await, sha256(&bytes));
    let close = bed.request(Method::PUT, &close).header("content-range", "3000-3999");
    assert_eq!(close.body(bytes[3_000..].to_vec()).send().await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(bed.registry.met()["keeps_less"], 1);
    assert_eq!(bed.kinds(), []);
}

#[tokio::test]
async fn lists_come_in_pages_and_unfiltered() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks { page_size: Some(1), ignore_filter: true, ..Quirks::default() };
    let bed = bed(&folder, quirks).await;
    let (subject, manifest) = bed.push_image("app", "v1", b"layer").await;
    for number in 0..2 {
        let mut referrer = image(b"layer");
        referrer["subject"] = descriptor(OCI_MANIFEST, manifest.to_string().as_bytes());
        referrer["annotations"] = json!({ "number": number.to_string() });
        let response = bed.put_manifest("app", &format!("r{number}"), OCI_MANIFEST, &referrer).await;
        assert_eq!(response.status(), StatusCode::CREATED);
    }
    for (path, key, count) in [
        (format!("/v2/app/referrers/{subject}?artifactType=other/type"), "manifests", 2),
        ("/v2/app/tags/list?n=100".to_owned(), "tags", 3),
        ("/v2/_catalog".to_owned(), "repositories", 1),
    ] {
        let (mut next, mut found) = (Some(path.clone()), Vec::new());
        while let Some(path) = next {
            let page = bed.get(&path).await;
            next = page.headers().get("link").map(|link| {
                let link = link.to_str().unwrap();
                link[1..link.find('>').unwrap()].to_owned()
            });
            assert!(page.headers().get("oci-filters-applied").is_none());
            let page: Value = page.json().await.unwrap();
            assert_eq!(page[key].as_array().unwrap().len(), 1, "{path}");
            found.push(page[key][0].to_string());
        }
        found.dedup();
        assert_eq!(found.len(), count, "{path}");
    }
    assert_eq!(bed.registry.met(), [("ignore_filter", 2), ("page_size", 2)].into());
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
    // Nothing of what came with it is kept.
    let status = bed.get(&location).await;
    assert_eq!((status.status(), header_of(&status, "range")), (StatusCode::NO_CONTENT, "0-0".into()));
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
    let met: Vec<_> = bed.registry.met().into_keys().collect();
    assert_eq!(met, ["hide_digest", "ignore_range", "null_tags", "post_begins_only", "repositories"]);
    bed.registry.set_quirks(Quirks::default());
    assert!(bed.registry.met().is_empty());
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
    assert!(bed.registry.met()["requests_per_second"] > 0);
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
    // To look is to be sent there too; what has become a blob is at the registry; and a refusal says where to go on.
    let looked = bed.request(Method::HEAD, &format!("/v2/app/blobs/{digest}")).send().await.unwrap();
    assert_eq!(looked.status(), StatusCode::TEMPORARY_REDIRECT);
    let looked = bed.request(Method::HEAD, &header_of(&looked, "location")).send().await.unwrap();
    assert_eq!((looked.status(), header_of(&looked, "content-length")), (StatusCode::OK, "5".into()));
    let location = bed.begin("app").await;
    let astray = bed.request(Method::PATCH, &location).header("content-range", "3-7").body("hello");
    let astray = astray.send().await.unwrap();
    assert_eq!(astray.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let location = header_of(&astray, "location");
    assert!(location.starts_with("http://127.0.0.1:") && !location.starts_with(&bed.url), "{location}");
    let done = bed.put(&location, &sha256(b"more"), b"more").await;
    let blob = header_of(&done, "location");
    assert_eq!(blob, format!("{}/v2/app/blobs/{}", bed.url, sha256(b"more")));
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

/// A web page can have its own name resolved to this machine, and then speaks to the registry as its own host.
#[tokio::test]
async fn a_name_of_another_machine_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let bed = bed(&folder, Quirks { elsewhere: true, ..Quirks::default() }).await;
    let digest = bed.push("app", b"layer").await;
    let blob = format!("/v2/app/blobs/{digest}");
    let stored = header_of(&bed.get(&blob).await, "location");
    bed.registry.clear_violations();
    for path in ["/v2/", "/v2/_catalog", &blob, &stored] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let request = bed.request(method.clone(), path).header("host", "evil.example:7430").body("x");
            let refused = request.send().await.unwrap();
            assert_eq!(refused.status(), StatusCode::MISDIRECTED_REQUEST, "{method} {path}");
            assert_eq!(code(refused).await, "DENIED", "{method} {path}");
        }
        let head = bed.request(Method::HEAD, path).header("host", "evil.example").send().await.unwrap();
        assert_eq!(head.status(), StatusCode::MISDIRECTED_REQUEST, "HEAD {path}");
    }
    // Whatever it shows, it is no client of ours that did wrong.
    let shown = bed.request(Method::GET, &stored).header("host", "evil.example").bearer_auth("x");
    assert_eq!(shown.send().await.unwrap().status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(bed.kinds(), []);
    for host in ["localhost:7430", "127.0.0.1", "registry.localhost", "[::1]:7430"] {
        let answer = bed.request(Method::GET, "/v2/").header("host", host).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{host}");
    }
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
