//! A sandbox of a test's own, with a service in it, and images for it.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use spectra_delivery::settings::Settings;
use spectra_journal::{Holder, Journal, Location};
use spectra_railway::{Client, ClientConfig, FanOut, InstanceRef, NewProject, NewService};
use spectra_rollout::{FreezeSchedule, FreezeWindow, Reach};
use spectra_types::Secret;

use crate::support::{Place, Run};

/// So long nothing that a test waits for takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(1);

/// A project with one environment and one service, which nothing was deployed to.
pub(crate) struct World {
    pub(crate) place: Place,
    registry: String,
    client: Client,
    runtime: tokio::runtime::Runtime,
    pub(crate) instance: InstanceRef,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut place = Place::new();
        let started =
            place.run(&["sandbox", "start", "--port", "0", "--time-scale", "2000", "--json"]).done().json();
        let text = |pointer: &str| started.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        place.set("SPECTRA_RAILWAY_ENDPOINT", &text("/endpoint"));
        place.set("RAILWAY_API_TOKEN", &text("/tokens/account"));
        let mut config = ClientConfig::new(Secret::new(text("/tokens/account")));
        config.endpoint = text("/endpoint").parse().unwrap();
        let client = Client::new(config).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let instance = runtime.block_on(async {
            let new = NewProject {
                name: "shop".to_owned(),
                description: None,
                workspace: Some(text("/workspace_id").parse().unwrap()),
                default_environment_name: None,
            };
            let project = client.create_project(&new).await.unwrap();
            let environment = project.default_environment.unwrap();
            add_service(&client, project.id, environment, "web").await
        });
        place.set("RAILWAY_PROJECT_ID", instance.project.as_str());
        place.set("RAILWAY_ENVIRONMENT_ID", instance.environment.as_str());
        place.set("RAILWAY_SERVICE_ID", instance.service.as_str());
        place.scrub(instance.project.as_str(), "[PROJECT]");
        place.scrub(instance.environment.as_str(), "[ENVIRONMENT]");
        place.scrub(instance.service.as_str(), "[SERVICE]");
        Self { place, registry: text("/registry"), client, runtime, instance }
    }

    /// Another service of the same environment.
    pub(crate) fn another_service(&self, name: &str) -> InstanceRef {
        let InstanceRef { project, environment, .. } = self.instance.clone();
        self.runtime.block_on(add_service(&self.client, project, environment, name))
    }

    /// The pinned reference of an image with these labels.
    pub(crate) fn image(&self, name: &str, labels: &[(&str, &str)]) -> String {
        self.place.write(&format!("{name}/app"), name);
        let mut build = vec!["image", "build", name, "--output", "layout", "--entrypoint", "/app"];
        let labels: Vec<_> = labels
            .iter()
            .chain(&[("body", name)])
            .map(|(label, value)| format!("dev.spectra.sandbox.{label}={value}"))
            .collect();
        for label in &labels {
            build.extend(["--label", label]);
        }
        self.place.run(&build).done();
        let tag = format!("{}/team/{name}:1", self.registry);
        let pushed = self.place.run(&["image", "push", "layout", &tag, "--json"]).done().json();
        std::fs::remove_dir_all(self.place.path("layout")).unwrap();
        format!("{}/team/{name}@{}", self.registry, pushed["digest"].as_str().unwrap())
    }

    /// A freeze window that holds for everything, always.
    pub(crate) fn freeze(&self, name: &str) {
        let window = FreezeWindow {
            name: name.to_owned(),
            reason: "nobody is there".to_owned(),
            schedule: FreezeSchedule::Once {
                from: "2000-01-01T00:00:00Z".parse().unwrap(),
                to: "2200-01-01T00:00:00Z".parse().unwrap(),
            },
            reach: Reach::Everything,
        };
        self.runtime.block_on(async {
            let location = Location::file(self.place.path(".spectra/journal.db"));
            let journal = Journal::open_existing(&location).await.unwrap();
            let by = Holder::of_this_process("a test");
            Settings::of(&journal).put(name, &window, &by).await.unwrap();
        });
    }

    /// The digest that serves now.
    pub(crate) fn serving(&self) -> Option<String> {
        let found = self.runtime.block_on(self.client.fresh_instance(&self.instance)).unwrap();
        let serving = found.active_deployments.iter().find(|deployment| deployment.is_serving());
        serving.and_then(|deployment| Some(deployment.digest.as_ref()?.to_string()))
    }

    /// `rollout start` with a probe that is quick.
    pub(crate) fn start(&self, image: &str, further: &[&str]) -> Run {
        self.place.run(&start_arguments(image, further))
    }

    /// `rollout start` as a process that goes on.
    pub(crate) fn begin(&self, image: &str, further: &[&str]) -> Running {
        let mut command = self.place.command();
        command.args(start_arguments(image, further));
        Running::of(command)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.place.run(&["sandbox", "stop"]);
    }
}

pub(crate) fn start_arguments<'a>(image: &'a str, further: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["rollout", "start", "--image", image, "--health-interval", "20ms"];
    all.extend(further);
    all
}

async fn add_service(
    client: &Client,
    project: spectra_types::ProjectId,
    environment: spectra_types::EnvironmentId,
    name: &str,
) -> InstanceRef {
    let new = NewService {
        project: project.clone(),
        environment: environment.clone(),
        name: name.to_owned(),
        fan_out: FanOut::Refuse,
    };
    let (service, _) = client.create_service(&new).await.unwrap();
    let instance = InstanceRef { project, environment, service: service.id };
    client.create_service_domain(&instance, None).await.unwrap();
    instance
}

/// A process whose lines are read as they come.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: String,
}

impl Running {
    pub(crate) fn of(mut command: std::process::Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stderr.take().unwrap());
        Self { child, lines, seen: String::new() }
    }

    /// Waits until a line on standard error holds `text`.
    pub(crate) fn until(&mut self, text: &str) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen += &line;
                    self.seen.push('\n');
                    if line.contains(text) {
                        return self;
                    }
                }
                Err(error) => panic!("{text:?} was not said ({error}):\n{}", self.seen),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it, and collects it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its exit code, what it printed, and what it said.
    pub(crate) fn end(mut self) -> (i32, String, String) {
        let mut stdout = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        while let Ok(line) = self.lines.recv() {
            self.seen += &line;
            self.seen.push('\n');
        }
        (code, stdout, std::mem::take(&mut self.seen))
    }
}

fn lines_of(stderr: ChildStderr) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}
