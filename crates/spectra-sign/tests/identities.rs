//! Policies that name identities: what counts when somebody checks certificates. How they are checked is tested where it is done.

#![allow(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spectra_sign::{
    Algorithm, CertificateVerifier, Certified, Evidence, Gathered, Material, PolicyFile, PredicateType,
    Proof, Proven, SignaturePolicy, SigningKey, Statement, Subject, Tagged, TaggedCertificate, TrustedKey,
    judge, sign_statement,
};
use spectra_types::{Digest, ImageRef, PinnedImage};

const MANIFEST: &[u8] = include_bytes!("cosign/manifest.json");
const DIGEST: &str = "sha256:2815c58ad2d36e7a2cf7dac9c2133f12257cb3cd8ba2c6ecc3d381f4fb524934";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const IN_TOTO: &str = "application/vnd.in-toto+json";

fn image() -> PinnedImage {
    "ghcr.io/acme/shop".parse::<ImageRef>().unwrap().pin(DIGEST.parse().unwrap())
}

/// Believes what the certificate's place says.
struct Credulous;

impl CertificateVerifier for Credulous {
    fn verify(&self, bundle: &[u8], subject: Subject<'_>) -> Result<Proof, String> {
        assert_eq!(subject.manifest, MANIFEST);
        let bundle: Value = serde_json::from_slice(bundle).unwrap();
        said(&bundle["verificationMaterial"]["certificate"])
    }

    fn verify_tagged(
        &self,
        signed: Tagged<'_>,
        beside: &TaggedCertificate,
        subject: Subject<'_>,
    ) -> Result<Proof, String> {
        assert_eq!(subject.manifest, MANIFEST);
        let proof = said(&serde_json::from_str(&beside.certificate).unwrap())?;
        Ok(match signed {
            Tagged::Simple { payload, .. } => Proof { content: Proven::Simple(payload.to_vec()), ..proof },
            Tagged::Envelope(_) => proof,
        })
    }
}

/// What a certificate's place says, as a proof.
fn said(said: &Value) -> Result<Proof, String> {
    if said["bad"] == true {
        return Err("it was made up".to_owned());
    }
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    let certified = Certified {
        subject: text("subject"),
        issuer: text("issuer"),
        source_repository: said["repository"].as_str().map(str::to_owned),
        signed_at: "2026-01-02T03:04:05Z".to_owned(),
        log_index: Some(7),
    };
    let content = match said["payload"].as_str() {
        Some(payload) => Proven::Envelope {
            payload_type: said["type"].as_str().unwrap_or(IN_TOTO).to_owned(),
            payload: payload.as_bytes().to_vec(),
        },
        None => Proven::Manifest,
    };
    Ok(Proof { certified, content })
}

fn statement(digest: &str) -> String {
    let digest: Digest = digest.parse().unwrap();
    serde_json::to_string(&Statement::signature(
        &digest,
        &BTreeMap::from([("run".to_owned(), "7".to_owned())]),
    ))
    .unwrap()
}

/// A bundle by somebody, with more in the certificate's place.
fn by(subject: &str, more: &Value) -> Evidence {
    let mut certificate = json!({ "subject": subject, "issuer": ISSUER, "payload": statement(DIGEST) });
    for (name, value) in more.as_object().unwrap() {
        certificate[name] = value.clone();
    }
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "certificate": certificate },
    });
    let material = Material::Bundle(bundle.to_string().into_bytes());
    Evidence { origin: format!("by {subject}"), stated_time: None, material }
}

/// A policy file's only policy.
fn policy(text: &str) -> SignaturePolicy {
    let file = format!("version = 1\n[[policy]]\n{text}");
    let parsed = PolicyFile::parse(&file, "file", |_| Err("no file".to_owned())).unwrap();
    parsed.policies.into_iter().next().unwrap().1
}

fn of(subjects: &[&str]) -> SignaturePolicy {
    let identities: Vec<_> = subjects
        .iter()
        .map(|subject| format!("{{ issuer = \"{ISSUER}\", subject = \"{subject}\" }}"))
        .collect();
    policy(&format!("identities = [{}]", identities.join(", ")))
}

