//! A secret given by a write-only attribute is in no byte that is written, and reaches the service.

use serde_json::json;
use spectra_acceptance::{ImageBuilder, Sandbox, Terraform, assert_absent, shop_with_rollout};

const CANARY: &str = "canary/d41f+8cd9=8f00&b204";
const PASSWORD: &str = "canary-registry/9d2e+11aa=77";

fn configuration() -> String {
    let mut text = shop_with_rollout();
    text.push_str(
        r#"
variable "canary" {
  type      = string
  sensitive = true
  ephemeral = true
}

resource "spectra_variables" "web" {
  project_id         = spectra_project.shop.id
  environment_id     = spectra_project.shop.default_environment_id
  service_id         = spectra_service.web.id
  variables          = { LOG_LEVEL = "info" }
  secrets_wo         = { SESSION_KEY = var.canary }
  secrets_wo_version = "1"
}
"#,
    );
    text
}

#[test]
fn write_only_secrets_are_in_no_state_plan_log_or_journal_byte() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let bad = ImageBuilder::new("bad").label("health-status", "503").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &configuration());
    let log = terraform.root().join("trace.log");
    terraform.var("canary", CANARY).var("image", &image.pinned);
    // The most talkative logs there are, Terraform's own and the provider's.
    terraform.env("TF_LOG", "TRACE").env("TF_LOG_PATH", &log.to_string_lossy());

    let mut said = String::new();
    for arguments in [
        &["plan", "-out=saved.tfplan"][..],
        &["apply", "saved.tfplan"],
        &["show", "-json", "saved.tfplan"],
        &["plan"],
    ] {
        let run = terraform.run(arguments).success();
        said.push_str(&run.stdout);
        said.push_str(&run.stderr);
    }
    let failed = terraform.var("image", &bad.pinned).apply().code(1);
    said.push_str(&failed.stdout);
    said.push_str(&failed.stderr);
    std::fs::write(terraform.root().join("said.txt"), said).unwrap();
    std::fs::write(terraform.root().join("journal.json"), sandbox.raw_journal()).unwrap();

    assert!(log.metadata().unwrap().len() > 10_000, "the trace log has to be there to be searched");
    assert_absent(terraform.root(), CANARY, &[]);
    // The platform's own database is where the variable is meant to be.
    assert_absent(sandbox.directory(), CANARY, &["sandbox.db"]);

    let state = terraform.state();
    let found = sandbox.graphql(
        "query variables($p: String!, $e: String!, $s: String) { variables(projectId: $p, environmentId: $e, serviceId: $s) }",
        &json!({
            "p": state.text("spectra_variables.web", "project_id"),
            "e": state.text("spectra_variables.web", "environment_id"),
            "s": state.text("spectra_variables.web", "service_id"),
        }),
    );
    // Sealed: the platform has it, and shows it to nobody.
    assert_eq!(found.pointer("/variables/SESSION_KEY").and_then(|v| v.as_str()), None);
    let held = std::fs::read_dir(sandbox.state_directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sandbox.db")))
        .any(|path| {
            std::fs::read(path).unwrap().windows(CANARY.len()).any(|bytes| bytes == CANARY.as_bytes())
        });
    assert!(held, "the secret never arrived on the platform");
}

#[test]
fn a_registry_password_is_nowhere_either() {
    let sandbox = Sandbox::start();
    let configuration = format!(
        r#"
variable "password" {{
  type      = string
  sensitive = true
  ephemeral = true
}}

provider "spectra" {{}}

resource "spectra_project" "p" {{
  name = "private"
}}

resource "spectra_service" "s" {{
  project_id     = spectra_project.p.id
  environment_id = spectra_project.p.default_environment_id
  name           = "web"
  image          = "{}/acceptance/private:1"

  registry_credentials = {{
    username            = "robot"
    password_wo         = var.password
    password_wo_version = "1"
  }}
}}
"#,
        sandbox.registry()
    );
    let mut terraform = Terraform::new(&sandbox, &configuration);
    let log = terraform.root().join("trace.log");
    terraform.var("password", PASSWORD).env("TF_LOG", "TRACE").env("TF_LOG_PATH", &log.to_string_lossy());
    let run = terraform.apply().success();
    std::fs::write(terraform.root().join("said.txt"), run.stdout + &run.stderr).unwrap();
    std::fs::write(terraform.root().join("journal.json"), sandbox.raw_journal()).unwrap();
    assert_absent(terraform.root(), PASSWORD, &[]);
    assert_absent(sandbox.directory(), PASSWORD, &["sandbox.db"]);
}
