//! What a server can do to core, or to its user, without core noticing in time: a test for each such mistake that this one does
//! not make it. Where the author of a resource can bring it about, the author does so here, and what is said then is compared.
//!
//! The numbers are those of the project's list of known failures. Rows that have a place of their own:
//!
//! | Row | What | Where |
//! |---|---|---|
//! | 1–34 | plans and results that core refuses | `crate::check`, `tests/check`, `tests/framework.rs` |
//! | 40 | log lines that crash core | `logging::line`, `tests/corner/logs.rs` |
//! | 41, 56 | state stores without capabilities or range, half a state taken for a whole | `tests/wire/state_stores.rs` |
//! | 45 | printing, and logs nobody reads | `tests/handshake/process.rs`, `logging::writer` |
//! | 46, 47 | `Shutdown` ignored, threads blocked | `tests/handshake/process.rs` |
//! | 55, 67 | who gets in, and by which certificate | `tests/handshake/tls.rs`, `certificate.rs` |
//! | 66, 68, 69 | the handshake line, limits, modes | `tests/handshake/serving.rs`, `server::listener`, `server::launch` |
//! | 70 | one process, many configurations | `tests/corner` |
//!
//! Rows 60, 62, 64 and 65 are decisions of the author of a resource, which no server can tell from what is meant.

mod crashes;
mod diffs;
mod hangs;
mod silence;
mod starts;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};

use super::*;
use crate::proto::tfplugin6::provider_server::Provider as Rpc;
use crate::{
    Action, Apply, Attr, Configure, DataSource, EphemeralResource, Findings, Function, FunctionError,
    History, Import, ListResource, MoveFrom, Opened, Plan, Progress, Renewed, Resource, StateSlot, codec,
};

/// A provider whose handlers do what `how` says. Its client is what they note.
#[derive(Default)]
struct Odd(Arc<Mutex<Vec<String>>>);

type Notes = Arc<Mutex<Vec<String>>>;

impl crate::Provider for Odd {
    type Config = OddConfig;
    type Client = Notes;
    type Meta = OddMeta;

    const NAME: &'static str = "odd";
    const ADDRESS: &'static str = "registry.terraform.io/example/odd";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, request: Configure<OddConfig>) -> Result<Notes, Diagnostics> {
        match request.config.how.require("how")?.as_str() {
            "silent" => Err(Diagnostics::new()),
            _ => Ok(Arc::clone(&self.0)),
        }
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(ThingResource).resource(PlainResource).data_source(Source).function(Tell);
        registry.list(ThingList).ephemeral(KeyResource).action(Bell);
    }
}

#[derive(Clone, crate::Model)]
struct OddConfig {
    #[tf(optional)]
    how: Attr<String>,
}

#[derive(Clone, crate::Model)]
struct OddMeta {
    #[tf(optional)]
    module: Attr<String>,
}

/// Has an identity.
#[derive(Clone, Debug, crate::Model)]
#[tf(version = 1, identity_version = 1)]
struct Thing {
    #[tf(computed, stable, identity)]
    id: Attr<String>,
    #[tf(required)]
    how: Attr<String>,
    #[tf(optional)]
    ratio: Attr<f64>,
    #[tf(optional)]
    tags: Attr<BTreeSet<String>>,
    #[tf(optional)]
    list: Attr<Vec<String>>,
    #[tf(computed)]
    any: Value,
    #[tf(computed)]
    made: Attr<String>,
}

fn thing(how: &str) -> Thing {
    Thing {
        id: "id".into(),
        how: how.into(),
        ratio: Attr::Null,
        tags: Attr::Null,
        list: Attr::Null,
        any: Value::Null,
        made: "made".into(),
    }
}

/// The ways to fail that every handler has. `Ok` is the way to go on.
fn fail(how: Option<&str>) -> Result<(), Diagnostics> {
    match how {
        Some("silent") => Err(Diagnostics::new()),
        Some("warned") => Err(Diagnostic::warning("Only warned", "No error.").into()),
        Some("outage") => Err(Diagnostic::error("Outage", "Try later.").into()),
        Some("crash") => panic!("fell over"),
        _ => Ok(()),
    }
}

/// What is said of each way.
const FAILURES: [(&str, &str); 4] = [
    ("silent", "failed without an error message"),
    ("warned", "failed without an error message"),
    ("outage", "Outage: Try later."),
    ("crash", "fell over"),
];

struct ThingResource;

impl Resource for ThingResource {
    type Model = Thing;
    type Client = Notes;

    const TYPE: &'static str = "odd_thing";

