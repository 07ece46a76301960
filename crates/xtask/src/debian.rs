//! Packages of Debian, on a machine where they may be installed.

use crate::Context;
use crate::error::Error;
use crate::process::{Job, Output, on_path};

/// Whether this user may install packages here: root, where there is apt-get.
pub(crate) fn may_install() -> bool {
    rustix::process::geteuid().is_root() && on_path("apt-get").is_some()
}

/// Installs packages in one run, without what they only recommend.
pub(crate) async fn install(context: &Context, packages: &[&str]) -> Result<(), Error> {
    context.report.step(&format!("install {} from Debian", packages.join(", ")));
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends"]] {
        let mut job =
            Job::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output(Output::Tee);
        if arguments.len() > 1 {
            job = job.args(packages);
        }
        context.processes.run(&job).await?.success()?;
    }
    Ok(())
}
