//! What a provider can offer beside plain resources: identities, moves, upgrades, private state, ephemeral resources, lists,
//! actions, `provider_meta`.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tfplugin::testing::{Changed, Core, Failed, lint};
use tfplugin::{
    Action, Apply, Attr, Configure, Context, Diagnostic, Diagnostics, EphemeralResource, Findings, History,
    Import, ListResource, Model, MoveFrom, MoveSource, Opened, Plan, Progress, Provider, Registry, Renewed,
    Resource, Sensitive, StateSlot, Value,
};

/// What is remote: shops by id, and what was done.
#[derive(Default)]
struct Town {
    shops: Mutex<BTreeMap<String, Shop>>,
    done: Mutex<Vec<String>>,
}

impl Town {
    fn note(&self, text: impl Into<String>) {
        self.done.lock().unwrap().push(text.into());
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut *self.done.lock().unwrap())
    }
}

type Remote = Arc<Town>;

#[derive(Default)]
struct Towns(Remote);

impl Provider for Towns {
    type Config = ();
    type Client = Remote;
    type Meta = Meta;

    const NAME: &'static str = "town";
    const ADDRESS: &'static str = "registry.terraform.io/example/town";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<()>) -> Result<Remote, Diagnostics> {
        Ok(Arc::clone(&self.0))
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(ShopResource).list(ShopList).ephemeral(KeyResource).action(Open);
    }
}

/// Who asks.
#[derive(Clone, Model)]
struct Meta {
    /// The module.
    #[tf(optional)]
    module: Attr<String>,
}

/// A shop.
#[derive(Clone, Debug, Model)]
#[tf(version = 2, identity_version = 1)]
struct Shop {
    /// Given by the town.
    #[tf(computed, stable, identity)]
    id: Attr<String>,
    /// Where it is.
    #[tf(optional, computed, force_new, identity(optional))]
    street: Attr<String>,
    /// What it is called.
    #[tf(required)]
    name: Attr<String>,
    /// How many rooms.
    #[tf(default = 1)]
    rooms: Attr<i64>,
    /// For the alarm.
    #[tf(optional)]
    code: Attr<Sensitive<String>>,
    /// No longer used.
    #[tf(optional, deprecated = "Use `name`.")]
    title: Attr<String>,
}

/// Version 0 had one text.
#[derive(Clone, Model)]
struct ShopV0 {
    #[tf(required)]
    label: Attr<String>,
}

#[derive(Clone, Model)]
struct ShopV1 {
    #[tf(required)]
    id: Attr<String>,
    #[tf(required)]
    title: Attr<String>,
}

/// Of another type.
#[derive(Clone, Model)]
struct Stall {
    #[tf(required)]
    number: i64,
}

fn shop(name: &str) -> Shop {
    Shop {
        id: Attr::Null,
        street: Attr::Null,
        name: name.into(),
        rooms: Attr::Null,
        code: Attr::Null,
        title: Attr::Null,
    }
}

struct ShopResource;

impl Resource for ShopResource {
    type Model = Shop;
    type Client = Remote;

    const TYPE: &'static str = "town_shop";

    fn history(history: &mut History<Shop>) {
        history
            .version(0, |old: ShopV0| {
                Ok(Shop { id: old.label.clone(), ..shop(old.label.as_str().unwrap_or_default()) })
            })
            .version(1, |old: ShopV1| Ok(Shop { id: old.id, ..shop(old.title.as_str().unwrap_or_default()) }))
            .identity(0, |old| Ok(serde_json::json!({ "id": old["number"], "street": null })))
            .moved(MoveFrom::resource("town_stall"), |stall: Stall, source| {
                if stall.number < 0 {
                    return Err(Diagnostic::error("No such stall", source.type_name.clone()).into());
                }
                Ok(Shop { id: format!("{}", stall.number).into(), ..shop("stall") })
            });
    }

    async fn plan(&self, _: Option<&Context<Remote>>, plan: &mut Plan<Shop>) {
        plan.private.set("planned", &true).unwrap();
    }

