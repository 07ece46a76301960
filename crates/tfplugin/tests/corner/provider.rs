//! A provider whose only purpose is to have one of everything. It keeps its objects as JSON files in one folder.

use std::path::PathBuf;

use tfplugin::{
    Apply, Attr, Configure, Context, DataSource, Diagnostic, Diagnostics, Function, FunctionError, History,
    Import, Model, Plan, Provider, Registry, Resource, StateSlot, Text, Value,
};

use crate::declared::DeclaredResource;
use crate::everything::{EverythingResource, Percent};
use crate::item::{ItemList, ItemResource, KeyResource, Ring};
use crate::promises::PromisedResource;

pub(crate) struct Corner;

/// Where the objects are.
#[derive(Clone, Model)]
pub(crate) struct Config {
    /// A folder.
    #[tf(required)]
    folder: Attr<String>,
    /// Has a default in a provider block.
    #[tf(default = "json", validate(one_of("json")))]
    format: Attr<String>,
}

/// What a module says of itself.
#[derive(Clone, Model)]
pub(crate) struct Meta {
    /// Its name.
    #[tf(optional)]
    pub(crate) module: Attr<String>,
}

impl Provider for Corner {
    type Config = Config;
    type Client = PathBuf;
    type Meta = Meta;

    const NAME: &'static str = "corner";
    const ADDRESS: &'static str = "registry.terraform.io/example/corner";
    const VERSION: &'static str = "1.2.3";

    async fn configure(&self, request: Configure<Config>) -> Result<PathBuf, Diagnostics> {
        assert_eq!(
            request.config.format.as_str(),
            Some("json"),
            "the default of a provider block is filled in"
        );
        Ok(PathBuf::from(request.config.folder.require("folder")?))
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry
            .resource(EverythingResource)
            .resource(DeclaredResource)
            .resource(PromisedResource)
            .resource(FaultResource)
            .resource(OldResource)
            .resource(ItemResource)
            .list(ItemList)
            .ephemeral(KeyResource)
            .action(Ring)
            .data_source(EchoSource)
            .function(Join)
            .function(Kind);
    }
}

/// Goes wrong as told.
#[derive(Clone, Debug, Model)]
pub(crate) struct Fault {
    /// How.
    #[tf(required)]
    how: Attr<String>,
    /// Made on create.
    #[tf(computed, stable)]
    id: Attr<String>,
    /// Made on every change.
    #[tf(computed)]
    made: Attr<String>,
}

struct FaultResource;

impl FaultResource {
    async fn act(
        cx: &Context<PathBuf>,
        planned: &Fault,
        state: &StateSlot<Fault>,
    ) -> Result<Diagnostics, Diagnostics> {
        let how = planned.how.clone();
        let done = Fault { id: "fault".into(), made: "made".into(), ..planned.clone() };
        match how.as_str().unwrap() {
            "none" => state.save(done),
            "crash" => {
                state.save(Fault { made: Attr::Null, ..done });
                panic!("told to fall over");
            }
            "error" => {
                state.save(Fault { made: Attr::Unknown, ..done });
                return Err(Diagnostic::error("Told to fail", "The object is half made.").at("how").into());
            }
            "nothing" => return Err(Diagnostic::error("Told to fail", "Nothing was made.").into()),
            "silent" => return Err(Diagnostics::new()),
            "wait" => {
                state.save(Fault { made: "half".into(), ..done });
                std::fs::write(cx.client.join("waiting.json"), "").unwrap();
                cx.cancel.cancelled().await;
                return Err(Diagnostic::error("Interrupted", "The object is half made.").into());
            }
            "forget" => {}
            "unknown" => state.save(Fault { made: Attr::Unknown, ..done }),
            "inconsistent" => state.save(Fault { how: "other".into(), ..done }),
            other => panic!("no such fault: {other}"),
        }
        Ok(Diagnostics::new())
    }
}

impl Resource for FaultResource {
    type Model = Fault;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_fault";

    async fn plan(&self, _: Option<&Context<PathBuf>>, plan: &mut Plan<Fault>) {
        match plan.config.as_ref().and_then(|config| config.how.as_str()) {
            Some("overwrite") => plan.set("how", "overwritten"),
            Some("plan crash") => panic!("told to fall over while planning"),
            _ => {}
        }
    }

    async fn create(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Fault>,
        state: &StateSlot<Fault>,
    ) -> Result<Diagnostics, Diagnostics> {
        Self::act(cx, &apply.planned, state).await
    }

