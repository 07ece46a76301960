//! A shop that is killed in, again and again.

use std::collections::BTreeSet;

use base64::prelude::*;
use rustix::process::Signal;
use serde_json::{Value, json};
use spectra_acceptance::{JournalRecord, Running, Sandbox, Shop, Version, Watch, points};
use spectra_delivery::approval::Key;
use spectra_delivery::settings::{NotificationChannel, Setting, Settings};
use spectra_journal::{Holder, Journal, Location};
use spectra_rollout::FreezeWindow;

use crate::case::{Case, Left, Next, Stop, Way};

/// Who approves.
const APPROVER: &str = "anna";
/// Why a freeze window is passed.
const BECAUSE: &str = "it was agreed on";

/// Whatever serves after a case is the old version of the next one.
pub(crate) struct Lane<'a> {
    sandbox: &'a Sandbox,
    shop: Shop<'a>,
    versions: Vec<Version>,
    current: usize,
    key: Key,
}

impl<'a> Lane<'a> {
    pub(crate) fn open(sandbox: &'a Sandbox) -> Self {
        let shop = Shop::open(sandbox, "shop");
        let versions: Vec<_> = ["one", "two", "three"].map(|name| Version::push(name, sandbox)).to_vec();
        shop.stock(&versions[0]);
        let seed = BASE64_STANDARD.encode([7; 32]).into_bytes();
        std::fs::write(shop.file("key"), &seed).unwrap();
        let key = Key::parse(&seed.into()).unwrap();
        Self { sandbox, shop, versions, current: 0, key }
    }

    fn version(&self, ahead: usize) -> &Version {
        &self.versions[(self.current + ahead) % self.versions.len()]
    }

