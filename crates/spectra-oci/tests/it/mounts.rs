//! Linking blobs from other repositories of the registry.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use spectra_oci::{Artifact, NoProgress, PushOptions};

use crate::fake::{Action, Fake, client, image};

/// A registry that links, and has the blobs of an image in `team/base`.
async fn stocked() -> (Fake, Artifact, tempfile::TempDir) {
    let fake = Fake::start().await;
    fake.lock().mounts = true;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 20_000);
    let target = fake.image("team/base:v1");
    client().push(&target, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
    fake.lock().log.clear();
    (fake, artifact, directory)
}

fn from(sources: &[&str]) -> PushOptions {
    let mount_from = sources.iter().map(|source| (*source).to_owned()).collect();
    PushOptions { mount_from, ..PushOptions::default() }
}

#[tokio::test]
async fn every_repository_is_asked_until_one_links() {
    let (fake, artifact, _directory) = stocked().await;
    let target = fake.image("team/app:v1");
    let options = from(&["first", "second", "team/base", "last"]);
    let pushed = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.skipped), (0, 2), "{:?}", fake.lock().log);
    assert_eq!(fake.count("POST", "from=last"), 0);
}

#[tokio::test]
async fn where_nothing_is_linked_the_last_upload_is_used() {
    let (fake, artifact, _directory) = stocked().await;
    let target = fake.image("team/app:v1");
    let options = from(&["first", "second"]);
    let pushed = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(pushed.uploaded, 2);
    assert_eq!(fake.count("POST", "/blobs/uploads/"), 4, "two a blob, none of them without a source");
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

#[tokio::test]
async fn a_copy_inside_a_registry_asks_the_images_own_repository_first() {
    let (fake, _, _directory) = stocked().await;
    let client = client();
    let artifact = client.open(&fake.image("team/base:v1"), None, Arc::new(NoProgress)).await.unwrap();
    let reads = fake.lock().ranges_asked.len();
    let target = fake.image("other/app:v1");
    client.push(&target, &artifact, &from(&["first"]), Arc::new(NoProgress)).await.unwrap();
    assert_eq!(fake.lock().ranges_asked.len(), reads, "nothing comes through here");
    let asked = fake.lock().log.clone();
    let layer = artifact.inspect(None).unwrap().layers[0].digest.hex().to_owned();
    let of_layer: Vec<&String> =
        asked.iter().filter(|line| line.starts_with("POST") && line.contains(&layer)).collect();
    assert!(of_layer.len() == 1 && of_layer[0].contains("from=team%2Fbase"), "{of_layer:?}");
}

#[tokio::test]
async fn a_source_that_the_token_service_refuses_does_not_stop_the_push() {
    let (fake, artifact, _directory) = stocked().await;
    (fake.lock().scheme, fake.lock().closed) = (Some("bearer"), Some("not/ours"));
    let target = fake.image("team/app:v1");
    let options = from(&["not/ours", "team/base"]);
    let pushed = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(pushed.skipped, 2, "the other source is of use: {:?}", fake.lock().log);
    let asked = fake.lock().token_requests.clone();
    assert!(asked[0].contains("not%2Fours") && asked[0].contains("team%2Fbase"), "{asked:?}");
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[tokio::test]
async fn a_source_that_may_not_be_read_is_asked_once() {
    let (fake, artifact, _directory) = stocked().await;
    for _ in 0..5 {
        fake.fault(Method::POST, "from=not%2Fours", Action::Answer(StatusCode::FORBIDDEN, Vec::new()));
    }
    let target = fake.image("team/app:v1");
    let options = PushOptions { jobs: 1, ..from(&["not/ours", "team/base"]) };
    let pushed = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(pushed.skipped, 2);
    assert_eq!(fake.count("POST", "from=not%2Fours"), 1, "{:?}", fake.lock().log);
}
