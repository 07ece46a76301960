//! A program that is watched while it runs, and signalled in the middle.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::Group;
use crate::{LIMIT, eventually};

/// A program with its output in a file. Dropping it ends it with everything that it has started.
pub struct Running {
    group: Group,
    log: PathBuf,
}

impl Running {
    /// Starts one that writes to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { group: Group::start(command), log: log.to_owned() }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.group.child.id()
    }

    /// What it said so far, on both outputs.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.group.wait(std::time::Duration::ZERO)
    }

    /// Its exit code, if it ends within this time.
    pub fn ends_within(&mut self, limit: std::time::Duration) -> Option<i32> {
        self.group.wait(limit)
    }

    /// Waits until `reached` says so.
    ///
    /// # Panics
    /// When the program ends before.
    pub fn until(&mut self, what: &str, mut reached: impl FnMut() -> bool) {
        eventually(what, || {
            if reached() {
                return Some(());
            }
            let ended = self.has_ended();
            assert!(ended.is_none(), "it ended with {ended:?} before this: {what}\n{}", self.said());
            None
        });
    }

    /// Signals it alone.
    pub fn signal(&self, signal: Signal) {
        self.group.signal(signal);
    }

    /// Kills it with everything that it has started, and collects it.
    ///
    /// # Panics
    /// When it survives that.
    pub fn kill(mut self) {
        self.group.signal_all(Signal::KILL);
        self.group.wait(LIMIT).expect("a killed program ends");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn end(mut self) -> (i32, String) {
        let code = self.group.wait(LIMIT);
        let said = self.said();
        (code.unwrap_or_else(|| panic!("it does not end:\n{said}")), said)
    }
}

/// Signals any process.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}
