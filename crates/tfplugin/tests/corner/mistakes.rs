//! Everything that must fail, and what is said then.

use crate::terraform::Terraform;

/// A complete configuration but for what `extra` says.
fn with(extra: &str) -> String {
    format!(
        r#"
resource "corner_everything" "a" {{
  key       = "a"
  r_string  = "s"
  r_bool    = true
  r_float   = 1
  r_number  = 1
  r_dynamic = null
  r_list    = []
  r_set     = []
  r_map     = {{}}
  {extra}
}}
"#
    )
}

pub(crate) fn bad_values_are_refused_by_name(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let refused = |extra: &str, expected: &[&str]| {
        workspace.write(&with(extra)).fails(&["validate", "-no-color"], expected);
    };
    refused("r_int = 1.5", &["r_int = 1.5", "must be a whole number"]);
    refused("r_int = 1e30", &["r_int", "must be a whole number"]);
    refused("r_int = 1\n o_small = -1", &["o_small", "between 0 and 4294967295"]);
    refused("r_int = 1\n o_mode = \"fast\"", &["o_mode", "\"fast_lane\", \"slow\""]);
    refused(
        "r_int = 1\n o_percent = \"120%\"",
        &["o_percent = \"120%\"", "is not a percentage such as `12%`"],
    );
    refused("r_int = 1\n d_int = 10", &["d_int = 10", "between 1 and 9"]);
    refused("r_int = 1\n o_letters = [\"a\", \"d\"]", &["element 1", "\"d\" is not one of"]);
    refused("r_int = 1\n o_letters = [\"a\", \"a\", \"a\", \"a\"]", &["at most 3"]);
    refused("r_int = 1\n o_string = \"refused\"", &["The whole configuration was looked at."]);

    // The reason quotes the value, and the value is secret. (Terraform shows the line of the configuration itself.)
    refused(
        "r_int = 1\n secret = join(\"-\", [\"hush\", \"now\"])",
        &["The value is not valid; it is sensitive", "no hush"],
    );
    let said = workspace.run(&["validate", "-no-color"]);
    assert!(!said.text.contains("hush-now"), "{}", said.text);

    workspace.write(&with("r_int = 1\n o_old = \"x\""));
    let said = workspace.ok(&["validate", "-no-color"]);
    assert!(
        said.text.contains("`o_old` is deprecated") || said.text.contains("Use `o_string`."),
        "{}",
        said.text
    );
    workspace.write(&with("r_int = 1"));
    let said = workspace.ok(&["validate", "-no-color"]);
    assert!(!said.text.contains("deprecated"), "{}", said.text);
}

pub(crate) fn provider_bugs_are_named(terraform: &Terraform) {
    let apply = ["apply", "-auto-approve", "-no-color"];
    let fault = |how: &str| format!("resource \"corner_fault\" \"a\" {{\n  how = {how:?}\n}}\n");
    let state = "corner_fault.a";

    let workspace = terraform.workspace();
    workspace.write(&fault("overwrite")).fails(&["plan", "-no-color"], &["Provider bug", "`how`"]);
    workspace.write(&fault("plan crash")).fails(
        &["plan", "-no-color"],
        &[
            "The provider failed unexpectedly in `corner_fault`",
            "told to fall over while planning",
            "provider.rs",
        ],
    );
    workspace.write(&fault("nothing")).fails(&apply, &["Nothing was made."]);
    assert_eq!(workspace.attributes(state), serde_json::Value::Null, "nothing was made, so nothing is kept");
    workspace.write(&fault("silent")).fails(&apply, &["Provider bug", "failed without an error message"]);
    workspace.write(&fault("forget")).fails(&apply, &["Provider bug", "without saving"]);

    // What was saved before a panic is kept; so is what was saved before an error, without what is unknown.
    workspace.write(&fault("crash")).fails(&apply, &["told to fall over", "report id"]);
    assert_eq!(workspace.attributes(state)["id"], "fault");
    workspace.ok(&["state", "rm", state]);
    workspace.write(&fault("error")).fails(&apply, &["Told to fail", "The object is half made."]);
    assert_eq!(workspace.attributes(state)["made"], serde_json::Value::Null);
    assert_eq!(workspace.attributes(state)["id"], "fault");
    workspace.ok(&["state", "rm", state]);

    // A success that is none.
    workspace.write(&fault("unknown")).fails(&apply, &["Provider bug", "left `made` unknown after apply"]);
    workspace.ok(&["state", "rm", state]);
    workspace.write(&fault("inconsistent")).fails(&apply, &["Provider bug", "`how`"]);
    assert_eq!(workspace.attributes(state)["how"], "other", "the state says what was really done");
    workspace.ok(&["state", "rm", state]);

    // An update that fails keeps what was there.
    workspace.write(&fault("none")).apply();
    workspace.settled();
    workspace.write(&fault("nothing")).fails(&apply, &["Nothing was made."]);
    assert_eq!(workspace.attributes(state)["how"], "none");
    workspace.write(&fault("crash")).fails(&apply, &["told to fall over"]);
    workspace.write(&fault("none")).apply();
    workspace.settled();
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
}
