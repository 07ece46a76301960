//! What counts as signed, from outside: our own signatures, those that cosign made, and forgeries of both.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use proptest::prelude::*;
use serde_json::{Value, json};
use spectra_sign::{
    Algorithm, Evidence, Examination, Form, Gathered, KeyError, Material, PolicyFile, PredicateType,
    PublicKey, Rejection, SignaturePolicy, SigningKey, Statement, Subject, TaggedCertificate, Threshold,
    Trust, TrustedKey, examine, judge, judge_annotated, sign_statement,
};
use spectra_types::{Digest, ImageRef, PinnedImage, Secret};

macro_rules! cosign {
    ($name:literal) => {
        include_bytes!(concat!("cosign/", $name)).as_slice()
    };
}

const DIGEST: &str = "sha256:2815c58ad2d36e7a2cf7dac9c2133f12257cb3cd8ba2c6ecc3d381f4fb524934";

fn image() -> PinnedImage {
    "ghcr.io/acme/shop".parse::<ImageRef>().unwrap().pin(DIGEST.parse().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn trusted(name: &str, key: &SigningKey) -> TrustedKey {
    TrustedKey { name: name.to_owned(), public_key: key.public().clone() }
}

fn cosigns() -> TrustedKey {
    TrustedKey {
        name: "cosign".to_owned(),
        public_key: PublicKey::parse(&text(cosign!("cosign.pub"))).unwrap(),
    }
}

fn evidence(origin: &str, material: Material) -> Evidence {
    Evidence { origin: origin.to_owned(), stated_time: None, material }
}

fn check(digest: &str, material: Material, keys: &[TrustedKey]) -> Examination {
    let digest: Digest = digest.parse().unwrap();
    let subject = Subject { digest: &digest, manifest: cosign!("manifest.json") };
    examine(subject, &[evidence("one", material)], Trust::keys(keys))
}

fn reason(found: Examination) -> Rejection {
    assert!(found.accepted.is_empty(), "{found:?}");
    found.rejected.into_iter().next().unwrap().reason
}

fn simple(signature: &[u8]) -> Material {
    Material::Simple {
        payload: cosign!("simple.payload.json").to_vec(),
        signature: text(signature),
        certificate: None,
    }
}

/// Everything that cosign 3.0.6 made for one image and one key, each with its form and predicate type.
fn made_by_cosign() -> Vec<(Material, Form, Option<&'static str>)> {
    let provenance = Some("https://slsa.dev/provenance/v1");
    let envelope = Material::Envelope { json: cosign!("attest.envelope.json").to_vec(), certificate: None };
    vec![
        (Material::Bundle(cosign!("sign.bundle.json").to_vec()), Form::Bundle, None),
        (Material::Bundle(cosign!("attest.bundle.json").to_vec()), Form::Bundle, provenance),
        (Material::Bundle(cosign!("message.bundle.json").to_vec()), Form::MessageBundle, None),
        (simple(cosign!("simple.signature")), Form::SimpleSigning, None),
        (envelope, Form::Envelope, provenance),
    ]
}

#[test]
fn everything_that_cosign_signed_counts() {
    for (material, form, kind) in made_by_cosign() {
        let found = check(DIGEST, material, &[cosigns()]);
        let [accepted] = found.accepted.as_slice() else { panic!("{form}: {found:?}") };
        assert_eq!((accepted.form, accepted.predicate_type.as_deref()), (form, kind));
        assert_eq!(accepted.fingerprint, Some(cosigns().public_key.fingerprint()));
        assert_eq!(accepted.annotations.contains_key("team"), form == Form::SimpleSigning);
    }
}

#[test]
fn nothing_counts_for_another_image_or_with_another_key() {
    let other = format!("sha256:{}", "0".repeat(64));
    let stranger = SigningKey::generate(Algorithm::EcdsaP256).unwrap();
    for (material, form, _) in made_by_cosign() {
        let wrong = reason(check(&other, material.clone(), &[cosigns()]));
        match form {
            Form::MessageBundle => assert_eq!(wrong, Rejection::OtherManifest),
            _ => assert_eq!(wrong, Rejection::OtherImage(vec![DIGEST.to_owned()])),
        }
        let strange = reason(check(DIGEST, material.clone(), &[trusted("stranger", &stranger)]));
        assert!(matches!(strange, Rejection::UnknownKey(_)), "{strange:?}");
        assert!(matches!(reason(check(DIGEST, material, &[])), Rejection::UnknownKey(_)));
    }
}

#[test]
fn a_keyless_certificate_is_named_and_never_counts() {
    let mut bundle: Value = serde_json::from_slice(cosign!("sign.bundle.json")).unwrap();
    // Beside the key's name too: whoever adds one must not get around the certificate.
    bundle["verificationMaterial"]["certificate"] = json!({ "rawBytes": "AAAA" });
    let found = reason(check(DIGEST, Material::Bundle(bundle.to_string().into_bytes()), &[cosigns()]));
    assert_eq!(found, Rejection::Certificate);
    let Material::Simple { payload, signature, .. } = simple(cosign!("simple.signature")) else {
        unreachable!()
    };
    let keyless = Material::Simple { payload, signature, certificate: Some(TaggedCertificate::default()) };
    assert_eq!(reason(check(DIGEST, keyless, &[cosigns()])), Rejection::Certificate);
    insta::assert_snapshot!(found, @"it is signed with a keyless certificate, and no identity is trusted here, only keys");
}

#[test]
fn a_changed_payload_is_a_bad_signature() {
    let mut bundle: Value = serde_json::from_slice(cosign!("sign.bundle.json")).unwrap();
    let payload = bundle["dsseEnvelope"]["payload"].as_str().unwrap();
    let changed = text(&BASE64.decode(payload).unwrap()).replace(&DIGEST[7..], &"0".repeat(64));
    bundle["dsseEnvelope"]["payload"] = BASE64.encode(changed).into();
    let material = Material::Bundle(bundle.to_string().into_bytes());
    let found = reason(check(&format!("sha256:{}", "0".repeat(64)), material, &[cosigns()]));
    assert_eq!(found, Rejection::BadSignature { key: "cosign".to_owned() });
}

#[test]
fn an_envelope_with_another_payload_type_or_two_signatures_does_not_count() {
    let mut bundle: Value = serde_json::from_slice(cosign!("sign.bundle.json")).unwrap();
    let twice = json!([bundle["dsseEnvelope"]["signatures"][0], bundle["dsseEnvelope"]["signatures"][0]]);
    bundle["dsseEnvelope"]["signatures"] = twice;
    let found = reason(check(DIGEST, Material::Bundle(bundle.to_string().into_bytes()), &[cosigns()]));
    assert_eq!(found, Rejection::Malformed("the envelope has 2 signatures, expected 1".to_owned()));
    let mut bundle: Value = serde_json::from_slice(cosign!("sign.bundle.json")).unwrap();
    bundle["dsseEnvelope"]["payloadType"] = "text/plain".into();
    let found = reason(check(DIGEST, Material::Bundle(bundle.to_string().into_bytes()), &[cosigns()]));
    assert_eq!(found, Rejection::BadSignature { key: "cosign".to_owned() });
}

#[test]
fn cosigns_encrypted_key_is_read_and_signs() {
    let pem = Secret::new(text(cosign!("cosign.key")));
    let parse = |password: Option<&str>| SigningKey::parse(&pem, password.map(Secret::from).as_ref());
    assert!(SigningKey::is_encrypted(&pem));
    assert_eq!(parse(None).unwrap_err(), KeyError::PasswordMissing);
    assert_eq!(parse(Some("other")).unwrap_err(), KeyError::Password);
    let key = parse(Some("fixture")).unwrap();
    assert_eq!(*key.public(), cosigns().public_key);
    let signature = key.sign(b"message").unwrap();
    assert!(cosigns().public_key.verifies(b"message", &signature));
}

#[test]
fn keys_survive_being_written_and_read() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = SigningKey::generate(algorithm).unwrap();
        let password = Secret::from("correct-horse");
        for password in [None, Some(&password)] {
            let pem = key.to_pem(password).unwrap();
            assert_eq!(SigningKey::is_encrypted(&pem), password.is_some());
            assert_eq!(SigningKey::parse(&pem, password).unwrap().public(), key.public());
        }
        assert_eq!(PublicKey::parse(&key.public().to_pem()).unwrap(), *key.public());
        let private = key.to_pem(None).unwrap();
        assert_eq!(PublicKey::parse(private.expose()), Err(KeyError::PrivateForPublic));
    }
}

