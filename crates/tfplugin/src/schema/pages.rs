//! The documentation that a registry shows: one Markdown page for each thing a provider offers, written from its schemas
//! and from examples.
//!
//! ```text
//! docs/index.md   docs/{resources,data-sources,functions,ephemeral-resources,list-resources,actions}/NAME.md
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::docs::{IdentityDocs, ResourceDocs};
use super::{BlockDocs, FunctionDocs, ParameterDocs, ProviderDocs};

const NOTICE: &str = "<!-- Written from the provider's schema. Change the schema, not this page. -->";

/// A kind of page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageKind {
    /// The provider itself.
    Provider,
    /// A managed resource.
    Resource,
    /// A data source.
    DataSource,
    /// A function.
    Function,
    /// An ephemeral resource.
    EphemeralResource,
    /// A list resource.
    ListResource,
    /// An action.
    Action,
}

impl PageKind {
    /// All that have a folder.
    const FOLDERS: [Self; 6] = [
        Self::Resource,
        Self::DataSource,
        Self::Function,
        Self::EphemeralResource,
        Self::ListResource,
        Self::Action,
    ];

    /// The folder of its pages below `docs/`, and of its examples.
    const fn folder(self) -> &'static str {
        match self {
            Self::Provider => "",
            Self::Resource => "resources",
            Self::DataSource => "data-sources",
            Self::Function => "functions",
            Self::EphemeralResource => "ephemeral-resources",
            Self::ListResource => "list-resources",
            Self::Action => "actions",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Provider => "Provider",
            Self::Resource => "Resource",
            Self::DataSource => "Data Source",
            Self::Function => "Function",
            Self::EphemeralResource => "Ephemeral Resource",
            Self::ListResource => "List Resource",
            Self::Action => "Action",
        }
    }

    /// Queries are written in files of their own.
    const fn extension(self) -> &'static str {
        match self {
            Self::ListResource => "tfquery.hcl",
            _ => "tf",
        }
    }

    /// Where the example of `name` is, below the folder of examples.
    #[must_use]
    pub fn example(self, name: &str) -> PathBuf {
        match self {
            Self::Provider => PathBuf::from("provider.tf"),
            kind => Path::new(kind.folder()).join(format!("{name}.{}", kind.extension())),
        }
    }
}

/// Pages by their path below `docs/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages(BTreeMap<PathBuf, String>);

/// Why pages were not written.
#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    /// Something on offer has no example.
    #[error("no example of {what}: write {}", .path.display())]
    NoExample {
        /// What it is.
        what: String,
        /// Where it is looked for.
        path: PathBuf,
    },
    /// An example of something that is not on offer.
    #[error("{} is an example of nothing that the provider has", .path.display())]
    Surplus {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read, written or removed.
    #[error("cannot {action} {}: {source}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Pages {
    /// Renders everything that `provider` offers, each with its example from the folder `examples`.
    pub fn render(provider: &ProviderDocs, examples: &Path) -> Result<Self, PagesError> {
        let mut wanted = BTreeSet::new();
        let mut example = |kind: PageKind, name: &str| {
            let path = examples.join(kind.example(name));
            let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => PagesError::NoExample {
                    what: format!("{} `{name}`", kind.title().to_lowercase()),
                    path: path.clone(),
                },
                _ => PagesError::File { action: "read", path: path.clone(), source },
            })?;
            wanted.insert(path);
            Ok::<_, PagesError>(format!("## Example Usage\n\n```terraform\n{}\n```\n\n", text.trim_end()))
        };
        let mut pages = BTreeMap::new();
        let writer = Writer { provider };
        let text = example(PageKind::Provider, provider.name)?;
        pages.insert(
            "index.md".into(),
            writer.block(PageKind::Provider, provider.name, &provider.provider, &text),
        );
        let mut add = |kind: PageKind, name: &str, text: String| {
            let page = name.strip_prefix(&format!("{}_", provider.name)).unwrap_or(name);
            pages.insert(Path::new(kind.folder()).join(format!("{page}.md")), text);
        };
        for (name, resource) in &provider.resources {
            let text = example(PageKind::Resource, name)?;
            add(PageKind::Resource, name, writer.resource(name, resource, &text));
        }
        let blocks = [
            (PageKind::DataSource, &provider.data_sources),
            (PageKind::EphemeralResource, &provider.ephemeral_resources),
            (PageKind::ListResource, &provider.list_resources),
            (PageKind::Action, &provider.actions),
        ];
        for (kind, blocks) in blocks {
            for (name, block) in blocks {
                let text = example(kind, name)?;
                add(kind, name, writer.block(kind, name, block, &text));
            }
        }
        for (name, function) in &provider.functions {
            let text = example(PageKind::Function, name)?;
            add(PageKind::Function, name, writer.function(name, function, &text));
        }
        for kind in PageKind::FOLDERS {
            for path in files(&examples.join(kind.folder()))? {
                if !wanted.contains(&path) {
                    return Err(PagesError::Surplus { path });
                }
            }
        }
        Ok(Self(pages))
    }

    /// Each page with its path below `docs/`.
    pub fn iter(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|(path, text)| (path.as_path(), text.as_str()))
    }

    /// The pages in the folder `docs` that are not what they should be: changed, missing, or of something that is gone.
    pub fn stale(&self, docs: &Path) -> Result<Vec<PathBuf>, PagesError> {
        let mut stale: Vec<_> = self
            .0
            .iter()
            .map(|(path, text)| (docs.join(path), text))
            .filter(|(path, text)| std::fs::read_to_string(path).ok().as_ref() != Some(*text))
            .map(|(path, _)| path)
            .collect();
        stale.extend(self.surplus(docs)?);
        Ok(stale)
    }

    fn surplus(&self, docs: &Path) -> Result<Vec<PathBuf>, PagesError> {
        let mut surplus = Vec::new();
        for kind in PageKind::FOLDERS {
            for path in files(&docs.join(kind.folder()))? {
                if path.strip_prefix(docs).is_ok_and(|below| !self.0.contains_key(below)) {
                    surplus.push(path);
                }
            }
        }
        Ok(surplus)
    }

    /// Writes the pages into the folder `docs`, and removes those of things that are gone.
    pub fn write(&self, docs: &Path) -> Result<(), PagesError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| PagesError::File { action, path, source }
        };
        for path in self.surplus(docs)? {
            std::fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        for (path, text) in &self.0 {
            let path = docs.join(path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(failed("create", folder))?;
            }
            std::fs::write(&path, text).map_err(failed("write", &path))?;
        }
        Ok(())
    }
}

