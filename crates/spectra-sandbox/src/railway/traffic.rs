//! What went over the edge, what instances wrote and when they ran, for logs and metrics. Kept in memory, bounded;
//! what is new goes to disk in batches, and comes back at the next start.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::contract::{ProxyEvents, RequestRecord};
use crate::core::Core;
use crate::runtime::Usage;
use crate::store::telemetry::Telemetry;
use spectra_types::DeploymentId;

/// How many requests are kept; the oldest go first.
pub(crate) const REQUESTS: usize = 50_000;
/// How many lines of one deployment are kept.
pub(crate) const LINES: usize = 5_000;
/// How many lines are kept altogether; the log that was silent for longest goes as a whole.
const ALL_LINES: usize = 100_000;
/// How many runs of replicas are kept.
pub(crate) const SPANS: usize = 10_000;

/// Between two batches, in real time.
const BATCH: Duration = Duration::from_millis(500);
/// While something runs the disk says at least so often that it still did, in wall milliseconds. After a crash the
/// replicas are taken to have run until then.
const PULSE: u64 = 5_000;

/// A request with the wall time it ended at.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: u64,
    pub(crate) record: RequestRecord,
}

/// One line of a deployment's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) replica: u32,
    pub(crate) error: bool,
    pub(crate) message: String,
}

/// One run of a replica, in wall milliseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Span {
    pub(crate) deployment: String,
    pub(crate) replica: u32,
    /// Id of the deployment instance.
    pub(crate) instance: String,
    pub(crate) region: String,
    pub(crate) from: u64,
    /// `None` while it runs.
    pub(crate) to: Option<u64>,
    pub(crate) usage: Usage,
    /// vCPUs that it may use.
    pub(crate) cpu_limit: f64,
    /// Bytes that it may use.
    pub(crate) memory_limit: f64,
}

/// The newest rows of one kind.
#[derive(Debug)]
struct Ring<T> {
    /// How many rows came before the oldest kept one, which is also its number.
    gone: u64,
    rows: VecDeque<T>,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { gone: 0, rows: VecDeque::new() }
    }
}

impl<T: Clone> Ring<T> {
    fn push(&mut self, row: T, cap: usize) {
        self.rows.push_back(row);
        self.trim(cap);
    }

    fn trim(&mut self, cap: usize) {
        while self.rows.len() > cap {
            self.rows.pop_front();
            self.gone += 1;
        }
    }

    /// Takes up a row that was kept; rows come in the order of their numbers. Where some are missing the older ones
    /// move up: the next number must be one that the disk has not seen.
    fn restore(&mut self, number: u64, row: T) {
        self.gone = number.saturating_sub(u64::try_from(self.rows.len()).unwrap_or(u64::MAX));
        self.rows.push_back(row);
    }

    /// The number of the next row.
    fn next(&self) -> u64 {
        self.gone.saturating_add(u64::try_from(self.rows.len()).unwrap_or(u64::MAX))
    }

    /// Rows from number `from` on with their numbers. Rows that are no longer kept are left out.
    fn from(&self, from: u64) -> impl Iterator<Item = (u64, &T)> {
        let skip = usize::try_from(from.saturating_sub(self.gone)).unwrap_or(usize::MAX);
        (from.max(self.gone)..).zip(self.rows.iter().skip(skip))
    }
}

#[derive(Debug, Default)]
struct Logs {
    by_deployment: HashMap<String, Ring<Line>>,
    count: usize,
    /// Logs that went as a whole and may still be on disk.
    forgotten: Vec<String>,
}

