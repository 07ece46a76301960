//! `GetMetadata`: the names of everything.

use super::Service;
use crate::Provider;
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::get_metadata::{
    DataSourceMetadata, FunctionMetadata, ResourceMetadata, Response,
};

/// The same in every answer that carries them.
pub(super) const CAPABILITIES: proto::ServerCapabilities = proto::ServerCapabilities {
    plan_destroy: true,
    get_provider_schema_optional: true,
    move_resource_state: false,
    generate_resource_config: false,
};

impl<P: Provider> Service<P> {
    pub(super) fn metadata(&self) -> Response {
        let registry = &self.0.registry;
        let type_name = |name: &&'static str| (*name).to_owned();
        Response {
            server_capabilities: Some(CAPABILITIES),
            resources: registry
                .resources
                .keys()
                .map(type_name)
                .map(|type_name| ResourceMetadata { type_name })
                .collect(),
            data_sources: registry
                .data_sources
                .keys()
                .map(type_name)
                .map(|type_name| DataSourceMetadata { type_name })
                .collect(),
            functions: registry
                .functions
                .keys()
                .map(type_name)
                .map(|name| FunctionMetadata { name })
                .collect(),
            ..Response::default()
        }
    }
}
