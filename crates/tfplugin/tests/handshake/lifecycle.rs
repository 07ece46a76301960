//! Every way a server ends, as seen from inside one process.

use std::time::{Duration, Instant};

use tfplugin::proto::health::HealthCheckRequest;
use tfplugin::proto::health::health_client::HealthClient;
use tfplugin::proto::plugin::grpc_broker_client::GrpcBrokerClient;
use tfplugin::proto::plugin::grpc_stdio_client::GrpcStdioClient;
use tfplugin::server::ServeOptions;

use crate::support::{TestServer, apply, schema, shutdown, within};

/// Terraform kills after two seconds; ours is half a second, and a loaded machine is allowed as much again.
const PROMPT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn shutdown_is_prompt_though_every_stream_is_open() {
    let server = TestServer::plugin(&[]).await;
    let channel = server.plain().await;
    let mut stdio =
        within(GrpcStdioClient::new(channel.clone()).stream_stdio(())).await.unwrap().into_inner();
    let broker = GrpcBrokerClient::new(channel.clone()).start_stream(tokio_stream::pending()).await.unwrap();
    let watch = HealthCheckRequest { service: "plugin".to_owned() };
    let mut watch = within(HealthClient::new(channel.clone()).watch(watch)).await.unwrap().into_inner();
    assert_eq!(within(watch.message()).await.unwrap().unwrap().status, 1);
    // Silent, and open until the end.
    assert!(tokio::time::timeout(Duration::from_millis(20), stdio.message()).await.is_err());

    let begin = Instant::now();
    shutdown(channel.clone()).await;
    server.ended().await;
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    assert!(!matches!(within(stdio.message()).await, Ok(Some(_))));
    drop((channel, broker));
}

#[tokio::test]
async fn shutdown_is_prompt_though_a_handler_never_ends() {
    let mut server = TestServer::plugin(&[]).await;
    let channel = server.plain().await;
    let running = tokio::spawn(apply(channel.clone(), "stubborn"));
    within(server.begun.recv()).await.unwrap();
    let begin = Instant::now();
    shutdown(channel).await;
    server.ended().await;
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
    within(running).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn the_last_connection_gone_for_long_ends_the_server() {
    let server = TestServer::start(ServeOptions::plugin(), &[], |options| {
        options.client_grace(Duration::from_millis(50))
    })
    .await;
    let channel = server.plain().await;
    schema(channel.clone()).await.unwrap();
    drop(channel);
    server.ended().await;
}

#[tokio::test]
async fn calls_may_unwind_when_the_client_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("marker");
    let (mut provider, mut begun) = crate::support::Bare::new(tfplugin::server::StopToken::new());
    provider.marker = Some(marker.clone());
    let (sender, on_ready) = tokio::sync::oneshot::channel();
    let options = ServeOptions::plugin()
        .environment([crate::support::COOKIE, ("PLUGIN_UNIX_SOCKET_DIR", folder.path().to_str().unwrap())])
        .stop(provider.stop.clone())
        .embedded(std::io::sink(), tokio_util::sync::CancellationToken::new())
        .client_grace(Duration::from_millis(50))
        .on_ready(move |ready| sender.send(ready.clone()).unwrap());
    let served = tokio::spawn(tfplugin::server::serve(provider, options));
    let ready = within(on_ready).await.unwrap();
    let stream = crate::support::dial(ready.network, &ready.address).await;
    let running = tokio::spawn(apply(crate::support::channel(stream).await.unwrap(), "until cancelled"));
    within(begun.recv()).await.unwrap();
    // The connection breaks with the call on it; the handler goes on, is told, and finishes.
    running.abort();
    within(served).await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(marker).unwrap(), "unwound");
}

#[tokio::test]
async fn a_dropped_server_leaves_no_socket() {
    let server = TestServer::plugin(&[]).await;
    schema(server.plain().await).await.unwrap();
    server.served.abort();
    assert!(within(server.served).await.unwrap_err().is_cancelled());
    assert_eq!(std::fs::read_dir(server.folder.path()).unwrap().count(), 0);
}
