//! A whole provider: `files_file` keeps a text file on disk.
//!
//! The crate's README shows how to build it and how to point Terraform at it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tfplugin::{
    Apply, Attr, Configure, Context, Diagnostic, Diagnostics, Import, Model, Provider, Registry, Resource,
    StateSlot,
};

struct Files;

type Cx = Context<PathBuf>;

/// Keeps files in one folder.
#[derive(Clone, Model)]
struct Config {
    /// The folder; the working directory if left out.
    folder: Attr<String>,
}

impl Provider for Files {
    type Config = Config;
    type Client = PathBuf;
    type Meta = ();

    const NAME: &'static str = "files";
    const ADDRESS: &'static str = "registry.terraform.io/example/files";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    async fn configure(&self, request: Configure<Config>) -> Result<PathBuf, Diagnostics> {
        Ok(PathBuf::from(request.config.folder.or_default()))
    }

    fn register(&self, registry: &mut Registry<Self>) {
        registry.resource(FileResource);
    }
}

/// Warnings of a success, errors of a failure.
type Done = Result<Diagnostics, Diagnostics>;

struct FileResource;

/// A text file.
#[derive(Clone, Model)]
struct File {
    /// The name inside the folder.
    #[tf(required, force_new, validate(length(1..=255)))]
    name: String,
    /// What is in the file.
    #[tf(optional, default = "")]
    content: Attr<String>,
    /// The number of bytes.
    #[tf(computed)]
    size: Attr<i64>,
}

impl FileResource {
    async fn write(folder: &Path, file: File, state: &StateSlot<File>) -> Done {
        let content = file.content.as_str().unwrap_or_default();
        tokio::fs::write(folder.join(&file.name), content)
            .await
            .map_err(|error| failed("write", &file.name, &error))?;
        state.save(File { size: length(content), ..file.clone() });
        Ok(Diagnostics::new())
    }
}

impl Resource for FileResource {
    type Model = File;
    type Client = PathBuf;

    const TYPE: &'static str = "files_file";

    async fn create(&self, cx: &Cx, apply: Apply<File>, state: &StateSlot<File>) -> Done {
        Self::write(&cx.client, apply.planned, state).await
    }

    async fn read(&self, cx: &Cx, state: File) -> Result<Option<File>, Diagnostics> {
        match tokio::fs::read_to_string(cx.client.join(&state.name)).await {
            Ok(text) => Ok(Some(File { size: length(&text), content: text.into(), ..state })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &state.name, &error)),
        }
    }

    async fn update(&self, cx: &Cx, apply: Apply<File>, state: &StateSlot<File>) -> Done {
        Self::write(&cx.client, apply.planned, state).await
    }

    async fn delete(&self, cx: &Cx, prior: File, _: &StateSlot<File>) -> Done {
        match tokio::fs::remove_file(cx.client.join(&prior.name)).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("delete", &prior.name, &error)),
            _ => Ok(Diagnostics::new()),
        }
    }

    async fn import(&self, _: &Cx, import: Import) -> Result<File, Diagnostics> {
        Ok(File { name: import.id, content: Attr::Null, size: Attr::Null })
    }
}

fn length(text: &str) -> Attr<i64> {
    i64::try_from(text.len()).ok().into()
}

fn failed(what: &str, name: &str, error: &std::io::Error) -> Diagnostics {
    Diagnostic::error(format!("Cannot {what} `{name}`"), format!("{error}. The file is as it was."))
        .at("name")
        .into()
}

fn main() -> ExitCode {
    tfplugin::run(Files)
}
