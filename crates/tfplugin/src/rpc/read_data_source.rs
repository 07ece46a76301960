//! `ReadDataSource`.

use super::defaults::apply_defaults;
use super::messages::{decode, diagnostics, encode};
use super::read_resource::valid;
use super::{Call, Service};
use crate::proto::tfplugin6::DynamicValue;
use crate::proto::tfplugin6::read_data_source::{Request, Response};
use crate::{Diagnostics, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn read_data_source(&self, call: Call, request: Request) -> Response {
        match self.try_read_data(&call, request).await {
            Ok(state) => Response { state: Some(state), ..Response::default() },
            Err(failed) => Response { diagnostics: diagnostics(failed), ..Response::default() },
        }
    }

    async fn try_read_data(&self, call: &Call, request: Request) -> Result<DynamicValue, Diagnostics> {
        let data_source = self.data_source(&request.type_name)?;
        let info = data_source.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let cx = self.context(call)?;
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let state = data_source.read(&cx, &filled).await?;
        valid(info, &state)?;
        Ok(encode(&state, &info.ty, "result")?)
    }
}
