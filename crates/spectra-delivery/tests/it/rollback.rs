//! What holds a way back up, and what does not.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use spectra_delivery::settings::Settings;
use spectra_delivery::{Delivered, Error, kinds};
use spectra_journal::{Holder, Query};
use spectra_rollout::spec::{ApprovalRule, Approver, CommandSpec, Metric, MetricKind};
use spectra_rollout::{
    DeploymentPolicy, FailureReason, FreezeSchedule, FreezeWindow, Outcome, Place, Reach, RolloutRequest,
};
use spectra_types::PinnedImage;
use tokio_util::sync::CancellationToken;

use crate::world::{World, metric};

/// Asks for what no rollback has: an approval, a canary, and another registry.
async fn strict(world: &World) {
    let policy = DeploymentPolicy {
        approval: Some(ApprovalRule {
            required: 1,
            before_start: true,
            approvers: vec![Approver {
                name: "ada".to_owned(),
                public_key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
            }],
            github_environment: None,
        }),
        required_steps: vec!["canary".to_owned()],
        allowed_repositories: vec!["ghcr.io/acme/*".to_owned()],
        ..DeploymentPolicy::new("careful", Reach::Everything)
    };
    let window = FreezeWindow {
        name: "christmas".to_owned(),
        reason: "nobody is there".to_owned(),
        schedule: FreezeSchedule::Once {
            from: "2000-01-01T00:00:00Z".parse::<Timestamp>().unwrap(),
            to: "2200-01-01T00:00:00Z".parse::<Timestamp>().unwrap(),
        },
        reach: Reach::Everything,
    };
    let (settings, by) = (Settings::of(&world.journal), Holder::of_this_process("test"));
    settings.put("careful", &policy, &by).await.unwrap();
    settings.put("christmas", &window, &by).await.unwrap();
}

async fn back(world: &World, place: &Place, to: Option<&PinnedImage>) -> Result<Delivered, Error> {
    let delivery = world.delivery(&|_| {});
    let never = CancellationToken::new();
    let work = delivery.rollback(place, to.cloned(), "errors rise", &never);
    let done = tokio::time::timeout(std::time::Duration::from_mins(1), work).await.unwrap();
    done.map(|done| done.delivered)
}

#[tokio::test]
async fn a_way_back_to_what_was_stable_waits_for_no_window_and_no_policy_and_says_what_it_passed_over() {
    let world = World::start().await;
    let [zeroth, first, second] =
        [world.push("v0", &[]).await, world.push("v1", &[]).await, world.push("v2", &[]).await];
    let place = world.web(&zeroth).await;
    for image in [&first, &second] {
        let report = world.deliver(RolloutRequest::new(place.clone(), image.clone())).await.report;
        assert!(matches!(report.outcome, Outcome::Complete { .. }), "{}", report.outcome);
    }
    strict(&world).await;
    let refused = world.try_deliver(RolloutRequest::new(place.clone(), first.clone())).await;
    assert!(matches!(refused, Err(Error::Policy { .. })), "{refused:?}");

    let delivered = back(&world, &place, None).await.unwrap();
    assert!(matches!(delivered.report.outcome, Outcome::Complete { .. }), "{}", delivered.report.outcome);
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    // Where the image comes from is worth a warning also now.
    let warned: Vec<_> = delivered.warnings.iter().map(|one| one.rule).collect();
    assert_eq!(warned, ["allowed_repositories"]);
    let query = Query { kinds: vec![kinds::ROLLBACK.to_owned()], ..Query::default() };
    let recorded = world.journal.records(&query).await.unwrap().pop().unwrap().body;
    let rules = recorded["passed_over"].to_string();
    for rule in ["`required_steps`", "`allowed_repositories`", "`approval`"] {
        assert!(rules.contains(rule), "{rules}");
    }
    // What ran before the journal knew the service was stable too.
    back(&world, &place, Some(&zeroth)).await.unwrap();
    assert_eq!(world.runs(&place).await, zeroth.digest().to_string());
}

