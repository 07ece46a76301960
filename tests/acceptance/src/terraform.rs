//! Terraform in a directory of one test's own, with the built provider.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Group;
use crate::{JournalFile, Run, Running, Sandbox, programs, run};

/// A working directory and everything that its commands need.
pub struct Terraform {
    binary: PathBuf,
    directory: TempDir,
    environment: Vec<(String, String)>,
}

impl Terraform {
    /// A directory that holds `configuration` as `main.tf`, beside a file that requires the provider, with
    /// the environment pointing at `sandbox`.
    ///
    /// # Panics
    /// When the files cannot be written.
    #[must_use]
    pub fn new(sandbox: &Sandbox, configuration: &str) -> Self {
        Self::with_binary(programs::terraform_binary(), sandbox, configuration)
    }

    /// The same with a Terraform that knows queries and actions. `None` where there is none, which is said.
    ///
    /// # Panics
    /// When it is required and missing.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "who runs the tests by hand has to hear of it")]
    pub fn latest(sandbox: &Sandbox, configuration: &str) -> Option<Self> {
        let Some(binary) = programs::latest_terraform() else {
            eprintln!("skipped: $TERRAFORM_LATEST names no Terraform of 1.14 or later");
            return None;
        };
        Some(Self::with_binary(binary, sandbox, configuration))
    }

    fn with_binary(binary: PathBuf, sandbox: &Sandbox, configuration: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("spectra-terraform-").tempdir().unwrap();
        let root = directory.path();
        for name in ["work", "plugins"] {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        // A directory of its own: `dev_overrides` takes whatever lies beside the provider into account.
        let link = root.join("plugins/terraform-provider-spectra");
        std::os::unix::fs::symlink(programs::provider(), link).unwrap();
        let overrides = Value::from(root.join("plugins").to_string_lossy());
        let config = format!(
            "disable_checkpoint = true\nprovider_installation {{\n  dev_overrides {{\n    \"spectra/spectra\" = \
             {overrides}\n  }}\n  direct {{}}\n}}\n"
        );
        std::fs::write(root.join("cli.tfrc"), config).unwrap();
        let required =
            "terraform {\n  required_providers {\n    spectra = { source = \"spectra/spectra\" }\n  }\n}\n";
        std::fs::write(root.join("work/versions.tf"), required).unwrap();
        let this = Self { binary, directory, environment: sandbox.environment() };
        this.configure(configuration);
        this
    }

    /// Replaces the configuration.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, configuration: &str) {
        std::fs::write(self.work().join("main.tf"), configuration).unwrap();
    }

