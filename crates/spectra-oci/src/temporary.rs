//! Files that are not there yet, or only for a while.
//!
//! They have no name where the system can do that (Linux, on most file systems), so that nothing is left of them however the process
//! ends: by a signal while a thread still writes, or by SIGKILL. What is to stay gets its name when it is whole.

use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, open},
    process::{Resource, getrlimit},
};
use tempfile::TempPath;

use crate::Error;

/// How names of temporary files begin, where they have some.
pub(crate) const PREFIX: &str = "spectra-layer-";
/// How many files without a name there are at once, at most. Each is an open file; more than these have names.
const MOST_NAMELESS: usize = 400;
/// And no more than this part of the files that the process may have open, which are 1024 as a rule: each is open twice while it is
/// written, and others are open besides.
const PART_OF_OPEN: u64 = 3;
/// The permissions of files that nobody else may read, and of those that all may as far as umask allows.
const PRIVATE: u32 = 0o600;
const FOR_ALL: u32 = 0o666;
static NAMELESS: AtomicUsize = AtomicUsize::new(0);

/// A file that goes when this is dropped. As a path, it can be opened by this process alone.
#[derive(Debug)]
pub(crate) struct Temporary {
    /// The name, or the place where the system shows the open file to its process.
    path: PathBuf,
    folder: PathBuf,
    /// The permissions of a file that is made here: what is left by umask, or by the folder's access list.
    ordinary: u32,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Nameless(File, Place),
    Named(TempPath),
}

/// One of the places for files without a name.
#[derive(Debug)]
struct Place;

impl Place {
    fn take() -> Option<Self> {
        // Made at once, so that it is given back in any case.
        let place = Self;
        (NAMELESS.fetch_add(1, Ordering::Relaxed) < most(getrlimit(Resource::Nofile).current))
            .then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        NAMELESS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many files without a name there may be where the process may have `open` files open; nothing is as many as it likes.
fn most(open: Option<u64>) -> usize {
    let part = open.map_or(MOST_NAMELESS as u64, |open| open / PART_OF_OPEN);
    usize::try_from(part).unwrap_or(MOST_NAMELESS).min(MOST_NAMELESS)
}

/// How long a temporary file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Not beyond the process.
    Short,
    /// It may get a name and stay.
    Long,
}

/// What to do about a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

impl Temporary {
    /// A file in `folder` that can be written. With [`Life::Short`] it need not be able to get a name.
    pub(crate) fn new(folder: &Path, life: Life) -> Result<(File, Self), Error> {
        Self::create(folder, life).map_err(Error::io("create a temporary file in", folder))
    }

    fn create(folder: &Path, life: Life) -> io::Result<(File, Self)> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let wanted = match life {
            Life::Short => PRIVATE,
            Life::Long => FOR_ALL,
        };
        let nameless = || match open(folder, flags, Mode::from_raw_mode(wanted)) {
            Ok(file) => Some(File::from(file)),
            // The file system cannot do it. A name that is removed at once is nearly as good, for what needs none later.
            Err(_) if life == Life::Short => tempfile::tempfile_in(folder).ok(),
            Err(_) => None,
        };
        if let Some(place) = Place::take()
            && let Some(file) = nameless()
        {
            let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
            if same(&path, &file) {
                // The number in the path is that of the file that is kept.
                let writer = file.try_clone()?;
                let ordinary = permissions(&file)?;
                let held = Held::Nameless(file, place);
                return Ok((writer, Self { path, folder: folder.to_owned(), ordinary, held }));
            }
        }
        let mut named = tempfile::Builder::new();
        let named = named.prefix(PREFIX).permissions(Permissions::from_mode(wanted)).tempfile_in(folder)?;
        let (file, name) = named.into_parts();
        let ordinary = permissions(&file)?;
        // Until it is whole, it is nobody else's business.
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
        let path = name.to_path_buf();
        Ok((file, Self { path, folder: folder.to_owned(), ordinary, held: Held::Named(name) }))
    }

    /// The folder that it is in, for messages: the path says nothing to people.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gives it a name, safe on the disk; the folder has to be on the same file system. A file that it replaces leaves it its
    /// permissions; else it has those of any new file.
    pub(crate) fn persist(self, destination: &Path, existing: Existing) -> io::Result<()> {
        let replaced = fs::symlink_metadata(destination).ok().filter(fs::Metadata::is_file);
        let mode = match replaced {
            Some(replaced) if existing == Existing::Replace => replaced.permissions().mode() & FOR_ALL,
            _ => self.ordinary,
        };
        let permissions = Permissions::from_mode(mode);
        match self.held {
            Held::Nameless(file, _place) => {
                file.set_permissions(permissions)?;
                file.sync_all()?;
                name(&self.path, destination, existing)
            }
            Held::Named(path) => {
                let file = File::open(&path)?;
                file.set_permissions(permissions)?;
                file.sync_all()?;
                match existing {
                    Existing::Keep => path.persist_noclobber(destination).map_err(|error| error.error),
                    Existing::Replace => path.persist(destination).map_err(|error| error.error),
                }
            }
        }
    }
}

