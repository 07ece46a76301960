//! Change sets: accepted, applied through a patch, refused whole when anything in them is not understood.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const APPLY: &str = "mutation A($e: String!, $i: JSON!, $b: String, $m: String, $w: Boolean) {
    environmentApplyChangeSet(environmentId: $e, input: $i, baseConfigEtag: $b, commitMessage: $m, waitForCompletion: $w) {
        id status deploymentId stagedPatchId diagnostics changes { kind outputs path status summary } } }";
const PREVIEW: &str = "mutation P($e: String!, $i: JSON!) { environmentPreviewChangeSet(environmentId: $e, input: $i) { changeSet diagnostics effects } }";
const STATE: &str = "query S($e: String!, $id: String!) { environmentChangeSetApply(environmentId: $e, id: $id) { id status deploymentId diagnostics changes { status outputs } } }";
const ENVIRONMENT: &str = "query E($e: String!) { environment(id: $e) { configEtag config(decryptVariables: true) serviceInstances { edges { node { serviceId serviceName source { image } startCommand healthcheckPath } } } } }";

fn set(changes: &Value) -> Value {
    json!({ "version": 1, "changes": changes, "diagnostics": [] })
}

fn variable(name: &str, value: &str) -> Value {
    json!({ "kind": "variable.set", "address": "service.web", "variable": name, "path": format!("resources.service.web.variables.{name}"),
        "summary": format!("Set {name}"), "severity": "safe", "deployEffect": "deploy", "after": { "type": "literal", "value": value } })
}

async fn environment(world: &World, place: &Place) -> Value {
    world.ask(ENVIRONMENT, json!({ "e": place.environment })).await["environment"].take()
}

async fn apply(world: &World, place: &Place, changes: Value) -> Value {
    let variables = json!({ "e": place.environment, "i": set(&changes), "w": true });
    world.ask(APPLY, variables).await["environmentApplyChangeSet"].take()
}

