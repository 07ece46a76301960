//! Resolving and inspecting.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use spectra_oci::{Client, ClientOptions, Credential, Error, Keychain, NoProgress, PushOptions, RetryPolicy};
use spectra_types::Secret;

use crate::fake::{Action, Fake, client, digest, image};

#[tokio::test]
async fn resolve_and_inspect_what_was_pushed() {
    let fake = Fake::start().await;
    let directory = tempfile::tempdir().unwrap();
    let artifact = image(directory.path(), 2000);
    let client = client();
    let target = fake.image("team/app:v1");
    let pushed =
        client.push(&target, &artifact, &PushOptions::default(), Arc::new(NoProgress)).await.unwrap();
    let resolved = client.resolve(&target).await.unwrap();
    assert_eq!(resolved.image, pushed.image);
    let remote = client.inspect(&target, None).await.unwrap();
    assert_eq!(remote.labels["team"], "blue");
    assert_eq!(remote.platform.to_string(), "linux/amd64");
    let local = artifact.inspect(None).unwrap();
    assert_eq!((local.layers, local.size, local.digest), (remote.layers, remote.size, remote.digest));
    let error = client.inspect(&target, Some(&"linux/arm64".parse().unwrap())).await.unwrap_err();
    assert!(error.to_string().contains("no image for `linux/arm64`, but for `linux/amd64`"), "{error}");
}

#[tokio::test]
async fn a_document_that_is_not_what_it_claims_is_refused() {
    let fake = Fake::start().await;
    let claimed = format!("sha256:{}", "1".repeat(64));
    let headers = vec![("docker-content-digest", claimed)];
    fake.fault(Method::GET, "/manifests/", Action::Answer(StatusCode::OK, headers));
    let error = client().resolve(&fake.image("app:v1")).await.unwrap_err();
    assert!(error.to_string().contains("has the digest sha256:"), "{error}");
}

#[tokio::test]
async fn sizes_that_no_sum_can_hold_are_refused_or_added_up() {
    let fake = Fake::start().await;
    let config = br#"{"os":"linux","architecture":"amd64"}"#;
    let config_digest = digest(config);
    fake.lock().blobs.insert(("app".to_owned(), config_digest.clone()), config.to_vec());
    let put = |tag: &str, size: u64| {
        let layer = serde_json::json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": size,
            "digest": format!("sha256:{}", "0".repeat(64)),
        });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let document = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type, "layers": [layer, layer, layer], "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": config_digest,
            },
        });
        let entry = (media_type.to_owned(), document.to_string().into_bytes());
        fake.lock().manifests.insert(("app".to_owned(), tag.to_owned()), entry);
    };
    put("huge", u64::MAX);
    let error = client().inspect(&fake.image("app:huge"), None).await.unwrap_err();
    assert!(error.to_string().contains("a size of 18446744073709551615 bytes"), "{error}");
    put("large", i64::MAX.cast_unsigned());
    assert_eq!(client().inspect(&fake.image("app:large"), None).await.unwrap().size, u64::MAX);
}

#[tokio::test]
async fn missing_images_are_not_found() {
    let fake = Fake::start().await;
    let error = client().resolve(&fake.image("app:v1")).await.unwrap_err();
    assert!(error.is_not_found());
    let text = error.to_string().replace(&fake.address.to_string(), "REGISTRY");
    insta::assert_snapshot!(text, @"get the manifest of `REGISTRY/app:v1`: `REGISTRY` does not have it (404): MANIFEST_UNKNOWN: manifest unknown");
}

#[tokio::test]
async fn referrers_fall_back_to_the_tag_schema() {
    let fake = Fake::start().await;
    let pinned = fake.image("app").pin(format!("sha256:{}", "2".repeat(64)).parse().unwrap());
    assert_eq!(client().referrers(&pinned, None).await.unwrap(), []);
    let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:3333333333333333333333333333333333333333333333333333333333333333","size":3,"artifactType":"x/y"}]}"#;
    let tag = format!("sha256-{}", "2".repeat(64));
    let media_type = "application/vnd.oci.image.index.v1+json".to_owned();
    fake.lock().manifests.insert(("app".to_owned(), tag), (media_type, index.to_vec()));
    let found = client().referrers(&pinned, None).await.unwrap();
    assert_eq!(found[0].artifact_type.as_deref(), Some("x/y"));
}

#[tokio::test]
async fn ping_says_how_to_authorise() {
    let fake = Fake::start().await;
    let host = fake.address.to_string();
    assert_eq!(client().ping(&host).await.unwrap().authentication, "none");
    fake.lock().scheme = Some("bearer");
    assert_eq!(client().ping(&host).await.unwrap().authentication, "bearer");
    assert!(fake.lock().authorizations.iter().all(String::is_empty));
}

#[tokio::test]
async fn a_registry_without_tls_is_reached_where_it_is_named() {
    let fake = Fake::start().await;
    (fake.lock().scheme, fake.lock().login) = (Some("basic"), Some("bot:s3cret-pw"));
    // The same listener under a name that does not mean this machine.
    let host = format!("0.0.0.0:{}", fake.address.port());
    let image = format!("{host}/app:v1").parse().unwrap();
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let credential = Credential::Basic { username: "bot".to_owned(), password: Secret::from("s3cret-pw") };
    let keychain = Keychain::empty().with(&host, credential);
    let client = |plain_http: &[&str]| {
        let plain_http = plain_http.iter().map(|host| (*host).to_owned()).collect();
        let retry = retry.clone();
        Client::new(keychain.clone(), ClientOptions { retry, plain_http, ..ClientOptions::default() })
    };
    for others in [&[] as &[&str], &["0.0.0.0", "registry:5000"]] {
        let error = client(others).resolve(&image).await.unwrap_err();
        assert!(matches!(error, Error::Transport { .. }), "{error:?}");
    }
    assert!(fake.lock().authorizations.is_empty(), "nothing was said in the clear");
    let error = client(&[&host]).resolve(&image).await.unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
}
