//! What the sandbox offers exists in Railway's schema under the same name, type and nullability.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

const INTROSPECTION: &str = "query I { __schema { types { kind name
    fields(includeDeprecated: true) { name type { ...T } args { name type { ...T } } }
    inputFields { name type { ...T } } enumValues(includeDeprecated: true) { name } } } }
    fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }";

/// Fields that the schema has had since: the official command line 5.71.0 reads them, and brings them in its copy of it.
const NEWER: [&str; 2] = ["ServiceInstance.autoInstrumentationEnabled", "ServiceInstance.tracingEnabled"];

fn text(node: &Value) -> String {
    match node["kind"].as_str() {
        Some("NON_NULL") => format!("{}!", text(&node["ofType"])),
        Some("LIST") => format!("[{}]", text(&node["ofType"])),
        _ => node["name"].as_str().unwrap_or("?").to_owned(),
    }
}

#[expect(clippy::unwrap_used, reason = "test support")]
fn by_name(list: &Value) -> BTreeMap<String, &Value> {
    list.as_array().into_iter().flatten().map(|row| (row["name"].as_str().unwrap().to_owned(), row)).collect()
}

/// Every difference that a client written against the real schema could notice.
fn differences(ours: &Value, real: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let real = by_name(real);
    for (name, kind) in by_name(ours) {
        if name.starts_with("__") {
            continue;
        }
        let Some(twin) = real.get(&name) else {
            out.push(format!("{name}: no such type"));
            continue;
        };
        if kind["kind"] != twin["kind"] {
            out.push(format!("{name}: {} instead of {}", kind["kind"], twin["kind"]));
        }
        for (section, list) in [("fields", "args"), ("inputFields", "")] {
            let twins = by_name(&twin[section]);
            for (field, row) in by_name(&kind[section]) {
                let Some(other) = twins.get(&field) else {
                    if NEWER.contains(&format!("{name}.{field}").as_str()) {
                        continue;
                    }
                    out.push(format!("{name}.{field}: no such field"));
                    continue;
                };
                if text(&row["type"]) != text(&other["type"]) {
                    out.push(format!(
                        "{name}.{field}: {} instead of {}",
                        text(&row["type"]),
                        text(&other["type"])
                    ));
                }
                if list.is_empty() {
                    continue;
                }
                let (mine, theirs) = (by_name(&row[list]), by_name(&other[list]));
                for (argument, row) in &mine {
                    match theirs.get(argument) {
                        None => out.push(format!("{name}.{field}({argument}): no such argument")),
                        Some(other) if text(&row["type"]) != text(&other["type"]) => out.push(format!(
                            "{name}.{field}({argument}): {} instead of {}",
                            text(&row["type"]),
                            text(&other["type"])
                        )),
                        Some(_) => {}
                    }
                }
                for argument in theirs.keys().filter(|argument| !mine.contains_key(*argument)) {
                    out.push(format!("{name}.{field}({argument}): not accepted"));
                }
            }
        }
        let values = by_name(&twin["enumValues"]);
        for value in by_name(&kind["enumValues"]).keys().filter(|value| !values.contains_key(*value)) {
            out.push(format!("{name}.{value}: no such value"));
        }
    }
    out
}

#[tokio::test]
async fn everything_offered_exists_in_the_real_schema() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The workspace's reference documents lie beside the repository.
    let found = manifest
        .ancestors()
        .map(|dir| dir.join("shared/reference/railway-schema.json"))
        .find(|path| path.is_file());
    let Some(path) = found else {
        println!("skipped: no shared/reference/railway-schema.json beside the repository");
        return;
    };
    let real: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let real = if real["data"].is_null() { &real["__schema"] } else { &real["data"]["__schema"] };
    let world = support::world().await;
    let ours = world.ask(INTROSPECTION, json!({})).await;
    let ours = &ours["__schema"]["types"];
    assert!(ours.as_array().unwrap().len() > 60, "introspection shows too little: {ours}");
    // Subscriptions are compared too: they are a type like any other.
    let offered = by_name(ours);
    let subscriptions: Vec<_> = by_name(&offered["Subscription"]["fields"]).into_keys().collect();
    assert_eq!(
        subscriptions,
        ["buildLogs", "deployment", "deploymentEvents", "deploymentLogs", "environmentLogs"]
    );
    let differences = differences(ours, &real["types"]);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_comparison_sees_a_wrong_nullability_and_a_wrong_name() {
    let field = |name: &str, kind: Value| json!([{ "kind": "OBJECT", "name": "A", "fields": [{ "name": name, "type": kind, "args": [] }] }]);
    let nullable = json!({ "kind": "SCALAR", "name": "String" });
    let required = json!({ "kind": "NON_NULL", "ofType": nullable });
    let real = field("a", required.clone());
    assert!(differences(&field("a", required.clone()), &real).is_empty());
    assert_eq!(differences(&field("a", nullable), &real), ["A.a: String instead of String!"]);
    assert_eq!(differences(&field("b", required), &real), ["A.b: no such field"]);
}

#[tokio::test]
async fn an_unknown_field_is_a_400_with_its_code() {
    let world = support::world().await;
    let request =
        world.request("query { me { shoeSize } }", &json!({})).bearer_auth(&world.info.tokens.account);
    let response = request.send().await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED");
    assert!(body["errors"][0]["extensions"]["traceId"].is_string());
}

/// The client of this repository and the sandbox are written apart; this is where they meet.
#[tokio::test]
async fn every_document_of_the_client_is_valid_here() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spectra-railway/graphql");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        println!("skipped: no client beside this crate");
        return;
    };
    let world = support::world().await;
    let control = world.answer("query Q($id: String!) { service(id: $id) { shoeSize } }", json!({})).await;
    assert!(
        control["errors"].to_string().contains("Unknown field"),
        "names are checked without variables: {control}"
    );
    let mut checked = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "graphql") || path.ends_with("schema.graphql")
        {
            continue;
        }
        // Without variables a valid document is refused for them alone; an unknown name is a validation error.
        let answer = world.answer(&std::fs::read_to_string(&path).unwrap(), json!({})).await;
        for error in answer["errors"].as_array().into_iter().flatten() {
            let message = error["message"].as_str().unwrap();
            let about_names = ["Unknown", "Cannot query", "not used"];
            assert!(!about_names.iter().any(|word| message.contains(word)), "{}: {message}", path.display());
        }
        checked += 1;
    }
    assert!(checked > 20, "only {checked} documents in {}", dir.display());
}
