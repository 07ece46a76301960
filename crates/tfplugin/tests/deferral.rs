//! What cannot be planned yet, or not wholly: a provider whose configuration is not known, authors who put a change off,
//! promises about values that are not known, and what one plan leaves for the next.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::{Arc, Mutex};

use tfplugin::testing::{Changed, Core, Failed};
use tfplugin::value::{Bound, Refinements};
use tfplugin::{
    Action, Apply, Attr, Configure, Context, DataSource, Deferral, Diagnostic, Diagnostics,
    EphemeralResource, Import, Model, Number, Opened, Plan, Progress, Provider, Registry, Resource,
    StateSlot, Unknown, Value,
};

/// What was asked of what is behind the provider.
type Asked = Arc<Mutex<Vec<String>>>;

#[derive(Default)]
struct Late(Asked);

/// Where the objects are.
#[derive(Clone, Model)]
struct Config {
    /// An address, which another resource may have to make first.
    #[tf(required)]
    address: Attr<String>,
}

fn config(address: impl Into<Attr<String>>) -> Config {
    Config { address: address.into() }
}

impl Provider for Late {
    type Config = Config;
    type Client = Asked;
    type Meta = ();

    const NAME: &'static str = "late";
    const ADDRESS: &'static str = "registry.terraform.io/example/late";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, request: Configure<Config>) -> Result<Asked, Diagnostics> {
        request.config.address.require("address")?;
        Ok(Arc::clone(&self.0))
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(ThingResource).data_source(Look).ephemeral(KeyResource).action(Ring);
    }
}

/// A thing.
#[derive(Clone, Debug, Model)]
struct Thing {
    #[tf(computed, stable)]
    id: Attr<String>,
    /// The author puts off what waits for something.
    #[tf(optional)]
    waits_for: Attr<String>,
    /// What of its promises is broken.
    #[tf(optional)]
    breaks: Attr<String>,
    #[tf(computed)]
    url: Attr<String>,
    #[tf(computed)]
    port: Attr<i64>,
    #[tf(computed)]
    hosts: Attr<Vec<String>>,
    /// The token that the plan has stored beside the object.
    #[tf(computed)]
    token: Attr<i64>,
}

fn thing() -> Thing {
    Thing {
        id: Attr::Null,
        waits_for: Attr::Null,
        breaks: Attr::Null,
        url: Attr::Null,
        port: Attr::Null,
        hosts: Attr::Null,
        token: Attr::Null,
    }
}

/// From 1024 on, and below 65536.
fn port() -> Unknown {
    let bound = |value: i64, inclusive: bool| Some(Bound { value: Number::from(value), inclusive });
    Unknown::refined(Refinements {
        null: Some(false),
        lower: bound(1024, true),
        upper: bound(65536, false),
        ..Refinements::default()
    })
}

struct ThingResource;

impl ThingResource {
    fn made(cx: &Context<Asked>, planned: Thing) -> Result<Thing, Diagnostics> {
        let broken = |what: &str| planned.breaks.as_str() == Some(what);
        Ok(Thing {
            id: "1".into(),
            url: if broken("url") { "ftp://a" } else { "https://a" }.into(),
            port: if broken("port") { 65536 } else { 1024 }.into(),
            hosts: if broken("hosts") { vec![] } else { vec!["a".to_owned()] }.into(),
            token: cx.private.get::<i64>("token")?.into(),
            ..planned
        })
    }
}

impl Resource for ThingResource {
    type Model = Thing;
    type Client = Asked;

    const TYPE: &'static str = "late_thing";

