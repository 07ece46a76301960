//! A restricted environment: whatever reaches into it is refused, field by field of the schema.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure here is a failure of the test")]

mod support;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use support::{Place, world};

const SCHEMA: &str = "query I { __schema { types { kind name
    fields(includeDeprecated: true) { name type { ...T } args { name type { ...T } } }
    inputFields { name type { ...T } } enumValues { name } } } }
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";

/// Fields that answer without the environment's content: what they say there is asserted elsewhere, or is nothing.
const OPEN: [&str; 1] = ["environment"];

struct Schema {
    types: BTreeMap<String, Value>,
    place: Place,
    deployment: String,
    /// Objects in the environment, by the field or the argument that wants one.
    objects: BTreeMap<&'static str, String>,
}

fn bare(mut kind: &Value) -> &Value {
    while !kind["ofType"].is_null() {
        kind = &kind["ofType"];
    }
    kind
}

/// How a type is written.
fn written(kind: &Value) -> String {
    match kind["kind"].as_str().unwrap() {
        "NON_NULL" => format!("{}!", written(&kind["ofType"])),
        "LIST" => format!("[{}]", written(&kind["ofType"])),
        _ => kind["name"].as_str().unwrap().to_owned(),
    }
}

impl Schema {
    fn places(&self, name: &str) -> Option<Value> {
        match name {
            "environmentId" => Some(json!(self.place.environment)),
            "serviceId" => Some(json!(self.place.service)),
            "projectId" => Some(json!(self.place.project)),
            "deploymentId" => Some(json!(self.deployment)),
            _ => self.objects.get(name).map(|id| json!(id)),
        }
    }

    /// Whether an argument names the environment, itself or in its input.
    fn names_environment(&self, argument: &Value) -> bool {
        let kind = bare(&argument["type"]);
        let inner = &self.types[kind["name"].as_str().unwrap()]["inputFields"];
        ["environmentId", "deploymentId"].iter().any(|name| {
            argument["name"] == *name
                || inner.as_array().into_iter().flatten().any(|field| field["name"] == *name)
        })
    }

    /// A value that passes the checks which come before anybody looks at the place.
    fn value(&self, name: &str, kind: &Value) -> Value {
        if let Some(place) = self.places(name) {
            return place;
        }
        match kind["kind"].as_str().unwrap() {
            "NON_NULL" => return self.value(name, &kind["ofType"]),
            "LIST" => return json!([self.value(name, &kind["ofType"])]),
            _ => {}
        }
        let named = kind["name"].as_str().unwrap();
        let row = &self.types[named];
        match (row["kind"].as_str().unwrap(), named, name) {
            ("ENUM", ..) => row["enumValues"][0]["name"].clone(),
            ("INPUT_OBJECT", ..) => Value::Object(self.filled(&row["inputFields"])),
            (_, "Int" | "Float", _) => json!(1),
            (_, "Boolean", _) => json!(false),
            (_, "DateTime", _) => json!("2026-01-01T00:00:00Z"),
            (_, "String" | "ID", "mountPath") => json!("/data"),
            (_, "String" | "ID", "domain") => json!("shop.example.com"),
            (_, "String" | "ID", "repository") => json!("owner/name"),
            (_, "String" | "ID", "provider") => json!("github"),
            (_, "String" | "ID", _) => json!("NAME"),
            _ => json!({}),
        }
    }

    fn filled(&self, fields: &Value) -> Map<String, Value> {
        let fields = fields.as_array().unwrap().iter();
        fields
            .filter(|field| {
                let name = field["name"].as_str().unwrap();
                field["type"]["kind"] == "NON_NULL" || self.places(name).is_some()
            })
            .map(|field| {
                let name = field["name"].as_str().unwrap();
                (name.to_owned(), self.value(name, &field["type"]))
            })
            .collect()
    }

    /// A document that asks one root field, with its variables.
    fn document(&self, operation: &str, field: &Value) -> (String, Value) {
        let name = field["name"].as_str().unwrap();
        let mut variables = self.filled(&field["args"]);
        for argument in field["args"].as_array().unwrap() {
            if self.names_environment(argument) {
                let name = argument["name"].as_str().unwrap();
                variables.insert(name.to_owned(), self.value(name, &argument["type"]));
            }
        }
        if let Some(id) = self.objects.get(name) {
            variables.insert("id".to_owned(), json!(id));
        }
        if name.starts_with("deployment") && variables.contains_key("id") {
            variables.insert("id".to_owned(), json!(self.deployment));
        }
        let kind = |name: &str| {
            let all = field["args"].as_array().unwrap().iter();
            written(&all.clone().find(|argument| argument["name"] == name).unwrap()["type"])
        };
        let heads: Vec<_> = variables.keys().map(|name| format!("${name}: {}", kind(name))).collect();
        let inner: Vec<_> = variables.keys().map(|name| format!("{name}: ${name}")).collect();
        let result = bare(&field["type"]);
        let fields = if result["kind"] == "OBJECT" { "{ __typename }" } else { "" };
        let text = format!("{operation} Q({}) {{ {name}({}) {fields} }}", heads.join(", "), inner.join(", "));
        (text, Value::Object(variables))
    }
}

