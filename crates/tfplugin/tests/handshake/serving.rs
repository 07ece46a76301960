//! The handshake line, and what is served behind it.

use std::sync::mpsc;

use tfplugin::proto::health::HealthCheckRequest;
use tfplugin::proto::health::health_client::HealthClient;
use tfplugin::proto::tfplugin6::provider_client::ProviderClient;
use tfplugin::proto::tfplugin6::{DynamicValue, lock_state, stop_provider, validate_provider_config};
use tfplugin::server::{ServeError, ServeOptions, StopToken, Transport, serve};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::support::{Bare, COOKIE, Output, TestServer, apply, connection_name, schema, shutdown, within};

#[tokio::test]
async fn the_line_is_the_only_output() {
    let server = TestServer::plugin(&[("PLUGIN_PROTOCOL_VERSIONS", "5,6")]).await;
    let text = server.output.text();
    assert_eq!(text, format!("1|6|{}|{}|grpc|\n", server.ready.network, server.ready.address));
    schema(server.plain().await).await.unwrap();
    server.until.cancel();
    assert_eq!(server.output.text(), text);
    server.ended().await;
}

#[tokio::test]
async fn a_port_within_the_range() {
    let environment = [("PLUGIN_MIN_PORT", "10000"), ("PLUGIN_MAX_PORT", "25000")];
    let server =
        TestServer::start(ServeOptions::plugin(), &environment, |options| options.transport(Transport::Tcp))
            .await;
    let (host, port) = server.ready.address.rsplit_once(':').unwrap();
    assert_eq!((server.ready.network, host), ("tcp", "127.0.0.1"));
    assert!((10000..=25000).contains(&port.parse::<u16>().unwrap()));
    schema(server.plain().await).await.unwrap();
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn without_the_cookie_nothing_is_printed_or_bound() {
    for cookie in [None, Some((COOKIE.0, "wrong"))] {
        let (output, (provider, _begun)) = (Output::default(), Bare::new(StopToken::new()));
        let options =
            ServeOptions::plugin().environment(cookie).embedded(output.clone(), CancellationToken::new());
        let error = within(serve(provider, options)).await.unwrap_err();
        assert!(matches!(error, ServeError::NotLaunched));
        assert_eq!(output.text(), "");
    }
}

#[tokio::test]
async fn version_six_is_answered_even_when_it_is_not_accepted() {
    let server = TestServer::plugin(&[("PLUGIN_PROTOCOL_VERSIONS", "5")]).await;
    assert!(server.output.text().starts_with("1|6|"));
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn health_is_told_for_the_plugin_alone() {
    let server = TestServer::plugin(&[]).await;
    let mut client = HealthClient::new(server.plain().await);
    for (service, expected) in [("plugin", Ok(1)), ("", Ok(1)), ("other", Err(Code::NotFound))] {
        let answer = within(client.check(HealthCheckRequest { service: service.to_owned() })).await;
        assert_eq!(answer.map(|answer| answer.into_inner().status).map_err(|status| status.code()), expected);
    }
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn messages_beyond_the_transports_own_limit_pass() {
    let server = TestServer::plugin(&[]).await;
    let config = DynamicValue { msgpack: vec![0xc0; 20 << 20].into(), json: bytes::Bytes::new() };
    let mut client = ProviderClient::new(server.plain().await).max_encoding_message_size(usize::MAX);
    let request = validate_provider_config::Request { config: Some(config) };
    within(client.validate_provider_config(request)).await.unwrap();
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn what_is_not_offered_is_unimplemented() {
    let server = TestServer::plugin(&[]).await;
    let mut client = ProviderClient::new(server.plain().await);
    let status = within(client.lock_state(lock_state::Request::default())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn connections_have_names_and_their_end_is_told() {
    let (closed, on_close) = mpsc::channel();
    let server = TestServer::start(ServeOptions::plugin(), &[], |options| {
        options.on_connection_closed(move |id| closed.send(id.to_string()).unwrap())
    })
    .await;
    let (first, second) = (server.plain().await, server.plain().await);
    let names = [connection_name(first.clone()).await, connection_name(second.clone()).await];
    assert_ne!(names[0], names[1]);
    assert_eq!(connection_name(first.clone()).await, names[0]);
    drop(first);
    let told =
        tokio::task::spawn_blocking(move || (on_close.recv_timeout(crate::support::DEADLINE), on_close));
    let (told, on_close) = told.await.unwrap();
    assert_eq!(told.unwrap(), names[0]);
    // The other one goes on, and is told at the end.
    assert_eq!(connection_name(second).await, names[1]);
    server.until.cancel();
    server.ended().await;
    assert_eq!(on_close.recv_timeout(crate::support::DEADLINE).unwrap(), names[1]);
}

#[tokio::test]
async fn stop_reaches_what_runs_and_the_server_goes_on() {
    let mut server = TestServer::plugin(&[]).await;
    let channel = server.plain().await;
    let running = tokio::spawn(apply(channel.clone(), "until cancelled"));
    within(server.begun.recv()).await.unwrap();
    let mut client = ProviderClient::new(channel.clone());
    let answer = within(client.stop_provider(stop_provider::Request {})).await.unwrap();
    assert_eq!(answer.into_inner().error, "");
    assert_eq!(within(running).await.unwrap().unwrap(), "unwound");
    assert_eq!(apply(channel, "quick").await.unwrap(), "cancelled: false");
    server.until.cancel();
    server.ended().await;
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_connection_holds() {
    let server = TestServer::plugin(&[]).await;
    let channel = server.plain().await;
    let name = connection_name(channel.clone()).await;
    let answer = apply(channel.clone(), "panic").await.unwrap();
    assert!(answer.starts_with("no such widget (at ") && answer.contains("support.rs:"), "{answer}");
    assert_eq!(connection_name(channel).await, name);
    server.until.cancel();
    server.ended().await;
}

/// Row 69 of the catalogue: nor does it take TLS, whatever is left in the environment.
#[tokio::test]
async fn reattach_needs_no_cookie_and_outlives_runs() {
    let options = ServeOptions::reattach("registry.terraform.io/acme/widget");
    let pem = crate::support::Identity::new().certificate.pem();
    let environment = [(COOKIE.0, ""), ("PLUGIN_CLIENT_CERT", pem.as_str())];
    let server = TestServer::start(options, &environment, |options| options).await;
    let json: serde_json::Value = serde_json::from_str(server.ready.reattach.as_ref().unwrap()).unwrap();
    let provider = &json["registry.terraform.io/acme/widget"];
    assert_eq!(provider["Addr"]["String"].as_str().unwrap(), server.ready.address);
    assert!(server.output.text().starts_with("TF_REATTACH_PROVIDERS='{"));
    let mut names = Vec::new();
    for _ in 0..3 {
        let channel = server.plain().await;
        schema(channel.clone()).await.unwrap();
        names.push(connection_name(channel.clone()).await);
        // A launcher that asks for the end gets an answer; the server stays.
        shutdown(channel).await;
    }
    names.dedup();
    assert_eq!(names.len(), 3);
    server.until.cancel();
    server.ended().await;
}
