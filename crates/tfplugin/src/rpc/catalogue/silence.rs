//! G: damage that nobody is told of.

use super::crashes::{apply, plan};
use super::*;

/// Rows 48, 51 and 53: a handler that fails without a word, with warnings alone or by panicking, is an error in every call; were it
/// not, what is missing in the answer would be believed.
#[tokio::test]
async fn row_48_every_failure_is_an_error() {
    let service = configured().await;
    let raw = |how: &str| {
        let json = Bytes::from(serde_json::json!({ "how": how }).to_string());
        Some(proto::RawState { json, ..Default::default() })
    };
    for (how, expected) in FAILURES {
        let request = proto::upgrade_resource_state::Request {
            type_name: "odd_thing".to_owned(),
            version: 0,
            raw_state: raw(how),
        };
        let answered = answer(Rpc::upgrade_resource_state(&service, Request::new(request)).await);
        assert!(answered.upgraded_state.is_none());
        fails("upgrade", &answered.diagnostics, expected);

        let request = proto::upgrade_resource_identity::Request {
            type_name: "odd_thing".to_owned(),
            version: 0,
            raw_identity: raw(how),
        };
        let answered = answer(Rpc::upgrade_resource_identity(&service, Request::new(request)).await);
        fails("upgrade of an identity", &answered.diagnostics, expected);

        let request = proto::move_resource_state::Request {
            source_provider_address: Odd::ADDRESS.to_owned(),
            source_type_name: "odd_plain".to_owned(),
            source_state: raw(how),
            target_type_name: "odd_thing".to_owned(),
            ..Default::default()
        };
        let answered = answer(Rpc::move_resource_state(&service, Request::new(request)).await);
        fails("move", &answered.diagnostics, expected);

        let request = proto::import_resource_state::Request {
            type_name: "odd_thing".to_owned(),
            id: how.to_owned(),
            ..Default::default()
        };
        let answered = answer(Rpc::import_resource_state(&service, Request::new(request)).await);
        assert!(answered.imported_resources.is_empty());
        fails("import", &answered.diagnostics, expected);

        let request = proto::read_data_source::Request {
            type_name: "odd_source".to_owned(),
            config: plain(how),
            ..Default::default()
        };
        let answered = answer(Rpc::read_data_source(&service, Request::new(request)).await);
        fails("data source", &answered.diagnostics, expected);

        let request = proto::open_ephemeral_resource::Request {
            type_name: "odd_key".to_owned(),
            config: plain(how),
            ..Default::default()
        };
        let answered = answer(Rpc::open_ephemeral_resource(&service, Request::new(request)).await);
        fails("open", &answered.diagnostics, expected);

        let private = Some(Bytes::from(format!("{how:?}")));
        let request = proto::renew_ephemeral_resource::Request {
            type_name: "odd_key".to_owned(),
            private: private.clone(),
        };
        let answered = answer(Rpc::renew_ephemeral_resource(&service, Request::new(request)).await);
        fails("renew", &answered.diagnostics, expected);
        let request = proto::close_ephemeral_resource::Request { type_name: "odd_key".to_owned(), private };
        let answered = answer(Rpc::close_ephemeral_resource(&service, Request::new(request)).await);
        fails("close", &answered.diagnostics, expected);

        for (prior, planned) in
            [(None, Some(thing(how))), (Some(thing("fine")), Some(thing(how))), (Some(thing(how)), None)]
        {
            let answered = apply(&service, prior.as_ref(), planned.as_ref()).await;
            fails("apply", &answered.diagnostics, expected);
        }
    }
    let config = wire::<OddConfig>(&Value::object([("how", "silent".into())]));
    let request = proto::configure_provider::Request { config, ..Default::default() };
    let answered = answer(Rpc::configure_provider(&cold(), Request::new(request)).await);
    fails("configure", &answered.diagnostics, "`odd` failed without an error message");
}

fn read(how: &str) -> Request<proto::read_resource::Request> {
    Request::new(proto::read_resource::Request {
        type_name: "odd_thing".to_owned(),
        current_state: wired(&thing(how)),
        private: Bytes::from_static(b"private"),
        current_identity: Some(identity("id")),
        ..Default::default()
    })
}

