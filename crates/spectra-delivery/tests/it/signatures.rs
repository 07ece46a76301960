//! The signatures that an image needs, from a delivery's side: what is refused, what is recorded, and that nothing happens before.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use spectra_delivery::settings::Settings;
use spectra_delivery::{
    DEFAULT_TTL, Delivered, Error, Signatures, Standing, Waiting, admitted, history, kinds,
};
use spectra_journal::{Acquisition, Held, Holder, Query};
use spectra_rollout::{DeploymentPolicy, Outcome, Reach, RolloutRequest};
use spectra_sign::{
    Algorithm, Evidence, EvidenceFuture, EvidenceSource, Gathered, Material, SignaturePolicy, SigningKey,
    Statement, Threshold, TrustedKey, Unavailable, sign_statement,
};
use spectra_types::{ExitCode, HumanDuration, ImageRef, PinnedImage};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// A registry that knows the signatures of some images, and remembers which it was asked for.
#[derive(Default)]
struct Shelf {
    bundles: BTreeMap<String, Vec<u8>>,
    out_of_order: bool,
    asked: Mutex<Vec<String>>,
}

impl Shelf {
    fn sign(&mut self, key: &SigningKey, image: &PinnedImage) {
        let statement = Statement::signature(image.digest(), &BTreeMap::new());
        self.bundles.insert(image.digest().to_string(), sign_statement(key, &statement).unwrap());
    }
}

impl EvidenceSource for Shelf {
    fn gather<'a>(&'a self, image: &'a PinnedImage) -> EvidenceFuture<'a> {
        self.asked.lock().unwrap().push(image.digest().to_string());
        Box::pin(async move {
            if self.out_of_order {
                return Err(Unavailable { image: image.clone(), source: "out of order".into() });
            }
            let bundle = self.bundles.get(&image.digest().to_string()).cloned();
            let evidence = bundle.map(|bundle| Evidence {
                origin: "shelf".to_owned(),
                stated_time: None,
                material: Material::Bundle(bundle),
            });
            Ok(Gathered { manifest: Vec::new(), evidence: evidence.into_iter().collect() })
        })
    }
}

fn by(key: &SigningKey) -> SignaturePolicy {
    SignaturePolicy {
        repositories: Vec::new(),
        keys: vec![TrustedKey { name: "ci".to_owned(), public_key: key.public().clone() }],
        identities: Vec::new(),
        required: Threshold::Any,
        attestations: Vec::new(),
    }
}

fn policy(signatures: Option<SignaturePolicy>) -> DeploymentPolicy {
    DeploymentPolicy { signatures, ..DeploymentPolicy::new("signed", Reach::Everything) }
}

async fn put_all(world: &World, policy: DeploymentPolicy) {
    let by = Holder::of_this_process("test");
    Settings::of(&world.journal).put("signed", &policy, &by).await.unwrap();
}

async fn put(world: &World, signatures: SignaturePolicy) {
    put_all(world, policy(Some(signatures))).await;
}

#[tokio::test]
async fn an_image_that_the_policy_does_not_accept_is_refused_before_anything_happens() {
    let world = World::start().await;
    let first = world.push("v1", &[]).await;
    let place = world.web(&first).await;
    let second = world.push("v2", &[]).await;
    let [key, stranger] = [(); 2].map(|()| SigningKey::generate(Algorithm::EcdsaP256).unwrap());
    put(&world, by(&key)).await;
    let mut shelf = Shelf::default();
    shelf.sign(&stranger, &second);
    let never = CancellationToken::new();
    let head = world.journal.head().await.unwrap();
    let request = || RolloutRequest::new(place.clone(), second.clone());

    let mut delivery = world.delivery(&|_| {});
    delivery.signatures.source = Some(&shelf);
    let error = delivery.deliver(request(), &never).await.unwrap_err();
    assert_eq!((error.exit_code(), error.code().as_str()), (ExitCode::GateRefused, "SPX-335"));
    let Error::Unsigned(refusal) = error else { panic!("{error}") };
    assert_eq!((refusal.unmet.len(), refusal.rejected.len()), (1, 1));

    // Not knowing refuses as well, and so does having nobody to ask.
    for source in [Some(&Shelf { out_of_order: true, ..Shelf::default() } as &dyn EvidenceSource), None] {
        let mut delivery = world.delivery(&|_| {});
        delivery.signatures.source = source;
        let error = delivery.deliver(request(), &never).await.unwrap_err();
        assert!(matches!(error, Error::SignaturesUnavailable(_)), "{error}");
    }
    assert_eq!(world.journal.head().await.unwrap(), head, "nothing was written");
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    world.is_in_order().await;
}

