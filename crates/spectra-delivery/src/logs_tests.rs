//! Logs that are told beside some work.

use std::sync::Mutex;

use futures::stream;
use spectra_railway::LogLine;
use spectra_rollout::{Failure, FailureReason, Phase};

use super::*;

/// What each log has to say, by deployment; afterwards it says nothing, for ever.
#[derive(Default)]
struct Fake {
    build: Vec<LogNews>,
    deploy: Vec<LogNews>,
    /// Logs that say nothing for so long, by deployment.
    late: Vec<(&'static str, LogKind, Duration)>,
    asked: Mutex<Vec<(String, LogKind)>>,
}

impl Source for Fake {
    fn follow(&self, deployment: &DeploymentId, kind: LogKind) -> BoxStream<'static, LogNews> {
        self.asked.lock().unwrap().push((deployment.to_string(), kind));
        let news = match kind {
            LogKind::Build => self.build.clone(),
            LogKind::Deploy => self.deploy.clone(),
        };
        let news = stream::iter(news).chain(stream::pending());
        let late = self.late.iter().find(|(late, log, _)| *late == deployment.as_str() && *log == kind);
        match late {
            Some(&(.., pause)) => stream::once(tokio::time::sleep(pause).map(|()| news)).flatten().boxed(),
            None => news.boxed(),
        }
    }
}

fn line(message: &str) -> LogNews {
    LogNews::Line(LogLine { timestamp: "t".to_owned(), severity: None, message: message.to_owned() })
}

fn place() -> Place {
    Place { project: "p".parse().unwrap(), environment: "e".parse().unwrap(), service: "s".parse().unwrap() }
}

fn deployed(id: &str) -> Entry {
    Entry::Done {
        action: Action::Deploy { place: place() },
        made: Made::Deployment { id: id.parse().unwrap() },
    }
}

/// What is told while some work goes on that writes these entries and ends a second later.
async fn told(source: &Fake, entries: Vec<Entry>) -> Vec<String> {
    let heard = Mutex::new(Vec::new());
    let listener = |logged: &Logged<'_>| {
        heard.lock().unwrap().push(format!("{:?} {}: {}", logged.kind, logged.deployment, logged.line));
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    let work = async move {
        for entry in entries {
            sender.send(entry).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        7
    };
    assert_eq!(DeploymentLogs::of(source, "ro-1").beside(receiver, &listener, work).await, 7);
    heard.into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_build_is_told_then_what_the_deployment_prints() {
    let source = Fake {
        build: vec![line("pulling"), line("pulled")],
        deploy: vec![line("listening\nready")],
        late: vec![("d1", LogKind::Deploy, Duration::from_millis(100))],
        ..Fake::default()
    };
    let heard = told(&source, vec![deployed("d1"), deployed("d1")]).await;
    assert_eq!(heard, ["Build d1: pulling", "Build d1: pulled", "Deploy d1: listening", "Deploy d1: ready"]);
    let asked = source.asked.into_inner().unwrap();
    assert_eq!(asked, [("d1".to_owned(), LogKind::Build), ("d1".to_owned(), LogKind::Deploy)]);

    // Once it runs, a build has nothing to say.
    let late = vec![("d1", LogKind::Build, Duration::from_millis(100))];
    let source = Fake { build: vec![line("pulled")], deploy: vec![line("ready")], late, ..Fake::default() };
    assert_eq!(told(&source, vec![deployed("d1")]).await, ["Deploy d1: ready"]);

    let failed = Fake { build: vec![line("no such image")], ..Fake::default() };
    assert_eq!(told(&failed, vec![deployed("d1")]).await, ["Build d1: no such image"]);
}

/// The first deployment of a rollout is a canary, or another service's; what failed is the newest.
#[tokio::test(start_paused = true)]
async fn the_last_words_that_are_waited_for_are_those_of_the_newest_deployment() {
    let source = Fake {
        deploy: vec![line("words")],
        // After the work has ended, which takes a second.
        late: vec![("d2", LogKind::Deploy, Duration::from_millis(1500))],
        ..Fake::default()
    };
    let failure = Failure {
        phase: Phase::Baking,
        step: None,
        reason: FailureReason::Interrupted,
        last_measurement: None,
    };
    let entries = vec![deployed("d1"), deployed("d2"), Entry::GoingBack { failure }, deployed("d3")];
    let heard = told(&source, entries).await;
    assert!(heard.contains(&"Deploy d2: words".to_owned()), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_log_is_noted_once_and_holds_nothing_up() {
    let trouble = || LogNews::Trouble("no route".to_owned());
    let source = Fake { build: vec![trouble()], deploy: vec![trouble(), trouble()], ..Fake::default() };
    let begun = Instant::now();
    let heard = told(&source, vec![deployed("d1"), deployed("d2")]).await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].ends_with("(the log cannot be read at the moment: no route)"), "{heard:?}");
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_cut_and_counted() {
    let source = Fake { deploy: (0..10_000).map(|_| line("x")).collect(), ..Fake::default() };
    let heard = told(&source, vec![deployed("d1")]).await;
    assert_eq!(heard.len(), 201, "a burst, and what became of the others");
    assert_eq!(heard[200], "Deploy d1: (9800 lines are left out: too many came at once)");
}

#[tokio::test(start_paused = true)]
async fn only_the_last_deployments_are_followed() {
    let source = Fake::default();
    let mut logs = DeploymentLogs::of(&source, "ro-1");
    for number in 0..FOLLOWED + 3 {
        logs.take(&deployed(&format!("d{number}")));
    }
    assert_eq!(logs.followed.len(), FOLLOWED);
    assert_eq!(logs.followed[0].deployment.as_str(), "d3");
}

#[test]
fn others_text_cannot_steer_a_terminal_or_a_runner() {
    assert_eq!(shown("\u{1b}[31mred\u{1b}[0m\tand\u{7} \u{9b}2Jdone\r"), "red and 2Jdone");
    assert_eq!(shown("##[add-mask]x"), "## [add-mask]x");
    let long = shown(&"é".repeat(LONGEST));
    assert!(long.len() < LONGEST + 8 && long.ends_with('…'), "{}", long.len());
}
