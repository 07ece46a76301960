//! A completed rollout that goes back because another one failed.

use spectra_rollout::spec::Step;
use spectra_rollout::{FailureReason, Ledger, Outcome, RolloutRequest, TokioClock, take_back};
use tokio_util::sync::CancellationToken;

use crate::support::requests::{canary, contract, expand, hook, ports, request, roll, taken_up, wave};
use crate::support::world::World;
use crate::support::{Blow, Diary};
use crate::{is_complete, is_new, is_old, schema_is_back};

const SERVICES: [&str; 3] = ["web", "worker", "mail"];

fn everything() -> RolloutRequest {
    request(vec![
        expand("m1"),
        canary(5),
        hook("h1"),
        Step::Swap,
        wave(&["worker", "mail"], 1),
        contract("m2"),
    ])
}

#[tokio::test(start_paused = true)]
async fn what_was_completed_is_taken_back_in_reverse() {
    let world = World::running(&SERVICES);
    let diary = Diary::default();
    let request = everything();
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

/// A record that had ended passed for one with nothing left to do, whatever was written after its end.
#[tokio::test(start_paused = true)]
async fn a_death_while_what_was_complete_is_taken_back_is_recovered_from() {
    let request = everything();
    let never = CancellationToken::new();
    for blow in [Blow::CrashBefore, Blow::CrashAfter] {
        for at in 1.. {
            let world = World::running(&SERVICES);
            let complete = Diary::default();
            is_complete(&roll(&world, &complete, request.clone()).await.unwrap());
            let written = complete.entries().len();
            let diary = complete.reopened();
            diary.at.lock().unwrap().push((at, blow.clone()));
            let ledger = Ledger::of(&diary.entries());
            let clock = TokioClock::start();
            let reason = FailureReason::Group { rollout: "ro-2".to_owned() };
            tokio::select! {
                biased;
                () = diary.crashed.cancelled() => {}
                report = take_back("ro-1", ledger, reason, ports(&world, &diary, &clock), &never) => {
                    assert!(at > 8, "only {at} writes: {report:#?}");
                    break;
                }
            }
            let found = diary.reopened();
            if found.entries().len() == written {
                is_new(&world, &SERVICES);
                continue;
            }
            if Ledger::of(&found.entries()).outcome().is_none() {
                let report = taken_up(&world, &found).await;
                assert!(matches!(report.outcome, Outcome::RolledBack { .. }), "{at}: {report:#?}");
            }
            is_old(&world, &SERVICES);
            schema_is_back(&world, &request);
        }
    }
}
