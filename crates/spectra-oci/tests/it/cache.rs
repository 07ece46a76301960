//! Pushing and storing raw layers again: what the cache saves, and what it may not be believed.

use std::{path::Path, sync::Arc};

use sha2::Digest as _;
use spectra_oci::{
    Cache, Codec, Compression, Descriptor, Error, Layout, NoProgress, Overwrite, Packing, Progress,
    PushOptions, Pushed, Trust,
};

use crate::fake::{Fake, client};

/// Counts what is compressed.
#[derive(Default)]
struct Compressed(std::sync::atomic::AtomicUsize);

impl Progress for Compressed {
    fn compressing(&self, _: usize, _: u64) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

fn hex(bytes: &[u8]) -> String {
    let hash = sha2::Sha256::digest(bytes);
    spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap().hex().to_owned()
}

/// What `docker save` writes of an image with these layers, which need not be tar files.
pub(crate) fn archive(path: &Path, layers: &[Vec<u8>]) {
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": names }]);
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("c.json", config.to_string().as_bytes());
    add("manifest.json", manifest.to_string().as_bytes());
    builder.into_inner().unwrap();
}

/// Bytes that do not compress, others for each seed.
pub(crate) fn noise(seed: &[u8], length: usize) -> Vec<u8> {
    let mut hash = sha2::Sha256::digest(seed);
    let mut noise = Vec::new();
    while noise.len() < length {
        noise.extend_from_slice(&hash);
        hash = sha2::Sha256::digest(hash);
    }
    noise.truncate(length);
    noise
}

fn layers(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 3000]).collect()
}

/// Notes in a directory.
fn packing(cache: &Path) -> Packing {
    Packing { cache: Some(Cache::new(cache)), ..Packing::default() }
}

/// Pushes the archive; says what was done and how many layers were compressed.
async fn push(fake: &Fake, path: &Path, name: &str, options: &PushOptions) -> Result<(Pushed, usize), Error> {
    let artifact = spectra_oci::open(path, None)?;
    let counter = Arc::new(Compressed::default());
    let pushed = client().push(&fake.image(name), &artifact, options, Arc::clone(&counter) as _).await?;
    Ok((pushed, counter.0.load(std::sync::atomic::Ordering::Relaxed)))
}

#[tokio::test]
async fn a_second_push_compresses_nothing_unless_the_registry_lost_it() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    archive(&path, &layers(3));
    let options = PushOptions { packing: packing(&directory.path().join("cache")), ..PushOptions::default() };
    let (first, compressed) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((first.uploaded, compressed), (4, 3));
    let (second, compressed) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((second.uploaded, second.skipped, compressed), (0, 4, 0));
    assert_eq!(first.image, second.image);
    // Another repository has none of it, and the compressed bytes are kept nowhere.
    let (third, compressed) = push(&fake, &path, "b:1", &options).await.unwrap();
    assert_eq!((third.uploaded, compressed), (4, 3));
    // Other bytes under another codec.
    let compression = Compression::new(Codec::Zstd, None).unwrap();
    let zstd = PushOptions { packing: Packing { compression, ..options.packing.clone() }, ..options };
    let (fourth, compressed) = push(&fake, &path, "a:1", &zstd).await.unwrap();
    assert_eq!((fourth.uploaded, compressed), (3, 3));
    assert_ne!(fourth.image.digest(), first.image.digest());
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

#[tokio::test]
async fn a_layer_that_changed_in_the_file_is_caught_before_the_manifest() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    archive(&path, &layers(2));
    let packing = packing(&directory.path().join("cache"));
    for trust in [Trust::Content, Trust::FileState] {
        let options = PushOptions { packing: Packing { trust, ..packing.clone() }, ..PushOptions::default() };
        archive(&path, &layers(2));
        push(&fake, &path, "a:1", &options).await.unwrap();
        let before = fake.lock().log.len();
        let mut bytes = std::fs::read(&path).unwrap();
        let at = bytes.iter().position(|byte| *byte == 1).unwrap();
        bytes[at + 100] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let error = push(&fake, &path, "a:1", &options).await.unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
        let state = fake.lock();
        assert!(!state.log[before..].iter().any(|line| line.contains("/manifests/")), "{trust:?}");
    }
}