/// The files of a folder, sorted; none where there is no folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, PagesError> {
    let failed = |source| PagesError::File { action: "read", path: folder.to_owned(), source };
    let mut files = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        entries => entries
            .and_then(|entries| {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
            })
            .map_err(failed)?,
    };
    files.sort();
    Ok(files)
}

struct Writer<'a> {
    provider: &'a ProviderDocs,
}

impl Writer<'_> {
    fn head(&self, kind: PageKind, name: &str, description: &str) -> String {
        let name = if kind == PageKind::Provider { title_case(name) } else { name.to_owned() };
        let (page_title, heading) = match kind {
            PageKind::Provider => (format!("{name} Provider"), format!("{name} Provider")),
            kind => (
                format!("{name} {} - {}", kind.title(), self.provider.name),
                format!("{name} ({})", kind.title()),
            ),
        };
        let summary = description.split("\n\n").next().unwrap_or_default();
        let summary = summary.split_whitespace().collect::<Vec<_>>().join(" ");
        // Functions have none; elsewhere the registry sorts by it.
        let subcategory = if kind == PageKind::Function { "" } else { "subcategory: \"\"\n" };
        format!(
            "---\npage_title: {}\n{subcategory}description: |-\n  {summary}\n---\n\n{NOTICE}\n\n# {heading}\n\n{}\n\n",
            serde_json::Value::from(page_title),
            description.trim()
        )
    }

    fn block(&self, kind: PageKind, name: &str, block: &BlockDocs, example: &str) -> String {
        let mut page = self.head(kind, name, &block.description);
        page.push_str(example);
        page.push_str(&block.to_markdown());
        page
    }

    fn resource(&self, name: &str, resource: &ResourceDocs, example: &str) -> String {
        let mut page = self.block(PageKind::Resource, name, &resource.block, example);
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "\n## Import\n\nBy id, which is {}:\n\n```terraform\nimport {{\n  to = {name}.example\n  id = \"…\"\n}}\n```\n",
            resource.import_id
        );
        if !resource.identity.is_empty() {
            page.push_str(&identity(name, &resource.identity));
        }
        page
    }

    fn function(&self, name: &str, function: &FunctionDocs, example: &str) -> String {
        let mut page = self.head(PageKind::Function, name, function.description);
        page.push_str(example);
        let parameters: Vec<(&ParameterDocs, &str)> = function
            .parameters
            .iter()
            .map(|parameter| (parameter, ""))
            .chain(function.variadic.as_ref().map(|parameter| (parameter, "...")))
            .collect();
        let signature: Vec<_> = parameters
            .iter()
            .map(|(parameter, suffix)| format!("{} {}{suffix}", parameter.name, parameter.r#type))
            .collect();
        let _ = write!(
            page,
            "## Signature\n\n```text\nprovider::{}::{name}({}) {}\n```\n\n## Arguments\n\n",
            self.provider.name,
            signature.join(", "),
            function.result
        );
        for (parameter, _) in parameters {
            let nullable = if parameter.nullable { ", nullable" } else { "" };
            let description = parameter.description.split_whitespace().collect::<Vec<_>>().join(" ");
            let line = format!("- `{}` ({}{nullable}) {description}", parameter.name, parameter.r#type);
            let _ = writeln!(page, "{}", line.trim_end());
        }
        page
    }
}

/// How to import by identity, for clients that can (Terraform 1.12 and later).
fn identity(name: &str, identity: &[IdentityDocs]) -> String {
    let width = identity.iter().map(|part| part.name.len()).max().unwrap_or_default();
    let mut text = format!(
        "\nOr by identity (Terraform 1.12 and later):\n\n```terraform\nimport {{\n  to = {name}.example\n  identity = {{\n"
    );
    for part in identity {
        let note = if part.required { "" } else { " # optional" };
        let _ = writeln!(text, "    {:width$} = {}{note}", part.name, part.placeholder());
    }
    text.push_str("  }\n}\n```\n");
    text
}

fn title_case(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::AttributeDocs;

    fn sample() -> ProviderDocs {
        let block =
            |description: &str| BlockDocs { description: description.to_owned(), ..BlockDocs::default() };
        let resource = ResourceDocs {
            block: BlockDocs {
                attributes: vec![AttributeDocs { name: "id".to_owned(), ..AttributeDocs::default() }],
                ..block("A thing,\nmade.\n\nMore.")
            },
            version: 0,
            import_id: "`id`",
            identity: vec![
                IdentityDocs { name: "id".to_owned(), r#type: "string".to_owned(), required: true },
                IdentityDocs { name: "number".to_owned(), r#type: "number".to_owned(), required: false },
            ],
        };
        ProviderDocs {
            format_version: "1",
            name: "acme",
            address: "registry.terraform.io/example/acme",
            version: "1.0.0",
            provider: block("Acme."),
            resources: BTreeMap::from([("acme_thing".to_owned(), resource)]),
            data_sources: BTreeMap::new(),
            ephemeral_resources: BTreeMap::new(),
            list_resources: BTreeMap::from([("acme_thing".to_owned(), block("Things."))]),
            actions: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }

    fn examples() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("provider.tf", "provider \"acme\" {}\n"),
            ("resources/acme_thing.tf", "resource \"acme_thing\" \"a\" {}\n"),
            ("list-resources/acme_thing.tfquery.hcl", "list \"acme_thing\" \"a\" {}\n"),
        ] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn pages_have_the_registrys_layout() {
        let examples = examples();
        let pages = Pages::render(&sample(), examples.path()).unwrap();
        let paths: Vec<_> = pages.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        assert_eq!(paths, ["index.md", "list-resources/thing.md", "resources/thing.md"]);
        let page = &pages.0[Path::new("resources/thing.md")];
        let head = "---\npage_title: \"acme_thing Resource - acme\"\nsubcategory: \"\"\ndescription: |-\n  A thing, made.\n---\n";
        assert!(page.starts_with(head), "{page}");
        assert!(
            page.contains("# acme_thing (Resource)\n\nA thing,\nmade.\n\nMore.\n\n## Example Usage\n"),
            "{page}"
        );
        assert!(
            page.contains("  identity = {\n    id     = \"…\"\n    number = 0 # optional\n  }\n"),
            "{page}"
        );
        assert!(pages.0[Path::new("index.md")].contains("# Acme Provider"));
    }

    #[test]
    fn every_thing_has_an_example_and_every_example_a_thing() {
        let folder = examples();
        let surplus = folder.path().join("actions").join("acme_gone.tf");
        std::fs::create_dir_all(surplus.parent().unwrap()).unwrap();
        std::fs::write(&surplus, "").unwrap();
        let error = Pages::render(&sample(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("acme_gone.tf is an example of nothing"), "{error}");
        std::fs::remove_file(surplus).unwrap();
        std::fs::remove_file(folder.path().join("resources/acme_thing.tf")).unwrap();
        let error = Pages::render(&sample(), folder.path()).unwrap_err().to_string();
        assert!(error.contains("no example of resource `acme_thing`: write "), "{error}");
    }

    #[test]
    fn what_is_stale_is_found_and_written_again() {
        let (examples, docs) = (examples(), tempfile::tempdir().unwrap());
        let pages = Pages::render(&sample(), examples.path()).unwrap();
        assert_eq!(pages.stale(docs.path()).unwrap().len(), 3);
        pages.write(docs.path()).unwrap();
        assert_eq!(pages.stale(docs.path()).unwrap(), Vec::<PathBuf>::new());
        let (gone, edited) = (docs.path().join("resources/gone.md"), docs.path().join("index.md"));
        std::fs::write(&gone, "old").unwrap();
        std::fs::write(&edited, "by hand").unwrap();
        assert_eq!(pages.stale(docs.path()).unwrap(), [edited, gone.clone()]);
        pages.write(docs.path()).unwrap();
        assert!(!gone.exists() && pages.stale(docs.path()).unwrap().is_empty());
    }
}