#[test]
fn a_key_file_that_asks_for_much_memory_is_refused_before_it_gets_it() {
    let json = json!({
        "kdf": { "name": "scrypt", "params": { "N": 1_u64 << 40, "r": 8, "p": 1 }, "salt": "AAAA" },
        "cipher": { "name": "nacl/secretbox", "nonce": BASE64.encode([0; 24]) },
        "ciphertext": "AAAA",
    });
    let label = "ENCRYPTED SIGSTORE PRIVATE KEY";
    let pem =
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(json.to_string()));
    let error = SigningKey::parse(&Secret::new(pem), Some(&Secret::from("password"))).unwrap_err();
    insta::assert_snapshot!(error, @"it is encrypted in a form that is not read here: scrypt with N = 1099511627776, r = 8, p = 1");
}

fn signed(key: &SigningKey, statement: &Statement) -> Evidence {
    evidence(&key.public().hint(), Material::Bundle(sign_statement(key, statement).unwrap()))
}

fn signature(key: &SigningKey) -> Evidence {
    signed(key, &Statement::signature(image().digest(), &BTreeMap::new()))
}

fn policy(keys: &[&SigningKey], required: &str, attestations: &[&str]) -> SignaturePolicy {
    SignaturePolicy {
        repositories: vec!["ghcr.io/acme/*".to_owned()],
        keys: keys.iter().enumerate().map(|(index, key)| trusted(&format!("key-{index}"), key)).collect(),
        identities: Vec::new(),
        required: required.parse().unwrap(),
        attestations: attestations.iter().map(|kind| kind.parse().unwrap()).collect(),
    }
}

