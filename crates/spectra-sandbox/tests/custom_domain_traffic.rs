//! Custom domains carry traffic once they are verified, by `Host` over real HTTP.

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};

const CREATE: &str =
    "mutation C($i: CustomDomainCreateInput!) { customDomainCreate(input: $i) { id status { verified } } }";
const DELETE: &str = "mutation X($id: String!) { customDomainDelete(id: $id) }";

async fn custom(world: &World, place: &Place, domain: &str) -> Value {
    let input = json!({ "projectId": place.project, "environmentId": place.environment, "serviceId": place.service, "domain": domain });
    world.ask(CREATE, json!({ "i": input })).await["customDomainCreate"]["id"].clone()
}

/// A service that runs and answers `body`.
async fn running(world: &World, body: &str) -> Place {
    let digest = world.push("team/app", body, &[("body", body)]).await;
    let place = world.place().await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    world.settings(json!({ "manual_clock": true, "consistency_tail": { "default": "0s" } })).await;
    place
}

/// The edge knows no service of this name.
async fn unknown(world: &World, domain: &str) -> bool {
    let (status, body) = world.visit(domain, "/").await;
    status == 404 && body.contains("Application not found")
}

#[tokio::test]
async fn a_custom_domain_answers_from_its_verification_until_it_is_deleted() {
    let mut world = world().await;
    let place = running(&world, "hello").await;
    let id = custom(&world, &place, "shop.example.com").await;
    assert!(unknown(&world, "shop.example.com").await);
    world.admin("POST", "clock", json!({ "advance": "29s" })).await;
    assert!(unknown(&world, "shop.example.com").await);
    world.admin("POST", "clock", json!({ "advance": "1s" })).await;
    let hello = (200, "hello".to_owned());
    assert_eq!(world.visit("Shop.Example.com:7430", "/").await, hello);
    let (_, body) = world.visit("shop.example.com", "/v2/").await;
    assert!(body.contains("\"deployment\""), "every path is the service's: {body}");

    world.restart().await;
    world.until("it answers again", async || world.visit("shop.example.com", "/").await == hello).await;
    world.ask(DELETE, json!({ "id": id })).await;
    assert_eq!(world.visit("shop.example.com", "/").await.0, 404);
}

#[tokio::test]
async fn a_custom_domain_follows_the_cut_over() {
    let world = world().await;
    let place = running(&world, "one").await;
    custom(&world, &place, "shop.example.com").await;
    world.admin("POST", "clock", json!({ "advance": "30s" })).await;
    assert_eq!(world.visit("shop.example.com", "/").await.1, "one");
    world.settings(json!({ "manual_clock": false })).await;
    let digest = world.push("team/app", "two", &[("body", "two")]).await;
    let id = world.pin(&place, &world.pinned("team/app", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    world.until("the new one answers", async || world.visit("shop.example.com", "/").await.1 == "two").await;
    // The service goes and takes its names along.
    world.ask("mutation X($id: String!) { serviceDelete(id: $id) }", json!({ "id": place.service })).await;
    assert_eq!(world.visit("shop.example.com", "/").await.0, 404);
}

#[tokio::test]
async fn a_wildcard_answers_for_one_label_and_gives_way_to_a_name_of_its_own() {
    let world = world().await;
    let place = running(&world, "any").await;
    let other = world.service(&place.project, &place.environment, "api", None).await;
    custom(&world, &place, "*.example.com").await;
    let other = Place { service: other, ..place };
    custom(&world, &other, "api.example.com").await;
    world.admin("POST", "clock", json!({ "advance": "30s" })).await;
    assert_eq!(world.visit("a.example.com", "/").await, (200, "any".to_owned()));
    assert_ne!(world.visit("a.b.example.com", "/").await.0, 200);
    assert_ne!(world.visit("example.com", "/").await.0, 200);
    // That service has no deployment, so its own name leads nowhere, and not to the wildcard's service.
    assert!(unknown(&world, "api.example.com").await);
}

/// A web page that has its own name resolved to this machine could steer the sandbox, and use what it serves.
#[tokio::test]
async fn a_name_that_nobody_has_reaches_neither_the_api_nor_the_registry() {
    let world = world().await;
    let paths = ["/_sandbox/settings", "/graphql/v2", "/v2/", "/v2/_catalog"];
    for host in ["evil.example", "evil.example:7430", "10.0.0.1", "localhost.evil.example"] {
        for path in paths {
            let (status, body) = world.visit(host, path).await;
            assert_eq!(status, 421, "{host}{path}: {body}");
            assert!(body.contains("loopback names only"), "{host}{path}: {body}");
        }
        let query = world.request("{ me { id } }", &Value::Null).bearer_auth(&world.info.tokens.account);
        assert_eq!(query.header("host", host).send().await.unwrap().status().as_u16(), 421, "{host}");
    }
    for host in ["localhost:7430", "sandbox.localhost", "127.1.2.3", "[::1]:7430"] {
        for path in paths {
            // Queries are not answered on GET, to whomever.
            let expected = if path == "/graphql/v2" { 405 } else { 200 };
            assert_eq!(world.visit(host, path).await.0, expected, "{host}{path}");
        }
    }
}
