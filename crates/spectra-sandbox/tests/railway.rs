//! The semantics of the API, over real HTTP.

mod support;

use serde_json::{Value, json};
use support::world;

#[tokio::test]
async fn a_good_image_serves_and_a_bad_one_changes_nothing() {
    let world = world().await;
    let good = world.push("team/app", "v1", &[("body", "one")]).await;
    let bad = world.push("team/app", "v2", &[("body", "two"), ("health-status", "500")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    world.update(&place, json!({ "healthcheckPath": "/health", "healthcheckTimeout": 60 })).await;

    let first = world.pin(&place, &world.pinned("team/app", &good)).await;
    let row = world.wait_for(&first, "SUCCESS").await;
    assert_eq!(row["meta"]["image"], world.pinned("team/app", &good));
    assert!(row["meta"]["imageDigest"].is_null(), "{row}");
    assert_eq!(row["instances"][0]["status"], "RUNNING");
    assert_eq!(world.visit(&domain, "/").await, (200, "one".to_owned()));

    let second = world.pin(&place, &world.pinned("team/app", &bad)).await;
    world.wait_for(&second, "FAILED").await;
    let events = world
        .ask(
            "query E($id: String!) { deploymentEvents(id: $id) { edges { node { step completedAt payload { attempt maxAttempts error } } } } }",
            json!({ "id": second }),
        )
        .await;
    let last = events["deploymentEvents"]["edges"].as_array().unwrap().last().unwrap()["node"].clone();
    assert_eq!(last["step"], "HEALTHCHECK", "{events}");
    assert!(last["payload"]["error"].as_str().unwrap().contains("500"), "{last}");
    assert_eq!(world.deployment(&first).await["status"], "SUCCESS");
    assert_eq!(world.visit(&domain, "/").await, (200, "one".to_owned()));
}

#[tokio::test]
async fn a_newer_deployment_takes_over_and_the_old_one_is_removed() {
    let world = world().await;
    let one = world.push("team/app", "v1", &[("body", "one")]).await;
    let two = world.push("team/app", "v2", &[("body", "two")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    let first = world.pin(&place, &world.pinned("team/app", &one)).await;
    world.wait_for(&first, "SUCCESS").await;
    let second = world.pin(&place, &world.pinned("team/app", &two)).await;
    world.wait_for(&second, "SUCCESS").await;
    assert_eq!(world.visit(&domain, "/").await, (200, "two".to_owned()));
    let old = world.wait_for(&first, "REMOVED").await;
    assert_eq!(old["canRollback"], true);

    let data =
        world.ask("mutation R($id: String!) { deploymentRollback(id: $id) }", json!({ "id": first })).await;
    assert_eq!(data["deploymentRollback"], true);
    world.until("the old image serves again", async || world.visit(&domain, "/").await.1 == "one").await;
    let instance = world
        .ask(
            "query I($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { source { image } } }",
            json!({ "e": place.environment, "s": place.service }),
        )
        .await;
    let image = instance["serviceInstance"]["source"]["image"].clone();
    assert_eq!(image, world.pinned("team/app", &two), "a rollback leaves the pin alone");
}

#[tokio::test]
async fn an_image_that_does_not_exist_fails_with_empty_logs() {
    let world = world().await;
    let place = world.place().await;
    let image = world.pinned("team/none", &support::sha256(b"nothing"));
    let id = world.pin(&place, &image).await;
    let row = world.wait_for(&id, "FAILED").await;
    assert!(row["url"].is_null());
    let logs = world
        .ask(
            "query L($id: String!) { buildLogs(deploymentId: $id) { message } deploymentLogs(deploymentId: $id) { message } }",
            json!({ "id": id }),
        )
        .await;
    assert_eq!(logs, json!({ "buildLogs": [], "deploymentLogs": [] }));
}

#[tokio::test]
async fn a_crash_loop_ends_crashed_and_a_restart_revives_it() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[("crash-after", "30s"), ("body", "x")]).await;
    let place = world.place().await;
    world.update(&place, json!({ "restartPolicyType": "ON_FAILURE", "restartPolicyMaxRetries": 2 })).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    let row = world.wait_for(&id, "CRASHED").await;
    assert_eq!(row["instances"][0]["status"], "CRASHED");
    world.ask("mutation R($id: String!) { deploymentRestart(id: $id) }", json!({ "id": id })).await;
    world.wait_for(&id, "SUCCESS").await;
}

#[tokio::test]
async fn what_crashes_before_it_served_does_not_take_the_traffic_over() {
    let world = world().await;
    let good = world.push("team/app", "v1", &[("body", "good")]).await;
    let bad = world.push("team/app", "v2", &[("exit", "1")]).await;
    let place = world.place().await;
    let domain = world.domain(&place).await;
    let first = world.pin(&place, &world.pinned("team/app", &good)).await;
    world.wait_for(&first, "SUCCESS").await;
    world.until("it serves", async || world.visit(&domain, "/").await.0 == 200).await;
    let second = world.pin(&place, &world.pinned("team/app", &bad)).await;
    world.wait_for(&second, "CRASHED").await;
    assert_eq!(world.visit(&domain, "/").await, (200, "good".to_owned()));
    let status = world.admin("GET", "status", Value::Null).await;
    assert_eq!(status["services"][0]["active_deployment"], first);
}

#[tokio::test]
async fn an_update_alone_deploys_nothing_and_redeploy_keeps_the_old_image() {
    let world = world().await;
    let one = world.push("team/app", "v1", &[("body", "one")]).await;
    let two = world.push("team/app", "v2", &[("body", "two")]).await;
    let place = world.place().await;
    let first = world.pin(&place, &world.pinned("team/app", &one)).await;
    world.wait_for(&first, "SUCCESS").await;
    world.update(&place, json!({ "source": { "image": world.pinned("team/app", &two) } })).await;
    let list = "query L($i: DeploymentListInput!) { deployments(first: 20, input: $i) { edges { node { id status meta } } } }";
    let input = json!({ "i": { "environmentId": place.environment, "serviceId": place.service } });
    let rows = world.ask(list, input.clone()).await;
    assert_eq!(rows["deployments"]["edges"].as_array().unwrap().len(), 1);
    world
        .ask(
            "mutation R($e: String!, $s: String!) { serviceInstanceRedeploy(environmentId: $e, serviceId: $s) }",
            json!({ "e": place.environment, "s": place.service }),
        )
        .await;
    let rows = world.ask(list, input).await;
    let newest = &rows["deployments"]["edges"][0]["node"];
    assert_ne!(newest["id"], json!(first));
    assert_eq!(newest["meta"]["image"], world.pinned("team/app", &one));
}

#[tokio::test]
async fn a_cancelled_deployment_is_removed() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    world.settings(json!({ "image_deploy_duration": "10h" })).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "DEPLOYING").await;
    world.ask("mutation C($id: String!) { deploymentCancel(id: $id) }", json!({ "id": id })).await;
    world.wait_for(&id, "REMOVED").await;
}

