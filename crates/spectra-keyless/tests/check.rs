//! Keyless bundles of an authority of the test's own, and the same with one thing broken.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at its first surprise")]

mod support;

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use spectra_keyless::{Deferred, Keyless};
use spectra_sign::{CertificateVerifier as _, Proof, Proven, Subject};
use spectra_test_sigstore::{Authority, Content, Oddity, Signed};

use support::{ISSUER, MANIFEST, ODDITIES, WHO, World, digest_of, statement};

const SHOP: &str = "https://github.com/acme/shop";

impl World {
    fn bundle(&self, change: impl FnOnce(&mut Signed<'_>)) -> Value {
        let mut signed = Signed::by(WHO, ISSUER);
        change(&mut signed);
        self.authority.bundle(&signed, Content::Statement(&statement()))
    }

    fn check(&self, bundle: &Value) -> Result<Proof, String> {
        let digest = digest_of(MANIFEST);
        let subject = Subject { digest: &digest, manifest: MANIFEST };
        self.keyless.verify(bundle.to_string().as_bytes(), subject)
    }

    /// Why a bundle does not hold.
    fn wrong(&self, bundle: &Value) -> String {
        self.check(bundle).expect_err("it does not hold")
    }
}

fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

#[test]
fn what_the_authority_and_the_log_vouch_for_holds() {
    let world = World::new();
    let mut when = Timestamp::MIN;
    let bundle = world.bundle(|signed| when = signed.logged);
    let Proof { certified, content } = world.check(&bundle).unwrap();
    assert_eq!((certified.subject.as_str(), certified.issuer.as_str()), (WHO, ISSUER));
    assert_eq!(certified.signed_at, Timestamp::from_second(when.as_second()).unwrap().to_string());
    assert_eq!(certified.log_index, Some(1002));
    let Proven::Envelope { payload_type, payload } = content else { panic!("{content:?}") };
    assert_eq!((payload_type.as_str(), payload), ("application/vnd.in-toto+json", statement()));
    // More entries, so that the way to the root is longer, and the manifest itself.
    for _ in 0..5 {
        world.check(&world.bundle(|_| {})).unwrap();
    }
    let signed = Signed::by("dev@acme.example", ISSUER);
    let message = world.authority.bundle(&signed, Content::Message(MANIFEST));
    let Proof { certified, content } = world.check(&message).unwrap();
    assert_eq!((certified.subject.as_str(), content), ("dev@acme.example", Proven::Manifest));
}

#[test]
fn older_versions_of_bundles_hold_with_a_proof() {
    let world = World::new();
    for version in ["0.1", "0.2"] {
        let mut bundle = world.bundle(|_| {});
        bundle["mediaType"] = format!("application/vnd.dev.sigstore.bundle+json;version={version}").into();
        let certificate = bundle["verificationMaterial"]["certificate"].take();
        bundle["verificationMaterial"].as_object_mut().unwrap().remove("certificate");
        bundle["verificationMaterial"]["x509CertificateChain"] = json!({ "certificates": [certificate] });
        world.check(&bundle).unwrap();
        entry(&mut bundle).as_object_mut().unwrap().remove("inclusionProof");
        assert!(world.wrong(&bundle).contains("no proof that it is in the transparency log"));
    }
}

#[test]
fn a_certificate_of_another_authority_does_not_hold() {
    let (world, other) = (World::new(), World::new());
    let bundle = other.bundle(|_| {});
    // The log is not known either, and its time is the first thing that is asked for.
    assert!(world.wrong(&bundle).contains("log"), "{}", world.wrong(&bundle));
    let mut root = other.authority.trusted_root();
    root["certificateAuthorities"] = world.authority.trusted_root()["certificateAuthorities"].clone();
    let keyless = Keyless::parse(&root.to_string(), "mixed".to_owned()).unwrap();
    let world = World { authority: Authority::new(), keyless };
    // It has the same name, and another key.
    assert!(world.wrong(&bundle).contains("InvalidSignatureForPublicKey"), "{}", world.wrong(&bundle));
}

#[test]
fn an_authority_counts_only_while_it_was_trusted() {
    let world = World::new();
    let bundle = world.bundle(|_| {});
    for (list, said) in [
        ("certificateAuthorities", "no trusted certificate authority is valid"),
        ("tlogs", "No log key valid"),
    ] {
        let mut root = world.authority.trusted_root();
        let of = if list == "tlogs" { &mut root[list][0]["publicKey"] } else { &mut root[list][0] };
        of["validFor"]["end"] = (Timestamp::now() - Duration::from_hours(1)).to_string().into();
        let keyless = Keyless::parse(&root.to_string(), "past".to_owned()).unwrap();
        let past = World { authority: Authority::new(), keyless };
        assert!(past.wrong(&bundle).contains(said), "{}", past.wrong(&bundle));
    }
}

#[test]
fn a_certificate_that_was_not_valid_when_it_was_used_does_not_hold() {
    let world = World::new();
    let late = world.bundle(|signed| {
        signed.certified = Timestamp::now() - Duration::from_hours(2);
        signed.logged = Timestamp::now() - Duration::from_hours(1);
    });
    assert!(world.wrong(&late).contains("Expired"), "{}", world.wrong(&late));
    let early = world.bundle(|signed| signed.logged = signed.certified - Duration::from_hours(1));
    assert!(world.wrong(&early).contains("NotValidYet"), "{}", world.wrong(&early));
    let future = world.bundle(|signed| {
        signed.certified = Timestamp::now() + Duration::from_hours(1);
        signed.logged = signed.certified + Duration::from_secs(5);
    });
    assert!(world.wrong(&future).contains("in the future"), "{}", world.wrong(&future));
    // An hour before it was valid, by a changed time: the log did not promise that.
    let mut moved = late;
    entry(&mut moved)["integratedTime"] = (Timestamp::now().as_second() - 7100).to_string().into();
    assert!(world.wrong(&moved).contains("SET verification failed"), "{}", world.wrong(&moved));
}

#[test]
fn an_odd_certificate_does_not_hold() {
    let world = World::new();
    for (oddity, said) in ODDITIES {
        let bundle = world.bundle(|signed| {
            signed.oddity = oddity;
            signed.source_repository = Some(SHOP);
        });
        let wrong = world.wrong(&bundle);
        assert!(wrong.contains(said), "{oddity:?}: {wrong}");
    }
}

#[test]
fn a_repository_is_what_the_newer_extension_says() {
    let world = World::new();
    let named = |repository: Option<&'static str>, oddity: Oddity| {
        let bundle = world.bundle(|signed| {
            signed.source_repository = repository;
            signed.oddity = oddity;
        });
        world.check(&bundle).unwrap().certified.source_repository
    };
    assert_eq!(named(Some(SHOP), Oddity::None).as_deref(), Some(SHOP));
    assert_eq!(named(None, Oddity::None), None);
    // `acme/shop` alone does not say on which host.
    assert_eq!(named(Some(SHOP), Oddity::OldRepository), None);
    assert_eq!(named(Some(SHOP), Oddity::RawRepository), None);
}

