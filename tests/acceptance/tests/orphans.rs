//! What a test has started ends with it, however the test ends.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::path::Path;
use std::process::{Command, Stdio};

use spectra_acceptance::{Running, eventually};

/// Names the folder that the test which is to be killed works in.
const FOLDER: &str = "SPECTRA_TEST_OF_ORPHANS";

/// Is killed by the other test in the middle of what it does; alone it does nothing.
#[test]
fn a_test_that_starts_a_program_and_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut ended = Command::new("sh");
    drop(Running::start(ended.args(["-c", "exit 0"]), &folder.join("ended.log")));
    let mut sleeps = Command::new("sh");
    let running = Running::start(sleeps.args(["-c", "sleep 600; true"]), &folder.join("sleeps.log"));
    std::fs::write(folder.join("pid.new"), running.pid().to_string()).unwrap();
    std::fs::rename(folder.join("pid.new"), folder.join("pid")).unwrap();
    std::thread::sleep(std::time::Duration::MAX);
}

#[test]
fn a_killed_test_leaves_no_program_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_test_that_starts_a_program_and_is_killed"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = eventually("the program runs", || {
        assert!(test.try_wait().unwrap().is_none(), "the test ended by itself");
        std::fs::read_to_string(folder.path().join("pid")).ok()
    });
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie that nobody collects is dead all the same.
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    assert!(lives());
    test.kill().unwrap();
    test.wait().unwrap();
    eventually("the program is gone", || (!lives()).then_some(()));
}
