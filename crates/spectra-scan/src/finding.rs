//! What scanners find, in one shape.

use std::{cmp::Reverse, fmt, str::FromStr};

use serde::Serialize;
use sha2::Digest as _;

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody has said.
    Unknown,
    /// Low or negligible.
    Low,
    /// Medium.
    Medium,
    /// High.
    High,
    /// Critical.
    Critical,
}

/// A text is no severity that can be a threshold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no severity; there are `critical`, `high`, `medium` and `low`")]
pub struct SeverityError(String);

impl Severity {
    /// All, the worst first.
    pub const ALL: [Self; 5] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::Unknown];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// From a scanner's word, in any case. A word that is not known is an unknown severity.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" | "important" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" | "negligible" | "minor" => Self::Low,
            _ => Self::Unknown,
        }
    }

    /// From a score of 0 to 10, in the bands of CVSS and GitHub.
    #[must_use]
    pub fn from_score(score: f64) -> Self {
        match score {
            score if score >= 9.0 => Self::Critical,
            score if score >= 7.0 => Self::High,
            score if score >= 4.0 => Self::Medium,
            score if score > 0.0 => Self::Low,
            _ => Self::Unknown,
        }
    }

    /// A score that is read back as this severity.
    #[must_use]
    pub const fn score(self) -> Option<f64> {
        match self {
            Self::Unknown => None,
            Self::Low => Some(2.0),
            Self::Medium => Some(5.5),
            Self::High => Some(8.0),
            Self::Critical => Some(9.5),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Severity {
    type Err = SeverityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match Self::from_word(text) {
            found if found != Self::Unknown && found.as_str() == text => Ok(found),
            _ => Err(SeverityError(text.to_owned())),
        }
    }
}

/// Something that a scanner found. Texts are the scanner's own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// `CVE-2026-1234`, or the rule.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// A score of 0 to 10, if the scanner gives one.
    pub score: Option<f64>,
    /// One line on what it is.
    pub title: String,
    /// The package that has it.
    pub package: Option<String>,
    /// The version that is installed.
    pub installed: Option<String>,
    /// The version, or versions, that do not have it.
    pub fixed: Option<String>,
    /// The file, relative.
    pub location: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u64>,
    /// The layer that brought it in, by its digest in the image's manifest; missing where the scanner's name for it leads to none.
    pub layer: Option<String>,
    /// The commit that brought it in.
    pub commit: Option<String>,
    /// Where to read more.
    pub url: Option<String>,
    /// The scanner.
    pub tool: String,
    /// Tells it from others, and stays when lines and versions move.
    pub fingerprint: String,
}

impl Finding {
    /// A finding of which nothing else is known yet.
    #[must_use]
    pub fn new(tool: &str, id: &str, severity: Severity, title: &str) -> Self {
        Self {
            id: id.to_owned(),
            severity,
            score: None,
            // Descriptions of vulnerabilities are whole pages.
            title: title.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned(),
            package: None,
            installed: None,
            fixed: None,
            location: None,
            line: None,
            layer: None,
            commit: None,
            url: None,
            tool: tool.to_owned(),
            fingerprint: String::new(),
        }
    }

    /// Computes the fingerprint from id, package and location, and from the line where nothing else tells findings apart.
    #[must_use]
    pub(crate) fn identified(mut self) -> Self {
        // A name that is empty is none: both have one fingerprint, and the gate treats what has no package otherwise.
        self.package = self.package.filter(|name| !name.is_empty());
        let line = match self.package {
            None => self.line.map(|line| line.to_string()),
            Some(_) => None,
        };
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        self.fingerprint =
            fingerprint(&["finding", &self.id, &part(&self.package), &part(&self.location), &part(&line)]);
        self
    }

    /// Adds what another one says of the same thing. The worse severity and score count, and a fix that one of them knows is one.
    pub(crate) fn join(&mut self, other: Self) {
        self.severity = self.severity.max(other.severity);
        self.score = match (self.score, other.score) {
            (Some(one), Some(two)) => Some(one.max(two)),
            (one, two) => one.or(two),
        };
        if self.title.is_empty() {
            self.title = other.title;
        }
        for (own, its) in [
            (&mut self.package, other.package),
            (&mut self.installed, other.installed),
            (&mut self.fixed, other.fixed),
            (&mut self.location, other.location),
            (&mut self.layer, other.layer),
            (&mut self.commit, other.commit),
            (&mut self.url, other.url),
        ] {
            if own.is_none() {
                *own = its;
            }
        }
        self.line = self.line.or(other.line);
    }

    /// The order in reports: the worst first.
    pub(crate) fn sort(findings: &mut [Self]) {
        findings.sort_by_cached_key(Self::order);
    }

    /// What reports are sorted by.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        (
            Reverse(self.severity),
            self.package.clone(),
            self.id.clone(),
            self.location.clone(),
            self.line,
            self.tool.clone(),
        )
    }
}

/// Thirty-two hexadecimal characters of SHA-256 over the parts, each with its length before it.
pub(crate) fn fingerprint(parts: &[&str]) -> String {
    use std::fmt::Write as _;
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize()[..16].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_severity_survives_its_score_and_its_word() {
        for severity in Severity::ALL {
            assert_eq!(severity.score().map_or(Severity::Unknown, Severity::from_score), severity);
            assert_eq!(Severity::from_word(&severity.as_str().to_uppercase()), severity);
        }
        assert!("unknown".parse::<Severity>().is_err(), "it is no threshold");
        insta::assert_snapshot!("High".parse::<Severity>().unwrap_err(), @"`High` is no severity; there are `critical`, `high`, `medium` and `low`");
        assert_eq!(Severity::from_score(f64::NAN), Severity::Unknown);
    }

    #[test]
    fn parts_of_a_fingerprint_do_not_run_into_each_other() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["a"]).len(), 32);
    }
}
