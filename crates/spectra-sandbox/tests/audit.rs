//! The audit log and the activity feed: nobody changes anything without leaving a line.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use support::{World, world};

const MUTATIONS: &str = "query M { __schema { mutationType { fields { name args { name type { ...T } } type { ...T } } } types { name inputFields { name type { ...T } } } } }
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";
const LOGS: &str = "query L($w: String!, $f: AuditLogFilterInput) { auditLogs(workspaceId: $w, filter: $f, sort: asc) { edges { node { id eventType projectId environmentId context payload } } } }";
const EVENTS: &str = "query E($p: String!, $e: String, $f: EventFilterInput) { events(projectId: $p, environmentId: $e, filter: $f) { edges { node { object action severity environmentId payload activityPayload } } } }";

const NEWEST: &str = "query N($w: String!) { auditLogs(workspaceId: $w, first: 50) { edges { node { id eventType context } } } }";

/// The rows after the one with the id `last`, oldest first.
async fn since(world: &World, last: &Value) -> Vec<Value> {
    let rows = nodes(&world.ask(NEWEST, json!({ "w": world.info.workspace_id })).await["auditLogs"]);
    let mut rows: Vec<_> = rows.into_iter().take_while(|row| row["id"] != *last).collect();
    rows.reverse();
    rows
}

async fn logs(world: &World) -> Vec<Value> {
    nodes(&world.ask(LOGS, json!({ "w": world.info.workspace_id })).await["auditLogs"])
}

fn nodes(connection: &Value) -> Vec<Value> {
    connection["edges"].as_array().unwrap().iter().map(|edge| edge["node"].clone()).collect()
}

/// A volume in `place` with a backup: the volume, its instance, the backup.
async fn volume(world: &World, place: &support::Place) -> [Value; 3] {
    let create = "mutation V($i: VolumeCreateInput!) { volumeCreate(input: $i) { id } }";
    let input = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "mountPath": "/data" } });
    let volume = world.ask(create, input).await["volumeCreate"]["id"].clone();
    let read = "query V($p: String!) { project(id: $p) { volumes { edges { node { volumeInstances { edges { node { id } } } } } } } }";
    let found = world.ask(read, json!({ "p": place.project })).await;
    let instance =
        found["project"]["volumes"]["edges"][0]["node"]["volumeInstances"]["edges"][0]["node"]["id"].clone();
    let start = "mutation B($v: String!) { volumeInstanceBackupCreate(volumeInstanceId: $v) { workflowId } }";
    world.ask(start, json!({ "v": instance })).await;
    let list = "query B($v: String!) { volumeInstanceBackupList(volumeInstanceId: $v) { id } }";
    let mut backup = Value::Null;
    world
        .until("the backup is made", async || {
            let rows = world.ask(list, json!({ "v": instance })).await;
            backup = rows["volumeInstanceBackupList"][0]["id"].clone();
            backup.is_string()
        })
        .await;
    [volume, instance, backup]
}

/// A private network in `place`, with what the mutation needs of it.
async fn network(world: &World, place: &support::Place, mutation: &str) -> Vec<(String, Value)> {
    let make = "mutation N($i: PrivateNetworkCreateOrGetInput!) { privateNetworkCreateOrGet(input: $i) { publicId } }";
    let input = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "net", "tags": [] } });
    let network = world.ask(make, input).await["privateNetworkCreateOrGet"]["publicId"].clone();
    let mut found = vec![("privateNetwork".to_owned(), network.clone())];
    if !mutation.ends_with("CreateOrGet") {
        let join = "mutation J($i: PrivateNetworkEndpointCreateOrGetInput!) { privateNetworkEndpointCreateOrGet(input: $i) { publicId } }";
        let input = json!({ "i": { "environmentId": place.environment, "privateNetworkId": network, "serviceId": place.service, "serviceName": "web", "tags": [] } });
        let endpoint = world.ask(join, input).await["privateNetworkEndpointCreateOrGet"]["publicId"].clone();
        found.push(("privateNetworkEndpoint".to_owned(), endpoint));
    }
    if mutation == "egressGatewayAssociationsClear" {
        let gateway = "mutation G($i: EgressGatewayCreateInput!) { egressGatewayAssociationCreate(input: $i) { region } }";
        let input = json!({ "i": { "environmentId": place.environment, "serviceId": place.service } });
        world.ask(gateway, input).await;
    }
    found
}

