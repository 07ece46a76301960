//! `sandbox start`, and that nothing of it is left behind.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::Place;

fn pid(number: u64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Runs, and is not only waiting to be collected by a first process that collects nobody.
fn is_alive(process: Pid) -> bool {
    let stat =
        std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    test_kill_process(process).is_ok() && !stat.contains(") Z ")
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Ends the place's sandbox even if the test fails before it does.
struct Stop<'a>(&'a Place);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(&["sandbox", "stop"]);
    }
}

#[test]
fn start_status_stop() {
    let place = Place::new();
    let _stop = Stop(&place);
    let started = place.run(&["sandbox", "start", "--port", "0", "--json"]).done().json();
    assert_eq!((started["version"].as_u64(), started["kind"].as_str()), (Some(1), Some("sandbox.start")));
    assert!(started["tokens"]["workspace"].is_string() && started["registry"].is_string());
    let process = pid(started["pid"].as_u64().unwrap());
    let status = place.run(&["sandbox", "status", "--json"]).done().json();
    assert_eq!(
        (status["pid"].clone(), status["url"].clone()),
        (started["pid"].clone(), started["url"].clone())
    );
    let again = place.run(&["sandbox", "start", "--port", "0", "--json"]).done().json();
    assert_eq!(again["pid"], started["pid"], "a second start finds the first");
    place.run(&["sandbox", "stop"]).done();
    assert!(!is_alive(process), "stop returns when the process is gone");
    assert_eq!(place.run(&["sandbox", "status"]).code, 1);
    // Nothing but what is meant to stay.
    place.run(&["sandbox", "stop"]).done();
}

#[test]
fn a_port_that_is_taken_is_said() {
    let place = Place::new();
    let _stop = Stop(&place);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = place.run(&["sandbox", "start", "--port", &port]);
    assert_eq!(run.code, 1, "{}", run.shown());
    assert!(run.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{}", run.shown());
    assert_eq!(place.run(&["sandbox", "start", "--time-scale", "0"]).code, 2);
    assert_eq!(place.run(&["sandbox", "start", "--runtime", "lxc"]).code, 2);
}

fn foreground(place: &Place) -> (Child, u64) {
    let mut command = place.command();
    command.args(["sandbox", "start", "--foreground", "--port", "0", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut text = String::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while serde_json::from_str::<serde_json::Value>(&text).is_err() {
        text.push_str(&lines.next().expect("the sandbox describes itself").unwrap());
    }
    let number = serde_json::from_str::<serde_json::Value>(&text).unwrap()["pid"].as_u64().unwrap();
    (child, number)
}

#[test]
fn the_foreground_ends_on_signals() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let (mut child, number) = foreground(&place);
        assert_eq!(number, u64::from(child.id()));
        kill_process(pid(number), signal).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(place.run(&["sandbox", "status"]).code, 1);
    }
}

#[test]
fn stop_ends_the_foreground_too() {
    let place = Place::new();
    let (mut child, _) = foreground(&place);
    // The process is our child: it is gone only once it is waited for.
    let waiter = std::thread::spawn(move || child.wait().unwrap());
    place.run(&["sandbox", "stop"]).done();
    assert!(waiter.join().unwrap().success());
}

#[test]
fn it_ends_with_its_parent() {
    let place = Place::new();
    let _stop = Stop(&place);
    // A shell that starts a sandbox for itself, detached, and then goes away.
    let mut shell = std::process::Command::new("/bin/sh");
    let program = env!("CARGO_BIN_EXE_railway-deployer");
    let script = format!("'{program}' sandbox start --port 0 --exit-with-parent --json; read ending");
    let template = place.command();
    shell.env_clear().envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(place.path("")).args(["-c", &script]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut text = String::new();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    while serde_json::from_str::<serde_json::Value>(&text).is_err() {
        text.push_str(&lines.next().expect("the sandbox describes itself").unwrap());
    }
    let started: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sandbox = pid(started["pid"].as_u64().unwrap());
    assert!(is_alive(sandbox), "it outlives the command that started it");
    drop(shell.stdin.take());
    shell.wait().unwrap();
    eventually("the sandbox ends with the shell", || !is_alive(sandbox));
}