impl Logs {
    fn push(&mut self, deployment: &str, line: Line) {
        let log = self.by_deployment.entry(deployment.to_owned()).or_default();
        let before = log.rows.len();
        log.push(line, LINES);
        self.count += log.rows.len() - before;
        while self.count > ALL_LINES {
            let silent = self
                .by_deployment
                .iter()
                .filter(|(owner, log)| owner.as_str() != deployment && !log.rows.is_empty())
                .min_by_key(|(_, log)| log.rows.back().map(|line| line.at))
                .map(|(owner, _)| owner.clone());
            let Some(log) = silent.as_ref().and_then(|owner| self.by_deployment.get_mut(owner)) else {
                return;
            };
            // The ring stays, so that its numbers go on when the deployment speaks again.
            self.count -= log.rows.len();
            log.trim(0);
            self.forgotten.extend(silent);
        }
    }
}

#[derive(Debug, Default)]
struct Spans {
    rows: BTreeMap<u64, Span>,
    next: u64,
    /// Those that began or ended since the last batch.
    changed: BTreeSet<u64>,
}

/// How far the disk is.
#[derive(Debug, Default)]
struct Kept {
    at: u64,
    requests: u64,
    lines: HashMap<String, u64>,
}

/// The sinks.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    requests: Mutex<Ring<Seen>>,
    logs: Mutex<Logs>,
    spans: Mutex<Spans>,
    kept: Mutex<Kept>,
    written: watch::Sender<u64>,
    last: Mutex<HashMap<String, u64>>,
    core: Mutex<Weak<Core>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Lists and counters that every change leaves whole; a panic elsewhere spoils nothing.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Traffic {
    /// Takes up what the disk has. Whatever ran when it was written has ended since.
    pub(crate) fn restored(telemetry: Telemetry) -> Self {
        let traffic = Self::default();
        let mut kept = Kept { at: telemetry.at, ..Kept::default() };
        {
            let mut requests = lock(&traffic.requests);
            for (number, seen) in telemetry.requests {
                requests.restore(number, seen);
            }
            kept.requests = requests.next();
            let mut logs = lock(&traffic.logs);
            for (deployment, number, line) in telemetry.lines {
                logs.count += 1;
                logs.by_deployment.entry(deployment).or_default().restore(number, line);
            }
            kept.lines = logs.by_deployment.iter().map(|(owner, log)| (owner.clone(), log.next())).collect();
            let mut spans = lock(&traffic.spans);
            for (number, mut span) in telemetry.spans {
                if span.to.is_none() {
                    span.to = Some(telemetry.at.max(span.from));
                    spans.changed.insert(number);
                }
                spans.next = number + 1;
                spans.rows.insert(number, span);
            }
        }
        *lock(&traffic.kept) = kept;
        traffic
    }

    /// Connects the sinks with the state; events before that are kept but wake nobody.
    pub(crate) fn attach(&self, core: Weak<Core>) {
        *lock(&self.core) = core;
    }

    fn core(&self) -> Option<Arc<Core>> {
        lock(&self.core).upgrade()
    }

    /// Sandbox time of the last request to a deployment, or of the last bytes through a TCP proxy.
    pub(crate) fn last_request(&self, deployment_id: &str) -> Option<u64> {
        lock(&self.last).get(deployment_id).copied()
    }

    /// Keeps a line.
    pub(crate) fn line(&self, deployment_id: &str, line: Line) {
        lock(&self.logs).push(deployment_id, line);
        self.written.send_modify(|count| *count += 1);
    }

    /// Wakes up after every line of and every request to any deployment; several in a row may wake once.
    pub(crate) fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// The lines of a deployment from number `from` on (the first ever is 0), oldest first, and the number of the
    /// next one. Lines that are no longer kept are left out.
    pub(crate) fn lines_from(&self, deployment_id: &str, from: u64) -> (Vec<Line>, u64) {
        let logs = lock(&self.logs);
        let Some(log) = logs.by_deployment.get(deployment_id) else { return (Vec::new(), from) };
        (log.from(from).map(|(_, line)| line.clone()).collect(), log.next())
    }

    /// A deployment's log, oldest first.
    pub(crate) fn lines(&self, deployment_id: &str) -> Vec<Line> {
        self.lines_from(deployment_id, 0).0
    }

    /// Requests that `wanted` picks, oldest first.
    pub(crate) fn requests(&self, wanted: impl Fn(&Seen) -> bool) -> Vec<Seen> {
        lock(&self.requests).rows.iter().filter(|seen| wanted(seen)).cloned().collect()
    }

    /// Requests from number `from` on (the first ever is 0) that `wanted` picks, oldest first, and the number of the next one.
    pub(crate) fn requests_from(&self, from: u64, wanted: impl Fn(&Seen) -> bool) -> (Vec<Seen>, u64) {
        let requests = lock(&self.requests);
        let picked = requests.from(from).map(|(_, seen)| seen).filter(|seen| wanted(seen));
        (picked.cloned().collect(), requests.next())
    }

    /// Shows every request, oldest first.
    pub(crate) fn each_request(&self, show: impl FnMut(&Seen)) {
        lock(&self.requests).rows.iter().for_each(show);
    }

    /// How many requests each deployment has answered, as far as is kept.
    pub(crate) fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        for seen in &lock(&self.requests).rows {
            *totals.entry(seen.record.deployment_id.to_string()).or_default() += 1;
        }
        totals
    }

    /// A replica has started.
    pub(crate) fn started(&self, span: Span) {
        let mut spans = lock(&self.spans);
        let number = spans.next;
        spans.next += 1;
        spans.changed.insert(number);
        spans.rows.insert(number, span);
        if spans.rows.len() > SPANS {
            spans.rows.pop_first();
        }
    }

    /// A replica has ended.
    pub(crate) fn ended(&self, deployment_id: &str, replica: u32, at: u64) {
        let mut spans = lock(&self.spans);
        let Spans { rows, changed, .. } = &mut *spans;
        for (number, span) in rows.iter_mut().rev() {
            if span.to.is_none() && span.replica == replica && span.deployment == deployment_id {
                span.to = Some(at.max(span.from));
                changed.insert(*number);
            }
        }
    }

    /// Runs of replicas that `wanted` picks, in the order in which they began.
    pub(crate) fn spans(&self, wanted: impl Fn(&Span) -> bool) -> Vec<Span> {
        lock(&self.spans).rows.values().filter(|span| wanted(span)).cloned().collect()
    }

    /// What the disk does not have yet; nothing when it is up to date.
    fn batch(&self, now: u64) -> Option<Telemetry> {
        let mut kept = lock(&self.kept);
        let mut batch = Telemetry { at: now, ..Telemetry::default() };
        {
            let requests = lock(&self.requests);
            batch.requests =
                requests.from(kept.requests).map(|(number, seen)| (number, seen.clone())).collect();
            kept.requests = requests.next();
        }
        {
            let mut logs = lock(&self.logs);
            for (owner, log) in &logs.by_deployment {
                let from = kept.lines.get(owner).copied().unwrap_or_default();
                if from < log.next() {
                    batch
                        .lines
                        .extend(log.from(from).map(|(number, line)| (owner.clone(), number, line.clone())));
                    kept.lines.insert(owner.clone(), log.next());
                }
            }
            // A log that has been taken up again since is trimmed by its numbers.
            batch.forgotten = std::mem::take(&mut logs.forgotten);
            batch
                .forgotten
                .retain(|owner| logs.by_deployment.get(owner).is_none_or(|log| log.rows.is_empty()));
        }
        let runs = {
            let mut spans = lock(&self.spans);
            let changed = std::mem::take(&mut spans.changed);
            batch.spans = changed
                .into_iter()
                .filter_map(|number| Some((number, spans.rows.get(&number)?.clone())))
                .collect();
            spans.rows.values().rev().any(|span| span.to.is_none())
        };
        let news = !(batch.requests.is_empty()
            && batch.lines.is_empty()
            && batch.spans.is_empty()
            && batch.forgotten.is_empty());
        let pulse = runs && now >= kept.at.saturating_add(PULSE);
        (news || pulse).then(|| {
            kept.at = now;
            batch
        })
    }

    /// Writes what is new, in one transaction. What cannot be written is lost at the next start and only then.
    pub(crate) fn save(&self, core: &Core) {
        let Some(batch) = self.batch(core.clock.stamp()) else { return };
        if let Err(error) = core.store().keep_telemetry(&batch) {
            tracing::error!(%error, "logs and requests were not written and will not survive a restart");
        }
    }
}

