//! A sandbox in this process, a journal, and what a delivery needs beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use spectra_delivery::{Delivered, Delivery, Error, Listener, Signatures, Waiting};
use spectra_journal::{Holder, Journal, Location, ManualClock};
use spectra_railway::{
    Change, Client, ClientConfig, Deploys, FanOut, InstanceRef, InstanceUpdate, NewProject, NewService,
    VariableChanges, VariableScope,
};
use spectra_rollout::spec::{HttpRatio, Metric, MetricKind};
use spectra_rollout::{Entry, Outcome, Place, RolloutRequest};
use spectra_sandbox::{Config, Sandbox, SandboxInfo};
use spectra_types::{EnvironmentId, PinnedImage, ProjectId};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Requests a second of the sandbox's time: forty a second of this machine's.
pub(crate) const TRAFFIC: (&str, &str) = ("traffic", "0.02");

/// A sandbox whose second takes half a real millisecond, and a journal whose time is the test's.
pub(crate) struct World {
    _sandbox: Sandbox,
    info: SandboxInfo,
    http: reqwest::Client,
    pub(crate) client: Client,
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<ManualClock>,
    project: ProjectId,
    environment: EnvironmentId,
    pub(crate) dir: TempDir,
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
        let client = client(&info);
        let clock = Arc::new(ManualClock::new(Timestamp::now()));
        let location = Location::file(dir.path().join("journal.db"));
        let journal = Journal::open_with_clock(&location, Arc::clone(&clock) as _).await.unwrap();
        let new = NewProject {
            name: "shop".to_owned(),
            description: None,
            workspace: Some(info.workspace_id.parse().unwrap()),
            default_environment_name: None,
        };
        let project = client.create_project(&new).await.unwrap().id;
        let environment = client.environments(&project).await.unwrap()[0].id.clone();
        Self { _sandbox: sandbox, info, http, client, journal, clock, project, environment, dir }
    }

    /// A client of its own, as another process has.
    pub(crate) fn other_client(&self) -> Client {
        client(&self.info)
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}/{path}", self.info.admin));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    /// Pushes an image with behaviour labels (without their prefix).
    pub(crate) async fn push(&self, tag: &str, labels: &[(&str, &str)]) -> PinnedImage {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| (format!("dev.spectra.sandbox.{key}"), json!(value))).collect();
        let config = json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
            "config": { "Labels": labels, "Env": [format!("TAG={tag}")] }
        })
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
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": config.len()
            },
            "layers": []
        })
        .to_string();
        let put = self.http.put(format!("{repository}/manifests/{tag}"));
        let put = put.header("content-type", "application/vnd.oci.image.manifest.v1+json");
        assert_eq!(put.body(manifest.clone()).send().await.unwrap().status().as_u16(), 201);
        format!("{}/team/app@{}", self.info.registry, sha256(manifest.as_bytes())).parse().unwrap()
    }

    /// A service that serves this image under a domain.
    pub(crate) async fn serving(&self, name: &str, image: &PinnedImage, settings: InstanceUpdate) -> Place {
        let new = NewService {
            project: self.project.clone(),
            environment: self.environment.clone(),
            name: name.to_owned(),
            fan_out: FanOut::Refuse,
        };
        let (service, _) = self.client.create_service(&new).await.unwrap();
        let at = InstanceRef {
            project: self.project.clone(),
            environment: self.environment.clone(),
            service: service.id,
        };
        let update = InstanceUpdate { image: Change::Set(image.to_string()), ..settings };
        self.client.update_instance(&at, &update).await.unwrap();
        self.client.create_service_domain(&at, None).await.unwrap();
        let id = self.client.deploy(&at, None).await.unwrap();
        let serves = async {
            while self.client.deployment(&id).await.unwrap().status.as_str() != "SUCCESS" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), serves).await.unwrap();
        at.into()
    }

    pub(crate) async fn web(&self, image: &PinnedImage) -> Place {
        self.serving("web", image, InstanceUpdate::default()).await
    }

    pub(crate) async fn variables(&self, place: &Place, set: &[(&str, &str)], seal: &[(&str, &str)]) {
        let values = |of: &[(&str, &str)]| {
            of.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect::<BTreeMap<_, _>>()
        };
        let changes = VariableChanges { set: values(set), seal: values(seal), ..VariableChanges::default() };
        let scope = VariableScope::Service(place.service.clone());
        self.client
            .change_variables(&place.project, &place.environment, &scope, &changes, Deploys::Skip)
            .await
            .unwrap();
    }

    /// What the sandbox itself says of a service.
    pub(crate) async fn row(&self, place: &Place) -> Value {
        let status = self.admin("GET", "status", Value::Null).await;
        let rows = status["services"].as_array().unwrap();
        rows.iter().find(|row| row["service_id"] == place.service.as_str()).unwrap().clone()
    }

    pub(crate) async fn runs(&self, place: &Place) -> String {
        self.row(place).await["running_digest"].as_str().unwrap_or("nothing").to_owned()
    }

    /// The names of all services.
    pub(crate) async fn services(&self) -> Vec<String> {
        let status = self.admin("GET", "status", Value::Null).await;
        let rows = status["services"].as_array().unwrap();
        let mut names: Vec<_> = rows.iter().map(|row| row["service"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    pub(crate) fn delivery<'a>(&'a self, listener: Listener<'a>) -> Delivery<'a> {
        Delivery {
            client: &self.client,
            journal: &self.journal,
            holder: Holder::of_this_process("test"),
            channels: &[],
            signatures: Signatures::default(),
            registry: None,
            listener,
            logs: None,
            waiting: Waiting::NO,
            postmortems: None,
        }
    }

    pub(crate) async fn deliver(&self, request: RolloutRequest) -> Delivered {
        self.try_deliver(request).await.unwrap()
    }

    pub(crate) async fn try_deliver(&self, request: RolloutRequest) -> Result<Delivered, Error> {
        let delivery = self.delivery(&|_| {});
        let never = CancellationToken::new();
        tokio::time::timeout(Duration::from_mins(1), delivery.deliver(request, &never)).await.unwrap()
    }

    /// What was written down of a rollout.
    pub(crate) async fn entries(&self, rollout: &str) -> Vec<Entry> {
        let found = spectra_delivery::entries(&self.journal, rollout).await.unwrap();
        found.into_iter().map(|(_, entry)| entry).collect()
    }

    /// That nobody holds a lease any more, and that no record was changed.
    pub(crate) async fn is_in_order(&self) {
        assert!(self.journal.leases().await.unwrap().is_empty());
        self.journal.verify(None).await.unwrap();
    }
}

fn client(info: &SandboxInfo) -> Client {
    let mut config = ClientConfig::new(info.tokens.account.clone().into());
    config.endpoint = info.endpoint.parse().unwrap();
    Client::new(config).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A metric that is measured three times, half a second apart.
pub(crate) fn metric(source: MetricKind) -> Metric {
    let text = json!({ "name": "errors", "source": { "kind": "probe" }, "interval": "500ms", "count": 3 });
    Metric { source, ..serde_json::from_value(text).unwrap() }
}

pub(crate) fn logged_errors() -> Metric {
    metric(MetricKind::HttpLogStatus { ratio: HttpRatio::ServerError })
}

/// The stable code of why a rollout failed.
pub(crate) fn code(outcome: &Outcome) -> String {
    outcome.failure().map_or_else(|| "none".to_owned(), |failure| failure.reason.code().to_string())
}

/// Lines that a listener heard.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Lines {
    pub(crate) fn add(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
