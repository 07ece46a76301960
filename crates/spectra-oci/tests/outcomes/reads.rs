//! Reading an image from a registry that fails.

use serde_json::json;
use spectra_oci::OpenLimits;

use crate::{
    Outcome,
    bed::{Bed, quiet},
};

#[tokio::test]
async fn every_fault_on_every_request_of_a_read() {
    let bed = Bed::start().await;
    bed.push_old().await;
    for (request, action, expected) in [
        ("manifest_get", json!({ "type": "http", "status": 500 }), Outcome::Registry(500)),
        ("manifest_get", json!({ "type": "http", "status": 404 }), Outcome::NotFound),
        ("manifest_get", json!({ "type": "http", "status": 403 }), Outcome::NotAuthorised),
        ("manifest_get", json!({ "type": "reset" }), Outcome::Transport),
        ("manifest_get", json!({ "type": "reset_after", "bytes": 10 }), Outcome::Transport),
        ("manifest_get", json!({ "type": "wrong_digest" }), Outcome::Digest),
        ("manifest_get", json!({ "type": "corrupt_body" }), Outcome::Digest),
        ("manifest_get", json!({ "type": "short_body", "missing": 1 }), Outcome::Digest),
        ("manifest_get", json!({ "type": "html" }), Outcome::Protocol),
        ("blob_get", json!({ "type": "http", "status": 503 }), Outcome::Registry(503)),
        ("blob_get", json!({ "type": "http", "status": 404 }), Outcome::NotFound),
        ("blob_get", json!({ "type": "busy", "after": 86_400 }), Outcome::Registry(429)),
        ("blob_get", json!({ "type": "reset" }), Outcome::Transport),
        ("blob_get", json!({ "type": "hang" }), Outcome::Transport),
        ("blob_get", json!({ "type": "corrupt_body" }), Outcome::Digest),
        ("blob_get", json!({ "type": "short_body", "missing": 100_000 }), Outcome::Digest),
        ("blob_get", json!({ "type": "html" }), Outcome::Digest),
    ] {
        let case = format!("{action} on {request}");
        bed.fault(request, &action, None);
        let error = bed.read().await.expect_err(&case);
        assert!(bed.registry.faults_applied() > 0, "{case}");
        assert_eq!(Outcome::of(&error), expected, "{case}: {error}");
        bed.names_image_and_host(&error);
        assert!(error.to_string().contains("team/app"), "{case}: {error}");
        bed.heals();
        bed.read().await.unwrap_or_else(|error| panic!("after {case}: {error}"));
    }
    assert_eq!(bed.registry.violations(), []);
}

/// The layer alone is damaged, not the configuration, which is read before it.
#[tokio::test]
async fn a_layer_that_comes_short_or_changed() {
    for (action, expected) in [
        (json!({ "type": "corrupt_body" }), Outcome::Digest),
        (json!({ "type": "short_body", "missing": 1 }), Outcome::Transport),
    ] {
        let bed = Bed::start().await;
        bed.push_old().await;
        let image = bed.client().open(&bed.target, None, quiet()).await.unwrap();
        bed.fault("blob_get", &action, None);
        let error = image.download(1, &OpenLimits::default()).await.unwrap_err();
        if expected == Outcome::Digest {
            assert_eq!(Outcome::of(&error), expected, "{error}");
        }
        assert!(error.to_string().contains("sha256:"), "{error}");
        bed.names_image_and_host(&error);
    }
}

#[tokio::test]
async fn a_read_that_breaks_goes_on_where_it_broke() {
    let bed = Bed::start().await;
    bed.push_old().await;
    let image = bed.client().open(&bed.target, None, quiet()).await.unwrap();
    bed.fault("blob_get", &json!({ "type": "reset_after", "bytes": 1000 }), Some(2));
    image.download(1, &OpenLimits::default()).await.unwrap();
    assert_eq!(bed.registry.faults_applied(), 2);
}
