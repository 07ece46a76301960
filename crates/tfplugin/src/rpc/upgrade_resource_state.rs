//! `UpgradeResourceState`: stored state, of this or an older schema, in the form of the current schema.

use super::messages::{encode, failure};
use super::read_resource::valid;
use super::{Service, write_only};
use crate::proto::tfplugin6::DynamicValue;
use crate::proto::tfplugin6::upgrade_resource_state::{Request, Response};
use crate::schema::Block;
use crate::{Diagnostic, Diagnostics, Provider, Value, codec};

impl<P: Provider> Service<P> {
    pub(crate) fn upgrade_resource_state(&self, request: Request) -> Response {
        // An answer without a state and without an error would make Terraform forget the object.
        let name = request.type_name.clone();
        match self.try_upgrade(request) {
            Ok(state) => Response { upgraded_state: Some(state), diagnostics: Vec::new() },
            Err(failed) => Response { upgraded_state: None, diagnostics: failure(&name, failed) },
        }
    }

    fn try_upgrade(&self, request: Request) -> Result<DynamicValue, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let raw = request.raw_state.unwrap_or_default();
        if raw.json.is_empty() {
            return Err(Diagnostic::error(
                format!("Cannot read the stored state of `{}`", info.name),
                "It is not JSON: it was written by a version of Terraform before 0.12. The state is unchanged. Let \
                 Terraform 0.13 rewrite it first.",
            )
            .into());
        }
        let mut state = if request.version == info.schema.version {
            decode(&raw.json, &info.schema.block)?
        } else {
            let json = serde_json::from_slice(&raw.json).map_err(|error| unreadable(&error.to_string()))?;
            resource.upgrade(request.version, &json)?
        };
        if state.is_null() {
            return Err(unreadable("it is null").into());
        }
        write_only::strip(&info.schema.block, &mut state);
        valid(info, &state)?;
        Ok(encode(&state, &info.ty, "upgraded state")?)
    }
}

/// Stored state by a schema that may have changed since without a new version: missing is null, surplus is dropped.
fn decode(json: &[u8], block: &Block) -> Result<Value, Diagnostic> {
    let state = codec::json::decode_state(json, &block.implied_type())
        .map_err(|error| unreadable(&error.to_string()).at(error.path.clone()))?;
    Ok(block.complete(state))
}

/// For [`crate::History::version`].
pub(crate) fn decode_state_json(json: &serde_json::Value, block: &Block) -> Result<Value, Diagnostic> {
    let bytes = serde_json::to_vec(json).map_err(|error| unreadable(&error.to_string()))?;
    decode(&bytes, block)
}

fn unreadable(reason: &str) -> Diagnostic {
    Diagnostic::error(
        "Cannot read the stored state",
        format!("It does not fit the schema: {reason}. The state is unchanged."),
    )
}
