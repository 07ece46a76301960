//! Building on base images, with attributes, and archives of what was built.

use std::{
    collections::BTreeMap,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sha2::Digest as _;
use spectra_oci::{
    Artifact, Base, BuiltImage, Cache, Descriptor, Error, FileRule, Files, ImageBuilder, ImageConfig,
    ImageManifest, Layout, NoProgress, Overwrite, Owner, Packing, Patterns, Platform, Progress, PushOptions,
    Trust,
};
use spectra_types::{Algorithm, Digest};

use crate::fake::{Fake, client};

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &sha2::Sha256::digest(bytes)).unwrap()
}

pub(crate) fn write(root: &Path, files: &[&str]) {
    for name in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, name).unwrap();
    }
}

fn write_archive(
    artifact: &Artifact,
    path: &Path,
    name: Option<&str>,
    overwrite: Overwrite,
) -> Result<Descriptor, Error> {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    artifact.write_archive(path, name, overwrite, &Packing::default(), &progress)
}

fn patterns(lines: &[&str]) -> Patterns {
    Patterns::parse(lines.iter().copied()).unwrap()
}

/// Name, mode, user, kind of every entry of the layout's layer.
pub(crate) fn entries(layout: &Layout, digest: &Digest) -> Vec<String> {
    let layer = std::fs::File::open(layout.root().join("blobs/sha256").join(digest.hex())).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(layer));
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        let (mode, user, group) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        format!("{} {mode:o} {user}:{group}", entry.path().unwrap().display())
    });
    entries.collect()
}

pub(crate) fn document<T: serde::de::DeserializeOwned>(layout: &Layout, digest: &Digest) -> T {
    let bytes = std::fs::read(layout.root().join("blobs/sha256").join(digest.hex())).unwrap();
    assert_eq!(sha256(&bytes), *digest);
    serde_json::from_slice(&bytes).unwrap()
}

/// A registry with `distro:1`: `/bin` is a link, `/tmp` is everyone's. In Docker's media types, or in OCI's with zstd.
async fn distribution(zstd: bool) -> (Fake, Digest) {
    let entries = [
        ("bin -> usr/bin", 0o777, 0),
        ("usr/", 0o755, 0),
        ("usr/bin/", 0o755, 0),
        ("usr/bin/sh", 0o755, 0),
        ("tmp/", 0o1777, 0),
    ];
    serve(layer(&entries), zstd).await
}

/// A tar of links (`name -> target`), directories (`name/`) and empty files, each with its mode and user.
pub(crate) fn layer(entries: &[(&str, u32, u64)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, mode, user) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_uid(*user);
        header.set_size(0);
        if let Some((name, target)) = name.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, name, target).unwrap();
        } else {
            let directory = name.ends_with('/');
            header.set_entry_type(if directory {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            tar.append_data(&mut header, name, std::io::empty()).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

/// A registry with `distro:1`, of one layer.
pub(crate) async fn serve(raw: Vec<u8>, zstd: bool) -> (Fake, Digest) {
    let fake = Fake::start().await;
    let layer = if zstd {
        zstd::encode_all(raw.as_slice(), 3).unwrap()
    } else {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut encoder, &raw).unwrap();
        encoder.finish().unwrap()
    };
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","created":"2024-01-01T00:00:00Z","config":{{"User":"10","Env":["PATH=/usr/bin","LANG=C"],
        "Entrypoint":["/bin/sh"],"Cmd":["-l"],"Labels":{{"from":"distro","kept":"yes"}},"Volumes":{{"/data":{{}}}},"Shell":["/bin/sh","-c"],"ArgsEscaped":true,"OnBuild":["RUN x"]}},"author":"them",
        "rootfs":{{"type":"layers","diff_ids":["{}"]}},"history":[{{"created":"2024-01-01T00:00:00Z","created_by":"distro","comment":"kept"}}]}}"#,
        sha256(&raw)
    );
    let descriptor = |media_type: &str, bytes: &[u8]| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
    };
    let [manifest_type, config_type, layer_type] = if zstd {
        ["manifest.v1+json", "config.v1+json", "layer.v1.tar+zstd"]
            .map(|rest| format!("application/vnd.oci.image.{rest}"))
    } else {
        ["distribution.manifest.v2+json", "container.image.v1+json", "image.rootfs.diff.tar.gzip"]
            .map(|rest| format!("application/vnd.docker.{rest}"))
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{manifest_type}","config":{},"layers":[{}]}}"#,
        descriptor(&config_type, config.as_bytes()),
        descriptor(&layer_type, &layer),
    );
    let digest = sha256(manifest.as_bytes());
    let mut state = fake.lock();
    for blob in [layer, config.into_bytes()] {
        let found = sha256(&blob).to_string();
        state.blobs.insert(("distro".to_owned(), found), blob);
    }
    for reference in ["1".to_owned(), digest.to_string()] {
        let entry = (manifest_type.clone(), manifest.clone().into_bytes());
        state.manifests.insert(("distro".to_owned(), reference), entry);
    }
    drop(state);
    (fake, digest)
}