    fn history(history: &mut History<Thing>) {
        history
            .version_json(0, |old| fail(old["how"].as_str()).map(|()| thing("old")))
            .identity(0, |old| fail(old["how"].as_str()).map(|()| serde_json::json!({ "id": "id" })))
            .moved(MoveFrom::resource("odd_plain"), |plain: Plain, _| {
                fail(plain.how.as_str()).map(|()| thing("moved"))
            });
    }

    async fn plan(&self, _: Option<&Context<Notes>>, plan: &mut Plan<Thing>) {
        if plan.config.as_ref().and_then(|config| config.how.as_str()) == Some("mixed") {
            // A list of anything whose elements are of two types.
            let elements = [(Type::String, "a".into()), (Type::Number, 1.into())];
            let elements = elements.into_iter().map(|(ty, value)| Value::dynamic(ty, value));
            plan.set("any", Value::dynamic(Type::list(Type::Dynamic), Value::list(elements)));
        }
    }

    async fn create(
        &self,
        _: &Context<Notes>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        let how = apply.planned.how.clone();
        let done = Thing { id: "id".into(), made: "made".into(), any: Value::from(1), ..apply.planned };
        match how.as_str() {
            Some("nan") => state.save(Thing { ratio: f64::NAN.into(), ..done }),
            Some("lost") => return Err(Diagnostic::error("Outage", "Nothing was made.").into()),
            Some(_) => state.save(done),
            None => {}
        }
        fail(how.as_str())?;
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<Notes>, state: Thing) -> Result<Option<Thing>, Diagnostics> {
        fail(state.how.as_str())?;
        Ok((state.how.as_str() != Some("gone")).then_some(state))
    }

    async fn update(
        &self,
        _: &Context<Notes>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        fail(apply.planned.how.as_str())?;
        state.save(Thing { made: "again".into(), any: Value::Null, ..apply.planned });
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<Notes>,
        prior: Thing,
        _: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        fail(prior.how.as_str())?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<Notes>, import: Import) -> Result<Thing, Diagnostics> {
        fail(Some(&import.id))?;
        Ok(thing(&import.id))
    }
}

/// Has none.
#[derive(Clone, Debug, crate::Model)]
struct Plain {
    #[tf(required)]
    how: Attr<String>,
}

struct PlainResource;

impl Resource for PlainResource {
    type Model = Plain;
    type Client = Notes;

    const TYPE: &'static str = "odd_plain";

    fn history(history: &mut History<Plain>) {
        history.moved(MoveFrom::resource("odd_thing"), |thing: Thing, _| Ok(Plain { how: thing.how }));
    }

    async fn create(
        &self,
        _: &Context<Notes>,
        apply: Apply<Plain>,
        state: &StateSlot<Plain>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<Notes>, state: Plain) -> Result<Option<Plain>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<Notes>,
        apply: Apply<Plain>,
        state: &StateSlot<Plain>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<Notes>,
        _: Plain,
        _: &StateSlot<Plain>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<Notes>, import: Import) -> Result<Plain, Diagnostics> {
        Ok(Plain { how: import.id.into() })
    }
}

struct ThingList;

impl ListResource for ThingList {
    type Model = Plain;
    type Resource = ThingResource;
    type Client = Notes;

    async fn list(
        &self,
        cx: &Context<Notes>,
        config: Plain,
        findings: &Findings<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        let note = |text: &str| cx.client.lock().unwrap().push(text.to_owned());
        fail(config.how.as_str())?;
        match config.how.as_str() {
            // Never ends by itself.
            Some("deaf") => loop {
                let _wanted = findings.found("one more", thing("found")).await;
            },
            Some("stuck") => {
                let _wanted = findings.found("the only one", thing("found")).await;
                cx.cancel.cancelled().await;
                note("told to stop");
                std::future::pending::<()>().await;
            }
            Some("nameless") => {
                let _wanted = findings.found("nameless", Thing { id: Attr::Null, ..thing("found") }).await;
            }
            _ => while findings.found("one more", thing("found")).await {},
        }
        if config.how.as_str() == Some("partly") {
            return Ok(Diagnostic::warning("Only partly searched", "One region did not answer.").into());
        }
        Ok(Diagnostics::new())
    }
}

struct Source;

impl DataSource for Source {
    type Model = Plain;
    type Client = Notes;

    const TYPE: &'static str = "odd_source";

    async fn read(&self, _: &Context<Notes>, config: Plain) -> Result<Plain, Diagnostics> {
        fail(config.how.as_str())?;
        Ok(config)
    }
}

struct KeyResource;

impl EphemeralResource for KeyResource {
    type Model = Plain;
    type Client = Notes;
    type Private = String;

    const TYPE: &'static str = "odd_key";

    async fn open(&self, _: &Context<Notes>, config: Plain) -> Result<Opened<Plain, String>, Diagnostics> {
        fail(config.how.as_str())?;
        let how = config.how.as_str().unwrap_or_default().to_owned();
        Ok(Opened::new(config, how).renew_at(SystemTime::UNIX_EPOCH))
    }

