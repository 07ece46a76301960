//! Settings of the journal as resources: the same life for all of them, one file a type.
//!
//! A setting's id is its name. So a creation whose state was lost finds what it made, and takes it when it is the same.

pub(crate) mod deployment_policy;
pub(crate) mod freeze_window;
pub(crate) mod notification_channel;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::str::FromStr;

use spectra_delivery::Error;
use spectra_delivery::settings::{Setting, Settings};
use spectra_journal::Holder;
use spectra_rollout::Reach;
use spectra_types::{EnvironmentId, ProjectId, error_chain};
use tfplugin::{Apply, Attr, Diagnostic, Diagnostics, Import, Model, Plan, Resource, StateSlot, Text, Value};

use crate::errors::sentence;
use crate::provider::{Clients, Cx, PROGRAM};

/// The schema of a setting.
pub(crate) trait SettingModel: Model + Clone + Default + Send + Sync + 'static {
    /// What it is in the journal.
    type Value: Setting + 'static;

    /// The type of the resource.
    const TYPE: &'static str;
    /// What people call one, in the middle of a sentence.
    const WORDS: &'static str;

    /// Its name.
    fn name(&self) -> &Attr<String>;

    /// The same with its id, which is its name.
    fn with_id(self) -> Self;

    /// The setting; `Err` where something is missing or not known yet.
    fn value(&self) -> Result<Self::Value, Diagnostics>;

    /// As it is in the journal.
    fn of(value: Self::Value) -> Self;

    /// Before it is read: only the name is known.
    fn named(name: String) -> Self;
}

/// The resource.
pub(crate) struct SettingResource<M>(PhantomData<fn() -> M>);

impl<M> SettingResource<M> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

/// What the attributes of every setting say about its reach.
pub(crate) fn reach(
    project: &Attr<Text<ProjectId>>,
    environment: &Attr<Text<EnvironmentId>>,
) -> Result<Reach, Diagnostics> {
    match (project, environment) {
        (Attr::Null, Attr::Null) => Ok(Reach::Everything),
        (_, Attr::Known(environment)) => Ok(Reach::Environment { environment: environment.get().clone() }),
        (Attr::Known(project), Attr::Null) => Ok(Reach::Project { project: project.get().clone() }),
        _ => Err(Diagnostic::error("Not known yet", "What it is meant for is not known yet.").into()),
    }
}

/// The attributes of a reach.
pub(crate) fn reached(reach: &Reach) -> (Attr<Text<ProjectId>>, Attr<Text<EnvironmentId>>) {
    match reach {
        Reach::Everything => (Attr::Null, Attr::Null),
        Reach::Project { project } => (Text::new(project.clone()).into(), Attr::Null),
        Reach::Environment { environment } => (Attr::Null, Text::new(environment.clone()).into()),
    }
}

/// Whether two texts mean the same: `08:00` and `08:00:00`, `90s` and `1m30s`.
fn same<T: FromStr + PartialEq>(one: &Value, other: &Value) -> bool {
    let parsed = |value: &Value| match value {
        Value::String(text) => text.parse::<T>().ok(),
        _ => None,
    };
    matches!((parsed(one), parsed(other)), (Some(one), Some(other)) if one == other)
}

/// What may be left out: `Err` where it is not known yet.
pub(crate) fn given<T: Clone>(attribute: &Attr<T>, name: &str) -> Result<Option<T>, Diagnostics> {
    if attribute.is_null() { Ok(None) } else { Ok(Some(attribute.clone().require(name)?)) }
}

fn failed<M: SettingModel>(done: &str, name: &str, error: &Error, left: &str) -> Diagnostics {
    let hint = error.hint().map(|hint| format!("\n\n{}.", sentence(hint))).unwrap_or_default();
    let detail = format!("{} [{}].\n\n{left}{hint}", sentence(&error_chain(error)), error.code());
    let summary = format!("The {} `{name}` could not be {done}", M::WORDS);
    Diagnostic::error(summary, detail).into()
}

fn holder() -> Holder {
    Holder::of_this_process(PROGRAM)
}

/// One setting of the journal; `None` when there is none.
pub(crate) async fn find<M: SettingModel>(cx: &Cx, name: &str) -> Result<Option<M::Value>, Diagnostics> {
    let settings = Settings::of(cx.client.journal().await?);
    settings.get(name).await.map_err(|error| failed::<M>("read", name, &error, "Nothing was changed."))
}

