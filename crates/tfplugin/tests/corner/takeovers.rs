//! An object with one of everything that Terraform does not know yet, or knows as something else.

use crate::lifecycle::FIRST;
use crate::terraform::{Needs, Terraform, Workspace, is_empty};

/// Whether core asks the provider for a configuration. Earlier ones write their own, in which an empty text is null and defaults
/// stand like everything else.
fn asks(terraform: &Terraform) -> bool {
    !terraform.is_tofu() && terraform.release() >= (1, 14)
}

/// Without what no import can bring back: a sensitive value is in no configuration that Terraform writes.
fn plain(terraform: &Terraform) -> String {
    let lines = FIRST.lines().filter(|line| !line.trim_start().starts_with("secret  "));
    let lines = lines.filter(|line| asks(terraform) || !line.trim_start().starts_with("o_string  "));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// Nothing is done to the object by the next apply.
fn taken_over(workspace: &Workspace, expected: &str) {
    let said = workspace.apply();
    assert!(said.text.contains(expected), "{}", said.text);
    workspace.settled();
    let state = workspace.attributes("corner_everything.a");
    assert_eq!((&state["id"], &state["revision"]), (&"id-a".into(), &1.into()));
    assert_eq!(state["secret_lengths"], serde_json::json!([12, 12]), "it is still what was made at first");
    assert_eq!(state["list"][1]["note"], "n");
    assert_eq!(state["many"][1]["inner"][1]["on"], false);
    assert_eq!(state["named"]["n1"]["name"], "v1");
}

/// Has Terraform write a configuration for what is imported, and takes it.
fn import(workspace: &Workspace, what: &str) -> String {
    workspace.ok(&["state", "rm", "corner_everything.a"]);
    workspace.write(&format!("import {{\n  to = corner_everything.a\n  {what}\n}}\n"));
    let said = workspace.ok(&["plan", "-no-color", "-generate-config-out=generated.tf"]);
    assert!(said.text.contains("1 to import, 0 to add, 0 to change, 0 to destroy"), "{}", said.text);
    taken_over(workspace, "1 imported, 0 added, 0 changed, 0 destroyed");
    let file = workspace.path().join("generated.tf");
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    written
}

pub(crate) fn everything_is_taken_over(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(&plain(terraform)).apply();
    let written = import(&workspace, "id = \"id-a\"");
    for gone in [" c_string", " c_nested", "secret_lengths", "revision", "canary", "fixed"] {
        assert!(!written.contains(gone), "{gone} is nothing that a user writes:\n{written}");
    }
    assert_eq!(
        written.contains(" d_int"),
        !asks(terraform),
        "what is at its default is left out:\n{written}"
    );
    for there in ["9007199254740993", "\"fast_lane\"", "\"07%\"", "named \"n1\"", "0.30000000000000000001"] {
        assert!(written.contains(there), "{there} is what the user has written:\n{written}");
    }
    if terraform.has(Needs::Identity) {
        assert_eq!(
            workspace.instance("corner_everything.a")["identity"],
            serde_json::json!({ "id": "id-a" })
        );
        let again = import(&workspace, "identity = { id = \"id-a\" }");
        let body = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<String>();
        assert_eq!(body(&again), body(&written), "the way it was found makes no difference");
    }

    // It was of another type before.
    workspace.ok(&["state", "rm", "corner_everything.a"]);
    workspace.write("resource \"corner_old\" \"a\" {\n  name = \"a\"\n}\n").apply();
    workspace.write(&format!(
        "{}moved {{\n  from = corner_old.a\n  to   = corner_everything.a\n}}\n",
        plain(terraform)
    ));
    taken_over(&workspace, "0 added, 0 changed, 0 destroyed");
    assert_eq!(workspace.attributes("corner_old.a"), serde_json::Value::Null);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()));
}
