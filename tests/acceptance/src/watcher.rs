//! Ends what a test has started when the test itself is killed: nothing is dropped then.
//!
//! A shell holds one end of a pipe and is told of every process group that begins and ends. When the pipe is closed, which
//! the kernel does however the test ends, it kills those that are left.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::Pid;

const WATCH: &str = r#"groups=' '
while read -r what group; do
  case $what in
    begins) groups="$groups$group " ;;
    ends) case $groups in *" $group "*) groups="${groups%% "$group" *} ${groups#* "$group" }" ;; esac ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

/// It outlives this process, so nobody waits for it.
static WATCHER: OnceLock<Mutex<Child>> = OnceLock::new();

/// A group has begun.
pub(crate) fn begins(group: Pid) {
    tell("begins", group).expect("the shell reads on");
}

/// A group is gone; its number may become that of another. This is said while things are dropped, so it never fails.
pub(crate) fn ends(group: Pid) {
    let _ = tell("ends", group);
}

fn tell(what: &str, group: Pid) -> std::io::Result<()> {
    let watcher = WATCHER.get_or_init(|| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCH]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own: what is sent to the test's group must not end it before its work is done.
        Mutex::new(command.process_group(0).spawn().expect("there is a shell"))
    });
    let mut shell = watcher.lock().unwrap_or_else(PoisonError::into_inner);
    let pipe = shell.stdin.as_mut().expect("its input is a pipe");
    writeln!(pipe, "{what} {}", group.as_raw_nonzero())
}
