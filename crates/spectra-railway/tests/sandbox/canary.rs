//! A service beside a service.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use spectra_railway::{
    Change, Deploys, ErrorKind, FanOut, InitialDeploys, InstanceRef, InstanceUpdate, NewCanary,
    NewEnvironment, NewService, Placement, RailwayTarget, RegistryCredentials, RestartPolicy,
    RestartPolicyType, VariableChanges, VariableScope,
};
use spectra_rollout::{DeployOrder, Place, Target as _};

use crate::world::{World, until};

fn canary(of: &InstanceRef) -> NewCanary {
    NewCanary {
        of: of.clone(),
        name: "web-canary".to_owned(),
        rollout: "r-1".to_owned(),
        placement: None,
        registry_credentials: None,
    }
}

/// With everything set that a clone shares, and what it does not.
async fn furnished(world: &World) -> InstanceRef {
    let image = world.push("v1", &[("body", "stable"), ("health-path", "/health")]).await;
    let place = world.place(&image).await;
    let regions = BTreeMap::from([("us-west2".to_owned(), 2), ("europe-west4-drams3a".to_owned(), 1)]);
    let update = InstanceUpdate {
        healthcheck_path: Change::Set("/health".to_owned()),
        healthcheck_timeout: Change::Set(Duration::from_secs(77)),
        start_command: Change::Set("serve --fast".to_owned()),
        pre_deploy_command: Change::Set("migrate".to_owned()),
        overlap: Change::Set(Duration::from_secs(7)),
        draining: Change::Set(Duration::from_secs(9)),
        placement: Some(Placement::Regions(regions)),
        restart_policy: Some(RestartPolicy { condition: RestartPolicyType::Always, max_retries: 3 }),
        ..InstanceUpdate::default()
    };
    world.client.update_instance(&place, &update).await.unwrap();
    let changes = VariableChanges {
        set: BTreeMap::from([
            ("PORT".to_owned(), "8080".into()),
            ("URL".to_owned(), "https://${{shared.HOST}}/${{PORT}}".into()),
        ]),
        seal: BTreeMap::from([("KEY".to_owned(), "s3cr3t-value".into())]),
        delete: BTreeSet::new(),
    };
    let scope = VariableScope::Service(place.service.clone());
    let change =
        world.client.change_variables(&place.project, &place.environment, &scope, &changes, Deploys::Skip);
    change.await.unwrap();
    place
}

