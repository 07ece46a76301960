//! What users of other tools reported, one test each: clocks, measurements, silence, approvals.

use std::time::Duration;

use spectra_rollout::spec::{ApprovalRule, Metric, Step};
use spectra_rollout::{
    Entry, FailureReason, HealthPolicy, Outcome, Phase, RolloutRequest, Sample, Sampled, Wish,
};
use spectra_types::ExitCode;
use tokio::time::Instant;

use crate::support::requests::{analysis, approval, canary, metric, pause, request, roll, seconds};
use crate::support::world::{Fate, World, good, no_data};
use crate::support::{Blow, Diary};
use crate::{is_complete, is_old, is_rolled_back, reason};

fn measured(script: Vec<(u64, Sampled)>) -> World {
    World::running(&["web"]).with(|inner| {
        inner.metrics.insert("errors".to_owned(), script);
    })
}

fn with_fate(fate: Fate) -> World {
    World::running(&["web"]).with(|inner| {
        inner.fates.insert("web".to_owned(), fate);
    })
}

fn rule(before_start: bool) -> ApprovalRule {
    ApprovalRule {
        required: 1,
        before_start,
        approvers: Vec::new(),
        github_environment: Some("p".to_owned()),
    }
}

fn baked(bake: u64, metric: Metric) -> RolloutRequest {
    RolloutRequest { bake: seconds(bake), metrics: vec![metric], ..request(vec![Step::Swap]) }
}

