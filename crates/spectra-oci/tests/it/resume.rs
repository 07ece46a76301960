//! Uploads that break and go on where they broke, in the same process and in a later one.

use std::{path::Path, sync::Arc};

use axum::http::{Method, StatusCode};
use spectra_oci::{Cache, Client, ClientOptions, Keychain, NoProgress, Packing, PushOptions, RetryPolicy};

use crate::fake::{Action, Fake, client, image};

const SIZE: usize = 4_000_000;

fn packing(cache: &Path) -> Packing {
    Packing { cache: Some(Cache::new(cache)), ..Packing::default() }
}

fn impatient() -> Client {
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    Client::new(Keychain::empty(), ClientOptions { retry, ..ClientOptions::default() })
}

#[tokio::test]
async fn a_whole_blob_that_breaks_goes_on_where_the_registry_stands() {
    let fake = Fake::start().await;
    fake.lock().keeps_what_arrived = true;
    for _ in 0..7 {
        // More often than a call is repeated that gets nowhere.
        fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(400_000));
    }
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    client().push(&fake.image("team/app:v1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    let state = fake.lock();
    assert!(state.violations.is_empty(), "{:?}", state.violations);
    let sent = state.body_bytes;
    assert!((SIZE..SIZE + 10_000).contains(&sent), "{sent} bytes for {SIZE}: nothing is sent twice");
    drop(state);
    assert_eq!(fake.count("PATCH", ""), 0, "what is left goes in one piece");
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 2, "one upload a blob");
}

#[tokio::test]
async fn a_registry_that_forgot_the_upload_gets_the_blob_from_the_start() {
    let fake = Fake::start().await;
    fake.lock().keeps_what_arrived = true;
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(400_000));
    // As docker-registry 2.8 answers for an upload whose location carries another offset.
    fake.fault(Method::GET, "/blobs/uploads/", Action::Answer(StatusCode::NOT_FOUND, Vec::new()));
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    let pushed = client().push(&fake.image("a:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 3);
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

#[tokio::test]
async fn what_arrived_damaged_is_sent_again() {
    let fake = Fake::start().await;
    fake.lock().keeps_what_arrived = true;
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(400_000));
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    // Once resumed, the registry refuses the sum of the parts.
    let invalid = Action::Answer(StatusCode::BAD_REQUEST, Vec::new());
    fake.fault(Method::PUT, "/blobs/uploads/", invalid);
    client().push(&fake.image("a:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 3);
}

#[tokio::test]
async fn a_later_process_goes_on_where_the_first_one_died() {
    let fake = Fake::start().await;
    fake.lock().keeps_what_arrived = true;
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(2_000_000));
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let cache = directory.path().join("cache");
    let options = PushOptions { jobs: 1, packing: packing(&cache), ..PushOptions::default() };
    let target = fake.image("team/app:v1");
    let error = impatient().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert_eq!(std::fs::read_dir(cache.join("uploads")).unwrap().count(), 1, "the large blob alone");

    impatient().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    let state = fake.lock();
    assert!(state.violations.is_empty(), "{:?}", state.violations);
    // What was read of the first body ends with the piece that the limit fell into.
    assert!((SIZE..SIZE + 10_000).contains(&state.body_bytes), "{} bytes for {SIZE}", state.body_bytes);
    drop(state);
    assert_eq!(std::fs::read_dir(cache.join("uploads")).unwrap().count(), 0, "over, and its note is gone");
}

/// A registry that has a part of an upload, and answers 500 to whatever would go on with it.
async fn stuck(times: usize) -> Fake {
    let fake = Fake::start().await;
    fake.lock().keeps_what_arrived = true;
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(2_000_000));
    for _ in 0..times {
        let broken = Action::Answer(StatusCode::INTERNAL_SERVER_ERROR, Vec::new());
        fake.fault(Method::PUT, "/blobs/uploads/upload-1", broken);
    }
    fake
}

#[tokio::test]
async fn an_upload_that_cannot_be_gone_on_with_is_begun_anew() {
    let fake = stuck(100).await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    client().push(&fake.image("a:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    let resumed = fake.count("PUT", "/blobs/uploads/upload-1?");
    assert_eq!(resumed, 2, "the break and one try to go on: {:?}", fake.lock().log);
}

#[tokio::test]
async fn an_upload_that_cannot_be_gone_on_with_is_not_left_to_a_later_process() {
    let fake = stuck(100).await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let cache = directory.path().join("cache");
    let options = PushOptions { jobs: 1, packing: packing(&cache), ..PushOptions::default() };
    let target = fake.image("team/app:v1");
    for _ in 0..2 {
        // The connection breaks; the next process takes the upload up, and is refused.
        impatient().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    }
    assert_eq!(std::fs::read_dir(cache.join("uploads")).unwrap().count(), 0, "{:?}", fake.lock().log);
    impatient().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_does_not_say_where_it_stands_is_begun_anew() {
    let fake = Fake::start().await;
    fake.lock().keeps_what_arrived = true;
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(400_000));
    fake.fault(Method::GET, "/blobs/uploads/", Action::Answer(StatusCode::NO_CONTENT, Vec::new()));
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    client().push(&fake.image("a:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 3, "{:?}", fake.lock().log);
    assert_eq!(fake.count("PUT", "/blobs/uploads/upload-1?"), 1, "nothing more is sent to the first upload");
}

#[tokio::test]
async fn a_note_that_leads_elsewhere_is_not_followed() {
    let (fake, other) = (Fake::start().await, Fake::start().await);
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    let cache = directory.path().join("cache");
    let options = PushOptions { jobs: 1, packing: packing(&cache), ..PushOptions::default() };
    let target = fake.image("team/app:v1");
    fake.fault(Method::PUT, "/blobs/uploads/", Action::Reset(2_000_000));
    impatient().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    let path = std::fs::read_dir(cache.join("uploads")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(&fake.address.to_string(), &other.address.to_string())).unwrap();
    impatient().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert!(other.lock().log.is_empty(), "{:?}", other.lock().log);
}