async fn names(world: &World, place: &InstanceRef) -> Vec<String> {
    let query = "query S($p: String!) { project(id: $p) { services { edges { node { name } } } } }";
    let data = world.ask(query, json!({ "p": place.project.as_str() })).await;
    let edges = data["project"]["services"]["edges"].as_array().unwrap().clone();
    let mut names: Vec<_> =
        edges.iter().map(|edge| edge["node"]["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_clone_is_set_like_the_original_but_for_what_must_not_happen_twice() {
    let world = World::start().await;
    let place = furnished(&world).await;
    let original = world.client.fresh_instance(&place).await.unwrap();
    let clone = world.client.clone_service(&canary(&place)).await.unwrap();
    assert_eq!(clone.unreadable, BTreeSet::from(["KEY".to_owned()]));
    assert_eq!(world.client.unreadable_variables(&place).await.unwrap(), clone.unreadable);
    let found = world.client.fresh_instance(&clone.instance).await.unwrap();
    assert_eq!(found.service_name, "web-canary");
    assert_eq!(found.regions, original.regions);
    assert_eq!(found.healthcheck_path, original.healthcheck_path);
    assert_eq!(found.healthcheck_timeout, Some(Duration::from_secs(77)));
    assert_eq!(found.start_command, original.start_command);
    assert_eq!((found.overlap, found.draining), (original.overlap, original.draining));
    assert_eq!(found.restart_policy, original.restart_policy);
    assert_eq!((found.pre_deploy_command, found.image), (None, None));
    assert_eq!((found.domains.len(), found.latest_deployment), (0, None));
    let values: BTreeMap<_, _> = found
        .variables
        .iter()
        .map(|(name, variable)| (name.as_str(), variable.value.as_ref().unwrap().expose()))
        .collect();
    let expected = BTreeMap::from([
        ("PORT", "8080"),
        ("URL", "https://${{shared.HOST}}/${{PORT}}"),
        ("SPECTRA_CANARY_OF", place.service.as_str()),
        ("SPECTRA_ROLLOUT", "r-1"),
    ]);
    assert_eq!(values, expected);
    assert_eq!(world.client.fresh_instance(&place).await.unwrap(), original, "the original is as it was");
    let status = world.admin("GET", "status", Value::Null).await;
    assert_eq!(status["deployments_by_service"], json!({}), "nothing was deployed");
}

#[tokio::test]
async fn replicas_and_credentials_are_the_callers() {
    let world = World::start().await;
    let place = furnished(&world).await;
    let new = NewCanary {
        placement: Some(Placement::Regions(BTreeMap::from([("us-west2".to_owned(), 1)]))),
        registry_credentials: Some(RegistryCredentials {
            username: "robot".to_owned(),
            password: "p4ssw0rd-of-robot".to_owned().into(),
        }),
        ..canary(&place)
    };
    let clone = world.client.clone_service(&new).await.unwrap();
    let found = world.client.fresh_instance(&clone.instance).await.unwrap();
    assert_eq!(found.regions, BTreeMap::from([("us-west2".to_owned(), 1)]));
    let rows = world.journal("ServiceInstanceUpdate").await;
    let sent = &rows.last().unwrap()["variables"];
    assert_eq!(sent["input"]["registryCredentials"]["username"], "[redacted]", "{sent}");
    assert_eq!(sent["service"], clone.instance.service.as_str());
}

#[tokio::test]
async fn the_candidate_serves_on_a_domain_of_its_own_and_leaves_nothing_behind() {
    let world = World::start().await;
    let (place, stable, domain) = world.serving(&[("body", "stable")]).await;
    let candidate = world.push("v2", &[("body", "candidate")]).await;
    let clone = world.client.clone_service(&canary(&place)).await.unwrap().instance;
    let own = world.client.ensure_domain(&clone, None).await.unwrap();
    assert_eq!(world.client.ensure_domain(&clone, None).await.unwrap().id, own.id);
    assert_eq!(world.client.ensure_domain(&clone, Some(8080)).await.unwrap().id, own.id);
    assert_eq!(world.client.service_domains(&clone).await.unwrap()[0].target_port, Some(8080));
    let target = RailwayTarget::new(world.client.clone());
    let at = Place::from(clone.clone());
    let baseline = target.observe(&at).await.unwrap();
    assert!(baseline.running.is_none());
    let order = DeployOrder { image: candidate.parse().unwrap(), baseline, pre_deploy: None };
    let id = target.deploy(&at, &order).await.unwrap();
    world.until_status(&id, "SUCCESS").await;
    until("the candidate serves", async || {
        world.visit(&own.domain, "/").await == (200, "candidate".to_owned())
    })
    .await;
    assert_eq!(world.visit(&domain, "/").await, (200, "stable".to_owned()));
    let instance = world.client.fresh_instance(&place).await.unwrap();
    assert_eq!(instance.active_deployments[0].id, stable);
    assert!(!instance.image.unwrap().contains(candidate.split('@').nth(1).unwrap()));

    let found = world.client.canaries_of(&place).await.unwrap();
    assert_eq!(
        (found.len(), found[0].name.as_str(), found[0].rollout.as_deref()),
        (1, "web-canary", Some("r-1"))
    );
    assert_eq!(found[0].instance, clone);
    for _ in 0..2 {
        world.client.delete_canary(&place.service, &clone).await.unwrap();
        assert_eq!(names(&world, &place).await, ["web"]);
    }
    // As the general deletion has it too.
    world.client.delete_service(&clone.project, &clone.service).await.unwrap();
    assert_eq!(world.client.canaries_of(&place).await.unwrap(), []);
    until("nothing answers there", async || world.visit(&own.domain, "/").await.0 == 404).await;
    let status = world.admin("GET", "status", Value::Null).await;
    let left: Vec<_> =
        ["services", "service_instances", "domains"].map(|key| status["objects"][key].clone()).into();
    assert_eq!(left, [json!(1), json!(1), json!(1)], "{status}");
    assert_eq!(world.visit(&domain, "/").await, (200, "stable".to_owned()));
}

#[tokio::test]
async fn q10_a_clone_is_in_one_environment() {
    let world = World::start().await;
    let place = furnished(&world).await;
    let new = NewEnvironment {
        project: place.project.clone(),
        name: "staging".to_owned(),
        source: None,
        deploys: InitialDeploys::Skip,
    };
    let staging = world.client.create_environment(&new).await.unwrap();
    let clone = world.client.clone_service(&canary(&place)).await.unwrap().instance;
    let here = world.client.fresh_environment_snapshot(&place.project, &place.environment).await.unwrap();
    assert!(here.instances.contains_key(&clone.service));
    let there = world.client.fresh_environment_snapshot(&place.project, &staging.id).await.unwrap();
    assert!(!there.instances.contains_key(&clone.service));
}

#[tokio::test]
async fn a_second_call_changes_nothing() {
    let world = World::start().await;
    let place = furnished(&world).await;
    let first = world.client.clone_service(&canary(&place)).await.unwrap();
    world.admin("DELETE", "journal", Value::Null).await;
    assert_eq!(world.client.clone_service(&canary(&place)).await.unwrap(), first);
    let journal = world.admin("GET", "journal", Value::Null).await;
    let rows = journal["entries"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["mutation"] == false), "{rows:?}");
    assert!(rows.len() <= 6, "{} requests", rows.len());
}

/// Fails at one write, before or after it took effect, and is called again. Whether the first call failed.
async fn interrupted(operation: &str, skip: u32, action: &Value) -> bool {
    let world = World::start().await;
    let place = furnished(&world).await;
    let new = NewEnvironment {
        project: place.project.clone(),
        name: "staging".to_owned(),
        source: None,
        deploys: InitialDeploys::Skip,
    };
    let staging = world.client.create_environment(&new).await.unwrap();
    world.fault(json!({ "operation": operation, "skip": skip, "count": 1, "action": action })).await;
    let what = format!("{operation} {skip} {action}");
    let first = world.client.clone_service(&canary(&place)).await;
    let faults = world.admin("GET", "faults", Value::Null).await;
    assert_ne!(faults["faults"][0]["applied"], 0, "{what}: the fault was never met");
    if let Err(error) = &first {
        let orphans = world.client.canaries_of(&place).await.unwrap();
        let orphan = orphans.first().map(|canary| canary.instance.service.as_str());
        assert_eq!(error.left_behind(), orphan, "{what}: {error}");
        assert!(orphans.iter().all(|canary| canary.rollout.is_none()), "{what}");
    }
    let clone = world.client.clone_service(&canary(&place)).await.unwrap();
    assert_eq!(names(&world, &place).await, ["web", "web-canary"], "{what}");
    let found = world.client.fresh_instance(&clone.instance).await.unwrap();
    assert_eq!((found.variables.len(), found.total_replicas()), (4, 3), "{what}");
    let there = world.client.fresh_environment_snapshot(&place.project, &staging.id).await.unwrap();
    assert!(there.instances.is_empty(), "{what}");
    world.client.delete_canary(&place.service, &clone.instance).await.unwrap();
    assert_eq!(names(&world, &place).await, ["web"], "{what}");
    first.is_err()
}

#[tokio::test]
async fn a_clone_that_failed_half_way_is_finished_by_the_next_call() {
    let refused = json!({ "type": "fail_before_commit", "message": "no", "code": "BAD_USER_INPUT" });
    let lost = json!({ "type": "fail_after_commit", "with": "problem" });
    let writes = [
        ("ServiceCreate", 0),
        ("ServiceDelete", 0),
        ("ServiceInstanceUpdate", 0),
        ("VariableCollectionUpsert", 0),
        ("VariableCollectionUpsert", 1),
    ];
    let failing = writes.iter().map(|(operation, skip)| interrupted(operation, *skip, &refused));
    assert_eq!(futures::future::join_all(failing).await, [true; 5], "a refusal is the caller's to know");
    let ambiguous = writes.iter().map(|(operation, skip)| interrupted(operation, *skip, &lost));
    assert_eq!(futures::future::join_all(ambiguous).await, [false; 5], "a lost answer is made up for");
}

#[tokio::test]
async fn q48_a_service_with_a_volume_is_refused_until_the_volume_is_gone() {
    let world = World::start().await;
    let image = world.push("v1", &[]).await;
    let place = world.place(&image).await;
    let input = json!({ "projectId": place.project.as_str(), "environmentId": place.environment.as_str(),
                        "serviceId": place.service.as_str(), "mountPath": "/data" });
    let query = "mutation V($i: VolumeCreateInput!) { volumeCreate(input: $i) { id } }";
    let volume = world.ask(query, json!({ "i": input })).await["volumeCreate"]["id"].take();
    let mounted = async || {
        let mounts = world.client.volume_mounts(&place.project, &place.environment).await.unwrap();
        mounts.iter().any(|mount| mount.service == place.service && mount.mount_path == "/data")
    };
    until("the volume is listed", &mounted).await;
    let refused = world.client.clone_service(&canary(&place)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BadInput);
    assert!(refused.to_string().contains("volume at `/data`"), "{refused}");
    assert_eq!(names(&world, &place).await, ["web"]);
    world.ask("mutation D($v: String!) { volumeDelete(volumeId: $v) }", json!({ "v": volume })).await;
    until("it is listed no longer", async || !mounted().await).await;
    world.client.clone_service(&canary(&place)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_the_canary_is_left_alone() {
    let world = World::start().await;
    let place = furnished(&world).await;
    let new = NewService {
        project: place.project.clone(),
        environment: place.environment.clone(),
        name: "web-canary".to_owned(),
        fan_out: FanOut::Refuse,
    };
    let (foreign, _) = world.client.create_service(&new).await.unwrap();
    let foreign = InstanceRef { service: foreign.id, ..place.clone() };
    let refused = world.client.clone_service(&canary(&place)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(refused.to_string().contains("not marked as a canary"), "{refused}");
    assert_eq!(refused.left_behind(), None);
    assert_eq!(world.client.fresh_instance(&foreign).await.unwrap().variables, BTreeMap::new());
    for of in [&foreign, &place] {
        let refused = world.client.delete_canary(&place.service, of).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    }
    assert_eq!(names(&world, &place).await, ["web", "web-canary"]);

    let other = NewCanary { name: "web-2".to_owned(), ..canary(&place) };
    let clone = world.client.clone_service(&other).await.unwrap().instance;
    let later = NewCanary { rollout: "r-2".to_owned(), ..other };
    let refused = world.client.clone_service(&later).await.unwrap_err();
    assert!(refused.to_string().contains("belongs to rollout `r-1`"), "{refused}");
    let of_canary = NewCanary { of: clone, name: "web-3".to_owned(), ..canary(&place) };
    let refused = world.client.clone_service(&of_canary).await.unwrap_err();
    assert!(refused.to_string().contains("a canary itself"), "{refused}");
    assert_eq!(names(&world, &place).await, ["web", "web-2", "web-canary"]);
}
