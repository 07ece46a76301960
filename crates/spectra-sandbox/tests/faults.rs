//! Fault rules, budgets and the journal.

mod support;

use serde_json::{Value, json};
use support::world;

const CREATE: &str = "mutation CreateProject($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }";

#[tokio::test]
async fn fail_after_commit_answers_504_and_the_project_exists() {
    let world = world().await;
    world
        .admin(
            "POST",
            "faults",
            json!({ "operation": "projectCreate", "action": { "type": "fail_after_commit" }, "count": 1 }),
        )
        .await;
    let variables = json!({ "i": { "name": "x", "workspaceId": world.info.workspace_id } });
    let request = world.request(CREATE, &variables).bearer_auth(&world.info.tokens.account);
    assert_eq!(request.send().await.unwrap().status().as_u16(), 504);
    assert_eq!(world.admin("GET", "status", Value::Null).await["objects"]["projects"], 1);
    let journal = world.admin("GET", "journal", Value::Null).await;
    let entry = &journal["entries"][0];
    assert_eq!(entry["operation"], "CreateProject");
    assert_eq!(entry["outcome"], "fault:fail_after_commit");
    assert_eq!(entry["mutation"], true);
    assert_eq!(entry["status"], 504);
}

#[tokio::test]
async fn each_transport_fault_looks_as_it_should() {
    let world = world().await;
    let send = async |action: Value| {
        world.admin("POST", "faults", json!({ "operation": "me", "action": action, "count": 1 })).await;
        world.request("query { me { id } }", &json!({})).bearer_auth(&world.info.tokens.account).send().await
    };
    assert!(send(json!({ "type": "reset" })).await.is_err());
    let response = send(json!({ "type": "http", "status": 429, "retry_after": 3 })).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "3"));
    let response = send(json!({ "type": "edge_1015" })).await.unwrap();
    assert!(response.headers().get("retry-after").is_none());
    assert_eq!(response.text().await.unwrap(), "error code: 1015");
    let text = send(json!({ "type": "truncated_json" })).await.unwrap().text().await.unwrap();
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    let text = send(json!({ "type": "slow_body", "duration": "50ms" })).await.unwrap().text().await.unwrap();
    assert!(text.contains("\"me\""), "{text}");
    let body: Value = send(json!({ "type": "fail_before_commit", "code": "FORBIDDEN", "message": "no" }))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(body["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let body: Value = send(json!({ "type": "partial_data" })).await.unwrap().json().await.unwrap();
    assert!(body["data"]["me"].is_null() && body["errors"][0]["path"] == json!(["me"]), "{body}");
    assert_eq!(world.admin("DELETE", "faults", Value::Null).await["cleared"], 7);
}

#[tokio::test]
async fn the_budget_is_counted_and_says_when_to_come_back() {
    let world = world().await;
    world.settings(json!({ "requests_per_hour": 2, "time_scale": 1.0 })).await;
    let send = async || {
        let request =
            world.request("query { me { id } }", &json!({})).bearer_auth(&world.info.tokens.account);
        request.send().await.unwrap()
    };
    let first = send().await;
    assert_eq!(first.headers()["x-ratelimit-limit"], "2");
    assert_eq!(first.headers()["x-ratelimit-remaining"], "1");
    send().await;
    let third = send().await;
    assert_eq!(third.status().as_u16(), 429);
    assert!(third.headers().contains_key("retry-after"));
    world.admin("POST", "clock", json!({ "advance": "1h" })).await;
    assert_eq!(send().await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_budget_that_is_exhausted_mid_run_comes_back_with_the_hour() {
    let world = world().await;
    let place = world.place().await;
    world.settings(json!({ "manual_clock": true })).await;
    let token = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } });
    let secret = world.ask(token, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    world
        .admin(
            "POST",
            "faults",
            json!({ "operation": "me", "action": { "type": "quota_exhausted" }, "skip": 1, "count": 1 }),
        )
        .await;
    let send = async || {
        let request =
            world.request("query { me { id } }", &json!({})).bearer_auth(&world.info.tokens.account);
        request.send().await.unwrap()
    };
    assert_eq!(send().await.status().as_u16(), 200, "the rule lets the first one pass");
    for _ in 0..2 {
        let refused = send().await;
        assert_eq!(refused.status().as_u16(), 429);
        let header = |name: &str| refused.headers()[name].to_str().unwrap().parse::<u64>().unwrap();
        assert_eq!((header("x-ratelimit-limit"), header("x-ratelimit-remaining")), (10_000, 0));
        assert!((1..=3600).contains(&header("retry-after")), "{:?}", refused.headers());
        assert!(header("x-ratelimit-reset") > 1_700_000_000);
        let body: Value = refused.json().await.unwrap();
        assert_eq!(body["errors"][0]["extensions"]["code"], "RATE_LIMITED");
    }
    // Budgets are counted for each credential.
    let other = world.request("query { projectToken { projectId } }", &json!({}));
    let other = other.header("project-access-token", secret).send().await.unwrap();
    assert_eq!(other.status().as_u16(), 200);
    let journal = world.admin("GET", "journal", Value::Null).await;
    let outcomes: Vec<_> = journal["entries"].as_array().unwrap().iter().rev().take(4).collect();
    assert_eq!(outcomes[2]["outcome"], "fault:quota_exhausted");
    assert_eq!(outcomes[1]["outcome"], "rate_limited");
    world.admin("POST", "clock", json!({ "advance": "1h" })).await;
    assert_eq!(send().await.status().as_u16(), 200);
}

#[tokio::test]
async fn a_project_token_that_is_revoked_mid_run_is_refused_from_then_on() {
    let world = world().await;
    let place = world.place().await;
    let token = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } });
    let secret = world.ask(token, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    world.settings(json!({ "consistency_tail": { "default": "0s" } })).await;
    let list = "query L($p: String!) { projectTokens(projectId: $p) { edges { node { id } } } }";
    let id = world.ask(list, json!({ "p": place.project })).await["projectTokens"]["edges"][0]["node"]["id"]
        .clone();
    // Somebody revokes it just before its second request.
    let action = json!({ "type": "concurrent_actor", "query": "mutation D($id: String!) { projectTokenDelete(id: $id) }", "variables": { "id": id } });
    world
        .admin(
            "POST",
            "faults",
            json!({ "operation": "projectToken", "action": action, "skip": 1, "count": 1 }),
        )
        .await;
    let send = async || {
        let request = world.request("query { projectToken { projectId } }", &json!({}));
        let response = request.header("project-access-token", &secret).send().await.unwrap();
        response.json::<Value>().await.unwrap()
    };
    assert_eq!(send().await["data"]["projectToken"]["projectId"], place.project);
    send().await;
    assert_eq!(send().await["errors"][0]["message"], "Project Token not found");
}

