//! Every call that carries something of the user's, by name: as core sends it, or with one field replaced.

#![expect(
    clippy::needless_pass_by_value,
    clippy::needless_update,
    clippy::too_many_lines,
    clippy::unnecessary_wraps,
    reason = "one table of calls, in the form that messages have"
)]

use bytes::Bytes;
use futures::StreamExt as _;
use tempfile::TempDir;
use tfplugin::proto::tfplugin6::invoke_action::event::Type as Event;
use tfplugin::proto::tfplugin6::{self as proto, DynamicValue, RawState, ResourceIdentityData};
use tfplugin::{Type, Value, codec};

use crate::files::Folder;
use crate::provider::{Config, Deed, Thing};
use crate::support::{Client, errors, msgpack, value};

/// A call, the field that is replaced in tests of bad bytes, and the handler behind it.
pub(crate) struct Known {
    pub(crate) call: &'static str,
    pub(crate) field: &'static str,
    pub(crate) handler: &'static str,
}

const fn known(call: &'static str, field: &'static str, handler: &'static str) -> Known {
    Known { call, field, handler }
}

/// One line for each field with a value, and for each handler.
pub(crate) const CALLS: &[Known] = &[
    known("ValidateProviderConfig", "config", "validate"),
    known("ConfigureProvider", "config", "configure"),
    known("ValidateResourceConfig", "config", "validate"),
    known("UpgradeResourceState", "raw_state", "upgrade"),
    known("UpgradeResourceIdentity", "raw_identity", "upgrade identity"),
    known("ReadResource", "current_state", "read"),
    known("ReadResource", "provider_meta", "read"),
    known("PlanResourceChange", "config", "plan"),
    known("PlanResourceChange", "prior_state", "plan"),
    known("PlanResourceChange", "proposed_new_state", "plan"),
    known("PlanResourceChange", "provider_meta", "plan"),
    known("ApplyResourceChange", "config", "update"),
    known("ApplyResourceChange", "prior_state", "update"),
    known("ApplyResourceChange", "planned_state", "update"),
    known("ApplyResourceChange", "provider_meta", "update"),
    known("ApplyResourceChange to create", "", "create"),
    known("ApplyResourceChange to delete", "", "delete"),
    known("ImportResourceState", "", "import"),
    known("ImportResourceState by identity", "identity", "import identity"),
    known("MoveResourceState", "source_state", "move"),
    known("GenerateResourceConfig", "state", "generate"),
    known("ValidateDataResourceConfig", "config", "validate"),
    known("ReadDataSource", "config", "look"),
    known("ReadDataSource", "provider_meta", "look"),
    known("CallFunction", "arguments", "call"),
    known("ValidateEphemeralResourceConfig", "config", "validate"),
    known("OpenEphemeralResource", "config", "open"),
    known("RenewEphemeralResource", "private", "renew"),
    known("CloseEphemeralResource", "private", "close"),
    known("ValidateListResourceConfig", "config", "validate"),
    known("ListResource", "config", "list"),
    known("ValidateActionConfig", "config", "validate"),
    known("PlanAction", "config", "plan action"),
    known("InvokeAction", "config", "invoke"),
    known("ValidateStateStoreConfig", "config", "validate"),
    known("ConfigureStateStore", "config", "configure store"),
    known("ReadStateBytes", "", "read state"),
    known("WriteStateBytes", "", "write state"),
    known("LockState", "", "lock"),
    known("UnlockState", "", "unlock"),
    known("GetStates", "", "list states"),
    known("DeleteState", "", "delete state"),
];

/// What to send.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) call: &'static str,
    /// `"<deed>:<handler>"`, for [`Shared::act`](crate::provider::Shared::act).
    pub(crate) does: String,
    /// Bytes instead of those of a field.
    pub(crate) instead: Option<(&'static str, DynamicValue)>,
}

impl Sent {
    pub(crate) fn that(call: &'static str, does: impl Into<String>) -> Self {
        Self { call, does: does.into(), instead: None }
    }

