//! Terraform core in small.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::messages::{decode, diagnostics, encode, path};
use super::outcome::{Changed, Failed, Outcome, accepted, deferral};
use super::to_value;
use crate::check;
use crate::proto::tfplugin6 as proto;
use crate::rpc::{Call, Service};
use crate::schema::Schema;
use crate::server::{Claim, StopToken};
use crate::{
    AttributePath, DataSource, Deferral, Diagnostics, Model, Provider, Resource, Type, Value, codec,
};

/// A provider with the state of its resources, by name.
pub struct Core<P: Provider> {
    pub(super) service: Service<P>,
    stop: StopToken,
    state: BTreeMap<String, Stored>,
    capabilities: proto::ClientCapabilities,
}

/// One object in state.
#[derive(Clone)]
struct Stored {
    value: Value,
    private: Bytes,
    identity: Option<proto::ResourceIdentityData>,
    tainted: bool,
}

/// A schema with its type.
struct Shape {
    type_name: &'static str,
    schema: Schema,
    ty: Type,
}

impl Shape {
    fn of<M: Model>(type_name: &'static str) -> Self {
        let schema = Schema { version: M::VERSION, block: M::block() };
        Self { type_name, ty: schema.block.implied_type(), schema }
    }
}

/// An accepted plan.
struct Plan {
    value: Value,
    private: Bytes,
    identity: Option<proto::ResourceIdentityData>,
    replaced_by: Vec<AttributePath>,
    deferred: Option<Deferral>,
    warnings: Diagnostics,
}

/// What Terraform keeps beside the values of an object.
#[derive(Clone, Default)]
struct Beside {
    private: Bytes,
    identity: Option<proto::ResourceIdentityData>,
    /// Of the first plan of the same apply; empty in the first.
    planned_private: Bytes,
}

impl<P: Provider> Core<P> {
    /// Validates and configures a provider. Its configuration may hold unknown values, as it does while it depends on what
    /// is not applied yet.
    pub async fn new(provider: P, config: &P::Config) -> Result<Self, Failed> {
        let stop = StopToken::new();
        let service = Service::new(provider, stop.clone());
        if !service.problems().is_empty() {
            return Err(Failed::Rules(service.problems().to_vec()));
        }
        let capabilities =
            proto::ClientCapabilities { write_only_attributes_allowed: true, ..Default::default() };
        let core = Self { service, stop, state: BTreeMap::new(), capabilities };
        core.configure(config).await?;
        Ok(core)
    }

    /// Validates and configures the provider again, as the next run does.
    pub async fn configure(&self, config: &P::Config) -> Result<(), Failed> {
        let config = to_value(config).map_err(|diagnostic| Failed::Refused(diagnostic.into()))?;
        let config = encode(&config, &P::Config::block().implied_type())?;
        let request = proto::validate_provider_config::Request { config: config.clone() };
        accepted(self.service.validate_provider_config(&request).diagnostics)?;
        let request = proto::configure_provider::Request {
            terraform_version: "1.11.0".to_owned(),
            config,
            client_capabilities: Some(self.capabilities()),
        };
        accepted(self.service.configure_provider(self.call(), request).await.diagnostics).map(drop)
    }

    /// Allows the provider to put things off to another run from here on, as `terraform plan -allow-deferral` does.
    pub fn allow_deferral(&mut self) {
        self.capabilities.deferral_allowed = true;
    }

    /// Hands what the first plan of an apply has stored beside the object to the second, from here on: as Terraform 1.16
    /// does. Earlier ones drop it.
    pub fn store_planned_private(&mut self) {
        self.capabilities.store_planned_private = true;
    }

    pub(super) fn capabilities(&self) -> proto::ClientCapabilities {
        self.capabilities
    }

    pub(super) fn call(&self) -> Call {
        let cancel: CancellationToken = self.stop.begin().cancel().clone();
        Call { connection: None, cancel, request_id: "test".to_owned(), claim: Claim::default() }
    }

    /// What `StopProvider` does: trips the token of every call in flight.
    pub fn interrupt(&self) {
        self.stop.stop();
    }

    /// The state of an object; `None` when there is none.
    #[must_use]
    pub fn state<R: Resource>(&self, name: &str) -> Option<Result<R::Model, Failed>> {
        let stored = self.state.get(name)?;
        let model = <R::Model as crate::FromValue>::from_value(&stored.value, &AttributePath::root());
        Some(model.map_err(|diagnostic| Failed::Refused(diagnostic.into())))
    }

