//! `ConfigureProvider`: makes the client that every later call over the same connection works with.

use std::sync::Arc;

use super::defaults::apply_defaults;
use super::messages::{decode, failure};
use super::{Call, Configured, Service};
use crate::proto::tfplugin6::configure_provider::{Request, Response};
use crate::{AttributePath, Configure, Diagnostics, FromValue as _, Provider};

impl<P: Provider> Service<P> {
    pub(crate) async fn configure_provider(&self, call: Call, request: Request) -> Response {
        let connection = call.connection;
        match self.try_configure(&call, request).await {
            Ok(configured) => {
                // Who was told that this has failed must not find a client afterwards.
                if call.claim.hold() {
                    self.connections().insert(connection, configured);
                }
                Response::default()
            }
            Err(failed) => Response { diagnostics: failure(P::NAME, failed) },
        }
    }

    async fn try_configure(
        &self,
        call: &Call,
        request: Request,
    ) -> Result<Configured<P::Client>, Diagnostics> {
        let info = &self.0.config;
        let config = decode(request.config.as_ref(), &info.ty, "provider configuration")?;
        let mut filled = config.clone();
        apply_defaults(&info.schema.block, &mut filled, &config);
        let configured = match P::Config::from_value(&filled, &AttributePath::root()) {
            Ok(config) => {
                self.0
                    .provider
                    .configure(Configure {
                        config,
                        terraform_version: request.terraform_version,
                        cancel: call.cancel.clone(),
                    })
                    .await
            }
            Err(diagnostic) => Err(diagnostic.into()),
        };
        match configured {
            Ok(client) => Ok(Configured::Ready(Arc::new(client))),
            // Failing here would break every first plan that derives the configuration from a resource.
            Err(reasons) if !config.is_wholly_known() => Ok(Configured::Incomplete(reasons)),
            Err(reasons) => Err(reasons),
        }
    }
}
