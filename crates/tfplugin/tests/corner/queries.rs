//! Commands that look and compare: `query`, `test`, `console`.

use serde_json::Value;

use crate::terraform::{Terraform, is_empty};

const ITEMS: &str = r#"
resource "corner_item" "a" {
  name  = "a"
  shelf = "top"
}
resource "corner_item" "b" {
  name  = "b"
  shelf = "top"
  size  = 4
}
resource "corner_item" "c" { name = "c" }
"#;

/// The lines of `-json`.
fn lines(text: &str) -> Vec<Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

pub(crate) fn a_query_finds(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(ITEMS).apply();
    let query = |name: &str, more: &str| {
        format!("list \"corner_item\" {name:?} {{\n  provider = corner\n{more}\n}}\n")
    };
    let on = |shelf: &str| format!("  config {{\n    shelf = {shelf:?}\n  }}");
    let count = |text: &str, name: &str| {
        let found =
            |line: &&Value| line["list_resource_found"]["address"] == format!("list.corner_item.{name}");
        lines(text).iter().filter(found).count()
    };

    workspace.put(
        "find.tfquery.hcl",
        &[
            query("all", ""),
            query("top", &on("top")),
            query("none", &on("nowhere")),
            query("one", "  limit = 1"),
            query("whole", &format!("  include_resource = true\n{}", on("top"))),
        ]
        .concat(),
    );
    let said = workspace.ok(&["query", "-no-color"]);
    assert!(said.text.contains("Item a") && said.text.contains("id=item-c"), "{}", said.text);
    let said = workspace.ok(&["query", "-json"]);
    for (name, expected) in [("all", 3), ("top", 2), ("none", 0), ("one", 1), ("whole", 2)] {
        assert_eq!(count(&said.stdout, name), expected, "{name}:\n{}", said.stdout);
    }
    let found = lines(&said.stdout);
    let whole = found
        .iter()
        .map(|line| &line["list_resource_found"])
        .find(|found| found["address"] == "list.corner_item.whole" && found["identity"]["id"] == "item-b")
        .unwrap();
    assert_eq!(whole["display_name"], "Item b");
    assert_eq!(whole["resource_object"]["size"], 4);
    assert_eq!(whole["identity"]["shelf"], "top");

    // A bad configuration is refused by name.
    workspace.put("find.tfquery.hcl", &query("bad", &on("")));
    workspace.fails(&["query", "-no-color"], &["Invalid value for `shelf`"]);

    // What was found and nobody manages is imported as it was written.
    for name in ["a", "b", "c"] {
        workspace.ok(&["state", "rm", &format!("corner_item.{name}")]);
    }
    workspace.write("").put("find.tfquery.hcl", &query("all", ""));
    workspace.ok(&["query", "-no-color", "-generate-config-out=generated.tf"]);
    let said = workspace.apply();
    assert!(said.text.contains("3 imported, 0 added, 0 changed, 0 destroyed"), "{}", said.text);
    workspace.settled();
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()));
}

pub(crate) fn terraform_test(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(
        "variable \"size\" { type = number }\n\
         resource \"corner_item\" \"a\" {\n  name = provider::corner::join(\"-\", \"x\", \"y\")\n  size = var.size\n}\n\
         output \"id\" { value = corner_item.a.id }\n",
    );
    workspace.put(
        "tests/item.tftest.hcl",
        r#"
variables { size = 1 }

run "plan" {
  command = plan
  assert {
    condition     = corner_item.a.size == 1
    error_message = "the size is planned"
  }
}

run "create" {
  assert {
    condition     = output.id == "item-x-y" && corner_item.a.revision == 1
    error_message = "it is made"
  }
}

run "update" {
  variables { size = 2 }
  assert {
    condition     = corner_item.a.revision == 2
    error_message = "it is changed in place"
  }
}
"#,
    );
    let said = workspace.ok(&["test", "-no-color"]);
    assert!(said.text.contains("3 passed, 0 failed"), "{}", said.text);
    assert!(is_empty(&workspace.objects()), "the test cleans up");

    // A false assertion is a failed test, and cleans up as well.
    let file = workspace.path().join("tests/item.tftest.hcl");
    let text = std::fs::read_to_string(&file).unwrap().replace("revision == 2", "revision == 3");
    std::fs::write(&file, text).unwrap();
    workspace.fails(&["test", "-no-color"], &["it is changed in place", "2 passed, 1 failed"]);
    assert!(is_empty(&workspace.objects()));
}

pub(crate) fn functions_in_the_console(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write("");
    let answer = |expression: &str| workspace.run_with(&["console", "-no-color"], &format!("{expression}\n"));
    for (expression, expected) in [
        (r#"provider::corner::join("+", "a", "b")"#, "\"a+b\""),
        (r#"provider::corner::join(null, "a", "b")"#, "\"a-b\""),
        (r#"provider::corner::kind([1, "x"], "12%").kind"#, "\"tuple\""),
    ] {
        let said = answer(expression);
        assert_eq!((said.code, said.stdout.trim()), (0, expected), "{expression}: {}", said.text);
    }
    let said = answer(r#"provider::corner::join("+", "a", "")"#);
    assert!(said.code != 0 && said.text.contains("a part is empty"), "{}", said.text);
}
