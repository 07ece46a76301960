//! `GetProviderSchema`.

use super::Service;
use super::get_metadata::CAPABILITIES;
use super::messages::diagnostics;
use crate::proto::tfplugin6::get_provider_schema::Response;
use crate::schema::{Kind, schema_to_proto};
use crate::{Diagnostic, Provider};

impl<P: Provider> Service<P> {
    /// The schema of everything, converted once.
    pub(super) fn schema(&self) -> &Response {
        self.0.schema.get_or_init(|| {
            let registry = &self.0.registry;
            Response {
                provider: Some(schema_to_proto(&self.0.config.schema, Kind::Provider)),
                // Core expects a schema here, or nothing; it must not be absent where modules set it.
                provider_meta: None,
                resource_schemas: registry
                    .resources
                    .iter()
                    .map(|(name, resource)| {
                        ((*name).to_owned(), schema_to_proto(&resource.info().schema, Kind::Resource))
                    })
                    .collect(),
                data_source_schemas: registry
                    .data_sources
                    .iter()
                    .map(|(name, data)| {
                        ((*name).to_owned(), schema_to_proto(&data.info().schema, Kind::DataSource))
                    })
                    .collect(),
                functions: self.functions(),
                server_capabilities: Some(CAPABILITIES),
                diagnostics: diagnostics(self.problems().iter().map(Diagnostic::provider_bug).collect()),
                ..Response::default()
            }
        })
    }
}
