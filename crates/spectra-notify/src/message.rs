//! What happened, once, for every channel.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use spectra_types::Redactor;

/// The name of what happened: words with full stops between them, the general one first.
///
/// Any text will do; the constants are what rollouts say.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event(Cow<'static, str>);

impl Event {
    /// A rollout began.
    pub const ROLLOUT_STARTED: Self = Self(Cow::Borrowed("rollout.started"));
    /// The new version was seen healthy and stays.
    pub const ROLLOUT_COMPLETED: Self = Self(Cow::Borrowed("rollout.completed"));
    /// The old version serves again.
    pub const ROLLOUT_ROLLED_BACK: Self = Self(Cow::Borrowed("rollout.rolled_back"));
    /// Neither version is known to serve: somebody has to look.
    pub const ROLLOUT_ROLLBACK_FAILED: Self = Self(Cow::Borrowed("rollout.rollback_failed"));
    /// Somebody has to decide.
    pub const ROLLOUT_APPROVAL_NEEDED: Self = Self(Cow::Borrowed("rollout.approval_needed"));
    /// A later run brought a rollout that was cut off to its end.
    pub const ROLLOUT_RECOVERED: Self = Self(Cow::Borrowed("rollout.recovered"));

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Event {
    fn from(name: &str) -> Self {
        Self(Cow::Owned(name.to_owned()))
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How much it matters, from least to most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is done, or well again.
    Success,
    /// Somebody should look.
    Warning,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fact with a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// What it is.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// A place to read on. Other URLs than `http` and `https` ones are shown as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What is there.
    pub name: String,
    /// Where.
    pub url: String,
}

/// The format's version, written into every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version;

impl Version {
    const NUMBER: u32 = 1;
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(Self::NUMBER)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            Self::NUMBER => Ok(Self),
            other => Err(de::Error::custom(format!("version {other} of messages is not known here"))),
        }
    }
}

/// What happened. Its JSON is what webhooks send:
/// `{"version":1,"event":…,"severity":…,"title":…,"summary":…,"fields":[…],"links":[…],"key":…,"time":…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    version: Version,
    /// Its name.
    pub event: Event,
    /// How much it matters.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// A few sentences; may be empty.
    #[serde(default)]
    pub summary: String,
    /// Facts, in the order to show.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// Where to read on, in the order to show.
    #[serde(default)]
    pub links: Vec<Link>,
    /// The same for everything that belongs together, such as a rollout's id: a success under the key of an alert ends
    /// the alert.
    pub key: String,
    /// When it happened.
    pub time: Timestamp,
}

impl Message {
    /// A message without summary, fields and links.
    #[must_use]
    pub fn new(
        event: Event,
        severity: Severity,
        key: impl Into<String>,
        title: impl Into<String>,
        time: Timestamp,
    ) -> Self {
        Self {
            version: Version,
            event,
            severity,
            title: title.into(),
            summary: String::new(),
            fields: Vec::new(),
            links: Vec::new(),
            key: key.into(),
            time,
        }
    }

    /// With these sentences.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// With one fact more.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push(Field { name: name.into(), value: value.into() });
        self
    }

    /// With one link more.
    #[must_use]
    pub fn with_link(mut self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.links.push(Link { name: name.into(), url: url.into() });
        self
    }

    /// The same without the secrets that this process knows. Before anything is escaped or cut, for a secret that is
    /// escaped or cut is no longer found.
    pub(crate) fn redacted(&self) -> Self {
        let clean = |text: &str| Redactor::global().redact(text).into_owned();
        Self {
            version: Version,
            event: Event(Cow::Owned(clean(self.event.as_str()))),
            severity: self.severity,
            title: clean(&self.title),
            summary: clean(&self.summary),
            fields: self
                .fields
                .iter()
                .map(|field| Field { name: clean(&field.name), value: clean(&field.value) })
                .collect(),
            links: self
                .links
                .iter()
                .map(|link| Link { name: clean(&link.name), url: clean(&link.url) })
                .collect(),
            key: clean(&self.key),
            time: self.time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_read_as_it_was_written() {
        let text = r#"{"version":1,"event":"rollout.rolled_back","severity":"warning","title":"api is back on 1.4","summary":"p99 rose","fields":[{"name":"service","value":"api"}],"links":[{"name":"run","url":"https://ci.example/1"}],"key":"r-1","time":"2026-08-01T10:00:00Z"}"#;
        let message = Message::new(
            Event::ROLLOUT_ROLLED_BACK,
            Severity::Warning,
            "r-1",
            "api is back on 1.4",
            "2026-08-01T10:00:00Z".parse().unwrap(),
        )
        .with_summary("p99 rose")
        .with_field("service", "api")
        .with_link("run", "https://ci.example/1");
        assert_eq!(serde_json::to_string(&message).unwrap(), text);
        assert_eq!(serde_json::from_str::<Message>(text).unwrap(), message);
        let later = text.replace("\"version\":1", "\"version\":2");
        let error = serde_json::from_str::<Message>(&later).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn severities_are_ordered() {
        assert!(Severity::Info < Severity::Success);
        assert!(Severity::Success < Severity::Warning);
        assert!(Severity::Warning < Severity::Critical);
    }
}
