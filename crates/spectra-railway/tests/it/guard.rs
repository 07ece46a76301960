//! A guard between the requests of one action.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use serde_json::json;
use spectra_railway::{Client, Guard, RailwayTarget};
use spectra_rollout::{DeployOrder, Effect, Observation, Target};

use crate::fake::{Fake, data, deployments, instance, instance_ref, snapshot};

/// Allows so many changes.
struct Changes(AtomicU32);

impl Guard for Changes {
    fn may_change(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let left = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            left.map(drop).map_err(|_| "the lease was lost: a machine has it now".to_owned())
        })
    }
}

async fn deploy(fake: &Fake, client: &Client, allowed: u32) -> (Effect, String) {
    let [old, candidate] = ["a", "b"].map(|digit| format!("ghcr.io/team/app@sha256:{}", digit.repeat(64)));
    let set_to = |image: &str| {
        let settings = json!({ "source": { "image": image, "repo": null }, "activeDeployments": [] });
        snapshot(&[instance("svc", &settings)], &json!({}))
    };
    fake.once("EnvironmentSnapshot", set_to(&old));
    fake.always("EnvironmentSnapshot", set_to(&candidate));
    fake.always("ServiceInstanceUpdate", data(json!({ "serviceInstanceUpdate": true })));
    fake.always("ServiceInstanceDeploy", data(json!({ "serviceInstanceDeployV2": "d2" })));
    fake.always("DeploymentList", deployments(&[]));
    let guard = Arc::new(Changes(AtomicU32::new(allowed)));
    let target = RailwayTarget::new(client.guarded(guard));
    let baseline = Observation::default();
    let order = DeployOrder { image: candidate.parse().unwrap(), baseline, pre_deploy: None };
    let error = target.deploy(&instance_ref().into(), &order).await.unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    (error.effect, format!("{error}: {source}"))
}

#[tokio::test]
async fn the_first_change_is_not_sent_when_it_is_not_allowed() {
    let (fake, client) = Fake::with_account().await;
    let (effect, message) = deploy(&fake, &client, 0).await;
    assert_eq!(effect, Effect::None);
    assert!(message.contains("a machine has it now"), "{message}");
    assert_eq!((fake.count("ServiceInstanceUpdate"), fake.count("ServiceInstanceDeploy")), (0, 0));
}

#[tokio::test]
async fn an_action_ends_between_two_changes_when_the_second_is_not_allowed() {
    let (fake, client) = Fake::with_account().await;
    let (effect, message) = deploy(&fake, &client, 1).await;
    assert_eq!(effect, Effect::Possible);
    assert!(message.contains("a machine has it now"), "{message}");
    assert_eq!((fake.count("ServiceInstanceUpdate"), fake.count("ServiceInstanceDeploy")), (1, 0));
}