/// What counts, or what is unmet and why the rest does not count.
fn judged(policy: &SignaturePolicy, evidence: &[Evidence]) -> Result<Vec<spectra_sign::Accepted>, String> {
    let gathered = Gathered { manifest: MANIFEST.to_vec(), evidence: evidence.to_vec() };
    let verdict = judge(&[("shop".to_owned(), policy.clone())], &image(), &gathered, Some(&Credulous));
    verdict.map(|verdict| verdict.accepted).map_err(|refusal| refusal.to_string())
}

#[test]
fn a_trusted_identity_counts_and_is_named() {
    let accepted = judged(&of(&["*@acme.example"]), &[by("dev@acme.example", &json!({}))]).unwrap();
    let value = serde_json::to_value(&accepted[0]).unwrap();
    assert_eq!(
        value,
        json!({
            "origin": "by dev@acme.example",
            "key": "*@acme.example",
            "certificate": {
                "subject": "dev@acme.example", "issuer": ISSUER, "signed_at": "2026-01-02T03:04:05Z", "log_index": 7,
            },
            "form": "bundle",
            "predicate_type": null,
            "stated_time": "2026-01-02T03:04:05Z",
            "annotations": { "run": "7" },
        })
    );
    assert_eq!(
        judged(&of(&["a@acme.example"]), &[by("a@acme.example", &json!({ "payload": null }))]).unwrap().len(),
        1
    );
}

#[test]
fn nobody_else_counts() {
    let policy = of(&["dev@acme.example"]);
    let refused = |more: Value| judged(&policy, &[by("dev@acme.example", &more)]).unwrap_err();
    insta::assert_snapshot!(judged(&policy, &[by("eve@acme.example", &json!({}))]).unwrap_err(), @"`ghcr.io/acme/shop@sha256:2815c58ad2d36e7a2cf7dac9c2133f12257cb3cd8ba2c6ecc3d381f4fb524934` is not signed as it has to be: policy `shop` wants the signatures of 1 of the identities `dev@acme.example`, and there is none; not counted, `by eve@acme.example`: it is signed by `eve@acme.example` of `https://token.actions.githubusercontent.com`, which is none of the trusted identities");
    assert!(
        refused(json!({ "issuer": "https://issuer.example" })).contains("none of the trusted identities")
    );
    assert!(refused(json!({ "bad": true })).contains("and that does not hold: it was made up"));
    let other = statement(&format!("sha256:{}", "0".repeat(64)));
    assert!(refused(json!({ "payload": other })).contains("it is about another image"));
    assert!(refused(json!({ "type": "text/plain" })).contains("its payload has the type `text/plain`"));
    // Only keys are trusted, or nobody is there to check.
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    let keys = SignaturePolicy {
        keys: vec![TrustedKey { name: "ci".to_owned(), public_key: key.public().clone() }],
        identities: Vec::new(),
        ..policy.clone()
    };
    let evidence = [by("dev@acme.example", &json!({}))];
    assert!(judged(&keys, &evidence).unwrap_err().contains("no identity is trusted here, only keys"));
    let gathered = Gathered { manifest: MANIFEST.to_vec(), evidence: evidence.to_vec() };
    let unchecked = judge(&[("shop".to_owned(), policy)], &image(), &gathered, None).unwrap_err().to_string();
    assert!(unchecked.contains("those are not verified by this build"), "{unchecked}");
    // What is checked has to be what was asked about.
    let gathered = Gathered { manifest: b"{}".to_vec(), evidence: evidence.to_vec() };
    let policies = [("shop".to_owned(), of(&["dev@acme.example"]))];
    let other = judge(&policies, &image(), &gathered, Some(&Credulous)).unwrap_err().to_string();
    assert!(other.contains("does not have the image's digest"), "{other}");
}

/// A simple-signing document under a tag, with the certificate's place beside it.
fn tagged(digest: &str, certificate: &Value) -> Evidence {
    let payload = json!({
        "critical": { "type": "cosign container image signature", "image": { "docker-manifest-digest": digest } },
        "optional": { "run": 7 },
    });
    let beside = TaggedCertificate { certificate: certificate.to_string(), ..TaggedCertificate::default() };
    let material = Material::Simple {
        payload: payload.to_string().into_bytes(),
        signature: String::new(),
        certificate: Some(beside),
    };
    Evidence { origin: "sha256-0.sig#1".to_owned(), stated_time: None, material }
}

