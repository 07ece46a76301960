//! The `Validate…Config` calls: pure checks of configuration, in which any value may be unknown.

use std::collections::BTreeMap;

use super::messages::{decode, diagnostics};
use super::{ObjectInfo, Service};
use crate::convert::NOT_KNOWN;
use crate::proto::tfplugin6::{
    self as proto, validate_action_config, validate_data_resource_config, validate_ephemeral_resource_config,
    validate_list_resource_config, validate_provider_config, validate_resource_config,
};
use crate::schema::{Attribute, Block, Shape};
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
        let mut messages = single_values(&info.schema.block, &config);
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
        let mut messages = single_values(&info.schema.block, &config);
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
}

/// Single values first; what the author has to say of the whole only when they are sound.
fn checked(
    info: &ObjectInfo,
    config: Option<&proto::DynamicValue>,
    whole: impl FnOnce(&Value) -> Diagnostics,
) -> Result<Diagnostics, Diagnostic> {
    let config = decode(config, &info.ty, "configuration")?;
    let mut messages = single_values(&info.schema.block, &config);
    if !messages.has_errors() {
        messages.extend(whole(&config));
    }
    Ok(messages)
}

/// What the schema demands of single values: validators and deprecations.
pub(super) fn single_values(block: &Block, config: &Value) -> Diagnostics {
    let mut messages = Diagnostics::new();
    in_block(block, config, &AttributePath::root(), false, &mut messages);
    messages
}

fn in_block(block: &Block, config: &Value, path: &AttributePath, in_set: bool, messages: &mut Diagnostics) {
    let Value::Object(object) = config else { return };
    in_attributes(&block.attributes, object, path, in_set, messages);
    for nested in &block.blocks {
        let Some(value) = object.get(&nested.name) else { continue };
        let path = step(path, &nested.name, in_set);
        let mut used = false;
        each(value, &path, in_set, &mut |value, path, in_set| {
            used = true;
            in_block(&nested.block, value, path, in_set, messages);
        });
        if let (true, Some(instead)) = (used, &nested.block.deprecated) {
            messages.push(deprecated(&nested.name, instead, &path));
        }
    }
}

fn in_attributes(
    attributes: &[Attribute],
    object: &BTreeMap<String, Value>,
    path: &AttributePath,
    in_set: bool,
    messages: &mut Diagnostics,
) {
    for attribute in attributes {
        let value = object.get(&attribute.name).unwrap_or(&Value::Null);
        if value.is_null() {
            continue;
        }
        let path = step(path, &attribute.name, in_set);
        // Warned only where it is set: otherwise everyone would be.
        if let Some(instead) = &attribute.deprecated {
            messages.push(deprecated(&attribute.name, instead, &path));
        }
        if value.is_unknown() {
            continue;
        }
        for validator in &attribute.validators {
            if let Err(reason) = (validator.check)(value) {
                let summary = format!("Invalid value for `{}`", attribute.name);
                // Reasons quote the value.
                let reason = if attribute.sensitive || attribute.write_only {
                    "The value is not valid; it is sensitive, so it is not shown here.".to_owned()
                } else {
                    reason
                };
                let detail = format!("{reason}{} Expected: {}.", stop(&reason), validator.description);
                messages.push(Diagnostic::error(summary, detail).at(path.clone()));
            }
        }
        if let Shape::Nested(nested) = &attribute.shape {
            each(value, &path, in_set, &mut |value, path, in_set| {
                if let Value::Object(object) = value {
                    in_attributes(&nested.attributes, object, path, in_set, messages);
                }
            });
        }
    }
}

/// Ends a sentence that does not end yet.
fn stop(reason: &str) -> &'static str {
    if reason.ends_with(['.', '!', '?']) { "" } else { "." }
}

fn deprecated(name: &str, instead: &str, path: &AttributePath) -> Diagnostic {
    Diagnostic::warning(format!("`{name}` is deprecated"), instead).at(path.clone())
}

/// Elements of sets have no address, and nothing inside them either: the path stays at the set.
fn step(path: &AttributePath, name: &str, in_set: bool) -> AttributePath {
    if in_set { path.clone() } else { path.attribute(name) }
}

/// The object itself, or each object of a collection.
fn each(
    value: &Value,
    path: &AttributePath,
    in_set: bool,
    visit: &mut dyn FnMut(&Value, &AttributePath, bool),
) {
    match value {
        Value::List(elements) | Value::Tuple(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let path = if in_set { path.clone() } else { path.index(index as u64) };
                visit(element, &path, in_set);
            }
        }
        Value::Set(elements) => elements.iter().for_each(|element| visit(element, path, true)),
        Value::Map(elements) => {
            for (key, element) in elements {
                let path = if in_set { path.clone() } else { path.key(key.clone()) };
                visit(element, &path, in_set);
            }
        }
        object @ Value::Object(_) => visit(object, path, in_set),
        _ => {}
    }
}
