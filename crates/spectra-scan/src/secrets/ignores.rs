//! Findings that were looked at and may stay: `.spectra-secrets-ignore`, one fingerprint a line.

use std::{collections::BTreeMap, path::Path};

use crate::{Error, Finding};

/// The name of the file, in the directory that is scanned.
pub const IGNORE_FILE: &str = ".spectra-secrets-ignore";

/// Fingerprints, and whether a finding had them.
#[derive(Debug, Default)]
pub struct Ignores(BTreeMap<String, bool>);

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
        let mut known = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            if entry.len() != 32 || !entry.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let reason = format!("line {} is no fingerprint of a finding", number + 1);
                return Err(Error::report(format!("`{}`", path.display()), reason));
            }
            known.insert(entry.to_ascii_lowercase(), false);
        }
        Ok(Self(known))
    }

    /// Takes the listed findings out, and returns how many they were.
    pub(super) fn apply(&mut self, findings: &mut Vec<Finding>) -> usize {
        let before = findings.len();
        findings.retain(|finding| match self.0.get_mut(&finding.fingerprint) {
            Some(used) => {
                *used = true;
                false
            }
            None => true,
        });
        before - findings.len()
    }

    /// Fingerprints that no finding had.
    pub(super) fn unused(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, used)| !**used).map(|(fingerprint, _)| fingerprint.as_str())
    }
}
