//! The rollout target: observing, deploying, and coming back.

use serde_json::{Value, json};
use spectra_railway::RailwayTarget;
use spectra_rollout::{
    DeployOrder, DeploymentState, Effect, Observation, Place, RestoreOrder, Snapshot, Target,
};
use spectra_types::{DeploymentId, PinnedImage};

use crate::fake::{Fake, Reply, data, deployment, deployments, instance, instance_ref, raw, snapshot};

fn pinned(digit: &str) -> String {
    format!("ghcr.io/team/app@sha256:{}", digit.repeat(64))
}

fn set_to(image: &str, active: &[Value]) -> Reply {
    let settings = json!({ "source": { "image": image, "repo": null }, "activeDeployments": active });
    snapshot(&[instance("svc", &settings)], &json!({}))
}

fn place() -> Place {
    instance_ref().into()
}

fn order(candidate: &PinnedImage, baseline: &Observation) -> DeployOrder {
    DeployOrder { image: candidate.clone(), baseline: baseline.clone(), pre_deploy: None }
}

/// The way back from image `b`.
fn back(snapshot: Snapshot, failed: Option<&DeploymentId>) -> RestoreOrder {
    let candidate = pinned("b").parse().unwrap();
    RestoreOrder { snapshot, failed: failed.cloned(), candidate, pre_deploy: None }
}

async fn target() -> (Fake, RailwayTarget) {
    let (fake, client) = Fake::with_account().await;
    fake.always("ServiceInstanceUpdate", data(json!({ "serviceInstanceUpdate": true })));
    fake.always("DeploymentEvents", data(json!({ "deploymentEvents": { "edges": [] } })));
    fake.always("DeploymentLogs", data(json!({ "deploymentLogs": [] })));
    fake.always("BuildLogs", data(json!({ "buildLogs": [] })));
    (fake, RailwayTarget::new(client))
}

/// Deployment `d1` of image `a` serves.
async fn baseline(fake: &Fake, target: &RailwayTarget) -> Observation {
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.once("EnvironmentSnapshot", set_to(&pinned("a"), std::slice::from_ref(&d1)));
    fake.once("DeploymentList", deployments(&[d1]));
    target.observe(&place()).await.unwrap()
}

#[tokio::test]
async fn observes_what_serves_what_is_on_its_way_and_what_is_set() {
    let (fake, target) = target().await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.once("EnvironmentSnapshot", set_to("ghcr.io/team/app:1", std::slice::from_ref(&d1)));
    fake.once("DeploymentList", deployments(&[deployment("d2", "BUILDING", &pinned("b"), 2), d1]));
    let seen = target.observe(&place()).await.unwrap();
    let running = seen.running.unwrap();
    assert_eq!((running.deployment.as_str(), running.all_replicas_running), ("d1", true));
    assert_eq!(seen.in_flight.unwrap().as_str(), "d2");
    assert_eq!(seen.setting.as_deref(), Some("ghcr.io/team/app:1"));
}

#[tokio::test]
async fn sets_the_digest_and_deploys_once() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.always("DeploymentList", deployments(std::slice::from_ref(&d1)));
    fake.once("EnvironmentSnapshot", set_to(&pinned("a"), &[]));
    fake.always("EnvironmentSnapshot", set_to(&pinned("b"), &[]));
    fake.always("ServiceInstanceDeploy", data(json!({ "serviceInstanceDeployV2": "d2" })));
    let candidate: PinnedImage = pinned("b").parse().unwrap();
    assert_eq!(target.deploy(&place(), &order(&candidate, &before)).await.unwrap().as_str(), "d2");
    assert_eq!(
        fake.seen("ServiceInstanceUpdate")[0].variables["input"]["source"]["image"],
        json!(pinned("b"))
    );
    assert_eq!(fake.count("ServiceInstanceDeploy"), 1);
}

