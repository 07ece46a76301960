//! `data.spectra_audit_events`: what the journal says, and whether it can be believed.

use jiff::Timestamp;
use spectra_journal::{Error, Hash, Query, Record};
use spectra_types::{EnvironmentId, ServiceId, error_chain};
use tfplugin::{Attr, DataSource, Diagnostic, Diagnostics, Model, Text};

use crate::errors::sentence;
use crate::provider::{Clients, Cx};

/// How many events are read when nobody says.
const USUALLY: i64 = 100;

/// The newest events of the journal: rollouts, approvals, settings, leases. Every read checks the chain of hashes of the
/// whole journal, so that what was edited, removed or reordered is seen.
#[derive(Clone, Debug, Default, Model)]
pub(crate) struct AuditEventsModel {
    /// Only events about this: `settings`, `railway/ENVIRONMENT/SERVICE`.
    #[tf(optional, conflicts_with("service_id"), validate(length(1..=512)))]
    pub(crate) subject: Attr<String>,
    /// Only events about a service: goes with `service_id`.
    #[tf(optional, required_with("service_id"))]
    pub(crate) environment_id: Attr<Text<EnvironmentId>>,
    /// Only events about this service: goes with `environment_id`.
    #[tf(optional, required_with("environment_id"))]
    pub(crate) service_id: Attr<Text<ServiceId>>,
    /// Only events of this rollout.
    #[tf(optional, validate(length(1..=128)))]
    pub(crate) rollout_id: Attr<String>,
    /// Only events of these kinds: `rollout.finished`, `approval.given`, `setting.put`.
    #[tf(optional, validate(length(1..=64)))]
    pub(crate) kinds: Attr<Vec<String>>,
    /// Only events from this time on, RFC 3339.
    #[tf(optional)]
    pub(crate) since: Attr<Text<Timestamp>>,
    /// How many are read at most; 100 when left out.
    #[tf(optional, validate(range(1..=10_000)))]
    pub(crate) limit: Attr<i64>,
    /// The hash of an event that was noted elsewhere: a journal without it is not verified.
    #[tf(optional)]
    pub(crate) anchor: Attr<Text<Hash>>,
    /// The events, the newest first.
    #[tf(computed)]
    pub(crate) events: Attr<Vec<EventModel>>,
    /// Whether the whole journal is as it was written, as far as its hashes can tell.
    #[tf(computed)]
    pub(crate) verified: Attr<bool>,
    /// What is wrong with it; empty when it is verified.
    #[tf(computed)]
    pub(crate) violations: Attr<Vec<String>>,
    /// The hash of the journal's last event. Note it elsewhere, and give it as `anchor` later.
    #[tf(computed)]
    pub(crate) head_hash: Attr<String>,
    /// The number of events in the journal.
    #[tf(computed)]
    pub(crate) head_sequence: Attr<i64>,
}

/// One event.
#[derive(Clone, Debug, Model)]
pub(crate) struct EventModel {
    /// Its place in the journal, from 1.
    #[tf(computed)]
    sequence: Attr<i64>,
    /// When it was written, RFC 3339.
    #[tf(computed)]
    at: Attr<String>,
    /// What it is about.
    #[tf(computed)]
    subject: Attr<String>,
    /// The rollout that it belongs to; null for others.
    #[tf(computed)]
    rollout_id: Attr<String>,
    /// What happened: `rollout.finished`.
    #[tf(computed)]
    kind: Attr<String>,
    /// The rest, as JSON: `jsondecode(event.body)`.
    #[tf(computed)]
    body: Attr<String>,
    /// The hash over all of it and over the event before.
    #[tf(computed)]
    hash: Attr<String>,
}

impl From<Record> for EventModel {
    fn from(record: Record) -> Self {
        Self {
            sequence: i64::try_from(record.seq).ok().into(),
            at: record.at.to_string().into(),
            subject: record.subject.into(),
            rollout_id: record.rollout.into(),
            kind: record.kind.into(),
            body: record.body.to_string().into(),
            hash: record.hash.to_string().into(),
        }
    }
}

/// The data source.
pub(crate) struct AuditEvents;

impl AuditEventsModel {
    fn query(&self) -> Query {
        let of_service = match (self.environment_id.as_known(), self.service_id.as_known()) {
            (Some(environment), Some(service)) => Some(subject(environment.get(), service.get())),
            _ => None,
        };
        let limit = self.limit.clone().unwrap_or(USUALLY);
        Query {
            subject: self.subject.as_str().map(str::to_owned).or(of_service),
            rollout: self.rollout_id.as_str().map(str::to_owned),
            kinds: self.kinds.clone().or_default(),
            limit: u64::try_from(limit).ok(),
            newest_first: true,
            ..Query::default()
        }
    }
}

impl DataSource for AuditEvents {
    type Model = AuditEventsModel;
    type Client = Clients;

    const TYPE: &'static str = "spectra_audit_events";

