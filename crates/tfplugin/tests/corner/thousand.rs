//! A thousand resources: what the framework itself costs.

use crate::terraform::{Terraform, is_empty};

/// In KiB, for each provider process.
const PEAK: u64 = 100_000;

pub(crate) fn fit_in_memory(terraform: &Terraform) {
    let workspace = terraform.workspace();
    workspace.write("resource \"corner_item\" \"a\" {\n  count = 1000\n  name  = \"n${count.index}\"\n}\n");
    let said = workspace.apply();
    assert!(said.text.contains("1000 added, 0 changed, 0 destroyed"), "{}", said.text);
    workspace.settled();
    workspace.ok(&["destroy", "-auto-approve", "-no-color"]);
    assert!(is_empty(&workspace.objects()));
    let usage = workspace.usage();
    assert!(usage.len() >= 6, "three commands start more than one process each: {usage:?}");
    let peak = usage.iter().map(|(peak, _)| *peak).max().unwrap();
    assert!(peak < PEAK, "{peak} KiB of memory: {usage:?}");
}