/// Saves from time to time until the sandbox stops; the last batch is the stopping sandbox's.
pub(crate) async fn keep(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(BATCH) => {
                core.traffic.save(&core);
                core.keep_clock();
            }
            () = core.shutdown.cancelled() => return,
        }
    }
}

impl ProxyEvents for Traffic {
    fn served(&self, record: RequestRecord) {
        let Some(core) = self.core() else { return };
        lock(&self.last).insert(record.deployment_id.to_string(), core.clock.now());
        let seen = Seen { at: core.clock.stamp(), record };
        lock(&self.requests).push(seen, REQUESTS);
        self.written.send_modify(|count| *count += 1);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at: u64) -> Line {
        Line { at, replica: 0, error: false, message: at.to_string() }
    }

    #[test]
    fn a_batch_holds_only_what_is_new_and_numbers_go_on_after_a_restart() {
        let traffic = Traffic::default();
        assert!(traffic.batch(1).is_none());
        traffic.line("a", line(1));
        traffic.line("a", line(2));
        let first = traffic.batch(2).unwrap();
        let numbers =
            |batch: &Telemetry| batch.lines.iter().map(|(_, number, _)| *number).collect::<Vec<_>>();
        assert_eq!(numbers(&first), [0, 1]);
        assert!(traffic.batch(3).is_none());
        traffic.line("a", line(3));
        assert_eq!(numbers(&traffic.batch(4).unwrap()), [2]);

        let again = Traffic::restored(first);
        assert!(again.batch(5).is_none(), "what came from the disk is there already");
        again.line("a", line(9));
        assert_eq!(numbers(&again.batch(6).unwrap()), [2]);
        assert_eq!(again.lines("a").len(), 3);
    }

