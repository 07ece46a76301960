//! What the platform and others do to deployments.

use spectra_rollout::spec::{Comparison, MetricKind, Step};
use spectra_rollout::{FailureReason, Outcome, RolloutRequest};

use crate::support::Diary;
use crate::support::requests::{
    analysis, canary, carried, contract, expand, hook, metric, pause, request, roll, seconds, wave,
};
use crate::support::world::{Fate, World, digest, image};
use crate::{is_complete, is_new, is_old, is_rolled_back, reason, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

#[tokio::test(start_paused = true)]
async fn a_deployment_that_crashes_after_success_rolls_back_in_every_wait() {
    let waits: [Vec<Step>; 4] = [
        vec![Step::Swap],
        vec![Step::Swap, pause(60)],
        vec![Step::Swap, analysis(60, vec![metric("errors")])],
        vec![wave(&["web", "worker"], 60)],
    ];
    for steps in waits {
        for probed in [true, false] {
            let world = World::running(&SERVICES).with(|inner| {
                inner.fates.insert("web".to_owned(), Fate::Crashes(14));
            });
            let mut request = RolloutRequest { bake: seconds(60), ..request(steps.clone()) };
            if !probed {
                request.health = None;
            }
            let report = roll(&world, &Diary::default(), request).await.unwrap();
            is_rolled_back(&report);
            assert!(
                matches!(reason(&report), FailureReason::Deployment { status, .. } if status == "CRASHED"),
                "{:?}",
                reason(&report)
            );
            is_old(&world, &SERVICES);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_crashes_after_success_rolls_back_before_any_traffic() {
    let world = World::running(&SERVICES).with(|inner| {
        inner.fates.insert("web-canary".to_owned(), Fate::Crashes(10));
    });
    let report = roll(&world, &Diary::default(), request(vec![canary(60), Step::Swap])).await.unwrap();
    is_rolled_back(&report);
    is_old(&world, &SERVICES);
    assert!(!world.log().contains(&"deploy web".to_owned()), "{:?}", world.log());
}

#[tokio::test(start_paused = true)]
async fn a_foreign_deployment_at_any_time_is_kept_and_the_rest_goes_back() {
    let steps =
        vec![expand("m1"), hook("h1"), canary(10), Step::Swap, wave(&["mail"], 0), pause(10), contract("m2")];
    let request = request(steps);
    for after in 0..70 {
        let world = World::running(&SERVICES);
        world.change(|inner| {
            let at = tokio::time::Instant::now() + seconds(after);
            inner.foreign = Some((at, "web".to_owned(), 'c'));
        });
        let begun = tokio::time::Instant::now();
        let report = roll(&world, &Diary::default(), request.clone()).await.unwrap();
        let lasted = begun.elapsed();
        match &report.outcome {
            // Before the first look it is what runs, and after the end nobody looks.
            Outcome::Complete { .. } => {
                assert!(after == 0 || lasted <= seconds(after + 1), "{after}: {lasted:?}");
            }
            Outcome::Superseded { failure } => {
                assert_eq!(failure.reason, FailureReason::Superseded { by: "web-foreign".parse().unwrap() });
                assert_eq!(world.seen("web").serving, Some(digest('c')), "{after}");
                assert_eq!(world.seen("web").setting, Some(image('c').to_string()), "{after}");
                is_old(&world, &["mail"]);
                let database = world.database();
                assert!(database.hooks.is_empty(), "{after}: {database:?}");
                assert!(report.leftovers.len() <= 2, "{after}: {:?}", report.leftovers);
            }
            other => panic!("{after}: {other:?} {:#?}", report.timeline),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_deployment_of_a_wave_service_keeps_theirs_and_returns_ours() {
    let world = World::running(&SERVICES);
    world.change(|inner| {
        let at = tokio::time::Instant::now() + seconds(30);
        inner.foreign = Some((at, "worker".to_owned(), 'c'));
    });
    let request = RolloutRequest { bake: seconds(60), ..request(vec![wave(&["worker", "web"], 5)]) };
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Superseded { .. }), "{:?}", report.outcome);
    assert_eq!(world.seen("worker").serving, Some(digest('c')));
    is_old(&world, &["web", "mail"]);
}

#[tokio::test(start_paused = true)]
async fn a_pre_deploy_migration_goes_up_with_the_candidate_and_down_with_the_snapshot() {
    let steps = vec![carried("m1"), carried("m2"), Step::Swap, hook("doom")];
    let world = World::running(&SERVICES);
    let report = roll(&world, &Diary::default(), request(steps.clone())).await.unwrap();
    is_complete(&report);
    assert_eq!(world.database().applied.len(), 2);
    let lines = world.seen("web").pre_deploy.unwrap();
    assert_eq!(lines, "migrate up m1 && migrate up m2 && own", "the service's own command comes last");

    let world = World::running(&SERVICES).with(|inner| {
        inner.faults.push(("hook run doom".to_owned(), 1, crate::support::world::Fault::Refused));
    });
    let request = request(steps);
    let report = roll(&world, &Diary::default(), request.clone()).await.unwrap();
    is_rolled_back(&report);
    assert_eq!(report.leftovers, Vec::<String>::new());
    is_old(&world, &SERVICES);
    schema_is_back(&world, &request);
}

#[tokio::test(start_paused = true)]
async fn a_pre_deploy_migration_that_fails_half_way_is_taken_back_though_stable_never_stopped() {
    for fate in [Fate::FailsBefore, Fate::Fails] {
        let request = request(vec![carried("m1"), Step::Swap]);
        let world = World::running(&SERVICES).with(|inner| {
            inner.fates.insert("web".to_owned(), fate);
        });
        let report = roll(&world, &Diary::default(), request.clone()).await.unwrap();
        is_rolled_back(&report);
        assert_eq!(report.leftovers, Vec::<String>::new(), "{fate:?}");
        is_old(&world, &SERVICES);
        schema_is_back(&world, &request);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_was_refused_applied_none_of_the_migrations_that_it_carries() {
    let world = World::running(&SERVICES).with(|inner| {
        inner.faults.push(("deploy web".to_owned(), 1, crate::support::world::Fault::Refused));
    });
    let report = roll(&world, &Diary::default(), request(vec![carried("m1"), Step::Swap])).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Refused { .. }), "{:?}", report.outcome);
    assert_eq!(report.leftovers, Vec::<String>::new());
    assert_eq!(world.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_first_deployment_of_an_empty_service_protects_nobody() {
    let mut compared = metric("latency");
    compared.max = None;
    compared.compare = Some(Comparison { max_ratio: Some(1.2), max_increase: None });
    compared.source = MetricKind::HttpLogDuration { percentile: spectra_rollout::spec::Percentile::P95 };
    let steps = vec![canary(60), Step::Swap, pause(60), analysis(60, vec![metric("errors")]), contract("m1")];
    let request = RolloutRequest { metrics: vec![compared], ..request(steps) };
    let world = World::empty("web");
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_complete(&report);
    is_new(&world, &["web"]);
    assert_eq!(world.log(), ["deploy web", "migrate up m1"]);
    let said =
        report.timeline.iter().any(|(_, line)| line.contains("metric `latency` is compared with nothing"));
    assert!(said, "{:#?}", report.timeline);
}

#[tokio::test(start_paused = true)]
async fn a_failed_first_deployment_leaves_an_empty_service() {
    for fate in [Fate::Fails, Fate::Crashes(5), Fate::Hangs] {
        let world = World::empty("web").with(|inner| {
            inner.fates.insert("web".to_owned(), fate);
        });
        let report = roll(&world, &Diary::default(), request(vec![expand("m1"), Step::Swap])).await.unwrap();
        assert!(
            matches!(report.outcome, Outcome::RolledBack { deployment: None, .. }),
            "{:?}",
            report.outcome
        );
        let seen = world.seen("web");
        assert_eq!((seen.serving, seen.setting, seen.rising), (None, None, 0), "{fate:?}");
        assert!(world.database().applied.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_service_that_runs_the_candidate_already_is_judged_and_left() {
    let world = World::running(&["web", "worker"]);
    let first = RolloutRequest { place: crate::support::place("worker"), ..request(vec![Step::Swap]) };
    is_complete(&roll(&world, &Diary::default(), first).await.unwrap());
    let report = roll(&world, &Diary::default(), request(vec![wave(&["worker", "web"], 5)])).await.unwrap();
    is_complete(&report);
    assert_eq!(world.log(), ["deploy worker", "deploy web"]);
    is_new(&world, &["web", "worker"]);
}

#[tokio::test(start_paused = true)]
async fn a_canary_is_watched_through_its_own_time_and_gone_before_the_bake() {
    let world = World::running(&SERVICES);
    let request = RolloutRequest { bake: seconds(60), ..request(vec![canary(30), Step::Swap]) };
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_complete(&report);
    let asked = report.measurements.iter().filter(|one| one.subject.contains("web-canary")).count();
    assert!(asked >= 6, "{asked} probes of the canary");
    is_new(&world, &["web"]);
}

#[tokio::test(start_paused = true)]
async fn news_that_never_come_hold_nothing_up() {
    for (fate, served) in [(Fate::Serves, 'b'), (Fate::Hangs, 'a')] {
        let world = World::running(&SERVICES).with(|inner| {
            inner.deaf = true;
            inner.fates.insert("web".to_owned(), fate);
        });
        let begun = tokio::time::Instant::now();
        let report = roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
        assert_eq!(world.seen("web").serving, Some(digest(served)), "{:?}", report.outcome);
        assert!(begun.elapsed() < seconds(150), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn gates_that_cannot_be_asked_are_closed_and_asked_again() {
    let world = World::running(&SERVICES).with(|inner| inner.gates_down = 4);
    is_complete(&roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap());
    let world = World::running(&SERVICES).with(|inner| inner.gates_down = 5);
    let report = roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    assert!(matches!(report.outcome, Outcome::Refused { .. }), "{:?}", report.outcome);
    assert!(matches!(reason(&report), FailureReason::Frozen { .. }));
    assert_eq!(world.log(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn people_are_told_of_the_way_there_and_of_the_way_back() {
    let world = World::running(&SERVICES);
    roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    assert_eq!(world.change(|inner| inner.told.clone()), ["rollout.started", "rollout.completed"]);
    let world = World::running(&SERVICES).with(|inner| {
        inner.fates.insert("web".to_owned(), Fate::Fails);
    });
    roll(&world, &Diary::default(), request(vec![Step::Swap])).await.unwrap();
    let told = world.change(|inner| inner.told.clone());
    assert_eq!(told, ["rollout.started", "rollout.going_back", "rollout.rolled_back"]);
}
