//! Archives of `docker save` whose layers are compressed, and archives that are both `docker save`'s and OCI's.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use spectra_oci::{
    Artifact, Error, Format, NoProgress, OpenLimits, Opening, PushOptions, media_type, open, open_with,
    open_within,
};

use crate::{
    documents::Blobs,
    fake::{Fake, client},
    hostile::{Tar, gzipped, sha256, write},
};

/// A tar of one file.
fn tar_of(name: &str, data: &[u8]) -> Vec<u8> {
    Tar::default().file(name, data).end()
}

/// Names that nothing repeats, so that the layer does not compress to next to nothing.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// `docker save`'s archive: `layers` are name, what is in the archive, and the tar that the configuration promises.
fn save(layers: &[(&str, &[u8], &[u8])]) -> Vec<u8> {
    let mut tar = Tar::default();
    for (name, stored, _) in layers {
        tar.file(name, stored);
    }
    let diff_ids: Vec<String> = layers.iter().map(|(.., raw)| format!("sha256:{}", sha256(raw))).collect();
    let names: Vec<&str> = layers.iter().map(|(name, ..)| *name).collect();
    let config = json!({ "os": "linux", "architecture": "amd64",
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let manifest = json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": names }]);
    tar.file("c.json", config.to_string().as_bytes());
    tar.file("manifest.json", manifest.to_string().as_bytes());
    tar.end()
}

fn fails(bytes: &[u8]) -> Error {
    let directory = tempfile::tempdir().unwrap();
    open(&write(directory.path(), bytes), None).unwrap_err()
}

#[test]
fn a_compressed_layer_that_was_damaged_was_pushed() {
    let raw = tar_of("a", &noise(30_000));
    for stored in [gzipped(&raw), zstd::stream::encode_all(&raw[..], 3).unwrap()] {
        let name = format!("blobs/sha256/{}", sha256(&stored));
        let directory = tempfile::tempdir().unwrap();
        let good = open(&write(directory.path(), &save(&[(&name, &stored, &raw)])), None).unwrap();
        assert_eq!(good.inspect(None).unwrap().layers[0].digest.hex(), sha256(&stored));
        let mut bad = stored.clone();
        bad[stored.len() / 2] ^= 1;
        let error = fails(&save(&[(&name, &bad, &raw)]));
        let Error::DigestMismatch { what, expected, found } = error else { panic!("{error}") };
        assert!(what.starts_with(&format!("the file `{name}` of `")), "{what}");
        assert_eq!((expected.hex(), found.hex()), (&*sha256(&stored), &*sha256(&bad)));
        // The name promises nothing: then it is the decompressor that says so, or the digest of what it made.
        let error = fails(&save(&[("l/layer.tar", &bad, &raw)]));
        assert!(
            matches!(error, Error::Io { action: "decompress a layer of", .. } | Error::DigestMismatch { .. }),
            "{error}"
        );
        let cut = &stored[..stored.len() - 6];
        assert!(matches!(fails(&save(&[("l/layer.tar", cut, &raw)])), Error::Io { .. }));
    }
}

#[test]
fn a_compressed_layer_of_another_image_was_pushed() {
    let (raw, other) = (tar_of("a", b"wanted"), tar_of("a", b"something else entirely"));
    let stored = gzipped(&other);
    let error = fails(&save(&[("l/layer.tar", &stored, &raw)]));
    let Error::DigestMismatch { what, expected, found } = error else { panic!("{error}") };
    assert!(what.starts_with("the layer `l/layer.tar` of `"), "{what}");
    assert_eq!((expected.hex(), found.hex()), (&*sha256(&raw), &*sha256(&other)));
    // A true name helps no layer that the configuration does not know.
    let name = format!("blobs/sha256/{}", sha256(&stored));
    assert!(matches!(fails(&save(&[(&name, &stored, &raw)])), Error::DigestMismatch { .. }));
    // A raw layer is compared when it is compressed; that its name says another digest is seen now.
    let name = format!("blobs/sha256/{}", sha256(&other));
    assert!(matches!(fails(&save(&[(&name, &raw, &raw)])), Error::DigestMismatch { .. }));
}

#[test]
fn one_compressed_layer_under_many_names_was_read_for_each() {
    let raw = tar_of("a", &noise(100_000));
    let mut tar = Tar::default();
    tar.file("l", &gzipped(&raw));
    let names: Vec<String> = (0..100).map(|number| format!("s{number}")).collect();
    for name in &names {
        tar.link(name, b'2', "l");
    }
    let diff_ids = vec![format!("sha256:{}", sha256(&raw)); names.len()];
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": diff_ids } }).to_string();
    let manifest = json!([{ "Config": "c", "RepoTags": [], "Layers": names }]).to_string();
    tar.file("c", config.as_bytes()).file("manifest.json", manifest.as_bytes());
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &tar.end());
    // Room for the archive itself, and for the layer once or twice.
    let limits = OpenLimits { unpacked: 250_000, ..OpenLimits::default() };
    let image = open_within(&path, None, &limits).unwrap();
    assert_eq!(image.inspect(None).unwrap().layers.len(), 100);
}

#[test]
fn layers_are_decompressed_within_limits() {
    let raw = tar_of("a", &vec![0; 1 << 20]);
    let bytes = save(&[("l", &gzipped(&raw), &raw), ("m", &gzipped(&[&raw[..], &raw[..]].concat()), &raw)]);
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &bytes);
    let limits = OpenLimits { unpacked: 2 << 20, ..OpenLimits::default() };
    let error = open_within(&path, None, &limits).unwrap_err();
    assert!(error.to_string().ends_with("what it decompresses to is more than 2097152 bytes"), "{error}");
    assert!(error.hint().unwrap().contains("--max-unpacked"));
}

