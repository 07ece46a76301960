//! What Railway and other people do to a rollout while it runs. Each hazard has its outcome: the exit code, the version that
//! answers afterwards, how many deployments were made for it, and nothing that is left in the way of the next rollout.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use rustix::process::Signal;
use serde_json::{Value, json};
use spectra_acceptance::{
    ImageBuilder, JournalRecord, Run, Running, Sandbox, Shop, Terraform, Version, eventually, foreign, get,
    run, shop_with_rollout_that,
};

/// Enough of every status on the way to be met there, and still quick.
const SCALE: [&str; 2] = ["--time-scale", "200"];

/// A shop whose `web` runs the first of two versions, by one deployment.
fn stocked(sandbox: &Sandbox) -> (Shop<'_>, Version, Version) {
    let shop = Shop::open(sandbox, "shop");
    let [old, new] = ["old", "new"].map(|name| Version::push(name, sandbox));
    let _ = shop.run(&["rollout", "start", "--image", &old.image.pinned]).success();
    (shop, old, new)
}

fn arguments<'v>(version: &'v Version, more: &[&'v str]) -> Vec<&'v str> {
    let mut all = vec!["rollout", "start", "--image", &version.image.pinned];
    all.extend(["--health-path", "/healthz", "--health-interval", "50ms"]);
    all.extend(more);
    all
}

fn start(shop: &Shop<'_>, version: &Version, more: &[&str]) -> Run {
    shop.run(&arguments(version, more))
}

/// Starts one and waits until it bakes.
fn baking(shop: &Shop<'_>, version: &Version, more: &[&str]) -> Running {
    let since = shop.journal().last();
    let mut running = shop.begin("bakes", &arguments(version, more));
    running.until("it bakes", || shop.journal().records(since).iter().any(bakes));
    running
}

fn bakes(record: &JournalRecord) -> bool {
    record.body.get("phase") == Some(&json!("baking"))
}

/// This version answers, the platform runs it and is set to it, `web` had so many deployments in all its life and none is on
/// its way, and the next rollout can begin.
fn assert_serves(shop: &Shop<'_>, version: &Version, deployments: u64, context: &str) {
    let row = eventually("nothing is on its way", || {
        let row = shop.row("web");
        let latest = row["latest_status"].as_str().unwrap_or_default();
        ["SUCCESS", "REMOVED", "FAILED", "CRASHED"].contains(&latest).then_some(row)
    });
    assert_eq!(row["running_digest"], json!(version.image.digest), "{context}: {row:#}");
    assert_eq!(row["source_image"], json!(version.image.pinned), "{context}: the setting: {row:#}");
    assert_eq!(row["deployments"], json!(deployments), "{context}: {row:#}");
    let answer = get(row["urls"][0].as_str().expect("it has a domain"));
    assert_eq!((answer.status, answer.body.trim()), (200, version.name.as_str()), "{context}");
    shop.assert_at_rest(context);
}

/// The id of the newest deployment of `web`.
fn newest(shop: &Shop<'_>) -> String {
    shop.row("web")["latest_deployment"].as_str().expect("there is one").to_owned()
}

fn outcomes(sandbox: &Sandbox, since: u64, outcome: &str) -> usize {
    sandbox.journal(since).iter().filter(|entry| entry.outcome == outcome).count()
}

// Rate limits.

#[test]
fn q02_a_limit_of_the_second_is_waited_out_and_it_deploys_once() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, _, new) = stocked(&sandbox);
    // Fewer than the program sends by itself, in seconds that are as long as everybody's.
    sandbox.set(&json!({
        "requests_per_second": 8, "time_scale": 1,
        "init_duration": "10ms", "image_deploy_duration": "100ms", "remove_duration": "10ms",
    }));
    let since = sandbox.now();
    let done = start(&shop, &new, &[]).success();
    assert!(outcomes(&sandbox, since, "rate_limited") > 0, "no limit was met: {}", done.stderr);
    sandbox.set(&json!({ "requests_per_second": null }));
    assert_serves(&shop, &new, 2, &done.stderr);
}

#[test]
fn q02_an_hourly_budget_that_runs_out_before_a_change_is_waited_for_and_it_deploys_once() {
    // An hour lasts two seconds.
    let sandbox = Sandbox::start_with(&["--time-scale", "2000"]);
    let (shop, _, new) = stocked(&sandbox);
    let action = json!({ "type": "quota_exhausted" });
    sandbox.fault(&json!({ "operation": "ServiceInstanceDeploy", "count": 1, "action": action }));
    let since = sandbox.now();
    let done = start(&shop, &new, &[]).success();
    assert_eq!(outcomes(&sandbox, since, "fault:quota_exhausted"), 1, "{}", done.stderr);
    assert_serves(&shop, &new, 2, &done.stderr);
}

