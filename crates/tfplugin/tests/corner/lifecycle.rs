//! Everything that must work.

use crate::terraform::{Debugged, Terraform, is_empty};

/// One of everything, first form.
pub(crate) const FIRST: &str = r#"
resource "corner_everything" "a" {
  key       = "a"
  r_string  = "cafe\u0301"
  r_bool    = true
  r_int     = -5
  r_float   = 0.1
  r_number  = 9007199254740993
  r_dynamic = { list = [1, "two", null], flag = true }
  r_list    = ["b", "a", "b"]
  r_set     = ["b", "a", "b"]
  r_map     = { "a b" = 1, "" = 2 }

  o_string     = ""
  o_bool       = false
  o_small      = 4294967295
  o_numbers    = [9007199254740993, 1e100, 0.1, 123456789012345678901234567890, -0.000000000000000000001]
  o_number_set = [3, 1, 2]
  o_dynamic    = [1, 2, 3]
  o_list       = []
  o_set        = []
  o_map        = {}
  o_lists      = [["a"], [], ["b", "c"]]
  o_mode       = "fast_lane"
  o_percent    = "07%"
  o_letters    = ["a", "b"]
  secret       = "visible in state"

  oc_string = "mine"

  single = { key = "s", deep = [{ value = true }, { value = false }] }
  list   = [{ key = "l0" }, { key = "l1", note = "n", weight = 1 }]
  set    = [{ name = "p" }, { name = "q", count = 0.30000000000000000001, on = false }]
  map    = { one = { key = "m1" }, "t.w o" = { key = "m2", deep = [] } }

  login             = { user = "u", password_wo = "canary-inner" }
  secret_wo         = "canary-outer"
  secret_wo_version = 1

  one {
    name = "only"
    inner { name = "i" }
  }
  many { name = "x" }
  many {
    name  = "x"
    label = "second"
    inner { name = "j" }
    inner {
      name = "k"
      on   = false
    }
  }
  bag { name = "b1" }
  bag {
    name  = "b2"
    count = 2
  }
  named "n1" { name = "v1" }
}
"#;

/// The same object after an update: things added, removed, reordered, unset.
const SECOND: &str = r#"
resource "corner_everything" "a" {
  key       = "a"
  r_string  = "other"
  r_bool    = false
  r_int     = 9223372036854775807
  r_float   = 1e10
  r_number  = 1e100
  r_dynamic = "now a string"
  r_list    = ["a"]
  r_set     = ["c", "a"]
  r_map     = {}

  o_numbers = []
  o_dynamic = { a = { b = [] } }
  o_lists   = [[]]
  o_percent = "7%"

  d_string = "set"
  d_set    = []

  list = [{ key = "l1", note = "n", weight = 1 }, { key = "new" }, { key = "l0" }]
  set  = [{ name = "q", count = 0.30000000000000000001, on = false }, { name = "r" }]
  map  = { "t.w o" = { key = "m2x" } }

  login             = { user = "u2" }
  secret_wo         = "canary-outer-two"
  secret_wo_version = 2

  many { name = "y" }
  bag { name = "b3" }
  named "n1" { name = "v2" }
  named "n2" { name = "v3" }
}
"#;

const LEAST: &str = r#"
  r_string  = "s"
  r_bool    = true
  r_int     = 1
  r_float   = 1
  r_number  = 1
  r_dynamic = null
  r_list    = []
  r_set     = []
  r_map     = {}
"#;

