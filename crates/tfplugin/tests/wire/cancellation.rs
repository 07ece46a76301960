//! `StopProvider`: every call comes back within two seconds, or has a reason to be waited for. The clock is paused: it moves when
//! nothing else can happen.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tfplugin::proto::tfplugin6::{
    apply_resource_change, lock_state, open_ephemeral_resource, read_resource, stop_provider,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::calls::{CALLS, Known, Sent};
use crate::provider::{Config, Deed, Shared, Thing, Works};
use crate::support::{Client, Wire, errors, model, value, within};

/// What a person waits for after Ctrl-C.
const SOON: Duration = Duration::from_secs(2);

/// Calls whose handlers never wait: nothing of them is in flight when a stop comes.
const AT_ONCE: &[&str] = &[
    "ValidateProviderConfig",
    "ValidateResourceConfig",
    "UpgradeResourceState",
    "UpgradeResourceIdentity",
    "MoveResourceState",
    "GenerateResourceConfig",
    "ValidateDataResourceConfig",
    "CallFunction",
    "ValidateEphemeralResourceConfig",
    "ValidateListResourceConfig",
    "ValidateActionConfig",
    "ValidateStateStoreConfig",
];

/// Calls that are waited for, because their result must not be lost.
const WAITED_FOR: &[&str] = &[
    "ApplyResourceChange",
    "ApplyResourceChange to create",
    "ApplyResourceChange to delete",
    "CloseEphemeralResource",
    "InvokeAction",
    "WriteStateBytes",
    "UnlockState",
    "DeleteState",
];

/// One call in flight, and everything around it.
struct InFlight {
    wire: Wire,
    shared: Shared,
    client: Client,
    call: JoinHandle<String>,
    _folder: Arc<TempDir>,
}

impl InFlight {
    async fn begin(call: &'static str, handler: &'static str, deed: &str) -> Self {
        let (shared, mut begun) = Shared::new();
        let wire = Wire::start(Works(shared.clone())).await;
        let client = wire.client(&Config::default()).await;
        until(&mut begun, "configure").await;
        let sent = Sent::that(call, format!("{deed}:{handler}"));
        let mut caller = client.clone();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let place = Arc::clone(&folder);
        let mut call = tokio::spawn(async move { sent.send(&mut caller, &place).await });
        tokio::select! {
            () = until(&mut begun, handler) => {}
            early = &mut call => panic!("{early:?} came before {handler} had begun"),
        }
        Self { wire, shared, client, call, _folder: folder }
    }

    async fn answer(&mut self) -> String {
        within(&mut self.call).await.unwrap()
    }

    async fn stop(&mut self) -> Instant {
        stop(&mut self.client).await
    }
}

async fn until(begun: &mut UnboundedReceiver<&'static str>, handler: &str) {
    within(async { while begun.recv().await.unwrap() != handler {} }).await;
}

async fn stop(client: &mut Client) -> Instant {
    let response = client.stop_provider(stop_provider::Request {}).await.unwrap().into_inner();
    assert_eq!(response.error, "");
    Instant::now()
}

