//! Settings: freeze windows, channels and policies, as the journal has them.
//!
//! A setting is what its last record says: `setting.put` or `setting.removed`, subject `settings`, body `{ type, id,
//! version, value, by }`. So nothing is ever overwritten, and who changed what when is part of the audit trail. Whoever reads
//! settings reads all of their records: there are as many as there were changes, which people make.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spectra_journal::{Draft, Holder, Journal, Query, Record};
use spectra_notify::ChannelSpec;
use spectra_rollout::spec::Problem;
use spectra_rollout::{DeploymentPolicy, FreezeWindow, Place, Reach};
use spectra_types::{EnvironmentId, ProjectId};

use crate::error::Error;
use crate::{approval, kinds};

/// The subject of settings.
pub const SUBJECT: &str = "settings";
/// The version of every value's form.
const VERSION: u32 = 1;

/// A kind of setting.
pub trait Setting: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync {
    /// Its word in the journal: `freeze_window`.
    const TYPE: &'static str;

    /// Everything that is wrong with it.
    fn problems(&self) -> Vec<Problem>;

    /// What it is meant for.
    fn reach(&self) -> &Reach;
}

/// Where messages of rollouts go, and of which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationChannel {
    /// Of which places it hears.
    pub reach: Reach,
    /// The channel.
    pub channel: ChannelSpec,
}

impl Setting for FreezeWindow {
    const TYPE: &'static str = "freeze_window";

    fn problems(&self) -> Vec<Problem> {
        self.problems()
    }

    fn reach(&self) -> &Reach {
        &self.reach
    }
}

impl Setting for NotificationChannel {
    const TYPE: &'static str = "notification_channel";

    fn problems(&self) -> Vec<Problem> {
        let wrong = self.channel.validate().err();
        wrong
            .map(|error| Problem { path: "channel".to_owned(), message: error.to_string() })
            .into_iter()
            .collect()
    }

    fn reach(&self) -> &Reach {
        &self.reach
    }
}

impl Setting for DeploymentPolicy {
    const TYPE: &'static str = "deployment_policy";

    fn problems(&self) -> Vec<Problem> {
        let mut found = self.problems();
        found.extend(self.approval.iter().flat_map(|rule| approval::problems(rule, "approval")));
        found
    }

    fn reach(&self) -> &Reach {
        &self.reach
    }
}

/// A setting's record. Other versions of this program may write more of it.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    r#type: String,
    id: String,
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// Who changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<Holder>,
}

/// The settings of a journal.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    journal: &'a Journal,
}

impl<'a> Settings<'a> {
    /// Those of this journal.
    #[must_use]
    pub const fn of(journal: &'a Journal) -> Self {
        Self { journal }
    }

    /// Sets one. What makes no sense is refused, and nothing is written.
    pub async fn put<T: Setting>(&self, id: &str, value: &T, by: &Holder) -> Result<Record, Error> {
        let problems = value.problems();
        if !problems.is_empty() {
            return Err(Error::Setting { kind: T::TYPE, id: id.to_owned(), problems });
        }
        let value = encode("a setting", value)?;
        self.append(kinds::SETTING_PUT, T::TYPE, id, Some(value), by).await
    }

    /// Removes one; `false` when there is none.
    pub async fn remove<T: Setting>(&self, id: &str, by: &Holder) -> Result<bool, Error> {
        if !self.values(T::TYPE).await?.contains_key(id) {
            return Ok(false);
        }
        self.append(kinds::SETTING_REMOVED, T::TYPE, id, None, by).await?;
        Ok(true)
    }

    /// All of one type, by id.
    pub async fn list<T: Setting>(&self) -> Result<BTreeMap<String, T>, Error> {
        let values = self.values(T::TYPE).await?.into_iter();
        values.map(|(id, (seq, body))| decode::<T>(&id, seq, body).map(|value| (id, value))).collect()
    }

    /// One.
    pub async fn get<T: Setting>(&self, id: &str) -> Result<Option<T>, Error> {
        let Some((seq, body)) = self.values(T::TYPE).await?.remove(id) else { return Ok(None) };
        decode(id, seq, body).map(Some)
    }

    /// Those that are meant for a place, by id.
    pub async fn at<T: Setting>(&self, place: &Place) -> Result<Vec<T>, Error> {
        self.at_environment(&place.project, &place.environment).await
    }

    /// Those that are meant for every place in an environment, by id.
    pub async fn at_environment<T: Setting>(
        &self,
        project: &ProjectId,
        environment: &EnvironmentId,
    ) -> Result<Vec<T>, Error> {
        let all = self.list::<T>().await?.into_values();
        Ok(all.filter(|setting| setting.reach().covers_environment(project, environment)).collect())
    }

    async fn append(
        &self,
        kind: &str,
        of: &str,
        id: &str,
        value: Option<Value>,
        by: &Holder,
    ) -> Result<Record, Error> {
        let body =
            Body { r#type: of.to_owned(), id: id.to_owned(), version: VERSION, value, by: Some(by.clone()) };
        let draft = Draft {
            subject: SUBJECT.to_owned(),
            rollout: None,
            kind: kind.to_owned(),
            body: encode("a setting", &body)?,
        };
        Ok(self.journal.append(draft).await?)
    }

    /// The last record of each id, where it is not a removal.
    async fn values(&self, of: &str) -> Result<BTreeMap<String, (u64, Body)>, Error> {
        let query = Query {
            subject: Some(SUBJECT.to_owned()),
            kinds: vec![kinds::SETTING_PUT.to_owned(), kinds::SETTING_REMOVED.to_owned()],
            ..Query::default()
        };
        let mut values = BTreeMap::new();
        for record in self.journal.records(&query).await? {
            let seq = record.seq;
            let body: Body = serde_json::from_value(record.body).map_err(|source| Error::SettingRecord {
                id: "?".to_owned(),
                seq,
                source,
            })?;
            if body.r#type != of {
                continue;
            }
            if record.kind == kinds::SETTING_PUT {
                values.insert(body.id.clone(), (seq, body));
            } else {
                values.remove(&body.id);
            }
        }
        Ok(values)
    }
}

fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|source| Error::Encode { what, source })
}

/// A setting that cannot be read is an error and not passed over: it may be what forbids.
fn decode<T: Setting>(id: &str, seq: u64, body: Body) -> Result<T, Error> {
    let wrong = |source| Error::SettingRecord { id: id.to_owned(), seq, source };
    if body.version != VERSION {
        let message = format!("version {} of its form is not known here", body.version);
        return Err(wrong(serde::de::Error::custom(message)));
    }
    serde_json::from_value(body.value.unwrap_or_default()).map_err(wrong)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
