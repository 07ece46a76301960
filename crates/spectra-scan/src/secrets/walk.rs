//! The files of a directory, as git would take them.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{File, FileType},
    io::{ErrorKind, Read as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use ignore::{WalkBuilder, WalkState};

use super::{
    Allowed, By, Outcome, Trust,
    detect::{search, text},
    places::Places,
};
use crate::Error;

/// Searches a directory, or one file, with all cores.
///
/// Files that `.gitignore` names are left out, unless git has them all the same. Links are not followed, so that nothing outside is
/// read; what is searched of one is where it leads, which is all that git has of it. What is too large or cannot be read is listed in
/// the outcome.
pub(super) fn scan(root: &Path, max_size: u64, trust: Trust) -> Result<Outcome, Error> {
    let places = &Places::of(root).map_err(Error::io("scan", root))?;
    let total = Mutex::new(Outcome::default());
    let add = |outcome: Outcome| total.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
    builder(root, trust).build_parallel().run(|| {
        Box::new(|entry| {
            match entry {
                Ok(entry) if entry.file_type().is_some_and(has_content) => {
                    add(file(places, entry.path(), max_size, trust));
                }
                Ok(_) => {}
                Err(error) => add(Outcome { unread: vec![error.to_string()], ..Outcome::default() }),
            }
            WalkState::Continue
        })
    });
    let tracked = tracked_though_ignored(root, places, |reason| {
        add(Outcome { unread: vec![reason], ..Outcome::default() });
    });
    for path in tracked {
        add(file(places, &path, max_size, trust));
    }
    Ok(total.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The paths that [`scan`] reads, relative; what could not be looked into goes to `unread`.
pub(super) fn paths(
    root: &Path,
    places: &Places,
    trust: Trust,
    unread: &mut Vec<String>,
) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    for entry in builder(root, trust).build() {
        match entry {
            Ok(entry) if entry.file_type().is_some_and(has_content) => {
                paths.insert(places.relative(entry.path()).to_owned());
            }
            Ok(_) => {}
            Err(error) => unread.push(error.to_string()),
        }
    }
    let tracked = tracked_though_ignored(root, places, |reason| unread.push(reason));
    paths.extend(tracked.iter().map(|path| places.relative(path).to_owned()));
    paths
}

fn builder(root: &Path, trust: Trust) -> WalkBuilder {
    let mut builder = WalkBuilder::new(root);
    builder
        .hidden(false)
        .ignore(false)
        // What one person's settings hide, another's repository still holds.
        .git_global(false)
        .git_exclude(false)
        .git_ignore(trust == Trust::Given || in_repository(root))
        .require_git(false)
        .follow_links(false)
        .threads(std::thread::available_parallelism().map_or(1, usize::from))
        .filter_entry(|entry| entry.file_name() != ".git");
    builder
}

/// Whether git keeps content of such a thing: that of a file, or where a link leads.
fn has_content(kind: FileType) -> bool {
    kind.is_file() || kind.is_symlink()
}

/// Where a link leads, as git keeps it.
pub(super) fn target(link: &Path) -> std::io::Result<Vec<u8>> {
    Ok(std::fs::read_link(link)?.into_os_string().into_vec())
}

/// Searches one file, or where a link leads. Where what is searched is not trusted, a byte that makes git call it binary hides nothing
/// in it.
pub(super) fn file(places: &Places, path: &Path, max_size: u64, trust: Trust) -> Outcome {
    let name = places.name(path);
    let mut outcome = Outcome::default();
    let read = if places.is_link(path) {
        target(path)
    } else {
        let mut bytes = Vec::new();
        // One byte more than may be, since a file can grow.
        let read = |file: File| file.take(max_size.saturating_add(1)).read_to_end(&mut bytes);
        File::open(path).and_then(read).map(|_| bytes)
    };
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => {
            outcome.unread.push(format!("`{name}`: {error}"));
            return outcome;
        }
    };
    let too_large = bytes.len() as u64 > max_size;
    let text = match text(bytes) {
        Ok(text) => text,
        Err(bytes) => {
            outcome.binary += 1;
            if trust == Trust::Given {
                return outcome;
            }
            bytes
        }
    };
    if too_large {
        outcome.unread.push(format!("`{name}`: it has more than {max_size} bytes"));
        return outcome;
    }
    outcome.files += 1;
    outcome.bytes += text.len() as u64;
    let hits = search(&name, &text, 1, trust);
    outcome.findings = hits.findings;
    outcome.allowed = hits.allowed.into_iter().map(|finding| Allowed { finding, by: By::Comment }).collect();
    outcome
}

/// What git gets. A repository may be one that git gets missing objects for when they are asked for, by a program that the repository
/// names: no transport has the name of the first variable, and the second is newer and gives the better message. Nor are commits
/// looked at in the place of others.
pub(super) const OF_GIT: [(&str, &str); 4] = [
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
];

/// What git does not get: a hook has these of its own repository.
pub(super) const OF_HOOKS: [&str; 5] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF", "GIT_TRACE"];

/// Git, without anything that a repository's own settings could make it run.
pub(super) fn git(root: &Path) -> Command {
    let mut command = Command::new("git");
    let folder = if root.is_dir() {
        root
    } else {
        root.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
    };
    command.arg("-C").arg(folder).args([
        "--no-pager",
        "-c",
        "core.fsmonitor=false",
        "-c",
        "core.quotePath=false",
    ]);
    command.args(["-c", "log.showSignature=false", "-c", "log.showRoot=true", "-c", "log.follow=false"]);
    // Paths are those from the top level.
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "diff.relative=false"]);
    for name in OF_HOOKS {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").envs(OF_GIT).stdin(Stdio::null());
    command
}

/// Files that `.gitignore` names and git has nevertheless: whoever clones the repository gets them.
///
/// What git names and nobody can look at goes to `unread`, but for files that are not there: deleted ones, not yet committed.
fn tracked_though_ignored(root: &Path, places: &Places, mut unread: impl FnMut(String)) -> Vec<PathBuf> {
    if !root.is_dir() || !in_repository(root) {
        return Vec::new();
    }
    let listed = git(root).args(["ls-files", "-z", "--cached", "--ignored", "--exclude-standard"]).output();
    let mut failed = |reason: &str| {
        unread(format!("files that git has although `.gitignore` names them: {reason}"));
    };
    let output = match listed {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            failed(String::from_utf8_lossy(&output.stderr).trim());
            return Vec::new();
        }
        Err(error) => {
            failed(&format!("git did not start: {error}"));
            return Vec::new();
        }
    };
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(OsStr::from_bytes);
    let mut paths = Vec::new();
    for name in names {
        let path = root.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if has_content(metadata.file_type()) => paths.push(path),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => unread(format!("`{}`: {error}", places.name(&path))),
        }
    }
    paths
}

/// Whether there is a repository around.
fn in_repository(root: &Path) -> bool {
    std::fs::canonicalize(root).is_ok_and(|path| path.ancestors().any(|folder| folder.join(".git").exists()))
}
