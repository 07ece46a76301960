//! A swap of one service against a model of a platform, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;
use spectra_rollout::{Adopt, Effect, FailureReason, HealthPolicy, Outcome, Phase, RolloutRequest};
use support::platform::{Fate, Platform, digest, image, request, roll};
use tokio_util::sync::CancellationToken;

#[tokio::test(start_paused = true)]
async fn healthy_candidate_completes_and_serves() {
    let platform = Platform::running(Some('a'), Fate::Serves);
    let report = roll(&platform, request(60), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
    assert_eq!(platform.serving(), Some(digest('b')));
    assert_eq!(report.snapshot.digest(), Some(&digest('a')));
    assert!(report.measurements.len() >= 12, "a bake of 60 s at 5 s: {}", report.measurements.len());
}

#[tokio::test(start_paused = true)]
async fn the_first_rollout_adopts_what_runs_without_a_mutation() {
    let platform = Platform::running(Some('b'), Fate::Serves);
    let report = roll(&platform, request(0), &[], 0).await;
    assert_eq!(report.outcome, Outcome::Complete { deployment: "d-stable".parse().unwrap() });
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn asked_to_deploy_anew_the_running_digest_is_not_adopted() {
    let platform = Platform::running(Some('b'), Fate::Serves);
    let report = roll(&platform, RolloutRequest { adopt: Adopt::Never, ..request(0) }, &[], 0).await;
    assert_eq!(report.outcome, Outcome::Complete { deployment: "d-2".parse().unwrap() });
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn adopted_candidate_that_is_unhealthy_is_refused_unchanged() {
    let platform = Platform::running(Some('b'), Fate::Serves);
    let report = roll(&platform, request(0), &['b'], 0).await;
    assert!(
        matches!(&report.outcome, Outcome::Refused { failure } if failure.phase == Phase::Probing),
        "{report:?}"
    );
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn platform_failure_only_resets_the_setting() {
    let platform = Platform::running(Some('a'), Fate::Fails);
    let report = roll(&platform, request(0), &[], 0).await;
    let Outcome::RolledBack { failure, deployment } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Deploying);
    assert_eq!(deployment.as_ref().unwrap().as_str(), "d-stable");
    assert_eq!(platform.setting(), Some(image('a').to_string()));
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn unhealthy_in_the_bake_deploys_the_snapshot_again() {
    let platform = Platform::running(Some('a'), Fate::Serves);
    let report = roll(&platform, request(60), &['b'], 4).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Baking);
    assert_eq!(failure.reason, FailureReason::Unhealthy { failures: 3 });
    assert_eq!(failure.last_measurement.as_ref().unwrap().answer, "HTTP 503");
    assert_eq!(platform.serving(), Some(digest('a')));
    assert_eq!(platform.setting(), Some(image('a').to_string()));
}

#[tokio::test(start_paused = true)]
async fn crash_after_success_in_the_bake_rolls_back() {
    let platform = Platform::running(Some('a'), Fate::CrashesAfter(8));
    let report = roll(&platform, RolloutRequest { health: None, ..request(300) }, &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Baking);
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn failed_rollback_is_its_own_ending() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.restore_fate = Fate::Fails);
    let report = roll(&platform, request(60), &['b'], 4).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{report:?}");
    assert_eq!(report.phase, Phase::RollbackFailed);
}

#[tokio::test(start_paused = true)]
async fn hanging_deployment_meets_the_progress_deadline() {
    let platform = Platform::running(Some('a'), Fate::Hangs);
    let report = roll(&platform, request(0), &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert!(matches!(failure.reason, FailureReason::ProgressDeadline { .. }));
}

#[tokio::test(start_paused = true)]
async fn own_code_for_every_platform_verdict() {
    for (fate, expected) in [
        (Fate::NeedsApproval, FailureReason::NeedsApproval),
        (Fate::Skipped, FailureReason::Skipped),
        (Fate::Removed, FailureReason::Removed),
        (Fate::WrongDigest, FailureReason::WrongDigest { running: Some(digest('f')) }),
        (Fate::ReplicasMissing, FailureReason::ReplicasNotRunning),
    ] {
        let platform = Platform::running(Some('a'), fate.clone());
        let report = roll(&platform, request(0), &[], 0).await;
        let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{fate:?}: {report:?}") };
        assert_eq!(failure.reason, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn sleeping_is_an_error_unless_probes_wake_it() {
    let platform = Platform::running(Some('a'), Fate::Sleeps);
    let report = roll(&platform, RolloutRequest { health: None, ..request(0) }, &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.reason, FailureReason::Sleeping);
    let platform = Platform::running(Some('a'), Fate::Sleeps);
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Complete { .. }));
}

#[tokio::test(start_paused = true)]
async fn superseded_by_somebody_else_leaves_theirs_alone() {
    let platform = Platform::running(Some('a'), Fate::Serves)
        .with(|inner| inner.superseded_by = Some("d-theirs".parse().unwrap()));
    let report = roll(&platform, request(0), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Superseded { .. }), "{report:?}");
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 1, "the deploy alone, no restore");
}

#[tokio::test(start_paused = true)]
async fn foreign_deployment_is_waited_for_then_refused() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.foreign_in_flight = 5);
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Complete { .. }));
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.foreign_in_flight = usize::MAX);
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Refused { .. }));
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn refused_deploy_call_changes_nothing_and_an_ambiguous_one_is_undone() {
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.deploy_error = Some(Effect::None));
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::Refused { .. }));
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.deploy_error = Some(Effect::Possible));
    assert!(matches!(roll(&platform, request(0), &[], 0).await.outcome, Outcome::RolledBack { .. }));
    assert_eq!(platform.setting(), Some(image('a').to_string()));
}

