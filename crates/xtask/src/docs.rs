//! `cargo xtask docs`: the registry pages, written from what the built provider says of itself (`schema`: the
//! schema with defaults and constraints) and from the configurations in `docs/snippets`, which are validated
//! by the real Terraform. No text in them is written by hand, so they cannot say something else than the code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::Error;
use crate::process::Job;
use crate::quickstart;
use crate::terraform::{self, Binary, Terraform};
use crate::workspace::{self, Programs};
use crate::{Context, Tools};

/// The layout of the provider's description that this program reads.
const FORMAT: &str = "1";
const NOTICE: &str =
    "<!-- Written by `cargo xtask docs` from the provider's schema. Change the schema, not this page. -->";

/// Path below `docs/` → text.
type Pages = BTreeMap<PathBuf, String>;

/// Writes the pages, or compares them.
pub(crate) async fn run(context: &Context, tools: &Tools, check_only: bool) -> Result<(), Error> {
    let programs = workspace::programs(context, tools.bin_dir.as_deref()).await?;
    let binary = terraform::find(context, tools.terraform).await?;
    if check_only {
        check(context, &programs, &binary).await?;
        context.report.ok("the registry pages are what the schema says");
        return Ok(());
    }
    let pages = pages(context, &programs, &binary).await?;
    let root = context.workspace.root.join("docs");
    for stale in stale_files(&root, &pages)? {
        std::fs::remove_file(&stale).map_err(Error::file("remove", &stale))?;
        context.report.note(&format!("removed {}", stale.display()));
    }
    for (path, text) in &pages {
        let path = root.join(path);
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(Error::file("create", directory))?;
        }
        std::fs::write(&path, text).map_err(Error::file("write", &path))?;
    }
    context.report.ok(&format!("{} pages below {}", pages.len(), root.display()));
    Ok(())
}

