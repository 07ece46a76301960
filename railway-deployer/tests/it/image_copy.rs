//! `image copy` between all kinds of places, and engines as sources.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sha2::Digest as _;
use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    support::{Place, content, tool},
};

pub(crate) fn build(place: &Place) -> String {
    content(place, "in");
    let arguments =
        ["image", "build", "in", "--output", "layout", "--name", "v1", "--entrypoint", "/bin/app"];
    let platforms = ["--platform", "linux/amd64,linux/arm64"];
    place.run(&[&arguments[..], &platforms].concat()).done().stdout.trim().to_owned()
}

#[test]
fn an_image_keeps_its_digest_on_the_way_through_every_kind_of_place() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    let image = format!("{}/team/app:v1", running.address);
    let other = format!("{}/other/app:v1", running.address);
    for (source, destination) in [
        ("oci:layout:v1", "oci-archive:a.tar:v1"),
        ("oci-archive:a.tar:v1", image.as_str()),
        (image.as_str(), other.as_str()),
        (other.as_str(), "oci:copied:v2"),
        ("copied", "oci-archive:b.tar:v1"),
    ] {
        let copied = place.run(&["image", "copy", source, destination, "--json"]).done().json();
        assert_eq!(copied["digest"], digest.as_str(), "{source} to {destination}");
    }
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!(read("a.tar"), read("b.tar"), "an archive is the same bytes, wherever the image comes from");
    let single =
        place.run(&["image", "copy", &image, "oci:arm", "--platform", "linux/arm64", "--json"]).done().json();
    assert_ne!(single["digest"], digest.as_str());
    assert_eq!(single["media_type"], "application/vnd.oci.image.manifest.v1+json");
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

/// What `docker save` of an engine with containerd's store writes: an OCI archive, and `manifest.json` about one of its platforms. Without
/// the files whose name ends with `missing`.
pub(crate) fn saved_by_containerd(place: &Place, name: &str, missing: &[&str]) {
    let layout = place.path("layout");
    let document = |digest: &serde_json::Value| -> serde_json::Value {
        let hex = digest.as_str().unwrap().trim_start_matches("sha256:");
        serde_json::from_slice(&std::fs::read(layout.join("blobs/sha256").join(hex)).unwrap()).unwrap()
    };
    let root: serde_json::Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let index = document(&root["manifests"][0]["digest"]);
    let manifest = document(&index["manifests"][0]["digest"]);
    let path = |digest: &serde_json::Value| digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
    let layers: Vec<String> =
        manifest["layers"].as_array().unwrap().iter().map(|layer| path(&layer["digest"])).collect();
    let saved = serde_json::json!([{
        "Config": path(&manifest["config"]["digest"]), "RepoTags": ["v1"], "Layers": layers
    }]);
    let mut archive = tar::Builder::new(std::fs::File::create(place.path(name)).unwrap());
    for file in ["oci-layout", "index.json"] {
        archive.append_path_with_name(layout.join(file), file).unwrap();
    }
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let blob = blob.unwrap();
        let hex = blob.file_name().into_string().unwrap();
        if !missing.iter().any(|digest| digest.ends_with(&hex)) {
            archive.append_path_with_name(blob.path(), format!("blobs/sha256/{hex}")).unwrap();
        }
    }
    let text = saved.to_string();
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "manifest.json", text.as_bytes()).unwrap();
    archive.finish().unwrap();
}

#[test]
fn an_archive_of_containerds_store_lost_its_digest_and_platforms() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    saved_by_containerd(&place, "save.tar", &[]);
    let target = format!("{}/team/app:v1", running.address);
    for source in ["save.tar", "oci-archive:save.tar", "oci-archive:save.tar:v1"] {
        let pushed = place.run(&["image", "push", source, &target]).done();
        assert_eq!(pushed.stdout.trim(), digest, "{source}");
        assert!(!pushed.stderr.contains("warning"), "{}", pushed.stderr);
    }
    let inspected = place.run(&["image", "inspect", "save.tar", "--json"]).done().json();
    assert_eq!(inspected["platforms"].as_array().unwrap().len(), 2);
    let one = place.run(&["image", "push", "docker-archive:save.tar:v1", &target]).done();
    assert_ne!(one.stdout.trim(), digest);
    // `docker save` of an image that was pulled for one platform.
    let arm = place.run(&["image", "inspect", "layout", "--platform", "linux/arm64", "--json"]).done().json();
    saved_by_containerd(&place, "part.tar", &[arm["manifest_digest"].as_str().unwrap()]);
    let part = place.run(&["image", "push", "part.tar", &target]).done();
    assert_eq!(part.stdout.trim(), inspected["manifest_digest"].as_str().unwrap());
    let warning = "warning: not all that the image's index lists is there (missing: `linux/arm64`); the image for `linux/amd64` is taken alone, under a digest of its own\n";
    assert!(part.stderr.contains(warning), "{}", part.stderr);
    for arguments in [
        &["image", "inspect", "part.tar"][..],
        &["image", "copy", "part.tar", "oci:part"],
        &["image", "sbom", "part.tar", "--generator", "builtin"],
    ] {
        let said = place.run(arguments).done().stderr;
        assert!(said.contains(warning), "{arguments:?}: {said}");
    }
}

