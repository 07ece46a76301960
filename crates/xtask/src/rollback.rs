//! `cargo xtask bench rollback`: how long it takes from the measurement that fails a rollout until the old digest serves.
//!
//! The sandbox runs in real time, with the times that Railway documents, and the program keeps Railway's pace. Moments are
//! those of the journal; that the old image serves is seen by asking for it all the time, from outside.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::Context;
use crate::bench::median;
use crate::error::Error;
use crate::http::Asked;
use crate::image::{self, Image};
use crate::place::{self, Place};
use crate::process::{Finished, Job};
use crate::record::{Record, between};
use crate::sandbox::Sandbox;
use crate::workspace::{self, Programs};

/// The time between two looks at a deployment at Railway's pace, `Polling::REMOTE` of the client.
const POLL: Duration = Duration::from_secs(3);
/// What a busy machine may add.
const ALLOWANCE: Duration = Duration::from_secs(2);
/// Between two requests from outside.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// No rollout here takes nearly as long.
const LIMIT: Duration = Duration::from_mins(8);
/// The exit code of a rollout that was rolled back.
const ROLLED_BACK: i32 = 3;

/// Fails `runs` rollouts in their bake and as many as canaries; prints what the way back took, and fails when the old digest
/// served later than promised.
pub(crate) async fn run(context: &Context, runs: u32, bin_dir: Option<&Path>) -> Result<(), Error> {
    let report = context.report;
    let programs = workspace::released_programs(context, bin_dir).await?;
    let temporary = tempfile::Builder::new()
        .prefix("spectra-bench-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let root = temporary.path();
    report.step("make a service on a sandbox that runs in real time");
    let sandbox = Sandbox::start(context, &programs, &root.join("sandbox")).await?;
    let image = async |name: &str, labels: &[(&str, &str)]| {
        image::simulated(context, &programs, &sandbox, root, &format!("bench/{name}"), labels).await
    };
    let base = image("base", &[("body", "base")]).await?;
    let old = image("old", &[("body", "old")]).await?;
    // Healthy for a while, and away for longer than three probes then.
    let sick = image("sick", &[("body", "new"), ("crash-after", "10s"), ("start-delay", "6s")]).await?;
    let faulty = image("faulty", &[("body", "new"), ("error-rate", "1"), ("traffic", "5")]).await?;
    let place = place::make(&sandbox, &base, 1, "pro").await?;
    let bench = Bench { context, programs: &programs, sandbox: &sandbox, root, place };

    report.step("deploy the old image once, as any other");
    let deploy = bench.plain(&old).await?;
    let bound = POLL + deploy;
    report.step(&format!("fail {runs} rollouts in their bake"));
    let mut bakes = Vec::new();
    for _ in 0..runs {
        bakes.push(bench.bake(&sick).await?);
    }
    report.step(&format!("fail {runs} canaries by a metric"));
    let mut canaries = Vec::new();
    for _ in 0..runs {
        canaries.push(bench.canary(&faulty).await?);
    }
    drop(bench);
    sandbox.stop(context).await;

    let line = |name: &str, value: Duration, unit: &str| {
        report.plain(&format!("rollback: {name:<56}{:>8.2} {unit}", value.as_secs_f64()));
    };
    let both = |name: &str, values: Vec<Duration>| {
        let worst = values.iter().copied().max().unwrap_or_default();
        line(&format!("{name}, median"), median(values).unwrap_or_default(), "s");
        line(&format!("{name}, worst"), worst, "s");
        worst
    };
    line("poll interval", POLL, "s");
    line("one plain deployment of the old image", deploy, "s");
    both("bake: failing probe to restore answered", bakes.iter().map(|run| run.restored).collect());
    let serving =
        both("bake: failing probe to old digest serving", bakes.iter().map(|run| run.serving).collect());
    both("bake: failing probe to end of rollout", bakes.iter().map(|run| run.ended).collect());
    both("canary: failing metric to going back", canaries.iter().map(|run| run.turned).collect());
    both("canary: failing metric to canary removed", canaries.iter().map(|run| run.removed).collect());
    let ended =
        both("canary: failing metric to end of rollout", canaries.iter().map(|run| run.ended).collect());
    let answers: u64 = canaries.iter().map(|run| run.answers).sum();
    report.plain(&format!(
        "rollback: {:<56}{answers:>8} and no other",
        "canary: answers of the old digest meanwhile"
    ));
    line("bound: one poll interval and one deployment", bound, "s");
    line("allowed on top for scheduling", ALLOWANCE, "s");
    for (promise, worst) in [
        ("the old digest serves within a poll interval and a deployment", serving),
        ("a failed canary is over within a poll interval and a deployment", ended),
    ] {
        if worst > bound + ALLOWANCE {
            let found = format!("{:.2} s, bound {:.2} s", worst.as_secs_f64(), bound.as_secs_f64());
            return Err(Error::Promise { promise, found });
        }
    }
    Ok(())
}

/// Since the probe that decided.
struct Baked {
    restored: Duration,
    serving: Duration,
    ended: Duration,
}

/// Since the metric that decided.
struct Canaried {
    turned: Duration,
    removed: Duration,
    ended: Duration,
    /// How often the service answered from outside, each time by the old image.
    answers: u64,
}

struct Bench<'a> {
    context: &'a Context,
    programs: &'a Programs,
    sandbox: &'a Sandbox,
    root: &'a Path,
    place: Place,
}