fn unmet(policies: &[SignaturePolicy], evidence: &[Evidence]) -> Vec<String> {
    let named: Vec<_> = policies.iter().map(|policy| ("shop".to_owned(), policy.clone())).collect();
    let gathered = Gathered { manifest: cosign!("manifest.json").to_vec(), evidence: evidence.to_vec() };
    judge(&named, &image(), &gathered, None).map_or_else(|refusal| refusal.unmet, |_| Vec::new())
}

#[test]
fn a_threshold_counts_different_keys_and_signatures_alone() {
    let [a, b, c] = [(); 3].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap());
    let two = [policy(&[&a, &b, &c], "2", &[])];
    assert!(unmet(&two, &[signature(&a), signature(&c)]).is_empty());
    insta::assert_snapshot!(unmet(&two, &[signature(&a), signature(&a)]).join("\n"), @"policy `shop` wants the signatures of 2 of the keys `key-0`, `key-1`, `key-2`, and there is 1");
    let kind: PredicateType = "slsaprovenance1".parse().unwrap();
    let attestation = signed(&b, &Statement::attestation("shop", image().digest(), &kind, json!({})));
    assert_eq!(unmet(&two, &[signature(&a), attestation.clone()]).len(), 1, "an attestation is no signature");
    let all = [policy(&[&a, &b], "all", &[])];
    assert!(unmet(&all, &[signature(&b), signature(&a)]).is_empty());
    assert_eq!(unmet(&all, &[signature(&b), signature(&c)]).len(), 1);
    let attested = [policy(&[&b], "none", &["slsaprovenance1"])];
    assert!(unmet(&attested, &[attestation]).is_empty());
    insta::assert_snapshot!(unmet(&attested, &[signature(&b)]).join("\n"), @"policy `shop` wants an attestation `slsaprovenance1`, and there is none that counts");
}