#[test]
fn layers_to_download_are_weighed_before_they_come() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    build(&place);
    let image = format!("{}/team/app:v1", running.address);
    place.run(&["image", "push", "layout", &image]).done();
    for arguments in [&["image", "copy", &image, "oci:out"] as &[&str], &["image", "sbom", &image]] {
        let run = place.run(&[arguments, &["--max-unpacked", "10"]].concat());
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(
            run.stderr.contains("error[SPX-313]") && run.stderr.contains("`--max-unpacked BYTES`"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn nothing_is_overwritten_or_guessed() {
    let place = Place::new();
    build(&place);
    place.write("a.tar", "mine");
    insta::assert_snapshot!(place.run(&["image", "copy", "layout", "oci-archive:a.tar"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-352]: cannot write `a.tar`: it exists
    hint: choose another file, or give `--force` to replace it
    ");
    assert_eq!(std::fs::read(place.path("a.tar")).unwrap(), b"mine");
    place.run(&["image", "copy", "layout", "oci-archive:a.tar", "--force"]).done();
    place.run(&["image", "inspect", "oci-archive:a.tar"]).done();
    insta::assert_snapshot!(place.run(&["image", "copy", "layout", "./out"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: invalid value './out' for '<DESTINATION>': say what `./out` shall be: a layout, `oci:./out`, or an archive, `oci-archive:./out`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(place.run(&["image", "copy", "oci-archive:layout", "oci:out"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `layout` is a directory; a layout is `oci:layout`
    ");
    insta::assert_snapshot!(place.run(&["image", "copy", "layout", "oci:out", "--referrers"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--referrers` copies between registries; layouts and archives hold the image alone
    ");
    insta::assert_snapshot!(place.run(&["image", "copy", "layout:v2", "oci:out", "--name", "v1"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--name` chooses an image of a layout or archive; this source is one image
    ");
}

#[test]
fn a_destination_that_cannot_be_written_was_found_out_after_the_download() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    build(&place);
    let image = format!("{}/team/app:v1", running.address);
    place.run(&["image", "push", "layout", &image]).done();
    place.write("file", "");
    for (destination, said) in [
        ("oci-archive:missing/a.tar", "cannot create a temporary file in `missing`"),
        ("oci-archive:file/a.tar", "cannot write `file/a.tar`"),
        // Nobody makes files there, whoever one is.
        ("oci-archive:/proc/a.tar", "cannot create a temporary file in `/proc`"),
        ("oci:/proc/layout", "cannot create a temporary file in `/proc`"),
    ] {
        let run = place.run(&["image", "copy", &image, destination]);
        assert!(run.code == 1 && run.stderr.contains(said), "{destination}: {}", run.stderr);
        assert!(!run.stderr.contains("downloaded"), "{destination}: {}", run.stderr);
    }
    assert!(!place.path("missing").exists());
    let fine = place.run(&["image", "copy", &image, "oci:out"]).done();
    assert!(fine.stderr.contains("downloaded"), "{}", fine.stderr);
}

#[test]
fn force_replaced_devices_and_links_and_waited_for_pipes() {
    let place = Place::new();
    build(&place);
    let forced =
        |path: &str| place.run(&["image", "copy", "layout", &format!("oci-archive:{path}"), "--force"]);
    place.run_other("mkfifo", &["pipe"]).done();
    std::os::unix::fs::symlink("pipe", place.path("to-pipe")).unwrap();
    std::os::unix::fs::symlink("circle", place.path("circle")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    for (path, what) in [
        ("pipe", "a pipe"),
        ("to-pipe", "a pipe"),
        ("socket", "a socket"),
        ("in", "a directory"),
        ("circle", "a link that leads in a circle, or through too many others"),
    ] {
        let run = forced(path);
        let said = format!("error[SPX-352]: cannot write `{path}`: it is {what}, not a file");
        assert!(run.code == 1 && run.stderr.contains(&said), "{path}: {}", run.stderr);
    }
    // A link stays one, also if its file is not there yet.
    std::fs::create_dir(place.path("archives")).unwrap();
    std::os::unix::fs::symlink("archives/a.tar", place.path("link.tar")).unwrap();
    for _ in ["new", "replaced"] {
        forced("link.tar").done();
        assert!(place.path("link.tar").is_symlink());
        assert!(std::fs::symlink_metadata(place.path("archives/a.tar")).unwrap().is_file());
    }
    let kept = place.run(&["image", "copy", "layout", "oci-archive:link.tar"]);
    assert!(kept.stderr.contains("cannot write `link.tar`: it exists"), "{}", kept.stderr);
    let piped = place.run(&["image", "inspect", "oci-archive:pipe"]);
    assert!(piped.stderr.contains("neither a file nor a directory"), "{}", piped.stderr);
}

#[test]
fn whatever_was_written_could_be_read_by_all() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    build(&place);
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    // The usual way to set the mask is a shell's.
    let masked = |mask: &str, destination: &str| {
        let command = place.command();
        let program = command.get_program().to_str().unwrap().to_owned();
        let force = if destination.starts_with("oci:") { "" } else { "--force" };
        let script = format!("umask {mask}; exec {program} image copy layout {destination} {force}");
        place.run_other("sh", &["-c", &script]).done();
    };
    masked("077", "oci-archive:a.tar");
    masked("077", "oci:secret");
    masked("027", "oci:group");
    let blob = |layout: &str| {
        let blobs = place.path(layout).join("blobs/sha256");
        let blob = std::fs::read_dir(blobs).unwrap().next().unwrap().unwrap();
        blob.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("a.tar"), mode("secret/index.json"), blob("secret")), (0o600, 0o600, 0o600));
    assert_eq!((mode("group/index.json"), blob("group")), (0o640, 0o640));
    masked("022", "oci-archive:a.tar");
    assert_eq!(mode("a.tar"), 0o600, "a file that is replaced leaves its permissions");
    masked("022", "oci-archive:b.tar");
    assert_eq!(mode("b.tar"), 0o644);
}

#[test]
fn a_layout_gets_what_it_has_of_a_docker_archive_only_once() {
    let place = Place::new();
    docker_archive(&place.path("app.tar"), b"a layer, which need not be a tar file");
    let copy = |more: &[&str]| {
        let arguments = ["image", "copy", "docker-archive:app.tar", "oci:layout:v1"];
        let run = place.run(&[&arguments[..], more].concat()).done();
        (run.stdout, run.stderr.matches("compressing layer").count())
    };
    let (digest, compressed) = copy(&[]);
    assert_eq!(compressed, 1);
    assert_eq!(copy(&[]), (digest.clone(), 0));
    assert_eq!(copy(&["--trust-cache"]), (digest.clone(), 0));
    assert_eq!(copy(&["--no-cache"]), (digest, 1));
}

/// What `docker save` writes of an image with one layer, which need not be a tar file.
pub(crate) fn docker_archive(path: &Path, layer: &[u8]) {
    docker_archive_of(path, &[layer]);
}

/// The same of several layers.
pub(crate) fn docker_archive_of(path: &Path, layers: &[&[u8]]) {
    let diff_id = |layer: &&[u8]| {
        let hash = sha2::Sha256::digest(layer);
        spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap()
    };
    let diff_ids: Vec<_> = layers.iter().map(diff_id).collect();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": names }]);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    let documents = [("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    for (name, bytes) in names.iter().map(String::as_str).zip(layers.iter().copied()).chain(documents) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }
    builder.into_inner().unwrap();
}

/// Writes a layout with an artifact about `subject`, as a signing tool leaves in a registry.
fn signature(place: &Place, subject: &str, size: u64) -> String {
    let hex = |bytes: &[u8]| {
        let hash = sha2::Sha256::digest(bytes);
        spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap()
    };
    let add = |bytes: &str| {
        let digest = hex(bytes.as_bytes());
        place.write(&format!("signature/blobs/sha256/{}", digest.hex()), bytes);
        (digest, bytes.len())
    };
    let (config, _) = add("{}");
    let (layer, length) = add("signed");
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/x.signature",
        "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},
        "layers":[{{"mediaType":"text/plain","digest":"{layer}","size":{length}}}],
        "subject":{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{subject}","size":{size}}}}}"#
    );
    let (digest, length) = add(&manifest);
    place.write("signature/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{length}}}]}}"#
    );
    place.write("signature/index.json", &index);
    digest.to_string()
}

#[test]
fn a_refusal_said_that_nothing_was_written_after_layers_were_uploaded() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    docker_archive(&place.path("app.tar"), b"a layer, which need not be a tar file");
    let to = format!("{}/team/app@sha256:{}", running.address, "0".repeat(64));
    let push = || place.run(&["image", "push", "docker-archive:app.tar", &to, "--no-cache"]).stderr;
    let said = format!(
        "error[SPX-323]: no manifest and no tag is written to `{to}`: the image has the digest sha256:"
    );
    let first = push();
    assert!(first.contains(&said), "{first}");
    assert!(first.contains("; 2 blobs that were uploaded may lie there unused\n"), "{first}");
    let second = push();
    assert!(second.contains(&format!("nothing is written to `{to}`")), "they are there already: {second}");
}

/// The digest of the destination was replaced by that of the image before anybody compared the two.
#[test]
fn a_digest_of_the_destination_was_forgotten_with_referrers() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    let image = format!("{}/team/app:v1", running.address);
    place.run(&["image", "push", "layout", &image]).done();
    let other = format!("sha256:{}", "0".repeat(64));
    for operation in ["registry.upload_begin", "registry.manifest_put"] {
        let rule = serde_json::json!({ "operation": operation, "action": { "type": "http", "status": 418 } });
        running.registry.set_fault(rule).unwrap();
    }
    for reference in [format!("app:2@{other}"), format!("app@{other}")] {
        let to = format!("{}/mirror/{reference}", running.address);
        for more in [&[][..], &["--referrers"]] {
            let refused = place.run(&[&["image", "copy", &image, &to][..], more].concat());
            assert_eq!(refused.code, 1, "{}", refused.stderr);
            let said =
                format!("error[SPX-323]: nothing is written to `{to}`: the image has the digest {digest}\n");
            assert!(refused.stderr.contains(&said), "{}", refused.stderr);
        }
        let refused = place.run(&["image", "push", "layout", &to]);
        assert!(refused.stderr.contains("error[SPX-323]"), "{}", refused.stderr);
    }
    assert_eq!(running.registry.faults_applied(), 0, "no request that writes");
    running.registry.clear_faults();
    let to = format!("{}/mirror/app:2@{digest}", running.address);
    place.run(&["image", "copy", &image, &to, "--referrers"]).done();
    place.run(&["image", "copy", &image, &to]).done();
}

#[test]
fn signatures_are_copied_when_asked_for() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    let (from, to) = (format!("{}/team/app", running.address), format!("{}/mirror/app", running.address));
    place.run(&["image", "push", "layout", &format!("{from}:v1")]).done();
    let size = std::fs::metadata(place.path("layout/blobs/sha256").join(&digest[7..])).unwrap().len();
    let signature = signature(&place, &digest, size);
    place.run(&["image", "push", "signature", &format!("{from}@{signature}")]).done();

    let copy = |to: &str| place.run(&["image", "copy", &format!("{from}:v1"), to, "--json"]).done();
    let copied = copy(&format!("{to}:v1"));
    assert_eq!(copied.json()["referrers"], serde_json::json!([]));
    assert_eq!(copied.json()["referrers_left"], 1);
    let left = format!(
        "not copied: 1 signature or attestation that `docker://{from}:v1` has; `--referrers` copies what belongs to an image\n"
    );
    assert!(copied.stderr.ends_with(&left), "{}", copied.stderr);
    let stored = copy("oci:stored");
    assert!(stored.stderr.contains("that `docker://"), "{}", stored.stderr);
    assert!(stored.stderr.ends_with(
        "; layouts and archives hold the image alone, and `--referrers` copies between registries\n"
    ));
    // Whoever may not ask is not told, and has the copy.
    let refused =
        serde_json::json!({ "operation": "registry.referrers", "action": { "type": "http", "status": 403 } });
    running.registry.set_fault(refused).unwrap();
    let copied = copy(&format!("{to}:v1"));
    assert!(
        copied.json()["referrers_left"].is_null() && !copied.stderr.contains("not copied"),
        "{}",
        copied.stderr
    );
    assert!(running.registry.faults_applied() > 0);
    running.registry.clear_faults();
    let copied = place
        .run(&["image", "copy", &format!("{from}:v1"), &format!("{to}:v1"), "--referrers", "--json"])
        .done()
        .json();
    assert_eq!(
        copied["referrers"],
        serde_json::json!([{ "subject": digest, "digest": signature, "kind": "application/x.signature" }])
    );
    place.run(&["image", "copy", &format!("{to}@{signature}"), "oci:again"]).done();
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn a_tag_comes_when_all_that_belongs_to_the_image_is_there() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place);
    place.run(&["image", "build", "in", "--output", "one", "--cmd", "one"]).done();
    place.run(&["image", "build", "in", "--output", "two", "--cmd", "two"]).done();
    let (from, to) = (format!("{}/team/app", running.address), format!("{}/mirror/app", running.address));
    let bill = format!("sha256-{}.sbom", &digest[7..]);
    place.run(&["image", "push", "layout", &format!("{from}:v1")]).done();
    place.run(&["image", "push", "one", &format!("{from}:{bill}")]).done();
    place.run(&["image", "push", "two", &format!("{to}:{bill}")]).done();
    let (source, target) = (format!("{from}:v1"), format!("{to}:v1"));
    let copy =
        |more: &[&str]| place.run(&[&["image", "copy", &source, &target, "--no-progress"], more].concat());
    let refused = copy(&["--referrers"]).shown().replace(&digest[7..], "[HEX]");
    insta::assert_snapshot!(refused, @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-352]: `[REGISTRY]/mirror/app@sha256:[HEX]` is there, but not all that belongs to it, and no tag was set
      caused by: cannot write `[REGISTRY]/mirror/app:sha256-[HEX].sbom`: it exists
    hint: `--force` replaces it; copying again goes on where this ended
    ");
    assert_ne!(place.run(&["image", "inspect", &target]).code, 0, "no tag was set");
    copy(&["--referrers", "--force"]).done();
    let found = place.run(&["image", "inspect", &target, "--json"]).done().json();
    assert_eq!(found["digest"], digest.as_str());
    insta::assert_snapshot!(copy(&["--force"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--force` is for archives that exist; a tag of a registry is moved without it
    ");
}

/// podman's service with a store of its own, ended with the value.
struct Engine {
    child: Child,
    socket: PathBuf,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A configuration that keeps a tool's images inside the place.
pub(crate) fn container_storage(place: &mut Place) {
    let (root, run) = (place.path("store"), place.path("run"));
    let text = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        root.display(),
        run.display()
    );
    place.write("storage.conf", &text);
    place.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    place.write("registries.conf", "");
    let path = |name: &str| place.path(name).display().to_string();
    for (name, value) in [
        ("CONTAINERS_STORAGE_CONF", path("storage.conf")),
        ("CONTAINERS_REGISTRIES_CONF", path("registries.conf")),
        ("XDG_RUNTIME_DIR", path("run")),
    ] {
        place.set(name, &value);
    }
    std::fs::create_dir_all(place.path("run")).unwrap();
}

#[test]
fn an_image_of_podmans_service_is_inspected_and_copied() {
    let Some(podman) = tool("podman") else { return };
    let mut place = Place::new();
    container_storage(&mut place);
    content(&place, "in");
    place
        .run(&[
            "image",
            "build",
            "in",
            "--output",
            "layout",
            "--name",
            "localhost/team/app:v1",
            "--entrypoint",
            "/bin/app",
        ])
        .done();
    place.run(&["image", "copy", "layout", "oci-archive:a.tar:localhost/team/app:v1"]).done();
    let podman = |arguments: &[&str]| {
        let mut command = Command::new(&podman);
        command
            .args(arguments)
            .env_clear()
            .envs(place.command().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(place.path("."));
        command
    };
    let loaded = podman(&["load", "-i", "a.tar"]).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    let socket = place.path("podman.sock");
    let child = podman(&["system", "service", "--time=0", &format!("unix://{}", socket.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let engine = Engine { child, socket };
    let begun = Instant::now();
    while std::os::unix::net::UnixStream::connect(&engine.socket).is_err() {
        assert!(begun.elapsed() < Duration::from_mins(1), "podman's service does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    place.set("DOCKER_HOST", &format!("unix://{}", engine.socket.display()));
    let source = "docker-daemon:localhost/team/app:v1";
    let found = place.run(&["image", "inspect", source, "--json"]).done().json();
    assert_eq!(found["entrypoint"], serde_json::json!(["/bin/app"]));
    let first = place.run(&["image", "copy", source, "oci:one", "--json"]).done().json();
    let second = place.run(&["image", "copy", source, "oci:two", "--json"]).done().json();
    assert_eq!(first["digest"], second["digest"], "compressing gives the same bytes each time");
    let bill = place.run(&["image", "sbom", source, "--generator", "builtin", "--json"]).done().json();
    assert_eq!(bill["sbom"]["bomFormat"], "CycloneDX");
    let missing = place.run(&["image", "inspect", "docker-daemon:localhost/none:v1"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.starts_with("error[SPX-351]: export `localhost/none:v1`: "), "{}", missing.stderr);
}
