//! Finding the files of a directory that go into a layer.

use std::{
    collections::BTreeSet,
    fs::{self, Metadata},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::{Error, Patterns};

/// Files and directories that are in no layer, wherever they are met.
pub(crate) struct LeftOut {
    /// Device and inode of each.
    places: Vec<(u64, u64)>,
    /// Those that were met.
    pub(crate) met: BTreeSet<PathBuf>,
    times: usize,
}

impl LeftOut {
    /// Those of the paths that exist.
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let found = paths.into_iter().filter_map(|path| fs::metadata(path).ok());
        let places = found.map(|metadata| (metadata.dev(), metadata.ino())).collect();
        Self { places, met: BTreeSet::new(), times: 0 }
    }

    /// Whether this is one of them.
    pub(crate) fn meets(&mut self, path: &Path, metadata: &Metadata) -> bool {
        let met = self.places.contains(&(metadata.dev(), metadata.ino()));
        if met {
            self.times += 1;
            self.met.insert(path.to_owned());
        }
        met
    }
}

/// Finds what is below a directory; a directory that is left out is listed only if something in it is brought back.
pub(crate) fn walk(
    root: &Path,
    relative: &Path,
    exclude: &Patterns,
    left_out: &mut LeftOut,
    found: &mut Vec<(PathBuf, Metadata)>,
) -> Result<(), Error> {
    let directory = root.join(relative);
    let listing = fs::read_dir(&directory).map_err(Error::io("list", &directory))?;
    for entry in listing {
        let entry = entry.map_err(Error::io("list", &directory))?;
        let path = relative.join(entry.file_name());
        let excluded = exclude.fits(&path);
        // Of the entry itself, not of what a link points to.
        let metadata = entry.metadata().map_err(Error::io("read", entry.path()))?;
        if excluded && !(metadata.is_dir() && exclude.brings_back())
            || left_out.meets(&entry.path(), &metadata)
        {
            continue;
        }
        if !(metadata.is_dir() || metadata.is_symlink() || metadata.is_file()) {
            let reason = format!(
                "`{}` is a socket, pipe or device, which images cannot hold; remove it or build from another directory",
                entry.path().display()
            );
            return Err(Error::Build { reason });
        }
        if entry.file_name().as_bytes().starts_with(b".wh.") {
            let reason = format!(
                "`{}` begins with `.wh.`, which in a layer means \"delete the file of that name\"",
                entry.path().display()
            );
            return Err(Error::Build { reason });
        }
        if metadata.is_dir() {
            let (place, times) = (found.len(), left_out.times);
            walk(root, &path, exclude, left_out, found)?;
            // What holds nothing but the output was made for it, as the directories above an output are.
            if found.len() == place && (excluded || left_out.times > times) {
                continue;
            }
        }
        found.push((path, metadata));
    }
    Ok(())
}
