//! `railway-deployer rollout start` is killed at every place of its record and in the middle of every change that it makes.
//! Whatever command comes next: one of the old and the new version serves everywhere, nothing of the other is left, nobody
//! holds anything up, and the journal is whole.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use rustix::process::Signal;
use serde_json::json;
use spectra_acceptance::{JournalRecord, Point, Running, Sandbox, Shop, Version, Watch, points};

/// How many shops are killed in at once.
const LANES: usize = 2;

/// Which part of a rollout is killed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To the new version.
    Forward,
    /// Back to the old one, after it was stopped in its bake.
    Back,
    /// Back to the old one, after somebody else asked for that in its bake.
    Asked,
    /// Back to the old one by another process, after it was killed in its bake.
    Recovery,
}

/// Where the process is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    /// Everything up to this record is done, and the record itself is not written.
    Before(Point),
    /// A change is announced in the record and asked of the platform, which does not do it: the n-th one of that name.
    In(String, u64),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(point) => write!(f, "before {point}"),
            Self::In(operation, before) => write!(f, "in {operation} ({})", before + 1),
        }
    }
}

impl Stop {
    /// What has to be covered at least once.
    fn sort(&self) -> String {
        match self {
            Self::Before(point) => point.sort(),
            Self::In(operation, _) => format!("in {operation}"),
        }
    }
}

/// The command that comes after the killed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Abort,
    Same,
    Another,
}

const NEXT: [Next; 3] = [Next::Abort, Next::Same, Next::Another];

#[derive(Clone, Debug)]
struct Case {
    way: Way,
    stop: Stop,
    next: Next,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, killed {}, then {:?}", self.way, self.stop, self.next)
    }
}

/// A shop that is killed in, again and again. Whatever serves after a case is the old version of the next one.
struct Lane<'a> {
    sandbox: &'a Sandbox,
    shop: Shop<'a>,
    versions: Vec<Version>,
    current: usize,
}

impl<'a> Lane<'a> {
    fn open(sandbox: &'a Sandbox) -> Self {
        let shop = Shop::open(sandbox, "shop");
        let versions: Vec<_> = ["one", "two", "three"].map(|name| Version::push(name, sandbox)).to_vec();
        shop.stock(&versions[0]);
        Self { sandbox, shop, versions, current: 0 }
    }

    fn version(&self, ahead: usize) -> &Version {
        &self.versions[(self.current + ahead) % self.versions.len()]
    }

    /// Starts the next version, and brings it to go back where that is the way.
    fn begin(&self, way: Way, further: impl FnOnce()) -> Running {
        let forward = way == Way::Forward;
        let settings = json!({ "bake": if forward { "50ms" } else { "20m" } });
        let arguments = self.shop.release(self.version(0), self.version(1), &settings);
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let since = self.shop.journal().last();
        let has = |what: &dyn Fn(&JournalRecord) -> bool| self.shop.journal().records(since).iter().any(what);
        let mut running = self.shop.begin("killed", &arguments);
        if forward {
            further();
            return running;
        }
        running.until("it bakes", || has(&|record| record.body.get("phase") == Some(&json!("baking"))));
        further();
        match way {
            Way::Forward => running,
            Way::Back => {
                running.signal(Signal::INT);
                running
            }
            Way::Asked => {
                let mut asks = self.shop.begin("asks", &["rollout", "abort", "--reason", "a hunch"]);
                asks.until("it was asked", || has(&|record| record.body.get("wish").is_some()));
                asks.kill();
                running
            }
            Way::Recovery => {
                running.kill();
                self.shop.begin("killed", &["rollout", "abort"])
            }
        }
    }

    /// Every place to kill at, as a run of that way to its end shows them.
    fn stops(&mut self, way: Way) -> Vec<Stop> {
        let (last, mut now) = (self.shop.journal().last(), 0);
        let running = self.begin(way, || now = self.sandbox.now());
        let (code, said) = running.end();
        assert_eq!(code, if way == Way::Forward { 0 } else { 3 }, "{said}");
        let records = self.shop.journal().records(last);
        let mut stops: Vec<_> = Vec::new();
        let mut found = points(&records, self.shop.names());
        // The way there is the other way's.
        let turn = match way {
            Way::Forward => None,
            Way::Back => Some("rollout.going_back"),
            Way::Asked => Some("rollout.heard"),
            Way::Recovery => Some("lease.taken_over"),
        };
        if let Some(turn) = turn {
            let turn = records.iter().position(|record| record.kind == turn).expect("it turns round");
            let before = points(&records[..turn], self.shop.names());
            found.retain(|point| !before.contains(point));
        } else {
            self.current = (self.current + 1) % self.versions.len();
        }
        if way == Way::Asked {
            // From there on it is the same.
            return found.into_iter().take(2).map(Stop::Before).collect();
        }
        stops.extend(found.into_iter().map(Stop::Before));
        let mut operations: Vec<String> = Vec::new();
        for operation in self.sandbox.mutations(now) {
            let before = operations.iter().filter(|known| **known == operation).count();
            stops.push(Stop::In(operation.clone(), u64::try_from(before).unwrap()));
            operations.push(operation);
        }
        stops
    }