    #[test]
    fn what_ran_at_a_crash_ran_until_the_last_batch() {
        let traffic = Traffic::default();
        let span = Span {
            deployment: "a".to_owned(),
            replica: 0,
            instance: "i".to_owned(),
            region: "r".to_owned(),
            from: 10,
            to: None,
            usage: Usage::default(),
            cpu_limit: 1.0,
            memory_limit: 1.0,
        };
        traffic.started(span);
        let mut crashed = traffic.batch(20).unwrap();
        assert!(traffic.batch(20 + PULSE - 1).is_none());
        crashed.at = traffic.batch(20 + PULSE).unwrap().at;
        let again = Traffic::restored(crashed);
        assert_eq!(again.spans(|_| true)[0].to, Some(20 + PULSE));
        assert_eq!(again.batch(99_999).unwrap().spans.len(), 1, "the end goes to disk too");
    }

    #[test]
    fn the_log_that_was_silent_for_longest_goes_first() {
        let traffic = Traffic::default();
        let owners = ALL_LINES / LINES;
        for owner in 0..=owners {
            for at in 0..LINES {
                traffic.line(&owner.to_string(), line(u64::try_from(owner * LINES + at).unwrap()));
            }
        }
        assert!(traffic.lines("0").is_empty());
        assert_eq!(traffic.lines("1").len(), LINES);
        assert_eq!(lock(&traffic.logs).count, ALL_LINES);
        assert_eq!(traffic.batch(1).unwrap().forgotten, ["0"]);
        traffic.line("0", line(u64::MAX));
        let (lines, next) = traffic.lines_from("0", 0);
        assert_eq!((lines.len(), next), (1, u64::try_from(LINES).unwrap() + 1));
    }
}
