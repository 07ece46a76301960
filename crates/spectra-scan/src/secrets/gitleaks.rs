//! Secrets by gitleaks.
//!
//! What is searched must not say what is found in it: gitleaks takes rules and lists of allowed findings from the directory that it
//! is given, and believes the comments in every line. So it is given a directory of ours: with the files in a folder below it, or
//! with nothing, the repository being named beside it. Comments are judged here, where they leave a trace.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io::Read as _,
    path::Path,
};

use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use super::{
    Allowed, By, Options, Outcome, Trust,
    detect::{HEAD, has_mark, is_binary, report, text},
    history::Repository,
    places::Places,
    walk,
};
use crate::{
    Error, Finding, Severity, Tool,
    environment::{Own, of_process},
    tool::Setting,
};

/// None of its own: they name other rules, which may find nothing. Its git reads who may own a repository in the user's settings.
const OWN: Own = &["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"];

/// The folder with the files, in the directory that gitleaks is given.
const FILES: &str = "files";

/// Files by which a repository tells gitleaks what to find and what not, and what there is instead.
const SETTINGS: [(&str, &str); 2] = [
    (".gitleaks.toml", "rules that do are named with `--gitleaks-config`"),
    (".gitleaksignore", "fingerprints that do are listed in `.spectra-secrets-ignore`"),
];

