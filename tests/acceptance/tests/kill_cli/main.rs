//! `railway-deployer rollout start` is killed at every place of its record and in the middle of every change that it makes.
//! Whatever command comes next: one of the old and the new version serves everywhere, nothing of the other is left, nobody
//! holds anything up, and the journal is whole.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

mod case;
mod lane;
mod sorts;

use std::collections::BTreeSet;

use spectra_acceptance::{Sandbox, hold_all};

use crate::case::{Case, NEXT, Stop, WAYS, Way};
use crate::lane::Lane;

/// Kills in all cases that `choose` makes of the places.
fn matrix(choose: impl FnOnce(Vec<(Way, Stop)>) -> Vec<Case>) {
    let start = || Sandbox::start_with(&["--time-scale", "2000"]);
    let sandbox = start();
    let mut lane = Lane::open(&sandbox);
    let mut stops = Vec::new();
    for way in WAYS {
        let mut beyond = false;
        for stop in lane.stops(way) {
            beyond |= stop.sort() == "rollout.point_of_no_return";
            // What is gated goes the same way as the rest, up to where it can go back no more.
            if way != Way::Gated || beyond || !stops.contains(&(Way::Forward, stop.clone())) {
                stops.push((way, stop));
            }
        }
    }
    hold_all(
        choose(stops),
        |cases| cases.share(|case| lane.kill(case)),
        |cases| {
            let sandbox = start();
            let mut lane = Lane::open(&sandbox);
            cases.share(|case| lane.kill(case));
        },
    );
}

/// Fails for a sort of record that no way writes, and so is killed at nowhere.
fn assert_covered(stops: &[(Way, Stop)]) {
    let found: BTreeSet<String> = stops.iter().map(|(_, stop)| stop.sort()).collect();
    let missing: Vec<_> = sorts::all()
        .into_iter()
        .filter(|sort| {
            let of_an_action = format!("{sort} ");
            !found.iter().any(|known| known == sort || known.starts_with(&of_an_action))
        })
        .collect();
    assert!(missing.is_empty(), "no way writes {missing:?}; there are {found:?}");
}

#[test]
fn after_a_kill_the_next_command_leaves_one_version_and_nothing_else() {
    matrix(|stops| {
        assert_covered(&stops);
        let mut sorts = BTreeSet::new();
        // One place of every sort on either way; the command that comes next goes round.
        let chosen: Vec<_> = stops
            .into_iter()
            .filter(|(way, stop)| {
                // A change that a way back asks for is not the same as one on the way there.
                let back = *way != Way::Forward && matches!(stop, Stop::In(..));
                sorts.insert((back, stop.sort()))
            })
            .collect();
        let next = NEXT.into_iter().cycle();
        chosen.into_iter().zip(next).map(|((way, stop), next)| Case { way, stop, next }).collect()
    });
}

#[test]
#[ignore = "slow: every place with every next command, by `cargo xtask test --slow`"]
fn after_a_kill_anywhere_every_next_command_leaves_one_version_and_nothing_else() {
    matrix(|stops| {
        assert_covered(&stops);
        let all =
            stops.into_iter().flat_map(|(way, stop)| NEXT.map(|next| Case { way, stop: stop.clone(), next }));
        all.collect()
    });
}
