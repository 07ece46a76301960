//! The registry on a port of its own, and a client without opinions.

use std::path::Path;

use reqwest::{Client, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spectra_sandbox::registry::{Registry, RegistryConfig, ViolationKind};
use spectra_types::{Algorithm, Digest};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A registry of its own with a client.
pub(crate) struct Bed {
    pub(crate) registry: Registry,
    pub(crate) url: String,
    client: Client,
}

impl Bed {
    pub(crate) async fn at(root: &Path) -> Self {
        Self::with(RegistryConfig::new(root)).await
    }

    pub(crate) async fn with(config: RegistryConfig) -> Self {
        let registry = Registry::open(config).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(registry.clone().serve(listener));
        Self {
            registry,
            url,
            client: Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let path = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) };
        self.client.request(method, path)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).await.json().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> StatusCode {
        self.request(Method::DELETE, path).send().await.unwrap().status()
    }

    /// Begins an upload and returns its location.
    pub(crate) async fn begin(&self, name: &str) -> String {
        let response =
            self.request(Method::POST, &format!("/v2/{name}/blobs/uploads/")).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        header_of(&response, "location")
    }

    /// Where an upload goes on: its status says so. What has no status is left as it is.
    pub(crate) async fn current(&self, location: &str) -> String {
        let status = self.get(location).await;
        if status.status() == StatusCode::NO_CONTENT {
            header_of(&status, "location")
        } else {
            location.to_owned()
        }
    }

    /// Sends a part to where the upload goes on.
    pub(crate) async fn patch(&self, location: &str, range: &str, bytes: &[u8]) -> Response {
        let location = self.current(location).await;
        self.request(Method::PATCH, &location)
            .header(header::CONTENT_RANGE, range)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn put(&self, location: &str, digest: &Digest, bytes: &[u8]) -> Response {
        let location = self.current(location).await;
        let mark = if location.contains('?') { '&' } else { '?' };
        self.request(Method::PUT, &format!("{location}{mark}digest={digest}"))
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn push(&self, name: &str, bytes: &[u8]) -> Digest {
        let digest = sha256(bytes);
        let response = self
            .request(Method::POST, &format!("/v2/{name}/blobs/uploads/?digest={digest}"))
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(header_of(&response, "location"), format!("/v2/{name}/blobs/{digest}"));
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        kind: &str,
        manifest: &Value,
    ) -> Response {
        self.request(Method::PUT, &format!("/v2/{name}/manifests/{reference}"))
            .header(header::CONTENT_TYPE, kind)
            .body(manifest.to_string())
            .send()
            .await
            .unwrap()
    }

    /// Pushes an image of one layer under a tag.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> (Digest, Value) {
        self.push(name, layer).await;
        self.push(name, b"{}").await;
        let manifest = image(layer);
        let response = self.put_manifest(name, tag, OCI_MANIFEST, &manifest).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        let digest = sha256(manifest.to_string().as_bytes());
        assert_eq!(header_of(&response, "docker-content-digest"), digest.to_string());
        (digest, manifest)
    }

    pub(crate) fn kinds(&self) -> Vec<ViolationKind> {
        self.registry.violations().into_iter().map(|violation| violation.kind).collect()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Algorithm::Sha256, &Sha256::digest(bytes)).unwrap()
}

pub(crate) fn header_of(response: &Response, name: &str) -> String {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap().to_owned()
}

pub(crate) async fn code(response: Response) -> String {
    let body: Value = response.json().await.unwrap();
    body["errors"][0]["code"].as_str().unwrap().to_owned()
}

pub(crate) fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": sha256(bytes).to_string(), "size": bytes.len() })
}

pub(crate) fn image(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    })
}
