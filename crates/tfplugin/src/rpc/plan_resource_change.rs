//! `PlanResourceChange`: what applying would do.

use super::messages::{decode, diagnostics, encode, path};
use super::planning::{draft, replacements};
use super::{Call, Service, write_only};
use crate::proto::tfplugin6::plan_resource_change::{Request, Response};
use crate::resource::PlanValues;
use crate::{Diagnostics, Provider, Value};

impl<P: Provider> Service<P> {
    pub(super) async fn plan_resource_change(&self, call: Call, request: Request) -> Response {
        let (private, identity) = (request.prior_private.clone(), request.prior_identity.clone());
        match self.try_plan(&call, request).await {
            Ok(response) => Response { planned_private: private, planned_identity: identity, ..response },
            Err(failed) => Response {
                planned_private: private,
                planned_identity: identity,
                diagnostics: diagnostics(failed),
                ..Response::default()
            },
        }
    }

    async fn try_plan(&self, call: &Call, request: Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let prior = decode(request.prior_state.as_ref(), &info.ty, "prior state")?;
        let proposed = decode(request.proposed_new_state.as_ref(), &info.ty, "proposed state")?;
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let destroys = proposed.is_null();
        let block = &info.schema.block;

        let planned = if destroys { Value::Null } else { draft(block, &prior, proposed, &config) };
        let replace = replacements(block, &prior, &planned);
        let values = PlanValues { prior, config, planned, replace, ty: info.ty.clone() };
        // A provider whose configuration is not known yet plans as well as it can without.
        let cx = self.context(call).ok();
        let mut plan = resource.plan(cx.as_ref(), values).await;

        let PlanValues { prior, planned, replace, .. } = &mut plan.values;
        write_only::strip(block, planned);
        replace.extend(replacements(block, prior, planned));
        if destroys {
            *planned = Value::Null;
        }
        Ok(Response {
            planned_state: Some(encode(planned, &info.ty, "planned state")?),
            requires_replace: replace.iter().map(path).collect(),
            diagnostics: diagnostics(plan.diagnostics),
            ..Response::default()
        })
    }
}
