//! Rules between fields, in resources, data sources and the provider, at every depth.

use tfplugin::schema::ProviderDocs;
use tfplugin::testing::{Core, lint};
use tfplugin::{
    Apply, Attr, Configure, Context, DataSource, Diagnostics, Import, Model, Provider, Registry, Resource,
    Set, StateSlot,
};

use crate::{Author, core, refusals};

#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of("token", "token_file"))]
pub(crate) struct Settings {
    #[tf(optional)]
    token: Attr<String>,
    #[tf(optional)]
    token_file: Attr<String>,
}

#[derive(Clone, Debug, Default, Model)]
#[tf(at_least_one_of("image", "source", "rule"))]
pub(crate) struct Thing {
    #[tf(optional, conflicts_with("source"))]
    image: Attr<String>,
    #[tf(optional)]
    source: Attr<Source>,
    #[tf(optional)]
    sources: Attr<Vec<Source>>,
    #[tf(optional)]
    bag: Attr<Set<Source>>,
    #[tf(optional, required_with("image"), name = "user")]
    login: Attr<String>,
    #[tf(block, conflicts_with("user"))]
    rule: Vec<Rule>,
}

#[derive(Clone, Debug, Default, Model)]
#[tf(exactly_one_of("branch", "tag"))]
struct Source {
    #[tf(optional)]
    branch: Attr<String>,
    #[tf(optional)]
    tag: Attr<String>,
}

#[derive(Clone, Debug, Default, Model)]
struct Rule {
    #[tf(optional, required_with("to"))]
    from: Attr<i64>,
    #[tf(optional)]
    to: Attr<i64>,
    #[tf(block)]
    inner: Option<Inner>,
}

#[derive(Clone, Debug, Default, Model)]
#[tf(at_least_one_of("a", "b"))]
struct Inner {
    #[tf(optional)]
    a: Attr<i64>,
    #[tf(default = 3)]
    b: Attr<i64>,
}

pub(crate) struct ThingResource;

impl Resource for ThingResource {
    type Model = Thing;
    type Client = ();

    const TYPE: &'static str = "author_thing";

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: Thing) -> Result<Option<Thing>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<()>,
        apply: Apply<Thing>,
        state: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<()>,
        _: Thing,
        _: &StateSlot<Thing>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<Thing, Diagnostics> {
        import.partial([])
    }
}

pub(crate) struct Look;

impl DataSource for Look {
    type Model = Settings;
    type Client = ();

    const TYPE: &'static str = "author_look";

    async fn read(&self, _: &Context<()>, config: Settings) -> Result<Settings, Diagnostics> {
        Ok(config)
    }
}

pub(crate) fn settings() -> Settings {
    Settings { token: "t".into(), token_file: Attr::Null }
}

async fn refused(thing: Thing) -> Vec<String> {
    match core().await.validate::<ThingResource>(&thing) {
        Ok(_) => Vec::new(),
        Err(failed) => refusals(failed),
    }
}

fn source(branch: &str, tag: &str) -> Source {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty()).into();
    Source { branch: text(branch), tag: text(tag) }
}

#[tokio::test]
async fn rules_hold_between_attributes_and_blocks() {
    let image = Thing { image: "a".into(), ..Thing::default() };
    assert_eq!(refused(image.clone()).await, Vec::<String>::new());
    assert_eq!(
        refused(Thing::default()).await,
        [": At least one of `image`, `source` and `rule` must be set, and none is."]
    );
    assert_eq!(
        refused(Thing { source: source("b", "").into(), ..image.clone() }).await,
        ["image: `image` cannot be set together with `source`. Leave one of them out."]
    );
    let login = Thing { login: "me".into(), rule: vec![Rule::default()], ..Thing::default() };
    assert_eq!(
        refused(login).await,
        [
            "user: Where `user` is set, `image` must be set too. Set all of them, or none.",
            "rule: `rule` cannot be set together with `user`. Leave one of them out."
        ]
    );
}

