//! Private networks and egress gateways, over real HTTP.

mod support;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use support::{Place, World, world};

const NETWORK: &str = "mutation N($i: PrivateNetworkCreateOrGetInput!) { n: privateNetworkCreateOrGet(input: $i) { publicId networkId name dnsName tags environmentId projectId deletedAt } }";
const NETWORKS: &str = "query N($e: String!) { privateNetworks(environmentId: $e) { publicId name } }";
const JOIN: &str = "mutation J($i: PrivateNetworkEndpointCreateOrGetInput!) { e: privateNetworkEndpointCreateOrGet(input: $i) { publicId dnsName newDnsName privateIps syncStatus serviceInstanceId tags } }";
const READ: &str = "query R($e: String!, $n: String!, $s: String!) { e: privateNetworkEndpoint(environmentId: $e, privateNetworkId: $n, serviceId: $s) { publicId dnsName newDnsName syncStatus } }";
const RENAME: &str = "mutation R($id: String!, $n: String!, $d: String!) { privateNetworkEndpointRename(id: $id, privateNetworkId: $n, dnsName: $d) }";
const FREE: &str = "query F($e: String!, $n: String!, $p: String!) { free: privateNetworkEndpointNameAvailable(environmentId: $e, privateNetworkId: $n, prefix: $p) }";
const LEAVE: &str = "mutation L($id: String!) { privateNetworkEndpointDelete(id: $id) }";
const CLEAR: &str = "mutation C($e: String!) { privateNetworksForEnvironmentDelete(environmentId: $e) }";

async fn still(world: &World) -> Place {
    let place = world.place().await;
    world.settings(json!({ "manual_clock": true, "consistency_tail": { "default": "0s" } })).await;
    place
}

async fn advance(world: &World, by: &str) {
    world.admin("POST", "clock", json!({ "advance": by })).await;
}

async fn network(world: &World, place: &Place, name: &str) -> Value {
    let input = json!({ "projectId": place.project, "environmentId": place.environment, "name": name, "tags": ["shop"] });
    world.ask(NETWORK, json!({ "i": input })).await["n"].clone()
}

fn join(place: &Place, network: &Value, service: &str, name: &str) -> Value {
    json!({ "i": { "environmentId": place.environment, "privateNetworkId": network["publicId"],
        "serviceId": service, "serviceName": name, "tags": [] } })
}

async fn private_domain(world: &World, place: &Place) -> Value {
    let query = "query V($p: String!, $e: String!, $s: String!) { variables(projectId: $p, environmentId: $e, serviceId: $s) }";
    let at = json!({ "p": place.project, "e": place.environment, "s": place.service });
    world.ask(query, at).await["variables"]["RAILWAY_PRIVATE_DOMAIN"].clone()
}

#[tokio::test]
async fn a_network_is_made_once_for_each_name_and_environment() {
    let mut world = world().await;
    let place = still(&world).await;
    let first = network(&world, &place, "My Net").await;
    assert_eq!((&first["name"], &first["dnsName"]), (&json!("My Net"), &json!("my-net")));
    assert!(first["networkId"].is_u64(), "a BigInt is a number: {first}");
    assert_eq!(network(&world, &place, "My Net").await, first);
    let second = network(&world, &place, "other").await;
    assert_ne!(second["networkId"], first["networkId"]);
    world.restart().await;
    let rows = world.ask(NETWORKS, json!({ "e": place.environment })).await["privateNetworks"].clone();
    assert_eq!(rows[0]["publicId"], first["publicId"]);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    world.ask(CLEAR, json!({ "e": place.environment })).await;
    let rows = world.ask(NETWORKS, json!({ "e": place.environment })).await;
    assert_eq!(rows["privateNetworks"], json!([]));
    assert_ne!(network(&world, &place, "My Net").await["publicId"], first["publicId"]);
}

