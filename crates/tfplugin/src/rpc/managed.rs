//! Managed resources by value instead of by type, so that the handlers can hold any.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::ObjectInfo;
use super::deadline::{Deadline, Ended, Operation, preceded};
use super::defaults::mark_unknown;
use crate::convert::NOT_KNOWN;
use crate::convert::private::Field;
use crate::resource::PlanValues;
use crate::schema::Kind;
use crate::server::{PanicReport, STOP_GRACE, StopToken, Unfinished, run_call};
use crate::{
    Apply, AttributePath, Context, Deferral, Diagnostic, Diagnostics, FromValue as _, History, Import, Model,
    MoveSource, Plan, PrivateState, Resource, StateSlot, Value, check,
};

/// A managed resource of any type.
pub(crate) trait AnyResource<C>: Send + Sync {
    fn info(&self) -> &ObjectInfo;

    /// The author's check of a whole configuration.
    fn validate(&self, config: &Value) -> Diagnostics;

    /// The author's refinement of a plan.
    fn plan<'a>(
        &'a self,
        cx: Option<&'a Context<C>>,
        values: PlanValues,
        private: PrivateState,
    ) -> BoxFuture<'a, Planned>;

    fn apply<'a>(&'a self, cx: Context<C>, change: Change, stop: &'a StopToken) -> BoxFuture<'a, Applied>;

    fn read<'a>(
        &'a self,
        cx: &'a Context<C>,
        state: &'a Value,
    ) -> BoxFuture<'a, Result<Option<Value>, Diagnostics>>;

    fn import<'a>(&'a self, cx: &'a Context<C>, id: String) -> BoxFuture<'a, Result<Value, Diagnostics>>;

    /// From the start of a state that has the attributes of the identity alone.
    fn import_identity<'a>(
        &'a self,
        cx: &'a Context<C>,
        identity: Value,
    ) -> BoxFuture<'a, Result<Value, Diagnostics>>;

    /// State of an older version.
    fn upgrade(&self, version: i64, state: &serde_json::Value) -> Result<Value, Diagnostics>;

    /// Identity of an older version.
    fn upgrade_identity(
        &self,
        version: i64,
        identity: serde_json::Value,
    ) -> Result<serde_json::Value, Diagnostics>;

    /// An object of another type; `None` when there is no way.
    fn take_over(&self, source: &MoveSource, own: &str) -> Option<Result<Value, Diagnostics>>;

    /// The types whose objects can be taken over.
    fn origins(&self) -> Vec<&str>;

    /// The author's refinement of a generated configuration.
    fn generate(&self, config: Value) -> Result<Value, Diagnostics>;

    /// What is missing in the resource's history.
    fn problems(&self) -> Vec<String>;

    /// What the id of an import is made of, in Markdown.
    fn import_id(&self) -> &'static str;
}

/// A plan after the author has seen it.
pub(crate) struct Planned {
    pub(crate) values: PlanValues,
    pub(crate) diagnostics: Diagnostics,
    pub(crate) deferral: Option<Deferral>,
}

/// What to apply, by value.
pub(crate) enum Change {
    Create { planned: Value, config: Value },
    Update { prior: Value, planned: Value, config: Value },
    Delete { prior: Value },
}

impl Change {
    /// What is done, and the object whose timeouts are in force.
    const fn limits(&self) -> (Operation, &Value) {
        match self {
            Self::Create { planned, .. } => (Operation::Create, planned),
            Self::Update { planned, .. } => (Operation::Update, planned),
            Self::Delete { prior } => (Operation::Delete, prior),
        }
    }
}

/// How applying went.
pub(crate) struct Applied {
    /// What was saved last; null for nothing.
    pub(crate) state: Value,
    /// Whether the handler saved or cleared at all.
    pub(crate) touched: bool,
    /// Warnings of a success, errors of a failure.
    pub(crate) outcome: Result<Diagnostics, Diagnostics>,
}

/// A field, if any, that a configuration with a value that is not known yet cannot be read into. What only occurs or does not
/// (blocks) is not meant, but what stands in it is.
fn plain(fields: &[Field]) -> Option<String> {
    fields.iter().find_map(|field| {
        if !field.block && !field.accepts_unknown {
            return Some(field.name.to_owned());
        }
        plain(&(field.nested)()).map(|inner| format!("{}.{inner}", field.name))
    })
}

/// A managed resource of one type.
pub(crate) struct Managed<R: Resource> {
    resource: Arc<R>,
    info: ObjectInfo,
    history: History<R::Model>,
}

impl<R: Resource> Managed<R> {
    pub(crate) fn new(resource: R) -> Self {
        let mut history = History::default();
        R::history(&mut history);
        Self {
            resource: Arc::new(resource),
            info: ObjectInfo::of::<R::Model>(R::TYPE, Kind::Resource),
            history,
        }
    }

    fn model(value: &Value) -> Result<R::Model, Diagnostic> {
        R::Model::from_value(value, &AttributePath::root())
    }

