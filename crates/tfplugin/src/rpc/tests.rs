//! The calls one by one, by messages as they are on the wire: what only shows there.

use std::sync::Mutex;

use bytes::Bytes;
use tonic::Request;

use super::*;
use crate::proto::tfplugin6::provider_server::Provider as Rpc;
use crate::{
    Apply, Attr, Configure, DataSource, Function, FunctionError, Import, Resource, Sensitive, StateSlot,
    Value, codec,
};

/// A provider that notes what it is asked.
#[derive(Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

#[derive(Clone, crate::Model)]
struct Thing {
    #[tf(required)]
    name: Attr<String>,
    #[tf(optional, write_only)]
    secret_wo: Attr<Sensitive<String>>,
    #[tf(computed, stable)]
    id: Attr<String>,
}

struct ThingResource;

impl crate::Provider for Noted {
    type Config = ();
    type Client = Arc<Mutex<Vec<String>>>;
    type Meta = ();

    const NAME: &'static str = "noted";
    const ADDRESS: &'static str = "registry.terraform.io/example/noted";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<()>) -> Result<Self::Client, Diagnostics> {
        Ok(Arc::clone(&self.0))
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(ThingResource).function(Count);
    }
}

impl Resource for ThingResource {
    type Model = Thing;
    type Client = Arc<Mutex<Vec<String>>>;

    const TYPE: &'static str = "noted_thing";

    async fn create(
        &self,
        cx: &Context<Self::Client>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        if apply.planned.name.as_str() == Some("slow") {
            state.save(Thing { id: "half".into(), ..apply.planned.clone() });
            cx.cancel.cancelled().await;
            return Err(Diagnostic::error("Interrupted", "Half made.").into());
        }
        let secret = apply.config.secret_wo.as_known().map(|secret| secret.expose().clone());
        cx.client.lock().unwrap().push(format!("created with {secret:?}"));
        // A careless author: the secret is put into state.
        state.save(Thing { id: "id".into(), ..apply.config });
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<Self::Client>, state: Thing) -> Result<Option<Thing>, Diagnostics> {
        match state.name.as_str() {
            Some("gone") => Ok(None),
            Some("outage") => Err(Diagnostic::error("Outage", "Try later.").into()),
            Some("unknown") => Ok(Some(Thing { id: Attr::Unknown, ..state })),
            _ => Ok(Some(state)),
        }
    }

    async fn update(
        &self,
        _: &Context<Self::Client>,
        _: Apply<Thing>,
        _: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        Err(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<Self::Client>,
        prior: Thing,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Thing { name: "half deleted".into(), ..prior });
        Err(Diagnostic::error("Busy", "Still in use.").into())
    }

    async fn import(&self, _: &Context<Self::Client>, import: Import) -> Result<Thing, Diagnostics> {
        Ok(Thing {
            name: import.id.into(),
            secret_wo: Attr::Known("leak".to_owned().into()),
            id: "id".into(),
        })
    }
}

#[derive(Clone, crate::Model)]
struct CountArguments {
    first: Option<String>,
    #[tf(variadic)]
    rest: Vec<Value>,
}

struct Count;

impl Function for Count {
    type Arguments = CountArguments;
    type Output = u32;

    const NAME: &'static str = "count";
    const SUMMARY: &'static str = "Counts";
    const DESCRIPTION: &'static str = "Counts its arguments.";

    fn call(&self, arguments: CountArguments) -> Result<u32, FunctionError> {
        if arguments.first.as_deref() == Some("bad index") {
            return Err(FunctionError::argument(77, "far out"));
        }
        u32::try_from(arguments.rest.len()).map_err(|error| FunctionError::new(error.to_string()))
    }
}

fn service() -> Service<Noted> {
    Service::new(Noted::default(), StopToken::new())
}

async fn configured() -> Service<Noted> {
    let service = service();
    let response =
        Rpc::configure_provider(&service, Request::new(proto::configure_provider::Request::default())).await;
    assert!(response.unwrap().into_inner().diagnostics.is_empty());
    service
}

fn thing_type() -> Type {
    Thing::block().implied_type()
}

