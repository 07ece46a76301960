//! What is judged in which wait, and who may end one.

use spectra_rollout::spec::{ApprovalRule, Metric, MetricKind, OnInconclusive, OnNoData, Step};
use spectra_rollout::{Entry, FailureReason, Outcome, Phase, Report, RolloutRequest, Sampled, Wish};
use tokio::time::Instant;

use crate::support::requests::{analysis, approval, canary, metric, pause, request, roll, seconds, wave};
use crate::support::world::{World, good, no_data};
use crate::support::{Blow, Diary};
use crate::{is_complete, is_new, is_old, is_rolled_back, reason};

const SERVICES: [&str; 2] = ["web", "worker"];

fn bad_from(second: u64) -> Vec<(u64, Sampled)> {
    vec![(0, good(0.0)), (second, good(0.9))]
}

fn rule() -> ApprovalRule {
    ApprovalRule {
        required: 1,
        before_start: false,
        approvers: Vec::new(),
        github_environment: Some("p".to_owned()),
    }
}

/// A world whose metric `errors` reads so.
fn measured(script: Vec<(u64, Sampled)>) -> World {
    World::running(&SERVICES).with(|inner| {
        inner.metrics.insert("errors".to_owned(), script);
    })
}

fn position(diary: &Diary, which: impl Fn(&Entry) -> bool) -> usize {
    let entries = diary.entries();
    entries.iter().position(which).unwrap_or_else(|| panic!("{entries:#?}")) + 1
}

fn is_phase(phase: Phase) -> impl Fn(&Entry) -> bool {
    move |entry| matches!(entry, Entry::Stage { phase: at, .. } if *at == phase)
}

/// When the bad measurement and the way back came.
fn times(report: &Report) -> (std::time::Duration, std::time::Duration) {
    let at = |what: &str| {
        let line = report.timeline.iter().find(|(_, line)| line.starts_with(what));
        line.unwrap_or_else(|| panic!("no `{what}` in {:#?}", report.timeline)).0
    };
    (at("bad: metric `errors`"), at("going to bring back what"))
}