    async fn create(
        &self,
        cx: &Context<Remote>,
        apply: Apply<Shop>,
        state: &StateSlot<Shop>,
    ) -> Result<Diagnostics, Diagnostics> {
        assert_eq!(cx.private.get::<bool>("planned")?, Some(true), "the plan's entry has arrived");
        cx.private.set("tag", &7)?;
        let made = Shop {
            id: apply.planned.id.or_unknown(|| apply.planned.name.as_str().unwrap_or_default().to_owned()),
            street: apply.planned.street.or_unknown(|| "High Street".to_owned()),
            ..apply.planned
        };
        cx.client.shops.lock().unwrap().insert(made.id.as_str().unwrap().to_owned(), made.clone());
        state.save(made);
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Context<Remote>, state: Shop) -> Result<Option<Shop>, Diagnostics> {
        cx.client.note(format!("read with tag {:?}", cx.private.get::<i64>("tag")?));
        Ok(cx.client.shops.lock().unwrap().get(state.id.as_str().unwrap()).cloned())
    }

    async fn update(
        &self,
        cx: &Context<Remote>,
        apply: Apply<Shop>,
        state: &StateSlot<Shop>,
    ) -> Result<Diagnostics, Diagnostics> {
        cx.client
            .shops
            .lock()
            .unwrap()
            .insert(apply.planned.id.as_str().unwrap().to_owned(), apply.planned.clone());
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Context<Remote>,
        prior: Shop,
        _: &StateSlot<Shop>,
    ) -> Result<Diagnostics, Diagnostics> {
        cx.client.shops.lock().unwrap().remove(prior.id.as_str().unwrap());
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<Remote>, import: Import) -> Result<Shop, Diagnostics> {
        import.partial([("id", Value::from(import.id.as_str()))])
    }
}

/// Which shops.
#[derive(Clone, Model)]
struct ShopQuery {
    /// On this street.
    #[tf(optional)]
    street: Attr<String>,
}

struct ShopList;

impl ListResource for ShopList {
    type Model = ShopQuery;
    type Resource = ShopResource;
    type Client = Remote;

    async fn list(
        &self,
        cx: &Context<Remote>,
        config: ShopQuery,
        findings: &Findings<Shop>,
    ) -> Result<Diagnostics, Diagnostics> {
        let shops: Vec<_> = cx.client.shops.lock().unwrap().values().cloned().collect();
        for shop in shops {
            if config.street.is_null() || config.street.as_str() == shop.street.as_str() {
                cx.client.note(format!("found {}", shop.name.as_str().unwrap()));
                if !findings.found(shop.name.as_str().unwrap().to_owned(), shop).await {
                    break;
                }
            }
        }
        Ok(Diagnostics::new())
    }
}

/// A key for one run.
#[derive(Clone, Debug, Default, Model)]
struct Key {
    /// Of which shop.
    #[tf(required)]
    shop: String,
    /// The key itself.
    #[tf(computed, sensitive)]
    secret: Option<String>,
    /// What hangs on it.
    #[tf(optional)]
    tag: Option<Tag>,
    /// From the user alone.
    #[tf(optional)]
    note: Option<String>,
}

/// A tag.
#[derive(Clone, Debug, Model)]
struct Tag {
    /// What it says.
    #[tf(required)]
    label: String,
    /// When it was made.
    #[tf(computed)]
    made: Option<String>,
}

struct KeyResource;

impl EphemeralResource for KeyResource {
    type Model = Key;
    type Client = Remote;
    type Private = String;

    const TYPE: &'static str = "town_key";

    fn validate(&self, config: &Key, diagnostics: &mut Diagnostics) {
        if config.shop.is_empty() {
            diagnostics.error_at("shop", "No shop", "A key opens a shop.");
        }
    }

    async fn open(&self, cx: &Context<Remote>, config: Key) -> Result<Opened<Key, String>, Diagnostics> {
        cx.client.note(format!("open {}", config.shop));
        let shop = if config.shop == "changed" { "other".to_owned() } else { config.shop.clone() };
        let tag = config.tag.map(|tag| Tag {
            label: if shop == "relabelled" { "red".to_owned() } else { tag.label },
            made: Some("made".to_owned()),
        });
        let note = (shop == "noted").then(|| "not asked for".to_owned());
        let key = Key { shop, secret: Some("k".to_owned()), tag, note };
        Ok(Opened::new(key, config.shop).renew_at(SystemTime::UNIX_EPOCH + Duration::from_mins(1)))
    }

