//! Whatever `cargo xtask quickstart` starts is gone when it ends: interrupted, terminated or failed.
//!
//! The programs it starts are replaced by scripts that make this as hard as real ones could: they have
//! children of their own, and some ignore SIGTERM and SIGINT. Everything they start inherits a marker in
//! its environment, and survivors are looked for by it.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const MARKER: &str = "SPECTRA_INTERRUPT_TEST";
/// Generous: the machine may be busy. Nothing waits this long when all is well.
const LIMIT: Duration = Duration::from_mins(1);

/// Writes `sandbox.json`, leaves a child behind, and then stays.
const DEPLOYER: &str = r#"#!/bin/sh
case "$1 $2" in
  "sandbox start")
    trap '' TERM
    sleep 600 &
    while [ $# -gt 0 ]; do
      if [ "$1" = --state-dir ]; then state="$2"; fi
      shift
    done
    mkdir -p "$state"
    touch "$STAGE/sandbox"
    if [ -n "${NEVER_READY:-}" ]; then trap - TERM; sleep 600; fi
    printf '{"admin":"%s","endpoint":"%s","registry":"127.0.0.1:1","tokens":{"account":"t"},"workspace_id":"w"}' "$ADMIN" "$ADMIN" \
      > "$state/sandbox.json"
    while :; do sleep 1; done ;;
  "image build") exit 0 ;;
  "image push")
    echo '{"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000"}' ;;
esac
"#;

/// Hangs in `apply` with a child that ignores signals as well, or fails there and leaves that child.
const TERRAFORM: &str = r#"#!/bin/sh
case "$1" in
  version) echo '{"terraform_version":"1.11.4"}' ;;
  apply)
    trap '' TERM INT
    sleep 600 &
    touch "$STAGE/apply"
    if [ -n "${APPLY_FAILS:-}" ]; then echo "it did not work" >&2; exit 1; fi
    while :; do sleep 1; done ;;
esac
"#;

/// A quickstart whose programs are the scripts above.
struct Quickstart {
    child: Child,
    marker: String,
    stage: PathBuf,
    temporary: PathBuf,
    _root: tempfile::TempDir,
}

impl Quickstart {
    fn start(settings: &[(&str, &str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let root = tempfile::tempdir().unwrap();
        let (bin, stage, temporary) =
            (root.path().join("bin"), root.path().join("stage"), root.path().join("tmp"));
        for directory in [&bin, &stage, &temporary] {
            std::fs::create_dir(directory).unwrap();
        }
        script(&bin.join("railway-deployer"), DEPLOYER);
        script(&bin.join("terraform"), TERRAFORM);
        script(&bin.join("terraform-provider-spectra"), "#!/bin/sh\n");
        script(&bin.join("quickstart-app"), "#!/bin/sh\n");
        let marker = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let child = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .arg("quickstart")
            .arg("--bin-dir")
            .arg(&bin)
            .env("TERRAFORM", bin.join("terraform"))
            .env("TMPDIR", &temporary)
            .env("STAGE", &stage)
            .env("ADMIN", admin())
            .env(MARKER, &marker)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, marker, stage, temporary, _root: root }
    }

    /// Waits until a script has come this far.
    fn reached(&mut self, stage: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.stage.join(stage).exists() {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended early: {}", self.said());
            assert!(Instant::now() < deadline, "it never came to `{stage}`");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() >= deadline {
                self.child.kill().unwrap();
                panic!("it did not end");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn said(&mut self) -> String {
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Command lines of the processes that carry this run's marker.
    fn survivors(&self) -> Vec<String> {
        let needle = format!("{MARKER}={}", self.marker).into_bytes();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let path = entry.path();
            // A process may end between two reads; then it did not survive.
            let Ok(environment) = std::fs::read(path.join("environ")) else { continue };
            if environment.split(|byte| *byte == 0).any(|variable| variable == needle) {
                let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&line).replace('\0', " "));
            }
        }
        found
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.survivors(), Vec::<String>::new(), "processes are left");
        let files: Vec<_> = std::fs::read_dir(&self.temporary).unwrap().flatten().map(|e| e.path()).collect();
        assert_eq!(files, Vec::<PathBuf>::new(), "temporary files are left");
    }
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Answers every request with an empty object, which is all that the readiness check reads.
fn admin() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
            );
        }
    });
    url
}

#[test]
fn an_interrupted_apply_leaves_nothing_even_if_its_programs_ignore_signals() {
    let mut quickstart = Quickstart::start(&[]);
    quickstart.reached("apply");
    assert!(quickstart.survivors().len() >= 5, "the marker has to be found while they run");
    quickstart.signal(Signal::INT);
    let status = quickstart.ended();
    assert_eq!(status.code(), Some(130), "{}", quickstart.said());
    quickstart.assert_nothing_left();
}

#[test]
fn a_second_interrupt_does_not_wait_for_the_grace_period() {
    let mut quickstart = Quickstart::start(&[]);
    quickstart.reached("apply");
    quickstart.signal(Signal::TERM);
    quickstart.signal(Signal::INT);
    let status = quickstart.ended();
    assert!(matches!(status.code(), Some(130 | 143)), "{}", quickstart.said());
    quickstart.assert_nothing_left();
}

#[test]
fn termination_while_the_sandbox_starts_leaves_nothing() {
    let mut quickstart = Quickstart::start(&[("NEVER_READY", "1")]);
    quickstart.reached("sandbox");
    quickstart.signal(Signal::TERM);
    let status = quickstart.ended();
    assert_eq!(status.code(), Some(143), "{}", quickstart.said());
    quickstart.assert_nothing_left();
}

#[test]
fn a_failed_apply_leaves_nothing_and_says_why() {
    let mut quickstart = Quickstart::start(&[("APPLY_FAILS", "1")]);
    let status = quickstart.ended();
    let said = quickstart.said();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("it did not work"), "{said}");
    quickstart.assert_nothing_left();
}
