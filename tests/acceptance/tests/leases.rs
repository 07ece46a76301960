//! One process at a time acts on a service, and one that lost its lease acts no more.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use rustix::process::Signal;
use serde_json::json;
use spectra_acceptance::{
    JournalRecord, Running, Sandbox, Shop, Terraform, Version, get, run, shop_with_rollout_that,
};

fn bakes(record: &JournalRecord) -> bool {
    record.body.get("phase") == Some(&json!("baking"))
}

/// Starts a version whose bake nobody waits for.
fn hold(shop: &Shop<'_>, name: &str, from: &Version, to: &Version) -> Running {
    let arguments = shop.release(from, to, &json!({ "bake": "20m" }));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    shop.begin(name, &arguments)
}

#[test]
fn of_several_that_start_at_once_one_acts_and_the_others_name_it() {
    let sandbox = Sandbox::start_with(&["--time-scale", "2000"]);
    let shop = Shop::open(&sandbox, "shop");
    let [old, one, two, three] = ["old", "one", "two", "three"].map(|name| Version::push(name, &sandbox));
    shop.stock(&old);
    let since = shop.journal().last();
    let mut all: Vec<_> =
        [&one, &two, &three].into_iter().map(|version| hold(&shop, &version.name, &old, version)).collect();
    let mut ended = Vec::new();
    spectra_acceptance::eventually("all but one have ended", || {
        while let Some(index) = all.iter_mut().position(|running| running.has_ended().is_some()) {
            ended.push(all.remove(index).end());
        }
        (all.len() == 1).then_some(())
    });
    let mut first = all.pop().unwrap();
    for (code, said) in ended {
        assert_eq!(code, 7, "{said}");
        assert!(said.contains(&format!("railway-deployer (process {}", first.pid())), "{said}");
    }
    first.until("it bakes", || shop.journal().records(since).iter().any(bakes));
    let begun: Vec<_> =
        shop.journal().records(since).into_iter().filter(|record| record.kind == "rollout.begun").collect();
    assert_eq!(begun.len(), 1, "{begun:#?}");

    let arguments = shop.release(&old, &two, &json!({}));
    let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--wait-for-lease", "30m"]);
    let mut waiting = shop.begin("waits", &arguments);
    let pid = first.pid();
    let file = shop.file("waits.log");
    waiting.until("it waits", || {
        let said = std::fs::read_to_string(&file).unwrap_or_default();
        said.contains(&format!("waiting for railway-deployer (process {pid}"))
    });
    let asked = sandbox.now();
    assert_eq!(sandbox.mutations(asked), Vec::<String>::new(), "who waits changes nothing");
    first.signal(Signal::INT);
    let (code, said) = first.end();
    assert_eq!(code, 3, "{said}");
    let (code, said) = waiting.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(shop.serving(&[&old, &one, &two, &three], "after the one that waited").name, "two");
    shop.assert_at_rest("after the one that waited");
}

/// Stops a process where `reached` says, has its lease taken away and another rollout done, and wakes it.
fn paused(sandbox: &Sandbox, name: &str, reached: impl Fn(&JournalRecord) -> bool) {
    let shop = Shop::open(sandbox, name);
    let [old, new, other] =
        ["old", "new", "other"].map(|version| Version::push(&format!("{name}-{version}"), sandbox));
    shop.stock(&old);
    let journal = shop.journal();
    let since = journal.last();
    let mut sleeper = hold(&shop, "sleeps", &old, &new);
    sleeper.until("it comes far enough", || journal.records(since).iter().any(&reached));
    sleeper.signal(Signal::STOP);
    let leases = journal.leases();
    let fences: Vec<_> = leases.iter().map(|(_, holder)| holder.fence).collect();
    assert!(leases.iter().all(|(_, holder)| holder.pid == sleeper.pid()), "{leases:?}");
    let refused = shop.run(&["rollout", "start", "--image", &other.image.pinned]).code(7);
    let _ = refused.says(&format!("railway-deployer (process {}", sleeper.pid()));

    for (id, _) in shop.names() {
        let unlock = ["rollout", "unlock", "--service", id, "--reason", "it does not answer"];
        let _ = shop.run(&unlock).success().says("that process may still run");
    }
    let arguments = shop.release(&old, &other, &json!({}));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let _ = shop.run(&arguments).success();
    let (asked, written) = (sandbox.now(), journal.last());

    sleeper.signal(Signal::CONT);
    let (code, said) = sleeper.end();
    assert_eq!(code, 7, "{said}");
    assert_eq!(sandbox.mutations(asked), Vec::<String>::new(), "it woke and changed something: {said}");
    let late: Vec<_> = journal.records(written);
    assert!(late.iter().all(|record| record.fence.is_none_or(|fence| !fences.contains(&fence))), "{late:#?}");
    assert_eq!(shop.serving(&[&old, &new, &other], &said).name, other.name);
    shop.assert_at_rest(&said);
}

#[test]
fn a_process_that_wakes_after_its_lease_was_taken_changes_nothing() {
    let sandbox = Sandbox::start_with(&["--time-scale", "2000"]);
    paused(&sandbox, "bake", bakes);
}

#[test]
fn the_provider_and_the_command_line_keep_each_other_out() {
    let sandbox = Sandbox::start();
    let [first, second] = ["first", "second"].map(|name| Version::push(name, &sandbox));
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout_that("bake = \"0s\""));
    let _ = terraform.var("image", &first.image.pinned).apply().success();
    let (url, state) = (terraform.output("url"), terraform.state());
    let names = ["project_id", "environment_id", "service_id"];
    let ids = names.map(|name| state.text("spectra_rollout.web", name).to_owned());
    let deployer = |terraform: &Terraform, arguments: &[&str]| {
        let mut command = terraform.deployer(arguments);
        command.envs(names.iter().map(|name| format!("RAILWAY_{}", name.to_uppercase())).zip(&ids));
        command
    };
    let start = ["rollout", "start", "--image", &second.image.pinned, "--bake", "20m"];

    terraform.configure(&shop_with_rollout_that("bake = \"20m\""));
    terraform.var("image", &second.image.pinned);
    let journal = terraform.journal();
    let since = journal.last();
    let mut applying = terraform.begin(&["apply", "-auto-approve"]);
    applying.until("it bakes", || journal.records(since).iter().any(bakes));
    let (_, holder) = journal.leases().pop().unwrap();
    let refused = run(&mut deployer(&terraform, &start)).code(7);
    let _ = refused.says(&format!("terraform-provider-spectra (process {}", holder.pid));
    applying.signal(Signal::INT);
    assert_eq!(applying.end().0, 1);

    let since = journal.last();
    let mut command = deployer(&terraform, &start);
    let mut holding = Running::start(&mut command, &terraform.root().join("holds.log"));
    holding.until("it bakes", || journal.records(since).iter().any(bakes));
    // The other way round: Terraform is told who it is, and changes nothing.
    terraform.var("image", &first.image.pinned);
    terraform.configure(&shop_with_rollout_that("bake = \"0s\"\n  triggers = { again = \"1\" }"));
    let asked = sandbox.now();
    let refused = terraform.apply().code(1);
    let _ = refused.says(&format!("-deployer (process {}", holding.pid()));
    assert_eq!(sandbox.mutations(asked), Vec::<String>::new());
    holding.signal(Signal::INT);
    assert_eq!(holding.end().0, 3);
    assert_eq!(get(&url).body.trim(), "first");
    assert_eq!(journal.leases(), []);
    let _ = run(&mut deployer(&terraform, &["audit", "verify"])).success();
}
