//! Registries as sources: opening, downloading, copying.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use spectra_oci::{
    Artifact, Descriptor, Error, Layout, NoProgress, OpenLimits, Packing, Progress, PushOptions,
};
use spectra_types::ImageRef;

use crate::fake::{Action, Fake, client, digest, image};

const SIZE: usize = 20_000;

/// A registry that holds `team/app:v1`.
async fn stocked() -> (Fake, tempfile::TempDir) {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), SIZE);
    client()
        .push(&fake.image("team/app:v1"), &artifact, &PushOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();
    (fake, directory)
}

async fn open(fake: &Fake) -> Artifact {
    client().open(&fake.image("team/app:v1"), None, Arc::new(NoProgress)).await.unwrap()
}

fn store(artifact: &Artifact, layout: &Layout) -> Result<Descriptor, Error> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    artifact.store(layout, Some("v1"), &Packing::default(), &progress)
}

/// The digest under which a layout holds what a registry has.
async fn stored(artifact: &Artifact) -> Result<String, Error> {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path().join("layout"))?;
    let descriptor = store(&artifact.download(2, &OpenLimits::default()).await?, &layout)?;
    let again = spectra_oci::open(layout.root(), Some("v1"))?;
    assert_eq!(again.digest(), Some(&descriptor.digest));
    again.inspect(None)?;
    Ok(descriptor.digest.to_string())
}

#[tokio::test]
async fn an_image_keeps_its_digest_from_registry_to_registry_and_to_a_layout() {
    let (from, _directory) = stocked().await;
    let artifact = open(&from).await;
    let to = Fake::start().await;
    let image = to.image("other/app:v2");
    let pushed =
        client().push(&image, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
    assert_eq!(Some(pushed.image.digest()), artifact.digest());
    assert_eq!(pushed.uploaded, 2);
    assert_eq!(stored(&open(&from).await).await.unwrap(), pushed.image.digest().to_string());
    assert!(to.lock().violations.is_empty());
}

#[tokio::test]
async fn inside_one_registry_layers_are_linked_and_not_read() {
    let (fake, _directory) = stocked().await;
    fake.lock().mounts = true;
    let artifact = open(&fake).await;
    let reads = fake.lock().ranges_asked.len();
    let image = fake.image("other/app:v2");
    let pushed =
        client().push(&image, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.skipped), (0, 2));
    assert_eq!(fake.lock().ranges_asked.len(), reads);
}

/// An image that says it has layers of these sizes.
fn of_layers(fake: &Fake, sizes: &[u64]) -> ImageRef {
    let config = br#"{"os":"linux","architecture":"amd64"}"#;
    let config_digest = digest(config);
    let layers: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(number, size)| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": size,
                "digest": format!("sha256:{number:064}"),
            })
        })
        .collect();
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let document = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type, "layers": layers, "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": config_digest,
        },
    });
    let mut state = fake.lock();
    state.blobs.insert(("team/app".to_owned(), config_digest), config.to_vec());
    let entry = (media_type.to_owned(), document.to_string().into_bytes());
    state.manifests.insert(("team/app".to_owned(), "huge".to_owned()), entry);
    fake.image("team/app:huge")
}

#[tokio::test]
async fn layers_that_are_larger_than_what_is_allowed_are_not_fetched() {
    let (fake, _directory) = stocked().await;
    let artifact = open(&fake).await;
    let size = artifact.inspect(None).unwrap().layers[0].size;
    let reads = fake.lock().ranges_asked.len();
    let limits = |unpacked| OpenLimits { unpacked, ..OpenLimits::default() };
    let error = artifact.download(2, &limits(size - 1)).await.unwrap_err();
    assert!(matches!(error, Error::Limit { flag: Some("--max-unpacked"), .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("its layers have {size} bytes")), "{error}");
    assert_eq!(fake.lock().ranges_asked.len(), reads, "before the first byte");
    // More than any disk has: what may be there is asked before what there is room for.
    for layer in [u64::MAX >> 1, 1 << 40] {
        let image = of_layers(&fake, &[layer, layer, layer]);
        let error = client()
            .open(&image, None, Arc::new(NoProgress))
            .await
            .unwrap()
            .download(2, &OpenLimits::default())
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Limit { .. }), "{error:?}");
    }
    artifact.download(2, &limits(size)).await.unwrap();
}

