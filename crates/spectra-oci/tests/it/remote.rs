//! Registries as sources: opening, downloading, copying.

use std::sync::Arc;

use spectra_oci::{Artifact, Descriptor, Error, Layout, NoProgress, Packing, Progress, PushOptions};

use crate::fake::{Fake, client, image};

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
    let descriptor = store(&artifact.download(2).await?, &layout)?;
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
        let artifact = open(&fake).await.reuse(&layout).unwrap().download(2).await.unwrap();
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
