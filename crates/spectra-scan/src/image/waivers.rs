//! Findings that somebody has taken responsibility for, for a time.

use std::path::Path;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{Error, Finding, glob};

/// The version of the file's format.
const VERSION: u32 = 1;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default = "version")]
    version: u32,
    #[serde(default)]
    waiver: Vec<Waiver>,
}

const fn version() -> u32 {
    VERSION
}

/// One waiver: this finding does not count until then, because of that.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Waiver {
    /// The finding's id, in full: `CVE-2026-1234`.
    pub id: String,
    /// Packages that are meant; `*` stands for any text. All, if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// Why it does not count.
    pub reason: String,
    /// The last day on which it holds, in UTC.
    pub expires: Date,
    /// Who has decided that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

/// The waivers of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waivers(pub(super) Vec<Waiver>);

impl Waivers {
    /// Reads the text of a file. What is not understood is refused: a waiver with a mistake in it may waive too much.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Waivers { path: path.to_owned(), reason };
        let document: Document = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        if document.version != VERSION {
            return Err(wrong(format!("it has version {}, expected {VERSION}", document.version)));
        }
        for waiver in &document.waiver {
            for (name, value) in [
                ("id", Some(&waiver.id)),
                ("reason", Some(&waiver.reason)),
                ("package", waiver.package.as_ref()),
                ("approved-by", waiver.approved_by.as_ref()),
            ] {
                if value.is_some_and(|value| value.trim().is_empty()) {
                    return Err(wrong(format!("the waiver of `{}` has an empty `{name}`", waiver.id)));
                }
            }
            if waiver.id.contains(['*', '?']) {
                return Err(wrong(format!("`{}` is no id: a waiver is about one finding", waiver.id)));
            }
        }
        Ok(Self(document.waiver))
    }
}

impl Waiver {
    /// Whether the finding is meant.
    #[must_use]
    pub fn covers(&self, finding: &Finding) -> bool {
        let package = finding.package.as_deref().unwrap_or_default();
        self.id == finding.id && self.package.as_ref().is_none_or(|pattern| glob::matches(pattern, package))
    }

    /// Whether it holds no more.
    #[must_use]
    pub fn is_expired(&self, today: Date) -> bool {
        self.expires < today
    }

    /// Why, by whom, until when; one line.
    #[must_use]
    pub fn justification(&self) -> String {
        let by = self.approved_by.as_ref().map(|name| format!(", approved by {name}")).unwrap_or_default();
        format!("{} (until {}{by})", self.reason.trim(), self.expires)
    }
}
