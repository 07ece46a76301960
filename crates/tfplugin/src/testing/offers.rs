//! What a provider offers beside resources and data sources, driven the way core drives it.

use futures::StreamExt as _;

use super::core::{Core, configured, identity_type};
use super::messages::{decode, diagnostics, encode};
use super::outcome::{Failed, accepted, deferral};
use crate::proto::tfplugin6 as proto;
use crate::schema::Schema;
use crate::{
    Action, AttributePath, Diagnostics, EphemeralResource, FromValue as _, ListResource, Model, MoveSource,
    Provider, Resource, Value, check,
};

/// An ephemeral resource that is open.
#[derive(Clone, Debug)]
pub struct Open<M> {
    /// The values.
    pub result: M,
    /// When it must be renewed: seconds since the Unix epoch.
    pub renew_at: Option<i64>,
    opened: bytes::Bytes,
    latest: bytes::Bytes,
}

/// An object that a search has found.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its identity.
    pub identity: Value,
    /// What a person calls it.
    pub display_name: String,
    /// The object, if it was asked for.
    pub object: Option<Value>,
}

impl<P: Provider> Core<P> {
    /// Validates and opens an ephemeral resource.
    pub async fn open<E: EphemeralResource>(&self, config: &E::Model) -> Result<Open<E::Model>, Failed> {
        let ty = E::Model::block().implied_type();
        let value = configured(config)?;
        let encoded = encode(&value, &ty)?;
        let request = proto::validate_ephemeral_resource_config::Request {
            type_name: E::TYPE.to_owned(),
            config: encoded.clone(),
        };
        accepted(self.service.validate_ephemeral_resource_config(&request).diagnostics)?;
        let request = proto::open_ephemeral_resource::Request {
            type_name: E::TYPE.to_owned(),
            config: encoded,
            client_capabilities: Some(self.capabilities()),
        };
        let response = self.service.open_ephemeral_resource(self.call(), request).await;
        accepted(response.diagnostics)?;
        let result = decode(response.result.as_ref(), &ty)?;
        if let Some(reason) = deferral(response.deferred, self.capabilities())? {
            return Err(Failed::Deferred(reason));
        }
        let schema = Schema { version: E::Model::VERSION, block: E::Model::block() };
        Failed::rules(&check::plan_valid(&schema, &Value::Null, &value, &result))?;
        Failed::rules(&check::wholly_known(&result))?;
        let result = E::Model::from_value(&result, &AttributePath::root())
            .map_err(|diagnostic| Failed::Refused(diagnostic.into()))?;
        let private = response.private.unwrap_or_default();
        let renew_at = response.renew_at.map(|moment| moment.seconds);
        Ok(Open { result, renew_at, latest: private.clone(), opened: private })
    }

    /// Renews what is open, with what the last opening or renewal kept.
    pub async fn renew<E: EphemeralResource>(&self, open: &mut Open<E::Model>) -> Result<(), Failed> {
        let request = proto::renew_ephemeral_resource::Request {
            type_name: E::TYPE.to_owned(),
            private: Some(open.latest.clone()),
        };
        let response = self.service.renew_ephemeral_resource(self.call(), request).await;
        accepted(response.diagnostics)?;
        open.renew_at = response.renew_at.map(|moment| moment.seconds);
        if let Some(private) = response.private {
            open.latest = private;
        }
        Ok(())
    }

    /// Closes what is open, with what opening kept: core forgets what renewals did.
    pub async fn close<E: EphemeralResource>(&self, open: Open<E::Model>) -> Result<Diagnostics, Failed> {
        let request = proto::close_ephemeral_resource::Request {
            type_name: E::TYPE.to_owned(),
            private: Some(open.opened),
        };
        accepted(self.service.close_ephemeral_resource(self.call(), request).await.diagnostics)
    }