/// A project with one of everything that `mutation` can be about; deployments and volumes take their time and are
/// there for their own mutations alone. Ids are found by the names that arguments have.
async fn furnished(world: &World, name: &str, digest: &str, mutation: &str) -> BTreeMap<String, Value> {
    let (project, environment) = world.project(name).await;
    let service = world.service(&project, &environment, "web", None).await;
    let place = support::Place {
        project: project.clone(),
        environment: environment.clone(),
        service: service.clone(),
    };
    let id = async |query: &str, variables: Value| {
        let data = world.ask(query, variables).await;
        let (_, answer) = data.as_object().unwrap().iter().next().unwrap();
        answer["id"].as_str().map_or_else(|| answer.as_str().unwrap_or_default().to_owned(), str::to_owned)
    };
    let ids = json!({ "projectId": project, "environmentId": environment, "serviceId": service });
    let with = |more: Value| {
        let mut all = ids.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "i": all })
    };
    let instance = |more: Value| {
        let mut all = with(more);
        all["i"].as_object_mut().unwrap().remove("projectId");
        all
    };
    let mut found = BTreeMap::new();
    world.update(&place, json!({ "source": { "image": world.pinned("team/app", digest) } })).await;
    if mutation.starts_with("deployment") || mutation == "serviceInstanceRedeploy" {
        let deployment = world.deploy(&place).await;
        world.wait_for(&deployment, "SUCCESS").await;
        found.insert("deployment".to_owned(), json!(deployment));
    }
    if mutation.starts_with("volume") {
        let [volume, instance, backup] = volume(world, &place).await;
        found.extend([
            ("volume".to_owned(), volume),
            ("volumeInstance".to_owned(), instance),
            ("volumeInstanceBackup".to_owned(), backup),
        ]);
    }
    if mutation.starts_with("privateNetwork") || mutation.starts_with("egressGateway") {
        found.extend(network(world, &place, mutation).await);
    }
    let shared = json!({ "i": { "projectId": project, "environmentId": environment, "serviceId": service, "name": "OLD", "value": "1", "skipDeploys": true } });
    world.ask("mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }", shared).await;
    let domain = id(
        "mutation D($i: ServiceDomainCreateInput!) { serviceDomainCreate(input: $i) { id } }",
        instance(json!({})),
    )
    .await;
    let custom = id(
        "mutation C($i: CustomDomainCreateInput!) { customDomainCreate(input: $i) { id } }",
        with(json!({ "domain": format!("{name}.example.com") })),
    )
    .await;
    let proxy = id(
        "mutation T($i: TCPProxyCreateInput!) { tcpProxyCreate(input: $i) { id } }",
        instance(json!({ "applicationPort": 5432 })),
    )
    .await;
    let trigger = id(
        "mutation T($i: DeploymentTriggerCreateInput!) { deploymentTriggerCreate(input: $i) { id } }",
        with(json!({ "provider": "github", "repository": "acme/app", "branch": "main" })),
    )
    .await;
    let rule = id(
        "mutation N($i: CreateNotificationRuleInput!) { notificationRuleCreate(input: $i) { id } }",
        json!({ "i": { "workspaceId": world.info.workspace_id, "projectId": project, "eventTypes": ["Deployment.waiting"], "channelConfigs": [{ "type": "webhook", "url": "http://127.0.0.1:9/x" }] } }),
    )
    .await;
    let token = json!({ "i": { "projectId": project, "environmentId": environment, "name": name } });
    world.ask("mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }", token).await;
    let list = "query T($p: String!) { projectTokens(projectId: $p) { edges { node { id } } } }";
    let token =
        world.ask(list, json!({ "p": project })).await["projectTokens"]["edges"][0]["node"]["id"].clone();
    let stage = "mutation S($e: String!, $c: EnvironmentConfig!) { environmentStageChanges(environmentId: $e, input: $c) { id } }";
    world
        .ask(stage, json!({ "e": environment, "c": { "sharedVariables": { "STAGED": { "value": "1" } } } }))
        .await;
    found.extend([
        ("project".to_owned(), json!(project)),
        ("environment".to_owned(), json!(environment)),
        ("service".to_owned(), json!(service)),
        ("workspace".to_owned(), json!(world.info.workspace_id)),
        ("serviceDomain".to_owned(), json!(domain)),
        ("customDomain".to_owned(), json!(custom)),
        ("tcpProxy".to_owned(), json!(proxy)),
        ("deploymentTrigger".to_owned(), json!(trigger)),
        ("notificationRule".to_owned(), json!(rule)),
        ("projectToken".to_owned(), token),
    ]);
    found
}

