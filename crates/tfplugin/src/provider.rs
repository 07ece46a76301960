//! What a provider implements.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{DataSource, Diagnostics, Function, Model, Resource};

/// A provider: its configuration, its client, and the list of what it offers.
pub trait Provider: Send + Sync + Sized + 'static {
    /// The `provider` block.
    type Config: Model;
    /// What every resource and data source works with once the provider is configured.
    type Client: Send + Sync + 'static;

    /// The provider's type name, the prefix of its resources: `spectra`.
    const NAME: &'static str;
    /// The full source address: `registry.terraform.io/spectra/spectra`.
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

    /// Names every resource, data source and function.
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
}

/// The resources, data sources and functions of a provider.
#[derive(Debug)]
pub struct Registry<P: Provider> {
    provider: std::marker::PhantomData<P>,
}

impl<P: Provider> Registry<P> {
    /// Adds a managed resource.
    pub fn resource<R: Resource<Client = P::Client>>(&mut self, _resource: R) -> &mut Self {
        self
    }

    /// Adds a data source.
    pub fn data_source<D: DataSource<Client = P::Client>>(&mut self, _data_source: D) -> &mut Self {
        self
    }

    /// Adds a function.
    pub fn function<F: Function>(&mut self, _function: F) -> &mut Self {
        self
    }
}
