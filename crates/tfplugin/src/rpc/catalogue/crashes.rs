//! E: what crashes core.

use futures::StreamExt as _;

use super::*;
use crate::Number;
use crate::schema::Kind;

fn whole(name: &str, schema: Option<&proto::Schema>) {
    let block = schema.and_then(|schema| schema.block.as_ref());
    whole_block(name, block.unwrap_or_else(|| panic!("{name} has no block")));
}

fn whole_block(name: &str, block: &proto::schema::Block) {
    whole_attributes(name, &block.attributes);
    for nested in &block.block_types {
        whole_block(name, nested.block.as_ref().unwrap_or_else(|| panic!("{name}: a block without a block")));
        assert_ne!(nested.nesting, 0, "{name}: a nesting mode that means nothing");
    }
}

fn whole_attributes(name: &str, attributes: &[proto::schema::Attribute]) {
    for attribute in attributes {
        match &attribute.nested_type {
            None => sound(name, &attribute.r#type),
            Some(object) => {
                assert!(attribute.r#type.is_empty(), "{name}: `{}` has two types", attribute.name);
                assert_ne!(object.nesting, 0, "{name}: a nesting mode that means nothing");
                whole_attributes(name, &object.attributes);
            }
        }
    }
}

fn sound(name: &str, ty: &[u8]) {
    assert!(Type::from_json_bytes(ty).is_ok(), "{name}: {:?}", String::from_utf8_lossy(ty));
}

async fn schema<P: crate::Provider>(service: &Service<P>) -> proto::get_provider_schema::Response {
    answer(Rpc::get_provider_schema(service, Request::new(proto::get_provider_schema::Request {})).await)
}

fn all_whole(response: &proto::get_provider_schema::Response) {
    whole("the provider", response.provider.as_ref());
    let groups = [
        &response.resource_schemas,
        &response.data_source_schemas,
        &response.ephemeral_resource_schemas,
        &response.list_resource_schemas,
    ];
    for (name, schema) in groups.into_iter().flatten() {
        whole(name, Some(schema));
    }
    for (name, action) in &response.action_schemas {
        whole(name, action.schema.as_ref());
    }
    for (name, function) in &response.functions {
        let result = function.r#return.as_ref().unwrap_or_else(|| panic!("{name} returns nothing"));
        sound(name, &result.r#type);
        for parameter in function.parameters.iter().chain(&function.variadic_parameter) {
            sound(name, &parameter.r#type);
        }
    }
}

#[tokio::test]
async fn row_35_schemas_are_whole() {
    let response = schema(&cold()).await;
    assert_eq!(texts(&response.diagnostics), Vec::<String>::new());
    all_whole(&response);
    whole("provider_meta", response.provider_meta.as_ref());
    let kinds = [
        response.resource_schemas.len(),
        response.data_source_schemas.len(),
        response.ephemeral_resource_schemas.len(),
        response.list_resource_schemas.len(),
        response.action_schemas.len(),
        response.functions.len(),
    ];
    assert_eq!(kinds, [2, 1, 1, 1, 1, 1], "there is something to look at");
}

/// An author's schema that breaks rules comes with an error for each, and is whole all the same.
#[tokio::test]
async fn row_35_a_schema_that_breaks_rules_is_refused_in_words() {
    #[derive(Clone, crate::Model)]
    struct Broken {
        #[tf(optional)]
        count: Attr<String>,
        #[tf(optional)]
        anything: Option<Vec<Value>>,
    }
    struct BrokenSource;
    impl DataSource for BrokenSource {
        type Model = Broken;
        type Client = ();
        const TYPE: &'static str = "broken_source";
        async fn read(&self, _: &Context<()>, config: Broken) -> Result<Broken, Diagnostics> {
            Ok(config)
        }
    }
    struct Careless;
    impl crate::Provider for Careless {
        type Config = ();
        type Client = ();
        type Meta = ();
        const NAME: &'static str = "broken";
        const ADDRESS: &'static str = "registry.terraform.io/example/broken";
        const VERSION: &'static str = "0.0.1";
        async fn configure(&self, _: Configure<()>) -> Result<(), Diagnostics> {
            Ok(())
        }
        fn register(&self, registry: &mut Registry<Self>) {
            registry.data_source(BrokenSource);
        }
    }
    let response = schema(&Service::new(Careless, StopToken::new())).await;
    all_whole(&response);
    fails(
        "a name",
        &response.diagnostics,
        "data source `broken_source`: `count` is a name that Terraform itself uses here",
    );
    // Row 38 as well: such a list may hold elements of two types, which core cannot.
    fails(
        "a type",
        &response.diagnostics,
        "`anything` has dynamic type inside a collection: elements of different types crash Terraform",
    );
}

fn call(how: &str, more: usize) -> proto::call_function::Request {
    let text = |text: &str| proto::DynamicValue {
        msgpack: codec::msgpack::encode(&text.into(), &Type::String).unwrap().into(),
        json: Bytes::new(),
    };
    let arguments = std::iter::once(how).chain(std::iter::repeat_n("more", more)).map(text).collect();
    proto::call_function::Request { name: "tell".to_owned(), arguments }
}

#[tokio::test]
async fn row_36_the_index_of_an_argument_is_one_that_exists() {
    let service = cold();
    for (index, more, expected) in
        [("0", 0, Some(0)), ("1", 0, None), ("1", 1, Some(1)), ("77", 1, None), ("4294967295", 3, None)]
    {
        let error =
            answer(Rpc::call_function(&service, Request::new(call(index, more))).await).error.unwrap();
        assert_eq!((error.function_argument, error.text.as_str()), (expected, "refused"), "{index} {more}");
    }
}

#[tokio::test]
async fn row_37_what_is_no_number_is_null() {
    assert!(Number::try_from(f64::NAN).is_err() && Number::try_from(f64::INFINITY).is_err());
    let service = configured().await;
    let result = answer(Rpc::call_function(&service, Request::new(call("nan", 0))).await).result.unwrap();
    assert_eq!(codec::msgpack::decode(&result.msgpack, &Type::Number), Ok(Value::Null));
    // In a resource that is another value than planned, and said so.
    let planned = Thing { ratio: 0.5.into(), ..thing("nan") };
    let response = apply(&service, None, Some(&planned)).await;
    fails("nan", &response.diagnostics, "did not do what it has planned: `ratio`");
    assert_eq!(value::<Thing>(response.new_state.as_ref()).get("ratio"), Some(&Value::Null));
}

#[tokio::test]
async fn row_38_a_list_of_anything_holds_one_type() {
    let service = configured().await;
    let config = Thing { id: Attr::Null, made: Attr::Null, ..thing("mixed") };
    let response = plan(&service, None, Some(&config)).await;
    assert!(response.planned_state.is_none(), "nothing that core could not decode");
    fails("mixed", &response.diagnostics, "The planned state does not fit the schema");
    // What is written as a list of two types is a tuple.
    let ty = Type::object([("any", Type::Dynamic)]);
    let mixed = Value::object([("any", Value::list([Value::from("a"), Value::from(1)]))]);
    let mixed = conform(&mixed, &ty, &AttributePath::root()).unwrap();
    let bytes = codec::msgpack::encode(&mixed, &ty).unwrap();
    assert!(String::from_utf8_lossy(&bytes).contains(r#"["tuple",["string","number"]]"#));
}

pub(super) async fn events(service: &Service<Odd>, how: &str) -> Vec<proto::invoke_action::Event> {
    let request = proto::invoke_action::Request {
        action_type: "odd_bell".to_owned(),
        config: plain(how),
        ..Default::default()
    };
    let stream = answer(Rpc::invoke_action(service, Request::new(request)).await);
    stream.map(|event| event.unwrap()).collect().await
}

/// Rows 39, 43 and 54: each event has content, the last one is the end and the only one, and the stream ends with it.
#[tokio::test]
async fn row_39_an_action_ends_once_and_last() {
    use proto::invoke_action::event::Type as Event;

    let service = configured().await;
    for how in ["fine", "left behind", "silent", "warned", "outage", "crash"] {
        let events = tokio::time::timeout(std::time::Duration::from_secs(30), events(&service, how));
        let mut events = events.await.unwrap_or_else(|_| panic!("{how}: the stream stays open"));
        let last = events.pop().and_then(|event| event.r#type);
        let Some(Event::Completed(end)) = last else { panic!("{how}: it ends with {last:?}") };
        match FAILURES.iter().find(|(failure, _)| *failure == how) {
            Some((_, expected)) => fails(how, &end.diagnostics, expected),
            None => assert_eq!(texts(&end.diagnostics), Vec::<String>::new(), "{how}"),
        }
        let lines: Vec<_> = events
            .into_iter()
            .map(|event| match event.r#type {
                Some(Event::Progress(progress)) => progress.message,
                other => panic!("{how}: {other:?} before the end"),
            })
            .collect();
        assert_eq!(lines, ["one", "two"], "{how}");
    }
}

#[tokio::test]
async fn row_42_no_identity_without_a_schema_for_it() {
    let service = configured().await;
    let schemas = proto::get_resource_identity_schemas::Request {};
    let schemas = answer(Rpc::get_resource_identity_schemas(&service, Request::new(schemas)).await);
    assert_eq!(schemas.identity_schemas.keys().collect::<Vec<_>>(), ["odd_thing"]);
    assert!(
        ObjectInfo::of::<Thing>("odd_source", Kind::DataSource).identity.is_none(),
        "only managed ones have one"
    );

    let (type_name, id) = ("odd_plain".to_owned(), Some(identity("id")));
    let read = proto::read_resource::Request {
        type_name: type_name.clone(),
        current_state: plain("fine"),
        current_identity: id.clone(),
        ..Default::default()
    };
    assert_eq!(answer(Rpc::read_resource(&service, Request::new(read)).await).new_identity, None);
    let plan = proto::plan_resource_change::Request {
        type_name: type_name.clone(),
        prior_state: plain("fine"),
        proposed_new_state: plain("other"),
        config: plain("other"),
        prior_identity: id.clone(),
        ..Default::default()
    };
    assert_eq!(answer(Rpc::plan_resource_change(&service, Request::new(plan)).await).planned_identity, None);
    let apply = proto::apply_resource_change::Request {
        type_name: type_name.clone(),
        prior_state: plain("fine"),
        planned_state: plain("other"),
        config: plain("other"),
        planned_identity: id.clone(),
        ..Default::default()
    };
    assert_eq!(answer(Rpc::apply_resource_change(&service, Request::new(apply)).await).new_identity, None);
    let import = |id: &str, identity| proto::import_resource_state::Request {
        type_name: type_name.clone(),
        id: id.to_owned(),
        identity,
        ..Default::default()
    };
    let imported = answer(Rpc::import_resource_state(&service, Request::new(import("x", id.clone()))).await);
    assert_eq!(imported.imported_resources[0].identity, None);
    let imported = answer(Rpc::import_resource_state(&service, Request::new(import("", id))).await);
    fails("import", &imported.diagnostics, "It has no identity, so it is imported by id");
    let raw = |text: &'static str| Some(proto::RawState { json: Bytes::from(text), ..Default::default() });
    let moved = proto::move_resource_state::Request {
        source_provider_address: Odd::ADDRESS.to_owned(),
        source_type_name: "odd_thing".to_owned(),
        source_state: raw(
            r#"{"id":"id","how":"x","ratio":null,"tags":null,"list":null,"any":null,"made":null}"#,
        ),
        target_type_name: type_name.clone(),
        source_identity: raw(r#"{"id":"id"}"#),
        ..Default::default()
    };
    let moved = answer(Rpc::move_resource_state(&service, Request::new(moved)).await);
    assert_eq!((moved.target_identity, texts(&moved.diagnostics)), (None, Vec::new()));
    let upgrade = proto::upgrade_resource_identity::Request {
        type_name,
        version: 0,
        raw_identity: raw(r#"{"id":"id"}"#),
    };
    let upgraded = answer(Rpc::upgrade_resource_identity(&service, Request::new(upgrade)).await);
    assert_eq!(upgraded.upgraded_identity, None);
    fails("upgrade", &upgraded.diagnostics, "`odd_plain` has no identity");
}

/// Terraform up to 1.15 cannot show a plan that holds an identity with unknown parts.
#[tokio::test]
async fn an_identity_that_is_not_known_is_not_planned() {
    let service = configured().await;
    let config = Thing { id: Attr::Null, made: Attr::Null, ..thing("fine") };
    let created = plan(&service, None, Some(&config)).await;
    assert_eq!((created.planned_identity, texts(&created.diagnostics)), (None, Vec::new()));
    let updated = plan(&service, Some(&thing("before")), Some(&config)).await;
    assert_eq!(updated.planned_identity, Some(identity("id")));
}

/// A plan as core asks for it; nothing planned is a deletion.
pub(super) async fn plan(
    service: &Service<Odd>,
    prior: Option<&Thing>,
    config: Option<&Thing>,
) -> proto::plan_resource_change::Response {
    let value =
        |thing: Option<&Thing>| thing.map_or(Value::Null, |thing| crate::testing::to_value(thing).unwrap());
    let (prior, config) = (value(prior), value(config));
    let schema = Schema { version: Thing::VERSION, block: Thing::block() };
    let proposed = crate::check::proposed_new_state(&schema, &prior, &config);
    let request = proto::plan_resource_change::Request {
        type_name: "odd_thing".to_owned(),
        prior_state: wire::<Thing>(&prior),
        proposed_new_state: wire::<Thing>(&proposed),
        config: wire::<Thing>(&config),
        prior_identity: (!prior.is_null()).then(|| identity("id")),
        prior_private: Bytes::from_static(b"private"),
        ..Default::default()
    };
    answer(Rpc::plan_resource_change(service, Request::new(request)).await)
}

/// An apply as core asks for it; nothing planned is a deletion.
pub(super) async fn apply(
    service: &Service<Odd>,
    prior: Option<&Thing>,
    planned: Option<&Thing>,
) -> proto::apply_resource_change::Response {
    let value =
        |thing: Option<&Thing>| thing.map_or(Value::Null, |thing| crate::testing::to_value(thing).unwrap());
    let open = |planned: Value| match planned {
        Value::Object(mut attributes) => {
            for computed in ["any", "made"] {
                attributes.insert(computed.to_owned(), Value::unknown());
            }
            Value::Object(attributes)
        }
        other => other,
    };
    let request = proto::apply_resource_change::Request {
        type_name: "odd_thing".to_owned(),
        prior_state: wire::<Thing>(&value(prior)),
        planned_state: wire::<Thing>(&open(value(planned))),
        config: wire::<Thing>(&value(planned)),
        planned_identity: prior.map(|_| identity("id")),
        planned_private: Bytes::from_static(b"private"),
        ..Default::default()
    };
    answer(Rpc::apply_resource_change(service, Request::new(request)).await)
}
