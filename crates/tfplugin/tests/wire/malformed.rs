//! What Terraform would never send.

use bytes::Bytes;
use tfplugin::proto::tfplugin6::{self as proto, DynamicValue, RawState};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;

use crate::calls::{CALLS, Known, Sent};
use crate::provider::{Config, Shared, Works};
use crate::support::{Wire, errors, msgpack, within};

/// Values that are none of any type here.
fn bad() -> Vec<(&'static str, DynamicValue)> {
    let json = |text: &'static str| DynamicValue { msgpack: Bytes::new(), json: text.into() };
    vec![
        ("a byte that is no msgpack", msgpack(vec![0xc1])),
        ("a map without its entries", msgpack(vec![0xdf, 0xff, 0xff, 0xff, 0xff])),
        ("a list that says it is endless", msgpack(vec![0xdd, 0xff, 0xff, 0xff, 0xff])),
        ("a text that says it is endless", msgpack(vec![0xdb, 0xff, 0xff, 0xff, 0xff])),
        ("text that is no UTF-8", msgpack(vec![0xa2, 0xff, 0xfe])),
        ("an object of another type", msgpack(b"\x81\xa5other\xa1x".as_slice())),
        ("an attribute twice", msgpack(b"\x82\xa4does\xa1x\xa4does\xa1y".as_slice())),
        ("a key that is a number", msgpack(vec![0x81, 0x01, 0x01])),
        ("a value with more behind it", msgpack(vec![0xc0, 0xc0])),
        ("lists in lists without end", msgpack(vec![0x91; 10_000])),
        ("maps in maps without end", msgpack([0x81, 0xa1, b'a'].repeat(10_000))),
        ("half of JSON", json("{\"does\":")),
        ("JSON of another shape", json("[1,2,3]")),
        ("no JSON at all", json("\u{0}")),
    ]
}

#[tokio::test]
async fn bad_bytes_in_any_field_are_an_error_and_the_next_call_works() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    for Known { call, field, .. } in CALLS.iter().filter(|known| !known.field.is_empty()) {
        for (what, bytes) in bad() {
            let sent = Sent { instead: Some((field, bytes)), ..Sent::that(call, "nothing") };
            let said = within(sent.send(&mut client, &folder)).await;
            assert!(!said.is_empty(), "{call} takes {what} for its {field}");
            assert!(!said.contains("report id"), "{call} panics on {what} as its {field}: {said}");
            count += 1;
        }
        let said = within(Sent::that(call, "nothing").send(&mut client, &folder)).await;
        assert_eq!(said, "", "{call} afterwards");
    }
    assert!(count > 300, "{count}");
    wire.ended().await;
}

/// Of the enums of the protocol none travels from Terraform to a provider; numbers and names do.
#[tokio::test]
async fn numbers_and_names_that_mean_nothing_are_errors_or_ignored() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    for version in [i64::MIN, -1, 2, i64::MAX] {
        let request = proto::upgrade_resource_state::Request {
            type_name: "wire_thing".to_owned(),
            version,
            raw_state: Some(RawState { json: "{}".into(), ..RawState::default() }),
        };
        let response = within(client.upgrade_resource_state(request)).await.unwrap().into_inner();
        assert_ne!(errors(&response.diagnostics), "", "version {version}");
        let request = proto::upgrade_resource_identity::Request {
            type_name: "wire_thing".to_owned(),
            version,
            raw_identity: Some(RawState { json: "{}".into(), ..RawState::default() }),
        };
        let response = within(client.upgrade_resource_identity(request)).await.unwrap().into_inner();
        assert_ne!(errors(&response.diagnostics), "", "version {version}");
    }
    for limit in [i64::MIN, -1, 0, i64::MAX] {
        let config = Some(crate::support::value(&crate::provider::Deed::that("nothing")));
        let request = proto::list_resource::Request {
            type_name: "wire_thing".to_owned(),
            config,
            include_resource_object: true,
            limit,
        };
        let mut stream = within(client.list_resource(request)).await.unwrap().into_inner();
        let mut found = 0;
        while let Some(event) = within(stream.message()).await.unwrap() {
            assert_eq!(event.diagnostic, [], "limit {limit}");
            found += 1;
        }
        assert_eq!(found, 1, "limit {limit}");
    }
    for count in [0, 2, 1000] {
        let arguments = vec![msgpack(b"\xa1x".as_slice()); count];
        let request = proto::call_function::Request { name: "call".to_owned(), arguments };
        let response = within(client.call_function(request)).await.unwrap().into_inner();
        assert!(response.error.unwrap().text.contains("takes 1 arguments"), "{count}");
    }
    let request = proto::read_resource::Request { type_name: "\u{0}\n".to_owned(), ..Default::default() };
    let response = within(client.read_resource(request)).await.unwrap().into_inner();
    assert!(errors(&response.diagnostics).starts_with("No resource `"));
    wire.ended().await;
}

/// A message whose fields have other types than those of the protocol, and fields that it does not know.
#[derive(Clone, PartialEq, prost::Message)]
struct Odd {
    /// Where a text is expected.
    #[prost(uint64, optional, tag = "1")]
    number: Option<u64>,
    /// From a protocol of the future, with the number of an enum's value.
    #[prost(int32, optional, tag = "900")]
    future: Option<i32>,
}

#[tokio::test]
async fn a_message_of_another_shape_fails_alone_and_fields_of_the_future_are_ignored() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let channel = wire.channel().await;
    let send = |odd: Odd| {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        async move {
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<Odd, proto::validate_resource_config::Response>::default();
            let path = PathAndQuery::from_static("/tfplugin6.Provider/ValidateResourceConfig");
            within(grpc.unary(tonic::Request::new(odd), path, codec)).await
        }
    };
    let status = send(Odd { number: Some(7), future: None }).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal, "{status}");
    let response = send(Odd { number: None, future: Some(-77) }).await.unwrap().into_inner();
    assert!(errors(&response.diagnostics).starts_with("No resource ``"));
    wire.ended().await;
}