    async fn renew(&self, cx: &Context<Remote>, private: String) -> Result<Renewed<String>, Diagnostics> {
        cx.client.note(format!("renew {private}"));
        Ok(Renewed { private: Some(format!("{private}+")), renew_at: None })
    }

    async fn close(&self, cx: &Context<Remote>, private: String) -> Result<Diagnostics, Diagnostics> {
        cx.client.note(format!("close {private}"));
        Ok(Diagnostics::new())
    }
}

/// Opens a shop.
#[derive(Clone, Model)]
struct OpenConfig {
    /// Which.
    #[tf(required)]
    shop: String,
    /// How often to knock.
    #[tf(default = 2)]
    knocks: Option<u32>,
    /// The password.
    #[tf(optional, write_only)]
    password_wo: Attr<Sensitive<String>>,
}

struct Open;

impl Action for Open {
    type Model = OpenConfig;
    type Client = Remote;

    const TYPE: &'static str = "town_open";

    async fn plan(&self, cx: Option<&Context<Remote>>, config: &OpenConfig, diagnostics: &mut Diagnostics) {
        if cx.is_some_and(|cx| !cx.client.shops.lock().unwrap().contains_key(&config.shop)) {
            diagnostics.error_at("shop", "No such shop", "Nothing was opened.");
        }
    }

    async fn invoke(
        &self,
        _: &Context<Remote>,
        config: OpenConfig,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        for knock in 1..=config.knocks.unwrap_or_default() {
            progress.say(format!("knock {knock}"));
        }
        match config.password_wo.as_known().map(|password| password.expose().as_str()) {
            Some("panic") => panic!("the door fell"),
            Some("silent") => Err(Diagnostics::new()),
            Some("right") => Ok(Diagnostics::new()),
            _ => Err(Diagnostic::error("Closed", "The password is wrong.").at("password_wo").into()),
        }
    }
}

async fn core() -> (Core<Towns>, Remote) {
    let towns = Towns::default();
    let remote = Arc::clone(&towns.0);
    (Core::new(towns, &()).await.unwrap(), remote)
}

fn said(failed: &Failed) -> String {
    failed.to_string()
}

#[test]
fn the_schemas_are_sound() {
    assert_eq!(lint(Towns::default()), Vec::<String>::new());
}

#[tokio::test]
async fn an_identity_is_planned_stored_and_kept() {
    let (mut core, remote) = core().await;
    core.apply::<ShopResource>("a", &shop("one")).await.unwrap();
    let identity = Value::object([("id", "one".into()), ("street", "High Street".into())]);
    assert_eq!(core.identity::<ShopResource>("a"), identity);
    core.apply::<ShopResource>("a", &Shop { rooms: 2.into(), ..shop("one") }).await.unwrap();
    assert_eq!(core.identity::<ShopResource>("a"), identity);
    // Another street is another shop: the identity of the new one is not that of the old.
    core.apply::<ShopResource>("a", &Shop { street: "Low Street".into(), ..shop("one") }).await.unwrap();
    assert_eq!(core.identity::<ShopResource>("a").get("street"), Some(&"Low Street".into()));
    // Another `id` is another object: to read it for this one is the provider's mistake, and is said so.
    remote.shops.lock().unwrap().get_mut("one").unwrap().id = "two".into();
    let failed = core.refresh::<ShopResource>("a").await.unwrap_err();
    assert!(said(&failed).contains("`id` of `town_shop` has changed"), "{failed}");
}

/// The read was refused as a provider bug, and with it every plan that could have put the drift right, and the deletion.
#[tokio::test]
async fn drift_of_an_identity_part_is_stored_planned_and_can_be_destroyed() {
    let (mut core, remote) = core().await;
    let config = Shop { street: "High Street".into(), ..shop("one") };
    let drift = || remote.shops.lock().unwrap().get_mut("one").unwrap().street = "Elsewhere".into();
    core.apply::<ShopResource>("a", &config).await.unwrap();
    drift();
    let outcome = core.plan::<ShopResource>("a", &config).await.unwrap();
    assert_eq!((outcome.changed, outcome.replaced_by), (Changed::Replaced, vec!["street".into()]));
    assert_eq!(core.identity::<ShopResource>("a").get("street"), Some(&"Elsewhere".into()));
    core.apply::<ShopResource>("a", &config).await.unwrap();
    assert_eq!(core.identity::<ShopResource>("a").get("street"), Some(&"High Street".into()));
    drift();
    core.destroy::<ShopResource>("a").await.unwrap();
    assert!(remote.shops.lock().unwrap().is_empty());
}

