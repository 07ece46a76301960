//! Copying signatures and attestations along with an image, to a registry without a list of referrers.

use std::sync::Arc;

use sha2::Digest as _;
use spectra_oci::{
    Artifact, Client, Companion, Companions, Error, NoProgress, Overwrite, Progress, PushOptions,
};
use spectra_types::{Algorithm, Digest, ImageRef};

use crate::fake::{Fake, client, image};

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(bytes)).unwrap()
}

/// Puts an artifact about `subject` into the repository `app`, as a signing tool does.
fn attach(fake: &Fake, subject: &Digest, what: &str) -> Digest {
    attach_all(fake, subject, &[(subject, what)])[0].clone()
}

/// Puts artifacts of these types into the repository `app`, each about an image of its own, and lists all of them about `listed`.
fn attach_all(fake: &Fake, listed: &Digest, items: &[(&Digest, &str)]) -> Vec<Digest> {
    let put = |(subject, what): &(&Digest, &str)| put(fake, subject, what);
    let entries: Vec<(Digest, String)> = items.iter().map(put).collect();
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
        entries.iter().map(|(_, entry)| entry.as_str()).collect::<Vec<_>>().join(",")
    );
    let tag = format!("sha256-{}", listed.hex());
    let media_type = "application/vnd.oci.image.index.v1+json".to_owned();
    fake.lock().manifests.insert(("app".to_owned(), tag), (media_type, list.into_bytes()));
    entries.into_iter().map(|(digest, _)| digest).collect()
}

/// Puts one artifact there, and gives its entry for a list.
fn put(fake: &Fake, subject: &Digest, what: &str) -> (Digest, String) {
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
    let entry = format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{},"artifactType":"{what}"}}"#,
        manifest.len()
    );
    (digest, entry)
}

async fn copy(client: &Client, from: &ImageRef, to: &ImageRef) -> Vec<String> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let artifact = client.open(from, None, Arc::clone(&progress)).await.unwrap();
    client.push(to, &artifact, &PushOptions::default(), Arc::clone(&progress)).await.unwrap();
    let copied = client
        .copy_companions(&artifact, from, to, &PushOptions::default(), Overwrite::Refuse, &progress)
        .await
        .unwrap();
    assert!(copied.strangers.is_empty());
    copied.copied.into_iter().map(|companion| companion.kind).collect()
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
    assert_eq!(again, 0, "nothing is written again: {:?}", to.lock().log);
    assert!(to.lock().violations.is_empty(), "{:?}", to.lock().violations);
}

/// A list of signatures as cosign keeps it: every layer is one, and its annotations are what was signed.
fn signatures(place: &std::path::Path, name: &str, signatures: &[&str]) -> Artifact {
    let root = place.join(name);
    let mut blobs = Vec::new();
    let mut blob = |bytes: &[u8], media_type: &str| {
        let digest = sha256(bytes);
        blobs.push((digest.hex().to_owned(), bytes.to_vec()));
        serde_json::json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let payload = b"the payload, the same for all";
    let layers: Vec<serde_json::Value> = signatures
        .iter()
        .map(|signature| {
            let mut layer = blob(payload, "application/vnd.dev.cosign.simplesigning.v1+json");
            layer["annotations"] = serde_json::json!({ "dev.cosignproject.cosign/signature": signature });
            layer
        })
        .collect();
    let ids = vec![sha256(payload); layers.len()];
    let config = serde_json::json!({ "architecture": "", "os": "", "config": {}, "rootfs": { "type": "layers", "diff_ids": ids } });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers,
    });
    let manifest = blob(manifest.to_string().as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
    for (hex, bytes) in blobs {
        std::fs::write(root.join("blobs/sha256").join(hex), bytes).unwrap();
    }
    std::fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(root.join("index.json"), index.to_string()).unwrap();
    spectra_oci::open(&root, None).unwrap()
}

/// The signatures under a tag of the repository `mirror/app`.
fn signed(fake: &Fake, tag: &str) -> Vec<String> {
    let state = fake.lock();
    let (_, bytes) = &state.manifests[&("mirror/app".to_owned(), tag.to_owned())];
    let manifest: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    let config = &state.blobs[&("mirror/app".to_owned(), config)];
    let config: serde_json::Value = serde_json::from_slice(config).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), layers.len());
    let signature = |layer: &serde_json::Value| {
        layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap().to_owned()
    };
    layers.iter().map(signature).collect()
}

