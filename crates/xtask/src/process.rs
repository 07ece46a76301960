//! The only place that starts processes, and the one that ends them.
//!
//! Every child leads its own process group, so that a terminal's Ctrl-C reaches this program alone and
//! this program decides the order in which the others stop. Whoever ends a child ends its whole group:
//! Terraform's plugins and a script's children live in it. A child is waited for by a task of its own,
//! never by the future that asked for it, so that dropping that future leaves neither a zombie nor a
//! survivor.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Error;

/// How long a group may take to stop by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// How often a group that was told to stop is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Where a child's standard output and error go.
#[derive(Clone)]
pub(crate) enum Output {
    /// Straight to this program's own.
    Inherit,
    /// Collected; nothing is shown.
    Capture,
    /// Collected and shown line by line as it comes.
    Tee,
    /// Appended to a file.
    File(PathBuf),
}

/// A command line before it is started.
#[derive(Clone)]
pub(crate) struct Job {
    program: OsString,
    arguments: Vec<OsString>,
    directory: Option<PathBuf>,
    set: Vec<(OsString, OsString)>,
    unset: Vec<OsString>,
    output: Output,
    limit: Option<Duration>,
}

impl Job {
    /// A job that captures its output and has no time limit.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            directory: None,
            set: Vec::new(),
            unset: Vec::new(),
            output: Output::Capture,
            limit: None,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.set.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn unset(mut self, name: impl AsRef<OsStr>) -> Self {
        self.unset.push(name.as_ref().to_owned());
        self
    }

    pub(crate) fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Kills the job when it takes longer.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The command as a person would type it; values of the environment are left out because they may be
    /// secret.
    pub(crate) fn line(&self) -> String {
        let mut words = vec![
            Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned(),
        ];
        words.extend(self.arguments.iter().map(|argument| argument.to_string_lossy().into_owned()));
        words.join(" ")
    }
}

/// The first program of this name on PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// How a job ended.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) command: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// From its start to its end, without what ending its group took.
    pub(crate) lasted: Duration,
}

impl Finished {
    /// Turns every status but success into an error that quotes the output.
    pub(crate) fn success(self) -> Result<Self, Error> {
        if self.status.success() { Ok(self) } else { Err(self.failure()) }
    }

    /// The error for a status that the task does not accept.
    pub(crate) fn failure(&self) -> Error {
        Error::Failed {
            command: self.command.clone(),
            status: self.status.to_string(),
            output: quoted(&self.stdout, &self.stderr),
        }
    }
}

fn quoted(stdout: &str, stderr: &str) -> String {
    let mut text = String::new();
    for part in [stdout, stderr] {
        for line in part.trim_end().lines() {
            text.push_str("\n      | ");
            text.push_str(line);
        }
    }
    text
}

/// A running child. Dropping it changes nothing: [`Processes`] still knows the child and ends it.
pub(crate) struct Running {
    pid: Pid,
    finished: watch::Receiver<Option<Finished>>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// How it ended, if it did.
    pub(crate) fn finished(&self) -> Option<Finished> {
        self.finished.borrow().clone()
    }

    /// Waits for the end of the child and of its group.
    pub(crate) async fn wait(&mut self) -> Option<Finished> {
        self.finished.wait_for(Option::is_some).await.ok().and_then(|value| value.clone())
    }
}

#[derive(Default)]
struct State {
    /// Set once; from then on nothing starts.
    closing: bool,
    /// Group leader → receiver that fires when the group is gone.
    groups: BTreeMap<i32, watch::Receiver<Option<Finished>>>,
}

/// Registry of everything that runs on behalf of this program.
pub(crate) struct Processes {
    state: Mutex<State>,
}

impl Processes {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The guarded map stays consistent even if a holder panicked: every change is one insert or remove.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job in a process group of its own.
    pub(crate) fn start(self: &Arc<Self>, job: &Job) -> Result<Running, Error> {
        let mut command = Command::new(&job.program);
        command.args(&job.arguments).stdin(Stdio::null()).process_group(0);
        if let Some(directory) = &job.directory {
            command.current_dir(directory);
        }
        for name in ["NO_PROXY", "no_proxy"] {
            command.env(name, without_proxy(std::env::var(name).ok().as_deref()));
        }
        for name in &job.unset {
            command.env_remove(name);
        }
        command.envs(job.set.iter().map(|(name, value)| (name, value)));
        match &job.output {
            Output::Inherit => {}
            Output::Capture | Output::Tee => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Output::File(path) => {
                let open = || std::fs::OpenOptions::new().create(true).append(true).open(path);
                command.stdout(open().map_err(Error::file("open", path))?);
                command.stderr(open().map_err(Error::file("open", path))?);
            }
        }
        // Starting happens under the lock: either the registry knows the child, or it was never started.
        let mut state = self.lock();
        if state.closing {
            return Err(Error::Closing(job.line()));
        }
        let spawn_error =
            |source| Error::Spawn { program: job.program.to_string_lossy().into_owned(), source };
        let begun = Instant::now();
        let mut child = command.spawn().map_err(spawn_error)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| spawn_error(std::io::Error::other("the new process has no id")))?;
        let (sender, finished) = watch::channel(None);
        state.groups.insert(pid.as_raw_nonzero().get(), finished.clone());
        drop(state);

