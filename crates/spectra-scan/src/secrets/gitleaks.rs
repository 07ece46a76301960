//! Secrets by gitleaks.

use std::{ffi::OsString, path::Path, time::Duration};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Outcome, detect::report, walk};
use crate::{Error, Severity, Tool, tool::Setting};

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
pub(super) async fn scan(
    gitleaks: &Tool,
    root: &Path,
    history: bool,
    timeout: Duration,
) -> Result<Outcome, Error> {
    let root = std::fs::canonicalize(root).map_err(Error::io("scan", root))?;
    let folder = if root.is_dir() { root.as_path() } else { root.parent().unwrap_or(&root) };
    let mut arguments: Vec<OsString> = vec![if history { "git" } else { "dir" }.into()];
    arguments.push(root.clone().into());
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
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    let setting = Setting { directory: folder, without: &["GITLEAKS_CONFIG_TOML"], with: &[], timeout };
    let bytes = Zeroizing::new(gitleaks.run(&arguments, &setting).await?);
    let mut outcome = parse(&bytes, folder)?;
    // It reads files that git never will; those are nobody's leak.
    if !history && root.is_dir() && !outcome.findings.is_empty() {
        let walked = root.clone();
        let known = tokio::task::spawn_blocking(move || walk::paths(&walked)).await;
        let known = known.map_err(|error| Error::io("list", &root)(std::io::Error::other(error)))?;
        let before = outcome.findings.len();
        outcome.findings.retain(|finding| finding.location.as_ref().is_none_or(|path| known.contains(path)));
        let left_out = before - outcome.findings.len();
        if left_out > 0 {
            outcome
                .warnings
                .push(format!("findings in files that `.gitignore` names, which do not count: {left_out}"));
        }
    }
    Ok(outcome)
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