/// What a mutation is called with, where ids alone do not make a call that changes something.
fn extra(name: &str, ids: &BTreeMap<String, Value>, image: &str) -> Value {
    match name {
        "projectCreate" | "environmentCreate" | "environmentRename" | "serviceCreate"
        | "projectTokenCreate" => {
            json!({ "input": { "name": "fresh" } })
        }
        "projectUpdate" | "serviceUpdate" | "volumeUpdate" => json!({ "input": { "name": "other" } }),
        "environmentStageChanges" => json!({ "input": { "sharedVariables": { "A": { "value": "1" } } } }),
        "environmentPatchCommit" => json!({ "patch": { "sharedVariables": { "A": { "value": "1" } } } }),
        "environmentPreviewChangeSet" | "environmentApplyChangeSet" => {
            json!({ "input": { "version": 1, "changes": [
            { "kind": "variable.set", "address": "service.web", "variable": "A", "after": { "type": "literal", "value": "1" } }
        ] } })
        }
        "serviceConnect" => json!({ "input": { "image": image } }),
        "serviceInstanceUpdate" => json!({ "input": { "healthcheckPath": "/up" } }),
        "serviceInstanceLimitsUpdate" => json!({ "input": { "vCPUs": 2.0 } }),
        "serviceInstanceAutoDeployUpdate" => json!({ "input": { "enabled": false } }),
        "variableUpsert" => json!({ "input": { "name": "A", "value": "1" } }),
        "variableCollectionUpsert" => json!({ "input": { "variables": { "A": "1" } } }),
        "variableDelete" => json!({ "input": { "name": "OLD" } }),
        "customDomainCreate" => json!({ "input": { "domain": "new.example.com" } }),
        "customDomainUpdate" => json!({ "targetPort": 8080 }),
        "serviceDomainUpdate" => json!({ "input": { "domain": "renamed.up.railway.localhost" } }),
        "tcpProxyCreate" => json!({ "input": { "applicationPort": 6379 } }),
        "volumeCreate" => json!({ "input": { "mountPath": "/other", "serviceId": null } }),
        "volumeInstanceUpdate" => json!({ "input": { "mountPath": "/moved" } }),
        "deploymentTriggerCreate" => {
            json!({ "input": { "provider": "github", "repository": "acme/other", "branch": "main" } })
        }
        "deploymentTriggerUpdate" => json!({ "input": { "branch": "next" } }),
        "notificationRuleCreate" => json!({ "input": {
            "eventTypes": ["Deployment.failed"],
            "channelConfigs": [{ "type": "webhook", "url": "http://127.0.0.1:9/y" }], "projectId": ids["project"]
        } }),
        "privateNetworkCreateOrGet" => json!({ "input": { "name": "other", "tags": [] } }),
        "privateNetworkEndpointCreateOrGet" => json!({ "input": { "serviceName": "web", "tags": [] } }),
        "privateNetworkEndpointRename" => json!({ "dnsName": "renamed" }),
        "volumeInstanceBackupScheduleUpdate" => json!({ "kinds": ["DAILY"] }),
        "notificationRuleUpdate" => json!({ "input": { "eventTypes": ["Deployment.crashed"] } }),
        _ => json!({}),
    }
}

fn required(kind: &Value) -> bool {
    kind["kind"] == "NON_NULL"
}

fn base(kind: &Value) -> &Value {
    if kind["ofType"].is_null() { kind } else { base(&kind["ofType"]) }
}

/// The id that an argument of this name stands for.
fn known(ids: &BTreeMap<String, Value>, mutation: &str, argument: &str) -> Option<Value> {
    if argument == "id" {
        // `customDomainDelete(id)`: the longest kind of object that the mutation's name begins with.
        let kinds = ids.keys().filter(|kind| mutation.starts_with(kind.as_str()));
        return kinds.max_by_key(|kind| kind.len()).map(|kind| ids[kind].clone());
    }
    ids.get(argument.strip_suffix("Id")?).cloned()
}