#[tokio::test]
async fn q18_a_deployment_that_the_update_started_is_taken_over() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.once("DeploymentList", deployments(std::slice::from_ref(&d1)));
    fake.always("DeploymentList", deployments(&[deployment("d2", "INITIALIZING", &pinned("b"), 2), d1]));
    fake.once("EnvironmentSnapshot", set_to(&pinned("a"), &[]));
    fake.always("EnvironmentSnapshot", set_to(&pinned("b"), &[]));
    let candidate: PinnedImage = pinned("b").parse().unwrap();
    assert_eq!(target.deploy(&place(), &order(&candidate, &before)).await.unwrap().as_str(), "d2");
    assert_eq!(fake.count("ServiceInstanceDeploy"), 0);
}

/// The candidate `b` is set, nothing of it shows in the list, and the answer to its start is lost.
async fn lost_start() -> (Fake, RailwayTarget, DeployOrder) {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    fake.once("EnvironmentSnapshot", set_to(&pinned("a"), &[]));
    fake.always("EnvironmentSnapshot", set_to(&pinned("b"), &[]));
    fake.once("ServiceInstanceDeploy", raw(504, "timeout"));
    (fake, target, order(&pinned("b").parse().unwrap(), &before))
}

#[tokio::test]
async fn q07_a_start_whose_answer_is_lost_is_looked_for_through_a_tail_of_28_seconds() {
    let (fake, target, order) = lost_start().await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    // Before the change, after it, and a look a second.
    for _ in 0..2 + 28 {
        fake.once("DeploymentList", deployments(std::slice::from_ref(&d1)));
    }
    fake.always("DeploymentList", deployments(&[deployment("d2", "DEPLOYING", &pinned("b"), 2), d1]));
    let asked = fake.now();
    assert_eq!(target.deploy(&place(), &order).await.unwrap().as_str(), "d2");
    assert!(fake.now().saturating_sub(asked) >= std::time::Duration::from_secs(28));
    assert_eq!(fake.count("ServiceInstanceDeploy"), 1, "a second one would replace the first");
}

#[tokio::test]
async fn q12_a_start_that_never_showed_is_asked_for_once_more() {
    let (fake, target, order) = lost_start().await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.always("DeploymentList", deployments(std::slice::from_ref(&d1)));
    fake.once("ServiceInstanceDeploy", data(json!({ "serviceInstanceDeployV2": "d2" })));
    assert_eq!(target.deploy(&place(), &order).await.unwrap().as_str(), "d2");
    let asked = fake.seen("ServiceInstanceDeploy");
    assert!(asked[1].at - asked[0].at > std::time::Duration::from_secs(28), "{asked:?}");

    let (fake, target, order) = lost_start().await;
    fake.always("DeploymentList", deployments(&[d1]));
    fake.always("ServiceInstanceDeploy", raw(504, "timeout"));
    let error = target.deploy(&place(), &order).await.unwrap_err();
    assert_eq!((error.effect, fake.count("ServiceInstanceDeploy")), (Effect::Possible, 2), "{error}");
}

#[tokio::test]
async fn a_start_is_not_asked_for_again_where_the_list_cannot_be_read() {
    let (fake, target, order) = lost_start().await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    for _ in 0..2 {
        fake.once("DeploymentList", deployments(std::slice::from_ref(&d1)));
    }
    fake.always("DeploymentList", crate::fake::refusal_with("FORBIDDEN", "Not Authorized"));
    let error = target.deploy(&place(), &order).await.unwrap_err();
    assert_eq!((error.effect, fake.count("ServiceInstanceDeploy")), (Effect::Possible, 1), "{error}");
}