/// It was said to be the provider's mistake.
#[tokio::test]
async fn a_wrong_optional_part_of_an_import_identity_is_the_users_mistake() {
    let (mut core, remote) = core().await;
    core.apply::<ShopResource>("a", &shop("one")).await.unwrap();
    let asked = |street: &str| Value::object([("id", "one".into()), ("street", street.into())]);
    let failed = core.import_identity::<ShopResource>("b", asked("Low Street")).await.unwrap_err();
    let text = said(&failed);
    assert!(text.contains("No `town_shop` with that identity (`street`)"), "{text}");
    assert!(text.contains("`street` \"Low Street\"") && text.contains("`street` \"High Street\""), "{text}");
    assert!(!text.contains("bug"), "{text}");
    assert!(core.value("b").is_null());
    core.import_identity::<ShopResource>("b", asked("High Street")).await.unwrap();
    // What changes after the import is drift again.
    remote.shops.lock().unwrap().get_mut("one").unwrap().street = "Elsewhere".into();
    core.refresh::<ShopResource>("b").await.unwrap();
    assert_eq!(core.identity::<ShopResource>("b"), asked("Elsewhere"));
}

#[tokio::test]
async fn an_import_by_identity_needs_its_required_parts() {
    let (mut core, _) = core().await;
    core.apply::<ShopResource>("a", &shop("one")).await.unwrap();
    core.import_identity::<ShopResource>("b", Value::object([("id", "one".into())])).await.unwrap();
    assert_eq!(core.identity::<ShopResource>("b"), core.identity::<ShopResource>("a"));
    assert_eq!(
        core.value("b").get("rooms"),
        Some(&Value::from(1)),
        "the read that follows fills in everything"
    );
    let failed = core.import_identity::<ShopResource>("c", Value::object([("street", "x".into())])).await;
    assert!(said(&failed.unwrap_err()).contains("without `id`"));
    core.import::<ShopResource>("d", "one").await.unwrap();
    assert_eq!(
        core.identity::<ShopResource>("d"),
        core.identity::<ShopResource>("a"),
        "known after the read"
    );
}

#[tokio::test]
async fn private_state_goes_around() {
    let (mut core, remote) = core().await;
    core.apply::<ShopResource>("a", &shop("one")).await.unwrap();
    remote.notes();
    core.refresh::<ShopResource>("a").await.unwrap();
    core.apply::<ShopResource>("a", &Shop { rooms: 2.into(), ..shop("one") }).await.unwrap();
    core.refresh::<ShopResource>("a").await.unwrap();
    assert!(remote.notes().iter().all(|note| note == "read with tag Some(7)"));
}

#[tokio::test]
async fn objects_of_another_type_are_taken_over() {
    let (mut core, remote) = core().await;
    remote.shops.lock().unwrap().insert(
        "5".to_owned(),
        Shop { id: "5".into(), street: "s".into(), rooms: 1.into(), ..shop("stall") },
    );
    let source = |type_name: &str, number: i64| MoveSource {
        provider: "registry.opentofu.org/example/town".to_owned(),
        type_name: type_name.to_owned(),
        version: 0,
        state: serde_json::json!({ "number": number, "surplus": true }),
        identity: None,
    };
    core.moved::<ShopResource>("a", &source("town_stall", 5)).await.unwrap();
    assert_eq!(core.identity::<ShopResource>("a").get("id"), Some(&"5".into()));
    let failed = core.moved::<ShopResource>("b", &source("town_tent", 5)).await.unwrap_err();
    assert!(said(&failed).contains("Objects of these types can: town_stall"), "{failed}");
    let failed = core.moved::<ShopResource>("b", &source("town_stall", -1)).await.unwrap_err();
    assert!(said(&failed).contains("No such stall"), "{failed}");
}