/// Refuses everything for an hour.
fn without_a_budget(sandbox: &Sandbox) {
    let action = json!({ "type": "http", "status": 429, "retry_after": 3600 });
    sandbox.fault(&json!({ "operation": "*", "action": action }));
}

#[test]
fn q02_a_budget_that_is_gone_before_it_begins_refuses_the_rollout_and_changes_nothing() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, old, new) = stocked(&sandbox);
    without_a_budget(&sandbox);
    let since = sandbox.now();
    let refused = start(&shop, &new, &[]).code(1);
    assert_eq!(sandbox.mutations(since), Vec::<String>::new());
    sandbox.clear_faults();
    let refused = refused.says("nothing was changed").says("too many requests").says("the hourly budget");
    assert_serves(&shop, &old, 1, &refused.stderr);
    let done = start(&shop, &new, &[]).success();
    assert_serves(&shop, &new, 2, &done.stderr);
}

#[test]
fn q02_a_budget_that_is_gone_when_it_has_to_go_back_leaves_that_to_people_and_says_so() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, old, new) = stocked(&sandbox);
    let running = baking(&shop, &new, &["--bake", "20m", "--abort-timeout", "1s"]);
    without_a_budget(&sandbox);
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert_eq!(code, 4, "{said}");
    for words in ["the request budget is used up", "rollout unlock --project", "could not be read"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    sandbox.clear_faults();
    // Nobody could tell it to go, so the new version serves; that nobody else begins on top of that is what the lock is for.
    assert_eq!(shop.row("web")["running_digest"], json!(new.image.digest));
    assert_eq!(shop.status("web")["state"], json!("unresolved"));
    let _ = start(&shop, &old, &[]).code(7);
    let _ = shop.run(&["rollout", "unlock", "--reason", "the budget is back"]).success();
    let done = start(&shop, &old, &[]).success();
    assert_serves(&shop, &old, 3, &done.stderr);
}

// Answers that are lost.

#[test]
fn q12_an_answer_that_is_lost_after_the_change_was_made_deploys_once() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, old, new) = stocked(&sandbox);
    let mut deployments = 1;
    for (way, version) in [("gateway_timeout", &new), ("reset", &old), ("problem", &new)] {
        for operation in ["ServiceInstanceUpdate", "ServiceInstanceDeploy"] {
            let action = json!({ "type": "fail_after_commit", "with": way });
            sandbox.fault(&json!({ "operation": operation, "count": 1, "action": action }));
        }
        let since = sandbox.now();
        let done = start(&shop, version, &[]).success();
        assert_eq!(outcomes(&sandbox, since, "fault:fail_after_commit"), 2, "{way}: {}", done.stderr);
        deployments += 1;
        assert_serves(&shop, version, deployments, way);
    }
}

#[test]
fn q12_a_502_before_the_change_was_made_is_looked_into_and_tried_once_more() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, _, new) = stocked(&sandbox);
    let action = json!({ "type": "http", "status": 502 });
    sandbox.fault(&json!({ "operation": "ServiceInstanceDeploy", "count": 1, "action": action }));
    let since = sandbox.now();
    let done = start(&shop, &new, &[]).success();
    let asked = sandbox.mutations(since);
    assert_eq!(
        asked.iter().filter(|operation| *operation == "ServiceInstanceDeploy").count(),
        2,
        "{asked:?}"
    );
    assert_serves(&shop, &new, 2, &done.stderr);
}

#[test]
fn q12_a_gateway_that_never_lets_the_change_through_is_gone_back_from() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, old, new) = stocked(&sandbox);
    let action = json!({ "type": "http", "status": 504 });
    sandbox.fault(&json!({ "operation": "ServiceInstanceDeploy", "action": action }));
    let failed = start(&shop, &new, &[]).code(3);
    let failed = failed.says(&format!("`{}` could not be deployed", new.image.pinned));
    let failed = failed.says("the gateway answered HTTP 504").says("look at the object before repeating");
    sandbox.clear_faults();
    assert_serves(&shop, &old, 1, &failed.stderr);
}