#[tokio::test]
async fn a_way_back_to_what_never_was_stable_or_was_left_is_a_rollout_like_all_others() {
    let world = World::start().await;
    let [first, second] = [world.push("v1", &[]).await, world.push("v2", &[]).await];
    let bad = world.push("bad", &[("exit", "1"), ("crash-after", "1s")]).await;
    let never = world.push("never", &[]).await;
    let place = world.web(&first).await;
    let failed = world.deliver(RolloutRequest::new(place.clone(), bad.clone())).await.report;
    assert!(matches!(failed.outcome, Outcome::RolledBack { .. }), "{}", failed.outcome);
    world.deliver(RolloutRequest::new(place.clone(), second.clone())).await;
    strict(&world).await;
    back(&world, &place, None).await.unwrap();
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    for (image, why) in [(&second, "gone back from"), (&bad, "failed"), (&never, "never ran")] {
        let refused = back(&world, &place, Some(image)).await;
        assert!(matches!(refused, Err(Error::Policy { .. })), "{why}: {refused:?}");
    }
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    world.is_in_order().await;
}

async fn complete(world: &World, place: &Place, image: &PinnedImage) {
    let report = world.deliver(RolloutRequest::new(place.clone(), image.clone())).await.report;
    assert!(matches!(report.outcome, Outcome::Complete { .. }), "{}", report.outcome);
}

/// Serves, and is brought back from by a number that is too high.
async fn fail_in_the_bake(world: &World, place: &Place, image: &PinnedImage) {
    let run: CommandSpec =
        serde_json::from_value(json!({ "command": ["sh", "-c", "echo 9"], "timeout": "10s" })).unwrap();
    let request = RolloutRequest {
        metrics: vec![Metric { max: Some(1.0), ..metric(MetricKind::Command { run: Box::new(run) }) }],
        bake: Duration::from_mins(5),
        ..RolloutRequest::new(place.clone(), image.clone())
    };
    let outcome = world.deliver(request).await.report.outcome;
    let reason = outcome.failure().map(|failure| &failure.reason);
    assert!(matches!(reason, Some(FailureReason::Analysis { .. })), "{outcome}");
}

/// Lets `work` go on until `image` serves, and then its process dies and its lease runs out.
async fn die_once_it_serves<T>(
    world: &World,
    place: &Place,
    image: &PinnedImage,
    work: impl Future<Output = T>,
) {
    let serves = async {
        while world.runs(place).await != image.digest().to_string() {
            tokio::task::yield_now().await;
        }
    };
    let either = async {
        tokio::select! {
            _ = Box::pin(work) => panic!("it ended before it was seen to serve"),
            () = serves => {}
        }
    };
    tokio::time::timeout(Duration::from_mins(1), either).await.unwrap();
    world.clock.advance(Duration::from_mins(2));
}

#[tokio::test]
async fn a_version_that_failed_in_its_bake_is_not_what_ran_before_by_railways_list_or_by_the_journal() {
    let world = World::start().await;
    let [first, second, third] =
        [world.push("v1", &[]).await, world.push("v2", &[]).await, world.push("v3", &[]).await];
    let place = world.web(&first).await;
    fail_in_the_bake(&world, &place, &second).await;
    // Railway lists the second one as one that served, and the journal has no complete rollout.
    let nothing = back(&world, &place, None).await;
    assert!(matches!(nothing, Err(Error::NothingBefore { .. })), "{nothing:?}");
    assert_eq!(world.runs(&place).await, first.digest().to_string());

    complete(&world, &place, &second).await;
    complete(&world, &place, &third).await;
    fail_in_the_bake(&world, &place, &second).await;
    let delivery = world.delivery(&|_| {});
    assert_eq!(delivery.version_before(&place).await.unwrap(), first);
    back(&world, &place, None).await.unwrap();
    assert_eq!(world.runs(&place).await, first.digest().to_string());
}

