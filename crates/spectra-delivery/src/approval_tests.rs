use spectra_journal::Location;
use spectra_rollout::spec::Approver;

use super::*;

/// RFC 8032 §7.1, test 1.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn request(digest: char) -> RolloutRequest {
    let place = Place {
        project: "p".parse().unwrap(),
        environment: "production".parse().unwrap(),
        service: "api".parse().unwrap(),
    };
    let image = format!("ghcr.io/acme/api@sha256:{}", digest.to_string().repeat(64));
    RolloutRequest::new(place, image.parse().unwrap())
}

fn approver(name: &str, key: &Key) -> Approver {
    Approver { name: name.to_owned(), public_key: key.public_key() }
}

fn rule(required: u32, approvers: Vec<Approver>) -> ApprovalRule {
    ApprovalRule { required, before_start: true, approvers, github_environment: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + second).unwrap()
}

fn say(key: &Key, request: &RolloutRequest, decision: Decision, name: &str, second: i64) -> Signed {
    sign(key, Statement::about(request, decision, name, at(second)))
}

/// A journal, and two people with keys.
struct Desk {
    journal: Journal,
    anna: Key,
    ben: Key,
    _folder: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location: Location = format!("sqlite://{}/journal.db", folder.path().display()).parse().unwrap();
        let journal = Journal::open(&location).await.unwrap();
        Self { journal, anna: Key::generate().unwrap(), ben: Key::generate().unwrap(), _folder: folder }
    }

    /// Digest `a`, approved by `required` of Anna and Ben.
    fn request(&self, required: u32) -> RolloutRequest {
        let approvers = vec![approver("anna", &self.anna), approver("ben", &self.ben)];
        RolloutRequest { approval: Some(rule(required, approvers)), ..request('a') }
    }

    async fn put(&self, signed: &Signed) {
        record(&self.journal, signed).await.unwrap();
    }

    /// As somebody writes who does not ask [`record`].
    async fn force(&self, subject: &str, signed: &Signed) {
        let draft = Draft {
            subject: subject.to_owned(),
            rollout: None,
            kind: signed.decision.kind().to_owned(),
            body: serde_json::to_value(signed).unwrap(),
        };
        self.journal.append(draft).await.unwrap();
    }

    async fn tally(&self, request: &RolloutRequest) -> Tally {
        tally(&self.journal, request).await.unwrap()
    }
}

#[test]
fn keys_are_read_in_every_form() {
    let parse = |text: &[u8]| Key::parse(&Secret::new(text.to_vec())).map(|key| key.public_key());
    assert_eq!(parse(SEED.as_bytes()), Ok(PUBLIC.to_owned()));
    // RFC 8410: the same seed as `openssl genpkey` writes it.
    let mut der =
        vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend(BASE64.decode(SEED).unwrap());
    assert_eq!(parse(&der), Ok(PUBLIC.to_owned()));
    assert_eq!(parse(BASE64.encode(&der).as_bytes()), Ok(PUBLIC.to_owned()));
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(&der));
    assert_eq!(parse(pem.as_bytes()), Ok(PUBLIC.to_owned()));
    for wrong in ["", "hello", "AAAA", "-----BEGIN PRIVATE KEY-----\nAAAA", PUBLIC.trim_end_matches("Ro=")] {
        assert_eq!(parse(wrong.as_bytes()), Err(KeyError::Private), "{wrong}");
    }
}

#[test]
fn a_key_that_was_made_is_read_back_and_not_shown() {
    let key = Key::generate().unwrap();
    let der = key.0.to_pkcs8v1().unwrap();
    let body = BASE64.encode(der.as_ref());
    let pem = Secret::new(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"));
    let again = Key::parse(&Secret::new(pem.expose().clone().into_bytes())).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(format!("{key:?}"), format!("Key({})", key.public_key()));
    assert_eq!(spectra_types::Redactor::global().redact(&body), "[redacted]");
}

#[test]
fn a_public_key_is_read_as_openssl_writes_it() {
    let raw = public_key(PUBLIC).unwrap();
    let der: Vec<u8> = SPKI.into_iter().chain(raw).collect();
    assert_eq!(public_key(&BASE64.encode(der)), Ok(raw));
    assert_eq!(public_key("AAAA"), Err(KeyError::Public));
}

/// The text of the documentation, put together by hand. It must never change under the same number.
#[test]
fn what_is_signed_is_what_the_documentation_says() {
    let request = request('a');
    let statement = Statement::about(&request, Decision::Given, "anna", at(0));
    let mut expected = b"spectra-approval-1".to_vec();
    let digest = format!("sha256:{}", "a".repeat(64));
    for field in
        ["given", "p", "production", "api", &digest, &request.plan_hash(), "anna", "2026-05-28T20:26:40Z"]
    {
        expected.extend((field.len() as u64).to_be_bytes());
        expected.extend(field.bytes());
    }
    assert_eq!(statement.text(), expected);
    let key = Key::parse(&Secret::new(SEED.as_bytes().to_vec())).unwrap();
    let signed = sign(&key, statement);
    let signature = BASE64.decode(&signed.signature).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, BASE64.decode(PUBLIC).unwrap());
    assert!(public.verify(&expected, &signature).is_ok());
}

