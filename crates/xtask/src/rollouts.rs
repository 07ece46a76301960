//! `cargo xtask bench rollouts`: many services rolled out at once by one process, within Railway's budget.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::Context;
use crate::error::Error;
use crate::image;
use crate::place::{self, Place};
use crate::process::Job;
use crate::sandbox::{Entry, Sandbox};
use crate::workspace;

/// Requests an hour of Railway's plans: Hobby and Pro.
const PLANS: [(&str, usize); 2] = [("Hobby", 1_000), ("Pro", 10_000)];
/// The memory that the process may take, in KiB: 150 MB.
const MEMORY_KIB: u64 = 150_000_000 / 1024;
/// How long each candidate is watched.
const BAKE: &str = "30s";
/// How often the memory is read; the kernel keeps the peak, so that only the very end can be missed.
const LOOK: Duration = Duration::from_millis(50);
/// Longer than the rollouts give themselves.
const LIMIT: Duration = Duration::from_mins(40);

/// Rolls `count` services out with one process, at Railway's pace and in real time; prints what that took, and fails when
/// it was more than promised.
pub(crate) async fn run(context: &Context, count: u32, bin_dir: Option<&Path>) -> Result<(), Error> {
    let report = context.report;
    let programs = workspace::released_programs(context, bin_dir).await?;
    let temporary = tempfile::Builder::new()
        .prefix("spectra-bench-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let root = temporary.path();
    report.step(&format!("make {count} services in one environment of a sandbox"));
    let sandbox = Sandbox::start(context, &programs, &root.join("sandbox")).await?;
    let old = image::simulated(context, &programs, &sandbox, root, "bench/old", &[("body", "old")]).await?;
    let new = image::simulated(context, &programs, &sandbox, root, "bench/new", &[("body", "new")]).await?;
    let place = place::make(&sandbox, &old, count, "pro").await?;

    report.step(&format!("roll {count} services out with one `railway-deployer rollout start`"));
    let spec = root.join("rollouts.toml");
    std::fs::write(&spec, specification(&place, &new.pinned)).map_err(Error::file("write", &spec))?;
    let before = sandbox.last_sequence().await?;
    let mut job = Job::new(&programs.deployer)
        .args(["rollout", "start", "--json", "--no-progress", "--spec"])
        .arg(&spec)
        .dir(root)
        .env("SPECTRA_RAILWAY_BUDGET", "remote");
    for (name, value) in sandbox.environment() {
        job = job.env(name, value);
    }
    let begun = Instant::now();
    let mut running = context.processes.start(&job)?;
    let mut peak_kib = 0;
    let end = loop {
        if let Some(end) = running.finished() {
            break end;
        }
        if begun.elapsed() > LIMIT {
            context.processes.stop(&mut running).await;
            let output = running.finished().map(|end| end.stderr).unwrap_or_default();
            return Err(Error::TimedOut { command: job.line(), seconds: LIMIT.as_secs(), output });
        }
        peak_kib = peak_kib.max(peak(running.pid()));
        sleep(LOOK).await;
    };
    let wall = begun.elapsed();
    let outcomes = outcomes(&end.stdout)?;
    let entries = sandbox.journal(before).await?;
    let counted = requests(&entries);
    let all: usize = counted.values().sum();
    let refused = entries.iter().filter(|entry| entry.outcome != "ok").count();
    sandbox.stop(context).await;

    let each = |number: usize| ratio(number, usize::try_from(count).unwrap_or(usize::MAX));
    let line = |name: &str, value: String, unit: &str| {
        report.plain(&format!("rollouts: {name:<36}{value:>12} {unit}"));
    };
    for (outcome, number) in &outcomes {
        line(outcome, number.to_string(), &format!("of {count}, each with a bake of {BAKE}"));
    }
    line("wall time", format!("{:.1}", wall.as_secs_f64()), "s");
    line("peak resident size", peak_kib.to_string(), "KiB");
    for (operation, number) in &counted {
        line(operation, number.to_string(), &format!("requests, {:.2} a rollout", each(*number)));
    }
    line("all requests", all.to_string(), &format!("{:.2} a rollout; {refused} were refused", each(all)));
    for (plan, budget) in PLANS {
        let share = 100.0 * ratio(all, budget);
        line(&format!("of an hour's {budget} ({plan})"), format!("{share:.0}"), "%");
    }
    let complete = outcomes.get("complete").copied().unwrap_or(0);
    if complete != usize::try_from(count).unwrap_or(usize::MAX) {
        return Err(end.failure());
    }
    let within = |holds: bool, promise: &'static str, found: String| {
        if holds { Ok(()) } else { Err(Error::Promise { promise, found }) }
    };
    within(peak_kib > 0 && peak_kib < MEMORY_KIB, "memory stays under 150 MB", format!("{peak_kib} KiB"))?;
    within(refused == 0, "no request is refused", format!("{refused} were"))?;
    let (_, hour) = PLANS[1];
    within(all <= hour, "all of it fits into one hour of the Pro plan", format!("{all} requests"))
}

fn specification(place: &Place, image: &str) -> String {
    let mut text = String::new();
    for (service, _) in &place.services {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "[[rollout]]\ncandidate = {image:?}\nbake = {BAKE:?}\nhealth = {{ path = \"/\" }}\n\
             place = {{ project = {:?}, environment = {:?}, service = {service:?} }}\n",
            place.project, place.environment
        );
    }
    text
}

/// How many rollouts came to which end.
fn outcomes(stdout: &str) -> Result<BTreeMap<String, usize>, Error> {
    let unexpected = |reason: String| Error::unexpected("railway-deployer rollout start --json", reason);
    let document: Value =
        serde_json::from_str(stdout).map_err(|error| unexpected(format!("{error}: {stdout:?}")))?;
    // One rollout has a document of its own.
    let single = std::slice::from_ref(&document);
    let results = document["results"].as_array().map_or(single, Vec::as_slice);
    let mut counted = BTreeMap::new();
    for result in results {
        let outcome =
            result["outcome"].as_str().ok_or_else(|| unexpected(format!("no outcome in {result}")))?;
        *counted.entry(outcome.to_owned()).or_default() += 1;
    }
    Ok(counted)
}

/// What counts against the budget, by operation. Subscriptions on an open connection are free.
fn requests(entries: &[Entry]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind != "subscription") {
        *counted.entry(entry.operation.clone()).or_default() += 1;
    }
    counted
}

/// The highest resident size so far, in KiB; 0 once the process is gone.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "small numbers, for people")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_free_and_the_rest_is_counted_by_operation() {
        let entry = |kind: &str, operation: &str| Entry {
            sequence: 1,
            kind: kind.to_owned(),
            operation: operation.to_owned(),
            outcome: "ok".to_owned(),
        };
        let entries = [
            entry("query", "DeploymentGet"),
            entry("subscription", "FollowDeployment"),
            entry("mutation", "ServiceInstanceDeploy"),
            entry("query", "DeploymentGet"),
        ];
        let expected = [("DeploymentGet", 2), ("ServiceInstanceDeploy", 1)];
        assert_eq!(requests(&entries), expected.map(|(name, number)| (name.to_owned(), number)).into());
    }

    #[test]
    fn outcomes_are_counted_and_what_was_not_begun_too() {
        let text = r#"{"results":[{"outcome":"complete"},{"outcome":"not_begun"},{"outcome":"complete"}]}"#;
        let expected = [("complete", 2), ("not_begun", 1)];
        assert_eq!(outcomes(text).unwrap(), expected.map(|(name, number)| (name.to_owned(), number)).into());
        assert!(outcomes("").is_err());
    }
}
