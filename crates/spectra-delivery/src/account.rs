//! Everything that the journal says of one rollout, told in order.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use spectra_journal::{Hash, Journal, Query, Record, kinds as lease_kinds};
use spectra_railway::Client;
use spectra_rollout::{
    Action, Entry, Failure, Outcome, Phase, Place, RolloutRequest, Snapshot, Verdict, Wish,
};
use spectra_types::{DeploymentId, Digest, PinnedImage, Redactor};

use crate::error::Error;
use crate::standing::{line_of, parse_one};

/// The version of an account's JSON form.
pub const ACCOUNT_VERSION: u32 = 1;
/// So many lines of a deployment's log are kept.
const LOG_LINES: u32 = 50;

/// The account of a rollout. It serialises to the JSON form of a post-mortem.
#[derive(Clone, Debug, Serialize)]
pub struct Account {
    /// [`ACCOUNT_VERSION`].
    pub version: u32,
    /// The rollout.
    pub rollout: String,
    /// The service.
    pub place: Place,
    /// What was to run.
    pub image: PinnedImage,
    /// What an approval of it has to name, besides the digest.
    pub plan_hash: String,
    /// Everything that was asked for.
    pub request: RolloutRequest,
    /// Who ran it: the first process, and those that took it up.
    pub holders: Vec<String>,
    /// The pages of their CI runs, and the service's on Railway.
    pub links: Vec<String>,
    /// When it began.
    pub begun_at: Timestamp,
    /// When it ended; missing while it is open.
    pub ended_at: Option<Timestamp>,
    /// Where it stands.
    pub phase: Option<Phase>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it went back, also while that is not over.
    pub failure: Option<Failure>,
    /// What ran before, by service.
    pub before: Vec<Before>,
    /// The candidate's deployment of the rollout's own service.
    pub deployment: Option<DeploymentId>,
    /// Every record, in order.
    pub timeline: Vec<Moment>,
    /// Every probe and every measurement of a metric, in order.
    pub measurements: Vec<Measured>,
    /// Who approved.
    pub approvals: Vec<String>,
    /// Freeze windows that were overridden, with the reason.
    pub overrides: Vec<String>,
    /// What others asked of it.
    pub wishes: Vec<Wish>,
    /// The migrations that it began.
    pub migrations: Vec<MigrationState>,
    /// Who was told, and what became of it.
    pub told: Vec<String>,
    /// What stays that should not.
    pub leftovers: Vec<String>,
    /// The end of the candidate's log, as the platform gives it; empty when it was not asked or does not say.
    pub log_tail: Vec<String>,
    /// The last record that this was made from: what it says can be checked in the journal.
    pub last_record: (u64, Hash),
}

/// What ran somewhere before.
#[derive(Clone, Debug, Serialize)]
pub struct Before {
    /// Where.
    pub place: Place,
    /// What.
    pub snapshot: Snapshot,
}

/// One record.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// The record's number.
    pub seq: u64,
    /// Its kind.
    pub kind: String,
    /// What it says.
    pub line: String,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// When.
    pub at: Timestamp,
    /// Where.
    pub place: Place,
    /// The metric; missing for a probe.
    pub metric: Option<String>,
    /// What was asked: the query, or the request of a probe.
    pub query: String,
    /// The number, of a metric that has one.
    pub value: Option<f64>,
    /// Stable's number in the same window.
    pub stable: Option<f64>,
    /// The answer in words.
    pub answer: String,
    /// The judgement.
    pub verdict: String,
    /// Whether it speaks for the candidate; `None` when it decides nothing.
    pub good: Option<bool>,
}

/// A migration and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    /// Its name.
    pub name: String,
    /// What is known.
    pub state: Applied,
}

/// How far a migration came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It was begun, and its end is not known.
    Unknown,
    /// It is applied.
    Applied,
    /// It failed, and may have left something.
    Failed,
    /// It was taken back.
    Reverted,
    /// Taking it back failed.
    RevertFailed,
}