const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// An image as containerd has it.
struct Stored {
    blobs: Blobs,
    manifest: Value,
    config: String,
    layer: String,
}

fn stored(architecture: &str, layer_type: &str) -> Stored {
    let raw = tar_of("who", architecture.repeat(500).as_bytes());
    let layer = if layer_type.ends_with("gzip") { gzipped(&raw) } else { raw.clone() };
    let config = json!({ "os": "linux", "architecture": architecture,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&raw))] } });
    let mut blobs = Blobs::default();
    let config = blobs.json("application/vnd.docker.container.image.v1+json", &config);
    let layer = blobs.add(layer_type, &layer);
    let path = |blob: &Value| blob["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let (config_path, layer_path) = (path(&config), path(&layer));
    let document = json!({ "schemaVersion": 2, "mediaType": media_type::DOCKER_MANIFEST,
        "config": config, "layers": [layer] });
    let mut manifest = blobs.json(media_type::DOCKER_MANIFEST, &document);
    manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
    Stored { blobs, manifest, config: config_path, layer: layer_path }
}

/// What an engine with containerd's store saves: `index.json` that leads to `root`, `manifest.json` about `saved`, and the blobs of `there`.
fn both(root: &Value, index: Option<&[u8]>, saved: &Stored, there: &[&Stored]) -> Vec<u8> {
    let mut root = root.clone();
    root["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/app:1",
        "org.opencontainers.image.ref.name": "1" });
    let mut tar = Tar::default();
    tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar.file("index.json", json!({ "schemaVersion": 2, "manifests": [root] }).to_string().as_bytes());
    let manifest = json!([{ "Config": saved.config, "RepoTags": ["app:1"], "Layers": [saved.layer] }]);
    tar.file("manifest.json", manifest.to_string().as_bytes());
    if let Some(index) = index {
        tar.file(&format!("blobs/sha256/{}", sha256(index)), index);
    }
    for (hex, bytes) in there.iter().flat_map(|image| &image.blobs.0) {
        tar.file(&format!("blobs/sha256/{hex}"), bytes);
    }
    tar.end()
}

