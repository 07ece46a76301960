//! What the proxy's traffic adds up to: log rows, requests by status a minute, latencies.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use spectra_types::DeploymentId;

use crate::contract::RequestRecord;

/// How many rows are kept; the oldest go first.
const ROWS: usize = 10_000;
/// How many minutes are kept: a week.
const MINUTES: usize = 7 * 24 * 60;
/// How many latencies of one minute are kept; further requests are counted but not timed.
const LATENCIES: usize = 5_000;
const MINUTE: u64 = 60_000;

/// One request, as `httpLogs` shows it.
#[derive(Debug, Clone)]
pub struct HttpRow {
    /// When it was answered: milliseconds since the Unix epoch.
    pub at: u64,
    /// What happened.
    pub request: RequestRecord,
}

/// One minute of one deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinuteSample {
    /// Begin of the minute: milliseconds since the Unix epoch.
    pub at: u64,
    /// Requests by status.
    pub by_status: BTreeMap<u16, u64>,
    /// How long the answers took, in the order in which they ended.
    pub latencies: Vec<Duration>,
}

/// Collects records. Cheap to feed from [`crate::contract::ProxyEvents::served`].
#[derive(Debug, Default)]
pub struct TrafficStats(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    rows: VecDeque<HttpRow>,
    minutes: BTreeMap<(u64, DeploymentId), MinuteSample>,
}

impl TrafficStats {
    /// Adds a request that was answered at `at`, milliseconds since the Unix epoch.
    pub fn record(&self, at: u64, request: RequestRecord) {
        let minute = at - at % MINUTE;
        let mut state = self.lock();
        let sample = state.minutes.entry((minute, request.deployment_id.clone())).or_insert_with(|| {
            MinuteSample { at: minute, by_status: BTreeMap::new(), latencies: Vec::new() }
        });
        *sample.by_status.entry(request.status).or_default() += 1;
        if sample.latencies.len() < LATENCIES {
            sample.latencies.push(request.duration);
        }
        while state.minutes.len() > MINUTES {
            state.minutes.pop_first();
        }
        if state.rows.len() == ROWS {
            state.rows.pop_front();
        }
        state.rows.push_back(HttpRow { at, request });
    }

    /// The rows of a deployment, or of all, from `since` on; oldest first.
    #[must_use]
    pub fn rows(&self, deployment: Option<&DeploymentId>, since: u64) -> Vec<HttpRow> {
        let wanted = |row: &&HttpRow| {
            row.at >= since && deployment.is_none_or(|deployment| *deployment == row.request.deployment_id)
        };
        self.lock().rows.iter().filter(wanted).cloned().collect()
    }

    /// The minutes of these deployments that end after `since`, merged, oldest first; a service's series mixes
    /// its old and new deployments. Minutes without traffic are absent.
    #[must_use]
    pub fn minutes(&self, deployments: &[DeploymentId], since: u64) -> Vec<MinuteSample> {
        let mut merged: Vec<MinuteSample> = Vec::new();
        for ((at, deployment), sample) in &self.lock().minutes {
            if at + MINUTE <= since || !deployments.contains(deployment) {
                continue;
            }
            match merged.last_mut().filter(|last| last.at == *at) {
                None => merged.push(sample.clone()),
                Some(last) => {
                    for (status, count) in &sample.by_status {
                        *last.by_status.entry(*status).or_default() += count;
                    }
                    last.latencies.extend(&sample.latencies);
                }
            }
        }
        merged
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change leaves the lists whole, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(deployment: &str, status: u16, millis: u64) -> RequestRecord {
        RequestRecord {
            deployment_id: deployment.parse().unwrap(),
            replica: Some(0),
            method: "GET".into(),
            path: "/".into(),
            host: "web.up.railway.localhost".into(),
            status,
            duration: Duration::from_millis(millis),
            upstream_error: None,
        }
    }

    #[test]
    fn minutes_of_a_service_mix_its_deployments() {
        let stats = TrafficStats::default();
        let (old, new): (DeploymentId, DeploymentId) = ("old".parse().unwrap(), "new".parse().unwrap());
        stats.record(60_000, record("old", 200, 1));
        stats.record(119_999, record("old", 200, 2));
        stats.record(119_999, record("new", 500, 3));
        stats.record(120_000, record("new", 200, 4));
        let both = stats.minutes(&[old.clone(), new.clone()], 0);
        assert_eq!(both.len(), 2);
        assert_eq!(both[0].by_status, BTreeMap::from([(200, 2), (500, 1)]));
        assert_eq!(both[0].latencies.iter().sum::<Duration>(), Duration::from_millis(6));
        assert_eq!((both[1].at, &both[1].by_status), (120_000, &BTreeMap::from([(200, 1)])));
        assert_eq!(stats.minutes(std::slice::from_ref(&old), 120_000), []);
        assert_eq!(stats.minutes(&[new], 120_000).len(), 1);
        assert_eq!(stats.rows(Some(&old), 60_001).len(), 1);
        assert_eq!(stats.rows(None, 0).len(), 4);
    }

    #[test]
    fn the_oldest_rows_go_first() {
        let stats = TrafficStats::default();
        for at in 0..ROWS as u64 + 5 {
            stats.record(at, record("d", 200, 1));
        }
        let rows = stats.rows(None, 0);
        assert_eq!((rows.len(), rows[0].at), (ROWS, 5));
    }
}