#[tokio::test]
async fn every_field_that_reaches_into_a_restricted_environment_refuses() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let deployment = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&deployment, "SUCCESS").await;
    world
        .settings(
            json!({ "query_breadth": null, "rate_limit": false, "consistency_tail": { "default": "0s" } }),
        )
        .await;
    let answer = world.ask(SCHEMA, Value::Null).await;
    let rows = answer["__schema"]["types"].as_array().unwrap();
    let types = rows.iter().map(|row| (row["name"].as_str().unwrap().to_owned(), row.clone())).collect();
    world.domain(&place).await;
    let ids = "query D($p: String!, $e: String!, $s: String!) { domains(projectId: $p, environmentId: $e, serviceId: $s) { serviceDomains { id } } }";
    let ids = world.ask(ids, json!({ "p": place.project, "e": place.environment, "s": place.service })).await;
    let domain = ids["domains"]["serviceDomains"][0]["id"].as_str().unwrap().to_owned();
    let made = async |query: &str, field: &str, more: Value| {
        let mut input = json!({ "projectId": place.project, "environmentId": place.environment, "serviceId": place.service });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.ask(query, json!({ "i": input })).await[field]["id"].as_str().unwrap().to_owned()
    };
    let custom = "mutation C($i: CustomDomainCreateInput!) { customDomainCreate(input: $i) { id } }";
    let custom = made(custom, "customDomainCreate", json!({ "domain": "www.example.com" })).await;
    let volume = "mutation V($i: VolumeCreateInput!) { volumeCreate(input: $i) { id } }";
    let volume = made(volume, "volumeCreate", json!({ "mountPath": "/data" })).await;
    let objects = BTreeMap::from([
        ("serviceDelete", place.service.clone()),
        ("serviceDomainId", domain),
        ("customDomainUpdate", custom),
        ("volumeId", volume),
    ]);
    let schema = Schema { types, place: place.clone(), deployment, objects };
    let mut asked = Vec::new();
    let mut wrong = Vec::new();
    world.settings(json!({ "restricted_environments": [place.environment] })).await;
    for (operation, root) in [("query", "Query"), ("mutation", "Mutation")] {
        for field in schema.types[root]["fields"].as_array().unwrap() {
            let name = field["name"].as_str().unwrap();
            let by_id = name.starts_with("deployment")
                && !name.starts_with("deploymentTrigger")
                && field["args"].as_array().unwrap().iter().any(|argument| argument["name"] == "id");
            let named =
                field["args"].as_array().unwrap().iter().any(|argument| schema.names_environment(argument));
            if !(named || by_id) || OPEN.contains(&name) {
                continue;
            }
            let (text, variables) = schema.document(operation, field);
            let answer = world.answer(&text, variables.clone()).await;
            if answer["errors"][0]["message"] != "Not Authorized" {
                wrong.push(format!("{name} {variables}: {answer}"));
            }
            asked.push(name.to_owned());
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), asked.len(), wrong.join("\n"));
    for name in [
        "httpMetrics",
        "httpDurationMetrics",
        "httpMetricsGroupedByStatus",
        "deployment",
        "deployments",
        "deploymentLogs",
        "deploymentEvents",
        "httpLogs",
        "events",
        "serviceInstance",
        "privateNetworks",
        "egressGateways",
        "variableUpsert",
        "serviceInstanceUpdate",
    ] {
        assert!(asked.iter().any(|other| other == name), "{name} was not asked: {asked:?}");
    }
    // What was refused did not happen, and the environment opens again.
    world.settings(json!({ "restricted_environments": [] })).await;
    assert_eq!(world.deployment(&schema.deployment).await["status"], "SUCCESS");
    let read =
        "query E($id: String!) { environment(id: $id) { canAccess variables { edges { node { name } } } } }";
    let open = world.ask(read, json!({ "id": place.environment })).await["environment"].take();
    assert_eq!(open, json!({ "canAccess": true, "variables": { "edges": [] } }));
}

#[tokio::test]
async fn lists_that_span_environments_leave_a_restricted_one_out() {
    let world = world().await;
    let digest = world.push("team/app", "v1", &[]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    let read = "query L($p: String!, $w: String!, $e: String!) {
        deployments(input: { projectId: $p }) { edges { node { id } } }
        events(projectId: $p) { edges { node { environmentId } } }
        auditLogs(workspaceId: $w) { edges { node { environmentId } } }
        environment(id: $e) { canAccess deployments { edges { node { id } } } } }";
    let ids = json!({ "p": place.project, "w": world.info.workspace_id, "e": place.environment });
    let look = async || world.ask(read, ids.clone()).await;
    let of = |data: &Value, field: &str| {
        let edges = data[field]["edges"].as_array().unwrap();
        edges.iter().filter(|edge| edge["node"]["environmentId"] == json!(place.environment)).count()
    };
    let open = look().await;
    assert_eq!(open["deployments"]["edges"][0]["node"]["id"], json!(id));
    assert!(of(&open, "events") > 0 && of(&open, "auditLogs") > 0, "{open}");
    world.settings(json!({ "restricted_environments": [place.environment] })).await;
    let closed = look().await;
    assert_eq!(closed["deployments"]["edges"], json!([]));
    assert_eq!((of(&closed, "events"), of(&closed, "auditLogs")), (0, 0), "{closed}");
    assert_eq!(closed["environment"], json!({ "canAccess": false, "deployments": { "edges": [] } }));
}
