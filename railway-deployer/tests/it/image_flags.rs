//! Flags of several `image` commands, and their variables, which may be meant for other commands of the same job.

use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::registry,
    image_copy::saved_by_containerd,
    support::{Place, content},
};

fn build(place: &Place, platforms: &str) -> String {
    content(place, "in");
    let arguments =
        ["image", "build", "in", "--output", "layout", "--name", "v1", "--entrypoint", "/bin/app"];
    place.run(&[&arguments[..], &["--platform", platforms]].concat()).done().stdout.trim().to_owned()
}

/// The text of the error says `--platform`, which had no effect on it or was not there.
#[test]
fn no_platform_could_be_chosen_of_an_archive_in_parts() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    build(&place, "linux/amd64,linux/arm64,linux/s390x");
    let manifest = |platform: &str| {
        let found =
            place.run(&["image", "inspect", "layout", "--platform", platform, "--json"]).done().json();
        found["manifest_digest"].as_str().unwrap().to_owned()
    };
    let (amd, arm, other) = (manifest("linux/amd64"), manifest("linux/arm64"), manifest("linux/s390x"));
    let target = format!("{}/team/app:v1", running.address);
    saved_by_containerd(&place, "two.tar", &[&amd]);
    for (platform, digest) in [("linux/arm64", &arm), ("linux/s390x", &other)] {
        let found = place
            .run(&["image", "inspect", "oci-archive:two.tar", "--platform", platform, "--json"])
            .done()
            .json();
        assert_eq!(found["manifest_digest"], digest.as_str());
        let pushed =
            place.run(&["image", "push", "oci-archive:two.tar", &target, "--platform", platform]).done();
        assert_eq!(pushed.stdout.trim(), digest);
    }
    assert_eq!(place.run(&["image", "push", "oci-archive:two.tar", &target]).code, 1);
    // The one that is there is not the one that was asked for.
    saved_by_containerd(&place, "one.tar", &[&amd, &other]);
    for arguments in
        [&["image", "push", "oci-archive:one.tar", &target][..], &["image", "inspect", "oci-archive:one.tar"]]
    {
        let refused = place.run(&[arguments, &["--platform", "linux/s390x"]].concat());
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("there is no image for `linux/s390x`, but for `linux/arm64`"),
            "{}",
            refused.stderr
        );
    }
    let found =
        place.run(&["image", "inspect", "layout", "--platform", "linux/arm64", "--json"]).done().json();
    assert_eq!(found["platforms"].as_array().unwrap().len(), 3);
    let several = ["image", "push", "layout", &target, "--platform", "linux/arm64,linux/amd64"];
    assert_eq!(place.run(&several).code, 2);
}

