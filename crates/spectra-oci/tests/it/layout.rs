//! Building, and reading layouts and archives.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use sha2::Digest as _;
use spectra_oci::{BuiltImage, Error, ImageBuilder, LayerInput, Layout, NoProgress, PushOptions};

use crate::fake::{Fake, client, image};

fn build(content: &Path, layout: &Path) -> Result<BuiltImage, Error> {
    ImageBuilder::new()
        .layer(LayerInput { directory: content.to_owned(), target: "/srv/app".to_owned() })
        .entrypoint(vec!["/srv/app/run".to_owned()])
        .env("B", "2")
        .env("A", "1")
        .label("z", "1")
        .label("a", "2")
        .expose("8080")
        .unwrap()
        .build(&Layout::create(layout).unwrap(), Some("v1"))
}

fn content(directory: &Path, names: &[&str]) {
    for name in names {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
}

#[test]
fn the_same_input_gives_the_same_digest() {
    let one = tempfile::tempdir().unwrap();
    let two = tempfile::tempdir().unwrap();
    content(&one.path().join("in"), &["run", "lib/b", "lib/a", "lib-c"]);
    content(&two.path().join("in"), &["lib-c", "lib/a", "run", "lib/b"]);
    let first = build(&one.path().join("in"), &one.path().join("out")).unwrap();
    let second = build(&two.path().join("in"), &two.path().join("out")).unwrap();
    assert_eq!(first.manifest, second.manifest);
    assert_eq!(first.entries, 7, "two parents, four files, one directory");
    std::fs::set_permissions(two.path().join("in/run"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let third = build(&two.path().join("in"), &two.path().join("out")).unwrap();
    assert_ne!(first.manifest.digest, third.manifest.digest, "permission bits count");
    let index = Layout::open(two.path().join("out")).unwrap().index().unwrap();
    assert_eq!(index.manifests.len(), 1, "the name moved to the new image");
}

#[test]
fn entries_are_plain_and_links_stay_links() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("in");
    content(&root, &["run"]);
    std::os::unix::fs::symlink("/etc/passwd", root.join("outside")).unwrap();
    let long = "d/".repeat(80) + "file";
    content(&root, &[&long]);
    let built = build(&root, &directory.path().join("out")).unwrap();
    let layer = directory.path().join("out/blobs/sha256").join(built.layers[0].digest.hex());
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(layer).unwrap()));
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        if name.ends_with("outside") {
            assert_eq!(entry.link_name().unwrap().unwrap().to_str(), Some("/etc/passwd"));
            assert_eq!(entry.size(), 0);
        }
        names.push(name);
    }
    assert!(
        names.contains(&"srv/app/run".to_owned()) && names.contains(&format!("srv/app/{long}")),
        "{names:?}"
    );
}

#[test]
fn what_an_image_cannot_hold_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("in");
    content(&root, &["run"]);
    let message = |result: Result<BuiltImage, Error>| {
        result.unwrap_err().to_string().replace(directory.path().to_str().unwrap(), "DIR")
    };
    let layout = || Layout::create(directory.path().join("out")).unwrap();
    let with = |target: &str| {
        let input = LayerInput { directory: root.clone(), target: target.to_owned() };
        ImageBuilder::new().layer(input).cmd(vec!["x".to_owned()]).build(&layout(), None)
    };
    insta::assert_snapshot!(message(with("../up")), @"cannot build an image: `../up` is not a place in an image; write an absolute path without `..`, such as `/app`");
    insta::assert_snapshot!(message(ImageBuilder::new().build(&layout(), None)), @"cannot build an image: there is no layer; give at least one directory");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
    insta::assert_snapshot!(message(with("/")), @"cannot build an image: `DIR/in/s` is a socket, pipe or device, which images cannot hold; remove it or build from another directory");
    let error = Layout::create(&root).unwrap_err().to_string();
    assert!(error.ends_with("neither empty nor an OCI layout; choose another output"), "{error}");
}

/// Writes what `docker save` writes, its second layer a link to the first.
pub(crate) fn docker_save(path: &Path, gzip: bool) -> Vec<String> {
    let layer = |name: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &b"data"[..]).unwrap();
        builder.into_inner().unwrap()
    };
    let hex = |bytes: &[u8]| {
        let hash = sha2::Sha256::digest(bytes);
        spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap().hex().to_owned()
    };
    let first = layer("one");
    let second = layer("two");
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/one"],"Labels":{{"from":"docker"}}}},"rootfs":{{"type":"layers","diff_ids":["sha256:{0}","sha256:{1}","sha256:{0}"]}}}}"#,
        hex(&first),
        hex(&second)
    );
    let manifest =
        r#"[{"Config":"c.json","RepoTags":["app:1"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]"#;
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    };
    add("a/layer.tar", &first);
    add("b/layer.tar", &second);
    add("c.json", config.as_bytes());
    add("manifest.json", manifest.as_bytes());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "c/layer.tar", "../a/layer.tar").unwrap();
    let bytes = builder.into_inner().unwrap();
    if gzip {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &bytes).unwrap();
        std::fs::write(path, encoder.finish().unwrap()).unwrap();
    } else {
        std::fs::write(path, bytes).unwrap();
    }
    vec![hex(&first), hex(&second)]
}

#[tokio::test]
async fn docker_archives_are_compressed_the_same_way_every_time() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    docker_save(&path, false);
    let artifact = spectra_oci::open(&path, Some("app:1")).unwrap();
    let options = PushOptions::default();
    let first = client().push(&fake.image("a:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(first.uploaded, 3, "configuration and two layers; the repeated one is sent once");
    docker_save(&path, true);
    let artifact = spectra_oci::open(&path, None).unwrap();
    let second = client().push(&fake.image("b:1"), &artifact, &options, Arc::new(NoProgress)).await.unwrap();
    assert_eq!(first.image.digest(), second.image.digest());
    let inspected = client().inspect(&fake.image("b:1"), None).await.unwrap();
    assert_eq!((inspected.layers.len(), inspected.labels["from"].as_str()), (3, "docker"));
    assert!(fake.lock().violations.is_empty());
    let error = spectra_oci::open(&path, Some("other:1")).unwrap_err().to_string();
    assert!(error.ends_with("it holds no image `other:1`, but `app:1`"), "{error}");
}

#[tokio::test]
async fn oci_archives_keep_their_digest() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 5000);
    let path = directory.path().join("image.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
    builder.append_dir_all(".", directory.path().join("layout")).unwrap();
    builder.into_inner().unwrap();
    let archived = spectra_oci::open(&path, Some("v1")).unwrap();
    assert_eq!(archived.digest(), artifact.digest());
    let pushed = client()
        .push(&fake.image("a:1"), &archived, &PushOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();
    assert_eq!(Some(pushed.image.digest()), artifact.digest());
}

#[test]
fn damaged_inputs_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 5000);
    let layout = directory.path().join("layout");
    let manifest = layout.join("blobs/sha256").join(artifact.digest().unwrap().hex());
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("schemaVersion\":2", "schemaVersion\":3")).unwrap();
    let error = spectra_oci::open(&layout, None).unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    std::fs::remove_file(&manifest).unwrap();
    let error = spectra_oci::open(&layout, None).unwrap_err().to_string();
    assert!(error.contains("is missing"), "{error}");
    let path = directory.path().join("cut.tar");
    docker_save(&path, false);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..700]).unwrap();
    let error = spectra_oci::open(&path, None).unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
}
