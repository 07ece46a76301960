//! How single attributes are planned: `same_as`, `force_new_if`, `modify`, `never_null`, at every depth that has an
//! address.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tfplugin::schema::BlockDocs;
use tfplugin::testing::{Changed, Core, lint};
use tfplugin::{
    Apply, Attr, AttributePath, Configure, Context, Diagnostics, Import, Model, Operation, Plan, Provider,
    Registry, Resource, Set, StateSlot, Unknown, Value,
};

use crate::{Author, core, refusals};

#[derive(Clone, Debug, Default, PartialEq, Model)]
pub(crate) struct Record {
    #[tf(computed, stable, never_null)]
    id: Attr<String>,
    /// Another one after each change.
    #[tf(computed)]
    serial: Attr<i64>,
    #[tf(required, same_as = case_aside)]
    name: Attr<String>,
    #[tf(optional, force_new_if = shrinks)]
    size: Attr<i64>,
    /// Never planned lower than it was.
    #[tf(optional, computed, modify = at_least_as_before)]
    level: Attr<i64>,
    #[tf(optional)]
    part: Attr<Part>,
    #[tf(optional)]
    parts: Attr<Vec<Part>>,
    #[tf(optional)]
    keyed: Attr<BTreeMap<String, Part>>,
    /// The provider's own parts, unless the user has some.
    #[tf(optional, computed)]
    spare: Attr<Vec<Part>>,
    /// Moves with every change, but within its region.
    #[tf(computed, force_new_if = leaves_the_region)]
    zone: Attr<String>,
    #[tf(block)]
    node: Vec<Part>,
}

#[derive(Clone, Debug, Default, PartialEq, Model)]
struct Part {
    #[tf(optional, same_as = case_aside)]
    label: Attr<String>,
    #[tf(optional, force_new_if = shrinks)]
    size: Attr<i64>,
    #[tf(optional, modify = at_least_as_before)]
    level: Attr<i64>,
    #[tf(computed, never_null)]
    made: Attr<String>,
}

fn case_aside(one: &Value, other: &Value) -> bool {
    matches!((one.as_str(), other.as_str()), (Some(one), Some(other)) if one.eq_ignore_ascii_case(other))
}

