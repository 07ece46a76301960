//! `PlanResourceChange`: what applying would do.

use std::collections::BTreeSet;

use super::messages::{decode, diagnostics, encode, path};
use super::modifiers::promise;
use super::planning::{draft, replacements};
use super::{Call, ObjectInfo, Service, write_only};
use crate::proto::tfplugin6::plan_resource_change::{Request, Response};
use crate::resource::PlanValues;
use crate::{Diagnostic, Diagnostics, Provider, Value, check};

impl<P: Provider> Service<P> {
    pub(crate) async fn plan_resource_change(&self, call: Call, request: Request) -> Response {
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

        let (planned, mistakes) = if destroys {
            (Value::Null, Diagnostics::new())
        } else {
            draft(block, &prior, proposed, &config)
        };
        if mistakes.has_errors() {
            return Err(mistakes);
        }
        let forced = replacements(block, &prior, &planned);
        let replace = BTreeSet::new();
        let values = PlanValues { prior, config, planned, forced, replace, ty: info.ty.clone() };
        // A provider whose configuration is not known yet plans as well as it can without.
        let cx = self.context(call).ok();
        let mut plan = resource.plan(cx.as_ref(), values).await;

        let PlanValues { prior, config, planned, replace, .. } = &mut plan.values;
        write_only::strip(block, planned);
        promise(block, planned, config);
        replace.extend(replacements(block, prior, planned));
        if !destroys && !plan.diagnostics.has_errors() {
            plan.diagnostics.extend(violations(info, prior, config, planned));
        }
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

/// What Terraform core would reject, in words that name the mistake.
fn violations(info: &ObjectInfo, prior: &Value, config: &Value, planned: &Value) -> Diagnostics {
    check::plan_valid(&info.schema, prior, config, planned)
        .into_iter()
        .map(|violation| {
            Diagnostic::provider_bug(format!(
                "`{}` made a plan that Terraform would reject: {violation}.",
                info.name
            ))
            .at(violation.path)
        })
        .collect()
}
