//! What cosign attached before version 3: certificates and promises in the annotations of a tag, and the same with one thing
//! broken.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at its first surprise")]

mod support;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use serde_json::{Value, json};
use spectra_sign::{CertificateVerifier as _, Proof, Proven, Subject, TaggedCertificate};
use spectra_test_sigstore::{Content, Entered, Issue, Oddity, Signed, Tagged, pem};

use support::{ISSUER, MANIFEST, ODDITIES, WHO, World, digest_of, statement};

/// What it is about is not looked at here.
const DOCUMENT: &[u8] = br#"{"critical":{"type":"cosign container image signature"}}"#;

/// The forms that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Simple,
    Dsse,
    Intoto,
}

const FORMS: [Form; 3] = [Form::Simple, Form::Dsse, Form::Intoto];

impl World {
    fn make(&self, form: Form, change: impl FnOnce(&mut Signed<'_>)) -> Tagged {
        let mut signed = Signed::by(WHO, ISSUER);
        change(&mut signed);
        match form {
            Form::Simple => self.authority.tagged(&signed, Content::Message(DOCUMENT), Entered::Dsse),
            Form::Dsse => self.authority.tagged(&signed, Content::Statement(&statement()), Entered::Dsse),
            Form::Intoto => self.authority.tagged(&signed, Content::Statement(&statement()), Entered::Intoto),
        }
    }

    fn check(&self, form: Form, tagged: &Tagged) -> Result<Proof, String> {
        self.check_about(form, tagged, MANIFEST)
    }

    fn check_about(&self, form: Form, tagged: &Tagged, manifest: &[u8]) -> Result<Proof, String> {
        let signed = match form {
            Form::Simple => {
                spectra_sign::Tagged::Simple { payload: &tagged.content, signature: &tagged.signature }
            }
            _ => spectra_sign::Tagged::Envelope(&tagged.content),
        };
        let beside = TaggedCertificate {
            certificate: tagged.certificate.clone(),
            chain: tagged.chain.clone(),
            bundle: tagged.bundle.as_str().map_or_else(|| tagged.bundle.to_string(), str::to_owned),
        };
        let digest = digest_of(manifest);
        self.keyless.verify_tagged(signed, &beside, Subject { digest: &digest, manifest })
    }

    /// Why it does not hold.
    fn wrong(&self, form: Form, tagged: &Tagged) -> String {
        self.check(form, tagged).expect_err("it does not hold")
    }
}

#[test]
fn what_the_log_promised_holds_under_a_tag() {
    let world = World::new();
    for form in FORMS {
        let mut when = Timestamp::MIN;
        let tagged = world.make(form, |signed| {
            when = signed.logged;
            signed.source_repository = Some("https://github.com/acme/shop");
        });
        let Proof { certified, content } = world.check(form, &tagged).unwrap();
        assert_eq!((certified.subject.as_str(), certified.issuer.as_str()), (WHO, ISSUER));
        assert_eq!(certified.source_repository.as_deref(), Some("https://github.com/acme/shop"));
        assert_eq!(certified.signed_at, Timestamp::from_second(when.as_second()).unwrap().to_string());
        assert_eq!(Some(certified.log_index.unwrap()), tagged.bundle["Payload"]["logIndex"].as_u64());
        match (form, content) {
            (Form::Simple, Proven::Simple(payload)) => assert_eq!(payload, DOCUMENT),
            (Form::Dsse | Form::Intoto, Proven::Envelope { payload, .. }) => assert_eq!(payload, statement()),
            other => panic!("{other:?}"),
        }
        // The authority is trusted for itself; the chain beside it is not needed.
        world.check(form, &Tagged { chain: String::new(), ..tagged }).unwrap();
    }
}

#[test]
fn a_promise_alone_is_enough_for_no_bundle() {
    let world = World::new();
    let Tagged { certificate, bundle: annotation, content, .. } = world.make(Form::Dsse, |_| {});
    let der: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut entry = json!({
        "logIndex": annotation["Payload"]["logIndex"].to_string(),
        "logId": world.authority.trusted_root()["tlogs"][0]["logId"],
        "kindVersion": { "kind": "dsse", "version": "0.0.1" },
        "integratedTime": annotation["Payload"]["integratedTime"].to_string(),
        "inclusionPromise": { "signedEntryTimestamp": annotation["SignedEntryTimestamp"] },
        "canonicalizedBody": annotation["Payload"]["body"],
    });
    let bundle = |entry: &Value| {
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": {
                "x509CertificateChain": { "certificates": [{ "rawBytes": der }] },
                "tlogEntries": [entry],
            },
            "dsseEnvelope": serde_json::from_slice::<Value>(&content).unwrap(),
        })
    };
    let digest = digest_of(MANIFEST);
    let subject = Subject { digest: &digest, manifest: MANIFEST };
    let wrong =
        |entry: &Value| world.keyless.verify(bundle(entry).to_string().as_bytes(), subject).unwrap_err();
    assert!(wrong(&entry).contains("only a promise at best"), "{}", wrong(&entry));
    entry["inclusionProof"] = Value::Null;
    assert!(wrong(&entry).contains("only a promise at best"), "{}", wrong(&entry));
}

