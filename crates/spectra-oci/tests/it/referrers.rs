//! Attaching to images, and finding what is attached.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use spectra_oci::{Attachment, Client, ClientOptions, Keychain, NoProgress, PushOptions, RetryPolicy};
use spectra_sign::{
    Algorithm, BUNDLE_MEDIA_TYPE, EvidenceSource as _, Material, SignaturePolicy, SigningKey, Statement,
    TaggedCertificate, TrustedKey, judge, sign_statement,
};
use spectra_types::PinnedImage;

use crate::fake::{self, Fake};

/// A client that waits long enough between looks for another one to have written what it began.
fn patient() -> Client {
    let retry = RetryPolicy { base: Duration::from_millis(150), ..RetryPolicy::default() };
    Client::new(Keychain::empty(), ClientOptions { retry, ..ClientOptions::default() })
}

async fn pushed(fake: &Fake) -> PinnedImage {
    let directory = tempfile::tempdir().unwrap();
    let artifact = fake::image(directory.path(), 10);
    let target = fake.image("team/app:1");
    let (client, options) = (fake::client(), PushOptions::default());
    client.push(&target, &artifact, &options, Arc::new(NoProgress)).await.unwrap().image
}

fn note(text: &str, kind: &str) -> Attachment {
    Attachment {
        artifact_type: kind.to_owned(),
        media_type: "text/plain".to_owned(),
        content: text.as_bytes().to_vec(),
        annotations: BTreeMap::from([("note".to_owned(), text.to_owned())]),
    }
}

async fn digests(image: &PinnedImage, kind: Option<&str>) -> Vec<String> {
    let found = fake::client().referrers(image, kind).await.unwrap();
    let mut digests: Vec<_> = found.iter().map(|entry| entry.digest.to_string()).collect();
    digests.sort();
    digests
}

#[tokio::test]
async fn a_registry_that_keeps_the_list_is_left_to_keep_it() {
    let fake = Fake::start().await;
    fake.lock().lists_referrers = true;
    let image = pushed(&fake).await;
    let client = fake::client();
    let one = client.attach(&image, &note("one", "text/note")).await.unwrap();
    let two = client.attach(&image, &note("two", "text/note")).await.unwrap();
    let other = client.attach(&image, &note("three", "text/other")).await.unwrap();
    assert_eq!((one.fallback_tag, two.fallback_tag, other.fallback_tag), (None, None, None));
    assert_eq!(fake.count("PUT", "/manifests/sha256-"), 0);
    // Three pages of one entry each, and the filter on each of them.
    let mut notes = [one.manifest.digest.to_string(), two.manifest.digest.to_string()];
    notes.sort();
    assert_eq!(digests(&image, None).await.len(), 3);
    assert_eq!(digests(&image, Some("text/note")).await, notes);
    assert!(fake.lock().violations.is_empty());
}

#[tokio::test]
async fn without_a_list_of_the_registry_the_tag_has_it_and_again_changes_nothing() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    let client = fake::client();
    let first = client.attach(&image, &note("one", "text/note")).await.unwrap();
    assert_eq!(first.fallback_tag, Some(format!("sha256-{}", image.digest().hex())));
    let second = client.attach(&image, &note("two", "text/other")).await.unwrap();
    let writes = fake.count("PUT", "/manifests/sha256-");
    assert_eq!(client.attach(&image, &note("one", "text/note")).await.unwrap(), first);
    assert_eq!(fake.count("PUT", "/manifests/sha256-"), writes);
    assert_eq!(digests(&image, None).await.len(), 2);
    assert_eq!(digests(&image, Some("text/other")).await, [second.manifest.digest.to_string()]);
    let entry = &client.referrers(&image, Some("text/note")).await.unwrap()[0];
    assert_eq!(entry.annotations["note"], "one");
}

/// Both read the list before either writes it.
async fn two_at_once(keeps_conditions: bool) {
    let fake = Fake::start().await;
    fake.lock().keeps_conditions = keeps_conditions;
    let image = pushed(&fake).await;
    fake.lock().readers_meet = Some(Arc::new(tokio::sync::Barrier::new(2)));
    let (one, two) = (patient(), patient());
    let (note_one, note_two) = (note("one", "text/note"), note("two", "text/note"));
    let (one, two) = tokio::join!(one.attach(&image, &note_one), two.attach(&image, &note_two));
    let mut both = [one, two].map(|attached| attached.unwrap().manifest.digest.to_string());
    both.sort();
    assert_eq!(digests(&image, None).await, both);
}

#[tokio::test]
async fn ggcr_fallback_race_two_at_once_lose_nothing_where_conditions_are_kept() {
    Box::pin(two_at_once(true)).await;
}