/// Rows 49 and 51: what is left out of an answer is erased from state, and null is an object that is gone.
#[tokio::test]
async fn row_49_what_was_stored_comes_back_whatever_happens() {
    let service = configured().await;
    for how in ["fine", "silent", "warned", "outage"] {
        let answered = answer(Rpc::read_resource(&service, read(how)).await);
        assert_eq!(
            (&answered.private[..], answered.new_identity),
            (&b"private"[..], Some(identity("id"))),
            "{how}"
        );
        assert_eq!(value::<Thing>(answered.new_state.as_ref()).get("how"), Some(&how.into()));
        assert_eq!(answered.diagnostics.is_empty(), how == "fine", "{how}");
    }
    // Core keeps everything when there is an error, which a panic is too.
    fails("crash", &answer(Rpc::read_resource(&service, read("crash")).await).diagnostics, "fell over");
    let answered = answer(Rpc::read_resource(&service, read("gone")).await);
    assert!(value::<Thing>(answered.new_state.as_ref()).is_null() && answered.diagnostics.is_empty());

    let planned = plan(&service, Some(&thing("a")), Some(&thing("b"))).await;
    assert_eq!(
        (&planned.planned_private[..], planned.planned_identity),
        (&b"private"[..], Some(identity("id")))
    );
    for how in ["fine", "silent", "crash"] {
        let applied = apply(&service, Some(&thing("a")), Some(&thing(how))).await;
        assert_eq!(
            (&applied.private[..], applied.new_identity),
            (&b"private"[..], Some(identity("id"))),
            "{how}"
        );
    }
}

/// Row 52: an object that was made before the failure is in the answer, so that it is tainted and not lost.
#[tokio::test]
async fn row_52_what_was_made_before_a_failure_is_kept() {
    let service = configured().await;
    for how in ["outage", "silent", "crash"] {
        let applied = apply(&service, None, Some(&Thing { id: Attr::Unknown, ..thing(how) })).await;
        let state = value::<Thing>(applied.new_state.as_ref());
        assert_eq!(state.get("id"), Some(&"id".into()), "{how}");
        assert!(state.is_wholly_known());
        assert_eq!(applied.new_identity, Some(identity("id")), "{how}");
    }
    let applied = apply(&service, None, Some(&Thing { id: Attr::Unknown, ..thing("lost") })).await;
    assert!(value::<Thing>(applied.new_state.as_ref()).is_null(), "nothing was made, so nothing is kept");
    assert_eq!(applied.new_identity, None);
    fails("lost", &applied.diagnostics, "Nothing was made.");
    // An update and a deletion that fail keep what was there.
    let prior = thing("outage");
    let updated = apply(&service, Some(&thing("a")), Some(&thing("outage"))).await;
    assert_eq!(value::<Thing>(updated.new_state.as_ref()).get("how"), Some(&"a".into()));
    let deleted = apply(&service, Some(&prior), None).await;
    assert_eq!(value::<Thing>(deleted.new_state.as_ref()).get("how"), Some(&"outage".into()));
}

#[tokio::test]
async fn row_53_a_function_answers_with_a_value_or_an_error() {
    let service = cold();
    let ask = |how: &str| {
        let argument = proto::DynamicValue {
            msgpack: codec::msgpack::encode(&how.into(), &Type::String).unwrap().into(),
            json: Bytes::new(),
        };
        proto::call_function::Request { name: "tell".to_owned(), arguments: vec![argument] }
    };
    let nothing = answer(Rpc::call_function(&service, Request::new(ask("nothing"))).await);
    assert_eq!(nothing.result.unwrap().msgpack, Bytes::from_static(b"\xc0"), "null is said");
    for request in [ask("crash"), proto::call_function::Request { name: "none".to_owned(), ..ask("") }] {
        let answered = answer(Rpc::call_function(&service, Request::new(request)).await);
        let text = answered.error.expect("an error").text;
        assert!(answered.result.is_none() && !text.is_empty(), "{text}");
    }
}