    /// The state of an object as a value; null when there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> Value {
        self.state.get(name).map_or(Value::Null, |stored| stored.value.clone())
    }

    /// Whether the object is tainted: its creation has failed half-way, and the next apply replaces it.
    #[must_use]
    pub fn is_tainted(&self, name: &str) -> bool {
        self.state.get(name).is_some_and(|stored| stored.tainted)
    }

    /// The identity of an object; null when there is no object, or it has none.
    #[must_use]
    pub fn identity<R: Resource>(&self, name: &str) -> Value {
        let stored = self.state.get(name).and_then(|stored| stored.identity.as_ref());
        stored
            .and_then(|identity| decode(identity.identity_data.as_ref(), &identity_type::<R::Model>()).ok())
            .unwrap_or_default()
    }

    pub(super) fn put(
        &mut self,
        name: &str,
        value: Value,
        (private, identity): (Bytes, Option<proto::ResourceIdentityData>),
    ) {
        self.state.insert(name.to_owned(), Stored { value, private, identity, tainted: false });
    }

    /// `terraform validate`.
    pub fn validate<R: Resource>(&self, config: &R::Model) -> Result<Diagnostics, Failed> {
        let shape = Shape::of::<R::Model>(R::TYPE);
        self.check_config(&shape, &configured(config)?)
    }

    /// `terraform plan`, after a refresh.
    pub async fn plan<R: Resource>(&mut self, name: &str, config: &R::Model) -> Result<Outcome, Failed> {
        self.first_plan::<R>(name, config).await.map(|(outcome, _)| outcome)
    }

    /// The plan, and what it has stored beside the object.
    async fn first_plan<R: Resource>(
        &mut self,
        name: &str,
        config: &R::Model,
    ) -> Result<(Outcome, Bytes), Failed> {
        // What cannot be read yet is planned from the state that there is.
        let unread = match self.refresh::<R>(name).await {
            Err(Failed::Deferred(reason)) => Some(reason),
            other => other.map(|()| None)?,
        };
        let shape = Shape::of::<R::Model>(R::TYPE);
        let config = configured(config)?;
        self.check_config(&shape, &config)?;
        let (changed, plan) = self.plan_change(&shape, name, &config, Bytes::new()).await?;
        let Plan { value, private, replaced_by, deferred, warnings, .. } = plan;
        Ok((Outcome { changed, value, replaced_by, deferred: unread.or(deferred), warnings }, private))
    }

    /// `terraform apply`. The configuration at apply may say more than the one at plan: see [`apply_planned`](Self::apply_planned).
    pub async fn apply<R: Resource>(&mut self, name: &str, config: &R::Model) -> Result<Outcome, Failed> {
        self.apply_planned::<R>(name, config, config).await
    }

    /// Plans with a configuration that may hold unknown values, and applies with one in which they are known.
    pub async fn apply_planned<R: Resource>(
        &mut self,
        name: &str,
        planned: &R::Model,
        config: &R::Model,
    ) -> Result<Outcome, Failed> {
        let (first, planned_private) = self.first_plan::<R>(name, planned).await?;
        let shape = Shape::of::<R::Model>(R::TYPE);
        let config = configured(config)?;
        if !config.is_wholly_known() {
            return Err(Failed::Rules(vec!["the configuration at apply is wholly known".to_owned()]));
        }
        if first.changed == Changed::Nothing || first.deferred.is_some() {
            return Ok(first);
        }
        self.check_config(&shape, &config)?;
        if first.changed == Changed::Replaced {
            self.delete(&shape, name).await?;
        }
        // The second plan may know more; it may not say anything else.
        let (changed, plan) = self.plan_change(&shape, name, &config, planned_private).await?;
        if let Some(reason) = plan.deferred {
            let rule = format!("the second plan of an apply is not deferred unless the first is: {reason:?}");
            return Err(Failed::Rules(vec![rule]));
        }
        Failed::rules(&check::final_plan(&shape.schema, &first.value, &plan.value))?;
        let prior = self.value(name);
        let request = proto::apply_resource_change::Request {
            type_name: shape.type_name.to_owned(),
            prior_state: encode(&prior, &shape.ty)?,
            planned_state: encode(&plan.value, &shape.ty)?,
            config: encode(&config, &shape.ty)?,
            planned_private: plan.private,
            planned_identity: plan.identity,
            ..Default::default()
        };
        let response = self.service.apply_resource_change(self.call(), request).await;
        let value = decode(response.new_state.as_ref(), &shape.ty)?;
        let messages = diagnostics(response.diagnostics);
        let failed = messages.has_errors();
        let identity = response.new_identity;
        identity_is_known::<R::Model>(identity.as_ref())?;
        self.store(name, &prior, (value.clone(), response.private, identity), failed);
        if failed {
            return Err(Failed::Refused(messages));
        }
        if value.is_null() {
            return Err(Failed::Rules(vec!["an apply without an error must return an object".to_owned()]));
        }
        Failed::rules(&check::apply_consistent(&shape.schema, &plan.value, &value))?;
        let changed = if first.changed == Changed::Replaced { Changed::Replaced } else { changed };
        Ok(Outcome { changed, value, replaced_by: first.replaced_by, deferred: None, warnings: messages })
    }

    /// What core keeps of the answer to an apply.
    fn store(
        &mut self,
        name: &str,
        prior: &Value,
        (value, private, identity): (Value, Bytes, Option<proto::ResourceIdentityData>),
        failed: bool,
    ) {
        if !value.is_null() {
            let tainted = failed && prior.is_null();
            self.state.insert(name.to_owned(), Stored { value, private, identity, tainted });
        } else if !failed {
            self.state.remove(name);
        }
        // An error with a null state leaves what was there.
    }

    /// Reads the object back: state goes through JSON first, as it does between two runs.
    pub async fn refresh<R: Resource>(&mut self, name: &str) -> Result<(), Failed> {
        let Some(stored) = self.state.get(name).cloned() else { return Ok(()) };
        let shape = Shape::of::<R::Model>(R::TYPE);
        let json = codec::json::encode(&stored.value, &shape.ty)
            .map_err(|error| Failed::Rules(vec![error.to_string()]))?;
        let request = proto::upgrade_resource_state::Request {
            type_name: R::TYPE.to_owned(),
            version: shape.schema.version,
            raw_state: Some(proto::RawState { json: json.into(), ..Default::default() }),
        };
        let upgraded = self.service.upgrade_resource_state(request);
        accepted(upgraded.diagnostics)?;
        self.read(&shape, name, upgraded.upgraded_state, stored).await
    }

    async fn read(
        &mut self,
        shape: &Shape,
        name: &str,
        current: Option<proto::DynamicValue>,
        stored: Stored,
    ) -> Result<(), Failed> {
        let request = proto::read_resource::Request {
            type_name: shape.type_name.to_owned(),
            current_state: current,
            private: stored.private.clone(),
            current_identity: stored.identity.clone(),
            client_capabilities: Some(self.capabilities()),
            ..Default::default()
        };
        let response = self.service.read_resource(self.call(), request).await;
        accepted(response.diagnostics)?;
        if let Some(reason) = deferral(response.deferred, self.capabilities)? {
            return Err(Failed::Deferred(reason));
        }
        let value = decode(response.new_state.as_ref(), &shape.ty)?;
        Failed::rules(&check::read_valid(&shape.schema, &value))?;
        if value.is_null() {
            self.state.remove(name);
        } else {
            let (private, identity) = (response.private, response.new_identity);
            self.state.insert(name.to_owned(), Stored { value, private, identity, ..stored });
        }
        Ok(())
    }

    /// `terraform import`.
    pub async fn import<R: Resource>(&mut self, name: &str, id: &str) -> Result<(), Failed> {
        self.import_as::<R>(name, id.to_owned(), None).await
    }

    /// An `import` block with an `identity`: an object of its attributes, of which the optional ones may be left out.
    pub async fn import_identity<R: Resource>(&mut self, name: &str, identity: Value) -> Result<(), Failed> {
        let ty = identity_type::<R::Model>();
        let Value::Object(mut attributes) = identity else {
            return Err(Failed::Rules(vec!["an identity is an object".to_owned()]));
        };
        if let Type::Object(types) = &ty {
            for attribute in types.keys() {
                attributes.entry(attribute.clone()).or_default();
            }
        }
        let identity_data = encode(&Value::Object(attributes), &ty)?;
        self.import_as::<R>(name, String::new(), Some(proto::ResourceIdentityData { identity_data })).await
    }

    async fn import_as<R: Resource>(
        &mut self,
        name: &str,
        id: String,
        identity: Option<proto::ResourceIdentityData>,
    ) -> Result<(), Failed> {
        let shape = Shape::of::<R::Model>(R::TYPE);
        let by_identity = identity.is_some();
        let request = proto::import_resource_state::Request {
            type_name: R::TYPE.to_owned(),
            id: id.clone(),
            identity,
            client_capabilities: Some(self.capabilities()),
        };
        let response = self.service.import_resource_state(self.call(), request).await;
        accepted(response.diagnostics)?;
        if let Some(reason) = deferral(response.deferred, self.capabilities)? {
            return Err(Failed::Deferred(reason));
        }
        let [imported] = <[_; 1]>::try_from(response.imported_resources).map_err(|several| {
            Failed::Rules(vec![format!("one object is imported, not {}", several.len())])
        })?;
        let value = decode(imported.state.as_ref(), &shape.ty)?;
        Failed::rules(&check::read_valid(&shape.schema, &value))?;
        if by_identity && imported.identity.is_none() {
            return Err(Failed::Rules(vec!["an import by identity must return the identity".to_owned()]));
        }
        let stored = Stored { value, private: imported.private, identity: imported.identity, tainted: false };
        self.read(&shape, name, imported.state, stored).await?;
        if self.state.contains_key(name) {
            Ok(())
        } else {
            Err(Failed::Rules(vec![format!("there is no object `{id}` to import: it was read as gone")]))
        }
    }

    /// `terraform destroy`, of one object.
    pub async fn destroy<R: Resource>(&mut self, name: &str) -> Result<(), Failed> {
        self.refresh::<R>(name).await?;
        self.delete(&Shape::of::<R::Model>(R::TYPE), name).await
    }

    async fn delete(&mut self, shape: &Shape, name: &str) -> Result<(), Failed> {
        let Some(stored) = self.state.get(name).cloned() else { return Ok(()) };
        let beside = Beside {
            private: stored.private.clone(),
            identity: stored.identity.clone(),
            planned_private: Bytes::new(),
        };
        let plan = self.ask_plan(shape, &stored.value, &Value::Null, beside).await?;
        if let Some(reason) = plan.deferred {
            return Err(Failed::Deferred(reason));
        }
        let request = proto::apply_resource_change::Request {
            type_name: shape.type_name.to_owned(),
            prior_state: encode(&stored.value, &shape.ty)?,
            planned_state: encode(&Value::Null, &shape.ty)?,
            config: encode(&Value::Null, &shape.ty)?,
            planned_private: plan.private,
            planned_identity: stored.identity,
            ..Default::default()
        };
        let response = self.service.apply_resource_change(self.call(), request).await;
        let value = decode(response.new_state.as_ref(), &shape.ty)?;
        let messages = diagnostics(response.diagnostics);
        let failed = messages.has_errors();
        self.store(name, &stored.value, (value, response.private, response.new_identity), failed);
        if failed { Err(Failed::Refused(messages)) } else { Ok(()) }
    }

    /// Reads a data source.
    pub async fn data<D: DataSource>(&self, config: &D::Model) -> Result<Value, Failed> {
        let ty = D::Model::block().implied_type();
        let config = encode(&configured(config)?, &ty)?;
        let request = proto::validate_data_resource_config::Request {
            type_name: D::TYPE.to_owned(),
            config: config.clone(),
        };
        accepted(self.service.validate_data_resource_config(&request).diagnostics)?;
        let request = proto::read_data_source::Request {
            type_name: D::TYPE.to_owned(),
            config,
            client_capabilities: Some(self.capabilities()),
            ..Default::default()
        };
        let response = self.service.read_data_source(self.call(), request).await;
        accepted(response.diagnostics)?;
        let value = decode(response.state.as_ref(), &ty)?;
        match deferral(response.deferred, self.capabilities)? {
            Some(_) if value.is_null() => {
                Err(Failed::Rules(vec!["what is put off is not known, and not null".to_owned()]))
            }
            Some(reason) => Err(Failed::Deferred(reason)),
            None => Ok(value),
        }
    }

    fn check_config(&self, shape: &Shape, config: &Value) -> Result<Diagnostics, Failed> {
        let request = proto::validate_resource_config::Request {
            type_name: shape.type_name.to_owned(),
            config: encode(config, &shape.ty)?,
            client_capabilities: Some(self.capabilities()),
        };
        accepted(self.service.validate_resource_config(&request).diagnostics)
    }

    /// What to do, and the plan of it; for a replacement the plan of the new object.
    async fn plan_change(
        &self,
        shape: &Shape,
        name: &str,
        config: &Value,
        planned_private: Bytes,
    ) -> Result<(Changed, Plan), Failed> {
        let nothing = Stored { value: Value::Null, private: Bytes::new(), identity: None, tainted: false };
        let stored = self.state.get(name).cloned().unwrap_or(nothing);
        if stored.tainted {
            let beside = Beside { planned_private, ..Beside::default() };
            let plan = self.ask_plan(shape, &Value::Null, config, beside).await?;
            return Ok((Changed::Replaced, plan));
        }
        let beside = Beside { private: stored.private, identity: stored.identity, planned_private };
        let plan = self.ask_plan(shape, &stored.value, config, beside).await?;
        if stored.value.is_null() {
            return Ok((Changed::Created, plan));
        }
        let differs = |path: &AttributePath| stored.value.get_path(path) != plan.value.get_path(path);
        let replaced_by: Vec<_> = plan.replaced_by.iter().filter(|path| differs(path)).cloned().collect();
        if !replaced_by.is_empty() {
            let beside =
                Beside { private: plan.private, identity: plan.identity, planned_private: Bytes::new() };
            let fresh = self.ask_plan(shape, &Value::Null, config, beside).await?;
            return Ok((Changed::Replaced, Plan { replaced_by, ..fresh }));
        }
        let changed = if stored.value == plan.value { Changed::Nothing } else { Changed::Updated };
        Ok((changed, Plan { replaced_by, ..plan }))
    }

    async fn ask_plan(
        &self,
        shape: &Shape,
        prior: &Value,
        config: &Value,
        beside: Beside,
    ) -> Result<Plan, Failed> {
        let proposed = check::proposed_new_state(&shape.schema, prior, config);
        let request = proto::plan_resource_change::Request {
            type_name: shape.type_name.to_owned(),
            prior_state: encode(prior, &shape.ty)?,
            proposed_new_state: encode(&proposed, &shape.ty)?,
            config: encode(config, &shape.ty)?,
            prior_private: beside.private,
            prior_identity: beside.identity,
            planned_private: if self.capabilities.store_planned_private {
                beside.planned_private
            } else {
                Bytes::new()
            },
            client_capabilities: Some(self.capabilities()),
            ..Default::default()
        };
        let response = self.service.plan_resource_change(self.call(), request).await;
        let warnings = accepted(response.diagnostics)?;
        let value = decode(response.planned_state.as_ref(), &shape.ty)?;
        if !config.is_null() {
            Failed::rules(&check::plan_valid(&shape.schema, prior, config, &value))?;
        }
        let replaced_by: Vec<_> = response.requires_replace.into_iter().map(path).collect();
        Failed::rules(&check::replace_paths_valid(prior, &value, &replaced_by))?;
        let identity = response.planned_identity;
        let deferred = deferral(response.deferred, self.capabilities)?;
        Ok(Plan { value, private: response.planned_private, identity, replaced_by, deferred, warnings })
    }
}

/// The type of a resource's identity: an object of its marked attributes.
pub(super) fn identity_type<M: Model>() -> Type {
    let attributes = M::block().attributes.into_iter().filter(|attribute| attribute.identity.is_some());
    Type::Object(
        attributes.map(|attribute| (attribute.name.clone(), attribute.shape.implied_type())).collect(),
    )
}

/// Core takes no identity with unknown parts once the object exists.
fn identity_is_known<M: Model>(identity: Option<&proto::ResourceIdentityData>) -> Result<(), Failed> {
    let Some(identity) = identity else { return Ok(()) };
    if decode(identity.identity_data.as_ref(), &identity_type::<M>())?.is_wholly_known() {
        Ok(())
    } else {
        Err(Failed::Rules(vec!["the identity of an object that exists is known".to_owned()]))
    }
}

pub(super) fn configured<M: Model>(config: &M) -> Result<Value, Failed> {
    to_value(config).map_err(|diagnostic| Failed::Refused(diagnostic.into()))
}

/// State may hold secrets.
impl<P: Provider> fmt::Debug for Core<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("objects", &self.state.keys()).finish_non_exhaustive()
    }
}
