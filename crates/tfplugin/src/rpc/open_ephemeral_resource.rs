//! `OpenEphemeralResource`: makes a value for one run.

use tokio_util::sync::CancellationToken;

use super::defaults::apply_defaults;
use super::ephemerals::timestamp;
use super::managed::left;
use super::messages::{decode, diagnostics, encode, failure};
use super::{About, Call, Service};
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
        let result = check_result(info.name, &filled, &opened.result)
            .and_then(|()| {
                let problems = check::read_valid(&info.schema, &opened.result);
                problems.into_iter().next().map_or(Ok(()), |violation| {
                    Err(Diagnostic::provider_bug(format!(
                        "`{}` opened what cannot be used: {violation}.",
                        info.name
                    ))
                    .at(violation.path))
                })
            })
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

/// The result keeps what configuration says, as core demands.
fn check_result(name: &str, config: &Value, result: &Value) -> Result<(), Diagnostic> {
    let Some(config) = config.entries() else { return Ok(()) };
    for (attribute, value) in config {
        if !value.is_null() && result.get(attribute) != Some(value) && value.is_wholly_known() && plain(value)
        {
            return Err(Diagnostic::provider_bug(format!(
                "`{name}` opened with another `{attribute}` than configured: what the user has set must be kept."
            ))
            .at(attribute.as_str()));
        }
    }
    Ok(())
}

/// Nested objects may have computed parts; core looks into them itself.
fn plain(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}
