//! Values that are very large, or very deep.

use bytes::Bytes;
use prost::Message as _;
use tfplugin::proto::tfplugin6::{DynamicValue, apply_resource_change, plan_resource_change, read_resource};
use tfplugin::{Attr, Type, Value};
use tonic::Code;

use crate::calls::Sent;
use crate::provider::{Config, Shared, Thing, Works};
use crate::support::{Wire, model, value, within};

const MESSAGE_LIMIT: usize = 256 << 20;

#[tokio::test]
async fn collections_of_ten_thousand_elements_are_planned_applied_and_read() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    let many = Value::list((0..10_000).map(|index| Value::from(format!("element {index}"))));
    let thing = Thing {
        items: (0..10_000).map(|index| format!("item {index}")).collect::<Vec<_>>().into(),
        numbers: Attr::from((0..10_000_i64).rev().collect::<tfplugin::Set<_>>()),
        any: Value::dynamic(Type::list(Type::String), many).into(),
        ..Thing::that("nothing")
    };
    let request = plan_resource_change::Request {
        type_name: "wire_thing".to_owned(),
        config: Some(value(&thing)),
        proposed_new_state: Some(value(&thing)),
        ..Default::default()
    };
    let planned = within(client.plan_resource_change(request)).await.unwrap().into_inner();
    assert_eq!(planned.diagnostics, []);
    let request = apply_resource_change::Request {
        type_name: "wire_thing".to_owned(),
        config: Some(value(&thing)),
        planned_state: planned.planned_state,
        ..Default::default()
    };
    let applied = within(client.apply_resource_change(request)).await.unwrap().into_inner();
    assert_eq!(applied.diagnostics, []);
    let request = read_resource::Request {
        type_name: "wire_thing".to_owned(),
        current_state: applied.new_state,
        ..Default::default()
    };
    let read = within(client.read_resource(request)).await.unwrap().into_inner();
    assert_eq!(read.diagnostics, []);
    let state: Thing = model(read.new_state.as_ref());
    assert!(state == Thing { id: "1".into(), ..thing }, "another thing came back");
    wire.ended().await;
}

/// A thing whose attribute of any type is made of these bytes.
fn with_any(msgpack: &[u8]) -> DynamicValue {
    let plain = value(&Thing::existing("nothing"));
    // The attributes are sorted by name: `any` comes first, and is null.
    let rest = plain.msgpack.strip_prefix(b"\x86\xa3any\xc0".as_slice()).unwrap();
    let bytes = [b"\x86\xa3any".as_slice(), msgpack, rest].concat();
    DynamicValue { msgpack: bytes.into(), json: Bytes::new() }
}

#[tokio::test]
async fn a_thousand_levels_are_refused_wherever_they_come_and_a_few_are_not() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let dynamic = |levels: usize| [b"\x92\xc4\x09\"dynamic\"".repeat(levels).as_slice(), b"\xc0"].concat();
    let typed = |levels: usize| {
        let ty = format!("{}\"string\"{}", "[\"list\",".repeat(levels), "]".repeat(levels));
        let length = u16::try_from(ty.len()).unwrap().to_be_bytes();
        let value = [[0x91].repeat(levels).as_slice(), b"\xa1x"].concat();
        [b"\x92\xc5".as_slice(), &length, ty.as_bytes(), &value].concat()
    };
    for (what, few, many) in [("dynamic", dynamic(20), dynamic(1000)), ("typed", typed(20), typed(1000))] {
        for (call, field) in [("ReadResource", "current_state"), ("GenerateResourceConfig", "state")] {
            let send = |bytes: &[u8]| Sent {
                instead: Some((field, with_any(bytes))),
                ..Sent::that(call, "nothing")
            };
            let said = within(send(&many).send(&mut client, &folder)).await;
            assert!(
                said.contains("nested deeper than") || said.contains("nested too deeply"),
                "{call}, {what}: {said}"
            );
            let said = within(send(&few).send(&mut client, &folder)).await;
            assert_eq!(said, "", "{call}, {what}");
        }
    }
    let json = format!("{{\"does\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
    for (call, field) in [
        ("UpgradeResourceState", "raw_state"),
        ("UpgradeResourceIdentity", "raw_identity"),
        ("MoveResourceState", "source_state"),
        ("ReadDataSource", "config"),
    ] {
        let deep = DynamicValue { msgpack: Bytes::new(), json: json.clone().into() };
        let sent = Sent { instead: Some((field, deep)), ..Sent::that(call, "nothing") };
        assert_ne!(within(sent.send(&mut client, &folder)).await, "", "{call}");
        assert_eq!(within(Sent::that(call, "nothing").send(&mut client, &folder)).await, "", "{call}");
    }
    wire.ended().await;
}

/// The longest message there may be comes in and goes out; one byte more is refused, and refuses nothing else.
#[tokio::test]
async fn a_message_of_256_mib_passes_both_ways() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    let request = |length: usize| {
        let thing = Thing { text: "x".repeat(length).into(), ..Thing::existing("nothing") };
        read_resource::Request {
            type_name: "wire_thing".to_owned(),
            current_state: Some(value(&thing)),
            ..Default::default()
        }
    };
    // Lengths of this size are written in as many bytes as those near the limit.
    let around = request(4 << 20).encoded_len() - (4 << 20);
    let too_long = request(MESSAGE_LIMIT - around + 1);
    assert_eq!(too_long.encoded_len(), MESSAGE_LIMIT + 1);
    let status = within(client.read_resource(too_long)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    // The identity, which goes out and does not come in, needs some room.
    let length = MESSAGE_LIMIT - around - 64;
    let response = within(client.read_resource(request(length))).await.unwrap().into_inner();
    assert_eq!(response.diagnostics, []);
    let sent = response.encoded_len();
    assert!(sent <= MESSAGE_LIMIT && sent > MESSAGE_LIMIT - 128, "{sent}");
    let state: Thing = model(response.new_state.as_ref());
    assert!(state.text.as_str() == Some("x".repeat(length).as_str()), "another text came back");
    wire.ended().await;
}
