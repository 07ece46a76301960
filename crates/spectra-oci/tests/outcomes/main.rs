//! What comes of a push or a read when the registry fails: every fault on every request, against the sandbox's registry, which
//! also writes down what the client does wrong.
//!
//! Of each failure the same is asked: it says which image, which blob and which host; the tag is what it was before; once the
//! fault is gone the same command succeeds; and nobody but the registry has seen the password.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod bed;
mod quirks;
mod reads;

use serde_json::{Value, json};
use spectra_oci::Error;

use self::bed::{Bed, quiet};

/// How a failed push is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The registry refused the credentials.
    NotAuthorised,
    /// It does not have it.
    NotFound,
    /// It answered with an error.
    Registry(u16),
    /// Its answer cannot be used.
    Protocol,
    /// There was no answer.
    Transport,
    /// It stored something else.
    Digest,
}

impl Outcome {
    fn of(error: &Error) -> Self {
        match error {
            Error::NotAuthorised { .. } => Self::NotAuthorised,
            Error::NotFound { .. } => Self::NotFound,
            Error::Registry { status, .. } => Self::Registry(*status),
            Error::Protocol { .. } => Self::Protocol,
            Error::Transport { .. } => Self::Transport,
            Error::DigestMismatch { .. } | Error::StoredOther(_) => Self::Digest,
            other => panic!("{other}"),
        }
    }
}

/// The requests of a push and what their errors name besides the image.
const PUSH: [(&str, &str); 5] = [
    ("ping", "reach the registry"),
    ("blob_head", "sha256:"),
    ("upload_begin", "sha256:"),
    ("upload_put", "sha256:"),
    ("manifest_put", "the manifest of"),
];

#[tokio::test]
async fn every_fault_on_every_request_of_a_push() {
    let bed = Bed::start().await;
    bed.push_old().await;
    let http = |status: u16| json!({ "type": "http", "status": status });
    let faults: [(&str, Value, Outcome); 9] = [
        ("401", http(401), Outcome::NotAuthorised),
        ("403", http(403), Outcome::NotAuthorised),
        ("404", http(404), Outcome::NotFound),
        ("429", json!({ "type": "busy", "after": 86_400 }), Outcome::Registry(429)),
        ("500", http(500), Outcome::Registry(500)),
        ("503", http(503), Outcome::Registry(503)),
        ("418", http(418), Outcome::Registry(418)),
        ("reset", json!({ "type": "reset" }), Outcome::Transport),
        ("silence", json!({ "type": "hang" }), Outcome::Transport),
    ];
    for (request, named) in PUSH {
        for (fault, action, expected) in &faults {
            let case = format!("{fault} on {request}");
            // A blob that is not there is what a push asks about; silence takes its time, the same way everywhere; a registry that asks for a login on its front page is none.
            let expected = match (request, *fault) {
                ("blob_head", "404") | ("ping" | "blob_head" | "upload_begin", "silence") => continue,
                ("ping", "401") => Outcome::Protocol,
                _ => *expected,
            };
            let error = bed.fails(&case, request, action).await;
            assert_eq!(Outcome::of(&error), expected, "{case}: {error}");
            assert!(error.to_string().contains(named), "{case}: {error}");
        }
    }
    bed.recovers().await;
    assert_eq!(bed.registry.violations(), []);
}