fn thing(name: &str, secret: Option<&str>, id: Option<Value>) -> Value {
    Value::object([
        ("name", Value::from(name)),
        ("secret_wo", secret.map_or(Value::Null, Value::from)),
        ("id", id.unwrap_or(Value::Null)),
    ])
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn wire(value: &Value) -> Option<proto::DynamicValue> {
    let msgpack = codec::msgpack::encode(value, &thing_type()).unwrap();
    Some(proto::DynamicValue { msgpack: msgpack.into(), json: Bytes::new() })
}

fn value(wire: Option<&proto::DynamicValue>) -> Value {
    let wire = wire.expect("an answer");
    codec::decode_dynamic_value(&wire.msgpack, &wire.json, &thing_type()).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn identity() -> Option<proto::ResourceIdentityData> {
    Some(proto::ResourceIdentityData {
        identity_data: Some(proto::DynamicValue { msgpack: Bytes::from_static(b"\x80"), json: Bytes::new() }),
    })
}

fn texts(messages: &[proto::Diagnostic]) -> Vec<String> {
    assert!(messages.iter().all(|message| message.severity != 0), "severity 0 hides an error");
    messages.iter().map(|message| format!("{}: {}", message.summary, message.detail)).collect()
}

fn read(name: &str) -> Request<proto::read_resource::Request> {
    Request::new(proto::read_resource::Request {
        type_name: "noted_thing".to_owned(),
        current_state: wire(&thing(name, None, Some("id".into()))),
        private: Bytes::from_static(b"private"),
        current_identity: identity(),
        ..Default::default()
    })
}

#[tokio::test]
async fn what_is_not_offered_is_refused_by_name() {
    let service = service();
    let request = proto::lock_state::Request { type_name: "noted_store".to_owned(), ..Default::default() };
    let response = Rpc::lock_state(&service, Request::new(request)).await.unwrap().into_inner();
    assert_eq!(response.diagnostics[0].summary, "No state store `noted_store`");
    let request =
        proto::read_state_bytes::Request { type_name: "noted_store".to_owned(), ..Default::default() };
    let stream = Rpc::read_state_bytes(&service, Request::new(request)).await.unwrap().into_inner();
    let chunks: Vec<_> = futures::StreamExt::collect(stream).await;
    let [Ok(chunk)] = chunks.as_slice() else { panic!("{chunks:?}") };
    assert_eq!(chunk.diagnostics[0].summary, "No state store `noted_store`");
    assert!(chunk.range.is_some());
}

#[tokio::test]
async fn metadata_and_schema_agree() {
    let service = service();
    let metadata = Rpc::get_metadata(&service, Request::new(proto::get_metadata::Request {}))
        .await
        .unwrap()
        .into_inner();
    let schema = Rpc::get_provider_schema(&service, Request::new(proto::get_provider_schema::Request {}))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(metadata.server_capabilities, schema.server_capabilities);
    assert!(texts(&schema.diagnostics).is_empty());
    let names: Vec<_> = metadata.resources.into_iter().map(|resource| resource.type_name).collect();
    assert_eq!(names, schema.resource_schemas.keys().cloned().collect::<Vec<_>>());
    assert!(schema.provider.is_some_and(|provider| provider.block.is_some()), "core crashes without either");
    assert!(schema.functions["count"].r#return.is_some());
    let functions =
        Rpc::get_functions(&service, Request::new(proto::get_functions::Request {})).await.unwrap();
    assert_eq!(functions.into_inner().functions, schema.functions);
}

#[tokio::test]
async fn private_state_is_echoed_and_no_identity_without_a_schema() {
    let service = configured().await;
    for name in ["there", "gone", "outage"] {
        let response = Rpc::read_resource(&service, read(name)).await.unwrap().into_inner();
        assert_eq!(response.private, "private", "{name}");
        // Core crashes on an identity that has no schema.
        assert_eq!(response.new_identity, None, "{name}");
    }
    let proposed = thing("a", None, None);
    let request = proto::plan_resource_change::Request {
        type_name: "noted_thing".to_owned(),
        prior_state: wire(&Value::Null),
        proposed_new_state: wire(&proposed),
        config: wire(&proposed),
        prior_private: Bytes::from_static(b"private"),
        prior_identity: identity(),
        ..Default::default()
    };
    let response = Rpc::plan_resource_change(&service, Request::new(request)).await.unwrap().into_inner();
    assert_eq!((response.planned_private, response.planned_identity), (Bytes::from_static(b"private"), None));
    assert!(!response.legacy_type_system);
}

#[tokio::test]
async fn an_outage_is_not_the_end_of_the_object() {
    let service = configured().await;
    let response = Rpc::read_resource(&service, read("outage")).await.unwrap().into_inner();
    assert_eq!(texts(&response.diagnostics), ["Outage: Try later."]);
    assert_eq!(value(response.new_state.as_ref()).get("name"), Some(&Value::from("outage")));
    let response = Rpc::read_resource(&service, read("gone")).await.unwrap().into_inner();
    assert!(value(response.new_state.as_ref()).is_null() && response.diagnostics.is_empty());
    let response = Rpc::read_resource(&service, read("unknown")).await.unwrap().into_inner();
    assert!(texts(&response.diagnostics)[0].contains("Provider bug"));
}

#[tokio::test]
async fn a_call_before_configure_is_refused() {
    let response = Rpc::read_resource(&service(), read("there")).await.unwrap().into_inner();
    assert!(texts(&response.diagnostics)[0].starts_with("Provider `noted` is not configured"));
}

#[tokio::test]
async fn write_only_values_need_a_client_that_knows_them() {
    let service = service();
    let ask = |allowed: bool| {
        let service = service.clone();
        async move {
            let request = proto::validate_resource_config::Request {
                type_name: "noted_thing".to_owned(),
                config: wire(&thing("a", Some("s"), None)),
                client_capabilities: allowed.then(|| proto::ClientCapabilities {
                    write_only_attributes_allowed: true,
                    ..Default::default()
                }),
            };
            Rpc::validate_resource_config(&service, Request::new(request))
                .await
                .unwrap()
                .into_inner()
                .diagnostics
        }
    };
    assert!(ask(true).await.is_empty());
    let refused = ask(false).await;
    assert!(texts(&refused)[0].contains("`secret_wo` of `noted_thing` is write-only"));
    assert_eq!(refused[0].attribute.as_ref().map(|path| path.steps.len()), Some(1));
}

fn create(name: &str) -> Request<proto::apply_resource_change::Request> {
    Request::new(proto::apply_resource_change::Request {
        type_name: "noted_thing".to_owned(),
        prior_state: wire(&Value::Null),
        planned_state: wire(&thing(name, None, Some(Value::unknown()))),
        config: wire(&thing(name, Some("canary"), None)),
        ..Default::default()
    })
}

#[tokio::test]
async fn write_only_values_arrive_and_go_no_further() {
    let service = configured().await;
    let response = Rpc::apply_resource_change(&service, create("a")).await.unwrap().into_inner();
    assert_eq!(texts(&response.diagnostics), Vec::<String>::new());
    assert_eq!(value(response.new_state.as_ref()), thing("a", None, Some("id".into())));
    assert_eq!(*service.0.provider.0.lock().unwrap(), ["created with Some(\"canary\")"]);

    let request = proto::import_resource_state::Request {
        type_name: "noted_thing".to_owned(),
        id: "b".to_owned(),
        ..Default::default()
    };
    let response = Rpc::import_resource_state(&service, Request::new(request)).await.unwrap().into_inner();
    assert_eq!(value(response.imported_resources[0].state.as_ref()), thing("b", None, Some("id".into())));
}

#[tokio::test]
async fn a_stop_reaches_the_handler_and_keeps_what_it_saved() {
    let service = configured().await;
    let running = tokio::spawn({
        let service = service.clone();
        async move { Rpc::apply_resource_change(&service, create("slow")).await }
    });
    while service.0.stop.calls_in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    let stopped = Rpc::stop_provider(&service, Request::new(proto::stop_provider::Request {})).await.unwrap();
    assert_eq!(stopped.into_inner().error, "");
    let response = running.await.unwrap().unwrap().into_inner();
    assert_eq!(texts(&response.diagnostics), ["Interrupted: Half made."]);
    assert_eq!(value(response.new_state.as_ref()), thing("slow", None, Some("half".into())));
    // The process keeps serving.
    let response = Rpc::apply_resource_change(&service, create("later")).await.unwrap().into_inner();
    assert!(response.diagnostics.is_empty());
}

#[tokio::test]
async fn failures_keep_what_really_is() {
    let service = configured().await;
    let prior = thing("a", None, Some("id".into()));
    let request = |planned: &Value, config: &Value| {
        Request::new(proto::apply_resource_change::Request {
            type_name: "noted_thing".to_owned(),
            prior_state: wire(&prior),
            planned_state: wire(planned),
            config: wire(config),
            ..Default::default()
        })
    };
    let deleted =
        Rpc::apply_resource_change(&service, request(&Value::Null, &Value::Null)).await.unwrap().into_inner();
    assert_eq!(texts(&deleted.diagnostics), ["Busy: Still in use."]);
    assert_eq!(value(deleted.new_state.as_ref()).get("name"), Some(&Value::from("half deleted")));
    let planned = thing("b", None, Some("id".into()));
    let updated =
        Rpc::apply_resource_change(&service, request(&planned, &planned)).await.unwrap().into_inner();
    assert!(texts(&updated.diagnostics)[0].contains("failed without an error message"));
    assert_eq!(value(updated.new_state.as_ref()), prior);
}

#[tokio::test]
async fn state_is_upgraded_leniently_or_refused_but_never_lost() {
    let service = service();
    let ask = |version: i64, json: &'static [u8]| {
        let service = service.clone();
        async move {
            let raw_state = Some(proto::RawState { json: Bytes::from_static(json), ..Default::default() });
            let request = proto::upgrade_resource_state::Request {
                type_name: "noted_thing".to_owned(),
                version,
                raw_state,
            };
            Rpc::upgrade_resource_state(&service, Request::new(request)).await.unwrap().into_inner()
        }
    };
    let same = ask(0, br#"{ "surplus": [1e999], "name": "a", "secret_wo": "leak" }"#).await;
    assert_eq!(value(same.upgraded_state.as_ref()), thing("a", None, None));
    for (version, json) in [(0, &b"null"[..]), (0, b""), (0, b"{"), (0, b"[]"), (-1, b"{}")] {
        let refused = ask(version, json).await;
        assert!(refused.upgraded_state.is_none() && !refused.diagnostics.is_empty(), "{version} {json:?}");
    }
}

#[tokio::test]
async fn functions_take_nulls_and_never_send_a_wild_index() {
    let service = service();
    let text = |text: &str| proto::DynamicValue {
        msgpack: codec::msgpack::encode(&Value::from(text), &Type::String).unwrap().into(),
        json: Bytes::new(),
    };
    let call = |arguments: Vec<proto::DynamicValue>| {
        let service = service.clone();
        async move {
            let request = proto::call_function::Request { name: "count".to_owned(), arguments };
            Rpc::call_function(&service, Request::new(request)).await.unwrap().into_inner()
        }
    };
    // A null argument, as OpenTofu sends it.
    let counted = call(vec![proto::DynamicValue::default()]).await;
    let result = counted.result.unwrap();
    assert_eq!(codec::decode_dynamic_value(&result.msgpack, &result.json, &Type::Number), Ok(Value::from(0)));
    let far = call(vec![text("bad index")]).await.error.unwrap();
    assert_eq!((far.text.as_str(), far.function_argument), ("far out", None));
    assert!(call(Vec::new()).await.error.unwrap().text.contains("takes 1 arguments, not 0"));
}

/// A data source whose schema breaks the rules.
#[derive(Clone, crate::Model)]
struct Wrong {
    #[tf(computed)]
    count: String,
    #[tf(optional, write_only)]
    secret: Attr<String>,
    #[tf(optional)]
    lists: Option<Vec<Value>>,
    #[tf(default = 99, validate(range(1..=9)))]
    number: Attr<i64>,
    #[tf(default = "text")]
    flag: Attr<bool>,
    #[tf(block(min = 3, max = 2))]
    rule: Vec<Thing>,
    #[tf(block)]
    lists_block: Vec<Anything>,
}

#[derive(Clone, crate::Model)]
struct Anything {
    #[tf(optional)]
    any: Value,
}

struct WrongSource;

impl DataSource for WrongSource {
    type Model = Wrong;
    type Client = ();

    const TYPE: &'static str = "other_wrong";

    async fn read(&self, _: &Context<()>, config: Wrong) -> Result<Wrong, Diagnostics> {
        Ok(config)
    }
}

#[test]
fn the_linter_names_every_broken_rule() {
    let problems = Data::new(WrongSource).info().problems("noted");
    for expected in [
        "`count` is a name that Terraform itself uses here",
        "`count` is computed, so configuration holds it null",
        "`secret` is write-only: only attributes of managed resources and actions can be",
        "`lists` has dynamic type inside a collection",
        "`number` has a default that its own validation refuses: 99 is not between 1 and 9",
        "`flag` has a default of another type",
        "`rule`: a List block cannot have bounds 3 and 2",
        "`lists_block` is a list block with an attribute of dynamic type inside",
        "its name must start with `noted_`",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(expected)), "{expected:?} in {problems:#?}");
    }
}