#[tokio::test]
async fn a_version_whose_rollback_was_not_begun_or_did_not_hold_is_not_one_that_was_left() {
    let world = World::start().await;
    let [first, second, third] =
        [world.push("v1", &[]).await, world.push("v2", &[]).await, world.push("v3", &[]).await];
    let place = world.web(&first).await;
    complete(&world, &place, &second).await;
    let ttl = Duration::from_secs(30);
    let other = Holder::of_this_process("other");
    world.journal.acquire(&place.subject(), other, ttl).await.unwrap();
    let held = back(&world, &place, None).await;
    assert!(matches!(held, Err(Error::LeaseHeld { .. })), "{held:?}");
    world.clock.advance(ttl * 2);
    complete(&world, &place, &third).await;
    // The second one went on running, so it is still what was stable before the third.
    let delivery = world.delivery(&|_| {});
    assert_eq!(delivery.version_before(&place).await.unwrap(), second);
    // This way back is begun, and the third one is brought back from it.
    let to_second = RolloutRequest {
        bake: Duration::from_mins(10),
        ..RolloutRequest::new(place.clone(), second.clone())
    };
    let never = CancellationToken::new();
    let work = delivery.go_back(to_second, "errors rise", &never);
    die_once_it_serves(&world, &place, &second, work).await;
    delivery.recover(&place, &never).await.unwrap().unwrap();
    assert_eq!(world.runs(&place).await, third.digest().to_string());
    strict(&world).await;
    back(&world, &place, Some(&third)).await.unwrap();
    back(&world, &place, None).await.unwrap();
    assert_eq!(world.runs(&place).await, second.digest().to_string());
}

#[tokio::test]
async fn a_version_whose_rollout_is_still_open_is_not_stable_though_it_serves() {
    let world = World::start().await;
    let [first, second] = [world.push("v1", &[]).await, world.push("v2", &[]).await];
    let place = world.web(&first).await;
    let open = RolloutRequest {
        bake: Duration::from_mins(10),
        ..RolloutRequest::new(place.clone(), second.clone())
    };
    let (delivery, never) = (world.delivery(&|_| {}), CancellationToken::new());
    die_once_it_serves(&world, &place, &second, delivery.deliver(open, &never)).await;
    strict(&world).await;
    let refused = back(&world, &place, Some(&second)).await;
    assert!(matches!(refused, Err(Error::Policy { .. })), "{refused:?}");
    // Nor is it afterwards, when it was brought back from without a verdict.
    delivery.recover(&place, &never).await.unwrap().unwrap();
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    let refused = back(&world, &place, Some(&second)).await;
    assert!(matches!(refused, Err(Error::Policy { .. })), "{refused:?}");
    let nothing = back(&world, &place, None).await;
    assert!(matches!(nothing, Err(Error::NothingBefore { .. })), "{nothing:?}");
}

#[tokio::test]
async fn a_way_back_that_was_interrupted_says_nothing_against_the_version_it_went_to() {
    let world = World::start().await;
    let [first, second] = [world.push("v1", &[]).await, world.push("v2", &[]).await];
    let place = world.web(&first).await;
    complete(&world, &place, &second).await;
    strict(&world).await;
    let (delivery, never) = (world.delivery(&|_| {}), CancellationToken::new());
    let request =
        RolloutRequest { bake: Duration::from_mins(10), ..RolloutRequest::new(place.clone(), first.clone()) };
    let work = delivery.go_back(request, "errors rise", &never);
    die_once_it_serves(&world, &place, &first, work).await;
    let report = delivery.recover(&place, &never).await.unwrap().unwrap();
    let reason = report.outcome.failure().map(|failure| &failure.reason);
    assert_eq!(reason, Some(&FailureReason::Interrupted), "{}", report.outcome);
    assert_eq!(world.runs(&place).await, second.digest().to_string());
    let delivered = back(&world, &place, None).await.unwrap();
    assert!(matches!(delivered.report.outcome, Outcome::Complete { .. }), "{}", delivered.report.outcome);
    assert_eq!(world.runs(&place).await, first.digest().to_string());
    world.is_in_order().await;
}
