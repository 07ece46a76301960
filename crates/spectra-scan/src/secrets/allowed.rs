//! What was found and may stay, and who says so.
//!
//! A gate that is switched off by the change it looks at is none. So nothing is allowed without a trace: what may stay is reported
//! with its place, and whoever does not trust what is searched can have nothing in it count.

use serde::Serialize;

use crate::{Finding, sarif};

/// Words in a line that say that its secret is meant to be there. Ours, and that of gitleaks.
const WORDS: [&[u8]; 2] = [b"spectra:allow-secret", b"gitleaks:allow"];

/// Whether what is searched may say what need not be found in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It may: a comment beside a secret lets it stay, and files that `.gitignore` names are left out.
    Given,
    /// It may not: who writes the secret also writes the comment. `.gitignore` holds in a repository alone, where git knows which
    /// files are left out in truth.
    Withheld,
}

impl Trust {
    /// Whether the line, or lines, of a secret say that it may stay.
    pub(super) fn allows(self, line: &[u8]) -> bool {
        let says = |word: &&[u8]| line.windows(word.len()).any(|window| window == *word);
        self == Self::Given && WORDS.iter().any(says)
    }
}

/// A finding that may stay.
#[derive(Debug, Clone, Serialize)]
pub struct Allowed {
    /// The finding.
    pub finding: Finding,
    /// Who says so.
    pub by: By,
}

/// Who says that a finding may stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum By {
    /// A comment in its line.
    Comment,
    /// A list of fingerprints.
    List {
        /// The file.
        file: String,
        /// What it says about it, if anything.
        reason: Option<String>,
    },
}

impl Allowed {
    /// By whom and why; one line.
    #[must_use]
    pub fn justification(&self) -> String {
        match &self.by {
            By::Comment => "a comment in its line".to_owned(),
            By::List { file, reason: Some(reason) } => format!("`{file}`: {reason}"),
            By::List { file, reason: None } => format!("`{file}`, which gives no reason"),
        }
    }

    /// As it is written to SARIF.
    #[must_use]
    pub fn suppressed(&self) -> sarif::Suppressed<'_> {
        let kind = match self.by {
            By::Comment => sarif::Kind::InSource,
            By::List { .. } => sarif::Kind::External,
        };
        sarif::Suppressed { finding: &self.finding, kind, justification: self.justification() }
    }

    /// The order of [`Finding::sort`].
    pub(super) fn sort(list: &mut [Self]) {
        list.sort_by_cached_key(|entry| entry.finding.order());
    }
}
