//! What a provider implements.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::rpc::{
    AnyAction, AnyDataSource, AnyEphemeral, AnyFunction, AnyList, AnyResource, AnyStateStore, Callable, Data,
    Doing, Keeping, Listing, Managed, Opening,
};
use crate::{
    Action, AttributePath, DataSource, Diagnostic, Diagnostics, EphemeralResource, FromValue, Function,
    ListResource, Model, PrivateState, Resource, StateStore, Value,
};

/// A provider: its configuration, its client, and the list of what it offers.
pub trait Provider: Send + Sync + Sized + 'static {
    /// The `provider` block.
    type Config: Model;
    /// What every resource and data source works with once the provider is configured.
    type Client: Send + Sync + 'static;
    /// The `provider_meta` block that a module may write; `()` for none.
    type Meta: Model;

    /// The provider's type name, the prefix of its resources: `acme`.
    const NAME: &'static str;
    /// The full source address: `registry.terraform.io/example/acme`.
    const ADDRESS: &'static str;
    /// The provider's own version.
    const VERSION: &'static str;

    /// Checks the configuration without any I/O; unknown values may be fine.
    fn validate(&self, _config: &Self::Config, _diagnostics: &mut Diagnostics) {}

    /// Makes the client. Called in every walk: no slow calls. Configuration may hold unknowns during plan;
    /// fail only when a call needs the missing part.
    fn configure(
        &self,
        request: Configure<Self::Config>,
    ) -> impl Future<Output = Result<Self::Client, Diagnostics>> + Send;

    /// Names everything the provider offers.
    fn register(&self, registry: &mut Registry<Self>);
}

/// The request to configure a provider.
#[derive(Debug)]
pub struct Configure<C> {
    /// The `provider` block.
    pub config: C,
    /// The version of Terraform or OpenTofu.
    pub terraform_version: String,
    /// Trips when Terraform is asked to stop.
    pub cancel: CancellationToken,
}

/// What a handler works with.
#[derive(Debug)]
pub struct Context<C> {
    /// The configured client.
    pub client: Arc<C>,
    /// Trips when Terraform is asked to stop: finish or unwind, and return what is known.
    pub cancel: CancellationToken,
    /// Names this call in logs.
    pub request_id: String,
    /// What is stored beside the state of the object that the call is about.
    pub private: PrivateState,
    pub(crate) meta: Value,
}

impl<C> Context<C> {
    /// A context for calls that no Terraform makes: tests of handlers.
    #[must_use]
    pub fn new(client: Arc<C>) -> Self {
        Self {
            client,
            cancel: CancellationToken::new(),
            request_id: uuid::Uuid::new_v4().to_string(),
            private: PrivateState::default(),
            meta: Value::Null,
        }
    }

    /// The `provider_meta` block of the module that the object stands in; `None` if it has none. `M` is the provider's
    /// [`Meta`](Provider::Meta).
    pub fn meta<M: FromValue>(&self) -> Result<Option<M>, Diagnostic> {
        if self.meta.is_null() {
            return Ok(None);
        }
        M::from_value(&self.meta, &AttributePath::root()).map(Some)
    }
}

/// Clones share the client.
impl<C> Clone for Context<C> {
    fn clone(&self) -> Self {
        Self {
            client: Arc::clone(&self.client),
            cancel: self.cancel.clone(),
            request_id: self.request_id.clone(),
            private: self.private.clone(),
            meta: self.meta.clone(),
        }
    }
}

/// The resources, data sources and functions of a provider.
pub struct Registry<P: Provider> {
    pub(crate) resources: BTreeMap<&'static str, Arc<dyn AnyResource<P::Client>>>,
    pub(crate) data_sources: BTreeMap<&'static str, Arc<dyn AnyDataSource<P::Client>>>,
    pub(crate) functions: BTreeMap<&'static str, Arc<dyn AnyFunction>>,
    pub(crate) ephemerals: BTreeMap<&'static str, Arc<dyn AnyEphemeral<P::Client>>>,
    pub(crate) lists: BTreeMap<&'static str, Arc<dyn AnyList<P::Client>>>,
    pub(crate) actions: BTreeMap<&'static str, Arc<dyn AnyAction<P::Client>>>,
    pub(crate) state_stores: BTreeMap<&'static str, Arc<dyn AnyStateStore<P::Client>>>,
    /// Names that were given twice.
    pub(crate) problems: Vec<String>,
}