    fn field(&self, name: &str, good: impl FnOnce() -> DynamicValue) -> Option<DynamicValue> {
        match &self.instead {
            Some((field, bad)) if *field == name => Some(bad.clone()),
            _ => Some(good()),
        }
    }

    /// Bytes that are JSON of their own.
    fn raw(&self, name: &str, good: serde_json::Value) -> Option<RawState> {
        let json = self.bytes(name, || good.to_string().into());
        Some(RawState { json, ..RawState::default() })
    }

    fn bytes(&self, name: &str, good: impl FnOnce() -> Bytes) -> Bytes {
        match &self.instead {
            Some((field, bad)) if *field == name => {
                if bad.msgpack.is_empty() {
                    bad.json.clone()
                } else {
                    bad.msgpack.clone()
                }
            }
            _ => good(),
        }
    }

    fn meta(&self) -> Option<DynamicValue> {
        self.field("provider_meta", || value(&Config::default()))
    }

    fn identity(&self) -> Option<ResourceIdentityData> {
        let ty = Type::object([("id", Type::String)]);
        let identity = Value::object([("id", self.does.as_str().into())]);
        let good = || msgpack(codec::msgpack::encode(&identity, &ty).unwrap());
        Some(ResourceIdentityData { identity_data: self.field("identity", good) })
    }

    fn deed(&self) -> Option<DynamicValue> {
        self.field("config", || value(&Deed::that(&self.does)))
    }

    fn existing(&self, field: &str) -> Option<DynamicValue> {
        self.field(field, || value(&Thing::existing(&self.does)))
    }