#[tokio::test]
async fn tokens_reach_what_they_should() {
    let world = world().await;
    let place = world.place().await;
    let data = world
        .ask(
            "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }",
            json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } }),
        )
        .await;
    let secret = data["projectTokenCreate"].as_str().unwrap();
    let send = async |query: &str, variables: Value, header: (&str, String)| {
        let request = world.request(query, &variables).header(header.0, header.1);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let probe = "query { projectToken { projectId environmentId } }";
    let good = send(probe, json!({}), ("Project-Access-Token", secret.to_owned())).await;
    assert_eq!(good["data"]["projectToken"]["environmentId"], json!(place.environment));
    let wrong = send(probe, json!({}), ("Authorization", format!("Bearer {secret}"))).await;
    assert_eq!(wrong["errors"][0]["message"], "Project Token not found");
    let account = world.info.tokens.account.clone();
    let wrong = send("query { me { id } }", json!({}), ("Project-Access-Token", account)).await;
    assert_eq!(wrong["errors"][0]["message"], "Project Token not found");
    let workspace = ("Authorization", format!("Bearer {}", world.info.tokens.workspace));
    let personal = send("query { me { id } }", json!({}), workspace.clone()).await;
    assert_eq!(personal["errors"][0]["message"], "Not Authorized");
    let probe = send("query { apiToken { workspaces { id } } }", json!({}), workspace).await;
    assert_eq!(probe["data"]["apiToken"]["workspaces"][0]["id"], json!(world.info.workspace_id));
    let project = send(
        "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }",
        json!({ "i": { "name": "x" } }),
        ("Project-Access-Token", secret.to_owned()),
    )
    .await;
    assert_eq!(project["errors"][0]["message"], "Not Authorized");
}

