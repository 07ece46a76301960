//! Keyless signatures and the real cosign, where there is one: what each of them makes, the other one accepts.

use serde_json::Value;

use crate::{
    keyless::{IDENTITY, ISSUER, Signed},
    signing::{Cosign, PROVENANCE},
    support::tool,
};

#[test]
fn cosign_accepts_what_is_signed_and_attested_without_a_key() {
    let Some(program) = tool("cosign") else { return };
    let world = Signed::new();
    let cosign = Cosign { program, place: &world.place };
    let by = |verb: &str, identity: &str, more: &[&str]| {
        let fixed = [
            verb,
            "--allow-http-registry",
            "--trusted-root",
            "root.json",
            "--certificate-identity",
            identity,
            "--certificate-oidc-issuer",
            ISSUER,
        ];
        cosign.run(&[fixed.as_slice(), more, &[&world.image]].concat())
    };
    assert!(by("verify", IDENTITY, &[]).is_err(), "nothing is signed yet");
    world.sign(&[]).done();
    by("verify", IDENTITY, &[]).unwrap();
    assert!(by("verify", "https://github.com/acme/other", &[]).is_err(), "somebody else did not sign");
    world.place.write("provenance.json", PROVENANCE);
    let kind = ["--type", "slsaprovenance1"];
    assert!(by("verify-attestation", IDENTITY, &kind).is_err());
    let attest = ["image", "attest", &world.image, "--keyless", "--predicate", "provenance.json"];
    world.place.run(&[attest.as_slice(), &kind].concat()).done();
    by("verify-attestation", IDENTITY, &kind).unwrap();
}

#[test]
fn what_cosign_signs_without_a_key_is_accepted() {
    let Some(program) = tool("cosign") else { return };
    let world = Signed::new();
    let cosign = Cosign { program, place: &world.place };
    let url = world.fake.url();
    let fixed = ["--yes", "--allow-http-registry", "--use-signing-config=false", "--new-bundle-format=true"];
    let services = ["--fulcio-url", &url, "--rekor-url", &url, "--trusted-root", "root.json"];
    world.place.write("token.jwt", &world.token);
    let token = ["--identity-token", "token.jwt"];
    let signed = cosign.run(&[&["sign"], fixed.as_slice(), &services, &token, &[&world.image]].concat());
    assert!(signed.is_ok(), "{signed:?}\n{:?}", world.fake.complaints());
    let verified = world.verify(IDENTITY, ISSUER, &["--json"]).done().json();
    assert_eq!(verified["accepted"][0]["certificate"]["subject"], IDENTITY, "{verified}");
}

#[test]
fn what_cosign_signed_before_version_3_is_accepted() {
    let Some(program) = tool("cosign") else { return };
    let world = Signed::new();
    let cosign = Cosign { program, place: &world.place };
    let url = world.fake.url();
    world.place.write("token.jwt", &world.token);
    world.place.write("provenance.json", PROVENANCE);
    let make = |verb: &str, more: &[&str]| {
        let fixed = [
            verb,
            "--yes",
            "--allow-http-registry",
            "--use-signing-config=false",
            "--new-bundle-format=false",
            "--fulcio-url",
            &url,
            "--rekor-url",
            &url,
            "--trusted-root",
            "root.json",
            "--identity-token",
            "token.jwt",
        ];
        let made = cosign.run(&[fixed.as_slice(), more, &[&world.image]].concat());
        assert!(made.is_ok(), "{made:?}\n{:?}", world.fake.complaints());
    };
    make("sign", &["-a", "run=7"]);
    let verified = world.verify(IDENTITY, ISSUER, &["--json"]).done().json();
    let [accepted] = verified["accepted"].as_array().unwrap().as_slice() else { panic!("{verified}") };
    assert_eq!((&accepted["form"], &accepted["annotations"]["run"]), (&"simple-signing".into(), &"7".into()));
    assert_eq!(accepted["certificate"]["subject"], IDENTITY);
    assert_eq!(accepted["certificate"]["source_repository"], "https://github.com/acme/shop");
    assert_eq!(world.verify("https://github.com/acme/other/*", ISSUER, &[]).code, 5);
    make("attest", &["--type", "slsaprovenance1", "--predicate", "provenance.json"]);
    let wanted = ["--attestation", "slsaprovenance1", "--json"];
    let verified = world.verify(IDENTITY, ISSUER, &wanted).done().json();
    assert_eq!(verified["predicates"][0]["predicate"], serde_json::from_str::<Value>(PROVENANCE).unwrap());
    let forms: Vec<_> = verified["accepted"].as_array().unwrap().iter().map(|one| &one["form"]).collect();
    assert_eq!(forms, ["simple-signing", "envelope"]);
    assert_eq!(verified["rejected"], serde_json::json!([]));
}