/// An index of these images: its descriptor, and its bytes.
fn index_of(images: &[&Stored]) -> (Value, Vec<u8>) {
    let manifests: Vec<&Value> = images.iter().map(|image| &image.manifest).collect();
    let document =
        json!({ "schemaVersion": 2, "mediaType": media_type::DOCKER_LIST, "manifests": manifests });
    let bytes = document.to_string().into_bytes();
    (Blobs::default().add(media_type::DOCKER_LIST, &bytes), bytes)
}

fn open_as(path: &Path, format: Format, name: Option<&str>) -> Result<Artifact, Error> {
    open_with(path, &Opening { name, format, ..Opening::default() })
}

fn digest(artifact: &Artifact) -> Option<String> {
    artifact.digest().map(ToString::to_string)
}

#[tokio::test]
async fn an_archive_of_containerds_store_lost_its_digest_and_platforms() {
    let (amd, arm) = (stored("amd64", DOCKER_LAYER), stored("arm64", DOCKER_LAYER));
    let (root, index) = index_of(&[&amd, &arm]);
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &both(&root, Some(&index), &amd, &[&amd, &arm]));
    let expected = root["digest"].as_str().map(str::to_owned);
    for format in [Format::Any, Format::Oci] {
        for name in [None, Some("1"), Some("app:1"), Some("docker.io/library/app:1"), expected.as_deref()] {
            let artifact = open_as(&path, format, name).unwrap();
            assert_eq!((digest(&artifact), artifact.images().len()), (expected.clone(), 2), "{name:?}");
            assert_eq!(artifact.note(), None);
        }
        let error = open_as(&path, format, Some("other:1")).unwrap_err().to_string();
        assert!(error.ends_with("it holds no image `other:1`, but `app:1`"), "{error}");
    }
    let fake = Fake::start().await;
    let artifact = open(&path, None).unwrap();
    let pushed = client()
        .push(&fake.image("app:1"), &artifact, &PushOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();
    assert_eq!(Some(pushed.image.digest().to_string()), expected);
    // Who asks for it gets what `manifest.json` says.
    for name in [None, Some("app:1"), Some("docker.io/library/app:1")] {
        let artifact = open_as(&path, Format::Docker, name).unwrap();
        assert_eq!((digest(&artifact), artifact.images().len()), (None, 1));
    }
}

#[test]
fn raw_layers_are_compressed_although_there_is_an_index() {
    let image = stored("amd64", media_type::LAYER_TAR);
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &both(&image.manifest, None, &image, &[&image]));
    for format in [Format::Any, Format::Docker] {
        assert_eq!(digest(&open_as(&path, format, Some("app:1")).unwrap()), None);
    }
    let artifact = open_as(&path, Format::Oci, Some("app:1")).unwrap();
    assert_eq!(digest(&artifact).as_deref(), image.manifest["digest"].as_str());
}