#[test]
fn a_signature_counts_only_with_all_annotations_that_are_asked_for() {
    let [a, b] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap());
    let with = |key: &SigningKey, annotations: &[(&str, &str)]| {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        signed(key, &Statement::signature(image().digest(), &annotations.collect()))
    };
    let judged = |policy: SignaturePolicy, wanted: &[(&str, &str)], evidence: &[Evidence]| {
        let wanted: Vec<_> =
            wanted.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let gathered = Gathered { manifest: cosign!("manifest.json").to_vec(), evidence: evidence.to_vec() };
        judge_annotated(&[("shop".to_owned(), policy)], &wanted, &image(), &gathered, None)
            .map(|verdict| verdict.accepted.len())
            .map_err(|refusal| {
                refusal.to_string().replace(&format!("`{}` is not signed as it has to be: ", image()), "")
            })
    };
    let production = ("env", "production");
    let both = [production, ("run", "7")];
    let evidence = [with(&a, &[]), with(&a, &[("env", "staging"), ("run", "7")]), with(&b, &[production])];
    let one = |key| policy(&[key], "any", &[]);
    assert_eq!(judged(one(&a), &[], &evidence), Ok(2));
    assert_eq!(judged(one(&b), &[production], &evidence), Ok(1));
    assert_eq!(judged(one(&a), &[("run", "7")], &evidence), Ok(1));
    insta::assert_snapshot!(judged(one(&a), &[production], &evidence[..2]).unwrap_err().replace(&a.public().hint(), "[A]"), @"policy `shop` wants the signatures of 1 of the keys `key-0`, with the annotation `env=production`, and there is none; not counted, `[A]`: it is signed by `key-0` without an annotation `env`, and `env=production` is asked for; not counted, `[A]`: it is signed by `key-0` with the annotation `env=staging`, and `env=production` is asked for");
    assert!(judged(one(&b), &both, &evidence).is_err(), "one of two is not enough");
    // Two signatures do not make one that carries both.
    assert!(judged(one(&b), &both, &[with(&b, &[production]), with(&b, &[("run", "7")])]).is_err());
    assert!(judged(one(&b), &[("env", "")], &[with(&b, &[])]).is_err(), "what is missing is not empty");
    assert!(judged(one(&b), &[production, ("env", "test")], &evidence).is_err(), "it cannot be both");
    let two = policy(&[&a, &b], "all", &[]);
    assert!(judged(two.clone(), &[production], &evidence).is_err(), "each of them has to");
    assert_eq!(judged(two, &[production], &[with(&a, &both), with(&b, &both)]), Ok(2));
    // Attestations have no annotations, and do not stand in for a signature that has them.
    let kind: PredicateType = "slsaprovenance1".parse().unwrap();
    let attestation = signed(&b, &Statement::attestation("shop", image().digest(), &kind, json!({})));
    let attested = policy(&[&b], "none", &["slsaprovenance1"]);
    assert_eq!(judged(attested.clone(), &[], std::slice::from_ref(&attestation)), Ok(1));
    insta::assert_snapshot!(judged(attested.clone(), &both, std::slice::from_ref(&attestation)).unwrap_err(), @"policy `shop` wants the signatures of 1 of the keys `key-0`, with the annotations `env=production`, `run=7`, and there is none");
    assert_eq!(judged(attested, &both, &[attestation, with(&b, &both)]), Ok(2));
}