#[test]
fn what_lies_under_a_tag_with_a_certificate_counts_as_its_content_does() {
    let policy = of(&["dev@acme.example"]);
    let who = |subject: &str| json!({ "subject": subject, "issuer": ISSUER });
    let accepted = judged(&policy, &[tagged(DIGEST, &who("dev@acme.example"))]).unwrap();
    let found = serde_json::to_value(&accepted[0]).unwrap();
    assert_eq!((&found["form"], &found["annotations"]["run"]), (&"simple-signing".into(), &"7".into()));
    assert_eq!(
        (&found["certificate"]["subject"], &found["fingerprint"]),
        (&"dev@acme.example".into(), &Value::Null)
    );
    let refused = |evidence: Evidence| judged(&policy, &[evidence]).unwrap_err();
    let other = format!("sha256:{}", "0".repeat(64));
    assert!(refused(tagged(&other, &who("dev@acme.example"))).contains("it is about another image"));
    assert!(refused(tagged(DIGEST, &who("eve@acme.example"))).contains("none of the trusted identities"));
    let mut bad = who("dev@acme.example");
    bad["bad"] = true.into();
    assert!(refused(tagged(DIGEST, &bad)).contains("and that does not hold: it was made up"));
    let mut attested = who("dev@acme.example");
    let kind: PredicateType = "slsaprovenance1".parse().unwrap();
    let statement = Statement::attestation("shop", image().digest(), &kind, json!({ "a": 1 }));
    attested["payload"] = serde_json::to_string(&statement).unwrap().into();
    let beside = TaggedCertificate { certificate: attested.to_string(), ..TaggedCertificate::default() };
    let material = Material::Envelope { json: b"{}".to_vec(), certificate: Some(beside) };
    let evidence = Evidence { origin: "sha256-0.att#1".to_owned(), stated_time: None, material };
    assert!(judged(&policy, std::slice::from_ref(&evidence)).is_err(), "an attestation is no signature");
    let wanted =
        SignaturePolicy { required: "none".parse().unwrap(), attestations: vec![kind], ..policy.clone() };
    let accepted = judged(&wanted, std::slice::from_ref(&evidence)).unwrap();
    assert_eq!(serde_json::to_value(&accepted[0]).unwrap()["form"], "envelope");
    let gathered = Gathered { manifest: MANIFEST.to_vec(), evidence: vec![evidence] };
    let unchecked = judge(&[("shop".to_owned(), wanted)], &image(), &gathered, None).unwrap_err().to_string();
    assert!(unchecked.contains("those are not verified by this build"), "{unchecked}");
}

#[test]
fn somebody_counts_once_and_beside_keys() {
    let key = SigningKey::generate(Algorithm::EcdsaP256).unwrap();
    let two = SignaturePolicy {
        keys: vec![TrustedKey { name: "release".to_owned(), public_key: key.public().clone() }],
        required: "2".parse().unwrap(),
        ..of(&["*@acme.example"])
    };
    assert!(two.problems().is_empty(), "{:?}", two.problems());
    let [a, b] = ["a@acme.example", "b@acme.example"].map(|name| by(name, &json!({})));
    insta::assert_snapshot!(judged(&two, &[a.clone(), b]).unwrap_err(), @"`ghcr.io/acme/shop@sha256:2815c58ad2d36e7a2cf7dac9c2133f12257cb3cd8ba2c6ecc3d381f4fb524934` is not signed as it has to be: policy `shop` wants the signatures of 2 of the keys and identities `release`, `*@acme.example`, and there is 1");
    let signed = sign_statement(&key, &Statement::signature(image().digest(), &BTreeMap::new())).unwrap();
    let signed = Evidence { origin: "key".to_owned(), stated_time: None, material: Material::Bundle(signed) };
    assert_eq!(judged(&two, &[a, signed]).unwrap().len(), 2);
}