fn type_text(kind: &Value) -> String {
    match kind["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", type_text(&kind["ofType"])),
        Some("LIST") => format!("[{}]", type_text(&kind["ofType"])),
        _ => kind["name"].as_str().unwrap().to_owned(),
    }
}

/// The document and variables that call `field` with ids from `ids` and the rest from `extra`.
fn call(
    field: &Value,
    inputs: &BTreeMap<String, Value>,
    ids: &BTreeMap<String, Value>,
    image: &str,
) -> (String, Value) {
    let name = field["name"].as_str().unwrap();
    let more = extra(name, ids, image);
    let mut variables = json!({});
    let mut declared = Vec::new();
    let mut passed = Vec::new();
    for argument in field["args"].as_array().unwrap() {
        let key = argument["name"].as_str().unwrap();
        let kind = base(&argument["type"]);
        let mut value =
            known(ids, name, key).filter(|_| required(&argument["type"]) || key == "environmentId");
        if kind["kind"] == "INPUT_OBJECT" {
            let fields = inputs[kind["name"].as_str().unwrap()].as_array().unwrap();
            let filled = fields.iter().filter_map(|field| {
                let key = field["name"].as_str().unwrap();
                Some((
                    key.to_owned(),
                    known(ids, name, key).filter(|_| {
                        required(&field["type"]) || key == "environmentId" || key == "serviceId"
                    })?,
                ))
            });
            value = Some(Value::Object(filled.collect()));
        }
        if let Some(given) = more.get(key) {
            value = Some(match (value, given) {
                (Some(Value::Object(mut base)), Value::Object(over)) if kind["kind"] == "INPUT_OBJECT" => {
                    base.extend(over.clone());
                    Value::Object(base)
                }
                _ => given.clone(),
            });
        }
        let Some(value) = value else { continue };
        variables[key] = value;
        declared.push(format!("${key}: {}", type_text(&argument["type"])));
        passed.push(format!("{key}: ${key}"));
    }
    let selection = if base(&field["type"])["kind"] == "OBJECT" { " { __typename }" } else { "" };
    let list = |open: &str, items: &[String], close: &str| {
        if items.is_empty() { String::new() } else { format!("{open}{}{close}", items.join(", ")) }
    };
    let query = format!(
        "mutation Walk{} {{ {name}{}{selection} }}",
        list("(", &declared, ")"),
        list("(", &passed, ")")
    );
    (query, variables)
}