    /// Sends it; what comes back is the text of all errors. `folder` is for state stores.
    pub(crate) async fn send(self, client: &mut Client, folder: &TempDir) -> String {
        let name = || "wire_thing".to_owned();
        macro_rules! ask {
            ($method:ident, $module:ident, { $($field:ident: $value:expr),* $(,)? }) => {{
                let request = proto::$module::Request { $($field: $value,)* ..Default::default() };
                errors(&client.$method(request).await.unwrap().into_inner().diagnostics)
            }};
        }
        match self.call {
            "ValidateProviderConfig" => {
                let config = self.field("config", || value(&Config { does: self.does.as_str().into() }));
                let request = proto::validate_provider_config::Request { config };
                errors(&client.validate_provider_config(request).await.unwrap().into_inner().diagnostics)
            }
            "ConfigureProvider" => ask!(configure_provider, configure_provider, {
                config: self.field("config", || value(&Config { does: self.does.as_str().into() })),
            }),
            "ValidateResourceConfig" => ask!(validate_resource_config, validate_resource_config, {
                type_name: name(), config: self.field("config", || value(&Thing::that(&self.does))),
            }),
            "UpgradeResourceState" => ask!(upgrade_resource_state, upgrade_resource_state, {
                type_name: name(), version: 0,
                raw_state: self.raw("raw_state", serde_json::json!({ "does": self.does })),
            }),
            "UpgradeResourceIdentity" => ask!(upgrade_resource_identity, upgrade_resource_identity, {
                type_name: name(), version: 0,
                raw_identity: self.raw("raw_identity", serde_json::json!({ "id": self.does })),
            }),
            "ReadResource" => ask!(read_resource, read_resource, {
                type_name: name(), current_state: self.existing("current_state"), provider_meta: self.meta(),
            }),
            "PlanResourceChange" => ask!(plan_resource_change, plan_resource_change, {
                type_name: name(),
                config: self.field("config", || value(&Thing::that(&self.does))),
                prior_state: self.existing("prior_state"),
                proposed_new_state: self.existing("proposed_new_state"),
                provider_meta: self.meta(),
            }),
            "ApplyResourceChange" => ask!(apply_resource_change, apply_resource_change, {
                type_name: name(),
                config: self.field("config", || value(&Thing::that(&self.does))),
                prior_state: self.field("prior_state", || value(&Thing::existing("before"))),
                planned_state: self.existing("planned_state"),
                provider_meta: self.meta(),
            }),
            "ApplyResourceChange to create" => ask!(apply_resource_change, apply_resource_change, {
                type_name: name(),
                config: Some(value(&Thing::that(&self.does))),
                planned_state: Some(value(&Thing { id: tfplugin::Attr::Unknown, ..Thing::that(&self.does) })),
            }),
            "ApplyResourceChange to delete" => ask!(apply_resource_change, apply_resource_change, {
                type_name: name(), prior_state: Some(value(&Thing::existing(&self.does))),
            }),
            "ImportResourceState" => ask!(import_resource_state, import_resource_state, {
                type_name: name(), id: self.does,
            }),
            "ImportResourceState by identity" => ask!(import_resource_state, import_resource_state, {
                type_name: name(), identity: self.identity(),
            }),
            "MoveResourceState" => ask!(move_resource_state, move_resource_state, {
                source_provider_address: "registry.terraform.io/example/wire".to_owned(),
                source_type_name: "wire_stall".to_owned(),
                source_state: self.raw("source_state", serde_json::json!({ "does": self.does })),
                target_type_name: name(),
            }),
            "GenerateResourceConfig" => ask!(generate_resource_config, generate_resource_config, {
                type_name: name(), state: self.existing("state"),
            }),
            "ValidateDataResourceConfig" => {
                ask!(validate_data_resource_config, validate_data_resource_config, {
                    type_name: "wire_look".to_owned(), config: self.deed(),
                })
            }
            "ReadDataSource" => ask!(read_data_source, read_data_source, {
                type_name: "wire_look".to_owned(), config: self.deed(), provider_meta: self.meta(),
            }),
            "CallFunction" => {
                let text = || codec::msgpack::encode(&self.does.as_str().into(), &Type::String).unwrap();
                let arguments = self.field("arguments", || msgpack(text())).into_iter().collect();
                let request = proto::call_function::Request { name: "call".to_owned(), arguments };
                let response = client.call_function(request).await.unwrap().into_inner();
                response.error.map(|error| error.text).unwrap_or_default()
            }
            "ValidateEphemeralResourceConfig" => {
                ask!(validate_ephemeral_resource_config, validate_ephemeral_resource_config, {
                    type_name: "wire_key".to_owned(), config: self.deed(),
                })
            }
            "OpenEphemeralResource" => ask!(open_ephemeral_resource, open_ephemeral_resource, {
                type_name: "wire_key".to_owned(), config: self.deed(),
            }),
            "RenewEphemeralResource" => ask!(renew_ephemeral_resource, renew_ephemeral_resource, {
                type_name: "wire_key".to_owned(),
                private: Some(self.bytes("private", || format!("{:?}", self.does).into())),
            }),
            "CloseEphemeralResource" => ask!(close_ephemeral_resource, close_ephemeral_resource, {
                type_name: "wire_key".to_owned(),
                private: Some(self.bytes("private", || format!("{:?}", self.does).into())),
            }),
            "ValidateListResourceConfig" => {
                ask!(validate_list_resource_config, validate_list_resource_config, {
                    type_name: name(), config: self.deed(),
                })
            }
            "ListResource" => self.list(client).await,
            "ValidateActionConfig" => ask!(validate_action_config, validate_action_config, {
                action_type: "wire_act".to_owned(), config: self.deed(),
            }),
            "PlanAction" => ask!(plan_action, plan_action, {
                action_type: "wire_act".to_owned(), config: self.deed(),
            }),
            "InvokeAction" => self.invoke(client).await,
            _ => self.keep(client, folder).await,
        }
    }