    /// What the author has planned and the framework alone would not have: where `field` cannot say "not known yet", the first
    /// of two plans may be the framework's alone, and the second must not contradict it.
    fn unasked(&self, field: &str, drafted: &PlanValues, planned: &PlanValues) -> Diagnostics {
        let mut alone = drafted.planned.clone();
        if alone.is_null() {
            return Diagnostics::new();
        }
        mark_unknown(&self.info.schema.block, &mut alone, &drafted.config);
        let contradictions = check::final_plan(&self.info.schema, &alone, &planned.planned);
        let contradictions =
            contradictions.into_iter().map(|violation| (violation.to_string(), violation.path));
        let changes = |path: &&AttributePath| planned.prior.get_path(path) != planned.planned.get_path(path);
        let replaced = planned.replace.iter().filter(changes).cloned();
        let replaced = replaced.filter(|_| !planned.prior.is_null() && drafted.forced.is_empty());
        let replaced = replaced.map(|path| (format!("`{path}` demands another object"), path));
        contradictions
            .chain(replaced)
            .map(|(what, path)| {
                Diagnostic::provider_bug(format!(
                    "The `plan` of `{}` says more than the framework does without it: {what}. While the value of `{field}` is \
                     not known yet, `plan` cannot run, because the field cannot hold such a value; Terraform would then refuse \
                     the second plan. The field must be an `Attr`, or the schema must say it (`force_new`, `force_new_if`, \
                     `modify`).",
                    self.info.name
                ))
                .at(path)
            })
            .collect()
    }

    fn value(&self, model: &R::Model) -> Result<Value, Diagnostic> {
        self.info.value(model)
    }

    /// What is in a slot, whatever happened to the handler.
    fn held(&self, slot: &StateSlot<R::Model>) -> (Value, Diagnostics) {
        match slot.get().map(|model| self.value(&model)) {
            None => (Value::Null, Diagnostics::new()),
            Some(Ok(value)) => (value, Diagnostics::new()),
            Some(Err(diagnostic)) => (Value::Null, diagnostic.into()),
        }
    }
}

impl<R: Resource> AnyResource<R::Client> for Managed<R> {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match Self::model(config) {
            Ok(config) => self.resource.validate(&config, &mut diagnostics),
            // What is not known yet is checked when it is: core asks again at plan and at apply.
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {}
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics
    }

