//! Actions about a rollout that another process runs: a job of a pipeline rolls out, and somebody at Terraform lets it go on or
//! takes it back.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use spectra_acceptance::{ImageBuilder, Running, Sandbox, Terraform, get, shop_with_rollout};

/// Both actions about the service of [`shop_with_rollout`].
fn configuration() -> String {
    let place = "project_id     = spectra_project.shop.id
    environment_id = spectra_project.shop.default_environment_id
    service_id     = spectra_service.web.id";
    format!(
        r#"{}
action "spectra_promote" "web" {{
  config {{
    {place}
  }}
}}

action "spectra_abort" "web" {{
  config {{
    {place}
    reason         = "errors rise"
  }}
}}
"#,
        shop_with_rollout()
    )
}

const PROMOTE: [&str; 3] = ["apply", "-auto-approve", "-invoke=action.spectra_promote.web"];
const ABORT: [&str; 3] = ["apply", "-auto-approve", "-invoke=action.spectra_abort.web"];

/// A rollout of the command-line program, with Terraform's journal, that has come as far as its long bake.
fn baking(terraform: &Terraform, image: &str, log: &str) -> Running {
    let state = terraform.state();
    let journal = terraform.journal();
    let since = journal.last();
    let mut command = terraform.deployer(&[
        "rollout",
        "start",
        "--image",
        image,
        "--bake",
        "20m",
        "--health-interval",
        "50ms",
    ]);
    for name in ["project_id", "environment_id", "service_id"] {
        command.env(format!("RAILWAY_{}", name.to_uppercase()), state.text("spectra_rollout.web", name));
    }
    let mut running = Running::start(&mut command, &terraform.root().join(log));
    running.until("it bakes", || {
        journal.records(since).iter().any(|record| record.body.get("phase") == Some(&"baking".into()))
    });
    running
}

#[test]
fn promote_lets_a_rollout_of_another_process_go_on_and_says_when_none_runs() {
    let sandbox = Sandbox::start();
    let [first, second] = ["first", "second"].map(|name| ImageBuilder::new(name).push(&sandbox));
    let Some(mut terraform) = Terraform::latest(&sandbox, &configuration()) else { return };
    let _ = terraform.var("image", &first.pinned).apply().success();
    let before = sandbox.now();
    let _ = terraform.run(&PROMOTE).code(1).says("No rollout runs").says("Nothing was changed on Railway");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());

    let running = baking(&terraform, &second.pinned, "promoted.log");
    let _ = terraform.run(&PROMOTE).success().says("the wish is written down for rollout");
    let (code, said) = running.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(get(&terraform.output("url")).body.trim(), "second");
    terraform.journal().assert_chain();
}

#[test]
fn abort_takes_a_rollout_back_whether_its_process_lives_or_not() {
    let sandbox = Sandbox::start();
    let [first, second] = ["first", "second"].map(|name| ImageBuilder::new(name).push(&sandbox));
    let Some(mut terraform) = Terraform::latest(&sandbox, &configuration()) else { return };
    let _ = terraform.var("image", &first.pinned).apply().success();
    let url = terraform.output("url");
    let before = sandbox.now();
    let _ = terraform.run(&ABORT).success().says("is open; nothing was done");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());

    let running = baking(&terraform, &second.pinned, "aborted.log");
    let _ = terraform.run(&ABORT).success().says("rolled back: it was aborted by").says("errors rise");
    let (code, said) = running.end();
    assert_eq!(code, 3, "{said}");
    assert_eq!(get(&url).body.trim(), "first");

    baking(&terraform, &second.pinned, "killed.log").kill();
    let _ = terraform.run(&ABORT).success().says("was brought to an end from here: rolled back");
    assert_eq!(get(&url).body.trim(), "first");
    assert_eq!(terraform.journal().leases(), []);
    terraform.journal().assert_chain();
    terraform.assert_empty_plan();
}
