//! Changing settings without losing others.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use spectra_railway::{
    Change, ErrorKind, InstanceUpdate, Placement, RegistryCredentials, RestartPolicy, RestartPolicyType,
};

use crate::fake::{Fake, data, instance, instance_ref, raw, snapshot, unmerged};

fn shown(settings: &Value, regions: &Value) -> crate::fake::Reply {
    let config = json!({ "services": { "svc": { "deploy": { "multiRegionConfig": regions } } } });
    snapshot(&[instance("svc", settings)], &config)
}

fn accepted() -> crate::fake::Reply {
    data(json!({ "serviceInstanceUpdate": true }))
}

fn image(text: &str) -> InstanceUpdate {
    InstanceUpdate { image: Change::Set(text.to_owned()), ..InstanceUpdate::default() }
}

#[tokio::test]
async fn q23_q24_placement_and_health_check_are_sent_along() {
    let (fake, client) = Fake::with_account().await;
    let regions = json!({ "us-west2": { "numReplicas": 6 } });
    let settings = json!({ "source": { "image": "x:1", "repo": null }, "healthcheckPath": "/up",
        "healthcheckTimeout": 60, "overlapSeconds": 20, "startCommand": "serve" });
    let mut after = settings.clone();
    after["source"]["image"] = json!("x:2");
    fake.once("EnvironmentSnapshot", shown(&settings, &regions));
    fake.once("ServiceInstanceUpdate", raw(504, "timeout"));
    fake.once("ServiceInstanceUpdate", accepted());
    // The first look is too early.
    fake.once("EnvironmentSnapshot", shown(&settings, &regions));
    fake.once("EnvironmentSnapshot", shown(&after, &regions));
    let found = client.update_instance(&instance_ref(), &image("x:2")).await.unwrap();
    assert_eq!((found.image.as_deref(), found.total_replicas()), (Some("x:2"), 6));
    assert_eq!(
        fake.seen("ServiceInstanceUpdate")[0].variables,
        json!({ "service": "svc", "environment": "env", "input": {
            "source": { "image": "x:2" }, "multiRegionConfig": regions, "healthcheckPath": "/up",
            "healthcheckTimeout": 60, "overlapSeconds": 20 } })
    );
}

#[tokio::test]
async fn q23_a_lost_replica_is_an_error() {
    let (fake, client) = Fake::with_account().await;
    let regions = json!({ "us-west2": { "numReplicas": 6 } });
    fake.once("EnvironmentSnapshot", shown(&json!({ "source": { "image": "x:1", "repo": null } }), &regions));
    fake.always("ServiceInstanceUpdate", accepted());
    fake.always(
        "EnvironmentSnapshot",
        shown(
            &json!({ "source": { "image": "x:2", "repo": null } }),
            &json!({ "us-west2": { "numReplicas": 1 } }),
        ),
    );
    let error = client.update_instance(&instance_ref(), &image("x:2")).await.unwrap_err();
    assert_eq!((error.kind(), error.changed_nothing()), (ErrorKind::Diverged, false));
    assert!(
        error.to_string().contains("replicas by region is `us-west2: 1` instead of `us-west2: 6`"),
        "{error}"
    );
}

#[tokio::test]
async fn what_holds_already_is_not_sent() {
    let (fake, client) = Fake::with_account().await;
    let settings = json!({ "source": { "image": "x:2", "repo": null }, "overlapSeconds": 5 });
    fake.always("EnvironmentSnapshot", shown(&settings, &json!({})));
    let update = InstanceUpdate {
        overlap: Change::Set(Duration::from_secs(5)),
        healthcheck_path: Change::Clear,
        placement: Some(Placement::Replicas(1)),
        restart_policy: Some(RestartPolicy { condition: RestartPolicyType::OnFailure, max_retries: 10 }),
        ..image("x:2")
    };
    client.update_instance(&instance_ref(), &update).await.unwrap();
    assert_eq!(fake.count("ServiceInstanceUpdate"), 0);
    // Credentials cannot be compared, so they are always sent.
    fake.always("ServiceInstanceUpdate", accepted());
    let credentials = RegistryCredentials { username: "u".into(), password: "hunter2-registry".into() };
    let update = InstanceUpdate { registry_credentials: Some(credentials), ..InstanceUpdate::default() };
    client.update_instance(&instance_ref(), &update).await.unwrap();
    let input = &fake.seen("ServiceInstanceUpdate")[0].variables["input"];
    assert_eq!(input["registryCredentials"], json!({ "username": "u", "password": "hunter2-registry" }));
    assert_eq!((&input["source"], &input["numReplicas"]), (&Value::Null, &json!(1)));
    assert!(!format!("{update:?}").contains("hunter2"), "secrets are not printed");
}

