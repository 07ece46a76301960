//! `ImportResourceState`: from an id to the start of a state, which `ReadResource` completes.

use super::messages::{diagnostics, encode};
use super::read_resource::valid;
use super::{Call, Service, write_only};
use crate::proto::tfplugin6::import_resource_state::{ImportedResource, Request, Response};
use crate::{Diagnostic, Diagnostics, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn import_resource_state(&self, call: Call, request: Request) -> Response {
        match self.try_import(&call, request).await {
            Ok(imported) => Response { imported_resources: vec![imported], ..Response::default() },
            Err(failed) => Response { diagnostics: diagnostics(failed), ..Response::default() },
        }
    }

    async fn try_import(&self, call: &Call, request: Request) -> Result<ImportedResource, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        if request.id.is_empty() {
            return Err(Diagnostic::error(
                format!("Cannot import `{}` without an id", info.name),
                "This provider imports by id only, not by identity. Nothing was imported. Give the id.",
            )
            .into());
        }
        let cx = self.context(call)?;
        let mut state = resource.import(&cx, request.id.clone()).await?;
        write_only::strip(&info.schema.block, &mut state);
        valid(info, &state)?;
        Ok(ImportedResource {
            type_name: request.type_name,
            state: Some(encode(&state, &info.ty, "imported state")?),
            identity: request.identity,
            ..ImportedResource::default()
        })
    }
}