    async fn read(&self, _: &Context<PathBuf>, state: Fault) -> Result<Option<Fault>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Fault>,
        state: &StateSlot<Fault>,
    ) -> Result<Diagnostics, Diagnostics> {
        Self::act(cx, &apply.planned, state).await
    }

    async fn delete(
        &self,
        _: &Context<PathBuf>,
        _: Fault,
        _: &StateSlot<Fault>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<PathBuf>, _: Import) -> Result<Fault, Diagnostics> {
        Err(Diagnostic::error("Cannot import", "Faults are made, not found.").into())
    }
}

/// Version 2 of a model.
#[derive(Clone, Debug, Model)]
#[tf(version = 2)]
pub(crate) struct Old {
    /// Was called `label` in version 1, and was a number.
    #[tf(required)]
    pub(crate) name: Attr<String>,
}

/// Version 1 of it.
#[derive(Clone, Debug, Model)]
#[tf(version = 1)]
struct OldOne {
    #[tf(required)]
    label: i64,
}

struct OldResource;

impl Resource for OldResource {
    type Model = Old;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_old";

    fn history(history: &mut History<Old>) {
        history
            .version_json(0, |old| match old["text"].as_str() {
                Some("silent") => Err(Diagnostics::new()),
                Some(text) => Ok(Old { name: text.into() }),
                None => Err(Diagnostic::error("Cannot upgrade", "Version 0 has no `text`.").into()),
            })
            .version(1, |old: OldOne| Ok(Old { name: format!("number {}", old.label).into() }));
    }

    async fn create(
        &self,
        _: &Context<PathBuf>,
        apply: Apply<Old>,
        state: &StateSlot<Old>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostic::warning("Made with a warning", "All is well.").into())
    }

    async fn read(&self, _: &Context<PathBuf>, state: Old) -> Result<Option<Old>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<PathBuf>,
        apply: Apply<Old>,
        state: &StateSlot<Old>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<PathBuf>,
        _: Old,
        _: &StateSlot<Old>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<PathBuf>, import: Import) -> Result<Old, Diagnostics> {
        Ok(Old { name: import.id.into() })
    }
}

/// Says what it is given.
#[derive(Clone, Debug, Model)]
pub(crate) struct Echo {
    #[tf(required)]
    text: String,
    #[tf(default = 2)]
    times: Option<u32>,
    #[tf(computed)]
    echoes: Option<Vec<EchoItem>>,
    #[tf(computed)]
    any: Value,
}

#[derive(Clone, Debug, Model)]
pub(crate) struct EchoItem {
    #[tf(computed)]
    index: u32,
    #[tf(computed)]
    text: String,
}

struct EchoSource;

impl DataSource for EchoSource {
    type Model = Echo;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_echo";

    async fn read(&self, _: &Context<PathBuf>, config: Echo) -> Result<Echo, Diagnostics> {
        if config.text == "nothing" {
            return Err(Diagnostic::error("No echo", "`nothing` has none.").at("text").into());
        }
        let times = config.times.unwrap_or_default();
        let echoes = (0..times).map(|index| EchoItem { index, text: config.text.clone() }).collect();
        Ok(Echo { echoes: Some(echoes), any: Value::list([Value::from(1), Value::from("one")]), ..config })
    }
}

/// Joins.
#[derive(Clone, Debug, Model)]
pub(crate) struct JoinArguments {
    /// What stands between.
    separator: Option<String>,
    /// The parts.
    #[tf(variadic)]
    parts: Vec<String>,
}

struct Join;

impl Function for Join {
    type Arguments = JoinArguments;
    type Output = String;

    const NAME: &'static str = "join";
    const SUMMARY: &'static str = "Joins texts";
    const DESCRIPTION: &'static str = "Joins its arguments.";

    fn call(&self, arguments: JoinArguments) -> Result<String, FunctionError> {
        if let Some(position) = arguments.parts.iter().position(String::is_empty) {
            return Err(FunctionError::argument(u32::try_from(position).unwrap() + 1, "a part is empty"));
        }
        Ok(arguments.parts.join(arguments.separator.as_deref().unwrap_or("-")))
    }
}

/// Anything.
#[derive(Clone, Debug, Model)]
pub(crate) struct KindArguments {
    /// The value.
    value: Value,
    /// Parsed.
    percent: Text<Percent>,
}

/// The result.
#[derive(Clone, Debug, Model)]
pub(crate) struct KindOutput {
    kind: String,
    percent: u32,
    value: Value,
}

struct Kind;

impl Function for Kind {
    type Arguments = KindArguments;
    type Output = KindOutput;

    const NAME: &'static str = "kind";
    const SUMMARY: &'static str = "Says what a value is";
    const DESCRIPTION: &'static str = "Says what a value is.";

    fn call(&self, arguments: KindArguments) -> Result<KindOutput, FunctionError> {
        Ok(KindOutput {
            kind: arguments.value.unwrap_dynamic().kind().to_owned(),
            percent: arguments.percent.get().0,
            value: arguments.value,
        })
    }
}