    async fn renew(&self, _: &Context<Notes>, how: String) -> Result<Renewed<String>, Diagnostics> {
        fail(Some(&how))?;
        Ok(Renewed::default())
    }

    async fn close(&self, _: &Context<Notes>, how: String) -> Result<Diagnostics, Diagnostics> {
        fail(Some(&how))?;
        Ok(Diagnostics::new())
    }
}

struct Bell;

impl Action for Bell {
    type Model = Plain;
    type Client = Notes;

    const TYPE: &'static str = "odd_bell";

    async fn invoke(
        &self,
        _: &Context<Notes>,
        config: Plain,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        progress.say("one");
        if config.how.as_str() == Some("left behind") {
            let progress = progress.clone();
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                progress.say("never");
            });
        }
        progress.say("two");
        if config.how.as_str() == Some("slow to stop") {
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        fail(config.how.as_str())?;
        Ok(Diagnostics::new())
    }
}

#[derive(Clone, crate::Model)]
struct TellArguments {
    how: String,
    #[tf(variadic)]
    rest: Vec<String>,
}

struct Tell;

impl Function for Tell {
    type Arguments = TellArguments;
    type Output = Option<f64>;

    const NAME: &'static str = "tell";
    const SUMMARY: &'static str = "Tells";
    const DESCRIPTION: &'static str = "Tells.";

    fn call(&self, arguments: TellArguments) -> Result<Option<f64>, FunctionError> {
        match arguments.how.as_str() {
            "crash" => panic!("fell over"),
            "nan" => Ok(Some(f64::NAN)),
            "nothing" => Ok(None),
            _ => match arguments.how.parse() {
                Ok(index) => Err(FunctionError::argument(index, "refused")),
                Err(_) => Ok(Some(0.5)),
            },
        }
    }
}

fn cold() -> Service<Odd> {
    Service::new(Odd::default(), StopToken::new())
}

async fn configured() -> Service<Odd> {
    let service = cold();
    let config = wire::<OddConfig>(&Value::object([("how", "fine".into())]));
    let request = proto::configure_provider::Request { config, ..Default::default() };
    let response = Rpc::configure_provider(&service, Request::new(request)).await;
    assert_eq!(texts(&answer(response).diagnostics), Vec::<String>::new());
    service
}

fn answer<T>(response: Result<Response<T>, Status>) -> T {
    response.expect("no status error: it has no place and no text").into_inner()
}

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn wire<M: Model>(value: &Value) -> Option<proto::DynamicValue> {
    let msgpack = codec::msgpack::encode(value, &M::block().implied_type()).unwrap();
    Some(proto::DynamicValue { msgpack: msgpack.into(), json: Bytes::new() })
}

fn wired<M: Model + crate::ToValue>(model: &M) -> Option<proto::DynamicValue> {
    wire::<M>(&crate::testing::to_value(model).unwrap())
}

fn plain(how: &str) -> Option<proto::DynamicValue> {
    wired(&Plain { how: how.into() })
}

/// The value of an answer; an answer without one is a failure of the test.
fn value<M: Model>(wire: Option<&proto::DynamicValue>) -> Value {
    let wire = wire.expect("a value");
    assert!(!wire.msgpack.is_empty(), "empty is null to core, whatever was meant");
    codec::decode_dynamic_value(&wire.msgpack, &wire.json, &M::block().implied_type()).unwrap()
}

fn identity(id: &str) -> proto::ResourceIdentityData {
    let ty = Type::object([("id", Type::String)]);
    let msgpack = codec::msgpack::encode(&Value::object([("id", id.into())]), &ty).unwrap();
    let identity_data = Some(proto::DynamicValue { msgpack: msgpack.into(), json: Bytes::new() });
    proto::ResourceIdentityData { identity_data }
}

/// Row 50: a message of severity 0 is shown, and counts as success. So no message is read in these tests without looking at it.
fn texts(messages: &[proto::Diagnostic]) -> Vec<String> {
    messages
        .iter()
        .map(|message| {
            assert!([1, 2].contains(&message.severity), "{message:?}");
            assert!(!message.summary.is_empty(), "{message:?}");
            format!("{}: {}", message.summary, message.detail)
        })
        .collect()
}

/// Whether there is an error, and one that says `expected`.
fn fails(what: &str, messages: &[proto::Diagnostic], expected: &str) {
    let error = proto::diagnostic::Severity::Error as i32;
    assert!(messages.iter().any(|message| message.severity == error), "{what}: {messages:?}");
    assert!(texts(messages).iter().any(|text| text.contains(expected)), "{what}: {messages:?}");
}