    /// Changes settings of the journal, as whoever administers it.
    fn settings(&self, change: impl AsyncFnOnce(Settings<'_>, &Holder)) {
        let location: Location = self.shop.journal().url().parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let journal = Journal::open_existing(&location).await.unwrap();
            change(Settings::of(&journal), &Holder::of_this_process("kill_cli")).await;
        });
    }

    /// A freeze window that holds, and a channel that nobody can be reached by.
    fn set_up(&self) {
        fn value<T: Setting>(value: Value) -> T {
            serde_json::from_value(value).unwrap()
        }
        let schedule =
            json!({ "schedule": "once", "from": "2020-01-01T00:00:00Z", "to": "2320-01-01T00:00:00Z" });
        let reach = json!({ "reach": "everything" });
        let window: FreezeWindow = value(
            json!({ "name": "audit", "reason": "the books are closed", "schedule": schedule, "reach": reach }),
        );
        let channel = json!({ "name": "ops", "kind": "webhook", "url_env": "NOBODY_SETS_THIS" });
        let channel: NotificationChannel = value(json!({ "reach": reach, "channel": channel }));
        self.settings(async |settings, me| {
            settings.put("audit", &window, me).await.unwrap();
            settings.put("ops", &channel, me).await.unwrap();
        });
    }

    fn take_down(&self) {
        self.settings(async |settings, me| {
            settings.remove::<FreezeWindow>("audit", me).await.unwrap();
            settings.remove::<NotificationChannel>("ops", me).await.unwrap();
        });
    }

    /// What differs from a plain release.
    fn plan(&self, way: Way) -> Value {
        let (old, new) = (self.version(0).name.as_str(), self.version(way.ahead()).name.as_str());
        let both = format!("{old} and {new}");
        let shop = &self.shop;
        let widen = json!({
            "step": "migrate", "name": "widen", "part": "expand",
            "up": shop.tend("schema", old, &both, &[new]), "down": shop.tend("schema", &both, old, &[]),
        });
        let warm = json!({
            "step": "hook", "name": "warm",
            "run": shop.tend("cache", old, new, &[]), "undo": shop.tend("cache", new, old, &[]),
        });
        let program = |script: &str| json!({ "command": ["/bin/sh", "-c", script] });
        match way {
            Way::Forward => json!({ "bake": "50ms" }),
            Way::Back | Way::Asked | Way::Recovery => json!({ "bake": "20m" }),
            Way::Again => json!({ "bake": "50ms", "steps": [{ "step": "swap" }] }),
            Way::Gated => {
                let metric = |name: &str, script: &str| {
                    let source = json!({ "kind": "command", "run": program(script) });
                    json!({ "name": name, "source": source, "interval": "20ms", "count": 1, "max": 5 })
                };
                json!({
                    "bake": "50ms",
                    "freeze_override": BECAUSE,
                    "on_inconclusive": "proceed",
                    "approval": {
                        "approvers": [{ "name": APPROVER, "public_key": self.key.public_key() }],
                    },
                    "steps": [
                        widen,
                        warm,
                        { "step": "swap" },
                        { "step": "wave", "services": [shop.service("api")], "pause": "20ms" },
                        { "step": "analysis", "metrics": [metric("errors", "echo 1"), metric("silent", "true")] },
                        {
                            "step": "migrate", "name": "narrow", "part": "contract", "irreversible": true,
                            "up": shop.tend("schema", &both, new, &[]),
                        },
                    ],
                })
            }
            Way::Replaced => json!({ "bake": "20m", "steps": [widen, warm, { "step": "swap" }] }),
            Way::Stuck => {
                let jams = json!({
                    "step": "hook", "name": "jams",
                    "run": shop.tend("cache", old, new, &[]), "undo": program("echo it jams >&2; exit 1"),
                });
                json!({ "bake": "20m", "steps": [widen, jams, { "step": "swap" }] })
            }
        }
    }

    /// Starts the rollout of that way, and brings it to turn round where it does.
    fn begin(&self, way: Way, further: impl FnOnce()) -> Running {
        let arguments = self.shop.release(self.version(0), self.version(way.ahead()), &self.plan(way));
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        if way == Way::Gated {
            let mut approve = arguments.clone();
            approve[1] = "approve";
            approve.extend(["--as", APPROVER, "--key", "key"]);
            let _ = self.shop.run(&approve).success();
        }
        let since = self.shop.journal().last();
        let has = |what: &dyn Fn(&JournalRecord) -> bool| self.shop.journal().records(since).iter().any(what);
        arguments.push("--no-progress");
        let mut running = self.shop.begin("killed", &arguments);
        if way.is_forward() {
            further();
            return running;
        }
        running.until("it bakes", || has(&|record| record.body.get("phase") == Some(&json!("baking"))));
        further();
        match way {
            Way::Forward | Way::Gated | Way::Again => running,
            Way::Back | Way::Stuck => {
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
            Way::Replaced => {
                self.shop.deploy_by_hand("web", self.version(2));
                running
            }
        }
    }

    /// Every place to kill at, as a run of that way to its end shows them.
    pub(crate) fn stops(&mut self, way: Way) -> Vec<Stop> {
        if way == Way::Gated {
            self.set_up();
        }
        let (last, mut now) = (self.shop.journal().last(), 0);
        let running = self.begin(way, || now = self.sandbox.now());
        let (code, said) = running.end();
        assert_eq!(code, way.code(), "{way:?}: {said}");
        let mut records = self.shop.journal().records(last);
        // The approver's own program wrote it.
        records.retain(|record| record.kind != "approval.given");
        let mut found = points(&records, self.shop.names());
        let turn = records.iter().position(|record| way.turns_at(record)).expect("it turns round");
        let before = points(&records[..turn], self.shop.names());
        found.retain(|point| !before.contains(point));
        let mut stops: Vec<_> = found.into_iter().map(Stop::Before).collect();
        if way == Way::Asked {
            // From there on it is the same.
            stops.truncate(2);
        }
        if way.has_changes_of_its_own() {
            let mut operations: Vec<String> = Vec::new();
            for operation in self.sandbox.mutations(now) {
                let before = operations.iter().filter(|known| **known == operation).count();
                stops.push(Stop::In(operation.clone(), u64::try_from(before).unwrap()));
                operations.push(operation);
            }
        }
        let serves = match way {
            Way::Replaced => 2,
            way if way.is_forward() => way.ahead(),
            _ => 0,
        };
        self.straighten(way, serves, &format!("{way:?}, to its end"));
        stops
    }

    /// Kills it there, and looks at what the next command makes of that.
    pub(crate) fn kill(&mut self, case: &Case) {
        let context = case.to_string();
        if case.way == Way::Gated {
            self.set_up();
        }
        let (shop, journal) = (&self.shop, self.shop.journal());
        let since = journal.last();
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

        let left = Left::of(&journal.records(since));
        let serves = match (case.way, case.next) {
            (_, Next::Abort) => {
                let code = left.code_of_abort(case.way);
                let run = shop.run(&["rollout", "abort", "--reason", "killed"]);
                assert_eq!(run.code, code, "{context}, which left {left:?}: {}", run.text());
                self.look_at_what_is_stuck(case.way, &context);
                match case.way {
                    Way::Replaced => 2,
                    way => {
                        if left.completes() {
                            way.ahead()
                        } else {
                            0
                        }
                    }
                }
            }
            (Way::Replaced | Way::Stuck, next) => {
                // Another plan than the one before: what that left needs somebody to look at it.
                let ahead = if next == Next::Same { 1 } else { 2 };
                let start = ["rollout", "start", "--image", &self.version(ahead).image.pinned];
                if case.way == Way::Stuck {
                    let code = if left == Left::Ended { 7 } else { 4 };
                    let run = shop.run(&start);
                    assert_eq!(run.code, code, "{context}, which left {left:?}: {}", run.text());
                    self.look_at_what_is_stuck(case.way, &context);
                }
                let run = shop.run(&start);
                assert_eq!(run.code, 0, "{context}, which left {left:?}: {}", run.text());
                ahead
            }
            (way, next) => {
                let ahead = if next == Next::Same { way.ahead() } else { 2 };
                let from = self.version(if left.completes() { way.ahead() } else { 0 });
                let arguments =
                    shop.release(from, self.version(ahead), &json!({ "freeze_override": BECAUSE }));
                let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
                let run = shop.run(&arguments);
                assert_eq!(run.code, 0, "{context}, which left {left:?}: {}", run.text());
                ahead
            }
        };
        self.straighten(case.way, serves, &context);
    }

    /// A rollout whose way back failed keeps everybody out until somebody has looked at it.
    fn look_at_what_is_stuck(&self, way: Way, context: &str) {
        if way == Way::Stuck {
            let _ = self.shop.run(&["rollout", "start", "--image", &self.version(1).image.pinned]).code(7);
            let _ = self.shop.run(&["rollout", "unlock", "--reason", "looked at it"]).success();
            assert_eq!(self.shop.status("web")["state"], "ended", "{context}");
        }
    }

    /// Asserts that the version serves that is so far ahead, and nothing of another is left. Puts in order what only people
    /// can; it is said of the ways with a third version or a broken hook what that is.
    fn straighten(&mut self, way: Way, serves: usize, context: &str) {
        let (shop, old) = (&self.shop, self.version(0).name.clone());
        if way == Way::Replaced {
            assert_eq!(shop.holds("cache"), old, "{context}: a hook was not undone");
            let both = format!("{old} and {}", self.version(1).name);
            // A third version runs on the schema: nobody takes it away from under it.
            assert_eq!(shop.holds("schema"), both, "{context}");
        }
        if way == Way::Stuck {
            assert_eq!(shop.holds("schema"), old, "{context}: a migration was not taken back");
            assert_eq!(shop.holds("cache"), self.version(1).name, "{context}: its undo cannot work");
            let _ = shop.run(&["rollout", "unlock", "--reason", "looked at it"]).success();
        }
        if matches!(way, Way::Replaced | Way::Stuck) {
            let services: BTreeSet<_> = self
                .sandbox
                .services()
                .iter()
                .map(|row| (row["service"].clone().to_string(), row["running_digest"].clone().to_string()))
                .collect();
            let runs = |service: &str, version: &Version| {
                (json!(service).to_string(), json!(version.image.digest).to_string())
            };
            let expected = BTreeSet::from([runs("web", self.version(serves)), runs("api", self.version(0))]);
            assert_eq!(services, expected, "{context}: `api` was nobody's business");
            let image = &self.version(serves).image.pinned;
            let _ =
                shop.run(&["rollout", "start", "--service", shop.service("api"), "--image", image]).success();
            shop.put_in_order(self.version(serves));
        }
        if way == Way::Gated {
            self.take_down();
        }
        let all: Vec<_> = self.versions.iter().collect();
        let found = shop.serving(&all, context);
        assert_eq!(found.name, self.version(serves).name, "{context}: the wrong version serves");
        shop.assert_at_rest(context);
        self.current = (self.current + serves) % self.versions.len();
    }
}