#[test]
fn boardsesh_5130_a_platform_that_cannot_be_read_in_the_bake_is_no_verdict() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, _, new) = stocked(&sandbox);
    let since = shop.journal().last();
    let running = baking(&shop, &new, &["--bake", "1s"]);
    // More than one read is repeated: the call fails, and the one after it goes through in the end.
    let action = json!({ "type": "http", "status": 503 });
    sandbox.fault(&json!({ "operation": "*", "count": 8, "action": action }));
    let (code, said) = running.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(sandbox.faults_applied(), 8, "{said}");
    let records = shop.journal().records(since);
    assert!(records.iter().any(|record| record.kind == "rollout.trouble"), "{records:#?}");
    assert_serves(&shop, &new, 2, &said);
}

// Cooldowns and tails.

#[test]
fn q06_cannot_redeploy_yet_is_waited_out_and_it_deploys_once() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, _, new) = stocked(&sandbox);
    let message =
        "Cannot redeploy yet, please wait for the original deployment to finish building, then try again.";
    let action = json!({ "type": "fail_before_commit", "message": message, "code": "INTERNAL_SERVER_ERROR" });
    sandbox.fault(&json!({ "operation": "ServiceInstanceDeploy", "count": 3, "action": action }));
    let done = start(&shop, &new, &[]).success();
    assert_eq!(sandbox.faults_applied(), 3);
    assert_serves(&shop, &new, 2, &done.stderr);
}

#[test]
fn q07_reads_that_are_28_seconds_old_are_waited_for_and_it_deploys_once() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, _, new) = stocked(&sandbox);
    // The pace at which 28 s are long, beside what the program does by itself.
    sandbox.set(
        &json!({ "time_scale": 20, "consistency_tail": { "default": "28s" }, "image_deploy_duration": "5s" }),
    );
    sandbox.fault(&json!({ "operation": "*", "action": { "type": "stale_reads", "duration": "28s" } }));
    // So nothing but old news says whether it was started.
    sandbox.fault(&json!({
        "operation": "ServiceInstanceDeploy", "count": 1, "skip": 1, "action": { "type": "fail_after_commit" },
    }));
    let spec = json!({
        "candidate": new.image.pinned,
        "health": { "path": "/healthz", "interval": "50ms" },
        "steps": [{ "step": "canary", "duration": "100ms" }, { "step": "swap" }],
    });
    let path = shop.file("new.json");
    std::fs::write(&path, spec.to_string()).unwrap();
    let since = sandbox.now();
    let done = shop.run(&["rollout", "start", "--spec", &path.to_string_lossy()]).success();
    assert_eq!(outcomes(&sandbox, since, "fault:fail_after_commit"), 1, "{}", done.stderr);
    sandbox.clear_faults();
    sandbox.set(&json!({ "time_scale": 200 }));
    assert_eq!(shop.count(), 2, "the canary is gone: {}", done.stderr);
    assert_serves(&shop, &new, 2, &done.stderr);
}

// Other people.

/// Looks at what holds when somebody else's version has taken over from ours.
fn assert_superseded(shop: &Shop<'_>, other: &Version, foreign: &str, (code, said): (i32, String)) {
    assert_eq!(code, 1, "{said}");
    let left = format!("is left to deployment `{foreign}`");
    let words =
        format!("superseded: deployment `{foreign}`, started by somebody else, took the service over");
    for words in [words.as_str(), &left, "SPX-406", "rollout history --platform"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    // Theirs, ours and the first one: nothing was brought back over theirs.
    assert_serves(shop, other, 3, &said);
}

#[test]
fn a_foreign_deployment_while_ours_comes_up_stays_and_ours_is_superseded() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, ..) = stocked(&sandbox);
    let other = Version::push("other", &sandbox);
    let slow = ImageBuilder::new("slow").label("start-delay", "30m").push(&sandbox);
    let new = Version { name: "slow".to_owned(), image: slow };
    let (query, variables) = shop.foreign(&other.image);
    let action = json!({ "type": "concurrent_actor", "query": query, "variables": variables });
    // Between the start of ours and the first look at it.
    sandbox.fault(&json!({ "operation": "DeploymentGet", "count": 1, "action": action }));
    let ended = start(&shop, &new, &[]);
    let foreign = newest(&shop);
    assert_superseded(&shop, &other, &foreign, (ended.code, ended.text()));
}