#[tokio::test]
async fn locations_that_lead_nowhere_good() {
    let bed = Bed::start().await;
    bed.push_old().await;
    for (to, reason) in [
        ("http://[", "bad Location"),
        ("ftp://127.0.0.1/upload", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://[fe80::1]/", "link-local"),
    ] {
        let case = format!("Location {to}");
        let error = bed.fails(&case, "upload_begin", &json!({ "type": "location", "to": to })).await;
        assert_eq!(Outcome::of(&error), Outcome::Protocol, "{case}: {error}");
        assert!(error.to_string().contains(reason), "{case}: {error}");
    }
    bed.recovers().await;
    assert_eq!(bed.registry.violations(), []);
}

/// It took the whole image, so that the push has failed and the tag names what it brought: both are said.
#[tokio::test]
async fn a_registry_that_says_it_stored_something_else() {
    let bed = Bed::start().await;
    bed.push_old().await;
    let wrong = json!({ "type": "wrong_digest" });
    let error = bed.push_with_fault("manifest_put", &wrong, None).await.unwrap_err();
    assert_eq!(Outcome::of(&error), Outcome::Digest, "{error}");
    bed.names_image_and_host(&error);
    let (text, target) = (error.to_string(), &bed.target);
    assert!(text.starts_with(&format!(
        "push the manifest of `{target}`: `{}` says that it stored ",
        target.registry()
    )));
    assert!(text.ends_with(&format!("; `{target}` now names the new image, as it was sent")), "{text}");
    assert!(error.hint().unwrap().contains("push again") && error.hint().unwrap().contains("by digest"));
    bed.heals();
    let Error::StoredOther(stored) = &error else { panic!("{error}") };
    assert_eq!(bed.tag().await, Some(stored.expected.clone()), "what was said is so");
    bed.read().await.unwrap();
    bed.recovers().await;
}

#[tokio::test]
async fn a_registry_that_stored_something_else_and_does_not_show_it() {
    let bed = Bed::start().await;
    bed.push_old().await;
    let unread = json!({ "operation": "registry.manifest_get", "action": { "type": "http", "status": 500 } });
    bed.fault("manifest_put", &json!({ "type": "wrong_digest" }), None);
    bed.registry.set_fault(unread).unwrap();
    let error = bed.push(&bed.new).await.unwrap_err();
    let text = error.to_string();
    let said = format!(
        "; what `{}` names now could not be read: it may be the new image, or one that was changed",
        bed.target
    );
    assert!(text.ends_with(&said), "{text}");
    // By digest alone, no tag is in it.
    let pinned = bed.target.pin(bed.new.digest().unwrap().clone()).image_ref();
    let error = bed.client().push(&pinned, &bed.new, &bed.options, quiet()).await.unwrap_err();
    assert!(error.to_string().ends_with("; no tag was changed by it"), "{error}");
    bed.recovers().await;
}

/// What goes away by itself is survived without a word, and no byte more than needed is sent twice.
#[tokio::test]
async fn faults_that_pass() {
    let actions = [
        json!({ "type": "http", "status": 503 }),
        json!({ "type": "busy", "after": 0 }),
        json!({ "type": "busy", "after": 0, "date": true }),
        json!({ "type": "reset" }),
        json!({ "type": "hang", "duration": "1ms" }),
        json!({ "type": "token_revoked" }),
        json!({ "type": "fail_after_commit" }),
        json!({ "type": "fail_after_commit", "with": "reset" }),
        json!({ "type": "reset_after", "bytes": 1000 }),
    ];
    for request in ["token", "blob_head", "upload_begin", "upload_put", "manifest_put"] {
        for action in &actions {
            let idle = match action["type"].as_str().unwrap() {
                // Only a blob is long enough to break off, and before the first token there is none to revoke.
                "reset_after" => request != "upload_put",
                "token_revoked" => request == "token",
                // A date is in whole seconds, so that each of these takes one.
                _ => action["date"] == true && request != "upload_put",
            };
            if idle {
                continue;
            }
            let bed = Bed::start().await;
            let pushed = bed.push_with_fault(request, action, Some(1)).await;
            let pushed = pushed.unwrap_or_else(|error| panic!("{action} on {request}: {error}"));
            assert_eq!(bed.tag().await.as_ref(), Some(pushed.image.digest()));
            assert_eq!(bed.registry.violations(), [], "{action} on {request}");
        }
    }
}

#[tokio::test]
async fn a_token_that_ends_in_the_middle() {
    let bed = Bed::start().await;
    // The registry forgets all tokens while several blobs are on their way with the same one.
    let rule = json!({ "operation": "registry.upload_put", "action": { "type": "token_revoked" }, "skip": 1, "count": 1 });
    bed.registry.set_fault(rule).unwrap();
    bed.push(&bed.new).await.unwrap();
    assert_eq!(bed.registry.violations(), []);
}
