//! Copying signatures and attestations along with an image, to a registry without a list of referrers.

use std::sync::Arc;

use sha2::Digest as _;
use spectra_oci::{Client, NoProgress, Progress, PushOptions};
use spectra_types::{Algorithm, Digest, ImageRef};

use crate::fake::{Fake, client, image};

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(bytes)).unwrap()
}

/// Puts an artifact about `subject` into the repository `app`, as a signing tool does.
fn attach(fake: &Fake, subject: &Digest, what: &str) -> Digest {
    let blob = what.as_bytes().to_vec();
    let empty = b"{}".to_vec();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"{what}",
        "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},
        "layers":[{{"mediaType":"{what}","digest":"{}","size":{}}}],
        "subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":1}}}}"#,
        sha256(&empty),
        sha256(&blob),
        blob.len()
    );
    let digest = sha256(manifest.as_bytes());
    let mut state = fake.lock();
    for bytes in [blob, empty] {
        let found = sha256(&bytes).to_string();
        state.blobs.insert(("app".to_owned(), found), bytes);
    }
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let key = ("app".to_owned(), digest.to_string());
    state.manifests.insert(key, (media_type, manifest.clone().into_bytes()));
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{{
        "mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"artifactType":"{what}"}}]}}"#,
        manifest.len()
    );
    let tag = format!("sha256-{}", subject.hex());
    let media_type = "application/vnd.oci.image.index.v1+json".to_owned();
    state.manifests.insert(("app".to_owned(), tag), (media_type, list.into_bytes()));
    digest
}

async fn copy(client: &Client, from: &ImageRef, to: &ImageRef) -> Vec<String> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let artifact = client.open(from, None, Arc::clone(&progress)).await.unwrap();
    client.push(to, &artifact, &PushOptions::default(), Arc::clone(&progress)).await.unwrap();
    let copied =
        client.copy_companions(&artifact, from, to, &PushOptions::default(), &progress).await.unwrap();
    copied.into_iter().map(|companion| companion.kind).collect()
}

#[tokio::test]
async fn signatures_go_along_and_are_listed_under_the_fallback_tag() {
    let (from, to) = (Fake::start().await, Fake::start().await);
    let place = tempfile::tempdir().unwrap();
    let artifact = image(place.path(), 100);
    let source = from.image("app:v1");
    let pushed =
        client().push(&source, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let digest = pushed.image.digest();
    let bill = attach(&from, digest, "application/vnd.cyclonedx+json");
    let signature = attach(&from, &bill, "application/vnd.dev.cosign.artifact.sig.v1+json");
    let old = format!("sha256-{}.sig", digest.hex());
    client()
        .push(&source.with_tag(&old).unwrap(), &artifact, &PushOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();

    let target = to.image("mirror/app:v1");
    let kinds = copy(&client(), &source, &target).await;
    assert_eq!(
        kinds,
        [
            "application/vnd.cyclonedx+json".to_owned(),
            old.clone(),
            "application/vnd.dev.cosign.artifact.sig.v1+json".to_owned(),
        ]
    );
    let listed = client().referrers(&target.pin(digest.clone()), None).await.unwrap();
    assert_eq!((listed.len(), &listed[0].digest), (1, &bill));
    assert_eq!(listed[0].artifact_type.as_deref(), Some("application/vnd.cyclonedx+json"));
    assert_eq!(client().referrers(&target.pin(bill), None).await.unwrap()[0].digest, signature);
    client().resolve(&target.with_tag(&old).unwrap()).await.unwrap();

    // What others have listed stays listed.
    let lists = to.count("PUT", "/manifests/sha256-");
    copy(&client(), &source, &target).await;
    let again = to.count("PUT", "/manifests/sha256-") - lists;
    assert_eq!(again, 1, "only cosign's tag is written again: {:?}", to.lock().log);
    assert!(to.lock().violations.is_empty(), "{:?}", to.lock().violations);
}