#[test]
fn every_field_is_signed() {
    let key = Key::generate().unwrap();
    let signed = say(&key, &request('a'), Decision::Given, "anna", 0);
    assert!(signed.is_genuine());
    let other = Key::generate().unwrap().public_key();
    let edits: [fn(&mut Signed); 7] = [
        |signed| signed.decision = Decision::Denied,
        |signed| signed.place.project = "q".parse().unwrap(),
        |signed| signed.place.environment = "staging".parse().unwrap(),
        |signed| signed.place.service = "web".parse().unwrap(),
        |signed| signed.digest = request('b').candidate.digest().clone(),
        |signed| signed.plan_hash.replace_range(0..1, "x"),
        |signed| signed.approver.push('e'),
    ];
    for (index, change) in edits.into_iter().enumerate() {
        let mut changed = signed.clone();
        change(&mut changed);
        assert!(!changed.is_genuine(), "change {index}");
    }
    assert!(!Signed { at: at(1), ..signed.clone() }.is_genuine());
    assert!(!Signed { public_key: other, ..signed }.is_genuine());
}

#[tokio::test]
async fn as_many_as_are_required_approve() {
    let desk = Desk::open().await;
    let request = desk.request(2);
    let missing = standing(&desk.journal, &request).await.unwrap();
    assert!(matches!(&missing, Approval::Missing { message } if message.contains("0 of 2")), "{missing:?}");
    desk.put(&say(&desk.anna, &request, Decision::Given, "anna", 0)).await;
    let Approval::Missing { message } = standing(&desk.journal, &request).await.unwrap() else { panic!() };
    assert!(message.contains("1 of 2 approval(s) are there (anna)"), "{message}");
    desk.put(&say(&desk.ben, &request, Decision::Given, "ben", 1)).await;
    let given = standing(&desk.journal, &request).await.unwrap();
    assert_eq!(given, Approval::Given { by: vec!["anna".to_owned(), "ben".to_owned()] });
}

#[tokio::test]
async fn a_new_digest_voids_an_approval() {
    let desk = Desk::open().await;
    let approved = desk.request(1);
    desk.put(&say(&desk.anna, &approved, Decision::Given, "anna", 0)).await;
    assert!(matches!(standing(&desk.journal, &approved).await.unwrap(), Approval::Given { .. }));
    let new = RolloutRequest { candidate: request('b').candidate, ..approved.clone() };
    let tally = desk.tally(&new).await;
    let other = Ignored::OtherDigest(approved.candidate.digest().clone());
    assert_eq!(tally.ignored, [("anna".to_owned(), other)]);
    let Approval::Missing { message } = tally.approval(&new) else { panic!() };
    assert!(message.contains("anna: it is about another digest"), "{message}");
}

#[tokio::test]
async fn another_plan_voids_an_approval() {
    let desk = Desk::open().await;
    let approved = desk.request(1);
    desk.put(&say(&desk.anna, &approved, Decision::Given, "anna", 0)).await;
    let changed = RolloutRequest { bake: std::time::Duration::from_secs(1), ..approved.clone() };
    let tally = desk.tally(&changed).await;
    assert_eq!(tally.ignored, [("anna".to_owned(), Ignored::OtherPlan(approved.plan_hash()))]);
    assert!(matches!(tally.approval(&changed), Approval::Missing { .. }));
    // What says nothing of how it gets there is no other plan.
    let hurried = RolloutRequest { freeze_override: Some("fire".to_owned()), ..approved };
    assert!(matches!(standing(&desk.journal, &hurried).await.unwrap(), Approval::Given { .. }));
}