impl Bench<'_> {
    fn url(&self) -> &str {
        self.place.services.first().map_or("", |(_, url)| url)
    }

    /// From the moment at which a deployment is decided on until it serves.
    async fn plain(&self, old: &Image) -> Result<Duration, Error> {
        let over = AtomicBool::new(false);
        let nothing = json!({});
        let (rollout, seen) = tokio::join!(self.roll_out(old, &nothing, 0, &over), self.first("old", &over));
        let record = self.record(&rollout?).await?;
        let decided = record.first("intent", |entry| entry["action"]["action"] == "deploy")?;
        Ok(between(decided, seen?))
    }

    async fn bake(&self, sick: &Image) -> Result<Baked, Error> {
        let more = json!({
            "bake": "5m",
            "health": { "path": "/", "interval": "1s", "timeout": "1s", "failure_threshold": 3 }
        });
        let over = AtomicBool::new(false);
        let returned = async {
            self.first("new", &over).await?;
            self.first("old", &over).await
        };
        let (rollout, serving) = tokio::join!(self.roll_out(sick, &more, ROLLED_BACK, &over), returned);
        let record = self.record(&rollout?).await?;
        let back = record.first("going_back", |_| true)?;
        let unhealthy = |entry: &Value| entry["measurement"]["verdict"] == "unhealthy";
        let failing = record.last_before(back, "measured", unhealthy)?;
        let restored = record.first("done", |entry| entry["action"]["action"] == "restore")?;
        Ok(Baked {
            restored: between(failing, restored),
            serving: between(failing, serving?),
            ended: between(failing, record.first("finished", |_| true)?),
        })
    }

    async fn canary(&self, faulty: &Image) -> Result<Canaried, Error> {
        let metric = json!({
            "name": "errors", "source": { "kind": "http_log_status", "ratio": "server_error" },
            "interval": "5s", "max": 0.1, "min_samples": 1
        });
        let more = json!({ "steps": [{ "step": "canary", "duration": "2m", "metrics": [metric] }] });
        let over = AtomicBool::new(false);
        let (rollout, answers) =
            tokio::join!(self.roll_out(faulty, &more, ROLLED_BACK, &over), self.only("old", &over));
        let record = self.record(&rollout?).await?;
        let back = record.first("going_back", |_| true)?;
        let failing = record.last_before(back, "sampled", |entry| entry["verdict"] == "bad")?;
        let removed = record.first("done", |entry| entry["action"]["action"] == "remove_sibling")?;
        Ok(Canaried {
            turned: between(failing, back),
            removed: between(failing, removed),
            ended: between(failing, record.first("finished", |_| true)?),
            answers: answers?,
        })
    }

    /// Runs one rollout to its end, which has this exit code, and says so by `over`; returns its id.
    async fn roll_out(
        &self,
        image: &Image,
        more: &Value,
        code: i32,
        over: &AtomicBool,
    ) -> Result<String, Error> {
        let result = self.roll_out_inner(image, more, code).await;
        over.store(true, Ordering::Relaxed);
        result
    }

    async fn roll_out_inner(&self, image: &Image, more: &Value, code: i32) -> Result<String, Error> {
        let mut document = more.clone();
        let service = self.place.services.first().map(|(id, _)| id.as_str());
        document["candidate"] = image.pinned.clone().into();
        document["place"] = json!({
            "project": self.place.project, "environment": self.place.environment, "service": service
        });
        let spec = self.root.join("rollout.json");
        std::fs::write(&spec, document.to_string()).map_err(Error::file("write", &spec))?;
        let mut job = Job::new(&self.programs.deployer)
            .args(["rollout", "start", "--json", "--spec"])
            .arg(&spec)
            .dir(self.root)
            .env("SPECTRA_RAILWAY_BUDGET", "remote")
            .limit(LIMIT);
        for (name, value) in self.sandbox.environment() {
            job = job.env(name, value);
        }
        let end = self.context.processes.run(&job).await?;
        if end.status.code() != Some(code) {
            return Err(end.failure());
        }
        rollout_of(&end)
    }

    async fn record(&self, rollout: &str) -> Result<Record, Error> {
        Record::read(self.context, self.programs, self.root, rollout).await
    }

    /// When the service first answered with this body.
    async fn first(&self, body: &str, over: &AtomicBool) -> Result<Timestamp, Error> {
        let asked = Asked::new(self.url())?;
        // Looked at before the request: what ended the rollout may be what the request would have seen.
        loop {
            let last = over.load(Ordering::Relaxed);
            if asked.get().await.is_ok_and(|answer| answer.status == 200 && answer.body.trim() == body) {
                return Ok(Timestamp::now());
            }
            if last {
                let reason = format!("it never answered `{body}`");
                return Err(Error::unexpected(self.url(), reason));
            }
            sleep(ASK_AGAIN).await;
        }
    }

    /// How often the service answered, each time with this body.
    async fn only(&self, body: &str, over: &AtomicBool) -> Result<u64, Error> {
        let asked = Asked::new(self.url())?;
        let mut answers = 0;
        while !over.load(Ordering::Relaxed) {
            let answer = asked.get().await?;
            if answer.status != 200 || answer.body.trim() != body {
                let found = format!("status {}, body `{}`", answer.status, answer.body);
                return Err(Error::Promise { promise: "a canary leaves the service alone", found });
            }
            answers += 1;
            sleep(ASK_AGAIN).await;
        }
        Ok(answers)
    }
}

fn rollout_of(end: &Finished) -> Result<String, Error> {
    let document: Value = serde_json::from_str(&end.stdout)
        .map_err(|error| Error::unexpected(end.command.clone(), error.to_string()))?;
    let rollout = document["rollout"].as_str().map(ToOwned::to_owned);
    rollout.ok_or_else(|| Error::unexpected(end.command.clone(), format!("no `rollout` in {document}")))
}
