//! A sandbox in this process, spoken to over real HTTP.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "test support: a failure here is a failure of the test")]

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spectra_sandbox::{Config, Sandbox, SandboxInfo};
use tempfile::TempDir;

/// Longest wait for anything, in real time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A sandbox whose sandbox second takes half a real millisecond.
pub(crate) struct World {
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) info: SandboxInfo,
    pub(crate) client: Client,
    pub(crate) dir: TempDir,
}

pub(crate) fn config(dir: &TempDir) -> Config {
    let mut config = Config::new(dir.path().join("state"));
    config.port = 0;
    config.time_scale = Some(2000.0);
    config
}

pub(crate) async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(config(&dir)).await.unwrap();
    let info = sandbox.info().clone();
    let client = Client::builder().no_proxy().tls_certs_only([]).user_agent("test").build().unwrap();
    World { sandbox: Some(sandbox), info, client, dir }
}

/// Ids of a project with one environment and one service.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) project: String,
    pub(crate) environment: String,
    pub(crate) service: String,
}

impl World {
    pub(crate) async fn restart(&mut self) {
        self.sandbox.take().unwrap().shutdown().await;
        self.start().await;
    }

    /// Starts the sandbox of the same state directory again.
    pub(crate) async fn start(&mut self) {
        let sandbox = Sandbox::start(config(&self.dir)).await.unwrap();
        self.info = sandbox.info().clone();
        self.sandbox = Some(sandbox);
    }

    pub(crate) fn request(&self, query: &str, variables: &Value) -> RequestBuilder {
        self.client
            .post(format!("{}?source=test", self.info.endpoint))
            .json(&json!({ "query": query, "variables": variables }))
    }