pub(crate) fn everything_lives_and_dies(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(FIRST).ok(&["validate", "-no-color"]);
    workspace.apply();
    workspace.settled();
    let first = workspace.attributes("corner_everything.a");
    assert_eq!(first["id"], "id-a");
    assert_eq!(first["r_string"], "caf\u{e9}", "strings are in NFC");
    assert_eq!(first["list"][0]["weight"], 7, "defaults reach into nested attributes");
    assert_eq!(first["many"][1]["inner"][0]["on"], true, "and into blocks in blocks");
    assert_eq!(first["d_set"], serde_json::json!(["x", "y"]));
    assert_eq!(first["secret_lengths"], serde_json::json!([12, 12]), "write-only values arrive at apply");
    assert_eq!(first["o_percent"], "07%", "the text is kept as it was written");
    assert_eq!(first["named"]["n1"]["name"], "v1");

    // Refreshing and applying again change nothing.
    workspace.ok(&["apply", "-refresh-only", "-auto-approve", "-no-color"]);
    let said = workspace.apply();
    assert!(said.text.contains("0 added, 0 changed, 0 destroyed"), "{}", said.text);
    assert_eq!(workspace.attributes("corner_everything.a")["revision"], 1);

    // An update in place.
    workspace.write(SECOND);
    let said = workspace.apply();
    assert!(said.text.contains("0 added, 1 changed, 0 destroyed"), "{}", said.text);
    workspace.settled();
    let second = workspace.attributes("corner_everything.a");
    assert_eq!(second["revision"], 2);
    assert_eq!(second["id"], "id-a", "a stable attribute stays");
    assert_eq!(second["list"][2]["made"], "l0/2");
    assert_eq!(second["d_int"], 5);
    assert_eq!(second["o_string"], serde_json::Value::Null);
    assert_eq!(second["oc_string"], "string/2", "left out again, the provider decides");
    assert_eq!(second["one"], serde_json::Value::Null);

    // And back again, with drift in between: the object is gone.
    std::fs::remove_file(workspace.objects().join("id-a.json")).unwrap();
    let said = workspace.write(FIRST).apply();
    assert!(said.text.contains("1 added, 0 changed, 0 destroyed"), "{}", said.text);
    workspace.settled();

    // Another key is another object.
    workspace.write(&FIRST.replace(r#"key       = "a""#, r#"key       = "b""#));
    let said = workspace.ok(&["plan", "-no-color"]);
    assert!(said.text.contains("forces replacement"), "{}", said.text);
    let said = workspace.apply();
    assert!(said.text.contains("1 added, 0 changed, 1 destroyed"), "{}", said.text);
    workspace.settled();
    assert!(
        workspace.objects().join("id-b.json").exists() && !workspace.objects().join("id-a.json").exists()
    );

    // Forgotten and imported.
    workspace.ok(&["state", "rm", "corner_everything.a"]);
    workspace.fails(&["import", "-no-color", "corner_everything.a", "id-x"], &["There is no object `id-x`."]);
    workspace.ok(&["import", "-no-color", "corner_everything.a", "id-b"]);
    workspace.settled();

    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()), "destroy leaves nothing");
}

pub(crate) fn the_least_is_enough(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace
        .write(&format!("resource \"corner_everything\" \"a\" {{\n  key = \"least\"\n{LEAST}}}\n"))
        .apply();
    workspace.settled();
    let state = workspace.attributes("corner_everything.a");
    assert_eq!(state["single"], serde_json::Value::Null);
    assert_eq!(state["many"], serde_json::json!([]));
    assert_eq!(state["place"], "somewhere");
    assert_eq!(state["d_string"], "caf\u{e9}");
    // What the provider has decided is no reason to replace the object, nor is setting it to the same.
    workspace
        .write(&format!(
            "resource \"corner_everything\" \"a\" {{\n  key = \"least\"\n  place = \"somewhere\"\n  o_bool = true\n{LEAST}}}\n"
        ))
        .apply();
    workspace.settled();
    assert_eq!(workspace.attributes("corner_everything.a")["revision"], 2);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}

pub(crate) fn unknown_values_pass_through(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(&format!(
        r#"
resource "corner_everything" "a" {{
  key = "source"
{LEAST}}}
locals {{ a = corner_everything.a }}
resource "corner_everything" "b" {{
  key       = "dependent"
  r_string  = "pre-${{local.a.c_string}}"
  r_bool    = local.a.c_bool
  r_int     = local.a.revision
  r_float   = local.a.c_number
  r_number  = local.a.c_number
  r_dynamic = local.a.c_dynamic
  r_list    = local.a.c_list
  r_set     = local.a.c_set
  r_map     = {{ known = local.a.revision }}
  o_small   = local.a.revision
  o_dynamic = [local.a.c_string]
  o_map     = local.a.c_map
  oc_nested = {{ name = local.a.c_string }}
  d_int     = local.a.revision
  single    = {{ key = "k", note = local.a.c_string, deep = [{{ value = local.a.c_bool }}] }}
  list      = [for text in ["x"] : {{ key = text, note = local.a.c_string }}]
  set       = [{{ name = local.a.c_string }}, {{ name = "known" }}]
  map       = {{ m = {{ key = "k", weight = local.a.revision }} }}
  one {{ name = local.a.c_string }}
  dynamic "many" {{
    for_each = local.a.c_list
    content {{ name = many.value }}
  }}
  dynamic "bag" {{
    for_each = local.a.c_set
    content {{ name = bag.value }}
  }}
  secret_wo = local.a.c_string
}}
"#
    ));
    // 1e100 does not fit a float: refused at apply, when it is known, with the attribute named.
    workspace.ok(&["plan", "-no-color"]);
    workspace.fails(&["apply", "-auto-approve", "-no-color"], &["r_float"]);
    let body = std::fs::read_to_string(workspace.path().join("main.tf")).unwrap();
    let body = body.replace("r_float   = local.a.c_number", "r_float   = local.a.revision");
    std::fs::write(workspace.path().join("main.tf"), body).unwrap();
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    workspace.apply();
    workspace.settled();
    let state = workspace.attributes("corner_everything.b");
    assert_eq!(state["r_string"], "pre-string/1");
    assert_eq!(state["many"][1]["name"], "1");
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}

