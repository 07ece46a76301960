//! Running a build tool: its output goes on to standard error, its last lines are kept, and it does not outlive us.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
};

use crate::{failure::Failure, printer::Printer};

/// How many lines of a failed tool an error repeats.
const LAST_LINES: usize = 15;
/// How long the last output of a tool that has ended may take.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a tool may take to clean up after it was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a tool to its end. Dropping the future ends the tool and all that it has started.
pub(super) async fn run(mut command: Command, what: &str, printer: Printer) -> Result<(), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|source| Failure::io(format!("start {what}"), source))?;
    let mut group = Group::of(&child);
    let last = Arc::new(Mutex::new(VecDeque::new()));
    let streams = (child.stdout.take(), child.stderr.take());
    let output = async {
        tokio::join!(
            forward(streams.0, Arc::clone(&last), printer),
            forward(streams.1, Arc::clone(&last), printer)
        )
    };
    tokio::pin!(output);
    let waited = tokio::select! {
        status = child.wait() => {
            // What the tool leaves running for its next call may have its outputs, so their end is not waited for.
            let _ = tokio::time::timeout(DRAIN, output).await;
            status
        }
        _ = &mut output => child.wait().await,
    };
    let status = waited.map_err(|source| Failure::io(format!("wait for {what}"), source))?;
    group.forget();
    if status.success() {
        return Ok(());
    }
    let last = last.lock().unwrap_or_else(PoisonError::into_inner);
    let lines: Vec<&str> = last.iter().map(String::as_str).collect();
    let said = if lines.is_empty() { String::new() } else { format!("; it said:\n  {}", lines.join("\n  ")) };
    Err(Failure::Builder {
        code: "SPX-354",
        message: format!("{what} failed ({status}){said}"),
        hint: if lines.iter().any(|line| line.contains("OCI exporter is not supported")) {
            "docker's default builder cannot write OCI: make another, `docker buildx create --use`, or choose `--builder buildah`"
        } else {
            "no image was written"
        },
    })
}

/// Passes lines on to standard error and keeps the last of them.
async fn forward(
    stream: Option<impl AsyncRead + Unpin>,
    last: Arc<Mutex<VecDeque<String>>>,
    printer: Printer,
) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    // What cannot be read is not shown; the tool's status decides.
    while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|count| count > 0) {
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end();
        if printer.shows_progress() {
            printer.note(line);
        }
        if !line.is_empty() {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        }
        bytes.clear();
    }
}

/// The processes of a tool. Ends them when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// The tool has ended by itself, and its number may soon be another's.
    const fn forget(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(group) = self.0 else { return };
        // An error means that there is nobody left.
        if kill_process_group(group, Signal::TERM).is_err() {
            return;
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if test_kill_process_group(group).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
}
