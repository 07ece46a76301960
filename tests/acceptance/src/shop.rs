//! A shop of two services that the command-line program rolls versions out to, and what has to hold of it afterwards.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::journal::{JournalFile, Names};
use crate::{Image, ImageBuilder, Run, Running, Sandbox, eventually, get, programs, run};

/// Statuses of a deployment that is on its way to serve.
const ON_ITS_WAY: [&str; 7] =
    ["QUEUED", "WAITING", "NEEDS_APPROVAL", "BUILDING", "INITIALIZING", "DEPLOYING", "REMOVING"];

/// A project with the services `web` and `api`, which always have to run the same version.
pub struct Shop<'a> {
    sandbox: &'a Sandbox,
    directory: PathBuf,
    project: String,
    environment: String,
    services: Vec<(String, String)>,
    journal: JournalFile,
}

impl<'a> Shop<'a> {
    /// A new one, which nothing was deployed to. Its folder is named like it.
    ///
    /// # Panics
    /// When the sandbox refuses it.
    #[must_use]
    pub fn open(sandbox: &'a Sandbox, name: &str) -> Self {
        let text =
            |value: &Value, pointer: &str| value.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        let input = json!({ "name": name, "workspaceId": sandbox.workspace_id() });
        let create = "mutation projectCreate($input: ProjectCreateInput!) \
                      { projectCreate(input: $input) { id primaryEnvironmentId } }";
        let made = sandbox.graphql(create, &json!({ "input": input }));
        let project = text(&made, "/projectCreate/id");
        let environment = text(&made, "/projectCreate/primaryEnvironmentId");
        let services = ["web", "api"].map(|name| {
            let input = json!({ "projectId": project, "environmentId": environment, "name": name });
            let create =
                "mutation serviceCreate($input: ServiceCreateInput!) { serviceCreate(input: $input) { id } }";
            let id = text(&sandbox.graphql(create, &json!({ "input": input })), "/serviceCreate/id");
            let input = json!({ "environmentId": environment, "serviceId": id });
            let create = "mutation serviceDomainCreate($input: ServiceDomainCreateInput!) \
                          { serviceDomainCreate(input: $input) { id } }";
            let _ = sandbox.graphql(create, &json!({ "input": input }));
            (id, name.to_owned())
        });
        let directory = sandbox.scratch(name);
        std::fs::create_dir(&directory).unwrap();
        let journal = JournalFile::at(&directory.join("journal.db"));
        Self { sandbox, directory, project, environment, services: services.to_vec(), journal }
    }

    /// Its journal.
    #[must_use]
    pub const fn journal(&self) -> &JournalFile {
        &self.journal
    }

