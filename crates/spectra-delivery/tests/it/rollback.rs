//! What holds a way back up, and what does not.

use jiff::Timestamp;
use spectra_delivery::settings::Settings;
use spectra_delivery::{Delivered, Error, kinds};
use spectra_journal::{Holder, Query};
use spectra_rollout::spec::{ApprovalRule, Approver};
use spectra_rollout::{
    DeploymentPolicy, FreezeSchedule, FreezeWindow, Outcome, Place, Reach, RolloutRequest,
};
use spectra_types::PinnedImage;
use tokio_util::sync::CancellationToken;

use crate::world::World;

/// Asks for what no rollback has: an approval, a canary, and another registry.
async fn strict(world: &World) {
    let policy = DeploymentPolicy {
        name: "careful".to_owned(),
        reach: Reach::Everything,
        approval: Some(ApprovalRule {
            required: 1,
            before_start: true,
            approvers: vec![Approver {
                name: "ada".to_owned(),
                public_key: "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=".to_owned(),
            }],
            github_environment: None,
        }),
        minimum_bake: None,
        maximum_timeout: None,
        health_required: false,
        required_steps: vec!["canary".to_owned()],
        allowed_repositories: vec!["ghcr.io/acme/*".to_owned()],
        signatures: None,
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
