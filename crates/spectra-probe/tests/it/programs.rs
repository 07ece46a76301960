//! Programs of the system through the runner.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rustix::process::{Pid, test_kill_process};
use spectra_probe::{Programs, ServiceVariables, Variables};
use spectra_rollout::spec::CommandSpec;
use spectra_rollout::{Effect, Place, RunError, Runner as _};
use spectra_types::Secret;
use tokio_util::sync::CancellationToken;

use crate::support::{DIGEST, context, image, place, script};

/// What the platform says of a service's variables, and who was asked about.
#[derive(Default)]
pub(crate) struct Platform {
    pub(crate) answer: Option<Vec<(&'static str, &'static str)>>,
    pub(crate) asked: Mutex<Vec<Place>>,
}

impl ServiceVariables for Platform {
    fn variables<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Variables, String>> {
        self.asked.lock().unwrap().push(place.clone());
        let answer = self.answer.as_ref().ok_or_else(|| "the platform is away".to_owned()).map(|all| {
            all.iter().map(|(name, value)| ((*name).to_owned(), Secret::from(*value).into())).collect()
        });
        async { answer }.boxed()
    }
}

/// This process's environment as the runner sees it.
fn own(name: &str) -> Option<OsString> {
    match name {
        "PATH" => std::env::var_os("PATH"),
        "HOME" => Some("/own-home".into()),
        "TMPDIR" => None,
        _ => Some("own".into()),
    }
}

pub(crate) fn programs(variables: &[(&'static str, &'static str)]) -> Programs {
    Programs::new(Arc::new(Platform { answer: Some(variables.to_vec()), ..Platform::default() }), own)
}

async fn run(programs: &Programs, spec: &CommandSpec) -> Result<String, RunError> {
    programs.run(&place("service-1"), spec, &context("migrate up"), &CancellationToken::new()).await
}

/// A runner whose listener collects what it hears and trips the token at the first line.
fn stopping_at_the_first_line(cancel: &CancellationToken) -> (Programs, Arc<Mutex<Vec<String>>>) {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (sink, cancel) = (Arc::clone(&heard), cancel.clone());
    let programs = programs(&[]).listening(move |_, line| {
        sink.lock().unwrap().push(line.to_owned());
        cancel.cancel();
    });
    (programs, heard)
}

/// Whether a process runs. One that its new parent has not collected yet does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    test_kill_process(pid).is_ok() && !zombie
}