pub(crate) async fn base(fake: &Fake, digest: &Digest, cache: &Layout) -> Result<Base, Error> {
    let image = fake.image(&format!("distro:1@{digest}"));
    client().base(&image, &Platform::default(), cache, 2, Arc::new(NoProgress)).await
}

#[tokio::test]
async fn on_a_base_its_layers_stay_and_its_configuration_is_merged() {
    let (fake, digest) = distribution(false).await;
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("in"), &["bin/app", "tmp/x", "srv/y"]);
    let cache = Layout::create(place.path().join("cache")).unwrap();
    let layout = Layout::create(place.path().join("out")).unwrap();
    let files = Files { from: place.path().join("in"), to: "/".to_owned(), ..Files::default() };
    let built = ImageBuilder::new()
        .base(base(&fake, &digest, &cache).await.unwrap())
        .files(vec![files])
        .entrypoint(vec!["/bin/app".to_owned()])
        .env("LANG", "en")
        .env("MODE", "x")
        .label("from", "us")
        .build(&layout, None)
        .unwrap();
    let manifest: ImageManifest = document(&layout, &built.manifest.digest);
    assert_eq!(manifest.media_type.as_deref(), Some("application/vnd.oci.image.manifest.v1+json"));
    assert_eq!(manifest.config.media_type, "application/vnd.oci.image.config.v1+json");
    let original: serde_json::Value = {
        let state = fake.lock();
        serde_json::from_slice(&state.manifests[&("distro".to_owned(), "1".to_owned())].1).unwrap()
    };
    assert_eq!(manifest.layers[0].digest.to_string(), original["layers"][0]["digest"].as_str().unwrap());
    assert_eq!(manifest.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_eq!(
        manifest.annotations["org.opencontainers.image.base.name"],
        fake.image("distro:1").to_string()
    );
    assert_eq!(manifest.annotations["org.opencontainers.image.base.digest"], digest.to_string());
    let whole: serde_json::Value = document(&layout, &built.config);
    assert_eq!(
        (
            &whole["author"],
            &whole["config"]["ArgsEscaped"],
            &whole["history"][0]["comment"],
            &whole["config"]["Cmd"]
        ),
        (&"them".into(), &true.into(), &"kept".into(), &serde_json::Value::Null),
        "what is not known here stays, and nothing else"
    );
    let config: ImageConfig = document(&layout, &built.config);
    assert_eq!(config.config.env, ["PATH=/usr/bin", "LANG=en", "MODE=x"]);
    assert_eq!(
        (config.config.user.as_str(), config.config.cmd.len()),
        ("10", 0),
        "arguments go with their program"
    );
    assert_eq!(
        config.config.labels,
        BTreeMap::from([("from".to_owned(), "us".to_owned()), ("kept".to_owned(), "yes".to_owned())])
    );
    assert!(config.config.volumes.contains_key("/data") && config.config.shell.len() == 2);
    assert_eq!((config.history.len(), config.rootfs.diff_ids.len()), (2, 2));
    assert_eq!(
        entries(&layout, &manifest.layers[1].digest),
        [
            "srv/ 755 0:0",
            "srv/y 644 0:0",
            "tmp/ 1777 0:0",
            "tmp/x 644 0:0",
            "usr/ 755 0:0",
            "usr/bin/ 755 0:0",
            "usr/bin/app 644 0:0"
        ],
        "`/bin` stays a link and `/tmp` keeps its mode, however the layer is unpacked"
    );

    // The same registry: the base's layer is linked.
    fake.lock().mounts = true;
    let artifact = spectra_oci::open(layout.root(), None).unwrap();
    let pushed = client()
        .push(&fake.image("app:1"), &artifact, &PushOptions::default(), Arc::new(NoProgress))
        .await
        .unwrap();
    assert_eq!((pushed.uploaded, pushed.skipped), (2, 1), "{:?}", fake.lock().log);
    assert!(fake.lock().violations.is_empty(), "{:?}", fake.lock().violations);
}