#[test]
fn an_attestation_of_an_identity_is_no_signature() {
    let kind: PredicateType = "slsaprovenance1".parse().unwrap();
    let said = Statement::attestation("shop", image().digest(), &kind, json!({ "a": 1 }));
    let attestation = by("dev@acme.example", &json!({ "payload": serde_json::to_string(&said).unwrap() }));
    assert!(judged(&of(&["dev@acme.example"]), std::slice::from_ref(&attestation)).is_err());
    let wanted = SignaturePolicy {
        required: "none".parse().unwrap(),
        attestations: vec![kind],
        ..of(&["dev@acme.example"])
    };
    assert_eq!(judged(&wanted, &[attestation]).unwrap()[0].predicate, Some(json!({ "a": 1 })));
}

#[test]
fn a_policy_of_identities_is_read_kept_and_looked_through() {
    let policy = policy(
        "required = 2\nidentities = [{ name = \"ci\", issuer = \"https://i.example\", subject = \"https://github.com/acme/*\" }, \
         { issuer = \"https://i.example\", subject = \"dev@acme.example\" }]",
    );
    assert_eq!(policy.identities[1].name, "dev@acme.example", "without a name, it is called what it is");
    let kept = serde_json::to_value(&policy).unwrap();
    assert_eq!(serde_json::from_value::<SignaturePolicy>(kept).unwrap(), policy);
    let error = |text: &str| {
        let file = format!("version = 1\n[[policy]]\n{text}");
        PolicyFile::parse(&file, "file", |_| Err("no file".to_owned())).unwrap_err().to_string()
    };
    let twice = "{ issuer = \"i\", subject = \"a\" }";
    insta::assert_snapshot!(error(&format!("identities = [{twice}, {twice}]")), @"the signature policy file makes no sense: `policy[0].identities[1].name`: `a` is there twice; `policy[0].identities[1].subject`: it is the identity of `a` too");
    insta::assert_snapshot!(error("required = 2\nidentities = [{ issuer = \"i*\", subject = \"a\" }]"), @"the signature policy file makes no sense: `policy[0].identities[0].issuer`: it is the URL of one issuer, exactly; `policy[0].required`: 2 identities have to sign, and there are only 1");
    assert!(error("identities = [{ issuer = \"i\", subject = \"*@*\" }]").contains("would be anybody"));
    assert!(error("identities = [{ issuer = \"i\" }]").contains("missing field `subject`"));
}

#[test]
fn who_was_named_exactly_was_hidden_by_a_pattern_before() {
    let policy = of(&["*@acme.example", "dev@acme.example"]);
    let names = |who: &str| judged(&policy, &[by(who, &json!({}))]).unwrap()[0].key.clone();
    assert_eq!(
        (names("dev@acme.example"), names("ops@acme.example")),
        ("dev@acme.example".into(), "*@acme.example".into())
    );
    // So that both can sign where both have to.
    let all = SignaturePolicy { required: "all".parse().unwrap(), ..policy };
    let both = [by("ops@acme.example", &json!({})), by("dev@acme.example", &json!({}))];
    assert_eq!(judged(&all, &both).unwrap().len(), 2);
}

/// A policy with these lines for identities, beside the issuer.
fn for_repositories(identities: &[&str]) -> SignaturePolicy {
    let identities: Vec<_> =
        identities.iter().map(|rest| format!("{{ issuer = \"{ISSUER}\", {rest} }}")).collect();
    policy(&format!("identities = [{}]", identities.join(", ")))
}

const REUSED: &str = "https://github.com/acme/flows/.github/workflows/release.yml@refs/heads/main";
const SHOP: &str = "https://github.com/acme/shop";