    /// `terraform query`: at most `limit` objects, whole or as identities.
    pub async fn list<L: ListResource>(
        &self,
        config: &L::Model,
        limit: usize,
        objects: bool,
    ) -> Result<Vec<Listed>, Failed> {
        let name = <L::Resource as Resource>::TYPE;
        let encoded = encode(&configured(config)?, &L::Model::block().implied_type())?;
        let request = proto::validate_list_resource_config::Request {
            type_name: name.to_owned(),
            config: encoded.clone(),
            ..Default::default()
        };
        accepted(self.service.validate_list_resource_config(&request).diagnostics)?;
        let request = proto::list_resource::Request {
            type_name: name.to_owned(),
            config: encoded,
            include_resource_object: objects,
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let mut stream = self.service.list_resource(self.call(), request);
        let block = <<L::Resource as Resource>::Model as Model>::block();
        let mut found = Vec::new();
        while let Some(event) = stream.next().await {
            let event = event.map_err(|status| Failed::Rules(vec![status.to_string()]))?;
            accepted(event.diagnostic)?;
            let Some(identity) = event.identity else { continue };
            let identity = decode(
                identity.identity_data.as_ref(),
                &identity_type::<<L::Resource as Resource>::Model>(),
            )?;
            let object = match event.resource_object {
                Some(object) => Some(decode(Some(&object), &block.implied_type())?),
                None if objects => {
                    return Err(Failed::Rules(vec!["an object was asked for, and is missing".to_owned()]));
                }
                None => None,
            };
            found.push(Listed { identity, display_name: event.display_name, object });
            if found.len() > limit {
                return Err(Failed::Rules(vec![format!("more than the limit of {limit} was sent")]));
            }
        }
        Ok(found)
    }

    /// Plans and invokes an action; answers with the lines of its progress.
    pub async fn invoke<A: Action>(&self, config: &A::Model) -> Result<Vec<String>, Failed> {
        let encoded = encode(&configured(config)?, &A::Model::block().implied_type())?;
        let request = proto::validate_action_config::Request {
            action_type: A::TYPE.to_owned(),
            config: encoded.clone(),
        };
        accepted(self.service.validate_action_config(&request).diagnostics)?;
        let request = proto::plan_action::Request {
            action_type: A::TYPE.to_owned(),
            config: encoded.clone(),
            client_capabilities: Some(self.capabilities()),
        };
        let planned = self.service.plan_action(self.call(), request).await;
        accepted(planned.diagnostics)?;
        if let Some(reason) = deferral(planned.deferred, self.capabilities())? {
            return Err(Failed::Deferred(reason));
        }
        let request = proto::invoke_action::Request {
            action_type: A::TYPE.to_owned(),
            config: encoded,
            client_capabilities: Some(self.capabilities()),
        };
        let mut stream = self.service.invoke_action(self.call(), request);
        let (mut lines, mut end) = (Vec::new(), None);
        while let Some(event) = stream.next().await {
            use proto::invoke_action::event::Type;
            let event = event.map_err(|status| Failed::Rules(vec![status.to_string()]))?;
            match event.r#type {
                _ if end.is_some() => return Err(Failed::Rules(vec!["an event after the end".to_owned()])),
                Some(Type::Progress(line)) => lines.push(line.message),
                Some(Type::Completed(completed)) => end = Some(diagnostics(completed.diagnostics)),
                None => return Err(Failed::Rules(vec!["an event without content".to_owned()])),
            }
        }
        match end {
            Some(messages) if messages.has_errors() => Err(Failed::Refused(messages)),
            Some(_) => Ok(lines),
            None => Err(Failed::Rules(vec!["the stream ended without an end of the action".to_owned()])),
        }
    }

    /// A `moved` block from an object of another type to this one; the object is then in state as `name`.
    pub async fn moved<R: Resource>(&mut self, name: &str, source: &MoveSource) -> Result<(), Failed> {
        let ty = R::Model::block().implied_type();
        let raw = |json: &serde_json::Value| proto::RawState {
            json: json.to_string().into(),
            ..Default::default()
        };
        let request = proto::move_resource_state::Request {
            source_provider_address: source.provider.clone(),
            source_type_name: source.type_name.clone(),
            source_schema_version: source.version,
            source_state: Some(raw(&source.state)),
            target_type_name: R::TYPE.to_owned(),
            source_identity: source.identity.as_ref().map(raw),
            ..Default::default()
        };
        let response = self.service.move_resource_state(request);
        accepted(response.diagnostics)?;
        let value = decode(response.target_state.as_ref(), &ty)?;
        let schema = Schema { version: R::Model::VERSION, block: R::Model::block() };
        let problems = check::read_valid(&schema, &value);
        if value.is_null() || !problems.is_empty() {
            return Err(Failed::Rules(problems.iter().map(ToString::to_string).collect()));
        }
        self.put(name, value, (response.target_private, response.target_identity));
        self.refresh::<R>(name).await
    }

    /// What `terraform plan -generate-config-out` writes for an object in state.
    pub fn generate<R: Resource>(&self, name: &str) -> Result<Value, Failed> {
        let ty = R::Model::block().implied_type();
        let request = proto::generate_resource_config::Request {
            type_name: R::TYPE.to_owned(),
            state: encode(&self.value(name), &ty)?,
        };
        let response = self.service.generate_resource_config(&request);
        accepted(response.diagnostics)?;
        let config = decode(response.config.as_ref(), &ty)?;
        let request = proto::validate_resource_config::Request {
            type_name: R::TYPE.to_owned(),
            config: encode(&config, &ty)?,
            client_capabilities: Some(self.capabilities()),
        };
        accepted(self.service.validate_resource_config(&request).diagnostics)?;
        Ok(config)
    }
}
