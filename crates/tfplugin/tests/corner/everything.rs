//! A resource with one of every kind of attribute and block.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tfplugin::{
    Apply, Attr, AttributePath, Context, Diagnostic, Diagnostics, History, Import, Model, MoveFrom, Number,
    Plan, Resource, Sensitive, Set, StateSlot, Text, TfEnum, Value, codec,
};

use crate::provider::Old;

/// A mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, TfEnum)]
pub(crate) enum Mode {
    FastLane,
    #[tf(name = "slow")]
    Slow,
}

/// A percentage such as `12%`.
#[derive(Clone, Debug)]
pub(crate) struct Percent(pub(crate) u32);

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.strip_suffix('%')
            .and_then(|digits| digits.parse().ok())
            .filter(|percent| *percent <= 100)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a percentage such as `12%`"))
    }
}

fn no_hush(value: &Value) -> Result<(), String> {
    match value.as_str() {
        Some(text) if text.contains("hush") => Err(format!("{text:?} says hush")),
        _ => Ok(()),
    }
}

/// Attributes inside.
#[derive(Clone, Debug, PartialEq, PartialOrd, Ord, Eq, Model)]
pub(crate) struct Nested {
    /// Required inside.
    #[tf(required)]
    key: String,
    /// Optional inside.
    #[tf(optional)]
    note: Attr<String>,
    /// Defaulted inside.
    #[tf(default = 7)]
    weight: Attr<i64>,
    /// Computed inside.
    #[tf(computed)]
    made: Attr<String>,
    /// Computed inside, for ever.
    #[tf(computed, stable)]
    fixed: Attr<String>,
    /// Deeper.
    #[tf(optional)]
    deep: Attr<Vec<Deep>>,
}

/// Attributes deep inside.
#[derive(Clone, Debug, PartialEq, PartialOrd, Ord, Eq, Model)]
pub(crate) struct Deep {
    /// Required.
    #[tf(required)]
    value: Attr<bool>,
    /// Computed.
    #[tf(computed)]
    twice: Attr<String>,
}

/// No unknown may stand in the element of a set, so nothing here is computed without a default.
#[derive(Clone, Debug, PartialEq, PartialOrd, Ord, Eq, Model)]
pub(crate) struct Plain {
    /// Required.
    #[tf(required)]
    name: Attr<String>,
    /// Optional.
    #[tf(optional)]
    count: Attr<Number>,
    /// Defaulted.
    #[tf(default = true)]
    on: Attr<bool>,
}

/// Write-only inside.
#[derive(Clone, Debug, Model)]
pub(crate) struct Login {
    /// Visible.
    #[tf(required)]
    user: String,
    /// Invisible.
    #[tf(optional, write_only)]
    password_wo: Attr<Sensitive<String>>,
}

/// A block with a block inside.
#[derive(Clone, Debug, PartialEq, Model)]
pub(crate) struct Outer {
    /// Required.
    #[tf(required)]
    name: Attr<String>,
    /// Computed.
    #[tf(computed)]
    made: Attr<String>,
    /// Defaulted.
    #[tf(default = "none")]
    label: Attr<String>,
    /// Blocks inside.
    #[tf(block)]
    inner: Vec<Plain>,
}