pub(crate) fn numbers_are_exact(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace
        .write(&format!(
            "{FIRST}\noutput \"numbers\" {{\n  value = jsonencode(corner_everything.a.o_numbers)\n}}\n"
        ))
        .apply();
    let said = workspace.ok(&["output", "-raw", "numbers"]).stdout;
    let zeros = "0".repeat(100);
    let expected =
        format!("[9007199254740993,1{zeros},0.1,123456789012345678901234567890,-0.000000000000000000001]");
    let numbers = |text: &str| -> Vec<tfplugin::Number> {
        text.trim_matches(['[', ']'])
            .split(',')
            .map(|number| tfplugin::Number::parse(number.trim()).unwrap())
            .collect()
    };
    assert_eq!(numbers(said.trim()), numbers(&expected), "{said}");
    let state = workspace.state();
    assert!(state.contains("9007199254740993"), "2^53 + 1 is in state as it is");
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}

pub(crate) fn secrets_are_in_no_state(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(FIRST);
    workspace.ok(&["plan", "-no-color", "-out", "saved.plan"]);
    let shown = workspace.ok(&["show", "-json", "saved.plan"]).stdout;
    assert!(!shown.contains("\"c_token\":\"token"), "{shown}");
    let said = workspace.ok(&["apply", "-no-color", "saved.plan"]);
    assert!(!said.text.contains("visible in state"), "sensitive values are not shown");
    let state = workspace.state();
    assert!(!state.contains("canary"), "write-only values are nowhere in state: {state}");
    assert!(state.contains("visible in state"), "sensitive ones are");
    // What makes a write-only value change is its version, and nothing else does.
    workspace.write(&FIRST.replace("canary-outer", "canary-longer-than-before")).settled();
    workspace.write(
        &FIRST.replace("canary-outer", "canary-longer-than-before").replace("version = 1", "version = 2"),
    );
    workspace.apply();
    workspace.settled();
    assert_eq!(workspace.attributes("corner_everything.a")["secret_lengths"][0], 25);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}

pub(crate) fn old_state_is_upgraded(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let said = workspace.write("resource \"corner_old\" \"a\" {\n  name = \"number 42\"\n}\n").apply();
    assert!(said.text.contains("Made with a warning"), "{}", said.text);
    let edit = |from: &str, to: &str| {
        let file = workspace.path().join("terraform.tfstate");
        let state = std::fs::read_to_string(&file).unwrap();
        assert!(state.contains(from), "{state}");
        std::fs::write(&file, state.replace(from, to)).unwrap();
    };
    edit("\"schema_version\": 2", "\"schema_version\": 1");
    edit("\"name\": \"number 42\"", "\"label\": 42, \"gone\": true");
    workspace.settled();
    // Of the same version: what is missing is null, what is surplus is dropped.
    edit("\"label\": 42, \"gone\": true", "\"name\": \"number 42\", \"gone\": true");
    edit("\"schema_version\": 1", "\"schema_version\": 2");
    workspace.settled();

    // An upgrade that fails, even without a word, leaves the object in state: an empty answer would be its end.
    edit("\"schema_version\": 2", "\"schema_version\": 0");
    edit("\"name\": \"number 42\", \"gone\": true", "\"text\": \"silent\"");
    workspace
        .fails(&["plan", "-no-color"], &["Provider bug", "`corner_old` failed without an error message"]);
    edit("\"text\": \"silent\"", "\"wrong\": 1");
    workspace.fails(&["apply", "-auto-approve", "-no-color"], &["Version 0 has no `text`."]);
    edit("\"wrong\": 1", "\"text\": \"number 42\"");
    workspace.settled();
}