    async fn read(&self, cx: &Cx, config: AuditEventsModel) -> Result<AuditEventsModel, Diagnostics> {
        let journal = cx.client.journal().await?;
        let failed = |error: Error| -> Diagnostics {
            let hint = error.hint().map(|hint| format!("\n\n{}.", sentence(hint))).unwrap_or_default();
            let detail = format!("{} [{}].{hint}", sentence(&error_chain(&error)), error.code());
            Diagnostic::error("The journal cannot be read", detail).into()
        };
        let anchor = config.anchor.as_known().map(Text::get);
        let violations = match journal.verify(anchor).await {
            Ok(_) => Vec::new(),
            Err(Error::Violated { violations, .. }) => {
                violations.list().iter().map(ToString::to_string).collect()
            }
            Err(error) => return Err(failed(error)),
        };
        let mut records = journal.records(&config.query()).await.map_err(failed)?;
        if let Some(since) = config.since.as_known() {
            // The newest are read, so what is too old are the last of them.
            records.retain(|record| record.at >= *since.get());
        }
        let (sequence, hash) = journal.head().await.map_err(failed)?;
        let events: Vec<EventModel> = records.into_iter().map(Into::into).collect();
        Ok(AuditEventsModel {
            events: events.into(),
            verified: violations.is_empty().into(),
            violations: violations.into(),
            head_hash: hash.to_string().into(),
            head_sequence: i64::try_from(sequence).ok().into(),
            ..config
        })
    }
}

/// The subject of a service, which does not depend on its project.
fn subject(environment: &EnvironmentId, service: &ServiceId) -> String {
    format!("railway/{environment}/{service}")
}

#[cfg(test)]
mod tests {
    use spectra_journal::{Draft, Journal, Location};
    use spectra_rollout::Place;
    use spectra_types::ProjectId;
    use tfplugin::Value;

    use super::*;
    use crate::fake::Fake;

    async fn journal(fake: &Fake) -> Journal {
        let journal = Journal::open(&fake.journal().parse::<Location>().unwrap()).await.unwrap();
        for (subject, kind) in
            [("settings", "setting.put"), ("railway/e-1/s-1", "rollout.begun"), ("settings", "setting.put")]
        {
            let (subject, kind, body) = (subject.to_owned(), kind.to_owned(), serde_json::json!({ "n": 1 }));
            journal.append(Draft { subject, rollout: Some("r-1".to_owned()), kind, body }).await.unwrap();
        }
        journal
    }

    fn sequences(value: &Value) -> Vec<i64> {
        let Some(Value::List(events)) = value.get("events") else { panic!("{value:?}") };
        let number = |event: &Value| match event.get("sequence") {
            Some(Value::Number(number)) => number.to_i64().unwrap(),
            other => panic!("{other:?}"),
        };
        events.iter().map(number).collect()
    }

    #[test]
    fn the_subject_of_a_service_is_that_of_its_place() {
        let place = Place {
            project: "p-1".parse::<ProjectId>().unwrap(),
            environment: "e-1".parse().unwrap(),
            service: "s-1".parse().unwrap(),
        };
        assert_eq!(subject(&place.environment, &place.service), place.subject());
    }

    #[tokio::test]
    async fn events_are_the_newest_first_filtered_and_verified() {
        let fake = Fake::start().await;
        let journal = journal(&fake).await;
        let core = fake.core().await;
        let all = core.data::<AuditEvents>(&AuditEventsModel::default()).await.unwrap();
        assert_eq!(sequences(&all), [3, 2, 1]);
        assert_eq!(all.get("verified"), Some(&Value::from(true)));
        let head = journal.head().await.unwrap().1.to_string();
        assert_eq!(all.get("head_hash"), Some(&Value::from(head)));
        let of = |model: AuditEventsModel| {
            let core = &core;
            async move { sequences(&core.data::<AuditEvents>(&model).await.unwrap()) }
        };
        let nothing = AuditEventsModel::default;
        assert_eq!(of(AuditEventsModel { subject: "settings".into(), ..nothing() }).await, [3, 1]);
        assert_eq!(of(AuditEventsModel { limit: 1.into(), ..nothing() }).await, [3]);
        let begun = vec!["rollout.begun".to_owned()];
        assert_eq!(of(AuditEventsModel { kinds: begun.into(), ..nothing() }).await, [2]);
        let service = AuditEventsModel {
            environment_id: Attr::Known("e-1".parse().unwrap()),
            service_id: Attr::Known("s-1".parse().unwrap()),
            ..nothing()
        };
        assert_eq!(of(service).await, [2]);
        let future: Text<Timestamp> = "2999-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(of(AuditEventsModel { since: future.into(), ..nothing() }).await, [0_i64; 0]);
    }

    #[tokio::test]
    async fn a_journal_without_the_anchor_is_not_verified() {
        let fake = Fake::start().await;
        let journal = journal(&fake).await;
        let core = fake.core().await;
        let with = |anchor: String| AuditEventsModel {
            anchor: Attr::Known(anchor.parse().unwrap()),
            ..AuditEventsModel::default()
        };
        let known = with(journal.head().await.unwrap().1.to_string());
        assert_eq!(core.data::<AuditEvents>(&known).await.unwrap().get("verified"), Some(&Value::from(true)));
        let found = core.data::<AuditEvents>(&with("a".repeat(64))).await.unwrap();
        assert_eq!(found.get("verified"), Some(&Value::from(false)));
        assert!(matches!(found.get("violations"), Some(Value::List(list)) if list.len() == 1), "{found:?}");
    }
}
