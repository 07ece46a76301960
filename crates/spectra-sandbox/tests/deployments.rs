//! Statuses off the straight path, staging, knobs and hazards.

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

async fn instance(world: &World, place: &Place) -> Value {
    let data = world
        .ask(
            "query I($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { numReplicas healthcheckPath overlapSeconds source { image } latestDeployment { id } activeDeployments { id } } }",
            json!({ "e": place.environment, "s": place.service }),
        )
        .await;
    data["serviceInstance"].clone()
}

async fn running(world: &World, labels: &[(&str, &str)]) -> (Place, String) {
    let digest = world.push("team/app", "v1", labels).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    (place, id)
}

#[tokio::test]
async fn approval_queue_and_skip_hold_as_their_names_say() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let image = world.pinned("team/app", &digest);
    world.settings(json!({ "hold_deployments": "NEEDS_APPROVAL" })).await;
    let id = world.pin(&place, &image).await;
    assert_eq!(world.deployment(&id).await["status"], "NEEDS_APPROVAL");
    world.ask("mutation A($id: String!) { deploymentApprove(id: $id) }", json!({ "id": id })).await;
    world.wait_for(&id, "SUCCESS").await;
    let message =
        world.refused("mutation A($id: String!) { deploymentApprove(id: $id) }", json!({ "id": id })).await;
    assert!(message.contains("approve"), "{message}");

    world.settings(json!({ "hold_deployments": "QUEUED", "hold_duration": "1000h" })).await;
    let id = world.pin(&place, &image).await;
    assert_eq!(world.deployment(&id).await["status"], "QUEUED");
    world.admin("POST", "clock", json!({ "advance": "1000h" })).await;
    world.wait_for(&id, "SUCCESS").await;

    world.settings(json!({ "hold_deployments": "WAITING", "waiting_is_skipped": true })).await;
    let id = world.pin(&place, &image).await;
    assert_eq!(world.deployment(&id).await["status"], "WAITING");
    world.admin("POST", "clock", json!({ "advance": "1000h" })).await;
    world.wait_for(&id, "SKIPPED").await;
    let message = world
        .refused(
            "mutation R($e: String!, $s: String!) { serviceInstanceRedeploy(environmentId: $e, serviceId: $s) }",
            json!({ "e": place.environment, "s": place.service }),
        )
        .await;
    assert_eq!(message, "Cannot redeploy without a snapshot");

    // Kept for as long as was said, and then gone like everything that was removed.
    world.settings(json!({ "failed_retention": "2000h" })).await;
    assert_eq!(world.deployment(&id).await["status"], "SKIPPED");
    world.admin("POST", "clock", json!({ "advance": "2000h" })).await;
    world.wait_for(&id, "REMOVED").await;
}

#[tokio::test]
async fn a_deployment_on_its_way_is_superseded_by_the_next() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    world.settings(json!({ "image_deploy_duration": "10h" })).await;
    let first = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&first, "DEPLOYING").await;
    let second = world.deploy(&place).await;
    world.wait_for(&first, "REMOVED").await;
    world.wait_for(&second, "DEPLOYING").await;
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    world.wait_for(&second, "SUCCESS").await;
}

#[tokio::test]
async fn stop_keeps_success_and_restart_brings_it_back() {
    let world = world().await;
    let (place, id) = running(&world, &[("body", "up")]).await;
    let domain = world.domain(&place).await;
    world.until("it serves", async || world.visit(&domain, "/").await == (200, "up".to_owned())).await;
    world.ask("mutation S($id: String!) { deploymentStop(id: $id) }", json!({ "id": id })).await;
    world.until("it is stopped", async || world.deployment(&id).await["deploymentStopped"] == true).await;
    assert_eq!(world.deployment(&id).await["status"], "SUCCESS");
    assert_eq!(world.visit(&domain, "/").await.0, 502);
    world.ask("mutation S($id: String!) { deploymentRestart(id: $id) }", json!({ "id": id })).await;
    world.until("it serves again", async || world.visit(&domain, "/").await.0 == 200).await;
}

#[tokio::test]
async fn removing_the_active_deployment_takes_the_service_down() {
    let world = world().await;
    let (place, id) = running(&world, &[]).await;
    world.ask("mutation R($id: String!) { deploymentRemove(id: $id) }", json!({ "id": id })).await;
    world.wait_for(&id, "REMOVED").await;
    assert_eq!(instance(&world, &place).await["activeDeployments"], json!([]));
}

