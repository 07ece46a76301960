//! The real quickstart, interrupted at its busiest moments, leaves no process and no file.
//!
//! Unlike `interrupt.rs` this runs the built programs and the real Terraform, so it also covers what
//! Terraform starts: the provider.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const MARKER: &str = "SPECTRA_REAL_INTERRUPT_TEST";

/// Where `cargo test` put the programs: `SPECTRA_BIN_DIR`, else beside the binary of this crate.
fn programs() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_xtask"));
    std::env::var_os("SPECTRA_BIN_DIR").map_or_else(|| own.parent().unwrap().to_owned(), PathBuf::from)
}

/// Runs the quickstart until it announces `step`, sends `signal`, and returns the exit code, the survivors
/// and the files left behind.
fn interrupted(step: &str, signal: Signal) -> (Option<i32>, Vec<String>, Vec<PathBuf>) {
    let temporary = tempfile::tempdir().unwrap();
    let marker = temporary.path().to_string_lossy().into_owned();
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("quickstart")
        .arg("--bin-dir")
        .arg(programs())
        .env("TMPDIR", temporary.path())
        .env(MARKER, &marker)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reached = lines.by_ref().map_while(Result::ok).any(|line| {
        said.push_str(&line);
        said.push('\n');
        line.contains(step)
    });
    assert!(reached, "it ended before `{step}`:\n{said}");
    // Reading on keeps the pipe from filling up.
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).count());
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
    let code = child.wait().unwrap().code();
    rest.join().unwrap();

    let needle = format!("{MARKER}={marker}").into_bytes();
    let mut survivors = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        if environment.split(|byte| *byte == 0).any(|variable| variable == needle) {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            survivors.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    let files = std::fs::read_dir(temporary.path()).unwrap().flatten().map(|entry| entry.path()).collect();
    (code, survivors, files)
}

fn assert_clean(step: &str, signal: Signal, code: i32) {
    let (ended, survivors, files) = interrupted(step, signal);
    assert_eq!(ended, Some(code));
    assert_eq!(survivors, Vec::<String>::new(), "processes are left");
    assert_eq!(files, Vec::<PathBuf>::new(), "files are left");
}

#[test]
fn during_the_first_apply() {
    assert_clean("terraform apply: a project", Signal::INT, 130);
}

#[test]
fn during_the_refused_rollout() {
    assert_clean("roll out the bad image", Signal::TERM, 143);
}

#[test]
fn during_destroy() {
    assert_clean("terraform destroy", Signal::INT, 130);
}