    async fn plan(&self, _: Option<&Context<Asked>>, plan: &mut Plan<Thing>) {
        // Counted, to see whether the second plan begins with what the first has stored.
        let token = plan.private.get::<i64>("token").unwrap().unwrap_or_default() + 1;
        plan.private.set("token", &token).unwrap();
        let Some(config) = &plan.config else { return };
        match config.waits_for.as_str() {
            Some("prerequisite") => plan.defer(Deferral::AbsentPrerequisite),
            Some("configuration") => plan.defer(Deferral::ResourceConfigUnknown),
            _ => {}
        }
        if plan.changes_anything() {
            plan.set_refined("url", Unknown::with_prefix("https://"));
            plan.set_refined("port", port());
            plan.set_refined("hosts", Unknown::with_length(1, Some(3)));
        }
    }

    async fn create(
        &self,
        cx: &Context<Asked>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Self::made(cx, apply.planned)?);
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Context<Asked>, state: Thing) -> Result<Option<Thing>, Diagnostics> {
        cx.client.lock().unwrap().push("read".to_owned());
        Ok(Some(state))
    }

    async fn update(
        &self,
        cx: &Context<Asked>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Self::made(cx, apply.planned)?);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<Asked>,
        _: Thing,
        _: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<Asked>, import: Import) -> Result<Thing, Diagnostics> {
        import.partial([("id", Value::from(import.id.as_str()))])
    }
}

/// What to look for.
#[derive(Clone, Debug, Model)]
struct Seen {
    #[tf(required)]
    name: String,
    #[tf(computed)]
    found: Option<String>,
}

fn seen() -> Seen {
    Seen { name: "a".to_owned(), found: None }
}

struct Look;

impl DataSource for Look {
    type Model = Seen;
    type Client = Asked;

    const TYPE: &'static str = "late_look";

    async fn read(&self, cx: &Context<Asked>, config: Seen) -> Result<Seen, Diagnostics> {
        cx.client.lock().unwrap().push("look".to_owned());
        Ok(Seen { found: Some("it".to_owned()), ..config })
    }
}

struct KeyResource;

impl EphemeralResource for KeyResource {
    type Model = Seen;
    type Client = Asked;
    type Private = ();

    const TYPE: &'static str = "late_key";

    async fn open(&self, cx: &Context<Asked>, config: Seen) -> Result<Opened<Seen, ()>, Diagnostics> {
        cx.client.lock().unwrap().push("open".to_owned());
        Ok(Opened::new(Seen { found: Some("key".to_owned()), ..config }, ()))
    }

    async fn close(&self, _: &Context<Asked>, (): ()) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }
}

/// What to ring for.
#[derive(Clone, Debug, Model)]
struct Bell {
    #[tf(required)]
    name: String,
}

struct Ring;

impl Action for Ring {
    type Model = Bell;
    type Client = Asked;

    const TYPE: &'static str = "late_ring";

    async fn plan(&self, _: Option<&Context<Asked>>, config: &Bell, diagnostics: &mut Diagnostics) {
        if config.name == "refused" {
            diagnostics.push(Diagnostic::error("Refused", "Nobody rings for it.").at("name"));
        }
    }

    async fn invoke(
        &self,
        cx: &Context<Asked>,
        config: Bell,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        cx.client.lock().unwrap().push("ring".to_owned());
        progress.say(config.name);
        Ok(Diagnostics::new())
    }
}

type R = ThingResource;

async fn core(address: impl Into<Attr<String>>) -> (Core<Late>, Asked) {
    let late = Late::default();
    let asked = Arc::clone(&late.0);
    (Core::new(late, &config(address)).await.unwrap(), asked)
}

/// With an object in state, and a provider whose configuration is not known any longer.
async fn forgetful() -> (Core<Late>, Asked) {
    let (mut core, asked) = core("here").await;
    core.apply::<R>("a", &thing()).await.unwrap();
    asked.lock().unwrap().clear();
    core.configure(&config(Attr::Unknown)).await.unwrap();
    (core, asked)
}

fn waits<T: std::fmt::Debug>(result: Result<T, Failed>) {
    let failed = result.unwrap_err();
    assert!(matches!(failed, Failed::Deferred(Deferral::ProviderConfigUnknown)), "{failed:?}");
}

