//! `image keygen`, `sign`, `verify`, `attest`, end to end against the sandbox's registry; and against the real cosign, where
//! there is one.

use std::{path::PathBuf, process::Command};

use spectra_sandbox::registry::RegistryAuth;

use crate::{
    image::{Running, pushed, registry},
    support::{Place, tool},
};

const PASSWORD: &str = "correct-horse-battery";
pub(crate) const PROVENANCE: &str = r#"{"buildDefinition":{"buildType":"https://example.com/build","externalParameters":{}},
    "runDetails":{"builder":{"id":"https://example.com/builder"}}}"#;

/// A place with a pushed image and a pair of keys, `ci.key` and `ci.pub`.
fn signed_place() -> (Place, Running, String) {
    let mut place = Place::new();
    let running = registry(&mut place, RegistryAuth::Anonymous);
    let pinned = pushed(&place, &running);
    place.set("COSIGN_PASSWORD", PASSWORD);
    place.run(&["image", "keygen", "--output", "ci"]).done();
    place.write("provenance.json", PROVENANCE);
    (place, running, pinned)
}

#[test]
fn an_image_is_signed_once_and_verified_by_its_digest() {
    let (place, running, pinned) = signed_place();
    let tagged = format!("{}/team/app:v1", running.address);
    let refused = place.run(&["image", "verify", &pinned, "--key", "ci.pub"]);
    insta::assert_snapshot!(refused.shown(), @"
    exit 5
    --- stdout
    image     [REGISTRY]/team/app@sha256:[HEX]
    --- stderr
    error[SPX-335]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed as it has to be: policy `--key` wants the signatures of 1 of the keys `ci.pub`, and there is none
    hint: sign it with `railway-deployer image sign`, or see above why a signature does not count
    ");
    insta::assert_snapshot!(place.run(&["image", "sign", &tagged, "--key", "ci.key", "--annotation", "run=7"]).shown(), @"
    exit 0
    --- stdout
    [REGISTRY]/team/app@sha256:[HEX]
    --- stderr
    warning: `[REGISTRY]/team/app:v1` is a tag, which can move; it is about `[REGISTRY]/team/app@sha256:[HEX]`
    signed `[REGISTRY]/team/app@sha256:[HEX]` with the key sha256:[HEX]
    ");
    let again = ["image", "sign", &pinned, "--key", "ci.key", "--annotation", "run=7", "--json"];
    assert_eq!(place.run(&again).done().json()["signed"], false);
    let verified = place.run(&["image", "verify", &pinned, "--key", "ci.pub", "--json"]).done().json();
    assert_eq!(verified["verified"], true);
    let [accepted] = verified["accepted"].as_array().unwrap().as_slice() else { panic!("{verified}") };
    assert_eq!((&accepted["form"], &accepted["key"]), (&"bundle".into(), &"ci.pub".into()));
    assert_eq!(accepted["annotations"]["run"], "7");
    // The tag moves to another image, and what was signed is not signed any more under it.
    place.write("in/bin/app", "#!/bin/sh\necho other\n");
    place.run(&["image", "build", "in", "--output", "other", "--entrypoint", "/bin/app"]).done();
    place.run(&["image", "push", "other", &tagged]).done();
    assert_eq!(place.run(&["image", "verify", &tagged, "--key", "ci.pub"]).code, 5);
    assert_eq!(place.run(&["image", "verify", &pinned, "--key", "ci.pub"]).code, 0);
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn what_copy_prints_was_refused_and_a_layout_was_looked_for_on_docker_hub() {
    let (place, running, pinned) = signed_place();
    let prefixed = format!("docker://{pinned}");
    let attest = ["--key", "ci.key", "--type", "slsaprovenance1", "--predicate", "provenance.json"];
    place.run(&["image", "sign", &prefixed, "--key", "ci.key"]).done();
    place.run(&[&["image", "attest", &prefixed], &attest[..]].concat()).done();
    let verified = place.run(&["image", "verify", &prefixed, "--key", "ci.pub", "--json"]).done().json();
    assert_eq!(verified["image"], pinned.as_str());
    insta::assert_snapshot!(place.run(&["image", "verify", "layout", "--key", "ci.pub"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: invalid value 'layout' for '<IMAGE>': `layout` is taken for a layout, an archive or an engine's image, and signatures lie beside an image in a registry: push it, and name it as it is called there; an image of a registry is `docker://layout`

    For more information, try '--help'.
    ");
    place.write("app.tar", "");
    for name in [
        "./layout",
        "oci:layout",
        "oci-archive:app.tar",
        "docker-archive:app.tar",
        "app.tar",
        "docker-daemon:app",
    ] {
        for verb in [
            &["verify", name, "--key", "ci.pub"] as &[&str],
            &["sign", name, "--key", "ci.key"],
            &[&["attest", name], &attest[..]].concat(),
        ] {
            let run = place.run(&[&["image"], verb].concat());
            assert!(run.code == 2 && run.stderr.contains("in a registry"), "{verb:?}: {}", run.stderr);
        }
    }
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn annotations_were_signed_and_nobody_could_ask_for_them() {
    let (mut place, _running, pinned) = signed_place();
    let sign = |annotation: &str| {
        place.run(&["image", "sign", &pinned, "--key", "ci.key", "--annotation", annotation]).done()
    };
    let verify =
        |more: &[&str]| place.run(&[&["image", "verify", &pinned, "--key", "ci.pub"], more].concat());
    sign("env=staging");
    insta::assert_snapshot!(verify(&["--annotation", "env=production"]).shown(), @"
    exit 5
    --- stdout
    image     [REGISTRY]/team/app@sha256:[HEX]
    rejected  sha256:[HEX]: it is signed by `ci.pub` with the annotation `env=staging`, and `env=production` is asked for
    --- stderr
    error[SPX-335]: `[REGISTRY]/team/app@sha256:[HEX]` is not signed as it has to be: policy `--key` wants the signatures of 1 of the keys `ci.pub`, with the annotation `env=production`, and there is none
    hint: sign it with `railway-deployer image sign`, or see above why a signature does not count
    ");
    let attest = ["--key", "ci.key", "--type", "slsaprovenance1", "--predicate", "provenance.json"];
    place.run(&[&["image", "attest", &pinned], &attest[..]].concat()).done();
    let attested = ["--attestation", "slsaprovenance1"];
    verify(&attested).done();
    let asked = [&attested[..], &["--annotation", "env=production"]].concat();
    assert_eq!(verify(&asked).code, 5, "it asks for a signature besides");
    sign("env=production");
    verify(&asked).done();
    let json = verify(&["--annotation", "env=production", "--json"]).done().json();
    assert_eq!(
        json["accepted"].as_array().unwrap().iter().filter(|one| one["predicate_type"].is_null()).count(),
        1
    );
    assert_eq!(verify(&["--annotation", "env=production", "--annotation", "run=7"]).code, 5);
    place.write("policy.toml", "version = 1\n[[policy]]\nkeys = [{ name = \"ci\", file = \"ci.pub\" }]\n");
    let by_policy = |annotation: &str| {
        place.run(&["image", "verify", &pinned, "--policy", "policy.toml", "--annotation", annotation]).code
    };
    assert_eq!((by_policy("env=production"), by_policy("env=test")), (0, 5));
    insta::assert_snapshot!(verify(&["--annotation", "env=production", "--required", "none"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--annotation` asks for a signature, and `--required none` for none
    ");
    assert_eq!(verify(&["--annotation", "env"]).code, 2);
    let help = place.run(&["image", "verify", "--help"]).done().stdout;
    let lines: Vec<_> = help.lines().skip_while(|line| !line.contains("--annotation ")).take(4).collect();
    insta::assert_snapshot!(lines.join("\n"), @"
    --annotation <NAME=VALUE>
        What a signature of the image has to carry in order to count; of several, all of them,
        each with this value
    ");
    place.set("SPECTRA_VERIFY_ANNOTATION", "env=test");
    assert_eq!(place.run(&["image", "verify", &pinned, "--key", "ci.pub"]).code, 5);
}

#[test]
fn a_policy_file_says_who_and_how_many() {
    let (place, running, pinned) = signed_place();
    place.run(&["image", "keygen", "--output", "release", "--algorithm", "ed25519"]).done();
    let policy = format!(
        "version = 1\n[[policy]]\nname = \"shop\"\nrepositories = [\"{}/team/*\"]\nrequired = \"all\"\nattestations = \
         [\"slsaprovenance1\"]\nkeys = [{{ name = \"ci\", file = \"ci.pub\" }}, {{ name = \"release\", file = \"release.pub\" }}]\n",
        running.address
    );
    place.write("policy/signatures.toml", &policy.replace("file = \"", "file = \"../"));
    let verify = || place.run(&["image", "verify", &pinned, "--policy", "policy/signatures.toml"]);
    place.run(&["image", "sign", &pinned, "--key", "ci.key"]).done();
    let refused = verify();
    assert_eq!(refused.code, 5);
    assert!(refused.stderr.contains("wants the signatures of 2 of the keys `ci`, `release`, and there is 1"));
    assert!(refused.stderr.contains("wants an attestation `slsaprovenance1`"));
    place.run(&["image", "sign", &pinned, "--key", "release.key"]).done();
    let attest = ["image", "attest", &pinned, "--key", "release.key", "--type", "slsaprovenance1"];
    place.run(&[attest.as_slice(), &["--predicate", "provenance.json"]].concat()).done();
    assert_eq!(verify().code, 0);
    let by_key =
        ["image", "verify", &pinned, "--key", "release.pub", "--attestation", "slsaprovenance1", "--json"];
    let verified = place.run(&by_key).done().json();
    let predicate = &verified["predicates"][0]["predicate"];
    assert_eq!(*predicate, serde_json::from_str::<serde_json::Value>(PROVENANCE).unwrap());
    let elsewhere = policy.replace("/team/*", "/other/*").replace("file = \"", "file = \"../");
    place.write("policy/signatures.toml", &elsewhere);
    let refused = verify();
    assert!(refused.code == 5 && refused.stderr.contains("no signature policy is about images of"));
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn the_platforms_of_an_index_are_signed_when_asked_for() {
    let (place, running, pinned) = signed_place();
    let build = ["image", "build", "in", "--output", "two", "--entrypoint", "/bin/app"];
    place.run(&[&build[..], &["--platform", "linux/amd64,linux/arm64"]].concat()).done();
    let target = format!("{}/team/two:v1", running.address);
    let pushed = place.run(&["image", "push", "two", &target, "--print", "image"]).done();
    let index = pushed.stdout.trim();
    let platform = |name: &str| {
        let found = place.run(&["image", "inspect", index, "--platform", name, "--json"]).done().json();
        format!("{}/team/two@{}", running.address, found["manifest_digest"].as_str().unwrap())
    };
    let images = [index.to_owned(), platform("linux/amd64"), platform("linux/arm64")];
    let verified =
        || images.clone().map(|image| place.run(&["image", "verify", &image, "--key", "ci.pub"]).code);
    let sign = |image: &str, more: &[&str]| {
        place.run(&[&["image", "sign", image, "--key", "ci.key", "--json"], more].concat()).done().json()
    };
    assert!(sign(index, &[])["images"].is_null());
    assert_eq!(verified(), [0, 5, 5], "an index is one digest, and its images are others");
    let whole = sign(index, &["--recursive"]);
    assert_eq!(verified(), [0, 0, 0]);
    let signed = |value: &serde_json::Value| {
        value["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["signed"].as_bool().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!((whole["signed"].as_bool(), signed(&whole)), (Some(false), vec![true, true]));
    assert_eq!(signed(&sign(index, &["--recursive"])), [false, false]);
    assert_eq!(sign(&pinned, &["--recursive"])["images"], serde_json::json!([]), "no index");
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn a_nightly_attestation_filled_the_list_until_nothing_was_read_any_more() {
    let (place, running, pinned) = signed_place();
    let attest_with = |key: &str, more: &[&str]| {
        let arguments =
            ["image", "attest", &pinned, "--key", key, "--predicate", "provenance.json", "--json"];
        place.run(&[&arguments[..], more].concat()).done().json()
    };
    let attest = |more: &[&str]| attest_with("ci.key", more);
    let count = || {
        let arguments =
            ["image", "verify", &pinned, "--key", "ci.pub", "--attestation", "slsaprovenance1", "--json"];
        place.run(&[&arguments[..], &["--attestation", "custom"]].concat()).json()["accepted"]
            .as_array()
            .unwrap()
            .len()
    };
    let first = attest(&["--type", "slsaprovenance1"]);
    assert_eq!(first["attested"], true);
    for _ in 0..2 {
        let again = attest(&["--type", "slsaprovenance1"]);
        assert_eq!(again["attested"], false);
        let digest = first["attestation"].as_str().unwrap();
        assert!(again["attestation"].as_str().unwrap().contains(digest), "{again} {digest}");
    }
    assert_eq!(count(), 1);
    assert_eq!(attest(&["--type", "slsaprovenance1", "--again"])["attested"], true);
    assert_eq!(attest(&["--type", "custom"])["attested"], true, "another type");
    assert_eq!(count(), 3);
    place.write("provenance.json", &PROVENANCE.replace("example.com/builder", "example.com/other"));
    assert_eq!(attest(&["--type", "slsaprovenance1"])["attested"], true, "another predicate");
    place.run(&["image", "keygen", "--output", "release"]).done();
    assert_eq!(attest_with("release.key", &["--type", "slsaprovenance1"])["attested"], true, "another key");
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

/// A file that is about other images let in what the flags let in.
#[test]
fn a_policy_that_is_not_about_an_image_was_none_beside_a_key() {
    let (mut place, running, pinned) = signed_place();
    let policy = |repositories: &str| {
        format!(
            "version = 1\n[[policy]]\nname = \"shop\"\nrepositories = [\"{}/{repositories}\"]\nkeys = [{{ name = \"ci\", file = \"ci.pub\" }}]\n",
            running.address
        )
    };
    place.write("ours.toml", &policy("team/*"));
    place.write("others.toml", &policy("other/*"));
    place.run(&["image", "keygen", "--output", "release"]).done();
    let verify = |more: &[&str]| place.run(&[&["image", "verify", &pinned], more].concat());
    place.run(&["image", "sign", &pinned, "--key", "ci.key"]).done();
    assert_eq!(verify(&["--policy", "ours.toml", "--key", "ci.pub"]).code, 0);
    let refused = verify(&["--policy", "others.toml", "--key", "ci.pub"]);
    assert_eq!(refused.code, 5, "{}", refused.shown());
    assert!(refused.stderr.contains("no signature policy is about images of"), "{}", refused.stderr);
    // The other way round, too, and what one group accepts is not shown as rejected by the other one.
    let refused = verify(&["--policy", "ours.toml", "--key", "release.pub", "--json"]);
    assert_eq!((refused.code, refused.json()["verified"].clone()), (5, false.into()), "{}", refused.shown());
    let (accepted, rejected) = (refused.json()["accepted"].clone(), refused.json()["rejected"].clone());
    assert_eq!((accepted.as_array().unwrap().len(), rejected.as_array().unwrap().len()), (1, 0));
    // A job that signs has the private key in its environment, and verifies all the same.
    place.set("SPECTRA_KEY", "ci.key");
    assert_eq!(place.run(&["image", "verify", &pinned, "--policy", "ours.toml"]).code, 0);
    assert_eq!(place.run(&["image", "verify", &pinned]).code, 2, "it is no key to verify with");
    place.set("SPECTRA_PUBLIC_KEY", "ci.pub");
    assert_eq!(place.run(&["image", "verify", &pinned]).code, 0);
}

#[test]
fn what_cannot_be_signed_says_why() {
    let (mut place, _running, pinned) = signed_place();
    let attest = |file: &str| {
        place.run(&[
            "image",
            "attest",
            &pinned,
            "--key",
            "ci.key",
            "--type",
            "cyclonedx",
            "--predicate",
            file,
        ])
    };
    insta::assert_snapshot!(attest("provenance.json").shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-331]: the predicate `provenance.json` is no `cyclonedx`: it has no `bomFormat`, which every `cyclonedx` has
    ");
    insta::assert_snapshot!(place.run(&["image", "verify", &pinned, "--key", "ci.key"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-330]: the key `ci.key` cannot be used
      caused by: it is a private key; the public one is needed here, and the private one belongs nowhere else
    hint: `railway-deployer image keygen` makes a pair of keys
    ");
    insta::assert_snapshot!(place.run(&["image", "keygen", "--output", "ci"]).shown(), @"
    exit 1
    --- stdout
    --- stderr
    error[SPX-352]: cannot write `ci.key`: it exists, and keys are never replaced
    hint: name other files with `--output PREFIX`, or move the old pair away: a private key cannot be made again, and what it signed is verified with its public one
    ");
    place.set("COSIGN_PASSWORD", "another");
    insta::assert_snapshot!(place.run(&["image", "sign", &pinned, "--key", "ci.key"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error[SPX-330]: the key `ci.key` cannot be used
      caused by: it cannot be decrypted: the password is wrong, or it was changed
    hint: `railway-deployer image keygen` makes a pair of keys
    ");
}

pub(crate) struct Cosign<'a> {
    pub(crate) program: PathBuf,
    pub(crate) place: &'a Place,
}

impl Cosign<'_> {
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", self.place.path("")).env("COSIGN_PASSWORD", PASSWORD);
        let output = command.current_dir(self.place.path("")).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(String::from_utf8(output.stdout).unwrap()) } else { Err(said) }
    }

    fn has(&self, verb: &str, flag: &str) -> bool {
        self.run(&[verb, "--help"]).unwrap().contains(flag)
    }

    /// As version 3 does. Version 2, which Debian 13 has, signs in the older form and looks for signatures in no other.
    fn signs_in_bundles(&self) -> bool {
        self.has("sign", "--new-bundle-format")
    }

    fn verify(&self, verb: &str, image: &str, more: &[&str]) -> Result<String, String> {
        let fixed = [verb, "--insecure-ignore-tlog", "--allow-http-registry"];
        self.run(&[fixed.as_slice(), more, &[image]].concat())
    }

    fn make(&self, verb: &str, image: &str, more: &[&str]) {
        let mut arguments = vec![verb, "--yes", "--tlog-upload=false", "--allow-http-registry"];
        if self.has(verb, "--use-signing-config") {
            arguments.push("--use-signing-config=false");
        }
        let more = more
            .iter()
            .filter(|flag| !flag.starts_with("--new-bundle-format") || self.has(verb, "--new-bundle-format"));
        arguments.extend(more);
        arguments.push(image);
        self.run(&arguments).unwrap();
    }
}

#[test]
fn cosign_accepts_what_we_sign_and_attest() {
    let Some(program) = tool("cosign") else { return };
    let (place, running, pinned) = signed_place();
    let cosign = Cosign { program, place: &place };
    if !cosign.signs_in_bundles() {
        eprintln!("skipped: this `cosign` is older than version 3, whose forms ours are");
        return;
    }
    assert!(cosign.verify("verify", &pinned, &["--key", "ci.pub"]).is_err(), "nothing is signed yet");
    place.run(&["image", "sign", &pinned, "--key", "ci.key"]).done();
    cosign.verify("verify", &pinned, &["--key", "ci.pub"]).unwrap();
    place.run(&["image", "keygen", "--output", "other", "--algorithm", "ed25519"]).done();
    assert!(cosign.verify("verify", &pinned, &["--key", "other.pub"]).is_err(), "another key did not sign");
    place.run(&["image", "sign", &pinned, "--key", "other.key"]).done();
    cosign.verify("verify", &pinned, &["--key", "other.pub"]).unwrap();
    let kind = ["--type", "slsaprovenance1"];
    let attest = ["image", "attest", &pinned, "--key", "ci.key", "--predicate", "provenance.json"];
    assert!(cosign.verify("verify-attestation", &pinned, &["--key", "ci.pub", kind[0], kind[1]]).is_err());
    place.run(&[attest.as_slice(), &kind].concat()).done();
    cosign.verify("verify-attestation", &pinned, &["--key", "ci.pub", kind[0], kind[1]]).unwrap();
    assert!(running.registry.violations().is_empty(), "{:?}", running.registry.violations());
}

#[test]
fn we_accept_what_cosign_signs_and_attests_in_both_of_its_forms() {
    let Some(program) = tool("cosign") else { return };
    for (form, shown) in [("true", "bundle"), ("false", "simple-signing")] {
        let (place, _running, pinned) = signed_place();
        let cosign = Cosign { program: program.clone(), place: &place };
        cosign.run(&["generate-key-pair"]).unwrap();
        if form == "true" && !cosign.signs_in_bundles() {
            continue;
        }
        let form = format!("--new-bundle-format={form}");
        cosign.make("sign", &pinned, &["--key", "cosign.key", "-a", "env=production", &form]);
        let predicate = ["--type", "slsaprovenance1", "--predicate", "provenance.json"];
        cosign.make("attest", &pinned, &[["--key", "cosign.key", &form].as_slice(), &predicate].concat());
        let verify = ["image", "verify", &pinned, "--key", "cosign.pub", "--required", "any", "--json"];
        let found =
            place.run(&[verify.as_slice(), &["--attestation", "slsaprovenance1"]].concat()).done().json();
        assert_eq!(found["accepted"][0]["form"], shown, "{found}");
        assert_eq!(found["rejected"], serde_json::json!([]));
        let carries =
            |annotation: &str| place.run(&[&verify[..], &["--annotation", annotation]].concat()).code;
        assert_eq!((carries("env=production"), carries("env=staging")), (0, 5), "{form}");
        assert_eq!(place.run(&["image", "verify", &pinned, "--key", "ci.pub"]).code, 5);
        // A key pair of cosign's signs here, too.
        place.run(&["image", "sign", &pinned, "--key", "cosign.key", "--again"]).done();
        if cosign.signs_in_bundles() {
            cosign.verify("verify", &pinned, &["--key", "cosign.pub"]).unwrap();
        }
    }
}

#[test]
fn keygen_left_a_private_key_where_the_public_one_was_in_the_way() {
    let place = Place::new();
    place.write("ci.pub", "another key");
    let keygen = || place.run(&["image", "keygen", "--output", "ci", "--no-password"]);
    let refused = keygen();
    assert!(refused.code == 1 && refused.stderr.contains("cannot write `ci.pub`"), "{}", refused.shown());
    assert!(!place.path("ci.key").exists());
    assert_eq!(std::fs::read_to_string(place.path("ci.pub")).unwrap(), "another key");
    std::fs::remove_file(place.path("ci.pub")).unwrap();
    keygen().done();
    assert!(place.path("ci.key").exists());
}
