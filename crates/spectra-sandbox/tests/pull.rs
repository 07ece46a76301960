//! The pull client against the sandbox's own registry and against servers that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail by panicking")]

use std::{net::SocketAddr, path::Path, time::Duration};

use axum::{Router, body::Body, http::Request};
use reqwest::{Client, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spectra_sandbox::{
    contract::{ImagePuller, PullError, PulledImage, RegistryCredentials},
    pull::{Reach, RegistryPuller},
    registry::{Registry, RegistryAuth, RegistryConfig},
};
use spectra_types::{Algorithm, Digest, Secret};
use tokio::net::TcpListener;

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}

async fn registry(root: &Path, auth: RegistryAuth) -> SocketAddr {
    let mut config = RegistryConfig::new(root);
    config.auth = auth;
    serve(Registry::open(config).await.unwrap().router()).await
}

fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": sha256(bytes).to_string(), "size": bytes.len() })
}

fn config() -> String {
    json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Labels": { "dev.spectra.sandbox.body": "hello" },
            "Env": ["PATH=/bin", "EMPTY=", "EQUALS=a=b", "BARE"],
            "ExposedPorts": { "8080/tcp": {}, "53/udp": {}, "80": {} },
        },
        "rootfs": { "type": "layers", "diff_ids": [] },
    })
    .to_string()
}

async fn blob(addr: SocketAddr, bytes: &[u8]) {
    let url = format!("http://{addr}/v2/team/app/blobs/uploads/?digest={}", sha256(bytes));
    let client = Client::builder().no_proxy().build().unwrap();
    assert!(client.post(url).body(bytes.to_vec()).send().await.unwrap().status().is_success());
}

async fn manifest(addr: SocketAddr, tag: &str, kind: &str, manifest: &Value) -> Digest {
    let body = manifest.to_string();
    let client = Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{addr}/v2/team/app/manifests/{tag}");
    let request = client.put(url).header(header::CONTENT_TYPE, kind).body(body.clone());
    let response = request.send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.text().await.unwrap());
    sha256(body.as_bytes())
}

fn image(kind: &str, config_kind: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(config_kind, config().as_bytes()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", b"layer")],
    })
}

async fn push_image(addr: SocketAddr) -> Digest {
    blob(addr, b"layer").await;
    blob(addr, config().as_bytes()).await;
    manifest(addr, "v1", OCI_MANIFEST, &image(OCI_MANIFEST, OCI_CONFIG)).await
}

fn puller() -> RegistryPuller {
    RegistryPuller::new(Reach::Loopback, Duration::from_secs(20))
}

async fn pull(image: &str, password: Option<&str>) -> Result<PulledImage, PullError> {
    let credentials = password
        .map(|password| RegistryCredentials { username: "ada".into(), password: Secret::from(password) });
    puller().pull(image.parse().unwrap(), credentials).await
}

#[tokio::test]
async fn an_image_by_tag_by_digest_and_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let addr = registry(folder.path(), RegistryAuth::Anonymous).await;
    let digest = push_image(addr).await;
    let pulled = pull(&format!("{addr}/team/app:v1"), None).await.unwrap();
    assert_eq!((&pulled.digest, pulled.media_type.as_str()), (&digest, OCI_MANIFEST));
    assert_eq!(pulled.size, config().len() as u64 + 5);
    assert_eq!(pulled.labels["dev.spectra.sandbox.body"], "hello");
    let environment: Vec<(&str, &str)> =
        pulled.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(environment, [("BARE", ""), ("EMPTY", ""), ("EQUALS", "a=b"), ("PATH", "/bin")]);
    assert_eq!(pulled.exposed_ports, [80, 8080]);
    for registry in
        [format!("{addr}"), format!("localhost:{}", addr.port()), format!("reg.localhost:{}", addr.port())]
    {
        assert_eq!(pull(&format!("{registry}/team/app@{digest}"), None).await.unwrap(), pulled, "{registry}");
    }
}

