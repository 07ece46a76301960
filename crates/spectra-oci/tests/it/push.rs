//! Pushing, and what goes wrong on the way.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use spectra_oci::{
    BlobOutcome, Client, ClientOptions, Error, Keychain, NoProgress, Progress, PushOptions, Pushed,
    RetryPolicy,
};
use spectra_types::Digest;

use crate::fake::{Action, Fake, client, image};

async fn push(fake: &Fake, size: usize, options: &PushOptions) -> Result<Pushed, Error> {
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), size);
    client().push(&fake.image("team/app:v1"), &artifact, options, Arc::new(NoProgress)).await
}

fn chain(error: &dyn std::error::Error, fake: &Fake) -> String {
    let text = error.to_string().replace(&fake.address.to_string(), "REGISTRY");
    let mut output = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("sha256:") {
        output.push_str(&rest[..at]);
        output.push_str("DIGEST");
        rest = rest[at + 7..].trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    output + rest
}

#[tokio::test]
async fn blobs_first_and_nothing_twice() {
    let fake = Fake::start().await;
    let first = push(&fake, 2000, &PushOptions::default()).await.unwrap();
    assert_eq!((first.uploaded, first.skipped), (2, 0));
    assert_eq!(first.image.repository(), "team/app");
    let sent = fake.lock().body_bytes;
    let second = push(&fake, 2000, &PushOptions::default()).await.unwrap();
    assert_eq!((second.uploaded, second.skipped, second.bytes), (0, 2, 0));
    assert_eq!(second.image, first.image);
    // Only the manifest went out again.
    assert!(fake.lock().body_bytes - sent < 1000);
    assert_eq!(fake.count("PATCH", ""), 0, "one piece unless told otherwise");
    assert!(fake.lock().violations.is_empty());
}

#[tokio::test]
async fn passing_trouble_is_waited_out() {
    for (method, path) in [
        (Method::HEAD, "/blobs/sha256"),
        (Method::POST, "/blobs/uploads/"),
        (Method::PUT, "/blobs/uploads/"),
        (Method::PUT, "/manifests/"),
        (Method::GET, "/v2/"),
    ] {
        let fake = Fake::start().await;
        let wait = vec![("retry-after", "0".to_owned())];
        fake.fault(method.clone(), path, Action::Answer(StatusCode::TOO_MANY_REQUESTS, wait));
        fake.fault(method.clone(), path, Action::Answer(StatusCode::SERVICE_UNAVAILABLE, Vec::new()));
        let pushed = push(&fake, 2000, &PushOptions::default()).await.unwrap();
        assert_eq!(pushed.uploaded, 2, "{method} {path}");
        assert!(fake.lock().violations.is_empty(), "{method} {path}");
    }
}

#[tokio::test]
async fn a_reset_in_mid_upload_is_repeated_from_the_start() {
    let fake = Fake::start().await;
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(1));
    let progress = Arc::new(Recorder::default());
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 3_000_000);
    let options = PushOptions::default();
    client().push(&fake.image("team/app:v1"), &artifact, &options, Arc::clone(&progress) as _).await.unwrap();
    assert!(fake.lock().violations.is_empty());
    assert!(progress.0.lock().unwrap().iter().any(|event| event == "retrying"));
}

#[tokio::test]
async fn trouble_that_stays_is_an_error_that_says_so() {
    let fake = Fake::start().await;
    for _ in 0..20 {
        fake.fault(Method::POST, "/blobs/uploads/", Action::Answer(StatusCode::BAD_GATEWAY, Vec::new()));
    }
    let error = push(&fake, 2000, &PushOptions { jobs: 1, ..PushOptions::default() }).await.unwrap_err();
    assert!(error.retryable());
    insta::assert_snapshot!(chain(&error, &fake), @"push `REGISTRY/team/app:v1`: layer 1 `DIGEST`: `REGISTRY` answered 502 after 5 attempts: TROUBLE: on purpose");
    assert!(fake.lock().manifests.is_empty(), "no manifest after a failed blob");
}

#[tokio::test]
async fn a_wait_longer_than_our_limit_is_not_waited() {
    let fake = Fake::start().await;
    let wait = vec![("retry-after", "86400".to_owned())];
    fake.fault(Method::HEAD, "/blobs/", Action::Answer(StatusCode::TOO_MANY_REQUESTS, wait));
    let error = push(&fake, 2000, &PushOptions { jobs: 1, ..PushOptions::default() }).await.unwrap_err();
    insta::assert_snapshot!(chain(&error, &fake), @"push `REGISTRY/team/app:v1`: layer 1 `DIGEST`: `REGISTRY` answered 429: it asks to wait 86400 s");
}

