//! Whoever stops a rollout gets the old version back: by a signal, or by the next command where the process was ended before
//! it could.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use spectra_acceptance::{
    ImageBuilder, JournalRecord, Running, Sandbox, Shop, Terraform, Version, eventually, get, run,
    shop_with_rollout, shop_with_rollout_that,
};

/// What GitHub Actions leaves a job that it cancels, after SIGINT and after SIGTERM.
const AFTER_INTERRUPT: Duration = Duration::from_millis(7500);
const AFTER_TERMINATE: Duration = Duration::from_millis(2500);

/// What the way back of the tests here has.
const ABORT_TIMEOUT: Duration = Duration::from_secs(40);

/// How long the way back took, by the journal alone.
fn way_back(records: &[JournalRecord]) -> Duration {
    let of = |kind: &str| records.iter().find(|record| record.kind == kind).expect("it is written down").at;
    of("rollout.finished").duration_since(of("rollout.going_back")).unsigned_abs()
}

/// Interrupts `terraform apply` once the provider has written a record like this, and looks at what holds then.
fn terraform_is_interrupted(settings: &str, slow: bool, reached: impl Fn(&JournalRecord) -> bool) {
    let sandbox = Sandbox::start();
    let first = ImageBuilder::new("first").push(&sandbox);
    let second = ImageBuilder::new("second");
    // Long enough to be met on its way.
    let second = if slow { second.label("start-delay", "30m") } else { second }.push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &first.pinned).apply().success();
    let url = terraform.output("url");
    let abort_timeout = format!("abort_timeout = \"{}s\"", ABORT_TIMEOUT.as_secs());
    terraform.configure(&shop_with_rollout_that(&format!("{settings}\n  {abort_timeout}")));
    terraform.var("image", &second.pinned);

    let journal = terraform.journal();
    let since = journal.last();
    let mut running = terraform.begin(&["apply", "-auto-approve"]);
    running.until("the rollout comes far enough", || journal.records(since).iter().any(&reached));
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert_eq!(code, 1, "{said}");

    assert_eq!(get(&url).body.trim(), "first", "{said}");
    let state = terraform.state();
    assert_eq!(state.text("spectra_rollout.web", "running_digest"), first.digest);
    assert_eq!(state.text("spectra_rollout.web", "stable_digest"), first.digest);
    assert!(!state.tainted("spectra_rollout.web"));
    let _ = terraform.plan().code(2).says("spectra_rollout.web");
    let last = journal.records(since);
    assert!(way_back(&last) <= ABORT_TIMEOUT, "{last:#?}");
    assert_eq!(journal.leases(), [], "{said}");
    let _ = run(&mut terraform.deployer(&["audit", "verify"])).success();
}

fn bakes(record: &JournalRecord) -> bool {
    record.body.get("phase") == Some(&json!("baking"))
}

#[test]
fn terraform_interrupted_in_the_bake_is_back_on_the_old_version() {
    terraform_is_interrupted("bake = \"20m\"", false, bakes);
}

#[test]
fn terraform_interrupted_while_it_deploys_is_back_on_the_old_version() {
    terraform_is_interrupted("bake = \"0s\"", true, |record| {
        record.kind == "rollout.done" && record.body.pointer("/action/action") == Some(&json!("deploy"))
    });
}

#[test]
fn interrupted_on_the_command_line_it_is_back_inside_the_abort_timeout() {
    let sandbox = Sandbox::start_with(&["--time-scale", "2000"]);
    let shop = Shop::open(&sandbox, "shop");
    let [old, new] = ["old", "new"].map(|name| Version::push(name, &sandbox));
    shop.stock(&old);
    let settings = json!({ "bake": "20m", "abort_timeout": format!("{}s", ABORT_TIMEOUT.as_secs()) });
    let arguments = shop.release(&old, &new, &settings);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let since = shop.journal().last();
    let mut running = shop.begin("interrupted", &arguments);
    running.until("it bakes", || shop.journal().records(since).iter().any(bakes));
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert_eq!(code, 3, "{said}");
    let records = shop.journal().records(since);
    assert!(way_back(&records) <= ABORT_TIMEOUT, "{records:#?}");
    assert_eq!(shop.serving(&[&old, &new], &said).name, "old");
    shop.assert_at_rest(&said);
}

