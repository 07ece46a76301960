//! Custom domains and TCP proxies, over real HTTP.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Place, World, world};

const CREATE: &str = "mutation C($i: CustomDomainCreateInput!) { customDomainCreate(input: $i) { id domain syncStatus status { verified } } }";
const READ: &str = "query D($id: String!, $p: String!) { customDomain(id: $id, projectId: $p) { domain targetPort syncStatus isRailwayDomain
    status { verified verificationDnsHost verificationToken certificateStatus certificateErrorMessage
      dnsRecords { hostlabel fqdn zone purpose recordType requiredValue currentValue status } } } }";
const LIST: &str = "query L($p: String!, $e: String!, $s: String!) { domains(projectId: $p, environmentId: $e, serviceId: $s) {
    customDomains { id syncStatus deletedAt } } }";

#[expect(clippy::unwrap_used, reason = "test support")]
async fn custom(world: &World, place: &Place, domain: &str) -> String {
    let input = json!({ "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "domain": domain, "targetPort": 8080 });
    let data = world.ask(CREATE, json!({ "i": input })).await;
    data["customDomainCreate"]["id"].as_str().unwrap().to_owned()
}

async fn read(world: &World, place: &Place, id: &str) -> Value {
    world.ask(READ, json!({ "id": id, "p": place.project })).await["customDomain"].clone()
}

async fn list(world: &World, place: &Place) -> Value {
    let variables = json!({ "p": place.project, "e": place.environment, "s": place.service });
    world.ask(LIST, variables).await["domains"]["customDomains"].clone()
}

/// A clock that moves only when told, and nothing hidden behind consistency tails.
async fn still(world: &World) {
    world.settings(json!({ "manual_clock": true, "consistency_tail": { "default": "0s" } })).await;
}

async fn advance(world: &World, by: &str) {
    world.admin("POST", "clock", json!({ "advance": by })).await;
}

#[tokio::test]
async fn a_custom_domain_is_verified_and_gets_its_certificate_as_time_passes() {
    let world = world().await;
    let place = world.place().await;
    still(&world).await;
    let id = custom(&world, &place, "Shop.Example.com").await;
    let row = read(&world, &place, &id).await;
    assert_eq!(row["domain"], "shop.example.com");
    assert_eq!(row["syncStatus"], "CREATING");
    assert_eq!(row["status"]["verified"], false);
    assert_eq!(row["status"]["certificateStatus"], "CERTIFICATE_STATUS_TYPE_VALIDATING_OWNERSHIP");
    assert_eq!(row["status"]["verificationDnsHost"], "_railway-verify.shop.example.com");
    let token = row["status"]["verificationToken"].clone();
    assert!(token.as_str().unwrap().starts_with("railway-verify="), "{token}");
    let records = row["status"]["dnsRecords"].as_array().unwrap();
    let route =
        records.iter().find(|record| record["purpose"] == "DNS_RECORD_PURPOSE_TRAFFIC_ROUTE").unwrap();
    assert_eq!(route["fqdn"], "shop.example.com");
    assert_eq!(route["hostlabel"], "shop");
    assert_eq!(route["zone"], "example.com");
    assert_eq!(route["currentValue"], "");
    assert_eq!(route["status"], "DNS_RECORD_STATUS_REQUIRES_UPDATE");

    advance(&world, "29s").await;
    let row = read(&world, &place, &id).await;
    assert_eq!((&row["syncStatus"], &row["status"]["verified"]), (&json!("ACTIVE"), &json!(false)));
    advance(&world, "1s").await;
    let row = read(&world, &place, &id).await;
    assert_eq!(row["status"]["verified"], true);
    assert_eq!(row["status"]["verificationToken"], token, "the token stays");
    assert_eq!(row["status"]["certificateStatus"], "CERTIFICATE_STATUS_TYPE_ISSUING");
    for record in row["status"]["dnsRecords"].as_array().unwrap() {
        assert_eq!(record["status"], "DNS_RECORD_STATUS_PROPAGATED");
        assert_eq!(record["currentValue"], record["requiredValue"]);
    }
    advance(&world, "30s").await;
    let row = read(&world, &place, &id).await;
    assert_eq!(row["status"]["certificateStatus"], "CERTIFICATE_STATUS_TYPE_VALID");
    world.settings(json!({ "domain_certificate_error": "CAA forbids it" })).await;
    let row = read(&world, &place, &id).await;
    assert_eq!(row["status"]["certificateStatus"], "CERTIFICATE_STATUS_TYPE_ISSUE_FAILED");
    assert_eq!(row["status"]["certificateErrorMessage"], "CAA forbids it");
}

#[tokio::test]
async fn the_order_of_records_changes_between_reads() {
    let world = world().await;
    let place = world.place().await;
    still(&world).await;
    let id = custom(&world, &place, "shop.example.com").await;
    let mut seen = BTreeSet::new();
    world
        .until("both orders were seen", async || {
            let row = read(&world, &place, &id).await;
            seen.insert(row["status"]["dnsRecords"][0]["purpose"].to_string());
            seen.len() == 2
        })
        .await;
    world.settings(json!({ "unordered_rows": false })).await;
    for _ in 0..20 {
        let row = read(&world, &place, &id).await;
        assert_eq!(row["status"]["dnsRecords"][0]["purpose"], "DNS_RECORD_PURPOSE_TRAFFIC_ROUTE");
    }
}

#[tokio::test]
async fn a_domain_is_refused_where_it_is_no_name_or_taken() {
    let world = world().await;
    let place = world.place().await;
    still(&world).await;
    let input = |domain: &str| json!({ "i": { "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "domain": domain } });
    let refused = world.refused(CREATE, input("not a name")).await;
    assert!(refused.contains("is not a valid domain"), "{refused}");
    custom(&world, &place, "shop.example.com").await;
    let refused = world.refused(CREATE, input("SHOP.example.com")).await;
    assert!(refused.contains("already taken"), "{refused}");
    let query = "query A($d: String!) { customDomainAvailable(domain: $d) { available message } }";
    let answer = world.ask(query, json!({ "d": "shop.example.com" })).await;
    assert_eq!(answer["customDomainAvailable"]["available"], false);
    let answer = world.ask(query, json!({ "d": "other.example.com" })).await;
    assert_eq!(answer["customDomainAvailable"]["available"], true);
}

#[tokio::test]
async fn a_custom_domain_changes_its_port_and_goes() {
    let mut world = world().await;
    let place = world.place().await;
    still(&world).await;
    world.settings(json!({ "network_busy_duration": "10s" })).await;
    let id = custom(&world, &place, "shop.example.com").await;
    advance(&world, "5s").await;
    let change = "mutation U($id: String!, $e: String!, $port: Int) { customDomainUpdate(id: $id, environmentId: $e, targetPort: $port) }";
    world.ask(change, json!({ "id": id, "e": place.environment, "port": 9000 })).await;
    let row = read(&world, &place, &id).await;
    assert_eq!((&row["targetPort"], &row["syncStatus"]), (&json!(9000), &json!("UPDATING")));
    let refused = world.refused(change, json!({ "id": id, "e": place.environment, "port": 70000 })).await;
    assert!(refused.contains("Invalid target port"), "{refused}");

    let delete = "mutation X($id: String!) { customDomainDelete(id: $id) }";
    let refused = world.refused(delete, json!({ "id": id })).await;
    assert!(refused.contains("an operation is already in progress"), "{refused}");
    advance(&world, "10s").await;
    world.restart().await;
    assert_eq!(read(&world, &place, &id).await["targetPort"], 9000, "a restart keeps it");
    still(&world).await;
    world.ask(delete, json!({ "id": id })).await;
    let rows = list(&world, &place).await;
    assert_eq!(rows[0]["syncStatus"], "DELETING");
    assert!(rows[0]["deletedAt"].is_string());
    advance(&world, "2s").await;
    assert_eq!(list(&world, &place).await, json!([]));
    assert_eq!(world.refused(delete, json!({ "id": id })).await, "Not Authorized");
}

const PROXY: &str = "mutation P($i: TCPProxyCreateInput!) { tcpProxyCreate(input: $i) { id domain proxyPort applicationPort syncStatus } }";
const PROXIES: &str = "query P($e: String!, $s: String!) { tcpProxies(environmentId: $e, serviceId: $s) { id domain proxyPort syncStatus } }";

#[tokio::test]
async fn a_tcp_proxy_comes_and_goes() {
    let world = world().await;
    let place = world.place().await;
    still(&world).await;
    world.settings(json!({ "network_busy_duration": "10s" })).await;
    let input = |port: i32| json!({ "i": { "environmentId": place.environment, "serviceId": place.service, "applicationPort": port } });
    let first = world.ask(PROXY, input(5432)).await["tcpProxyCreate"].clone();
    assert_eq!(first["syncStatus"], "CREATING");
    let second = world.ask(PROXY, input(6379)).await["tcpProxyCreate"].clone();
    assert_ne!(first["proxyPort"], second["proxyPort"]);
    let refused = world.refused(PROXY, input(5432)).await;
    assert!(refused.contains("already exists"), "{refused}");
    assert!(world.refused(PROXY, input(0)).await.contains("Invalid target port"));

    let delete = "mutation X($id: String!) { tcpProxyDelete(id: $id) }";
    let refused = world.refused(delete, json!({ "id": first["id"] })).await;
    assert!(refused.contains("an operation is already in progress"), "{refused}");
    advance(&world, "10s").await;
    world.ask(delete, json!({ "id": first["id"] })).await;
    let place = json!({ "e": place.environment, "s": place.service });
    let rows = world.ask(PROXIES, place.clone()).await["tcpProxies"].clone();
    let state = |id: &Value| {
        rows.as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap()["syncStatus"].clone()
    };
    assert_eq!((state(&first["id"]), state(&second["id"])), (json!("DELETING"), json!("ACTIVE")));
    advance(&world, "2s").await;
    let rows = world.ask(PROXIES, place.clone()).await["tcpProxies"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["id"], second["id"]);
    assert_eq!(rows[0]["domain"], "proxy.railway.localhost");
    world.settings(json!({ "tcp_proxy_dot_probability": 1.0 })).await;
    let rows = world.ask(PROXIES, place).await["tcpProxies"].clone();
    assert_eq!(rows[0]["domain"], "proxy.railway.localhost.");
}

#[tokio::test]
async fn domains_and_proxies_go_with_their_project_and_stand_in_the_configuration() {
    let world = world().await;
    let place = world.place().await;
    still(&world).await;
    custom(&world, &place, "shop.example.com").await;
    let input =
        json!({ "environmentId": place.environment, "serviceId": place.service, "applicationPort": 5432 });
    world.ask(PROXY, json!({ "i": input })).await;
    let config = world
        .ask("query C($id: String!) { environment(id: $id) { config } }", json!({ "id": place.environment }))
        .await;
    let networking = &config["environment"]["config"]["services"][&place.service]["networking"];
    assert_eq!(
        *networking,
        json!({ "customDomains": { "shop.example.com": { "port": 8080 } }, "tcpProxies": { "5432": {} } })
    );
    let objects = world.admin("GET", "status", Value::Null).await["objects"].clone();
    assert_eq!((&objects["custom_domains"], &objects["tcp_proxies"]), (&json!(1), &json!(1)));
    world.ask("mutation X($id: String!) { projectDelete(id: $id) }", json!({ "id": place.project })).await;
    let objects = world.admin("GET", "status", Value::Null).await["objects"].clone();
    assert_eq!((&objects["custom_domains"], &objects["tcp_proxies"]), (&json!(0), &json!(0)));
}
