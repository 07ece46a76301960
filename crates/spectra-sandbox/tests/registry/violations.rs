//! Every rule that a client can break, and that it is noted.

use reqwest::{Method, StatusCode};
use serde_json::json;
use spectra_sandbox::registry::{Quirks, Referrers, ViolationKind};

use crate::bed::{Bed, OCI_MANIFEST, descriptor, header_of, image, sha256};

/// Breaks one rule of each kind against a registry of its own.
async fn break_rule(bed: &Bed, kind: ViolationKind) {
    let put = |path: &str| bed.request(Method::PUT, path);
    match kind {
        ViolationKind::WrongContentRange => {
            bed.patch(&bed.begin("app").await, "5-9", b"hello").await;
        }
        ViolationKind::BlobResent => {
            bed.push("app", b"hello").await;
            bed.push("app", b"hello").await;
        }
        ViolationKind::ManifestBeforeBlobs => {
            bed.put_manifest("app", "v1", OCI_MANIFEST, &image(b"layer")).await;
        }
        ViolationKind::DigestMismatch => {
            let reference = sha256(b"another").to_string();
            bed.push("app", b"{}").await;
            bed.push("app", b"layer").await;
            let refused = bed.put_manifest("app", &reference, OCI_MANIFEST, &image(b"layer")).await;
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        }
        ViolationKind::CredentialsElsewhere | ViolationKind::SignatureMisused => {
            bed.registry.set_quirks(Quirks { elsewhere: true, ..Quirks::default() });
            let location = bed.begin("app").await;
            if kind == ViolationKind::CredentialsElsewhere {
                put(&location).bearer_auth("secret").send().await.unwrap();
            } else {
                put(&location.replace("/app/", "/other/")).send().await.unwrap();
            }
        }
        ViolationKind::ContentTypeMissing => {
            bed.push("app", b"{}").await;
            bed.push("app", b"layer").await;
            put("/v2/app/manifests/v1").body(image(b"layer").to_string()).send().await.unwrap();
        }
        ViolationKind::StaleLocation => {
            let location = bed.begin("app").await;
            for range in ["0-4", "5-9"] {
                let part = bed.request(Method::PATCH, &location).header("content-range", range);
                part.body("hello").send().await.unwrap();
            }
        }
        ViolationKind::UploadClosed => {
            let location = bed.begin("app").await;
            bed.put(&location, &sha256(b"hello"), b"hello").await;
            bed.put(&location, &sha256(b"hello"), b"hello").await;
        }
        ViolationKind::PartTooSmall => {
            bed.registry.set_quirks(Quirks {
                min_part: Some(10),
                announce_min_part: true,
                ..Quirks::default()
            });
            let location = bed.begin("app").await;
            bed.patch(&location, "0-4", b"hello").await;
            bed.patch(&location, "5-9", b"hello").await;
        }
        ViolationKind::TooSoon => {
            let rule = json!({ "operation": "registry.tags", "action": { "type": "busy", "after": 60 }, "count": 1 });
            bed.registry.set_fault(rule).unwrap();
            bed.get("/v2/app/tags/list").await;
            bed.get("/v2/app/tags/list").await;
        }
        ViolationKind::SizeMismatch => {
            bed.push("app", b"{}").await;
            bed.push("app", b"layer").await;
            let mut manifest = image(b"layer");
            manifest["layers"][0]["size"] = json!(6);
            let refused = bed.put_manifest("app", "v1", OCI_MANIFEST, &manifest).await;
            assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        }
        ViolationKind::ReferrerNotListed => {
            bed.registry.set_quirks(Quirks { referrers: Referrers::Missing, ..Quirks::default() });
            let (_, manifest) = bed.push_image("app", "v1", b"layer").await;
            let mut referrer = image(b"layer");
            referrer["subject"] = descriptor(OCI_MANIFEST, manifest.to_string().as_bytes());
            let response = bed.put_manifest("app", "sig", OCI_MANIFEST, &referrer).await;
            assert!(!header_of(&response, "docker-content-digest").is_empty());
        }
        _ => panic!("{kind:?} is broken by nobody"),
    }
}

#[tokio::test]
async fn every_rule_is_noted_when_it_is_broken() {
    for kind in ViolationKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let bed = Bed::at(folder.path()).await;
        break_rule(&bed, kind).await;
        assert_eq!(bed.kinds(), [kind]);
    }
}

/// The size of the part before is known after a restart as well.
#[tokio::test]
async fn a_part_that_was_too_small_before_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let quirks = Quirks { min_part: Some(10), announce_min_part: true, ..Quirks::default() };
    let location = {
        let bed = Bed::at(folder.path()).await;
        let location = bed.begin("app").await;
        bed.patch(&location, "0-4", b"hello").await;
        location
    };
    let bed = Bed::at(folder.path()).await;
    bed.registry.set_quirks(quirks);
    assert_eq!(bed.patch(&location, "5-9", b"world").await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(bed.kinds(), [ViolationKind::PartTooSmall]);
}

/// Whoever writes on condition loses nobody's work.
#[tokio::test]
async fn a_tag_that_has_changed_since_was_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let bed = Bed::at(folder.path()).await;
    let (digest, manifest) = bed.push_image("app", "v1", b"layer").await;
    let etag = format!("\"{digest}\"");
    for (tag, header, value, expected) in [
        ("v1", "if-match", "\"sha256:old\"", StatusCode::PRECONDITION_FAILED),
        ("v1", "if-none-match", "*", StatusCode::PRECONDITION_FAILED),
        ("v1", "if-match", etag.as_str(), StatusCode::CREATED),
        ("v2", "if-match", etag.as_str(), StatusCode::PRECONDITION_FAILED),
        ("v2", "if-none-match", "*", StatusCode::CREATED),
    ] {
        let request = bed.request(Method::PUT, &format!("/v2/app/manifests/{tag}"));
        let request = request.header("content-type", OCI_MANIFEST).header(header, value);
        let status = request.body(manifest.to_string()).send().await.unwrap().status();
        assert_eq!(status, expected, "{header}: {value} on {tag}");
    }
}
