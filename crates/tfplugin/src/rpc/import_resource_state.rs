//! `ImportResourceState`: from an id or an identity to the start of a state, which `ReadResource` completes.

use super::demands::demands;
use super::messages::{encode, failure};
use super::read_resource::valid;
use super::{About, Call, Service, write_only};
use crate::proto::tfplugin6::import_resource_state::{ImportedResource, Request, Response};
use crate::schema::Block;
use crate::{Deferral, Diagnostic, Diagnostics, Provider, Value, deferral};

impl<P: Provider> Service<P> {
    pub(crate) async fn import_resource_state(&self, call: Call, request: Request) -> Response {
        let name = request.type_name.clone();
        self.try_import(&call, request)
            .await
            .unwrap_or_else(|failed| Response { diagnostics: failure(&name, failed), ..Response::default() })
    }

    async fn try_import(&self, call: &Call, request: Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let by_identity = self.identity_to_import(&request)?;
        let cx = match self.context(call, About::default()) {
            Err(_) if self.unconfigured(call) && deferral::allowed(request.client_capabilities.as_ref()) => {
                return Ok(Response {
                    deferred: Some(Deferral::ProviderConfigUnknown.to_proto()),
                    ..Response::default()
                });
            }
            other => other?,
        };
        let mut state = match by_identity {
            None => resource.import(&cx, request.id.clone()).await?,
            Some(identity) => resource.import_identity(&cx, identity).await?,
        };
        write_only::strip(&info.schema.block, &mut state);
        valid(info, &state)?;
        if info.identity.is_some() {
            cx.private.set_imported();
        }
        let stored = info.identity.as_ref().and_then(|identity| identity.stored(&state));
        Ok(Response {
            imported_resources: vec![ImportedResource {
                type_name: request.type_name,
                state: Some(encode(&state, &info.ty, "imported state")?),
                identity: stored.or(request.identity.filter(|_| info.identity.is_some())),
                private: cx.private.to_bytes(),
            }],
            ..Response::default()
        })
    }

    /// The start of a state, if the request names an identity and no id.
    fn identity_to_import(&self, request: &Request) -> Result<Option<Value>, Diagnostics> {
        let info = self.resource(&request.type_name)?.info();
        match (&request.identity, &info.identity) {
            _ if !request.id.is_empty() => Ok(None),
            (Some(given), Some(identity)) => {
                let value = identity.decode(given)?;
                let block = &info.schema.block;
                let state = identity.to_state(info.name, block, &value)?;
                // What configuration would be held against holds here too; rules between fields mean whole configurations.
                let attributes = block.attributes.iter().filter(|attribute| attribute.identity.is_some());
                let part = Block { attributes: attributes.cloned().collect(), ..Block::default() };
                let messages = demands(&part, &state);
                if messages.has_errors() { Err(messages) } else { Ok(Some(state)) }
            }
            (given, _) => {
                let detail = if given.is_some() {
                    "It has no identity, so it is imported by id. Nothing was imported. Give the id."
                } else {
                    "Neither an id nor an identity was given. Nothing was imported."
                };
                Err(Diagnostic::error(format!("Cannot import `{}` without an id", info.name), detail).into())
            }
        }
    }
}
