//! What an author declares on the fields, under the real Terraform: rules, patterns, modifiers, promises, timeouts.

use std::path::PathBuf;

use tfplugin::{
    Apply, Attr, Context, Diagnostic, Diagnostics, Import, Model, Resource, StateSlot, Timeouts, Value,
};

use crate::terraform::Terraform;

/// Kept in state alone.
#[derive(Clone, Debug, Model)]
#[tf(exactly_one_of("image", "source"))]
pub(crate) struct Declared {
    #[tf(computed, stable, never_null)]
    id: Attr<String>,
    /// What is behind it writes it in capitals.
    #[tf(required, same_as = case_aside, validate(pattern("^[A-Za-z]+$")))]
    name: Attr<String>,
    #[tf(optional, conflicts_with("part"))]
    image: Attr<String>,
    #[tf(optional)]
    source: Attr<String>,
    #[tf(optional, force_new_if = shrinks)]
    size: Attr<i64>,
    #[tf(optional, modify = at_least_as_before)]
    level: Attr<i64>,
    /// Another one after each change.
    #[tf(computed, never_null)]
    made: Attr<String>,
    #[tf(optional)]
    timeouts: Attr<Timeouts>,
    #[tf(block)]
    part: Vec<Part>,
}

#[derive(Clone, Debug, Model)]
#[tf(at_least_one_of("label", "size"))]
struct Part {
    #[tf(optional, same_as = case_aside)]
    label: Attr<String>,
    #[tf(optional, force_new_if = shrinks)]
    size: Attr<i64>,
}

fn case_aside(one: &Value, other: &Value) -> bool {
    matches!((one.as_str(), other.as_str()), (Some(one), Some(other)) if one.eq_ignore_ascii_case(other))
}

fn shrinks(prior: &Value, planned: &Value) -> bool {
    matches!((prior.as_number(), planned.as_number()), (Some(prior), Some(planned)) if planned < prior)
}

fn at_least_as_before(prior: &Value, _: &Value, planned: &Value) -> Option<Value> {
    shrinks(prior, planned).then(|| prior.clone())
}

/// As it is written behind.
fn loud(declared: Declared) -> Declared {
    let shout = |text: Attr<String>| text.map(|text| text.to_uppercase());
    let part = declared.part.into_iter().map(|part| Part { label: shout(part.label), ..part }).collect();
    Declared { name: shout(declared.name), part, ..declared }
}

pub(crate) struct DeclaredResource;

impl Resource for DeclaredResource {
    type Model = Declared;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_declared";

    async fn create(
        &self,
        cx: &Context<PathBuf>,
        apply: Apply<Declared>,
        state: &StateSlot<Declared>,
    ) -> Result<Diagnostics, Diagnostics> {
        if apply.planned.name.as_str() == Some("slow") {
            cx.cancel.cancelled().await;
            return Err(Diagnostic::error("Interrupted", "Nothing was made.").into());
        }
        state.save(loud(Declared { id: "id".into(), made: "1".into(), ..apply.planned }));
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<PathBuf>, state: Declared) -> Result<Option<Declared>, Diagnostics> {
        Ok(Some(Declared { timeouts: Attr::Null, ..loud(state) }))
    }

    async fn update(
        &self,
        _: &Context<PathBuf>,
        apply: Apply<Declared>,
        state: &StateSlot<Declared>,
    ) -> Result<Diagnostics, Diagnostics> {
        let before = apply.prior.and_then(|prior| prior.made.known()).unwrap_or_default();
        let made = apply.planned.made.clone().or_unknown(|| format!("{before}+1"));
        state.save(loud(Declared { made, ..apply.planned }));
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<PathBuf>,
        _: Declared,
        _: &StateSlot<Declared>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<PathBuf>, _: Import) -> Result<Declared, Diagnostics> {
        Err(Diagnostic::error("Cannot import", "It is kept in state alone.").into())
    }
}

fn with(inside: &str) -> String {
    format!(
        "resource \"corner_declared\" \"a\" {{\n  {inside}\n}}\n\
         output \"late\" {{\n  value = corner_declared.a.id == null\n}}\n"
    )
}

pub(crate) fn declarations_hold(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let refused = |inside: &str, expected: &[&str]| {
        workspace.write(&with(inside)).fails(&["validate", "-no-color"], expected);
    };
    refused("name = \"web\"", &["Exactly one of `image` and `source` must be set, and none is."]);
    refused("name = \"web\"\n image = \"i\"\n source = \"s\"", &["source = \"s\"", "Conflicting attributes"]);
    refused(
        "name = \"web\"\n image = \"i\"\n part {\n label = \"l\"\n }",
        &["image = \"i\"", "`image` cannot be set together with `part`"],
    );
    refused(
        "name = \"web\"\n source = \"s\"\n part {}",
        &["At least one of `part[0].label` and `part[0].size`"],
    );
    refused("name = \"w1\"\n image = \"i\"", &["name = \"w1\"", "does not match `^[A-Za-z]+$`"]);
    refused(
        "name = \"web\"\n image = \"i\"\n timeouts = { create = \"soon\" }",
        &["is not a duration such as"],
    );

    let one = "source = \"s\"\n size = 5\n level = 5\n part {\n label = \"x\"\n size = 5\n }\n";
    let timed = |create: &str| format!("timeouts = {{ create = \"{create}\" }}\n {one}");
    workspace.write(&with(&format!("name = \"web\"\n {}", timed("10m"))));
    let said = workspace.ok(&["plan", "-no-color"]);
    assert!(said.text.contains("+ late = false"), "the id is promised not to be null: {}", said.text);
    workspace.apply();
    workspace.settled();
    let state = workspace.attributes("corner_declared.a");
    assert_eq!((&state["name"], &state["part"][0]["label"]), (&"web".into(), &"x".into()));
    assert_eq!(state["timeouts"]["create"], "10m", "reading does not lose it");

    // Another form, and a level that is not lowered: nothing to do.
    let same = timed("10m").replace("\"x\"", "\"X\"").replace("level = 5", "level = 3");
    workspace.write(&with(&format!("name = \"WEB\"\n {same}"))).settled();

    // Other timeouts go into state, and nothing else happens.
    workspace.write(&with(&format!("name = \"web\"\n {}", timed("20m"))));
    let said = workspace.apply();
    assert!(said.text.contains("0 added, 1 changed, 0 destroyed"), "{}", said.text);
    workspace.settled();
    let state = workspace.attributes("corner_declared.a");
    assert_eq!((&state["timeouts"]["create"], &state["made"]), (&"20m".into(), &"1".into()));

    // More is a change, less another object.
    workspace.write(&with(&format!("name = \"web\"\n {}", timed("20m").replace("size = 5", "size = 6"))));
    let said = workspace.apply();
    assert!(said.text.contains("0 added, 1 changed, 0 destroyed"), "{}", said.text);
    assert_eq!(workspace.attributes("corner_declared.a")["made"], "1+1");
    workspace.write(&with(&format!("name = \"web\"\n {}", timed("20m"))));
    let said = workspace.ok(&["plan", "-no-color"]);
    assert!(said.text.contains("forces replacement"), "{}", said.text);
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);

    // The handler waits for its deadline.
    workspace.write(&with(&format!("name = \"slow\"\n {}", timed("10ms"))));
    workspace.fails(
        &["apply", "-auto-approve", "-no-color"],
        &[
            "Timeout of 0.01s has passed",
            "`timeouts.create` allows 0.01s for creating `corner_declared`",
            "Interrupted",
        ],
    );
}