#[tokio::test]
async fn signatures_that_the_destination_has_of_its_own_stay() {
    let (from, to) = (Fake::start().await, Fake::start().await);
    let place = tempfile::tempdir().unwrap();
    let artifact = image(place.path(), 100);
    let (source, target) = (from.image("app:v1"), to.image("mirror/app:v1"));
    let push = async |image: &ImageRef, artifact: &Artifact| {
        client().push(image, artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap()
    };
    let digest = push(&source, &artifact).await.image.digest().clone();
    let tag = |suffix: &str| format!("sha256-{}.{suffix}", digest.hex());
    let (theirs, ours) =
        (signatures(place.path(), "a", &["a", "b"]), signatures(place.path(), "b", &["b", "c"]));
    push(&source.with_tag(&tag("sig")).unwrap(), &theirs).await;
    push(&target.with_tag(&tag("sig")).unwrap(), &ours).await;
    push(&target.with_tag(&tag("att")).unwrap(), &ours).await;
    for _ in 0..2 {
        copy(&client(), &source, &target).await;
        assert_eq!(signed(&to, &tag("sig")), ["b", "c", "a"]);
        assert_eq!(signed(&to, &tag("att")), ["b", "c"]);
    }

    // Of bills of material there is one.
    push(&source.with_tag(&tag("sbom")).unwrap(), &theirs).await;
    push(&target.with_tag(&tag("sbom")).unwrap(), &ours).await;
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let options = PushOptions::default();
    let opened = client().open(&source, None, Arc::clone(&progress)).await.unwrap();
    let copy = async |overwrite| {
        client().copy_companions(&opened, &source, &target, &options, overwrite, &progress).await
    };
    let error = copy(Overwrite::Refuse).await.unwrap_err();
    assert!(matches!(&error, Error::Exists { path } if path.to_string_lossy().ends_with(".sbom")), "{error}");
    assert_eq!(signed(&to, &tag("sbom")), ["b", "c"]);
    copy(Overwrite::Replace).await.unwrap();
    assert_eq!(signed(&to, &tag("sbom")), ["a", "b"]);
    assert!(to.lock().violations.is_empty(), "{:?}", to.lock().violations);
}

/// Copies an image that `attach` gave companions to. Gives what came of it, and the repository it went to.
async fn copied(attach: impl FnOnce(&Fake, &Digest)) -> (Result<Companions, Error>, Fake, Digest) {
    let (from, to) = (Fake::start().await, Fake::start().await);
    let place = tempfile::tempdir().unwrap();
    let artifact = image(place.path(), 100);
    let (source, target) = (from.image("app:v1"), to.image("mirror/app:v1"));
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let options = PushOptions::default();
    let pushed = Box::pin(client().push(&source, &artifact, &options, Arc::clone(&progress))).await.unwrap();
    let digest = pushed.image.digest().clone();
    attach(&from, &digest);
    let artifact = client().open(&source, None, Arc::clone(&progress)).await.unwrap();
    Box::pin(client().push(&target, &artifact, &options, Arc::clone(&progress))).await.unwrap();
    let client = client();
    let done =
        Box::pin(client.copy_companions(&artifact, &source, &target, &options, Overwrite::Refuse, &progress))
            .await;
    (done, to, digest)
}

#[tokio::test]
async fn a_registry_decided_when_a_copy_with_referrers_ends() {
    // Referrers to referrers: four are more than anybody has, and the fifth is refused.
    for (length, fits) in [(4, true), (5, false), (12, false)] {
        let (done, to, _) = copied(|fake, image| {
            let mut subject = image.clone();
            for number in 0..length {
                subject = attach(fake, &subject, &format!("link/{number}"));
            }
        })
        .await;
        match done {
            Ok(done) => assert!(fits && done.copied.len() == length, "{length}: {done:?}"),
            Err(error) => {
                assert!(!fits && error.code().to_string() == "SPX-313", "{length}: {error}");
                assert!(error.to_string().ends_with("one behind the other, is more than 4"), "{error}");
            }
        }
        assert!(to.count("PUT", "/manifests/sha256:") <= 5);
    }
    // Many about each of many.
    let (done, ..) = copied(|fake, image| {
        for first in attach_all(fake, image, &[(image, "many/0"), (image, "many/1")]) {
            attach_all(fake, &first, &vec![(&first, "one/more"); 600]);
        }
    })
    .await;
    let error = done.unwrap_err();
    assert!(error.to_string().ends_with("and of referrers to these, is more than 1000"), "{error}");
}

#[tokio::test]
async fn what_was_listed_about_an_image_was_taken_for_its_own() {
    let mut ours = None;
    let (done, to, digest) = copied(|fake, image| {
        let other = sha256(b"another image");
        ours = attach_all(fake, image, &[(&other, "signature/of-another"), (image, "signature/ours")]).pop();
    })
    .await;
    let done = done.unwrap();
    let kinds = |list: &[Companion]| list.iter().map(|one| one.kind.clone()).collect::<Vec<_>>();
    assert_eq!(kinds(&done.copied), ["signature/ours"]);
    assert_eq!(kinds(&done.strangers), ["signature/of-another"]);
    let target = to.image("mirror/app:v1").pin(digest);
    let listed = client().referrers(&target, None).await.unwrap();
    assert_eq!(listed.iter().map(|entry| &entry.digest).collect::<Vec<_>>(), [ours.as_ref().unwrap()]);
}
