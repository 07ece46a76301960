//! Findings that somebody has taken responsibility for, for a time.

use std::path::Path;

use jiff::{ToSpan as _, civil::Date};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use toml::Value;

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
    #[serde(deserialize_with = "day")]
    pub expires: Date,
    /// Who has decided that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
}

/// A day as `YYYY-MM-DD`, a text or a date of TOML, and nothing that has to be turned into one: a time in another zone may be of
/// another day, and other ways to write a day are ways to write one that nobody meant.
fn day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Datetime(time) => time.to_string(),
        other => other.to_string(),
    };
    let shape =
        |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    let is_day = text.len() == 10 && text.bytes().enumerate().all(shape);
    let day = is_day.then(|| text.parse().ok()).flatten();
    day.ok_or_else(|| D::Error::custom(format!("`{text}` is no day, which is written `YYYY-MM-DD`")))
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

    /// Whether it holds for more than a year from now: by then nobody remembers why.
    #[must_use]
    pub fn is_far(&self, today: Date) -> bool {
        today.checked_add(1.year()).is_ok_and(|last| last < self.expires)
    }

    /// Why, by whom, until when; one line.
    #[must_use]
    pub fn justification(&self) -> String {
        let by = self.approved_by.as_ref().map(|name| format!(", approved by {name}")).unwrap_or_default();
        format!("{} (until {}{by})", self.reason.trim(), self.expires)
    }
}
