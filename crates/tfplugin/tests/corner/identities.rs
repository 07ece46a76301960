//! What stands beside the attributes: identities, private state, another type before, a module's word for itself.

use serde_json::{Value, json};

use crate::terraform::{Terraform, is_empty};

const APPLY: [&str; 3] = ["apply", "-auto-approve", "-no-color"];

fn item(name: &str, more: &str) -> String {
    format!("resource \"corner_item\" \"a\" {{\n  name = {name:?}\n{more}\n}}\n")
}

pub(crate) fn private_state_guards_an_update(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(&item("a", "")).apply();
    workspace.settled();
    workspace.write(&item("a", "size = 2")).apply();
    workspace.settled();
    assert_eq!(workspace.attributes("corner_item.a")["revision"], 2);

    // Somebody else has changed the object. With a refresh that is seen; without, it is what the private entry is for.
    let file = workspace.objects().join("item-a.json");
    let object = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, object.replace("\"revision\":2", "\"revision\":9")).unwrap();
    workspace.write(&item("a", "size = 3"));
    let mut blind = APPLY.to_vec();
    blind.push("-refresh=false");
    workspace.fails(&blind, &["Changed elsewhere", "Some(2) was seen"]);
    workspace.apply();
    workspace.settled();
    assert_eq!(workspace.attributes("corner_item.a")["revision"], 10);

    // It is what Terraform has stored, and nothing else.
    let private = workspace.instance("corner_item.a")["private"].as_str().unwrap().to_owned();
    workspace.edit_state(&private, "").write(&item("a", "size = 4"));
    workspace.fails(&blind, &["Changed elsewhere", "None was seen"]);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()));
}

pub(crate) fn objects_move_between_types(terraform: &Terraform) {
    let workspace = terraform.workspace();
    // The object exists; the state knows it under another type.
    workspace.write(&item("m", "")).apply();
    workspace.ok(&["state", "rm", "corner_item.a"]);
    workspace.write("resource \"corner_old\" \"a\" {\n  name = \"m\"\n}\n").apply();

    let moved = |from: &str| format!("moved {{\n  from = {from}\n  to   = corner_item.a\n}}\n");
    workspace.write(&format!("{}{}", item("m", ""), moved("corner_old.a")));
    let said = workspace.ok(&["plan", "-no-color"]);
    assert!(said.text.contains("0 to add, 0 to change, 0 to destroy"), "{}", said.text);
    workspace.apply();
    workspace.settled();
    let attributes = workspace.attributes("corner_item.a");
    assert_eq!((&attributes["id"], &attributes["shelf"]), (&json!("item-m"), &json!("floor")));
    assert_eq!(workspace.attributes("corner_old.a"), Value::Null);
    if terraform.release() >= (1, 12) {
        assert_eq!(
            workspace.instance("corner_item.a")["identity"],
            json!({ "id": "item-m", "shelf": "floor" })
        );
    }
    // What was moved can be changed: its private state was made by reading it.
    workspace.write(&item("m", "size = 5")).apply();
    workspace.settled();

    // From a type that has no way here.
    workspace.ok(&["state", "rm", "corner_item.a"]);
    workspace.write("resource \"corner_fault\" \"a\" {\n  how = \"none\"\n}\n").apply();
    workspace.write(&format!("{}{}", item("m", ""), moved("corner_fault.a")));
    workspace.fails(
        &["plan", "-no-color"],
        &["`corner_fault` cannot become `corner_item`", "Objects of these types can: corner_old."],
    );
}

pub(crate) fn a_module_says_who_it_is(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let required = "required_providers {\n    corner = { source = \"example/corner\" }\n  }";
    workspace.put(
        "part/main.tf",
        &format!(
            "terraform {{\n  {required}\n  provider_meta \"corner\" {{\n    module = \"part/1.0\"\n  }}\n}}\n\
             resource \"corner_item\" \"inside\" {{ name = \"inside\" }}\n"
        ),
    );
    workspace.write(&format!("{}module \"part\" {{ source = \"./part\" }}\n", item("outside", "")));
    workspace.ok(&["get", "-no-color"]);
    workspace.apply();
    workspace.settled();
    assert_eq!(workspace.attributes("corner_item.inside")["asked_by"], "part/1.0");
    assert_eq!(workspace.attributes("corner_item.a")["asked_by"], Value::Null);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}