#[tokio::test]
async fn a_signed_image_is_rolled_out_and_the_record_says_who_signed() {
    let world = World::start().await;
    let place = world.web(&world.push("v1", &[]).await).await;
    let second = world.push("v2", &[]).await;
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    put(&world, by(&key)).await;
    let mut shelf = Shelf::default();
    shelf.sign(&key, &second);
    let mut delivery = world.delivery(&|_| {});
    delivery.signatures.source = Some(&shelf);
    let never = CancellationToken::new();
    let delivered = delivery.deliver(RolloutRequest::new(place, second.clone()), &never).await.unwrap();
    assert!(matches!(delivered.report.outcome, Outcome::Complete { .. }), "{}", delivered.report.outcome);
    assert_eq!(*shelf.asked.lock().unwrap(), [second.digest().to_string()], "by digest, and once");
    let query = Query { kinds: vec![kinds::SIGNATURES.to_owned()], ..Query::default() };
    let records = world.journal.records(&query).await.unwrap();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!(record.rollout.as_deref(), Some(delivered.report.rollout.as_str()));
    assert_eq!(record.body["accepted"][0]["fingerprint"], key.public().fingerprint().to_string());
    world.is_in_order().await;
}

#[tokio::test]
async fn a_policy_that_was_given_besides_has_to_be_met_as_well() {
    let world = World::start().await;
    let place = world.web(&world.push("v1", &[]).await).await;
    let second = world.push("v2", &[]).await;
    let [key, release] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap());
    put(&world, by(&key)).await;
    let mut shelf = Shelf::default();
    shelf.sign(&key, &second);
    let besides = [("release".to_owned(), by(&release))];
    let mut delivery = world.delivery(&|_| {});
    delivery.signatures = Signatures { source: Some(&shelf), policies: &besides, ..Signatures::default() };
    let never = CancellationToken::new();
    let error = delivery.deliver(RolloutRequest::new(place, second), &never).await.unwrap_err();
    let Error::Unsigned(refusal) = error else { panic!("{error}") };
    assert!(refusal.unmet[0].contains("policy `release`"), "{refusal}");
}

/// Delivers a signed image that has to wait for its lease; `meanwhile` happens while it waits. How often the registry was asked comes
/// with it.
async fn queued(
    world: &World,
    key: &SigningKey,
    request: RolloutRequest,
    meanwhile: impl Future<Output = ()>,
) -> (Result<Delivered, Error>, usize) {
    let mut shelf = Shelf::default();
    shelf.sign(key, &request.candidate);
    let other = Holder::of_this_process("other");
    let taken = world.journal.acquire(&request.place.subject(), other, DEFAULT_TTL).await.unwrap();
    let Acquisition::Acquired(lease) = taken else { panic!("nobody else has it") };
    let waits = Notify::new();
    let told = |_: &Held| waits.notify_one();
    let mut delivery = world.delivery(&|_| {});
    delivery.signatures.source = Some(&shelf);
    delivery.waiting = Waiting { at_most: Duration::from_mins(1), told: &told, ttl: DEFAULT_TTL };
    let never = CancellationToken::new();
    let both = async {
        tokio::join!(delivery.deliver(request, &never), async {
            waits.notified().await;
            meanwhile.await;
            lease.release().await.unwrap();
        })
    };
    let (delivered, ()) = tokio::time::timeout(Duration::from_mins(1), both).await.unwrap();
    let asked = shelf.asked.lock().unwrap().len();
    (delivered, asked)
}

#[tokio::test]
async fn a_queued_rollout_began_although_the_policy_had_changed_while_it_waited() {
    let world = World::start().await;
    let first = world.push("v1", &[]).await;
    let place = world.web(&first).await;
    let second = world.push("v2", &[]).await;
    let [key, stranger] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap());
    let request = || RolloutRequest::new(place.clone(), second.clone());
    put(&world, by(&key)).await;
    // The key that had signed counts no more.
    let (refused, _) = queued(&world, &key, request(), put(&world, by(&stranger))).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Unsigned(_)), "{error}");
    // Another rule.
    put(&world, by(&key)).await;
    let bake = Some(HumanDuration::new(Duration::from_mins(5)));
    let stricter = DeploymentPolicy { minimum_bake: bake, ..policy(Some(by(&key))) };
    let (refused, _) = queued(&world, &key, request(), put_all(&world, stricter)).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Policy { .. }), "{error}");
    assert_eq!(history(&world.journal, Some(&place.subject()), 10).await.unwrap().len(), 0, "none was begun");
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    // Where nothing changes, the registry is not asked a second time.
    put(&world, by(&key)).await;
    let (delivered, asked) = queued(&world, &key, request(), async {}).await;
    let outcome = delivered.unwrap().report.outcome;
    assert!(matches!(outcome, Outcome::Complete { .. }), "{outcome}");
    assert_eq!(asked, 1);
    world.is_in_order().await;
}