#[tokio::test]
async fn says_whether_a_failed_deploy_changed_something() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let candidate: PinnedImage = pinned("b").parse().unwrap();
    fake.always("DeploymentList", deployments(&[]));
    fake.once("EnvironmentSnapshot", set_to(&pinned("a"), &[]));
    fake.once(
        "ServiceInstanceUpdate",
        crate::fake::refusal_with("PLAN_LIMIT", "image deploys are restricted"),
    );
    let error = target.deploy(&place(), &order(&candidate, &before)).await.unwrap_err();
    assert_eq!(error.effect, Effect::None, "{error}");
    fake.once("EnvironmentSnapshot", set_to(&pinned("a"), &[]));
    fake.always("EnvironmentSnapshot", set_to(&pinned("b"), &[]));
    fake.always("ServiceInstanceDeploy", raw(400, "nonsense"));
    let error = target.deploy(&place(), &order(&candidate, &before)).await.unwrap_err();
    assert_eq!(error.effect, Effect::Possible, "{error}");
}

#[tokio::test]
async fn every_status_has_its_state() {
    let (fake, target) = target().await;
    let ours = "d2".parse().unwrap();
    for (status, expected) in [
        ("QUEUED", DeploymentState::Pending("QUEUED".into())),
        ("DEPLOYING", DeploymentState::Pending("DEPLOYING".into())),
        ("LEVITATING", DeploymentState::Pending("LEVITATING".into())),
        ("NEEDS_APPROVAL", DeploymentState::NeedsApproval),
        ("SUCCESS", DeploymentState::Active),
        ("SLEEPING", DeploymentState::Sleeping),
        ("SKIPPED", DeploymentState::Skipped),
    ] {
        fake.once("DeploymentGet", data(json!({ "deployment": deployment("d2", status, "x:1", 2) })));
        assert_eq!(target.deployment(&place(), &ours).await.unwrap(), expected, "{status}");
    }
    let removed = || data(json!({ "deployment": deployment("d2", "REMOVED", "x:1", 2) }));
    fake.once("DeploymentGet", removed());
    fake.once("DeploymentList", deployments(&[deployment("d3", "SUCCESS", "x:1", 3)]));
    let superseded = DeploymentState::Superseded { by: "d3".parse().unwrap() };
    assert_eq!(target.deployment(&place(), &ours).await.unwrap(), superseded);
    fake.once("DeploymentGet", removed());
    fake.once("DeploymentList", deployments(&[deployment("d1", "SUCCESS", "x:1", 1)]));
    assert_eq!(target.deployment(&place(), &ours).await.unwrap(), DeploymentState::Removed);
    let mut stopped = deployment("d2", "SUCCESS", "x:1", 2);
    stopped["deploymentStopped"] = json!(true);
    stopped["instances"][0]["status"] = json!("STOPPED");
    fake.once("DeploymentGet", data(json!({ "deployment": stopped })));
    assert_eq!(target.deployment(&place(), &ours).await.unwrap(), DeploymentState::Removed);
}

#[tokio::test]
async fn a_failure_has_a_reason() {
    let (fake, target) = target().await;
    let ours = "d2".parse().unwrap();
    fake.always("DeploymentGet", data(json!({ "deployment": deployment("d2", "FAILED", "x:1", 2) })));
    let DeploymentState::Failed { reason, .. } = target.deployment(&place(), &ours).await.unwrap() else {
        panic!()
    };
    assert!(reason.contains("cannot be pulled"), "Q-47: {reason}");
    let event = json!({ "step": "HEALTHCHECK", "createdAt": "2026-08-01T10:00:00Z", "completedAt": null, "payload": {
        "attempt": 7, "maxAttempts": 7, "durationMs": null, "error": "status 503", "reason": null, "detail": null,
        "skipped": null } });
    fake.once("DeploymentEvents", data(json!({ "deploymentEvents": { "edges": [{ "node": event }] } })));
    fake.once(
        "DeploymentLogs",
        data(json!({ "deploymentLogs": [{ "timestamp": "1", "severity": null, "message": "db down" }] })),
    );
    let DeploymentState::Failed { reason, .. } = target.deployment(&place(), &ours).await.unwrap() else {
        panic!()
    };
    assert_eq!(reason, "step HEALTHCHECK, attempt 7 of 7: status 503; last line of its log: `db down`");
}

