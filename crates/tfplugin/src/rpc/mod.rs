//! What each call of the protocol does. One file a call; the transport is in [`grpc`].
//!
//! A handler takes the decoded request message and answers with a response message: failures are diagnostics in
//! it, never status errors, because only diagnostics carry text and attribute path to the user.

mod actions;
mod apply_resource_change;
mod call_function;
#[cfg(test)]
mod catalogue;
mod close_ephemeral_resource;
mod configure_provider;
mod configure_state_store;
mod data;
mod deadline;
mod defaults;
mod delete_state;
mod demands;
mod ephemerals;
mod functions;
mod generate_resource_config;
mod get_metadata;
mod get_provider_schema;
mod get_resource_identity_schemas;
mod get_states;
mod grpc;
mod identity;
mod import_resource_state;
mod invoke_action;
mod list_resource;
mod lists;
mod lock_state;
mod managed;
mod messages;
mod modifiers;
mod move_resource_state;
mod open_ephemeral_resource;
mod places;
mod plan_action;
mod plan_resource_change;
mod planning;
mod read_data_source;
mod read_resource;
mod read_state_bytes;
mod renew_ephemeral_resource;
mod stores;
#[cfg(test)]
mod tests;
mod text;
mod unlock_state;
mod upgrade_resource_identity;
mod upgrade_resource_state;
mod validate;
mod write_only;
mod write_state_bytes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub(crate) use self::actions::{AnyAction, Doing};
pub(crate) use self::data::{AnyDataSource, Data};
pub(crate) use self::ephemerals::{AnyEphemeral, Opening};
pub(crate) use self::functions::{AnyFunction, Callable, FunctionInfo, Parameter};
use self::identity::IdentityInfo;
pub(crate) use self::lists::{AnyList, Listing};
pub(crate) use self::managed::{AnyResource, Managed};
pub(crate) use self::stores::{AnyStateStore, Keeping};
pub(crate) use self::upgrade_resource_state::decode_state_json;
use crate::convert::private::Field;
use crate::proto::tfplugin6 as proto;
use crate::schema::{Kind, Schema, conform, lint, lint_identity};
use crate::server::{Claim, ConnectionId, StopToken};
use crate::{
    AttributePath, Context, Diagnostic, Diagnostics, Model, PrivateState, Provider, Registry, Type, Value,
};

/// Serves one provider. Clones share everything.
pub(crate) struct Service<P: Provider>(Arc<Shared<P>>);

impl<P: Provider> Clone for Service<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<P: Provider> {
    provider: P,
    registry: Registry<P>,
    config: ObjectInfo,
    /// The `provider_meta` block; absent where it has no attributes.
    meta: Option<ObjectInfo>,
    /// What is wrong with the schemas, found once.
    problems: Vec<String>,
    schema: OnceLock<proto::get_provider_schema::Response>,
    /// Under reattachment many Terraform runs share the process: what they configure belongs to their connection.
    connections: Mutex<HashMap<Option<ConnectionId>, Configured<P::Client>>>,
    /// The state stores that were configured, by connection and type.
    stores: Mutex<Stores>,
    stop: StopToken,
}

/// By connection and type name.
type Stores = HashMap<(Option<ConnectionId>, String), stores::ConfiguredStore>;

/// How far the configuration of a provider got over one connection.
enum Configured<C> {
    /// There is a client.
    Ready(Arc<C>),
    /// The configuration holds unknown values, and no client could be made of it: the reasons.
    Incomplete(Diagnostics),
}

impl<C> Clone for Configured<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Ready(client) => Self::Ready(Arc::clone(client)),
            Self::Incomplete(reasons) => Self::Incomplete(reasons.clone()),
        }
    }
}

/// One call in progress.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) cancel: CancellationToken,
    pub(crate) request_id: String,
    /// Whether the answer is still wanted, for handlers that leave something behind.
    pub(crate) claim: Claim,
}

/// A schema with all that is derived from it, made once.
pub(crate) struct ObjectInfo {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) schema: Schema,
    pub(crate) ty: Type,
    pub(crate) identity: Option<IdentityInfo>,
    fields: Vec<Field>,
}

