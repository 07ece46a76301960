//! Every step kind: its action repeated, failed before and after it took effect, and the same for what undoes it.

use spectra_rollout::spec::Step;
use spectra_rollout::{FailureReason, Outcome, Report, RolloutRequest};

use crate::support::Diary;
use crate::support::requests::{
    analysis, canary, carried, contract, expand, hook, metric, pause, request, roll, wave,
};
use crate::support::world::{Fault, World};
use crate::{is_complete, is_new, is_old, is_rolled_back, reason, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

/// One step kind among others, the call that it makes, and the call that undoes it.
struct Kind {
    steps: Vec<Step>,
    action: &'static str,
    undo: &'static str,
}

fn kinds() -> Vec<Kind> {
    let kind = |steps, action, undo| Kind { steps, action, undo };
    vec![
        kind(vec![Step::Swap], "deploy web", "restore web"),
        kind(vec![carried("m1"), Step::Swap], "deploy web", "restore web"),
        kind(vec![canary(5), Step::Swap], "create_sibling", "remove_sibling"),
        kind(vec![canary(5), Step::Swap], "deploy web-canary", "remove_sibling"),
        kind(vec![wave(&["worker", "web", "mail"], 5)], "deploy mail", "restore mail"),
        kind(vec![Step::Swap, wave(&["worker"], 0)], "deploy worker", "restore worker"),
        kind(vec![expand("m1"), Step::Swap], "migrate up m1", "migrate down m1"),
        kind(vec![expand("m1"), expand("m2"), Step::Swap], "migrate up m2", "migrate down m2"),
        kind(vec![Step::Swap, contract("m1")], "migrate up m1", "migrate down m1"),
        kind(vec![hook("h1"), Step::Swap], "hook run h1", "hook undo h1"),
        kind(vec![Step::Swap, hook("h1")], "hook run h1", "hook undo h1"),
    ]
}

fn reached(request: &RolloutRequest) -> Vec<&'static str> {
    let places = request.places();
    SERVICES.into_iter().filter(|name| places.iter().any(|place| place.service.as_str() == *name)).collect()
}

async fn with_faults(steps: &[Step], faults: &[(&str, usize, Fault)]) -> (World, Report, RolloutRequest) {
    let world = World::running(&SERVICES).with(|inner| {
        inner.faults = faults.iter().map(|(call, at, fault)| ((*call).to_owned(), *at, *fault)).collect();
    });
    let request = request(steps.to_vec());
    let report = roll(&world, &Diary::default(), request.clone()).await.unwrap();
    (world, report, request)
}

/// The kind's steps and then a wait that the candidate does not survive.
fn doomed(kind: &Kind) -> Vec<Step> {
    let mut steps = kind.steps.clone();
    let last = steps
        .iter()
        .position(|step| matches!(step, Step::Migrate(one) if one.name == "m1" && kind.undo.ends_with("m1")));
    let contract_last = matches!(steps.last(), Some(Step::Migrate(_))) && last == Some(steps.len() - 1);
    if contract_last {
        // Nothing stands after a contract but another.
        steps.push(contract("doom"));
    } else {
        steps.push(hook("doom"));
    }
    steps
}

