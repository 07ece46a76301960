//! `UpgradeResourceIdentity`: a stored identity of an older layout in the layout of today.

use super::Service;
use super::messages::failure;
use crate::proto::tfplugin6 as proto;
use crate::proto::tfplugin6::upgrade_resource_identity::{Request, Response};
use crate::{Diagnostic, Diagnostics, Provider, codec};

impl<P: Provider> Service<P> {
    pub(crate) fn upgrade_resource_identity(&self, request: Request) -> Response {
        let name = request.type_name.clone();
        match self.try_upgrade_identity(request) {
            Ok(identity) => Response { upgraded_identity: Some(identity), diagnostics: Vec::new() },
            Err(failed) => Response { upgraded_identity: None, diagnostics: failure(&name, failed) },
        }
    }

    fn try_upgrade_identity(&self, request: Request) -> Result<proto::ResourceIdentityData, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let name = resource.info().name;
        let Some(identity) = &resource.info().identity else {
            return Err(Diagnostic::error(
                format!("`{name}` has no identity"),
                "Its state holds one, which a newer version of this provider must have written. The state is unchanged. Use \
                 that version.",
            )
            .into());
        };
        let raw = request.raw_identity.unwrap_or_default();
        let mut json: serde_json::Value = serde_json::from_slice(&raw.json).map_err(|error| {
            Diagnostic::error(
                format!("Cannot read the stored identity of `{name}`"),
                format!("It is not JSON: {error}. The state is unchanged."),
            )
        })?;
        if request.version != identity.version() {
            json = resource.upgrade_identity(request.version, json)?;
        }
        let value =
            codec::json::decode_state(json.to_string().as_bytes(), identity.ty()).map_err(|error| {
                Diagnostic::provider_bug(format!(
                    "The upgraded identity of `{name}` does not fit its schema: {error}."
                ))
            })?;
        Ok(identity.encode(&value)?)
    }
}