#[tokio::test]
async fn a_base_with_zstd_layers_is_carried_over_and_looked_into() {
    let (fake, digest) = distribution(true).await;
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("in"), &["bin/app"]);
    let cache = Layout::create(place.path().join("cache")).unwrap();
    let layout = Layout::create(place.path().join("out")).unwrap();
    let files = Files { from: place.path().join("in"), to: "/".to_owned(), ..Files::default() };
    let base = base(&fake, &digest, &cache).await.unwrap();
    let built = ImageBuilder::new().base(base).files(vec![files]).build(&layout, None).unwrap();
    assert_eq!(built.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+zstd");
    assert_eq!(
        entries(&layout, &built.layers[1].digest),
        ["usr/ 755 0:0", "usr/bin/ 755 0:0", "usr/bin/app 644 0:0"]
    );
}

#[tokio::test]
async fn a_base_is_fetched_once_and_again_when_it_was_damaged() {
    let (fake, digest) = distribution(false).await;
    let place = tempfile::tempdir().unwrap();
    let cache = Layout::create(place.path().join("cache")).unwrap();
    base(&fake, &digest, &cache).await.unwrap();
    let requests = fake.lock().log.len();
    base(&fake, &digest, &cache).await.unwrap();
    assert_eq!(fake.lock().log.len(), requests, "the second time nothing is asked");
    let blobs = place.path().join("cache/blobs/sha256");
    let manifest: ImageManifest = document(&cache, &digest);
    let layer = blobs.join(manifest.layers[0].digest.hex());
    let length = std::fs::metadata(&layer).unwrap().len();
    std::fs::write(&layer, vec![0; usize::try_from(length).unwrap()]).unwrap();
    base(&fake, &digest, &cache).await.unwrap();
    assert_eq!(sha256(&std::fs::read(&layer).unwrap()), manifest.layers[0].digest);
    // A document of the same length too; and then nothing is asked again.
    let config = blobs.join(manifest.config.digest.hex());
    let mut bytes = std::fs::read(&config).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&config, bytes).unwrap();
    base(&fake, &digest, &cache).await.unwrap();
    assert_eq!(sha256(&std::fs::read(&config).unwrap()), manifest.config.digest);
    let requests = fake.lock().log.len();
    let cached = base(&fake, &digest, &cache).await.unwrap();
    assert_eq!(fake.lock().log.len(), requests);
    assert!(cached.has_instructions().unwrap());
}

/// One looked at the damaged blob, and removed the good one that another had put in its place by then.
#[tokio::test]
async fn builds_at_once_on_a_damaged_base_removed_what_the_others_had_mended() {
    let (fake, digest) = distribution(false).await;
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("cache");
    base(&fake, &digest, &Layout::create(&root).unwrap()).await.unwrap();
    let manifest: ImageManifest = document(&Layout::open(&root).unwrap(), &digest);
    let layer = root.join("blobs/sha256").join(manifest.layers[0].digest.hex());
    let whole = std::fs::read(&layer).unwrap();
    for round in 0..5 {
        std::fs::write(&layer, vec![0; whole.len()]).unwrap();
        let builds = (0..8).map(|_| async {
            let cache = Layout::create(&root).unwrap();
            base(&fake, &digest, &cache).await.map(drop)
        });
        for built in futures::future::join_all(builds).await {
            built.unwrap_or_else(|error| {
                panic!("round {round}: {error}: {:?}", std::error::Error::source(&error))
            });
        }
        assert_eq!(std::fs::read(&layer).unwrap(), whole);
    }
    // Who has nothing to put in its place leaves it, and the next command says what is wrong with it.
    std::fs::write(&layer, vec![0; whole.len()]).unwrap();
    let reference = fake.image(&format!("distro:1@{digest}"));
    let remote = client().open(&reference, None, Arc::new(NoProgress)).await.unwrap();
    remote.reuse(&Layout::open(&root).unwrap()).unwrap();
    assert!(layer.exists());
}

#[tokio::test]
async fn a_base_by_tag_is_refused_with_its_digest() {
    let (fake, digest) = distribution(false).await;
    let place = tempfile::tempdir().unwrap();
    let cache = Layout::create(place.path().join("cache")).unwrap();
    let get = async |image: &str, platform: &str| {
        let platform = platform.parse().unwrap();
        let result = client().base(&fake.image(image), &platform, &cache, 2, Arc::new(NoProgress)).await;
        result
            .unwrap_err()
            .to_string()
            .replace(&fake.address.to_string(), "REGISTRY")
            .replace(digest.hex(), "HEX")
    };
    insta::assert_snapshot!(get("distro:1", "linux/amd64").await, @"cannot build an image: the base image `REGISTRY/distro:1` is named by a tag, which may mean another image tomorrow; name its digest: now it is `REGISTRY/distro:1@sha256:HEX`");
    insta::assert_snapshot!(get(&format!("distro@{digest}"), "linux/arm64").await, @"open `REGISTRY/distro@sha256:HEX`: `REGISTRY` gave an answer that cannot be used: it is for `linux/amd64`, not for `linux/arm64`");
}