fn shrinks(prior: &Value, planned: &Value) -> bool {
    match (prior.as_number(), planned.as_number()) {
        (Some(prior), Some(planned)) => planned < prior,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn at_least_as_before(prior: &Value, _: &Value, planned: &Value) -> Option<Value> {
    match (prior.as_number(), planned.as_number()) {
        (Some(before), Some(after)) => Some(if after < before { prior.clone() } else { planned.clone() }),
        _ => None,
    }
}

fn leaves_the_region(_: &Value, planned: &Value) -> bool {
    !planned.as_str().is_some_and(|zone| zone.starts_with("eu-"))
}

pub(crate) struct RecordResource;

type R = RecordResource;

/// What is behind it writes texts in capitals, and says so when it is asked.
fn loud(mut record: Record) -> Record {
    let shout = |text: Attr<String>| text.map(|text| text.to_uppercase());
    record.name = shout(record.name);
    let parts = record.parts.known_mut().into_iter().flatten().chain(record.part.known_mut());
    let keyed = record.keyed.known_mut().into_iter().flat_map(BTreeMap::values_mut);
    for part in parts.chain(keyed).chain(&mut record.node) {
        part.label = shout(std::mem::take(&mut part.label));
        part.made = std::mem::take(&mut part.made).or_unknown(|| "made".to_owned());
    }
    record
}

impl Resource for RecordResource {
    type Model = Record;
    type Client = ();

    const TYPE: &'static str = "author_record";

    async fn plan(&self, _: Option<&Context<()>>, plan: &mut Plan<Record>) {
        if plan.operation == Operation::Update && plan.changes_anything() {
            assert!(plan.replaces(), "the zone is not known yet");
            plan.set("zone", "eu-next");
        }
    }

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<Record>,
        state: &StateSlot<Record>,
    ) -> Result<Diagnostics, Diagnostics> {
        let id = if apply.planned.name.as_str() == Some("nobody") { Attr::Null } else { "id".into() };
        let level = apply.planned.level.clone().or_unknown(|| 0);
        let zone = "eu-first".into();
        let spare =
            apply.planned.spare.clone().or_unknown(|| vec![Part { level: 5.into(), ..Part::default() }]);
        state.save(loud(Record { id, serial: 1.into(), level, zone, spare, ..apply.planned }));
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: Record) -> Result<Option<Record>, Diagnostics> {
        Ok(Some(loud(state)))
    }

    async fn update(
        &self,
        _: &Context<()>,
        apply: Apply<Record>,
        state: &StateSlot<Record>,
    ) -> Result<Diagnostics, Diagnostics> {
        let before = apply.prior.unwrap();
        let serial = apply.planned.serial.or_unknown(|| before.serial.known().unwrap() + 1);
        let level = apply.planned.level.or_unknown(|| 0);
        let spare = apply.planned.spare.or_unknown(|| before.spare.known().unwrap_or_default());
        state.save(loud(Record { serial, level, spare, ..apply.planned }));
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<()>,
        _: Record,
        _: &StateSlot<Record>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<Record, Diagnostics> {
        import.partial([("id", import.id.as_str().into())])
    }
}

fn record(name: &str) -> Record {
    Record { name: name.into(), ..Record::default() }
}

fn part(label: &str) -> Part {
    Part { label: label.into(), ..Part::default() }
}

fn sized(size: i64) -> Part {
    Part { size: size.into(), ..Part::default() }
}

/// The same part everywhere it can stand.
fn everywhere(part: &Part) -> Record {
    Record {
        part: part.clone().into(),
        parts: vec![part.clone()].into(),
        keyed: BTreeMap::from([("k".to_owned(), part.clone())]).into(),
        node: vec![part.clone()],
        ..record("a")
    }
}

fn places() -> [AttributePath; 4] {
    let root = AttributePath::root();
    [
        root.attribute("part"),
        root.attribute("parts").index(0),
        root.attribute("keyed").key("k"),
        root.attribute("node").index(0),
    ]
}

#[test]
fn documentation_says_how_attributes_are_planned() {
    let docs = BlockDocs::of(&Record::block());
    assert!(docs.attributes[0].never_null && docs.attributes[3].force_new_if);
    assert!(docs.to_markdown().contains("`size` (number, some changes replace the object)"));
}

#[tokio::test]
async fn another_form_of_the_same_text_is_no_change() {
    let mut core = core().await;
    core.apply::<R>("a", &Record { name: "web".into(), ..everywhere(&part("x")) }).await.unwrap();
    let text = |core: &Core<Author>, path: &AttributePath| {
        core.value("a").get_path(path).and_then(Value::as_str).unwrap().to_owned()
    };
    assert_eq!(text(&core, &"name".into()), "web", "what was planned is what is stored");
    core.refresh::<R>("a").await.unwrap();
    assert_eq!(text(&core, &"name".into()), "web", "what is read is what was stored");
    let again = Record { name: "WEB".into(), ..everywhere(&part("X")) };
    assert_eq!(core.apply::<R>("a", &again).await.unwrap().changed, Changed::Nothing);
    for place in places() {
        assert_eq!(text(&core, &place.attribute("label")), "x", "{place}");
    }
    assert_eq!(core.value("a").get("serial"), Some(&Value::from(1)));
}

#[tokio::test]
async fn a_real_change_next_to_another_form_is_planned_alone() {
    let mut core = core().await;
    core.apply::<R>("a", &everywhere(&part("x"))).await.unwrap();
    let next = Record { name: "A".into(), ..everywhere(&part("y")) };
    let outcome = core.plan::<R>("a", &next).await.unwrap();
    assert_eq!(outcome.changed, Changed::Updated);
    assert_eq!(outcome.value.get("name"), Some(&Value::from("a")));
    for place in places() {
        let label = place.attribute("label");
        assert_eq!(outcome.value.get_path(&label), Some(&Value::from("y")), "{place}");
    }
    core.apply::<R>("a", &next).await.unwrap();
}

#[tokio::test]
async fn some_changes_demand_another_object() {
    let mut core = core().await;
    core.apply::<R>("a", &Record { size: 5.into(), ..record("a") }).await.unwrap();
    let more = Record { size: 6.into(), ..record("a") };
    assert_eq!(core.plan::<R>("a", &more).await.unwrap().changed, Changed::Updated);
    let less = core.plan::<R>("a", &Record { size: 4.into(), ..record("a") }).await.unwrap();
    assert_eq!((less.changed, less.replaced_by), (Changed::Replaced, vec!["size".into()]));
    let later = core.plan::<R>("a", &Record { size: Attr::Unknown, ..record("a") }).await.unwrap();
    assert_eq!(later.changed, Changed::Replaced, "what the function says of a value that is not known yet");
}

#[tokio::test]
async fn some_changes_inside_demand_another_object() {
    let mut core = core().await;
    core.apply::<R>("a", &everywhere(&sized(5))).await.unwrap();
    assert_eq!(core.plan::<R>("a", &everywhere(&sized(6))).await.unwrap().changed, Changed::Updated);
    let mut replaced_by = core.plan::<R>("a", &everywhere(&sized(4))).await.unwrap().replaced_by;
    replaced_by.sort();
    let mut expected = places().map(|place| place.attribute("size"));
    expected.sort();
    assert_eq!(replaced_by, expected);
    let without = Record { part: Attr::Null, ..everywhere(&sized(5)) };
    let gone = core.plan::<R>("a", &without).await.unwrap();
    assert_eq!(gone.replaced_by, ["part".into()], "the object goes with what demands another one");
    core.apply::<R>("a", &without).await.unwrap();
    let back = core.plan::<R>("a", &everywhere(&sized(5))).await.unwrap();
    assert_eq!(back.changed, Changed::Updated, "what appears has not shrunk");
}

#[tokio::test]
async fn a_modifier_keeps_the_prior_value_and_the_plan_stays_empty() {
    let mut core = core().await;
    let with = |level: i64| {
        let part = Part { level: level.into(), ..Part::default() };
        Record { level: level.into(), ..everywhere(&part) }
    };
    core.apply::<R>("a", &with(5)).await.unwrap();
    let outcome = core.apply::<R>("a", &with(3)).await.unwrap();
    assert_eq!(
        outcome.changed,
        Changed::Nothing,
        "nothing is known after apply when a modifier takes all back"
    );
    for place in places() {
        assert_eq!(outcome.value.get_path(&place.attribute("level")), Some(&Value::from(5)), "{place}");
    }
    assert_eq!(core.apply::<R>("a", &with(7)).await.unwrap().changed, Changed::Updated);
    assert_eq!(core.value("a").get("level"), Some(&Value::from(7)));
    assert_eq!(core.value("a").get("serial"), Some(&Value::from(2)));
}

#[tokio::test]
async fn what_the_author_decides_is_asked_again() {
    let mut core = core().await;
    core.apply::<R>("a", &record("a")).await.unwrap();
    let outcome = core.plan::<R>("a", &record("b")).await.unwrap();
    assert_eq!(outcome.value.get("zone"), Some(&Value::from("eu-next")));
    assert_eq!(outcome.changed, Changed::Updated, "the zone is known by now, and stays in the region");
}

#[tokio::test]
async fn a_modifier_inside_what_the_provider_decides_is_free() {
    let mut core = core().await;
    core.apply::<R>("a", &record("a")).await.unwrap();
    let level = AttributePath::from("spare").index(0).attribute("level");
    assert_eq!(core.value("a").get_path(&level), Some(&Value::from(5)));
    assert_eq!(core.plan::<R>("a", &record("a")).await.unwrap().changed, Changed::Nothing);
}

#[tokio::test]
async fn what_is_never_null_is_promised() {
    let mut core = core().await;
    let promised = Value::from(Unknown::not_null());
    let plan = core.plan::<R>("a", &everywhere(&part("x"))).await.unwrap().value;
    assert_eq!(plan.get("id"), Some(&promised));
    assert_eq!(plan.get("serial"), Some(&Value::unknown()), "nothing is promised of the others");
    for place in places() {
        assert_eq!(plan.get_path(&place.attribute("made")), Some(&promised), "{place}");
    }
    core.apply::<R>("a", &everywhere(&part("x"))).await.unwrap();

    let failed = core.apply::<R>("b", &record("nobody")).await.unwrap_err();
    let found = refusals(failed);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("id: `author_record` did not do what it has planned: "), "{found:?}");
    assert!(found[0].contains("null"), "{found:?}");
}

/// Modifiers that Terraform would refuse, and places where none can work.
struct Odd;

#[derive(Clone, Debug, Default, Model)]
struct OddSettings {
    #[tf(optional, same_as = case_aside)]
    name: Attr<String>,
}

#[derive(Clone, Debug, Default, Model)]
struct OddRecord {
    #[tf(optional, modify = capitals)]
    name: Attr<String>,
    #[tf(optional, modify = number)]
    text: Attr<String>,
    #[tf(optional, modify = always)]
    plain: Attr<String>,
}

#[derive(Clone, Debug, Default, Model)]
struct OddSet {
    #[tf(optional)]
    parts: Attr<Set<Part>>,
}

fn capitals(_: &Value, config: &Value, _: &Value) -> Option<Value> {
    config.as_str().map(|text| Value::from(text.to_uppercase()))
}

fn number(_: &Value, config: &Value, _: &Value) -> Option<Value> {
    config.as_str().map(|_| Value::list([]))
}

fn always(_: &Value, config: &Value, _: &Value) -> Option<Value> {
    config.is_null().then(|| Value::from("x"))
}

/// A resource that is as it is planned.
pub(crate) struct Kept<M>(pub(crate) std::marker::PhantomData<M>);

pub(crate) trait Named: Model {
    const TYPE: &'static str;
}

impl Named for OddRecord {
    const TYPE: &'static str = "odd_record";
}

impl Named for OddSet {
    const TYPE: &'static str = "odd_set";
}

impl<M: Named> Resource for Kept<M> {
    type Model = M;
    type Client = ();

    const TYPE: &'static str = M::TYPE;

    async fn create(
        &self,
        _: &Context<()>,
        apply: Apply<M>,
        state: &StateSlot<M>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<()>, state: M) -> Result<Option<M>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<()>,
        apply: Apply<M>,
        state: &StateSlot<M>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(apply.planned);
        Ok(Diagnostics::new())
    }

    async fn delete(&self, _: &Context<()>, _: M, _: &StateSlot<M>) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<()>, import: Import) -> Result<M, Diagnostics> {
        import.partial([])
    }
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

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(Kept::<OddSet>(std::marker::PhantomData));
    }
}

