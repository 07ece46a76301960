//! A shop of two services that the command-line program rolls versions out to, and what has to hold of it afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::journal::{JournalFile, Names};
use crate::{Image, ImageBuilder, Run, Running, Sandbox, eventually, get, programs, run};

/// Statuses of a deployment that is on its way to serve.
const ON_ITS_WAY: [&str; 7] =
    ["QUEUED", "WAITING", "NEEDS_APPROVAL", "BUILDING", "INITIALIZING", "DEPLOYING", "REMOVING"];

/// The files that programs of a rollout change, which hold the name of the version that they are for.
const TENDED: [&str; 2] = ["schema", "cache"];

/// `tend.sh FILE FROM TO [ALREADY…]`. Run again it does nothing, and it refuses what is out of order.
const TEND: &str = r#"file=$1; from=$2; shift 2
holds=$(cat "$file") || exit 1
for known; do [ "$holds" = "$known" ] && exit 0; done
[ "$holds" = "$from" ] || { echo "$file holds '$holds', not '$from'" >&2; exit 1; }
printf %s "$1" > "$file.new" && mv "$file.new" "$file"
"#;

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

    /// What the platform says of one of its services: its row of `GET status`.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn row(&self, service: &str) -> Value {
        let rows = self.sandbox.services();
        let mut found = rows.into_iter().filter(|row| {
            row["environment_id"] == json!(self.environment)
                && row["service_id"] == json!(self.service(service))
        });
        found.next().expect("the platform has the service")
    }

    /// How many services its environment has.
    #[must_use]
    pub fn count(&self) -> usize {
        let of = |row: &Value| row["environment_id"] == json!(self.environment);
        self.sandbox.services().iter().filter(|row| of(row)).count()
    }

    /// What [`foreign`] does, to `web`.
    #[must_use]
    pub fn foreign(&self, image: &Image) -> (String, Value) {
        foreign(self.service("web"), &self.environment, image)
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

    /// Brings a first version out, to each service by itself, with the schema that it needs.
    ///
    /// # Panics
    /// When that fails.
    pub fn stock(&self, version: &Version) {
        for (id, _) in &self.services {
            let arguments = ["rollout", "start", "--service", id, "--image", &version.image.pinned];
            let _ = self.run(&arguments).success();
        }
        self.put_in_order(version);
        std::fs::write(self.file("tend.sh"), TEND).unwrap();
    }

    /// Deploys a version past every rollout, as somebody does in the platform's own pages.
    ///
    /// # Panics
    /// When the sandbox refuses it.
    pub fn deploy_by_hand(&self, service: &str, version: &Version) {
        let variables =
            |input: Value| json!({ "s": self.service(service), "e": self.environment, "i": input });
        let update = "mutation serviceInstanceUpdate($s: String!, $e: String!, $i: ServiceInstanceUpdateInput!) \
                      { serviceInstanceUpdate(serviceId: $s, environmentId: $e, input: $i) }";
        let _ =
            self.sandbox.graphql(update, &variables(json!({ "source": { "image": version.image.pinned } })));
        let deploy = "mutation serviceInstanceDeployV2($s: String!, $e: String!) \
                      { serviceInstanceDeployV2(serviceId: $s, environmentId: $e) }";
        let _ = self.sandbox.graphql(deploy, &variables(Value::Null));
    }

    /// What a file that programs of a rollout change holds.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn holds(&self, file: &str) -> String {
        std::fs::read_to_string(self.file(file)).unwrap()
    }

    /// Puts what programs of a rollout change in order for this version, as somebody does who was told of a leftover.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn put_in_order(&self, version: &Version) {
        for file in TENDED {
            std::fs::write(self.file(file), &version.name).unwrap();
        }
    }

    /// A program that brings one of the [`TENDED`] files from what it holds to something else. It does nothing where the file
    /// holds that, or what is in `already`.
    #[must_use]
    pub fn tend(&self, file: &str, from: &str, to: &str, already: &[&str]) -> Value {
        let path = |name: &str| self.file(name).to_string_lossy().into_owned();
        let mut command =
            vec!["/bin/sh".to_owned(), path("tend.sh"), path(file), from.to_owned(), to.to_owned()];
        command.extend(already.iter().map(|text| (*text).to_owned()));
        json!({ "command": command })
    }

    /// Writes the rollout by every kind of step that changes something, and says how it is started. `settings` are further
    /// keys.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn release(&self, from: &Version, to: &Version, settings: &Value) -> Vec<String> {
        let (old, new) = (from.name.as_str(), to.name.as_str());
        let both = format!("{old} and {new}");
        let mut spec = json!({
            "candidate": to.image.pinned,
            "health": { "path": "/healthz", "interval": "20ms", "success_threshold": 2 },
            "steps": [
                {
                    "step": "migrate", "name": "widen", "part": "expand",
                    "up": self.tend("schema", old, &both, &[new]),
                    "down": self.tend("schema", &both, old, &[]),
                },
                {
                    "step": "hook", "name": "warm",
                    "run": self.tend("cache", old, new, &[]),
                    "undo": self.tend("cache", new, old, &[]),
                },
                { "step": "canary", "duration": "50ms" },
                { "step": "pause", "duration": "20ms" },
                { "step": "swap" },
                { "step": "wave", "services": [self.service("api")], "pause": "20ms" },
                {
                    "step": "migrate", "name": "narrow", "part": "contract",
                    "up": self.tend("schema", &both, new, &[]),
                    "down": self.tend("schema", new, &both, &[]),
                },
            ],
            "bake": "50ms",
        });
        for (key, value) in settings.as_object().expect("settings are an object") {
            spec.as_object_mut().expect("it is one").insert(key.clone(), value.clone());
        }
        let path = self.file(&format!("{new}.json"));
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

    /// The version that serves on every service.
    ///
    /// # Panics
    /// When there is not exactly one, or when any trace of another is left: what [`serving`] looks at, and what programs
    /// of the rollout have changed.
    #[must_use]
    pub fn serving<'v>(&self, versions: &[&'v Version], context: &str) -> &'v Version {
        let names: Vec<_> = self.services.iter().map(|(_, name)| name.as_str()).collect();
        let version = serving(self.sandbox, &self.environment, &names, versions, context);
        for file in TENDED {
            assert_eq!(self.holds(file), version.name, "{context}: `{file}` is not as the version needs it");
        }
        version
    }

    /// Asserts that nobody holds anything up: the leases are free, no rollout is open, the journal is whole.
    ///
    /// # Panics
    /// When one of that is not so.
    pub fn assert_at_rest(&self, context: &str) {
        // By the file first: a command that looks would free what a dead process has.
        assert_eq!(self.journal.leases(), [], "{context}: a lease is not free");
        assert_eq!(self.journal.open_rollouts(0), Vec::<String>::new(), "{context}: a rollout is open");
        self.journal.assert_chain();
        let status = self.status("web");
        assert!(status["lease"].is_null(), "{context}: the lease is not free: {status:#}");
        let state = status["state"].as_str().unwrap_or_default();
        assert!(["ended", "none"].contains(&state), "{context}: {status:#}");
        assert_eq!(status["open"], json!([]), "{context}: {status:#}");
        let _ = self.run(&["audit", "verify"]).success();
    }
}

