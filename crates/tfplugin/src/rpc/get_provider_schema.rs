//! `GetProviderSchema`.

use super::Service;
use super::get_metadata::CAPABILITIES;
use super::messages::diagnostics;
use crate::proto::tfplugin6 as proto;
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
                provider_meta: self.0.meta.as_ref().map(|meta| schema_to_proto(&meta.schema, Kind::Meta)),
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
                ephemeral_resource_schemas: registry
                    .ephemerals
                    .iter()
                    .map(|(name, ephemeral)| {
                        ((*name).to_owned(), schema_to_proto(&ephemeral.info().schema, Kind::Ephemeral))
                    })
                    .collect(),
                list_resource_schemas: registry
                    .lists
                    .iter()
                    .map(|(name, list)| {
                        ((*name).to_owned(), schema_to_proto(&list.info().schema, Kind::List))
                    })
                    .collect(),
                action_schemas: registry
                    .actions
                    .iter()
                    .map(|(name, action)| {
                        let schema = Some(schema_to_proto(&action.info().schema, Kind::Action));
                        ((*name).to_owned(), proto::ActionSchema { schema })
                    })
                    .collect(),
                state_store_schemas: registry
                    .state_stores
                    .iter()
                    .map(|(name, store)| {
                        ((*name).to_owned(), schema_to_proto(&store.info().schema, Kind::StateStore))
                    })
                    .collect(),
                functions: self.functions(),
                server_capabilities: Some(CAPABILITIES),
                diagnostics: diagnostics(self.problems().iter().map(Diagnostic::provider_bug).collect()),
            }
        })
    }
}