/// What a call brings along for its [`Context`].
#[derive(Default)]
pub(crate) struct About<'a> {
    /// What is stored beside the state.
    pub(crate) private: Bytes,
    /// The `provider_meta` block.
    pub(crate) meta: Option<&'a proto::DynamicValue>,
}

impl ObjectInfo {
    pub(crate) fn of<M: Model>(name: &'static str, kind: Kind) -> Self {
        let schema = Schema { version: M::VERSION, block: M::block() };
        let ty = schema.block.implied_type();
        let identity = if kind == Kind::Resource { IdentityInfo::of::<M>(&schema.block) } else { None };
        Self { name, kind, schema, ty, identity, fields: M::fields() }
    }

    /// A model as a value of the schema's type: absent blocks are empty, sets have no duplicates.
    pub(crate) fn value<M: Model>(&self, model: &M) -> Result<Value, Diagnostic> {
        conform(&model.to_value(), &self.ty, &AttributePath::root())
            .map(|value| self.schema.block.complete(value))
            .map_err(|diagnostic| {
                let detail = format!(
                    "`{}` has made a value that is not of its schema: {}",
                    self.name, diagnostic.detail
                );
                Diagnostic { attribute: diagnostic.attribute, ..Diagnostic::provider_bug(detail) }
            })
    }

    /// What is wrong with the schema; see [`lint`].
    fn problems(&self, prefix: &str) -> Vec<String> {
        let what = match self.kind {
            Kind::Provider => "provider block of",
            Kind::Resource => "resource",
            Kind::DataSource => "data source",
            Kind::Ephemeral => "ephemeral resource",
            Kind::List => "list resource",
            Kind::Action => "action",
            Kind::Meta => "provider_meta block of",
            Kind::StateStore => "state store",
        };
        let mut problems: Vec<_> = lint(self.kind, &self.schema, &self.fields)
            .into_iter()
            .chain(lint_identity(self.kind, &self.schema.block))
            .map(|problem| format!("{what} `{}`: {problem}", self.name))
            .collect();
        if !matches!(self.kind, Kind::Provider | Kind::Meta)
            && self.name != prefix
            && !self.name.starts_with(&format!("{prefix}_"))
        {
            problems.push(format!("{what} `{}`: its name must start with `{prefix}_`", self.name));
        }
        problems
    }
}

impl<P: Provider> Service<P> {
    pub(crate) fn new(provider: P, stop: StopToken) -> Self {
        let registry = Registry::of(&provider);
        let config = ObjectInfo::of::<P::Config>(P::NAME, Kind::Provider);
        let meta = ObjectInfo::of::<P::Meta>(P::NAME, Kind::Meta);
        let empty = meta.schema.block.attributes.is_empty() && meta.schema.block.blocks.is_empty();
        let meta = (!empty).then_some(meta);
        let mut problems = registry.problems.clone();
        let blocks = [&config].into_iter().chain(&meta);
        let blocks = blocks.chain(registry.resources.values().map(|resource| resource.info()));
        let blocks = blocks.chain(registry.data_sources.values().map(|data| data.info()));
        let blocks = blocks.chain(registry.ephemerals.values().map(|ephemeral| ephemeral.info()));
        let blocks = blocks.chain(registry.lists.values().map(|list| list.info()));
        let blocks = blocks.chain(registry.actions.values().map(|action| action.info()));
        let blocks = blocks.chain(registry.state_stores.values().map(|store| store.info()));
        problems.extend(blocks.flat_map(|info| info.problems(P::NAME)));
        problems.extend(registry.resources.values().flat_map(|resource| resource.problems()));
        problems.extend(registry.functions.values().flat_map(|function| function.info().problems.clone()));
        Self(Arc::new(Shared {
            provider,
            registry,
            config,
            meta,
            problems,
            schema: OnceLock::new(),
            connections: Mutex::default(),
            stores: Mutex::default(),
            stop,
        }))
    }

    /// What is wrong with the schemas, in words for the provider's developer.
    pub(crate) fn problems(&self) -> &[String] {
        &self.0.problems
    }

    pub(crate) fn registry(&self) -> &Registry<P> {
        &self.0.registry
    }

    pub(crate) fn config(&self) -> &ObjectInfo {
        &self.0.config
    }

    pub(crate) fn stop_token(&self) -> &StopToken {
        &self.0.stop
    }

