//! What a state store implements.

use std::future::Future;
use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Context, Diagnostics, Model};

/// A place where Terraform keeps whole states: a `state_store` block. (Experimental: Terraform's alpha builds alone accept it.)
///
/// A state is bytes under an id, the name of a workspace. Terraform locks it, reads it, writes it, and unlocks it. The framework
/// cuts states into chunks and puts them together again: a store sees whole ones only, and one that did not arrive whole
/// never.
pub trait StateStore: Send + Sync + 'static {
    /// The schema and the shape of the `state_store` block.
    type Model: Model;
    /// The configured provider.
    type Client: Send + Sync + 'static;
    /// A configured store, which every call but [`configure`](Self::configure) works with.
    type Store: Send + Sync + 'static;

    /// The full type name: `acme_bucket`.
    const TYPE: &'static str;

    /// Checks the configuration as a whole, without I/O. Unknown values may be fine.
    fn validate(&self, _config: &Self::Model, _diagnostics: &mut Diagnostics) {}

    /// Makes the store of its configuration. Credentials that must not stand in configuration come from the environment.
    fn configure(
        &self,
        cx: &Context<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Self::Store, Diagnostics>> + Send;

    /// The state as it was written last; `None` when there is none.
    fn read(
        &self,
        cx: &Context<Self::Store>,
        id: &str,
    ) -> impl Future<Output = Result<Option<Bytes>, Diagnostics>> + Send;

    /// Replaces the state as a whole: after an error the one before must still be there.
    fn write(
        &self,
        cx: &Context<Self::Store>,
        id: &str,
        state: Bytes,
    ) -> impl Future<Output = Result<Diagnostics, Diagnostics>> + Send;

    /// Takes the lock of a state, which need not exist, unless it is held: of two that try at once, one gets it. Stores `lock`, so
    /// that whoever comes next learns who holds it.
    fn lock(
        &self,
        cx: &Context<Self::Store>,
        id: &str,
        lock: &StateLock,
    ) -> impl Future<Output = Result<Locking, Diagnostics>> + Send;

    /// Gives a lock back if it is the one named, and leaves any other alone.
    fn unlock(
        &self,
        cx: &Context<Self::Store>,
        id: &str,
        lock_id: &str,
    ) -> impl Future<Output = Result<Unlocking, Diagnostics>> + Send;

    /// The ids of all states there are.
    fn list(
        &self,
        cx: &Context<Self::Store>,
    ) -> impl Future<Output = Result<Vec<String>, Diagnostics>> + Send;

    /// Deletes a state; `false` when there was none.
    fn delete(
        &self,
        cx: &Context<Self::Store>,
        id: &str,
    ) -> impl Future<Output = Result<bool, Diagnostics>> + Send;
}

/// Who holds the lock of a state, and what for. Stores keep it as JSON beside the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateLock {
    /// The layout of this record: [`StateLock::VERSION`] when it is written.
    pub version: u32,
    /// Names the lock; whoever knows it may unlock.
    pub id: String,
    /// What Terraform does meanwhile: `plan`, `apply`.
    pub operation: String,
    /// User and machine.
    pub holder: String,
    /// Since when.
    pub since: SystemTime,
}

impl StateLock {
    /// The layout that this version of the framework writes.
    pub const VERSION: u32 = 1;

    /// A new lock, with an id that no other has.
    pub fn new(operation: impl Into<String>, holder: impl Into<String>, since: SystemTime) -> Self {
        Self {
            version: Self::VERSION,
            id: uuid::Uuid::new_v4().to_string(),
            operation: operation.into(),
            holder: holder.into(),
            since,
        }
    }
}

/// What came of taking a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locking {
    /// It is taken.
    Taken,
    /// Somebody else holds it.
    Held(StateLock),
}

/// What came of giving a lock back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unlocking {
    /// It is free.
    Done,
    /// It was free before.
    NotLocked,
    /// Another lock is held, and still is.
    Held(StateLock),
}
