//! Packages of Debian, on a machine where they may be installed.

use std::path::PathBuf;

use crate::Context;
use crate::error::Error;
use crate::process::{Job, Output, on_path};
use crate::pypi;

/// Whether this user may install packages here: root, where there is apt-get.
pub(crate) fn may_install() -> bool {
    rustix::process::geteuid().is_root() && on_path("apt-get").is_some()
}

/// Renews the lists of what there is.
pub(crate) async fn update(context: &Context) -> Result<(), Error> {
    apt_get(context, &["update"]).await
}

/// Installs packages in one run, without what they only recommend.
pub(crate) async fn install(context: &Context, packages: &[&str]) -> Result<(), Error> {
    context.report.step(&format!("install {} from Debian", packages.join(", ")));
    apt_get(context, &[&["install", "--yes", "--no-install-recommends"], packages].concat()).await
}

async fn apt_get(context: &Context, arguments: &[&str]) -> Result<(), Error> {
    let job =
        Job::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output(Output::Tee);
    context.processes.run(&job).await?.success().map(drop)
}

/// Unpacks a package under `target/tools` and returns the folder. It is not installed: nothing of it is set up, so that no
/// service starts, and what it depends on is not there. Does nothing when it is there.
pub(crate) async fn unpack(context: &Context, package: &str) -> Result<PathBuf, Error> {
    let tools = pypi::tools(context);
    let folder = tools.join(format!("{package}-debian"));
    if folder.is_dir() {
        return Ok(folder);
    }
    context.report.step(&format!("unpack {package} from Debian into {}", tools.display()));
    std::fs::create_dir_all(&tools).map_err(Error::file("create", &tools))?;
    let fresh = tempfile::Builder::new()
        .prefix("unpacking-")
        .tempdir_in(&tools)
        .map_err(Error::file("create a directory in", &tools))?;
    let download = Job::new("apt-get").args(["download", package]).dir(fresh.path());
    context.processes.run(&download).await?.success()?;
    let archive = std::fs::read_dir(fresh.path())
        .map_err(Error::file("read", fresh.path()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .ok_or_else(|| Error::unexpected("apt-get", format!("it downloaded no package `{package}`")))?;
    let files = fresh.path().join("files");
    let extract = Job::new("dpkg-deb").arg("--extract").arg(&archive).arg(&files);
    context.processes.run(&extract).await?.success()?;
    pypi::keep(&files, &folder)?;
    Ok(folder)
}