#[tokio::test]
async fn a_cut_download_goes_on_where_it_broke() {
    for ranges in [true, false] {
        let (fake, _directory) = stocked().await;
        let artifact = open(&fake).await;
        {
            let mut state = fake.lock();
            state.ranges = ranges;
            state.ranges_asked.clear();
            state.cuts = vec![3_000, 8_000];
        }
        stored(&artifact).await.unwrap();
        let asked = fake.lock().ranges_asked.clone();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(
            asked[0].is_empty() && asked[1].starts_with("bytes=") && asked[2].starts_with("bytes="),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_copy_whose_source_breaks_is_repeated_and_complete() {
    let (from, _directory) = stocked().await;
    let artifact = open(&from).await;
    from.lock().cuts = vec![5_000];
    let to = Fake::start().await;
    let image = to.image("other/app:v2");
    client().push(&image, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let digest = artifact.digest().unwrap();
    assert!(to.lock().manifests.contains_key(&("other/app".to_owned(), digest.to_string())));
}

#[tokio::test]
async fn other_bytes_than_promised_are_refused() {
    for change in [
        |blob: &mut Vec<u8>| blob[9] ^= 1,
        |blob: &mut Vec<u8>| blob.push(0),
        |blob: &mut Vec<u8>| blob.truncate(blob.len() - 1),
    ] {
        let (fake, _directory) = stocked().await;
        let artifact = open(&fake).await;
        fake.lock().blobs.values_mut().for_each(change);
        let error = stored(&artifact).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. } | Error::Transport { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_a_layout_has_whole_is_not_fetched_again() {
    let (fake, _directory) = stocked().await;
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path().join("layout")).unwrap();
    let copy = async || {
        let before = fake.lock().ranges_asked.len();
        let artifact =
            open(&fake).await.reuse(&layout).unwrap().download(2, &OpenLimits::default()).await.unwrap();
        store(&artifact, &layout).unwrap();
        fake.lock().ranges_asked.len() - before
    };
    let (first, second) = (copy().await, copy().await);
    assert_eq!(first - second, 1, "the layer; documents are read each time");
    let inspected = spectra_oci::open(layout.root(), None).unwrap().inspect(None).unwrap();
    let layer = layout.root().join("blobs/sha256").join(inspected.layers[0].digest.hex());
    let length = std::fs::metadata(&layer).unwrap().len();
    std::fs::write(&layer, vec![0; usize::try_from(length).unwrap()]).unwrap();
    assert_eq!(copy().await, first, "a damaged layer is fetched again");
    assert_ne!(std::fs::read(&layer).unwrap()[0], 0);
}

/// Copies an image whose source is in trouble to a registry that is not. Returns the error and the source.
async fn copied(trouble: impl FnOnce(&Fake)) -> (Error, Fake) {
    let (from, _directory) = stocked().await;
    let artifact = open(&from).await;
    trouble(&from);
    let to = Fake::start().await;
    let target = to.image("other/app:v2");
    let result = client().push(&target, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await;
    assert!(to.lock().manifests.is_empty());
    (result.unwrap_err(), from)
}

fn text(error: &Error, from: &Fake) -> String {
    error.to_string().replace(&from.address.to_string(), "SOURCE")
}

#[tokio::test]
async fn wrong_bytes_of_a_copy_are_the_sources_fault() {
    let (error, from) = copied(|from| from.lock().blobs.values_mut().for_each(|blob| blob[9] ^= 1)).await;
    let text = text(&error, &from);
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
    assert!(text.starts_with("the blob `SOURCE/team/app@sha256:"), "{text}");
}

#[tokio::test]
async fn a_source_that_breaks_for_ever_is_named() {
    let (error, from) = copied(|from| from.lock().cuts = vec![5_000; 50]).await;
    let text = text(&error, &from);
    assert!(matches!(error, Error::Transport { .. }), "{error:?}");
    assert!(text.contains("cannot reach `SOURCE` after 5 attempts"), "{text}");
}

#[tokio::test]
async fn a_busy_source_says_how_long_to_wait() {
    let busy = |from: &Fake| {
        let headers = vec![("retry-after", "3600".to_owned())];
        from.fault(Method::GET, "/blobs/", Action::Answer(StatusCode::TOO_MANY_REQUESTS, headers));
    };
    let (error, from) = copied(busy).await;
    let text = text(&error, &from);
    assert!(text.contains("`SOURCE` answered 429") && text.contains("it asks to wait 3600 s"), "{text}");
}

#[tokio::test]
async fn wrong_bytes_that_a_resumed_copy_adds_up_to_are_the_sources_fault() {
    let (from, _directory) = stocked().await;
    let artifact = open(&from).await;
    from.lock().ranges = true;
    let to = Fake::start().await;
    to.lock().keeps_what_arrived = true;
    to.fault(Method::PUT, "/blobs/uploads/", Action::Reset(5_000));
    from.lock().blobs.values_mut().for_each(|blob| {
        let last = blob.len() - 1;
        blob[last] ^= 1;
    });
    let options = PushOptions { jobs: 1, ..PushOptions::default() };
    let target = to.image("other/app:v2");
    let error = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error:?}");
    assert!(text(&error, &from).starts_with("the blob `SOURCE/"), "{error}");
}
