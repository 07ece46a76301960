//! `OpenEphemeralResource`: makes a value for one run.

use tokio_util::sync::CancellationToken;

use super::defaults::apply_defaults;
use super::ephemerals::timestamp;
use super::managed::left;
use super::messages::{decode, diagnostics, encode, failure};
use super::{About, Call, ObjectInfo, Service};
use crate::proto::tfplugin6::open_ephemeral_resource::{Request, Response};
use crate::{Context, Deferral, Diagnostic, Diagnostics, Provider, Value, check, deferral};

impl<P: Provider> Service<P> {
    pub(crate) async fn open_ephemeral_resource(&self, call: Call, request: Request) -> Response {
        let name = request.type_name.clone();
        self.try_open(&call, request)
            .await
            .unwrap_or_else(|failed| Response { diagnostics: failure(&name, failed), ..Response::default() })
    }

    async fn try_open(&self, call: &Call, request: Request) -> Result<Response, Diagnostics> {
        let ephemeral = self.ephemeral(&request.type_name)?;
        let info = ephemeral.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let cx = match self.context(call, About::default()) {
            Err(_) if self.unconfigured(call) && deferral::allowed(request.client_capabilities.as_ref()) => {
                return Ok(Response {
                    result: Some(encode(&Value::unknown(), &info.ty, "result")?),
                    deferred: Some(Deferral::ProviderConfigUnknown.to_proto()),
                    ..Response::default()
                });
            }
            other => other?,
        };
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let opened = ephemeral.open(&cx, &filled).await?;
        let result = usable(info, &config, &opened.result)
            .and_then(|()| encode(&opened.result, &info.ty, "result"))
            .and_then(|result| if call.claim.hold() { Ok(result) } else { Err(left(info.name)) });
        match result {
            Ok(result) => Ok(Response {
                diagnostics: diagnostics(opened.warnings),
                renew_at: opened.renew_at.and_then(timestamp),
                result: Some(result),
                private: Some(opened.private),
                deferred: None,
            }),
            // Terraform closes only what it was told is open.
            Err(diagnostic) => {
                // Also after a stop, which has tripped the token of this call.
                let cx = Context { cancel: CancellationToken::new(), ..cx };
                let mut messages = Diagnostics::from(diagnostic);
                let (Ok(more) | Err(more)) = ephemeral.close(&cx, &opened.private).await;
                messages.extend(more);
                Err(messages)
            }
        }
    }
}

/// The result is what core accepts: wholly known, with everything that the user has set, and nothing else but what is
/// computed.
fn usable(info: &ObjectInfo, config: &Value, result: &Value) -> Result<(), Diagnostic> {
    let violations = check::plan_valid(&info.schema, &Value::Null, config, result);
    match violations.into_iter().chain(check::read_valid(&info.schema, result)).next() {
        None => Ok(()),
        Some(violation) => {
            Err(Diagnostic::provider_bug(format!("`{}` opened what cannot be used: {violation}.", info.name))
                .at(violation.path))
        }
    }
}