#[test]
fn a_reusable_workflow_signed_for_whoever_called_it() {
    let policy = for_repositories(&[&format!(
        "name = \"release\", subject = \"{REUSED}\", source_repository = \"{SHOP}\""
    )]);
    let of_shop = by(REUSED, &json!({ "repository": SHOP }));
    let accepted = judged(&policy, std::slice::from_ref(&of_shop)).unwrap();
    let value = serde_json::to_value(&accepted[0]).unwrap();
    assert_eq!(value["certificate"]["source_repository"], SHOP);
    let refused = |policy: &SignaturePolicy, repository: Value| {
        let text = judged(policy, &[by(REUSED, &json!({ "repository": repository }))]).unwrap_err();
        text.rsplit_once("`: ").map(|(_, reason)| reason.to_owned()).unwrap()
    };
    insta::assert_snapshot!(refused(&policy, "https://github.com/eve/shop".into()), @"it is signed by the identity `release` for the source repository `https://github.com/eve/shop`, and that may sign for `https://github.com/acme/shop` alone");
    insta::assert_snapshot!(refused(&policy, Value::Null), @"it is signed by the identity `release`, and the certificate does not name a source repository, which has to be `https://github.com/acme/shop`");
    for other in
        ["", "https://github.com/acme/shop2", "https://github.com/acme/Shop", "https://github.com/acme/shop/"]
    {
        assert!(refused(&policy, other.into()).contains("may sign for `https://github.com/acme/shop` alone"));
    }
    // Whoever is not trusted at all is not told which repository would do.
    let stranger = judged(&policy, &[by("eve@acme.example", &json!({ "repository": SHOP }))]).unwrap_err();
    assert!(stranger.contains("none of the trusted identities"), "{stranger}");
    // Without one, any will do, and none.
    for repository in [json!(SHOP), json!("https://github.com/eve/shop"), Value::Null] {
        judged(&of(&[REUSED]), &[by(REUSED, &json!({ "repository": repository }))]).unwrap();
    }
    let long = refused(&policy, "r".repeat(1 << 20).into());
    assert!(long.len() < 500, "{long:.1000}");
}

#[test]
fn one_workflow_is_as_many_identities_as_it_has_repositories() {
    let policy = for_repositories(&[
        &format!("name = \"any\", subject = \"{REUSED}\""),
        &format!("name = \"shop\", subject = \"{REUSED}\", source_repository = \"{SHOP}\""),
        &format!(
            "name = \"web\", subject = \"{REUSED}\", source_repository = \"https://github.com/acme/web\""
        ),
    ]);
    let name = |repository: &str| {
        judged(&policy, &[by(REUSED, &json!({ "repository": repository }))]).unwrap()[0].key.clone()
    };
    let names = ["https://github.com/acme/web", SHOP, "https://github.com/acme/other"].map(name);
    assert_eq!(names, ["web", "shop", "any"]);
    let kept = serde_json::to_value(&policy).unwrap();
    assert_eq!(kept["identities"][0].get("source_repository"), None, "older programs read it");
    assert_eq!(serde_json::from_value::<SignaturePolicy>(kept).unwrap(), policy);
    let error = |text: &str| {
        let file = format!("version = 1\n[[policy]]\n{text}");
        PolicyFile::parse(&file, "file", |_| Err("no file".to_owned())).unwrap_err().to_string()
    };
    let identity = |name: &str| {
        format!("{{ name = \"{name}\", issuer = \"i\", subject = \"a\", source_repository = \"{SHOP}\" }}")
    };
    let twice = error(&format!("identities = [{}, {}]", identity("a"), identity("b")));
    assert!(twice.contains("it is the identity of `a` too"), "{twice}");
    let short =
        error("identities = [{ issuer = \"i\", subject = \"a\", source_repository = \"acme/shop\" }]");
    assert!(short.contains("`acme/shop` is no source repository"), "{short}");
}

#[test]
fn what_a_refused_bundle_says_was_repeated_whole() {
    let hint = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "h\u{fc}".repeat(1 << 20) } },
        "messageSignature": { "messageDigest": { "algorithm": "SHA2_256", "digest": "" }, "signature": "c2ln" },
    });
    let hinted = Evidence {
        origin: "hinted".to_owned(),
        stated_time: None,
        material: Material::Bundle(hint.to_string().into_bytes()),
    };
    let policy = of(&["dev@acme.example"]);
    let text = judged(&policy, &[hinted]).unwrap_err();
    assert!(text.contains(&format!("names the key `{}…`", "h\u{fc}".repeat(100))), "{text:.2000}");
    let many = "x".repeat(1 << 20);
    let text = judged(&policy, &vec![by(&many, &json!({})); 1]).unwrap_err();
    assert!(text.len() < 2000 && text.contains("xxx…` of `"), "{text:.2000}");
    let others: Vec<_> = (0..50).map(|number| by(&format!("dev{number}@evil.example"), &json!({}))).collect();
    let text = judged(&policy, &others).unwrap_err();
    assert_eq!(text.matches("not counted, ").count(), 20);
    assert!(text.ends_with("; and 30 more that are not counted"), "{text}");
}
