//! What a plan promises of values that are not known yet, under the real Terraform.

use std::path::PathBuf;

use tfplugin::value::{Bound, Refinements};
use tfplugin::{
    Apply, Attr, Context, Diagnostic, Diagnostics, Import, Model, Number, Operation, Plan, Resource,
    StateSlot, Unknown,
};

use crate::terraform::Terraform;

/// Kept in state alone.
#[derive(Clone, Debug, Model)]
pub(crate) struct Promised {
    /// Anything; it may itself be a promise of another object.
    #[tf(optional)]
    from: Attr<String>,
    /// The promise that is broken.
    #[tf(optional)]
    breaks: Attr<String>,
    /// Begins with `https://`.
    #[tf(computed)]
    url: Attr<String>,
    /// From 1024 on, below 65536.
    #[tf(computed)]
    port: Attr<i64>,
    /// At least one, at most three.
    #[tf(computed)]
    hosts: Attr<Vec<String>>,
}

pub(crate) struct PromisedResource;

impl PromisedResource {
    fn made(planned: Promised) -> Promised {
        let broken = |what: &str| planned.breaks.as_str() == Some(what);
        let hosts = if broken("hosts") { 4 } else { 3 };
        Promised {
            url: if broken("url") { "http://a" } else { "https://a" }.into(),
            port: if broken("port") { 65536 } else { 1024 }.into(),
            hosts: vec!["a".to_owned(); hosts].into(),
            ..planned
        }
    }
}

impl Resource for PromisedResource {
    type Model = Promised;
    type Client = PathBuf;

    const TYPE: &'static str = "corner_promised";

    async fn plan(&self, _: Option<&Context<PathBuf>>, plan: &mut Plan<Promised>) {
        if plan.operation == Operation::Delete || !plan.changes_anything() {
            return;
        }
        let bound = |value: i64, inclusive| Some(Bound { value: Number::from(value), inclusive });
        let port = Refinements {
            null: Some(false),
            lower: bound(1024, true),
            upper: bound(65536, false),
            ..Refinements::default()
        };
        plan.set_refined("url", Unknown::with_prefix("https://"));
        plan.set_refined("port", Unknown::refined(port));
        plan.set_refined("hosts", Unknown::with_length(1, Some(3)));
    }

    async fn create(
        &self,
        _: &Context<PathBuf>,
        apply: Apply<Promised>,
        state: &StateSlot<Promised>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Self::made(apply.planned));
        Ok(Diagnostics::new())
    }

    async fn read(&self, _: &Context<PathBuf>, state: Promised) -> Result<Option<Promised>, Diagnostics> {
        Ok(Some(state))
    }

    async fn update(
        &self,
        _: &Context<PathBuf>,
        apply: Apply<Promised>,
        state: &StateSlot<Promised>,
    ) -> Result<Diagnostics, Diagnostics> {
        state.save(Self::made(apply.planned));
        Ok(Diagnostics::new())
    }

    async fn delete(
        &self,
        _: &Context<PathBuf>,
        _: Promised,
        _: &StateSlot<Promised>,
    ) -> Result<Diagnostics, Diagnostics> {
        Ok(Diagnostics::new())
    }

    async fn import(&self, _: &Context<PathBuf>, _: Import) -> Result<Promised, Diagnostics> {
        Err(Diagnostic::error("Cannot import", "It is kept in state alone.").into())
    }
}

/// Core answers from the promises what it could not know otherwise, passes them on, and finds them kept. One that is broken is
/// reported by the framework, before core sees the result.
pub(crate) fn promises_are_kept(terraform: &Terraform) {
    let workspace = terraform.workspace();
    let one = |inside: &str| format!("resource \"corner_promised\" \"a\" {{\n  {inside}\n}}\n");
    workspace.write(&format!(
        r#"{}
locals {{ a = corner_promised.a }}
resource "corner_promised" "b" {{ from = local.a.url }}
output "prefix" {{ value = startswith(local.a.url, "https://") }}
output "range" {{ value = local.a.port > 1000 && local.a.port < 65537 }}
output "length" {{ value = length(local.a.hosts) > 0 && length(local.a.hosts) < 4 }}
output "passed_on" {{ value = startswith(corner_promised.b.from, "https://") }}
output "open" {{ value = endswith(local.a.url, "a") }}
"#,
        one("")
    ));
    workspace.ok(&["plan", "-no-color", "-out", "saved.plan"]);
    let shown = workspace.ok(&["show", "-json", "saved.plan"]).stdout;
    let plan: serde_json::Value = serde_json::from_str(&shown).unwrap();
    for output in ["prefix", "range", "length", "passed_on"] {
        assert_eq!(
            plan["output_changes"][output]["after"], true,
            "{output} is known while planning: {shown}"
        );
    }
    assert_eq!(plan["output_changes"]["open"]["after_unknown"], true, "what is not promised is not known");
    workspace.ok(&["apply", "-no-color", "saved.plan"]);
    workspace.settled();

    for broken in ["url", "port", "hosts"] {
        workspace.write(&one(&format!("breaks = {broken:?}")));
        let named = format!("`{broken}`");
        workspace.fails(
            &["apply", "-auto-approve", "-no-color"],
            &["Provider bug", &named, "must keep what the plan promised about an unknown value"],
        );
    }
}
