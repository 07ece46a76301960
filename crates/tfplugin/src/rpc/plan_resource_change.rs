//! `PlanResourceChange`: what applying would do.

use std::collections::BTreeSet;

use super::messages::{decode, diagnostics, encode, path};
use super::modifiers::promise;
use super::planning::{draft, replacements};
use super::{About, Call, ObjectInfo, Service, write_only};
use crate::check::Violation;
use crate::proto::tfplugin6::plan_resource_change::{Request, Response};
use crate::resource::PlanValues;
use crate::{Context, Deferral, Diagnostic, Diagnostics, PrivateState, Provider, Value, check, deferral};

impl<P: Provider> Service<P> {
    pub(crate) async fn plan_resource_change(&self, call: Call, request: Request) -> Response {
        let private = request.prior_private.clone();
        let identity = self.if_identified(&request.type_name, request.prior_identity.clone());
        self.try_plan(&call, request).await.unwrap_or_else(|failed| Response {
            planned_private: private,
            planned_identity: identity,
            diagnostics: diagnostics(failed),
            ..Response::default()
        })
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
        // From 1.16 on the second plan of an apply gets what the first has set.
        let stored =
            if request.planned_private.is_empty() { request.prior_private } else { request.planned_private };
        let private = PrivateState::of(stored.clone());
        // A provider whose configuration is not known yet plans as well as it can without.
        let cx = self
            .context_if_configured(call, About { private: stored, meta: request.provider_meta.as_ref() })?;
        let cx = cx.map(|cx| Context { private: private.clone(), ..cx });
        let may_defer = deferral::allowed(request.client_capabilities.as_ref());
        let mut plan = resource.plan(cx.as_ref(), values, private.clone()).await;
        let mut deferral = plan.deferral;
        if cx.is_none() && may_defer && self.unconfigured(call) {
            deferral = deferral.or(Some(Deferral::ProviderConfigUnknown));
        }
        if let Some(reason) = deferral
            && !may_defer
        {
            plan.diagnostics.push(reason.refusal(info.name));
        }

        let PlanValues { prior, config, planned, replace, .. } = &mut plan.values;
        write_only::strip(block, planned);
        promise(block, planned, config);
        replace.extend(replacements(block, prior, planned));
        let mut replaced_by = BTreeSet::new();
        for place in &*replace {
            match check::replace_path(&info.ty, prior, planned, place) {
                Ok(place) => replaced_by.extend(place),
                Err(violation) => plan.diagnostics.push(rejected(info, violation)),
            }
        }
        if !destroys && !plan.diagnostics.has_errors() {
            plan.diagnostics.extend(violations(info, prior, config, planned));
        }
        if destroys {
            *planned = Value::Null;
        }
        Ok(Response {
            planned_state: Some(encode(planned, &info.ty, "planned state")?),
            requires_replace: replaced_by.iter().map(path).collect(),
            diagnostics: diagnostics(plan.diagnostics),
            planned_private: private.to_bytes(),
            planned_identity: match &info.identity {
                // The new object of a replacement is another one.
                Some(identity) => {
                    identity.planned(request.prior_identity.filter(|_| !prior.is_null()), planned)?
                }
                None => None,
            },
            deferred: deferral.filter(|_| may_defer).map(Deferral::to_proto),
            ..Response::default()
        })
    }
}

/// What Terraform core would reject, in words that name the mistake.
fn violations(info: &ObjectInfo, prior: &Value, config: &Value, planned: &Value) -> Diagnostics {
    check::plan_valid(&info.schema, prior, config, planned)
        .into_iter()
        .map(|violation| rejected(info, violation))
        .collect()
}

fn rejected(info: &ObjectInfo, violation: Violation) -> Diagnostic {
    Diagnostic::provider_bug(format!("`{}` made a plan that Terraform would reject: {violation}.", info.name))
        .at(violation.path)
}