#[test]
fn a_platform_to_push_was_not_taken_out_of_a_whole_index() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let index = build(&place, "linux/amd64,linux/arm64");
    let target = format!("{}/team/app:v1", running.address);
    let push = |place: &Place, further: &[&str]| {
        place.run(&[&["image", "push", "layout", &target, "--no-progress"], further].concat())
    };
    let inspected = |place: &Place, further: &[&str]| {
        place.run(&[&["image", "inspect", &target, "--json"], further].concat()).done().json()
    };
    // One that is not there leaves the tag as it is: there is none.
    let absent = push(&place, &["--platform", "linux/s390x"]);
    assert_eq!((absent.code, absent.stdout.as_str()), (1, ""), "{}", absent.stderr);
    assert!(
        absent.stderr.contains("there is no image for `linux/s390x`, but for `linux/amd64`"),
        "{}",
        absent.stderr
    );
    assert_eq!(place.run(&["image", "inspect", &target]).code, 1);

    let one = push(&place, &["--platform", "linux/arm64"]).done();
    let found = inspected(&place, &["--platform", "linux/arm64"]);
    assert_eq!(found["digest"], one.stdout.trim());
    assert_eq!(found["media_type"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(found["platform"]["architecture"], "arm64");
    let copied =
        place.run(&["image", "copy", "oci:layout", "oci:copied", "--platform", "linux/arm64"]).done();
    assert_eq!(copied.stdout, one.stdout, "as `image copy` does it");

    // The variable may be meant for `image build`; what is typed is not, also beside one.
    for variable in ["linux/arm64", "linux/amd64,linux/arm64"] {
        place.set("SPECTRA_PLATFORM", variable);
        let whole = push(&place, &[]).done();
        assert_eq!(whole.stdout.trim(), index);
        let said =
            whole.stderr.contains("SPECTRA_PLATFORM is not used: an index is pushed with all its platforms");
        assert_eq!(said, !variable.contains(','), "{}", whole.stderr);
        let amd = push(&place, &["--platform", "linux/amd64"]).done();
        assert_ne!(amd.stdout.trim(), index);
        assert!(amd.stderr.contains(", the image for linux/amd64 alone is pushed"), "{}", amd.stderr);
    }
}

#[test]
fn variables_for_other_commands_of_a_job_made_image_commands_fail() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let digest = build(&place, "linux/amd64,linux/arm64");
    let image = format!("docker://{}/team/app:v1", running.address);
    let target = &image["docker://".len()..];
    place.run(&["image", "push", "layout", target]).done();
    // On the command line they are mistakes.
    assert_eq!(place.run(&["image", "inspect", &image, "--name", "v1"]).code, 2);
    assert_eq!(place.run(&["image", "inspect", "oci:layout:v1", "--name", "v2"]).code, 2);
    assert_eq!(place.run(&["image", "copy", &image, "oci:out", "--referrers"]).code, 2);

    place.set("SPECTRA_NAME", "v2");
    place.set("SPECTRA_REFERRERS", "1");
    place.run(&["image", "inspect", &image]).done();
    place.run(&["image", "inspect", "oci:layout:v1"]).done();
    assert_eq!(place.run(&["image", "inspect", "oci:layout"]).code, 1, "it counts where a name is needed");
    let copied = place.run(&["image", "copy", &image, "oci:out", "--json"]).done().json();
    assert_eq!(copied["digest"], digest.as_str());

    place.set("SPECTRA_PLATFORM", "linux/amd64,linux/arm64");
    let pushed = place.run(&["image", "push", "oci:layout:v1", target]).done();
    assert_eq!(pushed.stdout.trim(), digest);
    insta::assert_snapshot!(place.run(&["image", "inspect", &image]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: invalid value 'linux/amd64,linux/arm64' for '--platform <PLATFORM>': SPECTRA_PLATFORM says so, and one platform is wanted here; give one as `--platform linux/amd64`, which counts before the variable

    For more information, try '--help'.
    ");
    place.run(&["image", "inspect", &image, "--platform", "linux/arm64"]).done();
}

#[test]
fn flags_for_a_registry_had_no_effect_where_none_is_met() {
    let mut place = Place::new();
    build(&place, "linux/amd64");
    let commands: [&[&str]; 5] = [
        &["image", "inspect", "oci:layout:v1"],
        &["image", "copy", "oci:layout:v1", "oci:out"],
        &["image", "copy", "oci:layout:v1", "oci-archive:out.tar", "--force"],
        &["image", "sbom", "oci:layout:v1", "--generator", "builtin"],
        &["image", "build", "in", "--output", "built", "--cmd", "/bin/app"],
    ];
    for command in commands {
        for flags in [
            &["--plain-http", "registry:5000"][..],
            &["--tls", "localhost:5000"],
            &["--username", "somebody", "--password-stdin"],
        ] {
            let run = place.run_with_input(&[command, flags].concat(), "password\n");
            let said =
                format!("error: `{}` is for registries, and there is none here; leave it out\n", flags[0]);
            assert!(run.code == 2 && run.stderr.contains(&said), "{command:?} {flags:?}: {}", run.shown());
        }
    }
    assert!(!place.path("out").exists() && !place.path("out.tar").exists() && !place.path("built").exists());
    for (variable, value) in [
        ("SPECTRA_PLAIN_HTTP", "registry:5000"),
        ("SPECTRA_TLS", "localhost:5000"),
        ("SPECTRA_REGISTRY_USERNAME", "somebody"),
        ("SPECTRA_REGISTRY_PASSWORD", "password-of-somebody"),
    ] {
        place.set(variable, value);
    }
    for command in commands {
        place.run(command).done();
    }
}