#[tokio::test]
async fn a_trusted_file_is_not_read_again() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    archive(&path, &layers(2));
    let packing = Packing { trust: Trust::FileState, ..packing(&directory.path().join("cache")) };
    let options = PushOptions { packing, ..PushOptions::default() };
    let (first, _) = push(&fake, &path, "a:1", &options).await.unwrap();
    let artifact = spectra_oci::open(&path, None).unwrap();
    // Opened, then gone: whoever wanted to read a layer would fail. Its state is asked for by name, so a stand-in
    // with the same state would do; there is none, and the layers are read.
    std::fs::rename(&path, directory.path().join("moved")).unwrap();
    let target = fake.image("a:1");
    let error = client().push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error}");
    std::fs::rename(directory.path().join("moved"), &path).unwrap();
    // A rename changes the time of change, so that one push reads the file again, and the next one trusts it.
    push(&fake, &path, "a:1", &options).await.unwrap();
    let (again, compressed) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((again.image, again.uploaded, compressed), (first.image, 0, 0));
}

#[tokio::test]
async fn a_repository_that_the_registry_does_not_know_is_not_asked_for_small_blobs() {
    let fake = Fake::start().await;
    fake.lock().repositories_are_born_with_a_manifest = true;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let mut all = layers(20);
    // Too large to be sent unasked.
    all.push(noise(b"noise", 300_000));
    archive(&path, &all);
    let options = PushOptions::default();
    let (first, _) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!(first.uploaded, 22);
    assert_eq!(fake.count("HEAD", "/blobs/"), 1, "the large one: a push that did not end may have left it");
    let (second, _) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((second.uploaded, second.skipped), (0, 22));
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

/// Stores the archive in a layout; says how many layers were compressed.
fn store(path: &Path, layout: &Layout, packing: &Packing) -> Result<(Descriptor, usize), Error> {
    let counter = Arc::new(Compressed::default());
    let progress: Arc<dyn Progress> = Arc::clone(&counter) as _;
    let stored = spectra_oci::open(path, None)?.store(layout, Some("v1"), packing, &progress)?;
    Ok((stored, counter.0.load(std::sync::atomic::Ordering::Relaxed)))
}

#[test]
fn a_layout_that_has_the_layers_whole_gets_none_compressed_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let mut all = layers(3);
    all.push(all[0].clone());
    archive(&path, &all);
    let layout = Layout::create(directory.path().join("layout")).unwrap();
    let packing = packing(&directory.path().join("cache"));
    let (first, compressed) = store(&path, &layout, &packing).unwrap();
    assert_eq!(compressed, 3, "one layer is there twice");
    let (second, compressed) = store(&path, &layout, &packing).unwrap();
    assert_eq!((&second, compressed), (&first, 0));
    let other = Layout::create(directory.path().join("other")).unwrap();
    assert_eq!(
        store(&path, &other, &packing).unwrap(),
        (first.clone(), 3),
        "the bytes are kept nowhere else"
    );
    assert_eq!(store(&path, &layout, &Packing::default()).unwrap(), (first.clone(), 3), "no notes, no reuse");

    let inspected = spectra_oci::open(layout.root(), Some("v1")).unwrap().inspect(None).unwrap();
    let blob = layout.root().join("blobs/sha256").join(inspected.layers[1].digest.hex());
    let whole = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, vec![0; whole.len()]).unwrap();
    assert_eq!(store(&path, &layout, &packing).unwrap(), (first, 1), "a damaged one is made again");
    assert_eq!(std::fs::read(&blob).unwrap(), whole);
    let names = std::fs::read_dir(layout.root().join("blobs/sha256")).unwrap();
    assert_eq!(names.count(), 5, "three layers, a configuration, a manifest, and nothing temporary");

    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.iter().position(|byte| *byte == 1).unwrap();
    bytes[at + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for trust in [Trust::Content, Trust::FileState] {
        let error = store(&path, &layout, &Packing { trust, ..packing.clone() }).unwrap_err();
        assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    }
}

#[test]
fn an_archive_that_is_replaced_gives_its_layers_to_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    archive(&path, &layers(3));
    let target = directory.path().join("out.tar");
    let packing = packing(&directory.path().join("cache"));
    let write = || {
        let counter = Arc::new(Compressed::default());
        let progress: Arc<dyn Progress> = Arc::clone(&counter) as _;
        let image = spectra_oci::open(&path, None).unwrap();
        image.write_archive(&target, Some("v1"), Overwrite::Replace, &packing, &progress).unwrap();
        (std::fs::read(&target).unwrap(), counter.0.load(std::sync::atomic::Ordering::Relaxed))
    };
    let (first, compressed) = write();
    assert_eq!(compressed, 3);
    assert!(write() == (first.clone(), 0), "the same bytes, and nothing compressed");
    let mut damaged = first.clone();
    let layer = spectra_oci::open(&target, None).unwrap().inspect(None).unwrap().layers[1].clone();
    let name = format!("blobs/sha256/{}", layer.digest.hex());
    let at = damaged.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    damaged[at + 512 + 20] ^= 1;
    std::fs::write(&target, damaged).unwrap();
    assert!(write() == (first, 1), "a damaged one is made again");
}