#[tokio::test]
async fn urls_without_a_query_string_meet_the_edge() {
    let world = world().await;
    world.settings(json!({ "time_scale": 0.01 })).await;
    let mut last = 200;
    for _ in 0..11 {
        let request = world.client.post(&world.info.endpoint).bearer_auth(&world.info.tokens.account);
        let response = request.json(&json!({ "query": "{ me { id } }" })).send().await.unwrap();
        last = response.status().as_u16();
    }
    assert_eq!(last, 429);
    let polite = world.ask("query { me { id } }", json!({})).await;
    assert!(polite["me"]["id"].is_string());
}

#[tokio::test]
async fn no_value_reaches_the_journal() {
    let world = world().await;
    let place = world.place().await;
    world
        .ask(
            "mutation V($i: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $i) }",
            json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service,
                "variables": { "KEY": "canary-77a1" }, "skipDeploys": true } }),
        )
        .await;
    world
        .update(&place, json!({ "registryCredentials": { "username": "robot", "password": "canary-88b2" } }))
        .await;
    let journal = world.admin("GET", "journal", Value::Null).await.to_string();
    assert!(journal.contains("\"KEY\":\"[redacted]\""), "{journal}");
    assert!(!journal.contains("canary"), "{journal}");
    let status = world.admin("GET", "status", Value::Null).await;
    assert_eq!(status["environments_touched"], json!([place.environment]));
}