/// The list of mutations is the schema's own; one that is added without a line in the log fails here. One that
/// cannot be called with ids alone needs its words in `extra`.
#[tokio::test]
async fn every_mutation_that_changes_the_state_leaves_a_row_with_its_actor() {
    let world = world().await;
    world
        .settings(json!({ "rate_limit": false, "project_cooldown": "0s", "environment_cooldown": "0s", "volume_cooldown": "0s",
            "consistency_tail": { "default": "0s" }, "workflow_duration": "1s", "image_deploy_duration": "1s", "init_duration": "0s" }))
        .await;
    let digest = world.push("team/app", "v1", &[]).await;
    let image = world.pinned("team/app", &digest);
    let schema = world.ask(MUTATIONS, json!({})).await["__schema"].take();
    let inputs: BTreeMap<String, Value> = schema["types"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|kind| kind["inputFields"].is_array())
        .map(|kind| (kind["name"].as_str().unwrap().to_owned(), kind["inputFields"].clone()))
        .collect();
    let fields = schema["mutationType"]["fields"].as_array().unwrap();
    assert!(fields.len() > 50, "only {} mutations", fields.len());
    let info = world.ask("query I { auditLogEventTypeInfo { eventType description } }", json!({})).await;
    let described: BTreeSet<String> = info["auditLogEventTypeInfo"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["eventType"].as_str().unwrap().to_owned())
        .collect();
    let mut failures = Vec::new();
    let mut silent = Vec::new();
    for (number, field) in fields.iter().enumerate() {
        let name = field["name"].as_str().unwrap();
        let ids = furnished(&world, &format!("p{number}"), &digest, name).await;
        let schedule = "mutation S($id: String!) { projectScheduleDelete(id: $id) }";
        match name {
            "projectScheduleDeleteCancel" | "projectScheduleDeleteForce" => {
                world.ask(schedule, json!({ "id": ids["project"] })).await;
            }
            _ => {}
        }
        let mut ids = ids;
        if matches!(name, "deploymentCancel" | "deploymentApprove") {
            world.settings(json!({ "hold_deployments": "NEEDS_APPROVAL" })).await;
            let place = support::Place {
                project: ids["project"].as_str().unwrap().to_owned(),
                environment: ids["environment"].as_str().unwrap().to_owned(),
                service: ids["service"].as_str().unwrap().to_owned(),
            };
            let held = world.deploy(&place).await;
            world.settings(json!({ "hold_deployments": null })).await;
            ids.insert("deployment".to_owned(), json!(held));
        }
        if name == "webhookTest" {
            ids.insert("url".to_owned(), Value::Null);
        }
        let (query, mut variables) = call(field, &inputs, &ids, &image);
        let query = if name == "webhookTest" {
            variables = json!({ "url": format!("{}/_sandbox/nothing", world.info.url), "payload": "{}" });
            "mutation Walk($url: String!, $payload: String!) { webhookTest(url: $url, payload: $payload) }"
                .to_owned()
        } else {
            query
        };
        let last = since(&world, &Value::Null).await.pop().unwrap()["id"].clone();
        world.admin("DELETE", "journal", Value::Null).await;
        let answer = world.answer(&query, variables).await;
        if !answer["errors"].is_null() {
            failures.push(format!("{name} was refused, see `extra`: {query} {}", answer["errors"]));
            continue;
        }
        let journal = world.admin("GET", "journal", Value::Null).await;
        if journal["entries"][0]["mutation"] != true {
            silent.push(name.to_owned());
            continue;
        }
        let rows = since(&world, &last).await;
        let Some(row) = rows.first() else {
            failures.push(format!("{name} changed the state and left no row"));
            continue;
        };
        if row["context"] != json!({ "actor": "account", "tokenKind": "account" }) {
            failures.push(format!("{name} left a row of somebody else: {row}"));
        }
        for row in &rows {
            let kind = row["eventType"].as_str().unwrap();
            if !described.contains(kind) {
                failures
                    .push(format!("{name} left \"{kind}\", which auditLogEventTypeInfo does not describe"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(
        silent,
        ["environmentPreviewChangeSet"],
        "mutations that changed nothing when they were called"
    );
}

#[tokio::test]
async fn a_row_names_the_kind_of_credential_and_the_place() {
    let world = world().await;
    let place = world.place().await;
    let create = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } });
    let secret = world.ask(create, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    let upsert = "mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }";
    let variables = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "name": "A", "value": "hunter2" } });
    let answer: Value = world
        .request(upsert, &variables)
        .header("project-access-token", secret)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["data"]["variableUpsert"], true, "{answer}");
    let rows = logs(&world).await;
    let row = rows.last().unwrap();
    assert_eq!(row["eventType"], "variable.update");
    assert_eq!(row["context"]["tokenKind"], "project");
    assert!(row["context"]["actor"].as_str().unwrap().starts_with("project-token:"), "{row}");
    assert_eq!(row["environmentId"], place.environment);
    assert!(!json!(rows).to_string().contains("hunter2"));
    let one = "query O($id: String!, $w: String!) { auditLog(id: $id, workspaceId: $w) { eventType } }";
    let ids = json!({ "id": row["id"], "w": world.info.workspace_id });
    assert_eq!(world.ask(one, ids).await["auditLog"]["eventType"], "variable.update");
}

#[tokio::test]
async fn a_patch_is_applied_in_the_name_of_who_committed_it() {
    let world = world().await;
    let place = world.place().await;
    let create = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } });
    let secret = world.ask(create, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    let commit = "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }";
    let patch = json!({ "e": place.environment, "p": { "sharedVariables": { "A": { "value": "1" } } } });
    world
        .request(commit, &patch)
        .header("project-access-token", secret)
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let applied = async || logs(&world).await.into_iter().find(|row| row["eventType"] == "environment.apply");
    world.until("the patch is applied", async || applied().await.is_some()).await;
    assert_eq!(applied().await.unwrap()["context"]["tokenKind"], "project");
}

