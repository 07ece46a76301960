//! One of everything that a provider can offer. What the handlers do, an attribute says: `"<deed>:<handler>"`, where the deed is
//! `panic`, `listen` (until the token trips) or `hang` (until the test lets go).

use std::sync::{Arc, Mutex};

use tfplugin::{
    Action, Apply, Attr, Configure, Context, DataSource, Diagnostic, Diagnostics, EphemeralResource,
    Findings, Function, FunctionError, History, Import, ListResource, Model, MoveFrom, Opened, Plan,
    Progress, Provider, Registry, Renewed, Resource, StateSlot, Value,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::files::Files;

/// What every handler works with.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Each handler that has begun.
    begun: mpsc::UnboundedSender<&'static str>,
    /// Lets the hanging ones go on.
    pub(crate) release: CancellationToken,
    notes: Arc<Mutex<Vec<String>>>,
}

impl Shared {
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<&'static str>) {
        let (begun, on_begin) = mpsc::unbounded_channel();
        (Self { begun, release: CancellationToken::new(), notes: Arc::default() }, on_begin)
    }

    /// What was done to the end, in order.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }

    pub(crate) async fn act(
        &self,
        cancel: &CancellationToken,
        does: &str,
        what: &'static str,
    ) -> Result<(), Diagnostics> {
        panics(does, what);
        let _ = self.begun.send(what);
        client::ask(what).await;
        match does.split_once(':') {
            Some(("listen", named)) if named == what => {
                cancel.cancelled().await;
                return Err(Diagnostic::error("Stopped", format!("`{what}` was asked to stop.")).into());
            }
            Some(("hang", named)) if named == what => self.release.cancelled().await,
            _ => {}
        }
        self.notes.lock().unwrap().push(what.to_owned());
        Ok(())
    }
}

/// For handlers that cannot wait.
pub(crate) fn panics(does: &str, what: &str) {
    assert!(does != format!("panic:{what}"), "`{what}` fell over");
}

/// Stands for the crate of a provider's client, whose tracing targets begin with its name.
mod client {
    use tracing::Instrument as _;

    pub(super) async fn ask(operation: &'static str) {
        let span = tracing::debug_span!(target: "wire_remote::http", "call", operation);
        async {
            tokio::task::yield_now().await;
            tracing::trace!(target: "wire_remote::http", "asked");
        }
        .instrument(span)
        .await;
        tracing::error!(target: "wire_rollout", "of another subsystem");
    }
}

#[derive(Clone)]
pub(crate) struct Works(pub(crate) Shared);

/// What `configure` does.
#[derive(Clone, Default, Model)]
pub(crate) struct Config {
    /// The deed.
    #[tf(optional)]
    pub(crate) does: Attr<String>,
}

impl Provider for Works {
    type Config = Config;
    type Client = Shared;
    type Meta = Config;

    const NAME: &'static str = "wire";
    const ADDRESS: &'static str = "registry.terraform.io/example/wire";
    const VERSION: &'static str = "0.0.1";

    fn validate(&self, config: &Config, _: &mut Diagnostics) {
        panics(config.does.as_str().unwrap_or_default(), "validate");
    }

    async fn configure(&self, request: Configure<Config>) -> Result<Shared, Diagnostics> {
        self.0.act(&request.cancel, request.config.does.as_str().unwrap_or_default(), "configure").await?;
        Ok(self.0.clone())
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(Things).data_source(Looks).function(Calls);
        registry.ephemeral(Keys).list(Lists).action(Acts).state_store(Files);
    }
}

/// A thing.
#[derive(Clone, Debug, Default, PartialEq, Model)]
#[tf(version = 1, identity_version = 1)]
pub(crate) struct Thing {
    /// The deed.
    #[tf(required)]
    pub(crate) does: Attr<String>,
    /// Given on creation.
    #[tf(computed, stable, identity)]
    pub(crate) id: Attr<String>,
    /// Much text.
    #[tf(optional)]
    pub(crate) text: Attr<String>,
    /// Many items.
    #[tf(optional)]
    pub(crate) items: Attr<Vec<String>>,
    /// Many numbers, each once.
    #[tf(optional)]
    pub(crate) numbers: Attr<tfplugin::Set<i64>>,
    /// Anything.
    #[tf(optional)]
    pub(crate) any: Attr<Value>,
}

impl Thing {
    pub(crate) fn that(does: &str) -> Self {
        Self { does: does.into(), ..Self::default() }
    }

    pub(crate) fn existing(does: &str) -> Self {
        Self { id: "1".into(), ..Self::that(does) }
    }
}

#[derive(Clone, Model)]
struct ThingV0 {
    #[tf(required)]
    does: String,
}

struct Things;

type Cx = Context<Shared>;
type Done = Result<Diagnostics, Diagnostics>;

async fn act(cx: &Cx, does: &Attr<String>, what: &'static str) -> Result<(), Diagnostics> {
    cx.client.act(&cx.cancel, does.as_str().unwrap_or_default(), what).await
}

impl Resource for Things {
    type Model = Thing;
    type Client = Shared;

    const TYPE: &'static str = "wire_thing";

    fn history(history: &mut History<Thing>) {
        history
            .version(0, |old: ThingV0| {
                panics(&old.does, "upgrade");
                Ok(Thing::existing(&old.does))
            })
            .identity(0, |old| {
                panics(old["id"].as_str().unwrap_or_default(), "upgrade identity");
                Ok(old)
            })
            .moved(MoveFrom::resource("wire_stall"), |old: ThingV0, _| {
                panics(&old.does, "move");
                Ok(Thing::existing(&old.does))
            });
    }

