//! `cargo xtask docs`: the registry pages. The built provider writes them itself (`terraform-provider-spectra docs`) from its
//! schema and from the configurations in `docs/snippets`; here those are validated by the real Terraform first. No text
//! in the pages is written by hand, so they cannot say something else than the code.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::process::Job;
use crate::quickstart;
use crate::terraform::{self, Binary, Terraform};
use crate::workspace::{self, Programs};
use crate::{Context, Tools};

/// Writes the pages, or compares them.
pub(crate) async fn run(context: &Context, tools: &Tools, check_only: bool) -> Result<(), Error> {
    let programs = workspace::programs(context, tools.bin_dir.as_deref()).await?;
    let binary = terraform::find(context, tools.terraform).await?;
    if check_only {
        check(context, &programs, &binary).await?;
        context.report.ok("the registry pages are what the schema says");
        return Ok(());
    }
    validate(context, &programs, &binary).await?;
    generate(context, &programs, &[]).await?;
    context.report.ok(&format!("the pages below {} are written", root(context).display()));
    Ok(())
}

/// Fails with the names of the pages that differ from what the schema says, or that nothing writes.
pub(crate) async fn check(context: &Context, programs: &Programs, binary: &Binary) -> Result<(), Error> {
    validate(context, programs, binary).await?;
    let checked = generate(context, programs, &["--check"]).await;
    if checked.is_err() {
        context.report.note("`cargo xtask docs` writes the pages anew");
    }
    checked
}

fn root(context: &Context) -> PathBuf {
    context.workspace.root.join("docs")
}

async fn generate(context: &Context, programs: &Programs, flags: &[&str]) -> Result<(), Error> {
    let docs = root(context);
    let job = Job::new(&programs.provider)
        .arg("docs")
        .arg("--out")
        .arg(&docs)
        .arg("--examples")
        .arg(docs.join("snippets"))
        .args(flags);
    context.processes.run(&job).await?.success().map(drop)
}

/// `terraform validate` for each example in a directory of its own, by the newest Terraform there is: queries and
/// actions are words that older ones do not know.
async fn validate(context: &Context, programs: &Programs, binary: &Binary) -> Result<(), Error> {
    let binary = terraform::latest(context, binary).await?;
    let temporary = tempfile::Builder::new()
        .prefix("spectra-docs-")
        .tempdir()
        .map_err(Error::file("create", std::env::temp_dir()))?;
    let plugins = quickstart::link_provider(&programs.provider, temporary.path())?;
    let snippets = root(context).join("snippets");
    for (number, path) in files(&snippets)?.into_iter().enumerate() {
        let directory = temporary.path().join(format!("snippet-{number}"));
        quickstart::minimal_configuration(&directory)?;
        let query = path.to_string_lossy().ends_with(".tfquery.hcl");
        let file = directory.join(if query { "snippet.tfquery.hcl" } else { "snippet.tf" });
        std::fs::copy(&path, &file).map_err(Error::file("copy", &path))?;
        let terraform = Terraform::new(context, binary.clone(), &plugins, &directory)?;
        let mut command = vec!["validate", "-no-color"];
        command.extend(query.then_some("-query"));
        let end = terraform.run(&command).await?;
        if !end.status.success() {
            context.report.note(&format!("{} is not valid", path.display()));
            return Err(end.failure());
        }
    }
    Ok(())
}

/// Every file below a directory, sorted.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(Error::file("read", directory))? {
        let path = entry.map_err(Error::file("read", directory))?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
