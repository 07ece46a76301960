//! H: plans that are never empty.

use super::crashes::{apply, plan};
use super::*;
use crate::FromValue as _;

fn planned(response: &proto::plan_resource_change::Response) -> Value {
    assert_eq!(texts(&response.diagnostics), Vec::<String>::new());
    value::<Thing>(response.planned_state.as_ref())
}

#[tokio::test]
async fn row_57_what_is_stable_stays_known() {
    let service = configured().await;
    let config = Thing { id: Attr::Null, made: Attr::Null, ..thing("b") };
    let planned = planned(&plan(&service, Some(&thing("a")), Some(&config)).await);
    assert_eq!(planned.get("id"), Some(&"id".into()));
    assert!(planned.get("made").unwrap().is_unknown(), "what may change is open");
}

/// Rows 58, 59 and 61: where the configuration says what is there, nothing is planned, whatever form it has.
#[tokio::test]
async fn row_58_nothing_to_do_is_planned_as_nothing() {
    let service = configured().await;
    let tags = |tags: &[&str]| Attr::Known(tags.iter().map(|tag| (*tag).to_owned()).collect());
    let forms = [
        ("nothing set", thing("a")),
        ("empty is not null", Thing { tags: tags(&[]), list: Vec::new().into(), ..thing("a") }),
        ("a set has no order", Thing { tags: tags(&["b", "a", "b"]), ..thing("a") }),
        ("letters with accents", Thing { how: "cafe\u{301}".into(), ..thing("a") }),
    ];
    for (what, there) in forms {
        // As it is in state after an apply, and once more through JSON.
        let applied = apply(&service, None, Some(&there)).await;
        assert_eq!(texts(&applied.diagnostics), Vec::<String>::new(), "{what}");
        let state = value::<Thing>(applied.new_state.as_ref());
        let json = codec::json::encode(&state, &Thing::block().implied_type()).unwrap();
        let request = proto::upgrade_resource_state::Request {
            type_name: "odd_thing".to_owned(),
            version: 1,
            raw_state: Some(proto::RawState { json: json.into(), ..Default::default() }),
        };
        let stored =
            answer(Rpc::upgrade_resource_state(&service, Request::new(request)).await).upgraded_state;
        let prior = Thing::from_value(&value::<Thing>(stored.as_ref()), &AttributePath::root()).unwrap();
        let config = Thing { id: Attr::Null, made: Attr::Null, any: Value::Null, ..there };
        let again = planned(&plan(&service, Some(&prior), Some(&config)).await);
        assert_eq!(again, crate::testing::to_value(&prior).unwrap(), "{what}");
    }
}

/// Row 63: core knows composed letters alone.
#[tokio::test]
async fn row_63_texts_leave_in_nfc() {
    let service = configured().await;
    let raw = serde_json::json!({ "how": "cafe\u{301}", "list": ["e\u{301}"] }).to_string();
    let request = proto::upgrade_resource_state::Request {
        type_name: "odd_thing".to_owned(),
        version: 1,
        raw_state: Some(proto::RawState { json: raw.into(), ..Default::default() }),
    };
    let answered = answer(Rpc::upgrade_resource_state(&service, Request::new(request)).await);
    let state = value::<Thing>(answered.upgraded_state.as_ref());
    assert_eq!(state.get("how"), Some(&"caf\u{e9}".into()));
    assert!(answered.upgraded_state.unwrap().msgpack.windows(3).any(|bytes| bytes == b"\xa2\xc3\xa9"));
}
