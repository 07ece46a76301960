//! Whether a process is there.

use rustix::process::{Pid, test_kill_process};

/// Whether a process runs. One that has ended but was not collected by its parent does not: in a container, the first
/// process often collects nobody.
pub(super) fn is_alive(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return false;
    }
    // Only Linux has the file; elsewhere the answer above stands. The state follows the name in brackets, which may itself
    // hold brackets and spaces.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_nobody_collected_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // Not waited for, so that it stays as a zombie.
        while is_alive(pid) {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        assert!(child.wait().unwrap().success());
        assert!(is_alive(rustix::process::getpid()));
    }
}
