//! `GetProviderSchema` and `GetResourceIdentitySchemas`.

use super::get_metadata::CAPABILITIES;
use super::messages::diagnostics;
use super::{Call, Service};
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::get_provider_schema::{Request, Response};
use crate::schema::{Kind, schema_to_proto};
use crate::{Diagnostic, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn get_provider_schema(&self, _call: Call, _request: Request) -> Response {
        self.schema().clone()
    }

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

    /// No resource has an identity yet.
    pub(crate) async fn get_resource_identity_schemas(
        &self,
        _call: Call,
        _request: proto::get_resource_identity_schemas::Request,
    ) -> proto::get_resource_identity_schemas::Response {
        proto::get_resource_identity_schemas::Response::default()
    }
}
