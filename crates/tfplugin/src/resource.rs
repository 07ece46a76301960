//! What a managed resource implements.

use std::future::Future;

use crate::{AttributePath, Context, Diagnostic, Diagnostics, Model, ToValue};

/// A managed resource.
///
/// The framework computes the plan (configuration, defaults, prior values, unknowns) and calls [`plan`](Self::plan)
/// to refine it; it checks every result against the plan before it leaves the process.
pub trait Resource: Send + Sync + 'static {
    /// The schema, and the shape of configuration, plan and state.
    type Model: Model;
    /// The configured provider.
    type Client: Send + Sync + 'static;

    /// The full type name: `spectra_project`.
    const TYPE: &'static str;

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

    /// Turns an import id into a partial state that [`read`](Self::read) can complete.
    fn import(
        &self,
        cx: &Context<Self::Client>,
        import: Import,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;
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

/// What a plan is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
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
    pub action: Action,
    /// The state before; `None` on create.
    pub prior: Option<M>,
    /// The configuration; `None` on delete.
    pub config: Option<M>,
    /// The plan so far, with defaults, kept values and unknowns; `None` on delete. A view: change it by the methods.
    pub planned: Option<M>,
    /// Messages; an error refuses the plan.
    pub diagnostics: Diagnostics,
}

impl<M: Model> Plan<M> {
    /// Whether the planned value at `path` differs from the prior one (always on create).
    #[must_use]
    pub fn changes(&self, _path: impl Into<AttributePath>) -> bool {
        todo!()
    }

    /// Whether anything differs from the prior state.
    #[must_use]
    pub fn changes_anything(&self) -> bool {
        todo!()
    }

    /// Plans a known value for a computed attribute that the user has not set.
    pub fn set(&mut self, _path: impl Into<AttributePath>, _value: impl ToValue) {
        todo!()
    }

    /// Plans "known after apply" for a computed attribute that the user has not set.
    pub fn set_unknown(&mut self, _path: impl Into<AttributePath>) {
        todo!()
    }

    /// Plans the prior value for a computed attribute that the user has not set.
    pub fn keep_prior(&mut self, _path: impl Into<AttributePath>) {
        todo!()
    }

    /// Demands that the object be replaced because of this attribute.
    pub fn require_replace(&mut self, _path: impl Into<AttributePath>) {
        todo!()
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
#[derive(Debug)]
pub struct StateSlot<M> {
    saved: std::sync::Mutex<Option<M>>,
}

impl<M: Clone> StateSlot<M> {
    /// Saves: from here on this is what Terraform keeps, whatever happens next.
    pub fn save(&self, state: M) {
        *self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(state);
    }

    /// Nothing exists (any more).
    pub fn clear(&self) {
        *self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// What was saved last.
    #[must_use]
    pub fn get(&self) -> Option<M> {
        self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}
