//! `image build` from a Dockerfile: what docker, buildah and podman are told, by programs that check it, and a real buildah.

use std::{
    io::Read as _,
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    image_copy::container_storage,
    support::{Place, content, tool},
};

/// What every fake begins with: it writes down its arguments, one a line, and ends with 64 at a call that it does not know.
const RECORD: &str = r#"
for argument in "$@"; do printf '%s\n' "$argument"; done >> "$HOME/calls"
echo -- >> "$HOME/calls"
unknown() { echo "not a call of this tool: $*" >&2; exit 64; }
value_of() { flag=$1; shift; while [ $# -gt 0 ]; do if [ "$1" = "$flag" ]; then printf '%s' "$2"; return; fi; shift; done; }
"#;

const DOCKER: &str = r##"
case "$1 $2" in
"buildx version") echo "github.com/docker/buildx v0.20" ;;
"buildx build")
  output=$(value_of --output "$@")
  case "$output" in type=oci,dest=*) ;; *) unknown "$@" ;; esac
  [ -n "$NPM_TOKEN" ] || unknown "without the secret's variable"
  echo "#1 building with $NPM_TOKEN" >&2
  output=${output#type=oci,dest=}
  cp "$HOME/prepared.tar" "${output%%,*}" ;;
*) unknown "$@" ;;
esac
"##;

const BUILDAH: &str = r#"
case "$1" in
build)
  echo "STEP 1/1: FROM scratch"
  case "$*" in *--no-cache*) rm -rf "$HOME/stale" ;; esac
  id=$(value_of --iidfile "$@")
  if [ -n "$id" ]; then printf 'sha256:1234' > "$id"; else [ -n "$(value_of --manifest "$@")" ] || unknown "$@"; fi ;;
push)
  [ "$2" = sha256:1234 ] || unknown "$@"
  target=${3#oci:}; cp -r "$HOME/layout" "${target%:image}" ;;
manifest)
  case "$2" in
  push)
    [ "$3" = --all ] || unknown "$@"
    from=$HOME/layout; [ ! -d "$HOME/stale" ] || from=$HOME/stale
    target=${5#oci:}; cp -r "$from" "${target%:image}" ;;
  rm) ;;
  *) unknown "$@" ;;
  esac ;;
*) unknown "$@" ;;
esac
"#;

const BOTH: [&str; 5] = ["image", "build", "in", "--platform", "linux/amd64,linux/arm64"];

/// A place with a Dockerfile, an image that the fakes hand over, and nothing else on PATH but a shell's tools.
fn place() -> (Place, String) {
    let mut place = Place::new();
    content(&place, "in");
    let built = place.run(&[&BOTH[..], &["--output", "layout", "--entrypoint", "/bin/app"]].concat()).done();
    place.run(&["image", "copy", "layout", "oci-archive:prepared.tar"]).done();
    place.write("app/Dockerfile", "FROM scratch\nCOPY . /\n");
    std::fs::create_dir_all(place.path("tmp")).unwrap();
    place.set("TMPDIR", &place.path("tmp").display().to_string());
    for tool in ["cp", "echo", "printf", "rm", "sleep"] {
        let path = ["/usr/bin", "/bin"].iter().map(|directory| format!("{directory}/{tool}"));
        let path = path.into_iter().find(|path| std::path::Path::new(path).exists()).unwrap();
        place.program(tool, &format!("exec {path} \"$@\""));
    }
    place.set("PATH", &place.path("bin").display().to_string());
    (place, built.stdout.trim().to_owned())
}

/// What the fakes were called with, a line a call, without what differs from run to run.
fn calls(place: &Place) -> String {
    let text = std::fs::read_to_string(place.path("calls")).unwrap_or_default();
    let text = text.replace(place.path("").to_str().unwrap().trim_end_matches('/'), "[DIR]");
    let calls: Vec<String> = text
        .split("--\n")
        .map(|call| {
            let words: Vec<String> = call.lines().map(clean).collect();
            words.join(" ")
        })
        .collect();
    calls.join("\n")
}

fn clean(word: &str) -> String {
    let Some((before, after)) = word.split_once("spectra-build-") else { return word.to_owned() };
    format!("{before}spectra-build-[X]{}", &after[6..])
}

