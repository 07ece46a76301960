//! What the places of findings, and with them their fingerprints, are relative to.
//!
//! In a repository that is its top level, whichever part of it is searched and from wherever: code hosts look for files from there,
//! and a fingerprint that is told apart by a path has to know the whole of it. Elsewhere there is but the folder that is searched.

use std::{
    borrow::Cow,
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
};

/// What is searched, and what its files are called.
#[derive(Debug)]
pub(super) struct Places {
    /// The directory or file as it was named; paths that are walked begin with it.
    root: PathBuf,
    /// The file's name, if it is one, and not that of a link to it.
    file: Option<OsString>,
    /// The directory in the repository, or that of the file; empty at the top level and outside of a repository.
    prefix: PathBuf,
    /// The directory, or that of the file, without links.
    folder: PathBuf,
    /// Whether there is a repository.
    in_repository: bool,
}

impl Places {
    /// Of a directory or a file. Links in its own path are followed, as git does. Git is not asked: places are the same without it.
    pub(super) fn of(root: &Path) -> std::io::Result<Self> {
        let path = std::fs::canonicalize(root)?;
        let file = if path.is_dir() { None } else { path.file_name().map(OsString::from) };
        let folder = match (&file, path.parent()) {
            (Some(_), Some(parent)) => parent.to_owned(),
            _ => path,
        };
        let top = folder.ancestors().find(|folder| is_top(folder));
        let prefix = top.and_then(|top| folder.strip_prefix(top).ok()).unwrap_or(Path::new("")).to_owned();
        let in_repository = top.is_some();
        Ok(Self { root: root.to_owned(), file, prefix, folder, in_repository })
    }

    /// The path in the directory that is searched; of a file that is searched alone, its name.
    pub(super) fn relative<'a>(&'a self, path: &'a Path) -> &'a Path {
        self.file.as_ref().map_or_else(|| path.strip_prefix(&self.root).unwrap_or(path), Path::new)
    }

    /// Whether a path that was walked is a link, of which nothing but its own text is searched. One that was named itself is what it
    /// leads to.
    pub(super) fn is_link(&self, path: &Path) -> bool {
        self.file.is_none() && path.is_symlink()
    }

    /// What a path that was walked is called in reports.
    pub(super) fn name(&self, path: &Path) -> String {
        self.name_within(self.relative(path))
    }

    /// What a path in the directory that is searched is called in reports.
    pub(super) fn name_within(&self, relative: &Path) -> String {
        self.prefix.join(relative).to_string_lossy().into_owned()
    }

    /// The part of the repository that is searched, if it is not all of it.
    pub(super) fn part(&self) -> Option<String> {
        let path =
            self.file.as_ref().map_or(Cow::Borrowed(&self.prefix), |name| Cow::Owned(self.prefix.join(name)));
        (self.in_repository && !path.as_os_str().is_empty()).then(|| path.to_string_lossy().into_owned())
    }

    /// The folder that places are relative to, where it is not the top level of a repository.
    pub(super) fn outside(self) -> Option<PathBuf> {
        (!self.in_repository).then_some(self.folder)
    }
}

/// Whether a repository begins here, as git sees it: with its directory, or with a file that says where that is, as worktrees and
/// submodules have it. An empty `.git` is neither, and git looks for one further up.
fn is_top(folder: &Path) -> bool {
    const POINTER: &[u8] = b"gitdir: ";
    let git = folder.join(".git");
    if git.is_dir() {
        // `HEAD` may be a link to a branch that has no commit yet.
        return git.join("HEAD").symlink_metadata().is_ok()
            && git.join("objects").is_dir()
            && git.join("refs").is_dir();
    }
    let mut head = Vec::new();
    git.is_file()
        && std::fs::File::open(git)
            .and_then(|file| file.take(POINTER.len() as u64).read_to_end(&mut head))
            .is_ok_and(|_| head == POINTER)
}