#[tokio::test]
async fn q22_clearing_is_a_quiet_patch_and_empty_text_for_the_start_command() {
    let (fake, client) = Fake::with_account().await;
    let before = json!({ "healthcheckPath": "/up", "drainingSeconds": 9, "startCommand": "serve" });
    fake.once("EnvironmentSnapshot", shown(&before, &json!({})));
    fake.always("EnvironmentSnapshot", shown(&json!({ "drainingSeconds": 0 }), &json!({})));
    fake.always("ServiceInstanceUpdate", accepted());
    fake.always("EnvironmentChanges", unmerged(0));
    fake.always(
        "EnvironmentStageChanges",
        data(json!({ "environmentStageChanges": { "id": "p", "status": "STAGED" } })),
    );
    fake.always("EnvironmentPatchCommitStaged", data(json!({ "environmentPatchCommitStaged": "p" })));
    fake.always(
        "EnvironmentPatchGet",
        data(json!({ "environmentPatch": { "id": "p", "status": "COMMITTED", "lastAppliedError": null } })),
    );
    let update = InstanceUpdate {
        healthcheck_path: Change::Clear,
        draining: Change::Clear,
        start_command: Change::Clear,
        ..InstanceUpdate::default()
    };
    client.update_instance(&instance_ref(), &update).await.unwrap();
    assert_eq!(
        fake.seen("ServiceInstanceUpdate")[0].variables["input"],
        json!({ "startCommand": "", "numReplicas": 1 })
    );
    assert_eq!(
        fake.seen("EnvironmentStageChanges")[0].variables["input"],
        json!({ "services": { "svc": { "deploy": { "healthcheckPath": null, "drainingSeconds": null } } } })
    );
}

#[tokio::test]
async fn q25_regions_are_sent_by_railways_names() {
    let (fake, client) = Fake::with_account().await;
    let region =
        json!({ "name": "europe-west4-drams3a", "region": "europe-west4", "location": "x", "country": "NL" });
    fake.always("RegionList", data(json!({ "regions": [region] })));
    fake.once("EnvironmentSnapshot", shown(&json!({}), &json!({})));
    fake.always(
        "EnvironmentSnapshot",
        shown(&json!({}), &json!({ "europe-west4-drams3a": { "numReplicas": 2 } })),
    );
    fake.always("ServiceInstanceUpdate", accepted());
    let placement = |name: &str| InstanceUpdate {
        placement: Some(Placement::Regions(BTreeMap::from([(name.to_owned(), 2)]))),
        ..InstanceUpdate::default()
    };
    client.update_instance(&instance_ref(), &placement("europe-west4")).await.unwrap();
    let input = &fake.seen("ServiceInstanceUpdate")[0].variables["input"];
    assert_eq!(*input, json!({ "multiRegionConfig": { "europe-west4-drams3a": { "numReplicas": 2 } } }));
    let error = client.update_instance(&instance_ref(), &placement("mars")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
}

#[tokio::test]
async fn q56_defaults_that_appear_are_no_difference_but_other_values_are() {
    let (fake, client) = Fake::with_account().await;
    let update = InstanceUpdate { healthcheck_path: Change::Set("/up".into()), ..InstanceUpdate::default() };
    fake.always("ServiceInstanceUpdate", accepted());
    fake.once("EnvironmentSnapshot", shown(&json!({}), &json!({})));
    let defaults = json!({ "healthcheckPath": "/up", "healthcheckTimeout": 300, "overlapSeconds": 0 });
    fake.once("EnvironmentSnapshot", shown(&defaults, &json!({})));
    client.update_instance(&instance_ref(), &update).await.unwrap();

    fake.once("EnvironmentSnapshot", shown(&json!({}), &json!({})));
    let other = json!({ "healthcheckPath": "/up", "healthcheckTimeout": 10, "overlapSeconds": 0 });
    fake.always("EnvironmentSnapshot", shown(&other, &json!({})));
    let error = client.update_instance(&instance_ref(), &update).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Diverged, "{error}");
}