/// A registry that accepts connections and says nothing.
#[derive(Default)]
struct Silent(Notify);

impl EvidenceSource for Silent {
    fn gather<'a>(&'a self, _: &'a PinnedImage) -> EvidenceFuture<'a> {
        self.0.notify_one();
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn a_signal_had_no_effect_while_signatures_were_looked_for() {
    let world = World::start().await;
    let first = world.push("v1", &[]).await;
    let place = world.web(&first).await;
    let second = world.push("v2", &[]).await;
    put(&world, by(&SigningKey::generate(Algorithm::Ed25519).unwrap())).await;
    let head = world.journal.head().await.unwrap();
    let silent = Silent::default();
    let mut delivery = world.delivery(&|_| {});
    delivery.signatures.source = Some(&silent);
    let cancel = CancellationToken::new();
    let both = async {
        tokio::join!(delivery.deliver(RolloutRequest::new(place.clone(), second), &cancel), async {
            silent.0.notified().await;
            cancel.cancel();
        })
    };
    let (ended, ()) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }) && error.changed_nothing(), "{error}");
    assert_eq!((error.exit_code(), error.code().as_str()), (ExitCode::Interrupted, "SPX-446"));
    assert_eq!(world.journal.head().await.unwrap(), head, "nothing was written");
    assert_eq!(world.runs(&place).await, first.digest().to_string());
}

#[tokio::test]
async fn an_image_without_a_rollout_is_held_against_the_same_policies() {
    let world = World::start().await;
    let first = world.push("v1", &[]).await;
    let place = world.web(&first).await;
    let second = world.push("v2", &[]).await;
    let [key, stranger] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519).unwrap());
    let mut shelf = Shelf::default();
    shelf.sign(&key, &second);
    let never = CancellationToken::new();
    let ask = async |image: &ImageRef| {
        let signatures = Signatures { source: Some(&shelf), ..Signatures::default() };
        admitted(&world.journal, &signatures, (&place.project, &place.environment), image, &never).await
    };
    let tag: ImageRef = format!("{}/{}:v2", second.registry(), second.repository()).parse().unwrap();
    let digest = second.image_ref();
    assert!(ask(&tag).await.unwrap().is_none(), "no policy, no question");

    put(&world, by(&stranger)).await;
    let error = ask(&digest).await.unwrap_err();
    assert_eq!(error.code().as_str(), "SPX-335", "{error}");
    put(&world, by(&key)).await;
    let error = ask(&tag).await.unwrap_err();
    let Error::Policy { violations } = &error else { panic!("{error}") };
    assert!(violations.len() == 1 && violations[0].is_about_the_digest(), "{error}");

    let let_in = ask(&digest).await.unwrap().unwrap();
    let by_whom = Holder::of_this_process("test");
    let_in.write_down(&world.journal, &place, &by_whom).await.unwrap();
    let query = Query { kinds: vec![kinds::SIGNATURES.to_owned()], ..Query::default() };
    let records = world.journal.records(&query).await.unwrap();
    let [record] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((record.subject.as_str(), record.rollout.as_deref()), (place.subject().as_str(), None));
    assert_eq!(record.body["accepted"][0]["fingerprint"], key.public().fingerprint().to_string());
    assert_eq!(record.body["image"], second.to_string());

    // What takes a rollout refuses it, however it is signed.
    put_all(&world, DeploymentPolicy { health_required: true, ..policy(Some(by(&key))) }).await;
    let error = ask(&digest).await.unwrap_err();
    assert!(matches!(&error, Error::Policy { violations } if violations.len() == 1), "{error}");
    // It says nothing of the service's rollouts.
    let standing = spectra_delivery::standing(&world.journal, &place.subject()).await.unwrap();
    assert!(matches!(standing, Standing::None), "{standing:?}");
    world.is_in_order().await;
}
