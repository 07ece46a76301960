//! What an approval is given for.

use spectra_rollout::spec::{ApprovalRule, OnInconclusive, Step};
use spectra_rollout::{Adopt, HealthPolicy, RolloutRequest};

use crate::support::place;
use crate::support::requests::{analysis, expand, metric, request, seconds};
use crate::support::world::image;

/// What is changed, and how.
type Change = (&'static str, fn(&mut RolloutRequest));

fn plan() -> RolloutRequest {
    RolloutRequest {
        metrics: vec![metric("errors")],
        ..request(vec![expand("m1"), Step::Swap, analysis(10, vec![metric("own")])])
    }
}

#[test]
fn the_hash_of_a_plan_is_the_same_in_every_version() {
    // Changing it voids every approval that was given: say so in the changelog.
    assert_eq!(plan().plan_hash(), GOLDEN);
    assert_eq!(plan().plan_hash(), plan().plan_hash());
}

const GOLDEN: &str = "2cedf9454c2ad4c45f46f784641f4a874f31dd55f7802914c4eb934bfa37953f";

#[test]
fn every_part_of_what_is_done_changes_the_hash() {
    let changes: Vec<Change> = vec![
        ("service", |plan| plan.place = place("other")),
        ("candidate", |plan| plan.candidate = image('c')),
        ("adopt", |plan| plan.adopt = Adopt::Never),
        ("health", |plan| plan.health = None),
        ("health.path", |plan| {
            plan.health = Some(HealthPolicy { path: "/ready".to_owned(), ..HealthPolicy::default() });
        }),
        ("steps", |plan| plan.steps.truncate(2)),
        ("order of steps", |plan| plan.steps.swap(0, 1)),
        ("a step", |plan| plan.steps[0] = expand("m2")),
        ("metrics", |plan| plan.metrics.clear()),
        ("a limit", |plan| plan.metrics[0].max = Some(0.6)),
        ("a failure limit", |plan| plan.metrics[0].failure_limit = 1),
        ("shadow", |plan| plan.metrics[0].shadow = true),
        ("on_inconclusive", |plan| plan.on_inconclusive = OnInconclusive::Proceed),
        ("bake", |plan| plan.bake = seconds(21)),
        ("progress_deadline", |plan| plan.progress_deadline = seconds(61)),
        ("timeout", |plan| plan.timeout = seconds(601)),
        ("abort_timeout", |plan| plan.abort_timeout = seconds(61)),
    ];
    let mut hashes = vec![plan().plan_hash()];
    for (name, apply) in changes {
        let mut other = plan();
        apply(&mut other);
        let hash = other.plan_hash();
        assert!(!hashes.contains(&hash), "{name} is not part of it");
        hashes.push(hash);
    }
}

#[test]
fn what_differs_from_run_to_run_does_not_change_the_hash() {
    let changes: Vec<Change> = vec![
        ("freeze_override", |plan| plan.freeze_override = Some("an outage".to_owned())),
        ("group", |plan| plan.group = Some("all".to_owned())),
        ("approval", |plan| {
            let rule = ApprovalRule {
                required: 2,
                before_start: true,
                approvers: Vec::new(),
                github_environment: None,
            };
            plan.approval = Some(rule);
        }),
    ];
    for (name, apply) in changes {
        let mut other = plan();
        apply(&mut other);
        assert_eq!(other.plan_hash(), plan().plan_hash(), "{name}");
    }
}