#[tokio::test]
async fn bad_rules_and_settings_are_refused_by_name() {
    let world = world().await;
    let post = async |method: reqwest::Method, path: &str, body: Value| {
        let request = world.client.request(method, format!("{}/{path}", world.info.admin)).json(&body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, text) =
        post(reqwest::Method::POST, "faults", json!({ "operation": "x", "action": { "type": "melt" } }))
            .await;
    assert!(status == 400 && text.contains("melt"), "{text}");
    let (status, text) = post(reqwest::Method::PUT, "settings", json!({ "time_scael": 3 })).await;
    assert!(status == 400 && text.contains("time_scael"), "{text}");
    let (status, text) =
        post(reqwest::Method::PUT, "settings", json!({ "update_deploys_probability": 3 })).await;
    assert!(status == 400 && text.contains("update_deploys_probability"), "{text}");
}

#[tokio::test]
async fn no_literal_of_a_document_reaches_the_journal_by_way_of_an_error() {
    let world = world().await;
    let parse = "mutation { variableUpsert(input: { name: \"A\", value: \"hunter2-parse\", projectId: }) }";
    let validate = "mutation { variableUpsert(input: { name: \"A\", value: \"hunter2-validate\", projectId: 7, x: {} }) }";
    let fill = "mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }";
    let quoted = "mutation { projectTransferToTeam(id: \"hunter2-x\") }";
    world.refused(parse, Value::Null).await;
    world.refused(validate, Value::Null).await;
    world.refused(fill, json!({ "i": { "name": "A", "value": { "x": "hunter2-variable" } } })).await;
    world.refused(quoted, Value::Null).await;
    let place = world.place().await;
    let input = format!(
        "mutation {{ volumeCreate(input: {{ projectId: \"{}\", mountPath: \"hunter2-mount\" }}) {{ id }} }}",
        place.project
    );
    let said = world.refused(&input, Value::Null).await;
    assert_eq!(said, "Invalid mount path \"hunter2-mount\"", "the client is told all of it");
    let journal = world.admin("GET", "journal", Value::Null).await;
    let text = journal.to_string();
    assert!(!text.contains("hunter2"), "{text}");
    let errors: Vec<_> =
        journal["entries"].as_array().unwrap().iter().filter_map(|row| row["error"].as_str()).collect();
    assert!(
        errors.iter().any(|error| error.starts_with("GRAPHQL_PARSE_FAILED at line 1, column ")),
        "{errors:?}"
    );
    assert!(
        errors.iter().any(|error| error.starts_with("GRAPHQL_VALIDATION_FAILED at line 1")),
        "{errors:?}"
    );
    assert!(errors.contains(&"Invalid mount path \"[redacted]\""), "{errors:?}");
}

#[tokio::test]
async fn no_secret_is_found_outside_its_store_and_one_that_leaks_is_named_by_its_place() {
    let world = world().await;
    let place = world.place().await;
    let variable = "mutation V($i: VariableUpsertInput!) { variableUpsert(input: $i) }";
    let input = json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "name": "KEY", "value": "swordfish/1" } });
    world.ask(variable, input).await;
    let seal = "mutation C($e: String!, $p: EnvironmentConfig) { environmentPatchCommit(environmentId: $e, patch: $p) }";
    let mut patch = json!({ "services": {} });
    patch["services"][&place.service] =
        json!({ "variables": { "SEALED": { "value": "swordfish/2", "isSealed": true } } });
    world.ask(seal, json!({ "e": place.environment, "p": patch })).await;
    let credentials = json!({ "registryCredentials": { "username": "u", "password": "swordfish/3" } });
    world.update(&place, credentials).await;
    let token = "mutation T($i: ProjectTokenCreateInput!) { projectTokenCreate(input: $i) }";
    let input =
        json!({ "i": { "projectId": place.project, "environmentId": place.environment, "name": "ci" } });
    let token = world.ask(token, input).await["projectTokenCreate"].as_str().unwrap().to_owned();
    let clean = world.admin("GET", "secrets", Value::Null).await;
    // Three of them, the project token, and the two of the sandbox.
    assert_eq!((&clean["secrets"], &clean["found"]), (&json!(6), &json!(0)), "{clean}");

    // Names are kept as they are, so that a secret in the place of one is found. They come faster than the cooldown
    // of projects allows, which would refuse each of them on a fast machine.
    world.settings(json!({ "project_cooldown": "0s" })).await;
    for name in ["swordfish/1", "c3dvcmRmaXNoLzI", "swordfish%2F3", &token] {
        let input = json!({ "i": { "name": name, "workspaceId": world.info.workspace_id } });
        world.ask("mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }", input).await;
    }
    let found = world.admin("GET", "secrets", Value::Null).await;
    let mut forms: Vec<_> = found["places"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["place"] == "journal")
        .map(|row| row["form"].as_str().unwrap())
        .collect();
    forms.sort_unstable();
    assert_eq!(forms, ["base64", "percent", "plain", "plain"], "{found}");
    assert!(
        found["places"].as_array().unwrap().iter().any(|row| row["place"] == "objects/project"),
        "{found}"
    );
    let text = found.to_string();
    assert!(!text.contains("swordfish") && !text.contains(&token), "{text}");

    std::fs::write(world.dir.path().join("state/core.dump"), "a canary sings").unwrap();
    let more = world.admin("POST", "secrets", json!({ "values": ["a canary sings"] })).await;
    let file = json!({ "place": "files", "id": "core.dump", "form": "plain" });
    assert!(more["places"].as_array().unwrap().contains(&file), "{more}");
}