#[tokio::test]
async fn rows_are_kept_as_long_as_the_plan_says() {
    let world = world().await;
    world.settings(json!({ "manual_clock": true, "plan": "hobby" })).await;
    world.project("old").await;
    world.admin("POST", "clock", json!({ "advance": "47h" })).await;
    world.project("new").await;
    assert_eq!(logs(&world).await.len(), 2);
    world.admin("POST", "clock", json!({ "advance": "2h" })).await;
    assert_eq!(logs(&world).await.len(), 1, "48 h on Hobby");
    world.settings(json!({ "plan": "pro" })).await;
    assert_eq!(logs(&world).await.len(), 2, "30 days on Pro");
    world.admin("POST", "clock", json!({ "advance": "744h" })).await;
    assert_eq!(logs(&world).await.len(), 0);
    world.settings(json!({ "plan": "enterprise" })).await;
    assert_eq!(logs(&world).await.len(), 2, "18 months on Enterprise");
}

#[tokio::test]
async fn the_feed_tells_what_was_asked_and_what_came_of_it() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    let broken = world.pin(&place, &world.pinned("team/none", &support::sha256(b"nothing"))).await;
    world.wait_for(&broken, "FAILED").await;
    let feed = async |filter: Value| {
        let variables = json!({ "p": place.project, "e": place.environment, "f": filter });
        nodes(&world.ask(EVENTS, variables).await["events"])
    };
    let deployments = feed(json!({ "object": { "in": ["Deployment"] } })).await;
    let told: Vec<_> = deployments
        .iter()
        .filter(|row| row["payload"]["id"] == json!(id))
        .map(|row| row["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["success", "deploying", "initializing", "create"], "newest first");
    assert_eq!(deployments[0]["action"], "failed");
    assert_eq!(deployments[0]["severity"], "WARNING");
    assert_eq!(deployments[0]["activityPayload"]["actor"], "platform");
    let asked =
        feed(json!({ "action": { "notIn": ["success", "deploying", "initializing", "failed"] } })).await;
    assert!(asked.iter().all(|row| row["activityPayload"]["actor"] == "account"), "{asked:?}");
    assert!(asked.iter().any(|row| row["object"] == "ServiceInstance"), "{asked:?}");
    let service = feed(json!({ "serviceId": { "in": [place.service] } })).await;
    assert!(service.len() >= deployments.len());
    assert!(feed(json!({ "serviceId": { "in": ["nobody"] } })).await.is_empty());
    let rows = logs(&world).await;
    assert!(rows.iter().all(|row| row["eventType"] != "deployment.success"), "outcomes are no audit rows");
}

#[tokio::test]
async fn a_project_token_sees_the_feed_of_its_environment_and_neither_the_log_nor_the_rules() {
    let world = world().await;
    let place = world.place().await;
    world.settings(json!({ "environment_cooldown": "0s" })).await;
    let other = "mutation E($i: EnvironmentCreateInput!) { environmentCreate(input: $i) { id } }";
    let other = world.ask(other, json!({ "i": { "projectId": place.project, "name": "other" } })).await;
    let other = other["environmentCreate"]["id"].clone();
    let create = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } });
    let secret = world.ask(create, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    let ask = async |query: &str, variables: Value| -> Value {
        let request = world.request(query, &variables).header("project-access-token", &secret);
        request.send().await.unwrap().json().await.unwrap()
    };
    let own = ask(EVENTS, json!({ "p": place.project })).await;
    let rows = nodes(&own["data"]["events"]);
    assert!(!rows.is_empty() && rows.iter().all(|row| row["environmentId"] == place.environment), "{own}");
    let whole = nodes(&world.ask(EVENTS, json!({ "p": place.project })).await["events"]);
    assert!(whole.iter().any(|row| row["environmentId"] == other), "the account sees both: {whole:?}");
    let refused =
        async |query: &str, variables: Value| ask(query, variables).await["errors"][0]["message"].clone();
    assert_eq!(refused(EVENTS, json!({ "p": place.project, "e": other })).await, "Not Authorized");
    assert_eq!(refused(LOGS, json!({ "w": world.info.workspace_id })).await, "Not Authorized");
    let rules = "query R($w: String!) { notificationRules(workspaceId: $w) { id } }";
    assert_eq!(refused(rules, json!({ "w": world.info.workspace_id })).await, "Not Authorized");
}