#[test]
fn a_foreign_deployment_in_the_bake_stays_and_ours_is_superseded() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, _, new) = stocked(&sandbox);
    let other = Version::push("other", &sandbox);
    let running = baking(&shop, &new, &["--bake", "20m"]);
    let (query, variables) = shop.foreign(&other.image);
    let foreign = sandbox.graphql(&query, &variables)["foreign"].as_str().unwrap().to_owned();
    assert_superseded(&shop, &other, &foreign, running.end());
}

#[test]
fn a_person_who_brings_the_old_deployment_back_in_the_bake_is_told_what_is_still_set() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, old, new) = stocked(&sandbox);
    let before = newest(&shop);
    let running = baking(&shop, &new, &["--bake", "20m"]);
    // The button of the dashboard: the deployment is the old one, the setting stays.
    let back = "mutation back($id: String!) { deploymentRollback(id: $id) }";
    let _ = sandbox.graphql(back, &json!({ "id": before }));
    let (code, said) = running.end();
    assert_eq!(code, 1, "{said}");
    let still =
        format!("left over   service `{}` is still set to `{}`", shop.service("web"), new.image.pinned);
    for words in ["superseded: deployment `", &still, "whatever deploys it next brings that out"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    let row = shop.row("web");
    assert_eq!(
        (&row["running_digest"], &row["deployments"]),
        (&json!(old.image.digest), &json!(3)),
        "{row:#}"
    );
    assert_eq!(row["source_image"], json!(new.image.pinned), "{row:#}");
    shop.assert_at_rest(&said);
    // What it says is to be done, does it.
    let done = start(&shop, &old, &[]).success();
    assert_serves(&shop, &old, 4, &done.stderr);
}

// Versions that do not stay up.

/// Lets a version crash, and every restart of it, until the platform gives it up.
fn crash(sandbox: &Sandbox, row: impl Fn() -> Value, deployment: &Value) {
    eventually("the platform gives it up", || {
        let row = row();
        let gone = row["latest_status"] == json!("CRASHED") || row["latest_deployment"] != *deployment;
        if !gone {
            sandbox.advance("101h");
        }
        gone.then_some(())
    });
}

#[test]
fn a_deployment_that_turns_crashed_after_success_is_rolled_back() {
    let sandbox = Sandbox::start_with(&SCALE);
    let (shop, old, _) = stocked(&sandbox);
    // Too late to happen by itself: the clock is moved on once it bakes.
    let image = ImageBuilder::new("crashing").label("crash-after", "100h").push(&sandbox);
    let new = Version { name: "crashing".to_owned(), image };
    let running = baking(&shop, &new, &["--bake", "20m", "--health-failures", "1000"]);
    assert_eq!(shop.row("web")["active_status"], json!("SUCCESS"));
    crash(&sandbox, || shop.row("web"), &json!(newest(&shop)));
    let (code, said) = running.end();
    assert_eq!(code, 3, "{said}");
    for words in ["rolled back", "`CRASHED`", "SPX-402", "baking", &old.image.digest] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    assert_serves(&shop, &old, 3, &said);
}

// The same through Terraform, whose exit code says less: the state and the next plan have to say it.

/// An apply that bakes a second version for longer than anybody waits, and the place of its service.
struct Applying {
    terraform: Terraform,
    running: Running,
    url: String,
    service: String,
    environment: String,
    since: u64,
}

fn row(sandbox: &Sandbox, service: &str, environment: &str) -> Value {
    let of = |row: &Value| row["environment_id"] == json!(environment) && row["service_id"] == json!(service);
    sandbox.services().into_iter().find(of).expect("the platform has the service")
}

impl Applying {
    fn bakes(sandbox: &Sandbox, first: &Version, second: &Version) -> Self {
        let mut terraform = Terraform::new(sandbox, &shop_with_rollout_that("bake = \"0s\""));
        let _ = terraform.var("image", &first.image.pinned).apply().success();
        let (url, state) = (terraform.output("url"), terraform.state());
        let text = |name| state.text("spectra_rollout.web", name).to_owned();
        let (service, environment) = (text("service_id"), text("environment_id"));
        // One probe that fails is no verdict here: the platform's word has to be.
        let settings = shop_with_rollout_that("bake = \"20m\"")
            .replace("failure_threshold = 3", "failure_threshold = 100");
        terraform.configure(&settings);
        terraform.var("image", &second.image.pinned);
        let since = terraform.journal().last();
        let mut running = terraform.begin(&["apply", "-auto-approve"]);
        let journal = terraform.journal();
        running.until("it bakes", || journal.records(since).iter().any(bakes));
        Self { terraform, running, url, service, environment, since }
    }

