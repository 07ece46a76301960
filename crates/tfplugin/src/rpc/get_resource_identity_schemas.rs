//! `GetResourceIdentitySchemas`.

use super::Service;
use crate::Provider;
use crate::proto::tfplugin6::get_resource_identity_schemas::Response;

impl<P: Provider> Service<P> {
    /// Only resources that have an identity: returning data for one without a schema crashes core.
    pub(super) fn identity_schemas(&self) -> Response {
        let schemas = self.0.registry.resources.iter().filter_map(|(name, resource)| {
            let identity = resource.info().identity.as_ref()?;
            Some(((*name).to_owned(), identity.schema()))
        });
        Response { identity_schemas: schemas.collect(), diagnostics: Vec::new() }
    }
}
