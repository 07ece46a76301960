//! What a data source implements.

use std::future::Future;

use crate::{Context, Diagnostics, Model};

/// A data source: read, never changed.
pub trait DataSource: Send + Sync + 'static {
    /// The schema, and the shape of configuration and result.
    type Model: Model;
    /// The configured provider.
    type Client: Send + Sync + 'static;

    /// The full type name: `acme_image`.
    const TYPE: &'static str;

    /// Checks the configuration as a whole, without I/O. Unknown values may be fine.
    fn validate(&self, _config: &Self::Model, _diagnostics: &mut Diagnostics) {}

    /// Reads. The configuration is wholly known. "Not found" is an error for a single object.
    fn read(
        &self,
        cx: &Context<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;
}
