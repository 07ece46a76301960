//! Where the workspace is and how its programs are built.

use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, MetadataCommand};

use crate::Context;
use crate::error::Error;
use crate::process::{Job, Output};

/// Which optimisation the programs are built with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
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

/// Builds both programs, or takes them from `bin_dir`.
pub(crate) async fn programs(
    context: &Context,
    bin_dir: Option<&Path>,
    profile: Profile,
) -> Result<Programs, Error> {
    let directory = if let Some(directory) = bin_dir {
        std::path::absolute(directory).map_err(Error::file("resolve", directory))?
    } else {
        let mut job = cargo()
            .args([
                "build",
                "--package",
                "terraform-provider-spectra",
                "--package",
                "railway-deployer",
                "--bins",
            ])
            .dir(&context.workspace.root)
            .output(Output::Inherit);
        if profile == Profile::Release {
            job = job.arg("--release");
        }
        context.report.step("build terraform-provider-spectra and railway-deployer");
        context.processes.run(&job).await?.success()?;
        context.workspace.target.join(if profile == Profile::Release { "release" } else { "debug" })
    };
    let program = |name: &str| {
        let path = directory.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        if path.is_file() {
            Ok(path)
        } else {
            Err(Error::unexpected(path.display().to_string(), "there is no such program in this directory"))
        }
    };
    Ok(Programs {
        provider: program("terraform-provider-spectra")?,
        deployer: program("railway-deployer")?,
        directory,
    })
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