    /// The whole answer, with the account's token.
    pub(crate) async fn answer(&self, query: &str, variables: Value) -> Value {
        let request = self.request(query, &variables).bearer_auth(&self.info.tokens.account);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// The data; errors fail the test.
    pub(crate) async fn ask(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.answer(query, variables).await;
        assert!(answer["errors"].is_null(), "{query}: {answer}");
        answer["data"].take()
    }

    /// The first error's message.
    pub(crate) async fn refused(&self, query: &str, variables: Value) -> String {
        let answer = self.answer(query, variables).await;
        answer["errors"][0]["message"].as_str().unwrap_or_else(|| panic!("not refused: {answer}")).to_owned()
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.client.request(method, format!("{}/{path}", self.info.admin));
        let response = if body.is_null() { request } else { request.json(&body) }.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    pub(crate) async fn settings(&self, change: Value) {
        self.admin("PUT", "settings", change).await;
    }

    /// Pushes an image with behaviour labels (without their prefix); returns its digest.
    pub(crate) async fn push(&self, name: &str, tag: &str, labels: &[(&str, &str)]) -> String {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| (format!("dev.spectra.sandbox.{key}"), json!(value))).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
            "config": { "Labels": labels, "Env": ["PATH=/"] }
        })
        .to_string();
        let digest = sha256(config.as_bytes());
        let start =
            self.client.post(format!("{}/v2/{name}/blobs/uploads/", self.info.url)).send().await.unwrap();
        let location = start.headers()["location"].to_str().unwrap().to_owned();
        let location =
            if location.starts_with('/') { format!("{}{location}", self.info.url) } else { location };
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = self
            .client
            .put(format!("{location}{separator}digest={digest}"))
            .header("content-type", "application/octet-stream")
            .body(config.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(put.status().as_u16(), 201, "{}", put.text().await.unwrap());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len() },
            "layers": []
        })
        .to_string();
        let put = self
            .client
            .put(format!("{}/v2/{name}/manifests/{tag}", self.info.url))
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body(manifest.clone())
            .send()
            .await
            .unwrap();
        assert_eq!(put.status().as_u16(), 201, "{}", put.text().await.unwrap());
        sha256(manifest.as_bytes())
    }

    pub(crate) fn pinned(&self, name: &str, digest: &str) -> String {
        format!("{}/{name}@{digest}", self.info.registry)
    }

    /// A project whose objects are past their consistency tails.
    pub(crate) async fn project(&self, name: &str) -> (String, String) {
        let data = self
            .ask(
                "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id primaryEnvironmentId } }",
                json!({ "i": { "name": name, "workspaceId": self.info.workspace_id } }),
            )
            .await;
        let text = |key: &str| data["projectCreate"][key].as_str().unwrap().to_owned();
        (text("id"), text("primaryEnvironmentId"))
    }

    pub(crate) async fn service(
        &self,
        project: &str,
        environment: &str,
        name: &str,
        image: Option<&str>,
    ) -> String {
        let source = image.map(|image| json!({ "image": image }));
        let data = self
            .ask(
                "mutation S($i: ServiceCreateInput!) { serviceCreate(input: $i) { id } }",
                json!({ "i": { "projectId": project, "environmentId": environment, "name": name, "source": source } }),
            )
            .await;
        data["serviceCreate"]["id"].as_str().unwrap().to_owned()
    }

    /// A project `shop` with a service `web`, without a source, visible.
    pub(crate) async fn place(&self) -> Place {
        let (project, environment) = self.project("shop").await;
        let service = self.service(&project, &environment, "web", None).await;
        let place = Place { project, environment, service };
        self.until("the instance is visible", async || {
            let answer = self
                .answer(
                    "query Q($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { id } }",
                    json!({ "e": place.environment, "s": place.service }),
                )
                .await;
            answer["errors"].is_null()
        })
        .await;
        place
    }

    pub(crate) async fn update(&self, place: &Place, input: Value) {
        self.ask(
            "mutation U($e: String, $s: String!, $i: ServiceInstanceUpdateInput!) { serviceInstanceUpdate(environmentId: $e, serviceId: $s, input: $i) }",
            json!({ "e": place.environment, "s": place.service, "i": input }),
        )
        .await;
    }

    pub(crate) async fn deploy(&self, place: &Place) -> String {
        let data = self
            .ask(
                "mutation D($e: String!, $s: String!) { serviceInstanceDeployV2(environmentId: $e, serviceId: $s) }",
                json!({ "e": place.environment, "s": place.service }),
            )
            .await;
        data["serviceInstanceDeployV2"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn pin(&self, place: &Place, image: &str) -> String {
        self.update(place, json!({ "source": { "image": image } })).await;
        self.deploy(place).await
    }

    pub(crate) async fn deployment(&self, id: &str) -> Value {
        let data = self
            .ask(
                "query D($id: String!) { deployment(id: $id) { id status deploymentStopped canRollback meta url instances { id status } } }",
                json!({ "id": id }),
            )
            .await;
        data["deployment"].clone()
    }

    pub(crate) async fn wait_for(&self, id: &str, status: &str) -> Value {
        let start = Instant::now();
        loop {
            let row = self.deployment(id).await;
            if row["status"] == status {
                return row;
            }
            assert!(start.elapsed() < DEADLINE, "{id} never became {status}: {row}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn domain(&self, place: &Place) -> String {
        let data = self
            .ask(
                "mutation D($i: ServiceDomainCreateInput!) { serviceDomainCreate(input: $i) { domain } }",
                json!({ "i": { "environmentId": place.environment, "serviceId": place.service } }),
            )
            .await;
        data["serviceDomainCreate"]["domain"].as_str().unwrap().to_owned()
    }

    /// Status and body of a request to a service domain, sent to the sandbox's port.
    pub(crate) async fn visit(&self, domain: &str, path: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.info.url)).header("host", domain);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn until(&self, what: &str, mut check: impl AsyncFnMut() -> bool) {
        let start = Instant::now();
        while !check().await {
            assert!(start.elapsed() < DEADLINE, "never: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
