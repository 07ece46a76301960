//! Where the workspace is and how its programs are built.

use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, MetadataCommand};

use crate::Context;
use crate::error::Error;
use crate::process::{Job, Output};

/// Which optimisation the programs are built with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Debug,
    Release,
}

/// Directories of this checkout.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

/// The built programs.
#[derive(Clone)]
pub(crate) struct Programs {
    /// Directory that holds them.
    pub(crate) directory: PathBuf,
    /// `terraform-provider-spectra`.
    pub(crate) provider: PathBuf,
    /// `railway-deployer`.
    pub(crate) deployer: PathBuf,
}

impl Workspace {
    /// Asks cargo, starting from this crate's own manifest so that the current directory does not matter.
    pub(crate) fn locate() -> Result<Self, Error> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .no_deps()
            .features(CargoOpt::AllFeatures)
            .exec()?;
        Ok(Self {
            root: metadata.workspace_root.into_std_path_buf(),
            target: metadata.target_directory.into_std_path_buf(),
        })
    }
}

/// The cargo that runs this program, so that a toolchain override holds for its children.
pub(crate) fn cargo() -> Job {
    Job::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds both programs for tests, or takes them from `bin_dir`.
pub(crate) async fn programs(context: &Context, bin_dir: Option<&Path>) -> Result<Programs, Error> {
    both(context, bin_dir, Profile::Debug).await
}

/// Builds both programs as they are shipped, or takes them from `bin_dir`.
pub(crate) async fn released_programs(context: &Context, bin_dir: Option<&Path>) -> Result<Programs, Error> {
    both(context, bin_dir, Profile::Release).await
}

async fn both(context: &Context, bin_dir: Option<&Path>, profile: Profile) -> Result<Programs, Error> {
    let directory = match bin_dir {
        Some(directory) => std::path::absolute(directory).map_err(Error::file("resolve", directory))?,
        None => build(context, &["terraform-provider-spectra", "railway-deployer"], profile).await?,
    };
    Ok(Programs {
        provider: program(&directory, "terraform-provider-spectra")?,
        deployer: program(&directory, "railway-deployer")?,
        directory,
    })
}

/// Builds the provider as it is shipped.
pub(crate) async fn released_provider(context: &Context) -> Result<PathBuf, Error> {
    let directory = build(context, &["terraform-provider-spectra"], Profile::Release).await?;
    program(&directory, "terraform-provider-spectra")
}

/// Builds the command-line program as it is shipped, or takes it from `bin_dir`.
pub(crate) async fn released_deployer(context: &Context, bin_dir: Option<&Path>) -> Result<PathBuf, Error> {
    let directory = match bin_dir {
        Some(directory) => std::path::absolute(directory).map_err(Error::file("resolve", directory))?,
        None => build(context, &["railway-deployer"], Profile::Release).await?,
    };
    program(&directory, "railway-deployer")
}

/// Builds the programs of these packages and says in which directory they are.
async fn build(context: &Context, packages: &[&str], profile: Profile) -> Result<PathBuf, Error> {
    let mut job = cargo().args(["build", "--bins"]).dir(&context.workspace.root).output(Output::Inherit);
    for package in packages {
        job = job.args(["--package", package]);
    }
    let directory = match profile {
        Profile::Debug => "debug",
        Profile::Release => {
            job = job.arg("--release");
            "release"
        }
    };
    context.report.step(&format!("build {}", packages.join(" and ")));
    context.processes.run(&job).await?.success()?;
    Ok(context.workspace.target.join(directory))
}

fn program(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.is_file() {
        Ok(path)
    } else {
        Err(Error::unexpected(path.display().to_string(), "there is no such program in this directory"))
    }
}

/// Builds the example service. On Linux with glibc it is linked statically, so that an image that holds
/// nothing else really runs under a container engine.
pub(crate) async fn example_service(context: &Context) -> Result<PathBuf, Error> {
    context.report.step("build the example service (examples/quickstart/app), linked statically");
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let linux = cfg!(all(target_os = "linux", target_env = "gnu"));
    let mut job = cargo()
        .args(["build", "--package", "quickstart-app"])
        .dir(&context.workspace.root)
        .output(Output::Inherit);
    if linux {
        // `--target` keeps the flag away from build scripts and from the other artefacts' directory.
        job = job.args(["--target", &host]).env("RUSTFLAGS", "-C target-feature=+crt-static");
    }
    context.processes.run(&job).await?.success()?;
    let mut path = context.workspace.target.clone();
    if linux {
        path.push(host);
    }
    path.push("debug");
    path.push("quickstart-app");
    Ok(path)
}