#[tokio::test(start_paused = true)]
async fn repeated_actions_are_as_good_as_one() {
    for kind in kinds() {
        let (world, report, request) = with_faults(&kind.steps, &[(kind.action, 1, Fault::Twice)]).await;
        is_complete(&report);
        is_new(&world, &reached(&request));
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_that_was_refused_leaves_nothing_of_the_rollout() {
    for kind in kinds() {
        let (world, report, request) = with_faults(&kind.steps, &[(kind.action, 1, Fault::Refused)]).await;
        let first = world.log().is_empty();
        if first {
            assert!(
                matches!(report.outcome, Outcome::Refused { .. }),
                "{}: {:?}",
                kind.action,
                report.outcome
            );
        } else {
            is_rolled_back(&report);
        }
        assert_eq!(report.leftovers, Vec::<String>::new(), "{}", kind.action);
        is_old(&world, &reached(&request));
        schema_is_back(&world, &request);
        // The canary was made before the deployment in it was refused.
        if kind.action != "deploy web-canary" {
            assert!(!world.log().iter().any(|line| line == kind.undo), "{}: {:?}", kind.action, world.log());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_without_an_answer_is_undone_whether_it_happened_or_not() {
    for kind in kinds() {
        for fault in [Fault::Unsure, Fault::Lost] {
            let (world, report, request) = with_faults(&kind.steps, &[(kind.action, 1, fault)]).await;
            is_rolled_back(&report);
            is_old(&world, &reached(&request));
            schema_is_back(&world, &request);
            assert!(world.log().iter().any(|line| line == kind.undo), "{}: {:?}", kind.action, world.log());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_undoing_is_as_good_as_once() {
    for kind in kinds() {
        let steps = doomed(&kind);
        let doom =
            if matches!(steps.last(), Some(Step::Hook(_))) { "hook run doom" } else { "migrate up doom" };
        let faults = [(doom, 1, Fault::Refused), (kind.undo, 1, Fault::Twice)];
        let (world, report, request) = with_faults(&steps, &faults).await;
        is_rolled_back(&report);
        is_old(&world, &reached(&request));
        schema_is_back(&world, &request);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_to_the_platform_that_fail_on_the_way_back_are_made_again() {
    for kind in
        kinds().into_iter().filter(|kind| !kind.undo.contains(' ') || kind.undo.starts_with("restore"))
    {
        for fault in [Fault::Refused, Fault::Unsure, Fault::Lost] {
            let steps = doomed(&kind);
            let faults = [("hook run doom", 1, Fault::Refused), (kind.undo, 1, fault), (kind.undo, 2, fault)];
            let (world, report, request) = with_faults(&steps, &faults).await;
            is_rolled_back(&report);
            is_old(&world, &reached(&request));
            schema_is_back(&world, &request);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_cannot_undo_is_its_own_ending_and_the_rest_goes_back() {
    for kind in
        kinds().into_iter().filter(|kind| kind.undo.starts_with("migrate") || kind.undo.starts_with("hook"))
    {
        let steps = doomed(&kind);
        let doom =
            if matches!(steps.last(), Some(Step::Hook(_))) { "hook run doom" } else { "migrate up doom" };
        for fault in [Fault::Refused, Fault::Unsure] {
            let faults = [(doom, 1, Fault::Refused), (kind.undo, 1, fault)];
            let (world, report, request) = with_faults(&steps, &faults).await;
            let Outcome::RollbackFailed { rollback, .. } = &report.outcome else {
                panic!("{:?}", report.outcome)
            };
            assert!(
                matches!(rollback, FailureReason::Migration { .. } | FailureReason::Hook { .. }),
                "{rollback:?}"
            );
            if matches!(steps.last(), Some(Step::Hook(_))) {
                is_old(&world, &reached(&request));
            } else {
                // The version before may not run on what a `contract` left.
                is_new(&world, &reached(&request));
                assert_eq!(report.leftovers.len(), 1, "{:?}", report.leftovers);
            }
            assert_eq!(
                world.log().iter().filter(|line| *line == kind.undo).count(),
                0,
                "tried once: {fault:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_cannot_be_undone_does_not_keep_the_schema() {
    let steps = [expand("m1"), hook("h1"), Step::Swap, hook("doom")];
    let faults = [("hook run doom", 1, Fault::Refused), ("hook undo h1", 1, Fault::Refused)];
    let (world, report, _) = with_faults(&steps, &faults).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{:?}", report.outcome);
    assert!(world.database().applied.is_empty(), "{:?}", world.database());
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_a_version_still_needs_is_kept() {
    let steps = [expand("m1"), Step::Swap, hook("doom")];
    let mut faults = vec![("hook run doom", 1, Fault::Refused)];
    faults.extend((1..200).map(|at| ("restore web", at, Fault::Refused)));
    let (world, report, _) = with_faults(&steps, &faults).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{:?}", report.outcome);
    assert!(world.database().applied.contains("m1"), "the candidate serves still: {:?}", world.log());
    assert_eq!(report.leftovers.len(), 1);
    assert!(report.leftovers[0].starts_with("apply migration `m1` stays done"), "{:?}", report.leftovers);
}

#[tokio::test(start_paused = true)]
async fn an_earlier_migration_waits_for_a_later_one_that_cannot_be_taken_back() {
    let steps = [expand("m1"), expand("m2"), Step::Swap, hook("doom")];
    let faults = [("hook run doom", 1, Fault::Refused), ("migrate down m2", 1, Fault::Unsure)];
    let (world, report, _) = with_faults(&steps, &faults).await;
    assert!(matches!(report.outcome, Outcome::RollbackFailed { .. }), "{:?}", report.outcome);
    assert_eq!(world.database().applied.len(), 2, "{:?}", world.log());
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_an_analysis_have_nothing_to_undo() {
    for step in [pause(5), analysis(10, vec![metric("errors")])] {
        let (world, report, _) = with_faults(&[Step::Swap, step.clone()], &[]).await;
        is_complete(&report);
        is_new(&world, &["web"]);
        let (world, report, _) =
            with_faults(&[Step::Swap, step, hook("doom")], &[("hook run doom", 1, Fault::Refused)]).await;
        assert!(matches!(reason(&report), FailureReason::Hook { .. }), "{report:?}");
        is_old(&world, &["web"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_cannot_be_removed_on_the_way_forward_is_a_leftover_and_watched_no_more() {
    let request = request(vec![canary(5), Step::Swap]);
    let world = World::running(&SERVICES).with(|inner| {
        inner.faults = (1..6).map(|at| ("remove_sibling".to_owned(), at, Fault::Refused)).collect();
    });
    let report = roll(&world, &Diary::default(), request).await.unwrap();
    is_complete(&report);
    assert_eq!(report.leftovers.len(), 1, "{:?}", report.leftovers);
    assert_eq!(world.siblings(), ["web-canary"]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_at_every_mutation_goes_back_within_the_abort_timeout() {
    let steps = vec![
        expand("m1"),
        carried("m2"),
        hook("h1"),
        canary(5),
        Step::Swap,
        wave(&["mail"], 0),
        contract("m3"),
    ];
    // The eighth is the last one: whoever stops it then is too late.
    for at in 1..=7 {
        let mut world = World::running(&SERVICES);
        world.cancel_at = Some((at, tokio_util::sync::CancellationToken::new()));
        let request = request(steps.clone());
        let report = roll(&world, &Diary::default(), request.clone()).await.unwrap();
        is_rolled_back(&report);
        assert_eq!(reason(&report), &FailureReason::Cancelled, "{at}: {:?}", world.log());
        let stopped = report.timeline.iter().find(|(_, line)| line == "stop requested").unwrap().0;
        let took = report.timeline.last().unwrap().0.saturating_sub(stopped);
        assert!(took <= request.abort_timeout, "{at}: it took {took:?}: {:#?}", report.timeline);
        is_old(&world, &reached(&request));
        schema_is_back(&world, &request);
    }
}

#[tokio::test(start_paused = true)]
async fn a_program_that_is_stopped_half_way_is_undone_and_the_stop_is_the_reason() {
    for steps in [vec![expand("m1"), Step::Swap], vec![Step::Swap, contract("m1")]] {
        // The stop comes while the migration runs, before it is applied.
        let at = usize::from(matches!(steps[0], Step::Swap));
        let mut world = World::running(&SERVICES);
        let cancel = tokio_util::sync::CancellationToken::new();
        world.cancel_at = Some((usize::MAX, cancel.clone()));
        let request = request(steps);
        let diary = Diary::default();
        let stop = async {
            let begun =
                || diary.entries().iter().any(|entry| entry.line() == "going to apply migration `m1`");
            while !begun() {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            cancel.cancel();
        };
        let (report, ()) = tokio::join!(roll(&world, &diary, request.clone()), stop);
        let report = report.unwrap();
        is_rolled_back(&report);
        assert_eq!(reason(&report), &FailureReason::Cancelled);
        assert_eq!(world.log()[at], "migrate down m1", "{:?}", world.log());
        is_old(&world, &["web"]);
        schema_is_back(&world, &request);
    }
}
