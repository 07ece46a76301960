//! Everything that was ever added to a repository.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{BufRead, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{
    Allowed, By, Outcome, Trust,
    detect::{search, text},
    walk::git,
};
use crate::{Error, text::plain};

/// A longer line is searched in pieces.
const MAX_LINE: u64 = 4 * 1024 * 1024;
/// What is searched at once at the most.
const MAX_CHUNK: usize = 16 * 1024 * 1024;

/// The repository that a directory or file is in.
#[derive(Debug)]
pub(super) struct Repository {
    /// Where git keeps it.
    pub(super) directory: PathBuf,
    /// The directory in it, or that of the file: empty, or with a `/` at the end.
    pub(super) prefix: String,
    /// The file's name, if it is one.
    pub(super) file: Option<String>,
    shallow: bool,
}

impl Repository {
    /// Asks git. It refuses, as for every command, a repository that belongs to somebody else.
    pub(super) fn of(root: &Path) -> Result<Self, Error> {
        let wrong = wrong(root);
        let asked = ["rev-parse", "--is-shallow-repository", "--absolute-git-dir", "--show-prefix"];
        let answer = git(root).args(asked).output();
        let answer = answer.map_err(|error| wrong(format!("git did not start: {error}")))?;
        if !answer.status.success() {
            return Err(wrong(String::from_utf8_lossy(&answer.stderr).trim().to_owned()));
        }
        let mut lines = answer.stdout.split(|byte| *byte == b'\n');
        let (Some(shallow), Some(directory), Some(prefix)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(wrong("git does not say where it is".to_owned()));
        };
        let name = || root.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Self {
            directory: PathBuf::from(OsStr::from_bytes(directory)),
            prefix: String::from_utf8_lossy(prefix).into_owned(),
            file: if root.is_dir() { None } else { name() },
            shallow: shallow == b"true",
        })
    }

    /// What has to be said about it.
    pub(super) fn warning(&self) -> Option<String> {
        const SHALLOW: &str =
            "the clone is shallow: commits before it were not searched; `git fetch --unshallow` gets them";
        self.shallow.then(|| SHALLOW.to_owned())
    }

    /// Whether a path of the repository is in what is searched.
    pub(super) fn holds(&self, path: &str) -> bool {
        let path = path.strip_prefix(self.prefix.as_str());
        path.is_some_and(|path| self.file.as_ref().is_none_or(|file| file == path))
    }
}

fn wrong(root: &Path) -> impl Fn(String) -> Error {
    let path = root.to_owned();
    move |reason| Error::History { path: path.clone(), reason: plain(&reason) }
}

/// Searches what the commits of all branches have added, oldest first. The first commit with a secret is named. Places are from the
/// top level of the repository.
pub(super) fn scan(root: &Path, trust: Trust) -> Result<Outcome, Error> {
    let wrong = wrong(root);
    // The history of a file that a link was named for, as it is the file that is searched.
    let root = &std::fs::canonicalize(root).map_err(Error::io("scan", root))?;
    let repository = Repository::of(root)?;
    let mut outcome = Outcome::default();
    outcome.warnings.extend(repository.warning());
    let place = repository.file.as_ref().map_or(".".to_owned(), |name| format!(":(literal){name}"));
    let mut command = git(root);
    // Of merges, what they add to all of their parents.
    command.args([
        "log",
        "--all",
        "--reverse",
        "--patch",
        "--cc",
        "--unified=0",
        "--no-color",
        "--no-ext-diff",
        // Attributes of the repository may call any file binary, and then nothing of it is shown.
        "--text",
    ]);
    command.args([
        "--no-textconv",
        "--format=tformat:%x00%H",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        "--",
        &place,
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| wrong(format!("git did not start: {error}")))?;
    let stderr = child.stderr.take();
    let words = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(mut pipe) = stderr {
            // Lost words make a message shorter, and nothing else.
            let _ = pipe.read_to_end(&mut text);
        }
        text
    });
    let read = child.stdout.take().map_or(Ok(()), |stdout| {
        Patches::new(&mut outcome, trust).read(BufReader::with_capacity(256 * 1024, stdout))
    });
    let status = child.wait().map_err(|error| wrong(error.to_string()))?;
    let words = words.join().unwrap_or_default();
    read.map_err(|error| wrong(error.to_string()))?;
    if !status.success() {
        return Err(wrong(format!("git ended with {status}: {}", String::from_utf8_lossy(&words).trim())));
    }
    Ok(outcome)
}