#[tokio::test(start_paused = true)]
async fn failed_first_deployment_leaves_nothing_running() {
    let platform = Platform::running(None, Fate::Serves);
    let report = roll(&platform, request(60), &['b'], 4).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { deployment: None, .. }), "{report:?}");
    assert_eq!(platform.serving(), None);
    assert_eq!(platform.setting(), None);
}

#[tokio::test(start_paused = true)]
async fn the_running_image_in_other_words_is_adopted() {
    let platform = Platform::running(Some('b'), Fate::Serves).with(|inner| {
        inner.setting = Some(image('b').to_string().replace("app@", "app:1.4@"));
    });
    let report = roll(&platform, request(0), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
    assert_eq!(platform.mutations.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn probes_go_on_in_the_bake_while_the_platform_cannot_be_read() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.outage = Some((9, 60)));
    let report = roll(&platform, request(60), &['b'], 4).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.phase, Phase::Baking);
    assert_eq!(failure.reason, FailureReason::Unhealthy { failures: 3 });
}

#[tokio::test(start_paused = true)]
async fn the_way_back_is_given_up_for_an_outage_only_when_its_time_is_over() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.outage = Some((9, 9999)));
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, request(60), &['b'], 4).await;
    let Outcome::RollbackFailed { rollback, .. } = &report.outcome else { panic!("{report:?}") };
    assert!(
        matches!(rollback, FailureReason::Target { message, .. } if message.contains("503")),
        "{rollback:?}"
    );
    assert!(begun.elapsed() >= Duration::from_mins(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_said_to_serve_is_looked_at() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.lazy_restores = 2);
    let report = roll(&platform, request(60), &['b'], 4).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{report:?}");
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn replicas_that_go_down_in_a_bake_without_probes_fail_it() {
    let platform = Platform::running(Some('a'), Fate::LosesReplicasAfter(5));
    let report = roll(&platform, RolloutRequest { health: None, ..request(300) }, &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!((failure.phase, &failure.reason), (Phase::Baking, &FailureReason::ReplicasNotRunning));
    assert_eq!(platform.serving(), Some(digest('a')));
}

#[tokio::test(start_paused = true)]
async fn one_missing_replica_at_the_end_of_a_long_bake_is_waited_for() {
    let platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.lame_after = Some((14, 3)));
    // Longer than the progress deadline, so that the old start of that clock would fail it at once.
    let report = roll(&platform, RolloutRequest { health: None, ..request(180) }, &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_was_lame_before_is_restored_as_it_was() {
    let platform = Platform::running(Some('a'), Fate::Fails)
        .with(|inner| inner.deployments[0].fate = Fate::ReplicasMissing);
    let report = roll(&platform, request(0), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_do_not_outlast_the_timeout() {
    let platform = Platform::running(Some('a'), Fate::Serves);
    let health = HealthPolicy { interval: Duration::from_hours(5), ..HealthPolicy::default() };
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, RolloutRequest { health: Some(health), ..request(0) }, &[], 0).await;
    assert!(
        matches!(&report.outcome, Outcome::RollbackFailed { failure, .. }
        if matches!(failure.reason, FailureReason::ProgressDeadline { .. })),
        "{report:?}"
    );
    assert!(begun.elapsed() < Duration::from_mins(16), "timeout and abort timeout: {:?}", begun.elapsed());
}

/// Two hundred rollouts of one process shared their looks, each look took as long as the pause between two, and no bake ended.
#[tokio::test(start_paused = true)]
async fn a_bake_ends_also_where_a_look_takes_longer_than_the_pause_between_two() {
    let platform =
        Platform::running(Some('a'), Fate::Serves).with(|inner| inner.slowness = Duration::from_secs(3));
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, request(60), &[], 0).await;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{report:?}");
    assert!(begun.elapsed() < Duration::from_mins(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_read_that_hangs() {
    let mut platform = Platform::running(Some('a'), Fate::Serves).with(|inner| inner.slow_read = Some(6));
    platform.cancel_on_read = Some((6, CancellationToken::new()));
    let begun = tokio::time::Instant::now();
    let report = roll(&platform, request(60), &[], 0).await;
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:?}") };
    assert_eq!(failure.reason, FailureReason::Cancelled);
    assert!(begun.elapsed() < Duration::from_mins(5), "{:?}", begun.elapsed());
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Serves),
        1 => (3_usize..20).prop_map(Fate::CrashesAfter),
        1 => (3_usize..20).prop_map(Fate::LosesReplicasAfter),
        1 => Just(Fate::Fails),
        1 => Just(Fate::Hangs),
        1 => Just(Fate::NeedsApproval),
        1 => Just(Fate::Skipped),
        1 => Just(Fate::Removed),
        1 => Just(Fate::WrongDigest),
        1 => Just(Fate::ReplicasMissing),
        1 => Just(Fate::Sleeps),
    ]
}

proptest! {
    /// Whatever the platform, the probes and the user do: it ends, and the ending says what serves.
    #[test]
    fn every_ending_tells_the_truth(
        stable in prop_oneof![Just(None), Just(Some('a')), Just(Some('b'))],
        fate in fates(),
        restore in prop_oneof![3 => Just(Fate::Serves), 1 => Just(Fate::Fails), 1 => Just(Fate::Hangs)],
        unreadable in prop_oneof![3 => Just(0_usize), 1 => 2_usize..6],
        candidate_is_bad in any::<bool>(),
        healthy_first in 0_usize..12,
        bake in prop_oneof![Just(0_u64), Just(60)],
        cancel_at in prop_oneof![Just(None), (1_usize..40).prop_map(Some)],
        lazy_restores in 0_usize..3,
    ) {
        let mut platform = Platform::running(stable, fate).with(|inner| {
            inner.restore_fate = restore;
            inner.unreadable = unreadable;
            inner.lazy_restores = lazy_restores;
        });
        platform.cancel_on_read = cancel_at.map(|at| (at, CancellationToken::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let unhealthy: &[char] = if candidate_is_bad { &['b'] } else { &[] };
        let report = runtime.block_on(roll(&platform, request(bake), unhealthy, healthy_first));
        match &report.outcome {
            Outcome::Complete { .. } => {
                prop_assert_eq!(platform.serving(), Some(digest('b')));
                prop_assert_eq!(platform.setting(), Some(image('b').to_string()));
            }
            Outcome::RolledBack { .. } => {
                prop_assert_eq!(platform.serving(), stable.map(digest));
                prop_assert_eq!(platform.setting(), stable.map(|digit| image(digit).to_string()));
            }
            Outcome::Refused { .. } => prop_assert_eq!(platform.mutations.load(Ordering::SeqCst), 0),
            Outcome::RollbackFailed { .. } | Outcome::Superseded { .. } | Outcome::Fenced { .. } => {}
        }
    }
}