#[test]
fn neither_umask_nor_time_nor_place_changes_the_digest() {
    let build = |place: &Path, mode: u32, age: u64| {
        let root = place.join("content");
        write(&root, &["lib/b", "lib/a", "run", "private/key"]);
        symlink("lib/a", root.join("link")).unwrap();
        for name in ["lib/b", "lib/a", "run", "private/key", "lib", "private"] {
            let path = root.join(name);
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
            std::fs::File::open(&path).unwrap().set_modified(time).unwrap();
            let executable = path.is_dir() || name == "run";
            let mode = if executable { mode | 0o100 } else { mode };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let layout = Layout::create(place.join("out")).unwrap();
        let files = Files { from: root, to: "/app".to_owned(), ..Files::default() };
        let built =
            ImageBuilder::new().files(vec![files]).cmd(vec!["/app/run".to_owned()]).build(&layout, None);
        built.unwrap().manifest.digest
    };
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(build(one.path(), 0o600, 1_000), build(two.path(), 0o664, 2_000_000_000));
}

#[test]
fn attributes_and_exclusions() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("in");
    write(&root, &["app", "a.map", "js/b.map", "js/keep.map", "js/c.js", "tests/deep/x"]);
    std::fs::set_permissions(root.join("app"), std::fs::Permissions::from_mode(0o700)).unwrap();
    write(place.path(), &["single"]);
    let layout = Layout::create(place.path().join("out")).unwrap();
    let tree = Files {
        from: root,
        to: "/srv".to_owned(),
        directory_mode: Some(0o750),
        owner: Owner { user: 65532, group: 65533 },
        exclude: patterns(&["**/*.map", "!js/keep.map", "tests"]),
        rules: vec![FileRule {
            files: patterns(&["js"]),
            mode: None,
            owner: Some(Owner { user: 1, group: 2 }),
        }],
        ..Files::default()
    };
    let single = Files {
        from: place.path().join("single"),
        to: "/etc/conf.d/".to_owned(),
        mode: Some(0o400),
        ..Files::default()
    };
    let make =
        |files: Vec<Files>| ImageBuilder::new().files(files).cmd(vec!["x".to_owned()]).build(&layout, None);
    let built = make(vec![tree, single.clone()]).unwrap();
    assert_eq!(
        entries(&layout, &built.layers[0].digest),
        [
            "etc/ 755 0:0",
            "etc/conf.d/ 755 0:0",
            "etc/conf.d/single 400 0:0",
            "srv/ 750 65532:65533",
            "srv/app 755 65532:65533",
            "srv/js/ 750 1:2",
            "srv/js/c.js 644 1:2",
            "srv/js/keep.map 644 1:2",
        ]
    );
    let error = make(vec![single.clone(), single]).unwrap_err().to_string();
    insta::assert_snapshot!(error, @"cannot build an image: two files of one layer become `/etc/conf.d/single`; put them into layers of their own, or leave one out");
}

