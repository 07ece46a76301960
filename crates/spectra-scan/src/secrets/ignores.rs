//! Findings that were looked at and may stay: `.spectra-secrets-ignore`, one fingerprint a line, the reason behind `#`, or in lines that
//! begin so above it, up to the next empty line.

use std::{collections::BTreeMap, path::Path};

use super::{Allowed, By};
use crate::{Error, Finding, text::plain};

/// The name of the file, in the directory that is scanned.
pub const IGNORE_FILE: &str = ".spectra-secrets-ignore";

/// Fingerprints, why each may stay, and whether a finding had it.
#[derive(Debug, Default)]
pub struct Ignores {
    /// What people call the file.
    file: String,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    reason: Option<String>,
    used: bool,
}

impl Ignores {
    /// Reads a file; one that is missing lists nothing.
    pub fn read(path: &Path) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let mut entries = BTreeMap::new();
        // The comment above, and whether it may go on.
        let (mut heading, mut goes_on) = (String::new(), false);
        for (number, line) in text.lines().enumerate() {
            let (fingerprint, comment) = line.split_once('#').unwrap_or((line, ""));
            let (fingerprint, comment) = (fingerprint.trim(), plain(comment.trim()));
            if fingerprint.is_empty() {
                if line.trim().is_empty() || !goes_on {
                    heading.clear();
                }
                goes_on = !line.trim().is_empty();
                if !heading.is_empty() && !comment.is_empty() {
                    heading.push(' ');
                }
                heading.push_str(&comment);
                continue;
            }
            goes_on = false;
            if fingerprint.len() != 32 || !fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let reason = format!("line {} is no fingerprint of a finding", number + 1);
                return Err(Error::report(format!("`{}`", path.display()), reason));
            }
            let reason = if comment.is_empty() { heading.clone() } else { comment };
            let reason = Some(reason).filter(|reason| !reason.is_empty());
            entries.insert(fingerprint.to_ascii_lowercase(), Entry { reason, used: false });
        }
        let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        Ok(Self { file: plain(&file), entries })
    }

    /// Takes the listed findings out and returns them, each with what the list says about it.
    pub(super) fn apply(&mut self, findings: &mut Vec<Finding>) -> Vec<Allowed> {
        let mut allowed = Vec::new();
        findings.retain(|finding| match self.entries.get_mut(&finding.fingerprint) {
            Some(entry) => {
                entry.used = true;
                let by = By::List { file: self.file.clone(), reason: entry.reason.clone() };
                allowed.push(Allowed { finding: finding.clone(), by });
                false
            }
            None => true,
        });
        allowed
    }

    /// A warning for each fingerprint that no finding had. If but a part of a repository was searched, it may be one of another part.
    pub(super) fn unused(&self, part: Option<&str>) -> impl Iterator<Item = String> {
        let advice = part.map_or_else(
            || "; remove it".to_owned(),
            |part| {
                format!(
                    " in `{}`; remove it, unless it stands for one elsewhere in the repository",
                    plain(part)
                )
            },
        );
        let unused = self.entries.iter().filter(|(_, entry)| !entry.used);
        unused.map(move |(fingerprint, _)| {
            format!("`{fingerprint}` in `{}` fits no finding{advice}", self.file)
        })
    }

    /// A warning, if a list lets something stay and does not say why.
    pub(super) fn without_reason(&self) -> Option<String> {
        let count = self.entries.values().filter(|entry| entry.used && entry.reason.is_none()).count();
        (count > 0).then(|| {
            format!("`{}` lets {count} findings stay without a reason; write it behind a `#`", self.file)
        })
    }
}