#[test]
fn a_promise_that_no_trusted_log_made_does_not_hold() {
    let (world, other) = (World::new(), World::new());
    for form in FORMS {
        let fresh = || world.make(form, |_| {});
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut tagged = fresh();
            change(&mut tagged.bundle);
            world.wrong(form, &tagged)
        };
        assert_eq!(changed(&|bundle| *bundle = "".into()), "it is in no transparency log");
        let unread = changed(&|bundle| {
            bundle.as_object_mut().unwrap().remove("SignedEntryTimestamp");
        });
        assert!(unread.contains("cannot be read: missing field `SignedEntryTimestamp`"), "{unread}");
        let empty = changed(&|bundle| bundle["SignedEntryTimestamp"] = "".into());
        assert!(empty.contains("SET verification failed"), "{empty}");
        for (member, value) in [("integratedTime", 1), ("logIndex", 1)] {
            let moved = changed(&|bundle| {
                bundle["Payload"][member] = (bundle["Payload"][member].as_i64().unwrap() + value).into();
            });
            assert!(moved.contains("SET verification failed"), "{moved}");
        }
        let unknown = changed(&|bundle| bundle["Payload"]["logID"] = "0".repeat(64).into());
        assert!(unknown.contains("No log key valid"), "{unknown}");
        changed(&|bundle| bundle["Payload"]["integratedTime"] = 0.into());
        // The same entry, promised by another log under this one's number.
        let mut tagged = fresh();
        tagged.bundle = other.authority.promise(&tagged.body, Timestamp::now() - Duration::from_secs(55));
        tagged.bundle["Payload"]["logID"] = world.make(form, |_| {}).bundle["Payload"]["logID"].clone();
        assert!(world.wrong(form, &tagged).contains("SET verification failed"));
        // A promise of another entry.
        let (mut one, two) = (fresh(), fresh());
        one.bundle["SignedEntryTimestamp"] = two.bundle["SignedEntryTimestamp"].clone();
        assert!(world.wrong(form, &one).contains("SET verification failed"));
    }
}

