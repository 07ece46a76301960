//! Bad input is refused before anything changes, and the message names the attribute.

use spectra_acceptance::{Run, SHOP, Sandbox, Terraform, shop_with_rollout, shop_with_rollout_that};

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The command fails, quotes the line of the attribute, says `reason`, and the platform saw no mutation.
fn refused(sandbox: &Sandbox, run: Run, resource: &str, attribute: &str, reason: &str) {
    let run = run.code(1).says(reason);
    assert!(run.text().contains(&format!("in resource \"{resource}\"")), "{}", run.stderr);
    assert!(run.text().contains(attribute), "`{attribute}` is not named:\n{}", run.stderr);
    assert_eq!(sandbox.mutations(0), Vec::<String>::new());
}

#[test]
fn a_tag_where_a_digest_is_needed() {
    let sandbox = Sandbox::start();
    let terraform = Terraform::new(
        &sandbox,
        &shop_with_rollout().replace("= var.image", "= \"ghcr.io/acme/web:latest\""),
    );
    refused(&sandbox, terraform.run(&["validate"]), "spectra_rollout", "image", "digest");
}

#[test]
fn a_malformed_duration() {
    let sandbox = Sandbox::start();
    for (attribute, value) in
        [("bake", "5 minutes"), ("timeout", "90"), ("progress_deadline", "-1s"), ("abort_timeout", "")]
    {
        let configuration = shop_with_rollout_that(&format!("{attribute} = \"{value}\""))
            .replace("= var.image", &format!("= \"ghcr.io/acme/web@{DIGEST}\""));
        let terraform = Terraform::new(&sandbox, &configuration);
        refused(&sandbox, terraform.run(&["validate"]), "spectra_rollout", attribute, "duration");
    }
}

#[test]
fn an_impossible_number_of_replicas() {
    let sandbox = Sandbox::start();
    for replicas in ["0", "-1", "1.5", "100000"] {
        let configuration =
            SHOP.replace("name           = \"web\"", &format!("name = \"web\"\n  replicas = {replicas}"));
        let terraform = Terraform::new(&sandbox, &configuration);
        refused(&sandbox, terraform.run(&["validate"]), "spectra_service", "replicas", "replicas");
    }
}

#[test]
fn a_project_that_does_not_exist() {
    let sandbox = Sandbox::start();
    let project = "00000000-0000-4000-8000-000000000000";
    let configuration = format!(
        "provider \"spectra\" {{}}\nresource \"spectra_environment\" \"e\" {{\n  project_id = \"{project}\"\n  name = \
         \"qa\"\n}}\n"
    );
    let terraform = Terraform::new(&sandbox, &configuration);
    refused(&sandbox, terraform.plan(), "spectra_environment", "project_id", project);
}

#[test]
fn a_token_of_the_wrong_kind() {
    let sandbox = Sandbox::start();
    let configuration = SHOP.replace(
        "provider \"spectra\" {}",
        "provider \"spectra\" {\n  railway = {\n    token_type = \"project\"\n  }\n}",
    );
    let terraform = Terraform::new(&sandbox, &configuration);
    let run = terraform.plan().code(1).says("token");
    assert!(run.text().contains("provider"), "{}", run.stderr);
    assert_eq!(sandbox.mutations(0), Vec::<String>::new());
}

#[test]
fn a_token_that_nobody_issued_is_refused_without_being_shown() {
    let sandbox = Sandbox::start();
    let mut terraform = Terraform::new(&sandbox, SHOP);
    let token = "5f0e8d3c-dead-4bad-8bad-00000000cafe";
    let run = terraform.env("RAILWAY_API_TOKEN", token).plan().code(1).says("token");
    assert!(!run.dense().contains(token), "{}", run.stderr);
    assert_eq!(sandbox.mutations(0), Vec::<String>::new());
}

#[test]
fn a_missing_token_names_the_variable_to_set() {
    let sandbox = Sandbox::start();
    let mut terraform = Terraform::new(&sandbox, SHOP);
    let _ = terraform.env("RAILWAY_API_TOKEN", "").plan().code(1).says("RAILWAY_API_TOKEN");
    assert_eq!(sandbox.mutations(0), Vec::<String>::new());
}