/// One of everything.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct Everything {
    /// The id.
    #[tf(computed, stable, identity)]
    id: Attr<String>,
    /// Changing it replaces the object.
    #[tf(required, force_new)]
    key: Attr<String>,
    /// Changes with every update.
    #[tf(computed)]
    revision: Attr<i64>,
    /// Decided by the provider unless set, and fixed then.
    #[tf(optional, computed, force_new)]
    place: Attr<String>,

    #[tf(required)]
    r_string: Attr<String>,
    #[tf(required)]
    r_bool: Attr<bool>,
    #[tf(required)]
    r_int: Attr<i64>,
    #[tf(required)]
    r_float: Attr<f64>,
    #[tf(required)]
    r_number: Attr<Number>,
    #[tf(required)]
    r_dynamic: Value,
    #[tf(required)]
    r_list: Attr<Vec<String>>,
    #[tf(required)]
    r_set: Attr<BTreeSet<String>>,
    #[tf(required)]
    r_map: Attr<BTreeMap<String, i64>>,

    #[tf(optional)]
    o_string: Attr<String>,
    #[tf(optional)]
    o_bool: Attr<bool>,
    #[tf(optional)]
    o_small: Attr<u32>,
    #[tf(optional)]
    o_numbers: Attr<Vec<Number>>,
    #[tf(optional)]
    o_number_set: Attr<Set<Number>>,
    #[tf(optional)]
    o_dynamic: Value,
    #[tf(optional)]
    o_list: Attr<Vec<String>>,
    #[tf(optional)]
    o_set: Attr<BTreeSet<String>>,
    #[tf(optional)]
    o_map: Attr<BTreeMap<String, String>>,
    #[tf(optional)]
    o_lists: Attr<Vec<Vec<String>>>,
    #[tf(optional)]
    o_mode: Attr<Mode>,
    #[tf(optional)]
    o_percent: Attr<Text<Percent>>,
    #[tf(optional, validate(length(..=3), one_of("a", "b", "c")))]
    o_letters: Attr<Vec<String>>,
    #[tf(optional, deprecated = "Use `o_string`.")]
    o_old: Attr<String>,
    #[tf(optional, validate(length(..=99), with = no_hush))]
    secret: Attr<Sensitive<String>>,

    #[tf(optional, computed)]
    oc_string: Attr<String>,
    #[tf(optional, computed)]
    oc_list: Attr<Vec<String>>,
    #[tf(optional, computed)]
    oc_nested: Attr<Plain>,

    #[tf(computed)]
    c_string: Attr<String>,
    #[tf(computed)]
    c_number: Attr<Number>,
    #[tf(computed)]
    c_bool: Attr<bool>,
    #[tf(computed)]
    c_dynamic: Value,
    #[tf(computed)]
    c_list: Attr<Vec<String>>,
    #[tf(computed)]
    c_set: Attr<BTreeSet<String>>,
    #[tf(computed)]
    c_map: Attr<BTreeMap<String, String>>,
    #[tf(computed)]
    c_nested: Attr<Vec<Made>>,
    #[tf(computed, sensitive)]
    c_token: Attr<String>,

    #[tf(default = "café")]
    d_string: Attr<String>,
    #[tf(default = 5, validate(range(1..=9)))]
    d_int: Attr<i64>,
    #[tf(default = 0.5)]
    d_float: Attr<f64>,
    #[tf(default = ["x", "y"])]
    d_set: Attr<BTreeSet<String>>,
    #[tf(default = Mode::Slow)]
    d_mode: Attr<Mode>,

    /// At most one.
    #[tf(optional)]
    single: Attr<Nested>,
    #[tf(optional)]
    list: Attr<Vec<Nested>>,
    #[tf(optional)]
    set: Attr<Set<Plain>>,
    #[tf(optional)]
    map: Attr<BTreeMap<String, Nested>>,

    #[tf(optional)]
    login: Attr<Login>,
    #[tf(optional, write_only)]
    secret_wo: Attr<Sensitive<String>>,
    #[tf(optional)]
    secret_wo_version: Attr<i64>,
    /// What arrived of the write-only values, as lengths.
    #[tf(computed)]
    secret_lengths: Attr<Vec<i64>>,

    #[tf(block)]
    one: Attr<Outer>,
    #[tf(block(max = 4))]
    many: Vec<Outer>,
    #[tf(block)]
    bag: Set<Plain>,
    #[tf(block)]
    named: BTreeMap<String, Plain>,
}

/// Made by the provider.
#[derive(Clone, Debug, PartialEq, Model)]
pub(crate) struct Made {
    #[tf(computed)]
    name: String,
    #[tf(computed)]
    size: Number,
}

pub(crate) struct EverythingResource;

impl EverythingResource {
    /// Decides everything that the plan left open. What depends on the revision changes with each update.
    fn complete(mut model: Everything, config: &Everything, revision: i64) -> Everything {
        let made = |text: &str| Attr::from(format!("{text}/{revision}"));
        let key = model.key.as_str().unwrap_or_default().to_owned();
        model.id = model.id.or_unknown(|| format!("id-{key}"));
        model.revision = revision.into();
        model.place = model.place.or_unknown(|| "somewhere".to_owned());
        model.oc_string = model.oc_string.or_unknown(|| format!("string/{revision}"));
        model.oc_list =
            model.oc_list.or_unknown(|| vec!["made".to_owned(); usize::try_from(revision).unwrap()]);
        model.oc_nested = model.oc_nested.or_unknown(|| Plain {
            name: "made".into(),
            count: Number::parse("12345678901234567890123456789.5").unwrap().into(),
            on: true.into(),
        });
        if let Attr::Known(nested) = &mut model.oc_nested {
            nested.on = nested.on.clone().or_unknown(|| true);
        }
        model.c_string = made("string");
        model.c_number = Number::parse("1e100").unwrap().into();
        model.c_bool = (revision % 2 == 0).into();
        model.c_dynamic = Value::map([("revision", Value::from(revision)), ("text", Value::from("t"))]);
        model.c_list = vec![key.clone(), revision.to_string()].into();
        model.c_set = BTreeSet::from([key.clone(), revision.to_string()]).into();
        model.c_map = BTreeMap::from([(key.clone(), revision.to_string())]).into();
        model.c_nested = vec![Made { name: key.clone(), size: Number::from(revision) }].into();
        model.c_token = made("token");
        let length = |secret: &Attr<Sensitive<String>>| {
            secret.as_known().map_or(0, |secret| i64::try_from(secret.expose().len()).unwrap())
        };
        let inner = config.login.as_known().map_or(0, |login| length(&login.password_wo));
        model.secret_lengths = vec![length(&config.secret_wo), inner].into();
        let nest = |nested: &mut Nested| {
            nested.made = Attr::from(format!("{}/{revision}", nested.key));
            nested.fixed = nested.fixed.clone().or_unknown(|| format!("fixed at {revision}"));
            for deep in nested.deep.known_mut().into_iter().flatten() {
                deep.twice = Attr::from(format!("{:?}", deep.value.as_known()));
            }
        };
        model.single.known_mut().into_iter().for_each(nest);
        model.list.known_mut().into_iter().flatten().for_each(nest);
        model.map.known_mut().into_iter().flat_map(BTreeMap::values_mut).for_each(nest);
        let outer =
            |outer: &mut Outer| outer.made = Attr::from(format!("{:?}/{revision}", outer.name.as_str()));
        model.one.known_mut().into_iter().for_each(outer);
        model.many.iter_mut().for_each(outer);
        model
    }
}

