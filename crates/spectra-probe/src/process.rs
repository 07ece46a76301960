//! One process group, from its start until nothing of it is left.
//!
//! A child is waited for by a task of its own, never by the future that asked for it. Dropping that future ends the
//! group, as kindly as a stop does.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::output::{Stream, Tail, lines, presentable};

/// How often a group that was told to end is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How long SIGKILL may take to have its effect. Who still runs then is somebody else's, such as what `sudo` started.
const BURIAL: Duration = Duration::from_secs(5);

/// How long output is read for after the group has ended. Longer only takes a process that left the group and kept
/// the pipe.
const DRAIN: Duration = Duration::from_secs(1);

/// Hears every line: where it was printed, as it was printed, and as it may be shown.
pub(crate) type Hear = Box<dyn FnMut(Stream, &str, &str) + Send>;

/// How a program came to its end.
#[derive(Debug)]
pub(crate) enum How {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long and was ended.
    TimedOut,
    /// It was asked to stop, and ended.
    Stopped,
    /// Not at all: it should have been ended, but the process of this id, or one of its group, goes on.
    GoesOn(i32),
    /// The system does not say.
    Lost(io::Error),
}

/// A program that has ended, with all of its group, or that nothing more can be done about.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) how: How,
    /// The last lines that it printed, as they may be shown.
    pub(crate) tail: String,
}

/// How long a program may take, and what it gets to tidy up after SIGTERM.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) run: Duration,
    pub(crate) grace: Duration,
}

/// Runs a program to its end. An `Err` means that it was not started.
pub(crate) async fn run(
    mut command: Command,
    limits: Limits,
    cancel: &CancellationToken,
    hear: Hear,
) -> io::Result<Ended> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let Some(id) = id else {
        // It has not been waited for, so it has an id, which is a positive number of that size.
        return Ok(Ended { how: How::Lost(io::Error::other("it has no process id")), tail: String::new() });
    };
    let group = Group { id, over: false };
    let output = Arc::new(Mutex::new(Output { tail: Tail::default(), hear }));
    let mut readers = tokio::task::JoinSet::new();
    if let Some(pipe) = child.stdout.take() {
        let output = Arc::clone(&output);
        readers.spawn(lines(pipe, move |line| Output::take(&output, Stream::Out, line)));
    }
    if let Some(pipe) = child.stderr.take() {
        let output = Arc::clone(&output);
        readers.spawn(lines(pipe, move |line| Output::take(&output, Stream::Err, line)));
    }
    let stop = cancel.child_token();
    let dropped = stop.clone().drop_guard();
    let ended = tokio::spawn(async move {
        let how = supervise(child, group, limits, &stop).await;
        // Dropping the set ends the readers that are left.
        let _ = timeout(DRAIN, async { while readers.join_next().await.is_some() {} }).await;
        how
    })
    .await;
    drop(dropped);
    let how = ended.unwrap_or_else(|error| How::Lost(io::Error::other(error)));
    let tail = output.lock().unwrap_or_else(PoisonError::into_inner).tail.text();
    Ok(Ended { how, tail })
}

async fn supervise(mut child: Child, mut group: Group, limits: Limits, stop: &CancellationToken) -> How {
    let how = tokio::select! {
        biased;
        waited = child.wait() => match waited {
            Ok(status) => How::Exited(status),
            Err(error) => How::Lost(error),
        },
        () = stop.cancelled() => How::Stopped,
        () = sleep(limits.run) => How::TimedOut,
    };
    let id = group.id.as_raw_nonzero().get();
    match (group.end(&mut child, limits.grace).await, how) {
        (false, How::Stopped | How::TimedOut) => How::GoesOn(id),
        (gone, how) => {
            if !gone {
                tracing::warn!("process group {id} could not be ended after its leader had ended");
            }
            how
        }
    }
}

struct Output {
    tail: Tail,
    hear: Hear,
}

impl Output {
    fn take(output: &Mutex<Self>, stream: Stream, line: &str) {
        let shown = presentable(line);
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        (output.hear)(stream, line, &shown);
        output.tail.push(shown);
    }
}

/// A group that is killed when it is dropped before it is over, as when the runtime is shut down.
struct Group {
    id: Pid,
    over: bool,
}

impl Group {
    /// SIGTERM to every member, SIGKILL after the grace period. Returns when the child has been waited for and no
    /// member runs any more, with `true`; or when even SIGKILL did not help.
    async fn end(&mut self, child: &mut Child, grace: Duration) -> bool {
        // An error of a signal means that it reaches nobody; the looks at the group see whether that is good.
        let _ = kill_process_group(self.id, Signal::TERM);
        let kindly = timeout(grace, async {
            // An error means that it has been waited for.
            let _ = child.wait().await;
            while runs(self.id) {
                sleep(POLL).await;
            }
        });
        let mut gone = kindly.await.is_ok();
        if !gone {
            let _ = kill_process_group(self.id, Signal::KILL);
            let dead = timeout(BURIAL, async {
                let _ = child.wait().await;
                while runs(self.id) {
                    // Again on every look: a member may have forked between two of them.
                    let _ = kill_process_group(self.id, Signal::KILL);
                    sleep(POLL).await;
                }
            });
            gone = dead.await.is_ok();
        }
        self.over = true;
        gone
    }
}

/// Whether a member of a group still runs.
///
/// Signals reach zombies too, and in a container whose first process collects nobody's children, a grandchild that was
/// ended stays one for good. Linux tells them apart.
fn runs(group: Pid) -> bool {
    // Every other error is that of a group whose members are somebody else's.
    if test_kill_process_group(group) == Err(Errno::SRCH) {
        return false;
    }
    let processes = if cfg!(target_os = "linux") { std::fs::read_dir("/proc").ok() } else { None };
    processes.is_none_or(|processes| {
        processes.filter_map(Result::ok).any(|process| {
            // Whatever is no process, or has just gone, has no such file.
            std::fs::read_to_string(process.path().join("stat"))
                .is_ok_and(|stat| runs_in(&stat, group.as_raw_nonzero().get()))
        })
    })
}

/// Whether a line of `/proc/PID/stat` is that of a running member: `PID (NAME) STATE PARENT GROUP …`, where the name may
/// hold anything.
fn runs_in(stat: &str, group: i32) -> bool {
    let mut fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let state = fields.next();
    fields.nth(1).and_then(|field| field.parse().ok()) == Some(group)
        && !matches!(state, Some("Z" | "X") | None)
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over {
            let _ = kill_process_group(self.id, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zombies_do_not_run() {
        assert!(runs_in("42 (sh) S 1 40 40 0 -1", 40));
        assert!(runs_in("42 (a) Z 1 7 (b) R 1 40 40", 40), "a name may look like the rest");
        assert!(!runs_in("42 (sh) S 40 41 40 0 -1", 40), "a child of the leader in a group of its own");
        assert!(!runs_in("42 (sh) Z 1 40 40 0 -1", 40));
        assert!(!runs_in("", 40));
    }

    /// As of a program that runs as somebody else: it is no group of this id, so no signal reaches it.
    #[tokio::test(start_paused = true)]
    async fn a_program_that_no_signal_reaches_is_given_up() {
        let mut child = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
        let mut group = Group { id, over: false };
        assert!(!group.end(&mut child, Duration::from_secs(5)).await);
        child.kill().await.unwrap();
    }
}