#[test]
fn every_policy_about_the_image_holds_and_one_has_to_be() {
    let [a, b] = [(); 2].map(|()| SigningKey::generate(Algorithm::EcdsaP256).unwrap());
    let (by_a, by_b) = (policy(&[&a], "any", &[]), policy(&[&b], "any", &[]));
    assert_eq!(unmet(&[by_a.clone(), by_b.clone()], &[signature(&a)]).len(), 1);
    assert!(unmet(&[by_a.clone(), by_b], &[signature(&a), signature(&b)]).is_empty());
    let elsewhere = SignaturePolicy { repositories: vec!["ghcr.io/other/*".to_owned()], ..by_a };
    insta::assert_snapshot!(unmet(&[elsewhere], &[signature(&a)]).join("\n"), @"no signature policy is about images of `ghcr.io/acme/shop`");
    assert_eq!(unmet(&[], &[signature(&a)]).len(), 1, "no policy is no permission");
}

#[test]
fn a_policy_that_cannot_hold_is_refused() {
    let key = SigningKey::generate(Algorithm::EcdsaP256).unwrap();
    let paths = |policy: SignaturePolicy| -> Vec<String> {
        policy.problems().into_iter().map(|problem| problem.path).collect()
    };
    assert!(paths(policy(&[&key], "any", &[])).is_empty());
    assert_eq!(paths(policy(&[], "any", &[])), ["keys"]);
    assert_eq!(paths(policy(&[&key], "2", &[])), ["required"]);
    assert_eq!(paths(policy(&[&key], "0", &[])), ["required"]);
    assert_eq!(paths(policy(&[&key], "none", &[])), ["required"]);
    assert_eq!(
        paths(policy(&[&key, &key], "2", &[])),
        ["keys[1].public_key"],
        "one signature would count twice"
    );
    let pattern = SignaturePolicy { repositories: vec!["*".to_owned()], ..policy(&[&key], "any", &[]) };
    assert_eq!(paths(pattern), ["repositories[0]"]);
}

#[test]
fn a_policy_file_names_keys_by_text_or_file_and_knows_its_words() {
    let pem = text(cosign!("cosign.pub"));
    let file = format!(
        "version = 1\n[[policy]]\nname = \"shop\"\nrepositories = [\"ghcr.io/acme/*\"]\nrequired = 2\nattestations = [\"vuln\"]\n\
         [[policy.keys]]\nname = \"ci\"\nfile = \"keys/ci.pub\"\n[[policy.keys]]\nname = \"release\"\npublic_key = \"\"\"{}\"\"\"\n",
        SigningKey::generate(Algorithm::Ed25519).unwrap().public().to_pem()
    );
    let read =
        |name: &str| if name == "keys/ci.pub" { Ok(pem.clone()) } else { Err("no such file".to_owned()) };
    let parsed = PolicyFile::parse(&file, "signatures.toml", read).unwrap();
    let [(name, policy)] = parsed.policies.as_slice() else { panic!("{parsed:?}") };
    assert_eq!((name.as_str(), policy.required), ("shop", Threshold::AtLeast(2)));
    assert_eq!(policy.keys[0].public_key, cosigns().public_key);
    assert_eq!(policy.attestations[0].uri(), "https://cosign.sigstore.dev/attestation/vuln/v1");
    // What is kept in a journal is read back.
    assert_eq!(
        serde_json::from_value::<SignaturePolicy>(serde_json::to_value(policy).unwrap()).unwrap(),
        *policy
    );
    let error = |text: &str| PolicyFile::parse(text, "signatures.toml", read).unwrap_err().to_string();
    insta::assert_snapshot!(error("version = 2"), @"the signature policy signatures.toml cannot be read: it has version 2, and 1 is read");
    insta::assert_snapshot!(error("version = 1"), @"the signature policy signatures.toml cannot be read: it has no `[[policy]]`");
    insta::assert_snapshot!(error("version = 1\n[[policy]]\nkeys = [{ name = \"a\", file = \"b\" }]"), @"the signature policy signatures.toml cannot be read: `policy[0].keys[0]`: no such file");
    insta::assert_snapshot!(error("version = 1\n[[policy]]"), @"the signature policy signatures.toml makes no sense: `policy[0].keys`: without a key or an identity nothing can be accepted");
}