/// What somebody else sends to bring this image out on a service: a mutation and its variables. Its answer has the id of the
/// deployment as `foreign`.
#[must_use]
pub fn foreign(service: &str, environment: &str, image: &Image) -> (String, Value) {
    let mutation = "mutation foreign($service: String!, $environment: String!, $image: String!) {
        set: serviceInstanceUpdate(serviceId: $service, environmentId: $environment, input: { source: { image: $image } })
        foreign: serviceInstanceDeployV2(serviceId: $service, environmentId: $environment)
    }";
    let variables = json!({ "service": service, "environment": environment, "image": image.pinned });
    (mutation.to_owned(), variables)
}

/// The version that serves on every service of an environment.
///
/// # Panics
/// When there is not exactly one, or when any trace of another is left: in what answers, what the platform says it runs,
/// the image that the service is set to, a deployment on its way, or a service more than `names`.
#[must_use]
pub fn serving<'v>(
    sandbox: &Sandbox,
    environment: &str,
    names: &[&str],
    versions: &[&'v Version],
    context: &str,
) -> &'v Version {
    // What is replaced goes in its own time, so that is waited for; what begins to serve must not be on its way.
    let rows = eventually("what was replaced is gone", || {
        let rows = sandbox.services();
        let rows: Vec<_> =
            rows.into_iter().filter(|row| row["environment_id"] == json!(environment)).collect();
        let going = rows.iter().flat_map(|row| deployments(sandbox, row)).any(|status| status == "REMOVING");
        (!going).then_some(rows)
    });
    let found: BTreeSet<_> = rows.iter().map(|row| row["service"].as_str().unwrap_or_default()).collect();
    assert_eq!(
        found,
        names.iter().copied().collect(),
        "{context}: no more and no less than the services are there"
    );
    let digest = |row: &Value| row["running_digest"].as_str().unwrap_or_default().to_owned();
    let first = digest(&rows[0]);
    let Some(version) = versions.iter().find(|version| version.image.digest == first) else {
        panic!("{context}: none of the versions serves: {rows:#?}")
    };
    for row in &rows {
        assert_eq!(digest(row), version.image.digest, "{context}: two versions serve: {rows:#?}");
        assert_eq!(row["source_image"], json!(version.image.pinned), "{context}: the setting: {row:#}");
        let url = row["urls"][0].as_str().expect("it has a domain");
        let answer = get(url);
        let expected = (200, version.name.as_str());
        assert_eq!(
            (answer.status, answer.body.trim()),
            expected,
            "{context}: `{url}` answers something else"
        );
        for status in deployments(sandbox, row) {
            assert!(
                !ON_ITS_WAY.contains(&status.as_str()),
                "{context}: a deployment is on its way: {status}"
            );
        }
    }
    version
}

/// The statuses of all deployments of a service in an environment.
fn deployments(sandbox: &Sandbox, row: &Value) -> Vec<String> {
    let query = "query deployments($input: DeploymentListInput!) \
                 { deployments(first: 50, input: $input) { edges { node { status } } } }";
    let input = json!({
        "projectId": row["project_id"], "environmentId": row["environment_id"], "serviceId": row["service_id"],
    });
    let found = sandbox.graphql(query, &json!({ "input": input }));
    let edges = found.pointer("/deployments/edges").and_then(Value::as_array).cloned().unwrap_or_default();
    edges.iter().filter_map(|edge| edge.pointer("/node/status")?.as_str().map(str::to_owned)).collect()
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