impl std::ops::Deref for Temporary {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

fn permissions(file: &File) -> io::Result<u32> {
    Ok(file.metadata()?.permissions().mode() & FOR_ALL)
}

/// Whether a path leads to an open file; without `/proc` it does not.
fn same(path: &Path, file: &File) -> bool {
    match (fs::metadata(path), file.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Gives the open file that the system shows at `path` a name. A name is given, or taken from another file, in one step.
fn name(path: &Path, destination: &Path, existing: Existing) -> io::Result<()> {
    let link = |to: &Path| linkat(CWD, path, CWD, to, AtFlags::SYMLINK_FOLLOW).map_err(io::Error::from);
    match link(destination) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && existing == Existing::Replace => {}
        result => return result,
    }
    let folder = destination.parent().filter(|folder| !folder.as_os_str().is_empty());
    // A name that is free; a file is put there, and then takes the place of the other.
    let between =
        tempfile::Builder::new().prefix(PREFIX).make_in(folder.unwrap_or_else(|| Path::new(".")), link)?;
    between.into_temp_path().persist(destination).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tempfile::NamedTempFile;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_no_name_until_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        for life in [Life::Short, Life::Long] {
            let (mut file, temporary) = Temporary::new(place.path(), life).unwrap();
            file.write_all(b"one two").unwrap();
            assert!(names(place.path()).is_empty());
            // Opened twice, each with a place of its own.
            assert_eq!(fs::read_to_string(&*temporary).unwrap(), "one two");
            assert_eq!(fs::read_to_string(&*temporary).unwrap(), "one two");
            file.write_all(b" three").unwrap();
            drop(file);
            assert_eq!(fs::read_to_string(&*temporary).unwrap(), "one two three");
            assert_eq!(temporary.folder(), place.path());
        }
        assert!(names(place.path()).is_empty());
        // Here, because a test at the same time would find no place either.
        let new = |_| Temporary::new(place.path(), Life::Short).unwrap().1;
        let many: Vec<Temporary> = (0..MOST_NAMELESS + 1000).map(new).collect();
        assert!(names(place.path()).len() >= 1000, "a process has not so many files open");
        assert!(many.iter().all(|temporary| temporary.exists()));
        drop(many);
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn there_were_more_files_without_a_name_than_a_process_may_open() {
        assert_eq!([None, Some(u64::MAX), Some(1024), Some(256), Some(2)].map(most), [400, 400, 341, 85, 0]);
    }

    #[test]
    fn a_name_is_given_in_one_step() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().join("blob");
        let give = |text: &str, existing| {
            let (mut file, temporary) = Temporary::new(place.path(), Life::Long).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            drop(file);
            temporary.persist(&destination, existing)
        };
        give("first", Existing::Keep).unwrap();
        assert_eq!(give("second", Existing::Keep).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&destination).unwrap(), "first");
        let mode = || fs::metadata(&destination).unwrap().permissions().mode() & 0o777;
        let ordinary = place.path().join("ordinary");
        fs::write(&ordinary, "").unwrap();
        assert_eq!(
            mode(),
            fs::metadata(&ordinary).unwrap().permissions().mode() & 0o777,
            "whatever umask is"
        );
        fs::remove_file(ordinary).unwrap();
        give("third", Existing::Replace).unwrap();
        assert_eq!(fs::read_to_string(&destination).unwrap(), "third");
        assert_eq!(names(place.path()), ["blob"]);
        fs::set_permissions(&destination, Permissions::from_mode(PRIVATE)).unwrap();
        give("fourth", Existing::Replace).unwrap();
        assert_eq!(mode(), PRIVATE, "what was secret stays so");
    }

    #[test]
    fn where_no_file_is_without_a_name_it_has_one() {
        let place = tempfile::tempdir().unwrap();
        let destination = place.path().join("blob");
        let named = || {
            let (_, name) = NamedTempFile::with_prefix_in(PREFIX, place.path()).unwrap().into_parts();
            fs::write(&name, "x").unwrap();
            let folder = place.path().to_owned();
            Temporary { path: name.to_path_buf(), folder, ordinary: 0o640, held: Held::Named(name) }
        };
        let mode = || fs::metadata(&destination).unwrap().permissions().mode() & 0o777;
        named().persist(&destination, Existing::Keep).unwrap();
        assert_eq!(mode(), 0o640);
        fs::set_permissions(&destination, Permissions::from_mode(PRIVATE)).unwrap();
        assert_eq!(
            named().persist(&destination, Existing::Keep).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        named().persist(&destination, Existing::Replace).unwrap();
        assert_eq!(mode(), PRIVATE);
        drop(named());
        assert_eq!(names(place.path()), ["blob"]);
    }
}
