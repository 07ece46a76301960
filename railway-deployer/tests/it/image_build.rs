//! `image build` from `image.toml`, with and without a base image.

use std::path::Path;

use serde_json::json;
use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    support::{Place, content},
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/image");

#[test]
fn the_example_is_built_for_two_platforms_and_the_same_everywhere() {
    let make = |context: &str| {
        let place = Place::new();
        let built = place
            .run(&["image", "build", context, "--output", "out", "--name", "v1", "--json"])
            .done()
            .json();
        (place, built)
    };
    let (place, built) = make(EXAMPLE);
    let platforms: Vec<&str> =
        built["images"].as_array().unwrap().iter().map(|image| image["platform"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    assert_eq!(built["media_type"], "application/vnd.oci.image.index.v1+json");
    let arm =
        place.run(&["image", "inspect", "oci:out:v1", "--platform", "linux/arm64", "--json"]).done().json();
    assert_eq!(arm["manifest_digest"], built["images"][1]["digest"]);
    assert_eq!(arm["entrypoint"], json!(["/bin/serve"]));
    assert_eq!(
        (arm["user"].as_str(), arm["exposed_ports"][0].as_str()),
        (Some("65532:65532"), Some("8080/tcp"))
    );

    // Elsewhere, copied by a tool that keeps neither times nor all permission bits.
    let elsewhere = Place::new();
    copy_tree(Path::new(EXAMPLE), &elsewhere.path("site"));
    let again = elsewhere.run(&["image", "build", "site", "--output", "out", "--json"]).done().json();
    assert_eq!(again["digest"], built["digest"]);
    assert_eq!(make(EXAMPLE).1["digest"], built["digest"]);
}

fn copy_tree(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
            continue;
        }
        std::fs::write(&target, std::fs::read(entry.path()).unwrap()).unwrap();
        let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
        let mode = if executable { 0o700 } else { 0o600 };
        std::fs::set_permissions(&target, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

#[test]
fn a_base_image_by_digest_lies_below() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    content(&place, "in");
    place.write("base/etc/os-release", "ID=base\n");
    let repository = format!("{}/team/base", running.address);
    let digest = place
        .run(&[
            "image",
            "build",
            "base",
            "--output",
            "b",
            "--entrypoint",
            "/bin/sh",
            "--env",
            "A=base",
            "--label",
            "x=base",
        ])
        .done()
        .stdout;
    place.run(&["image", "push", "b", &format!("{repository}:1")]).done();
    let pinned = format!("{repository}:1@{}", digest.trim());
    place.write(
        "app/image.toml",
        &format!("base = \"{pinned}\"\ncmd = [\"-c\", \"app\"]\nenv = {{ B = \"2\" }}\n[[files]]\nfrom = \"in\"\nto = \"/app\"\n"),
    );
    place.run(&["image", "build", ".", "--file", "app/image.toml", "--output", "out"]).done();
    insta::assert_snapshot!(place.run(&["image", "inspect", "out"]).shown(), @"
    exit 0
    --- stdout
    digest       sha256:[HEX]
    type         application/vnd.oci.image.manifest.v1+json
    platform     linux/amd64
    size         843 B
    created      1970-01-01T00:00:00Z
    entrypoint   /bin/sh
    cmd          -c app
    env          A=base
    env          B=2
    label        x=base
    layer        sha256:[HEX] 130 B
    layer        sha256:[HEX] 200 B
    --- stderr
    ");
    // Once it is in the cache, no registry is needed.
    drop(running);
    place.run(&["image", "build", ".", "--file", "app/image.toml", "--output", "again"]).done();
}

#[test]
fn each_platform_has_its_own_base() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    place.write("base/etc/os-release", "ID=base\n");
    place.write("dist/linux-amd64", "amd");
    place.write("dist/linux-arm64", "arm");
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let arguments = ["image", "build", "base", "--output", "b", "--entrypoint", "/bin/sh"];
    let digest = place.run(&[&arguments[..], &both[..]].concat()).done().stdout;
    let repository = format!("{}/team/base", running.address);
    place.run(&["image", "push", "b", &format!("{repository}:1")]).done();
    place.write(
        "image.toml",
        &format!(
            "base = \"{repository}@{}\"\nplatforms = [\"linux/amd64\", \"linux/arm64\"]\n[[files]]\nfrom = \"dist/{{platform}}\"\nto = \"/app\"\n",
            digest.trim()
        ),
    );
    let built = place.run(&["image", "build", ".", "--output", "out", "--json"]).done().json();
    let images = built["images"].as_array().unwrap();
    assert_eq!(images[0]["layers"][0], images[1]["layers"][0], "the bases have the same files");
    assert_ne!(images[0]["layers"][1], images[1]["layers"][1]);
    let arm = place.run(&["image", "inspect", "out", "--platform", "linux/arm64", "--json"]).done().json();
    assert_eq!(arm["platform"], json!({ "os": "linux", "architecture": "arm64" }));
}

#[test]
fn a_base_by_tag_is_refused_and_its_digest_named() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    content(&place, "in");
    let image = format!("{}/team/base:1", running.address);
    place.run(&["image", "build", "in", "--output", "b", "--entrypoint", "/bin/app"]).done();
    place.run(&["image", "push", "b", &image]).done();
    insta::assert_snapshot!(place.run(&["image", "build", "in", "--output", "out", "--base", &image, "--no-progress"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-302]: cannot build an image: the base image `[REGISTRY]/team/base:1` is named by a tag, which may mean another image tomorrow; name its digest: now it is `[REGISTRY]/team/base:1@sha256:[HEX]`
    ");
}

#[test]
fn what_an_image_toml_gets_wrong() {
    let place = Place::new();
    let build = |text: &str| {
        place.write("app/image.toml", text);
        place.run(&["image", "build", "app", "--output", "out"])
    };
    insta::assert_snapshot!(build("user = \"1\"\nentripoint = [\"/a\"]\n").shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-355]: app/image.toml:2:1: unknown key `entripoint`; did you mean `entrypoint`? (known here: `base`, `platforms`, `entrypoint`, `cmd`, `user`, `workdir`, `ports`, `stop_signal`, `created`, `env`, `labels`, `annotations`, `healthcheck`, `files`)
    hint: docs/cli.md describes the file
    ");
    insta::assert_snapshot!(build("cmd = [\"x\"]\n[[files]]\nfrom = \"{cpu}\"\nto = \"/\"\n").shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `{cpu}` in `{cpu}` stands for nothing; there are `{os}`, `{arch}`, `{variant}` and `{platform}` (such as `linux-arm64-v8`)
    ");
    insta::assert_snapshot!(build("cmd = [\"x\"]\n[[files]]\nfrom = \"missing\"\nto = \"/\"\n").shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-300]: cannot read `app/missing`
      caused by: No such file or directory (os error 2)
    ");
    let run = place.run(&["image", "build", "app", "--output", "out", "--stage", "x"]);
    insta::assert_snapshot!(run.shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--stage` is for a Dockerfile
    ");
    let run = place.run(&["image", "build", "app", "--output", "out", "--exclude", "x"]);
    insta::assert_snapshot!(run.shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--exclude` is for a directory; each `[[files]]` of a recipe has its own
    ");
}

#[test]
fn flags_win_over_the_file() {
    let place = Place::new();
    place.write("app/bin/run", "x");
    place.write(
        "app/image.toml",
        "entrypoint = [\"/a\"]\ncmd = [\"1\"]\nuser = \"1\"\nenv = { A = \"file\", B = \"file\" }\n[[files]]\nfrom = \"bin\"\nto = \"/bin\"\n",
    );
    place
        .run(&[
            "image",
            "build",
            "app",
            "--output",
            "out",
            "--entrypoint",
            "/b",
            "--user",
            "2",
            "--env",
            "A=flag",
            "--stop-signal",
            "SIGQUIT",
        ])
        .done();
    let found = place.run(&["image", "inspect", "out", "--json"]).done().json();
    assert_eq!(
        (&found["entrypoint"], &found["cmd"], &found["user"]),
        (&json!(["/b"]), &json!([]), &json!("2"))
    );
    assert_eq!(found["env"], json!(["A=flag", "B=file"]));
}

/// Kind, mode, user, group of every entry of the image's last layer.
fn entries(place: &Place, layout: &str) -> Vec<String> {
    let inspected = place.run(&["image", "inspect", layout, "--json"]).done().json();
    let digest =
        inspected["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap().to_owned();
    let layer = std::fs::File::open(place.path(layout).join("blobs/sha256").join(&digest[7..])).unwrap();
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(layer));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert!(entry.pax_extensions().unwrap().is_none(), "no attribute lies beside the header");
        let header = entry.header();
        let (mode, user, group) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        let names = (header.username().unwrap(), header.groupname().unwrap());
        assert!(matches!(names, (None | Some(""), None | Some(""))), "{names:?}");
        let kind = header.entry_type();
        format!("{kind:?} {} {mode:o} {user}:{group}", entry.path().unwrap().display())
    });
    entries.collect()
}

#[test]
fn bits_and_owners_of_the_machine_do_not_get_into_a_layer_unless_the_recipe_says_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    for name in ["in/su", "in/plain", "in/shared/x"] {
        place.write(name, name);
    }
    std::fs::hard_link(place.path("in/su"), place.path("in/zu")).unwrap();
    for (name, mode) in [("in/su", 0o6755), ("in/plain", 0o4644), ("in/shared", 0o3777)] {
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    // Somebody else's, where the test may give it away.
    let _ = std::os::unix::fs::chown(place.path("in/plain"), Some(1234), Some(5678));
    place.run(&["image", "build", "in", "--output", "bare", "--cmd", "/su"]).done();
    assert_eq!(
        entries(&place, "bare"),
        [
            "Regular plain 644 0:0",
            "Directory shared/ 755 0:0",
            "Regular shared/x 644 0:0",
            "Regular su 755 0:0",
            "Regular zu 755 0:0",
        ]
    );
    place.write(
        "image.toml",
        r#"cmd = ["/su"]
[[files]]
from = "in"
to = "/"
owner = "4294967294:2097152"
rules = [
  { files = ["su"], mode = "4755", owner = "0:0" },
  { files = ["shared"], mode = "1777" },
  { files = ["shared/x"], mode = "2755", owner = "7" },
]
"#,
    );
    place.run(&["image", "build", ".", "--file", "image.toml", "--output", "asked"]).done();
    assert_eq!(
        entries(&place, "asked"),
        [
            "Regular plain 644 4294967294:2097152",
            "Directory shared/ 1777 4294967294:2097152",
            "Regular shared/x 2755 7:7",
            "Regular su 4755 0:0",
            "Regular zu 755 4294967294:2097152",
        ]
    );
}

#[test]
fn the_output_is_left_out_of_its_own_context() {
    let mut place = Place::new();
    content(&place, "in");
    // Set, and set to nothing: as good as not set.
    place.set("SOURCE_DATE_EPOCH", "");
    let build = || {
        place
            .run(&["image", "build", "in", "--output", "in/out/layout", "--cmd", "/bin/app", "--no-progress"])
            .done()
    };
    let first = build();
    assert!(!first.stderr.contains("left out"), "{}", first.stderr);
    for _ in 0..2 {
        let again = build();
        assert_eq!(again.stdout, first.stdout);
        assert_eq!(
            again
                .stderr
                .matches("/in/out/layout` is what builds write, and was left out of the image")
                .count(),
            1,
            "{}",
            again.stderr
        );
    }
}

#[test]
fn what_was_built_into_a_layout_is_not_compressed_again() {
    let mut place = Place::new();
    content(&place, "in");
    let build = |place: &Place, more: &[&str]| {
        let arguments = ["image", "build", "in", "--output", "layout", "--entrypoint", "/bin/app", "--json"];
        let built = place.run(&[&arguments[..], more].concat()).done().json();
        (built["digest"].as_str().unwrap().to_owned(), built["reused_layers"].as_u64().unwrap())
    };
    let (digest, reused) = build(&place, &[]);
    assert_eq!(reused, 0);
    for more in [&[][..], &["--trust-cache"]] {
        assert_eq!(build(&place, more), (digest.clone(), 1), "{more:?}");
    }
    for more in [&["--no-notes"][..], &["--cache-dir", "elsewhere"]] {
        assert_eq!(build(&place, more), (digest.clone(), 0), "{more:?}");
    }
    assert_eq!(build(&place, &["--cache-dir", "elsewhere"]), (digest.clone(), 1));
    place.set("SPECTRA_NO_CACHE", "1");
    assert_eq!(build(&place, &[]), (digest, 0), "as for every command");
}

#[test]
fn a_recipe_took_files_from_anywhere_on_the_machine() {
    let place = Place::new();
    place.write("app/bin/app", "program");
    place.write("app/ignore", "*.map\n");
    place.write("home/key", "secret");
    std::os::unix::fs::symlink("../home", place.path("app/cfg")).unwrap();
    std::os::unix::fs::symlink("bin", place.path("app/programs")).unwrap();
    std::os::unix::fs::symlink("../home/key", place.path("app/patterns")).unwrap();
    let build = |files: &str| {
        place.write("app/image.toml", &format!("entrypoint = [\"/app\"]\n[[files]]\nto = \"/\"\n{files}\n"));
        place.run(&["image", "build", "app", "--output", "layout"])
    };
    for (files, why) in [
        ("from = \"/etc/hostname\"", "`from = \"/etc/hostname\"` is an absolute path"),
        ("from = \"../home\"", "`from = \"../home\"` leads out of it"),
        ("from = \"bin/../../home\"", "`from = \"bin/../../home\"` leads out of it"),
        ("from = \"cfg\"", "`from = \"cfg\"` leads through a link to `"),
        ("from = \"cfg/key\"", "`from = \"cfg/key\"` leads through a link to `"),
        (
            "from = \"bin\"\nexclude_from = \"../home/key\"",
            "`exclude_from = \"../home/key\"` leads out of it",
        ),
        (
            "from = \"bin\"\nexclude_from = \"patterns\"",
            "`exclude_from = \"patterns\"` leads through a link to `",
        ),
    ] {
        let run = build(files);
        let said = format!("error[SPX-355]: app/image.toml: `[[files]]` number 1: {why}");
        assert!(run.code == 2 && run.stderr.contains(&said), "{files}: {}", run.stderr);
        assert!(run.stderr.contains("`--layer DIRECTORY:TARGET`") && !place.path("layout").exists());
    }
    for files in [
        "from = \".\"",
        "from = \"bin\"",
        "from = \"bin/../bin\"",
        "from = \"programs\"",
        "from = \"bin\"\nexclude_from = \"ignore\"",
    ] {
        assert_eq!(build(files).code, 0, "{files}");
    }
    // What a user types is the user's.
    place.run(&["image", "build", "app", "--output", "layout", "--layer", "home:/home"]).done();
}