#[tokio::test]
async fn an_unknown_side_waits_for_the_plan_that_knows_it() {
    let image = Thing { image: "a".into(), source: Attr::Unknown, ..Thing::default() };
    assert_eq!(refused(image).await, Vec::<String>::new());
    let early = Thing { image: Attr::Unknown, source: source("b", "").into(), ..Thing::default() };
    assert_eq!(refused(early.clone()).await, Vec::<String>::new());
    let late = Thing { image: "a".into(), ..early.clone() };
    let mut core = core().await;
    let failed = core.apply_planned::<ThingResource>("a", &early, &late).await.unwrap_err();
    assert!(failed.to_string().contains("cannot be set together"), "{failed}");
}

#[tokio::test]
async fn rules_hold_at_every_depth() {
    let thing = Thing {
        image: "a".into(),
        sources: vec![source("b", ""), source("b", "t"), source("", "")].into(),
        bag: Set::from(vec![source("", "")]).into(),
        rule: vec![Rule { from: 1.into(), to: Attr::Null, inner: Some(Inner::default()) }],
        ..Thing::default()
    };
    let pair = |path: &str| format!("`{path}.branch` and `{path}.tag`");
    assert_eq!(
        refused(thing).await,
        [
            format!(
                "sources[1].tag: Exactly one of {0} must be set. Set here: {0}.",
                pair("sources[1]")
            ),
            format!("sources[2]: Exactly one of {} must be set, and none is.", pair("sources[2]")),
            "bag: Exactly one of `branch` and `tag` must be set, and none is.".to_owned(),
            "rule[0].from: Where `rule[0].from` is set, `rule[0].to` must be set too. Set all of them, or none."
                .to_owned(),
            // A default is not what the user has set.
            "rule[0].inner: At least one of `rule[0].inner.a` and `rule[0].inner.b` must be set, and none is."
                .to_owned(),
        ]
    );
}

#[tokio::test]
async fn rules_hold_in_data_sources_and_in_the_provider() {
    let both = Settings { token_file: "f".into(), ..settings() };
    let expected = "token_file: Exactly one of `token` and `token_file` must be set. Set here: `token` and `token_file`.";
    let failed = core().await.data::<Look>(&both).await.unwrap_err();
    assert_eq!(refusals(failed), [expected]);
    let failed = Core::new(Author, &both).await.unwrap_err();
    assert_eq!(refusals(failed), [expected]);
}

#[test]
fn documentation_shows_rules() {
    let docs = ProviderDocs::describe(Author);
    let thing = &docs.resources["author_thing"];
    assert_eq!(
        thing.block.rules,
        [
            "`image` conflicts with `source`.",
            "`user` needs `image`.",
            "`rule` conflicts with `user`.",
            "At least one of `image`, `source` and `rule` must be set."
        ]
    );
    let json = serde_json::to_value(&docs).unwrap();
    let source = &json["resources"]["author_thing"]["attributes"][1];
    assert_eq!(source["rules"][0], "Exactly one of `branch` and `tag` must be set.");
    let page = thing.block.to_markdown();
    assert!(page.starts_with("## Schema\n\n`image` conflicts with `source`. `user` needs"), "{page}");
    assert!(page.contains("Nested schema of `source`\n\nExactly one of `branch` and `tag` must be set.\n"));
}

/// Rules that make no sense.
struct Odd;

#[derive(Clone, Debug, Model)]
#[tf(exactly_one_of("c", "d"))]
struct OddSettings {
    #[tf(required)]
    a: Attr<String>,
    #[tf(optional, conflicts_with("a"))]
    b: Attr<String>,
    #[tf(computed)]
    c: Attr<String>,
    #[tf(optional, required_with("a"))]
    d: Attr<String>,
}

impl Provider for Odd {
    type Config = OddSettings;
    type Client = ();
    type Meta = ();

    const NAME: &'static str = "odd";
    const ADDRESS: &'static str = "registry.terraform.io/example/odd";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<OddSettings>) -> Result<(), Diagnostics> {
        Ok(())
    }

    fn register(&self, _: &mut Registry<Self>) {}
}

#[test]
fn rules_that_leave_an_attribute_no_use_are_found() {
    assert_eq!(
        lint(Odd),
        [
            "provider block of `odd`: a rule names `a`, which is required: the others could never be set (`b` \
             conflicts with `a`.)",
            "provider block of `odd`: a rule names `a`, which is required anyway: the rule can never be broken (`d` \
             needs `a`.)",
            "provider block of `odd`: a rule names `c`, which the user cannot set (Exactly one of `c` and `d` must be \
             set.)",
        ]
    );
}
