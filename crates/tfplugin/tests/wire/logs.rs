//! The levels of subsystems, and the ids of requests in the lines of a provider's clients.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use tfplugin::logging::{self, LogFilter};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::calls::{CALLS, Known, Sent};
use crate::provider::{Config, Shared, Works};
use crate::support::Wire;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Every call once, with these variables set; the lines that were logged.
async fn logged(variables: &[(&str, &str)]) -> Vec<Json> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let lines = Lines::default();
    let (layer, guard) = logging::layer(LogFilter::from_environment("wire", variables), lines.clone());
    let scope = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    for Known { call, .. } in CALLS {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Sent::that(call, "nothing").send(&mut client, &folder).await, "", "{call}");
    }
    wire.ended().await;
    drop((scope, guard));
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text<'a>(line: &'a Json, key: &str) -> &'a str {
    line[key].as_str().unwrap_or_else(|| panic!("no {key} in {line}"))
}

#[tokio::test]
async fn one_subsystem_alone_is_heard_and_names_the_request_of_each_line() {
    let lines = logged(&[("TF_LOG_PROVIDER_WIRE_REMOTE", "trace")]).await;
    let (mut ids, mut rpcs) = (BTreeSet::new(), BTreeSet::new());
    for line in &lines {
        assert_eq!(text(line, "@module"), "wire_remote.http", "{line}");
        assert_eq!(text(line, "@level"), "trace");
        assert_eq!(text(line, "tf_provider_addr"), "registry.terraform.io/example/wire");
        assert!(!text(line, "operation").is_empty());
        let (id, rpc) = (text(line, "tf_req_id"), text(line, "tf_rpc"));
        assert_eq!(id.len(), 36, "{line}");
        ids.insert(id);
        rpcs.insert(rpc);
    }
    assert_eq!(ids.len(), lines.len(), "each call asks once, and has an id of its own");
    let expected = [
        "ApplyResourceChange",
        "CloseEphemeralResource",
        "ConfigureProvider",
        "ConfigureStateStore",
        "DeleteState",
        "GetStates",
        "ImportResourceState",
        "InvokeAction",
        "ListResource",
        "LockState",
        "OpenEphemeralResource",
        "PlanAction",
        "PlanResourceChange",
        "ReadDataSource",
        "ReadResource",
        "ReadStateBytes",
        "RenewEphemeralResource",
        "UnlockState",
        "WriteStateBytes",
    ];
    assert_eq!(rpcs.into_iter().collect::<Vec<_>>(), expected);
    for (rpc, key, name) in [
        ("ApplyResourceChange", "tf_resource_type", "wire_thing"),
        ("ReadDataSource", "tf_data_source_type", "wire_look"),
        ("OpenEphemeralResource", "tf_ephemeral_resource_type", "wire_key"),
        ("ListResource", "tf_list_resource_type", "wire_thing"),
        ("InvokeAction", "tf_action_type", "wire_act"),
        ("WriteStateBytes", "tf_state_store_type", "wire_files"),
    ] {
        let line = lines.iter().find(|line| line["tf_rpc"] == rpc).unwrap();
        assert_eq!(text(line, key), name, "{rpc}");
    }
}

#[tokio::test]
async fn a_subsystem_can_be_silenced_and_nothing_is_said_where_nothing_was_asked_for() {
    let modules =
        |lines: &[Json]| lines.iter().map(|line| text(line, "@module").to_owned()).collect::<BTreeSet<_>>();
    let silenced = [("TF_LOG_PROVIDER", "TRACE"), ("TF_LOG_PROVIDER_WIRE_REMOTE", "OFF")];
    let heard = modules(&logged(&silenced).await);
    assert!(!heard.iter().any(|module| module.starts_with("wire_remote")), "{heard:?}");
    assert!(heard.contains("wire_rollout") && heard.contains("tfplugin.rpc.grpc"), "{heard:?}");
    assert_eq!(logged(&[("TF_LOG_PROVIDER_OTHER_REMOTE", "TRACE")]).await, Vec::<Json>::new());
    let errors = modules(&logged(&[("TF_LOG_PROVIDER_WIRE", "ERROR")]).await);
    assert_eq!(errors.into_iter().collect::<Vec<_>>(), ["wire_rollout"]);
}
