//! Makes sure that the tests find a PostgreSQL.

use std::ffi::OsStr;
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
    is_in(&std::env::var_os("PATH").unwrap_or_default(), Path::new("/usr/lib/postgresql"))
}

/// Whether one folder has all programs: one on the path, or of one of Debian's versions.
fn is_in(path: &OsStr, debian: &Path) -> bool {
    let complete = |folder: &Path| PROGRAMS.iter().all(|name| folder.join(name).is_file());
    std::env::split_paths(path).any(|folder| complete(&folder))
        || std::fs::read_dir(debian)
            .is_ok_and(|versions| versions.flatten().any(|version| complete(&version.path().join("bin"))))
}

fn on_path(name: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_every_program_counts_and_a_part_of_them_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (client, server) = (folder.path().join("client"), folder.path().join("debian/17/bin"));
        for (place, names) in [(&client, &PROGRAMS[2..]), (&server, &PROGRAMS[..])] {
            std::fs::create_dir_all(place).unwrap();
            for name in names {
                std::fs::write(place.join(name), "").unwrap();
            }
        }
        let (debian, nowhere) = (folder.path().join("debian"), folder.path().join("nowhere"));
        assert!(!is_in(client.as_os_str(), &nowhere), "Debian's client package has no server");
        assert!(is_in(client.as_os_str(), &debian));
        assert!(is_in(&std::env::join_paths([&client, &server]).unwrap(), &nowhere));
    }
}
