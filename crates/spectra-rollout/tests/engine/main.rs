//! The machine and its executor against a platform of several services with a database, on a paused clock.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod crash;
mod deployments;
mod fencing;
mod group;
mod issues;
mod issues_waiting;
mod saga;
mod waits;

use spectra_rollout::spec::{Migration, Step};
use spectra_rollout::{FailureReason, Outcome, Report, RolloutRequest};
use support::world::{Database, World, digest, image};

/// What a world is before a rollout: image `a` everywhere.
pub(crate) fn is_old(world: &World, services: &[&str]) {
    for service in services {
        let seen = world.seen(service);
        assert_eq!(seen.serving, Some(digest('a')), "service {service}: {seen:?} {:?}", world.log());
        assert_eq!(seen.setting, Some(image('a').to_string()), "service {service}");
        assert_eq!(seen.pre_deploy, Some("own".to_owned()), "service {service}");
        assert_eq!(seen.rising, 0, "service {service}");
    }
    assert_eq!(world.siblings(), Vec::<String>::new(), "{:?}", world.log());
}

/// What it is after one: image `b` on these.
pub(crate) fn is_new(world: &World, services: &[&str]) {
    for service in services {
        let seen = world.seen(service);
        assert_eq!(seen.serving, Some(digest('b')), "service {service}: {seen:?} {:?}", world.log());
        assert_eq!(seen.setting, Some(image('b').to_string()), "service {service}");
        assert_eq!(seen.rising, 0, "service {service}");
    }
    assert_eq!(world.siblings(), Vec::<String>::new(), "{:?}", world.log());
}

/// Nothing of a rollout is left in the database, but for what has no way back.
pub(crate) fn schema_is_back(world: &World, request: &RolloutRequest) {
    let lasting = |name: &String| {
        request
            .steps
            .iter()
            .any(|step| matches!(step, Step::Migrate(Migration { name: at, down: None, .. }) if at == name))
    };
    let Database { mut applied, mut half, hooks } = world.database();
    applied.retain(|name| !lasting(name));
    half.retain(|name| !lasting(name));
    assert!(
        applied.is_empty() && half.is_empty() && hooks.is_empty(),
        "{:?} {:?}",
        world.database(),
        world.log()
    );
}

pub(crate) fn reason(report: &Report) -> &FailureReason {
    &report.outcome.failure().unwrap_or_else(|| panic!("it did not fail: {:#?}", report.timeline)).reason
}

#[track_caller]
pub(crate) fn is_complete(report: &Report) {
    assert!(
        matches!(report.outcome, Outcome::Complete { .. }),
        "{:?} {:#?}",
        report.outcome,
        report.timeline
    );
}

#[track_caller]
pub(crate) fn is_rolled_back(report: &Report) {
    assert!(
        matches!(report.outcome, Outcome::RolledBack { .. }),
        "{:?} {:#?}",
        report.outcome,
        report.timeline
    );
}
