//! Whoever stops a rollout gets the old version back: by a signal, or by the next command where the process was ended before
//! it could.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use spectra_acceptance::{
    ImageBuilder, JournalRecord, Running, Sandbox, Shop, Terraform, Version, get, run, shop_with_rollout,
    shop_with_rollout_that,
};

/// What GitHub Actions leaves a job that it cancels, after SIGINT and after SIGTERM.
const AFTER_INTERRUPT: Duration = Duration::from_millis(7500);
const AFTER_TERMINATE: Duration = Duration::from_millis(2500);

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
    terraform.configure(&shop_with_rollout_that(settings));
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
    assert!(last.iter().any(|record| record.kind == "rollout.finished"), "{last:#?}");
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

/// Starts a version, and has `end` end the process, which finds no platform to go back on; then another process does.
fn ended_before_it_was_back(github: bool, end: impl FnOnce(Running)) {
    let sandbox = Sandbox::start_with(&["--time-scale", "2000"]);
    let shop = Shop::open(&sandbox, "shop");
    let [old, new] = ["old", "new"].map(|name| Version::push(name, &sandbox));
    shop.stock(&old);
    let arguments = shop.release(&old, &new, &json!({ "bake": "20m" }));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
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
    ended_before_it_was_back(true, |mut running| {
        running.signal(Signal::INT);
        // It ends by itself inside the time, and says how to go on. Nothing is left for the next two signals.
        assert_eq!(running.ends_within(AFTER_INTERRUPT * 8), Some(130), "{}", running.said());
        assert!(running.said().contains("railway-deployer rollout abort --project"), "{}", running.said());
    });
}

#[test]
fn a_cancel_by_three_signals_leaves_the_rest_to_a_second_process() {
    ended_before_it_was_back(false, |mut running| {
        running.signal(Signal::INT);
        assert_eq!(running.ends_within(AFTER_INTERRUPT), None, "it is on its way back: {}", running.said());
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
    ended_before_it_was_back(false, |running| {
        running.signal(Signal::INT);
        // The intent is written, and the platform was asked.
        spectra_acceptance::eventually("it says that it goes back", || {
            running.said().contains("going to bring back what service").then_some(())
        });
        running.kill();
    });
}
