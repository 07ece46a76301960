//! Schema documentation as Markdown, in the sections that the registries show.

use std::fmt::Write as _;

use super::{AttributeDocs, BlockDocs, NestedBlockDocs};

impl BlockDocs {
    /// The schema section of a page: required, optional and read-only attributes, then what is nested, each with an
    /// anchor. Descriptions, defaults and constraints are included; the block's own description is not.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("## Schema\n");
        section(&mut text, "###", "", &self.attributes, &self.blocks, &self.rules);
        text
    }
}

/// One level, then the levels inside it.
fn section(
    text: &mut String,
    heading: &str,
    anchor: &str,
    attributes: &[AttributeDocs],
    blocks: &[NestedBlockDocs],
    rules: &[String],
) {
    if !rules.is_empty() {
        let _ = write!(text, "\n{}\n", rules.join(" "));
    }
    let needed = |block: &&NestedBlockDocs| block.min_items > 0;
    let of =
        |wanted: fn(&AttributeDocs) -> bool| attributes.iter().filter(move |attribute| wanted(attribute));
    let mut list = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{heading} {title}\n\n{}\n", lines.join("\n"));
        }
    };
    let attribute = |attribute: &AttributeDocs| attribute_line(attribute, anchor);
    let block = |block: &NestedBlockDocs| block_line(block, anchor);
    let required = of(|attribute| attribute.required).map(attribute);
    list("Required", required.chain(blocks.iter().filter(needed).map(block)).collect());
    let optional = of(|attribute| attribute.optional).map(attribute);
    list("Optional", optional.chain(blocks.iter().filter(|block| !needed(block)).map(block)).collect());
    list("Read-Only", of(|attribute| attribute.read_only).map(attribute).collect());

    for attribute in attributes.iter().filter(|attribute| !attribute.attributes.is_empty()) {
        let anchor = join(anchor, &attribute.name);
        nested(text, &anchor, &attribute.name);
        section(text, "####", &anchor, &attribute.attributes, &[], &attribute.rules);
    }
    for block in blocks {
        let anchor = join(anchor, &block.name);
        nested(text, &anchor, &block.name);
        let inside = &block.block;
        section(text, "####", &anchor, &inside.attributes, &inside.blocks, &inside.rules);
    }
}

fn nested(text: &mut String, anchor: &str, name: &str) {
    let _ = write!(text, "\n<a id=\"nestedatt--{anchor}\"></a>\n### Nested schema of `{name}`\n");
}

fn join(anchor: &str, name: &str) -> String {
    if anchor.is_empty() { name.to_owned() } else { format!("{anchor}--{name}") }
}

fn attribute_line(attribute: &AttributeDocs, anchor: &str) -> String {
    let mut marks = vec![attribute.r#type.clone()];
    marks.extend(attribute.sensitive.then(|| "sensitive".to_owned()));
    marks.extend(attribute.write_only.then(|| "write-only".to_owned()));
    marks.extend(attribute.force_new.then(|| "a change replaces the object".to_owned()));
    marks.extend(attribute.force_new_if.then(|| "some changes replace the object".to_owned()));
    let mut sentences = vec![one_line(&attribute.description)];
    sentences.extend(
        attribute.deprecated.as_ref().map(|instead| format!("**Deprecated:** {}", one_line(instead))),
    );
    sentences.extend(attribute.default.as_ref().map(|default| format!("Default: `{default}`.")));
    if !attribute.constraints.is_empty() {
        sentences.push(format!("Must be: {}.", attribute.constraints.join("; ")));
    }
    if !attribute.attributes.is_empty() {
        sentences.push(format!("See [below](#nestedatt--{}).", join(anchor, &attribute.name)));
    }
    sentences.retain(|sentence| !sentence.is_empty());
    let line = format!("- `{}` ({}) {}", attribute.name, marks.join(", "), sentences.join(" "));
    format!("{}{}", line.trim_end(), value_lines(attribute))
}

/// A line for each text that is documented.
fn value_lines(attribute: &AttributeDocs) -> String {
    let documented = attribute.values.iter().filter(|value| !value.description.is_empty());
    documented.fold(String::new(), |mut lines, value| {
        let _ = write!(lines, "\n  - `{}`: {}", value.name, one_line(value.description));
        lines
    })
}

fn block_line(block: &NestedBlockDocs, anchor: &str) -> String {
    let bounds = match (block.min_items, block.max_items) {
        (0, 0) => String::new(),
        (min, 0) => format!(", at least {min}"),
        (0, max) => format!(", at most {max}"),
        (min, max) if min == max => format!(", exactly {min}"),
        (min, max) => format!(", {min} to {max}"),
    };
    let description = one_line(&block.block.description);
    let link = join(anchor, &block.name);
    format!(
        "- `{}` ({} block{bounds}) {description} See [below](#nestedatt--{link}).",
        block.name, block.nesting
    )
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::schema::BlockDocs;
    use crate::{Attr, Model, Sensitive, TfEnum};

    /// A thing.
    #[derive(Clone, Model)]
    struct Thing {
        /// Over
        /// two lines.
        #[tf(required, force_new, validate(length(1..=3)))]
        name: String,
        /// How it runs.
        #[tf(optional)]
        mode: Attr<Vec<Mode>>,
        /// How many.
        #[tf(default = 2)]
        count: Attr<i64>,
        #[tf(optional, write_only)]
        token_wo: Attr<Sensitive<String>>,
        #[tf(computed)]
        parts: Attr<BTreeMap<String, Part>>,
        /// Rules.
        #[tf(block(min = 1))]
        rule: Vec<Part>,
    }

    #[derive(Clone, TfEnum)]
    enum Mode {
        /// As fast
        /// as it can.
        Fast,
        Other,
    }

    #[derive(Clone, Model)]
    struct Part {
        /// Its size.
        #[tf(computed)]
        size: i64,
    }

    #[test]
    fn sections_hold_what_a_reader_needs() {
        let expected = "\
## Schema

### Required

- `name` (string, a change replaces the object) Over two lines. Must be: length between 1 and 3.
- `rule` (list block, at least 1) Rules. See [below](#nestedatt--rule).

### Optional

- `mode` (list(string)) How it runs. Must be: each one of \"fast\", \"other\".
  - `fast`: As fast as it can.
- `count` (number) How many. Default: `2`.
- `token_wo` (string, sensitive, write-only)

### Read-Only

- `parts` (map(object)) See [below](#nestedatt--parts).

<a id=\"nestedatt--parts\"></a>
### Nested schema of `parts`

#### Read-Only

- `size` (number) Its size.

<a id=\"nestedatt--rule\"></a>
### Nested schema of `rule`

#### Read-Only

- `size` (number) Its size.
";
        assert_eq!(BlockDocs::of(&Thing::block()).to_markdown(), expected);
    }
}
