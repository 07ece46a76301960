//! Registries that are strange but within reason: an image gets there, and back.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spectra_oci::{Attachment, Error, OpenLimits, PushOptions};

use crate::bed::{Bed, PASSWORD, quiet, read_by};

/// A push and a read of the whole image, without a breach of the protocol. The switches have to be met.
async fn round_trip(quirks: Value, chunk_size: Option<u64>, met: &[&str]) -> Bed {
    let mut bed = Bed::with(quirks.clone()).await;
    bed.options.chunk_size = chunk_size;
    let pushed = bed.push(&bed.new).await.unwrap_or_else(|error| panic!("{quirks}: {error}"));
    assert_eq!(Some(pushed.image.digest()), bed.new.digest());
    bed.read().await.unwrap_or_else(|error| panic!("{quirks}: {error}"));
    let again = bed.push(&bed.new).await.unwrap();
    assert_eq!(again.uploaded, 0, "{quirks}: what is there is not sent again");
    assert_eq!(bed.registry.violations(), [], "{quirks}");
    for switch in met {
        assert!(bed.met(switch) > 0, "{switch} was never met: {:?}", bed.registry.met());
    }
    bed
}

#[tokio::test]
async fn switches_that_a_push_and_a_read_meet() {
    for (quirks, chunk_size, met) in [
        (json!({ "min_part": 2000, "announce_min_part": true }), Some(500), &["announce_min_part"][..]),
        (json!({ "patch_created": true }), Some(1500), &["patch_created"]),
        (json!({ "empty_close_fails": true }), Some(1500), &["empty_close_fails"]),
        (json!({ "hide_digest": true }), None, &["hide_digest"]),
        (json!({ "elsewhere": true }), None, &["elsewhere"]),
        (json!({ "elsewhere": true, "patch_created": true }), Some(1500), &["elsewhere", "patch_created"]),
        (json!({ "accept_matters": true }), None, &[]),
        (json!({ "token_field": "token" }), None, &["token_field"]),
        (
            json!({ "token_field": "access_token", "hide_expiry": true }),
            None,
            &["token_field", "hide_expiry"],
        ),
        (json!({ "keeps_less": true }), Some(1500), &["keeps_less"]),
        (json!({ "login": { "scheme": "basic", "user": "bot", "password": PASSWORD } }), None, &["login"]),
    ] {
        round_trip(quirks, chunk_size, met).await;
    }
}

#[tokio::test]
async fn whole_blobs_that_a_front_end_refuses_go_in_chunks() {
    let bed = Bed::with(json!({ "max_body": 1_500_000 })).await;
    let large = bed.large_image();
    bed.push(&large).await.unwrap();
    assert!(bed.met("max_body") > 0);
    bed.read().await.unwrap();
    assert_eq!(bed.registry.violations(), []);
}

#[tokio::test]
async fn chunks_of_a_size_that_is_not_taken() {
    for (quirks, switch, reason) in [
        (json!({ "max_patch": 1000 }), "max_patch", "a chunk has at most 1000 bytes"),
        (json!({ "min_part": 2000 }), "min_part", "LayerPartTooSmall"),
    ] {
        let mut bed = Bed::with(quirks).await;
        bed.push_old().await;
        bed.options.chunk_size = Some(1500);
        let error = bed.push(&bed.new).await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        bed.names_image_and_host(&error);
        assert!(bed.met(switch) > 0);
        assert_eq!(bed.tag().await.as_ref(), bed.old.digest());
        assert_eq!(bed.registry.violations(), []);
    }
}

#[tokio::test]
async fn a_registry_with_few_requests_a_second_is_waited_for() {
    let bed = round_trip(json!({ "requests_per_second": 20 }), None, &[]).await;
    for _ in 0..5 {
        bed.tag().await.unwrap();
        bed.push(&bed.old).await.unwrap();
        bed.push(&bed.new).await.unwrap();
    }
    assert!(bed.met("requests_per_second") > 0);
    assert_eq!(bed.registry.violations(), []);
}

#[tokio::test]
async fn a_range_that_is_not_looked_at() {
    let bed = Bed::with(json!({ "ignore_range": true })).await;
    bed.push_old().await;
    let image = bed.client().open(&bed.target, None, quiet()).await.unwrap();
    bed.fault("blob_get", &json!({ "type": "reset_after", "bytes": 1000 }), Some(1));
    image.download(1, &OpenLimits::default()).await.unwrap();
    assert_eq!((bed.registry.faults_applied(), bed.met("ignore_range")), (1, 1));
    assert_eq!(bed.registry.violations(), []);
}

#[tokio::test]
async fn what_is_attached_is_found_with_and_without_the_list() {
    let attachment = Attachment {
        artifact_type: "application/vnd.example.note".to_owned(),
        media_type: "text/plain".to_owned(),
        content: b"a note".to_vec(),
        annotations: BTreeMap::new(),
    };
    for (referrers, listed) in [("offered", true), ("missing", false)] {
        let bed = Bed::with(json!({ "referrers": referrers })).await;
        let image = bed.push(&bed.new).await.unwrap().image;
        let attached = bed.client().attach(&image, &attachment).await.unwrap();
        assert_eq!(attached.fallback_tag.is_none(), listed);
        let found = bed.client().referrers(&image, Some(&attachment.artifact_type)).await.unwrap();
        assert_eq!(found, [attached.manifest], "{referrers}");
        assert_eq!(bed.met("referrers") == 0, listed);
        assert_eq!(bed.registry.violations(), [], "{referrers}");
    }
    // One by one, and whatever their type is.
    let bed = Bed::with(json!({ "page_size": 1, "ignore_filter": true })).await;
    let image = bed.push(&bed.new).await.unwrap().image;
    let other =
        Attachment { artifact_type: "application/vnd.example.other".to_owned(), ..attachment.clone() };
    let attached = bed.client().attach(&image, &attachment).await.unwrap();
    bed.client().attach(&image, &other).await.unwrap();
    let found = bed.client().referrers(&image, Some(&attachment.artifact_type)).await.unwrap();
    assert_eq!(found, [attached.manifest]);
    assert!(bed.met("page_size") > 0 && bed.met("ignore_filter") > 0);
    let bed = Bed::with(json!({ "referrers": "refused" })).await;
    let image = bed.push(&bed.new).await.unwrap().image;
    let error = bed.client().attach(&image, &attachment).await.unwrap_err();
    assert!(error.to_string().contains("not taken here"), "{error}");
    bed.names_image_and_host(&error);
    assert!(bed.met("referrers") > 0);
    assert_eq!(bed.registry.violations(), []);
}