    /// Ids and names of its services.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.services
    }

    /// The id of a service.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn service(&self, name: &str) -> &str {
        &self.services.iter().find(|(_, known)| known == name).expect("a service of the shop").0
    }

    /// A file of its own.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The command-line program, with the shop's journal and `web` as its service.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::deployer());
        for (name, _) in std::env::vars() {
            if ["RAILWAY_", "SPECTRA_", "GITHUB_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(&self.directory)
            .envs(self.sandbox.environment())
            .env("SPECTRA_JOURNAL", self.journal.url())
            .env("RAILWAY_PROJECT_ID", &self.project)
            .env("RAILWAY_ENVIRONMENT_ID", &self.environment)
            .env("RAILWAY_SERVICE_ID", self.service("web"));
        command
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Run {
        run(&mut self.command(arguments))
    }

    /// Starts it; `name` is that of the file that it writes to.
    #[must_use]
    pub fn begin(&self, name: &str, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments), &self.file(&format!("{name}.log")))
    }

    /// Brings a first version out, to each service by itself.
    pub fn stock(&self, version: &Version) {
        for (id, _) in &self.services {
            let arguments = ["rollout", "start", "--service", id, "--image", &version.image.pinned];
            let _ = self.run(&arguments).success();
        }
    }

    /// Writes the rollout by every kind of step, and says how it is started. `settings` are further keys.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn release(&self, to: &Version, settings: &Value) -> Vec<String> {
        let mut spec = json!({
            "candidate": to.image.pinned,
            "health": { "path": "/healthz", "interval": "20ms", "success_threshold": 2 },
            "steps": [
                { "step": "canary", "duration": "50ms" },
                { "step": "pause", "duration": "20ms" },
                { "step": "swap" },
                { "step": "wave", "services": [self.service("api")], "pause": "20ms" },
            ],
            "bake": "50ms",
        });
        for (key, value) in settings.as_object().expect("settings are an object") {
            spec.as_object_mut().expect("it is one").insert(key.clone(), value.clone());
        }
        let path = self.file(&format!("{}.json", to.name));
        std::fs::write(&path, spec.to_string()).unwrap();
        ["rollout", "start", "--spec", &path.to_string_lossy()].map(str::to_owned).to_vec()
    }

    /// `rollout status` of a service.
    ///
    /// # Panics
    /// When it prints no JSON.
    #[must_use]
    pub fn status(&self, service: &str) -> Value {
        let run = self.run(&["rollout", "status", "--service", self.service(service), "--json"]).success();
        serde_json::from_str(&run.stdout).expect("`status --json` prints JSON")
    }

    /// What the platform says of each of its services, the canary included.
    fn rows(&self) -> Vec<Value> {
        let rows = self.sandbox.services();
        rows.into_iter().filter(|row| row.get("project_id") == Some(&json!(self.project))).collect()
    }

    /// The version that serves on every service.
    ///
    /// # Panics
    /// When there is not exactly one, or when any trace of another is left: in what answers, what the platform says it
    /// runs, the image that the service is set to, a deployment on its way, or a service more.
    #[must_use]
    pub fn serving<'v>(&self, versions: &[&'v Version], context: &str) -> &'v Version {
        // What is replaced goes in its own time, so that is waited for; what begins to serve must not.
        let rows = eventually("what was replaced is gone", || {
            let rows = self.rows();
            (!self.deployments().iter().any(|status| status == "REMOVING")).then_some(rows)
        });
        let names: Vec<_> =
            rows.iter().map(|row| row["service"].as_str().unwrap_or_default().to_owned()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, ["api", "web"], "{context}: no more and no less than the services are there");
        let digest = |row: &Value| row["running_digest"].as_str().unwrap_or_default().to_owned();
        let first = digest(&rows[0]);
        let found = versions.iter().find(|version| version.image.digest == first);
        let Some(version) = found else { panic!("{context}: none of the versions serves: {rows:#?}") };
        for row in &rows {
            assert_eq!(digest(row), version.image.digest, "{context}: two versions serve: {rows:#?}");
            assert_eq!(row["source_image"], json!(version.image.pinned), "{context}: the setting: {row:#}");
            let url = row["urls"][0].as_str().expect("it has a domain");
            let answer = get(url);
            assert_eq!(
                (answer.status, answer.body.trim()),
                (200, version.name.as_str()),
                "{context}: `{url}` answers with something else"
            );
        }
        let on_its_way: Vec<_> =
            self.deployments().into_iter().filter(|status| ON_ITS_WAY.contains(&status.as_str())).collect();
        assert!(on_its_way.is_empty(), "{context}: deployments are on their way: {on_its_way:?}");
        version
    }

    /// The statuses of all deployments of the environment.
    fn deployments(&self) -> Vec<String> {
        let query = "query deployments($input: DeploymentListInput!) \
                     { deployments(first: 50, input: $input) { edges { node { status } } } }";
        let mut all = Vec::new();
        for (service, _) in &self.services {
            let input =
                json!({ "projectId": self.project, "environmentId": self.environment, "serviceId": service });
            let found = self.sandbox.graphql(query, &json!({ "input": input }));
            let edges = found.pointer("/deployments/edges").and_then(Value::as_array).cloned();
            all.extend(
                edges
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|edge| edge.pointer("/node/status")?.as_str().map(str::to_owned)),
            );
        }
        all
    }

    /// Asserts that nobody holds anything up: the leases are free, no rollout is open, the journal is whole.
    ///
    /// # Panics
    /// When one of that is not so.
    pub fn assert_at_rest(&self, context: &str) {
        for (_, name) in &self.services {
            let status = self.status(name);
            assert!(status["lease"].is_null(), "{context}: the lease of `{name}` is not free: {status:#}");
            let state = status["state"].as_str().unwrap_or_default();
            assert!(["ended", "none"].contains(&state), "{context}: {status:#}");
            assert_eq!(status["open"], json!([]), "{context}: {status:#}");
        }
        self.journal.assert_chain();
    }
}

/// A version of the shop.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its name, with which it answers.
    pub name: String,
    /// Its image.
    pub image: Image,
}

impl Version {
    /// One that is healthy.
    #[must_use]
    pub fn push(name: &str, sandbox: &Sandbox) -> Self {
        Self { name: name.to_owned(), image: ImageBuilder::new(name).push(sandbox) }
    }
}