#[tokio::test]
async fn strangers_do_not_approve() {
    let desk = Desk::open().await;
    let request = desk.request(1);
    let stranger = Key::generate().unwrap();
    // The name is only what they say.
    desk.put(&say(&stranger, &request, Decision::Given, "anna", 0)).await;
    let tally = desk.tally(&request).await;
    assert_eq!(tally.ignored, [("anna".to_owned(), Ignored::UnknownKey)]);
    assert!(tally.given.is_empty());
}

#[tokio::test]
async fn strangers_deny_nothing() {
    let desk = Desk::open().await;
    let request = desk.request(1);
    desk.put(&say(&desk.anna, &request, Decision::Given, "anna", 0)).await;
    desk.put(&say(&Key::generate().unwrap(), &request, Decision::Denied, "ben", 1)).await;
    assert!(matches!(standing(&desk.journal, &request).await.unwrap(), Approval::Given { .. }));
}

#[tokio::test]
async fn a_forged_signature_is_refused_and_does_not_count() {
    let desk = Desk::open().await;
    let request = desk.request(1);
    let mut forged = say(&Key::generate().unwrap(), &request, Decision::Given, "anna", 0);
    forged.public_key = desk.anna.public_key();
    assert!(matches!(record(&desk.journal, &forged).await, Err(Error::Signature { .. })));
    assert_eq!(desk.journal.head().await.unwrap().0, 0);
    desk.force(&request.place.subject(), &forged).await;
    let tally = desk.tally(&request).await;
    assert_eq!(tally.ignored, [("anna".to_owned(), Ignored::BadSignature)]);
}

#[tokio::test]
async fn a_person_counts_once() {
    let desk = Desk::open().await;
    let mut request = desk.request(2);
    desk.put(&say(&desk.anna, &request, Decision::Given, "anna", 0)).await;
    desk.put(&say(&desk.anna, &request, Decision::Given, "somebody else", 1)).await;
    let tally = desk.tally(&request).await;
    assert_eq!(tally.given, ["anna"]);
    assert_eq!(tally.ignored, [("anna".to_owned(), Ignored::SamePerson)]);
    // Nor does a second key of theirs, or their account at GitHub.
    let second = Key::generate().unwrap();
    request.approval.as_mut().unwrap().approvers.push(approver("Anna", &second));
    desk.put(&say(&second, &request, Decision::Given, "Anna", 2)).await;
    let mut tally = desk.tally(&request).await;
    tally.give("github:anna");
    assert_eq!(tally.given, ["anna"]);
    assert!(matches!(tally.approval(&request), Approval::Missing { .. }));
}

#[tokio::test]
async fn a_refusal_takes_earlier_approvals_back() {
    let desk = Desk::open().await;
    let request = desk.request(1);
    let yes = say(&desk.anna, &request, Decision::Given, "anna", 0);
    desk.put(&yes).await;
    desk.put(&say(&desk.ben, &request, Decision::Denied, "ben", 1)).await;
    let tally = desk.tally(&request).await;
    assert_eq!(tally.ignored, [("anna".to_owned(), Ignored::BeforeDenial("ben".to_owned()))]);
    assert_eq!(tally.approval(&request), Approval::Denied { by: "ben".to_owned() });
    // The old approval, written once more, is no new one.
    desk.put(&yes).await;
    assert_eq!(standing(&desk.journal, &request).await.unwrap(), Approval::Denied { by: "ben".to_owned() });
    desk.put(&say(&desk.anna, &request, Decision::Given, "anna", 2)).await;
    let given = standing(&desk.journal, &request).await.unwrap();
    assert_eq!(given, Approval::Given { by: vec!["anna".to_owned()] });
}

#[tokio::test]
async fn a_record_under_another_service_or_of_another_kind_does_not_count() {
    let desk = Desk::open().await;
    let request = desk.request(1);
    let mut elsewhere = request.clone();
    elsewhere.place.project = "q".parse().unwrap();
    desk.force(&request.place.subject(), &say(&desk.anna, &elsewhere, Decision::Given, "anna", 0)).await;
    let mut draft = serde_json::to_value(say(&desk.ben, &request, Decision::Denied, "ben", 0)).unwrap();
    let subject = request.place.subject();
    let kind = kinds::APPROVAL_GIVEN.to_owned();
    let body = std::mem::take(&mut draft);
    desk.journal.append(Draft { subject, rollout: None, kind, body }).await.unwrap();
    let tally = desk.tally(&request).await;
    assert_eq!(tally.given, Vec::<String>::new());
    assert_eq!(tally.denied, None);
    assert_eq!(tally.ignored[0].1, Ignored::OtherPlace);
    assert!(matches!(tally.ignored[1].1, Ignored::Unreadable(_)));
}