    async fn list(self, client: &mut Client) -> String {
        let request = proto::list_resource::Request {
            type_name: "wire_thing".to_owned(),
            config: self.deed(),
            ..Default::default()
        };
        let stream = client.list_resource(request).await.unwrap().into_inner();
        let events: Vec<_> = stream.map(Result::unwrap).collect().await;
        errors(&events.into_iter().flat_map(|event| event.diagnostic).collect::<Vec<_>>())
    }

    async fn invoke(self, client: &mut Client) -> String {
        let request = proto::invoke_action::Request {
            action_type: "wire_act".to_owned(),
            config: self.deed(),
            ..Default::default()
        };
        let stream = client.invoke_action(request).await.unwrap().into_inner();
        let events: Vec<_> = stream.map(|event| event.unwrap().r#type.unwrap()).collect().await;
        let Some((Event::Completed(end), before)) = events.split_last() else { panic!("{events:?}") };
        assert!(before.iter().all(|event| matches!(event, Event::Progress(_))), "{before:?}");
        errors(&end.diagnostics)
    }

    /// The calls of a state store. All but the first two need one that is configured.
    async fn keep(self, client: &mut Client, folder: &TempDir) -> String {
        let (type_name, state_id) = ("wire_files".to_owned(), "default".to_owned());
        let configured =
            Folder { path: folder.path().to_str().unwrap().to_owned(), does: Some(self.does.clone()) };
        let config = self.field("config", || value(&configured));
        if self.call == "ValidateStateStoreConfig" {
            let request = proto::validate_state_store_config::Request { type_name, config };
            return errors(
                &client.validate_state_store_config(request).await.unwrap().into_inner().diagnostics,
            );
        }
        let request = proto::configure_state_store::Request { type_name, config, capabilities: None };
        let response = client.configure_state_store(request).await.unwrap().into_inner();
        assert!(response.capabilities.is_some());
        if self.call == "ConfigureStateStore" {
            return errors(&response.diagnostics);
        }
        assert_eq!(response.diagnostics, []);
        let type_name = "wire_files".to_owned();
        let diagnostics = match self.call {
            "ReadStateBytes" => {
                let request = proto::read_state_bytes::Request { type_name, state_id };
                let stream = client.read_state_bytes(request).await.unwrap().into_inner();
                let chunks: Vec<_> = stream.map(Result::unwrap).collect().await;
                assert!(chunks.iter().all(|chunk| chunk.range.is_some()));
                chunks.into_iter().flat_map(|chunk| chunk.diagnostics).collect()
            }
            "WriteStateBytes" => {
                let chunk = proto::write_state_bytes::RequestChunk {
                    meta: Some(proto::RequestChunkMeta { type_name, state_id }),
                    bytes: "state".into(),
                    total_length: 5,
                    range: Some(proto::StateByteRange { start: 0, end: 4 }),
                };
                let chunks = tokio_stream::iter([chunk]);
                client.write_state_bytes(chunks).await.unwrap().into_inner().diagnostics
            }
            "LockState" => {
                let request =
                    proto::lock_state::Request { type_name, state_id, operation: "plan".to_owned() };
                client.lock_state(request).await.unwrap().into_inner().diagnostics
            }
            "UnlockState" => {
                let lock = proto::lock_state::Request {
                    type_name: type_name.clone(),
                    state_id: state_id.clone(),
                    operation: "plan".to_owned(),
                };
                let lock_id = client.lock_state(lock).await.unwrap().into_inner().lock_id;
                let request = proto::unlock_state::Request { type_name, state_id, lock_id };
                client.unlock_state(request).await.unwrap().into_inner().diagnostics
            }
            "GetStates" => {
                let request = proto::get_states::Request { type_name };
                client.get_states(request).await.unwrap().into_inner().diagnostics
            }
            "DeleteState" => {
                std::fs::write(folder.path().join("64656661756c74.state"), "state").unwrap();
                let request = proto::delete_state::Request { type_name, state_id };
                client.delete_state(request).await.unwrap().into_inner().diagnostics
            }
            other => panic!("no call {other}"),
        };
        errors(&diagnostics)
    }
}