#[tokio::test]
async fn coming_back_sets_the_image_and_deploys_nothing_while_the_old_one_serves() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.once("EnvironmentSnapshot", set_to(&pinned("b"), &[]));
    fake.always("EnvironmentSnapshot", set_to(&pinned("a"), std::slice::from_ref(&d1)));
    fake.always("DeploymentList", deployments(&[deployment("d2", "FAILED", &pinned("b"), 2), d1]));
    let failed = "d2".parse().unwrap();
    assert_eq!(target.restore(&place(), &back(before.snapshot(), Some(&failed))).await.unwrap(), None);
    assert_eq!(
        fake.seen("ServiceInstanceUpdate")[0].variables["input"]["source"]["image"],
        json!(pinned("a"))
    );
    assert_eq!(fake.count("ServiceInstanceDeploy"), 0);
}

#[tokio::test]
async fn coming_back_from_one_that_serves_is_a_forward_deployment() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let d2 = deployment("d2", "SUCCESS", &pinned("b"), 2);
    fake.once("EnvironmentSnapshot", set_to(&pinned("b"), &[]));
    fake.always("EnvironmentSnapshot", set_to(&pinned("a"), std::slice::from_ref(&d2)));
    fake.always("DeploymentList", deployments(&[d2, deployment("d1", "REMOVED", &pinned("a"), 1)]));
    fake.always("ServiceInstanceDeploy", data(json!({ "serviceInstanceDeployV2": "d3" })));
    let failed = "d2".parse().unwrap();
    let back = target.restore(&place(), &back(before.snapshot(), Some(&failed))).await.unwrap();
    assert_eq!(back.unwrap().as_str(), "d3");
}

#[tokio::test]
async fn coming_back_cancels_what_is_on_its_way_and_takes_down_a_first_deployment() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.always("EnvironmentSnapshot", set_to(&pinned("a"), std::slice::from_ref(&d1)));
    fake.always("DeploymentList", deployments(&[deployment("d2", "DEPLOYING", &pinned("b"), 2), d1]));
    fake.always("DeploymentCancel", data(json!({ "deploymentCancel": true })));
    let failed = "d2".parse().unwrap();
    assert_eq!(target.restore(&place(), &back(before.snapshot(), Some(&failed))).await.unwrap(), None);
    assert_eq!(fake.seen("DeploymentCancel")[0].variables["id"], "d2");

    let nothing = Snapshot { running: None, setting: Some(pinned("a")), pre_deploy: None };
    fake.always("DeploymentList", deployments(&[deployment("d2", "SUCCESS", &pinned("b"), 2)]));
    fake.always("DeploymentRemove", data(json!({ "deploymentRemove": true })));
    assert_eq!(target.restore(&place(), &back(nothing, Some(&failed))).await.unwrap(), None);
    assert_eq!(fake.count("DeploymentRemove"), 1);
}

#[tokio::test]
async fn coming_back_cancels_a_deployment_whose_start_was_never_answered() {
    let (fake, target) = target().await;
    let before = baseline(&fake, &target).await;
    let d1 = deployment("d1", "SUCCESS", &pinned("a"), 1);
    fake.always("EnvironmentSnapshot", set_to(&pinned("a"), std::slice::from_ref(&d1)));
    fake.always("DeploymentList", deployments(&[deployment("d2", "DEPLOYING", &pinned("b"), 2), d1.clone()]));
    fake.always("DeploymentCancel", data(json!({ "deploymentCancel": true })));
    assert_eq!(target.restore(&place(), &back(before.snapshot(), None)).await.unwrap(), None);
    assert_eq!(fake.seen("DeploymentCancel")[0].variables["id"], "d2");
    // An interrupted way back is none of these.
    fake.always("DeploymentList", deployments(&[deployment("d3", "DEPLOYING", &pinned("a"), 3), d1]));
    assert_eq!(
        target.restore(&place(), &back(before.snapshot(), None)).await.unwrap().unwrap().as_str(),
        "d3"
    );
    assert_eq!(fake.count("DeploymentCancel"), 1);
}