#[test]
fn several_platforms_are_one_index() {
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("in"), &["app"]);
    let layout = Layout::create(place.path().join("out")).unwrap();
    let builder = |platform: &str| {
        let files = Files { from: place.path().join("in"), to: "/".to_owned(), ..Files::default() };
        ImageBuilder::new()
            .platform(platform.parse().unwrap())
            .files(vec![files])
            .cmd(vec!["/app".to_owned()])
    };
    let builders = [builder("linux/amd64"), builder("linux/arm64/v8")];
    let built = ImageBuilder::build_index(&builders, &layout, Some("v1")).unwrap();
    let artifact = spectra_oci::open(layout.root(), Some("v1")).unwrap();
    assert_eq!(artifact.digest(), Some(&built.index.digest));
    let arm = artifact.for_platform(&"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(arm.digest(), Some(&built.images[1].manifest.digest));
    let error = artifact.for_platform(&"linux/s390x".parse().unwrap()).unwrap_err().to_string();
    assert!(
        error.ends_with("there is no image for `linux/s390x`, but for `linux/amd64`, `linux/arm64/v8`"),
        "{error}"
    );
    let twice = [builder("linux/amd64"), builder("linux/amd64")];
    assert!(ImageBuilder::build_index(&twice, &layout, None).is_err());

    // As an archive: the same bytes each time, readable, and nothing is overwritten unasked.
    let archive = place.path().join("out.tar");
    let written = write_archive(&artifact, &archive, Some("v1"), Overwrite::Refuse).unwrap();
    assert_eq!(written.digest, built.index.digest);
    let bytes = std::fs::read(&archive).unwrap();
    let again = spectra_oci::open(&archive, Some("v1")).unwrap();
    assert_eq!(again.digest(), artifact.digest());
    again.inspect(None).unwrap();
    let refused = write_archive(&artifact, &archive, None, Overwrite::Refuse).unwrap_err();
    assert_eq!(refused.code().to_string(), "SPX-352");
    assert_eq!(std::fs::read(&archive).unwrap(), bytes);
    write_archive(&artifact, &archive, Some("v1"), Overwrite::Replace).unwrap();
    assert_eq!(std::fs::read(&archive).unwrap(), bytes);
    let left = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(left, 3, "no temporary file stays");
}

#[test]
fn an_archive_is_not_written_from_damaged_blobs() {
    let place = tempfile::tempdir().unwrap();
    let artifact = crate::fake::image(place.path(), 1000);
    let layer = artifact.inspect(None).unwrap().layers.remove(0);
    let path = place.path().join("layout/blobs/sha256").join(layer.digest.hex());
    std::fs::write(&path, vec![0; usize::try_from(layer.size).unwrap()]).unwrap();
    let archive = place.path().join("x.tar");
    let error = write_archive(&artifact, &archive, None, Overwrite::Refuse).unwrap_err();
    assert_eq!(error.code().to_string(), "SPX-303", "{error}");
    assert!(!archive.exists());
}

#[test]
fn files_that_were_built_before_are_not_compressed_again() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    write(&one, &["app", "lib/a"]);
    write(&two, &["data"]);
    let layout = Layout::create(place.path().join("out")).unwrap();
    let packing = Packing {
        cache: Some(Cache::new(place.path().join("cache"))),
        trust: Trust::Content,
        ..Packing::default()
    };
    let build = |layout: &Layout, trust: Trust| -> BuiltImage {
        let files =
            |from: &Path| vec![Files { from: from.to_owned(), to: "/".to_owned(), ..Files::default() }];
        ImageBuilder::new()
            .files(files(&one))
            .files(files(&two))
            .cmd(vec!["/app".to_owned()])
            .packing(Packing { trust, ..packing.clone() })
            .build(layout, None)
            .unwrap()
    };
    let first = build(&layout, Trust::Content);
    assert_eq!(first.reused, 0);
    for trust in [Trust::Content, Trust::FileState] {
        let second = build(&layout, trust);
        assert_eq!((&second.manifest, second.reused, second.entries), (&first.manifest, 2, first.entries));
    }
    // What a build tool writes anew, the same as it was.
    for trust in [Trust::FileState, Trust::Content] {
        write(&one, &["app"]);
        let again = build(&layout, trust);
        assert_eq!((&again.manifest, again.reused), (&first.manifest, 2), "{trust:?}");
    }
    // Other content of the same length, or another mode.
    let mut before = first.manifest.clone();
    for trust in [Trust::FileState, Trust::Content] {
        if trust == Trust::FileState {
            std::fs::write(one.join("app"), "APP").unwrap();
        } else {
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(one.join("lib/a"), executable).unwrap();
        }
        let other = build(&layout, trust);
        assert_ne!(other.manifest, before);
        assert_eq!(other.reused, 1, "the other layer");
        before = other.manifest;
    }
    // Elsewhere there is nothing to take.
    let other = Layout::create(place.path().join("other")).unwrap();
    let elsewhere = build(&other, Trust::FileState);
    assert_eq!((elsewhere.manifest, elsewhere.reused), (before.clone(), 0));
    // A layer that was damaged since is made again, in place of what is there.
    let layers = build(&layout, Trust::Content).layers;
    let blob = layout.root().join("blobs/sha256").join(layers[1].digest.hex());
    let whole = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, vec![0; whole.len()]).unwrap();
    assert_eq!(build(&layout, Trust::FileState).reused, 2, "trust does not look");
    let healed = build(&layout, Trust::Content);
    assert_eq!((healed.manifest, healed.reused), (before, 1));
    assert_eq!(std::fs::read(&blob).unwrap(), whole);
}
