//! Registries that are strange but within reason: an image gets there, and back.

use serde_json::{Value, json};
use spectra_oci::{OpenLimits, PushOptions};

use crate::bed::{Bed, quiet};

/// A push and a read of the whole image, without a breach of the protocol.
async fn round_trip(quirks: Value, chunk_size: Option<u64>) {
    let mut bed = Bed::with(quirks.clone()).await;
    bed.options.chunk_size = chunk_size;
    let pushed = bed.push(&bed.new).await.unwrap_or_else(|error| panic!("{quirks}: {error}"));
    assert_eq!(Some(pushed.image.digest()), bed.new.digest());
    let back = bed.client().open(&bed.target, None, quiet()).await;
    let back = back.unwrap_or_else(|error| panic!("{quirks}: {error}"));
    back.download(2, &OpenLimits::default()).await.unwrap_or_else(|error| panic!("{quirks}: {error}"));
    let again = bed.push(&bed.new).await.unwrap();
    assert_eq!(again.uploaded, 0, "{quirks}: what is there is not sent again");
    assert_eq!(bed.registry.violations(), [], "{quirks}");
}

#[tokio::test]
async fn every_switch() {
    for (quirks, chunk_size) in [
        (json!({ "max_patch": 100 }), None),
        (json!({ "min_part": 2000, "announce_min_part": true }), Some(500)),
        (json!({ "patch_created": true }), Some(1500)),
        (json!({ "empty_close_fails": true }), Some(1500)),
        (json!({ "referrers": "missing" }), None),
        (json!({ "null_tags": true, "hide_digest": true }), None),
        (json!({ "post_begins_only": true, "ignore_range": true }), None),
        (json!({ "repositories": ["team/app"] }), None),
        (json!({ "elsewhere": true }), None),
        (json!({ "elsewhere": true }), Some(1500)),
        (json!({ "mounts": "refuse", "mount_needs_from": true }), None),
    ] {
        round_trip(quirks, chunk_size).await;
    }
}

#[tokio::test]
async fn layers_are_linked_or_sent() {
    for (mounts, linked) in [("serve", true), ("ignore", false), ("refuse", false)] {
        let mut bed = Bed::with(json!({ "mounts": mounts })).await;
        let base = format!("{}/base/image:v1", bed.target.registry()).parse().unwrap();
        bed.client().push(&base, &bed.new, &PushOptions::default(), quiet()).await.unwrap();
        bed.options.mount_from = vec!["base/image".to_owned()];
        let pushed = bed.push(&bed.new).await.unwrap();
        assert_eq!(pushed.uploaded == 0, linked, "{mounts}");
        assert_eq!(bed.registry.violations(), [], "{mounts}");
    }
}

#[tokio::test]
async fn a_repository_that_has_to_be_made_first() {
    let bed = Bed::with(json!({ "repositories": [] })).await;
    let error = bed.push(&bed.new).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("create it first"), "{error}");
    assert!(error.hint().unwrap().contains("created first"));
    assert_eq!(bed.tag().await, None);
}