impl<P: Provider> Registry<P> {
    pub(crate) fn of(provider: &P) -> Self {
        let mut registry = Self {
            resources: BTreeMap::new(),
            data_sources: BTreeMap::new(),
            functions: BTreeMap::new(),
            ephemerals: BTreeMap::new(),
            lists: BTreeMap::new(),
            actions: BTreeMap::new(),
            state_stores: BTreeMap::new(),
            problems: Vec::new(),
        };
        provider.register(&mut registry);
        for name in registry.lists.keys() {
            // Core looks the managed resource up by the same name.
            match registry.resources.get(name) {
                None => registry.problems.push(format!("list resource `{name}`: no managed resource has that name")),
                Some(resource) if resource.info().identity.is_none() => registry.problems.push(format!(
                    "list resource `{name}`: its managed resource has no identity; mark attributes with `#[tf(identity)]`"
                )),
                Some(_) => {}
            }
        }
        registry
    }

    /// Adds a managed resource.
    pub fn resource<R: Resource<Client = P::Client>>(&mut self, resource: R) -> &mut Self {
        if self.resources.insert(R::TYPE, Arc::new(Managed::new(resource))).is_some() {
            self.problems.push(format!("resource `{}` is registered twice", R::TYPE));
        }
        self
    }

    /// Adds a data source.
    pub fn data_source<D: DataSource<Client = P::Client>>(&mut self, data_source: D) -> &mut Self {
        if self.data_sources.insert(D::TYPE, Arc::new(Data::new(data_source))).is_some() {
            self.problems.push(format!("data source `{}` is registered twice", D::TYPE));
        }
        self
    }

    /// Adds a function.
    pub fn function<F: Function>(&mut self, function: F) -> &mut Self {
        if self.functions.insert(F::NAME, Arc::new(Callable::new(function))).is_some() {
            self.problems.push(format!("function `{}` is registered twice", F::NAME));
        }
        self
    }
}

impl<P: Provider> Registry<P> {
    /// Adds an ephemeral resource.
    pub fn ephemeral<E: EphemeralResource<Client = P::Client>>(&mut self, ephemeral: E) -> &mut Self {
        if self.ephemerals.insert(E::TYPE, Arc::new(Opening::new(ephemeral))).is_some() {
            self.problems.push(format!("ephemeral resource `{}` is registered twice", E::TYPE));
        }
        self
    }

    /// Adds the list resource of a managed resource, under the same name.
    pub fn list<L: ListResource<Client = P::Client>>(&mut self, list: L) -> &mut Self {
        let name = <L::Resource as Resource>::TYPE;
        if self.lists.insert(name, Arc::new(Listing::new(list))).is_some() {
            self.problems.push(format!("list resource `{name}` is registered twice"));
        }
        self
    }

    /// Adds an action.
    pub fn action<A: Action<Client = P::Client>>(&mut self, action: A) -> &mut Self {
        if self.actions.insert(A::TYPE, Arc::new(Doing::new(action))).is_some() {
            self.problems.push(format!("action `{}` is registered twice", A::TYPE));
        }
        self
    }

    /// Adds a state store.
    pub fn state_store<S: StateStore<Client = P::Client>>(&mut self, store: S) -> &mut Self {
        if self.state_stores.insert(S::TYPE, Arc::new(Keeping::new(store))).is_some() {
            self.problems.push(format!("state store `{}` is registered twice", S::TYPE));
        }
        self
    }
}

impl<P: Provider> fmt::Debug for Registry<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("resources", &self.resources.keys())
            .field("data_sources", &self.data_sources.keys())
            .field("functions", &self.functions.keys())
            .field("ephemerals", &self.ephemerals.keys())
            .field("lists", &self.lists.keys())
            .field("actions", &self.actions.keys())
            .field("state_stores", &self.state_stores.keys())
            .finish_non_exhaustive()
    }
}
