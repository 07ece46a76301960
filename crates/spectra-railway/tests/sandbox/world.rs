//! A sandbox in this process, and clients of it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spectra_railway::{
    Change, Client, ClientConfig, Clock, FanOut, InstanceRef, InstanceUpdate, NewProject, NewService,
};
use spectra_sandbox::{Config, Sandbox, SandboxInfo};
use spectra_types::DeploymentId;
use tempfile::TempDir;

/// Longest wait for anything, in real time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A sandbox whose second takes half a real millisecond.
pub(crate) struct World {
    _sandbox: Sandbox,
    pub(crate) info: SandboxInfo,
    http: reqwest::Client,
    /// For what is not under test.
    pub(crate) client: Client,
    _dir: TempDir,
}

/// Fails the test instead of hanging.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("never: {what}"))
}

pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < DEADLINE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path().join("state"));
        config.port = 0;
        config.time_scale = Some(2000.0);
        let sandbox = Sandbox::start(config).await.unwrap();
        let info = sandbox.info().clone();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let client = Client::new(configuration(&info)).unwrap();
        Self { _sandbox: sandbox, info, http, client, _dir: dir }
    }

    /// Another client, whose time is the test's.
    pub(crate) fn client_on(&self, clock: Arc<dyn Clock>) -> Client {
        let mut config = configuration(&self.info);
        config.clock = clock;
        Client::new(config).unwrap()
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}/{path}", self.info.admin));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    pub(crate) async fn settings(&self, change: Value) {
        self.admin("PUT", "settings", change).await;
    }

    pub(crate) async fn fault(&self, rule: Value) {
        self.admin("POST", "faults", rule).await;
    }

    /// The journal's rows of an operation.
    pub(crate) async fn journal(&self, operation: &str) -> Vec<Value> {
        let journal = self.admin("GET", "journal", Value::Null).await;
        let rows = journal["entries"].as_array().unwrap().iter();
        rows.filter(|row| row["operation"] == operation).cloned().collect()
    }

    /// As somebody with the account's rights, past the client.
    pub(crate) async fn ask(&self, query: &str, variables: Value) -> Value {
        let request = self.http.post(format!("{}?source=test", self.info.endpoint));
        let request = request.bearer_auth(&self.info.tokens.account);
        let request = request.json(&json!({ "query": query, "variables": variables }));
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert!(answer["errors"].is_null(), "{query}: {answer}");
        answer["data"].take()
    }

    /// Pushes an image with behaviour labels (without their prefix); returns its pinned reference.
    pub(crate) async fn push(&self, tag: &str, labels: &[(&str, &str)]) -> String {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| (format!("dev.spectra.sandbox.{key}"), json!(value))).collect();
        let config =
            json!({ "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
                             "config": { "Labels": labels, "Env": [format!("TAG={tag}")] } })
            .to_string();
        let digest = sha256(config.as_bytes());
        let repository = format!("{}/v2/team/app", self.info.url);
        let start = self.http.post(format!("{repository}/blobs/uploads/")).send().await.unwrap();
        let location = start.headers()["location"].to_str().unwrap();
        let base = if location.starts_with('/') { self.info.url.as_str() } else { "" };
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = self.http.put(format!("{base}{location}{separator}digest={digest}"));
        let put = put.header("content-type", "application/octet-stream").body(config.clone());
        assert_eq!(put.send().await.unwrap().status().as_u16(), 201);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
            "layers": []
        })
        .to_string();
        let put = self.http.put(format!("{repository}/manifests/{tag}"));
        let put = put.header("content-type", "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(put.body(manifest.clone()).send().await.unwrap().status().as_u16(), 201);
        format!("{}/team/app@{}", self.info.registry, sha256(manifest.as_bytes()))
    }

    /// A project with one environment and a service `web` of this image, not deployed.
    pub(crate) async fn place(&self, image: &str) -> InstanceRef {
        let new = NewProject {
            name: "shop".to_owned(),
            description: None,
            workspace: Some(self.info.workspace_id.parse().unwrap()),
            default_environment_name: None,
        };
        let project = self.client.create_project(&new).await.unwrap();
        let environments = self.client.environments(&project.id).await.unwrap();
        let (project, environment) = (project.id, environments[0].id.clone());
        let (name, fan_out) = ("web".to_owned(), FanOut::Refuse);
        let new = NewService { project: project.clone(), environment: environment.clone(), name, fan_out };
        let (service, _) = self.client.create_service(&new).await.unwrap();
        let place = InstanceRef { project, environment, service: service.id };
        let update = InstanceUpdate { image: Change::Set(image.to_owned()), ..InstanceUpdate::default() };
        self.client.update_instance(&place, &update).await.unwrap();
        place
    }

    pub(crate) async fn deploy(&self, place: &InstanceRef) -> DeploymentId {
        self.client.deploy(place, None).await.unwrap()
    }

    /// A deployment that begins when somebody approves it.
    pub(crate) async fn held(&self, labels: &[(&str, &str)]) -> (InstanceRef, DeploymentId) {
        let image = self.push("v1", labels).await;
        let place = self.place(&image).await;
        self.settings(json!({ "hold_deployments": "NEEDS_APPROVAL" })).await;
        let id = self.deploy(&place).await;
        (place, id)
    }

    pub(crate) async fn approve(&self, id: &DeploymentId) {
        let query = "mutation A($id: String!) { deploymentApprove(id: $id) }";
        self.ask(query, json!({ "id": id.as_str() })).await;
    }

    pub(crate) async fn until_status(&self, id: &DeploymentId, status: &str) {
        until(status, async || self.client.deployment(id).await.unwrap().status.as_str() == status).await;
    }

    /// A service that serves this image under a domain.
    pub(crate) async fn serving(&self, labels: &[(&str, &str)]) -> (InstanceRef, DeploymentId, String) {
        let image = self.push("v1", labels).await;
        let place = self.place(&image).await;
        let domain = self.client.create_service_domain(&place, None).await.unwrap().domain;
        let id = self.deploy(&place).await;
        self.until_status(&id, "SUCCESS").await;
        (place, id, domain)
    }

    /// Status and body of a request to a domain of a service.
    pub(crate) async fn visit(&self, domain: &str, path: &str) -> (u16, String) {
        let request = self.http.get(format!("{}{path}", self.info.url)).header("host", domain);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

fn configuration(info: &SandboxInfo) -> ClientConfig {
    let mut config = ClientConfig::new(info.tokens.account.clone().into());
    config.endpoint = info.endpoint.parse().unwrap();
    config
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
