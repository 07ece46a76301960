//! Running a build tool: its output goes on to standard error, its last lines are kept, and it does not outlive us.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpid};
use spectra_types::Redactor;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
};

use crate::{failure::Failure, printer::Printer};

/// How many lines of a failed tool's standard error an error repeats.
const LAST_ERRORS: usize = 15;
/// How many lines of its standard output: what came just before, but not so much that it hides the reason.
const LAST_OUTPUT: usize = 5;
/// How many bytes of a line are read; and how many characters are shown, far enough from there that no secret is cut through.
const MAX_LINE: usize = 256 * 1024;
const MAX_SHOWN: usize = 16 * 1024;
/// How long the last output of a tool that has ended may take.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a tool may take to clean up after it was asked to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a tool to its end. Dropping the future ends the tool and all that it has started.
pub(super) async fn run(mut command: Command, what: &str, printer: Printer) -> Result<(), Failure> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|source| Failure::io(format!("start {what}"), source))?;
    let mut group = Group::of(&child);
    // The two are read independently, and which is first is chance: neither may push out the other's lines.
    let (output_tail, error_tail) = (Tail::new(LAST_OUTPUT), Tail::new(LAST_ERRORS));
    let streams = (child.stdout.take(), child.stderr.take());
    let output = async {
        tokio::join!(forward(streams.0, &output_tail, printer), forward(streams.1, &error_tail, printer))
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
    let lines = [output_tail.lines(), error_tail.lines()].concat();
    let said = if lines.is_empty() { String::new() } else { format!("; it said:\n{}", lines.join("\n")) };
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

/// The last lines of a stream.
struct Tail {
    most: usize,
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    fn new(most: usize) -> Self {
        Self { most, lines: Mutex::default() }
    }

    fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == self.most {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Passes lines on to standard error and keeps the last of them.
async fn forward(stream: Option<impl AsyncRead + Unpin>, tail: &Tail, printer: Printer) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    while let Some(bytes) = next_line(&mut reader).await {
        let line = String::from_utf8_lossy(&bytes);
        // Redacted while it is whole: a secret that is cut through is not found.
        let line = Redactor::global().redact(line.trim_end());
        let line = match line.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line.into_owned(),
        };
        if printer.shows_progress() {
            printer.quote(&line);
        }
        if !line.is_empty() {
            tail.push(&line);
        }
    }
}

/// The next line, of a longer one its beginning; nothing at the end. What cannot be read is not shown; the tool's status decides.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut any = false;
    loop {
        let piece = reader.fill_buf().await.ok()?;
        if piece.is_empty() {
            return any.then_some(line);
        }
        any = true;
        let end = piece.iter().position(|byte| *byte == b'\n');
        let length = end.map_or(piece.len(), |end| end + 1);
        let kept = (MAX_LINE - line.len()).min(length);
        line.extend_from_slice(&piece[..kept]);
        reader.consume(length);
        if end.is_some() {
            return Some(line);
        }
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
            // A tool that has ended counts as there until somebody asked how it ended.
            let _ = waitpid(Some(group), WaitOptions::NOHANG);
            if test_kill_process_group(group).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_without_an_end_is_not_kept() {
        let text = [vec![b'a'; 3 * MAX_LINE], b"\nnext\n\nlast".to_vec()].concat();
        let mut reader = BufReader::with_capacity(1000, text.as_slice());
        assert_eq!(next_line(&mut reader).await.unwrap(), vec![b'a'; MAX_LINE]);
        assert_eq!(next_line(&mut reader).await.unwrap(), b"next\n");
        assert_eq!(next_line(&mut reader).await.unwrap(), b"\n");
        assert_eq!(next_line(&mut reader).await.unwrap(), b"last");
        assert_eq!(next_line(&mut reader).await, None);
    }
}
