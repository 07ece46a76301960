//! Running the real Terraform on a configuration of its own.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::usage;

/// What a test needs of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing that came later than write-only attributes.
    Nothing,
    /// Import blocks with identities: Terraform and `OpenTofu` from 1.12 on.
    Identity,
    /// List resources and actions: Terraform from 1.14 on.
    Newest,
    /// One core is enough, the newest there is.
    Latest,
}

/// A core: Terraform or `OpenTofu`.
pub(crate) struct Terraform {
    program: PathBuf,
    /// Major and minor number.
    release: (u64, u64),
    is_tofu: bool,
    is_latest: bool,
}

impl fmt::Display for Terraform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.is_tofu { "OpenTofu" } else { "Terraform" };
        write!(f, "{name} {}.{}", self.release.0, self.release.1)
    }
}

impl Terraform {
    /// All that are here, each release once. Below 1.11 there are no write-only attributes, which most tests use.
    pub(crate) fn find() -> Vec<Self> {
        let named = |variable: &str| std::env::var_os(variable).filter(|program| !program.is_empty());
        let mut programs = vec![named("TERRAFORM").unwrap_or_else(|| "terraform".into())];
        programs.extend(named("TERRAFORM_LATEST"));
        programs.push("tofu".into());
        let mut found: Vec<Self> = Vec::new();
        for core in programs.into_iter().filter_map(Self::probe) {
            if core.release < (1, 11) {
                println!("{core} is left out: it has no write-only attributes");
            } else if found.iter().all(|other| other.to_string() != core.to_string()) {
                found.push(core);
            }
        }
        let latest = found.iter().map(|core| (!core.is_tofu, core.release)).max();
        for core in &mut found {
            core.is_latest = Some((!core.is_tofu, core.release)) == latest;
        }
        found
    }

    fn probe(program: OsString) -> Option<Self> {
        let version = |format: Option<&str>| {
            let output = Command::new(&program)
                .arg("version")
                .args(format)
                .env("CHECKPOINT_DISABLE", "1")
                .env("TF_CLI_CONFIG_FILE", "/dev/null")
                .output();
            output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
        };
        let told: serde_json::Value = serde_json::from_slice(&version(Some("-json"))?).ok()?;
        let mut parts = told["terraform_version"].as_str()?.split('.').map(|part| part.parse().unwrap_or(0));
        let release = (parts.next()?, parts.next()?);
        let is_tofu = String::from_utf8_lossy(&version(None)?).starts_with("OpenTofu");
        Some(Self { program: program.into(), release, is_tofu, is_latest: false })
    }

    pub(crate) fn has(&self, needs: Needs) -> bool {
        match needs {
            Needs::Nothing => true,
            Needs::Identity => self.release >= (1, 12),
            Needs::Newest => !self.is_tofu && self.release >= (1, 14),
            Needs::Latest => self.is_latest,
        }
    }

    pub(crate) const fn is_tofu(&self) -> bool {
        self.is_tofu
    }

    pub(crate) const fn release(&self) -> (u64, u64) {
        self.release
    }

    /// The address under which it stores the corner provider.
    pub(crate) const fn address(&self) -> &'static str {
        if self.is_tofu {
            "registry.opentofu.org/example/corner"
        } else {
            "registry.terraform.io/example/corner"
        }
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
        Workspace { reattach: None, trace: None, program: self.program.clone(), root }
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
    /// Where the trace log goes, if there is one.
    trace: Option<PathBuf>,
    program: PathBuf,
    root: tempfile::TempDir,
}

/// What a command said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) stdout: String,
}

/// How long a command may take to come to its point.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a file is looked for.
const POLL: Duration = Duration::from_millis(5);

/// What no provider of this framework may ever make Terraform say.
const NEVER: [&str; 10] = [
    "Failed to marshal",
    "Provider produced",
    "panic",
    "invalid identity",
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

    /// Has core and the provider log everything from here on; the file.
    pub(crate) fn trace(&mut self) -> PathBuf {
        let path = self.root.path().join("trace.log");
        self.trace = Some(path.clone());
        path
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

    /// What was done to the objects, a line each.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.objects().with_extension("log")).unwrap_or_default();
        log.lines().map(ToOwned::to_owned).collect()
    }

    /// What each provider process has used so far: peak memory in KiB, processor time in microseconds.
    pub(crate) fn usage(&self) -> Vec<(u64, u64)> {
        let lines = fs::read_to_string(self.root.path().join("usage")).unwrap_or_default();
        let number = |text: &str| text.parse().unwrap();
        let line = |line: &str| line.split_once(' ').map(|(peak, time)| (number(peak), number(time)));
        lines.lines().filter_map(line).collect()
    }

    /// Writes a file beside `main.tf`; folders are made.
    pub(crate) fn put(&self, name: &str, text: &str) -> &Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Changes the stored state behind Terraform's back.
    pub(crate) fn edit_state(&self, from: &str, to: &str) -> &Self {
        let file = self.path().join("terraform.tfstate");
        let state = fs::read_to_string(&file).unwrap();
        assert!(state.contains(from), "there is no {from:?} in:\n{state}");
        fs::write(&file, state.replace(from, to)).unwrap();
        self
    }

    /// Runs a command, whatever comes of it.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(arguments, "")
    }

    /// Runs a command that reads `input`.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = self.command(arguments).spawn().unwrap();
        // Short enough for the pipe; dropped, which is the end of the input. A command that reads nothing may be gone.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Self::end(child, arguments)
    }

    /// Runs a command, and presses Ctrl-C as soon as `marker` exists: the whole process group gets the signal.
    pub(crate) fn interrupt(&self, arguments: &[&str], marker: &Path) -> Said {
        let child = self.command(arguments).process_group(0).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !marker.exists() {
            assert!(Instant::now() < deadline, "{} does not come about", marker.display());
            std::thread::sleep(POLL);
        }
        kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
        Self::end(child, arguments)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(self.path())
            .args(arguments)
            .env("TF_CLI_CONFIG_FILE", self.root.path().join("config.tfrc"))
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env("NO_COLOR", "1")
            .env(usage::VARIABLE, self.root.path().join("usage"))
            .env_remove("TF_LOG")
            .env_remove("TF_REATTACH_PROVIDERS")
            .envs(
                self.trace
                    .iter()
                    .flat_map(|path| [("TF_LOG", OsStr::new("TRACE")), ("TF_LOG_PATH", path.as_os_str())]),
            )
            .envs(self.reattach.iter().map(|reattach| ("TF_REATTACH_PROVIDERS", reattach)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Waits for the end. What no provider of this framework may cause is looked for here, in the output of every command.
    fn end(child: Child, arguments: &[&str]) -> Said {
        let output = child.wait_with_output().unwrap();
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

    /// The attributes of one object in state; null if there is none.
    pub(crate) fn attributes(&self, address: &str) -> serde_json::Value {
        self.instance(address)["attributes"].clone()
    }

    /// One object in state, with what stands beside its attributes; null if there is none.
    pub(crate) fn instance(&self, address: &str) -> serde_json::Value {
        let state: serde_json::Value = serde_json::from_str(&self.state()).unwrap();
        let (kind, name) = address.split_once('.').unwrap();
        let resources = state["resources"].as_array().unwrap();
        let found = resources.iter().find(|resource| resource["type"] == kind && resource["name"] == name);
        found.map_or(serde_json::Value::Null, |resource| resource["instances"][0].clone())
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