    fn validate(&self, config: &Thing, _: &mut Diagnostics) {
        panics(config.does.as_str().unwrap_or_default(), "validate");
    }

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<Thing>) {
        let does = plan.config.as_ref().or(plan.prior.as_ref()).map(|thing| thing.does.clone());
        if let (Some(cx), Some(does)) = (cx, does)
            && let Err(failed) = act(cx, &does, "plan").await
        {
            plan.diagnostics.extend(failed);
        }
    }

    async fn create(&self, cx: &Cx, apply: Apply<Thing>, state: &StateSlot<Thing>) -> Done {
        let made = Thing { id: "1".into(), ..apply.planned };
        state.save(made.clone());
        act(cx, &made.does, "create").await?;
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Cx, state: Thing) -> Result<Option<Thing>, Diagnostics> {
        act(cx, &state.does, "read").await?;
        Ok(Some(state))
    }

    async fn update(&self, cx: &Cx, apply: Apply<Thing>, state: &StateSlot<Thing>) -> Done {
        act(cx, &apply.planned.does, "update").await?;
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(&self, cx: &Cx, prior: Thing, _: &StateSlot<Thing>) -> Done {
        act(cx, &prior.does, "delete").await?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, cx: &Cx, import: Import) -> Result<Thing, Diagnostics> {
        act(cx, &import.id.as_str().into(), "import").await?;
        Ok(Thing { id: import.id.as_str().into(), ..Thing::default() })
    }

    async fn import_identity(&self, cx: &Cx, identity: Thing) -> Result<Thing, Diagnostics> {
        act(cx, &identity.id, "import identity").await?;
        Ok(identity)
    }

    fn generate(&self, config: &mut Thing) {
        panics(config.does.as_str().unwrap_or_default(), "generate");
    }
}

/// A look.
#[derive(Clone, Debug, Default, PartialEq, Model)]
pub(crate) struct Deed {
    /// The deed.
    #[tf(required)]
    pub(crate) does: String,
}

impl Deed {
    pub(crate) fn that(does: &str) -> Self {
        Self { does: does.to_owned() }
    }
}

struct Looks;

impl DataSource for Looks {
    type Model = Deed;
    type Client = Shared;

    const TYPE: &'static str = "wire_look";

    fn validate(&self, config: &Deed, _: &mut Diagnostics) {
        panics(&config.does, "validate");
    }

    async fn read(&self, cx: &Cx, config: Deed) -> Result<Deed, Diagnostics> {
        cx.client.act(&cx.cancel, &config.does, "look").await?;
        Ok(config)
    }
}

struct Calls;

impl Function for Calls {
    type Arguments = Deed;
    type Output = String;

    const NAME: &'static str = "call";
    const SUMMARY: &'static str = "Calls.";
    const DESCRIPTION: &'static str = "Calls.";

    fn call(&self, arguments: Deed) -> Result<String, FunctionError> {
        panics(&arguments.does, "call");
        Ok(arguments.does)
    }
}

struct Keys;

impl EphemeralResource for Keys {
    type Model = Deed;
    type Client = Shared;
    type Private = String;

    const TYPE: &'static str = "wire_key";

    fn validate(&self, config: &Deed, _: &mut Diagnostics) {
        panics(&config.does, "validate");
    }

    async fn open(&self, cx: &Cx, config: Deed) -> Result<Opened<Deed, String>, Diagnostics> {
        cx.client.act(&cx.cancel, &config.does, "open").await?;
        let does = config.does.clone();
        Ok(Opened::new(config, does))
    }

    async fn renew(&self, cx: &Cx, private: String) -> Result<Renewed<String>, Diagnostics> {
        cx.client.act(&cx.cancel, &private, "renew").await?;
        Ok(Renewed { private: Some(format!("{private}+")), renew_at: None })
    }

    async fn close(&self, cx: &Cx, private: String) -> Done {
        cx.client.act(&cx.cancel, &private, "close").await?;
        Ok(Diagnostics::new())
    }
}

struct Lists;

impl ListResource for Lists {
    type Model = Deed;
    type Resource = Things;
    type Client = Shared;

    fn validate(&self, config: &Deed, _: &mut Diagnostics) {
        panics(&config.does, "validate");
    }

    async fn list(&self, cx: &Cx, config: Deed, findings: &Findings<Thing>) -> Done {
        let _ = findings.found("first", Thing::existing("nothing")).await;
        cx.client.act(&cx.cancel, &config.does, "list").await?;
        Ok(Diagnostics::new())
    }
}

struct Acts;

impl Action for Acts {
    type Model = Deed;
    type Client = Shared;

    const TYPE: &'static str = "wire_act";

    fn validate(&self, config: &Deed, _: &mut Diagnostics) {
        panics(&config.does, "validate");
    }

    async fn plan(&self, cx: Option<&Cx>, config: &Deed, diagnostics: &mut Diagnostics) {
        if let Some(cx) = cx
            && let Err(failed) = cx.client.act(&cx.cancel, &config.does, "plan action").await
        {
            diagnostics.extend(failed);
        }
    }

    async fn invoke(&self, cx: &Cx, config: Deed, progress: &Progress) -> Done {
        progress.say("begins");
        cx.client.act(&cx.cancel, &config.does, "invoke").await?;
        Ok(Diagnostics::new())
    }
}
