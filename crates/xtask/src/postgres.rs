//! Makes sure that the tests find a PostgreSQL.

use std::path::Path;

use crate::Context;
use crate::error::Error;
use crate::process::{Job, Output};

/// What the journal's tests need; `spectra-test-postgres` looks in the same places.
const PROGRAMS: [&str; 4] = ["initdb", "postgres", "createdb", "psql"];

/// Finds PostgreSQL, or installs Debian's package if this user may.
pub(crate) async fn ensure(context: &Context) -> Result<(), Error> {
    if is_there() {
        return Ok(());
    }
    let missing = || {
        Error::unexpected(
            "PostgreSQL",
            "it is not on PATH nor in /usr/lib/postgresql; install it (`apt-get install postgresql`)",
        )
    };
    if !rustix::process::geteuid().is_root() || !on_path("apt-get") {
        return Err(missing());
    }
    context.report.plain("installing PostgreSQL for the journal's tests");
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "postgresql"]] {
        let job =
            Job::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").output(Output::Tee);
        context.processes.run(&job).await?.success()?;
    }
    if is_there() { Ok(()) } else { Err(missing()) }
}

fn is_there() -> bool {
    let complete = |folder: &Path| PROGRAMS.iter().all(|name| folder.join(name).is_file());
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|folder| complete(&folder))
        || std::fs::read_dir("/usr/lib/postgresql")
            .is_ok_and(|versions| versions.flatten().any(|version| complete(&version.path().join("bin"))))
}

fn on_path(name: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(name).is_file())
}
