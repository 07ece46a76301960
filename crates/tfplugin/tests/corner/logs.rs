//! What core makes of the log.

use crate::terraform::Terraform;

/// Row 40 of the catalogue, with a real core: a key of Terraform's own with another kind of value crashes it.
pub(crate) fn every_line_has_its_form(terraform: &Terraform) {
    let mut workspace = terraform.workspace();
    workspace.write("resource \"corner_item\" \"a\" {\n  name = \"a\"\n}\n").apply();
    let path = workspace.trace();
    workspace.settled();
    let log = std::fs::read_to_string(path).unwrap();
    let line = log.lines().find(|line| line.contains("read an item")).unwrap();
    for part in [
        "[INFO]",
        "provider.terraform-provider-corner",
        "at_level=7",
        "at_timestamp=false",
        "id=item-a",
        "tf_rpc=ReadResource",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    // What core does not understand, or does not expect of a provider, it says at this level.
    let provider = |line: &&str| line.contains("[WARN]") || line.contains("[ERROR]");
    let complaints: Vec<_> = log
        .lines()
        .filter(provider)
        .filter(|line| line.contains("corner") || line.contains("plugin"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
