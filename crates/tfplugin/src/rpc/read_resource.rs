//! `ReadResource`: what really is there.

use super::deadline::{Deadline, Ended, Operation, preceded};
use super::messages::{decode, encode, failure};
use super::modifiers::keep_same;
use super::{About, Call, ObjectInfo, Service, write_only};
use crate::proto::tfplugin6::read_resource::{Request, Response};
use crate::{Deferral, Diagnostic, Diagnostics, Provider, Value, check, deferral, timeouts};

impl<P: Provider> Service<P> {
    pub(crate) async fn read_resource(&self, call: Call, request: Request) -> Response {
        // Both are erased from state unless they come back.
        let private = request.private.clone();
        let identity = self.if_identified(&request.type_name, request.current_identity.clone());
        let current = request.current_state.clone();
        let name = request.type_name.clone();
        self.try_read(&call, request).await.unwrap_or_else(|failed| Response {
            // A failure to look says nothing about the object: it stays as it was.
            new_state: current,
            diagnostics: failure(&name, failed),
            private,
            new_identity: identity,
            ..Response::default()
        })
    }

    async fn try_read(&self, call: &Call, request: Request) -> Result<Response, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let identity = self.if_identified(&request.type_name, request.current_identity);
        let current = decode(request.current_state.as_ref(), &info.ty, "current state")?;
        let about = About { private: request.private.clone(), meta: request.provider_meta.as_ref() };
        if current.is_null() {
            return Ok(Response {
                new_state: Some(encode(&Value::Null, &info.ty, "state")?),
                private: request.private,
                new_identity: identity,
                ..Response::default()
            });
        }
        let mut cx = match self.context(call, about) {
            Err(_) if self.unconfigured(call) && deferral::allowed(request.client_capabilities.as_ref()) => {
                return Ok(Response {
                    new_state: request.current_state,
                    private: request.private,
                    new_identity: identity,
                    deferred: Some(Deferral::ProviderConfigUnknown.to_proto()),
                    ..Response::default()
                });
            }
            other => other?,
        };
        let imports = cx.private.take_imported();
        let deadline = Deadline::of(info, Operation::Read, &current, &mut cx);
        let mut state = match Deadline::run(deadline, resource.read(&cx, &current)).await {
            Ended::Done(Ok(state), _) => state.unwrap_or(Value::Null),
            Ended::Done(Err(errors), late) => return Err(preceded(late, errors)),
            Ended::StillRuns(late) => return Err(late.into()),
        };
        write_only::strip(&info.schema.block, &mut state);
        keep_same(&info.schema.block, &mut state, [&current]);
        timeouts::keep(&info.schema.block, &mut state, &current);
        valid(info, &state)?;
        let new_identity = match &info.identity {
            Some(info_identity) => {
                if imports {
                    info_identity.as_asked(info.name, identity.as_ref(), &state)?;
                } else {
                    info_identity.same_object(info.name, identity.as_ref(), &state)?;
                }
                info_identity.stored(&state).or(identity)
            }
            None => None,
        };
        Ok(Response {
            new_state: Some(encode(&state, &info.ty, "state")?),
            private: cx.private.to_bytes(),
            new_identity,
            ..Response::default()
        })
    }
}

/// What is read, imported or upgraded is known and of the schema's type.
pub(super) fn valid(info: &ObjectInfo, state: &Value) -> Result<(), Diagnostics> {
    let diagnostics: Diagnostics = check::read_valid(&info.schema, state)
        .into_iter()
        .map(|violation| {
            Diagnostic::provider_bug(format!("`{}` read what cannot be stored: {violation}.", info.name))
                .at(violation.path)
        })
        .collect();
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
}
