//! A small object with all that a resource can have beside attributes: an identity, private state, a past. And what goes with
//! such objects: a search for them, a key that is valid for one run, and a bell to ring.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tfplugin::{
    Action, Apply, Attr, Context, Diagnostic, Diagnostics, EphemeralResource, Findings, History, Import,
    ListResource, Model, MoveFrom, Opened, Progress, Resource, Sensitive, StateSlot, Value,
};

use crate::everything::{file, load, store};
use crate::provider::{Meta, Old};

/// The key of the private entry.
const REVISION: &str = "revision";

/// A small object.
#[derive(Clone, Debug, Model)]
#[tf(version = 1, identity_version = 1)]
pub(crate) struct Item {
    /// Made of the name.
    #[tf(computed, stable, identity)]
    id: Attr<String>,
    /// Where it stands; the provider finds a place if none is given.
    #[tf(optional, computed, force_new, identity(optional))]
    shelf: Attr<String>,
    /// What it is called.
    #[tf(required, force_new)]
    name: Attr<String>,
    /// How big it is.
    #[tf(default = 1)]
    size: Attr<i64>,
    /// What stands on it; nobody can read it back.
    #[tf(optional, write_only)]
    label_wo: Attr<Sensitive<String>>,
    /// Raise it to change the label.
    #[tf(optional)]
    label_wo_version: Attr<i64>,
    /// What has arrived of the label.
    #[tf(computed)]
    label_length: Attr<i64>,
    /// The module that has asked for the last change, by its own account.
    #[tf(computed)]
    asked_by: Attr<String>,
    /// How often it was changed.
    #[tf(computed)]
    revision: Attr<i64>,
}

/// Version 0 had one text.
#[derive(Clone, Model)]
struct ItemZero {
    #[tf(required)]
    label: Attr<String>,
}

fn named(name: &Attr<String>) -> Item {
    Item {
        id: name.clone().map(|name| format!("item-{name}")),
        shelf: Attr::Null,
        name: name.clone(),
        size: Attr::Null,
        label_wo: Attr::Null,
        label_wo_version: Attr::Null,
        label_length: Attr::Null,
        asked_by: Attr::Null,
        revision: Attr::Null,
    }
}

/// Writes down what was done, beside the folder of the objects.
fn note(folder: &Path, text: &str) -> Result<(), Diagnostic> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.with_extension("log"));
    log.and_then(|mut log| writeln!(log, "{text}"))
        .map_err(|error| Diagnostic::error("Cannot write", error.to_string()))
}

pub(crate) struct ItemResource;

impl ItemResource {
    fn finish(
        cx: &Context<PathBuf>,
        apply: Apply<Item>,
        revision: i64,
        state: &StateSlot<Item>,
    ) -> Result<(), Diagnostics> {
        let label = apply.config.label_wo.as_known();
        let made = Item {
            id: named(&apply.planned.name).id,
            shelf: apply.planned.shelf.clone().or_unknown(|| "floor".to_owned()),
            label_length: label.map_or(0, |label| i64::try_from(label.expose().len()).unwrap()).into(),
            asked_by: cx.meta::<Meta>()?.map_or(Attr::Null, |meta| meta.module),
            revision: revision.into(),
            ..apply.planned
        };
        store(&cx.client, made.id.as_str().unwrap(), &made)?;
        cx.private.set(REVISION, &revision)?;
        state.save(made);
        Ok(())
    }
}

impl Resource for ItemResource {
    type Model = Item;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_item";

    fn history(history: &mut History<Item>) {
        history
            .version(0, |old: ItemZero| Ok(named(&old.label)))
            .identity(
                0,
                |old| Ok(serde_json::json!({ "id": format!("item-{}", old["text"].as_str().unwrap_or_default()), "shelf": null })),
            )
            .moved(MoveFrom::resource("corner_old").at_version(2), |old: Old, _| Ok(named(&old.name)));
    }

    async fn create(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Item>,
        state: &StateSlot<Item>,
    ) -> Result<Diagnostics, Diagnostics> {
        Self::finish(cx, apply, 1, state)?;
        Ok(Diagnostics::new())
    }

    async fn read(&self, cx: &Context<PathBuf>, state: Item) -> Result<Option<Item>, Diagnostics> {
        let found: Option<Item> = load(&cx.client, state.id.as_str().unwrap())?;
        if let Some(found) = &found {
            cx.private.set(REVISION, &found.revision.as_known())?;
        }
        Ok(found)
    }

