//! `cargo xtask docs`: the registry pages, written from the schema that Terraform itself reads from the
//! built provider. Nothing in them is written by hand, so they cannot say something else than the code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::error::Error;
use crate::quickstart;
use crate::terraform::{self, Binary, Terraform};
use crate::workspace::{self, Profile, Programs};
use crate::{Context, Tools};

/// The address under which Terraform reports the provider.
const SOURCE: &str = "registry.terraform.io/spectra/spectra";
const NOTICE: &str =
    "<!-- Written by `cargo xtask docs` from the provider's schema. Change the schema, not this page. -->";

/// Path below `docs/` → text.
type Pages = BTreeMap<PathBuf, String>;

/// Writes the pages, or compares them.
pub(crate) async fn run(context: &Context, tools: &Tools, check_only: bool) -> Result<(), Error> {
    let programs = workspace::programs(context, tools.bin_dir.as_deref(), Profile::Debug).await?;
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
fn stale_files(root: &std::path::Path, pages: &Pages) -> Result<Vec<PathBuf>, Error> {
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

async fn pages(context: &Context, programs: &Programs, binary: &Binary) -> Result<Pages, Error> {
    let temporary = tempfile::Builder::new()
        .prefix("spectra-docs-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let directory = temporary.path().join("configuration");
    quickstart::minimal_configuration(&directory)?;
    let plugins = quickstart::link_provider(&programs.provider, temporary.path())?;
    let terraform = Terraform::new(context, binary.clone(), &plugins, &directory)?;
    let end = terraform.run(&["providers", "schema", "-json", "-no-color"]).await?.success()?;
    let all: Value = serde_json::from_str(&end.stdout)
        .map_err(|error| Error::unexpected("terraform providers schema -json", error.to_string()))?;
    let provider = all
        .get("provider_schemas")
        .and_then(|schemas| schemas.get(SOURCE))
        .ok_or_else(|| Error::unexpected("terraform providers schema -json", format!("no `{SOURCE}`")))?;
    Ok(render(provider))
}

fn render(provider: &Value) -> Pages {
    let mut pages = Pages::new();
    if let Some(block) = provider.pointer("/provider/block") {
        let mut text = page_head("Spectra Provider", block);
        text.push_str("## Configuration\n\n");
        attributes(&mut text, block, "###");
        pages.insert("index.md".into(), finish(&text));
    }
    for (key, directory, kind) in [
        ("resource_schemas", "resources", "Resource"),
        ("data_source_schemas", "data-sources", "Data Source"),
    ] {
        for (name, schema) in entries(provider, key) {
            let Some(block) = schema.get("block") else { continue };
            let mut text = page_head(&format!("{name} ({kind})"), block);
            text.push_str("## Schema\n\n");
            attributes(&mut text, block, "###");
            pages.insert(PathBuf::from(directory).join(page_name(name)), finish(&text));
        }
    }
    for (name, function) in entries(provider, "functions") {
        pages.insert(
            PathBuf::from("functions").join(format!("{name}.md")),
            finish(&function_page(name, function)),
        );
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

fn page_head(title: &str, block: &Value) -> String {
    format!("{NOTICE}\n\n# {title}\n\n{}\n\n", description(block))
}

fn description(value: &Value) -> &str {
    value.get("description").and_then(Value::as_str).unwrap_or_default().trim()
}

fn finish(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn flag(value: &Value, name: &str) -> bool {
    value.get(name).and_then(Value::as_bool).unwrap_or(false)
}

/// The three groups of the registry, then one section for each nested object.
fn attributes(text: &mut String, block: &Value, heading: &str) {
    let mut nested = Vec::new();
    for (title, group) in
        [("Required", Group::Required), ("Optional", Group::Optional), ("Read-Only", Group::ReadOnly)]
    {
        let members: Vec<_> =
            entries(block, "attributes").filter(|(_, attribute)| Group::of(attribute) == group).collect();
        if members.is_empty() {
            continue;
        }
        let _ = writeln!(text, "{heading} {title}\n");
        for (name, attribute) in members {
            let _ = writeln!(text, "- `{name}` ({}) {}", kind(attribute), description(attribute));
            if let Some(object) = attribute.get("nested_type") {
                nested.push((name, object));
            }
        }
        text.push('\n');
    }
    for (name, block_type) in entries(block, "block_types") {
        if let Some(inner) = block_type.get("block") {
            nested.push((name, inner));
        }
    }
    for (name, object) in nested {
        let _ = writeln!(text, "{heading} Nested: `{name}`\n");
        attributes(text, object, &format!("{heading}#"));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Required,
    Optional,
    ReadOnly,
}

impl Group {
    fn of(attribute: &Value) -> Self {
        if flag(attribute, "required") {
            Self::Required
        } else if flag(attribute, "optional") {
            Self::Optional
        } else {
            Self::ReadOnly
        }
    }
}

/// Type and marks, such as `String, Sensitive`.
fn kind(attribute: &Value) -> String {
    let mut words = vec![match (attribute.get("type"), attribute.pointer("/nested_type/nesting_mode")) {
        (Some(ty), _) => type_name(ty),
        (None, Some(mode)) => match mode.as_str() {
            Some("list") => "List of Object".to_owned(),
            Some("set") => "Set of Object".to_owned(),
            Some("map") => "Map of Object".to_owned(),
            _ => "Object".to_owned(),
        },
        (None, None) => "Dynamic".to_owned(),
    }];
    for (name, word) in
        [("sensitive", "Sensitive"), ("write_only", "Write-only"), ("deprecated", "Deprecated")]
    {
        if flag(attribute, name) {
            words.push(word.to_owned());
        }
    }
    words.join(", ")
}

/// A type constraint in words; Terraform writes `"string"`, `["map","string"]`, `["object",{…}]`.
fn type_name(ty: &Value) -> String {
    match ty {
        Value::String(name) => match name.as_str() {
            "string" => "String".to_owned(),
            "number" => "Number".to_owned(),
            "bool" => "Boolean".to_owned(),
            _ => "Dynamic".to_owned(),
        },
        Value::Array(parts) => match (parts.first().and_then(Value::as_str), parts.get(1)) {
            (Some("list"), Some(inner)) => format!("List of {}", type_name(inner)),
            (Some("set"), Some(inner)) => format!("Set of {}", type_name(inner)),
            (Some("map"), Some(inner)) => format!("Map of {}", type_name(inner)),
            (Some("object"), Some(Value::Object(members))) => {
                let members: Vec<_> =
                    members.iter().map(|(name, ty)| format!("{name}: {}", type_name(ty))).collect();
                format!("Object({})", members.join(", "))
            }
            _ => "Tuple".to_owned(),
        },
        _ => "Dynamic".to_owned(),
    }
}

fn function_page(name: &str, function: &Value) -> String {
    let parameters: Vec<&Value> =
        function.get("parameters").and_then(Value::as_array).into_iter().flatten().collect();
    let variadic = function.get("variadic_parameter");
    let mut signature: Vec<String> = parameters.iter().map(|parameter| argument(parameter, "")).collect();
    signature.extend(variadic.map(|parameter| argument(parameter, "…")));
    let returned = function.get("return_type").map(type_name).unwrap_or_default();
    let mut text = format!("{NOTICE}\n\n# {name} (Function)\n\n");
    for part in ["summary", "description"] {
        if let Some(words) =
            function.get(part).and_then(Value::as_str).filter(|words| !words.trim().is_empty())
        {
            let _ = writeln!(text, "{}\n", words.trim());
        }
    }
    let _ = writeln!(
        text,
        "## Signature\n\n```text\nprovider::spectra::{name}({}) -> {returned}\n```\n\n## Arguments\n",
        signature.join(", ")
    );
    for parameter in parameters.into_iter().chain(variadic) {
        let label = parameter.get("name").and_then(Value::as_str).unwrap_or("value");
        let ty = parameter.get("type").map(type_name).unwrap_or_default();
        let _ = writeln!(text, "- `{label}` ({ty}) {}", description(parameter));
    }
    text
}

fn argument(parameter: &Value, suffix: &str) -> String {
    let name = parameter.get("name").and_then(Value::as_str).unwrap_or("value");
    let ty = parameter.get("type").map(type_name).unwrap_or_default();
    format!("{name}: {ty}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        serde_json::json!({
            "provider": { "block": { "description": "Delivers.", "attributes": {
                "railway": { "nested_type": { "nesting_mode": "single", "attributes": {
                    "token": { "type": "string", "optional": true, "sensitive": true, "description": "The token." }
                } }, "optional": true, "description": "Access." }
            } } },
            "resource_schemas": { "spectra_rollout": { "version": 0, "block": { "description": "A rollout.", "attributes": {
                "image": { "type": "string", "required": true, "description": "Pinned image." },
                "secrets_wo": { "type": ["map", "string"], "optional": true, "write_only": true, "description": "Secrets." },
                "id": { "type": "string", "computed": true, "description": "The id." }
            } } } },
            "functions": { "pin": { "summary": "Pins.", "return_type": "string", "parameters": [
                { "name": "image", "type": "string", "description": "What to pin." },
                { "name": "digest", "type": "string", "description": "To what." }
            ] } }
        })
    }

    #[test]
    fn a_resource_page_groups_its_attributes() {
        let pages = render(&sample());
        let page = &pages[&PathBuf::from("resources/rollout.md")];
        let places: Vec<_> = [
            "# spectra_rollout (Resource)",
            "### Required\n\n- `image` (String) Pinned image.",
            "### Optional\n\n- `secrets_wo` (Map of String, Write-only) Secrets.",
            "### Read-Only\n\n- `id` (String) The id.",
        ]
        .iter()
        .map(|needle| page.find(needle).unwrap_or_else(|| panic!("`{needle}` is not in\n{page}")))
        .collect();
        assert!(places.is_sorted(), "{page}");
        assert!(page.ends_with("The id.\n"), "{page}");
    }

    #[test]
    fn nested_attributes_get_a_section_below_their_parent() {
        let pages = render(&sample());
        let page = &pages[&PathBuf::from("index.md")];
        assert!(
            page.contains(
                "### Nested: `railway`\n\n#### Optional\n\n- `token` (String, Sensitive) The token."
            ),
            "{page}"
        );
    }

    #[test]
    fn a_function_page_shows_how_to_call_it() {
        let pages = render(&sample());
        let page = &pages[&PathBuf::from("functions/pin.md")];
        assert!(page.contains("provider::spectra::pin(image: String, digest: String) -> String"), "{page}");
    }

    #[test]
    fn types_are_words() {
        assert_eq!(
            type_name(&serde_json::json!(["list", ["object", { "a": "bool" }]])),
            "List of Object(a: Boolean)"
        );
    }
}