        let show = matches!(job.output, Output::Tee);
        let stdout = child.stdout.take().map(|pipe| tokio::spawn(collect(pipe, show.then_some(Stream::Out))));
        let stderr = child.stderr.take().map(|pipe| tokio::spawn(collect(pipe, show.then_some(Stream::Err))));
        let command = job.line();
        let registry = Arc::clone(self);
        tokio::spawn(async move {
            let waited = child.wait().await;
            let lasted = begun.elapsed();
            // The leader is gone; whatever it left in its group must not outlive it. Ending it also closes
            // the pipes that the collectors read.
            end_group(pid, Duration::from_secs(1)).await;
            let stdout = join(stdout).await;
            let stderr = join(stderr).await;
            registry.lock().groups.remove(&pid.as_raw_nonzero().get());
            if let Ok(status) = waited {
                sender.send_replace(Some(Finished { command, status, stdout, stderr, lasted }));
            }
        });
        Ok(Running { pid, finished })
    }

    /// Runs a job to its end, whatever its exit status.
    pub(crate) async fn run(self: &Arc<Self>, job: &Job) -> Result<Finished, Error> {
        let mut running = self.start(job)?;
        let lost = || Error::unexpected(job.line(), "its exit status could not be read");
        let Some(limit) = job.limit else {
            return running.wait().await.ok_or_else(lost);
        };
        if let Ok(finished) = timeout(limit, running.wait()).await {
            return finished.ok_or_else(lost);
        }
        self.stop(&mut running).await;
        let output = running.finished().map(|end| quoted(&end.stdout, &end.stderr)).unwrap_or_default();
        Err(Error::TimedOut { command: job.line(), seconds: limit.as_secs(), output })
    }

    /// Ends one child with its group and waits until it is gone.
    pub(crate) async fn stop(&self, running: &mut Running) {
        end_group(running.pid, GRACE).await;
        running.wait().await;
    }

    /// Ends everything, first kindly, then not, and waits until nothing is left. Nothing starts afterwards.
    pub(crate) async fn shutdown(&self) {
        self.end_all(GRACE).await;
    }

    /// Ends everything at once.
    pub(crate) async fn kill_now(&self) {
        self.end_all(Duration::ZERO).await;
    }

    async fn end_all(&self, grace: Duration) {
        let groups = {
            let mut state = self.lock();
            state.closing = true;
            state.groups.clone()
        };
        let mut ending = Vec::new();
        for (raw, mut finished) in groups {
            let Some(pid) = Pid::from_raw(raw) else { continue };
            ending.push(tokio::spawn(async move {
                end_group(pid, grace).await;
                // An error means the waiting task is done too.
                let _ = finished.wait_for(Option::is_some).await;
            }));
        }
        for task in ending {
            let _ = task.await;
        }
    }
}

/// A person's proxy must not be asked for what runs on this machine.
fn without_proxy(existing: Option<&str>) -> String {
    let local = "localhost,.localhost,127.0.0.1,::1";
    match existing.map(str::trim) {
        None | Some("") => local.to_owned(),
        Some(hosts) => format!("{hosts},{local}"),
    }
}

/// SIGTERM to the group, SIGKILL after the grace period; returns when no member is left.
async fn end_group(pid: Pid, grace: Duration) {
    let kindly = Instant::now() + grace;
    // Past this only zombies can be left, whose new parent does not collect them: nothing runs.
    let finally = kindly + GRACE;
    if !grace.is_zero() {
        // An error means that the group has no member any more; the loop below sees the same.
        let _ = kill_process_group(pid, Signal::TERM);
    }
    while test_kill_process_group(pid).is_ok() && Instant::now() < finally {
        if Instant::now() >= kindly {
            // Repeated on every look: a member may have forked between two of them.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        sleep(POLL).await;
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// Reads a pipe to its end, line by line, tolerating bytes that are not UTF-8.
async fn collect(pipe: impl AsyncRead + Unpin, show: Option<Stream>) -> String {
    use std::io::Write;

    let mut reader = BufReader::new(pipe);
    let mut text = String::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return text,
            Ok(_) => {
                let _ = match show {
                    Some(Stream::Out) => std::io::stdout().lock().write_all(&line),
                    Some(Stream::Err) => std::io::stderr().lock().write_all(&line),
                    None => Ok(()),
                };
                text.push_str(&String::from_utf8_lossy(&line));
            }
        }
    }
}

async fn join(task: Option<tokio::task::JoinHandle<String>>) -> String {
    match task {
        Some(task) => task.await.unwrap_or_default(),
        None => String::new(),
    }
}
