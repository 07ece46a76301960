//! What went over the edge and what instances wrote, for HTTP logs, metrics and deployment logs. Kept in memory,
//! bounded, and lost on restart like any log of a laptop.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError, Weak};

use tokio::sync::watch;

use crate::contract::{ProxyEvents, RequestRecord};
use crate::core::Core;
use spectra_types::DeploymentId;

const REQUESTS: usize = 50_000;
const LINES: usize = 5_000;

/// A request with the wall time it ended at.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: u64,
    pub(crate) record: RequestRecord,
}

/// One line of a deployment's log.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) replica: u32,
    pub(crate) error: bool,
    pub(crate) message: String,
}

/// The newest lines of one deployment.
#[derive(Debug, Default)]
struct Log {
    /// How many lines came before the oldest kept one.
    gone: u64,
    lines: VecDeque<Line>,
}

/// The sinks.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: Mutex<VecDeque<Seen>>,
    lines: Mutex<HashMap<String, Log>>,
    written: watch::Sender<u64>,
    last: Mutex<HashMap<String, u64>>,
    core: Mutex<Weak<Core>>,
}

impl Traffic {
    /// Connects the sinks with the state; events before that are kept but wake nobody.
    pub(crate) fn attach(&self, core: Weak<Core>) {
        *self.core.lock().unwrap_or_else(PoisonError::into_inner) = core;
    }

    fn core(&self) -> Option<std::sync::Arc<Core>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Sandbox time of the last request to a deployment, or of the last bytes through a TCP proxy.
    pub(crate) fn last_request(&self, deployment_id: &str) -> Option<u64> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(deployment_id).copied()
    }

    /// Keeps a line.
    pub(crate) fn line(&self, deployment_id: &str, line: Line) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let log = lines.entry(deployment_id.to_owned()).or_default();
        if log.lines.len() == LINES {
            log.lines.pop_front();
            log.gone += 1;
        }
        log.lines.push_back(line);
        drop(lines);
        self.written.send_modify(|count| *count += 1);
    }

    /// Wakes up after every line of any deployment; several in a row may wake once.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The lines of a deployment from number `from` on (the first ever is 0), oldest first, and the number of the
    /// next one. Lines that are no longer kept are left out.
    pub(crate) fn lines_from(&self, deployment_id: &str, from: u64) -> (Vec<Line>, u64) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = lines.get(deployment_id) else { return (Vec::new(), from) };
        let skip = usize::try_from(from.saturating_sub(log.gone)).unwrap_or(usize::MAX);
        let next = log.gone.saturating_add(u64::try_from(log.lines.len()).unwrap_or(u64::MAX));
        (log.lines.iter().skip(skip).cloned().collect(), next)
    }

    /// A deployment's log, oldest first.
    pub(crate) fn lines(&self, deployment_id: &str) -> Vec<Line> {
        self.lines_from(deployment_id, 0).0
    }

    /// Requests that `wanted` picks, oldest first.
    pub(crate) fn requests(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|seen| wanted(seen)).cloned().collect()
    }

    /// How many requests each deployment has answered, as far as is kept.
    pub(crate) fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        for seen in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *totals.entry(seen.record.deployment_id.to_string()).or_default() += 1;
        }
        totals
    }
}

impl ProxyEvents for Traffic {
    fn served(&self, record: RequestRecord) {
        let Some(core) = self.core() else { return };
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(record.deployment_id.to_string(), core.clock.now());
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() == REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Seen { at: core.clock.stamp(), record });
    }

    fn carried(&self, deployment_id: &DeploymentId) {
        let Some(core) = self.core() else { return };
        let now = core.clock.now();
        self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(deployment_id.to_string(), now);
    }

    fn wake(&self, deployment_id: &DeploymentId) {
        if let Some(core) = self.core() {
            core.engine.wake(deployment_id.as_str());
        }
    }
}