#[tokio::test]
async fn an_endpoint_reads_null_for_a_while_without_an_error() {
    let world = world().await;
    let place = still(&world).await;
    world.settings(json!({ "private_endpoint_null_window": "5m" })).await;
    let net = network(&world, &place, "net").await;
    let at = json!({ "e": place.environment, "n": net["publicId"], "s": place.service });
    assert_eq!(world.ask(READ, at.clone()).await["e"], Value::Null, "there is none");
    let made = world.ask(JOIN, join(&place, &net, &place.service, "web")).await["e"].clone();
    assert_eq!((&made["dnsName"], &made["syncStatus"]), (&json!("web"), &json!("CREATING")));
    let address: std::net::Ipv6Addr = made["privateIps"][0].as_str().unwrap().parse().unwrap();
    assert!(address.is_unique_local());
    advance(&world, "299s").await;
    assert_eq!(world.ask(READ, at.clone()).await["e"], Value::Null);
    advance(&world, "1s").await;
    let read = world.ask(READ, at.clone()).await["e"].clone();
    assert_eq!((&read["publicId"], &read["syncStatus"]), (&made["publicId"], &json!("ACTIVE")));
    let again = world.ask(JOIN, join(&place, &net, &place.service, "another name")).await["e"].clone();
    assert_eq!((&again["publicId"], &again["dnsName"]), (&made["publicId"], &json!("web")), "it was got");
    world.ask(LEAVE, json!({ "id": made["publicId"] })).await;
    assert_eq!(world.ask(READ, at).await["e"], Value::Null);
    assert_eq!(world.refused(LEAVE, json!({ "id": made["publicId"] })).await, "Not Authorized");
}

#[tokio::test]
async fn an_endpoint_is_renamed_and_its_service_hears_of_it() {
    let world = world().await;
    let place = still(&world).await;
    world.settings(json!({ "private_endpoint_null_window": "0s" })).await;
    let net = network(&world, &place, "net").await;
    let id = world.ask(JOIN, join(&place, &net, &place.service, "web")).await["e"]["publicId"].clone();
    let other = world.service(&place.project, &place.environment, "db", None).await;
    let twin = world.ask(JOIN, join(&place, &net, &other, "web")).await["e"]["dnsName"].clone();
    assert!(twin.as_str().unwrap().starts_with("web-"), "the name was taken: {twin}");
    assert_eq!(private_domain(&world, &place).await, "web.railway.internal");
    let free = async |name: &str| {
        let at = json!({ "e": place.environment, "n": net["publicId"], "p": name });
        world.ask(FREE, at).await["free"].clone()
    };
    assert_eq!(
        (free("web").await, free("front").await, free("Not A Name").await),
        (json!(false), json!(true), json!(false))
    );

    advance(&world, "10s").await;
    let rename = |name: &str| json!({ "id": id, "n": net["publicId"], "d": name });
    assert!(world.refused(RENAME, rename(twin.as_str().unwrap())).await.contains("already taken"));
    assert!(world.refused(RENAME, rename("Not A Name")).await.contains("not a valid"));
    world.ask(RENAME, rename("front")).await;
    let at = json!({ "e": place.environment, "n": net["publicId"], "s": place.service });
    let read = async || world.ask(READ, at.clone()).await["e"].clone();
    let row = read().await;
    assert_eq!(
        (&row["dnsName"], &row["newDnsName"], &row["syncStatus"]),
        (&json!("web"), &json!("front"), &json!("UPDATING"))
    );
    advance(&world, "2s").await;
    let row = read().await;
    assert_eq!(
        (&row["dnsName"], &row["newDnsName"], &row["syncStatus"]),
        (&json!("front"), &Value::Null, &json!("ACTIVE"))
    );
    assert_eq!(private_domain(&world, &place).await, "front.railway.internal");
}