#[test]
fn modifiers_where_none_can_work_are_found() {
    let found = lint(Odd);
    let about = |path: &str| found.iter().filter(|problem| problem.contains(path)).count();
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(found[0].starts_with("provider block of `odd`: `name`: only attributes of managed resources"));
    for inside in ["`parts.label`", "`parts.size`", "`parts.level`"] {
        assert_eq!(about(inside), 1, "{inside}");
    }
}

/// Provider of a resource whose modifiers go too far: no linter can see what a function will say.
struct Careless;

impl Provider for Careless {
    type Config = ();
    type Client = ();
    type Meta = ();

    const NAME: &'static str = "odd";
    const ADDRESS: &'static str = "registry.terraform.io/example/odd";
    const VERSION: &'static str = "0.0.1";

    async fn configure(&self, _: Configure<()>) -> Result<(), Diagnostics> {
        Ok(())
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(Kept::<OddRecord>(std::marker::PhantomData));
    }
}

#[tokio::test]
async fn a_modifier_cannot_replace_what_is_configured() {
    let mut core = Core::new(Careless, &()).await.unwrap();
    let mut plan =
        async |record: OddRecord| refusals(core.plan::<Kept<OddRecord>>("a", &record).await.unwrap_err());
    let base = OddRecord { plain: "p".into(), ..OddRecord::default() };
    let found = plan(OddRecord { name: "web".into(), ..base.clone() }).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(
            "name: `modify` cannot replace `name`: what the user has set is planned as it is set, or as it was before."
        ),
        "{found:?}"
    );
    let found = plan(OddRecord { text: "web".into(), ..base }).await;
    assert!(found[0].starts_with("text: `modify` of `text` made a value of another type"), "{found:?}");
    let found = plan(OddRecord::default()).await;
    assert!(
        found[0].starts_with("plain: `modify` cannot replace `plain`: it is not configured"),
        "{found:?}"
    );
}

