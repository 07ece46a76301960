//! Writing layouts: at the same time as others, again and again, over what others wrote, and over damage.

use std::{path::Path, sync::Arc};

use spectra_oci::{Artifact, BuiltImage, Error, Files, ImageBuilder, Layout, NoProgress, Packing, Progress};

use crate::build::write;

fn builder(from: &Path) -> ImageBuilder {
    let files = Files { from: from.to_owned(), to: "/".to_owned(), ..Files::default() };
    ImageBuilder::new().files(vec![files]).cmd(vec!["x".to_owned()])
}

fn build(from: &Path, layout: &Path, name: Option<&str>) -> Result<BuiltImage, Error> {
    builder(from).build(&Layout::create(layout)?, name)
}

fn store(artifact: &Artifact, layout: &Path, name: Option<&str>) {
    let progress: Arc<dyn Progress> = Arc::new(NoProgress);
    let layout = Layout::create(layout).unwrap();
    artifact.store(&layout, name, &Packing::default(), &progress).unwrap();
}

/// The names in a layout's index, and the first letters of the digests they lead to.
fn names(layout: &Path) -> Vec<(Option<String>, String)> {
    let index = Layout::open(layout).unwrap().index().unwrap();
    let entries = index.manifests.iter().map(|entry| {
        let name = entry.annotations.get("org.opencontainers.image.ref.name").cloned();
        (name, entry.digest.to_string())
    });
    entries.collect()
}

#[test]
fn builds_at_once_into_one_new_layout_lose_no_image() {
    let place = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let out = place.path().join(format!("out{round}"));
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (root, out) = (place.path().join(format!("in{number}")), &out);
                scope.spawn(move || {
                    write(&root, &[&format!("file{number}")]);
                    build(&root, out, Some(&format!("v{number}"))).unwrap();
                });
            }
        });
        assert_eq!(names(&out).len(), 8, "{:?}", names(&out));
        for number in 0..8 {
            spectra_oci::open(&out, Some(&format!("v{number}"))).unwrap();
        }
    }
}

#[test]
fn a_layout_that_is_just_being_made_is_none_of_another_kind() {
    let place = tempfile::tempdir().unwrap();
    write(&place.path().join("in"), &["a"]);
    let out = place.path().join("out");
    // What a run leaves that dies in between.
    write(&out, &["spectra-layer-XyZ123"]);
    build(&place.path().join("in"), &out, Some("v1")).unwrap();
    std::fs::remove_file(out.join("index.json")).unwrap();
    std::fs::remove_dir_all(out.join("blobs")).unwrap();
    build(&place.path().join("in"), &out, Some("v1")).unwrap();
    spectra_oci::open(&out, Some("v1")).unwrap();
}

#[test]
fn a_name_of_elsewhere_is_no_name_here() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    write(&at("b"), &["two"]);
    let one = build(&at("a"), &at("la"), Some("v1")).unwrap().manifest.digest.to_string();
    let two = build(&at("b"), &at("lb"), Some("v1")).unwrap().manifest.digest.to_string();
    // As containerd names its images, too.
    let index = std::fs::read_to_string(at("la/index.json")).unwrap();
    let named = index.replacen(
        "\"annotations\":{",
        "\"annotations\":{\"io.containerd.image.name\":\"docker.io/library/v1\",",
        1,
    );
    assert_ne!(named, index);
    std::fs::write(at("la/index.json"), named).unwrap();
    let artifact = spectra_oci::open(&at("la"), Some("v1")).unwrap();
    store(&artifact, &at("lb"), None);
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(names(&at("lb")), [(name("v1"), two), (None, one.clone())]);
    store(&artifact, &at("lb"), Some("v1"));
    assert_eq!(names(&at("lb")), [(None, one.clone()), (name("v1"), one)]);
    assert!(!std::fs::read_to_string(at("lb/index.json")).unwrap().contains("containerd"));
}

#[test]
fn what_other_tools_wrote_into_a_layout_stays() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    write(&at("b"), &["two"]);
    build(&at("a"), &at("out"), Some("v1")).unwrap();
    let path = at("out/index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    index["artifactType"] = "x/y".into();
    index["manifests"][0]["urls"] = serde_json::json!(["https://example.com"]);
    index["manifests"][0]["platform"]["os.version"] = "10.0.1".into();
    std::fs::write(&path, index.to_string()).unwrap();
    build(&at("b"), &at("out"), Some("v2")).unwrap();
    let after: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&after["artifactType"], &after["manifests"][0]),
        (&index["artifactType"], &index["manifests"][0])
    );
    assert_eq!(after["manifests"].as_array().unwrap().len(), 2);
}

#[test]
fn damage_of_the_same_length_is_cured() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    let built = build(&at("a"), &at("out"), Some("v1")).unwrap();
    let digests = [&built.layers[0].digest, &built.config, &built.manifest.digest];
    let blob = |hex: &str| at("out/blobs/sha256").join(hex);
    let whole = digests.map(|digest| std::fs::read(blob(digest.hex())).unwrap());
    for again in [true, false] {
        let artifact = spectra_oci::open(&at("out"), Some("v1")).unwrap();
        store(&artifact, &at("copy"), None);
        for digest in digests {
            let mut bytes = std::fs::read(blob(digest.hex())).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(blob(digest.hex()), bytes).unwrap();
        }
        if again {
            build(&at("a"), &at("out"), Some("v1")).unwrap();
        } else {
            store(&spectra_oci::open(&at("copy"), None).unwrap(), &at("out"), Some("v1"));
        }
        assert_eq!(digests.map(|digest| std::fs::read(blob(digest.hex())).unwrap()), whole);
    }
}

