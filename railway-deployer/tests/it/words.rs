//! Errors of `image` that named the wrong thing or had the wrong exit code.

use serde_json::json;
use sha2::Digest as _;
use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::{closed, pushed, registry},
    support::{Place, content},
};

#[test]
fn a_directory_that_is_not_there_was_an_image_without_a_command() {
    let place = Place::new();
    for further in [&[][..], &["--cmd", "/app"], &["--env", "A=b"]] {
        let refused = place.run(&[&["image", "build", "nosuch", "--output", "out"], further].concat());
        insta::allow_duplicates! {
            insta::assert_snapshot!(refused.shown(), @"
            exit 1
            --- stdout
            --- stderr
            error[SPX-300]: cannot read `nosuch`
              caused by: No such file or directory (os error 2)
            ");
        }
    }
    assert!(!place.path("out").exists());
}

#[test]
fn flags_that_make_no_sense_were_failures_of_the_build() {
    let place = Place::new();
    content(&place, "in");
    let build = |flags: &[&str]| {
        let fixed = ["image", "build", "in", "--output", "out", "--cmd", "/bin/app"];
        place.run(&[&fixed[..], flags].concat())
    };
    for (flags, said) in [
        (
            &["--expose", "80/xxx"][..],
            "'80/xxx' for '--expose <PORT>': `80/xxx` is not a port; write a number",
        ),
        (&["--expose", "0"], "'0' for '--expose <PORT>': `0` is not a port"),
        (&["--user", "a b"], "'a b' for '--user <USER>': `a b` is not a user; write USER or USER:GROUP"),
        (&["--user", "1000:"], "`1000:` is not a user"),
        (&["--user", "a:b:c"], "`a:b:c` is not a user"),
        (
            &["--platform", "linux/amd64,linux/arm64", "--platform", "linux/amd64"],
            "`--platform` names `linux/amd64` twice",
        ),
        (&["--platform", "linux/arm64,linux/arm64/v8"], "`--platform` names `linux/arm64/v8` twice"),
    ] {
        let refused = build(flags);
        assert!(refused.code == 2 && refused.stderr.contains(said), "{flags:?}: {}", refused.shown());
        assert!(!place.path("out").exists(), "{flags:?}");
    }
    for user in ["app", "65532:65532", "", "app:staff"] {
        build(&["--user", user, "--expose", "53/udp"]).done();
        let found = place.run(&["image", "inspect", "out", "--json"]).done().json();
        assert_eq!((&found["user"], &found["exposed_ports"]), (&json!(user), &json!(["53/udp"])));
        std::fs::remove_dir_all(place.path("out")).unwrap();
    }
    for (line, said) in [
        ("user = \"a b\"", "in/image.toml:1:8: `a b` is not a user"),
        (
            "platforms = [\"linux/arm64\", \"linux/arm64/v8\"]",
            "in/image.toml: `platforms` names `linux/arm64/v8` twice",
        ),
    ] {
        place.write("in/image.toml", &format!("{line}\n"));
        let refused = build(&[]);
        assert!(refused.code == 2 && refused.stderr.contains(said), "{line}: {}", refused.shown());
    }
}

#[test]
fn a_missing_attestation_was_to_be_signed() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let pinned = pushed(&place, &running);
    place.run(&["image", "keygen", "--output", "ci", "--no-password"]).done();
    let verify = |further: &[&str]| {
        let refused = place.run(&[&["image", "verify", &pinned], further].concat());
        assert_eq!(refused.code, 5, "{}", refused.shown());
        refused.stderr.rsplit_once("hint: ").unwrap().1.to_owned()
    };
    let attestation = ["--key", "ci.pub", "--attestation", "slsaprovenance1"];
    insta::assert_snapshot!(verify(&attestation), @"attest it with `railway-deployer image attest`, or see above why an attestation does not count");
    insta::assert_snapshot!(verify(&[&attestation[..], &["--required", "any"]].concat()), @"sign it with `railway-deployer image sign` and attest it with `railway-deployer image attest`, or see above why something does not count");
    insta::assert_snapshot!(verify(&attestation[..2]), @"sign it with `railway-deployer image sign`, or see above why a signature does not count");
    place.write(
        "policy.toml",
        "version = 1\n[[policy]]\nname = \"shop\"\nrepositories = [\"ghcr.io/acme/*\"]\nkeys = [{ name = \"ci\", file = \"ci.pub\" }]\n",
    );
    insta::assert_snapshot!(verify(&["--policy", "policy.toml"]), @"the file of `--policy` says which repositories its policies are about");
}

/// Such as charts and other artifacts, of which the registry has no image.
#[test]
fn a_malformed_document_was_not_named() {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let add = |bytes: &str| {
        let hash = sha2::Sha256::digest(bytes);
        let digest = spectra_types::Digest::from_bytes(spectra_types::Algorithm::Sha256, &hash).unwrap();
        place.write(&format!("chart/blobs/sha256/{}", digest.hex()), bytes);
        (digest, bytes.len())
    };
    let (config, size) = add("name: chart\n");
    let (layer, length) = add("files");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/x.chart", "digest": config, "size": size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": length }],
    });
    let (digest, length) = add(&manifest.to_string());
    place.write("chart/oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": length });
    place.write("chart/index.json", &json!({ "schemaVersion": 2, "manifests": [entry] }).to_string());
    let target = format!("{}/team/chart:v1", running.address);
    place.run(&["image", "push", "chart", &target]).done();
    insta::assert_snapshot!(place.run(&["image", "inspect", &target]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-308]: inspect `[REGISTRY]/team/chart:v1`: `[REGISTRY]` gave an answer that cannot be used: the configuration `sha256:[HEX]` of the type `application/x.chart` is malformed: expected ident at line 1 column 2
    ");
}

#[test]
fn credentials_that_were_refused_came_from_credentials() {
    let mut place = Place::new();
    let running = registry(&mut place, closed());
    let target = format!("{}/team/app:v1", running.address);
    let host = running.address.to_string();
    let refused = |place: &Place, flags: &[&str], said: &str| {
        let run = place.run_with_input(&[&["image", "inspect", &target], flags].concat(), "wr0ng-horse\n");
        assert!(
            run.code == 6 && run.stderr.contains(&format!("`{host}` refused {said} (401)")),
            "{}",
            run.shown()
        );
    };
    refused(&place, &[], "anonymous access");
    let given = format!("the credentials given for `{host}`");
    refused(&place, &["--username", "bot", "--password-stdin"], &given);
    let auths = json!({ "auths": { &host: { "username": "bot", "password": "wr0ng-horse" } } });
    place.write(".docker/config.json", &auths.to_string());
    let file = place.path(".docker/config.json");
    refused(&place, &[], &format!("the credentials from `{}`", file.display()));
    place.set("DOCKER_USERNAME", "bot");
    place.set("DOCKER_PASSWORD", "wr0ng-horse");
    place.set("DOCKER_REGISTRY", &host);
    refused(&place, &[], "the credentials from DOCKER_USERNAME and DOCKER_PASSWORD");
}