#[test]
fn what_no_log_has_does_not_hold() {
    let world = World::new();
    let mut none = world.bundle(|_| {});
    none["verificationMaterial"]["tlogEntries"] = json!([]);
    assert_eq!(world.wrong(&none), "it is in no transparency log");
    let mut promised = world.bundle(|_| {});
    entry(&mut promised).as_object_mut().unwrap().remove("inclusionProof");
    assert!(world.wrong(&promised).contains("only a promise at best"));
    let mut untimed = world.bundle(|_| {});
    entry(&mut untimed).as_object_mut().unwrap().remove("inclusionPromise");
    assert!(world.wrong(&untimed).contains("no verified timestamp"), "{}", world.wrong(&untimed));
    // One entry with a proof does not let in one without.
    let mut second = world.bundle(|_| {});
    let mut bare = entry(&mut second).clone();
    bare.as_object_mut().unwrap().remove("inclusionProof");
    second["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(bare);
    assert!(world.wrong(&second).contains("only a promise at best"));
}

#[test]
fn a_root_is_read_at_the_first_need_and_once() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    static READ: AtomicU32 = AtomicU32::new(0);
    let world = World::new();
    let root = world.authority.trusted_root().to_string();
    let deferred = Deferred::new(move || {
        READ.fetch_add(1, Relaxed);
        Keyless::parse(&root, "of the test".to_owned()).map_err(|error| error.to_string())
    });
    assert_eq!(READ.load(Relaxed), 0);
    let digest = digest_of(MANIFEST);
    let subject = Subject { digest: &digest, manifest: MANIFEST };
    let bundle = world.bundle(|_| {}).to_string();
    for _ in 0..2 {
        deferred.verify(bundle.as_bytes(), subject).unwrap();
    }
    assert_eq!(READ.load(Relaxed), 1);
    let broken =
        Deferred::new(|| Keyless::parse("{}", "`root.json`".to_owned()).map_err(|error| error.to_string()));
    let wrong = broken.verify(bundle.as_bytes(), subject).unwrap_err();
    assert!(wrong.starts_with("the root of trust `root.json` cannot be used: "), "{wrong}");
    assert!(wrong.ends_with(" [SPX-337]"), "{wrong}");
}