#[tokio::test(start_paused = true)]
async fn a_bad_measurement_goes_back_at_once_from_every_wait() {
    let waits: Vec<(Vec<Step>, Phase)> = vec![
        (vec![Step::Swap, pause(60)], Phase::Pausing),
        (vec![Step::Swap, approval(60)], Phase::Pausing),
        (vec![Step::Swap], Phase::Baking),
        (vec![wave(&["web", "worker"], 60)], Phase::Pausing),
        (vec![Step::Swap, analysis(60, vec![metric("other")])], Phase::Analysing),
    ];
    for (steps, phase) in waits {
        for probed in [true, false] {
            let world = measured(bad_from(35));
            let mut request = RolloutRequest {
                bake: seconds(60),
                approval: Some(rule()),
                metrics: vec![metric("errors")],
                ..request(steps.clone())
            };
            if !probed {
                request.health = None;
            }
            let report = roll(&world, &Diary::default(), request).await.unwrap();
            is_rolled_back(&report);
            let failure = report.outcome.failure().unwrap();
            assert_eq!(failure.phase, phase, "{steps:?}");
            assert!(
                matches!(&failure.reason, FailureReason::Analysis { metric, message }
                    if metric == "errors" && message == "0.9, more than 0.5 (`rate(errors)`)"),
                "{failure:?}"
            );
            let (measured, back) = times(&report);
            assert_eq!(measured, back, "no second between the measurement and the way back");
            is_old(&world, &SERVICES);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_canarys_own_metric_decides_before_traffic() {
    let mut step = canary(60);
    if let Step::Canary(canary) = &mut step {
        canary.metrics = vec![metric("errors")];
    }
    let world = measured(bad_from(40));
    let report = roll(&world, &Diary::default(), request(vec![step, Step::Swap])).await.unwrap();
    is_rolled_back(&report);
    assert!(!world.log().contains(&"deploy web".to_owned()));
    is_old(&world, &SERVICES);
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_go_on_ends_a_pause_and_a_bake() {
    for (steps, phase) in [(vec![Step::Swap, pause(300)], Phase::Pausing), (vec![Step::Swap], Phase::Baking)]
    {
        let request =
            RolloutRequest { bake: seconds(100), metrics: vec![metric("errors")], ..request(steps.clone()) };
        let whole = Diary::default();
        roll(&World::running(&SERVICES), &whole, request.clone()).await.unwrap();
        let at = position(&whole, is_phase(phase));
        let world = World::running(&SERVICES);
        let diary = Diary::with(at, Blow::Wish(Wish::Promote { by: "ada".to_owned() }));
        let begun = Instant::now();
        let report = roll(&world, &diary, request).await.unwrap();
        is_complete(&report);
        is_new(&world, &["web"]);
        let limit = if phase == Phase::Baking { 60 } else { 160 };
        assert!(begun.elapsed() < seconds(limit), "{:?}", begun.elapsed());
        assert!(diary.entries().iter().any(|entry| matches!(entry, Entry::Heard { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_go_on_does_not_outweigh_a_candidate_that_is_sick() {
    let request = RolloutRequest { bake: seconds(100), ..request(vec![Step::Swap]) };
    let whole = Diary::default();
    let sick = || {
        World::running(&SERVICES).with(|inner| {
            inner.unhealthy.insert(crate::support::world::digest('b'), 20);
        })
    };
    roll(&sick(), &whole, request.clone()).await.unwrap();
    // The first of three unhealthy probes.
    let at = position(
        &whole,
        |entry| matches!(entry, Entry::Measured { measurement, .. } if measurement.answer == "HTTP 503"),
    );
    let world = sick();
    let diary = Diary::with(at, Blow::Wish(Wish::Promote { by: "ada".to_owned() }));
    let report = roll(&world, &diary, request).await.unwrap();
    assert!(diary.entries().iter().any(|entry| matches!(entry, Entry::Heard { .. })));
    is_rolled_back(&report);
    is_old(&world, &SERVICES);
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_go_on_is_no_approval() {
    let request = RolloutRequest { approval: Some(rule()), ..request(vec![approval(60), Step::Swap]) };
    let whole = Diary::default();
    roll(&World::running(&SERVICES), &whole, request.clone()).await.unwrap();
    let at = position(&whole, is_phase(Phase::Pausing));
    let world = World::running(&SERVICES);
    let diary = Diary::with(at, Blow::Wish(Wish::Promote { by: "ada".to_owned() }));
    let report = roll(&world, &diary, request).await.unwrap();
    assert!(matches!(reason(&report), FailureReason::Approval { .. }), "{:?}", report.outcome);
    assert_eq!(world.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_abort_from_elsewhere_names_who_and_why_and_outranks_going_on() {
    let request = request(vec![Step::Swap, pause(60)]);
    let whole = Diary::default();
    roll(&World::running(&SERVICES), &whole, request.clone()).await.unwrap();
    let at = position(&whole, is_phase(Phase::Pausing));
    let world = World::running(&SERVICES);
    let abort = Wish::Abort { by: "ada".to_owned(), reason: "pages".to_owned() };
    let diary = Diary::with(at, Blow::Wish(Wish::Promote { by: "bob".to_owned() }));
    diary.at.lock().unwrap().push((at, Blow::Wish(abort)));
    let report = roll(&world, &diary, request).await.unwrap();
    is_rolled_back(&report);
    assert_eq!(reason(&report), &FailureReason::Aborted { by: "ada".to_owned(), reason: "pages".to_owned() });
    is_old(&world, &SERVICES);
}

fn inconclusive(on_inconclusive: OnInconclusive) -> RolloutRequest {
    RolloutRequest {
        on_inconclusive,
        approval: Some(rule()),
        bake: seconds(30),
        metrics: vec![metric("errors")],
        ..request(vec![Step::Swap])
    }
}

#[tokio::test(start_paused = true)]
async fn measurements_that_decide_nothing_go_back_unless_told_otherwise() {
    let world = measured(vec![(0, no_data())]);
    let report = roll(&world, &Diary::default(), inconclusive(OnInconclusive::Abort)).await.unwrap();
    is_rolled_back(&report);
    assert!(matches!(reason(&report), FailureReason::Inconclusive { .. }));
    is_old(&world, &SERVICES);

    let world = measured(vec![(0, no_data())]);
    let report = roll(&world, &Diary::default(), inconclusive(OnInconclusive::Proceed)).await.unwrap();
    is_complete(&report);
    is_new(&world, &["web"]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_waits_for_an_approval_and_not_for_ever() {
    let hold = inconclusive(OnInconclusive::Hold(seconds(120)));
    let world = measured(vec![(0, no_data())]).with(|inner| inner.approved_after = Some(90));
    let begun = Instant::now();
    let report = roll(&world, &Diary::default(), hold.clone()).await.unwrap();
    is_complete(&report);
    assert!(begun.elapsed() >= seconds(90));

    let world = measured(vec![(0, no_data())]);
    let report = roll(&world, &Diary::default(), hold).await.unwrap();
    is_rolled_back(&report);
    assert!(
        matches!(reason(&report), FailureReason::Inconclusive { .. }),
        "what was held, not that nobody came"
    );
    is_old(&world, &SERVICES);
}

#[tokio::test(start_paused = true)]
async fn what_turns_bad_in_a_hold_goes_back_without_asking() {
    let hold = inconclusive(OnInconclusive::Hold(seconds(120)));
    let world = measured(vec![(0, no_data()), (80, good(0.9))]);
    let report = roll(&world, &Diary::default(), hold).await.unwrap();
    is_rolled_back(&report);
    assert!(matches!(reason(&report), FailureReason::Analysis { .. }), "{:?}", report.outcome);
    let (measured, back) = times(&report);
    assert_eq!(measured, back);
}

#[tokio::test(start_paused = true)]
async fn a_hold_at_an_earlier_step_does_not_end_what_is_measured_after_it() {
    let own = Metric { interval: seconds(5), ..metric("own") };
    let request = RolloutRequest { bake: seconds(120), ..inconclusive(OnInconclusive::Hold(seconds(60))) };
    let request = RolloutRequest { steps: vec![Step::Swap, analysis(10, vec![own])], ..request };
    let world = measured(bad_from(120)).with(|inner| {
        inner.metrics.insert("own".to_owned(), vec![(0, no_data())]);
        inner.approved_after = Some(40);
    });
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_rolled_back(&report);
    assert!(
        matches!(reason(&report), FailureReason::Analysis { metric, .. } if metric == "errors"),
        "{:?}",
        report.outcome
    );
}

#[tokio::test(start_paused = true)]
async fn two_metrics_of_the_probe_see_the_same_probes() {
    let share = |name: &str| Metric {
        source: MetricKind::Probe,
        min: Some(0.9),
        max: None,
        on_no_data: OnNoData::Fail,
        ..metric(name)
    };
    let request = RolloutRequest {
        metrics: vec![share("all")],
        ..request(vec![Step::Swap, analysis(30, vec![share("own")])])
    };
    let world = World::running(&SERVICES);
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_complete(&report);
}

#[tokio::test(start_paused = true)]
async fn a_shadow_is_recorded_and_decides_nothing() {
    let shadow = Metric { shadow: true, ..metric("errors") };
    let request = RolloutRequest { metrics: vec![shadow], ..request(vec![Step::Swap]) };
    let world = measured(bad_from(0));
    let diary = Diary::default();
    let report = roll(&world, &diary, request).await.unwrap();
    is_complete(&report);
    let bad = |entry: &Entry| matches!(entry, Entry::Sampled { verdict, .. } if verdict == "bad");
    assert!(diary.entries().iter().any(bad));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_asked_fails_after_its_limit() {
    let sampled = Sampled { query: "rate(errors)".to_owned(), answer: Err("HTTP 502".to_owned()) };
    let request = RolloutRequest {
        bake: seconds(120),
        metrics: vec![Metric { consecutive_error_limit: 2, ..metric("errors") }],
        ..request(vec![Step::Swap])
    };
    let world = measured(vec![(0, sampled)]);
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_rolled_back(&report);
    assert!(matches!(&report.outcome, Outcome::RolledBack { failure, .. }
        if matches!(&failure.reason, FailureReason::Analysis { message, .. } if message.contains("3 errors in a row"))));
}