#[tokio::test]
async fn the_second_project_within_thirty_seconds_is_refused() {
    let world = world().await;
    world.settings(json!({ "time_scale": 1.0 })).await;
    world.project("one").await;
    let message = world
        .refused(
            "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }",
            json!({ "i": { "name": "two" } }),
        )
        .await;
    assert!(message.contains("creating projects too quickly"), "{message}");
    world.admin("POST", "clock", json!({ "advance": "30s" })).await;
    world.project("two").await;
}

#[tokio::test]
async fn references_are_rendered_and_sealed_values_never_read_back() {
    let world = world().await;
    let place = world.place().await;
    let patch = json!({
        "sharedVariables": { "REGION": { "value": "mars" } },
        "services": { place.service.clone(): { "variables": {
            "A": { "value": "hello ${{shared.REGION}}" },
            "B": { "value": "${{web.A}} from ${{RAILWAY_SERVICE_NAME}}" },
            "SECRET": { "value": "canary-9f3", "isSealed": true }
        } } }
    });
    let data = world
        .ask(
            "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }",
            json!({ "e": place.environment, "p": patch }),
        )
        .await;
    let patch = data["environmentPatchCommit"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    world
        .until("the patch is committed", async || {
            let data = world
                .ask(
                    "query P($id: String!) { environmentPatch(id: $id) { status lastAppliedError } }",
                    json!({ "id": patch }),
                )
                .await;
            assert!(data["environmentPatch"]["lastAppliedError"].is_null(), "{data}");
            data["environmentPatch"]["status"] == "COMMITTED"
        })
        .await;
    let data = world
        .ask(
            "query V($p: String!, $e: String!, $s: String) { variables(projectId: $p, environmentId: $e, serviceId: $s) raw: variables(projectId: $p, environmentId: $e, serviceId: $s, unrendered: true) }",
            json!({ "p": place.project, "e": place.environment, "s": place.service }),
        )
        .await;
    assert_eq!(data["variables"]["B"], "hello mars from web");
    assert_eq!(data["raw"]["B"], "${{web.A}} from ${{RAILWAY_SERVICE_NAME}}");
    let all = world
        .ask(
            "query E($e: String!) { environment(id: $e) { config(decryptVariables: true) configEtag unmergedChangesCount variables { edges { node { name isSealed } } } } }",
            json!({ "e": place.environment }),
        )
        .await;
    assert!(!all.to_string().contains("canary-9f3") && !data.to_string().contains("canary-9f3"));
    let names = all["environment"]["variables"]["edges"].as_array().unwrap();
    assert!(names.iter().any(|edge| edge["node"] == json!({ "name": "SECRET", "isSealed": true })), "{all}");
}

#[tokio::test]
async fn a_service_created_in_a_root_appears_in_every_root_and_in_a_fork_alone() {
    let world = world().await;
    let (project, root) = world.project("shop").await;
    let create = async |name: &str, source: Option<&str>| {
        let mut id = String::new();
        world
            .until("the environment is created", async || {
                let answer = world
                    .answer(
                        "mutation E($i: EnvironmentCreateInput!) { environmentCreate(input: $i) { id } }",
                        json!({ "i": { "projectId": project, "name": name, "sourceEnvironmentId": source } }),
                    )
                    .await;
                id = answer["data"]["environmentCreate"]["id"].as_str().unwrap_or_default().to_owned();
                !id.is_empty() || !answer.to_string().contains("too quickly") && panic!("{answer}")
            })
            .await;
        id
    };
    let other = create("staging", None).await;
    let fork = create("preview", Some(&root)).await;
    world.service(&project, &root, "everywhere", None).await;
    world.service(&project, &fork, "only-here", None).await;
    let names = async |environment: &str| {
        let data = world
            .ask(
                "query E($e: String!) { environment(id: $e) { serviceInstances { edges { node { serviceName } } } } }",
                json!({ "e": environment }),
            )
            .await;
        let edges = data["environment"]["serviceInstances"]["edges"].as_array().unwrap().clone();
        edges.iter().map(|edge| edge["node"]["serviceName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    world.until("instances are listed", async || names(&fork).await == ["only-here"]).await;
    assert_eq!(names(&root).await, ["everywhere"]);
    assert_eq!(names(&other).await, ["everywhere"]);
}

#[tokio::test]
async fn destroying_everything_leaves_no_object() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    let status = world.admin("GET", "status", Value::Null).await;
    assert_eq!(status["services"][0]["running_digest"], json!(digest));
    world.ask("mutation P($id: String!) { projectDelete(id: $id) }", json!({ "id": place.project })).await;
    world
        .until("nothing is left", async || {
            let status = world.admin("GET", "status", Value::Null).await;
            status["objects"].as_object().unwrap().values().all(|count| count == 0)
        })
        .await;
    let message = world
        .refused("query P($id: String!) { project(id: $id) { id } }", json!({ "id": place.project }))
        .await;
    assert_eq!(message, "Not Authorized");
}

#[tokio::test]
async fn a_business_error_is_a_200_with_code_and_trace() {
    let world = world().await;
    let request = world
        .request("query P($id: String!) { project(id: $id) { id } }", &json!({ "id": "none" }))
        .bearer_auth(&world.info.tokens.account);
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["errors"][0]["message"], "Project not found");
    assert_eq!(body["errors"][0]["extensions"]["code"], "INTERNAL_SERVER_ERROR");
    assert!(body["errors"][0]["extensions"]["traceId"].is_string());
    let message =
        world.refused("query P($id: String!) { project(id: $id) { id } }", json!({ "id": "" })).await;
    assert_eq!(message, "Not Authorized", "an empty id looks like a missing right");
    let request = world.request("query { me { id } }", &json!({})).bearer_auth("");
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{body}");
}

/// Nearly every command of it reads the project so, and `link` the workspaces.
#[tokio::test]
async fn railway_cli_5_71_reads_a_project_with_its_buckets() {
    let world = world().await;
    let place = world.place().await;
    let data = world
        .ask(
            "query Project($id: String!) { project(id: $id) { id name workspaceId deletedAt workspace { name } \
             buckets { edges { node { id name } } } \
             environments { edges { node { id name canAccess deletedAt unmergedChangesCount } } } \
             services { edges { node { id name } } } } }",
            json!({ "id": place.project }),
        )
        .await;
    assert_eq!(data["project"]["buckets"]["edges"], json!([]));
    let data = world
        .ask(
            "query UserProjects { externalWorkspaces { id name teamId projects { id } } \
             me { workspaces { id team { id } projects(first: 500) { edges { node { id } } } } } }",
            json!({}),
        )
        .await;
    assert_eq!(data["externalWorkspaces"], json!([]));
    assert!(data["me"]["workspaces"][0]["team"].is_null());
    assert_eq!(data["me"]["workspaces"][0]["projects"]["edges"][0]["node"]["id"], json!(place.project));
}

#[tokio::test]
async fn railway_cli_5_71_status_reads_the_instances_of_an_environment() {
    let world = world().await;
    let place = world.place().await;
    let data = world
        .ask(
            "query EnvironmentInstances($e: String!, $p: String!) { environment(id: $e, projectId: $p) { \
             serviceInstances { edges { node { serviceId cronSchedule nextCronRunAt tracingEnabled \
             autoInstrumentationEnabled } } } } }",
            json!({ "e": place.environment, "p": place.project }),
        )
        .await;
    let node = &data["environment"]["serviceInstances"]["edges"][0]["node"];
    assert_eq!((&node["serviceId"], &node["tracingEnabled"]), (&json!(place.service), &json!(false)));
}
