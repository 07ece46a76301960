//! `ReadDataSource`.

use super::defaults::apply_defaults;
use super::messages::{decode, encode, failure};
use super::read_resource::valid;
use super::{About, Call, Service};
use crate::proto::tfplugin6::DynamicValue;
use crate::proto::tfplugin6::read_data_source::{Request, Response};
use crate::{Deferral, Diagnostics, Provider, Value, deferral};

impl<P: Provider> Service<P> {
    pub(crate) async fn read_data_source(&self, call: Call, request: Request) -> Response {
        let name = request.type_name.clone();
        match self.try_read_data(&call, request).await {
            Ok((state, deferred)) => Response {
                state: Some(state),
                deferred: deferred.map(Deferral::to_proto),
                ..Response::default()
            },
            Err(failed) => Response { diagnostics: failure(&name, failed), ..Response::default() },
        }
    }

    async fn try_read_data(
        &self,
        call: &Call,
        request: Request,
    ) -> Result<(DynamicValue, Option<Deferral>), Diagnostics> {
        let data_source = self.data_source(&request.type_name)?;
        let info = data_source.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let about = About { meta: request.provider_meta.as_ref(), ..About::default() };
        let cx = match self.context(call, about) {
            Err(_) if self.unconfigured(call) && deferral::allowed(request.client_capabilities.as_ref()) => {
                let unknown = encode(&Value::unknown(), &info.ty, "result")?;
                return Ok((unknown, Some(Deferral::ProviderConfigUnknown)));
            }
            other => other?,
        };
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let state = data_source.read(&cx, &filled).await?;
        valid(info, &state)?;
        Ok((encode(&state, &info.ty, "result")?, None))
    }
}