    fn plan<'a>(
        &'a self,
        cx: Option<&'a Context<R::Client>>,
        values: PlanValues,
        private: PrivateState,
    ) -> BoxFuture<'a, Planned> {
        async move {
            match Plan::<R::Model>::new(values.clone(), private) {
                Ok(mut plan) => {
                    self.resource.plan(cx, &mut plan).await;
                    let mut diagnostics = plan.diagnostics;
                    if let Some(field) = plain(&self.info.fields) {
                        diagnostics.extend(self.unasked(&field, &values, &plan.values));
                    }
                    Planned { values: plan.values, diagnostics, deferral: plan.deferral }
                }
                // A configured value that is not known yet in a field that cannot say so: the framework's own plan
                // stands, and the author's refinement comes with the second plan, when all is known.
                Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {
                    tracing::debug!(attribute = ?diagnostic.attribute, "the resource's own planning waits for a known value");
                    Planned { values, diagnostics: Diagnostics::new(), deferral: None }
                }
                Err(diagnostic) => Planned { values, diagnostics: diagnostic.into(), deferral: None },
            }
        }
        .boxed()
    }

    fn apply<'a>(
        &'a self,
        mut cx: Context<R::Client>,
        change: Change,
        stop: &'a StopToken,
    ) -> BoxFuture<'a, Applied> {
        async move {
            let (operation, limits) = change.limits();
            let deadline = Deadline::of(&self.info, operation, limits, &mut cx);
            let prepared = match prepare::<R::Model>(&change) {
                Ok(prepared) => prepared,
                Err(diagnostic) => {
                    let state = match change {
                        Change::Create { .. } => Value::Null,
                        Change::Update { prior, .. } | Change::Delete { prior } => prior,
                    };
                    return Applied { state, touched: false, outcome: Err(diagnostic.into()) };
                }
            };
            let slot = Arc::new(StateSlot::new(prepared.prior().cloned()));
            let (resource, held) = (Arc::clone(&self.resource), Arc::clone(&slot));
            // In a task of its own: what was saved survives a panic, and a handler that overstays is not cut off.
            let run = run_call(stop, move |_| async move {
                match prepared {
                    Prepared::Create(apply) => resource.create(&cx, *apply, &held).await,
                    Prepared::Update(apply) => resource.update(&cx, *apply, &held).await,
                    Prepared::Delete(prior) => resource.delete(&cx, *prior, &held).await,
                }
            });
            let mut outcome = match Deadline::run(deadline, run).await {
                Ended::Done(Ok(outcome), late) => outcome.map_err(|errors| preceded(late, errors)),
                Ended::Done(Err(report), late) => {
                    Err(preceded(late, panicked(self.info.name, &report).into()))
                }
                Ended::StillRuns(late) => Err(late.into()),
            };
            let (state, unfit) = self.held(&slot);
            if !unfit.is_empty() {
                let mut diagnostics = unfit;
                let (Ok(more) | Err(more)) = outcome;
                diagnostics.extend(more);
                outcome = Err(diagnostics);
            }
            Applied { state, touched: slot.touched(), outcome }
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        cx: &'a Context<R::Client>,
        state: &'a Value,
    ) -> BoxFuture<'a, Result<Option<Value>, Diagnostics>> {
        async move {
            match self.resource.read(cx, Self::model(state)?).await? {
                Some(model) => Ok(Some(self.value(&model)?)),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn import<'a>(
        &'a self,
        cx: &'a Context<R::Client>,
        id: String,
    ) -> BoxFuture<'a, Result<Value, Diagnostics>> {
        async move {
            let model = self.resource.import(cx, Import { id }).await?;
            Ok(self.value(&model)?)
        }
        .boxed()
    }

    fn import_identity<'a>(
        &'a self,
        cx: &'a Context<R::Client>,
        identity: Value,
    ) -> BoxFuture<'a, Result<Value, Diagnostics>> {
        async move {
            let model = self.resource.import_identity(cx, Self::model(&identity)?).await?;
            Ok(self.value(&model)?)
        }
        .boxed()
    }

    fn upgrade(&self, version: i64, state: &serde_json::Value) -> Result<Value, Diagnostics> {
        let model = self.history.upgrade(self.info.name, version, state)?;
        Ok(self.value(&model)?)
    }

    fn upgrade_identity(
        &self,
        version: i64,
        identity: serde_json::Value,
    ) -> Result<serde_json::Value, Diagnostics> {
        self.history.upgrade_identity(self.info.name, version, identity)
    }

    fn take_over(&self, source: &MoveSource, own: &str) -> Option<Result<Value, Diagnostics>> {
        let model = self.history.take_over(source, own)?;
        Some(model.and_then(|model| Ok(self.value(&model)?)))
    }

    fn origins(&self) -> Vec<&str> {
        self.history.origins()
    }

    fn generate(&self, config: Value) -> Result<Value, Diagnostics> {
        let mut model = Self::model(&config)?;
        self.resource.generate(&mut model);
        Ok(self.value(&model)?)
    }

    fn import_id(&self) -> &'static str {
        R::IMPORT_ID
    }

    fn problems(&self) -> Vec<String> {
        self.history
            .problems()
            .into_iter()
            .map(|problem| format!("resource `{}`: {problem}", R::TYPE))
            .collect()
    }
}

/// A change, by type.
enum Prepared<M> {
    Create(Box<Apply<M>>),
    Update(Box<Apply<M>>),
    Delete(Box<M>),
}

impl<M> Prepared<M> {
    fn prior(&self) -> Option<&M> {
        match self {
            Self::Create(_) => None,
            Self::Update(apply) => apply.prior.as_ref(),
            Self::Delete(prior) => Some(prior),
        }
    }
}

fn prepare<M: Model>(change: &Change) -> Result<Prepared<M>, Diagnostic> {
    let model = |value: &Value| M::from_value(value, &AttributePath::root());
    Ok(match change {
        Change::Create { planned, config } => Prepared::Create(Box::new(Apply {
            prior: None,
            planned: model(planned)?,
            config: model(config)?,
        })),
        Change::Update { prior, planned, config } => Prepared::Update(Box::new(Apply {
            prior: Some(model(prior)?),
            planned: model(planned)?,
            config: model(config)?,
        })),
        Change::Delete { prior } => Prepared::Delete(Box::new(model(prior)?)),
    })
}

impl Unfinished {
    /// What the user sees of it.
    pub(super) fn into_diagnostic(self, what: &str) -> Diagnostic {
        match self {
            Self::Panicked(report) => panicked(what, &report),
            Self::Left => left(what),
        }
    }
}

/// What the user sees of a call that was asked to stop, and did not.
pub(super) fn left(what: &str) -> Diagnostic {
    Diagnostic::error(
        format!("Stopped while `{what}` was at work"),
        format!(
            "The operation was asked to stop, and did not within {} s. It was left to itself and ends with the provider's process \
             at the latest. Nothing that it still finds out is stored, and nothing that it still opens or locks is meant to \
             stay so.",
            STOP_GRACE.as_secs_f32()
        ),
    )
}

/// What the user sees of a panic.
fn panicked(what: &str, report: &PanicReport) -> Diagnostic {
    Diagnostic::error(
        format!("The provider failed unexpectedly in `{what}`"),
        format!(
            "{} (at {}).\n\nThis is a mistake in the provider: please report it with the log lines that carry report \
             id `{}`. The state holds what was saved before the failure; check what really exists before the next \
             apply.",
            crate::logging::redacted(&report.message),
            report.location,
            report.report_id
        ),
    )
}
