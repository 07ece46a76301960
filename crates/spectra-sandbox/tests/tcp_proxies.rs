//! TCP proxies carry bytes between their loopback port and the deployment that serves.

mod support;

use serde_json::{Value, json};
use support::{Place, World, world};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CREATE: &str = "mutation P($i: TCPProxyCreateInput!) { tcpProxyCreate(input: $i) { id proxyPort } }";
const DELETE: &str = "mutation X($id: String!) { tcpProxyDelete(id: $id) }";

#[expect(clippy::unwrap_used, reason = "test support")]
async fn proxy(world: &World, place: &Place) -> (Value, u16) {
    let input =
        json!({ "environmentId": place.environment, "serviceId": place.service, "applicationPort": 5432 });
    let row = world.ask(CREATE, json!({ "i": input })).await["tcpProxyCreate"].clone();
    (row["id"].clone(), u16::try_from(row["proxyPort"].as_u64().unwrap()).unwrap())
}

/// What comes back over `stream` for one request in plain bytes; `None` when the connection ends without a word.
async fn exchange(mut stream: TcpStream) -> Option<String> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: db\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let text = String::from_utf8(answer).ok()?;
    text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

async fn through(port: u16) -> Option<String> {
    exchange(TcpStream::connect(("127.0.0.1", port)).await.ok()?).await
}

async fn deploy(world: &World, place: &Place, body: &str) -> String {
    let digest = world.push("team/db", body, &[("body", body)]).await;
    let id = world.pin(place, &world.pinned("team/db", &digest)).await;
    world.wait_for(&id, "SUCCESS").await;
    id
}

async fn status(world: &World) -> Value {
    world.admin("GET", "status", Value::Null).await["services"][0]["tcp_proxies"][0].clone()
}

#[tokio::test]
async fn a_proxy_is_effective_from_the_next_deployment_and_follows_the_cut_over() {
    let world = world().await;
    let place = world.place().await;
    deploy(&world, &place, "one").await;
    let (id, port) = proxy(&world, &place).await;
    assert_eq!(status(&world).await["error"], Value::Null);
    TcpStream::connect(("127.0.0.1", port)).await.expect("it listens at once");
    assert_eq!(through(port).await, None, "the running deployment does not know of it");
    deploy(&world, &place, "two").await;
    world.until("two answers", async || through(port).await.as_deref() == Some("two")).await;

    let last = deploy(&world, &place, "three").await;
    world.until("three answers", async || through(port).await.as_deref() == Some("three")).await;

    world.ask("mutation S($id: String!) { deploymentStop(id: $id) }", json!({ "id": last })).await;
    world.until("nothing serves", async || through(port).await.is_none()).await;
    TcpStream::connect(("127.0.0.1", port)).await.expect("the port is still the proxy's");
    world.ask("mutation S($id: String!) { deploymentRestart(id: $id) }", json!({ "id": last })).await;
    world.until("it serves again", async || through(port).await.as_deref() == Some("three")).await;

    let open = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    world.ask(DELETE, json!({ "id": id })).await;
    world.until("the port is free", async || TcpListener::bind(("127.0.0.1", port)).await.is_ok()).await;
    assert_eq!(exchange(open).await, None, "what was open is cut");
}

#[tokio::test]
async fn a_service_knows_its_proxy_and_takes_it_along() {
    let world = world().await;
    let place = world.place().await;
    let (_, port) = proxy(&world, &place).await;
    let query = "query V($p: String!, $e: String!, $s: String!) { variables(projectId: $p, environmentId: $e, serviceId: $s) }";
    let at = json!({ "p": place.project, "e": place.environment, "s": place.service });
    let variables = world.ask(query, at).await["variables"].clone();
    assert_eq!(variables["RAILWAY_TCP_PROXY_DOMAIN"], "proxy.railway.localhost");
    assert_eq!(variables["RAILWAY_TCP_PROXY_PORT"], port.to_string());
    assert_eq!(variables["RAILWAY_TCP_APPLICATION_PORT"], "5432");
    world.ask("mutation X($id: String!) { projectDelete(id: $id) }", json!({ "id": place.project })).await;
    world.until("the port is free", async || TcpListener::bind(("127.0.0.1", port)).await.is_ok()).await;
}

#[tokio::test]
async fn a_port_survives_a_restart_and_is_said_when_somebody_else_has_it() {
    let mut world = world().await;
    let place = world.place().await;
    let (_, port) = proxy(&world, &place).await;
    deploy(&world, &place, "up").await;
    world.until("it answers", async || through(port).await.as_deref() == Some("up")).await;
    world.restart().await;
    world.until("it answers again", async || through(port).await.as_deref() == Some("up")).await;

    world.sandbox.take().unwrap().shutdown().await;
    let squatter = TcpListener::bind(("127.0.0.1", port)).await.expect("a stopped sandbox holds no port");
    world.start().await;
    let row = status(&world).await;
    assert!(row["error"].as_str().unwrap().contains(&format!("port {port} cannot be bound")), "{row}");
    assert_eq!(row["proxy_port"], port, "the proxy keeps its number");
    drop(squatter);
    deploy(&world, &place, "back").await;
    world.until("the port is tried again", async || through(port).await.as_deref() == Some("back")).await;
    assert_eq!(status(&world).await["error"], Value::Null);
}

#[tokio::test]
async fn a_connection_wakes_a_sleeping_service() {
    let world = world().await;
    let place = world.place().await;
    proxy(&world, &place).await;
    world.settings(json!({ "sleep_after": "60s" })).await;
    world.update(&place, json!({ "sleepApplication": true })).await;
    let digest = world.push("team/db", "v1", &[("body", "awake")]).await;
    let id = world.pin(&place, &world.pinned("team/db", &digest)).await;
    world.wait_for(&id, "SLEEPING").await;
    world.settings(json!({ "sleep_after": "100h" })).await;
    let port = u16::try_from(status(&world).await["proxy_port"].as_u64().unwrap()).unwrap();
    assert_eq!(through(port).await.as_deref(), Some("awake"), "the first connection waits until it is awake");
    world.wait_for(&id, "SUCCESS").await;
}
