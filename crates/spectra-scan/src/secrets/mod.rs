//! Secrets in source code and its history.
//!
//! A finding says where a secret is and never what: the value is used for a fingerprint, which stays when lines move, and is then
//! forgotten.

mod allowed;
mod checks;
mod detect;
mod gitleaks;
mod history;
mod ignores;
mod places;
mod rules;
mod walk;

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

pub use allowed::{Allowed, By, Trust};
pub use checks::Candidate;
pub use ignores::{IGNORE_FILE, Ignores};
pub use rules::{RULES, Rule};

use self::places::Places;
use crate::{Error, Finding, Tool, text::plain};

/// Who searches.
#[derive(Debug, Clone)]
pub enum Searcher {
    /// gitleaks.
    Gitleaks(Tool),
    /// The rules of this crate.
    Builtin,
}

impl Searcher {
    /// gitleaks if it is on PATH, else the rules of this crate.
    #[must_use]
    pub fn find() -> Self {
        Tool::find("gitleaks").map_or(Self::Builtin, Self::Gitleaks)
    }

    /// gitleaks, if it is on PATH.
    pub fn gitleaks() -> Result<Self, Error> {
        Tool::find("gitleaks").map(Self::Gitleaks).ok_or(Error::NoTool {
            attempt: "search for secrets",
            missing: "`gitleaks` is not on PATH",
            advice: "install gitleaks (https://github.com/gitleaks/gitleaks), or leave it to the rules that come with Spectra: `--scanner builtin`",
        })
    }

    /// The name in reports.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Gitleaks(tool) => tool.name(),
            Self::Builtin => detect::TOOL,
        }
    }
}

/// What is searched, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// A directory or a file.
    pub root: PathBuf,
    /// Also everything that was ever committed.
    pub history: bool,
    /// Whether what is searched says what may stay in it.
    pub trust: Trust,
    /// A file with rules for gitleaks; its default rules without one. Never one that lies in what is searched by chance: it could
    /// hide everything.
    pub gitleaks_config: Option<PathBuf>,
    /// Larger files are not read.
    pub max_size: u64,
    /// How long gitleaks may take.
    pub timeout: Duration,
    /// Where the copies are put that gitleaks reads, and removed again; without it, the system's folder for temporary files.
    pub work: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The findings; none holds a secret.
    pub findings: Vec<Finding>,
    /// What was found and may stay, each with who says so.
    pub allowed: Vec<Allowed>,
    /// How many files and links, and versions of them in the history, were read; of gitleaks, those of the directory alone.
    pub files: u64,
    /// How many bytes were searched. Unknown of gitleaks.
    pub bytes: u64,
    /// How many files are no text. Our rules search them where what is searched is not trusted, and leave them out else; gitleaks leaves
    /// out some.
    pub binary: u64,
    /// What should have been read and was not, and why.
    pub unread: Vec<String>,
    /// What else should be known.
    pub warnings: Vec<String>,
    /// The folder that places are relative to, if it is in no repository. In one, places are from its top level, whatever was searched.
    pub base: Option<PathBuf>,
}

impl Outcome {
    /// How many findings are allowed by a comment in their line.
    #[must_use]
    pub fn by_comment(&self) -> usize {
        self.allowed.iter().filter(|entry| entry.by == By::Comment).count()
    }

    /// How many findings a list allows.
    #[must_use]
    pub fn by_list(&self) -> usize {
        self.allowed.len() - self.by_comment()
    }

    fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.allowed.extend(other.allowed);
        self.files += other.files;
        self.bytes += other.bytes;
        self.binary += other.binary;
        self.unread.extend(other.unread);
        self.warnings.extend(other.warnings);
    }
}

/// Searches. Findings that `ignores` lists do not count, and entries that fit nothing are warned of.
pub async fn scan(searcher: &Searcher, options: &Options, mut ignores: Ignores) -> Result<Outcome, Error> {
    let places = Places::of(&options.root).map_err(Error::io("scan", &options.root))?;
    let mut outcome = match searcher {
        Searcher::Gitleaks(tool) => {
            let mut outcome = gitleaks::scan(tool, options, false).await?;
            if options.history {
                join(&mut outcome, gitleaks::scan(tool, options, true).await?);
            }
            outcome
        }
        Searcher::Builtin => {
            let options = options.clone();
            let root = options.root.clone();
            let task = tokio::task::spawn_blocking(move || {
                let mut outcome = walk::scan(&options.root, options.max_size, options.trust)?;
                if options.history {
                    join(&mut outcome, history::scan(&options.root, options.trust)?);
                }
                Ok(outcome)
            });
            task.await.map_err(|error| Error::io("scan", root)(std::io::Error::other(error)))??
        }
    };
    Finding::sort(&mut outcome.findings);
    for text in outcome.unread.iter_mut().chain(&mut outcome.warnings) {
        *text = plain(text);
    }
    outcome.unread.sort();
    let listed = ignores.apply(&mut outcome.findings);
    outcome.allowed.extend(listed);
    Allowed::sort(&mut outcome.allowed);
    outcome.warnings.extend(ignores.without_reason());
    // A scan of the files alone does not see what the history holds.
    if options.history {
        outcome.warnings.extend(ignores.unused(places.part().as_deref()));
    }
    outcome.base = places.outside();
    Ok(outcome)
}

/// Adds what the history holds. What is still in a file is reported there.
fn join(outcome: &mut Outcome, mut history: Outcome) {
    let here: BTreeSet<String> = outcome.findings.iter().map(|finding| finding.fingerprint.clone()).collect();
    history.findings.retain(|finding| !here.contains(&finding.fingerprint));
    let allowed: BTreeSet<String> =
        outcome.allowed.iter().map(|entry| entry.finding.fingerprint.clone()).collect();
    history.allowed.retain(|entry| !allowed.contains(&entry.finding.fingerprint));
    outcome.add(history);
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod gitleaks_tests;

#[cfg(test)]
mod links_tests;

#[cfg(test)]
mod places_tests;

#[cfg(test)]
mod rules_tests;