#[tokio::test]
async fn a_gateway_status_is_answered_and_nothing_is_executed() {
    let world = world().await;
    let input = json!({ "i": { "name": "x", "workspaceId": world.info.workspace_id } });
    let query = "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }";
    for status in [502_u16, 503, 504] {
        let rule = json!({ "operation": "projectCreate", "action": { "type": "http", "status": status }, "count": 1 });
        world.admin("POST", "faults", rule).await;
        let request = world.request(query, &input).bearer_auth(&world.info.tokens.account);
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
    assert_eq!(world.admin("GET", "status", Value::Null).await["objects"]["projects"], 0);
}

#[tokio::test]
async fn an_answer_that_gets_lost_after_the_commit_was_executed_whatever_it_looks_like() {
    let world = world().await;
    world.settings(json!({ "project_cooldown": "0s" })).await;
    let query = "mutation P($i: ProjectCreateInput!) { projectCreate(input: $i) { id } }";
    let lose = async |with: &str, name: &str| {
        let action = json!({ "type": "fail_after_commit", "with": with });
        let rule = json!({ "operation": "projectCreate", "action": action, "count": 1 });
        world.admin("POST", "faults", rule).await;
        let input = json!({ "i": { "name": name, "workspaceId": world.info.workspace_id } });
        world.request(query, &input).bearer_auth(&world.info.tokens.account).send().await
    };
    assert!(lose("reset", "one").await.is_err(), "the connection is cut");
    let projects =
        async || world.admin("GET", "status", Value::Null).await["objects"]["projects"].as_u64().unwrap();
    assert_eq!(projects().await, 1);
    let answer = lose("problem", "two").await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["errors"][0]["message"], "Problem processing request");
    assert!(body["data"].is_null() && body["errors"][0]["extensions"]["code"].is_null(), "{body}");
    assert_eq!(projects().await, 2);
}

#[tokio::test]
async fn the_registry_has_rules_switches_and_a_list_of_violations() {
    let world = world().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let base = format!("{}/v2/", world.info.url);
    let rule =
        json!({ "operation": "registry.ping", "action": { "type": "http", "status": 503 }, "count": 1 });
    world.admin("POST", "faults", rule).await;
    assert_eq!(client.get(&base).send().await.unwrap().status().as_u16(), 503);
    assert_eq!(client.get(&base).send().await.unwrap().status().as_u16(), 200);
    // Values that no clock can hold, and one that would let nobody in.
    let login = json!({ "scheme": "bearer", "user": "ada", "password": "pw", "token_lifetime": "999999h" });
    let busy = json!({ "type": "busy", "after": u64::MAX });
    for (method, path, body, reason) in [
        ("POST", "faults", json!({ "operation": "registry.ping", "action": busy }), "ten years"),
        ("PUT", "settings", json!({ "registry": { "login": login } }), "token_lifetime"),
        ("PUT", "settings", json!({ "registry": { "requests_per_second": 0 } }), "requests_per_second"),
    ] {
        let url = format!("{}/{path}", world.info.admin);
        let refused = client.request(method.parse().unwrap(), url).json(&body).send().await.unwrap();
        assert_eq!(refused.status().as_u16(), 400, "{body}");
        assert!(refused.text().await.unwrap().contains(reason), "{body}");
    }
    let settings = world.admin("PUT", "settings", json!({ "registry": { "repositories": ["app"] } })).await;
    assert_eq!(settings["registry"]["repositories"], json!(["app"]));
    let begin = |name: &str| client.post(format!("{base}{name}/blobs/uploads/"));
    assert_eq!(begin("other").send().await.unwrap().status().as_u16(), 404);
    let opened = begin("app").send().await.unwrap();
    assert_eq!(opened.status().as_u16(), 202);
    let location = format!("{}{}", world.info.url, opened.headers()["location"].to_str().unwrap());
    client.patch(&location).header("content-range", "5-6").body("xx").send().await.unwrap();
    let list = world.admin("GET", "violations", Value::Null).await;
    assert_eq!(list["violations"][0]["kind"], "wrong-content-range");
    assert_eq!(list["met"], json!({ "repositories": 1 }));
    world.admin("DELETE", "violations", Value::Null).await;
    assert_eq!(world.admin("GET", "violations", Value::Null).await["violations"], json!([]));
    // The login of the registry is shown on purpose, whoever else was given the password.
    let login = json!({ "scheme": "basic", "user": "ada", "password": "a-shown-password" });
    world.admin("PUT", "settings", json!({ "registry": { "login": login } })).await;
    let secrets = world.admin("POST", "secrets", json!({ "values": ["a-shown-password"] })).await;
    assert_eq!(secrets["found"], 0, "{secrets}");
}