/// The parser of `git log --patch`.
struct Patches<'a> {
    outcome: &'a mut Outcome,
    trust: Trust,
    seen: BTreeSet<String>,
    seen_allowed: BTreeSet<String>,
    commit: String,
    path: String,
    /// Lines that stand together, and the number of the first one.
    chunk: Vec<u8>,
    first: u64,
    next: u64,
    /// How many parents a patch is against; its lines begin with a column for each.
    parents: usize,
    /// Whether lines of content may come.
    in_hunk: bool,
    /// Whether this version of the file is known to be no text.
    binary: bool,
}

impl<'a> Patches<'a> {
    fn new(outcome: &'a mut Outcome, trust: Trust) -> Self {
        Self {
            outcome,
            trust,
            seen: BTreeSet::new(),
            seen_allowed: BTreeSet::new(),
            commit: String::new(),
            path: String::new(),
            chunk: Vec::new(),
            first: 1,
            next: 1,
            parents: 1,
            in_hunk: false,
            binary: false,
        }
    }

    fn read(mut self, mut reader: impl BufRead) -> std::io::Result<()> {
        let mut line = Vec::new();
        // Of a line that came in pieces, the later ones have no columns before them.
        let mut continued = false;
        loop {
            line.clear();
            if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                self.flush();
                return Ok(());
            }
            let whole = line.ends_with(b"\n");
            if continued {
                if self.in_hunk {
                    self.chunk.extend_from_slice(&line);
                }
            } else {
                self.line(&line);
            }
            continued = !whole;
            if self.chunk.len() > MAX_CHUNK {
                self.flush();
            }
        }
    }

    fn line(&mut self, line: &[u8]) {
        if let Some(commit) = line.strip_prefix(b"\0") {
            self.flush();
            self.in_hunk = false;
            String::from_utf8_lossy(commit).trim().clone_into(&mut self.commit);
        } else if line.starts_with(b"diff ") {
            self.flush();
            self.in_hunk = false;
        } else if !self.in_hunk && line.starts_with(b"+++ ") {
            self.path = path(&line[4..]);
            self.outcome.files += 1;
            self.binary = false;
        } else if line.starts_with(b"@@") {
            self.flush();
            self.parents = line.iter().take_while(|byte| **byte == b'@').count() - 1;
            self.first = start(line).unwrap_or(1);
            self.next = self.first;
            self.in_hunk = true;
        } else if self.in_hunk && line.len() > self.parents {
            let (columns, content) = line.split_at(self.parents);
            if columns.contains(&b'-') || columns.contains(&b'\\') {
                return;
            }
            self.next += 1;
            if columns.iter().all(|column| *column == b'+') {
                self.chunk.extend_from_slice(content);
            } else {
                self.flush();
                self.first = self.next;
            }
        }
    }

    fn flush(&mut self) {
        if self.chunk.is_empty() {
            return;
        }
        let first = std::mem::replace(&mut self.first, self.next);
        let chunk = match text(std::mem::take(&mut self.chunk)) {
            Ok(chunk) => chunk,
            Err(bytes) => {
                if !std::mem::replace(&mut self.binary, true) {
                    self.outcome.binary += 1;
                    self.outcome.files -= u64::from(self.trust == Trust::Given).min(self.outcome.files);
                }
                if self.trust == Trust::Given {
                    return;
                }
                bytes
            }
        };
        let hits = search(&self.path, &chunk, first, self.trust);
        self.outcome.bytes += chunk.len() as u64;
        for mut finding in hits.findings {
            if self.seen.insert(finding.fingerprint.clone()) {
                finding.commit = Some(self.commit.clone());
                self.outcome.findings.push(finding);
            }
        }
        for mut finding in hits.allowed {
            if self.seen_allowed.insert(finding.fingerprint.clone()) {
                finding.commit = Some(self.commit.clone());
                self.outcome.allowed.push(Allowed { finding, by: By::Comment });
            }
        }
    }
}

/// The path behind `+++ `; `b/` before it, a tab behind it if it has spaces, and quotes around it if it has worse.
fn path(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end_matches(['\n', '\r', '\t']).trim_matches('"');
    text.strip_prefix("b/").unwrap_or(text).to_owned()
}

/// The first line in the new file, from `@@ -1,2 +3,4 @@`.
fn start(line: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(line);
    let place = text.split(' ').find_map(|word| word.strip_prefix('+'))?;
    place.split(',').next()?.parse().ok()
}