    fn kill(&mut self, case: &Case) {
        let context = case.to_string();
        let (shop, journal) = (&self.shop, self.shop.journal());
        if let Stop::Before(point) = &case.stop {
            journal.stop_before(point, shop.names());
        }
        let mut running = self.begin(case.way, || {
            if let Stop::In(operation, before) = &case.stop {
                let action = json!({ "type": "hang" });
                self.sandbox.fault(&json!({ "operation": operation, "skip": before, "action": action }));
            }
        });
        let pid = running.pid();
        let mut watch = Watch::default();
        running.until(&context, || match case.stop {
            Stop::Before(_) => journal.has_stopped(pid, &mut watch),
            Stop::In(..) => self.sandbox.faults_applied() > 0,
        });
        running.kill();
        journal.go_on();
        self.sandbox.clear_faults();
        journal.assert_chain();

        let left = shop.status("web");
        let abandoned = left["state"] == "abandoned";
        let ended = left["rollout"].is_string() && left["outcome"]["phase"] == "complete";
        let completed = ended && left["image"] == json!(self.version(1).image.pinned);
        // Rolled back; or refused, where it was begun and had changed nothing yet; or there was nothing to do.
        let codes: &[i32] = match (abandoned, left["open"] == json!([])) {
            (true, false) => &[3],
            (true, true) => &[1, 3],
            (false, _) => &[0],
        };
        let expected = match case.next {
            Next::Abort => {
                let run = shop.run(&["rollout", "abort", "--reason", "killed"]);
                assert!(
                    codes.contains(&run.code),
                    "{context}: {} is none of {codes:?}: {}",
                    run.code,
                    run.text()
                );
                usize::from(completed)
            }
            Next::Same | Next::Another => {
                let ahead = if case.next == Next::Same { 1 } else { 2 };
                let from = self.version(usize::from(completed));
                let arguments = shop.release(from, self.version(ahead), &json!({}));
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                let run = shop.run(&arguments);
                assert_eq!(run.code, 0, "{context}: {}", run.text());
                ahead
            }
        };
        let all: Vec<_> = self.versions.iter().collect();
        let serves = shop.serving(&all, &context);
        assert_eq!(serves.name, self.version(expected).name, "{context}: the wrong version serves");
        shop.assert_at_rest(&context);
        self.current = (self.current + expected) % self.versions.len();
    }
}

/// Kills in all cases that `choose` makes of the places, and says which they were.
#[expect(clippy::print_stdout, reason = "what was covered is worth knowing")]
fn matrix(choose: impl FnOnce(Vec<(Way, Stop)>) -> Vec<Case>) {
    let sandboxes: Vec<_> = (0..LANES).map(|_| Sandbox::start_with(&["--time-scale", "2000"])).collect();
    let mut lanes: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = sandboxes.iter().map(|sandbox| scope.spawn(|| Lane::open(sandbox))).collect();
        opening.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    let mut stops = Vec::new();
    for way in [Way::Forward, Way::Back, Way::Asked, Way::Recovery] {
        stops.extend(lanes[0].stops(way).into_iter().map(|stop| (way, stop)));
    }
    let cases = choose(stops);
    assert!(!cases.is_empty(), "nothing would be covered");
    let (count, queue) = (cases.len(), Mutex::new(VecDeque::from(cases)));
    let done = Mutex::new(0);
    println!("{count} cases");
    std::thread::scope(|scope| {
        let mut work = Vec::new();
        for lane in &mut lanes {
            work.push(scope.spawn(|| {
                loop {
                    let case = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(case) = case else { return };
                    lane.kill(&case);
                    println!("held: {case}");
                    *done.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                }
            }));
        }
        // A lane that failed has said why; the others end first.
        for lane in work {
            let _ = lane.join();
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(done, count, "a case did not hold, or was not tried");
}

/// What a rollout by these steps writes, and has to be killed at.
const SORTS: [&str; 28] = [
    "lease.acquired",
    "lease.taken_over",
    "lease.released",
    "rollout.joined",
    "rollout.begun",
    "rollout.resumed",
    "rollout.baseline",
    "rollout.stage",
    "rollout.measured",
    "rollout.heard",
    "rollout.going_back",
    "rollout.returned",
    "rollout.finished",
    "rollout.intent create_sibling",
    "rollout.done create_sibling",
    "rollout.intent deploy",
    "rollout.done deploy",
    "rollout.intent remove_sibling",
    "rollout.done remove_sibling",
    "rollout.intent restore",
    "rollout.intent migrate",
    "rollout.done migrate",
    "rollout.intent hook",
    "rollout.done hook",
    "rollout.intent revert",
    "rollout.done revert",
    "rollout.intent undo_hook",
    "rollout.done undo_hook",
];

#[test]
fn after_a_kill_the_next_command_leaves_one_version_and_nothing_else() {
    matrix(|stops| {
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
        for sort in SORTS {
            assert!(sorts.iter().any(|(_, known)| known == sort), "{sort} is not covered: {sorts:?}");
        }
        let next = NEXT.into_iter().cycle();
        chosen.into_iter().zip(next).map(|((way, stop), next)| Case { way, stop, next }).collect()
    });
}

#[test]
#[ignore = "slow: every place with every next command, by `cargo xtask test --slow`"]
fn after_a_kill_anywhere_every_next_command_leaves_one_version_and_nothing_else() {
    matrix(|stops| {
        let all =
            stops.into_iter().flat_map(|(way, stop)| NEXT.map(|next| Case { way, stop: stop.clone(), next }));
        all.collect()
    });
}
