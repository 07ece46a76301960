//! What this process has used, told at its end to whoever asks for it: Terraform starts several, and none of them
//! outlives its walk.

use std::io::Write as _;

/// The file to which each provider process adds a line when it ends.
pub(crate) const VARIABLE: &str = "CORNER_USAGE";

/// Adds `PEAK_KIB CPU_MICROSECONDS` to the file that [`VARIABLE`] names: the highest resident memory and the time on processors,
/// of all threads. Does nothing where nobody asks, or where there is no `/proc`.
pub(crate) fn report() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let Some(peak) = peak_kib() else { return };
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1_000;
    // Processes of one walk may end together: a short line is added whole.
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(format!("{peak} {micros}\n").as_bytes()));
}

fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
