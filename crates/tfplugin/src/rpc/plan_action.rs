//! `PlanAction`: whether an action may be done.

use super::defaults::apply_defaults;
use super::messages::{decode, diagnostics};
use super::{About, Call, Service};
use crate::proto::tfplugin6::plan_action::{Request, Response};
use crate::{Deferral, Diagnostics, Provider, deferral};

impl<P: Provider> Service<P> {
    pub(crate) async fn plan_action(&self, call: Call, request: Request) -> Response {
        let may_defer = deferral::allowed(request.client_capabilities.as_ref()) && self.unconfigured(&call);
        let (Ok(messages) | Err(messages)) = self.try_plan_action(&call, request).await;
        let deferred =
            (may_defer && !messages.has_errors()).then(|| Deferral::ProviderConfigUnknown.to_proto());
        Response { diagnostics: diagnostics(messages), deferred }
    }

    async fn try_plan_action(&self, call: &Call, request: Request) -> Result<Diagnostics, Diagnostics> {
        let action = self.action(&request.action_type)?;
        let info = action.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let cx = self.context_if_configured(call, About::default())?;
        Ok(action.plan(cx.as_ref(), &filled).await)
    }
}
