//! What exists for one run, and what is done without an object: ephemeral resources and actions.

use serde_json::json;

use crate::terraform::{Terraform, is_empty};

pub(crate) fn an_ephemeral_value(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let config = |version: u32| {
        format!(
            r#"
ephemeral "corner_key" "k" {{ item = "a" }}
resource "corner_item" "a" {{
  name             = "a"
  label_wo         = ephemeral.corner_key.k.secret
  label_wo_version = {version}
}}
"#
        )
    };
    workspace.write(&config(1)).apply();
    workspace.settled();
    let length = "canary-key-of-a".len();
    assert_eq!(workspace.attributes("corner_item.a")["label_length"], json!(length), "it has arrived");
    workspace.write(&config(2)).apply();
    workspace.settled();
    assert_eq!(workspace.attributes("corner_item.a")["revision"], 2);

    workspace.ok(&["plan", "-no-color", "-out", "saved.plan", "-replace=corner_item.a"]);
    let shown = workspace.ok(&["show", "-json", "saved.plan"]).stdout;
    assert!(!shown.contains("canary"), "{shown}");
    workspace.ok(&["apply", "-no-color", "saved.plan"]);
    assert!(!workspace.state().contains("canary"));

    let log = workspace.log();
    let opened = log.iter().filter(|line| line.starts_with("opened")).count();
    let closed = log.iter().filter(|line| line.starts_with("closed")).count();
    assert!(opened > 1 && opened == closed, "in each walk it is opened and closed: {log:?}");

    let refused = config(2).replace("item = \"a\"", "item = \"\"");
    workspace.write(&refused).fails(&["plan", "-no-color"], &["No item", "A key opens an item."]);
    workspace.write(&config(2)).ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()), "no key stays open");
}

const ITEM: &str = "resource \"corner_item\" \"a\" {\n  name = \"a\"\n}\n";

pub(crate) fn an_action_is_invoked(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let action = |config: &str| format!("action \"corner_ring\" \"r\" {{\n  config {{\n{config}\n  }}\n}}\n");
    workspace.write(&format!("{ITEM}{}", action("item = \"item-a\""))).apply();
    assert!(workspace.log().is_empty(), "nobody has asked for it");
    let invoke = ["apply", "-auto-approve", "-no-color", "-invoke=action.corner_ring.r"];
    let said = workspace.ok(&invoke);
    assert!(said.text.contains("ring 1 of 2") && said.text.contains("ring 2 of 2"), "{}", said.text);
    assert_eq!(workspace.log(), ["rang 2 times for item-a, with a word of 0"]);

    // An ephemeral value reaches a write-only attribute of an action.
    workspace.write(&format!(
        "ephemeral \"corner_key\" \"k\" {{ item = \"a\" }}\n{ITEM}{}",
        action("item = \"item-a\"\n times = 1\n word_wo = ephemeral.corner_key.k.secret")
    ));
    let said = workspace.ok(&invoke);
    assert!(!said.text.contains("canary"), "{}", said.text);
    assert!(workspace.log().contains(&"rang 1 times for item-a, with a word of 15".to_owned()));

    workspace.write(&format!("{ITEM}{}", action("item = \"item-x\"")));
    workspace.fails(&invoke, &["No such item", "Nothing was rung."]);
    workspace.write(&format!("{ITEM}{}", action("item = \"item-a\"\n times = 0")));
    workspace.fails(&["validate", "-no-color"], &["Invalid value for `times`", "between 1 and 9"]);
}

pub(crate) fn an_action_is_triggered(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let config = |size: u32, item: &str| {
        format!(
            r#"
resource "corner_item" "a" {{
  name = "a"
  size = {size}
  lifecycle {{
    action_trigger {{
      events  = [after_create, after_update]
      actions = [action.corner_ring.r]
    }}
  }}
}}
action "corner_ring" "r" {{
  config {{
    item  = {item}
    times = 1
  }}
}}
"#
        )
    };
    let own = "corner_item.a.id";
    let said = workspace.write(&config(1, own)).apply();
    assert!(said.text.contains("ring 1 of 1"), "{}", said.text);
    workspace.settled();
    workspace.write(&config(2, own)).apply();
    workspace.settled();
    assert_eq!(workspace.log(), vec!["rang 1 times for item-a, with a word of 0"; 2]);

    // An action that fails fails the apply; what it came after is done and in state.
    let failed = config(3, "\"item-x\"");
    workspace.write(&failed).fails(&["apply", "-auto-approve", "-no-color"], &["No such item"]);
    assert_eq!(workspace.attributes("corner_item.a")["size"], 3);
    workspace.settled();
    workspace.write(&config(3, own)).ok(&["destroy", "-auto-approve", "-no-color"]);
}