/// `push` put a manifest with a subject, and left the list of clients to others.
#[tokio::test]
async fn a_pushed_image_about_another_was_listed_nowhere() {
    for (referrers, listed) in [("offered", true), ("missing", false)] {
        let bed = Bed::with(json!({ "referrers": referrers })).await;
        let image = bed.push(&bed.new).await.unwrap().image;
        let about = bed.image_about(image.digest());
        let by_digest = bed.target.pin(about.digest().unwrap().clone()).image_ref();
        for target in [&bed.target.with_tag("about").unwrap(), &by_digest] {
            bed.client().push(target, &about, &bed.options, quiet()).await.unwrap();
            let found = bed.client().referrers(&image, None).await.unwrap();
            assert_eq!(found.len(), 1, "{referrers}");
            assert_eq!(Some(&found[0].digest), about.digest(), "{referrers}");
            assert_eq!(found[0].artifact_type.as_deref(), Some("application/vnd.example.note"));
            assert_eq!(found[0].annotations["by"], "somebody");
        }
        assert_eq!(bed.met("referrers") == 0, listed);
        assert_eq!(bed.registry.violations(), [], "{referrers}");
    }
}

#[tokio::test]
async fn public_images_are_read_without_a_password() {
    let login = json!({ "scheme": "bearer", "user": "bot", "password": PASSWORD, "anonymous_pull": true });
    let bed = Bed::with(json!({ "login": login })).await;
    bed.push_old().await;
    read_by(&bed.anonymous(), &bed.target).await.unwrap();
    let refused = bed.anonymous().push(&bed.target, &bed.new, &bed.options, quiet()).await.unwrap_err();
    assert!(matches!(refused, Error::NotAuthorised { .. }), "{refused}");
    assert_eq!(bed.tag().await.as_ref(), bed.old.digest());
    let closed = Bed::start().await;
    closed.push_old().await;
    assert!(closed.anonymous().resolve(&closed.target).await.is_err());
}

/// A token is good for less than the time of a wait that the registry itself asks for.
#[tokio::test]
async fn a_token_that_is_too_old_after_a_wait() {
    let login = json!({ "scheme": "bearer", "user": "bot", "password": PASSWORD, "token_lifetime": "1s" });
    let bed = Bed::with(json!({ "login": login })).await;
    let busy = json!({ "type": "busy", "after": 2 });
    bed.push_with_fault("upload_put", &busy, Some(1)).await.unwrap();
    // The first request of all is refused as well.
    assert!(bed.met("login") > 1);
    assert_eq!(bed.registry.violations(), []);
}

#[tokio::test]
async fn layers_are_linked_or_sent() {
    for (mounts, linked) in [("serve", true), ("ignore", false), ("refuse", false)] {
        let mut bed =
            Bed::with(json!({ "mounts": mounts, "mount_needs_from": true, "mount_needs_scope": true })).await;
        let base = format!("{}/base/image:v1", bed.target.registry()).parse().unwrap();
        bed.client().push(&base, &bed.new, &PushOptions::default(), quiet()).await.unwrap();
        bed.options.mount_from = vec!["base/image".to_owned()];
        let pushed = bed.push(&bed.new).await.unwrap();
        assert_eq!(pushed.uploaded == 0, linked, "{mounts}");
        assert_eq!((bed.met("mounts") == 0, bed.met("mount_needs_from")), (linked, 0), "{mounts}");
        assert_eq!(bed.registry.violations(), [], "{mounts}");
    }
}

/// Whether a repository is new is asked by its tags. It has images and no tags: what is there must not be sent again.
#[tokio::test]
async fn a_list_of_tags_that_is_null() {
    let mut bed = Bed::with(json!({ "null_tags": true })).await;
    // It is asked where there are more blobs than lanes.
    bed.options.jobs = 1;
    let by_digest = bed.target.pin(bed.old.digest().unwrap().clone()).image_ref();
    let push = async || bed.client().push(&by_digest, &bed.old, &bed.options, quiet()).await.unwrap();
    assert!(push().await.uploaded > 0);
    assert_eq!((bed.met("null_tags"), bed.tag().await), (0, None));
    assert_eq!(push().await.uploaded, 0);
    assert_eq!(bed.met("null_tags"), 1);
    bed.push(&bed.new).await.unwrap();
    assert_eq!((bed.met("null_tags"), bed.tag().await.as_ref()), (2, bed.new.digest()));
    assert_eq!(bed.registry.violations(), []);
}

#[tokio::test]
async fn a_repository_that_has_to_be_made_first() {
    let bed = Bed::with(json!({ "repositories": [] })).await;
    let error = bed.push(&bed.new).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("create it first"), "{error}");
    assert!(error.hint().unwrap().contains("created first"));
    assert_eq!(bed.tag().await, None);
    assert!(bed.met("repositories") > 0);
}
