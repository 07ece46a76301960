//! Runs a program to its end with a deadline, and ends what must not outlive a test.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::{LIMIT, watcher};

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Run {
    /// Exit code; 128 plus the signal number when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Asserts exit code 0.
    ///
    /// # Panics
    /// When the code is another one; the message quotes both outputs.
    #[must_use]
    pub fn success(self) -> Self {
        self.code(0)
    }

    /// Asserts an exit code.
    ///
    /// # Panics
    /// When the code is another one; the message quotes both outputs.
    #[must_use]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Both outputs in one line of single spaces, without the border that Terraform draws around a
    /// diagnostic, so that wrapped sentences can be searched.
    #[must_use]
    pub fn text(&self) -> String {
        let both = format!("{}\n{}", self.stdout, self.stderr);
        both.replace(['│', '╷', '╵'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Like [`Run::text`] without any space at all: Terraform may also wrap inside a long word.
    #[must_use]
    pub fn dense(&self) -> String {
        self.text().replace(' ', "")
    }

    /// Asserts that the output contains `needle`, however it was wrapped.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn says(self, needle: &str) -> Self {
        let dense: String = needle.split_whitespace().collect();
        assert!(self.dense().contains(&dense), "`{needle}` is not in:\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs a command with no input until it ends.
///
/// # Panics
/// When it cannot be started or does not end within [`LIMIT`].
pub fn run(command: &mut Command) -> Run {
    let name = format!("{command:?}");
    let mut group = Group::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let stdout = reader(group.child.stdout.take());
    let stderr = reader(group.child.stderr.take());
    let code = group.wait(LIMIT).unwrap_or_else(|| panic!("{name} did not end within {} s", LIMIT.as_secs()));
    // Whatever the program left behind holds its pipes open; it must be gone before they are read out.
    drop(group);
    Run { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A child that leads a process group of its own; dropping it ends the whole group.
pub(crate) struct Group {
    pub(crate) child: Child,
    pid: Pid,
}

impl Group {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child =
            command.process_group(0).spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
        watcher::begins(pid);
        Self { child, pid }
    }

    /// Signals the leader alone.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid, signal).expect("the child has not been waited for");
    }

    /// Signals every member.
    pub(crate) fn signal_all(&self, signal: Signal) {
        kill_process_group(self.pid, signal).expect("the leader has not been waited for");
    }

    /// Exit code, or nothing when it still runs at the deadline.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;

        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let running = matches!(self.child.try_wait(), Ok(None));
        if running {
            let _ = kill_process_group(self.pid, Signal::TERM);
            let _ = self.wait(Duration::from_secs(3));
        }
        // Members that outlived their leader. Bounded: zombies of a careless init stay for ever.
        let deadline = Instant::now() + Duration::from_secs(3);
        while test_kill_process_group(self.pid).is_ok() && Instant::now() < deadline {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.try_wait();
            std::thread::sleep(Duration::from_millis(5));
        }
        watcher::ends(self.pid);
    }
}
