//! What a plan answers to what Terraform 1.16 sends, and earlier releases do not.

use bytes::Bytes;
use tfplugin::proto::tfplugin6::{ClientCapabilities, plan_resource_change};

use crate::provider::{Config, Shared, Thing, Works};
use crate::support::{Client, Wire, value, within};

/// What a plan stores beside the object, when it begins with what the state and an earlier plan have stored.
async fn stored(client: &mut Client, prior_private: Bytes, planned_private: Bytes) -> Bytes {
    let thing = Thing::that("nothing");
    let request = plan_resource_change::Request {
        type_name: "wire_thing".to_owned(),
        config: Some(value(&thing)),
        proposed_new_state: Some(value(&thing)),
        prior_private,
        planned_private,
        // Capabilities that change nothing of what this framework answers are no reason to refuse.
        client_capabilities: Some(ClientCapabilities {
            store_planned_private: true,
            computed_blocks_allowed: true,
            ..Default::default()
        }),
        ..Default::default()
    };
    let planned = within(client.plan_resource_change(request)).await.unwrap().into_inner();
    assert_eq!(planned.diagnostics, []);
    planned.planned_private
}

#[tokio::test]
async fn a_plan_goes_on_from_the_plan_before_it_and_else_from_the_state() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    let plans = |plans: u32| Bytes::from(format!("{{\"provider\":{{\"plans\":{plans}}}}}"));
    let first = stored(&mut client, Bytes::new(), Bytes::new()).await;
    assert_eq!(first, plans(1));
    assert_eq!(stored(&mut client, Bytes::new(), first).await, plans(2));
    assert_eq!(stored(&mut client, plans(5), Bytes::new()).await, plans(6));
    assert_eq!(stored(&mut client, plans(5), plans(8)).await, plans(9), "the plan is later than the state");
    wire.ended().await;
}