/// Texts that often differ in form alone, and none.
fn label() -> impl Strategy<Value = Option<String>> {
    prop_oneof![1 => Just(None), 6 => "[aAbB]{1,2}".prop_map(Some)]
}

fn labelled(labels: &[Option<String>; 5]) -> Record {
    let [name, rest @ ..] = labels.clone();
    let [part, parts, keyed, node] = rest.map(|label| Part { label: label.into(), ..Part::default() });
    Record {
        name: name.unwrap_or_default().into(),
        part: part.into(),
        parts: vec![parts].into(),
        keyed: BTreeMap::from([("k".to_owned(), keyed)]).into(),
        node: vec![node],
        ..Record::default()
    }
}

fn five() -> impl Strategy<Value = [Option<String>; 5]> {
    [label(), label(), label(), label(), label()].prop_map(|labels| labels)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// `same_as` plans the prior text where the meaning is the same, the configured one everywhere else, and so
    /// makes a plan empty just when nothing differs in meaning.
    #[test]
    fn a_plan_is_empty_just_when_nothing_differs_in_meaning(prior in five(), config in five()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(async {
            let mut core = core().await;
            core.apply::<R>("a", &labelled(&prior)).await.unwrap();
            core.plan::<R>("a", &labelled(&config)).await.unwrap()
        });
        let mut paths = vec![AttributePath::from("name")];
        paths.extend(places().map(|place| place.attribute("label")));
        let mut all_same = true;
        for (position, (path, (prior, config))) in paths.iter().zip(prior.iter().zip(&config)).enumerate() {
            // The name is never null.
            let text = |text: &Option<String>| if position == 0 { Some(text.clone().unwrap_or_default()) } else { text.clone() };
            let (prior, config) = (text(prior), text(config));
            let same = prior.as_ref().map(|text| text.to_lowercase()) == config.as_ref().map(|text| text.to_lowercase());
            all_same &= same;
            let planned = outcome.value.get_path(path).and_then(Value::as_str).map(str::to_owned);
            prop_assert_eq!(planned, if same { prior } else { config });
        }
        prop_assert_eq!(outcome.changed == Changed::Nothing, all_same);
    }
}
