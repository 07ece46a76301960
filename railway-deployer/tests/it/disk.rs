//! Disks that are too small, as file systems in memory that a process of ours alone sees.

use sha2::Digest as _;
use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    image_copy::docker_archive,
    support::{Place, Run, tool},
};

/// Runs the program with a disk of `size` bytes at `tmp`, where temporary files go.
fn run(place: &mut Place, size: usize, arguments: &[&str]) -> Run {
    std::fs::create_dir_all(place.path("tmp")).unwrap();
    place.set("TMPDIR", &place.path("tmp").display().to_string());
    let script = format!("mount -t tmpfs -o size={size} none tmp && exec \"$0\" \"$@\"");
    let program = env!("CARGO_BIN_EXE_railway-deployer");
    place.run_other(
        "unshare",
        &[&["--map-root-user", "--mount", "sh", "-c", &script, program], arguments].concat(),
    )
}

/// Whether a process may have disks of its own; a machine where it may not is said, or an error if it has to.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn have_disks(place: &Place) -> bool {
    if tool("unshare").is_none() {
        return false;
    }
    let tried =
        place.run_other("unshare", &["--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    let required = std::env::var("SPECTRA_REQUIRE_UNSHARE").is_ok_and(|value| value == "1");
    assert!(tried.code == 0 || !required, "SPECTRA_REQUIRE_UNSHARE=1, and {}", tried.stderr);
    if tried.code != 0 {
        eprintln!("skipped: this machine lets no process have disks of its own: {}", tried.stderr);
    }
    tried.code == 0
}

fn noise(length: usize) -> Vec<u8> {
    let mut hash = sha2::Sha256::digest(b"noise");
    let mut noise = Vec::new();
    while noise.len() < length {
        noise.extend_from_slice(&hash);
        hash = sha2::Sha256::digest(hash);
    }
    noise.truncate(length);
    noise
}

#[test]
fn a_layer_that_cannot_fit_is_refused_before_it_is_begun() {
    let mut place = Place::new();
    if !have_disks(&place) {
        return;
    }
    let running = registry(&mut place, RegistryAuth::Anonymous);
    docker_archive(&place.path("app.tar"), &noise(8 << 20));
    let target = format!("{}/team/app:v1", running.address);
    let pushed = run(&mut place, 256 << 10, &["image", "push", "app.tar", &target, "--no-progress"]);
    insta::assert_snapshot!(pushed.shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-321]: cannot compress layer 1 of `app.tar`, which has 8388608 bytes: `[DIR]/tmp` has 262144 bytes free, and at least 1048576 are needed
    hint: free some space there, or set TMPDIR to a folder with more; `image push` and `image copy` keep less there at once with `--spool-limit`
    ");
    // Into a layout, nothing is temporary but what becomes a part of it.
    run(&mut place, 256 << 10, &["image", "copy", "docker-archive:app.tar", "oci:layout"]).done();
    place.run(&["image", "push", "layout", &target]).done();
    let read =
        run(&mut place, 256 << 10, &["image", "copy", &target, "oci-archive:out.tar", "--no-progress"]);
    assert_eq!(read.code, 1);
    assert!(read.stderr.starts_with("error[SPX-321]: cannot download `"), "{}", read.stderr);
    assert!(read.stderr.contains("set TMPDIR") && !read.stderr.contains("--spool-limit"), "{}", read.stderr);
    assert!(!place.path("out.tar").exists());
}

#[test]
fn room_at_the_destination_was_looked_at_when_all_was_downloaded() {
    let mut place = Place::new();
    if !have_disks(&place) {
        return;
    }
    let running = registry(&mut place, RegistryAuth::Anonymous);
    docker_archive(&place.path("app.tar"), &noise(1 << 20));
    let target = format!("{}/team/app:v1", running.address);
    place.run(&["image", "push", "app.tar", &target]).done();
    std::fs::create_dir(place.path("tmp")).unwrap();
    place.set("TMPDIR", &place.path("tmp").display().to_string());
    let small = |destination: &str| {
        let script = "mount -t tmpfs -o size=256k none small && \"$0\" image copy \"$1\" \"$2\"; code=$?; find small -mindepth 1; exit $code";
        let program = env!("CARGO_BIN_EXE_railway-deployer");
        let wrapped = ["--map-root-user", "--mount", "sh", "-c", script, program, &target, destination];
        place.run_other("unshare", &wrapped)
    };
    std::fs::create_dir(place.path("small")).unwrap();
    for (destination, what) in [
        ("oci-archive:small/a.tar", "write `small/a.tar`: `small`"),
        ("oci:small/out", "write the layout `small/out`: `small`"),
    ] {
        let run = small(destination);
        assert_eq!(run.code, 1, "{}", run.stderr);
        assert!(
            run.stderr
                .contains(&format!("error[SPX-321]: cannot {what} has 262144 bytes free, and at least ")),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("downloaded"), "{}", run.stderr);
        assert_eq!(run.stdout, "", "nothing is left there");
    }
}

#[test]
fn a_disk_that_fills_up_is_named() {
    let mut place = Place::new();
    if !have_disks(&place) {
        return;
    }
    let running = registry(&mut place, RegistryAuth::Anonymous);
    docker_archive(&place.path("app.tar"), &noise(1 << 20));
    let target = format!("{}/team/app:v1", running.address);
    let pushed = run(&mut place, 256 << 10, &["image", "push", "app.tar", &target, "--no-progress"]);
    assert_eq!(pushed.code, 1, "{}", pushed.stderr);
    let shown = pushed.shown().to_owned();
    assert!(shown.contains("error[SPX-321]: cannot compress a layer into `[DIR]/tmp`: "), "{shown}");
    assert!(shown.contains("`: `[DIR]/tmp` is full; up to 1048576 bytes are needed"), "{shown}");
    assert!(shown.contains("No space left on device") && shown.contains("set TMPDIR"), "{shown}");
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());

    // What is built goes into the layout, and the error names that.
    place.write("in/app", "x");
    std::fs::write(place.path("in/data"), noise(1 << 20)).unwrap();
    let built = run(
        &mut place,
        256 << 10,
        &["image", "build", "in", "--output", "tmp/layout", "--cmd", "/app", "--no-progress"],
    );
    assert_eq!(built.code, 1, "{}", built.stderr);
    let shown = built.shown();
    let folder = "tmp/layout/blobs/sha256";
    let expected = format!(
        "error[SPX-321]: cannot write the layer to `{folder}`: `{folder}` is full; up to 1048577 bytes are needed"
    );
    assert!(shown.contains(&expected), "{shown}");
    assert!(shown.contains("or write to another place"), "{shown}");
}

/// Each compressed layer was an open file, up to 400 of them, whatever the process may open.
#[test]
fn more_layers_than_a_process_may_have_files_open() {
    let place = Place::new();
    let layers: Vec<Vec<u8>> = (0..300).map(|number| noise(100 + number)).collect();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
    let diff_ids = layers.iter().map(|layer| {
        let hash = sha2::Sha256::digest(layer);
        spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap()
    });
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
    });
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["app:1"], "Layers": names }]);
    let mut builder = tar::Builder::new(std::fs::File::create(place.path("app.tar")).unwrap());
    let (config, manifest) = (config.to_string().into_bytes(), manifest.to_string().into_bytes());
    let documents = [("c.json", &config), ("manifest.json", &manifest)];
    for (name, bytes) in names.iter().map(String::as_str).zip(&layers).chain(documents) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap();
    let program = env!("CARGO_BIN_EXE_railway-deployer");
    for target in ["oci-archive:out.tar", "oci:layout"] {
        let script = "ulimit -n 256 && exec \"$0\" \"$@\"";
        let arguments = ["-c", script, program, "image", "copy", "docker-archive:app.tar", target];
        place.run_other("sh", &arguments).done();
    }
}