impl Account {
    /// Reads the account of a rollout.
    pub async fn of(journal: &Journal, rollout: &str) -> Result<Self, Error> {
        let unknown = || Error::NoSuchRollout(rollout.to_owned());
        let query = Query { rollout: Some(rollout.to_owned()), ..Query::default() };
        let records = journal.records(&query).await?;
        let last = records.last().ok_or_else(unknown)?;
        let last_record = (last.seq, last.hash);
        let mut entries = Vec::with_capacity(records.len());
        for record in &records {
            entries.push((record, parse_one(rollout, record)?));
        }
        let begun = entries.iter().find_map(|(record, entry)| match entry {
            Some(Entry::Begun { request }) => Some((*record, request.as_ref().clone())),
            _ => None,
        });
        let (begun, request) = begun.ok_or_else(unknown)?;
        let mut account = Self {
            version: ACCOUNT_VERSION,
            rollout: rollout.to_owned(),
            place: request.place.clone(),
            image: request.candidate.clone(),
            plan_hash: request.plan_hash(),
            links: vec![railway_page(&request.place)],
            request,
            holders: Vec::new(),
            begun_at: begun.at,
            ended_at: None,
            phase: None,
            outcome: None,
            failure: None,
            before: Vec::new(),
            deployment: None,
            timeline: Vec::new(),
            measurements: Vec::new(),
            approvals: Vec::new(),
            overrides: Vec::new(),
            wishes: Vec::new(),
            migrations: Vec::new(),
            told: Vec::new(),
            leftovers: Vec::new(),
            log_tail: Vec::new(),
            last_record,
        };
        account.add_holders(journal, &records).await?;
        for (record, entry) in entries {
            account.timeline.push(Moment {
                at: record.at,
                seq: record.seq,
                kind: record.kind.clone(),
                line: line_of(record),
            });
            if let Some(entry) = entry {
                account.take(record.at, entry);
            }
        }
        Ok(account)
    }

    /// Adds the end of the candidate's log. A platform that does not answer leaves it out: the rest is worth having.
    pub async fn with_log(mut self, client: &Client) -> Self {
        let Some(deployment) = self.deployment.clone() else { return self };
        match client.deployment_log_tail(&deployment, LOG_LINES).await {
            Ok(lines) => {
                let redactor = Redactor::global();
                self.log_tail = lines
                    .iter()
                    .map(|line| format!("{} {}", line.timestamp, redactor.redact(&line.message)))
                    .collect();
            }
            Err(error) => tracing::warn!(%deployment, %error, "the log of a deployment could not be read"),
        }
        self
    }

