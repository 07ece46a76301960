//! `ApplyResourceChange`: create, change or delete as planned, and tell the truth about what came of it.

use super::managed::{Applied, Change};
use super::messages::{self, decode, diagnostics, encode};
use super::modifiers::keep_same;
use super::{About, Call, ObjectInfo, Service, write_only};
use crate::proto::tfplugin6::ResourceIdentityData;
use crate::proto::tfplugin6::apply_resource_change::{Request, Response};
use crate::timeouts::{self, differ_beyond};
use crate::{AttributePath, Diagnostic, Diagnostics, Provider, Value, check};

impl<P: Provider> Service<P> {
    pub(crate) async fn apply_resource_change(&self, call: Call, request: Request) -> Response {
        let private = request.planned_private.clone();
        let prior = request.prior_state.clone();
        let identity = self.known_identity(&request);
        self.try_apply(&call, request).await.unwrap_or_else(|failed| Response {
            // Nothing was attempted: the prior state holds (on create it is null).
            new_state: prior,
            private,
            new_identity: identity,
            diagnostics: diagnostics(failed),
            ..Response::default()
        })
    }

    /// The planned identity, if it says anything: that of a create may be unknown still.
    fn known_identity(&self, request: &Request) -> Option<ResourceIdentityData> {
        let planned = request.planned_identity.as_ref()?;
        let identity = self.resource(&request.type_name).ok()?.info().identity.as_ref()?;
        identity.decode(planned).ok()?.is_wholly_known().then(|| planned.clone())
    }

    async fn try_apply(&self, call: &Call, request: Request) -> Result<Response, Diagnostics> {
        let planned_identity = self.known_identity(&request);
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let prior = decode(request.prior_state.as_ref(), &info.ty, "prior state")?;
        let planned = decode(request.planned_state.as_ref(), &info.ty, "planned state")?;
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let updates = !prior.is_null() && !planned.is_null() && planned != prior;
        if updates && planned.is_wholly_known() && !differ_beyond(&info.schema.block, &planned, &prior) {
            // Nothing but timeouts changes, and they are known to no one but state.
            return Ok(Response {
                new_state: Some(encode(&planned, &info.ty, "new state")?),
                private: request.planned_private,
                new_identity: planned_identity,
                ..Response::default()
            });
        }
        let about = About { private: request.planned_private, meta: request.provider_meta.as_ref() };
        let cx = self.context(call, about)?;
        let private = cx.private.clone();

        let before = prior.clone();
        let (change, expected) = match (prior.is_null(), planned.is_null()) {
            (true, true) => {
                return Err(Diagnostic::error(
                    format!("Nothing to do for `{}`", info.name),
                    "Terraform has asked to change an object that neither exists nor is planned.",
                )
                .into());
            }
            (true, false) => (Change::Create { planned: planned.clone(), config }, planned),
            (false, false) => (Change::Update { prior, planned: planned.clone(), config }, planned),
            (false, true) => (Change::Delete { prior }, Value::Null),
        };
        let applied = resource.apply(cx, change, self.stop_token()).await;
        let (state, mut messages) = judge(info, &before, &expected, applied);
        let mut new_identity = None;
        if let Some(identity) = &info.identity {
            if !messages.has_errors()
                && let Err(changed) = identity.unchanged(info.name, planned_identity.as_ref(), &state)
            {
                messages.extend(changed);
            }
            // An object whose identity has not come to light keeps the one it had.
            new_identity = identity.stored(&state).or(planned_identity.filter(|_| !state.is_null()));
        }
        match encode(&state, &info.ty, "new state") {
            Ok(state) => Ok(Response {
                new_state: Some(state),
                private: private.to_bytes(),
                new_identity,
                diagnostics: diagnostics(messages),
                ..Response::default()
            }),
            Err(unfit) => {
                messages.push(unfit);
                Err(messages)
            }
        }
    }
}

/// The state to report, and what to say about it: a success is held against the plan.
fn judge(info: &ObjectInfo, prior: &Value, planned: &Value, applied: Applied) -> (Value, Diagnostics) {
    let Applied { mut state, touched, outcome } = applied;
    write_only::strip(&info.schema.block, &mut state);
    keep_same(&info.schema.block, &mut state, [planned, prior]);
    if touched && !planned.is_null() {
        timeouts::keep(&info.schema.block, &mut state, planned);
    }
    let mut messages = match outcome {
        Ok(warnings) if !warnings.has_errors() => {
            if planned.is_null() {
                // Whatever was in the slot: the object is gone.
                return (Value::Null, warnings);
            }
            let mut messages = warnings;
            messages.extend(broken_promises(info, planned, &state, touched));
            messages
        }
        Ok(errors) | Err(errors) if errors.has_errors() => errors,
        // A failure that says nothing would count as success.
        Ok(mut silent) | Err(mut silent) => {
            silent.push(messages::silent(info.name));
            silent
        }
    };
    let unknown = leftover(&mut state);
    if !unknown.is_empty() && !messages.has_errors() {
        for path in unknown {
            messages.push(
                Diagnostic::provider_bug(format!(
                    "`{}` left `{path}` unknown after apply; it is stored as null.",
                    info.name
                ))
                .at(path),
            );
        }
    }
    (state, messages)
}

/// A success whose result is not what the plan has promised. The state is stored as it is, because it is the truth.
fn broken_promises(info: &ObjectInfo, planned: &Value, state: &Value, touched: bool) -> Diagnostics {
    if !touched {
        return Diagnostic::provider_bug(format!(
            "`{}` reported success without saving what it has done: a handler saves the state before it returns.",
            info.name
        ))
        .into();
    }
    check::apply_consistent(&info.schema, planned, state)
        .into_iter()
        // Said by itself, after all unknown values were made null.
        .filter(|violation| violation.rule != check::Rule::Unknown)
        .map(|violation| {
            Diagnostic::provider_bug(format!(
                "`{}` did not do what it has planned: {violation}. The state says what was really done.",
                info.name
            ))
            .at(violation.path)
        })
        .collect()
}

/// Makes null what is still unknown; the places where it was.
fn leftover(state: &mut Value) -> Vec<AttributePath> {
    let mut paths = Vec::new();
    if state.is_wholly_known() {
        return paths;
    }
    *state = std::mem::take(state).transform(&mut |path, value| {
        if matches!(value, Value::Unknown(_)) {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
            Value::Null
        } else {
            value
        }
    });
    paths
}