#[test]
fn a_way_back_that_outlasts_the_abort_timeout_is_said_and_kept_from_others_until_it_was_looked_at() {
    let sandbox = Sandbox::start_with(&["--time-scale", "200"]);
    let shop = Shop::open(&sandbox, "shop");
    let [old, new] = ["old", "new"].map(|name| Version::push(name, &sandbox));
    let _ = shop.run(&["rollout", "start", "--image", &old.image.pinned]).success();
    let since = shop.journal().last();
    let start = ["rollout", "start", "--image", &new.image.pinned, "--bake", "20m", "--abort-timeout", "2s"];
    let mut running = shop.begin("interrupted", &start);
    running.until("it bakes", || shop.journal().records(since).iter().any(bakes));
    // The version before comes up again, but takes its time.
    sandbox.set(&json!({ "image_deploy_duration": "100h" }));
    running.signal(Signal::INT);
    let (code, said) = running.end();
    assert_eq!(code, 4, "{said}");
    let took = way_back(&shop.journal().records(since));
    assert!(took >= Duration::from_secs(2), "it gave up after {took:?}");
    let returning = shop.row("web")["latest_deployment"].as_str().unwrap().to_owned();
    let late = format!("left over   deployment `{returning}`, which brings back what service");
    for words in ["rollback failed: it was not done within 2s", &late, "rollout unlock --project"] {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
    assert_eq!(shop.row("web")["running_digest"], json!(new.image.digest), "{said}");
    assert_eq!(shop.status("web")["state"], json!("unresolved"));
    let _ = shop.run(&["rollout", "start", "--image", &old.image.pinned]).code(7).says("unlock");

    // It arrives all the same, as was said; then the next command finds the old version serving, and changes nothing.
    sandbox.advance("101h");
    eventually("the version before serves", || {
        (shop.row("web")["running_digest"] == json!(old.image.digest)).then_some(())
    });
    let _ = shop.run(&["rollout", "unlock", "--reason", "it came back late"]).success();
    let asked = sandbox.now();
    let _ = shop.run(&["rollout", "start", "--image", &old.image.pinned]).success();
    assert_eq!(sandbox.mutations(asked), Vec::<String>::new());
    assert_eq!(shop.row("web")["running_digest"], json!(old.image.digest));
    assert_eq!(get(shop.row("web")["urls"][0].as_str().unwrap()).body.trim(), "old");
    shop.assert_at_rest("after it came back late");
}

/// Starts a version, and has `end` end the process, which finds no platform to go back on; then another process does.
fn ended_before_it_was_back(github: bool, more: &[&str], end: impl FnOnce(Running)) {
    let sandbox = Sandbox::start_with(&["--time-scale", "2000"]);
    let shop = Shop::open(&sandbox, "shop");
    let [old, new] = ["old", "new"].map(|name| Version::push(name, &sandbox));
    shop.stock(&old);
    let arguments = shop.release(&old, &new, &json!({ "bake": "20m" }));
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(more);
    let mut command = shop.command(&arguments);
    if github {
        command.env("GITHUB_ACTIONS", "true");
    }
    let since = shop.journal().last();
    let mut running = Running::start(&mut command, &shop.file("ended.log"));
    running.until("it bakes", || shop.journal().records(since).iter().any(bakes));
    // So slow that no change is ever answered.
    for operation in ["ServiceInstanceUpdate", "ServiceInstanceDeploy"] {
        sandbox
            .fault(&json!({ "operation": operation, "action": { "type": "hang", "duration": "100000h" } }));
    }
    end(running);
    sandbox.clear_faults();
    let left = shop.status("web");
    assert_eq!((&left["state"], &left["lease"]["holder_gone"]), (&json!("abandoned"), &Value::Bool(true)));
    assert_ne!(left["open"], json!([]), "it is written down what is left to undo");
    let _ = shop.run(&["rollout", "abort"]).code(3);
    assert_eq!(shop.serving(&[&old, &new], "after the second process").name, "old");
    shop.assert_at_rest("after the second process");
}

#[test]
fn github_actions_cancels_and_a_second_process_brings_the_old_version_back() {
    ended_before_it_was_back(true, &[], |mut running| {
        let asked = Instant::now();
        running.signal(Signal::INT);
        // It ends by itself inside the time, and says how to go on. Nothing is left for the next two signals.
        assert_eq!(running.ends_within(AFTER_INTERRUPT * 8), Some(130), "{}", running.said());
        assert!(asked.elapsed() >= Duration::from_secs(7), "the way back had less: {}", running.said());
        let said = running.said();
        for words in ["7s from now, or a second signal, ends", "railway-deployer rollout abort --project"] {
            assert!(said.contains(words), "`{words}` is not in: {said}");
        }
    });
}

#[test]
fn a_time_that_is_given_goes_before_the_one_of_github_actions() {
    ended_before_it_was_back(true, &["--handover-after", "400ms"], |mut running| {
        running.signal(Signal::INT);
        assert_eq!(running.ends_within(AFTER_INTERRUPT * 8), Some(130), "{}", running.said());
        let said = running.said();
        assert!(said.contains("400ms from now") && !said.contains("7s from now"), "{said}");
    });
}

#[test]
fn a_cancel_by_three_signals_leaves_the_rest_to_a_second_process() {
    ended_before_it_was_back(false, &[], |mut running| {
        running.signal(Signal::INT);
        assert_eq!(running.ends_within(AFTER_INTERRUPT), None, "it is on its way back: {}", running.said());
        // Outside of GitHub Actions nothing but the abort timeout limits it.
        assert!(running.said().contains("is brought back; a second signal ends"), "{}", running.said());
        running.signal(Signal::TERM);
        if running.ends_within(AFTER_TERMINATE).is_none() {
            running.signal(Signal::KILL);
        }
        let (code, said) = running.end();
        assert!([130, 137].contains(&code), "{code}: {said}");
    });
}

#[test]
fn killed_on_its_way_back_it_leaves_the_rest_to_a_second_process() {
    ended_before_it_was_back(false, &[], |running| {
        running.signal(Signal::INT);
        // The intent is written, and the platform was asked.
        eventually("it says that it goes back", || {
            running.said().contains("going to bring back what service").then_some(())
        });
        running.kill();
    });
}