pub(crate) fn data_sources_and_functions_answer(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write(
        r#"
data "corner_echo" "a" { text = "hi" }
output "echo" { value = data.corner_echo.a.echoes[1].text }
output "any" { value = jsonencode(data.corner_echo.a.any) }
output "joined" { value = provider::corner::join("+", "a", "b") }
output "dashed" { value = provider::corner::join(null, "a", "b") }
output "none" { value = provider::corner::join("+") }
output "kind" { value = provider::corner::kind({ a = [1, "x"] }, "12%") }
"#,
    );
    workspace.ok(&["validate", "-no-color"]);
    workspace.apply();
    workspace.settled();
    let outputs: serde_json::Value =
        serde_json::from_str(&workspace.ok(&["output", "-json"]).stdout).unwrap();
    let value = |name: &str| outputs[name]["value"].clone();
    assert_eq!(value("echo"), "hi");
    assert_eq!(value("any"), "[1,\"one\"]");
    assert_eq!(value("joined"), "a+b");
    assert_eq!(value("dashed"), "a-b");
    assert_eq!(value("none"), "");
    assert_eq!(
        value("kind"),
        serde_json::json!({ "kind": "object", "percent": 12, "value": { "a": [1, "x"] } })
    );

    workspace.write("output \"x\" { value = provider::corner::join(\"+\", \"a\", \"\") }");
    workspace.fails(&["plan", "-no-color"], &["a part is empty"]);
    workspace.write("output \"x\" { value = provider::corner::kind(1, \"120%\") }");
    workspace.fails(&["plan", "-no-color"], &["is not a percentage such as `12%`"]);
    workspace.write("data \"corner_echo\" \"a\" { text = \"nothing\" }");
    workspace.fails(&["plan", "-no-color"], &["No echo", "text = \"nothing\""]);
}

pub(crate) fn the_command_line_describes_the_provider(_: &Terraform) {
    let run = |argument: &str| {
        let this = std::env::current_exe().unwrap();
        std::process::Command::new(this).arg(argument).env("CORNER_PROVIDER", "1").output().unwrap()
    };
    let schema = run("schema");
    assert!(schema.status.success(), "{}", String::from_utf8_lossy(&schema.stderr));
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    let attributes = schema["resources"]["corner_everything"]["attributes"].as_array().unwrap();
    let count = attributes.iter().find(|attribute| attribute["name"] == "d_int").unwrap();
    assert_eq!((&count["default"], &count["constraints"][0]), (&5.into(), &"between 1 and 9".into()));
    assert_eq!(schema["functions"]["join"]["variadic"]["type"], "string");
    assert_eq!(String::from_utf8(run("--version").stdout).unwrap(), "terraform-provider-corner 1.2.3\n");
    assert_eq!(run("--verison").status.code(), Some(2));
}

pub(crate) fn one_process_serves_many_configurations(terraform: &Terraform) {
    let provider = Debugged::start();
    let mut workspaces = [terraform.workspace(), terraform.workspace()];
    for (workspace, key) in workspaces.iter_mut().zip(["one", "two"]) {
        workspace.attach(&provider);
        workspace.write(&format!("resource \"corner_everything\" \"a\" {{\n  key = {key:?}\n{LEAST}}}\n"));
    }
    // At the same time, so that both are configured while the other runs.
    std::thread::scope(|scope| {
        for workspace in &workspaces {
            scope.spawn(|| workspace.apply());
        }
    });
    for (workspace, key) in workspaces.iter().zip(["one", "two"]) {
        workspace.settled();
        let objects = workspace.objects();
        assert_eq!(std::fs::read_dir(&objects).unwrap().count(), 1);
        assert!(objects.join(format!("id-{key}.json")).exists(), "each configuration has its own folder");
    }
}

pub(crate) fn an_unknown_provider_configuration_plans(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let folder = workspace.objects();
    workspace.write_all(&format!(
        r#"
provider "corner" {{ folder = {folder:?} }}
resource "terraform_data" "late" {{ input = {folder:?} }}
provider "corner" {{
  alias  = "late"
  folder = terraform_data.late.output
}}
resource "corner_everything" "a" {{
  provider = corner.late
  key      = "late"
{LEAST}}}
"#
    ));
    let said = workspace.ok(&["plan", "-no-color"]);
    assert!(said.text.contains("Planned without a client"), "{}", said.text);
    workspace.apply();
    workspace.settled();
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}
