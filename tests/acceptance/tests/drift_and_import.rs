//! Changes made behind Terraform's back are seen and put right; every resource can be adopted.

use serde_json::json;
use spectra_acceptance::{ImageBuilder, Sandbox, State, Terraform, get, shop_with_rollout};

fn with_variables() -> String {
    let mut text = shop_with_rollout();
    text.push_str(
        r#"
resource "spectra_variables" "web" {
  project_id     = spectra_project.shop.id
  environment_id = spectra_project.shop.default_environment_id
  service_id     = spectra_service.web.id
  variables      = { LOG_LEVEL = "info" }
}
"#,
    );
    text
}

#[test]
fn a_variable_changed_outside_is_planned_back_and_a_foreign_one_is_left_alone() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &with_variables());
    let _ = terraform.var("image", &image.pinned).apply().success();
    let state = terraform.state();
    let ids = |name: &str| state.text("spectra_variables.web", name).to_owned();
    let mutation = "mutation variableCollectionUpsert($i: VariableCollectionUpsertInput!) { variableCollectionUpsert(input: $i) }";
    let _ = sandbox.graphql(
        mutation,
        &json!({ "i": {
            "projectId": ids("project_id"), "environmentId": ids("environment_id"), "serviceId": ids("service_id"),
            "variables": { "LOG_LEVEL": "debug", "ADDED_BY_HAND": "1" }, "skipDeploys": true
        } }),
    );
    let _ = terraform.plan().code(2).says("spectra_variables.web").says("LOG_LEVEL");
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();
    let found = sandbox.graphql(
        "query variables($p: String!, $e: String!, $s: String) { variables(projectId: $p, environmentId: $e, serviceId: $s) }",
        &json!({ "p": ids("project_id"), "e": ids("environment_id"), "s": ids("service_id") }),
    );
    assert_eq!(found.pointer("/variables/LOG_LEVEL"), Some(&json!("info")));
    assert_eq!(found.pointer("/variables/ADDED_BY_HAND"), Some(&json!("1")));
}

#[test]
fn an_image_deployed_outside_is_seen_and_rolled_back_to_the_planned_one() {
    let sandbox = Sandbox::start();
    let planned = ImageBuilder::new("planned").push(&sandbox);
    let foreign = ImageBuilder::new("foreign").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &planned.pinned).apply().success();
    let url = terraform.output("url");
    let state = terraform.state();
    let ids = |name: &str| state.text("spectra_rollout.web", name).to_owned();
    let target = json!({ "s": ids("service_id"), "e": ids("environment_id"), "i": { "source": { "image": foreign.pinned } } });
    let _ = sandbox.graphql(
        "mutation serviceInstanceUpdate($s: String!, $e: String!, $i: ServiceInstanceUpdateInput!) { serviceInstanceUpdate(serviceId: $s, environmentId: $e, input: $i) }",
        &target,
    );
    let _ = sandbox.graphql(
        "mutation serviceInstanceDeployV2($s: String!, $e: String!) { serviceInstanceDeployV2(serviceId: $s, environmentId: $e) }",
        &json!({ "s": ids("service_id"), "e": ids("environment_id") }),
    );
    spectra_acceptance::eventually("the foreign image serves", || {
        (get(&url).body.trim() == "foreign").then_some(())
    });

    let _ = terraform.plan().code(2).says("spectra_rollout.web");
    let _ = terraform.apply().success();
    assert_eq!(get(&url).body.trim(), "planned");
    terraform.assert_empty_plan();
}

#[test]
fn a_project_deleted_outside_is_planned_anew() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &shop_with_rollout());
    let _ = terraform.var("image", &image.pinned).apply().success();
    let id = terraform.state().text("spectra_project.shop", "id").to_owned();
    let _ = sandbox
        .graphql("mutation projectDelete($id: String!) { projectDelete(id: $id) }", &json!({ "id": id }));
    let _ = terraform.plan().code(2).says("spectra_project.shop");
    let _ = terraform.apply().success();
    terraform.assert_empty_plan();
}

/// An object is found from the outside inwards: project, environment, service, and the object's own id.
fn import_id(state: &State, address: &str) -> String {
    let part = |name: &str| state.text(address, name);
    match address.split('.').next() {
        Some("spectra_project") => part("id").to_owned(),
        Some("spectra_environment") => format!("{}/{}", part("project_id"), part("id")),
        Some("spectra_service") => {
            format!("{}/{}/{}", part("project_id"), part("environment_id"), part("id"))
        }
        Some("spectra_domain") => {
            format!("{}/{}/{}/{}", part("project_id"), part("environment_id"), part("service_id"), part("id"))
        }
        _ => format!("{}/{}/{}", part("project_id"), part("environment_id"), part("service_id")),
    }
}

#[test]
fn every_resource_can_be_forgotten_and_imported_again() {
    let sandbox = Sandbox::start();
    let image = ImageBuilder::new("good").push(&sandbox);
    let mut terraform = Terraform::new(&sandbox, &with_variables());
    let _ = terraform.var("image", &image.pinned).apply().success();
    let state = terraform.state();
    let mut addresses = state.addresses();
    addresses.sort();
    assert_eq!(addresses.len(), 6, "{addresses:?}");
    for address in addresses {
        let id = state.text(&address, "id");
        let _ = terraform.run(&["state", "rm", &address]).success();
        let before = sandbox.now();
        let _ = terraform.run(&["import", &address, &import_id(&state, &address)]).success();
        assert_eq!(sandbox.mutations(before), Vec::<String>::new(), "importing {address} only reads");
        assert_eq!(terraform.state().text(&address, "id"), id);
    }
    // What only the configuration knows (how a rollout probes) may be written into the state; the platform
    // must not be touched for it.
    let before = sandbox.now();
    let _ = terraform.apply().success();
    assert_eq!(sandbox.mutations(before), Vec::<String>::new());
    terraform.assert_empty_plan();
}
