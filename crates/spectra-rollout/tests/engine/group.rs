//! A completed rollout that goes back because another one failed.

use spectra_rollout::spec::Step;
use spectra_rollout::{FailureReason, Ledger, Outcome, TokioClock, take_back};
use tokio_util::sync::CancellationToken;

use crate::support::Diary;
use crate::support::requests::{canary, contract, expand, hook, ports, request, roll, wave};
use crate::support::world::World;
use crate::{is_complete, is_new, is_old, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

#[tokio::test(start_paused = true)]
async fn what_was_completed_is_taken_back_in_reverse() {
    let world = World::running(&SERVICES);
    let diary = Diary::default();
    let request = request(vec![
        expand("m1"),
        canary(5),
        hook("h1"),
        Step::Swap,
        wave(&["worker", "mail"], 1),
        contract("m2"),
    ]);
    is_complete(&roll(&world, &diary, request.clone()).await.unwrap());
    is_new(&world, &SERVICES);

    let ledger = Ledger::of(&diary.entries());
    let clock = TokioClock::start();
    let ports = ports(&world, &diary, &clock);
    let reason = FailureReason::Group { rollout: "ro-2".to_owned() };
    let never = CancellationToken::new();
    let report = take_back("ro-1", ledger, reason.clone(), ports, &never).await.unwrap();
    let Outcome::RolledBack { failure, .. } = &report.outcome else { panic!("{report:#?}") };
    assert_eq!(failure.reason, reason);
    is_old(&world, &SERVICES);
    schema_is_back(&world, &request);

    // What went back is not taken back again.
    let ledger = Ledger::of(&diary.entries());
    assert!(take_back("ro-1", ledger, reason, ports, &never).await.is_none());
}
