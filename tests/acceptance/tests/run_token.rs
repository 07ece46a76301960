//! A project token for one run: there while it is needed, gone afterwards, and swept where a run was cut off.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use spectra_acceptance::{SHOP, Sandbox, State, Terraform, assert_absent, eventually};

/// A token whose secret becomes a sealed variable. `more` is the rest of the resource.
fn with_token(project: &str, environment: &str, max_age: &str, more: &str) -> String {
    format!(
        r#"
ephemeral "spectra_railway_project_token" "run" {{
  project_id     = {project}
  environment_id = {environment}
  max_age        = "{max_age}"
}}

resource "spectra_variables" "shared" {{
  project_id         = {project}
  environment_id     = {environment}
  secrets_wo         = {{ DEPLOY_TOKEN = ephemeral.spectra_railway_project_token.run.token }}
  secrets_wo_version = 1
  {more}
}}
"#
    )
}

fn tokens(sandbox: &Sandbox, state: &State) -> Vec<String> {
    let project = state.text("spectra_project.shop", "id");
    let query =
        "query projectTokens($p: String!) { projectTokens(projectId: $p) { edges { node { name } } } }";
    let found = sandbox.graphql(query, &json!({ "p": project }));
    let edges = found.pointer("/projectTokens/edges").and_then(Value::as_array).cloned().unwrap_or_default();
    edges.iter().filter_map(|edge| edge.pointer("/node/name")?.as_str().map(ToOwned::to_owned)).collect()
}

fn minted(sandbox: &Sandbox, since: u64) -> usize {
    sandbox.mutations(since).iter().filter(|operation| *operation == "ProjectTokenCreate").count()
}

#[test]
fn a_token_is_there_for_a_run_and_gone_after_it() {
    let sandbox = Sandbox::start();
    let mut shop = Terraform::new(&sandbox, SHOP);
    let _ = shop.apply().success();
    let (project, environment) = ("spectra_project.shop.id", "spectra_project.shop.default_environment_id");
    let before = sandbox.now();
    // A program that is handed the token keeps it, for this test to know what to search for.
    let kept = sandbox.scratch("kept-token");
    let program = format!(
        r#"
resource "terraform_data" "program" {{
  provisioner "local-exec" {{
    command     = "printf %s \"$TOKEN\" > {}"
    environment = {{ TOKEN = ephemeral.spectra_railway_project_token.run.token }}
  }}
}}
"#,
        kept.display()
    );
    shop.configure(&format!("{SHOP}{}{program}", with_token(project, environment, "1h", "")));
    let log = shop.root().join("trace.log");
    // The most talkative logs there are, Terraform's own and the provider's.
    shop.env("TF_LOG", "TRACE").env("TF_LOG_PATH", &log.to_string_lossy());
    let run = shop.apply().success();
    std::fs::write(shop.root().join("said.txt"), format!("{}\n{}", run.stdout, run.stderr)).unwrap();
    assert!(minted(&sandbox, before) >= 1, "{:?}", sandbox.mutations(before));
    assert_eq!(tokens(&sandbox, &shop.state()), Vec::<String>::new());
    let token = std::fs::read_to_string(&kept).unwrap();
    assert!(log.metadata().unwrap().len() > 10_000, "the trace log has to be there to be searched");
    assert_absent(shop.root(), &token, &[]);
    let stored = std::fs::read_to_string(shop.work().join("terraform.tfstate")).unwrap();
    assert!(!stored.contains("spectra-ephemeral-"), "nothing of a token is stored");
    let _ = shop.destroy().success();
}

#[test]
fn a_token_that_a_killed_run_left_behind_is_swept_by_the_next_opening() {
    let sandbox = Sandbox::start();
    let shop = Terraform::new(&sandbox, SHOP);
    let _ = shop.apply().success();
    let state = shop.state();
    let quoted = |attribute: &str| format!("{:?}", state.text("spectra_project.shop", attribute));
    let (project, environment) = (quoted("id"), quoted("default_environment_id"));

    // Something that takes for ever keeps the token open: what needs the token waits for it.
    let slow = format!(
        "provider \"spectra\" {{}}\n{}\nresource \"terraform_data\" \"slow\" {{\n  provisioner \"local-exec\" {{\n    command = \"touch          ${{path.module}}/slow && sleep 600\"\n  }}\n}}\n",
        with_token(&project, &environment, "1s", "depends_on = [terraform_data.slow]")
    );
    let killed = Terraform::new(&sandbox, &slow);
    let before = sandbox.now();
    killed.kill(&["apply", "-auto-approve"], || {
        // Once to plan, which has closed its own, and once to apply.
        killed.work().join("slow").exists()
            && minted(&sandbox, before) >= 2
            && tokens(&sandbox, &state).len() == 1
    });
    let left = tokens(&sandbox, &state);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with("spectra-ephemeral-"), "{left:?}");

    // It counts as left behind a second after it was made.
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    eventually("the token's age is over", || {
        (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() > made + 1).then_some(())
    });
    let next = Terraform::new(
        &sandbox,
        &format!("provider \"spectra\" {{}}\n{}", with_token(&project, &environment, "1h", "")),
    );
    let _ = next.plan().code(2);
    assert_eq!(tokens(&sandbox, &state), Vec::<String>::new());
}