#[tokio::test]
async fn docker_images_and_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let addr = registry(folder.path(), RegistryAuth::Anonymous).await;
    push_image(addr).await;
    let docker_config = "application/vnd.docker.container.image.v1+json";
    manifest(addr, "docker", DOCKER_MANIFEST, &image(DOCKER_MANIFEST, docker_config)).await;
    assert_eq!(pull(&format!("{addr}/team/app:docker"), None).await.unwrap().media_type, DOCKER_MANIFEST);

    let child = image(OCI_MANIFEST, OCI_CONFIG).to_string();
    let entry = |architecture: &str| {
        let mut entry = descriptor(OCI_MANIFEST, child.as_bytes());
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let index =
        |entries: Vec<Value>| json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let digest = manifest(addr, "all", OCI_INDEX, &index(vec![entry("arm64"), entry("amd64")])).await;
    let pulled = pull(&format!("{addr}/team/app:all"), None).await.unwrap();
    assert_eq!((pulled.digest, pulled.media_type.as_str()), (digest, OCI_INDEX));
    assert_eq!(pulled.exposed_ports, [80, 8080]);
    manifest(addr, "arm", OCI_INDEX, &index(vec![entry("arm64")])).await;
    let error = pull(&format!("{addr}/team/app:arm"), None).await.unwrap_err();
    assert!(
        matches!(&error, PullError::Malformed { reason, .. } if reason.contains("linux/amd64")),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_missing_is_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let addr = registry(folder.path(), RegistryAuth::Anonymous).await;
    push_image(addr).await;
    for image in ["team/app:v2".to_owned(), "nobody/app:v1".to_owned(), format!("team/app@{}", sha256(b"x"))]
    {
        let error = pull(&format!("{addr}/{image}"), None).await.unwrap_err();
        assert!(matches!(error, PullError::NotFound { .. }), "{image}: {error}");
    }
    // An artifact is found, but cannot run.
    manifest(addr, "signature", OCI_MANIFEST, &image(OCI_MANIFEST, "application/x.signature")).await;
    let error = pull(&format!("{addr}/team/app:signature"), None).await.unwrap_err();
    assert!(matches!(&error, PullError::Malformed { reason, .. } if reason.contains("artifact")), "{error}");
}

#[tokio::test]
async fn registries_that_ask_for_a_password() {
    let password = || Secret::from("correct-horse");
    let basic = RegistryAuth::Basic { user: "ada".into(), password: password() };
    let bearer = |anonymous_pull| RegistryAuth::Bearer {
        user: "ada".into(),
        password: password(),
        token_lifetime: Duration::from_mins(1),
        anonymous_pull,
    };
    for (auth, anonymous) in [(basic, false), (bearer(false), false), (bearer(true), true)] {
        let folder = tempfile::tempdir().unwrap();
        push_image(registry(folder.path(), RegistryAuth::Anonymous).await).await;
        // The same store behind a lock.
        let addr = registry(folder.path(), auth).await;
        let image = format!("{addr}/team/app:v1");
        pull(&image, Some("correct-horse")).await.unwrap();
        pull(&image.replace("127.0.0.1", "reg.localhost"), Some("correct-horse")).await.unwrap();
        let wrong = pull(&image, Some("wrong-horse")).await.unwrap_err();
        assert!(matches!(wrong, PullError::Unauthorized { .. }), "{wrong}");
        assert!(!wrong.to_string().contains("wrong-horse"));
        let without = pull(&image, None).await;
        assert_eq!(without.is_ok(), anonymous, "{without:?}");
    }
}

#[tokio::test]
async fn a_password_goes_to_no_realm_in_the_clear() {
    let addr = serve(Router::new().fallback(|| async {
        let challenge = "Bearer realm=\"http://example.com/token\",service=\"x\"";
        (axum::http::StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)])
    }))
    .await;
    let error = pull(&format!("{addr}/team/app:v1"), Some("correct-horse")).await.unwrap_err();
    assert!(matches!(&error, PullError::Unauthorized { reason, .. } if reason.contains("realm")), "{error}");
}

#[tokio::test]
async fn bytes_that_do_not_match_their_digest_are_refused() {
    let good = image(OCI_MANIFEST, OCI_CONFIG).to_string();
    let good_digest = sha256(good.as_bytes());
    // Serves a good manifest under any name, and a config that is not the one it references.
    let addr = serve(Router::new().fallback(move |request: Request<Body>| async move {
        let body = if request.uri().path().contains("/manifests/") { good } else { "{}".to_owned() };
        ([("content-type", OCI_MANIFEST)], body)
    }))
    .await;
    for (image, asked) in [
        (format!("{addr}/team/app@{}", sha256(b"other")), sha256(b"other")),
        (format!("{addr}/team/app@{good_digest}"), sha256(config().as_bytes())),
    ] {
        let error = pull(&image, None).await.unwrap_err();
        let PullError::Malformed { reason, .. } = &error else { panic!("{error}") };
        assert!(reason.contains(&format!("digest mismatch: asked for `{asked}`")), "{reason}");
    }
}

#[tokio::test]
async fn registries_out_of_reach() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = pull(&format!("{dead}/team/app:v1"), None).await.unwrap_err();
    assert!(matches!(&error, PullError::Unreachable { reason, .. } if reason.contains("refused")), "{error}");

    let ill = serve(Router::new().fallback(|| async { axum::http::StatusCode::BAD_GATEWAY })).await;
    let error = pull(&format!("{ill}/team/app:v1"), None).await.unwrap_err();
    assert!(matches!(&error, PullError::Unreachable { reason, .. } if reason.contains("502")), "{error}");

    let silent = serve(Router::new().fallback(std::future::pending::<()>)).await;
    let impatient = RegistryPuller::new(Reach::Loopback, Duration::from_millis(50));
    let error = impatient.pull(format!("{silent}/team/app:v1").parse().unwrap(), None).await.unwrap_err();
    assert!(
        matches!(&error, PullError::Unreachable { reason, .. } if reason.contains("no answer")),
        "{error}"
    );

    let error = pull("ghcr.io/team/app:v1", None).await.unwrap_err();
    insta::assert_snapshot!(error, @"the registry of image `ghcr.io/team/app:v1` cannot be reached: this sandbox pulls from registries on loopback only; push the image to its own registry");
}