#[tokio::test]
async fn an_idle_service_sleeps_and_a_request_wakes_it() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[("body", "awake")]).await;
    let place = world.place().await;
    world.settings(json!({ "sleep_after": "60s" })).await;
    let domain = world.domain(&place).await;
    world.update(&place, json!({ "sleepApplication": true })).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SLEEPING").await;
    assert_eq!(world.deployment(&id).await["deploymentStopped"], true);
    // Long enough that it does not fall asleep again between two looks.
    world.settings(json!({ "sleep_after": "100h" })).await;
    world.until("it wakes", async || world.visit(&domain, "/").await == (200, "awake".to_owned())).await;
    world.wait_for(&id, "SUCCESS").await;
}

#[tokio::test]
async fn the_label_of_an_image_puts_it_to_sleep_whatever_the_service_says() {
    let world = world().await;
    // The setting alone would never let it sleep, and the service does not ask for it.
    world.settings(json!({ "sleep_after": "1000h" })).await;
    let (place, id) = running(&world, &[("body", "awake"), ("sleep-after", "10h")]).await;
    let domain = world.domain(&place).await;
    world.until("it serves", async || world.visit(&domain, "/").await.0 == 200).await;
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    world.wait_for(&id, "SLEEPING").await;
    world.until("it wakes", async || world.visit(&domain, "/").await == (200, "awake".to_owned())).await;
    world.wait_for(&id, "SUCCESS").await;
    // The next image says nothing of the kind.
    let digest = world.push("team/wakeful", "v1", &[("body", "never sleeps")]).await;
    let other = world.pin(&place, &world.pinned("team/wakeful", &digest)).await;
    world.wait_for(&other, "SUCCESS").await;
    world.admin("POST", "clock", json!({ "advance": "100h" })).await;
    world.wait_for(&id, "REMOVED").await;
    assert_eq!(world.deployment(&other).await["status"], "SUCCESS");
}

#[tokio::test]
async fn a_job_that_exits_zero_succeeds() {
    let world = world().await;
    let (_, id) = running(&world, &[("exit", "0")]).await;
    world
        .until("the replica has exited", async || {
            world.deployment(&id).await["instances"][0]["status"] == "EXITED"
        })
        .await;
}

#[tokio::test]
async fn the_old_deployment_overlaps_for_as_long_as_asked() {
    let world = world().await;
    let (place, first) = running(&world, &[]).await;
    world.update(&place, json!({ "overlapSeconds": 36_000 })).await;
    let second = world.deploy(&place).await;
    world.wait_for(&second, "SUCCESS").await;
    // The first was made without overlap, the second with ten hours of it.
    world.wait_for(&first, "REMOVED").await;
    let third = world.deploy(&place).await;
    world.wait_for(&third, "SUCCESS").await;
    assert_eq!(world.deployment(&second).await["status"], "SUCCESS");
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    world.wait_for(&second, "REMOVED").await;
}

