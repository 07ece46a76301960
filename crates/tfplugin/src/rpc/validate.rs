//! The `Validate…Config` calls: pure checks of configuration, in which any value may be unknown.

use super::demands::demands;
use super::messages::{decode, diagnostics};
use super::{ObjectInfo, Service};
use crate::convert::NOT_KNOWN;
use crate::proto::tfplugin6::{
    self as proto, validate_action_config, validate_data_resource_config, validate_ephemeral_resource_config,
    validate_list_resource_config, validate_provider_config, validate_resource_config,
    validate_state_store_config,
};
use crate::{AttributePath, Diagnostic, Diagnostics, FromValue as _, Provider, Value, check};

impl<P: Provider> Service<P> {
    pub(crate) fn validate_provider_config(
        &self,
        request: &validate_provider_config::Request,
    ) -> validate_provider_config::Response {
        let messages = self.try_validate_provider(request).unwrap_or_else(Into::into);
        validate_provider_config::Response { diagnostics: diagnostics(messages) }
    }

    fn try_validate_provider(
        &self,
        request: &validate_provider_config::Request,
    ) -> Result<Diagnostics, Diagnostic> {
        let info = &self.0.config;
        let config = decode(request.config.as_ref(), &info.ty, "provider configuration")?;
        let mut messages = demands(&info.schema.block, &config);
        if messages.has_errors() {
            return Ok(messages);
        }
        match P::Config::from_value(&config, &AttributePath::root()) {
            Ok(config) => self.0.provider.validate(&config, &mut messages),
            Err(diagnostic) if diagnostic.summary == NOT_KNOWN => {}
            Err(diagnostic) => messages.push(diagnostic),
        }
        Ok(messages)
    }

    pub(crate) fn validate_resource_config(
        &self,
        request: &validate_resource_config::Request,
    ) -> validate_resource_config::Response {
        let messages = self.try_validate_resource(request).unwrap_or_else(Into::into);
        validate_resource_config::Response { diagnostics: diagnostics(messages) }
    }

    fn try_validate_resource(
        &self,
        request: &validate_resource_config::Request,
    ) -> Result<Diagnostics, Diagnostic> {
        let resource = self.resource(&request.type_name)?;
        let info = resource.info();
        let config = decode(request.config.as_ref(), &info.ty, "configuration")?;
        let mut messages = demands(&info.schema.block, &config);
        let allowed =
            request.client_capabilities.as_ref().is_some_and(|client| client.write_only_attributes_allowed);
        if !allowed {
            for path in
                check::write_only_null(&info.schema, &config).into_iter().map(|violation| violation.path)
            {
                let detail = format!(
                    "`{path}` of `{}` is write-only: it is never stored. This version of Terraform or OpenTofu cannot \
                     hold such a value; use Terraform 1.11 or OpenTofu 1.11, or later.",
                    info.name
                );
                messages.push(Diagnostic::error("Write-only attribute not supported", detail).at(path));
            }
        }
        if !messages.has_errors() {
            messages.extend(resource.validate(&config));
        }
        Ok(messages)
    }

    pub(crate) fn validate_data_resource_config(
        &self,
        request: &validate_data_resource_config::Request,
    ) -> validate_data_resource_config::Response {
        let messages = self.try_validate_data(request).unwrap_or_else(Into::into);
        validate_data_resource_config::Response { diagnostics: diagnostics(messages) }
    }

    fn try_validate_data(
        &self,
        request: &validate_data_resource_config::Request,
    ) -> Result<Diagnostics, Diagnostic> {
        let data_source = self.data_source(&request.type_name)?;
        checked(data_source.info(), request.config.as_ref(), |config| data_source.validate(config))
    }

    pub(crate) fn validate_ephemeral_resource_config(
        &self,
        request: &validate_ephemeral_resource_config::Request,
    ) -> validate_ephemeral_resource_config::Response {
        let messages = self.ephemeral(&request.type_name).and_then(|ephemeral| {
            checked(ephemeral.info(), request.config.as_ref(), |config| ephemeral.validate(config))
        });
        let diagnostics = diagnostics(messages.unwrap_or_else(Into::into));
        validate_ephemeral_resource_config::Response { diagnostics }
    }

    pub(crate) fn validate_list_resource_config(
        &self,
        request: &validate_list_resource_config::Request,
    ) -> validate_list_resource_config::Response {
        let messages = self
            .list(&request.type_name)
            .and_then(|list| checked(list.info(), request.config.as_ref(), |config| list.validate(config)));
        let diagnostics = diagnostics(messages.unwrap_or_else(Into::into));
        validate_list_resource_config::Response { diagnostics }
    }

    pub(crate) fn validate_action_config(
        &self,
        request: &validate_action_config::Request,
    ) -> validate_action_config::Response {
        let messages = self.action(&request.action_type).and_then(|action| {
            checked(action.info(), request.config.as_ref(), |config| action.validate(config))
        });
        let diagnostics = diagnostics(messages.unwrap_or_else(Into::into));
        validate_action_config::Response { diagnostics }
    }

    pub(crate) fn validate_state_store_config(
        &self,
        request: &validate_state_store_config::Request,
    ) -> validate_state_store_config::Response {
        let messages = self.state_store(&request.type_name).and_then(|store| {
            checked(store.info(), request.config.as_ref(), |config| store.validate(config))
        });
        let diagnostics = diagnostics(messages.unwrap_or_else(Into::into));
        validate_state_store_config::Response { diagnostics }
    }
}

/// What the schema demands first; what the author has to say of the whole only when they are sound.
fn checked(
    info: &ObjectInfo,
    config: Option<&proto::DynamicValue>,
    whole: impl FnOnce(&Value) -> Diagnostics,
) -> Result<Diagnostics, Diagnostic> {
    let config = decode(config, &info.ty, "configuration")?;
    let mut messages = demands(&info.schema.block, &config);
    if !messages.has_errors() {
        messages.extend(whole(&config));
    }
    Ok(messages)
}
