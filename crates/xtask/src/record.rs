//! What a rollout's journal says happened, and when.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::Context;
use crate::error::Error;
use crate::process::Job;
use crate::workspace::Programs;

/// More records than any rollout of a figure has.
const LIMIT: &str = "100000";

/// The records of one rollout, oldest first.
pub(crate) struct Record {
    rollout: String,
    entries: Vec<(Timestamp, Value)>,
}

impl Record {
    /// Reads it with `railway-deployer audit log` from the journal of `folder`.
    pub(crate) async fn read(
        context: &Context,
        programs: &Programs,
        folder: &Path,
        rollout: &str,
    ) -> Result<Self, Error> {
        let job = Job::new(&programs.deployer)
            .args(["audit", "log", "--json", "--rollout", rollout, "--limit", LIMIT])
            .dir(folder);
        let end = context.processes.run(&job).await?.success()?;
        Self::parse(rollout, &end.stdout)
            .ok_or_else(|| Error::unexpected("railway-deployer audit log --json", end.stdout))
    }

    fn parse(rollout: &str, text: &str) -> Option<Self> {
        let mut document: Value = serde_json::from_str(text).ok()?;
        let Value::Array(records) = document.get_mut("records")?.take() else { return None };
        let entries = records.into_iter().map(|mut record| {
            let at = record.get("at")?.as_str()?.parse().ok()?;
            Some((at, record.get_mut("body")?.take()))
        });
        Some(Self { rollout: rollout.to_owned(), entries: entries.collect::<Option<_>>()? })
    }

    /// When the first entry of this word (`going_back`) was written for which `is` holds.
    pub(crate) fn first(&self, word: &str, is: impl Fn(&Value) -> bool) -> Result<Timestamp, Error> {
        self.find(self.entries.iter(), word, is)
    }

    /// When the last one was written before `before`.
    pub(crate) fn last_before(
        &self,
        before: Timestamp,
        word: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Timestamp, Error> {
        self.find(self.entries.iter().rev().filter(|(at, _)| *at <= before), word, is)
    }

    fn find<'a>(
        &self,
        mut entries: impl Iterator<Item = &'a (Timestamp, Value)>,
        word: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Timestamp, Error> {
        let found = entries.find(|(_, entry)| entry["entry"] == word && is(entry));
        found.map(|(at, _)| *at).ok_or_else(|| {
            Error::unexpected(format!("the record of rollout {}", self.rollout), format!("no `{word}` in it"))
        })
    }
}

/// The time between two moments; none if they are the other way round.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_is_the_last_before_going_back() {
        let text = r#"{"records":[
            {"at":"2026-11-25T10:00:00Z","body":{"entry":"measured","measurement":{"verdict":"unhealthy"}}},
            {"at":"2026-11-25T10:00:01.5Z","body":{"entry":"measured","measurement":{"verdict":"unhealthy"}}},
            {"at":"2026-11-25T10:00:02Z","body":{"entry":"going_back"}},
            {"at":"2026-11-25T10:00:03Z","body":{"entry":"measured","measurement":{"verdict":"healthy"}}}]}"#;
        let record = Record::parse("r", text).unwrap();
        let back = record.first("going_back", |_| true).unwrap();
        let failing = record.last_before(back, "measured", |_| true).unwrap();
        assert_eq!(between(failing, back), Duration::from_millis(500));
        assert_eq!(between(back, failing), Duration::ZERO);
        assert!(record.first("finished", |_| true).is_err());
    }
}
