//! `GetMetadata`: the names of everything.

use super::Service;
use crate::Provider;
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::get_metadata::{
    ActionMetadata, DataSourceMetadata, EphemeralResourceMetadata, FunctionMetadata, ListResourceMetadata,
    ResourceMetadata, Response, StateStoreMetadata,
};

/// The same in every answer that carries them.
pub(super) const CAPABILITIES: proto::ServerCapabilities = proto::ServerCapabilities {
    plan_destroy: true,
    get_provider_schema_optional: true,
    move_resource_state: true,
    generate_resource_config: true,
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
            ephemeral_resources: registry
                .ephemerals
                .keys()
                .map(type_name)
                .map(|type_name| EphemeralResourceMetadata { type_name })
                .collect(),
            list_resources: registry
                .lists
                .keys()
                .map(type_name)
                .map(|type_name| ListResourceMetadata { type_name })
                .collect(),
            actions: registry
                .actions
                .keys()
                .map(type_name)
                .map(|type_name| ActionMetadata { type_name })
                .collect(),
            state_stores: registry
                .state_stores
                .keys()
                .map(type_name)
                .map(|type_name| StateStoreMetadata { type_name })
                .collect(),
            ..Response::default()
        }
    }
}
