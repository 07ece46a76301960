//! A Railway for the tests of resources: it answers by operation, and refuses what it was not told about.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use spectra_delivery::settings::Settings;
use spectra_journal::{Holder, Journal, Location};
use spectra_rollout::DeploymentPolicy;
use spectra_sign::{Algorithm, SignaturePolicy, SigningKey, Threshold, TrustedKey};
use tfplugin::testing::Core;
use tfplugin::{Attr, Configure, Provider as _, Sensitive};
use tokio_util::sync::CancellationToken;

use crate::provider::{Cx, JournalModel, ProviderModel, RailwayModel, Spectra};

#[derive(Debug)]
enum Answer {
    Data(Value),
    Refusal(String),
}

#[derive(Debug, Default)]
struct Script {
    answers: BTreeMap<String, Answer>,
    seen: Vec<String>,
}

/// What was told and what was asked.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    script: Arc<Mutex<Script>>,
    port: u16,
    folder: Arc<tempfile::TempDir>,
}

impl Fake {
    /// Whose token is an account's with one workspace, and which has project `p-1` with environment `e-1`.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            script: Arc::default(),
            port: listener.local_addr().unwrap().port(),
            folder: Arc::new(tempfile::tempdir().unwrap()),
        };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&fake.script));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake.answer(
            "TokenProbeApi",
            json!({ "apiToken": { "workspaces": [{ "id": "w-1", "name": "Team" }] } }),
        );
        fake.answer("TokenProbeMe", json!({ "me": { "id": "u-1" } }));
        fake.answer(
            "ProjectGet",
            json!({ "project": { "id": "p-1", "name": "shop", "description": "", "workspaceId": "w-1",
                "primaryEnvironmentId": "e-1", "deletedAt": null } }),
        );
        fake.answer("EnvironmentList", json!({ "environments": list(&[environment("e-1", "main", None)]) }));
        fake
    }

    /// From now on this is the answer to `operation`.
    pub(crate) fn answer(&self, operation: &str, data: Value) {
        self.script.lock().unwrap().answers.insert(operation.to_owned(), Answer::Data(data));
    }

    /// From now on `operation` is refused in the words of Railway.
    pub(crate) fn refuse(&self, operation: &str, message: &str) {
        let refusal = Answer::Refusal(message.to_owned());
        self.script.lock().unwrap().answers.insert(operation.to_owned(), refusal);
    }

    /// What was asked, in order.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.script.lock().unwrap().seen.clone()
    }

    /// Where its journal is.
    pub(crate) fn journal(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("journal.db").display())
    }

    /// Writes a policy into its journal, under the policy's name.
    pub(crate) async fn put(&self, policy: &DeploymentPolicy) {
        let journal = Journal::open(&self.journal().parse::<Location>().unwrap()).await.unwrap();
        let by = Holder::of_this_process("test");
        Settings::of(&journal).put(&policy.name, policy, &by).await.unwrap();
    }

    /// Terraform with this provider.
    pub(crate) async fn core(&self) -> Core<Spectra> {
        Core::new(Spectra, &self.config()).await.unwrap()
    }

    /// What a handler works with.
    pub(crate) async fn cx(&self) -> Cx {
        let (config, terraform_version) = (self.config(), "1.13.0".to_owned());
        let request = Configure { config, terraform_version, cancel: CancellationToken::new() };
        Cx::new(Arc::new(Spectra.configure(request).await.unwrap()))
    }

    /// What a handler works with, of a call that Terraform has asked to stop.
    pub(crate) async fn stopped(&self) -> Cx {
        let cx = self.cx().await;
        cx.cancel.cancel();
        cx
    }

    fn config(&self) -> ProviderModel {
        ProviderModel {
            railway: Attr::Known(RailwayModel {
                token: Attr::Known(Sensitive("7c1d-token-of-a-test".to_owned())),
                token_type: Attr::Null,
                endpoint: format!("http://127.0.0.1:{}/graphql/v2", self.port).into(),
            }),
            registry: Attr::Null,
            journal: Attr::Known(JournalModel { url: Attr::Known(Sensitive(self.journal())) }),
        }
    }
}

/// A policy that wants a signature of a key, with which nobody signed anything.
pub(crate) fn signed_by_somebody() -> SignaturePolicy {
    let key = SigningKey::generate(Algorithm::Ed25519).unwrap();
    SignaturePolicy {
        repositories: Vec::new(),
        keys: vec![TrustedKey { name: "ci".to_owned(), public_key: key.public().clone() }],
        identities: Vec::new(),
        required: Threshold::Any,
        attestations: Vec::new(),
    }
}

/// Objects as Railway lists them.
pub(crate) fn list(nodes: &[Value]) -> Value {
    let edges: Vec<_> = nodes.iter().map(|node| json!({ "node": node })).collect();
    json!({ "edges": edges, "pageInfo": { "hasNextPage": false, "endCursor": null } })
}

/// An environment of project `p-1`.
pub(crate) fn environment(id: &str, name: &str, source: Option<&str>) -> Value {
    json!({ "id": id, "name": name, "projectId": "p-1", "isEphemeral": false, "canAccess": true, "deletedAt": null,
            "sourceEnvironment": source.map(|id| json!({ "id": id })) })
}

/// Everything about environment `e-1`, with these services.
pub(crate) fn snapshot(instances: &[Value], config: &Value) -> Value {
    let mut node = environment("e-1", "main", None);
    node["configEtag"] = json!("etag-1");
    node["unmergedChangesCount"] = json!(0);
    node["config"] = config.clone();
    node["serviceInstances"] = list(instances);
    json!({ "environment": node })
}

/// Service `s-1`, with these settings.
pub(crate) fn instance(settings: &Value) -> Value {
    let mut node = json!({
        "id": "i-1", "serviceId": "s-1", "serviceName": "web", "deletedAt": null,
        "source": { "image": null, "repo": null }, "healthcheckPath": null, "healthcheckTimeout": null,
        "startCommand": null, "preDeployCommand": null, "overlapSeconds": null, "drainingSeconds": null,
        "numReplicas": 1, "restartPolicyType": "ON_FAILURE", "restartPolicyMaxRetries": 10,
        "domains": { "serviceDomains": [] }, "latestDeployment": null, "activeDeployments": [],
    });
    for (key, value) in settings.as_object().unwrap() {
        node[key] = value.clone();
    }
    node
}

async fn answer(State(script): State<Arc<Mutex<Script>>>, body: Bytes) -> (StatusCode, String) {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let operation = body["operationName"].as_str().unwrap().to_owned();
    let mut script = script.lock().unwrap();
    script.seen.push(operation.clone());
    let errors = |message: &str, code: &str| {
        let error = json!({ "message": message, "extensions": { "code": code } });
        json!({ "data": null, "errors": [error] }).to_string()
    };
    match script.answers.get(&operation) {
        Some(Answer::Data(data)) => return (StatusCode::OK, json!({ "data": data }).to_string()),
        Some(Answer::Refusal(message)) => return (StatusCode::OK, errors(message, "INTERNAL_SERVER_ERROR")),
        None => {}
    }
    let message = format!("nobody told the fake about {operation}");
    (StatusCode::BAD_REQUEST, errors(&message, "GRAPHQL_VALIDATION_FAILED"))
}