fn refused<T: std::fmt::Debug>(result: Result<T, Failed>, expected: &str) {
    let failed = result.unwrap_err();
    assert!(matches!(failed, Failed::Refused(_)), "{failed:?}");
    assert!(failed.to_string().contains(expected), "{failed}");
}

#[test]
fn the_schemas_are_sound() {
    assert_eq!(tfplugin::testing::lint(Late::default()), Vec::<String>::new());
}

#[tokio::test]
async fn without_its_configuration_a_provider_puts_everything_off() {
    let (mut core, asked) = forgetful().await;
    core.allow_deferral();
    let before = core.value("a");

    let outcome = core.plan::<R>("a", &Thing { breaks: "no".into(), ..thing() }).await.unwrap();
    assert_eq!(outcome.deferred, Some(Deferral::ProviderConfigUnknown));
    assert_eq!(outcome.changed, Changed::Updated, "it is planned all the same, as well as it goes");
    let outcome = core.apply::<R>("new", &thing()).await.unwrap();
    assert_eq!(
        (outcome.changed, outcome.deferred),
        (Changed::Created, Some(Deferral::ProviderConfigUnknown))
    );
    assert!(core.state::<R>("new").is_none(), "what is put off is not done");

    waits(core.refresh::<R>("a").await);
    assert_eq!(core.value("a"), before, "what cannot be read stays as it was");
    waits(core.destroy::<R>("a").await);
    waits(core.import::<R>("b", "1").await);
    assert!(core.state::<R>("b").is_none());
    waits(core.data::<Look>(&seen()).await);
    waits(core.open::<KeyResource>(&seen()).await);
    waits(core.invoke::<Ring>(&Bell { name: "a".to_owned() }).await);
    refused(core.invoke::<Ring>(&Bell { name: "refused".to_owned() }).await, "Nobody rings for it.");
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new(), "nothing was asked of what is behind");
}

#[tokio::test]
async fn what_was_put_off_is_done_by_the_run_that_knows_the_configuration() {
    let (mut core, asked) = core(Attr::Unknown).await;
    core.allow_deferral();
    assert!(core.apply::<R>("a", &thing()).await.unwrap().deferred.is_some());
    core.configure(&config("here")).await.unwrap();
    let outcome = core.apply::<R>("a", &thing()).await.unwrap();
    assert_eq!((outcome.changed, outcome.deferred), (Changed::Created, None));
    assert_eq!(core.data::<Look>(&seen()).await.unwrap().get("found"), Some(&"it".into()));
    assert_eq!(core.open::<KeyResource>(&seen()).await.unwrap().result.found.as_deref(), Some("key"));
    assert_eq!(core.invoke::<Ring>(&Bell { name: "a".to_owned() }).await.unwrap(), ["a"]);
    core.import::<R>("b", "1").await.unwrap();
    assert_eq!(*asked.lock().unwrap(), ["look", "open", "ring", "read"]);
}

#[tokio::test]
async fn a_client_that_knows_no_deferral_plans_without_and_is_refused_the_rest() {
    let (mut core, asked) = core(Attr::Unknown).await;
    let outcome = core.plan::<R>("a", &thing()).await.unwrap();
    assert_eq!((outcome.changed, outcome.deferred), (Changed::Created, None));
    let reason = "`address`";
    refused(core.data::<Look>(&seen()).await, reason);
    refused(core.open::<KeyResource>(&seen()).await, reason);
    refused(core.import::<R>("b", "1").await, reason);
    refused(core.invoke::<Ring>(&Bell { name: "a".to_owned() }).await, reason);
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());

    let (mut core, _) = forgetful().await;
    let before = core.value("a");
    refused(core.refresh::<R>("a").await, reason);
    assert_eq!(core.value("a"), before);
}