/// Fails with the names of the pages that differ from what the schema says, or that nothing writes.
pub(crate) async fn check(context: &Context, programs: &Programs, binary: &Binary) -> Result<(), Error> {
    let pages = pages(context, programs, binary).await?;
    let root = context.workspace.root.join("docs");
    let mut differing: Vec<String> = pages
        .iter()
        .filter(|(path, text)| std::fs::read_to_string(root.join(path)).ok().as_deref() != Some(text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    differing.extend(stale_files(&root, &pages)?.iter().map(|path| path.display().to_string()));
    if differing.is_empty() { Ok(()) } else { Err(Error::StaleDocs(differing.join(", "))) }
}

/// Pages of an earlier schema.
fn stale_files(root: &Path, pages: &Pages) -> Result<Vec<PathBuf>, Error> {
    let mut stale = Vec::new();
    for directory in ["resources", "data-sources", "functions"] {
        let path = root.join(directory);
        if !path.is_dir() {
            continue;
        }
        for entry in std::fs::read_dir(&path).map_err(Error::file("read", &path))? {
            let entry = entry.map_err(Error::file("read", &path))?;
            if !pages.contains_key(&PathBuf::from(directory).join(entry.file_name())) {
                stale.push(entry.path());
            }
        }
    }
    Ok(stale)
}

/// Renders every page, after Terraform has validated every snippet.
async fn pages(context: &Context, programs: &Programs, binary: &Binary) -> Result<Pages, Error> {
    let described = context.processes.run(&Job::new(&programs.provider).arg("schema")).await?.success()?;
    let provider: Value = serde_json::from_str(&described.stdout)
        .map_err(|error| Error::unexpected(described.command.clone(), error.to_string()))?;
    if text(&provider, "format_version") != FORMAT {
        return Err(Error::unexpected(described.command, format!("its format is not `{FORMAT}`")));
    }
    let root = context.workspace.root.join("docs").join("snippets");
    let snippets = read_snippets(&root, &provider)?;
    validate(context, programs, binary, &snippets).await?;
    Ok(render(&provider, &snippets))
}

/// Path below `docs/snippets` → configuration.
type Snippets = BTreeMap<PathBuf, String>;

/// Kind of object: key in the description, directory of pages and of snippets, word in the title.
const KINDS: [(&str, &str, &str); 3] = [
    ("resources", "resources", "Resource"),
    ("data_sources", "data-sources", "Data Source"),
    ("functions", "functions", "Function"),
];

/// One for everything that the provider has, and none for what it has not.
fn read_snippets(root: &Path, provider: &Value) -> Result<Snippets, Error> {
    let mut wanted = vec![PathBuf::from("provider.tf")];
    for (key, directory, _) in KINDS {
        wanted.extend(
            entries(provider, key).map(|(name, _)| PathBuf::from(directory).join(format!("{name}.tf"))),
        );
    }
    let mut snippets = Snippets::new();
    for path in wanted {
        let file = root.join(&path);
        let text = std::fs::read_to_string(&file).map_err(Error::file("read the example", file))?;
        snippets.insert(path, text);
    }
    for (_, directory, _) in KINDS {
        let path = root.join(directory);
        for entry in std::fs::read_dir(&path).map_err(Error::file("read", &path))? {
            let entry = entry.map_err(Error::file("read", &path))?;
            if !snippets.contains_key(&PathBuf::from(directory).join(entry.file_name())) {
                return Err(Error::unexpected(
                    entry.path().display().to_string(),
                    "the provider has nothing of this name",
                ));
            }
        }
    }
    Ok(snippets)
}

/// `terraform validate` for each snippet in a directory of its own.
async fn validate(
    context: &Context,
    programs: &Programs,
    binary: &Binary,
    snippets: &Snippets,
) -> Result<(), Error> {
    let temporary = tempfile::Builder::new()
        .prefix("spectra-docs-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let plugins = quickstart::link_provider(&programs.provider, temporary.path())?;
    for (number, (path, text)) in snippets.iter().enumerate() {
        let directory = temporary.path().join(format!("snippet-{number}"));
        quickstart::minimal_configuration(&directory)?;
        let file = directory.join("snippet.tf");
        std::fs::write(&file, text).map_err(Error::file("write", &file))?;
        let terraform = Terraform::new(context, binary.clone(), &plugins, &directory)?;
        let end = terraform.run(&["validate", "-no-color"]).await?;
        if !end.status.success() {
            context.report.note(&format!("docs/snippets/{} is not valid", path.display()));
            return Err(end.failure());
        }
    }
    Ok(())
}

fn render(provider: &Value, snippets: &Snippets) -> Pages {
    let mut pages = Pages::new();
    let example = |path: PathBuf| {
        let code = snippets.get(&path).map_or("", |text| text.trim_end());
        format!("## Example\n\n```hcl\n{code}\n```\n\n")
    };
    if let Some(block) = provider.get("provider") {
        let mut page = page_head("Spectra Provider", block);
        page.push_str(&example("provider.tf".into()));
        page.push_str("## Schema\n\n");
        attributes(&mut page, block, "###");
        pages.insert("index.md".into(), finish(&page));
    }
    for (key, directory, kind) in KINDS {
        for (name, object) in entries(provider, key) {
            let example = example(PathBuf::from(directory).join(format!("{name}.tf")));
            let page = if key == "functions" {
                function_page(name, object, &example)
            } else {
                let mut page = page_head(&format!("{name} ({kind})"), object);
                page.push_str(&example);
                page.push_str("## Schema\n\n");
                attributes(&mut page, object, "###");
                page
            };
            pages.insert(PathBuf::from(directory).join(page_name(name)), finish(&page));
        }
    }
    pages
}

/// Registry pages are named without the provider's prefix.
fn page_name(name: &str) -> String {
    format!("{}.md", name.strip_prefix("spectra_").unwrap_or(name))
}

fn entries<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(key).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default().trim()
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn page_head(title: &str, block: &Value) -> String {
    format!("{NOTICE}\n\n# {title}\n\n{}\n\n", text(block, "description"))
}

fn finish(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

/// The three groups of the registry, then one section for each nested object.
fn attributes(page: &mut String, block: &Value, heading: &str) {
    let rules: Vec<_> = list(block, "rules").filter_map(Value::as_str).collect();
    if !rules.is_empty() {
        let _ = writeln!(page, "{}\n", rules.join(" "));
    }
    for (title, marker) in [("Required", "required"), ("Optional", "optional"), ("Read-Only", "read_only")] {
        let mut members = list(block, "attributes").filter(|attribute| flag(attribute, marker)).peekable();
        if members.peek().is_none() {
            continue;
        }
        let _ = writeln!(page, "{heading} {title}\n");
        for attribute in members {
            let _ = writeln!(page, "{}", bullet(attribute));
        }
        page.push('\n');
    }
    let nested = list(block, "attributes").filter(|attribute| list(attribute, "attributes").next().is_some());
    for attribute in nested {
        let _ = writeln!(page, "{heading} Nested: `{}`\n", text(attribute, "name"));
        attributes(page, attribute, &format!("{heading}#"));
    }
    for nested in list(block, "blocks") {
        if let Some(inner) = nested.get("block") {
            let _ = writeln!(
                page,
                "{heading} Block: `{}`\n\n{}\n",
                text(nested, "name"),
                text(inner, "description")
            );
            attributes(page, inner, &format!("{heading}#"));
        }
    }
}

/// Name, type with its marks, description, default, constraints; below them the texts that are documented.
fn bullet(attribute: &Value) -> String {
    let mut marks = vec![text(attribute, "type").to_owned()];
    for (name, word) in [
        ("sensitive", "sensitive"),
        ("write_only", "write-only"),
        ("force_new", "replaces the object"),
        ("force_new_if", "some changes replace the object"),
    ] {
        if flag(attribute, name) {
            marks.push(word.to_owned());
        }
    }
    // A description may have several lines; a list item has one.
    let description = text(attribute, "description").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut line = format!("- `{}` ({}) {description}", text(attribute, "name"), marks.join(", "));
    if let Some(default) = attribute.get("default").filter(|default| !default.is_null()) {
        let _ = write!(line, " Default: `{default}`.");
    }
    let constraints: Vec<_> = list(attribute, "constraints").filter_map(Value::as_str).collect();
    if !constraints.is_empty() {
        let _ = write!(line, " Constraints: {}.", constraints.join("; "));
    }
    let deprecated = text(attribute, "deprecated");
    if !deprecated.is_empty() {
        let _ = write!(line, " Deprecated: {deprecated}");
    }
    for value in list(attribute, "values").filter(|value| !text(value, "description").is_empty()) {
        let description = text(value, "description").split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = write!(line, "\n  - `{}`: {description}", text(value, "name"));
    }
    line
}

fn function_page(name: &str, function: &Value, example: &str) -> String {
    let parameters: Vec<(&Value, &str)> = list(function, "parameters")
        .map(|parameter| (parameter, ""))
        .chain(function.get("variadic").map(|parameter| (parameter, "...")))
        .collect();
    let signature: Vec<_> = parameters
        .iter()
        .map(|(parameter, suffix)| format!("{} {}{suffix}", text(parameter, "name"), text(parameter, "type")))
        .collect();
    let mut page = format!(
        "{NOTICE}\n\n# {name} (Function)\n\n{}\n\n{example}## Signature\n\n```text\nprovider::spectra::{name}({}) {}\n```\n\n\
         ## Arguments\n\n",
        text(function, "description"),
        signature.join(", "),
        text(function, "result")
    );
    for (parameter, _) in parameters {
        let _ = writeln!(
            page,
            "- `{}` ({}) {}",
            text(parameter, "name"),
            text(parameter, "type"),
            text(parameter, "description")
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Pages {
        let provider = serde_json::json!({
            "format_version": "1",
            "provider": { "description": "Delivers.", "attributes": [
                { "name": "railway", "type": "object", "description": "Access.", "optional": true, "attributes": [
                    { "name": "token", "type": "string", "description": "The\ntoken.", "optional": true, "sensitive": true }
                ] }
            ] },
            "resources": { "spectra_rollout": { "description": "A rollout.", "rules": ["`a` needs `b`."], "attributes": [
                { "name": "id", "type": "string", "description": "The id.", "read_only": true },
                { "name": "image", "type": "string", "description": "Pinned image.", "required": true, "force_new": true },
                { "name": "bake", "type": "string", "description": "Time.", "optional": true, "default": "0s",
                  "constraints": ["a duration"], "values": [
                    { "name": "0s", "description": "Not\nat all." }, { "name": "1s", "description": "" }
                ] }
            ] } },
            "functions": { "pin": { "summary": "Pins.", "description": "Pins an image.", "result": "string", "parameters": [
                { "name": "image", "type": "string", "description": "What to pin." },
                { "name": "digest", "type": "string", "description": "To what." }
            ] } }
        });
        let snippets = Snippets::from([("resources/spectra_rollout.tf".into(), "resource {}\n".to_owned())]);
        render(&provider, &snippets)
    }

    #[test]
    fn a_resource_page_has_its_example_and_groups_its_attributes() {
        let page = &sample()[&PathBuf::from("resources/rollout.md")];
        let places: Vec<_> = [
            "# spectra_rollout (Resource)",
            "## Example\n\n```hcl\nresource {}\n```",
            "## Schema\n\n`a` needs `b`.\n\n### Required\n\n- `image` (string, replaces the object) Pinned image.",
            "### Optional\n\n- `bake` (string) Time. Default: `\"0s\"`. Constraints: a duration.\n  - `0s`: Not at all.\n\n",
            "### Read-Only\n\n- `id` (string) The id.",
        ]
        .iter()
        .map(|needle| page.find(needle).unwrap_or_else(|| panic!("`{needle}` is not in\n{page}")))
        .collect();
        assert!(places.is_sorted(), "{page}");
        assert!(page.ends_with("The id.\n"), "{page}");
    }

    #[test]
    fn nested_attributes_get_a_section_below_their_parent() {
        let page = &sample()[&PathBuf::from("index.md")];
        let wanted = "### Nested: `railway`\n\n#### Optional\n\n- `token` (string, sensitive) The token.";
        assert!(page.contains(wanted), "{page}");
    }

    #[test]
    fn a_function_page_shows_how_to_call_it() {
        let page = &sample()[&PathBuf::from("functions/pin.md")];
        assert!(page.contains("provider::spectra::pin(image string, digest string) string"), "{page}");
    }
}
