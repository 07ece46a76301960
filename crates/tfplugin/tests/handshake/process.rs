//! The process as a whole. The test binary plays every part: a test whose role is named in the environment runs
//! as that process, and is a test that passes at once otherwise.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tfplugin::proto::tfplugin6::provider_client::ProviderClient;
use tfplugin::proto::tfplugin6::stop_provider;
use tfplugin::server::{ServeOptions, StopToken, run};
use tonic::transport::Channel;

use crate::support::{
    Bare, COOKIE, DEADLINE, apply, channel, dial, schema, shutdown, until_all_run, until_running, within,
};

const ROLE: &str = "TFPLUGIN_TEST_ROLE";
const MARKER: &str = "TFPLUGIN_TEST_MARKER";
const DEBUG: &str = "TFPLUGIN_TEST_DEBUG";
const SOURCE: &str = "registry.terraform.io/acme/widget";

fn has_role(role: &str) -> bool {
    std::env::var(ROLE).is_ok_and(|name| name == role)
}

#[test]
#[expect(clippy::exit, reason = "this is the main function of the plugin process")]
fn role_plugin() {
    if !has_role("plugin") {
        return;
    }
    tfplugin::logging::init("acme");
    let stop = StopToken::new();
    let (mut provider, _begun) = Bare::new(stop.clone());
    provider.marker = std::env::var_os(MARKER).map(Into::into);
    let options = if std::env::var_os(DEBUG).is_some() {
        ServeOptions::reattach(SOURCE)
    } else {
        ServeOptions::plugin()
    };
    let code = run(provider, options.stop(stop).parent_poll(Duration::from_millis(20)));
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

/// Starts a plugin, says where it is, and waits to be killed.
#[test]
fn role_launcher() {
    if !has_role("launcher") {
        return;
    }
    let mut plugin = command("plugin").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (line, _rest) = handshake(plugin.stdout.take().unwrap());
    println!("{line}");
    std::io::stdout().flush().unwrap();
    plugin.wait().unwrap();
}

/// Panics on the main thread and on another one.
#[test]
fn role_crash() {
    if !has_role("crash") {
        return;
    }
    tfplugin::logging::init("acme");
    std::thread::Builder::new()
        .name("worker".to_owned())
        .spawn(|| panic!("in a worker"))
        .unwrap()
        .join()
        .unwrap_err();
    panic!("on the main thread");
}

fn command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let test = format!("process::role_{role}");
    command.args([test.as_str(), "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

/// Waits for the line, past what the test harness prints. The rest of the pipe must be kept open.
fn handshake(stdout: ChildStdout) -> (String, BufReader<ChildStdout>) {
    line_from(stdout, "1|6|")
}

fn line_from(stdout: ChildStdout, beginning: &str) -> (String, BufReader<ChildStdout>) {
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the plugin ended without its line");
        if let Some(start) = line.find(beginning) {
            return (line[start..].trim_end().to_owned(), reader);
        }
    }
}

/// A plugin process without TLS.
struct Plugin {
    child: Child,
    line: String,
    // Nobody reads on: the plugin must not mind.
    _stdout: BufReader<ChildStdout>,
    folder: TempDir,
}

impl Plugin {
    fn start() -> Self {
        Self::start_with(|command| command)
    }

    fn start_with(configure: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = configure(&mut launched("plugin", folder.path())).spawn().unwrap();
        let (line, stdout) = handshake(child.stdout.take().unwrap());
        Self { child, line, _stdout: stdout, folder }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for an orderly end that leaves nothing behind.
    fn ended(mut self) {
        let status = wait(&mut self.child);
        assert!(status.success(), "{status}");
        assert_eq!(std::fs::read_dir(self.folder.path()).unwrap().count(), 0);
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // Only in a test that fails: the process may run still.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launched(role: &str, folder: &Path) -> Command {
    let mut command = command(role);
    command
        .env(COOKIE.0, COOKIE.1)
        .env("PLUGIN_PROTOCOL_VERSIONS", "5,6")
        .env("PLUGIN_UNIX_SOCKET_DIR", folder)
        .env_remove("PLUGIN_CLIENT_CERT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn connect(line: &str) -> Channel {
    let fields: Vec<_> = line.split('|').collect();
    channel(dial(fields[2], fields[3]).await).await.unwrap()
}

#[test]
fn started_by_hand_it_explains_itself() {
    let output = command("plugin").env_remove(COOKIE.0).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let explanation = String::from_utf8(output.stderr).unwrap();
    assert!(explanation.contains("not meant to be run by hand"), "{explanation}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains('|'));
}

#[tokio::test]
async fn shutdown_ends_the_process_in_time() {
    let plugin = Plugin::start();
    let channel = connect(&plugin.line).await;
    schema(channel.clone()).await.unwrap();
    let begin = Instant::now();
    shutdown(channel).await;
    plugin.ended();
    // Terraform's own patience.
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn shutdown_ends_the_process_though_a_handler_runs_on() {
    let plugin = Plugin::start();
    let channel = connect(&plugin.line).await;
    let running = tokio::spawn(apply(channel.clone(), "stubborn"));
    until_running(channel.clone()).await;
    let begin = Instant::now();
    shutdown(channel).await;
    plugin.ended();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    within(running).await.unwrap().unwrap_err();
}

/// Row 47 of the catalogue: handlers that block their threads, more of them than there are threads.
#[tokio::test]
async fn handlers_that_block_hold_up_neither_stop_nor_shutdown() {
    let plugin = Plugin::start();
    let channel = connect(&plugin.line).await;
    let calls = 2 * std::thread::available_parallelism().unwrap().get();
    let blocked: Vec<_> = (0..calls).map(|_| tokio::spawn(apply(channel.clone(), "block"))).collect();
    until_all_run(channel.clone(), calls).await;
    let mut client = ProviderClient::new(channel.clone());
    within(client.stop_provider(stop_provider::Request {})).await.unwrap();
    let begin = Instant::now();
    shutdown(channel).await;
    plugin.ended();
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    for call in blocked {
        within(call).await.unwrap().unwrap_err();
    }
}

#[tokio::test]
async fn an_interrupt_is_terraforms_business() {
    let plugin = Plugin::start();
    let channel = connect(&plugin.line).await;
    plugin.signal(Signal::INT);
    plugin.signal(Signal::INT);
    schema(channel.clone()).await.unwrap();
    assert_eq!(apply(channel.clone(), "quick").await.unwrap(), "cancelled: false");
    shutdown(channel).await;
    plugin.ended();
}

#[tokio::test]
async fn terminate_is_heeded_when_nothing_runs() {
    let plugin = Plugin::start();
    let channel = connect(&plugin.line).await;
    schema(channel.clone()).await.unwrap();
    plugin.signal(Signal::TERM);
    plugin.ended();
}

#[tokio::test]
async fn terminate_is_ignored_while_a_call_runs() {
    let mut plugin = Plugin::start_with(|command| command.env("TF_LOG", "WARN").stderr(Stdio::piped()));
    let channel = connect(&plugin.line).await;
    let running = tokio::spawn(apply(channel.clone(), "until cancelled"));
    until_running(channel.clone()).await;
    plugin.signal(Signal::TERM);
    // Signals arrive when they like: the log tells when it was seen.
    let mut log = BufReader::new(plugin.child.stderr.take().unwrap()).lines();
    let seen = tokio::task::spawn_blocking(move || {
        log.any(|line| line.is_ok_and(|line| line.contains("asked to terminate")))
    });
    assert!(within(seen).await.unwrap());
    let mut client = ProviderClient::new(channel.clone());
    within(client.stop_provider(stop_provider::Request {})).await.unwrap();
    assert_eq!(within(running).await.unwrap().unwrap(), "unwound");
    shutdown(channel).await;
    plugin.ended();
}

#[tokio::test]
async fn a_debug_server_ends_with_an_interrupt() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = launched("plugin", folder.path()).env_remove(COOKIE.0).env(DEBUG, "1").spawn().unwrap();
    let (line, stdout) = line_from(child.stdout.take().unwrap(), "TF_REATTACH_PROVIDERS='");
    let json = line.split_once('=').unwrap().1.trim_matches('\'');
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(json[SOURCE]["Pid"], child.id());
    let address = json[SOURCE]["Addr"]["String"].as_str().unwrap();
    for _ in 0..2 {
        schema(channel(dial("unix", address).await).await.unwrap()).await.unwrap();
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    Plugin { child, line, _stdout: stdout, folder }.ended();
}

#[tokio::test]
async fn printing_neither_blocks_nor_reaches_terraform() {
    let plugin = Plugin::start();
    let channel = connect(&plugin.line).await;
    assert_eq!(apply(channel.clone(), "print").await.unwrap(), "printed");
    shutdown(channel).await;
    plugin.ended();
}

#[tokio::test]
async fn without_its_parent_it_unwinds_and_goes() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let sockets = folder.path().join("sockets");
    std::fs::create_dir(&sockets).unwrap();
    let mut launcher =
        launched("launcher", &sockets).env(MARKER, &marker).stderr(Stdio::piped()).spawn().unwrap();
    let (line, _stdout) = handshake(launcher.stdout.take().unwrap());
    let channel = connect(&line).await;
    let running = tokio::spawn(apply(channel.clone(), "until cancelled"));
    until_running(channel).await;

    launcher.kill().unwrap();
    launcher.wait().unwrap();
    // Both processes hold this pipe: its end is theirs.
    let mut stderr = launcher.stderr.take().unwrap();
    let gone = tokio::task::spawn_blocking(move || stderr.read_to_string(&mut String::new()));
    within(gone).await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(marker).unwrap(), "unwound");
    assert_eq!(std::fs::read_dir(&sockets).unwrap().count(), 0);
    drop(running);
}

#[test]
fn a_crash_is_told_in_the_form_that_terraform_shows() {
    let output = command("crash").env("TF_LOG", "ERROR").output().unwrap();
    assert!(!output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let crashes: Vec<_> = stderr.lines().filter(|line| line.starts_with("panic: ")).collect();
    assert_eq!(crashes, ["panic: on the main thread"], "{stderr}");
    let logged: Vec<serde_json::Value> = stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let messages: Vec<_> = logged.iter().map(|line| line["@message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["a task panicked: in a worker", "the process panicked: on the main thread"]);
    assert!(logged.iter().all(|line| line["@level"] == "error" && line["location"].is_string()));
}
