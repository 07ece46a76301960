//! A panic in any handler is a message to the user, and the process goes on.

use crate::calls::{CALLS, Known, Sent};
use crate::provider::{Config, Shared, Works};
use crate::support::{Wire, within};

#[tokio::test]
async fn a_panic_in_any_handler_is_an_error_with_a_report_id_and_the_next_call_works() {
    let wire = Wire::start(Works(Shared::new().0)).await;
    let mut client = wire.client(&Config::default()).await;
    let mut last = ("", "");
    for Known { call, handler, .. } in CALLS {
        if (*call, *handler) == last {
            continue;
        }
        last = (call, handler);
        let folder = tempfile::tempdir().unwrap();
        let said = within(Sent::that(call, format!("panic:{handler}")).send(&mut client, &folder)).await;
        assert!(said.contains(&format!("`{handler}` fell over")), "{call}: {said}");
        let id = said.split("report id `").nth(1).and_then(|rest| rest.split('`').next());
        assert!(id.is_some_and(|id| id.len() == 36), "{call}: {said}");
        let folder = tempfile::tempdir().unwrap();
        let said = within(Sent::that(call, "nothing").send(&mut client, &folder)).await;
        assert_eq!(said, "", "{call} after a panic");
    }
    wire.ended().await;
}