pub(crate) fn file(folder: &Path, id: &str) -> PathBuf {
    folder.join(format!("{id}.json"))
}

/// Writes the object to its file, exactly.
pub(crate) fn store<M: Model>(folder: &Path, id: &str, model: &M) -> Result<(), Diagnostics> {
    let json = codec::json::encode(&tfplugin::testing::to_value(model)?, &M::block().implied_type())
        .map_err(|error| Diagnostic::error("Cannot encode", error.to_string()))?;
    std::fs::write(file(folder, id), json)
        .map_err(|error| Diagnostic::error("Cannot write", error.to_string()))?;
    Ok(())
}

pub(crate) fn load<M: Model>(folder: &Path, id: &str) -> Result<Option<M>, Diagnostics> {
    let Ok(json) = std::fs::read(file(folder, id)) else { return Ok(None) };
    let value = codec::json::decode(&json, &M::block().implied_type())
        .map_err(|error| Diagnostic::error("Cannot decode", error.to_string()))?;
    Ok(Some(M::from_value(&value, &AttributePath::root())?))
}

impl Resource for EverythingResource {
    type Model = Everything;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_everything";

    fn history(history: &mut History<Everything>) {
        history.moved(MoveFrom::resource("corner_old"), |old: Old, _| {
            // The read that follows fills in the rest.
            Ok(Everything {
                id: old.name.clone().map(|key| format!("id-{key}")),
                key: old.name,
                ..Everything::default()
            })
        });
    }

    fn validate(&self, config: &Everything, diagnostics: &mut Diagnostics) {
        if config.o_string.as_str() == Some("refused") {
            diagnostics.error_at("o_string", "Refused", "The whole configuration was looked at.");
        }
    }

    async fn plan(&self, cx: Option<&Context<PathBuf>>, plan: &mut Plan<Everything>) {
        if cx.is_none() {
            plan.warn(
                AttributePath::root(),
                "Planned without a client",
                "The provider's configuration is not known.",
            );
        }
    }

    async fn create(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Everything>,
        state: &StateSlot<Everything>,
    ) -> Result<Diagnostics, Diagnostics> {
        let model = Self::complete(apply.planned, &apply.config, 1);
        store(&cx.client, model.id.as_str().unwrap(), &model)?;
        state.save(model);
        Ok(Diagnostics::new())
    }

    async fn read(
        &self,
        cx: &Context<PathBuf>,
        state: Everything,
    ) -> Result<Option<Everything>, Diagnostics> {
        load(&cx.client, state.id.as_str().unwrap())
    }

    async fn update(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Everything>,
        state: &StateSlot<Everything>,
    ) -> Result<Diagnostics, Diagnostics> {
        let before = apply.prior.as_ref().and_then(|prior| prior.revision.as_known().copied()).unwrap();
        let model = Self::complete(apply.planned, &apply.config, before + 1);
        store(&cx.client, model.id.as_str().unwrap(), &model)?;
        state.save(model);
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Context<PathBuf>,
        prior: Everything,
        _: &StateSlot<Everything>,
    ) -> Result<Diagnostics, Diagnostics> {
        std::fs::remove_file(file(&cx.client, prior.id.as_str().unwrap()))
            .map_err(|error| Diagnostic::error("Cannot delete", error.to_string()))?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, cx: &Context<PathBuf>, import: Import) -> Result<Everything, Diagnostics> {
        load(&cx.client, &import.id)?.ok_or_else(|| {
            Diagnostic::error("Cannot import", format!("There is no object `{}`.", import.id)).into()
        })
    }
}