#[test]
fn of_an_index_in_parts_the_image_that_is_there_is_taken() {
    let [amd, arm, other] = ["amd64", "arm64", "riscv64"].map(|name| stored(name, DOCKER_LAYER));
    let (root, index) = index_of(&[&amd, &arm, &other]);
    let directory = tempfile::tempdir().unwrap();
    let digest_of = |image: &Stored| image.manifest["digest"].as_str().map(str::to_owned);

    let path = write(directory.path(), &both(&root, Some(&index), &arm, &[&arm]));
    for format in [Format::Any, Format::Oci] {
        let artifact = open_as(&path, format, Some("app:1")).unwrap();
        assert_eq!(digest(&artifact), digest_of(&arm));
        assert_eq!(
            artifact.note(),
            Some(
                "not all that the image's index lists is there (missing: `linux/amd64`, `linux/riscv64`); the image \
                 for `linux/arm64` is taken alone, under a digest of its own"
            )
        );
    }
    // Of several, the one that was asked for.
    let path = write(directory.path(), &both(&root, Some(&index), &amd, &[&amd, &arm]));
    assert_eq!(digest(&open(&path, None).unwrap()), digest_of(&amd));
    let platform = "linux/arm64".parse().unwrap();
    let opening = Opening { platform: Some(&platform), ..Opening::default() };
    assert_eq!(digest(&open_with(&path, &opening).unwrap()), digest_of(&arm));
    let path = write(directory.path(), &both(&root, Some(&index), &arm, &[&arm, &other]));
    let error = open(&path, None).unwrap_err().to_string();
    let expected = "it has not all that its index lists (missing: `linux/amd64`), and of the images that it has (`linux/arm64`, `linux/riscv64`) none is for `linux/amd64`";
    assert!(error.ends_with(expected), "{error}");
    // A layer is missing, not the manifest.
    let mut half = stored("arm64", DOCKER_LAYER);
    half.blobs.0.retain(|(hex, _)| !half.layer.ends_with(hex));
    let path = write(directory.path(), &both(&root, Some(&index), &amd, &[&amd, &half]));
    assert_eq!(digest(&open(&path, None).unwrap()), digest_of(&amd));
    // Nothing of the index is there: `manifest.json` is what there is.
    nothing_of_the_index(directory.path(), &root, &amd);
}

fn nothing_of_the_index(directory: &Path, root: &Value, image: &Stored) {
    let mut bare = stored("amd64", DOCKER_LAYER);
    let manifest = image.manifest["digest"].as_str().unwrap();
    bare.blobs.0.retain(|(hex, _)| !manifest.ends_with(hex));
    let path = write(directory, &both(root, None, image, &[&bare]));
    let artifact = open(&path, Some("app:1")).unwrap();
    assert_eq!((digest(&artifact), artifact.images().len()), (None, 1));
    let error = open_as(&path, Format::Oci, None).unwrap_err().to_string();
    assert!(error.ends_with("and has not all of it"), "{error}");
}

#[test]
fn an_archive_whose_two_lists_disagree_is_refused() {
    let (amd, arm) = (stored("amd64", DOCKER_LAYER), stored("arm64", DOCKER_LAYER));
    let directory = tempfile::tempdir().unwrap();
    for layer in [DOCKER_LAYER, media_type::LAYER_TAR] {
        let image = stored("amd64", layer);
        let path = write(directory.path(), &both(&image.manifest, None, &arm, &[&image, &arm]));
        let error = open(&path, None).unwrap_err().to_string();
        assert!(
            error.contains("its `index.json` and its `manifest.json` are about different images"),
            "{error}"
        );
        assert!(open_as(&path, Format::Oci, None).is_ok() && open_as(&path, Format::Docker, None).is_ok());
    }
    let path = write(directory.path(), &both(&amd.manifest, None, &amd, &[&amd, &arm]));
    assert!(open(&path, None).is_ok());
}

#[test]
fn the_kind_of_archive_that_was_named_had_no_effect() {
    let directory = tempfile::tempdir().unwrap();
    let raw = tar_of("a", b"x");
    let path = write(directory.path(), &save(&[("l", &raw, &raw)]));
    let error = open_as(&path, Format::Oci, None).unwrap_err().to_string();
    assert!(error.ends_with("what `docker save` writes is `docker-archive:`"), "{error}");
    let image = stored("amd64", DOCKER_LAYER);
    let mut tar = Tar::default();
    tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index = json!({ "schemaVersion": 2, "manifests": [image.manifest] });
    tar.file("index.json", index.to_string().as_bytes());
    for (hex, bytes) in &image.blobs.0 {
        tar.file(&format!("blobs/sha256/{hex}"), bytes);
    }
    let path = write(directory.path(), &tar.end());
    assert!(open_as(&path, Format::Oci, None).is_ok());
    let error = open_as(&path, Format::Docker, None).unwrap_err().to_string();
    assert!(error.ends_with("an OCI archive is `oci-archive:`"), "{error}");
}