    /// Writes a further file beside the configuration, such as a query.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.work().join(name), text).unwrap();
    }

    /// Where the commands run.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// The whole temporary directory, logs included.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Sets a variable of the environment for the commands that follow.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets an input variable for the commands that follow.
    pub fn var(&mut self, name: &str, value: &str) -> &mut Self {
        self.env(&format!("TF_VAR_{name}"), value)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).current_dir(self.work());
        // What the developer has set for her own Terraform or her own Railway is not for these tests.
        for (name, _) in std::env::vars() {
            if ["TF_", "RAILWAY_", "SPECTRA_RAILWAY"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command
            .env("TF_CLI_CONFIG_FILE", self.root().join("cli.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .env("TF_CLI_ARGS", "-no-color")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs one command to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Run {
        run(&mut self.command(arguments))
    }

    /// `apply`, whatever its exit code.
    #[must_use]
    pub fn apply(&self) -> Run {
        self.run(&["apply", "-auto-approve"])
    }

    /// `plan`, whatever its exit code; 2 means that there is something to do.
    #[must_use]
    pub fn plan(&self) -> Run {
        self.run(&["plan", "-detailed-exitcode"])
    }

    /// `destroy`, whatever its exit code.
    #[must_use]
    pub fn destroy(&self) -> Run {
        self.run(&["destroy", "-auto-approve"])
    }

    /// Asserts that a plan has nothing to do.
    ///
    /// # Panics
    /// When it has.
    pub fn assert_empty_plan(&self) {
        let _ = self.plan().code(0);
    }

    /// The state as Terraform reports it.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn state(&self) -> State {
        let shown = self.run(&["show", "-json"]).success();
        State { value: serde_json::from_str(&shown.stdout).expect("`show -json` prints JSON") }
    }

    /// One output as text.
    ///
    /// # Panics
    /// When there is no such output.
    #[must_use]
    pub fn output(&self, name: &str) -> String {
        self.run(&["output", "-raw", name]).success().stdout
    }

    /// Starts one command, with its output in a file.
    #[must_use]
    pub fn begin(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments), &self.root().join("begun.log"))
    }

    /// The command-line program in the same folder, and so with the provider's journal.
    #[must_use]
    pub fn deployer(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::deployer());
        for (name, _) in std::env::vars() {
            if ["RAILWAY_", "SPECTRA_", "GITHUB_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.args(arguments).current_dir(self.work()).envs(environment);
        command
    }

    /// The journal that the provider keeps in the working directory.
    #[must_use]
    pub fn journal(&self) -> JournalFile {
        JournalFile::at(&self.work().join(".spectra/journal.db"))
    }

    /// Starts one command, waits until `reached` says so, interrupts Terraform alone, and waits for its end.
    ///
    /// # Panics
    /// When it ends before it was interrupted, or does not end afterwards.
    #[must_use]
    pub fn interrupt(&self, arguments: &[&str], mut reached: impl FnMut() -> bool) -> i32 {
        let log = std::fs::File::create(self.root().join("interrupted.log")).unwrap();
        let mut command = self.command(arguments);
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut group = Group::start(&mut command);
        crate::eventually("the command comes far enough to be interrupted", || {
            let ended = group.wait(std::time::Duration::ZERO);
            assert!(ended.is_none(), "it ended with {ended:?} before it was interrupted");
            reached().then_some(())
        });
        group.signal(rustix::process::Signal::INT);
        group.wait(crate::LIMIT).expect("an interrupted command ends")
    }

    /// Starts one command, waits until `reached` says so, and kills it with everything that it has started.
    ///
    /// # Panics
    /// When it ends before it was killed.
    pub fn kill(&self, arguments: &[&str], mut reached: impl FnMut() -> bool) {
        let log = std::fs::File::create(self.root().join("killed.log")).unwrap();
        let mut command = self.command(arguments);
        command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut group = Group::start(&mut command);
        crate::eventually("the command comes far enough to be killed", || {
            let ended = group.wait(std::time::Duration::ZERO);
            let log = || std::fs::read_to_string(self.root().join("killed.log")).unwrap_or_default();
            assert!(ended.is_none(), "it ended with {ended:?} before it was killed:\n{}", log());
            reached().then_some(())
        });
        group.signal_all(rustix::process::Signal::KILL);
        group.wait(crate::LIMIT).expect("a killed command ends");
    }
}

/// What `terraform show -json` says.
#[derive(Clone, Debug)]
pub struct State {
    value: Value,
}

impl State {
    /// Addresses of all resources of the root module.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.resources()
            .filter_map(|r| r.get("address").and_then(Value::as_str))
            .map(ToOwned::to_owned)
            .collect()
    }

    fn resources(&self) -> impl Iterator<Item = &Value> {
        self.value.pointer("/values/root_module/resources").and_then(Value::as_array).into_iter().flatten()
    }

    /// One resource's values, if it is in the state.
    #[must_use]
    pub fn resource(&self, address: &str) -> Option<&Value> {
        self.resources()
            .find(|r| r.get("address").and_then(Value::as_str) == Some(address))
            .and_then(|r| r.get("values"))
    }

    /// One attribute that is text.
    ///
    /// # Panics
    /// When the resource or the attribute is not there or is no text.
    #[must_use]
    pub fn text(&self, address: &str, attribute: &str) -> &str {
        let found = self.resource(address).and_then(|values| values.get(attribute)).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no text `{address}.{attribute}` in {}", self.value))
    }

    /// Whether Terraform marked the resource as tainted.
    #[must_use]
    pub fn tainted(&self, address: &str) -> bool {
        let found = self.resources().find(|r| r.get("address").and_then(Value::as_str) == Some(address));
        found.and_then(|r| r.get("tainted")).and_then(Value::as_bool).unwrap_or(false)
    }
}
