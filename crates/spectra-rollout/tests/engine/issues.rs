//! What users of other tools reported, one test each: endings, deployments, schema, leases. The waits are in
//! `issues_waiting.rs`.

use spectra_rollout::spec::Step;
use spectra_rollout::{Effect, Entry, FailureReason, Outcome, RolloutRequest};
use spectra_types::ExitCode;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::requests::{
    carried, contract, expand, hook, pause, request, roll, seconds, taken_up, wave,
};
use crate::support::world::{Fate, Fault, World, digest, image};
use crate::support::{Blow, Diary};
use crate::{is_complete, is_new, is_old, is_rolled_back, reason, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

fn with_fate(service: &str, fate: Fate) -> World {
    World::running(&SERVICES).with(|inner| {
        inner.fates.insert(service.to_owned(), fate);
    })
}

/// A green apply after the platform took its own way back.
#[tokio::test(start_paused = true)]
async fn aws_20858_a_rollback_by_the_platform_is_no_success() {
    let report =
        roll(&with_fate("web", Fate::Fails), &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    is_rolled_back(&report);
    assert_eq!(report.observed.unwrap().running_digest(), Some(&digest('a')));
    assert_ne!(report.outcome.exit_code(), ExitCode::Done);
}

/// State that names the new version after a release that went back.
#[tokio::test(start_paused = true)]
async fn helm_472_the_report_of_a_failed_release_shows_what_runs() {
    for fate in [Fate::Fails, Fate::Crashes(5), Fate::WrongDigest, Fate::Hangs] {
        let world = with_fate("web", fate);
        let report = roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
        let observed = report.observed.expect("the platform can be read");
        assert_eq!(observed.running_digest().cloned(), world.seen("web").serving, "{fate:?}");
        assert_eq!(observed.setting, Some(image('a').to_string()), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn deploy_rs_214_rolled_back_has_its_own_exit_code() {
    let rolled_back =
        roll(&with_fate("web", Fate::Fails), &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    let failed = with_fate("web", Fate::Crashes(5)).with(|inner| inner.restore_fate = Some(Fate::Fails));
    let failed = roll(&failed, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    let done = roll(&World::running(&SERVICES), &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    assert_eq!(done.outcome.exit_code(), ExitCode::Done);
    assert_eq!(rolled_back.outcome.exit_code(), ExitCode::RolledBack);
    assert_eq!(failed.outcome.exit_code(), ExitCode::RollbackFailed);
}

/// `up --ci` leaves when the build ends.
#[tokio::test(start_paused = true)]
async fn railway_cli_468_it_does_not_end_before_the_new_version_serves_and_was_watched() {
    let world = World::running(&SERVICES);
    let begun = Instant::now();
    let report = roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    is_complete(&report);
    is_new(&world, &["web"]);
    assert!(begun.elapsed() >= seconds(27), "rise and bake: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn boardsesh_5040_cancelled_deployment_ends_the_wait() {
    for (fate, expected) in [
        (Fate::Removed, FailureReason::Removed),
        (Fate::Skipped, FailureReason::Skipped),
        (Fate::NeedsApproval, FailureReason::NeedsApproval),
    ] {
        let begun = Instant::now();
        let report =
            roll(&with_fate("web", fate), &Diary::default(), request(vec![Step::Swap])).await.unwrap();
        assert_eq!(reason(&report), &expected);
        assert!(begun.elapsed() < seconds(15), "{:?}", begun.elapsed());
    }
}

/// A refused rollback was taken for a done one.
#[tokio::test(start_paused = true)]
async fn boardsesh_5040_a_refused_rollback_is_not_taken_for_done() {
    let world = with_fate("web", Fate::Crashes(5)).with(|inner| {
        inner.faults = (1..200).map(|at| ("restore web".to_owned(), at, Fault::Refused)).collect();
    });
    let report = roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    let Outcome::RollbackFailed { rollback, .. } = &report.outcome else { panic!("{:?}", report.outcome) };
    assert!(
        matches!(rollback, FailureReason::Target { message, effect: Effect::None } if message.contains("refused")),
        "{rollback:?}"
    );
}

/// An aborted rollout keeps naming the bad version.
#[tokio::test(start_paused = true)]
async fn argo_3712_the_setting_is_back_as_well_as_the_traffic() {
    let world = with_fate("web", Fate::Crashes(5));
    is_rolled_back(&roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap());
    assert_eq!(world.seen("web").setting, Some(image('a').to_string()));
    assert_eq!(world.seen("web").pre_deploy, Some("own".to_owned()));
}

/// A failed canary cannot be tried again without a trick.
#[tokio::test(start_paused = true)]
async fn flagger_1152_the_same_image_can_be_tried_again_at_once() {
    let world = with_fate("web", Fate::Fails);
    is_rolled_back(&roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap());
    world.change(|inner| inner.fates.clear());
    is_complete(&roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap());
    is_new(&world, &["web"]);
}

#[tokio::test(start_paused = true)]
async fn argo_2088_failed_wave_goes_back_in_reverse() {
    let world = with_fate("mail", Fate::Crashes(1));
    let request = request(vec![wave(&["web", "worker", "mail"], 5)]);
    is_rolled_back(&roll(&world, &Diary::default(), request).await.unwrap());
    let log = world.log();
    assert_eq!(log[..3], ["deploy web", "deploy worker", "deploy mail"]);
    assert_eq!(log[3..], ["restore mail", "restore worker", "restore web"]);
    is_old(&world, &SERVICES);
}

#[tokio::test(start_paused = true)]
async fn flagger_555_schema_returns_with_the_rollback() {
    let request = request(vec![expand("m1"), expand("m2"), Step::Swap]);
    let world = with_fate("web", Fate::Crashes(5));
    is_rolled_back(&roll(&world, &Diary::default(), request.clone()).await.unwrap());
    schema_is_back(&world, &request);
    let log = world.log();
    let back = log.iter().position(|line| line == "restore web").unwrap();
    assert_eq!(
        log[back..],
        ["restore web", "migrate down m2", "migrate down m1"],
        "traffic first, then the schema"
    );
}

/// The old version keeps running on a schema that lost what it needs.
#[tokio::test(start_paused = true)]
async fn argo_cd_6344_nothing_is_contracted_before_the_bake_is_over() {
    let request =
        RolloutRequest { bake: seconds(60), ..request(vec![expand("m1"), Step::Swap, contract("m2")]) };
    let world = with_fate("web", Fate::Crashes(40));
    is_rolled_back(&roll(&world, &Diary::default(), request.clone()).await.unwrap());
    assert!(!world.log().contains(&"migrate up m2".to_owned()), "{:?}", world.log());
    schema_is_back(&world, &request);
}

#[tokio::test(start_paused = true)]
async fn platform_3032_no_new_action_after_the_lease_is_lost() {
    let request = request(vec![expand("m1"), Step::Swap, pause(30), hook("h1")]);
    let whole = Diary::default();
    roll(&World::running(&SERVICES), &whole, request.clone()).await.unwrap();
    let at = whole.entries().iter().position(|entry| entry.line() == "phase pausing (pause)").unwrap() + 1;
    let mut world = World::running(&SERVICES);
    // The user stops it at the same time: that is no reason to act without the lease either.
    world.cancel_at = Some((2, CancellationToken::new()));
    let diary = Diary::with(at.min(10), Blow::Fenced);
    let report = roll(&world, &diary, request).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Fenced { .. }), "{:?}", report.outcome);
    assert_eq!(report.outcome.exit_code(), ExitCode::LeaseHeld);
    assert!(
        !world.log().iter().any(|line| line.contains("restore") || line.contains("down")),
        "{:?}",
        world.log()
    );
}

/// A killed deployment held its lock, and nobody cleaned up.
#[tokio::test(start_paused = true)]
async fn bike_index_4313_the_next_command_ends_what_a_killed_one_began() {
    let request = request(vec![expand("m1"), carried("m2"), Step::Swap]);
    let world = World::running(&SERVICES);
    let whole = Diary::default();
    roll(&World::running(&SERVICES), &whole, request.clone()).await.unwrap();
    let deployed = |entry: &Entry| entry.line().starts_with("done: deploy the candidate");
    let at = whole.entries().iter().position(deployed).unwrap() + 1;
    let diary = Diary::with(at, Blow::CrashAfter);
    assert!(roll(&world, &diary, request.clone()).await.is_none());
    tokio::time::sleep(seconds(4 * 7 * 24 * 3600)).await;
    let report = taken_up(&world, &diary.reopened()).await;
    is_rolled_back(&report);
    assert_eq!(reason(&report), &FailureReason::Interrupted);
    is_old(&world, &SERVICES);
    schema_is_back(&world, &request);
}

/// The last step fails when everything else is done.
#[tokio::test(start_paused = true)]
async fn flagger_1931_a_promotion_that_fails_keeps_a_version_serving() {
    for fault in [Fault::Refused, Fault::Unsure, Fault::Lost] {
        let world =
            World::running(&SERVICES).with(|inner| inner.faults = vec![("deploy web".to_owned(), 1, fault)]);
        let request = request(vec![crate::support::requests::canary(5), Step::Swap]);
        is_rolled_back(&roll(&world, &Diary::default(), request).await.unwrap());
        is_old(&world, &SERVICES);
    }
}

/// A platform that reports success for a version that is not the one asked for.
#[tokio::test(start_paused = true)]
async fn recally_60_success_of_another_version_is_an_error() {
    let report = roll(&with_fate("web", Fate::WrongDigest), &Diary::default(), request(vec![Step::Swap]))
        .await
        .unwrap();
    is_rolled_back(&report);
    assert_eq!(reason(&report), &FailureReason::WrongDigest { running: Some(digest('f')) });
}
