//! A build without the feature `keyless`: the flags are there, and say what is missing.

use crate::support::Place;

const IMAGE: &str =
    "127.0.0.1:9/team/app@sha256:ba06bae4aa247ba71fa6c80d8fd5c718ae5fe6496cab165c3e7fb7e8c1678803";

#[test]
fn what_needs_certificates_is_refused_before_anybody_is_asked() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(&["image", "sign", IMAGE, "--keyless"]).shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: `--keyless` signs with a certificate, and this program was built without keyless signatures (the cargo feature `keyless`)
    ");
    let identity =
        ["--certificate-identity", "dev@acme.example", "--certificate-oidc-issuer", "https://issuer.example"];
    let verified = place.run(&[["image", "verify", IMAGE].as_slice(), &identity].concat());
    insta::assert_snapshot!(verified.shown(), @"
    exit 2
    --- stdout
    --- stderr
    error: the signature policy `--certificate-identity` names identities, and this program was built without keyless signatures (the cargo feature `keyless`)
    ");
    let policy = "version = 1\n[[policy]]\nidentities = [{ issuer = \"https://issuer.example\", subject = \"dev@acme.example\" }]\n";
    place.write("signatures.toml", policy);
    let verified = place.run(&["image", "verify", IMAGE, "--policy", "signatures.toml"]);
    assert!(verified.code == 2 && verified.stderr.contains("names identities"), "{}", verified.shown());
}