#[test]
fn a_layout_copied_onto_itself_was_called_good_with_a_damaged_blob() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    let built = build(&at("a"), &at("out"), Some("v1")).unwrap();
    std::os::unix::fs::symlink(at("out"), at("link")).unwrap();
    let copy = |from: &Path, to: &Path, name: &str| {
        let artifact = spectra_oci::open(from, Some("v1")).unwrap();
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        artifact.store(&Layout::create(to).unwrap(), Some(name), &Packing::default(), &progress).map(drop)
    };
    copy(&at("out"), &at("out"), "v2").unwrap();
    let layer = at("out/blobs/sha256").join(built.layers[0].digest.hex());
    let mut bytes = std::fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&layer, &bytes).unwrap();
    for (from, to) in [("out", "out"), ("a/../out", "out"), ("out", "link")] {
        let error = copy(&at(from), &at(to), "v3").unwrap_err();
        assert_eq!(error.code().to_string(), "SPX-303", "{from} to {to}: {error}");
    }
    assert_eq!(std::fs::read(&layer).unwrap(), bytes, "there is nothing to mend it with");
    assert_eq!(names(&at("out")).len(), 2);
}

#[test]
fn whoever_held_the_lock_of_a_layout_was_waited_for_in_silence_and_without_end() {
    #[derive(Default)]
    struct Heard(std::sync::Mutex<Vec<std::path::PathBuf>>);
    impl Progress for Heard {
        fn waiting(&self, layout: &Path) {
            self.0.lock().unwrap().push(layout.to_owned());
        }
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    build(&at("a"), &at("out"), None).unwrap();
    let other = std::fs::File::open(at("out")).unwrap();
    other.lock().unwrap();
    let heard = Arc::new(Heard::default());
    let layout = |milliseconds| {
        let patience = std::time::Duration::from_millis(milliseconds);
        Layout::create(at("out")).unwrap().patience(patience).progress(heard.clone())
    };
    let error = builder(&at("a")).build(&layout(200), Some("v1")).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(error.to_string(), format!("cannot write the layout `{}`", at("out").display()));
    assert_eq!(cause, "another process has held its lock for 0 seconds; end that process if it hangs");
    assert_eq!(*heard.0.lock().unwrap(), [at("out")]);
    assert_eq!(names(&at("out")).len(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| builder(&at("a")).build(&layout(60_000), Some("v1")).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        drop(other);
    });
    assert_eq!(names(&at("out")).len(), 2);
}

#[test]
fn a_build_that_fails_leaves_no_layout() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    let missing = Files { from: at("missing"), to: "/".to_owned(), ..Files::default() };
    let layout = Layout::create(at("out")).unwrap();
    builder(&at("a")).files(vec![missing.clone()]).build(&layout, None).unwrap_err();
    let arm = builder(&at("a")).files(vec![missing]).platform("linux/arm64".parse().unwrap());
    ImageBuilder::build_index(&[builder(&at("a")), arm], &layout, None).unwrap_err();
    assert!(!at("out").exists(), "not even for the layer that could have been made");
}

#[test]
fn what_is_written_is_not_part_of_what_is_written_next() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("in"), &["a", "kept/b"]);
    let out = at("in/made/deep/layout");
    let cache = at("in/cache");
    let first = build(&at("in"), &out, None).unwrap();
    assert!(first.left_out.is_empty());
    for _ in 0..2 {
        write(&cache, &["of-a-base"]);
        let again = builder(&at("in")).leave_out(&cache).build(&Layout::create(&out).unwrap(), None).unwrap();
        assert_eq!(again.manifest, first.manifest);
        assert_eq!(again.left_out, [cache.clone(), out.clone()]);
    }
    let error = build(&out, &out, None).unwrap_err().to_string().replace(out.to_str().unwrap(), "OUT");
    insta::assert_snapshot!(error, @"cannot build an image: `OUT` is where the build writes, and cannot be in its image; choose another output or cache");
}

#[test]
fn what_an_index_says_of_a_platform_counts_before_what_the_image_says() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write(&at("a"), &["one"]);
    write(&at("b"), &["two"]);
    // Both configurations say `linux/arm` and nothing more.
    let mut entries = Vec::new();
    for (from, variant) in [("a", "v6"), ("b", "v7")] {
        let builder = builder(&at(from)).platform("linux/arm".parse().unwrap());
        let built = builder.build(&Layout::create(at("out")).unwrap(), None).unwrap();
        let mut entry = serde_json::to_value(&built.manifest).unwrap();
        entry["platform"]["variant"] = variant.into();
        entries.push(entry);
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries,
    });
    let index = index.to_string();
    let hash = <sha2::Sha256 as sha2::Digest>::digest(index.as_bytes());
    let digest = spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap();
    std::fs::write(at("out/blobs/sha256").join(digest.hex()), &index).unwrap();
    let root = serde_json::json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest, "size": index.len() }
    ] });
    std::fs::write(at("out/index.json"), root.to_string()).unwrap();

    let artifact = spectra_oci::open(&at("out"), None).unwrap();
    for (platform, expected) in
        [("linux/arm/v6", &entries[0]), ("linux/arm/v7", &entries[1]), ("linux/arm", &entries[1])]
    {
        let chosen = artifact.for_platform(&platform.parse().unwrap()).unwrap();
        assert_eq!(
            Some(chosen.digest().unwrap().to_string().as_str()),
            expected["digest"].as_str(),
            "{platform}"
        );
    }
    assert!(artifact.for_platform(&"linux/arm/v5".parse().unwrap()).is_err());
}