#[test]
fn a_predicate_of_another_shape_is_found_out_before_it_is_signed() {
    let kind: PredicateType = "cyclonedx".parse().unwrap();
    assert_eq!(kind.problem_of(&json!({ "bomFormat": "CycloneDX", "specVersion": "1.6" })), None);
    insta::assert_snapshot!(kind.problem_of(&json!({ "spdxVersion": "SPDX-2.3" })).unwrap(), @"it has no `bomFormat`, which every `cyclonedx` has");
    insta::assert_snapshot!(kind.problem_of(&json!({ "predicateType": "x", "subject": [] })).unwrap(), @"it is a whole statement; the predicate inside is what is needed");
    assert!("not a type".parse::<PredicateType>().is_err());
    assert_eq!("https://example.com/x".parse::<PredicateType>().unwrap().uri(), "https://example.com/x");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_signed_counts_and_no_changed_byte_does(
        flip in any::<prop::sample::Index>(), bit in 0_u8..8, value in ".*", ed25519 in any::<bool>()
    ) {
        let key = SigningKey::generate(if ed25519 { Algorithm::Ed25519 } else { Algorithm::EcdsaP256 }).unwrap();
        let annotations = BTreeMap::from([("note".to_owned(), value)]);
        let bundle = sign_statement(&key, &Statement::signature(image().digest(), &annotations)).unwrap();
        let keys = [trusted("one", &key)];
        let found = check(DIGEST, Material::Bundle(bundle.clone()), &keys);
        prop_assert_eq!(&found.accepted[0].annotations, &annotations);
        let mut changed = bundle.clone();
        changed[flip.index(bundle.len())] ^= 1 << bit;
        // What the envelope says and its signature are protected; the rest decides nothing, and may change.
        let envelope = |bytes: &[u8]| -> Option<Value> {
            let bundle: Value = serde_json::from_slice(bytes).ok()?;
            let envelope = &bundle["dsseEnvelope"];
            let decode = |value: &Value| BASE64.decode(value.as_str()?).ok();
            Some(json!([decode(&envelope["payload"])?, envelope["payloadType"], decode(&envelope["signatures"][0]["sig"])?]))
        };
        if envelope(&changed) != envelope(&bundle) {
            prop_assert!(check(DIGEST, Material::Bundle(changed), &keys).accepted.is_empty());
        }
    }

    #[test]
    fn no_bytes_bring_the_readers_down(bytes in prop::collection::vec(any::<u8>(), 0..400), text in ".*") {
        prop_assert!(check(DIGEST, Material::Bundle(bytes.clone()), &[cosigns()]).accepted.is_empty());
        let simple = Material::Simple { payload: bytes.clone(), signature: text.clone(), certificate: None };
        prop_assert!(check(DIGEST, simple, &[cosigns()]).accepted.is_empty());
        let envelope = Material::Envelope { json: bytes, certificate: None };
        prop_assert!(check(DIGEST, envelope, &[cosigns()]).accepted.is_empty());
        prop_assert!(PublicKey::parse(&text).is_err());
        prop_assert!(SigningKey::parse(&Secret::new(text), None).is_err());
    }
}

#[test]
fn an_unsigned_annotation_was_passed_on_as_a_time() {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let digest: Digest = DIGEST.parse().unwrap();
    let bundle = sign_statement(&key, &Statement::signature(&digest, &BTreeMap::new())).unwrap();
    for (stated, shown) in [
        ("2026-01-02T03:04:05+01:00", Some("2026-01-02T02:04:05Z")),
        ("2026-01-02T03:04:05Z\naccepted  signature by release", None),
        ("yesterday", None),
    ] {
        let mut evidence = evidence("one", Material::Bundle(bundle.clone()));
        evidence.stated_time = Some(stated.to_owned());
        let subject = Subject { digest: &digest, manifest: b"{}" };
        let found = examine(subject, &[evidence], Trust::keys(&[trusted("ci", &key)]));
        assert_eq!(found.accepted[0].stated_time.as_deref(), shown, "{stated}");
    }
}