#[tokio::test]
async fn an_author_puts_a_change_off_with_a_reason_of_its_own() {
    let (mut core, _) = core("here").await;
    let waiting = |what: &str| Thing { waits_for: what.into(), ..thing() };
    core.allow_deferral();
    for (what, reason) in
        [("prerequisite", Deferral::AbsentPrerequisite), ("configuration", Deferral::ResourceConfigUnknown)]
    {
        let outcome = core.apply::<R>("a", &waiting(what)).await.unwrap();
        assert_eq!((outcome.changed, outcome.deferred), (Changed::Created, Some(reason)));
        assert!(core.state::<R>("a").is_none());
    }
    core.apply::<R>("a", &thing()).await.unwrap();
    let outcome = core.apply::<R>("a", &waiting("prerequisite")).await.unwrap();
    assert_eq!((outcome.changed, outcome.deferred), (Changed::Updated, Some(Deferral::AbsentPrerequisite)));
    assert_eq!(core.value("a").get("waits_for"), Some(&Value::Null), "the update was not made");

    // The reason of the author is nearer than that of the provider.
    core.configure(&config(Attr::Unknown)).await.unwrap();
    let outcome = core.plan::<R>("b", &waiting("prerequisite")).await.unwrap();
    assert_eq!(outcome.deferred, Some(Deferral::AbsentPrerequisite));
}

#[tokio::test]
async fn a_client_that_knows_no_deferral_is_told_what_to_do() {
    let (mut core, _) = core("here").await;
    for (what, reason) in [
        ("prerequisite", "something that it needs does not exist yet"),
        ("configuration", "its configuration depends on values that are not known yet"),
    ] {
        let failed =
            core.plan::<R>("a", &Thing { waits_for: what.into(), ..thing() }).await.unwrap_err().to_string();
        assert_eq!(
            failed,
            format!(
                "`late_thing` cannot be planned yet: This run cannot go on: {reason}. Nothing was changed. Apply what it \
                 depends on first (with `-target`), then run again.\n"
            )
        );
    }
}

#[tokio::test]
async fn promises_of_unknown_values_are_sent_and_held_against_the_result() {
    let (mut core, _) = core("here").await;
    let planned = core.plan::<R>("a", &thing()).await.unwrap().value;
    // As the other side of the wire reads them.
    assert_eq!(planned.get("url"), Some(&Value::Unknown(Unknown::with_prefix("https://"))));
    assert_eq!(planned.get("port"), Some(&Value::Unknown(port())));
    assert_eq!(planned.get("hosts"), Some(&Value::Unknown(Unknown::with_length(1, Some(3)))));
    core.apply::<R>("a", &thing()).await.unwrap();
    assert_eq!(core.value("a").get("port"), Some(&Value::from(1024)), "the end belongs to the range");

    for broken in ["url", "port", "hosts"] {
        let failed = core.apply::<R>(broken, &Thing { breaks: broken.into(), ..thing() }).await.unwrap_err();
        let message = failed.diagnostics().into_iter().next().unwrap();
        assert_eq!(message.attribute, Some(broken.into()), "{message:?}");
        assert!(message.detail.contains("`late_thing`"), "{message:?}");
        assert!(message.detail.contains("must keep what the plan promised"), "{message:?}");
        assert!(core.is_tainted(broken), "the object exists, and not as it was planned");
    }
}

#[tokio::test]
async fn the_second_plan_of_an_apply_begins_with_what_the_first_has_stored() {
    let (mut core, _) = core("here").await;
    core.apply::<R>("a", &thing()).await.unwrap();
    assert_eq!(
        core.value("a").get("token"),
        Some(&Value::from(1)),
        "before 1.16 each plan begins with the state"
    );
    core.store_planned_private();
    core.apply::<R>("b", &thing()).await.unwrap();
    assert_eq!(core.value("b").get("token"), Some(&Value::from(2)));
    // The first plan of the next apply begins with what is in state.
    core.apply::<R>("b", &Thing { breaks: "no".into(), ..thing() }).await.unwrap();
    assert_eq!(core.value("b").get("token"), Some(&Value::from(4)));
}