async fn deployments(world: &World) -> u64 {
    let status = world.admin("GET", "status", Value::Null).await;
    status["deployments_by_service"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

#[tokio::test]
async fn acceptance_is_not_completion_unless_it_is_waited_for() {
    let world = world().await;
    let place = world.place().await;
    world.settings(json!({ "manual_clock": true })).await;
    let variables = json!({ "e": place.environment, "i": set(&json!([variable("A", "one")])), "m": "first" });
    let accepted = world.ask(APPLY, variables).await["environmentApplyChangeSet"].take();
    assert_eq!(accepted["status"], "applying");
    assert_eq!(accepted["changes"][0]["status"], "applying");
    assert_eq!(accepted["changes"][0]["summary"], "Set A");
    let service = environment(&world, &place).await["config"]["services"][&place.service].clone();
    assert!(service["variables"].is_null(), "nothing has happened yet: {service}");
    world.admin("POST", "clock", json!({ "advance": "2s" })).await;
    let state = async || {
        let ids = json!({ "e": place.environment, "id": accepted["id"] });
        world.ask(STATE, ids).await["environmentChangeSetApply"].take()
    };
    world.until("it is applied", async || state().await["status"] == "applied").await;
    let service = environment(&world, &place).await["config"]["services"][&place.service].clone();
    assert_eq!(service["variables"]["A"]["value"], "one");
    let patches = "query P($e: String!) { environmentPatches(environmentId: $e) { edges { node { status message } } } }";
    let patches = world.ask(patches, json!({ "e": place.environment })).await;
    let patch = &patches["environmentPatches"]["edges"][0]["node"];
    assert_eq!(*patch, json!({ "status": "COMMITTED", "message": "first" }), "it goes through a patch");

    world.settings(json!({ "manual_clock": false, "time_scale": 2000.0 })).await;
    let done = apply(&world, &place, json!([variable("A", "two")])).await;
    assert_eq!(done["status"], "applied");
    assert!(done["stagedPatchId"].is_null());
    let service = environment(&world, &place).await["config"]["services"][&place.service].clone();
    assert_eq!(service["variables"]["A"]["value"], "two");
}

#[tokio::test]
async fn a_stale_etag_is_refused_and_nothing_is_applied() {
    let world = world().await;
    let place = world.place().await;
    let base = environment(&world, &place).await["configEtag"].clone();
    let send = async |etag: &Value, value: &str| {
        let variables =
            json!({ "e": place.environment, "i": set(&json!([variable("A", value)])), "b": etag, "w": true });
        world.answer(APPLY, variables).await
    };
    assert!(send(&base, "one").await["errors"].is_null());
    let stale = send(&base, "two").await;
    assert_eq!(stale["errors"][0]["extensions"]["code"], "STALE_ENVIRONMENT_BASE", "{stale}");
    let now = environment(&world, &place).await;
    assert_eq!(now["config"]["services"][&place.service]["variables"]["A"]["value"], "one");
    assert!(send(&now["configEtag"], "two").await["errors"].is_null());
}

#[tokio::test]
async fn a_service_is_made_changed_and_deleted_by_name() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let create = json!({ "kind": "resource.create", "address": "service.api", "path": "resources.service.api", "summary": "Create api",
        "resource": { "address": "service.api", "type": "service", "kind": "image", "name": "api",
            "source": { "type": "image", "image": world.pinned("team/app", &digest) },
            "deploy": { "startCommand": "run", "healthcheckPath": "/up" },
            "variables": { "PEER": { "type": "reference", "resource": "service.web", "output": "HOST" }, "PLAIN": { "type": "literal", "value": "1" } } } });
    let set_peer = json!({ "kind": "variable.set", "address": "service.api", "variable": "EXTRA", "after": { "type": "raw", "value": { "value": "2" } } });
    let made = apply(&world, &place, json!([create, set_peer])).await;
    assert_eq!(made["status"], "applied", "{made}");
    let service = made["changes"][0]["outputs"]["serviceId"].as_str().unwrap().to_owned();
    assert!(made["deploymentId"].is_string(), "a service with a source deploys: {made}");
    world.wait_for(made["deploymentId"].as_str().unwrap(), "SUCCESS").await;
    let now = environment(&world, &place).await;
    let section = &now["config"]["services"][&service];
    assert_eq!(section["variables"]["PEER"]["value"], "${{web.HOST}}");
    assert_eq!(section["variables"]["EXTRA"]["value"], "2");
    assert_eq!(section["deploy"]["startCommand"], "run");

    let update = json!({ "kind": "resource.update", "address": "service.api", "field": "deploy", "path": "resources.service.api.deploy",
        "before": { "startCommand": "run", "healthcheckPath": "/up" }, "after": { "startCommand": "serve" } });
    let drop = json!({ "kind": "variable.delete", "address": "service.api", "variable": "PLAIN" });
    apply(&world, &place, json!([update, drop])).await;
    let now = environment(&world, &place).await;
    let section = &now["config"]["services"][&service];
    assert_eq!(section["deploy"], json!({ "startCommand": "serve" }), "what is gone from `after` is cleared");
    assert!(section["variables"]["PLAIN"].is_null());

    let delete = json!({ "kind": "resource.delete", "address": "service.api", "severity": "destructive" });
    apply(&world, &place, json!([delete])).await;
    let now = environment(&world, &place).await;
    let names: Vec<_> = now["serviceInstances"]["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| edge["node"]["serviceName"].clone())
        .collect();
    assert_eq!(names, ["web"]);
}

#[tokio::test]
async fn an_update_of_the_placement_leaves_no_old_region_behind() {
    let world = world().await;
    let place = world.place().await;
    let update = |before: Value, after: Value| json!([{ "kind": "resource.update", "address": "service.web", "field": "deploy", "before": before, "after": after }]);
    let west = json!({ "multiRegionConfig": { "us-west2": { "numReplicas": 2 } }, "startCommand": "run" });
    let east =
        json!({ "multiRegionConfig": { "us-east4-eqdc4a": { "numReplicas": 1 } }, "startCommand": "run" });
    apply(&world, &place, update(Value::Null, west.clone())).await;
    apply(&world, &place, update(west, east.clone())).await;
    let now = environment(&world, &place).await;
    assert_eq!(now["config"]["services"][&place.service]["deploy"], east);
}

#[tokio::test]
async fn what_is_not_understood_is_a_diagnostic_and_an_error_and_never_ignored() {
    let world = world().await;
    let place = world.place().await;
    let web = |kind: &str, more: Value| {
        let mut change = json!({ "kind": kind, "address": "service.web" });
        change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        set(&json!([variable("GOOD", "1"), change]))
    };
    let cases = [
        (json!({ "version": 4, "changes": [] }), "Unsupported RailwayChangeSet version: 4"),
        (json!({ "variableUpserts": [] }), "Unsupported RailwayChangeSet version: undefined"),
        (json!({ "version": 1, "patches": [], "changes": [] }), "Unknown key \"patches\""),
        (json!({ "version": 1 }), "needs the list \"changes\""),
        (web("database.create", json!({})), "Unsupported change kind: database.create"),
        (
            web("resource.update", json!({ "field": "networking", "after": {} })),
            "cannot update \"networking\"",
        ),
        (web("resource.update", json!({ "field": "deploy" })), "needs \"after\""),
        (
            web("variable.set", json!({ "variable": "A", "after": { "type": "vault" } })),
            "Unsupported variable type: vault",
        ),
        (web("variable.set", json!({ "after": { "type": "literal", "value": "1" } })), "needs its name"),
        (web("resource.create", json!({ "resource": { "type": "service" } })), "already exists"),
        (
            set(
                &json!([{ "kind": "resource.create", "address": "service.new", "resource": { "volumeMounts": {} } }]),
            ),
            "cannot set \"volumeMounts\"",
        ),
        (
            set(
                &json!([{ "kind": "resource.create", "address": "service.new", "resource": { "type": "database" } }]),
            ),
            "cannot create a \"database\"",
        ),
        (
            set(&json!([{ "kind": "resource.delete", "address": "bucket.media" }])),
            "cannot change \"bucket.media\"",
        ),
        (set(&json!([{ "kind": "resource.delete", "address": "service.gone" }])), "no service \"gone\""),
        (
            json!({ "version": 1, "changes": [], "diagnostics": [{ "severity": "error", "path": "x", "message": "the client said no" }] }),
            "the client said no",
        ),
    ];
    let wordless =
        json!({ "version": 1, "changes": [], "diagnostics": [{ "severity": "error", "path": "x" }] });
    let refused = world.refused(APPLY, json!({ "e": place.environment, "i": wordless })).await;
    assert!(refused.contains("without a message"), "{refused}");
    let before = environment(&world, &place).await;
    for (input, message) in cases {
        let variables = json!({ "e": place.environment, "i": input });
        let preview = world.ask(PREVIEW, variables.clone()).await["environmentPreviewChangeSet"].take();
        let found = preview["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["severity"] == "error" && row["message"].as_str().unwrap().contains(message));
        assert!(found, "{input}: {preview}");
        let refused = world.answer(APPLY, variables).await;
        assert_eq!(refused["errors"][0]["extensions"]["code"], "BAD_USER_INPUT", "{input}: {refused}");
        assert!(refused["errors"][0]["message"].as_str().unwrap().contains(message), "{input}: {refused}");
    }
    assert_eq!(environment(&world, &place).await, before, "nothing was applied and the etag is as it was");
}

#[tokio::test]
async fn a_preview_tells_the_effects_and_changes_nothing() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    apply(&world, &place, json!([variable("A", "1")])).await;
    let before = (environment(&world, &place).await, deployments(&world).await);
    let look = async |changes: Value| {
        let variables = json!({ "e": place.environment, "i": set(&changes) });
        world.ask(PREVIEW, variables).await["environmentPreviewChangeSet"].take()
    };
    let changed = look(json!([variable("A", "2")])).await;
    assert_eq!(changed["effects"][0]["deployEffect"], "deploy", "{changed}");
    assert_eq!(changed["changeSet"]["changes"][0]["after"]["value"], "2", "what comes back can be applied");
    let same = look(json!([variable("A", "1")])).await;
    assert_eq!(same["effects"][0]["deployEffect"], "none", "the live value again: {same}");
    let gone = look(json!([{ "kind": "resource.delete", "address": "service.web" }])).await;
    assert_eq!(gone["effects"][0]["severity"], "destructive");
    assert_eq!((environment(&world, &place).await, deployments(&world).await), before);
}

#[tokio::test]
async fn q28_a_change_set_can_be_accepted_and_then_ignored() {
    let world = world().await;
    let place = world.place().await;
    world.settings(json!({ "change_set_ignored": true })).await;
    let create =
        json!({ "kind": "resource.create", "address": "service.api", "resource": { "type": "service" } });
    let done = apply(&world, &place, json!([variable("A", "1"), create])).await;
    assert_eq!(done["status"], "applied", "{done}");
    let now = environment(&world, &place).await;
    assert_eq!(now["serviceInstances"]["edges"].as_array().unwrap().len(), 1);
    assert!(now["config"]["services"][&place.service]["variables"].is_null(), "{now}");
}

#[tokio::test]
async fn a_patch_that_fails_fails_its_change_set_and_leaves_no_service_behind() {
    let world = world().await;
    let place = world.place().await;
    world.settings(json!({ "patch_error": "no capacity" })).await;
    let create =
        json!({ "kind": "resource.create", "address": "service.api", "resource": { "type": "service" } });
    let failed = apply(&world, &place, json!([create])).await;
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["diagnostics"][0]["message"], "no capacity");
    assert!(failed["changes"][0]["outputs"].is_null(), "{failed}");
    let services = "query S($p: String!) { project(id: $p) { services { edges { node { name } } } } }";
    let services = world.ask(services, json!({ "p": place.project })).await;
    assert_eq!(services["project"]["services"]["edges"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn values_of_a_change_set_are_not_in_the_journal_and_a_restart_finishes_it() {
    let mut world = world().await;
    let place = world.place().await;
    world.settings(json!({ "time_scale": 0.001 })).await;
    let variables = json!({ "e": place.environment, "i": set(&json!([variable("KEY", "hunter2")])) });
    let accepted = world.ask(APPLY, variables).await["environmentApplyChangeSet"].take();
    let journal = world.admin("GET", "journal", Value::Null).await.to_string();
    assert!(journal.contains("environmentApplyChangeSet") && !journal.contains("hunter2"));
    world.restart().await;
    let ids = json!({ "e": place.environment, "id": accepted["id"] });
    world
        .until("the restarted sandbox applies it", async || {
            world.ask(STATE, ids.clone()).await["environmentChangeSetApply"]["status"] == "applied"
        })
        .await;
}
