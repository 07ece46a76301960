//! State stores by value instead of by type, and what is configured over a connection.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{Call, ObjectInfo, Service};
use crate::convert::NOT_KNOWN;
use crate::schema::Kind;
use crate::{
    AttributePath, Context, Diagnostic, Diagnostics, FromValue as _, Locking, PrivateState, Provider,
    StateLock, StateStore, Unlocking, Value,
};

/// A state store of any type.
pub(crate) trait AnyStateStore<C>: Send + Sync {
    fn info(&self) -> &ObjectInfo;

    /// The author's check of a whole configuration.
    fn validate(&self, config: &Value) -> Diagnostics;

    fn configure(
        self: Arc<Self>,
        cx: Context<C>,
        config: Value,
    ) -> BoxFuture<'static, Result<Arc<dyn OpenStore>, Diagnostics>>;
}

/// A configured store of any type.
pub(crate) trait OpenStore: Send + Sync {
    fn read<'a>(&'a self, call: &'a Call, id: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Diagnostics>>;

    fn write<'a>(
        &'a self,
        call: &'a Call,
        id: &'a str,
        state: Bytes,
    ) -> BoxFuture<'a, Result<Diagnostics, Diagnostics>>;

    fn lock<'a>(
        &'a self,
        call: &'a Call,
        id: &'a str,
        lock: &'a StateLock,
    ) -> BoxFuture<'a, Result<Locking, Diagnostics>>;

    fn unlock<'a>(
        &'a self,
        call: &'a Call,
        id: &'a str,
        lock_id: &'a str,
    ) -> BoxFuture<'a, Result<Unlocking, Diagnostics>>;

    fn list<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Vec<String>, Diagnostics>>;

    fn delete<'a>(&'a self, call: &'a Call, id: &'a str) -> BoxFuture<'a, Result<bool, Diagnostics>>;
}

/// A state store of one type.
pub(crate) struct Keeping<S> {
    kind: S,
    info: ObjectInfo,
}

/// A configured store of one type.
struct Open<S: StateStore> {
    keeping: Arc<Keeping<S>>,
    store: Arc<S::Store>,
}

/// What `ConfigureStateStore` has left for the calls after it.
#[derive(Clone)]
pub(super) struct ConfiguredStore {
    pub(super) store: Arc<dyn OpenStore>,
    /// Bytes of every chunk but the last.
    pub(super) chunk_size: usize,
}

impl<S: StateStore> Keeping<S> {
    pub(crate) fn new(kind: S) -> Self {
        Self { kind, info: ObjectInfo::of::<S::Model>(S::TYPE, Kind::StateStore) }
    }
}

impl<S: StateStore> AnyStateStore<S::Client> for Keeping<S> {
    fn info(&self) -> &ObjectInfo {
        &self.info
    }

    fn validate(&self, config: &Value) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match S::Model::from_value(config, &AttributePath::root()) {
            Ok(config) => self.kind.validate(&config, &mut diagnostics),
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {}
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
        diagnostics
    }

    fn configure(
        self: Arc<Self>,
        cx: Context<S::Client>,
        config: Value,
    ) -> BoxFuture<'static, Result<Arc<dyn OpenStore>, Diagnostics>> {
        async move {
            let config = S::Model::from_value(&config, &AttributePath::root())?;
            let store = Arc::new(self.kind.configure(&cx, config).await?);
            Ok(Arc::new(Open { keeping: self, store }) as Arc<dyn OpenStore>)
        }
        .boxed()
    }
}

impl<S: StateStore> Open<S> {
    fn context(&self, call: &Call) -> Context<S::Store> {
        Context {
            client: Arc::clone(&self.store),
            cancel: call.cancel.clone(),
            request_id: call.request_id.clone(),
            private: PrivateState::default(),
            meta: Value::Null,
        }
    }
}

impl<S: StateStore> OpenStore for Open<S> {
    fn read<'a>(&'a self, call: &'a Call, id: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, Diagnostics>> {
        async move { self.keeping.kind.read(&self.context(call), id).await }.boxed()
    }

    fn write<'a>(
        &'a self,
        call: &'a Call,
        id: &'a str,
        state: Bytes,
    ) -> BoxFuture<'a, Result<Diagnostics, Diagnostics>> {
        async move { self.keeping.kind.write(&self.context(call), id, state).await }.boxed()
    }

    fn lock<'a>(
        &'a self,
        call: &'a Call,
        id: &'a str,
        lock: &'a StateLock,
    ) -> BoxFuture<'a, Result<Locking, Diagnostics>> {
        async move { self.keeping.kind.lock(&self.context(call), id, lock).await }.boxed()
    }

    fn unlock<'a>(
        &'a self,
        call: &'a Call,
        id: &'a str,
        lock_id: &'a str,
    ) -> BoxFuture<'a, Result<Unlocking, Diagnostics>> {
        async move { self.keeping.kind.unlock(&self.context(call), id, lock_id).await }.boxed()
    }

    fn list<'a>(&'a self, call: &'a Call) -> BoxFuture<'a, Result<Vec<String>, Diagnostics>> {
        async move { self.keeping.kind.list(&self.context(call)).await }.boxed()
    }

    fn delete<'a>(&'a self, call: &'a Call, id: &'a str) -> BoxFuture<'a, Result<bool, Diagnostics>> {
        async move { self.keeping.kind.delete(&self.context(call), id).await }.boxed()
    }
}

impl<P: Provider> Service<P> {
    pub(super) fn stores(&self) -> std::sync::MutexGuard<'_, super::Stores> {
        self.0.stores.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The store that was configured over the connection of this call.
    pub(super) fn open_store(&self, call: &Call, type_name: &str) -> Result<ConfiguredStore, Diagnostic> {
        self.state_store(type_name)?;
        let key = (call.connection, type_name.to_owned());
        self.stores().get(&key).cloned().ok_or_else(|| {
            Diagnostic::error(
                format!("State store `{type_name}` is not configured"),
                "The operation needs the store's configuration, and none has arrived over this connection. No state was \
                 read or changed.",
            )
        })
    }
}

/// The id of a state, which must not be empty.
pub(super) fn state_id(id: &str) -> Result<&str, Diagnostic> {
    if id.is_empty() {
        return Err(Diagnostic::error(
            "No state is named",
            "The id of the state is empty, so there is nothing that the operation could be about. No state was read or \
             changed.",
        ));
    }
    Ok(id)
}
