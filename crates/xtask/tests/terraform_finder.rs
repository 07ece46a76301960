//! Which Terraform is taken. The programs are scripts that only know how to say their version; installing
//! from PyPI needs the network and is not tried here.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

struct Machine {
    root: TempDir,
}

impl Machine {
    /// A PATH that holds the given programs, each as (name, version).
    fn with(programs: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for directory in ["path", "bin"] {
            std::fs::create_dir(root.path().join(directory)).unwrap();
        }
        for name in ["terraform-provider-spectra", "railway-deployer"] {
            script(&root.path().join("bin").join(name), "exit 3");
        }
        for (name, version) in programs {
            let answer = format!("echo '{{\"terraform_version\":\"{version}\"}}'");
            script(&root.path().join("path").join(name), &answer);
        }
        Self { root }
    }

    /// Both outputs of a task that looks for Terraform and then stops, because the provider is a script too.
    fn find(&self, choice: &str, terraform: Option<&Path>) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(["docs", "--check", "--terraform", choice, "--bin-dir"])
            .arg(self.root.path().join("bin"));
        command.env("PATH", self.root.path().join("path")).env("CARGO", env!("CARGO"));
        // The proxy that calls cargo finds the compiler through its own directory, not through PATH.
        command.env_remove("TERRAFORM");
        if let Some(path) = terraform {
            command.env("TERRAFORM", path);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn terraform_on_path_comes_before_tofu() {
    let said = Machine::with(&[("tofu", "1.12.0"), ("terraform", "1.13.1")]).find("path", None);
    assert!(said.contains("Terraform 1.13.1 from PATH"), "{said}");
}

#[test]
fn tofu_is_taken_where_there_is_no_terraform() {
    let said = Machine::with(&[("tofu", "1.11.0")]).find("auto", None);
    assert!(said.contains("Terraform 1.11.0 from PATH"), "{said}");
}

#[test]
fn one_that_is_too_old_is_passed_over_for_one_that_is_not() {
    let machine = Machine::with(&[("terraform", "1.5.7"), ("tofu", "1.11.2")]);
    let said = machine.find("auto", None);
    assert!(said.contains("Terraform 1.11.2 from PATH"), "{said}");
}

#[test]
fn one_that_is_too_old_is_named_with_the_reason() {
    let said = Machine::with(&[("terraform", "1.10.5")]).find("path", None);
    assert!(said.contains("is version 1.10.5") && said.contains("need 1.11"), "{said}");
}

#[test]
fn a_path_without_any_is_said() {
    let said = Machine::with(&[]).find("path", None);
    assert!(said.contains("neither `terraform` nor `tofu` is on PATH"), "{said}");
}

#[test]
fn the_variable_wins_over_path_and_is_never_replaced() {
    let machine = Machine::with(&[("terraform", "1.13.1"), ("own", "1.14.0")]);
    let said = machine.find("auto", Some(&machine.root.path().join("path/own")));
    assert!(said.contains("Terraform 1.14.0 from $TERRAFORM"), "{said}");
    let said = machine.find("auto", Some(Path::new("/nonexistent/terraform")));
    assert!(said.contains("cannot start `/nonexistent/terraform`"), "{said}");
}