#[tokio::test(start_paused = true)]
async fn argo_1376_deadline_aborts_by_default() {
    let begun = Instant::now();
    let report = roll(&with_fate(Fate::Hangs), &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    is_rolled_back(&report);
    assert!(matches!(reason(&report), FailureReason::ProgressDeadline { .. }), "{:?}", report.outcome);
    assert!(begun.elapsed() < seconds(75), "a minute and a poll: {:?}", begun.elapsed());
    let defaults = RolloutRequest::new(crate::support::place("web"), crate::support::world::image('b'));
    let world = with_fate(Fate::Hangs);
    is_rolled_back(&roll(&world, &Diary::default(), defaults).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn argo_3765_oscillating_readiness_is_no_progress() {
    let begun = Instant::now();
    let report =
        roll(&with_fate(Fate::Oscillates), &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    is_rolled_back(&report);
    assert!(matches!(reason(&report), FailureReason::ProgressDeadline { .. }), "{:?}", report.outcome);
    assert!(begun.elapsed() < seconds(75), "{:?}", begun.elapsed());
}

/// The same by its probes: healthy once, then not, and so on.
#[tokio::test(start_paused = true)]
async fn argo_3765_oscillating_probes_are_no_progress() {
    struct Flapping(std::sync::atomic::AtomicUsize);
    impl spectra_rollout::Probe for Flapping {
        fn measure<'a>(
            &'a self,
            _: &'a spectra_rollout::Place,
        ) -> futures::future::BoxFuture<'a, spectra_rollout::Measurement> {
            let odd = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) % 2 == 1;
            let verdict =
                if odd { spectra_rollout::Verdict::Healthy } else { spectra_rollout::Verdict::Unhealthy };
            let measurement =
                spectra_rollout::Measurement { subject: "GET /".to_owned(), answer: String::new(), verdict };
            Box::pin(async { measurement })
        }
    }
    let world = World::running(&["web"]);
    let (diary, clock) = (Diary::default(), spectra_rollout::TokioClock::start());
    let probe = Flapping(std::sync::atomic::AtomicUsize::new(0));
    let ports =
        spectra_rollout::Ports { probe: &probe, ..crate::support::requests::ports(&world, &diary, &clock) };
    let begun = Instant::now();
    let cancel = tokio_util::sync::CancellationToken::new();
    let report = spectra_rollout::run("ro-1", request(vec![Step::Swap]), ports, &cancel).await;
    assert!(matches!(reason(&report), FailureReason::ProgressDeadline { .. }), "{:?}", report.outcome);
    assert!(begun.elapsed() < seconds(160), "{:?}", begun.elapsed());
}

/// The deadline and the analysis get in each other's way.
#[tokio::test(start_paused = true)]
async fn argo_1624_declared_waits_do_not_count_against_the_progress_deadline() {
    let steps = vec![canary(100), Step::Swap, pause(100), analysis(100, vec![metric("errors")])];
    let request = RolloutRequest { bake: seconds(100), progress_deadline: seconds(30), ..request(steps) };
    is_complete(&roll(&World::running(&["web"]), &Diary::default(), request).await.unwrap());
}

/// Aborting a paused rollout loops for ever.
#[tokio::test(start_paused = true)]
async fn argo_3756_an_abort_in_a_pause_ends() {
    let request =
        RolloutRequest { timeout: Duration::from_hours(3), ..request(vec![Step::Swap, pause(3600)]) };
    let whole = Diary::default();
    roll(&World::running(&["web"]), &whole, request.clone()).await.unwrap();
    let paused = |entry: &Entry| matches!(entry, Entry::Stage { phase: Phase::Pausing, .. });
    let at = whole.entries().iter().position(paused).unwrap() + 1;
    let world = World::running(&["web"]);
    let wish = Wish::Abort { by: "ada".to_owned(), reason: String::new() };
    let begun = Instant::now();
    let report = roll(&world, &Diary::with(at, Blow::Wish(wish)), request).await.unwrap();
    is_rolled_back(&report);
    assert!(begun.elapsed() < seconds(60), "{:?}", begun.elapsed());
    is_old(&world, &["web"]);
}

/// The phase flaps while it is paused.
#[tokio::test(start_paused = true)]
async fn argo_3534_the_phase_stays_while_it_waits() {
    let diary = Diary::default();
    let request = RolloutRequest { metrics: vec![metric("errors")], ..request(vec![Step::Swap, pause(120)]) };
    roll(&World::running(&["web"]), &diary, request).await.unwrap();
    let pausing = |entry: &&Entry| matches!(entry, Entry::Stage { phase: Phase::Pausing, .. });
    assert_eq!(diary.entries().iter().filter(pausing).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn argo_1466_empty_vector_is_no_failure() {
    let world = measured(vec![(0, good(0.0)), (25, no_data()), (45, good(0.0))]);
    is_complete(&roll(&world, &Diary::default(), baked(60, metric("errors"))).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn argo_180_no_number_is_no_failure() {
    let nan = Sampled {
        query: "0/0".to_owned(),
        answer: Ok(Sample { value: Some(f64::NAN), samples: None, stable: None }),
    };
    let world = measured(vec![(0, good(0.0)), (25, nan), (35, good(0.0))]);
    is_complete(&roll(&world, &Diary::default(), baked(60, metric("errors"))).await.unwrap());
}

/// Wait until data comes instead of failing.
#[tokio::test(start_paused = true)]
async fn argo_1905_data_that_comes_late_is_waited_for() {
    let late = Metric { count: Some(12), ..metric("errors") };
    let world = measured(vec![(0, no_data()), (70, good(0.0))]);
    is_complete(&roll(&world, &Diary::default(), baked(0, late)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn flagger_1035_zero_traffic_neither_aborts_nor_promotes() {
    let quiet = || {
        let answer = Ok(Sample { value: Some(1.0), samples: Some(0), stable: None });
        Sampled { query: "rate(errors)".to_owned(), answer }
    };
    let sampling = Metric { min_samples: 20, ..metric("errors") };
    let request = RolloutRequest {
        on_inconclusive: spectra_rollout::spec::OnInconclusive::Hold(seconds(120)),
        approval: Some(rule(false)),
        ..baked(60, sampling)
    };
    // Nobody decides: it is not green.
    let report = roll(&measured(vec![(0, quiet())]), &Diary::default(), request.clone()).await.unwrap();
    assert!(matches!(reason(&report), FailureReason::Inconclusive { .. }), "{:?}", report.outcome);
    // It was not aborted by what the silence looks like, and somebody may say what it means.
    let world = measured(vec![(0, quiet())]).with(|inner| inner.approved_after = Some(120));
    is_complete(&roll(&world, &Diary::default(), request).await.unwrap());
}

/// A quiet service that is deployed to by night.
#[tokio::test(start_paused = true)]
async fn suna_3410_one_bad_request_of_two_is_not_half_of_the_traffic() {
    let few = Sampled {
        query: "rate(errors)".to_owned(),
        answer: Ok(Sample { value: Some(0.5), samples: Some(2), stable: None }),
    };
    let sampling = Metric { min_samples: 20, max: Some(0.01), ..metric("errors") };
    let world = measured(vec![(0, good(0.0)), (25, few), (35, good(0.0))]);
    is_complete(&roll(&world, &Diary::default(), baked(60, sampling)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn flagger_1801_failing_checks_at_an_approval_roll_back() {
    let request = RolloutRequest {
        approval: Some(rule(false)),
        metrics: vec![metric("errors")],
        timeout: Duration::from_hours(2),
        ..request(vec![Step::Swap, approval(3600)])
    };
    let world = measured(vec![(0, good(0.0)), (60, good(1.0))]);
    let begun = Instant::now();
    let report = roll(&world, &Diary::default(), request.clone()).await.unwrap();
    is_rolled_back(&report);
    assert!(matches!(reason(&report), FailureReason::Analysis { .. }));
    assert!(begun.elapsed() < seconds(90), "{:?}", begun.elapsed());
    is_old(&world, &["web"]);
    // The probe's word counts there as well.
    let world = World::running(&["web"]).with(|inner| {
        inner.unhealthy.insert(crate::support::world::digest('b'), 60);
    });
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    assert_eq!(reason(&report), &FailureReason::Unhealthy { failures: 3 });
}

/// Show the query that was asked and the number that came of it.
#[tokio::test(start_paused = true)]
async fn argo_1591_flagger_1810_the_record_holds_query_and_number() {
    let diary = Diary::default();
    let world = measured(vec![(0, good(0.75))]);
    let report = roll(&world, &diary, baked(60, metric("errors"))).await.unwrap();
    let FailureReason::Analysis { message, .. } = reason(&report) else { panic!("{:?}", report.outcome) };
    assert_eq!(message, "0.75, more than 0.5 (`rate(errors)`)");
    let lines: Vec<_> = diary.entries().iter().map(Entry::line).collect();
    assert!(lines.contains(&"bad: metric `errors` is 0.75 (rate(errors))".to_owned()), "{lines:#?}");
}

/// A middle way while a metric is not trusted yet.
#[tokio::test(start_paused = true)]
async fn argo_2866_a_metric_can_be_learned_from_before_it_decides() {
    let world = measured(vec![(0, good(1.0))]);
    let shadow = Metric { shadow: true, ..metric("errors") };
    is_complete(&roll(&world, &Diary::default(), baked(60, shadow)).await.unwrap());
}

/// An approval that never comes holds the run for ever.
#[tokio::test(start_paused = true)]
async fn kubernetes_style_indefinite_pauses_end_at_their_deadline() {
    let request = RolloutRequest { approval: Some(rule(false)), ..request(vec![Step::Swap, approval(90)]) };
    let world = World::running(&["web"]);
    let begun = Instant::now();
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_rolled_back(&report);
    assert!(begun.elapsed() < seconds(125), "{:?}", begun.elapsed());
    is_old(&world, &["web"]);
}

/// Freeze windows that begin while it runs, and those that were there before.
#[tokio::test(start_paused = true)]
async fn octopus_freezes_hold_back_what_changes_something_and_never_the_way_back() {
    let world = World::running(&["web"]).with(|inner| inner.frozen = Some("the sale".to_owned()));
    let report = roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    assert!(matches!(&report.outcome, Outcome::Refused { .. }));
    assert_eq!(report.outcome.exit_code(), ExitCode::GateRefused);

    let overridden =
        RolloutRequest { freeze_override: Some("an outage".to_owned()), ..request(vec![Step::Swap]) };
    let diary = Diary::default();
    is_complete(&roll(&world, &diary, overridden).await.unwrap());
    assert!(diary.entries().iter().any(|entry| matches!(entry, Entry::FreezeOverridden { .. })));

    let world = World::running(&["web"]).with(|inner| {
        inner.frozen = None;
        inner.fates.insert("web-canary".to_owned(), Fate::Serves);
    });
    let begins_later = async {
        tokio::time::sleep(seconds(20)).await;
        world.change(|inner| inner.frozen = Some("the sale".to_owned()));
    };
    let diary = Diary::default();
    let (report, ()) =
        tokio::join!(roll(&world, &diary, request(vec![canary(30), Step::Swap])), begins_later);
    let report = report.unwrap();
    is_rolled_back(&report);
    assert!(matches!(reason(&report), FailureReason::Frozen { .. }));
    is_old(&world, &["web"]);
}

/// Approvals that are missing before anything began.
#[tokio::test(start_paused = true)]
async fn a_missing_approval_is_refused_before_anything_is_changed() {
    let request = RolloutRequest { approval: Some(rule(true)), ..request(vec![Step::Swap]) };
    let world = World::running(&["web"]);
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    assert!(matches!(&report.outcome, Outcome::Refused { .. }));
    assert_eq!(report.outcome.exit_code(), ExitCode::GateRefused);
    assert_eq!(world.log(), Vec::<String>::new());
}

/// The claim of the reference: bounded by one poll, not by one interval.
#[tokio::test(start_paused = true)]
async fn from_the_failed_check_to_the_way_back_passes_no_poll() {
    let health = HealthPolicy { interval: seconds(30), failure_threshold: 1, ..HealthPolicy::default() };
    let request = RolloutRequest { health: Some(health), bake: seconds(300), ..request(vec![Step::Swap]) };
    let world = World::running(&["web"]).with(|inner| {
        inner.unhealthy.insert(crate::support::world::digest('b'), 100);
    });
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_rolled_back(&report);
    let at = |what: &str| report.timeline.iter().find(|(_, line)| line.starts_with(what)).unwrap().0;
    assert_eq!(at("unhealthy: GET"), at("going to bring back"));
}
