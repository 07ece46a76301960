//! `ReadResource`: what really is there.

use super::deadline::{Deadline, Ended, Operation, preceded};
use super::messages::{decode, diagnostics, encode};
use super::modifiers::keep_same;
use super::{Call, ObjectInfo, Service, write_only};
use crate::proto::tfplugin6::DynamicValue;
use crate::proto::tfplugin6::read_resource::{Request, Response};
use crate::{Diagnostic, Diagnostics, Provider, Value, check, timeouts};

impl<P: Provider> Service<P> {
    pub(crate) async fn read_resource(&self, call: Call, request: Request) -> Response {
        // Both are erased from state unless they come back.
        let (private, identity) = (request.private.clone(), request.current_identity.clone());
        let current = request.current_state.clone();
        let (new_state, messages) = match self.try_read(&call, request).await {
            Ok(state) => (Some(state), Vec::new()),
            // A failure to look says nothing about the object: it stays as it was.
            Err(failed) => (current, diagnostics(failed)),
        };
        Response { new_state, diagnostics: messages, private, new_identity: identity, ..Response::default() }
    }

    async fn try_read(&self, call: &Call, request: Request) -> Result<DynamicValue, Diagnostics> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let current = decode(request.current_state.as_ref(), &info.ty, "current state")?;
        if current.is_null() {
            return Ok(encode(&Value::Null, &info.ty, "state")?);
        }
        let mut cx = self.context(call)?;
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
        Ok(encode(&state, &info.ty, "state")?)
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
