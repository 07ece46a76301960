//! Pushing raw layers again: what the cache saves, and what it may not be believed.

use std::{path::Path, sync::Arc};

use sha2::Digest as _;
use spectra_oci::{Cache, Codec, Compression, Error, NoProgress, Progress, PushOptions, Pushed, Trust};

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
fn archive(path: &Path, layers: &[Vec<u8>]) {
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

fn layers(count: u8) -> Vec<Vec<u8>> {
    (0..count).map(|number| vec![number; 3000]).collect()
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
    let options =
        PushOptions { cache: Some(Cache::new(directory.path().join("cache"))), ..PushOptions::default() };
    let (first, compressed) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((first.uploaded, compressed), (4, 3));
    let (second, compressed) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((second.uploaded, second.skipped, compressed), (0, 4, 0));
    assert_eq!(first.image, second.image);
    // Another repository has none of it, and the compressed bytes are kept nowhere.
    let (third, compressed) = push(&fake, &path, "b:1", &options).await.unwrap();
    assert_eq!((third.uploaded, compressed), (4, 3));
    // Other bytes under another codec.
    let zstd = PushOptions { compression: Compression::new(Codec::Zstd, None).unwrap(), ..options };
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
    let cache = Some(Cache::new(directory.path().join("cache")));
    for trust in [Trust::Content, Trust::FileState] {
        let options = PushOptions { cache: cache.clone(), trust, ..PushOptions::default() };
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
    let cache = Cache::new(directory.path().join("cache"));
    let options = PushOptions { cache: Some(cache), trust: Trust::FileState, ..PushOptions::default() };
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
    // Noise, too large to be sent unasked.
    let mut hash = sha2::Sha256::digest(b"noise");
    let mut noise = Vec::new();
    while noise.len() < 300_000 {
        noise.extend_from_slice(&hash);
        hash = sha2::Sha256::digest(hash);
    }
    all.push(noise);
    archive(&path, &all);
    let options = PushOptions::default();
    let (first, _) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!(first.uploaded, 22);
    assert_eq!(fake.count("HEAD", "/blobs/"), 1, "the large one: a push that did not end may have left it");
    let (second, _) = push(&fake, &path, "a:1", &options).await.unwrap();
    assert_eq!((second.uploaded, second.skipped), (0, 22));
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}