#[test]
fn what_was_made_to_be_slow_is_not_looked_at() {
    let world = World::new();
    let mut bundle = world.bundle(|_| {});
    let checkpoint = &mut entry(&mut bundle)["inclusionProof"]["checkpoint"]["envelope"];
    let text = checkpoint.as_str().unwrap().to_owned();
    let line = text.lines().rfind(|line| line.starts_with('\u{2014}')).unwrap();
    *checkpoint = format!("{text}{}", format!("{line}\n").repeat(16)).into();
    assert_eq!(world.wrong(&bundle), "a checkpoint of it has more than 16 signatures");
    let mut bundle = world.bundle(|_| {});
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    let certificate = material.remove("certificate").unwrap();
    material.insert("x509CertificateChain".to_owned(), json!({ "certificates": vec![certificate; 9] }));
    assert_eq!(world.wrong(&bundle), "its chain has more than 8 certificates");
}

#[test]
fn a_proof_of_something_else_does_not_hold() {
    let world = World::new();
    let (mut bundle, mut other) = (world.bundle(|_| {}), world.bundle(|_| {}));
    let whole = entry(&mut other).clone();
    for (part, said) in [
        ("inclusionProof", "inclusion proof verification failed"),
        ("inclusionPromise", "SET verification failed"),
        ("canonicalizedBody", "SET verification failed"),
    ] {
        let mut changed = bundle.clone();
        entry(&mut changed)[part] = whole[part].clone();
        let wrong = world.wrong(&changed);
        assert!(wrong.contains(said), "{part}: {wrong}");
    }
    // All of another entry, which is in the log.
    *entry(&mut bundle) = whole;
    assert!(world.wrong(&bundle).contains("does not match"), "{}", world.wrong(&bundle));
}

#[test]
fn a_checkpoint_that_no_trusted_log_signed_does_not_hold() {
    let (world, other) = (World::new(), World::new());
    let bundle = world.bundle(|_| {});
    let mut cut = bundle.clone();
    let envelope = &mut entry(&mut cut)["inclusionProof"]["checkpoint"]["envelope"];
    let mut foreign = other.bundle(|_| {});
    let signature =
        entry(&mut foreign)["inclusionProof"]["checkpoint"]["envelope"].as_str().unwrap().to_owned();
    let (note, _) = envelope.as_str().unwrap().split_once("\n\n").unwrap();
    let (_, line) = signature.split_once("\n\n").unwrap();
    *envelope = format!("{note}\n\n{line}").into();
    assert!(world.wrong(&cut).contains("No matching Rekor key"), "{}", world.wrong(&cut));
    // The right name of the key, and no signature of it.
    let mut forged = bundle;
    let envelope = &mut entry(&mut forged)["inclusionProof"]["checkpoint"]["envelope"];
    *envelope =
        envelope.as_str().unwrap().replace("rekor.spectra.test - 4242", "rekor.spectra.test - 4243").into();
    assert!(world.wrong(&forged).contains("No valid Rekor signature"), "{}", world.wrong(&forged));
}

#[test]
fn another_payload_signature_or_image_does_not_hold() {
    let world = World::new();
    let bundle = world.bundle(|_| {});
    let other = world.bundle(|_| {});
    let mut swapped = bundle.clone();
    swapped["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"].clone();
    assert!(world.wrong(&swapped).contains("signature verification failed"), "{}", world.wrong(&swapped));
    let mut certificate = bundle.clone();
    certificate["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"].clone();
    assert!(world.wrong(&certificate).contains("signature verification failed"));
    let digest = digest_of(b"{}");
    let elsewhere = Subject { digest: &digest, manifest: b"{}" };
    let wrong = world.keyless.verify(bundle.to_string().as_bytes(), elsewhere).unwrap_err();
    assert!(wrong.contains("does not match any subject"), "{wrong}");
    let message = world.authority.bundle(&Signed::by(WHO, ISSUER), Content::Message(b"{}"));
    assert!(world.wrong(&message).contains("does not match"), "{}", world.wrong(&message));
    let mut keyed = bundle;
    keyed["verificationMaterial"].as_object_mut().unwrap().remove("certificate");
    keyed["verificationMaterial"]["publicKey"] = json!({ "hint": "x" });
    assert_eq!(world.wrong(&keyed), "it has no certificate");
}