#[tokio::test]
async fn a_generated_configuration_holds_what_a_user_writes() {
    let (mut core, _) = core().await;
    let config = Shop { code: Attr::Known("1234".to_owned().into()), title: "old".into(), ..shop("one") };
    core.apply::<ShopResource>("a", &config).await.unwrap();
    let generated = core.generate::<ShopResource>("a").unwrap();
    assert_eq!(generated.get("name"), Some(&"one".into()));
    assert_eq!(generated.get("street"), Some(&"High Street".into()), "optional and computed stays");
    for gone in ["id", "rooms", "code", "title"] {
        assert_eq!(generated.get(gone), Some(&Value::Null), "{gone}");
    }
}

#[tokio::test]
async fn an_ephemeral_resource_opens_renews_and_closes_with_what_opening_kept() {
    let (core, remote) = core().await;
    let config = Key { shop: "one".to_owned(), ..Key::default() };
    let mut open = core.open::<KeyResource>(&config).await.unwrap();
    assert_eq!((open.result.secret.as_deref(), open.renew_at), (Some("k"), Some(60)));
    core.renew::<KeyResource>(&mut open).await.unwrap();
    core.renew::<KeyResource>(&mut open).await.unwrap();
    assert_eq!(open.renew_at, None);
    core.close::<KeyResource>(open).await.unwrap();
    assert_eq!(remote.notes(), ["open one", "renew one", "renew one+", "close one"]);
    let failed = core.open::<KeyResource>(&Key { shop: String::new(), ..config }).await.unwrap_err();
    assert!(said(&failed).contains("A key opens a shop"), "{failed}");
}

#[tokio::test]
async fn what_cannot_be_handed_over_is_closed_again() {
    let (core, remote) = core().await;
    let failed =
        core.open::<KeyResource>(&Key { shop: "changed".to_owned(), ..Key::default() }).await.unwrap_err();
    assert!(said(&failed).contains("`town_key` opened what cannot be used: `shop`"), "{failed}");
    assert_eq!(remote.notes(), ["open changed", "close changed"]);
    // Core looks into objects too, and at what is neither configured nor computed.
    for (shop, expected) in [("relabelled", "`tag.label`"), ("noted", "`note`")] {
        let tag = Tag { label: "blue".to_owned(), made: None };
        let config = Key { shop: shop.to_owned(), tag: Some(tag), ..Key::default() };
        let failed = core.open::<KeyResource>(&config).await.unwrap_err();
        assert!(said(&failed).contains(&format!("opened what cannot be used: {expected}")), "{failed}");
        assert_eq!(remote.notes(), [format!("open {shop}"), format!("close {shop}")]);
    }
}

#[tokio::test]
async fn a_search_ends_at_its_limit() {
    let (mut core, remote) = core().await;
    for name in ["a", "b", "c", "d"] {
        core.apply::<ShopResource>(name, &shop(name)).await.unwrap();
    }
    remote.notes();
    let all = ShopQuery { street: Attr::Null };
    let found = core.list::<ShopList>(&all, 2, false).await.unwrap();
    assert_eq!(found.iter().map(|found| found.display_name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(found.iter().all(|found| found.object.is_none()));
    assert_eq!(remote.notes(), ["found a", "found b"], "it does not go on looking");
    let found = core.list::<ShopList>(&all, 100, true).await.unwrap();
    assert_eq!(found.len(), 4);
    assert_eq!(found[0].object.as_ref(), Some(&core.value("a")));
    assert_eq!(found[0].identity, core.identity::<ShopResource>("a"));
    let none = core.list::<ShopList>(&ShopQuery { street: "none".into() }, 100, true).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn an_action_tells_how_far_it_is_and_ends_once() {
    let (mut core, _) = core().await;
    core.apply::<ShopResource>("a", &shop("one")).await.unwrap();
    let config = |password: &str| OpenConfig {
        shop: "one".to_owned(),
        knocks: None,
        password_wo: Attr::Known(password.to_owned().into()),
    };
    assert_eq!(core.invoke::<Open>(&config("right")).await.unwrap(), ["knock 1", "knock 2"]);
    for (password, expected) in [
        ("wrong", "The password is wrong."),
        ("silent", "failed without an error message"),
        ("panic", "the door fell"),
    ] {
        let failed = core.invoke::<Open>(&config(password)).await.unwrap_err();
        assert!(said(&failed).contains(expected), "{failed}");
    }
    let failed = core.invoke::<Open>(&OpenConfig { shop: "two".to_owned(), ..config("right") }).await;
    assert!(said(&failed.unwrap_err()).contains("No such shop"), "refused while planning");
}