#[tokio::test]
async fn the_knobs_lose_replicas_and_health_check_on_an_image_update() {
    let world = world().await;
    let (place, _) = running(&world, &[]).await;
    world
        .update(
            &place,
            json!({ "multiRegionConfig": { "europe-west4": { "numReplicas": 2 }, "us-west2": { "numReplicas": 1 } }, "healthcheckPath": "/h" }),
        )
        .await;
    assert_eq!(instance(&world, &place).await["numReplicas"], 3);
    let image = instance(&world, &place).await["source"]["image"].clone();
    world.update(&place, json!({ "source": { "image": image } })).await;
    assert_eq!(instance(&world, &place).await["numReplicas"], 3);
    world.settings(json!({ "replica_loss": true, "healthcheck_loss": true })).await;
    world.update(&place, json!({ "source": { "image": image } })).await;
    let after = instance(&world, &place).await;
    assert_eq!((&after["numReplicas"], &after["healthcheckPath"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn an_update_deploys_by_itself_when_the_knob_says_so() {
    let world = world().await;
    let (place, id) = running(&world, &[]).await;
    world.settings(json!({ "update_deploys_probability": 1.0 })).await;
    let image = instance(&world, &place).await["source"]["image"].clone();
    world.update(&place, json!({ "source": { "image": image } })).await;
    world.wait_for(&id, "REMOVED").await;
    // Any update, not one of the image alone.
    let second = instance(&world, &place).await["activeDeployments"][0]["id"].as_str().unwrap().to_owned();
    world.update(&place, json!({ "healthcheckPath": "/" })).await;
    world.wait_for(&second, "REMOVED").await;
}

#[tokio::test]
async fn latest_lags_behind_the_trigger() {
    let world = world().await;
    let (place, first) = running(&world, &[]).await;
    world
        .until("latest caught up", async || {
            instance(&world, &place).await["latestDeployment"]["id"] == json!(first)
        })
        .await;
    world.settings(json!({ "latest_deployment_lag": "10h", "image_deploy_duration": "10h" })).await;
    let second = world.deploy(&place).await;
    assert_ne!(instance(&world, &place).await["latestDeployment"]["id"], json!(second));
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    assert_eq!(instance(&world, &place).await["latestDeployment"]["id"], json!(second));
}

#[tokio::test]
async fn staged_changes_count_wait_and_ship_together() {
    let world = world().await;
    let (place, first) = running(&world, &[]).await;
    let stage = async |patch: Value| {
        world
            .ask(
                "mutation S($e: String!, $p: EnvironmentConfig!) { environmentStageChanges(environmentId: $e, input: $p, merge: true) { id status } }",
                json!({ "e": place.environment, "p": patch }),
            )
            .await
    };
    let service = place.service.clone();
    stage(json!({ "services": { service.clone(): { "deploy": { "overlapSeconds": 7 } } } })).await;
    let staged = stage(json!({ "services": { service: { "variables": { "A": { "value": "1" } } } } })).await;
    assert_eq!(staged["environmentStageChanges"]["status"], "STAGED");
    assert_eq!(instance(&world, &place).await["overlapSeconds"], Value::Null);
    let environment = async || {
        let data = world
            .ask(
                "query E($e: String!) { environment(id: $e) { unmergedChangesCount configEtag } }",
                json!({ "e": place.environment }),
            )
            .await;
        data["environment"].clone()
    };
    let before = environment().await;
    assert_eq!(before["unmergedChangesCount"], 1);
    world
        .ask(
            "mutation C($e: String!) { environmentPatchCommitStaged(environmentId: $e) }",
            json!({ "e": place.environment }),
        )
        .await;
    world.until("it is applied", async || instance(&world, &place).await["overlapSeconds"] == 7).await;
    let after = environment().await;
    assert_eq!(after["unmergedChangesCount"], 0);
    assert_ne!(after["configEtag"], before["configEtag"]);
    world.wait_for(&first, "REMOVED").await;
}

#[tokio::test]
async fn a_patch_that_fails_says_why_and_changes_nothing() {
    let world = world().await;
    let place = world.place().await;
    world.settings(json!({ "patch_error": "volume is busy" })).await;
    let data = world
        .ask(
            "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }",
            json!({ "e": place.environment, "p": { "services": { place.service.clone(): { "deploy": { "overlapSeconds": 7 } } } } }),
        )
        .await;
    let id = data["environmentPatchCommit"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    world
        .until("the error is told", async || {
            let data = world
                .ask(
                    "query P($id: String!) { environmentPatch(id: $id) { status lastAppliedError } }",
                    json!({ "id": id }),
                )
                .await;
            data["environmentPatch"] == json!({ "status": "APPLYING", "lastAppliedError": "volume is busy" })
        })
        .await;
    assert_eq!(instance(&world, &place).await["overlapSeconds"], Value::Null);
}

#[tokio::test]
async fn a_variable_write_deploys_once_unless_told_not_to_and_waits_for_builds() {
    let world = world().await;
    let (place, first) = running(&world, &[]).await;
    let write = "mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }";
    let input = |value: &str, skip: bool| {
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service,
            "name": "A", "value": value, "skipDeploys": skip } })
    };
    let count = async || {
        world.admin("GET", "status", Value::Null).await["deployments_by_service"][&place.service].clone()
    };
    world.ask(write, input("1", true)).await;
    assert_eq!(count().await, 1);
    world.settings(json!({ "init_duration": "10h" })).await;
    world.ask(write, input("2", false)).await;
    assert_eq!(count().await, 2);
    let message = world.refused(write, input("3", false)).await;
    assert!(message.starts_with("Cannot redeploy yet"), "{message}");
    let data = world
        .ask(
            "query V($p: String!, $e: String!, $s: String) { variables(projectId: $p, environmentId: $e, serviceId: $s) }",
            json!({ "p": place.project, "e": place.environment, "s": place.service }),
        )
        .await;
    assert_eq!(data["variables"]["A"], "2", "a refused write writes nothing");
    world.admin("POST", "clock", json!({ "advance": "10h" })).await;
    world.wait_for(&first, "REMOVED").await;
}

#[tokio::test]
async fn connections_page_when_told_to() {
    let world = world().await;
    let place = world.place().await;
    for name in ["a", "b"] {
        world.service(&place.project, &place.environment, name, None).await;
    }
    world.settings(json!({ "page_size": 2, "consistency_tail": {} })).await;
    let query = "query P($id: String!, $after: String) { project(id: $id) { services(first: 100, after: $after) { edges { node { name } } pageInfo { hasNextPage endCursor } } } }";
    let first = world.ask(query, json!({ "id": place.project })).await["project"]["services"].clone();
    assert_eq!(
        (first["edges"].as_array().unwrap().len(), &first["pageInfo"]["hasNextPage"]),
        (2, &json!(true))
    );
    let after = first["pageInfo"]["endCursor"].clone();
    let rest =
        world.ask(query, json!({ "id": place.project, "after": after })).await["project"]["services"].clone();
    assert_eq!(
        (rest["edges"].as_array().unwrap().len(), &rest["pageInfo"]["hasNextPage"]),
        (1, &json!(false))
    );
}

#[tokio::test]
async fn the_guardrail_refuses_images_for_everybody() {
    let world = world().await;
    let (place, _) = running(&world, &[]).await;
    world.settings(json!({ "restrict_image_deploys": true })).await;
    let message = world
        .refused(
            "mutation D($e: String!, $s: String!) { serviceInstanceDeployV2(environmentId: $e, serviceId: $s) }",
            json!({ "e": place.environment, "s": place.service }),
        )
        .await;
    assert!(message.contains("policy"), "{message}");
}

#[tokio::test]
async fn metrics_count_what_went_over_the_edge() {
    let world = world().await;
    let (place, id) = running(&world, &[("body", "x")]).await;
    let domain = world.domain(&place).await;
    for _ in 0..3 {
        assert_eq!(world.visit(&domain, "/").await.0, 200);
    }
    let data = world
        .ask(
            "query M($e: String!, $s: String!, $d: String!) {
                httpMetricsGroupedByStatus(environmentId: $e, serviceId: $s, startDate: \"2020-01-01T00:00:00Z\", endDate: \"2100-01-01T00:00:00Z\") { statusCode samples { value } }
                httpLogs(deploymentId: $d, beforeLimit: 10) { httpStatus path deploymentId } }",
            json!({ "e": place.environment, "s": place.service, "d": id }),
        )
        .await;
    let samples = data["httpMetricsGroupedByStatus"][0]["samples"].as_array().unwrap();
    let total: f64 = samples.iter().map(|sample| sample["value"].as_f64().unwrap()).sum();
    assert!((total - 3.0).abs() < f64::EPSILON, "{data}");
    assert_eq!(data["httpLogs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_fork_copies_all_but_sealed_variables() {
    let world = world().await;
    let (place, _) = running(&world, &[]).await;
    let patch = json!({ "services": { place.service.clone(): { "variables": {
        "OPEN": { "value": "1" }, "SEALED": { "value": "2", "isSealed": true } } } } });
    world
        .ask(
            "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }",
            json!({ "e": place.environment, "p": patch }),
        )
        .await;
    let names = async |environment: &str| {
        let data = world
            .ask(
                "query E($e: String!) { environment(id: $e) { variables { edges { node { name } } } } }",
                json!({ "e": environment }),
            )
            .await;
        let edges = data["environment"]["variables"]["edges"].as_array().unwrap().clone();
        edges.iter().map(|edge| edge["node"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    world.until("the patch is applied", async || names(&place.environment).await.len() == 2).await;
    world.admin("POST", "clock", json!({ "advance": "30s" })).await;
    let data = world
        .ask(
            "mutation E($i: EnvironmentCreateInput!) { environmentCreate(input: $i) { id sourceEnvironment { id } } }",
            json!({ "i": { "projectId": place.project, "name": "fork", "sourceEnvironmentId": place.environment, "skipInitialDeploys": true } }),
        )
        .await;
    assert_eq!(data["environmentCreate"]["sourceEnvironment"]["id"], json!(place.environment));
    let fork = data["environmentCreate"]["id"].as_str().unwrap().to_owned();
    world
        .until("the fork is visible", async || {
            let answer = world
                .answer("query E($e: String!) { environment(id: $e) { id } }", json!({ "e": fork }))
                .await;
            answer["errors"].is_null()
        })
        .await;
    assert_eq!(names(&fork).await, ["OPEN"]);
}

#[tokio::test]
async fn a_removed_deployment_can_be_rolled_back_to_as_long_as_the_plan_says() {
    let world = world().await;
    let (place, old) = running(&world, &[]).await;
    let new = world.deploy(&place).await;
    world.wait_for(&new, "SUCCESS").await;
    world.wait_for(&old, "REMOVED").await;
    world.settings(json!({ "manual_clock": true, "rate_limit": false })).await;
    let can = async || world.deployment(&old).await["canRollback"].take();
    let mut passed = 0;
    for (plan, hours) in [("free", 24), ("hobby", 72), ("pro", 120), ("enterprise", 360)] {
        world.settings(json!({ "plan": plan })).await;
        world.admin("POST", "clock", json!({ "advance": format!("{}h", hours - 1 - passed) })).await;
        assert_eq!(can().await, true, "{plan} within {hours} h");
        world.admin("POST", "clock", json!({ "advance": "1h" })).await;
        assert_eq!(can().await, false, "{plan} after {hours} h");
        passed = hours;
    }
    let message =
        world.refused("mutation R($id: String!) { deploymentRollback(id: $id) }", json!({ "id": old })).await;
    assert_eq!(message, "Cannot rollback to this deployment: its image is no longer available");
}