#[tokio::test]
async fn ggcr_fallback_race_two_at_once_lose_nothing_where_conditions_are_ignored() {
    Box::pin(two_at_once(false)).await;
}

#[tokio::test]
async fn cosign_4641_a_list_that_does_not_say_the_type_hides_nothing() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    let attached = fake::client().attach(&image, &note("one", "text/note")).await.unwrap();
    let key = ("team/app".to_owned(), attached.fallback_tag.unwrap());
    {
        let mut state = fake.lock();
        let (_, bytes) = state.manifests.get_mut(&key).unwrap();
        let mut index: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        index["manifests"][0]["artifactType"] = "application/vnd.oci.empty.v1+json".into();
        *bytes = index.to_string().into_bytes();
    }
    assert_eq!(digests(&image, Some("text/note")).await, [attached.manifest.digest.to_string()]);
}

#[tokio::test]
async fn a_signature_that_was_attached_is_gathered_and_counts() {
    for lists_referrers in [true, false] {
        let fake = Fake::start().await;
        fake.lock().lists_referrers = lists_referrers;
        let image = pushed(&fake).await;
        let key = SigningKey::generate(Algorithm::EcdsaP256).unwrap();
        let bundle = sign_statement(&key, &Statement::signature(image.digest(), &BTreeMap::new())).unwrap();
        let attach = |content: &[u8]| Attachment {
            artifact_type: BUNDLE_MEDIA_TYPE.to_owned(),
            media_type: BUNDLE_MEDIA_TYPE.to_owned(),
            content: content.to_vec(),
            annotations: BTreeMap::new(),
        };
        let client = fake::client();
        client.attach(&image, &attach(&bundle)).await.unwrap();
        client.attach(&image, &attach(b"no bundle")).await.unwrap();
        client.attach(&image, &note("no signature", "text/note")).await.unwrap();
        let gathered = client.gather(&image).await.unwrap();
        assert_eq!(gathered.evidence.len(), 2, "{gathered:?}");
        let trusted = TrustedKey { name: "ci".to_owned(), public_key: key.public().clone() };
        let policy = SignaturePolicy {
            repositories: Vec::new(),
            keys: vec![trusted],
            identities: Vec::new(),
            required: "any".parse().unwrap(),
            attestations: Vec::new(),
        };
        let verdict = judge(&[("test".to_owned(), policy)], &image, &gathered, None).unwrap();
        assert_eq!((verdict.accepted.len(), verdict.rejected.len()), (1, 1));
    }
}

#[tokio::test]
async fn a_blob_that_is_gone_concerns_its_signature_alone() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    let attachment = Attachment {
        artifact_type: BUNDLE_MEDIA_TYPE.to_owned(),
        media_type: BUNDLE_MEDIA_TYPE.to_owned(),
        content: b"bundle".to_vec(),
        annotations: BTreeMap::new(),
    };
    fake::client().attach(&image, &attachment).await.unwrap();
    let layers = fake.lock().blobs.iter().find(|(_, bytes)| *bytes == b"bundle").map(|(key, _)| key.clone());
    fake.lock().blobs.remove(&layers.unwrap());
    let gathered = fake::client().gather(&image).await.unwrap();
    let [evidence] = gathered.evidence.as_slice() else { panic!("{gathered:?}") };
    assert!(
        matches!(&evidence.material, Material::Unreadable(reason) if reason.contains("does not have it"))
    );
}

/// Whoever may attach must not be able to keep everybody from verifying.
#[tokio::test]
async fn a_document_that_is_refused_concerns_its_signature_alone() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    let hex = image.digest().hex();
    let twice = br#"{"schemaVersion":2,"layers":[],"Layers":[]}"#;
    let digest = fake::digest(twice);
    let (manifest, index) = (spectra_oci::media_type::MANIFEST, spectra_oci::media_type::INDEX);
    let list = format!(
        r#"{{"schemaVersion":2,"mediaType":"{index}","manifests":[{{"mediaType":"{manifest}","digest":"{digest}","size":{},"artifactType":"{BUNDLE_MEDIA_TYPE}"}}]}}"#,
        twice.len()
    );
    let put = |reference: String, media_type: &str, bytes: &[u8]| {
        let entry = (media_type.to_owned(), bytes.to_vec());
        fake.lock().manifests.insert(("team/app".to_owned(), reference), entry);
    };
    put(digest.clone(), manifest, twice);
    put(format!("sha256-{hex}"), index, list.as_bytes());
    put(format!("sha256-{hex}.sig"), manifest, twice);
    let gathered = fake::client().gather(&image).await.unwrap();
    assert_eq!(gathered.evidence.len(), 2, "{gathered:?}");
    for evidence in &gathered.evidence {
        let said = "the key `Layers`, which some readers take for `layers`";
        assert!(
            matches!(&evidence.material, Material::Unreadable(reason) if reason.contains(said)),
            "{evidence:?}"
        );
    }
}