const EVERYTHING: [&str; 24] = [
    "image",
    "build",
    "app",
    "--output",
    "out",
    "--build-arg",
    "VERSION=1",
    "--build-arg",
    "FROM_ENVIRONMENT",
    "--stage",
    "runtime",
    "--secret",
    "id=npm,env=NPM_TOKEN",
    "--label",
    "team=blue",
    "--platform",
    "linux/arm64",
    "--no-cache",
    "--pull",
    "--cache-from",
    "type=gha",
    "--created",
    "7",
    "--json",
];

#[test]
fn docker_is_told_everything_but_the_secret() {
    let (mut place, digest) = place();
    place.program("docker", &format!("{RECORD}{DOCKER}"));
    place.program("buildah", "exit 64");
    place.set("NPM_TOKEN", "canary-token-7");
    let run = place.run(&EVERYTHING).done();
    assert_eq!(
        (run.json()["digest"].as_str(), run.json()["builder"].as_str()),
        (Some(digest.as_str()), Some("docker"))
    );
    assert!(run.stderr.contains("#1 building with [redacted]"), "{}", run.stderr);
    insta::assert_snapshot!(calls(&place), @"
    buildx version
    buildx build --progress plain --provenance=false --sbom=false --output type=oci,dest=[DIR]/tmp/spectra-build-[X]/image.tar,rewrite-timestamp=true --file [DIR]/app/Dockerfile --platform linux/arm64 --build-arg VERSION=1 --build-arg FROM_ENVIRONMENT --label team=blue --target runtime --secret id=npm,env=NPM_TOKEN --no-cache --pull --cache-from type=gha [DIR]/app
    ");
    assert!(!calls(&place).contains("canary"));
    let left = std::fs::read_dir(place.path("tmp")).unwrap().count();
    assert_eq!(left, 0, "the tool's output is gone");
    let found = place.run(&["image", "inspect", "out", "--json"]).done().json();
    assert_eq!(found["digest"], digest.as_str());
}

#[test]
fn buildah_and_podman_push_what_they_built_into_a_layout() {
    for tool in ["buildah", "podman"] {
        let (mut place, digest) = place();
        place.program(tool, &format!("{RECORD}{BUILDAH}"));
        // A docker without buildx is passed over.
        place.program("docker", "exit 1");
        place.set("NPM_TOKEN", "canary-token-7");
        let run = place.run(&EVERYTHING).done();
        assert_eq!(
            (run.json()["digest"].as_str(), run.json()["builder"].as_str()),
            (Some(digest.as_str()), Some(tool))
        );
        assert!(run.stderr.contains("STEP 1/1: FROM scratch"), "{}", run.stderr);
        insta::allow_duplicates! {
            insta::assert_snapshot!(calls(&place), @"
            build --format oci --layers --iidfile [DIR]/tmp/spectra-build-[X]/id --timestamp 7 --file [DIR]/app/Dockerfile --platform linux/arm64 --build-arg VERSION=1 --build-arg FROM_ENVIRONMENT --label team=blue --target runtime --secret id=npm,env=NPM_TOKEN --no-cache --pull=always --cache-from type=gha [DIR]/app
            push sha256:1234 oci:[DIR]/tmp/spectra-build-[X]/layout:image
            ");
        }
    }
}

#[test]
fn several_platforms_are_a_list_that_is_removed_again() {
    let (place, digest) = place();
    place.program("buildah", &format!("{RECORD}{BUILDAH}"));
    let run = place.run(&[
        "image",
        "build",
        "app",
        "--output",
        "out",
        "--platform",
        "linux/amd64,linux/arm64",
        "--isolation",
        "chroot",
    ]);
    assert_eq!(run.done().stdout.trim(), digest);
    insta::assert_snapshot!(calls(&place), @"
    build --format oci --layers --manifest localhost/spectra-build-[X] --isolation chroot --file [DIR]/app/Dockerfile --platform linux/amd64,linux/arm64 [DIR]/app
    manifest push --all localhost/spectra-build-[X] oci:[DIR]/tmp/spectra-build-[X]/layout:image
    manifest rm localhost/spectra-build-[X]
    ");
}

#[test]
fn buildah_1_28_cached_steps_of_another_platform_are_built_again() {
    let (place, digest) = place();
    place.run(&["image", "build", "in", "--output", "stale", "--cmd", "/x"]).done();
    place.program("buildah", &format!("{RECORD}{BUILDAH}"));
    let arguments = ["image", "build", "app", "--output", "out", "--platform", "linux/amd64,linux/arm64"];
    let run = place.run(&arguments).done();
    assert_eq!(run.stdout.trim(), digest);
    assert!(run.stderr.contains("built nothing for `linux/arm64`, as old versions do"), "{}", run.stderr);
    // Without the platform on a second run too, it is an error.
    let run = place.run(&[
        "image",
        "build",
        "app",
        "--output",
        "other",
        "--platform",
        "linux/amd64,linux/s390x",
        "--no-progress",
    ]);
    assert_eq!(run.code, 1);
    insta::assert_snapshot!(run.stderr.replace(|c: char| c.is_ascii_digit(), "N"), @"
    `buildah` built nothing for `linux/sNNNx`, as old versions do that take cached steps of another platform; building again without the cache
    error[SPX-NNN]: `buildah` built no image for `linux/sNNNx`
    hint: check that its base images exist for the platform; no image was written
    ");
}

#[test]
fn a_builder_is_told_the_default_platform() {
    let (place, _) = place();
    place.program("buildah", &format!("{RECORD}{BUILDAH}"));
    place.run(&["image", "build", "app", "--output", "out"]).done();
    assert!(calls(&place).contains(" --platform linux/amd64 "), "{}", calls(&place));
}

#[test]
fn a_dockerfile_that_nothing_can_build() {
    let (place, _) = place();
    let build = |more: &[&str]| place.run(&[&["image", "build", "app", "--output", "out"], more].concat());
    insta::assert_snapshot!(build(&[]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-353]: no builder for Dockerfiles is on PATH: neither docker with buildx, nor buildah, nor podman
    hint: install one: `apt-get install buildah`, `apt-get install podman`, or Docker with docker-buildx-plugin; an `image.toml` needs none
    ");
    insta::assert_snapshot!(build(&["--builder", "podman"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-353]: `podman` is not on PATH
    hint: install one: `apt-get install buildah`, `apt-get install podman`, or Docker with docker-buildx-plugin; an `image.toml` needs none
    ");
    insta::assert_snapshot!(build(&["--env", "A=b"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--env` is for an image.toml or a directory; a Dockerfile says it itself
    ");
    // More output than is repeated, before and after the reason.
    place.program(
        "buildah",
        "n() { i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; }; echo first; n; echo 'step 2: boom' >&2; n; exit 3",
    );
    let failed = build(&["--no-progress"]);
    assert_eq!(failed.code, 1);
    assert!(
        failed.stderr.starts_with("error[SPX-354]: `buildah build` failed (exit status: 3); it said:\n  "),
        "{}",
        failed.stderr
    );
    assert!(
        failed.stderr.contains("step 2: boom")
            && failed.stderr.contains("line 30")
            && !failed.stderr.contains("first")
    );
    let secret = build(&["--secret", "id=npm,env=NOT_SET"]);
    insta::assert_snapshot!(secret.shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: the secret `npm` is to come from the variable `NOT_SET`, which is not set
    ");
}

#[test]
fn a_login_and_a_cache_that_a_builder_is_not_told_of_are_refused() {
    let (mut place, digest) = place();
    place.program("buildah", &format!("{RECORD}{BUILDAH}"));
    let build = |place: &Place, more: &[&str]| {
        place.run_with_input(&[&["image", "build", "app", "--output", "out"], more].concat(), "hunter2\n")
    };
    insta::assert_snapshot!(build(&place, &["--username", "bot", "--password-stdin"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--username` is for the registry of a recipe's base image; a Dockerfile may name images of any registry, and its builder has its own logins: `docker login`, `buildah login` or `podman login`
    ");
    insta::assert_snapshot!(build(&place, &["--base-cache", "here"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--base-cache` is where base images of recipes are kept; a Dockerfile's builder has its own store
    ");
    insta::assert_snapshot!(build(&place, &["--trust-cache"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--trust-cache` is about layers that are compressed here; those of a Dockerfile are its builder's, with `--no-cache`, `--cache-from` and `--cache-to`
    ");
    assert_eq!(calls(&place), "", "nothing was built");
    assert!(!place.path("out").exists() && !place.path("here").exists());

    // Set for the whole job, for its pushes.
    place.set("SPECTRA_REGISTRY_USERNAME", "bot");
    place.set("SPECTRA_REGISTRY_PASSWORD", "hunter2");
    place.set("SPECTRA_BASE_CACHE", "here");
    place.set("SPECTRA_CACHE_DIR", "here");
    let run = build(&place, &["--no-progress"]).done();
    assert_eq!(run.stdout.trim(), digest);
    assert!(
        run.stderr.starts_with("SPECTRA_REGISTRY_USERNAME is not used: it is for the "),
        "{}",
        run.stderr
    );
    assert!(!calls(&place).contains("hunter2") && !run.stderr.contains("hunter2"));
}

#[test]
fn no_line_of_a_key_is_shown() {
    let (place, _) = place();
    place.write(
        "key.pem",
        "-----BEGIN PRIVATE KEY-----\ncanaryAAAAAAAAAA1\ncanaryBBBBBBBBBB2\n-----END PRIVATE KEY-----\n",
    );
    place.program("cat", "exec /bin/cat \"$@\"");
    place.program(
        "buildah",
        "for a in \"$@\"; do case $a in id=*src=*) f=${a##*src=};; esac; done; cat \"$f\"; cat \"$f\" >&2; exit 3",
    );
    let run = place.run(&["image", "build", "app", "--output", "out", "--secret", "id=k,src=key.pem"]);
    assert_eq!(run.code, 1);
    assert!(!run.stderr.contains("canary") && !run.stdout.contains("canary"), "{}", run.stderr);
    assert_eq!(
        run.stderr.matches("[redacted]").count(),
        8,
        "on both streams and in the error: {}",
        run.stderr
    );
}

#[test]
fn an_interrupted_build_ends_its_tool() {
    let (place, _) = place();
    place.program(
        "buildah",
        "trap 'echo ended > \"$HOME/ended\"; exit 143' TERM\nsleep 600 &\necho $! > \"$HOME/child\"\necho started > \"$HOME/started\"\nwait",
    );
    let mut child = place
        .command()
        .args(["image", "build", "app", "--output", "out"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !place.path("started").exists() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the tool is not started");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(place.path("ended").exists(), "the tool was asked, and could clean up");
    let grandchild: i32 = std::fs::read_to_string(place.path("child")).unwrap().trim().parse().unwrap();
    let grandchild = rustix::process::Pid::from_raw(grandchild).unwrap();
    let begun = Instant::now();
    while alive(grandchild) {
        assert!(begun.elapsed() < Duration::from_secs(10), "what the tool had started lives on");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.ends_with("error: interrupted\n"), "{said}");
}

/// Whether a process runs; one that has ended and was not asked about yet does not.
fn alive(pid: rustix::process::Pid) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

#[test]
fn a_real_buildah_builds_into_a_layout() {
    let Some(buildah) = tool("buildah") else { return };
    let mut place = Place::new();
    place.link(&buildah);
    container_storage(&mut place);
    place.write(
        "app/Dockerfile",
        "FROM scratch\nARG VERSION\nLABEL version=$VERSION\nCOPY motd /etc/motd\nENTRYPOINT [\"/bin/app\"]\n",
    );
    place.write("app/motd", "welcome\n");
    let run = place.run(&[
        "image",
        "build",
        "app",
        "--output",
        "out",
        "--name",
        "v1",
        "--builder",
        "buildah",
        "--isolation",
        "chroot",
        "--build-arg",
        "VERSION=7",
        "--label",
        "team=blue",
        "--created",
        "0",
        "--json",
    ]);
    let built = run.done().json();
    let found = place.run(&["image", "inspect", "oci:out:v1", "--json"]).done().json();
    assert_eq!(found["digest"], built["digest"]);
    assert_eq!(
        (found["labels"]["version"].as_str(), found["labels"]["team"].as_str()),
        (Some("7"), Some("blue"))
    );
    assert_eq!(found["created"], "1970-01-01T00:00:00Z");
    let arm8 =
        ["--output", "arm8", "--platform", "linux/arm64/v8", "--builder", "buildah", "--isolation", "chroot"];
    let run = place.run(&[&["image", "build", "app"], &arm8[..]].concat()).done();
    assert!(!run.stderr.contains("again without the cache"), "it is `linux/arm64`: {}", run.stderr);
    let both = ["--platform", "linux/amd64,linux/arm64", "--builder", "buildah", "--isolation", "chroot"];
    place.run(&[&["image", "build", "app", "--output", "both"], &both[..]].concat()).done();
    let arm = place.run(&["image", "inspect", "both", "--platform", "linux/arm64", "--json"]).done().json();
    assert_eq!(arm["platforms"].as_array().unwrap().len(), 2);
}