#[tokio::test]
async fn the_environment_is_what_was_promised_and_nothing_else() {
    let variables = [
        ("DATABASE_NAME", "orders"),
        ("TEAM", "service's"),
        ("PATH", "/path-of-the-service"),
        ("HOME", "/home-of-the-service"),
    ];
    let mut spec =
        script("env -0 | tr '\\0' '\\n' | grep -v -e '^_=' -e '^PWD=' -e '^SHLVL=' -e '^OLDPWD='; pwd");
    spec.environment = BTreeMap::from([("TEAM", "command's"), ("SPECTRA_DIGEST", "forged")].map(own_pair));
    let folder = tempfile::tempdir().unwrap();
    spec.directory = Some(folder.path().to_str().unwrap().to_owned());
    let tail = run(&programs(&variables), &spec).await.unwrap();
    let mut lines: Vec<&str> = tail.lines().collect();
    let directory = lines.pop().unwrap();
    assert_eq!(std::fs::canonicalize(directory).unwrap(), std::fs::canonicalize(folder.path()).unwrap());
    lines.sort_unstable();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let image = format!("SPECTRA_IMAGE={}", image());
    let digest = format!("SPECTRA_DIGEST={DIGEST}");
    let mut expected = [
        // The value is one of the service's and therefore not shown.
        "DATABASE_NAME=[redacted]",
        "HOME=/own-home",
        "LANG=own",
        path.as_str(),
        digest.as_str(),
        "SPECTRA_ENVIRONMENT=environment-1",
        image.as_str(),
        "SPECTRA_PURPOSE=migrate up",
        "SPECTRA_ROLLOUT_ID=rollout-1",
        "SPECTRA_SERVICE=service-1",
        "TEAM=command's",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

fn own_pair((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn variables_are_asked_for_only_where_they_are_wanted() {
    let variables = Arc::new(Platform::default());
    let programs = Programs::new(Arc::clone(&variables) as Arc<dyn ServiceVariables>, own);
    let without = CommandSpec { service_variables: false, ..script("echo ran") };
    assert_eq!(run(&programs, &without).await.unwrap(), "ran");
    assert!(variables.asked.lock().unwrap().is_empty());
    let error = run(&programs, &script("echo ran")).await.unwrap_err();
    assert_eq!(error.effect, Effect::None);
    assert!(error.message.contains("could not be read: the platform is away"), "{}", error.message);
    assert_eq!(*variables.asked.lock().unwrap(), [place("service-1")]);
}

#[tokio::test]
async fn standard_input_is_empty() {
    assert_eq!(run(&programs(&[]), &script("cat; echo end")).await.unwrap(), "end");
}

#[tokio::test]
async fn a_failure_says_how_it_ended_and_what_was_printed_last() {
    let error =
        run(&programs(&[]), &script("for i in $(seq 30); do echo line $i; done; exit 3")).await.unwrap_err();
    assert_eq!(error.effect, Effect::Possible);
    assert!(
        error.message.contains("failed with exit status 3; the end of its output:\nline 11\n"),
        "{}",
        error.message
    );
    assert!(error.message.ends_with("\nline 30"), "{}", error.message);
    let error = run(&programs(&[]), &script("kill -KILL $$")).await.unwrap_err();
    assert!(error.message.ends_with("failed with signal 9; it printed nothing"), "{}", error.message);
    let error = run(&programs(&[]), &script("echo to-err >&2; exit 1")).await.unwrap_err();
    assert!(error.message.ends_with("\nto-err"), "{}", error.message);
}

#[tokio::test]
async fn secrets_are_neither_in_the_tail_nor_heard_nor_in_the_words() {
    let key = "-----BEGIN KEY-----\nfirst-line-of-the-key\nsecond-line-of-the-key\n}\n-----END KEY-----\n";
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = Arc::clone(&heard);
    let programs = programs(&[("PASSWORD", "pa55-of-the-database"), ("KEY", key)])
        .listening(move |context, line| sink.lock().unwrap().push(format!("{}: {line}", context.purpose)));
    let spec = script("echo with $PASSWORD; echo \"$KEY\" >&2; exit 1 # pa55-of-the-database");
    let error = run(&programs, &spec).await.unwrap_err();
    let heard = heard.lock().unwrap().join("\n");
    assert!(error.message.contains("with [redacted]"), "{}", error.message);
    assert!(heard.contains("migrate up: with [redacted]") && heard.contains("migrate up: }"), "{heard}");
    for text in [&error.message, &heard] {
        for secret in ["pa55", "first-line", "second-line"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn what_could_not_be_started_changed_nothing() {
    let no_program = CommandSpec { command: vec!["no-such-program-here".to_owned()], ..script("") };
    let no_folder = CommandSpec { directory: Some("/no/such/folder".to_owned()), ..script("echo ran") };
    let nothing = CommandSpec { command: Vec::new(), ..script("") };
    let mut bad_name = script("echo ran");
    bad_name.environment.insert("A=B".to_owned(), "c".to_owned());
    for (spec, expected) in [
        (no_program, "`no-such-program-here` was not started: No such file"),
        (no_folder, "there is no folder `/no/such/folder`"),
        (nothing, "it names no program"),
        (bad_name, "`A=B` cannot be the name of an environment variable"),
    ] {
        let error = run(&programs(&[]), &spec).await.unwrap_err();
        assert_eq!(error.effect, Effect::None, "{}", error.message);
        assert!(error.message.contains(expected), "{}", error.message);
    }
    let error = run(&programs(&[("ZERO", "before\0after-the-zero")]), &script("echo ran")).await.unwrap_err();
    assert!(error.message.contains("the value of `ZERO` holds a zero byte"), "{}", error.message);
    assert!(!error.message.contains("after-the-zero"), "{}", error.message);
}

#[tokio::test]
async fn a_rollout_that_was_stopped_before_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let spec = script(&format!("echo ran > {}", trace.display()));
    let error = programs(&[]).run(&place("s"), &spec, &context("hook undo"), &cancel).await.unwrap_err();
    assert_eq!(error.effect, Effect::None);
    assert!(error.message.contains("stopped before"), "{}", error.message);
    assert!(!trace.exists());
}

#[tokio::test]
async fn what_takes_too_long_is_ended() {
    let spec = CommandSpec { timeout: Duration::from_millis(50), ..script("sleep 600") };
    let error = run(&programs(&[]), &spec).await.unwrap_err();
    assert_eq!(error.effect, Effect::Possible);
    assert!(error.message.contains("took longer than 50ms and was ended"), "{}", error.message);
}

#[tokio::test]
async fn a_stop_lets_a_program_tidy_up_and_waits_for_it() {
    let cancel = CancellationToken::new();
    let (programs, heard) = stopping_at_the_first_line(&cancel);
    // Without a child: one that has just been forked would inherit the trap and miss the signal.
    let spec = script("trap 'echo tidied up; exit 0' TERM; echo ready; while :; do :; done");
    let error = programs.run(&place("s"), &spec, &context("migrate up"), &cancel).await.unwrap_err();
    assert_eq!(error.effect, Effect::Possible);
    assert!(error.message.contains("was ended, since the rollout was stopped"), "{}", error.message);
    assert!(error.message.ends_with("ready\ntidied up"), "{}", error.message);
    assert_eq!(*heard.lock().unwrap(), ["ready", "tidied up"]);
}

#[tokio::test]
async fn grandchildren_end_with_a_program_that_is_stopped() {
    let cancel = CancellationToken::new();
    let (programs, heard) = stopping_at_the_first_line(&cancel);
    let spec = script("sh -c 'sleep 600 & echo $!; wait' & wait");
    programs.run(&place("s"), &spec, &context("migrate up"), &cancel).await.unwrap_err();
    let pid = heard.lock().unwrap()[0].clone();
    assert!(!runs(&pid), "{pid}");
}

#[tokio::test]
async fn what_a_program_leaves_behind_is_ended() {
    let tail = run(&programs(&[]), &script("sleep 600 & echo $!")).await.unwrap();
    assert!(!runs(&tail), "{tail}");
}

#[tokio::test]
async fn a_process_that_left_the_group_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    let directory = Some(folder.path().to_str().unwrap().to_owned());
    let text =
        "setsid sh -c 'echo $$ > pid; exec sleep 600' & while [ ! -s pid ]; do sleep 0.01; done; cat pid";
    let tail = run(&programs(&[]), &CommandSpec { directory, ..script(text) }).await.unwrap();
    // It is nobody's but this test's.
    let pid = Pid::from_raw(tail.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_program_that_nobody_waits_for_is_ended() {
    let (told, first_line) = tokio::sync::oneshot::channel();
    let told = Mutex::new(Some(told));
    let programs = programs(&[]).listening(move |_, line| {
        if let Some(told) = told.lock().unwrap().take() {
            told.send(line.to_owned()).unwrap();
        }
    });
    let spec = script("echo $$; exec sleep 600");
    let pid = tokio::select! {
        biased;
        pid = first_line => pid.unwrap(),
        ended = run(&programs, &spec) => panic!("{ended:?}"),
    };
    let gone = async {
        while runs(&pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone).await.expect("it ends");
}