/// Every text in a document, as the way to it.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                texts(value, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                texts(value, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn no_changed_character_holds() {
    let world = World::new();
    let bundle = world.bundle(|_| {});
    let mut found = Vec::new();
    texts(&bundle, "", &mut found);
    assert!(found.len() > 14, "{found:?}");
    for at in &found {
        let text = bundle.pointer(at).unwrap().as_str().unwrap();
        // Behind the dash, a checkpoint names its log for people.
        let end = text.find('\u{2014}').unwrap_or(text.len());
        let places = (0..end).step_by((end / 12).max(1)).filter(|place| text.is_char_boundary(*place));
        for place in places {
            let other = match text[place..].chars().next().unwrap() {
                'A'..='Y' | 'a'..='y' | '0'..='8' => char::from(text.as_bytes()[place] + 1),
                _ => continue,
            };
            let mut changed = bundle.clone();
            *changed.pointer_mut(at).unwrap() =
                format!("{}{other}{}", &text[..place], &text[place + 1..]).into();
            assert!(world.check(&changed).is_err(), "{at}: character {place} became `{other}`");
        }
    }
}

#[test]
fn odd_values_are_no_panic_and_nobody_else() {
    let world = World::new();
    let signed = Signed::by(WHO, ISSUER);
    let bundles = [world.bundle(|_| {}), world.authority.bundle(&signed, Content::Message(MANIFEST))];
    for bundle in bundles {
        let mut found = Vec::new();
        texts(&bundle, "", &mut found);
        for at in &found {
            let odd =
                ["", "-1", "0", "1", "9223372036854775807", "18446744073709551615", "AA==", "MA==", "\u{0}"];
            let odd = odd.map(Value::from).into_iter();
            for value in odd.chain([Value::Null, json!([]), json!({}), json!(0), json!(-1), json!(1e300)]) {
                let mut changed = bundle.clone();
                *changed.pointer_mut(at).unwrap() = value.clone();
                let held = world.check(&changed);
                assert!(held.is_err(), "{at} became {value}: {held:?}");
            }
            let text = bundle.pointer(at).unwrap().as_str().unwrap();
            for length in [1, text.len() / 2, text.len().saturating_sub(4)] {
                let Some(cut) = text.get(..length) else { continue };
                let mut changed = bundle.clone();
                *changed.pointer_mut(at).unwrap() = cut.into();
                // A text of one character is what it was.
                assert!(cut == text || world.check(&changed).is_err(), "{at} was cut to {length}");
            }
            // Whatever is around it may be missing, too.
            for (place, _) in at.match_indices('/').skip(1) {
                let (parent, name) = at[..place].rsplit_once('/').unwrap();
                // A hint: the signature is over the manifest itself.
                if name == "messageDigest" {
                    continue;
                }
                let mut changed = bundle.clone();
                if let Some(members) = changed.pointer_mut(parent).unwrap().as_object_mut() {
                    members.remove(name);
                    assert!(world.check(&changed).is_err(), "{at} without {name}");
                }
            }
        }
    }
}

#[test]
fn a_root_that_trusts_nobody_is_refused() {
    let root = Authority::new().trusted_root();
    let failed = |json: &str| Keyless::parse(json, "`root.json`".to_owned()).err().expect("it is refused");
    for (list, said) in [
        ("tlogs", "it has no transparency log"),
        ("ctlogs", "it has no log of certificates"),
        ("certificateAuthorities", "it has no certificate authority"),
    ] {
        let mut root = root.clone();
        root[list] = json!([]);
        let error = failed(&root.to_string());
        assert!(error.to_string().ends_with(said), "{error}");
        assert_eq!(error.code().as_str(), "SPX-337");
    }
    assert!(failed("{}").to_string().starts_with("the root of trust `root.json` cannot be used: "));
    Keyless::public().unwrap();
}
