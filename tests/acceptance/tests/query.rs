//! What exists is found by `terraform query`, and adopted by its identity.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::fmt::Write;

use serde_json::Value;
use spectra_acceptance::{ImageBuilder, Run, SHOP, Sandbox, State, Terraform};

/// A rollout without a probe: how a service is probed stands in configuration alone, so an import could not know.
const REST: &str = r#"
resource "spectra_rollout" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
  image          = var.image
}

resource "spectra_variables" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
  variables      = { LOG_LEVEL = "info" }
}
"#;

/// Each with the attributes of its identity.
const IDENTITIES: [(&str, &[&str]); 6] = [
    ("spectra_project.shop", &["id"]),
    ("spectra_environment.staging", &["project_id", "id"]),
    ("spectra_service.web", &["project_id", "environment_id", "id"]),
    ("spectra_variables.web", &["project_id", "environment_id", "service_id"]),
    ("spectra_domain.web", &["project_id", "environment_id", "service_id", "id"]),
    ("spectra_rollout.web", &["project_id", "environment_id", "service_id"]),
];

fn identity(state: &State, address: &str, parts: &[&str]) -> Vec<(String, String)> {
    parts.iter().map(|part| ((*part).to_owned(), state.text(address, part).to_owned())).collect()
}

/// What a query has found: type, name for people, identity, and whether the object came with it.
fn found(run: &Run) -> Vec<(String, String, Value, bool)> {
    let events = run.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["type"] == "list_resource_found")
        .map(|event| {
            let one = &event["list_resource_found"];
            let text = |name: &str| one[name].as_str().expect("text").to_owned();
            (
                text("resource_type"),
                text("display_name"),
                one["identity"].clone(),
                one["resource_object"].is_object(),
            )
        })
        .collect()
}

#[test]
fn a_query_lists_what_exists_and_costs_a_constant_per_environment() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let Some(mut terraform) = Terraform::latest(&sandbox, &format!("{SHOP}{REST}")) else { return };
    let _ = terraform.var("image", &image.pinned).apply().success();
    let state = terraform.state();
    let project = state.text("spectra_project.shop", "id");
    let mut query = String::new();
    for (address, _) in IDENTITIES {
        let kind = address.split('.').next().unwrap();
        let filter = if kind == "spectra_project" {
            "name_prefix = \"sh\"".to_owned()
        } else {
            format!("project_id = \"{project}\"")
        };
        writeln!(
            query,
            "list \"{kind}\" \"all\" {{\n  provider = spectra\n  include_resource = true\n  config {{\n    {filter}\n  }}\n}}"
        )
        .unwrap();
    }
    terraform.file("all.tfquery.hcl", &query);
    let before = sandbox.now();
    let run = terraform.run(&["query", "-json"]).success();
    let requests = sandbox.requests(before);
    let listed = found(&run);
    for (address, parts) in IDENTITIES {
        let kind = address.split('.').next().unwrap();
        let wanted: Value = identity(&state, address, parts)
            .into_iter()
            .map(|(name, value)| (name, Value::from(value)))
            .collect();
        let one = listed.iter().find(|(found, _, identity, _)| found == kind && *identity == wanted);
        let (.., whole) = one.unwrap_or_else(|| panic!("{address} ({wanted}) is not in {listed:#?}"));
        assert!(whole, "{address} came without its object");
    }
    assert!(requests.iter().all(|request| request.kind == "query"), "{requests:#?}");
    // Who we are, the workspace's projects, the project's environments, and each of its two environments; no matter how
    // many objects of how many kinds.
    assert!(requests.len() <= 10, "{} requests: {requests:#?}", requests.len());
}

#[test]
fn a_plan_of_objects_whose_identity_is_not_known_yet_can_be_shown() {
    let sandbox = Sandbox::start();
    let Some(mut terraform) = Terraform::latest(&sandbox, &format!("{SHOP}{REST}")) else { return };
    let image = format!("ghcr.io/acme/web@sha256:{}", "a".repeat(64));
    let _ = terraform.var("image", &image).run(&["plan", "-out=plan"]).success().says("6 to add");
    let shown = terraform.run(&["show", "-json", "plan"]).success();
    let plan: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(plan["resource_changes"].as_array().map(Vec::len), Some(6));
}

#[test]
fn a_query_stops_at_its_limit() {
    let sandbox = Sandbox::start();
    let Some(terraform) = Terraform::latest(&sandbox, SHOP) else { return };
    let _ = terraform.apply().success();
    terraform.file(
        "one.tfquery.hcl",
        "list \"spectra_environment\" \"one\" {\n  provider = spectra\n  limit = 1\n}\n",
    );
    let listed = found(&terraform.run(&["query", "-json"]).success());
    assert_eq!(listed.len(), 1, "{listed:#?}");
}

#[test]
fn every_resource_can_be_imported_by_its_identity_and_plans_nothing() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let configuration = format!("{SHOP}{REST}");
    let Some(mut terraform) = Terraform::latest(&sandbox, &configuration) else { return };
    let _ = terraform.var("image", &image.pinned).apply().success();
    let state = terraform.state();
    let mut imports = String::new();
    for (address, parts) in IDENTITIES {
        let _ = terraform.run(&["state", "rm", address]).success();
        writeln!(imports, "import {{\n  to = {address}\n  identity = {{").unwrap();
        for (name, value) in identity(&state, address, parts) {
            writeln!(imports, "    {name} = \"{value}\"").unwrap();
        }
        imports.push_str("  }\n}\n");
    }
    assert_eq!(terraform.state().addresses(), Vec::<String>::new());
    terraform.file("imports.tf", &imports);
    let before = sandbox.now();
    let _ = terraform.plan().says("6 to import, 0 to add, 0 to change, 0 to destroy");
    let _ = terraform.apply().success().says("6 imported, 0 added, 0 changed, 0 destroyed");
    assert_eq!(sandbox.mutations(before), Vec::<String>::new(), "importing only reads");
    for (address, _) in IDENTITIES {
        assert_eq!(terraform.state().text(address, "id"), state.text(address, "id"), "{address}");
    }
    terraform.assert_empty_plan();
}
