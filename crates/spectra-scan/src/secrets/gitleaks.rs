//! Secrets by gitleaks.

use std::{ffi::OsString, path::Path, time::Duration};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Options, Outcome, detect::report, walk};
use crate::{
    Error, Severity, Tool,
    environment::{Own, of_process},
    tool::Setting,
};

/// Its variables name other rules, which may find nothing.
const OWN: Own = Own { prefix: "GITLEAKS_", keep: &[] };

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Leak {
    #[serde(rename = "RuleID")]
    rule: String,
    #[serde(default)]
    description: String,
    start_line: u64,
    file: String,
    #[serde(default)]
    secret: String,
    #[serde(default)]
    commit: String,
}

/// Has gitleaks search a directory, or the history of its repository. Its settings and allowed findings in the directory hold.
pub(super) async fn scan(gitleaks: &Tool, options: &Options, history: bool) -> Result<Outcome, Error> {
    let root = std::fs::canonicalize(&options.root).map_err(Error::io("scan", &options.root))?;
    if history {
        return run(gitleaks, "git", &root, options.timeout).await;
    }
    // It reads everything that is there, build folders and all; what is to be searched is said by git's rules.
    let max_size = options.max_size;
    let work = options.work.clone().unwrap_or_else(std::env::temp_dir);
    let mirrored = tokio::task::spawn_blocking(move || mirror(&root, max_size, &work)).await;
    let lost = |error| Error::io("copy", &options.root)(std::io::Error::other(error));
    let (place, mut found) = mirrored.map_err(lost)??;
    found.add(run(gitleaks, "dir", place.path(), options.timeout).await?);
    Ok(found)
}

async fn run(gitleaks: &Tool, verb: &str, folder: &Path, timeout: Duration) -> Result<Outcome, Error> {
    let folder = std::fs::canonicalize(folder).map_err(Error::io("scan", folder))?;
    let mut arguments: Vec<OsString> = vec![verb.into(), folder.clone().into()];
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
    if verb == "git" {
        // What it asks git for by itself, and nothing that settings of the repository could make git run.
        let log = "--log-opts=--full-history --all --diff-filter=tuxdb --no-textconv --no-ext-diff";
        arguments.push(log.into());
    }
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let directory = if folder.is_dir() { folder.as_path() } else { folder.parent().unwrap_or(&folder) };
    // It calls git. What the repository's settings could make git run, or leave out, is said before them.
    let mut with = walk::NO_TRANSPORT.to_vec();
    with.extend([("GIT_CONFIG_COUNT", "3"), ("GIT_OPTIONAL_LOCKS", "0")]);
    with.extend([("GIT_CONFIG_KEY_0", "core.fsmonitor"), ("GIT_CONFIG_VALUE_0", "false")]);
    with.extend([("GIT_CONFIG_KEY_1", "log.showSignature"), ("GIT_CONFIG_VALUE_1", "false")]);
    with.extend([("GIT_CONFIG_KEY_2", "log.showRoot"), ("GIT_CONFIG_VALUE_2", "true")]);
    let setting = Setting { directory, environment: &of_process(), own: OWN, with: &with, timeout };
    let bytes = Zeroizing::new(gitleaks.run(&arguments, &setting).await?);
    parse(&bytes, &folder)
}

/// The files that [`walk::scan`] would read, in a directory that only this user can look into and that is gone when it is dropped.
fn mirror(root: &Path, max_size: u64, work: &Path) -> Result<(tempfile::TempDir, Outcome), Error> {
    let place = tempfile::Builder::new().prefix("spectra-").tempdir_in(work);
    let place = place.map_err(Error::io("create a directory in", work))?;
    let mut outcome = Outcome::default();
    for name in walk::paths(root, &mut outcome.unread) {
        let source = if root.is_dir() { root.join(&name) } else { root.to_owned() };
        let target = place.path().join(&name);
        let size = std::fs::metadata(&source).map(|metadata| metadata.len());
        let copied = match size {
            Ok(size) if size > max_size => {
                Err(std::io::Error::other(format!("it has more than {max_size} bytes")))
            }
            Ok(_) => create_folders(place.path(), Path::new(&name)).and_then(|()| {
                // A link costs nothing, where both are on one file system.
                std::fs::hard_link(&source, &target).or_else(|_| std::fs::copy(&source, &target).map(drop))
            }),
            Err(error) => Err(error),
        };
        match copied {
            Ok(()) => outcome.files += 1,
            Err(error) => outcome.unread.push(format!("`{name}`: {error}")),
        }
    }
    Ok((place, outcome))
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

fn parse(bytes: &[u8], folder: &Path) -> Result<Outcome, Error> {
    // The error of the parser may quote what it read.
    let strange = |_| Error::report("what `gitleaks` printed", "it is no report of gitleaks 8");
    let leaks: Vec<Leak> = serde_json::from_slice(bytes).map_err(strange)?;
    let mut outcome = Outcome::default();
    for leak in leaks {
        let secret = Zeroizing::new(leak.secret);
        let path = Path::new(&leak.file);
        let path = path.strip_prefix(folder).unwrap_or(path).to_string_lossy();
        let title = if leak.description.is_empty() { &leak.rule } else { &leak.description };
        // gitleaks has no severities. A generic match is a guess; the others are tokens of somebody.
        let severity = if leak.rule.starts_with("generic") { Severity::Medium } else { Severity::High };
        let mut finding =
            report("gitleaks", &leak.rule, title, severity, &path, leak.start_line, secret.as_bytes());
        finding.commit = Some(leak.commit).filter(|commit| !commit.is_empty());
        outcome.findings.push(finding);
    }
    Ok(outcome)
}