    /// How long it took, or has taken up to its last record.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        let end = self.ended_at.or_else(|| self.timeline.last().map(|last| last.at)).unwrap_or(self.begun_at);
        Duration::try_from(end.duration_since(self.begun_at)).unwrap_or_default()
    }

    /// The digest that ran before on the rollout's own service.
    #[must_use]
    pub fn previous_digest(&self) -> Option<&Digest> {
        self.before.iter().find(|before| before.place == self.place)?.snapshot.digest()
    }

    /// Who held the leases that it was written under.
    async fn add_holders(&mut self, journal: &Journal, records: &[Record]) -> Result<(), Error> {
        let mut fences: Vec<u64> = records.iter().filter_map(|record| record.fence).collect();
        fences.sort_unstable();
        fences.dedup();
        let query = Query {
            subject: Some(self.place.subject()),
            kinds: [lease_kinds::ACQUIRED, lease_kinds::TAKEN_OVER, lease_kinds::STOLEN]
                .map(str::to_owned)
                .into(),
            ..Query::default()
        };
        for record in journal.records(&query).await? {
            if record.fence.is_none_or(|fence| !fences.contains(&fence)) {
                continue;
            }
            let holder = record.body.get("holder").cloned().unwrap_or_default();
            if let Ok(holder) = serde_json::from_value::<spectra_journal::Holder>(holder) {
                self.holders.push(holder.to_string());
                self.links.extend(holder.run_url);
            }
        }
        self.links.dedup();
        Ok(())
    }

    fn take(&mut self, at: Timestamp, entry: Entry) {
        match entry {
            Entry::Baseline { place, snapshot } => {
                if self.before.iter().all(|before| before.place != place) {
                    self.before.push(Before { place, snapshot });
                }
            }
            Entry::Adopted { deployment } => self.deployment = Some(deployment),
            Entry::Stage { phase, .. } => self.phase = Some(phase),
            Entry::Intent { action } => self.intend(&action),
            Entry::Done { action, made } => {
                if let (Action::Deploy { place }, spectra_rollout::Made::Deployment { id }) = (&action, made)
                    && *place == self.place
                {
                    self.deployment = Some(id);
                }
                self.migrated(&action, Applied::Applied, Applied::Reverted);
            }
            Entry::Failed { action, .. } => self.migrated(&action, Applied::Failed, Applied::RevertFailed),
            Entry::Measured { place, measurement } => self.measurements.push(Measured {
                at,
                place,
                metric: None,
                query: measurement.subject,
                value: None,
                stable: None,
                answer: measurement.answer,
                verdict: measurement.verdict.to_string(),
                good: Some(measurement.verdict == Verdict::Healthy),
            }),
            Entry::Sampled { metric, place, sampled, verdict } => {
                let sample = sampled.answer.as_ref().ok();
                let value = sample.and_then(|sample| sample.value);
                self.measurements.push(Measured {
                    at,
                    place,
                    metric: Some(metric),
                    query: sampled.query,
                    value,
                    stable: sample.and_then(|sample| sample.stable),
                    answer: match &sampled.answer {
                        Ok(_) => value.map_or_else(|| "no data".to_owned(), |value| value.to_string()),
                        Err(error) => error.clone(),
                    },
                    good: match verdict.as_str() {
                        "good" => Some(true),
                        "bad" => Some(false),
                        _ => None,
                    },
                    verdict,
                });
            }
            Entry::Approved { by } => self.approvals.extend(by),
            Entry::FreezeOverridden { window, reason } => self.overrides.push(format!("{window}: {reason}")),
            Entry::Heard { wish } => self.wishes.push(wish),
            Entry::GoingBack { failure } => self.failure = Some(failure),
            Entry::Told { event, results } => {
                self.told.extend(results.into_iter().map(|result| format!("{event}: {result}")));
            }
            Entry::Leftover { message } => self.leftovers.push(message),
            Entry::Finished { outcome } => {
                self.ended_at = Some(at);
                self.phase = Some(outcome.phase());
                if let Some(failure) = outcome.failure() {
                    self.failure = Some(failure.clone());
                }
                self.outcome = Some(outcome);
            }
            Entry::Begun { .. }
            | Entry::Resumed { .. }
            | Entry::Returned { .. }
            | Entry::PointOfNoReturn { .. }
            | Entry::Trouble { .. } => {}
        }
    }

    fn intend(&mut self, action: &Action) {
        if let Action::Migrate { name, .. } = action
            && self.migrations.iter().all(|migration| migration.name != *name)
        {
            self.migrations.push(MigrationState { name: name.clone(), state: Applied::Unknown });
        }
    }

    fn migrated(&mut self, action: &Action, up: Applied, down: Applied) {
        let (name, state) = match action {
            Action::Migrate { name, .. } => (name, up),
            Action::Revert { name, .. } => (name, down),
            _ => return,
        };
        for migration in self.migrations.iter_mut().filter(|migration| migration.name == *name) {
            migration.state = state;
        }
    }
}

/// The service's page on Railway.
fn railway_page(place: &Place) -> String {
    format!(
        "https://railway.com/project/{}/service/{}?environmentId={}",
        place.project, place.service, place.environment
    )
}