    /// Forgets what was configured over a connection that has closed.
    pub(crate) fn forget(&self, connection: ConnectionId) {
        self.connections().remove(&Some(connection));
        self.stores().retain(|(over, _), _| *over != Some(connection));
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, HashMap<Option<ConnectionId>, Configured<P::Client>>> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resource(&self, name: &str) -> Result<&Arc<dyn AnyResource<P::Client>>, Diagnostic> {
        self.0.registry.resources.get(name).ok_or_else(|| no_such(P::NAME, "resource", name))
    }

    fn data_source(&self, name: &str) -> Result<&Arc<dyn AnyDataSource<P::Client>>, Diagnostic> {
        self.0.registry.data_sources.get(name).ok_or_else(|| no_such(P::NAME, "data source", name))
    }

    fn ephemeral(&self, name: &str) -> Result<&Arc<dyn AnyEphemeral<P::Client>>, Diagnostic> {
        self.0.registry.ephemerals.get(name).ok_or_else(|| no_such(P::NAME, "ephemeral resource", name))
    }

    fn list(&self, name: &str) -> Result<&Arc<dyn AnyList<P::Client>>, Diagnostic> {
        self.0.registry.lists.get(name).ok_or_else(|| no_such(P::NAME, "list resource", name))
    }

    fn action(&self, name: &str) -> Result<&Arc<dyn AnyAction<P::Client>>, Diagnostic> {
        self.0.registry.actions.get(name).ok_or_else(|| no_such(P::NAME, "action", name))
    }

    fn state_store(&self, name: &str) -> Result<&Arc<dyn AnyStateStore<P::Client>>, Diagnostic> {
        self.0.registry.state_stores.get(name).ok_or_else(|| no_such(P::NAME, "state store", name))
    }

    /// An identity to hand back: data for a resource type without an identity schema would crash core.
    fn if_identified(
        &self,
        type_name: &str,
        identity: Option<proto::ResourceIdentityData>,
    ) -> Option<proto::ResourceIdentityData> {
        identity.filter(|_| self.resource(type_name).is_ok_and(|resource| resource.info().identity.is_some()))
    }

    /// Whether the provider waits for values that its configuration needs.
    fn unconfigured(&self, call: &Call) -> bool {
        matches!(self.connections().get(&call.connection), Some(Configured::Incomplete(_)))
    }

    /// What a handler works with that can do without a client: `None` while the provider is not configured, or not wholly.
    fn context_if_configured(
        &self,
        call: &Call,
        about: About<'_>,
    ) -> Result<Option<Context<P::Client>>, Diagnostics> {
        let ready = matches!(self.connections().get(&call.connection), Some(Configured::Ready(_)));
        if ready { self.context(call, about).map(Some) } else { Ok(None) }
    }

    /// What a handler works with; an error when the provider is not configured, or not wholly.
    fn context(&self, call: &Call, about: About<'_>) -> Result<Context<P::Client>, Diagnostics> {
        let configured = self.connections().get(&call.connection).cloned();
        match configured {
            Some(Configured::Ready(client)) => {
                Ok(Context {
                    client,
                    cancel: call.cancel.clone(),
                    request_id: call.request_id.clone(),
                    private: PrivateState::of(about.private),
                    meta: match &self.0.meta {
                        Some(info) => messages::decode(about.meta, &info.ty, "provider_meta block")?,
                        None => Value::Null,
                    },
                })
            }
            Some(Configured::Incomplete(reasons)) => {
                let mut diagnostics = Diagnostics::from(Diagnostic::error(
                    format!("Provider `{}` is not configured completely", P::NAME),
                    "Its configuration depends on values that are known only after apply, and this operation needs \
                     them now. Nothing was changed. Apply what those values come from first (with `-target`), or \
                     give the provider values that are known.",
                ));
                diagnostics.extend(reasons);
                Err(diagnostics)
            }
            None => Err(Diagnostic::error(
                format!("Provider `{}` is not configured", P::NAME),
                "The operation needs the provider's configuration, and none has arrived over this connection. \
                 Nothing was changed.",
            )
            .into()),
        }
    }
}

fn no_such(provider: &str, what: &str, name: &str) -> Diagnostic {
    Diagnostic::error(
        format!("No {what} `{name}`"),
        format!("Provider `{provider}` has no {what} of that name. Check the provider version in use."),
    )
}