#[test]
fn a_certificate_that_does_not_hold_does_not_hold_under_a_tag() {
    let (world, other) = (World::new(), World::new());
    for form in FORMS {
        for (oddity, said) in ODDITIES {
            let tagged = world.make(form, |signed| {
                signed.oddity = oddity;
                signed.source_repository = Some("https://github.com/acme/shop");
            });
            let wrong = world.wrong(form, &tagged);
            assert!(wrong.contains(said), "{oddity:?}: {wrong}");
        }
        let late = world.make(form, |signed| {
            signed.certified = Timestamp::now() - Duration::from_hours(2);
            signed.logged = Timestamp::now() - Duration::from_hours(1);
        });
        assert!(world.wrong(form, &late).contains("Expired"), "{}", world.wrong(form, &late));
        let early = world.make(form, |signed| signed.logged = signed.certified - Duration::from_hours(1));
        assert!(world.wrong(form, &early).contains("NotValidYet"), "{}", world.wrong(form, &early));
        let future = world.make(form, |signed| {
            signed.certified = Timestamp::now() + Duration::from_hours(1);
            signed.logged = signed.certified + Duration::from_secs(5);
        });
        assert!(world.wrong(form, &future).contains("in the future"), "{}", world.wrong(form, &future));
        // Of another authority, with its chain beside it, in our log.
        let mut foreign = other.make(form, |_| {});
        foreign.bundle = world.authority.promise(&foreign.body, Timestamp::now() - Duration::from_secs(50));
        let wrong = world.wrong(form, &foreign);
        assert!(wrong.contains("InvalidSignatureForPublicKey"), "{wrong}");
    }
}

#[test]
fn an_entry_about_something_else_does_not_hold() {
    let world = World::new();
    let at = || Timestamp::now() - Duration::from_secs(50);
    for form in FORMS {
        // All of another entry.
        let mut tagged = world.make(form, |_| {});
        tagged.bundle = world.make(form, |_| {}).bundle;
        assert!(world.wrong(form, &tagged).contains("does not match"), "{}", world.wrong(form, &tagged));
        // One thing in it that is another's; the log entered and promised it.
        let parts: &[&str] = match form {
            Form::Simple => {
                &["/spec/data/hash/value", "/spec/signature/content", "/spec/signature/publicKey/content"]
            }
            Form::Dsse => {
                &["/spec/payloadHash/value", "/spec/signatures/0/signature", "/spec/signatures/0/verifier"]
            }
            Form::Intoto => &[
                "/spec/content/payloadHash/value",
                "/spec/content/envelope/signatures/0/sig",
                "/spec/content/envelope/signatures/0/publicKey",
            ],
        };
        for part in parts {
            let (mut tagged, mut other) = (world.make(form, |_| {}), world.make(form, |_| {}).body);
            if part.contains("ash") {
                *other.pointer_mut(part).unwrap() = "00".repeat(32).into();
            }
            let mut body = tagged.body.clone();
            *body.pointer_mut(part).unwrap() = other.pointer(part).unwrap().clone();
            tagged.bundle = world.authority.promise(&body, at());
            let wrong = world.wrong(form, &tagged);
            assert!(wrong.contains("match"), "{form:?} {part}: {wrong}");
            tagged.bundle = world.authority.promise(&tagged.body, at());
            world.check(form, &tagged).unwrap();
        }
        // Entries of other kinds.
        let mut tagged = world.make(form, |_| {});
        let another = if form == Form::Simple { Form::Dsse } else { Form::Simple };
        tagged.bundle = world.make(another, |_| {}).bundle;
        assert!(world.wrong(form, &tagged).contains("incompatible"), "{}", world.wrong(form, &tagged));
        let mut old = tagged.body.clone();
        old["kind"] = "intoto".into();
        old["apiVersion"] = "0.0.1".into();
        tagged.bundle = world.authority.promise(&old, at());
        assert_eq!(world.wrong(form, &tagged), "entries of the kind `intoto` 0.0.1 are not read");
    }
}

#[test]
fn another_certificate_for_the_same_key_is_not_the_one_in_the_log() {
    let world = World::new();
    for form in FORMS {
        let mut tagged = world.make(form, |_| {});
        let second = world.authority.issue(&Issue {
            identity: "eve@acme.example",
            issuer: ISSUER,
            source_repository: None,
            key: &tagged.key.spki(),
            from: Timestamp::now() - Duration::from_mins(1),
            oddity: Oddity::None,
        });
        tagged.certificate = pem("CERTIFICATE", &second);
        let wrong = world.wrong(form, &tagged);
        assert!(
            wrong.contains("match") || wrong.contains("is about another certificate"),
            "{form:?}: {wrong}"
        );
    }
}