    /// It ends red, this is said, this version answers and is what the state says, by a third deployment, the next plan shows
    /// the change again, and nothing is in its way.
    fn assert_red(self, sandbox: &Sandbox, version: &Version, says: &[&str]) {
        let Self { terraform, running, url, service, environment, since } = self;
        let (code, stderr) = running.end();
        let ended = Run { code, stdout: String::new(), stderr };
        let ended = says.iter().fold(ended.code(1), |ended, words| ended.says(words));
        eventually("its version answers", || (get(&url).body.trim() == version.name).then_some(()));
        let state = terraform.state();
        assert_eq!(
            state.text("spectra_rollout.web", "running_digest"),
            version.image.digest,
            "{}",
            ended.stderr
        );
        assert_eq!(row(sandbox, &service, &environment)["deployments"], json!(3), "{}", ended.stderr);
        assert!(!state.tainted("spectra_rollout.web"), "{}", ended.stderr);
        let _ = terraform.plan().code(2).says("spectra_rollout.web");
        let records = terraform.journal().records(since);
        assert!(records.iter().any(|record| record.kind == "rollout.finished"), "{records:#?}");
        assert_eq!(terraform.journal().leases(), [], "{}", ended.stderr);
        let _ = run(&mut terraform.deployer(&["audit", "verify"])).success();
    }
}

#[test]
fn an_apply_that_a_foreign_deployment_supersedes_is_red_and_the_state_says_what_runs() {
    let sandbox = Sandbox::start_with(&SCALE);
    let [first, second, other] = ["first", "second", "other"].map(|name| Version::push(name, &sandbox));
    let applying = Applying::bakes(&sandbox, &first, &second);
    let (query, variables) = foreign(&applying.service, &applying.environment, &other.image);
    let by = sandbox.graphql(&query, &variables)["foreign"].as_str().unwrap().to_owned();
    let words = format!("deployment `{by}`, started by somebody else, took the service over");
    let says = ["The rollout was superseded", &words, "SPX-406", "Nothing was brought back"];
    applying.assert_red(&sandbox, &other, &says);
}

#[test]
fn an_apply_whose_deployment_turns_crashed_after_success_is_red_and_back_on_the_version_before() {
    let sandbox = Sandbox::start_with(&SCALE);
    let first = Version::push("first", &sandbox);
    let image = ImageBuilder::new("crashing").label("crash-after", "100h").push(&sandbox);
    let second = Version { name: "crashing".to_owned(), image };
    let applying = Applying::bakes(&sandbox, &first, &second);
    let row = || row(&sandbox, &applying.service, &applying.environment);
    let deployment = row()["latest_deployment"].clone();
    crash(&sandbox, row, &deployment);
    let says = ["The rollout failed and was rolled back", "`CRASHED`", "SPX-402", &first.image.digest];
    applying.assert_red(&sandbox, &first, &says);
}

#[test]
fn q03_q04_q07_cooldowns_and_a_tail_of_28_seconds_are_waited_for_by_an_apply_and_it_deploys_once() {
    let sandbox = Sandbox::start_with(&["--time-scale", "20"]);
    sandbox.set(&json!({
        "consistency_tail": { "default": "28s" }, "project_cooldown": "30s", "environment_cooldown": "30s",
        "init_duration": "100ms", "image_deploy_duration": "2s",
    }));
    let image = ImageBuilder::new("first").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout_that("bake = \"0s\""));
    // Refused as often as is told here, however long the machine takes.
    for (operation, message) in [
        ("ProjectCreate", "You are creating projects too quickly. Please wait."),
        ("EnvironmentCreate", "Whoa there pal! Only one environment can be created per user every 30s"),
    ] {
        let action =
            json!({ "type": "fail_before_commit", "message": message, "code": "INTERNAL_SERVER_ERROR" });
        sandbox.fault(&json!({ "operation": operation, "count": 2, "action": action }));
    }
    let _ = terraform.var("image", &image.pinned).apply().success();
    assert_eq!(sandbox.faults_applied(), 4, "no cooldown was met");
    assert_eq!(get(&terraform.output("url")).body.trim(), "first");
    let state = terraform.state();
    let service = state.text("spectra_rollout.web", "service_id");
    let made: u64 = sandbox
        .services()
        .iter()
        .filter(|row| row["service_id"] == json!(service))
        .map(|row| row["deployments"].as_u64().expect("it is counted"))
        .sum();
    assert_eq!(made, 1);
    terraform.assert_empty_plan();
}