fn waiting_calls() -> impl Iterator<Item = &'static Known> {
    let mut last = ("", "");
    CALLS.iter().filter(move |known| {
        let here = (known.call, known.handler);
        std::mem::replace(&mut last, here) != here && !AT_ONCE.contains(&known.call)
    })
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_heeds_the_stop_answers_for_itself() {
    for Known { call, handler, .. } in waiting_calls() {
        let mut flight = InFlight::begin(call, handler, "listen").await;
        let stopped = flight.stop().await;
        let said = flight.answer().await;
        assert!(said.contains(&format!("`{handler}` was asked to stop")), "{call}: {said}");
        assert!(stopped.elapsed() < Duration::from_secs(1), "{call}: {:?}", stopped.elapsed());
        flight.wire.ended().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_is_left_to_itself_if_nothing_is_lost() {
    let mut count = 0;
    for Known { call, handler, .. } in waiting_calls().filter(|known| !WAITED_FOR.contains(&known.call)) {
        let mut flight = InFlight::begin(call, handler, "hang").await;
        let stopped = flight.stop().await;
        let said = flight.answer().await;
        assert!(said.contains("was left to itself"), "{call}: {said}");
        assert!(stopped.elapsed() < SOON, "{call}: {:?}", stopped.elapsed());
        assert!(stopped.elapsed() > Duration::from_secs(1), "{call} had no chance: {:?}", stopped.elapsed());
        // The process serves on, and the handler ends by itself.
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Sent::that("ValidateActionConfig", "nothing").send(&mut flight.client, &folder).await, "");
        let ended = || flight.shared.notes().iter().filter(|note| *note == handler).count();
        let before = ended();
        flight.shared.release.cancel();
        within(async {
            while ended() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        flight.wire.ended().await;
        count += 1;
    }
    assert!(count >= 10, "{count}");
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_lost_is_waited_for() {
    for Known { call, handler, .. } in waiting_calls().filter(|known| WAITED_FOR.contains(&known.call)) {
        let mut flight = InFlight::begin(call, handler, "hang").await;
        flight.stop().await;
        tokio::time::sleep(Duration::from_mins(10)).await;
        assert!(!flight.call.is_finished(), "{call}");
        flight.shared.release.cancel();
        assert_eq!(flight.answer().await, "", "{call}");
        assert!(flight.shared.notes().iter().any(|note| note == handler), "{call}");
        flight.wire.ended().await;
    }
}

/// Waits until a handler has come to its end.
async fn noted(shared: &Shared, what: &str) {
    within(async {
        while !shared.notes().iter().any(|note| note == what) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_apply_that_was_stopped_reports_the_state_that_holds() {
    let (shared, mut begun) = Shared::new();
    let wire = Wire::start(Works(shared.clone())).await;
    let mut client = wire.client(&Config::default()).await;
    let thing = Thing::that("hang:create");
    let request = apply_resource_change::Request {
        type_name: "wire_thing".to_owned(),
        config: Some(value(&thing)),
        planned_state: Some(value(&Thing { id: tfplugin::Attr::Unknown, ..thing.clone() })),
        ..Default::default()
    };
    let mut caller = client.clone();
    let call = tokio::spawn(async move { caller.apply_resource_change(request).await });
    until(&mut begun, "create").await;
    stop(&mut client).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    shared.release.cancel();
    let response = within(call).await.unwrap().unwrap().into_inner();
    assert_eq!(response.diagnostics, []);
    assert_eq!(model::<Thing>(response.new_state.as_ref()), Thing { id: "1".into(), ..thing });
    wire.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_for_the_calls_in_flight_and_no_later_one() {
    let mut flight = InFlight::begin("ReadResource", "read", "listen").await;
    flight.stop().await;
    assert_ne!(flight.answer().await, "");
    let request = read_resource::Request {
        type_name: "wire_thing".to_owned(),
        current_state: Some(value(&Thing::existing("listen:read"))),
        ..Default::default()
    };
    let mut caller = flight.client.clone();
    let later = tokio::spawn(async move { caller.read_resource(request).await });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!later.is_finished());
    stop(&mut flight.client).await;
    assert_ne!(errors(&within(later).await.unwrap().unwrap().into_inner().diagnostics), "");
    flight.wire.ended().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_opened_after_the_answer_is_closed_again() {
    let mut flight = InFlight::begin("OpenEphemeralResource", "open", "hang").await;
    flight.stop().await;
    assert!(flight.answer().await.contains("was left to itself"));
    flight.shared.release.cancel();
    noted(&flight.shared, "close").await;
    assert_eq!(flight.shared.notes(), ["configure", "open", "close"]);
    // One that is opened in time stays open.
    let request = open_ephemeral_resource::Request {
        type_name: "wire_key".to_owned(),
        config: Some(value(&Deed::that("nothing"))),
        client_capabilities: None,
    };
    let response = flight.client.open_ephemeral_resource(request).await.unwrap().into_inner();
    assert_eq!(response.diagnostics, []);
    flight.stop().await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(flight.shared.notes(), ["configure", "open", "close", "open"]);
    flight.wire.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_nobody_learned_of_is_given_back() {
    let mut flight = InFlight::begin("LockState", "lock", "hang").await;
    flight.stop().await;
    assert!(flight.answer().await.contains("was left to itself"));
    flight.shared.release.cancel();
    noted(&flight.shared, "unlock").await;
    // Over the same connection, so to the same store.
    let request = lock_state::Request {
        type_name: "wire_files".to_owned(),
        state_id: "default".to_owned(),
        operation: "apply".to_owned(),
    };
    let response = flight.client.lock_state(request).await.unwrap().into_inner();
    assert_eq!(response.diagnostics, []);
    flight.wire.ended().await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_was_configured_after_the_answer_is_not_configured() {
    let (shared, mut begun) = Shared::new();
    let wire = Wire::start(Works(shared.clone())).await;
    let mut client = wire.connect().await;
    let mut caller = client.clone();
    let call = tokio::spawn(async move {
        let folder = tempfile::tempdir().unwrap();
        Sent::that("ConfigureProvider", "hang:configure").send(&mut caller, &folder).await
    });
    until(&mut begun, "configure").await;
    stop(&mut client).await;
    assert!(within(call).await.unwrap().contains("was left to itself"));
    shared.release.cancel();
    noted(&shared, "configure").await;
    let folder = tempfile::tempdir().unwrap();
    let said = Sent::that("ReadDataSource", "nothing").send(&mut client, &folder).await;
    assert!(said.contains("is not configured"), "{said}");
    wire.ended().await;
}