    /// Only what was seen is changed: the private entry says what was.
    async fn update(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Item>,
        state: &StateSlot<Item>,
    ) -> Result<Diagnostics, Diagnostics> {
        let there: Option<Item> = load(&cx.client, apply.planned.id.as_str().unwrap())?;
        let revision = there.and_then(|there| there.revision.known()).unwrap_or_default();
        let seen = cx.private.get::<i64>(REVISION)?;
        if seen != Some(revision) {
            let detail = format!("Revision {revision} is there, {seen:?} was seen. Nothing was changed.");
            return Err(Diagnostic::error("Changed elsewhere", detail).into());
        }
        Self::finish(cx, apply, revision + 1, state)?;
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        cx: &Context<PathBuf>,
        prior: Item,
        _: &StateSlot<Item>,
    ) -> Result<Diagnostics, Diagnostics> {
        fs::remove_file(file(&cx.client, prior.id.as_str().unwrap()))
            .map_err(|error| Diagnostic::error("Cannot delete", error.to_string()))?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<PathBuf>, import: Import) -> Result<Item, Diagnostics> {
        if !import.id.starts_with("item-") {
            let detail = format!("{:?} is not an id such as `item-NAME`. Nothing was imported.", import.id);
            return Err(Diagnostic::error("Not an id", detail).into());
        }
        import.partial([("id", Value::from(import.id.as_str()))])
    }
}

/// Which items.
#[derive(Clone, Model)]
pub(crate) struct ItemQuery {
    /// Those on this shelf.
    #[tf(optional, validate(length(1..)))]
    shelf: Attr<String>,
}

pub(crate) struct ItemList;

impl ListResource for ItemList {
    type Model = ItemQuery;
    type Resource = ItemResource;
    type Client = PathBuf;

    async fn list(
        &self,
        cx: &Context<PathBuf>,
        config: ItemQuery,
        findings: &Findings<Item>,
    ) -> Result<Diagnostics, Diagnostics> {
        let folder = fs::read_dir(cx.client.as_path())
            .map_err(|error| Diagnostic::error("Cannot list", error.to_string()))?;
        let mut ids: Vec<_> = folder
            .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned()))
            .filter(|id| id.starts_with("item-"))
            .collect();
        ids.sort();
        for id in ids {
            let Some(item) = load::<Item>(&cx.client, &id)? else { continue };
            let wanted = config.shelf.is_null() || config.shelf.as_str() == item.shelf.as_str();
            if wanted && !findings.found(format!("Item {}", item.name.as_str().unwrap()), item).await {
                break;
            }
        }
        Ok(Diagnostics::new())
    }
}

/// A key that is valid for one run.
#[derive(Clone, Debug, Model)]
pub(crate) struct Key {
    /// For which item.
    #[tf(required)]
    item: String,
    /// The key.
    #[tf(computed, sensitive)]
    secret: Option<String>,
}

pub(crate) struct KeyResource;

impl EphemeralResource for KeyResource {
    type Model = Key;
    type Client = PathBuf;
    /// The id of the key.
    type Private = String;

    const TYPE: &'static str = "corner_key";

    async fn open(&self, cx: &Context<PathBuf>, config: Key) -> Result<Opened<Key, String>, Diagnostics> {
        if config.item.is_empty() {
            return Err(Diagnostic::error("No item", "A key opens an item. Nothing was made.")
                .at("item")
                .into());
        }
        let id = format!("key-{}", uuid::Uuid::new_v4());
        fs::write(file(&cx.client, &id), "")
            .map_err(|error| Diagnostic::error("Cannot write", error.to_string()))?;
        note(&cx.client, &format!("opened a key for {}", config.item))?;
        let secret = Some(format!("canary-key-of-{}", config.item));
        Ok(Opened::new(Key { secret, ..config }, id))
    }

    async fn close(&self, cx: &Context<PathBuf>, id: String) -> Result<Diagnostics, Diagnostics> {
        fs::remove_file(file(&cx.client, &id))
            .map_err(|error| Diagnostic::error("Cannot close", error.to_string()))?;
        note(&cx.client, "closed a key")?;
        Ok(Diagnostics::new())
    }
}

/// How to ring.
#[derive(Clone, Model)]
pub(crate) struct RingConfig {
    /// For which item.
    #[tf(required)]
    item: String,
    /// How often.
    #[tf(default = 2, validate(range(1..=9)))]
    times: Option<u32>,
    /// What to whisper.
    #[tf(optional, write_only)]
    word_wo: Attr<Sensitive<String>>,
}

pub(crate) struct Ring;

impl Action for Ring {
    type Model = RingConfig;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_ring";

    async fn invoke(
        &self,
        cx: &Context<PathBuf>,
        config: RingConfig,
        progress: &Progress,
    ) -> Result<Diagnostics, Diagnostics> {
        if !file(&cx.client, &config.item).exists() {
            let detail = format!("`{}` does not exist. Nothing was rung.", config.item);
            return Err(Diagnostic::error("No such item", detail).at("item").into());
        }
        let times = config.times.unwrap_or_default();
        for time in 1..=times {
            progress.say(format!("ring {time} of {times}"));
        }
        let word = config.word_wo.as_known().map_or(0, |word| word.expose().len());
        note(&cx.client, &format!("rang {times} times for {}, with a word of {word}", config.item))?;
        Ok(Diagnostics::new())
    }
}