#[tokio::test]
async fn what_is_beside_a_tagged_signature_is_found_with_it() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    let blob = b"{}".to_vec();
    let layer = |kind: &str, annotations: &str| {
        let digest = fake::digest(&blob);
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":2,"annotations":{{{annotations}}}}}"#)
    };
    let certified = r#""dev.sigstore.cosign/certificate":"C","dev.sigstore.cosign/chain":"H","dev.sigstore.cosign/bundle":"B""#;
    let signature = r#""dev.cosignproject.cosign/signature":"S""#;
    let simple = "application/vnd.dev.cosign.simplesigning.v1+json";
    let signatures = [layer(simple, &format!("{signature},{certified}")), layer(simple, signature)].join(",");
    let bare = r#""dev.sigstore.cosign/certificate":"C""#;
    let attestations = layer("application/vnd.dsse.envelope.v1+json", bare);
    fake.lock().blobs.insert(("team/app".to_owned(), fake::digest(&blob)), blob.clone());
    for (suffix, layers) in [("sig", signatures), ("att", attestations)] {
        let media_type = spectra_oci::media_type::MANIFEST;
        let config = layer("application/vnd.oci.image.config.v1+json", "");
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[{layers}]}}"#
        );
        let tag = format!("sha256-{}.{suffix}", image.digest().hex());
        let entry = (media_type.to_owned(), manifest.into_bytes());
        fake.lock().manifests.insert(("team/app".to_owned(), tag), entry);
    }
    let gathered = fake::client().gather(&image).await.unwrap();
    let found: Vec<_> = gathered.evidence.into_iter().map(|evidence| evidence.material).collect();
    let beside = |certificate: &str, chain: &str, bundle: &str| {
        Some(TaggedCertificate {
            certificate: certificate.into(),
            chain: chain.into(),
            bundle: bundle.into(),
        })
    };
    let document =
        |certificate| Material::Simple { payload: b"{}".to_vec(), signature: "S".into(), certificate };
    let envelope = Material::Envelope { json: b"{}".to_vec(), certificate: beside("C", "", "") };
    assert_eq!(found, [document(beside("C", "H", "B")), document(None), envelope]);
}

#[tokio::test]
async fn not_knowing_is_an_error_and_not_an_image_without_signatures() {
    for path in ["/referrers/", ".sig", ".att"] {
        let fake = Fake::start().await;
        let image = pushed(&fake).await;
        let answer = fake::Action::Answer(axum::http::StatusCode::FORBIDDEN, Vec::new());
        fake.fault(axum::http::Method::GET, path, answer);
        assert!(fake::client().gather(&image).await.is_err(), "{path}");
    }
}

#[tokio::test]
async fn pages_of_referrers_that_lead_in_circles_kept_us_for_ever() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    fake.lock().referrers_lead_in_circles = true;
    let error = fake::client().referrers(&image, None).await.unwrap_err().to_string();
    assert!(error.contains("more than 1000 pages"), "{error}");
    assert_eq!(fake.count("GET", "/referrers/"), 1000);
}

#[tokio::test]
async fn evidence_had_no_limit_over_all_and_its_stated_size_did_not_bind() {
    let fake = Fake::start().await;
    let image = pushed(&fake).await;
    let payload = b"payload".to_vec();
    let digest = fake::digest(&payload);
    let layer = |size: u64| {
        serde_json::json!({
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest, "size": size,
        })
    };
    // The first is longer than it says. Of the others, 32 MiB each by their own word, seven fit in what is left of 256 MiB.
    let layers: Vec<_> = [1].into_iter().chain([spectra_oci::MAX_EVIDENCE; 9]).map(layer).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": 2 },
        "layers": layers,
    });
    let tag = format!("sha256-{}.sig", image.digest().hex());
    {
        let mut state = fake.lock();
        state.blobs.insert(("team/app".to_owned(), digest.clone()), payload);
        let document =
            ("application/vnd.oci.image.manifest.v1+json".to_owned(), manifest.to_string().into_bytes());
        state.manifests.insert(("team/app".to_owned(), tag), document);
    }
    let gathered = fake::client().gather(&image).await.unwrap();
    let reasons: Vec<_> = gathered
        .evidence
        .iter()
        .map(|evidence| match &evidence.material {
            Material::Unreadable(reason) => reason.as_str(),
            _ => "read",
        })
        .collect();
    let with = |text: &str| reasons.iter().filter(|reason| reason.contains(text)).count();
    assert!(reasons[0].contains("longer than 1 bytes"), "{reasons:?}");
    assert_eq!((reasons.len(), with("read"), with("no more are read")), (10, 9, 2), "{reasons:?}");
}
