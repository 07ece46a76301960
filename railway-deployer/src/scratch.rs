//! Folders for what other programs have to find by a name. They are gone when the process ends, also by a signal it can hear; files for
//! ourselves have no name at all while they are temporary, which `spectra-oci` sees to.

use std::{io, path::Path, time::Duration};

use crate::failure::Failure;

/// How often the removal of a folder that is not empty any more is tried again, and what is waited before.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(2);

/// A folder that is gone when it is dropped; only this user can look into it.
pub(crate) struct Scratch {
    /// Nothing once it is being removed.
    folder: Option<tempfile::TempDir>,
}

impl Scratch {
    /// Its name begins with `prefix`.
    pub(crate) fn new(prefix: &str) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir();
        let folder = folder.map_err(|source| Failure::io("create a temporary directory", source))?;
        Ok(Self { folder: Some(folder) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new(""), |folder| folder.path())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        // Of an interrupted command, a thread may still write into it. Under another name, it does not find it.
        let mut gone = folder.path().as_os_str().to_owned();
        gone.push(".gone");
        if std::fs::rename(folder.path(), &gone).is_ok() {
            let _ = folder.keep();
            // An error leaves what cannot be removed, and nobody could do more about it.
            let _ = remove(Path::new(&gone));
        }
    }
}

/// Removes a folder into which a thread may be putting one last thing: what it had looked up before the folder had another name. Then
/// the folder is not empty when its turn comes.
fn remove(folder: &Path) -> io::Result<()> {
    let mut left = ATTEMPTS;
    loop {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && left > 0 => {
                left -= 1;
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let scratch = Scratch::new("spectra-test-").unwrap();
        let path = scratch.path().to_owned();
        std::fs::write(path.join("x"), "x").unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        drop(scratch);
        let mut entries = std::fs::read_dir(path.parent().unwrap()).unwrap().flatten();
        assert!(!entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&name)));
    }
}
