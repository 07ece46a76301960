//! Migrations that the platform runs.

use serde_json::json;
use spectra_railway::{Change, InstanceRef, InstanceUpdate};
use spectra_rollout::spec::{Migration, Step};
use spectra_rollout::{Outcome, Place, RolloutRequest};
use spectra_types::PinnedImage;

use crate::world::{World, code};

fn request(place: &Place, candidate: &PinnedImage) -> RolloutRequest {
    let migration: Migration = serde_json::from_value(json!({
        "name": "orders", "part": "expand", "runner": "pre_deploy",
        "up": { "command": ["migrate", "up"] }, "down": { "command": ["migrate", "down"] }
    }))
    .unwrap();
    RolloutRequest {
        steps: vec![Step::Migrate(migration), Step::Swap],
        ..RolloutRequest::new(place.clone(), candidate.clone())
    }
}

async fn set_command(world: &World, place: &Place) -> Option<String> {
    world.client.fresh_instance(&InstanceRef::from(place)).await.unwrap().pre_deploy_command
}

#[tokio::test]
async fn a_pre_deploy_migration_goes_with_one_deployment_and_the_setting_is_put_back() {
    let world = World::start().await;
    let own =
        InstanceUpdate { pre_deploy_command: Change::Set("warm".to_owned()), ..InstanceUpdate::default() };
    let place = world.serving("web", &world.push("v1", &[]).await, own).await;
    let candidate = world.push("v2", &[]).await;
    let outcome = world.deliver(request(&place, &candidate)).await.report.outcome;
    assert!(matches!(outcome, Outcome::Complete { .. }), "{outcome}");
    assert_eq!(world.runs(&place).await, candidate.digest().to_string());
    assert_eq!(set_command(&world, &place).await.as_deref(), Some("warm"));
}

#[tokio::test]
async fn a_pre_deploy_migration_that_fails_ends_the_deployment_and_the_setting_is_put_back() {
    let world = World::start().await;
    let stable = world.push("v1", &[]).await;
    let place = world.web(&stable).await;
    let candidate = world.push("v2", &[("pre-deploy-exit", "3")]).await;
    let outcome = world.deliver(request(&place, &candidate)).await.report.outcome;
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{outcome}");
    assert_eq!(code(&outcome), "SPX-402");
    let why = outcome.to_string();
    assert!(why.contains("the pre-deploy command ended with exit code 3"), "{why}");
    assert_eq!(world.runs(&place).await, stable.digest().to_string());
    assert_eq!(set_command(&world, &place).await, None);
    world.is_in_order().await;
}