#[test]
fn a_changed_document_signature_or_image_does_not_hold() {
    let world = World::new();
    for form in FORMS {
        let mut certificate = world.make(form, |_| {});
        certificate.certificate = world.make(form, |_| {}).certificate;
        assert!(world.wrong(form, &certificate).contains("signature verification failed"));
    }
    let mut document = world.make(Form::Simple, |_| {});
    document.content.push(b' ');
    assert!(world.wrong(Form::Simple, &document).contains("signature verification failed"));
    let mut signature = world.make(Form::Simple, |_| {});
    signature.signature = world.make(Form::Simple, |_| {}).signature;
    assert!(world.wrong(Form::Simple, &signature).contains("signature verification failed"));
    signature.signature = String::new();
    world.wrong(Form::Simple, &signature);
    for form in [Form::Dsse, Form::Intoto] {
        let whole = world.make(form, |_| {});
        let wrong = world.check_about(form, &whole, b"{}").unwrap_err();
        assert!(wrong.contains("does not match any subject"), "{wrong}");
        let changed = |part: &str, value: Value| {
            let mut tagged = world.make(form, |_| {});
            let mut envelope: Value = serde_json::from_slice(&tagged.content).unwrap();
            *envelope.pointer_mut(part).unwrap() = value;
            tagged.content = envelope.to_string().into_bytes();
            world.wrong(form, &tagged)
        };
        let spaced = BASE64.encode([statement(), b" ".to_vec()].concat());
        assert!(changed("/payload", spaced.into()).contains("signature verification failed"));
        assert!(changed("/payloadType", "text/plain".into()).contains("unsupported DSSE payload type"));
        let two = json!([{ "sig": "AAAA" }, { "sig": "AAAA" }]);
        changed("/signatures", two);
        for odd in ["", "[]", "null", "{}", "\"x\""] {
            let tagged = Tagged { content: odd.as_bytes().to_vec(), ..world.make(form, |_| {}) };
            world.wrong(form, &tagged);
        }
    }
}

#[test]
fn odd_texts_beside_it_are_refused() {
    let world = World::new();
    let form = Form::Simple;
    let whole = world.make(form, |_| {});
    let (certificate, chain) = (whole.certificate.clone(), whole.chain.clone());
    let with = |certificate: String, chain: String| {
        let mut tagged = world.make(form, |_| {});
        (tagged.certificate, tagged.chain) = (certificate, chain);
        world.wrong(form, &tagged)
    };
    assert_eq!(
        with(String::new(), chain.clone()),
        "there are 0 certificates where the one that signed is, expected 1"
    );
    assert!(with(certificate.repeat(2), chain.clone()).starts_with("there are 2 certificates"));
    assert_eq!(with(certificate.clone(), "x".to_owned()), "there is more beside it than certificates");
    assert!(with(certificate.clone(), "-----END CERTIFICATE-----".to_owned()).contains("cannot be read"));
    assert_eq!(with(certificate, chain.repeat(5)), "its chain has more than 8 certificates");
    for odd in ["null", "[]", "{}", "{", "{\"SignedEntryTimestamp\":\"\",\"Payload\":{}}"] {
        let tagged = Tagged { bundle: odd.into(), ..world.make(form, |_| {}) };
        assert!(world.wrong(form, &tagged).starts_with("the entry of the log cannot be read: "));
    }
    for (member, odd) in [
        ("body", json!("*")),
        ("logIndex", json!(-1)),
        ("logID", json!("00")),
        ("integratedTime", json!(i64::MAX)),
    ] {
        let mut tagged = world.make(form, |_| {});
        tagged.bundle["Payload"][member] = odd;
        world.wrong(form, &tagged);
    }
}
