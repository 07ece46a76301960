//! I: what goes wrong at the start.

use super::*;

/// Row 71: a first plan may have a provider configuration that is not known. That is no failure; what needs it is.
#[tokio::test]
async fn row_71_an_unknown_configuration_is_no_failure() {
    let service = cold();
    let config = wire::<OddConfig>(&Value::object([("how", Value::unknown())]));
    let request = proto::validate_provider_config::Request { config: config.clone() };
    let answered = answer(Rpc::validate_provider_config(&service, Request::new(request)).await);
    assert_eq!(texts(&answered.diagnostics), Vec::<String>::new());
    let request = proto::configure_provider::Request { config, ..Default::default() };
    let answered = answer(Rpc::configure_provider(&service, Request::new(request)).await);
    assert_eq!(texts(&answered.diagnostics), Vec::<String>::new());

    let config = Thing { id: Attr::Null, made: Attr::Null, ..thing("fine") };
    let planned = super::crashes::plan(&service, None, Some(&config)).await;
    assert_eq!(texts(&planned.diagnostics), Vec::<String>::new(), "a plan needs no client");
    let applied = super::crashes::apply(&service, None, Some(&thing("fine"))).await;
    fails("apply", &applied.diagnostics, "Provider `odd` is not configured completely");
}

/// Row 72: with the schema known to core, a process may be asked for anything first. Each call has a process of its own here.
#[tokio::test]
async fn row_72_every_call_may_be_the_first() {
    let raw = || Some(proto::RawState { json: Bytes::from_static(br#"{"how":"x"}"#), ..Default::default() });
    let thing_name = || "odd_thing".to_owned();
    macro_rules! first {
        ($($call:ident { $($field:ident: $value:expr),* $(,)? })*) => {[$({
            #[allow(clippy::needless_update, reason = "some requests have other fields")]
            let request = proto::$call::Request { $($field: $value,)* ..Default::default() };
            let answered = answer(Rpc::$call(&cold(), Request::new(request)).await);
            (stringify!($call), texts(&answered.diagnostics))
        }),*]};
    }
    let answers = first! {
        validate_provider_config { config: wire::<OddConfig>(&Value::object([("how", Value::Null)])) }
        validate_resource_config {
            type_name: thing_name(),
            config: wired(&Thing { id: Attr::Null, made: Attr::Null, ..thing("x") }),
        }
        validate_data_resource_config { type_name: "odd_source".to_owned(), config: plain("x") }
        validate_ephemeral_resource_config { type_name: "odd_key".to_owned(), config: plain("x") }
        validate_list_resource_config { type_name: thing_name(), config: plain("x") }
        validate_action_config { action_type: "odd_bell".to_owned(), config: plain("x") }
        plan_action { action_type: "odd_bell".to_owned(), config: plain("x") }
        upgrade_resource_state { type_name: thing_name(), version: 0, raw_state: raw() }
        upgrade_resource_identity { type_name: thing_name(), version: 0, raw_identity: raw() }
        move_resource_state {
            source_provider_address: Odd::ADDRESS.to_owned(),
            source_type_name: "odd_plain".to_owned(),
            source_state: raw(),
            target_type_name: thing_name(),
        }
        generate_resource_config { type_name: thing_name(), state: wired(&thing("x")) }
        configure_provider { config: wire::<OddConfig>(&Value::object([("how", "x".into())])) }
        get_metadata {}
        get_functions {}
        get_resource_identity_schemas {}
        get_provider_schema {}
    };
    for (call, messages) in answers {
        assert_eq!(messages, Vec::<String>::new(), "{call}");
    }
    // Those that need a configuration say so, and nothing else.
    let needing = first! {
        read_resource { type_name: thing_name(), current_state: wired(&thing("x")) }
        import_resource_state { type_name: thing_name(), id: "x".to_owned() }
        read_data_source { type_name: "odd_source".to_owned(), config: plain("x") }
        open_ephemeral_resource { type_name: "odd_key".to_owned(), config: plain("x") }
    };
    for (call, messages) in needing {
        assert_eq!(messages.len(), 1, "{call}");
        assert!(messages[0].starts_with("Provider `odd` is not configured"), "{call}: {messages:?}");
    }
}
