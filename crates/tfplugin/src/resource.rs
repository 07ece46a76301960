//! What a managed resource implements.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::schema::conform;
use crate::{
    AttributePath, Context, Deferral, Diagnostic, Diagnostics, History, Model, PrivateState, ToValue, Type,
    Unknown, Value,
};

/// A managed resource.
///
/// The framework computes the plan (configuration, defaults, prior values, unknowns) and calls [`plan`](Self::plan)
/// to refine it; it checks every result against the plan before it leaves the process.
pub trait Resource: Send + Sync + 'static {
    /// The schema, and the shape of configuration, plan and state.
    type Model: Model;
    /// The configured provider.
    type Client: Send + Sync + 'static;

    /// The full type name: `acme_project`.
    const TYPE: &'static str;
    /// What the id of an [`import`](Self::import) is made of, in Markdown, for documentation.
    const IMPORT_ID: &'static str = "the `id` of the object";

    /// Checks the configuration as a whole, without I/O. Unknown values may be fine.
    fn validate(&self, _config: &Self::Model, _diagnostics: &mut Diagnostics) {}

    /// Refines or refuses a plan. Pure for the same inputs and the same remote state; called twice an apply.
    /// `cx` is `None` when the provider's configuration is not known yet.
    fn plan(
        &self,
        _cx: Option<&Context<Self::Client>>,
        _plan: &mut Plan<Self::Model>,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Creates the object. Save to `state` as soon as anything exists remotely: what was saved last is what
    /// Terraform keeps, also when this fails, panics or is cancelled. A success must have saved.
    fn create(
        &self,
        cx: &Context<Self::Client>,
        apply: Apply<Self::Model>,
        state: &StateSlot<Self::Model>,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send;

    /// Reads the object back; `None` means it is gone. Never an error for "not found", never `None` for an outage.
    fn read(
        &self,
        cx: &Context<Self::Client>,
        state: Self::Model,
    ) -> impl Future<Output = Result<Option<Self::Model>, Diagnostics>> + Send;

    /// Changes the object in place. `state` starts as the prior state; what was saved last is kept on failure.
    fn update(
        &self,
        cx: &Context<Self::Client>,
        apply: Apply<Self::Model>,
        state: &StateSlot<Self::Model>,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send;

    /// Deletes the object. Already gone is success. `state` starts as the prior state, which a failure keeps.
    fn delete(
        &self,
        cx: &Context<Self::Client>,
        prior: Self::Model,
        state: &StateSlot<Self::Model>,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send;

    /// The ways from older layouts of the state and the identity, and from other types. The linter demands one from each version
    /// before the current.
    fn history(_history: &mut History<Self::Model>) {}

    /// Turns an import id into a partial state that [`read`](Self::read) can complete.
    fn import(
        &self,
        cx: &Context<Self::Client>,
        import: Import,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;

    /// The same from an identity: `identity` has the attributes of the identity that the user has given, everything else
    /// null. Good as it is where [`read`](Self::read) needs no more than these.
    fn import_identity(
        &self,
        _cx: &Context<Self::Client>,
        identity: Self::Model,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send {
        async { Ok(identity) }
    }

    /// Refines the configuration that Terraform writes for an imported object. Attributes that are computed, deprecated,
    /// sensitive or at their default are gone from it already; what is left to do is to choose between attributes that exclude
    /// each other.
    fn generate(&self, _config: &mut Self::Model) {}
}

/// What to create or change.
#[derive(Clone, Debug)]
pub struct Apply<M> {
    /// The state before; `None` on create.
    pub prior: Option<M>,
    /// The planned state: computed attributes may be unknown, write-only attributes are null.
    pub planned: M,
    /// The configuration, where write-only values are found.
    pub config: M,
}

/// The request to import one object.
#[derive(Clone, Debug)]
pub struct Import {
    /// What the user wrote; never empty.
    pub id: String,
}

impl Import {
    /// A partial state: these attributes, everything else null and without blocks. The model's fields must be able to
    /// be null (`Attr`), except those given.
    pub fn partial<'a, M: Model>(
        &self,
        attributes: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<M, Diagnostics> {
        let mut value = M::block().empty_value();
        for (name, given) in attributes {
            value.set_path(&name.into(), given).map_err(Diagnostic::provider_bug)?;
        }
        Ok(M::from_value(&value, &AttributePath::root())?)
    }
}

/// What a plan is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// There is no prior object.
    Create,
    /// The object stays and changes, or does not change.
    Update,
    /// The object goes.
    Delete,
}

/// A plan in the making.
#[derive(Debug)]
pub struct Plan<M> {
    /// What is about to be done.
    pub operation: Operation,
    /// The state before; `None` on create.
    pub prior: Option<M>,
    /// The configuration; `None` on delete.
    pub config: Option<M>,
    /// The plan so far, with defaults, kept values and unknowns; `None` on delete. A view: change it by the methods.
    pub planned: Option<M>,
    /// Messages; an error refuses the plan.
    pub diagnostics: Diagnostics,
    /// What is stored beside the state; entries set here arrive at the apply.
    pub private: PrivateState,
    pub(crate) deferral: Option<Deferral>,
    pub(crate) values: PlanValues,
}

/// The values behind a [`Plan`].
#[derive(Clone)]
pub(crate) struct PlanValues {
    pub(crate) prior: Value,
    pub(crate) config: Value,
    pub(crate) planned: Value,
    /// What the schema says of the plan as it was drafted: it is asked again when the plan is complete.
    pub(crate) forced: BTreeSet<AttributePath>,
    /// What the author demands.
    pub(crate) replace: BTreeSet<AttributePath>,
    pub(crate) ty: Type,
}

/// Values may be secret.
impl std::fmt::Debug for PlanValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlanValues").field("replace", &self.replace).finish_non_exhaustive()
    }
}

impl<M: Model> Plan<M> {
    pub(crate) fn new(values: PlanValues, private: PrivateState) -> Result<Self, Diagnostic> {
        let view = |value: &Value| match value {
            Value::Null => Ok(None),
            value => M::from_value(value, &AttributePath::root()).map(Some),
        };
        let operation = match (&values.prior, &values.planned) {
            (Value::Null, _) => Operation::Create,
            (_, Value::Null) => Operation::Delete,
            _ => Operation::Update,
        };
        Ok(Self {
            operation,
            prior: view(&values.prior)?,
            config: view(&values.config)?,
            planned: view(&values.planned)?,
            diagnostics: Diagnostics::new(),
            private,
            deferral: None,
            values,
        })
    }

    /// Whether the planned value at `path` differs from the prior one (always on create). An unknown value differs
    /// from every known one.
    #[must_use]
    pub fn changes(&self, path: impl Into<AttributePath>) -> bool {
        let path = path.into();
        self.operation != Operation::Update
            || self.values.prior.get_path(&path) != self.values.planned.get_path(&path)
    }

    /// Whether anything differs from the prior state, [`Timeouts`](crate::Timeouts) aside.
    #[must_use]
    pub fn changes_anything(&self) -> bool {
        crate::timeouts::differ_beyond(&M::block(), &self.values.prior, &self.values.planned)
    }

    /// Whether the object will be replaced as far as the calls of [`require_replace`](Self::require_replace) and the
    /// `force_new` attributes say so far.
    #[must_use]
    pub fn replaces(&self) -> bool {
        !(self.values.replace.is_empty() && self.values.forced.is_empty())
    }

    /// Plans a known value for a computed attribute that the user has not set.
    pub fn set(&mut self, path: impl Into<AttributePath>, value: impl ToValue) {
        self.put(&path.into(), value.to_value());
    }

    /// Plans "known after apply" for a computed attribute that the user has not set.
    pub fn set_unknown(&mut self, path: impl Into<AttributePath>) {
        self.put(&path.into(), Value::unknown());
    }

    /// Plans "known after apply" with promises about what it will be; each is held against the result.
    pub fn set_refined(&mut self, path: impl Into<AttributePath>, promise: Unknown) {
        self.put(&path.into(), Value::Unknown(promise));
    }

    /// The change has to wait for another run. Where the client knows no deferral it is an error. The reason must not come and go
    /// between the two plans of one apply.
    pub fn defer(&mut self, reason: Deferral) {
        self.deferral = Some(reason);
    }

    /// Plans the prior value for a computed attribute that the user has not set. On create there is none, and the
    /// plan stays as it is.
    pub fn keep_prior(&mut self, path: impl Into<AttributePath>) {
        let path = path.into();
        if let Some(prior) = self.values.prior.get_path(&path).cloned() {
            self.put(&path, prior);
        }
    }

    /// Demands that the object be replaced because of this attribute. Terraform ignores it when the attribute does
    /// not change. A path that is not of the schema is a provider bug; one into a set stands for the set.
    pub fn require_replace(&mut self, path: impl Into<AttributePath>) {
        self.values.replace.insert(path.into());
    }

    fn put(&mut self, path: &AttributePath, value: Value) {
        if self.values.config.get_path(path).is_some_and(|configured| !configured.is_null()) {
            self.diagnostics.push(
                Diagnostic::provider_bug(format!(
                    "The plan tried to replace the configured value of `{path}`: what the user has set must be kept."
                ))
                .at(path.clone()),
            );
            return;
        }
        let mut planned = self.values.planned.clone();
        let placed =
            planned.set_path(path, value).map_err(|error| Diagnostic::provider_bug(error).at(path.clone()));
        let viewed = placed.and_then(|()| {
            let planned = conform(&planned, &self.values.ty, &AttributePath::root())?;
            let view = M::from_value(&planned, &AttributePath::root())?;
            Ok((planned, view))
        });
        match viewed {
            Ok((planned, view)) => {
                self.values.planned = planned;
                self.planned = Some(view);
            }
            Err(diagnostic) => self.diagnostics.push(diagnostic),
        }
    }

    /// Refuses the plan because of an attribute.
    pub fn error(&mut self, path: impl Into<AttributePath>, summary: &str, detail: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(summary, detail).at(path));
    }

    /// Warns about an attribute.
    pub fn warn(&mut self, path: impl Into<AttributePath>, summary: &str, detail: impl Into<String>) {
        self.diagnostics.push(Diagnostic::warning(summary, detail).at(path));
    }
}

/// Where a handler saves the state that really holds, as soon as it holds.
pub struct StateSlot<M> {
    held: Mutex<Held<M>>,
}

struct Held<M> {
    state: Option<M>,
    touched: bool,
}

impl<M: Clone> StateSlot<M> {
    /// A slot that holds `state`. The framework makes it; tests of handlers may too.
    #[must_use]
    pub const fn new(state: Option<M>) -> Self {
        Self { held: Mutex::new(Held { state, touched: false }) }
    }

    /// Saves: from here on this is what Terraform keeps, whatever happens next.
    pub fn save(&self, state: M) {
        *self.lock() = Held { state: Some(state), touched: true };
    }

    /// Nothing exists (any more).
    pub fn clear(&self) {
        *self.lock() = Held { state: None, touched: true };
    }

    /// What was saved last.
    #[must_use]
    pub fn get(&self) -> Option<M> {
        self.lock().state.clone()
    }

    /// Whether the handler has saved or cleared at all.
    #[must_use]
    pub fn touched(&self) -> bool {
        self.lock().touched
    }

    /// A panic between two saves leaves the last one in force.
    fn lock(&self) -> MutexGuard<'_, Held<M>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State may hold secrets.
impl<M> std::fmt::Debug for StateSlot<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateSlot").finish_non_exhaustive()
    }
}
