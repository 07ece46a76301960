//! Images whose labels say how the simulated runtime behaves, built and pushed by the real program.

use std::process::Command;

use serde_json::Value;

use crate::{Sandbox, programs, run};

/// An image in a sandbox's registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// `registry/repository@sha256:…`.
    pub pinned: String,
    /// `registry/repository:tag`.
    pub tagged: String,
    /// `sha256:…`.
    pub digest: String,
}

/// An image before it is pushed.
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    name: String,
    labels: Vec<(String, String)>,
}

impl ImageBuilder {
    /// A healthy image; `name` becomes its repository and part of its content, so that two names give two
    /// digests.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Vec::new() }.label("body", name)
    }

    /// Sets `dev.spectra.sandbox.<name>`, such as `health-status` or `crash-after`.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((format!("dev.spectra.sandbox.{name}"), value.to_owned()));
        self
    }

    /// Builds it and pushes it to the sandbox's registry.
    ///
    /// # Panics
    /// When either fails.
    #[must_use]
    pub fn push(&self, sandbox: &Sandbox) -> Image {
        let files = sandbox.scratch(&format!("{}-files", self.name));
        let layout = sandbox.scratch(&format!("{}-layout", self.name));
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join("app"), &self.name).unwrap();
        let mut build = Command::new(programs::deployer());
        build.args(["image", "build"]).arg(&files).arg("--output").arg(&layout);
        build.args(["--entrypoint", "/app", "--json"]);
        for (name, value) in &self.labels {
            build.arg("--label").arg(format!("{name}={value}"));
        }
        let _ = run(&mut build).success();
        let repository = format!("{}/acceptance/{}", sandbox.registry(), self.name);
        let tagged = format!("{repository}:1");
        let mut push = Command::new(programs::deployer());
        push.args(["image", "push"]).arg(&layout).arg(&tagged).arg("--json");
        push.envs(sandbox.registry_environment());
        let pushed = run(&mut push).success();
        let answer: Value = serde_json::from_str(&pushed.stdout).unwrap_or_else(|error| {
            panic!("`image push --json` printed no JSON ({error}): {}", pushed.stdout)
        });
        let digest =
            answer.get("digest").and_then(Value::as_str).expect("`image push` names the digest").to_owned();
        Image { pinned: format!("{repository}@{digest}"), tagged, digest }
    }
}