#[tokio::test]
async fn networks_endpoints_and_gateways_go_with_what_they_belong_to() {
    let world = world().await;
    let place = still(&world).await;
    let net = network(&world, &place, "net").await;
    world.ask(JOIN, join(&place, &net, &place.service, "web")).await;
    let at = json!({ "i": { "environmentId": place.environment, "serviceId": place.service } });
    world.ask(GATEWAY, at).await;
    let count = async || {
        let objects = world.admin("GET", "status", Value::Null).await["objects"].clone();
        ["private_networks", "private_endpoints", "egress_gateways"].map(|key| objects[key].as_u64().unwrap())
    };
    assert_eq!(count().await, [1, 1, 1]);
    world.ask("mutation X($id: String!) { serviceDelete(id: $id) }", json!({ "id": place.service })).await;
    assert_eq!(count().await, [1, 0, 0]);
    world.ask("mutation X($id: String!) { projectDelete(id: $id) }", json!({ "id": place.project })).await;
    assert_eq!(count().await, [0, 0, 0]);
}

const GATEWAY: &str = "mutation G($i: EgressGatewayCreateInput!) { g: egressGatewayAssociationCreate(input: $i) { region ipv4 zone } }";
const GATEWAYS: &str =
    "query G($e: String!, $s: String!) { egressGateways(environmentId: $e, serviceId: $s) { region ipv4 } }";
const UNGATE: &str =
    "mutation G($i: EgressGatewayServiceTargetInput!) { egressGatewayAssociationsClear(input: $i) }";

fn regions(rows: &Value) -> BTreeSet<String> {
    rows.as_array().into_iter().flatten().map(|row| row["region"].to_string()).collect()
}

#[tokio::test]
async fn a_service_has_one_gateway_for_each_region_in_no_order() {
    let world = world().await;
    let place = still(&world).await;
    let target = json!({ "environmentId": place.environment, "serviceId": place.service });
    let one = world.ask(GATEWAY, json!({ "i": target })).await["g"].clone();
    assert_eq!(regions(&one), BTreeSet::from(["\"us-west2\"".to_owned()]));
    world
        .update(&place, json!({ "multiRegionConfig": { "europe-west4": { "numReplicas": 2 }, "us-west2": { "numReplicas": 1 } } }))
        .await;
    let all = world.ask(GATEWAY, json!({ "i": target })).await["g"].clone();
    assert_eq!(all.as_array().unwrap().len(), 2, "one a region, not one a replica: {all}");
    let kept = all.as_array().unwrap().iter().find(|row| row["region"] == "us-west2").unwrap();
    assert_eq!(*kept, one[0], "what it had stays");
    let named = json!({ "i": { "environmentId": place.environment, "serviceId": place.service, "region": "nowhere" } });
    assert!(world.refused(GATEWAY, named).await.contains("Invalid region"));

    let read = async || {
        let at = json!({ "e": place.environment, "s": place.service });
        world.ask(GATEWAYS, at).await["egressGateways"].clone()
    };
    let mut first = BTreeSet::new();
    world
        .until("either region was first", async || {
            first.insert(read().await[0]["region"].to_string());
            first.len() == 2
        })
        .await;
    world.ask(UNGATE, json!({ "i": target })).await;
    assert_eq!(read().await, json!([]));
}

#[tokio::test]
async fn gateways_are_cleared_in_one_environment_or_in_all() {
    let world = world().await;
    let place = still(&world).await;
    let fork =
        json!({ "projectId": place.project, "name": "copy", "sourceEnvironmentId": place.environment });
    let fork = world
        .ask(
            "mutation F($i: EnvironmentCreateInput!) { environmentCreate(input: $i) { id } }",
            json!({ "i": fork }),
        )
        .await["environmentCreate"]["id"]
        .clone();
    let count =
        async || world.admin("GET", "status", Value::Null).await["objects"]["egress_gateways"].clone();
    for environment in [&json!(place.environment), &fork] {
        world
            .ask(GATEWAY, json!({ "i": { "environmentId": environment, "serviceId": place.service } }))
            .await;
    }
    assert_eq!(count().await, 2);
    let target = |all: bool| json!({ "i": { "environmentId": fork, "serviceId": place.service, "allEnvironments": all } });
    world.ask(UNGATE, target(false)).await;
    assert_eq!(count().await, 1);
    world.ask(UNGATE, target(true)).await;
    assert_eq!(count().await, 0);
}
