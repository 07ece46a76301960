//! `MoveResourceState`: an object of another type becomes one of this type.

use serde_json::Value as Json;

use super::messages::{encode, failure};
use super::read_resource::valid;
use super::{Service, write_only};
use crate::proto::tfplugin6::move_resource_state::{Request, Response};
use crate::{Diagnostic, Diagnostics, MoveSource, Provider};

impl<P: Provider> Service<P> {
    pub(crate) fn move_resource_state(&self, request: Request) -> Response {
        let name = request.target_type_name.clone();
        self.try_move(request)
            .unwrap_or_else(|failed| Response { diagnostics: failure(&name, failed), ..Response::default() })
    }

    fn try_move(&self, request: Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.target_type_name)?;
        let info = resource.info();
        let raw = request.source_state.unwrap_or_default();
        let parse = |bytes: &[u8], what: &str| {
            serde_json::from_slice::<Json>(bytes).map_err(|error| {
                Diagnostic::error(
                    format!("Cannot move `{}` to `{}`", request.source_type_name, info.name),
                    format!("Its stored {what} is not JSON: {error}. Nothing was changed."),
                )
            })
        };
        let source = MoveSource {
            provider: request.source_provider_address.clone(),
            type_name: request.source_type_name.clone(),
            version: request.source_schema_version,
            state: parse(&raw.json, "state")?,
            identity: match &request.source_identity {
                Some(identity) if !identity.json.is_empty() => Some(parse(&identity.json, "identity")?),
                _ => None,
            },
        };
        let Some(moved) = resource.take_over(&source, P::ADDRESS) else {
            let origins = resource.origins();
            let possible = if origins.is_empty() {
                "Objects of no other type can.".to_owned()
            } else {
                format!("Objects of these types can: {}.", origins.join(", "))
            };
            return Err(Diagnostic::error(
                format!("`{}` cannot become `{}`", source.type_name, info.name),
                format!(
                    "There is no way from version {} of `{}` of provider `{}`. {possible} Nothing was changed. Remove the \
                     object from state and import it as `{}`.",
                    source.version, source.type_name, source.provider, info.name
                ),
            )
            .into());
        };
        let mut state = moved?;
        write_only::strip(&info.schema.block, &mut state);
        valid(info, &state)?;
        Ok(Response {
            target_state: Some(encode(&state, &info.ty, "moved state")?),
            target_identity: info.identity.as_ref().and_then(|identity| identity.stored(&state)),
            // What the other provider kept for itself means nothing here.
            ..Response::default()
        })
    }
}