#[tokio::test]
async fn too_large_a_body_is_cut_into_chunks() {
    let fake = Fake::start().await;
    fake.lock().max_body = Some(1_100_000);
    let pushed = push(&fake, 3_000_000, &PushOptions::default()).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
    assert!(fake.count("PATCH", "") >= 3);
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

#[tokio::test]
async fn chunks_resume_where_the_registry_stands() {
    let fake = Fake::start().await;
    let options = PushOptions { chunk_size: Some(1 << 20), ..PushOptions::default() };
    fake.fault(Method::PATCH, "/blobs/uploads/", Action::Answer(StatusCode::SERVICE_UNAVAILABLE, Vec::new()));
    fake.fault(Method::PATCH, "/blobs/uploads/", Action::Reset(1000));
    let pushed = push(&fake, 5_000_000, &options).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 2, "one upload a blob, resumed and not begun anew");
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

#[tokio::test]
async fn the_registrys_minimum_chunk_is_kept() {
    let fake = Fake::start().await;
    fake.lock().min_chunk = Some(2_000_000);
    let options = PushOptions { chunk_size: Some(1000), ..PushOptions::default() };
    push(&fake, 5_000_000, &options).await.unwrap();
    assert_eq!(fake.count("PATCH", ""), 3, "5 MB in chunks of 2 MB; the configuration is below one chunk");
}

#[tokio::test]
async fn mounts_and_falls_back_to_sending() {
    let fake = Fake::start().await;
    push(&fake, 2000, &PushOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 2000);
    let options = PushOptions { mount_from: vec!["team/app".to_owned()], ..PushOptions::default() };
    fake.lock().mounts = true;
    let mounted = client().push(&fake.image("b:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!((mounted.uploaded, mounted.skipped), (0, 2));
    fake.lock().mounts = false;
    let sent = client().push(&fake.image("c:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(sent.uploaded, 2);
    // harbor_1404: an error instead of 202 for a mount that cannot be served.
    for _ in 0..2 {
        fake.fault(Method::POST, "mount=", Action::Answer(StatusCode::NOT_FOUND, Vec::new()));
    }
    let sent = client().push(&fake.image("d:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(sent.uploaded, 2);
    assert!(fake.lock().violations.is_empty());
}

#[tokio::test]
async fn a_damaged_layer_is_named() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 2000);
    let blobs = directory.path().join("layout/blobs/sha256");
    for entry in std::fs::read_dir(blobs).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(path, bytes).unwrap();
        }
    }
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    let error =
        client().push(&fake.image("a:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    let text = chain(&error, &fake).replace(directory.path().to_str().unwrap(), "DIR");
    let (before, after) = text.split_once("sha256/").unwrap();
    let text = format!("{before}HEX{}", after.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
    insta::assert_snapshot!(text, @"the blob in `DIR/layout/blobs/HEX` has the digest DIGEST, expected DIGEST; it is damaged or was changed");
    assert!(fake.lock().manifests.is_empty());
}

#[tokio::test]
async fn a_registry_that_stores_another_manifest_is_caught() {
    let fake = Fake::start().await;
    let other = format!("sha256:{}", "0".repeat(64));
    let headers = || vec![("docker-content-digest", other.clone())];
    fake.fault(Method::PUT, "/manifests/", Action::Answer(StatusCode::CREATED, headers()));
    let error = push(&fake, 2000, &PushOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::StoredOther(_)), "{error}");
    let target = fake.image("team/app:v1");
    assert!(error.to_string().ends_with(&format!("; `{target}` names nothing now")), "{error}");

    // What was there stays there, or is changed: the bytes say what the tag names.
    push(&fake, 2000, &PushOptions::default()).await.unwrap();
    fake.fault(Method::PUT, "/manifests/", Action::Answer(StatusCode::CREATED, headers()));
    let error = push(&fake, 3000, &PushOptions::default()).await.unwrap_err();
    let key = ("team/app".to_owned(), "v1".to_owned());
    let named = crate::fake::digest(&fake.lock().manifests[&key].1);
    assert!(error.to_string().ends_with(&format!("; `{target}` now names {named}")), "{error}");
}

#[tokio::test]
async fn by_digest_without_a_tag() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 100);
    let digest = artifact.digest().unwrap().clone();
    let target = fake.image(&format!("app@{digest}"));
    let options = PushOptions::default();
    let pushed = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert!(pushed.tags.is_empty() && *pushed.image.digest() == digest);
    let wrong = fake.image(&format!("app@sha256:{}", "0".repeat(64)));
    let requests = fake.lock().log.len();
    let error = client().push(&wrong, &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    assert!(matches!(error, Error::OtherDigest { .. }), "{error}");
    for reference in ["app", "app:2"] {
        let wrong = fake.image(&format!("{reference}@sha256:{}", "0".repeat(64)));
        let error = client().tag(&wrong, &artifact, Arc::new(NoProgress)).await.unwrap_err();
        assert!(matches!(error, Error::OtherDigest { .. }), "{error}");
    }
    assert_eq!(fake.lock().log.len(), requests, "what is known is compared before anything is asked");
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Progress for Recorder {
    fn finished(&self, _: &Digest, outcome: BlobOutcome) {
        self.0.lock().unwrap().push(format!("{outcome:?}"));
    }

    fn retrying(&self, _: &str, _: &str, _: std::time::Duration) {
        self.0.lock().unwrap().push("retrying".to_owned());
    }
}

#[tokio::test]
async fn a_registry_that_keeps_nothing_of_what_it_accepts_kept_us_for_ever() {
    let fake = Fake::start().await;
    for _ in 0..10 {
        let nothing = Action::Answer(StatusCode::ACCEPTED, vec![("range", "0-0".to_owned())]);
        fake.fault(Method::PATCH, "/blobs/uploads/", nothing);
    }
    let options = PushOptions { jobs: 1, chunk_size: Some(1 << 20), ..PushOptions::default() };
    let error = push(&fake, 3_000_000, &options).await.unwrap_err().to_string();
    assert!(error.contains("keeps nothing of what it accepts"), "{error}");
    assert_eq!(fake.count("PATCH", "/blobs/uploads/"), 4);
}

#[tokio::test]
async fn a_registry_may_take_its_time_to_make_a_blob_of_what_it_got() {
    let fake = Fake::start().await;
    let stall_timeout = Duration::from_secs(1);
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Think(stall_timeout * 2));
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 2000);
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let client =
        Client::new(Keychain::empty(), ClientOptions { retry, stall_timeout, ..ClientOptions::default() });
    client.push(&fake.image("a:1"), &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_does_not_answer_a_question_is_not_waited_for() {
    let fake = Fake::start().await;
    let stall_timeout = Duration::from_millis(200);
    fake.fault(Method::GET, "/manifests/", Action::Think(Duration::from_mins(1)));
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let client =
        Client::new(Keychain::empty(), ClientOptions { retry, stall_timeout, ..ClientOptions::default() });
    let error = client.resolve(&fake.image("a:1")).await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error:?}");
}

#[tokio::test]
async fn a_registry_that_drips_a_document_kept_us_for_ever() {
    let fake = Fake::start().await;
    let stall_timeout = Duration::from_secs(1);
    fake.fault(Method::GET, "/manifests/", Action::Drip(Duration::from_millis(50)));
    let retry = RetryPolicy { attempts: 3, ..RetryPolicy::default() };
    let client =
        Client::new(Keychain::empty(), ClientOptions { retry, stall_timeout, ..ClientOptions::default() });
    let image = fake.image("a:1");
    let resolved = tokio::time::timeout(Duration::from_mins(1), client.resolve(&image)).await;
    let error = resolved.expect("it ends").unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(text, "the answer was not there after 3 s");
    assert_eq!(fake.count("GET", "/manifests/"), 1, "asking again would take as long");
}

/// Cuts the files below a folder short as soon as the first bytes of a large blob are on their way.
struct Shortening(std::path::PathBuf);

impl Progress for Shortening {
    fn sent(&self, _: &Digest, bytes: u64) {
        if bytes < 100_000 {
            return;
        }
        for entry in std::fs::read_dir(&self.0).unwrap() {
            let file = std::fs::OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap();
            if file.metadata().unwrap().len() > 2_000_000 {
                file.set_len(1_000_000).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_gets_shorter_on_the_way_was_taken_for_a_broken_connection() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 3_000_000);
    let blobs = directory.path().join("layout/blobs/sha256");
    let progress = Arc::new(Shortening(blobs.clone()));
    let pushed = client().push(&fake.image("a:1"), &artifact, &PushOptions::default(), progress).await;
    let error = pushed.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(blobs.to_str().unwrap()), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("it ends at byte 1000000, "), "{source}");
    assert_eq!(fake.lock().manifests.len(), 0);
    let log = fake.lock().log.clone();
    let sent = log.iter().filter(|line| line.starts_with("PUT")).count();
    assert!(sent <= 2, "a layer and the configuration at most, once each: {log:?}");
}
