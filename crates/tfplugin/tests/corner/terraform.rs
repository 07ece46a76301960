//! Running the real Terraform on a configuration of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Which program to run.
pub(crate) struct Terraform(OsString);

impl Terraform {
    pub(crate) fn find() -> Option<Self> {
        let program = std::env::var_os("TERRAFORM").unwrap_or_else(|| "terraform".into());
        let found = Command::new(&program)
            .arg("version")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_CLI_CONFIG_FILE", "/dev/null")
            .output();
        found.is_ok_and(|output| output.status.success()).then_some(Self(program))
    }

    /// A fresh working directory with the corner provider installed.
    pub(crate) fn workspace(&self) -> Workspace {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "work", "objects"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let provider = root.path().join("bin/terraform-provider-corner");
        let this = std::env::current_exe().unwrap();
        // A copy costs more than a link; a link may not cross file systems.
        fs::hard_link(&this, &provider).or_else(|_| fs::copy(&this, &provider).map(drop)).unwrap();
        let config = format!(
            "provider_installation {{\n  dev_overrides {{ \"example/corner\" = {:?} }}\n  direct {{}}\n}}\n",
            root.path().join("bin")
        );
        fs::write(root.path().join("config.tfrc"), config).unwrap();
        Workspace { reattach: None, program: self.0.clone(), root }
    }
}

/// The provider serving for reattachment, until dropped.
pub(crate) struct Debugged {
    process: Child,
    pub(crate) reattach: String,
}

impl Debugged {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("--debug")
            .env("CORNER_PROVIDER", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.contains("TF_REATTACH_PROVIDERS")).unwrap();
        let reattach = line[line.find('{').unwrap()..=line.rfind('}').unwrap()].to_owned();
        Self { process, reattach }
    }
}

impl Drop for Debugged {
    fn drop(&mut self) {
        // Gone already is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A working directory.
pub(crate) struct Workspace {
    reattach: Option<String>,
    program: OsString,
    root: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) stdout: String,
}

/// What no provider of this framework may ever make Terraform say.
const NEVER: [&str; 7] = [
    "Provider produced",
    "Provider returned invalid",
    "This is a bug",
    "rpc error",
    "Plugin did not respond",
    "Request cancelled",
    "plugin crashed",
];

impl Workspace {
    /// Uses a running provider from here on.
    pub(crate) fn attach(&mut self, provider: &Debugged) {
        self.reattach = Some(provider.reattach.clone());
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.path().join("objects")
    }

    /// Writes `main.tf`: the provider block, and `body`.
    pub(crate) fn write(&self, body: &str) -> &Self {
        let provider = format!("provider \"corner\" {{\n  folder = {:?}\n}}\n", self.objects());
        self.write_all(&format!("{provider}{body}"))
    }

    /// Writes `main.tf` with a provider block of its own in `body`.
    pub(crate) fn write_all(&self, body: &str) -> &Self {
        let head =
            "terraform {\n  required_providers {\n    corner = { source = \"example/corner\" }\n  }\n}\n";
        fs::write(self.path().join("main.tf"), format!("{head}{body}")).unwrap();
        self
    }

    /// Runs a command, whatever comes of it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        let output = Command::new(&self.program)
            .current_dir(self.path())
            .args(arguments)
            .env("TF_CLI_CONFIG_FILE", self.root.path().join("config.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env("NO_COLOR", "1")
            .env_remove("TF_LOG")
            .env_remove("TF_REATTACH_PROVIDERS")
            .envs(self.reattach.iter().map(|reattach| ("TF_REATTACH_PROVIDERS", reattach)))
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = plain(&format!("{stdout}{}", String::from_utf8_lossy(&output.stderr)));
        for never in NEVER {
            assert!(!text.contains(never), "`terraform {}` said {never:?}:\n{text}", arguments.join(" "));
        }
        Said { code: output.status.code().unwrap_or(-1), text, stdout }
    }

    /// Runs a command that must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "`terraform {}`:\n{}", arguments.join(" "), said.text);
        said
    }

    /// Runs a command that must fail, saying all of `expected`.
    pub(crate) fn fails(&self, arguments: &[&str], expected: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.code, 1, "`terraform {}`:\n{}", arguments.join(" "), said.text);
        for expected in expected {
            assert!(said.text.contains(expected), "expected {expected:?} in:\n{}", said.text);
        }
        said
    }

    pub(crate) fn apply(&self) -> Said {
        self.ok(&["apply", "-auto-approve", "-no-color"])
    }

    /// A plan right after an apply is empty.
    pub(crate) fn settled(&self) -> &Self {
        let said = self.run(&["plan", "-detailed-exitcode", "-no-color"]);
        assert_eq!(said.code, 0, "the plan is not empty:\n{}", said.text);
        self
    }

    /// The state, as text.
    pub(crate) fn state(&self) -> String {
        self.ok(&["state", "pull"]).stdout
    }

    /// The attributes of one object in state.
    pub(crate) fn attributes(&self, address: &str) -> serde_json::Value {
        let state: serde_json::Value = serde_json::from_str(&self.state()).unwrap();
        let (kind, name) = address.split_once('.').unwrap();
        let resources = state["resources"].as_array().unwrap();
        let found = resources.iter().find(|resource| resource["type"] == kind && resource["name"] == name);
        found.map_or(serde_json::Value::Null, |resource| resource["instances"][0]["attributes"].clone())
    }
}

/// Without the frame that Terraform draws around diagnostics, and without its line breaks.
fn plain(text: &str) -> String {
    let lines = text.lines().map(|line| line.trim_start_matches(['│', '╷', '╵', '|']).trim());
    lines.collect::<Vec<_>>().join("\n").replace("\n\n", "\u{1}").replace('\n', " ").replace('\u{1}', "\n")
}

/// Whether a folder is empty.
pub(crate) fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}