/// Plans an import, takes what was written, and applies it: nothing but the import may be done.
fn import(terraform: &Terraform, what: &str) {
    let workspace = terraform.workspace();
    workspace.write(&item("i", "size = 3\n  label_wo = \"canary-label\"")).apply();
    workspace.ok(&["state", "rm", "corner_item.a"]);
    workspace.write(&format!("import {{\n  to = corner_item.b\n  {what}\n}}\n"));
    let said = workspace.ok(&["plan", "-no-color", "-generate-config-out=generated.tf"]);
    assert!(said.text.contains("1 to import, 0 to add, 0 to change, 0 to destroy"), "{}", said.text);
    let written = std::fs::read_to_string(workspace.path().join("generated.tf")).unwrap();
    for gone in ["revision", "asked_by", "label_length", "canary"] {
        assert!(!written.contains(gone), "{gone} is nothing that a user writes:\n{written}");
    }
    let said = workspace.apply();
    assert!(said.text.contains("1 imported, 0 added, 0 changed, 0 destroyed"), "{}", said.text);
    workspace.settled();
    let attributes = workspace.attributes("corner_item.b");
    assert_eq!((&attributes["size"], &attributes["shelf"]), (&json!(3), &json!("floor")));
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()));
}

pub(crate) fn an_import_by_id(terraform: &Terraform) {
    import(terraform, "id = \"item-i\"");
    let workspace = terraform.workspace();
    let block = |id: &str| format!("{}import {{\n  to = corner_item.a\n  id = {id:?}\n}}\n", item("i", ""));
    workspace.write(&block("i")).fails(&["plan", "-no-color"], &["is not an id such as `item-NAME`"]);
    workspace
        .write(&block("item-i"))
        .fails(&["plan", "-no-color"], &["Cannot import non-existent remote object"]);
}

pub(crate) fn an_import_by_identity(terraform: &Terraform) {
    import(terraform, "identity = { id = \"item-i\" }");
    import(terraform, "identity = {\n    id    = \"item-i\"\n    shelf = \"floor\"\n  }");
}

pub(crate) fn identities_are_kept_and_upgraded(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(&item("a", "shelf = \"top\"")).apply();
    let identity = |workspace: &crate::terraform::Workspace| {
        let instance = workspace.instance("corner_item.a");
        (instance["identity"].clone(), instance["identity_schema_version"].clone())
    };
    let today = (json!({ "id": "item-a", "shelf": "top" }), json!(1));
    assert_eq!(identity(&workspace), today);
    workspace.ok(&["apply", "-refresh-only", "-auto-approve", "-no-color"]);
    assert_eq!(identity(&workspace), today, "a refresh keeps it");
    workspace.write(&item("a", "shelf = \"top\"\n  size = 7")).apply();
    assert_eq!(identity(&workspace), today, "an update keeps it");
    // Another object has another one.
    workspace.write(&item("a", "shelf = \"low\"\n  size = 7")).apply();
    workspace.settled();
    assert_eq!(identity(&workspace).0["shelf"], "low");

    // Written by a version of the provider that had another layout, of both.
    let text = std::fs::read_to_string(workspace.path().join("terraform.tfstate")).unwrap();
    let mut state: Value = serde_json::from_str(&text).unwrap();
    let instance = &mut state["resources"][0]["instances"][0];
    instance["schema_version"] = json!(0);
    instance["attributes"] = json!({ "label": "a" });
    instance["identity_schema_version"] = json!(0);
    instance["identity"] = json!({ "text": "a" });
    std::fs::write(workspace.path().join("terraform.tfstate"), state.to_string()).unwrap();
    workspace.settled();
    workspace.ok(&["apply", "-refresh-only", "-auto-approve", "-no-color"]);
    assert_eq!(identity(&workspace), (json!({ "id": "item-a", "shelf": "low" }), json!(1)));
    assert_eq!(workspace.attributes("corner_item.a")["size"], 7);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}