/// All settings of the journal of one type, by name.
pub(crate) async fn all<M: SettingModel>(cx: &Cx) -> Result<Vec<M>, Diagnostics> {
    let settings = Settings::of(cx.client.journal().await?);
    let found = settings.list::<M::Value>().await;
    let found = found.map_err(|error| failed::<M>("read", "*", &error, "Nothing was changed."))?;
    Ok(found.into_values().map(M::of).collect())
}

async fn put<M: SettingModel>(
    cx: &Cx,
    planned: M,
    done: &str,
    state: &StateSlot<M>,
) -> Result<Diagnostics, Diagnostics> {
    let name = planned.name().clone().require("name")?;
    let settings = Settings::of(cx.client.journal().await?);
    settings
        .put(&name, &planned.value()?, &holder())
        .await
        .map_err(|error| failed::<M>(done, &name, &error, "The journal has what it had before."))?;
    state.save(planned.with_id());
    Ok(Diagnostics::new())
}

impl<M: SettingModel> Resource for SettingResource<M> {
    type Model = M;
    type Client = Clients;

    const TYPE: &'static str = M::TYPE;
    const IMPORT_ID: &'static str = "its `name`";

    fn validate(&self, config: &M, diagnostics: &mut Diagnostics) {
        // What is not known yet is checked when it is.
        let Ok(value) = config.value() else { return };
        for problem in value.problems() {
            // The journal's paths lie deeper than the attributes: the first part is one, or stands for the whole.
            let first = problem.path.split(['.', '[']).next().unwrap_or_default();
            let known = M::block().attribute(first).is_some();
            let detail = format!("`{}`: {}.", problem.path, problem.message);
            let error = Diagnostic::error(format!("The {} makes no sense", M::WORDS), detail);
            diagnostics.push(if known { error.at(first) } else { error });
        }
    }

    async fn plan(&self, cx: Option<&Cx>, plan: &mut Plan<M>) {
        if plan.changes_anything()
            && let Some(warning) = cx.and_then(|cx| cx.client.journal_of_this_machine_alone())
        {
            plan.diagnostics.push(warning);
        }
        let Some(planned) = plan.planned.clone() else { return };
        if let Attr::Known(name) = planned.name() {
            plan.set("id", name.clone());
        }
    }

    async fn create(
        &self,
        cx: &Cx,
        apply: Apply<M>,
        state: &StateSlot<M>,
    ) -> Result<Diagnostics, Diagnostics> {
        let planned = apply.planned;
        let name = planned.name().clone().require("name")?;
        match find::<M>(cx, &name).await? {
            None => put(cx, planned, "created", state).await,
            // An earlier apply made it, and could not say so any more.
            Some(found) if found == planned.value()? => {
                state.save(planned.with_id());
                Ok(Diagnostics::new())
            }
            Some(_) => Err(Diagnostic::error(
                format!("There is a {} `{name}` already", M::WORDS),
                format!(
                    "The journal has another one of this name, and nothing was changed. Choose another name, or adopt it: \
                     `terraform import {}.NAME '{name}'`.",
                    M::TYPE
                ),
            )
            .at("name")
            .into()),
        }
    }

    async fn read(&self, cx: &Cx, state: M) -> Result<Option<M>, Diagnostics> {
        let name = state.name().clone().require("name")?;
        let Some(found) = find::<M>(cx, &name).await? else { return Ok(None) };
        // The same in other words is no drift: `08:00` is `08:00:00`.
        let same = state.value().is_ok_and(|known| known == found);
        Ok(Some(if same { state.with_id() } else { M::of(found).with_id() }))
    }

    async fn update(
        &self,
        cx: &Cx,
        apply: Apply<M>,
        state: &StateSlot<M>,
    ) -> Result<Diagnostics, Diagnostics> {
        put(cx, apply.planned, "changed", state).await
    }

    async fn delete(&self, cx: &Cx, prior: M, _: &StateSlot<M>) -> Result<Diagnostics, Diagnostics> {
        let name = prior.name().clone().require("name")?;
        let settings = Settings::of(cx.client.journal().await?);
        settings.remove::<M::Value>(&name, &holder()).await.map_err(|error| {
            failed::<M>("removed", &name, &error, "It is still in state, and still holds.")
        })?;
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<M, Diagnostics> {
        Ok(M::named(import.id))
    }
}