/// Settings of git that come before those of the repository: what it could make git run, or show in another way or not at all.
const OF_REPOSITORY: [(&str, &str); 7] = [
    // Attributes can call any file binary, of which nothing is shown then. Those in its files are not seen, since the files are not.
    ("attr.tree", "none"),
    ("core.attributesFile", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.quotePath", "false"),
    ("log.showSignature", "false"),
    ("log.showRoot", "true"),
    ("log.follow", "false"),
];

/// What git is asked for: what gitleaks itself asks for, except that a link which becomes a file is not left out; in the form that it
/// reads, whatever settings say; and nothing that a repository could make git run.
const LOG: &str = "--log-opts=--full-history --all --diff-filter=d --no-textconv --no-ext-diff --no-color --pretty=medium \
                   --date=default --no-abbrev-commit --no-decorate --no-notes --src-prefix=a/ --dst-prefix=b/";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Leak {
    #[serde(rename = "RuleID")]
    rule: String,
    #[serde(default)]
    description: String,
    start_line: u64,
    #[serde(default)]
    end_line: u64,
    file: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    commit: String,
    #[serde(default)]
    date: String,
}

impl Drop for Leak {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Has gitleaks search a directory, or the history of its repository.
pub(super) async fn scan(gitleaks: &Tool, options: &Options, history: bool) -> Result<Outcome, Error> {
    let root = std::fs::canonicalize(&options.root).map_err(Error::io("scan", &options.root))?;
    let lost = |error| Error::io("copy", &options.root)(std::io::Error::other(error));
    let work = options.work.clone().unwrap_or_else(std::env::temp_dir);
    let place = tempfile::Builder::new().prefix("spectra-").tempdir_in(&work);
    let place = place.map_err(Error::io("create a directory in", work))?;
    // gitleaks names files by the path that it was given, which must be the one that is taken off again.
    let folder = std::fs::canonicalize(place.path()).map_err(Error::io("scan", place.path()))?;
    if history {
        let repository = Repository::of(&root)?;
        let Report { found, warnings } = run(gitleaks, options, &folder, Some(&repository.directory)).await?;
        let trust = options.trust;
        let judged = tokio::task::spawn_blocking(move || of_history(found, &root, &repository, trust));
        let mut outcome = judged.await.map_err(lost)?;
        outcome.warnings.extend(warnings);
        return Ok(outcome);
    }
    // It reads everything that is there, build folders and all; what is to be searched is said by git's rules.
    let (max_size, trust, target) = (options.max_size, options.trust, folder.join(FILES));
    let (source, copy) = (root.clone(), folder.clone());
    let places = Places::of(&root).map_err(Error::io("scan", &options.root))?;
    let mirrored = tokio::task::spawn_blocking(move || {
        let outcome = mirror(&source, &places, &copy, max_size, trust);
        (places, outcome)
    });
    let (places, mut outcome) = mirrored.await.map_err(lost)?;
    let used = options.gitleaks_config.as_ref().and_then(|rules| std::fs::canonicalize(rules).ok());
    for (name, advice) in SETTINGS {
        let path = root.join(name);
        if path.exists() && used.as_ref() != Some(&path) {
            outcome.warnings.push(format!(
                "`{name}` does not count: what is searched must not say what is found in it; {advice}"
            ));
        }
    }
    let Report { found, warnings } = run(gitleaks, options, &folder, None).await?;
    outcome.warnings.extend(warnings);
    for leak in found {
        let path = Path::new(&leak.file);
        let path = path.strip_prefix(&target).unwrap_or(path);
        // A line that cannot be had allows nothing.
        let content = std::fs::read(target.join(path)).unwrap_or_default();
        outcome.take(&leak, &places.name_within(path), &content, options.trust);
    }
    Ok(outcome)
}

/// What gitleaks says.
struct Report {
    found: Vec<Leak>,
    warnings: Vec<String>,
}

/// Runs it on the directory, or on the repository with the directory as its files.
async fn run(
    gitleaks: &Tool,
    options: &Options,
    folder: &Path,
    repository: Option<&Path>,
) -> Result<Report, Error> {
    let mut arguments: Vec<OsString> = vec![
        if repository.is_some() { "git" } else { "dir" }.into(),
        folder.into(),
        "--gitleaks-ignore-path".into(),
        folder.into(),
        "--ignore-gitleaks-allow".into(),
    ];
    // To standard output: a file with secrets would have to be guarded.
    arguments.extend(
        [
            "--no-banner",
            "--no-color",
            "--log-level",
            "error",
            "--exit-code",
            "0",
            "--report-format",
            "json",
            "--report-path",
            "-",
        ]
        .map(OsString::from),
    );
    let mut directory = folder.to_owned();
    if let Some(rules) = &options.gitleaks_config {
        let rules = std::fs::canonicalize(rules).map_err(Error::io("read", rules))?;
        arguments.extend(["--config".into(), rules.into()]);
        // Other files that the rules name are looked for from where gitleaks runs.
        directory = std::env::current_dir().map_err(Error::io("run in", "."))?;
    }
    let mut with: Vec<(String, OsString)> = Vec::new();
    if let Some(repository) = repository {
        // What git calls binary, it shows as text where nothing is to hide.
        arguments.push(
            if options.trust == Trust::Withheld { format!("{LOG} --text") } else { LOG.to_owned() }.into(),
        );
        with.extend(walk::OF_GIT.map(|(name, value)| (name.to_owned(), value.into())));
        with.push(("GIT_DIR".to_owned(), repository.into()));
        // Its files are not there, and its index stands for none.
        with.push(("GIT_INDEX_FILE".to_owned(), folder.join("no-index").into()));
        with.push(("GIT_CONFIG_COUNT".to_owned(), OF_REPOSITORY.len().to_string().into()));
        for (number, (name, value)) in OF_REPOSITORY.into_iter().enumerate() {
            with.push((format!("GIT_CONFIG_KEY_{number}"), name.into()));
            with.push((format!("GIT_CONFIG_VALUE_{number}"), value.into()));
        }
    }
    let with: Vec<(&str, &OsStr)> =
        with.iter().map(|(name, value)| (name.as_str(), value.as_os_str())).collect();
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let mut environment = of_process();
    environment.retain(|(name, _)| !walk::OF_HOOKS.iter().any(|other| name == other));
    let setting = Setting {
        directory: &directory,
        environment: &environment,
        own: OWN,
        with: &with,
        timeout: options.timeout,
    };
    // What it prints holds secrets.
    let (bytes, words) = gitleaks.run_and_listen(&arguments, &setting).await?;
    let bytes = Zeroizing::new(bytes);
    // It says nothing but errors, and when git fails, its report is empty and its exit code 0 all the same.
    let (warnings, errors): (Vec<String>, Vec<String>) =
        words.into_iter().partition(|line| line.contains("[git] warning: "));
    if !errors.is_empty() {
        return Err(Error::ToolFailed { program: gitleaks.name().to_owned(), reason: errors.join("; ") });
    }
    Ok(Report { found: parse(&bytes)?, warnings })
}

/// Puts the files that [`walk::scan`] would read into a directory that only this user can look into.
///
/// gitleaks leaves out kinds of files that it knows by how they begin. Where what is searched is not trusted, our own rules look into
/// all that is no text.
fn mirror(root: &Path, places: &Places, place: &Path, max_size: u64, trust: Trust) -> Outcome {
    let mut outcome = Outcome::default();
    for name in walk::paths(root, places, trust, &mut outcome.unread) {
        let source = if root.is_dir() { root.join(&name) } else { root.to_owned() };
        let target = Path::new(FILES).join(&name);
        let copied = if places.is_link(&source) {
            copy_link(&source, place, &target, max_size)
        } else {
            copy(&source, place, &target, max_size)
        };
        match copied {
            Ok(Copied::Text) => outcome.files += 1,
            Ok(Copied::Binary) if trust == Trust::Given => {
                outcome.files += 1;
                outcome.binary += 1;
            }
            Ok(Copied::Binary) => outcome.add(walk::file(places, &source, max_size, trust)),
            Err(error) => outcome.unread.push(format!("`{}`: {error}", places.name_within(&name))),
        }
    }
    outcome
}

/// What was copied.
enum Copied {
    Text,
    Binary,
}

fn copy(source: &Path, place: &Path, name: &Path, max_size: u64) -> std::io::Result<Copied> {
    if std::fs::metadata(source)?.len() > max_size {
        return Err(too_large(max_size));
    }
    create_folders(place, name)?;
    let target = place.join(name);
    let mut head = Vec::new();
    std::fs::File::open(source)?.take(HEAD as u64).read_to_end(&mut head)?;
    // gitleaks takes a text of two bytes a character for none.
    if has_mark(&head) {
        let (Ok(text) | Err(text)) = text(std::fs::read(source)?);
        std::fs::write(target, text)?;
        return Ok(Copied::Text);
    }
    // A link costs nothing, where both are on one file system.
    std::fs::hard_link(source, &target).or_else(|_| std::fs::copy(source, &target).map(drop))?;
    Ok(if is_binary(&head) { Copied::Binary } else { Copied::Text })
}

/// Puts a file with what git has of a link in its place: where it leads. A link itself would lead there.
fn copy_link(source: &Path, place: &Path, name: &Path, max_size: u64) -> std::io::Result<Copied> {
    let target = walk::target(source)?;
    if target.len() as u64 > max_size {
        return Err(too_large(max_size));
    }
    create_folders(place, name)?;
    let (Ok(text) | Err(text)) = text(target);
    std::fs::write(place.join(name), text)?;
    Ok(Copied::Text)
}

fn too_large(max_size: u64) -> std::io::Error {
    std::io::Error::other(format!("it has more than {max_size} bytes"))
}

/// Makes the folders of a file below `root`. Where `root` is gone, because whoever waited for this was ended, it stays so.
fn create_folders(root: &Path, name: &Path) -> std::io::Result<()> {
    let folders = name.parent().unwrap_or(Path::new(""));
    let mut folder = root.to_owned();
    for part in folders {
        folder.push(part);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<Vec<Leak>, Error> {
    // The error of the parser may quote what it read.
    let strange = |_| Error::report("what `gitleaks` printed", "it is no report of gitleaks 8");
    serde_json::from_slice(bytes).map_err(strange)
}

/// Judges what the history holds: of each secret, the first commit.
fn of_history(mut found: Vec<Leak>, root: &Path, repository: &Repository, trust: Trust) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.warnings.extend(repository.warning());
    // RFC 3339 in UTC, so the order of texts is that of times.
    found.sort_by(|a, b| (&a.date, &a.commit, &a.file).cmp(&(&b.date, &b.commit, &b.file)));
    // Those of one file stand together.
    let (mut known, mut content) = (String::new(), Vec::new());
    for leak in found {
        if !repository.holds(&leak.file) {
            continue;
        }
        let object = format!("{}:{}", leak.commit, leak.file);
        if known != object {
            let output = walk::git(root).args(["cat-file", "blob", &object]).output();
            // A line that cannot be had allows nothing.
            content = output.map(|output| output.stdout).unwrap_or_default();
            known = object;
        }
        outcome.take(&leak, &leak.file, &content, trust);
    }
    let mut seen = BTreeSet::new();
    outcome.findings.retain(|finding| seen.insert(finding.fingerprint.clone()));
    seen.clear();
    outcome.allowed.retain(|entry| seen.insert(entry.finding.fingerprint.clone()));
    outcome
}

impl Outcome {
    /// Takes what gitleaks has found in a file of this content.
    fn take(&mut self, leak: &Leak, path: &str, content: &[u8], trust: Trust) {
        let finding = finding(leak, path);
        if trust.allows(&lines(content, leak.start_line, leak.end_line)) {
            self.allowed.push(Allowed { finding, by: By::Comment });
        } else {
            self.findings.push(finding);
        }
    }
}

fn finding(leak: &Leak, path: &str) -> Finding {
    let title = if leak.description.is_empty() { &leak.rule } else { &leak.description };
    // gitleaks has no severities. A generic match is a guess; the others are tokens of somebody.
    let severity = if leak.rule.starts_with("generic") { Severity::Medium } else { Severity::High };
    let mut finding =
        report("gitleaks", &leak.rule, title, severity, path, leak.start_line, leak.secret.as_bytes());
    finding.commit = Some(leak.commit.clone()).filter(|commit| !commit.is_empty());
    finding
}

/// Lines of a text, counted from 1, both ends among them.
fn lines(text: &[u8], first: u64, last: u64) -> Vec<u8> {
    let place = |line: u64| usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
    let count = (place(last.max(first)) - place(first)).saturating_add(1);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').skip(place(first)).take(count).collect();
    lines.join(&b'\n')
}
